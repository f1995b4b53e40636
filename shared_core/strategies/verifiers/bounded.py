"""A verifier held to what it may do: whoever made it, it cannot break the call that it looks at.

In: a verifier, a draft, who may be asked. Out: the verifier's own wishes, as far as they make
sense, and its verdict. What it asks is held back and counts as a check; who wishes for nonsense,
for somebody who may not be asked, or without end cannot tell, nor can who ends with no verdict.
"""

from __future__ import annotations

from collections.abc import Container, Generator
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

from shared_core.ranges import is_number
from shared_core.strategies.verifiers.base import Verifier
from shared_core.types import Ask, Check, Draft, Verdict, Verification, Wish

__all__ = ["bounded"]

_MOST_STEPS: Final = 100
_MOST_ASKS: Final = 40
"""About one draft; `Agreement` samples 20 at most."""

_MOST_NOTE: Final = 500  # characters


def bounded(verifier: Verifier, draft: Draft, allowed: Container[str]) -> Verification:
    """Have a draft looked at.

    Raises:
        Exception: What the verifier raises; TypeError where its `verify` is no generator.
    """
    said = yield from _watched(verifier, draft, allowed)
    return _sound(said, verifier.name, draft)


def _watched(
    verifier: Verifier, draft: Draft, allowed: Container[str]
) -> Generator[tuple[Wish, ...], tuple[Any, ...], Any]:
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
                return stop.value
            if fault := _fault(wishes, allowed):
                return Verdict(verifier.name, note=fault)
            asks += sum(isinstance(wish, Ask) for wish in wishes)
            if asks > _MOST_ASKS:
                return Verdict(verifier.name, note=f"it asked more than {_MOST_ASKS} times")
            # A driver takes it for the end where nothing is wished for.
            granted = (yield tuple(_mended(wish, draft) for wish in wishes)) if wishes else ()
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


def _mended(wish: Wish, draft: Draft) -> Wish:
    """Keep what a helper says out of the caller's stream, and nonsense out of the record."""
    if isinstance(wish, Ask):
        return replace(wish, visible=False, purpose="check")
    return (
        _sound(wish, str(wish.verifier)[:_MOST_NOTE], draft) if isinstance(wish, Verdict) else wish
    )


def _sound(said: Any, name: str, draft: Draft) -> Verdict:
    """Return a verdict that can be relied on: what is none cannot tell."""
    who = draft.reply.candidate
    if not isinstance(said, Verdict):
        return Verdict(name, None, f"it gave a {type(said).__name__}, no verdict", who)
    chance, note = said.probability, said.note[:_MOST_NOTE] if isinstance(said.note, str) else ""
    if chance is not None and not is_number(chance, 0, 1):
        chance, note = None, f"it gave a {type(chance).__name__} that is no probability"
    timed = is_number(said.seconds, 0)
    return Verdict(name, chance, note, who, said.seconds if timed else 0.0)
