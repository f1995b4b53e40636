"""Energy out of tokens, in Wh, always as low, mid and high, with the method named.

In: the tokens of a call. Out: `Energy`, at rates that are declared or were learned from measured
calls (`hosted.py` has those that others estimate).
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass

from shared_core.types import Energy, Usage

__all__ = ["NOTHING", "EnergyRates", "Range", "RunningFit", "declared"]

Range = tuple[float, float, float]
"""Low, mid, high."""

NOTHING: Range = (0.0, 0.0, 0.0)
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class EnergyRates:
    """What a model's tokens take.

    Attributes:
        input: Wh per million input tokens.
        output: Wh per million output tokens.
        method: How it is known.
        per_call: Wh per call, besides.
    """

    input: Range
    output: Range
    method: str
    per_call: Range = NOTHING

    def of(self, usage: Usage) -> Energy:
        """Return the Wh of a call; nothing where no model ran."""
        if usage.free:
            return Energy(*NOTHING, self.method)
        read, written = usage.input_tokens / _MILLION, usage.output_tokens / _MILLION
        (in_low, in_mid, in_high), (out_low, out_mid, out_high) = self.input, self.output
        return Energy(
            read * in_low + written * out_low + self.per_call[0],
            read * in_mid + written * out_mid + self.per_call[1],
            read * in_high + written * out_high + self.per_call[2],
            self.method,
        )


def declared(rates: tuple[float, float]) -> EnergyRates:
    """Return what the user declares, Wh per million (input, output) tokens, taken as exact."""
    return EnergyRates((rates[0],) * 3, (rates[1],) * 3, "declared")


class RunningFit:
    """Wh per input and per output token of one model, learned from its last measured calls.

    Non-negative least squares. Calls that took several times what the others tell (a cold start:
    the server had to load the model first) are left out, a quarter at most. Calls whose input and
    output always have the same proportion cannot tell the two apart: both then get one rate. The
    range is that of the measurements themselves, widened by what the rates leave unexplained: the
    root mean square of the residuals over that of the Wh.
    """

    _LAST = 48
    _FEWEST = 3
    _COLD = 4.0  # times the Wh that the rates explain

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._last: deque[tuple[float, float, Energy]] = deque(maxlen=self._LAST)
        self._rates: EnergyRates | None = None

    def add(self, usage: Usage, energy: Energy) -> None:
        """Learn from one measured call."""
        x, y, wh = float(usage.input_tokens), float(usage.output_tokens), energy.mid
        if usage.free or x + y <= 0 or not (math.isfinite(energy.high) and wh >= 0):
            return
        with self._lock:
            self._calls += 1
            self._last.append((x, y, energy))
            self._rates = None

    def rates(self) -> EnergyRates | None:
        """Return what was learned so far; None before three calls."""
        with self._lock:
            if self._rates is None and self._calls >= self._FEWEST:
                self._rates = self._fitted()
            return self._rates

    def _fitted(self) -> EnergyRates:
        calls = list(self._last)
        a, b = _fit(calls)
        fewest = len(calls) - len(calls) // 4
        while len(calls) > fewest:
            worst = max(calls, key=lambda call: _excess(a, b, call))
            if _excess(a, b, worst) <= self._COLD:
                break
            calls.remove(worst)
            a, b = _fit(calls)
        spread = _unexplained(a, b, calls)
        low, mid, high = (sum(getattr(e, end) for _, _, e in calls) for end in _ENDS)
        down = low / mid * max(0.0, 1 - spread) if mid else 1.0
        up = high / mid * (1 + spread) if mid else 1.0
        read, written = a * _MILLION, b * _MILLION
        return EnergyRates(
            (read * down, read, read * up),
            (written * down, written, written * up),
            f"{calls[-1][2].method}, learned from {_at_least(self._calls)}+ calls",
        )


_ENDS = ("low", "mid", "high")
_Call = tuple[float, float, Energy]


def _fit(calls: list[_Call]) -> tuple[float, float]:
    """Return Wh per input and per output token."""
    moments = [0.0] * 5
    for x, y, energy in calls:
        wh = energy.mid
        for place, term in enumerate((x * x, x * y, y * y, x * wh, y * wh)):
            moments[place] += term
    return _non_negative(*moments)


def _excess(a: float, b: float, call: _Call) -> float:
    """Return how many times the Wh that the rates explain a call took."""
    x, y, energy = call
    explained = a * x + b * y
    if explained:
        return energy.mid / explained
    return math.inf if energy.mid else 0.0


def _at_least(calls: int) -> int:
    """Return the next round number below: methods are listed side by side where energy is added."""
    return max(round_number for round_number in (3, 10, 30, 100, 300) if round_number <= calls)


def _non_negative(xx: float, xy: float, yy: float, xe: float, ye: float) -> tuple[float, float]:
    """Return Wh per input and per output token, neither below zero."""
    det = xx * yy - xy * xy
    if xx and yy and det <= 1e-9 * xx * yy:
        one = (xe + ye) / (xx + 2 * xy + yy)
        return one, one
    if det > 0:
        a, b = (xe * yy - ye * xy) / det, (ye * xx - xe * xy) / det
        if a >= 0 and b >= 0:
            return a, b
    a, b = (xe / xx if xx else 0.0), (ye / yy if yy else 0.0)
    return (a, 0.0) if a * xe >= b * ye else (0.0, b)  # whichever alone explains more


def _unexplained(a: float, b: float, calls: list[_Call]) -> float:
    left = sum((energy.mid - a * x - b * y) ** 2 for x, y, energy in calls)
    whole = sum(energy.mid**2 for _, _, energy in calls)
    return math.sqrt(left / whole) if whole else 0.0
