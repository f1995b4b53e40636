"""A verifier held to what it may do: whoever made it, it cannot break the call that it looks at.

In: a verifier, a draft, who may be asked. Out: the verifier's own wishes, as far as they make
sense, and its verdict. What it asks is held back and counts as a check; who wishes for nonsense,
for somebody who may not be asked, or without end cannot tell.
"""

from __future__ import annotations

from collections.abc import Container, Generator
from contextlib import closing
from dataclasses import replace
from typing import Any, Final, cast

from shared_core.strategies.verifiers.base import Verifier
from shared_core.types import Ask, Check, Draft, Verdict, Verification, Wish

__all__ = ["bounded"]

_MOST_STEPS: Final = 100
_MOST_ASKS: Final = 40
"""About one draft; `Agreement` samples 20 at most."""


def bounded(verifier: Verifier, draft: Draft, allowed: Container[str]) -> Verification:
    """Have a draft looked at; return what the verifier returns, a `Verdict` or not.

    Raises:
        TypeError: Its `verify` is no generator.
    """
    work: Any = verifier.verify(draft)
    if not isinstance(work, Generator):
        raise TypeError(f"verify must be a generator, not give a {type(work).__name__}")
    granted: Any = None
    asks = 0
    with closing(work):
        for _ in range(_MOST_STEPS):
            try:
                wishes = work.send(granted)
            except StopIteration as stop:
                return cast(Verdict, stop.value)
            if fault := _fault(wishes, allowed):
                return Verdict(verifier.name, note=fault)
            asks += sum(isinstance(wish, Ask) for wish in wishes)
            if asks > _MOST_ASKS:
                return Verdict(verifier.name, note=f"it asked more than {_MOST_ASKS} times")
            # A driver takes it for the end where nothing is wished for.
            granted = (yield tuple(map(_held_back, wishes))) if wishes else ()
    return Verdict(verifier.name, note=f"it came to no verdict in {_MOST_STEPS} steps")


def _fault(wishes: Any, allowed: Container[str]) -> str | None:
    """Return why wishes cannot be granted; None where they can."""
    if not isinstance(wishes, (tuple, list)):
        return f"it yielded a {type(wishes).__name__}, no tuple of wishes"
    for wish in wishes:
        if not isinstance(wish, (Ask, Check, Verdict)):
            return f"it wished for a {type(wish).__name__}"
        if isinstance(wish, Ask) and wish.candidate not in allowed:
            return f"it asked {wish.candidate!r:.80}, which is not allowed"
    return None


def _held_back(wish: Wish) -> Wish:
    """Keep what a helper says out of the caller's stream, and out of the draft's own costs."""
    return replace(wish, visible=False, purpose="check") if isinstance(wish, Ask) else wish
