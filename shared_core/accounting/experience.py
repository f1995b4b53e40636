"""What past calls teach about the next ones: how long answers get, how fast, at what energy.

In: the attempts of each candidate, as they end. Out: corrections to what is predicted, per
candidate. Running sums that slowly forget: memory does not grow with calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from shared_core.accounting.energy.rates import EnergyRates, RunningFit
from shared_core.types import Attempt, Energy, Usage

__all__ = ["Experience"]

_FORGET = 0.99
"""What is left of a call's weight after the next one: about the last hundred count."""

_PRIOR_CALLS = 5.0
"""As many imagined calls came first and say that the prediction was right: few move it little."""

_FEWEST = 5
"""Calls from which on the time of an answer is predicted."""

_STALE_S = 600.0
"""Times older than this many seconds predict nothing: a candidate that a deadline refuses is never
measured again, and must not be refused for ever because it once started slowly."""

_SHORTEST_CACHED = 1024
"""Tokens of a prompt's beginning that providers cache at the least (OpenAI's and Anthropic's
documentation of prompt caching)."""


@dataclass(slots=True)
class _Sums:
    predicted: float = 0.0
    written: float = 0.0
    calls: float = 0.0
    imagined: float = _PRIOR_CALLS
    answers: int = 0
    weight: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0
    tokens2: float = 0.0
    product: float = 0.0
    timed_at: float = float("-inf")
    repeated: float = 0.0
    cached: float = 0.0
    energy: RunningFit = field(default_factory=RunningFit)

    def measured(self, predicted: int, written: int) -> None:
        self.predicted = self.predicted * _FORGET + predicted
        self.written = self.written * _FORGET + written
        self.calls = self.calls * _FORGET + 1
        self.imagined *= _FORGET

    def timed(self, tokens: int, seconds: float, now: float) -> None:
        self.answers, self.timed_at = self.answers + 1, now
        self.weight = self.weight * _FORGET + 1
        self.tokens = self.tokens * _FORGET + tokens
        self.seconds = self.seconds * _FORGET + seconds
        self.tokens2 = self.tokens2 * _FORGET + tokens * tokens
        self.product = self.product * _FORGET + tokens * seconds

    def reused(self, repeated: int, cached: int) -> None:
        self.repeated = self.repeated * _FORGET + repeated
        self.cached = self.cached * _FORGET + cached


class Experience:
    """How each candidate's calls have gone, by name; safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none."""
        self._clock, self._sums, self._lock = clock, dict[str, _Sums](), threading.Lock()

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self._sums)

    def __deepcopy__(self, memo: object) -> Experience:
        """Return the same: copies of a router go on learning together."""
        return self

    def __reduce__(self) -> tuple[type[Experience], tuple[()]]:
        """Leave behind what was learned: another process finds out for itself."""
        return type(self), ()

    def note(
        self,
        name: str,
        usage: Usage,
        seconds: float | None,
        *,
        predicted: int | None = None,
        repeated: int = 0,
        energy: Energy | None = None,
    ) -> None:
        """Take note of an answer.

        Args:
            name: Of the candidate.
            usage: Its tokens.
            seconds: It took; None where that is not known of a call now.
            predicted: Output tokens that were predicted, uncorrected.
            repeated: Input tokens that its provider could have had in its prompt cache.
            energy: As it was measured; None where it was not.
        """
        if usage.free:
            return
        with self._lock:
            sums = self._sums.setdefault(name, _Sums())
            if predicted:
                sums.measured(predicted, usage.output_tokens)
            if seconds is not None:
                sums.timed(usage.output_tokens, seconds, self._clock())
            if repeated >= _SHORTEST_CACHED:
                sums.reused(repeated, min(usage.cached_tokens, repeated))
            if energy is not None:
                sums.energy.add(usage, energy)

    def remember(self, attempts: Iterable[Attempt], *, measured: bool) -> None:
        """Take note of answers of another day: of all but their times and caches.

        Args:
            attempts: Oldest first.
            measured: Their energy was.
        """
        for past in attempts:
            if past.usage is not None:
                energy = past.energy if measured else None
                predicted = past.predicted_tokens
                self.note(past.candidate, past.usage, None, predicted=predicted, energy=energy)

    def output_tokens(self, name: str, predicted: int) -> int:
        """Return the predicted tokens of an answer, corrected by how long answers have been."""
        with self._lock:
            sums = self._sums.get(name)
            if sums is None or not sums.calls:
                return predicted
            usual = sums.predicted / sums.calls * sums.imagined
            ratio = (sums.written + usual) / (sums.predicted + usual)
        return max(1, round(predicted * ratio))

    def seconds(self, name: str, output_tokens: int) -> float | None:
        """Return the expected seconds of an answer so long; None with too little to go by.

        A line through seconds and tokens, by least squares; flat where it would fall.
        """
        with self._lock:
            sums = self._sums.get(name)
            if sums is None or sums.answers < _FEWEST or self._clock() - sums.timed_at > _STALE_S:
                return None
            n = sums.weight
            tokens, seconds = sums.tokens / n, sums.seconds / n
            spread, rise = sums.tokens2 / n - tokens**2, sums.product / n - tokens * seconds
        slope = 0.0
        if spread > 1e-6 * tokens**2:  # else they are all as long, but for rounding
            slope = max(0.0, rise / spread)
        return max(0.0, seconds + slope * (output_tokens - tokens))

    def cached_share(self, name: str, repeated: int) -> float:
        """Return the expected share (0 to 1) of a repeated beginning that comes out of the cache.

        Args:
            name: Of the candidate that wrote the conversation's last step.
            repeated: Tokens up to there.
        """
        if repeated < _SHORTEST_CACHED:
            return 0.0
        with self._lock:
            sums = self._sums.get(name)
            return sums.cached / sums.repeated if sums is not None and sums.repeated else 1.0

    def energy_rates(self, name: str) -> EnergyRates | None:
        """Return the energy of its tokens as learned from measured calls."""
        sums = self._sums.get(name)
        return None if sums is None else sums.energy.rates()
