"""A promise becomes a threshold, or "not enough data"; what was promised holds."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared_core import Candidate, NotCalibratedError, Policy, Router
from shared_core.decision.calibration import ALPHA, chance_of_none, routed, threshold
from shared_core.decision.candidates import prepare_candidates
from shared_core.errors import ConfigurationError
from shared_core.types import CalibrationSample
from tests.fakes.core import FixedPredictor, estimate, prompt

PRICES = {"small": (0.1, 0.4), "large": (2.0, 8.0)}


def candidates(*names: str, **known: Any) -> tuple[Candidate, ...]:
    made = [Candidate(name, None, price=PRICES.get(name), **known) for name in names]
    return prepare_candidates(made, lambda candidate: (None, {}))


def traffic(n: int, seed: int, *, small: float = 0.6, large: float = 0.8) -> CalibrationSample:
    """Prompts whose chances of a good answer the predictor knows; the large model's are alike."""
    rng = np.random.default_rng(seed)
    chance = np.column_stack([np.clip(rng.uniform(-0.4, 0.4, n) + small, 0, 1), np.full(n, large)])
    scores = (rng.uniform(size=chance.shape) < chance).astype(float)
    return CalibrationSample(
        ("small", "large"), chance, np.full(n, 100.0), np.full((n, 2), 200.0), scores
    )


def kept(policy: Policy, sample: CalibrationSample, delta: float) -> float:
    """Share of the best single model's score that routing keeps on a sample."""
    assert sample.scores is not None
    both = candidates("small", "large")
    cost = np.broadcast_to([0.0001, 0.002], sample.predicted.shape)
    choice = routed(policy, both, sample.predicted, cost, delta)
    mean = sample.scores[np.arange(len(choice)), choice].mean()
    return float(mean / sample.scores.mean(axis=0).max())


@pytest.mark.parametrize(("n", "good"), [(20, 20), (20, 19), (63, 62), (200, 197), (1000, 901)])
def test_of_two_values_it_is_the_test_of_clopper_and_pearson(n: int, good: int) -> None:
    beta = pytest.importorskip("scipy.stats").beta
    surplus = np.array([0.1] * good + [-0.9] * (n - good))
    exact = beta.cdf(0.9, good, n - good + 1)
    assert chance_of_none(surplus, -0.9) == pytest.approx(exact, rel=0.01)


def test_of_many_values_it_is_the_chance_under_random_weights() -> None:
    rng = np.random.default_rng(0)
    surplus = rng.uniform(-0.9, 1, 25) + 0.15
    weights = rng.exponential(size=(200_000, 26))
    below = weights[:, :25] @ surplus - 0.95 * weights[:, 25] < 0
    assert chance_of_none(surplus, -0.95) == pytest.approx(below.mean(), abs=0.005)


@pytest.mark.parametrize("failing", [0.01, 0.03, 0.1, 0.3])
@pytest.mark.parametrize("n", [20, 100, 650])
def test_what_is_not_over_nothing_passes_in_one_of_twenty_samples_at_most(
    n: int, failing: float
) -> None:
    """Rare failures make up exactly for all the rest; Student's test would see none of them."""
    rng = np.random.default_rng(n)
    gain = 0.95 * failing / (1 - failing)
    samples = (np.where(rng.random(n) < failing, -0.95, gain) for _ in range(400))
    passed = np.mean([chance_of_none(sample, -0.95) <= ALPHA for sample in samples])
    assert passed <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / 400)


def test_without_prompts_or_a_gain_there_is_no_evidence() -> None:
    for surplus in ([], [0.0] * 50, [-0.1] * 50, [0.95]):
        assert chance_of_none(np.array(surplus), -0.95) > 0.49


def test_what_is_promised_holds_on_new_prompts() -> None:
    """Broken on an endless sample in at most ALPHA of the calibrations, noise of 200 aside."""
    policy, both, endless = Policy(quality=0.95), candidates("small", "large"), traffic(100_000, 1)
    tried = np.linspace(0, 0.5, 101)
    limit = max(delta for delta in tried if kept(policy, endless, delta) >= 0.95)
    found = [threshold(policy, both, traffic(400, seed)) for seed in range(100, 300)]
    broken = [t for t in found if t.calibrated and t.delta > limit + 0.005]
    assert len(broken) <= ALPHA * 200 + 2 * np.sqrt(200 * ALPHA * (1 - ALPHA))
    assert sum(t.calibrated for t in found) > 150


