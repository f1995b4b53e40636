"""Usage as models report it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from shared_core.types import Energy, Usage, usage_of_counts


@pytest.mark.parametrize(
    "wrong", [None, -1, math.nan, math.inf, 1.5, "5", True, 10**17, 10**400, 1e300, object()]
)
def test_what_is_no_number_of_tokens_is_unknown(wrong: Any) -> None:
    assert usage_of_counts(wrong, 5) is None
    assert usage_of_counts(5, wrong) is None
    assert usage_of_counts(5, 6, wrong, wrong, wrong) == Usage(5, 6)


def test_parts_are_no_more_than_their_whole() -> None:
    assert usage_of_counts(10.0, 5, 4, 6, 5) == Usage(10, 5, 4, 6, 5)
    assert usage_of_counts(10, 5, 5, 6, 6) == Usage(10, 5)


def test_what_is_added_is_free_only_if_both_are() -> None:
    free = Usage(1, 2, 1, 0, 2, free=True)
    assert free + free == Usage(2, 4, 2, 0, 4, free=True)
    assert free + Usage(1, 1) == Usage(2, 3, 1, 0, 2)


def test_energies_add_up_with_their_methods() -> None:
    one, other = Energy(1, 2, 3, "declared"), Energy(1, 1, 1, "measured")
    assert one + other == Energy(2, 3, 4, "declared + measured")
    assert (one + other + one).method == "declared + measured"
