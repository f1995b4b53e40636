"""What a call is expected to cost, before it is made: USD, Wh, seconds.

In: a predictor's estimate, the prompt, the candidate's terms and what past calls teach. Out: the
estimate with cost, energy and time, as far as they are known; unknown stays None.
"""

from __future__ import annotations

from shared_core.accounting.energy.meters import Meter
from shared_core.accounting.energy.rates import EnergyRates
from shared_core.accounting.experience import Experience
from shared_core.accounting.terms import Terms
from shared_core.tokens import estimate_tokens
from shared_core.types import Candidate, Energy, Estimate, Prompt, Usage

__all__ = ["energy_of", "expected", "rates_of", "repeated_tokens", "until_measured"]

_UNMEASURED = "assumed until it is measured"
_UNMEASURED_WH = (2_000.0, 20_000.0)
_UNMEASURED_WATTS = 300.0
"""What a model takes at most that is yet to be measured, in Wh per million (input, output) tokens
on a machine of so many W: as much as one of 70 billion parameters on a desktop (300 W at 5 tokens a
second are 16,700). A tenth of it, about what 7 billion take there, is the best guess."""


def expected(
    estimate: Estimate,
    candidate: Candidate,
    terms: Terms,
    prompt: Prompt,
    experience: Experience,
    usd_per_kwh: float,
    repeated: int,
) -> Estimate:
    """Add cost, energy and time to an estimate.

    Args:
        estimate: The predictor's.
        candidate: Whose it is.
        terms: What its tokens cost.
        prompt: What is asked.
        experience: Corrects the length of the answer; tells its time and what caches give.
        usd_per_kwh: What a kWh costs, in USD, for what runs locally.
        repeated: Tokens that a provider may have in its prompt cache; see `repeated_tokens`.
    """
    if estimate.output_tokens is None:
        return estimate
    name = candidate.name
    written = experience.output_tokens(name, estimate.output_tokens)
    cached = 0
    if repeated and prompt.author == name and terms.tariff and terms.tariff.discounts_cache:
        cached = round(repeated * experience.cached_share(name, repeated))
    usage = Usage(prompt.tokens, written, min(cached, prompt.tokens))
    energy = energy_of(usage, rates_of(name, terms, experience) or until_measured(terms.meter))
    seconds = estimate.latency_s
    low = mid = high = method = None
    if energy is not None:
        low, mid, high, method = energy.low, energy.mid, energy.high, energy.method
    return Estimate(  # in full: it takes half the time of a `replace`
        candidate=name,
        quality=estimate.quality,
        quality_low=estimate.quality_low,
        quality_high=estimate.quality_high,
        output_tokens=written,
        cost_usd=terms.cost(usage, energy, usd_per_kwh),
        energy_wh=mid,
        energy_wh_low=low,
        energy_wh_high=high,
        latency_s=experience.seconds(name, written) if seconds is None else seconds,
        predicted_tokens=estimate.output_tokens,
        cached_tokens=usage.cached_tokens,
        energy_method=method,
        pays_energy=terms.pays_energy,
    )


def rates_of(name: str, terms: Terms, experience: Experience) -> EnergyRates | None:
    """Return the energy of a candidate's tokens: learned where it is measured, else as stated."""
    return terms.rates if terms.meter is None else experience.energy_rates(name)


def until_measured(meter: Meter | None) -> EnergyRates | None:
    """Return what is assumed of a model that is metered, and yet to be measured; a wide range.

    Were it unknown, a budget or a constraint would refuse the model, which then would never be
    measured.
    """
    if meter is None:
        return None
    share = min(1.0, (getattr(meter, "most_watts", None) or _UNMEASURED_WATTS) / _UNMEASURED_WATTS)
    read, written = (wh * share for wh in _UNMEASURED_WH)
    return EnergyRates((0, read / 10, read), (0, written / 10, written), _UNMEASURED)


def energy_of(usage: Usage, rates: EnergyRates | None) -> Energy | None:
    """Return the energy that these tokens take."""
    return None if rates is None else rates.of(usage)


def repeated_tokens(prompt: Prompt) -> int:
    """Return the estimated tokens up to the last answer in the conversation, 0 without one."""
    for place in range(len(prompt.turns) - 1, -1, -1):
        if prompt.turns[place].role == "assistant":
            tail = sum(estimate_tokens(turn.text) for turn in prompt.turns[place + 1 :])
            return max(0, prompt.tokens - tail)
    return 0
