"""Small strategies that do one thing each: fan out, add turns, edit, nest a step in a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from shared_core.errors import BudgetExceededError
from shared_core.strategies.base import failure
from shared_core.types import Ask, Decision, Prompt, Reply, Steps, Turn, Verdict

ADVICE = (Turn("system", "Be brief."), Turn("user", "Mind {this}: 1 + 1 = {2}."))
"""Turns that are said besides the caller's messages, with what a template could take for its."""


@dataclass(frozen=True)
class Adding:
    """Asks the chosen candidate with turns besides the caller's messages.

    Attributes:
        turns: These.
        visible: Whether the caller sees its answer grow.
    """

    turns: tuple[Turn, ...] = ADVICE
    visible: bool = True

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        reply: Reply
        (reply,) = yield (Ask(decision.candidate, self.visible, turns=self.turns),)
        return _whole([reply])[0]


@dataclass(frozen=True)
class Editing:
    """Returns the chosen candidate's answer with another text.

    Attributes:
        edit: Makes the text.
        visible: Whether the caller sees the answer grow, which is wrong.
    """

    edit: Callable[[str], str] = lambda text: f"{text} (edited)"
    visible: bool = False

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        reply: Reply
        (reply,) = yield (Ask(decision.candidate, self.visible),)
        (whole,) = _whole([reply])
        return replace(whole, text=self.edit(whole.text))


@dataclass(frozen=True)
class Everyone:
    """Asks all allowed candidates side by side, out of sight; the first that answered answers.

    Attributes:
        rounds: How often each is asked, all of one step.
        edit: Makes the text of the answer out of all; None leaves it as it is.
    """

    rounds: int = 1
    edit: Callable[[Sequence[str]], str] | None = None

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        names = decision.allowed * self.rounds
        replies: tuple[Reply, ...] = yield tuple(Ask(name, visible=False) for name in names)
        good = _whole(replies)
        yield (Verdict("everyone", None, f"{len(good)} of {len(replies)} answered"),)
        if self.edit is None:
            return good[0]
        return replace(good[0], text=self.edit([reply.text for reply in good]))


@dataclass(frozen=True)
class Relay:
    """Asks all allowed candidates out of sight, then the strongest with what they said.

    Attributes:
        replace: The last one is told instead of the caller's messages.
        last: Whether the caller sees the last one's answer grow.
    """

    replace: bool = False
    last: bool = True
    params: dict[str, object] = field(default_factory=dict)

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        asks = [Ask(name, False, self.params) for name in decision.allowed]
        replies: tuple[Reply, ...] = yield tuple(asks)
        said = "\n".join(f"- {reply.text}" for reply in _whole(replies))
        turns = Turn("system", "Others have answered:\n" + said), Turn("user", "Now you.")
        final = Ask(decision.allowed[-1], self.last, turns=turns, replace=self.replace)
        reply: Reply
        (reply,) = yield (final,)
        if isinstance(reply.error, BudgetExceededError):
            return _whole(replies)[0]
        return _whole([reply])[0]


@dataclass(frozen=True)
class Twice:
    """Shows the caller an answer, and then returns another."""

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        yield (Ask(decision.candidate),)
        (reply,) = yield (Ask(decision.candidate, visible=False),)
        return reply


def _whole(replies: Sequence[Reply]) -> list[Reply]:
    """The replies that are no failures; raises where all are."""
    good = [reply for reply in replies if reply.error is None]
    if good:
        return good
    raise failure([(r.candidate, r.error) for r in replies if r.error is not None])
