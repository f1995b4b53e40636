"""What stands between a strategy's ask and the candidate: its rest, and the call's deadline.

In: a skin's transport. Out: the same transport, which waits where a server asked for it, is cut
off at the deadline, and tells the router's `Health` how every attempt ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any

from shared_core.errors import CandidateRestingError, DeadlineExceededError
from shared_core.execution.deadline import Deadline
from shared_core.execution.failures import Kind, retry_after
from shared_core.execution.health import Health
from shared_core.execution.run import Transport
from shared_core.types import Ask, Reply

__all__ = ["Guard"]


@dataclass
class Guard:
    """A transport around a transport; see `shared_core.execution.run.Transport`.

    Attributes:
        transport: The skin's own.
        health: Who rests.
        deadline: Of the call, all attempts together.
        sleep: Waits for seconds.
        asleep: Does so on the event loop.
    """

    transport: Transport
    health: Health
    deadline: Deadline
    sleep: Callable[[float], None] = time.sleep
    asleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def send(self, ask: Ask) -> Reply:
        """Call the asked candidate once it may be called."""
        for seconds in self._waits(ask):
            self.sleep(seconds)
        try:
            reply = self.deadline.call(lambda: self.transport.send(ask))
        except BaseException as error:
            self._ended(ask, error)
            raise
        self.health.succeeded(ask.candidate)
        return reply

    async def asend(self, ask: Ask) -> Reply:
        """Do the same without blocking."""
        for seconds in self._waits(ask):
            await self.asleep(seconds)
        try:
            reply = await self.deadline.acall(lambda: self.transport.asend(ask))
        except BaseException as error:
            self._ended(ask, error)
            raise
        self.health.succeeded(ask.candidate)
        return reply

    def stream(self, ask: Ask) -> Generator[Any, None, None]:
        """Yield the asked candidate's chunks once it may be called."""
        for seconds in self._waits(ask):
            self.sleep(seconds)
        try:
            with closing(self.deadline.iterate(self.transport.stream(ask))) as chunks:
                yield from chunks
        except BaseException as error:
            self._ended(ask, error)
            raise
        self.health.succeeded(ask.candidate)

    async def astream(self, ask: Ask) -> AsyncGenerator[Any, None]:
        """Do the same without blocking."""
        for seconds in self._waits(ask):
            await self.asleep(seconds)
        try:
            async with aclosing(self.deadline.aiterate(self.transport.astream(ask))) as chunks:
                async for chunk in chunks:
                    yield chunk
        except BaseException as error:
            self._ended(ask, error)
            raise
        self.health.succeeded(ask.candidate)

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        """Make one reply out of all chunks of a stream."""
        return self.transport.join(ask, chunks)

    def split(self, reply: Reply) -> Iterable[Any]:
        """Make chunks out of a reply that was held back."""
        return self.transport.split(reply)

    def is_visible(self, chunk: Any) -> bool:
        """Tell whether the chunk shows the caller anything."""
        return self.transport.is_visible(chunk)

    def kind_of(self, error: Exception) -> Kind | None:
        """Tell what kind of failure it is."""
        return self.transport.kind_of(error)

    def is_retryable(self, error: Exception) -> bool:
        """Tell whether another candidate might succeed, and has the time to."""
        if isinstance(error, DeadlineExceededError):
            return False
        return isinstance(error, CandidateRestingError) or self.transport.is_retryable(error)

    def _waits(self, ask: Ask) -> Iterator[float]:
        """Yield the seconds to wait before asking, until the candidate may be asked."""
        patience = self.health.cooldown.patience
        left = self.deadline.left()
        while seconds := self.health.enter(ask.candidate):
            if seconds > min(patience, left):
                raise CandidateRestingError(ask.candidate, seconds)
            yield seconds
            patience, left = patience - seconds, self.deadline.left()

    def _ended(self, ask: Ask, error: BaseException) -> None:
        """Take note of an attempt that gave no answer, be it that nobody waits for one any more."""
        if isinstance(error, DeadlineExceededError):
            return  # A call that we cut off ourselves says nothing about the candidate.
        if isinstance(error, Exception) and self.transport.kind_of(error) == "unavailable":
            self.health.failed(ask.candidate, error, retry_after(error))
        else:
            self.health.abandoned(ask.candidate)
