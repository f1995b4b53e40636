"""Ask several times and take the answer that most give, stopping once the majority is settled.

In: a decision. Out: the first reply that gave the winning answer, as it came. Self-consistency is
Wang et al. 2022, https://arxiv.org/abs/2203.11171, stopping early Aggarwal et al. 2023,
https://arxiv.org/abs/2305.11860; when it stops is `majority`'s, what counts as the same answer
`comparing`'s. A prompt whose answers cannot be compared, such as one for an essay, is answered with
its first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from shared_core.errors import BudgetExceededError, ConfigurationError
from shared_core.ranges import is_number, is_whole
from shared_core.strategies.base import failure, is_crowded_out, is_empty, unparsed
from shared_core.strategies.comparing import Same, apart, key_of, require_same
from shared_core.strategies.majority import Race, agreement, vote_weight
from shared_core.strategies.verifiers.structure import is_cut_off
from shared_core.types import Ask, Decision, Prompt, Reply, Steps, Verdict, Wish

__all__ = ["SelfConsistency"]

_NAME: Final = "self-consistency"
_MOST_SAMPLES: Final = 40
_PATIENCE: Final = 2
"""Failures in a row after which a voter is asked no more: each has been retried already."""

Asking = Generator[tuple[Wish, ...], tuple[Any, ...], None]


@dataclass(frozen=True)
class SelfConsistency:
    """Take the answer that most samples give, and draw no more of them than that needs.

    Args:
        samples: Most samples, 1 to 40. A prompt is answered by what as many would elect.
        voters: Who is asked. None: the chosen candidate, again and again. "all": every allowed
            candidate in turn, the cheapest first, each with a weight by its predicted quality, so
            that dear ones are asked only while the vote is open. Names: these, where allowed.
        certainty: Probability from which the majority counts as settled, over 0 to 1; at 1 only
            what the samples left cannot change.
        temperature: Of the samples, over 0 to 2: at 0 they would be one, as they are with a fixed
            seed. Each is asked a millionth cooler than the one before, which no model feels, but
            a cache, which would give the first one again.
        same: Tells whether two texts give the same answer, see `comparing.key_of`. None: final
            answers, structured output and tool calls are compared.
        at_once: Most samples drawn side by side. As many are as the vote needs at the least, so
            none is drawn for speed alone. Where a budget has no room for the most that all of them
            could cost, the rest is drawn one by one.

    Raises:
        ConfigurationError: An argument makes no sense.
        AllCandidatesFailedError: More than one was asked and all failed.
        Exception: A candidate's own error, where no other could mend it or none is left.
    """

    samples: int = 16
    voters: Literal["all"] | Sequence[str] | None = None
    certainty: float = 0.95
    temperature: float = 0.7
    same: Same | None = None
    at_once: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for label in ("samples", "at_once"):
            if not is_whole(value := getattr(self, label), 1, _MOST_SAMPLES):
                raise ConfigurationError(
                    f"self-consistency: {label} must be a whole number from 1 to {_MOST_SAMPLES}, "
                    f"not {value!r}"
                )
        for label, most in (("certainty", 1), ("temperature", 2)):
            if not is_number(value := getattr(self, label), 0, most) or not value:
                raise ConfigurationError(
                    f"self-consistency: {label} must be over 0 and at most {most}, not {value!r}"
                )
        require_same("self-consistency", self.same)
        if self.voters is not None and self.voters != "all":
            object.__setattr__(self, "voters", _named(self.voters))

    @property
    def names(self) -> tuple[str, ...]:
        """Candidates that vote, where they are given by name."""
        return self.voters if isinstance(self.voters, tuple) else ()

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        """See `Strategy.steps`."""
        return (yield from _Poll(self, prompt, decision).steps())

    def plan(self, prompt: Prompt, decision: Decision) -> str:
        """Say what would be done, in words, for `explain`."""
        poll = _Poll(self, prompt, decision)
        names = ", ".join(dict.fromkeys(poll.roll))
        fewest = poll.fewest()
        agreeing = f"{fewest} equal answers settle it" if fewest > 1 else "one answer settles it"
        return (
            f"up to {len(poll.roll)} samples of {names}, until the majority is settled with a "
            f"probability of {self.certainty:.2f}; {agreeing}"
        )


class _Poll:
    """One call's vote: who is still to be asked, who said what, what failed."""

    def __init__(self, asking: SelfConsistency, prompt: Prompt, decision: Decision) -> None:
        self._asking, self._prompt = asking, prompt
        self._estimates = {e.candidate: e for e in decision.estimates}
        voters = self._voters(decision)
        self.roll = [voters[i % len(voters)] for i in range(asking.samples)]
        self._substitutes = [] if asking.voters else list(decision.fallbacks)
        self._weights = self._weighed(voters)
        self._same = agreement(self._mean_quality(voters))
        self._votes: dict[Hashable, float] = {}
        self._said: dict[Hashable, list[Reply]] = {}
        self._blank: list[Reply] = []
        self._unread: list[Reply] = []
        self._failures: list[tuple[str, Exception]] = []
        self._misses: Counter[str] = Counter()
        self._voted: Counter[str] = Counter()
        self._drawn: Counter[str] = Counter()
        self._at_once = asking.at_once
        self._stopped = False

    def steps(self) -> Steps:
        while self.roll and not self._stopped and not self._is_settled():
            yield from self._ask(min(self._at_once, self.fewest()) if self._votes else 1)
        if not self._votes:
            return (yield from self._unvoted())
        race = self._race()
        key = list(self._votes)[race.leader]
        won = self._said[key][0]
        yield (Verdict(_NAME, None, self._note(key)),)
        return won

    def fewest(self) -> int:
        """Return how many more samples settle the vote if all of them are for the leader."""
        race, left = self._race(), len(self.roll)
        enough = (n for n in range(1, left) if race.after(n).settled() >= self._asking.certainty)
        return next(enough, left)

    def _voters(self, decision: Decision) -> Sequence[str]:
        """Return who votes, the cheapest first; nobody who is not allowed."""
        everyone, named = self._asking.voters == "all", self._asking.names
        found = [name for name in decision.allowed if everyone or name in named]
        return self._cheapest_first(found) if found else (decision.candidate,)

    def _cheapest_first(self, names: Sequence[str]) -> Sequence[str]:
        """Return them by expected cost, else by energy, else as they are: weakest first."""
        for figure in ("cost_usd", "energy_wh"):
            known = {name: getattr(self._estimates[name], figure) for name in names}
            if None not in known.values():
                return sorted(names, key=known.__getitem__)
        return names

    def _weighed(self, voters: Sequence[str]) -> Mapping[str, float]:
        """Return the weight of a vote of each, 1 on average over the voters."""
        weights = {e.candidate: vote_weight(e.quality) for e in self._estimates.values()}
        mean = sum(weights[name] for name in voters) / len(voters)
        return {name: weight / mean for name, weight in weights.items()}

    def _mean_quality(self, voters: Sequence[str]) -> float:
        """Return the voters' quality, those counting more whose votes weigh more."""
        total = sum(self._weights[name] for name in voters)
        return sum(self._weights[n] * self._estimates[n].quality for n in voters) / total

    def _race(self) -> Race:
        left = [self._weights[name] for name in self.roll]
        return Race(list(self._votes.values()) or [0.0], left, self._same)

    def _is_settled(self) -> bool:
        """Tell whether asking on is of no use: the vote is settled, or there can be none.

        One answer that cannot be compared says that none can; one that was cut off, or is one
        voter's among several, may be alone.
        """
        if self._votes:
            return self._race().settled() >= self._asking.certainty
        if not self._blank:
            return False
        alone = is_cut_off(self._blank[0]) or len(set(self.roll)) > 1
        return len(self._blank) > 1 or not alone

    def _ask(self, count: int) -> Asking:
        """Draw the next samples and count them."""
        asked, self.roll = self.roll[:count], self.roll[count:]
        replies: tuple[Reply, ...]
        replies = yield tuple([self._sample(name) for name in asked])
        for reply in replies:
            if is_crowded_out(reply, replies):
                self._at_once, self.roll = 1, [reply.candidate, *self.roll]
            else:
                self._count(reply)

    def _sample(self, name: str) -> Ask:
        """Draw one."""
        temperature = apart(self._asking.temperature, self._drawn[name])
        self._drawn[name] += 1
        return Ask(name, visible=False, params={"temperature": temperature})

    def _count(self, reply: Reply) -> None:
        name = reply.candidate
        if reply.error is not None:
            self._failures.append((name, reply.error))
            self._missed(name, reply)
        elif is_empty(reply) or unparsed(self._prompt, reply) is not None:
            self._unread.append(reply)
            self._missed(name, reply)
        elif (key := key_of(reply, self._asking.same)) is None:
            self._blank.append(reply)
        else:
            self._votes[key] = self._votes.get(key, 0.0) + self._weights[name]
            self._said.setdefault(key, []).append(reply)
            self._voted[name] += 1
            self._misses[name] = 0

    def _missed(self, name: str, reply: Reply) -> None:
        """Note a failure; who fails for good is asked no more."""
        self._misses[name] += 1
        failed = reply.error is not None
        if self._votes and isinstance(reply.error, BudgetExceededError):
            self._stopped = True
        elif self._misses[name] >= _PATIENCE or (
            failed and not (reply.retryable and self._voted[name])
        ):
            self._retire(name, mendable=reply.retryable or not failed)

    def _retire(self, name: str, *, mendable: bool) -> None:
        """Strike a voter off; where nobody has voted yet a fallback takes the place."""
        others = [other for other in self.roll if other != name]
        if not others and mendable and not self._votes and self._substitutes:
            others = [self._substitutes.pop(0)] * len(self.roll)
        self._stopped = self._stopped or not others
        self.roll = others or self.roll  # what will not be drawn was left when it stopped

    def _unvoted(self) -> Steps:
        """Answer where nobody said anything that can be compared."""
        whole = [*self._blank, *self._unread]
        if not whole:
            raise failure(self._failures)
        note = "its answer cannot be compared" if self._blank else "none gave what was asked for"
        yield (Verdict(_NAME, None, note),)
        return whole[0]

    def _note(self, key: Hashable) -> str:
        said, most = self._voted.total(), self._asking.samples
        return f"{len(self._said[key])} of {said} say the same (of at most {most})"


def _named(voters: Any) -> tuple[str, ...]:
    found = None if isinstance(voters, str) or not isinstance(voters, Iterable) else tuple(voters)
    if not found or not all(isinstance(name, str) for name in found):
        raise ConfigurationError(
            "self-consistency: voters must be None, 'all' or the names of candidates, "
            f"not {voters!r}"
        )
    return tuple(dict.fromkeys(found))