def test_more_labels_save_more() -> None:
    policy, both = Policy(quality=0.9), candidates("small", "large")
    deltas = [threshold(policy, both, traffic(n, 3)).delta for n in (300, 3_000, 30_000)]
    assert deltas == sorted(deltas)
    assert kept(policy, traffic(200_000, 1), deltas[-1]) < 0.92  # not more than was asked for


def test_a_small_model_that_is_as_good_is_used_throughout() -> None:
    sample = traffic(2_000, 5, small=0.9, large=0.8)
    found = threshold(Policy(), candidates("small", "large"), sample)
    assert found.calibrated
    cost = np.broadcast_to([0.0001, 0.002], sample.predicted.shape)
    both = candidates("small", "large")
    assert (routed(Policy(), both, sample.predicted, cost, found.delta) == 0).mean() > 0.97


@pytest.mark.parametrize("prompts", [0, 1, 20])
def test_too_few_prompts_are_not_enough_data(prompts: int) -> None:
    found = threshold(Policy(), candidates("small", "large"), traffic(prompts, 0))
    assert not found.calibrated
    assert found.delta == pytest.approx(0.05)
    assert found.note.startswith(f"{prompts} scored prompts are not enough data")


def test_not_enough_data_says_about_how_many_more() -> None:
    found = threshold(Policy(), candidates("small", "large"), traffic(60, 0))
    assert not found.calibrated
    assert found.prompts_needed is not None
    assert f"about {found.prompts_needed} more are needed" in found.note
    more = traffic(60 + 3 * found.prompts_needed, 0)
    assert threshold(Policy(), candidates("small", "large"), more).calibrated


def test_without_scores_or_with_a_candidate_it_lacks_nothing_is_promised() -> None:
    sample = traffic(500, 0)
    unscored = CalibrationSample(
        sample.names, sample.predicted, sample.input_tokens, sample.output_tokens
    )
    found = threshold(Policy(), candidates("small", "large"), unscored)
    assert (found.calibrated, found.note) == (False, "the calibration sample has no scores")
    found = threshold(Policy(), candidates("small", "new", "large"), sample)
    assert (found.calibrated, found.note) == (
        False,
        "the calibration sample has no candidate 'new'",
    )


def test_prompts_that_not_everyone_was_scored_on_do_not_count() -> None:
    sample = traffic(500, 0)
    assert sample.scores is not None
    sample.scores[100:, 0] = np.nan
    found = threshold(Policy(quality=0.7), candidates("small", "large"), sample)
    assert "from 100 scored prompts" in found.note


def test_prompts_that_come_again_count_once() -> None:
    once = replace(traffic(60, 0), prompts=np.arange(60))
    again = {
        name: np.concatenate([value] * 10) for name, value in vars(once).items() if name != "names"
    }
    expected = threshold(Policy(), candidates("small", "large"), once)
    found = threshold(Policy(), candidates("small", "large"), replace(once, **again))
    assert not found.calibrated
    assert found == expected


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.75, 1.0])
def test_at_most_the_share_that_was_asked_for_leaves_the_cheapest(share: float) -> None:
    policy, both, sample = Policy(strong_share=share), candidates("small", "large"), traffic(999, 2)
    found = threshold(policy, both, sample)
    assert found.calibrated
    cost = np.broadcast_to([0.0001, 0.002], sample.predicted.shape)
    left = (routed(policy, both, sample.predicted, cost, found.delta) == 1).mean()
    most = (sample.predicted[:, 1] > sample.predicted[:, 0]).mean()  # those for whom it is better
    assert min(share, most) - 0.02 <= left <= share


def test_a_share_of_no_prompts_is_refused() -> None:
    with pytest.raises(NotCalibratedError, match="no prompts"):
        threshold(Policy(strong_share=0.3), candidates("small", "large"), traffic(0, 0))


