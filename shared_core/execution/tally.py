"""How many attempts a call has made, with those of routers that are its candidates themselves.

In: each attempt as it begins. Out: nothing, or `TooManyAttemptsError`. Strategies nest (a mixture
over cascades, a router whose candidate is a router), and the attempts of each multiply; the call
that the user made, the outermost, has one tally, which all calls inside it count on.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from shared_core.errors import TooManyAttemptsError

__all__ = ["Tally"]

T = TypeVar("T")
_END: Any = object()
_OUTER: ContextVar[Tally | None] = ContextVar("router_llm_tally", default=None)


class Tally:
    """Counts attempts up to a limit, on behalf of a call and of all calls inside it."""

    def __init__(self, limit: int) -> None:
        """Begin with none, inside whatever is being counted already."""
        self._outer, self._limit, self._count = _OUTER.get(), limit, 0
        self._lock = threading.Lock()

    def take(self) -> None:
        """Count one.

        Raises:
            TooManyAttemptsError: As many as are allowed have been made.
        """
        with self._lock:
            if self._count >= self._limit:
                raise TooManyAttemptsError(self._limit)
            self._count += 1
        if self._outer is not None:
            self._outer.take()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Have the calls inside the block count on this one."""
        token = _OUTER.set(self)
        try:
            yield
        finally:
            _OUTER.reset(token)

    def over(self, chunks: Generator[T, None, None]) -> Generator[T, None, None]:
        """Do so for a stream, while it makes each of its chunks: the caller's turns are its own."""
        with closing(chunks):
            while True:
                with self.on():
                    chunk = next(chunks, _END)
                if chunk is _END:
                    return
                yield chunk

    async def aover(self, chunks: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Do the same on the event loop."""
        async with aclosing(chunks):
            while True:
                with self.on():
                    chunk = await anext(chunks, _END)
                if chunk is _END:
                    return
                yield chunk
