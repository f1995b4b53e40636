"""Hard limits: who may not answer, whatever the scores say.

In: a prompt, a candidate and its estimate. Out: None to allow, or the reason for refusing. Each is
checked for every candidate of every call, forced ones, pinned ones and fallbacks too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from shared_core.errors import ConfigurationError
from shared_core.ranges import is_number, is_whole
from shared_core.types import Candidate, Constraint, Estimate, Prompt

__all__ = [
    "broken_constraint",
    "cleared",
    "deadline_s",
    "local_only",
    "max_cost_usd",
    "max_energy_wh",
    "max_steps",
    "time_limit",
]

Tags = Callable[[Prompt], Iterable[str] | str | None]
"""Tells which tags a candidate needs to see a prompt."""


def broken_constraint(
    rules: Sequence[Constraint], prompt: Prompt, candidate: Candidate, estimate: Estimate
) -> str | None:
    """Return the reason of the first constraint that refuses, or None.

    Raises:
        ConfigurationError: A constraint returns what neither allows nor refuses.
    """
    for rule in rules:
        verdict = rule(prompt, candidate, estimate)
        if verdict is None or verdict is True:
            continue
        name = getattr(rule, "__name__", type(rule).__name__)
        if verdict is not False and not isinstance(verdict, str):
            raise ConfigurationError(
                f"the constraint {name} must return None or True to allow a candidate, False or a "
                f"reason to refuse it, not {verdict!r}"
            )
        return verdict or f"refused by {name}"
    return None


def local_only() -> Constraint:
    """Allow only candidates that are declared to run locally (`local=True`)."""

    def local_only(prompt: Prompt, candidate: Candidate, estimate: Estimate) -> str | None:
        return None if candidate.local else "is not declared to run locally"

    return local_only


def cleared(*needed: str | Tags) -> Constraint:
    """Allow only candidates that carry the tags which a prompt needs.

    Args:
        *needed: Tags that every prompt needs; or functions that tell a prompt's own, out of its
            text (`prompt.turns`, tools' results included) or its caller (`prompt.scope`).

    Raises:
        ConfigurationError: Nothing is needed, or something is no tag and no function.
    """
    if not needed or not all(callable(tag) or (isinstance(tag, str) and tag) for tag in needed):
        raise ConfigurationError(
            f"cleared() takes tags, or functions of a prompt that return tags, not {needed!r}"
        )

    def cleared(prompt: Prompt, candidate: Candidate, estimate: Estimate) -> str | None:
        lacking = {
            tag
            for source in needed
            for tag in _tags(source(prompt) if callable(source) else source)
            if tag not in candidate.tags
        }
        return f"is not cleared for {', '.join(sorted(lacking))}" if lacking else None

    return cleared


def _tags(given: Iterable[str] | str | None) -> Iterable[str]:
    return (given,) if isinstance(given, str) else given or ()


Unknown = Literal["refuse", "worst"]
"""What becomes of a candidate of which a figure is unknown: it is refused, or counted at the worst
that is known of any candidate."""


def max_cost_usd(usd: float, *, unknown: Unknown = "refuse") -> Constraint:
    """Allow only candidates that are expected to cost at most so much, in USD a call.

    It looks at the expected cost; `Budget(usd=…, per="call")` holds to the most a call can cost.

    Raises:
        ConfigurationError: It is no number from 0 up.
    """
    _check_limit("max_cost_usd", usd, unknown)

    def max_cost_usd(prompt: Prompt, candidate: Candidate, estimate: Estimate) -> str | None:
        return _over(usd, estimate.cost_usd, estimate.worst_usd, unknown, ("cost", "USD", "price"))

    return max_cost_usd


def max_energy_wh(wh: float, *, unknown: Unknown = "refuse") -> Constraint:
    """Allow only candidates that are expected to take at most so much energy, in Wh a call.

    It looks at the best guess (`energy_wh`), not at the ends of its range.

    Raises:
        ConfigurationError: It is no number from 0 up.
    """
    _check_limit("max_energy_wh", wh, unknown)

    def max_energy_wh(prompt: Prompt, candidate: Candidate, estimate: Estimate) -> str | None:
        return _over(wh, estimate.energy_wh, estimate.worst_wh, unknown, ("take", "Wh", "energy"))

    return max_energy_wh


def _over(
    limit: float, known: float | None, worst: float | None, unknown: Unknown, words: tuple[str, ...]
) -> str | None:
    verb, unit, what = words
    if known is not None:
        if known <= limit:
            return None
        return f"is expected to {verb} {known:.2g} {unit}, and at most {limit:g} is allowed"
    if unknown == "refuse" or worst is None:
        return f"its {what} is unknown, and at most {limit:g} {unit} is allowed"
    if worst <= limit:
        return None
    return f"its {what} is unknown, and the worst known would {verb} {worst:.2g} {unit}"


def _check_limit(name: str, limit: object, unknown: object) -> None:
    if not is_number(limit, 0):
        raise ConfigurationError(f"{name}() takes a number from 0 up, not {limit!r}")
    if unknown not in ("refuse", "worst"):
        raise ConfigurationError(f"{name}(): unknown must be 'refuse' or 'worst', not {unknown!r}")


def max_steps(steps: int) -> Constraint:
    """Let an agent's tool loop have at most so many steps, counted from the user's last turn.

    Once a loop has had them, every candidate is refused, so that the next call of the agent ends
    with `NoCandidateError`. LangGraph's own limit (`GraphRecursionError`) holds beside it.

    Raises:
        ConfigurationError: It is no whole number from 1 up.
    """
    if not is_whole(steps, 1):
        raise ConfigurationError(f"max_steps() takes a whole number from 1 up, not {steps!r}")

    def max_steps(prompt: Prompt, candidate: Candidate, estimate: Estimate) -> str | None:
        made = len(prompt.loop)
        if made < steps:
            return None
        return f"the tool loop has had {made} steps, and at most {steps} are allowed"

    return max_steps


@dataclass(frozen=True, slots=True)
class _TimeLimit:
    seconds: float

    def __call__(self, prompt: Prompt, candidate: Candidate, estimate: Estimate) -> str | None:
        expected = estimate.latency_s
        if expected is None or expected <= self.seconds:
            return None
        return f"is expected to take {expected:.3g} s, and there are {self.seconds:.3g}"


def deadline_s(seconds: float) -> Constraint:
    """Let a call take no longer than so many seconds, all attempts together.

    A candidate that is expected to take longer is refused; one whose time is unknown is not. A call
    that is not complete by then ends with `DeadlineExceededError`. Without an event loop, an
    attempt that is cut off goes on in a thread of its own until its client gives up.

    Raises:
        ConfigurationError: It is no positive number.
    """
    if not is_number(seconds, 0) or not seconds:
        raise ConfigurationError(f"deadline_s() takes a positive number, not {seconds!r}")
    return _TimeLimit(float(seconds))


def time_limit(rules: Iterable[Constraint]) -> float | None:
    """Return the shortest of the deadlines among constraints, in seconds."""
    return min((rule.seconds for rule in rules if isinstance(rule, _TimeLimit)), default=None)
