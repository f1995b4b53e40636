"""On which terms candidates work: declared, listed, local, measured, unknown."""

from __future__ import annotations

import pytest

from shared_core.accounting.terms import Terms, terms_of
from shared_core.types import Candidate, Energy, Usage
from tests.fakes.core import candidate

USAGE = Usage(1_000_000, 100_000)
TAKEN = Energy(50, 100, 400, "declared")


class Joules:
    """A meter that stands still."""

    method, spread = "measured", (1.0, 1.0)

    def joules(self) -> float:
        return 0.0


def terms(**known: object) -> Terms:
    return terms_of([candidate("a", **known)])["a"]


def test_a_declared_price_goes_before_the_catalogues() -> None:
    ours = terms(price=(1, 2), listing="openai:gpt-4o-mini")
    assert ours.cost(USAGE, None, 0.5) == pytest.approx(1.2)
    assert ours.tariff is not None
    assert ours.tariff.source == "declared"


def test_a_listed_model_costs_what_the_catalogue_says() -> None:
    ours = terms(listing="openai:gpt-4o-mini")
    assert ours.tariff is not None
    assert ours.tariff.source.startswith("genai-prices")
    assert ours.cost(USAGE, TAKEN, 0.5) == ours.tariff.cost(USAGE)
    assert ours.most(USAGE, 100, 0.5) == ours.tariff.at_most(USAGE)


@pytest.mark.parametrize("known", [{}, {"listing": "openai:nope"}, {"local": False}])
def test_what_nobody_lists_costs_nobody_knows_what(known: dict[str, object]) -> None:
    ours = terms(**known)
    assert ours.cost(USAGE, TAKEN, 0.5) is None
    assert ours.most(USAGE, 100, 0.5) is None
    assert not ours.pays_energy


@pytest.mark.parametrize("listing", [None, "openai:gpt-4o-mini"])
def test_a_local_one_costs_its_energy_whatever_its_name(listing: str | None) -> None:
    ours = terms(local=True, listing=listing)
    assert ours.pays_energy
    assert ours.rates is None, "EcoLogits knows of hosted ones"
    assert ours.cost(USAGE, TAKEN, 0.5) == pytest.approx(0.1 * 0.5)
    assert ours.most(USAGE, 400, 0.5) == pytest.approx(0.4 * 0.5)


def test_a_local_one_of_unknown_energy_is_free_only_where_a_kwh_has_no_price() -> None:
    ours = terms(local=True)
    assert ours.cost(USAGE, None, 0.0) == ours.most(USAGE, None, 0.0) == 0
    assert ours.cost(USAGE, None, 0.5) is None
    assert ours.most(USAGE, None, 0.5) is None


def test_a_local_one_with_a_price_costs_that() -> None:
    ours = terms(local=True, price=(1, 2))
    assert not ours.pays_energy
    assert ours.cost(USAGE, TAKEN, 0.5) == pytest.approx(1.2)


@pytest.mark.parametrize("known", [{"price": (1, 2)}, {"listing": "perplexity:sonar"}])
def test_what_no_model_ran_for_costs_nothing(known: dict[str, object]) -> None:
    assert terms(**known).cost(Usage(9, 9, free=True), None, 0.5) == 0


def test_energy_is_declared_or_measured_or_estimated() -> None:
    declared = terms(energy=(3, 4)).rates
    assert declared is not None
    assert declared.of(Usage(1_000_000, 0)) == Energy(3, 3, 3, "declared")
    meter = Joules()
    measured = terms(energy=meter, listing="openai:gpt-4o-mini")
    assert (measured.meter, measured.rates) == (meter, None)
    estimated = terms(listing="openai:gpt-4o-mini").rates
    assert estimated is not None
    assert "EcoLogits" in estimated.method


def test_each_has_its_own() -> None:
    several: list[Candidate] = [candidate("a", price=(1, 1)), candidate("b")]
    found = terms_of(several)
    assert [found[name].tariff is None for name in "ab"] == [False, True]
