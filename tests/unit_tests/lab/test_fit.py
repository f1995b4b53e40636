"""Training: what labels teach, how much of it is believed, and which tables teach nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared_core.errors import ConfigurationError, TableError
from shared_core.lab.fit import FEWEST, fit, probe, sample_of, unseen
from shared_core.lab.table import Outcomes
from shared_core.prediction.fallback import FallbackPredictor
from shared_core.prediction.learned import LearnedPredictor
from shared_core.types import Candidate
from tests.fakes.core import prompt
from tests.fakes.learning import FakeEncoder, hidden, outcomes, parity_encoder, table


def log_loss(predictor: LearnedPredictor, fresh: Outcomes) -> float:
    predicted = np.clip(predictor.qualities(fresh.prompts), 1e-6, 1 - 1e-6)
    chance = np.where(fresh.scores == 1, predicted, 1 - predicted)
    return float(-np.log(chance).mean())


def test_labels_teach_about_prompts_that_were_not_among_them() -> None:
    fresh = outcomes(seed=1, n=400)
    losses = [log_loss(fit(outcomes(n=n)), fresh) for n in (20, 80, 600)]
    assert losses[0] > losses[1] > losses[2]


def test_few_labels_stay_near_the_fallback_and_many_overrule_it() -> None:
    """Long prompts are easier here, which is the opposite of what the fallback thinks."""

    def upside_down(n: int) -> Outcomes:
        long = np.arange(n) % 2
        words = " ".join(f"word{chr(97 + i)}" for i in range(26))
        prompts = [f"{words * bit} number {i}" for i, bit in enumerate(long)]
        return table(prompts, ("small", "large"), np.column_stack([0.3 + 0.4 * long, np.ones(n)]))

    texts = upside_down(2).prompts
    small = Candidate("small", None, strength=1 / 3)
    guess = [FallbackPredictor().predict(prompt(text), (small,))[0].quality for text in texts]
    few, some, many = (fit(upside_down(n)).qualities(texts)[:, 0] for n in (10, 40, 400))
    gaps = [float(np.diff(qualities)[0]) for qualities in (guess, few, some, many)]
    assert gaps == sorted(gaps)
    assert gaps[0] < -0.1
    assert gaps[1] < 0.1
    assert gaps[3] > 0.3


def test_noise_moves_the_fallback_little() -> None:
    rng = np.random.default_rng(0)
    noise = table([f"prompt {i}" for i in range(200)], ("a", "b"), rng.integers(0, 2, (200, 2)))
    predictor = fit(noise)
    assert predictor.qualities([f"prompt {i}" for i in range(200, 300)]).std(axis=0).max() < 0.05


def test_an_encoder_is_believed_as_far_as_it_helps() -> None:
    fresh = hidden(seed=1)
    assert log_loss(fit(hidden(), encoder=parity_encoder()), fresh) < 0.1
    rng = np.random.default_rng(0)
    noise = FakeEncoder(lambda text: rng.normal(size=8), "fake:noise")
    taught, told = fit(outcomes(n=200)), fit(outcomes(n=200), encoder=noise)
    fresh = outcomes(seed=1, n=200)
    assert log_loss(told, fresh) < log_loss(taught, fresh) + 0.02


def test_the_seed_decides() -> None:
    one, same, other = (fit(outcomes(), seed=seed) for seed in (1, 1, 2))
    for name, array in vars(one.weights).items():
        np.testing.assert_array_equal(array, getattr(same.weights, name))
    assert not np.array_equal(one.weights.blend, other.weights.blend)


def test_the_sample_was_predicted_before_it_was_learned() -> None:
    """Scores that are pure chance: who knows them cannot have guessed them."""
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 2, (150, 2)).astype(float)
    predictor = fit(table([f"unique{i} thing{i}" for i in range(150)], ("a", "b"), scores))
    assert predictor.sample is not None
    for column in range(2):
        guessed = np.corrcoef(predictor.sample.predicted[:, column], scores[:, column])[0, 1]
        assert guessed < 0.25


def test_models_may_be_scored_on_different_prompts() -> None:
    whole = outcomes({"small": 0.35, "middle": 0.6, "large": 0.9}, n=240)
    scores = whole.scores.copy()
    scores[:120, 0] = np.nan
    scores[60:, 1] = np.nan
    predictor = fit(replace(whole, scores=scores))
    easy, hard = predictor.qualities(["give the sum of 3", "give the proof of 3"])
    assert (easy > hard).all()
    assert predictor.card["scores"] == {"small": 120, "middle": 60, "large": 240}


def test_scores_between_0_and_1_count_as_shares() -> None:
    whole = outcomes(n=200)
    half = replace(whole, scores=np.where(whole.scores == 1, 0.75, 0.25))
    predicted = fit(half).qualities(whole.prompts)
    assert predicted.min() > 0.15
    assert predicted.max() < 0.85


def test_one_model_is_enough_to_learn_about() -> None:
    predictor = fit(outcomes({"only": 0.5}))
    easy, hard = predictor.qualities(["give the sum of 3", "give the proof of 3"])
    assert easy[0] > hard[0] + 0.2


def test_a_model_that_is_always_right_is_no_fault() -> None:
    predictor = fit(hidden())
    assert predictor.qualities(["123456"])[0, 1] > 0.8


def test_prompts_may_be_any_text() -> None:
    odd = ["", " ", "\udcff\0", "证明", "🤖" * 300, "word " * 20_000]
    prompts = [text + str(i // 6) * (i > 5) for i, text in enumerate(odd * 4)]
    scores = (np.arange(24)[:, None] % np.array([2, 3]) == 0).astype(float)
    predictor = fit(table(prompts, ("a", "b"), scores), encoder=parity_encoder())
    assert np.isfinite(predictor.qualities(prompts)).all()


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.ones((40, 2)), "every score is 1"),
        (np.zeros((40, 2)), "every score is 0"),
        (np.tile([[0.0, 1.0], [1.0, 1.0]], (FEWEST // 2 - 1, 1)), "needs at least"),
        (np.full((40, 2), np.nan), "has 0 scores"),
        (np.column_stack([np.arange(40) % 2, np.full(40, np.nan)]), "'b' has 0 scores"),
    ],
)
def test_a_table_that_teaches_nothing_is_refused(scores: Any, said: str) -> None:
    prompts = [f"prompt {i}" for i in range(len(scores))]
    with pytest.raises(TableError, match=said):
        fit(table(prompts, ("a", "b"), scores))


@pytest.mark.parametrize(
    "row",
    [lambda text: [np.nan], lambda text: 1.0, lambda text: [], lambda text: [1.0] * len(text)],
)
def test_an_encoder_that_gives_no_rows_of_numbers_is_refused(row: Any) -> None:
    with pytest.raises(ConfigurationError, match="encoder"):
        fit(outcomes(n=80), encoder=FakeEncoder(row))


@pytest.mark.parametrize("encoder", [None, parity_encoder()])
def test_progress_ends_where_it_says(encoder: Any) -> None:
    told: list[tuple[int, int]] = []
    fit(outcomes(n=80), encoder=encoder, progress=lambda done, steps: told.append((done, steps)))
    steps = told[0][1]
    assert told == [(done, steps) for done in range(1, steps + 1)]


def test_a_sample_of_other_prompts_has_their_scores() -> None:
    predictor, fresh = fit(outcomes()), outcomes(seed=1)
    sample = sample_of(predictor, fresh)
    np.testing.assert_array_equal(sample.predicted, predictor.qualities(fresh.prompts))
    np.testing.assert_array_equal(sample.scores, fresh.scores)
    with pytest.raises(TableError, match="none of the predictor's models"):
        sample_of(predictor, outcomes({"stranger": 0.5}))


def test_a_probe_places_a_model_by_few_scores() -> None:
    predictor = fit(outcomes({"small": 0.2, "large": 0.9}, n=300))
    wider = probe(predictor, outcomes({"new": 0.55}, seed=1, n=60), "new")
    assert wider.models == ("small", "large", "new")
    small, large, new = wider.qualities(outcomes(seed=2).prompts).mean(axis=0)
    assert small < new < large
    np.testing.assert_array_equal(wider.weights.blend[:2], predictor.weights.blend)


def test_what_a_probe_has_seen_does_not_judge_its_model() -> None:
    both = outcomes({"small": 0.35, "new": 0.5, "large": 0.9})
    predictor = fit(both.subset(slice(None), ("small", "large")))
    wider, fresh = probe(predictor, both, "new"), outcomes({"small": 0.35, "new": 0.5}, seed=1)
    assert not unseen(wider, both).any()
    assert unseen(wider, both.subset(slice(None), ("small", "large"))).all()
    assert unseen(wider, fresh).all()


def test_one_text_in_many_data_sets_is_no_crash() -> None:
    scores = (np.arange(12)[:, None] % np.array([2, 3]) == 0).astype(float)
    same = replace(table(["hi"] * 12, ("a", "b"), scores), datasets=tuple("abcdefghijkl"))
    assert np.isfinite(fit(same).qualities(["hi", "give the proof"])).all()


def test_a_probe_refuses_what_it_cannot_place() -> None:
    predictor = fit(outcomes())
    for named, given, said in (
        ("small", outcomes(seed=1), "knows 'small' already"),
        ("new", outcomes(seed=1), "no model 'new'"),
        ("new", outcomes({"new": 0.5}, n=FEWEST - 1), "needs at least"),
    ):
        with pytest.raises(TableError, match=said):
            probe(predictor, given, named)
