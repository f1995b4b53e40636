"""What past calls teach about the next ones: how long answers get, how fast, at what energy.

In: the attempts of each candidate, as they end. Out: corrections to what is predicted, per
candidate. Running sums that slowly forget: memory does not grow with calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from shared_core.accounting.energy import EnergyRates, RunningFit
from shared_core.types import Energy, Usage

__all__ = ["Experience"]

_FORGET = 0.99
"""What is left of a call's weight after the next one: about the last hundred count."""

_PRIOR_CALLS = 5.0
"""As many imagined calls say that the prediction was right: few calls move it little."""

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
    answers: int = 0
    tokens: float = 0.0
    seconds: float = 0.0
    tokens2: float = 0.0
    product: float = 0.0
    timed_at: float = float("-inf")
    repeated: float = 0.0
    cached: float = 0.0
    energy: RunningFit = field(default_factory=RunningFit)

    def fade(self) -> None:
        for name in ("predicted", "written", "calls", "tokens", "seconds", "tokens2", "product"):
            setattr(self, name, getattr(self, name) * _FORGET)


class Experience:
    """How each candidate's calls have gone, by name; safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none."""
        self._clock, self._sums, self._lock = clock, dict[str, _Sums](), threading.Lock()

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
            sums.fade()
            if predicted:
                sums.predicted += predicted
                sums.written += usage.output_tokens
                sums.calls += 1
            if seconds is not None:
                sums.answers += 1
                sums.tokens += usage.output_tokens
                sums.seconds += seconds
                sums.tokens2 += usage.output_tokens**2
                sums.product += usage.output_tokens * seconds
                sums.timed_at = self._clock()
            if repeated >= _SHORTEST_CACHED:
                sums.repeated = sums.repeated * _FORGET + repeated
                sums.cached = sums.cached * _FORGET + min(usage.cached_tokens, repeated)
            if energy is not None:
                sums.energy.add(usage, energy)

    def output_tokens(self, name: str, predicted: int) -> int:
        """Return the predicted tokens of an answer, corrected by how long answers have been."""
        sums = self._sums.get(name)
        if sums is None or not sums.calls:
            return predicted
        usual = sums.predicted / sums.calls * _PRIOR_CALLS
        ratio = (sums.written + usual) / (sums.predicted + usual)
        return max(1, round(predicted * ratio))

    def seconds(self, name: str, output_tokens: int) -> float | None:
        """Return the expected seconds of an answer so long; None with too little to go by.

        A line through seconds and tokens, by least squares; flat where it would fall.
        """
        sums = self._sums.get(name)
        if sums is None or sums.answers < _FEWEST or self._clock() - sums.timed_at > _STALE_S:
            return None
        # The weights add up to this, as every sum has faded alike.
        n = (1 - _FORGET**sums.answers) / (1 - _FORGET)
        spread = sums.tokens2 - sums.tokens**2 / n
        slope = (sums.product - sums.tokens * sums.seconds / n) / spread if spread > 1e-9 else 0.0
        slope = max(0.0, slope)
        return max(0.0, (sums.seconds - slope * sums.tokens) / n + slope * output_tokens)

    def cached_share(self, name: str, repeated: int) -> float:
        """Return the expected share (0 to 1) of a repeated beginning that comes out of the cache.

        Args:
            name: Of the candidate that wrote the conversation's last step.
            repeated: Tokens up to there.
        """
        if repeated < _SHORTEST_CACHED:
            return 0.0
        sums = self._sums.get(name)
        if sums is None or not sums.repeated:
            return 1.0
        return sums.cached / sums.repeated

    def energy_rates(self, name: str) -> EnergyRates | None:
        """Return the energy of its tokens as learned from measured calls."""
        sums = self._sums.get(name)
        return None if sums is None else sums.energy.rates()
