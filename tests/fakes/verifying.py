"""Runs a verifier without any driver: scripted replies, checks carried out on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from shared_core.strategies.verifiers.base import Verifier
from shared_core.types import Ask, Check, Draft, Reply, Verdict
from tests.fakes.core import prompt

ODD_TEXTS = {
    "empty": "",
    "blank": " \n\t ",
    "nuls": "\0" * 1000,
    "lone surrogates": "\ud800 = \udfff" * 1000,
    "digits and operators": "12+3*4-(5/6)=7" * 70_000,
    "digits alone": "7" * 1_000_000,
    "open brackets": "(" * 500_000 + "[{" * 250_000,
    "open fences": "```python\n" * 100_000,
    "backslashes": "\\" * 1_000_000,
    "boxes": "\\boxed{" * 140_000,
    "braces": '{"a":' * 200_000,
    "one letter": "a" * 1_000_000,
    "lines": "\n" * 1_000_000,
    "words": "no, I think so. " * 60_000,
}
"""Texts that a model could write and a reader of texts must bear."""


@dataclass
class Scripted:
    """Answers asks in the order of a script; an exception in it is a failed call."""

    script: Iterable[str | Reply | Exception] = ()
    asks: list[Ask] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._left = iter(self.script)

    def verdict(self, verifier: Verifier, draft: Draft) -> Verdict:
        """Drive a verifier to its verdict."""
        steps, results = verifier.verify(draft), None
        while True:
            try:
                wishes = next(steps) if results is None else steps.send(results)
            except StopIteration as stop:
                return stop.value
            results = tuple(self._do(wish) for wish in wishes)

    def _do(self, wish: Ask | Check) -> Reply | Verdict:
        if isinstance(wish, Ask):
            self.asks.append(wish)
            return self._reply(wish.candidate)
        self.checks.append(wish)
        return _verdict(wish)

    def _reply(self, candidate: str) -> Reply:
        said = next(self._left)
        if isinstance(said, Exception):
            return Reply(candidate, error=said, retryable=True)
        return Reply(candidate, text=said) if isinstance(said, str) else said


def _verdict(check: Check) -> Verdict:
    try:
        said: Any = check.look(check.draft)
    except Exception as error:
        return Verdict(check.verifier, None, type(error).__name__)
    return said if isinstance(said, Verdict) else Verdict(check.verifier, said)


def draft(answer: str | Reply, asked: str = "Hello", *, prior: float = 0.5, **view: Any) -> Draft:
    """A draft of the candidate `small`."""
    reply = Reply("small", text=answer) if isinstance(answer, str) else answer
    return Draft(prompt(asked, **view), reply, prior)


def verdict(verifier: Verifier, looked_at: Draft) -> Verdict:
    """What a verifier that asks nobody makes of a draft."""
    return Scripted().verdict(verifier, looked_at)
