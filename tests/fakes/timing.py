"""Time in tests: a clock that is put forward, and what something takes on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Clock:
    """Stands still unless it is put forward."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fastest(call: Callable[[], Any], times: int = 5) -> float:
    """The processor's seconds of the quickest of some calls, after one that warms up."""
    call()
    taken = []
    for _ in range(times):
        started = time.thread_time()
        call()
        taken.append(time.thread_time() - started)
    return min(taken)
