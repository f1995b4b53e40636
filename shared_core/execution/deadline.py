"""A deadline held over everything that a call waits for, on an event loop and without one.

In: a call or a stream of one candidate. Out: the same, or `DeadlineExceededError` in time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import Future, wait
from contextlib import aclosing, closing
from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from shared_core.errors import DeadlineExceededError

__all__ = ["Deadline"]

T = TypeVar("T")
_END = object()


class Deadline:
    """The time by which a call must be complete, counted from now; None for no limit."""

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the clock."""
        self.seconds, self._clock = seconds, clock
        self._ends = None if seconds is None else clock() + seconds

    def left(self) -> float:
        """Return the seconds left, infinite without a limit.

        Raises:
            DeadlineExceededError: None are left.
        """
        if self._ends is None:
            return float("inf")
        left = self._ends - self._clock()
        if left <= 0:
            raise DeadlineExceededError(self.seconds)
        return left

    def call(self, function: Callable[[], T]) -> T:
        """Return what the function returns."""
        if self._ends is None:
            return function()
        with closing(_Worker()) as worker:
            return worker.call(function, self)

    def iterate(self, chunks: Generator[T, None, None]) -> Generator[T, None, None]:
        """Return a stream of the same."""
        return chunks if self._ends is None else self._iterate(chunks)

    def _iterate(self, chunks: Generator[T, None, None]) -> Generator[T, None, None]:
        with closing(_Worker(chunks.close)) as worker:
            while (chunk := worker.call(lambda: next(chunks, _END), self)) is not _END:
                yield chunk  # type: ignore[misc]

    async def acall(self, function: Callable[[], Awaitable[T]]) -> T:
        """Return what the function returns; what is too late is cancelled."""
        if self._ends is None:
            return await function()
        limit = asyncio.timeout(self.left())
        try:
            async with limit:
                return await function()
        except TimeoutError:
            if limit.expired():
                raise DeadlineExceededError(self.seconds) from None
            raise

    def aiterate(self, chunks: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Return a stream of the same; what is too late is cancelled."""
        return chunks if self._ends is None else self._aiterate(chunks)

    async def _aiterate(self, chunks: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        async with aclosing(chunks):
            while (late := await self.acall(lambda: anext(chunks, _END))) is not _END:
                yield late  # type: ignore[misc]


class _Worker:
    """A thread of one call, which is waited for no longer than allowed.

    Nothing can stop a call that is under way in a thread; it is left behind, and what there is to
    close is closed as soon as it returns.
    """

    def __init__(self, close: Callable[[], None] = lambda: None) -> None:
        self._close, self._late = close, False
        self._tasks: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        context = copy_context()
        self._thread = Thread(target=context.run, args=(self._work,), daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T], deadline: Deadline) -> T:
        left, done = deadline.left(), Future[T]()
        self._late = True  # until it has come back, whatever ends the wait
        self._tasks.put((function, done))
        if not wait([done], left).done:
            raise DeadlineExceededError(deadline.seconds)
        self._late = False
        return done.result()

    def close(self) -> None:
        """Have the thread end; a call that is too late ends it later."""
        self._tasks.put(None)
        if not self._late:
            self._thread.join()

    def _work(self) -> None:
        while task := self._tasks.get():
            function, done = task
            try:
                done.set_result(function())
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                done.set_exception(error)
        self._close()
