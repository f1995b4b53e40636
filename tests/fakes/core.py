"""What tests of the core use instead of models and frameworks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shared_core.execution.checks import acarried_out, aglanced, carried_out, glanced
from shared_core.execution.deadline import Deadline
from shared_core.execution.failures import Kind
from shared_core.execution.run import Growing
from shared_core.types import (
    Ask,
    Candidate,
    Check,
    Entry,
    Estimate,
    Prompt,
    Reply,
    Turn,
    Verdict,
)


def prompt(text: str = "Hello", **view: Any) -> Prompt:
    """A prompt of one user turn."""
    return Prompt(turns=(Turn("user", text),), **{"tokens": 10, **view})


def candidate(name: str, **known: Any) -> Candidate:
    """A candidate whose model is its own name in capitals."""
    return Candidate(name, name.upper(), **known)


def estimate(name: str, quality: float, **known: Any) -> Estimate:
    """An estimate without an interval."""
    return Estimate(name, quality, quality, quality, **known)


@dataclass(frozen=True)
class FixedPredictor:
    """Predicts what it is told."""

    qualities: dict[str, float]
    output_tokens: int | None = 100
    name: str = "fixed"
    inline_chars: int = 1000

    def predict(self, prompt: Prompt, candidates: Sequence[Candidate]) -> list[Estimate]:
        return [
            estimate(c.name, self.qualities[c.name], output_tokens=self.output_tokens)
            for c in candidates
        ]


@dataclass
class Choosing:
    """Has the router pick the candidate that `choose` names for the n-th decision, from 0.

    Attributes:
        prompts: What was decided on, one per decision.
    """

    choose: Callable[[int], str] = lambda _: "small"
    prompts: list[Prompt] = field(default_factory=list)
    name: str = "choosing"
    inline_chars: int = 1000

    def predict(self, prompt: Prompt, candidates: Sequence[Candidate]) -> list[Estimate]:
        chosen = self.choose(len(self.prompts))
        self.prompts.append(prompt)
        return [estimate(c.name, 0.9 if c.name == chosen else 0.1) for c in candidates]


@dataclass
class FakeTransport:
    """Answers with each candidate's scripted chunks; an exception among them is raised there."""

    script: dict[str, list[Any]]
    retryable: Callable[[Exception], bool] = lambda error: isinstance(error, ConnectionError)
    asked: list[Ask] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def recorded(self, entry: Entry) -> None:
        self.entries.append(entry)

    def send(self, ask: Ask) -> Reply:
        return self.join(ask, list(self.stream(ask)))

    async def asend(self, ask: Ask) -> Reply:
        return self.send(ask)

    def stream(self, ask: Ask) -> Generator[Any, None, None]:
        self.asked.append(ask)
        try:
            for chunk in self.script[ask.candidate]:
                if isinstance(chunk, BaseException):
                    raise chunk
                yield chunk
        finally:
            self.closed.append(ask.candidate)

    async def astream(self, ask: Ask) -> AsyncGenerator[Any, None]:
        stream = self.stream(ask)
        try:
            for chunk in stream:
                yield chunk
        finally:
            stream.close()

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        return Reply(ask.candidate, native="".join(chunks), text="".join(chunks))

    def split(self, reply: Reply) -> Iterable[Any]:
        return (reply.native,)

    def edited(self, reply: Reply) -> Reply:
        return replace(reply, native=reply.text)

    def is_visible(self, chunk: Any) -> bool:
        return bool(chunk)

    def kind_of(self, error: Exception) -> Kind | None:
        return "unavailable" if self.retryable(error) else None

    def is_retryable(self, error: Exception) -> bool:
        return self.retryable(error)

    def check(self, check: Check) -> Verdict:
        return carried_out(check, Deadline(None))

    async def acheck(self, check: Check) -> Verdict:
        return await acarried_out(check, Deadline(None))

    def glance(self, growing: Growing) -> bool:
        return glanced(growing, Deadline(None))

    async def aglance(self, growing: Growing) -> bool:
        return await aglanced(growing, Deadline(None))

    def judged(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)


class NoAccount:
    """Keeps account of nothing; see `shared_core.execution.guard.Bookkeeper`."""

    def open(self, ask: Ask) -> Any:
        return Hold(ask)

    async def aopen(self, ask: Ask) -> Any:
        return Hold(ask)

    def close(self, hold: Any, reply: Reply) -> None:
        pass

    async def aclose(self, hold: Any, reply: Reply) -> None:
        pass

    def fail(
        self, hold: Any, error: BaseException, *, billed: bool, shown: str | None = None
    ) -> None:
        pass

    async def afail(
        self, hold: Any, error: BaseException, *, billed: bool, shown: str | None = None
    ) -> None:
        pass

    def note(self, ask: Ask, outcome: str, error: Exception) -> None:
        pass

    def waited(self, seconds: float) -> None:
        pass

    def judged(self, verdict: Verdict) -> None:
        pass


@dataclass
class Hold:
    """An attempt that nothing is held for."""

    ask: Ask
