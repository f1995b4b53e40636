"""Whether the same candidate says the same again.

In: a draft. Out: how many further answers, drawn side by side, come to the same end, as a share of
all, pulled towards what was believed before. What cannot be compared, such as an essay, says
nothing. The idea is self-consistency: Wang et al. 2022, https://arxiv.org/abs/2203.11171.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shared_core.errors import ConfigurationError
from shared_core.strategies.verifiers.answers import final_answer
from shared_core.types import Ask, Draft, Reply, Verdict, Verification

__all__ = ["Agreement"]

_MOST_SAMPLES: Final = 20
_PRIOR_COUNTS: Final = 2.0  # as many samples as the prior is worth
_FEWEST: Final = 2


@dataclass(frozen=True, slots=True)
class Agreement:
    """Asks the draft's own candidate again and compares final answers.

    Attributes:
        samples: How often, 2 to 20. Each is paid like an answer.
        temperature: Of these calls: at 0 they would be one.
        same: Tells whether two texts give the same answer. None: `final_answer` is compared.

    Raises:
        ConfigurationError: A value is out of range.
    """

    samples: int = 3
    temperature: float = 0.7
    same: Callable[[str, str], bool] | None = None
    name: str = "agreement"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        whole = isinstance(self.samples, int) and not isinstance(self.samples, bool)
        if not whole or not _FEWEST <= self.samples <= _MOST_SAMPLES:
            raise ConfigurationError(
                f"samples must be a whole number from {_FEWEST} to {_MOST_SAMPLES}, "
                f"not {self.samples!r}"
            )
        if not isinstance(self.temperature, (int, float)) or not 0 < self.temperature <= 2:
            raise ConfigurationError(
                f"temperature must be over 0 and at most 2, not {self.temperature!r}"
            )
        if self.same is not None and not callable(self.same):
            raise ConfigurationError(f"same must be a function of two texts, not {self.same!r}")

    def verify(self, draft: Draft) -> Verification:
        """See `Verifier.verify`."""
        if self.same is None and final_answer(draft.reply.text) is None:
            return Verdict(self.name, None, "it has no final answer to compare")
        ask = Ask(
            draft.reply.candidate,
            visible=False,
            params={"temperature": self.temperature},
            purpose="check",
        )
        replies: tuple[Reply, ...] = yield (ask,) * self.samples
        compared = [self._agrees(draft.reply, reply) for reply in replies]
        usable = [agrees for agrees in compared if agrees is not None]
        if len(usable) < _FEWEST:
            return Verdict(self.name, None, f"{len(usable)} of {self.samples} could be compared")
        chance = (_PRIOR_COUNTS * draft.prior + sum(usable)) / (_PRIOR_COUNTS + len(usable))
        return Verdict(self.name, chance, f"{sum(usable)} of {len(usable)} say the same")

    def _agrees(self, draft: Reply, sample: Reply) -> bool | None:
        """Tell whether a sample says the same; None where it failed or cannot be compared."""
        if sample.error is not None:
            return None
        if self.same is not None:
            return _asked(self.same, draft.text, sample.text)
        found = final_answer(sample.text)
        return None if found is None else found == final_answer(draft.text)


def _asked(same: Callable[[str, str], bool], draft: str, sample: str) -> bool | None:
    try:
        return bool(same(draft, sample))
    except Exception:  # noqa: BLE001 - the user's own function: what it raises tells nothing
        return None
