"""What a call may not leave behind: threads, connections, secrets in what is printed of errors."""

from __future__ import annotations

import gc
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 10.0
"""How long something that ends by itself may take on a busy machine."""


@contextmanager
def nothing_left(let_go: Callable[[], None] | None = None) -> Iterator[None]:
    """See that no thread and no connection of a call is left, on neither side.

    Args:
        let_go: Has the server let go at the end of a call that a deadline left behind.
    """
    threads, files = set(threading.enumerate()), _open_files()
    yield
    if let_go:
        let_go()
    assert eventually(lambda: set(threading.enumerate()) <= threads), threading.enumerate()
    if let_go and _open_files() > files:
        gc.collect()  # LlamaIndex's OpenAI client leaves a stream that is closed early to it
    assert eventually(lambda: _open_files() <= files), "a connection is left open"


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether something comes to hold in time."""
    end = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < end:
        time.sleep(0.002)
    return holds()


def _open_files() -> int:
    return len(os.listdir("/dev/fd"))


def written(error: BaseException | None) -> str:
    """All that may be printed of an error, of what it carries, and of what caused it."""
    every = [error, *(one for _, one in getattr(error, "errors", ()))]
    return "".join(
        repr(one) + "".join(traceback.format_exception(one)) for one in every if one is not None
    )