def test_a_share_needs_no_scores_but_every_candidate() -> None:
    sample = traffic(500, 0)
    unscored = CalibrationSample(
        sample.names, sample.predicted, sample.input_tokens, sample.output_tokens
    )
    policy = Policy(strong_share=0.3)
    assert threshold(policy, candidates("small", "large"), unscored).calibrated
    with pytest.raises(NotCalibratedError, match="no candidate 'new'"):
        threshold(policy, candidates("small", "new"), unscored)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_it_routes_as_the_policy_does(seed: int, local: bool) -> None:
    rng = np.random.default_rng(seed)
    names = ("a", "b", "c", "d")
    everyone = tuple(
        Candidate(name, None, strength=0.2 * place, local=bool(rng.integers(2)))
        for place, name in enumerate(names)
    )
    predicted = rng.uniform(size=(200, 4)).round(1)  # ties
    cost = rng.uniform(size=(200, 4)).round(1)
    cost[rng.uniform(size=cost.shape) < 0.2] = np.nan
    policy, delta = Policy(prefer_local=local), float(rng.uniform(0, 0.5))
    chosen = routed(policy, everyone, predicted, cost, delta)
    for row, place in enumerate(chosen):
        contenders = [
            (c, estimate(c.name, q, cost_usd=None if np.isnan(usd) else usd))
            for c, q, usd in zip(everyone, predicted[row], cost[row], strict=True)
        ]
        assert policy.order(contenders, delta)[0][0][0].name == names[place]


def test_a_router_over_a_sample_says_that_it_is_calibrated() -> None:
    class Sampled(FixedPredictor):
        sample = traffic(3_000, 4)

    both = candidates("small", "large")
    router = Router(both, Policy(quality=0.9), Sampled({"small": 0.6, "large": 0.8}))
    decision = router.decide(prompt())
    assert decision.calibrated
    assert decision.delta == router.threshold.delta > 0
    assert decision.calibration.endswith("from 3000 scored prompts")
    assert "calibrated: yes (δ" in str(decision)


class Unhashable:
    """A constraint that no dictionary takes."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, *_: Any) -> None:
        """Allow everyone."""


def test_a_constraint_needs_no_hash() -> None:
    policy = Policy(subject_to=[Unhashable()])
    found = threshold(policy, candidates("small", "large"), traffic(500, 0))
    assert found == threshold(Policy(), candidates("small", "large"), traffic(500, 0))


def test_no_model_is_kept_after_its_router() -> None:
    class Model:
        """Stands for gigabytes."""

    model = Model()
    gone = weakref.ref(model)
    both = prepare_candidates({"small": model, "large": None}, lambda c: (c.model, {}))
    threshold(Policy(), both, traffic(100, 0))
    del model, both
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("predicted", np.full((500, 2), np.nan), "predictions that are not from 0 to 1"),
        ("predicted", np.full((500, 2), 80.0), "predictions that are not from 0 to 1"),
        ("scores", np.full((500, 2), 5.0), "scores that are not from 0 to 1"),
        ("scores", np.ones((499, 2)), r"scores of shape \(499, 2\), not \(500, 2\)"),
        ("input_tokens", np.ones((500, 1)), "input_tokens of shape"),
    ],
)
@pytest.mark.parametrize("policy", [Policy(), Policy(strong_share=0.3)])
def test_a_sample_that_cannot_be_meant_is_refused(
    policy: Policy, name: str, value: Any, fault: str
) -> None:
    sample = replace(traffic(500, 0), **{name: value})
    with pytest.raises(ConfigurationError, match=fault):
        threshold(policy, candidates("small", "large"), sample)


def test_a_meter_has_no_rates_to_calibrate_with() -> None:
    class Meter:
        def joules(self) -> float:
            return 0.0

    metered = candidates("small", "large", energy=Meter())
    found = threshold(Policy(usd_per_kwh=0.3), metered, traffic(2000, 1))
    assert found.delta == threshold(Policy(), candidates("small", "large"), traffic(2000, 1)).delta
