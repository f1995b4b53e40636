"""Who proposes: how probably one of a team is right, and whom it is worth to ask."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from shared_core.strategies.team import Team
from shared_core.types import COMMON_OVERLAP, Decision
from tests.fakes.core import estimate


def team(
    qualities: Mapping[str, float],
    costs: Mapping[str, float] | None = None,
    overlap: Any = None,
    **known: Any,
) -> Team:
    """Candidates, weakest first; `overlap` is one for all pairs, or a mapping."""
    if isinstance(overlap, float):
        overlap = dict.fromkeys(permutations(qualities, 2), overlap)
    costs = costs or {}
    estimates = tuple(estimate(n, q, cost_usd=costs.get(n)) for n, q in qualities.items())
    names = tuple(qualities)
    return Team(
        Decision(
            *("id", names[-1], "because", False, estimates),
            allowed=names,
            overlaps=overlap or {},
            **known,
        )
    )


THREE = {"a": 0.4, "b": 0.6, "c": 0.7}


def test_what_has_nothing_in_common_multiplies() -> None:
    assert team(THREE, overlap=0.0).covers(THREE) == pytest.approx(1 - 0.6 * 0.4 * 0.3, abs=1e-6)


def test_one_alone_is_as_good_as_it_is() -> None:
    for name, quality in {**THREE, "sure": 1.0, "never": 0.0}.items():
        assert team({name: quality}).covers([name]) == pytest.approx(quality, abs=1e-5)


@pytest.mark.parametrize("overlap", [0.2, COMMON_OVERLAP, 0.9])
def test_it_is_what_drawing_says(overlap: float) -> None:
    draws = np.random.default_rng(0)
    hidden = draws.normal(size=(400_000, 1)) * np.sqrt(overlap)
    ability = hidden + draws.normal(size=(400_000, 3)) * np.sqrt(1 - overlap)
    bars = np.quantile(ability, [1 - q for q in THREE.values()])
    right = (ability > bars).any(axis=1).mean()
    assert team(THREE, overlap=overlap).covers(THREE) == pytest.approx(right, abs=0.004)


def test_more_never_cover_less_and_twins_hardly_more() -> None:
    both = team({"b": 0.6, "c": 0.6})
    assert both.covers(["b"]) < both.covers(["b", "c"]) < 0.84
    twins = team({"b": 0.6, "c": 0.6}, overlap=0.95)
    assert twins.covers(["b", "c"]) - 0.6 < 0.07


def test_the_best_is_always_one_and_the_others_are_added_by_what_they_add_for_their_cost() -> None:
    qualities = {"a": 0.5, "b": 0.55, "c": 0.6, "d": 0.7}
    assert team(qualities).chosen(list(qualities), 2, 0.0) == ("d", "c")
    costs = {"a": 0.001, "b": 0.1, "c": 0.1, "d": 1.0}
    assert team(qualities, costs).chosen(list(qualities), 2, 0.0) == ("d", "a")
    costs = {"a": 0.0, "b": 0.0, "c": 0.1, "d": 1.0}  # local ones
    assert team(qualities, costs).chosen(list(qualities), 3, 0.0) == ("d", "b", "a")
    assert team(qualities).chosen(list(qualities), 2, 0.0, first="a") == ("a", "d")
    assert team(qualities).chosen(list(qualities), 4, 0.5) == ("d",)
    assert team(qualities).chosen([], 4, 0.0) == ()


def test_who_is_right_where_the_best_is_wrong_comes_before_a_better_one() -> None:
    qualities = {"a": 0.5, "b": 0.6, "c": 0.7}
    pairs = dict.fromkeys(permutations(qualities, 2), 0.1)
    pairs |= {("b", "c"): 0.95, ("c", "b"): 0.95}
    assert team(qualities, overlap=pairs).chosen(list(qualities), 2, 0.0) == ("c", "a")
    assert team(qualities).chosen(list(qualities), 2, 0.0) == ("c", "b")


def test_money_ends_it() -> None:
    costs = {"a": 0.1, "b": 0.4, "c": 0.5}
    assert team(THREE, costs).chosen(list(THREE), 3, -1.0, max_usd=0.6) == ("c", "a")
    assert team(THREE, {"a": 0.1, "c": 0.5}).chosen(list(THREE), 3, -1.0, max_usd=9) == ("c", "a")
