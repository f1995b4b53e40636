"""How an agent's tool loop goes, and who takes its next step.

In: the steps since the user's last turn (`Prompt.loop`), the estimates. Out: which step it is,
estimates that are lower for candidates whose steps failed, and an order in which to ask.

The candidate that called a tool reads its result, until there is trouble: errors in a row, a call
that cannot be parsed, the same call again. Then the policy chooses anew among it and the stronger
ones; once the trouble is over it chooses anew among all. Nothing is kept between calls: the steps
are replayed out of the conversation, in a time linear in their number, so that a step is decided
alike in any process and after any restart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from shared_core.decision.policy import Contender, Policy
from shared_core.types import Estimate, Phase, Prompt, Step

__all__ = ["Course", "Result", "call_text", "is_in_loop", "loop_of", "next_in_loop", "phase_of"]

_PATIENCE: Final = 2
"""Steps in a row whose tools failed that are trouble: after one error most models mend their call.
A call that cannot be parsed, and one made again with the same result, are trouble at once."""

_CALM: Final = 2
"""Steps without a failure after which a first trouble is over; each further one of the same loop
takes twice as many as the one before, so that a loop cannot go to and fro."""

_MOST: Final = 0.5
"""Share of a step's tools that have to fail for it to have failed: of two calls side by side that
go different ways, one brought the agent on."""

_WORTH: Final = 4.0
"""Answers that a predicted quality is worth as evidence: with q it is a Beta prior of 4q good and
4(1 - q) bad ones, to which the candidate's own steps of the loop are added. So two failures take a
0.8 to 0.53. Set by hand, not fitted: no data set here has loops with models that change."""


class Result(NamedTuple):
    """What a tool said."""

    text: str
    failed: bool


def loop_of(said: Iterable[Step | Result]) -> tuple[Step, ...]:
    """Return the steps of a loop, each with the results that follow it.

    Args:
        said: Steps as they were made, without results, and the tools' results, oldest first.
    """
    steps: list[tuple[Step, list[Result]]] = []
    for one in said:
        if isinstance(one, Step):
            steps.append((one, []))
        elif steps:
            steps[-1][1].append(one)
    return tuple(
        replace(
            step,
            failed=sum(result.failed for result in results),
            results=tuple(result.text for result in results),
        )
        for step, results in steps
    )


def call_text(name: str, arguments: Any) -> str:
    """Return a tool call as text: the same for the same arguments in whatever order."""
    try:
        return f"{name} {json.dumps(arguments, sort_keys=True, default=str)}"
    except (TypeError, ValueError, RecursionError):  # keys of several types, a value within itself
        return f"{name} {arguments!r}"


class Course:
    """How a loop has gone so far.

    Attributes:
        first: Who answers without any trouble; steps of which nobody knows who made them (in text
            loops messages are written anew at every step) count as this one's until another one
            has taken over. None where every author is known.
        author: Who made the last step; None where nobody knows.
        away: Another one has taken over, and that trouble is not over yet.
        row: Of the last steps, how many in a row failed.
        calm: Of the last steps, how many in a row did not.
    """

    def __init__(self, loop: Sequence[Step], first: Callable[[], str]) -> None:
        """Replay a loop, oldest step first; `first` is asked only where an author is unknown."""
        self.first = first() if any(step.author is None for step in loop) else None
        self.author: str | None = None
        self.away = False
        self.row = self.calm = 0
        self._strikes = self._troubles = 0
        self._made: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
        self._tried: dict[str, tuple[float, float]] = {}
        self._last: Step | None = None
        self._stalled = False
        for step in loop:
            self._turn(step)
            self._take(step)

    @property
    def troubled(self) -> bool:
        """Whether somebody else should perhaps take over."""
        return self._strikes >= _PATIENCE

    @property
    def over(self) -> bool:
        """Whether the trouble in which another one took over is over: it may come down again."""
        return self.away and self.calm >= _CALM * 2 ** (self._troubles - 1)

    @property
    def phase(self) -> Phase:
        """Which step comes next."""
        if self._stalled:
            return "stall"
        last = self._last
        failed = last is not None and (last.failed > 0 or last.malformed)
        return "after an error" if failed else "reading a tool's result"

    def weighed(self, estimates: Iterable[Estimate]) -> tuple[Estimate, ...]:
        """Return estimates with a lower quality of those whose steps failed.

        None is raised: a call that went through does not show that an answer is right.
        """
        tried = {} if self.over else self._tried
        return tuple(
            _weighed(estimate, *tried.get(estimate.candidate, (0.0, 0.0))) for estimate in estimates
        )

    @property
    def trouble(self) -> str:
        """What the trouble is, in words."""
        author = None if self._last is None else self._last.author
        whose, where = ("the", " of this loop") if author is None else (f"{author}'s", "")
        if self.row > 1:
            return f"{whose} last {self.row} calls{where} failed"
        if self._stalled:
            return f"{whose} last call{where} was made before, with the same result"
        return f"{whose} last call{where} could not be parsed"

    def _turn(self, step: Step) -> None:
        """Take note of who makes the next step."""
        named = step.author is not None
        changed = named and step.author != self.author
        if self.troubled and (changed or not named):
            self.away, self._troubles, self.calm = True, self._troubles + 1, 0
            self._strikes = self.row = 0
        elif self.over:
            self.away, self._tried = False, {}
            self._strikes = self.row = 0
        elif changed:
            self._strikes = self.row = 0
        self.author = step.author if named or self.away else self.first

    def _take(self, step: Step) -> None:
        """Take note of how the step went."""
        self._last, key = step, (step.calls, step.results)
        self._stalled = bool(step.results) and key in self._made
        self._made.add(key)
        ended_badly = step.malformed or self._stalled
        bad = 1.0 if ended_badly else step.failed / max(1, len(step.results))
        if self.author is not None:
            good_before, bad_before = self._tried.get(self.author, (0.0, 0.0))
            self._tried[self.author] = good_before + 1.0 - bad, bad_before + bad
        if bad > _MOST:
            self.calm, self.row = 0, self.row + 1
            self._strikes += _PATIENCE if ended_badly else 1
        else:
            self.calm, self.row, self._strikes = self.calm + 1, 0, 0


def _weighed(estimate: Estimate, good: float, bad: float) -> Estimate:
    if not bad:
        return estimate

    def posterior(quality: float) -> float:
        return min(quality, (_WORTH * quality + good) / (_WORTH + good + bad))

    return replace(
        estimate,
        quality=posterior(estimate.quality),
        quality_low=posterior(estimate.quality_low),
        quality_high=posterior(estimate.quality_high),
    )


def is_in_loop(prompt: Prompt) -> bool:
    """Tell whether a model's last call waits for its next step, answered or not to be parsed."""
    return prompt.in_tool_loop or (bool(prompt.loop) and prompt.loop[-1].malformed)


