"""What a candidate's tokens cost in money and energy: the terms on which it works.

In: a candidate as the user declared it. Out: a tariff and energy rates, from what was declared,
from the catalogues, or from what was measured; None where nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared_core.accounting.energy.hosted import ecologits_rates
from shared_core.accounting.energy.meters import Meter
from shared_core.accounting.energy.rates import EnergyRates, declared
from shared_core.accounting.prices import Declared, Tariff, catalogue_tariff
from shared_core.types import Candidate, Energy, Usage

__all__ = ["Terms", "terms_of"]

_WH_PER_KWH = 1000.0


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a candidate works. None is unknown, never zero.

    Attributes:
        local: It is declared to run locally.
        tariff: What its tokens cost.
        rates: What energy they take, as declared or estimated beforehand.
        meter: Measures the energy that its calls take.
    """

    local: bool
    tariff: Tariff | None = None
    rates: EnergyRates | None = None
    meter: Meter | None = None

    @property
    def pays_energy(self) -> bool:
        """Nobody is paid but for the energy: it runs locally, and no price was declared."""
        return self.local and self.tariff is None

    def cost(self, usage: Usage, energy: Energy | None, usd_per_kwh: float) -> float | None:
        """Return USD for these tokens, which took this energy."""
        if self.tariff is not None:
            return self.tariff.cost(usage)
        return self._energy_bill(None if energy is None else energy.mid, usd_per_kwh)

    def most(self, usage: Usage, most_wh: float | None, usd_per_kwh: float) -> float | None:
        """Return USD at most for so many tokens."""
        if self.tariff is not None:
            return self.tariff.at_most(usage)
        return self._energy_bill(most_wh, usd_per_kwh)

    def _energy_bill(self, wh: float | None, usd_per_kwh: float) -> float | None:
        if not self.local:
            return None
        if not usd_per_kwh:  # the user gives a kWh no price, so neither has what runs on it
            return 0.0
        return None if wh is None else wh / _WH_PER_KWH * usd_per_kwh


def terms_of(candidates: Iterable[Candidate]) -> dict[str, Terms]:
    """Return each candidate's terms by its name; looks into the catalogues where it must."""
    return {candidate.name: _terms(candidate) for candidate in candidates}


def _terms(candidate: Candidate) -> Terms:
    listing = None if candidate.local or isinstance(candidate.listing, str) else candidate.listing
    tariff: Tariff | None = None
    if candidate.price is not None:
        tariff = Declared(*candidate.price)
    elif listing is not None:
        tariff = catalogue_tariff(listing)
    if isinstance(candidate.energy, tuple):
        return Terms(bool(candidate.local), tariff, declared(candidate.energy))
    if candidate.energy is not None:
        return Terms(bool(candidate.local), tariff, meter=candidate.energy)
    rates = None if listing is None else ecologits_rates(listing)
    return Terms(bool(candidate.local), tariff, rates)
