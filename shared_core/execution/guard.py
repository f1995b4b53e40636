"""What stands between a strategy's ask and the candidate: budgets, its rest, the call's deadline.

In: a skin's transport. Out: the same transport, which waits where a server asked for it, has what
an attempt can cost reserved before and charged after, is cut off at the deadline, and tells the
router's `Health` how every attempt ended; and which has drafts looked at, in time too.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from shared_core.errors import (
    BudgetExceededError,
    CandidateRestingError,
    DeadlineExceededError,
    DraftDroppedError,
    TooManyAttemptsError,
)
from shared_core.execution.checks import acarried_out, aglanced, carried_out, glanced
from shared_core.execution.deadline import Deadline
from shared_core.execution.failures import Kind, is_billed, retry_after
from shared_core.execution.health import Health
from shared_core.execution.run import Growing, Transport
from shared_core.execution.tally import Tally
from shared_core.types import Ask, Check, Entry, Outcome, Reply, Verdict

__all__ = ["Bookkeeper", "Guard"]


class Hold(Protocol):
    """One attempt that is under way, as its bookkeeper knows it."""

    ask: Ask


class Bookkeeper(Protocol):
    """Keeps account of one call's attempts; see `shared_core.accounting.account.Account`."""

    def open(self, ask: Ask) -> Any:
        """Begin an attempt; return its hold, whose ask is the one to send."""
        ...

    async def aopen(self, ask: Ask) -> Any:
        """Do the same without blocking."""
        ...

    def close(self, hold: Any, reply: Reply) -> None:
        """End one that has answered."""
        ...

    async def aclose(self, hold: Any, reply: Reply) -> None:
        """Do the same without blocking."""
        ...

    def fail(
        self, hold: Any, error: BaseException, *, billed: bool, shown: str | None = None
    ) -> None:
        """End one that has not; `shown` is the text that came of it, None where nothing did."""
        ...

    async def afail(
        self, hold: Any, error: BaseException, *, billed: bool, shown: str | None = None
    ) -> None:
        """Do the same without blocking."""
        ...

    def note(self, ask: Ask, outcome: Outcome, error: Exception) -> None:
        """Take note of a candidate that was not asked at all."""
        ...

    def waited(self, seconds: float) -> None:
        """Take note of a wait."""
        ...

    def judged(self, verdict: Verdict) -> None:
        """Take note of what a verifier made of a draft."""
        ...


