"""Which candidates are let rest because they keep failing, and for how long.

In: how each attempt ended. Out: whether a candidate rests, and why. Kept per process, and shared
by all copies of one router.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared_core.errors import ConfigurationError
from shared_core.ranges import is_number

__all__ = ["Cooldown", "Health", "Rest"]

_SPREAD = 0.25
"""Pauses are lengthened by up to this share by chance, so that callers do not return together."""


@dataclass(frozen=True, slots=True)
class Cooldown:
    """When a failing candidate is let rest, and for how long.

    Attributes:
        failures: So many in a row send it to rest. A resting candidate is asked only after those
            that are awake. 0 lets nobody rest, unless the server itself asks for it.
        seconds: Of the first rest. After it a single call tries the candidate again; each trial
            that fails doubles the rest.
        longest: The rest's limit, in seconds.
        patience: Seconds that a call waits at most for a candidate whose server asked to be left
            alone for a while (Retry-After), where nobody else can answer.

    Raises:
        ConfigurationError: A value is out of range.
    """

    failures: int = 3
    seconds: float = 5.0
    longest: float = 300.0
    patience: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for label in self.__slots__:
            value = getattr(self, label)
            if not is_number(value, 0):
                raise ConfigurationError(
                    f"cooldown: {label} must be a number from 0 up, not {value!r}"
                )


@dataclass(frozen=True, slots=True)
class Rest:
    """A candidate's rest: seconds left, and why."""

    seconds: float
    reason: str


@dataclass(slots=True)
class _State:
    failures: int = 0
    rests: int = 0
    until: float = -math.inf  # a rest of our own making
    told_until: float = -math.inf  # one that the server asked for
    on_trial: bool = False
    error: str = ""


class Health:
    """How each candidate has been doing, by name; safe to share between threads.

    All times are of a clock that never goes back.
    """

    def __init__(
        self,
        cooldown: Cooldown,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Begin with everybody well.

        Raises:
            ConfigurationError: `cooldown` is no `Cooldown`.
        """
        if not isinstance(cooldown, Cooldown):
            raise ConfigurationError(f"cooldown must be a Cooldown(...), not {cooldown!r}")
        self.cooldown, self._clock, self._chance = cooldown, clock, chance
        self._states: dict[str, _State] = {}
        self._lock = threading.RLock()  # an abandoned stream may be collected inside

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave behind what was learned: another process finds out for itself."""
        return type(self), (self.cooldown,)

    def rest_of(self, name: str) -> Rest | None:
        """Return the candidate's rest, or None while it is awake."""
        state = self._states.get(name)
        if state is None:
            return None
        now = self._clock()
        if now < state.told_until:
            left = state.told_until - now
            return Rest(left, f"asked to be left alone for {left:.3g} s more ({state.error})")
        if now < state.until:
            left = state.until - now
            tried = "is being tried again" if state.on_trial else f"rests for {left:.3g} s more"
            return Rest(left, f"{tried} after {state.failures} failures ({state.error})")
        return None

    def enter(self, name: str) -> float:
        """Begin an attempt; return the seconds to wait before, which is then no attempt yet.

        The first to come after a rest is the trial: others see the candidate rest on until it has
        ended, or for another rest if that is never told.
        """
        if name not in self._states:
            return 0.0
        with self._lock:
            state, now = self._states[name], self._clock()
            if now < state.told_until:
                return state.told_until - now
            if state.rests and now >= state.until:
                state.on_trial, state.until = True, now + self._pause(state)
            return 0.0

    def succeeded(self, name: str) -> None:
        """Take note of an answer: the candidate is well, but a wait that was asked for stays."""
        if name not in self._states:
            return
        with self._lock:
            told_until = self._states[name].told_until
            self._states[name] = _State(told_until=told_until)

    def failed(self, name: str, error: Exception, told_s: float | None) -> None:
        """Take note of a failure that was the candidate's.

        Args:
            name: Of the candidate.
            error: What it raised.
            told_s: Seconds for which its server asked to be left alone.
        """
        with self._lock:
            state, now = self._states.setdefault(name, _State()), self._clock()
            state.failures += 1
            state.error = type(error).__name__
            if told_s is not None:
                state.told_until = max(state.told_until, now + told_s)
            limit = self.cooldown.failures
            if state.on_trial or (limit and state.failures >= limit and now >= state.until):
                # Calls that began before the rest may still fail during it, and add nothing.
                state.on_trial, state.until = False, now + self._pause(state)
                state.rests += 1

    def abandoned(self, name: str) -> None:
        """Take note of an attempt that told nothing: a trial is free for the next one to come."""
        if name not in self._states:
            return
        with self._lock:
            state = self._states[name]
            if state.on_trial:
                state.on_trial, state.until = False, min(state.until, self._clock())

    def _pause(self, state: _State) -> float:
        doubled = self.cooldown.seconds * 2.0 ** min(state.rests, 60)
        return min(doubled, self.cooldown.longest) * (1 + _SPREAD * self._chance())
