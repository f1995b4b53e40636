"""What candidates have in common, told from scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared_core.decision.overlaps import overlaps
from shared_core.types import COMMON_OVERLAP, CalibrationSample


def sample(scores: Any, names: tuple[str, ...] = ("a", "b", "c")) -> CalibrationSample:
    n, m = np.shape(scores)
    blank = np.full((n, m), 0.5)
    return CalibrationSample(names, blank, np.full(n, 10.0), blank, np.asarray(scores, float))


def drawn(overlap: float, prompts: int, bars: tuple[float, ...] = (0.0, 0.0, 0.5)) -> Any:
    """Scores of models that are right where a hidden ability passes a bar."""
    draws = np.random.default_rng(1)
    common = draws.normal(size=(prompts, 1)) * np.sqrt(overlap)
    ability = common + draws.normal(size=(prompts, len(bars))) * np.sqrt(1 - overlap)
    return (ability > np.array(bars)).astype(float)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.6, 0.8])
def test_what_was_hidden_is_found_again(overlap: float) -> None:
    found = overlaps(sample(drawn(overlap, 20_000)), ["c", "a", "b"])
    assert len(found) == 6
    for pair, value in found.items():
        assert value == pytest.approx(overlap, abs=0.06)
        assert found[pair[1], pair[0]] == value


def test_few_prompts_change_little() -> None:
    few = overlaps(sample(drawn(0.0, 5)), ["a", "b"])["a", "b"]
    assert abs(few - COMMON_OVERLAP) < 0.1
    nothing = overlaps(sample([[np.nan, 1.0, 0.0]] * 3), ["a", "b"])
    assert nothing["a", "b"] == pytest.approx(COMMON_OVERLAP)


def test_prompts_without_both_scores_do_not_count() -> None:
    scores = drawn(0.3, 2_000)
    half = scores.copy()
    half[1_000:, 0] = np.nan
    found = overlaps(sample(half), ["a", "b", "c"])
    assert found["a", "b"] == pytest.approx(overlaps(sample(scores[:1_000]), "ab")["a", "b"])
    assert found["b", "c"] == overlaps(sample(scores), "bc")["b", "c"]


def test_twins_and_opposites_stay_inside() -> None:
    column = drawn(0.0, 5_000, (0.0,))
    found = overlaps(sample(np.hstack([column, column, 1 - column])), ["a", "b", "c"])
    assert found["a", "b"] == 0.95
    assert found["a", "c"] == 0.0


def test_whom_nobody_has_scored_has_none() -> None:
    known = sample(drawn(0.5, 50))
    assert overlaps(known, ["a", "x"]) == {}
    assert set(overlaps(known, ["a", "x", "b"])) == {("a", "b"), ("b", "a")}
    blank = CalibrationSample(("a",), known.predicted, known.input_tokens, known.output_tokens)
    assert overlaps(blank, ["a", "b"]) == {}
