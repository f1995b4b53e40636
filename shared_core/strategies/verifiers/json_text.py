"""JSON in what a model wrote.

In: text. Out: the value it holds, whole, in a fenced block or in the middle of prose. Bounded work:
100,000 characters, and a few places where a value may begin.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from shared_core.strategies.verifiers.blocks import blocks

__all__ = ["decoded", "first_value", "held_value"]

_READ: Final = 100_000  # characters
_MOST_TRIES: Final = 20
_MOST_DIGITS: Final = 300  # longer whole numbers take quadratic time, or are refused by Python


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float("inf")


_DECODER: Final = json.JSONDecoder(parse_int=_whole)


def decoded(text: str) -> tuple[Any, ...]:
    """Return the value that a text is, alone in a tuple; an empty one where it is none."""
    value = _value_at(text.strip()[: _READ + 1], 0)
    return value[:1] if value and not text.strip()[value[1] :] else ()


def held_value(text: str) -> tuple[Any, ...]:
    """Return the value that a text is or holds in a block or in prose, alone in a tuple."""
    whole = decoded(text)
    if whole:
        return whole
    for block in blocks(text):
        if block.language in ("json", "") and (inside := decoded(block.text)):
            return inside
    return first_value(text, "{[")


def first_value(text: str, opening: str = "{") -> tuple[Any, ...]:
    """Return the first object (or array) in a text that can be read, alone in a tuple."""
    text = text[:_READ]
    for at in _places(text, opening):
        if value := _value_at(text, at):
            return value[:1]
    return ()


def _places(text: str, opening: str) -> Sequence[int]:
    places: list[int] = []
    for at, sign in enumerate(text):
        if sign in opening:
            places.append(at)
            if len(places) == _MOST_TRIES:
                break
    return places


def _value_at(text: str, at: int) -> tuple[Any, int] | tuple[()]:
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):  # what is nested a thousand deep is no answer either
        return ()
