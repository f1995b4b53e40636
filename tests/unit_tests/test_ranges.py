"""What counts as a number, whoever asks."""

from __future__ import annotations

from math import inf, nan

import pytest

from shared_core.errors import ConfigurationError
from shared_core.ranges import is_number, is_whole
from shared_core.types import Candidate


@pytest.mark.parametrize("value", [True, None, "1", nan, inf, -inf, 10**400, -(10**400), [1]])
def test_what_is_no_number(value: object) -> None:
    assert not is_number(value)


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_both_ends_belong_to_a_range(value: float) -> None:
    assert is_number(value, 0, 1)
    assert not is_number(value, 0.6, 0.9)


@pytest.mark.parametrize(("value", "whole"), [(2, True), (2.0, False), (True, False), (0, False)])
def test_what_is_whole(value: object, whole: bool) -> None:
    assert is_whole(value, 1) is whole


def test_a_price_that_no_float_holds_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="candidate 'small': price must be a finite"):
        Candidate("small", None, price=(10**400, 1))
