"""Money and energy out of tokens, at the rates that are declared for a candidate.

In: a candidate's rates per million tokens and token counts. Out: USD and Wh, or None where a
rate or a count is unknown: unknown is never zero.
"""

from __future__ import annotations

from dataclasses import replace

from shared_core.types import Candidate, Estimate, Usage

__all__ = ["at_rates", "with_rates"]

_PER_MILLION = 1e-6


def at_rates(rates: tuple[float, float] | None, usage: Usage | None) -> float | None:
    """Return input and output tokens at `rates` (per million tokens), in the rates' unit."""
    if rates is None or usage is None:
        return None
    return (usage.input_tokens * rates[0] + usage.output_tokens * rates[1]) * _PER_MILLION


def with_rates(estimate: Estimate, candidate: Candidate, input_tokens: int) -> Estimate:
    """Add the expected cost (USD) and energy (Wh) to an estimate, as far as they are known."""
    if estimate.output_tokens is None or (candidate.price is None and candidate.energy is None):
        return estimate
    usage = Usage(input_tokens, estimate.output_tokens)
    return replace(
        estimate,
        cost_usd=at_rates(candidate.price, usage),
        energy_wh=at_rates(candidate.energy, usage),
    )