@dataclass
class Guard:
    """A transport around a transport; see `shared_core.execution.run.Caller`.

    Attributes:
        transport: The skin's own.
        account: Of the call.
        health: Who rests.
        deadline: Of the call, all attempts together.
        sleep: Waits for seconds.
        asleep: Does so on the event loop.
        tally: Of the call's attempts, those of calls inside it too.
    """

    transport: Transport
    account: Bookkeeper
    health: Health
    deadline: Deadline
    sleep: Callable[[float], None] = time.sleep
    asleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    tally: Tally = field(default_factory=lambda: Tally(sys.maxsize))
    _streamed: dict[int, Reply] = field(default_factory=dict, init=False)  # by the ask's place

    def send(self, ask: Ask) -> Reply:
        """Call the asked candidate once it may be called."""
        for seconds in self._waits(ask):
            self.sleep(seconds)
        hold = self._open(ask)
        try:
            with self.tally.on():
                reply = self.deadline.call(lambda: self.transport.send(hold.ask))
        except BaseException as error:
            self._ended(ask, error)
            self.account.fail(hold, error, billed=is_billed(error))
            raise
        self.health.succeeded(ask.candidate)
        self.account.close(hold, reply)
        return reply

    async def asend(self, ask: Ask) -> Reply:
        """Do the same without blocking."""
        for seconds in self._waits(ask):
            await self.asleep(seconds)
        hold = await self._aopen(ask)
        try:
            with self.tally.on():
                reply = await self.deadline.acall(lambda: self.transport.asend(hold.ask))
        except BaseException as error:
            self._ended(ask, error)
            await self.account.afail(hold, error, billed=is_billed(error))
            raise
        self.health.succeeded(ask.candidate)
        await self.account.aclose(hold, reply)
        return reply

    def stream(self, ask: Ask) -> Generator[Any, None, None]:
        """Yield the asked candidate's chunks once it may be called."""
        for seconds in self._waits(ask):
            self.sleep(seconds)
        hold, seen = self._open(ask), list[Any]()
        try:
            stream = self.deadline.iterate(self.transport.stream(hold.ask))
            with closing(self.tally.over(stream)) as chunks:
                for chunk in chunks:
                    seen.append(chunk)
                    yield chunk
            self._streamed[ask.place] = streamed = self.transport.join(hold.ask, seen)
        except BaseException as error:
            self._ended(ask, error)
            self.account.fail(hold, error, **self._remains(hold.ask, seen, error))
            raise
        self.health.succeeded(ask.candidate)
        self.account.close(hold, streamed)

    async def astream(self, ask: Ask) -> AsyncGenerator[Any, None]:
        """Do the same without blocking."""
        for seconds in self._waits(ask):
            await self.asleep(seconds)
        hold, seen = await self._aopen(ask), list[Any]()
        try:
            stream = self.deadline.aiterate(self.transport.astream(hold.ask))
            async with aclosing(self.tally.aover(stream)) as chunks:
                async for chunk in chunks:
                    seen.append(chunk)
                    yield chunk
            self._streamed[ask.place] = streamed = self.transport.join(hold.ask, seen)
        except BaseException as error:
            self._ended(ask, error)
            await self.account.afail(hold, error, **self._remains(hold.ask, seen, error))
            raise
        self.health.succeeded(ask.candidate)
        await self.account.aclose(hold, streamed)

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        """Return the reply that the stream which has just ended was joined into."""
        streamed = self._streamed.pop(ask.place, None)
        return self.transport.join(ask, chunks) if streamed is None else streamed

    def split(self, reply: Reply) -> Iterable[Any]:
        """Make chunks out of a reply that was held back."""
        return self.transport.split(reply)

    def edited(self, reply: Reply) -> Reply:
        """Have a reply's native object say its text."""
        return self.transport.edited(reply)

    def is_visible(self, chunk: Any) -> bool:
        """Tell whether the chunk shows the caller anything."""
        return self.transport.is_visible(chunk)

    def kind_of(self, error: Exception) -> Kind | None:
        """Tell what kind of failure it is."""
        return self.transport.kind_of(error)

    def is_retryable(self, error: Exception) -> bool:
        """Tell whether another candidate might succeed, and has the time to."""
        if isinstance(error, (DeadlineExceededError, TooManyAttemptsError)):
            return False
        if isinstance(error, (BudgetExceededError, CandidateRestingError)):
            return True
        return self.transport.is_retryable(error)

    def check(self, check: Check) -> Verdict:
        """Have a draft looked at, for no longer than the call may last."""
        return carried_out(check, self.deadline)

    async def acheck(self, check: Check) -> Verdict:
        """Do the same without blocking."""
        return await acarried_out(check, self.deadline)

    def glance(self, growing: Growing) -> bool:
        """Have a growing answer looked at, for no longer than the call may last."""
        return glanced(growing, self.deadline)

    async def aglance(self, growing: Growing) -> bool:
        """Do the same without blocking."""
        return await aglanced(growing, self.deadline)

    def judged(self, verdict: Verdict) -> None:
        """Have a verdict written down."""
        self.account.judged(verdict)

    def recorded(self, entry: Entry) -> None:
        """Tell the transport."""
        self.transport.recorded(entry)

    def _open(self, ask: Ask) -> Any:
        """Have what the attempt can take held; one that is refused leaves a trial to the next."""
        try:
            self.tally.take()
            return self.account.open(ask)
        except BaseException:
            self.health.abandoned(ask.candidate)
            raise

    async def _aopen(self, ask: Ask) -> Any:
        """Do the same without blocking."""
        try:
            self.tally.take()
            return await self.account.aopen(ask)
        except BaseException:
            self.health.abandoned(ask.candidate)
            raise

    def _waits(self, ask: Ask) -> Iterator[float]:
        """Yield the seconds to wait before asking, until the candidate may be asked."""
        patience = self.health.cooldown.patience
        left = self.deadline.left()
        while seconds := self.health.enter(ask.candidate):
            if seconds > min(patience, left):
                resting = CandidateRestingError(ask.candidate, seconds)
                self.account.note(ask, "resting", resting)
                raise resting
            yield seconds
            self.account.waited(seconds)
            patience, left = patience - seconds, self.deadline.left()

    def _remains(self, ask: Ask, seen: list[Any], error: BaseException) -> dict[str, Any]:
        """Return what is left of a stream that broke off: its text, and whether it is billed."""
        shown = None
        with suppress(Exception):  # chunks that cannot be joined may be what broke it off
            if any(map(self.transport.is_visible, seen)):
                shown = self.transport.join(ask, seen).text
        return {"billed": bool(seen) or is_billed(error), "shown": shown}

    def _ended(self, ask: Ask, error: BaseException) -> None:
        """Take note of an attempt that gave no answer, be it that nobody waits for one any more."""
        if isinstance(error, DraftDroppedError):
            self.health.succeeded(ask.candidate)  # it was answering well enough
            return
        if isinstance(error, DeadlineExceededError):
            return  # A call that we cut off ourselves says nothing about the candidate.
        if isinstance(error, Exception) and self.transport.kind_of(error) == "unavailable":
            self.health.failed(ask.candidate, error, retry_after(error))
        else:
            self.health.abandoned(ask.candidate)
