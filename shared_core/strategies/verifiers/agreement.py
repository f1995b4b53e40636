"""Whether the same candidate says the same again.

In: a draft. Out: how many further answers, drawn side by side, come to the same end, as a share of
all, pulled towards what was believed before. What cannot be compared, such as an essay, says
nothing. The idea is self-consistency: Wang et al. 2022, https://arxiv.org/abs/2203.11171.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared_core.errors import ConfigurationError
from shared_core.ranges import is_number, is_whole
from shared_core.strategies.base import is_crowded_out
from shared_core.strategies.comparing import Same, apart, key_of, require_same
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
        same: Tells whether two texts give the same answer. None: what `comparing.key_of` finds.

    Raises:
        ConfigurationError: A value is out of range.
    """

    samples: int = 3
    temperature: float = 0.7
    same: Same | None = None
    name: str = "agreement"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not is_whole(self.samples, _FEWEST, _MOST_SAMPLES):
            raise ConfigurationError(
                f"samples must be a whole number from {_FEWEST} to {_MOST_SAMPLES}, "
                f"not {self.samples!r}"
            )
        if not is_number(self.temperature, 0, 2) or not self.temperature:
            raise ConfigurationError(
                f"temperature must be over 0 and at most 2, not {self.temperature!r}"
            )
        require_same(self.name, self.same)

    def verify(self, draft: Draft) -> Verification:
        """See `Verifier.verify`."""
        if self.same is None and key_of(draft.reply) is None:
            return Verdict(self.name, None, "it has no final answer to compare")
        asks = [self._ask(draft, number) for number in range(self.samples)]
        replies: list[Reply] = list((yield tuple(asks)))
        for place, reply in enumerate(replies):
            if is_crowded_out(reply, replies):
                (replies[place],) = yield (asks[place],)
        compared = [self._agrees(draft.reply, reply) for reply in replies]
        usable = [agrees for agrees in compared if agrees is not None]
        if len(usable) < _FEWEST:
            return Verdict(self.name, None, f"{len(usable)} of {self.samples} could be compared")
        chance = (_PRIOR_COUNTS * draft.prior + sum(usable)) / (_PRIOR_COUNTS + len(usable))
        return Verdict(self.name, chance, f"{sum(usable)} of {len(usable)} say the same")

    def _ask(self, draft: Draft, number: int) -> Ask:
        return Ask(
            draft.reply.candidate,
            visible=False,
            params={"temperature": apart(self.temperature, number)},
            purpose="check",
        )

    def _agrees(self, draft: Reply, sample: Reply) -> bool | None:
        """Tell whether a sample says the same; None where it failed or cannot be compared."""
        if sample.error is not None:
            return None
        if self.same is not None:
            return _asked(self.same, draft.text, sample.text)
        found = key_of(sample)
        return None if found is None else found == key_of(draft)


def _asked(same: Same, draft: str, sample: str) -> bool | None:
    try:
        return bool(same(draft, sample))
    except Exception:  # noqa: BLE001 - the user's own function: what it raises tells nothing
        return None
