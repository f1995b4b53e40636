"""Streams that are left before their end: whoever produces them has to stop, and at once.

LlamaIndex's integrations wrap the stream of a client in generators of their own. OpenAI's client
has its connection in a cycle of references: closing the outermost generator leaves it open, and the
model writing and billing on, until the garbage collector comes by.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import GeneratorType
from typing import Any

__all__ = ["all_closed"]


@contextmanager
def all_closed(
    stream: Generator[Any, None, None],
) -> Iterator[Generator[Any, None, None]]:
    """Close a stream in the end, and then every generator that it was going through."""
    try:
        yield stream
    finally:
        below = _through(stream)
        stream.close()
        for one in below:
            one.close()


def _through(stream: Any) -> list[Generator[Any, None, None]]:
    """Return the generators that a suspended one goes through, the outer ones first."""
    found: list[Any] = [stream]
    for one in found:  # which grows meanwhile
        held = gc.get_referents(one) if isinstance(one, GeneratorType) else ()
        known = set(map(id, found))
        found += [o for o in held if isinstance(o, GeneratorType) and id(o) not in known]
    return found[1:]