def next_in_loop(
    policy: Policy, allowed: Sequence[Contender], delta: float, prompt: Prompt, course: Course
) -> tuple[list[Contender], str]:
    """Return the contenders in the order to try them, and the reason for the first.

    Args:
        policy: The trade-off.
        allowed: Those that no constraint refuses, weakest first, their estimates weighed.
        delta: How far under the best predicted quality a candidate may be.
        prompt: A step of a loop.
        course: How the loop has gone.
    """
    order, reason = policy.order(allowed, delta)
    if course.over:
        return order, f"{course.calm} calm steps since the trouble; {reason}"
    author = course.author or prompt.author
    began = author or course.first  # whose trouble it was, where nobody knows who has taken over
    place = next((i for i, c in enumerate(allowed) if c[0].name == began), None)
    if place is None:
        return order, reason
    if author is not None and not course.troubled:
        known = course.first is None
        return _before(allowed[place], order), (
            f"{author} called the tool and reads its result" if known else f"{author} goes on"
        )
    stronger = allowed[place + 1 :]
    chosen = policy.order([*stronger, allowed[place]], delta)[0][0]  # a tie goes to the stronger
    name = chosen[0].name
    if not course.troubled:
        reason = f"{name} has taken over from {began}"
    elif name != began:
        reason = f"{course.trouble}; {name} takes over"
    elif stronger:
        reason = f"{course.trouble}; {name} goes on: nobody stronger is worth it by the policy"
    else:
        reason = f"{course.trouble}; {name} goes on: nobody stronger may answer"
    return _before(chosen, order), reason


def _before(chosen: Contender, order: Sequence[Contender]) -> list[Contender]:
    return [chosen, *(contender for contender in order if contender is not chosen)]


def phase_of(prompt: Prompt, course: Course | None) -> Phase | None:
    """Return which step of an agent a call is; None where it is none."""
    if course is not None and is_in_loop(prompt):
        return course.phase
    return "planning" if prompt.tools else None
