"""How sure the model was of its own words: the log probabilities of its tokens.

In: `Reply.logprobs`. Out: evidence from their mean and their lowest. It is known only where the
candidate was asked for it, which `params` says, and where its provider tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shared_core.ranges import is_number
from shared_core.strategies.verifiers.base import looked, probability, weighed
from shared_core.types import Draft, Verdict, Verification

__all__ = ["Likelihood"]

_READ: Final = 20_000  # tokens
_LOWEST: Final = -100.0  # some providers write -9999 for "outside the few that were looked at"
_MEAN_AT_EVEN: Final = -0.25
_PER_NAT: Final = 2.0
_UNLIKELY: Final = -4.0
_UNLIKELY_COSTS: Final = 0.25
_MOST: Final = 1.0  # log odds


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Weighs the mean log probability of an answer's tokens, and its least probable token.

    Attributes:
        params: What a draft has to be asked with, so that there is something to weigh.
    """

    name: str = "likelihood"
    params: Mapping[str, Any] = field(default_factory=lambda: {"logprobs": True}, hash=False)

    def verify(self, draft: Draft) -> Verification:
        """See `Verifier.verify`."""
        return looked(self.name, self._look, draft)

    def _look(self, draft: Draft) -> Verdict:
        told = draft.reply.logprobs
        if not told:
            return Verdict(self.name, None, "no log probabilities are told")
        tokens = told[:_READ]
        if not all(map(_is_logprob, tokens)):
            return Verdict(self.name, None, "what is told are no log probabilities")
        tokens = tuple(max(token, _LOWEST) for token in tokens)
        mean = sum(tokens) / len(tokens)
        note = f"log probability {mean:.2f} a token, {min(tokens):.1f} the lowest"
        return Verdict(self.name, weighed(draft.prior, _evidence(tokens)), note)


def _is_logprob(value: object) -> bool:
    return is_number(value, high=1e-6)  # rounding


def _evidence(tokens: Sequence[float]) -> float:
    """Return how probable its tokens make an answer, by themselves.

    The constants are set by hand, cautiously, and calibrated on nothing: log probabilities differ
    between models and lengths. At most the odds change by a factor of e.
    """
    log_odds = _PER_NAT * (sum(tokens) / len(tokens) - _MEAN_AT_EVEN)
    if min(tokens) < _UNLIKELY:
        log_odds -= _UNLIKELY_COSTS
    return probability(min(max(log_odds, -_MOST), _MOST))
