"""Whether what somebody gives is a number that can be meant: True is none, nor is NaN.

In: a value of any kind and the ends of a range. Out: yes or no; whoever asks says what to change.
"""

from __future__ import annotations

from math import inf
from sys import float_info
from typing import TypeGuard

__all__ = ["is_number", "is_whole"]


def is_number(value: object, low: float = -inf, high: float = inf) -> TypeGuard[float]:
    """Tell whether a value is a number that a float can hold, `low` and `high` included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= float_info.max and low <= value <= high


def is_whole(value: object, low: float = -inf, high: float = inf) -> TypeGuard[int]:
    """Tell whether a value is a whole number, `low` and `high` included; 2.0 is none."""
    return type(value) is int and low <= value <= high
