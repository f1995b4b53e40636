"""Whose joules they are that a machine took while several calls ran on it.

In: a `Meter`, and when each call begins and ends. Out: per call, its share as `Energy`.
"""

from __future__ import annotations

import math
import threading
import warnings

from shared_core.accounting.energy.meters import Meter
from shared_core.types import Energy

__all__ = ["Shares"]


class Shares:
    """Splits a meter's energy among the calls that run at the same time.

    What is counted between two events (a call begins, a call ends) is split evenly among the calls
    that ran meanwhile; while none runs, the energy is nobody's. A meter that fails leaves the
    calls that were running unknown, and says so once.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._lock = threading.RLock()  # an abandoned stream may be collected inside
        self._running: dict[int, float | None] = {}  # by token: what one call's share was then
        self._tokens = 0
        self._last: float | None = None  # joules at the last event
        self._share = 0.0  # joules that a call would have by now that had run all along
        self._failed = False

    def begin(self) -> int:
        """Note that a call begins; give what is returned to `end`."""
        with self._lock:
            read = self._advance()
            self._tokens += 1
            self._running[self._tokens] = self._share if read else None
            return self._tokens

    def end(self, token: int) -> Energy | None:
        """Note that a call ends, and return its energy; None where the meter failed meanwhile."""
        with self._lock:
            if token not in self._running:
                return None
            self._advance()
            began = self._running.pop(token)
            if began is None:
                return None
            wh = (self._share - began) / 3600
        low, high = self._meter.spread
        return Energy(wh * low, wh, wh * high, self._meter.method)

    def _advance(self) -> bool:
        """Split what was counted since the last event; say whether the meter could be read."""
        try:
            now = self._meter.joules()
            if not math.isfinite(now):
                raise ValueError(f"it reads {now}")
        except Exception as fault:  # noqa: BLE001 - no call may fail for its meter
            self._lose(fault)
            return False
        if self._running and self._last is not None:
            self._share += max(0.0, now - self._last) / len(self._running)
        self._last = now
        return True

    def _lose(self, fault: Exception) -> None:
        self._last = None
        self._running = dict.fromkeys(self._running)
        if not self._failed:
            self._failed = True
            warnings.warn(
                f"energy is unknown while the meter cannot be read ({self._meter.method}): "
                f"{type(fault).__name__}: {fault}",
                RuntimeWarning,
                stacklevel=4,
            )
