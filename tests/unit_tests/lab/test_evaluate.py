"""Figures against values worked out by hand or by definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared_core.lab.evaluate import (
    auc,
    brier,
    calibration_error,
    cost_quality,
    recovery,
    with_intervals,
)


def test_a_perfect_order_recovers_the_gap_first() -> None:
    gain = np.array([0.0, 1.0, 0.0, 1.0])
    share, recovered = recovery(gain, gain)
    assert share.tolist() == [0, 0.5, 1]
    assert recovered.tolist() == [0, 1, 1]
    assert cost_quality(gain, gain).tolist() == [0.75, 0.25, 0.4]


def test_an_order_that_says_nothing_is_the_diagonal() -> None:
    gain = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], 500, p=[0.1, 0.5, 0.4])
    np.testing.assert_allclose(cost_quality(np.zeros(500), gain), [0.5, 0.5, 0.8])


def test_equal_predictions_count_like_the_mean_of_random_orders() -> None:
    rng = np.random.default_rng(2)
    gain, order_by = rng.choice([0.0, 1.0], 60), rng.integers(0, 3, 60).astype(float)
    shuffled = [cost_quality(order_by + rng.uniform(0, 0.5, 60), gain)[0] for _ in range(2000)]
    assert cost_quality(order_by, gain)[0] == pytest.approx(np.mean(shuffled), abs=0.005)


def test_an_order_and_its_reverse_share_the_square() -> None:
    rng = np.random.default_rng(3)
    order_by, gain = rng.random(200), rng.choice([0.0, 1.0], 200)
    assert cost_quality(order_by, gain)[0] + cost_quality(-order_by, gain)[0] == pytest.approx(1)


@pytest.mark.parametrize("gain", [[0.0, 0.0], [1.0, -1.0], [-1.0, 0.0]])
def test_without_a_gap_nothing_is_defined(gain: list[float]) -> None:
    assert np.isnan(cost_quality(np.array([1.0, 2.0]), np.array(gain))).all()


def test_calibration_error_is_the_mean_distance_over_bins_of_equal_mass() -> None:
    predicted = np.repeat([0.2, 0.8], 1500)
    right = np.concatenate([np.tile([1, 0, 0, 0, 0], 300), np.tile([1, 1, 1, 1, 0], 300)])
    assert calibration_error(predicted, right) < 0.02
    assert calibration_error(predicted, np.ones(3000)) == pytest.approx(0.5)
    assert calibration_error(np.array([0.3]), np.array([1.0])) == pytest.approx(0.7)


def test_brier_is_the_mean_square() -> None:
    assert brier(np.array([0.5, 1.0]), np.array([1.0, 1.0])) == 0.125


def test_auc_counts_pairs() -> None:
    rng = np.random.default_rng(4)
    predicted, scores = rng.integers(0, 5, 40) / 5, rng.choice([0.0, 1.0], 40)
    good, bad = predicted[scores == 1], predicted[scores == 0]
    above = (good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean()
    assert auc(predicted, scores) == pytest.approx(above)
    assert np.isnan(auc(predicted, np.ones(40)))


def test_an_interval_of_a_mean_is_about_two_standard_errors() -> None:
    values = np.random.default_rng(5).normal(10, 2, 400)
    (figure,) = with_intervals(np.mean, values, draws=2000, seed=1)
    assert figure["value"] == pytest.approx(values.mean(), abs=1e-4)
    assert figure["low"] is not None
    assert figure["high"] is not None
    assert figure["high"] - figure["low"] == pytest.approx(2 * 1.96 * 0.1, rel=0.1)
    assert with_intervals(np.mean, values, draws=50, seed=1) == with_intervals(
        np.mean, values, draws=50, seed=1
    )


def test_arrays_are_drawn_together() -> None:
    def difference(one: Any, other: Any) -> float:
        return float(np.abs(one - other).max())

    values = np.arange(50.0)
    assert with_intervals(difference, values, values, draws=20)[0]["high"] == 0


def test_what_is_not_defined_is_none() -> None:
    (figure,) = with_intervals(lambda values: float("nan"), np.arange(3.0), draws=5)
    assert figure == {"value": None, "low": None, "high": None}
