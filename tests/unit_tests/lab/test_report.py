"""The report: who is cheapest, what each way of routing gives, and what the pictures say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from shared_core import TableError
from shared_core.lab import plots
from shared_core.lab.report import as_text, ladder, make_report
from shared_core.lab.table import Outcomes
from shared_core.types import CalibrationSample

MODELS = ("large", "small", "middle")
COST = (0.010, 0.001, 0.002)  # USD an answer


def outcomes(n: int = 60, *, priced: bool = True) -> Outcomes:
    """Large is right, small on even prompts, middle on every prompt that three divides."""
    at = np.arange(n)
    scores = np.column_stack([np.ones(n), at % 2 == 0, at % 3 == 0]).astype(float)
    cost = np.tile(COST, (n, 1)) if priced else np.full((n, 3), np.nan)
    prompts = tuple(f"prompt {i} " + "x" * (i % 7) for i in range(n))
    return Outcomes(prompts, MODELS, scores, np.full((n, 3), np.nan), cost, ("",) * n)


def sample(table: Outcomes, predicted: np.ndarray | None = None) -> CalibrationSample:
    n, m = table.scores.shape
    return CalibrationSample(
        table.models,
        table.scores * 0.8 + 0.1 if predicted is None else predicted,
        np.full(n, 10.0),
        np.full((n, m), 100.0),
        table.scores,
    )


def test_models_are_sorted_by_cost_and_without_costs_by_score() -> None:
    priced, unpriced = ladder(outcomes()), ladder(outcomes(priced=False))
    assert (priced.models, priced.by) == (("small", "middle", "large"), "mean cost")
    assert (unpriced.models, unpriced.by) == (("middle", "small", "large"), "mean score")
    assert (priced.cheapest, priced.best) == ("small", "large")


def test_a_perfect_predictor_routes_like_the_oracle() -> None:
    table = outcomes()
    report = make_report(sample(table), table, 0.05, draws=20)
    assert report["order"]["router"] == report["order"]["oracle"]
    routing = report["routing"]
    assert routing["router"] == routing["oracle"]
    assert routing["router"]["score"]["value"] == 1
    # small: 30 of 60; middle: the 10 odd ones that three divides; large: 20
    usd = (30 * 1 + 10 * 2 + 20 * 10) / 60
    assert routing["router"]["usd_per_1000_prompts"]["value"] == pytest.approx(usd, abs=1e-3)
    assert routing["router"]["share_not_cheapest"]["value"] == 0.5


def test_the_baselines_are_what_they_say() -> None:
    table = outcomes()
    routing = make_report(sample(table), table, 0.05, draws=20)["routing"]
    assert routing["cheapest"]["score"]["value"] == 0.5
    assert routing["cheapest"]["usd_per_1000_prompts"]["value"] == 1
    assert routing["best single"]["score"]["value"] == 1
    assert routing["best single"]["usd_per_1000_prompts"]["value"] == 10
    assert routing["random"]["score"]["value"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3, abs=1e-3)
    # as many prompts as the router sends off, the longest ones, to the best model
    assert routing["prompt length"]["share_not_cheapest"]["value"] == 0.5
    assert routing["prompt length"]["usd_per_1000_prompts"]["value"] == pytest.approx(5.5)


def test_a_useless_predictor_is_no_better_than_chance() -> None:
    table = outcomes(600)
    flat = np.full(table.scores.shape, 0.5)
    report = make_report(sample(table, flat), table, 0.05, draws=20)
    assert report["order"]["router"]["apgr"]["value"] == 0.5
    assert report["order"]["random"]["apgr"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert report["routing"]["router"] == report["routing"]["cheapest"]
    believed = report["predicted_quality"]["large"]
    assert believed["ece"]["value"] == 0.5
    assert believed["brier"]["value"] == 0.25
    assert believed["auc"]["value"] is None  # large is always right


def test_it_is_plain_json_and_the_same_for_the_same_seed() -> None:
    table = outcomes(priced=False)
    first, again = (make_report(sample(table), table, 0.05, draws=9, seed=3) for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(again, allow_nan=False)
    assert first["routing"]["router"]["usd_per_1000_prompts"]["value"] is None
    assert "not known" in as_text(first)


def test_a_table_with_one_known_model_is_refused() -> None:
    table = outcomes().subset(slice(None), ["large"])
    with pytest.raises(TableError, match="only large of the predictor's models"):
        make_report(sample(table), table, 0.05)


def test_models_scored_on_different_prompts_are_ordered_but_not_routed() -> None:
    table = outcomes()
    table.scores[::2, 2] = np.nan
    table.scores[1::2, 1] = np.nan
    report = make_report(sample(outcomes()), table, 0.05, draws=5)
    assert report["routing"] == {}
    assert report["order_prompts"] == 30
    assert "routing is not evaluated" in as_text(report)


def test_a_best_model_that_is_cheapest_leaves_nothing_to_trade() -> None:
    table = outcomes()
    table.cost[:, 0] = 0.0001
    report = make_report(sample(table), table, 0.05, draws=5)
    assert report["order"] == {}
    assert "nothing to trade" in as_text(report)


def test_progress_ends_at_its_end() -> None:
    told: list[tuple[int, int]] = []
    table = outcomes()
    make_report(
        sample(table), table, 0.05, draws=2, progress=lambda done, of: told.append((done, of))
    )
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


@pytest.mark.parametrize("priced", [True, False])
def test_both_pictures_are_drawn(priced: bool) -> None:
    table = outcomes(priced=priced)
    curve = plots.cost_quality_curve(sample(table), table, ladder(table))
    diagram = plots.calibration_diagram(sample(table), table)
    assert curve[:8] == diagram[:8] == b"\x89PNG\r\n\x1a\n"
    assert curve != diagram
