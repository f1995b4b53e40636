"""Streams that are left before their end: whoever produces them has to stop, and at once.

LlamaIndex's integrations wrap the stream of a client in generators of their own. OpenAI's client
has its connection in a cycle of references: closing the outermost generator leaves it open, and the
model writing and billing on, until the garbage collector comes by.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import AsyncGeneratorType, GeneratorType
from typing import Any

__all__ = ["all_aclosed", "all_closed"]


@contextmanager
def all_closed(stream: Generator[Any, None, None]) -> Iterator[Generator[Any, None, None]]:
    """Close a stream in the end, and then every generator that it was going through."""
    try:
        yield stream
    finally:
        below = _through(stream, GeneratorType)
        stream.close()
        for one in below:
            one.close()


@asynccontextmanager
async def all_aclosed(
    stream: AsyncGenerator[Any, None],
) -> AsyncIterator[AsyncGenerator[Any, None]]:
    """Do the same with a stream of the event loop."""
    try:
        yield stream
    finally:
        below = _through(stream, AsyncGeneratorType)
        await stream.aclose()
        for one in below:
            await one.aclose()


def _through(stream: Any, kind: type[Any]) -> list[Any]:
    """Return the generators that a suspended one goes through, the outer ones first."""
    found = [stream]
    for one in found:  # which grows meanwhile
        held = gc.get_referents(one) if isinstance(one, kind) else ()
        found += [o for o in held if isinstance(o, kind) and not any(o is f for f in found)]
    return found[1:]
