"""What was asked: a plain, lossy view of the caller's messages, and who calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from shared_core.errors import ConfigurationError
from shared_core.types.candidate import Candidate
from shared_core.types.decision import Estimate

__all__ = ["Constraint", "Modality", "Prompt", "Scope", "Step", "Turn", "as_constraints"]

Modality = Literal["image", "audio", "video", "pdf"]
"""What a prompt can carry besides text."""


class Turn(NamedTuple):
    """One message of the prompt, as plain text."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str

    def place_in(self, roles: Sequence[str]) -> int | None:
        """Return in which of the caller's messages it is said; None: in one of its own.

        What a system says is in the first system message. What a user says, or a tool, which is
        told as the user's, is in the last one where that is a user's: roles still take turns.
        """
        if self.role == "system":
            return next((place for place, role in enumerate(roles) if role == "system"), None)
        joins = bool(roles) and roles[-1] == "user" and self.role != "assistant"
        return len(roles) - 1 if joins else None


@dataclass(frozen=True, slots=True)
class Scope:
    """Who is calling, and what holds for all of their calls.

    Attributes:
        thread: The conversation.
        user: The person.
        tenant: Whom the person works for.
        run: The run of an agent, a graph, a pipeline that the calls belong to.
        step: The step of it, for reports.
        pin: The candidate that answers, by name; it is held to every constraint.
        subject_to: Constraints, besides those of the policy.

    Raises:
        ConfigurationError: A key is no non-empty string, or a constraint no function.
    """

    thread: str | None = None
    user: str | None = None
    tenant: str | None = None
    pin: str | None = None
    subject_to: Sequence[Constraint] = ()
    run: str | None = None
    step: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for label in ("thread", "user", "tenant", "pin", "run", "step"):
            value = getattr(self, label)
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigurationError(
                    f"call scope: {label} must be a non-empty string, not {value!r}"
                )
        object.__setattr__(self, "subject_to", as_constraints("call scope", self.subject_to))

    def within(self, outer: Scope) -> Scope:
        """Return this scope inside another: its keys win, the constraints of both hold."""
        if outer == Scope():
            return self
        return Scope(
            thread=self.thread or outer.thread,
            user=self.user or outer.user,
            tenant=self.tenant or outer.tenant,
            pin=self.pin or outer.pin,
            subject_to=(*outer.subject_to, *self.subject_to),
            run=self.run or outer.run,
            step=self.step or outer.step,
        )


def as_constraints(owner: str, given: Any) -> tuple[Constraint, ...]:
    """Return constraints as a tuple.

    Raises:
        ConfigurationError: It is no sequence of functions.
    """
    listed = isinstance(given, Iterable) and not callable(given) and not isinstance(given, str)
    rules = tuple(given) if listed else None  # once: a generator is empty the second time
    if rules is None or not all(callable(rule) for rule in rules):
        raise ConfigurationError(
            f"{owner}: subject_to must be a list of constraints, for instance [local_only()], "
            f"not {given!r}"
        )
    return rules


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a tool loop: a model called tools, and perhaps they have answered.

    Attributes:
        author: The candidate that made it, where that is known.
        calls: Each call that it made, its name with its arguments in an order of their own, so that
            the same call is the same text.
        failed: Of the tools' results, how many are errors.
        malformed: It has a call that could not be parsed.
        results: What the tools said.
    """

    author: str | None
    calls: tuple[str, ...] = ()
    failed: int = 0
    malformed: bool = False
    results: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A plain, lossy view of what the caller asks: enough to choose a candidate by.

    Attributes:
        turns: The conversation as text, oldest first.
        tokens: Estimated input tokens (see `estimate_tokens`), tools included.
        tools: The tools on offer, in full, as OpenAI-shaped function schemas.
        must_call: A tool call is forced (any tool, or one by name).
        schema: The output schema that is asked for, in full; None for free text.
        schema_method: "function_calling", "json_schema" or "json_mode" where the caller insists
            on one; None leaves it to the candidate.
        modalities: What the messages carry besides text.
        in_tool_loop: The last message is a tool's result: a model waits for it.
        author: The candidate that wrote the last assistant message, where that is known.
        scope: Who is calling.
        max_tokens: Most output tokens that the caller asks for; None where that is not said.
        loop: The steps of the tool loop since the user's last turn, oldest first.
    """

    turns: tuple[Turn, ...]
    tokens: int
    tools: tuple[Mapping[str, Any], ...] = ()
    must_call: bool = False
    schema: Mapping[str, Any] | None = None
    schema_method: str | None = None
    modalities: frozenset[Modality] = frozenset()
    in_tool_loop: bool = False
    author: str | None = None
    scope: Scope = Scope()
    max_tokens: int | None = None
    loop: tuple[Step, ...] = ()

    @property
    def text(self) -> str:
        """What the user asked last, or everything where no user turn exists."""
        for turn in reversed(self.turns):
            if turn.role == "user":
                return turn.text
        return "\n".join(turn.text for turn in self.turns)


Constraint = Callable[[Prompt, Candidate, Estimate], "bool | str | None"]
"""A hard limit: returns None or True to allow, False or a reason (a string) to refuse."""
