"""The learned predictor: what it predicts, with and without an encoder, and that it keeps it."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shared_core.decision.candidates import prepare_candidates
from shared_core.decision.policy import Policy
from shared_core.errors import ArtefactError, ConfigurationError
from shared_core.lab.fit import fit, probe
from shared_core.prediction import learned
from shared_core.prediction.features import MEASURES, bucket, features
from shared_core.prediction.learned import LearnedPredictor
from shared_core.prediction.surface import quality_logit
from shared_core.router import Router
from shared_core.types import Candidate
from tests.fakes.core import prompt
from tests.fakes.learning import FakeEncoder, hidden, outcomes, parity_encoder

TEXTS = (
    "give the sum of 3",
    "give the proof of 3",
    "",
    " ",
    "证明这个定理",
    "🤖 \udcff \0",
    "x" * 200_000,
)
KNOWN = tuple(Candidate(name, None, strength=s) for name, s in (("small", 0.3), ("large", 0.7)))


@pytest.fixture(scope="module")
def plain() -> LearnedPredictor:
    return fit(outcomes())


@pytest.fixture(scope="module")
def encoding() -> LearnedPredictor:
    return fit(hidden(), encoder=parity_encoder())


def test_hard_topics_are_predicted_to_fail_where_they_do(plain: LearnedPredictor) -> None:
    easy, hard = plain.qualities(["give the sum of 5", "give the proof of 5"])
    assert easy[0] > hard[0] + 0.3
    assert hard[1] > hard[0] + 0.1


def test_an_estimate_per_candidate_in_their_order(plain: LearnedPredictor) -> None:
    asked = (KNOWN[1], KNOWN[0])
    estimates = plain.predict(prompt(TEXTS[1]), asked)
    assert [e.candidate for e in estimates] == ["large", "small"]
    expected = plain.qualities([TEXTS[1]])[0][[1, 0]]
    np.testing.assert_allclose([e.quality for e in estimates], expected, atol=1e-12)
    assert [e.output_tokens for e in estimates] == [50, 50]


@pytest.mark.parametrize("which", ["plain", "encoding"])
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_any_text_has_estimates_within_their_interval(
    which: str, text: str, request: pytest.FixtureRequest
) -> None:
    predictor = request.getfixturevalue(which)
    unseen = Candidate("unheard-of", None, strength=0.5)
    for e in predictor.predict(prompt(text), (*KNOWN, unseen)):
        assert e.quality_low is not None
        assert e.quality_high is not None
        assert 0 <= e.quality_low < e.quality < e.quality_high <= 1


def test_a_model_never_seen_gets_its_strength_and_what_the_others_find(
    plain: LearnedPredictor,
) -> None:
    weak, strong = (Candidate(f"new {s}", None, strength=s) for s in (0.1, 0.9))
    estimates = {text: plain.predict(prompt(text), (*KNOWN, weak, strong)) for text in TEXTS[:2]}
    for _, known, low, high in estimates.values():
        assert low.quality < high.quality
        assert low.quality_high - low.quality_low > known.quality_high - known.quality_low
        assert low.output_tokens == 50
    easy, hard = estimates.values()
    assert easy[2].quality > hard[2].quality
    moved = dict(plain.contributions(prompt(TEXTS[1]), weak))
    assert moved["what known models find harder or easier"] < 0


def test_more_labels_make_intervals_narrower() -> None:
    usual = prompt(outcomes().prompts[0])
    few, many = (fit(outcomes(n=n)).predict(usual, KNOWN) for n in (60, 600))
    for wide, narrow in zip(few, many, strict=True):
        assert narrow.quality_high - narrow.quality_low < wide.quality_high - wide.quality_low


@pytest.mark.parametrize("piece", ["\n", " \n", "\r\n", "\t \n\n", "9", "A) ", "((", "\u200b"])
def test_features_take_time_linear_in_the_length(piece: str) -> None:
    started = time.process_time()
    features(piece * 100_000)
    assert time.process_time() - started < 10  # minutes where it is quadratic


def test_an_option_is_counted_once_however_far_the_line_before() -> None:
    at = MEASURES.index("options")
    for text in ("A) yes\nB) no", "A) yes\n\n \n\tB) no", "\r\n(A) yes\r\n\r\n (B) no or A) maybe"):
        assert features(text).measures[at] == pytest.approx(math.log1p(2))


def test_no_text_has_no_qualities(plain: LearnedPredictor, encoding: LearnedPredictor) -> None:
    assert plain.qualities([]).shape == (0, 2)
    assert encoding.qualities([]).shape == (0, 2)


def test_contributions_come_largest_first_and_name_what_moved(plain: LearnedPredictor) -> None:
    easy, hard = (
        dict(plain.contributions(prompt(text), KNOWN[0])) for text in ("the sum", "the proof")
    )
    for moved in (easy, hard):
        assert list(moved.values()) == sorted(moved.values(), key=abs, reverse=True)
        assert "encoding" not in moved
    assert easy["'sum'"] > 0 > hard["'proof'"]


@pytest.mark.parametrize("text", ["", "give the proof of 3", "give the proof " * 300, TEXTS[-1]])
def test_contributions_add_up_to_the_estimate(
    text: str, plain: LearnedPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned, "_MOST", 10_000)
    for place, known in enumerate(KNOWN):
        (estimate,) = plain.predict(prompt(text), [known])
        level, _, _, by_fallback, _ = plain.weights.blend[place]
        moved = sum(part for _, part in plain.contributions(prompt(text), known))
        logit = level + by_fallback * quality_logit(0, 0) + moved
        assert logit == pytest.approx(math.log(estimate.quality / (1 - estimate.quality)))


def test_of_a_very_long_text_both_ends_count() -> None:
    started, text = time.process_time(), "give " * 20_000 + "\u8bc1" * 9_800_000 + " proof" * 20_000
    long, short = features(text), features("give " * 20_000 + " proof" * 20_000)
    assert time.process_time() - started < 10
    assert set(short.buckets) - set(long.buckets) <= {bucket("give proof")}


def test_an_encoder_adds_what_no_word_tells(encoding: LearnedPredictor) -> None:
    fresh = hidden(seed=1)
    right = (encoding.qualities(fresh.prompts)[:, 0] > 0.5) == fresh.scores[:, 0]
    assert right.mean() == 1
    without = fit(hidden())
    assert ((without.qualities(fresh.prompts)[:, 0] > 0.5) == fresh.scores[:, 0]).mean() < 0.65
    moved = encoding.contributions(prompt(fresh.prompts[0]), KNOWN[0])
    assert moved[0][0] == "encoding"
    assert (moved[0][1] > 0) == (fresh.scores[0, 0] == 1)


def test_a_batch_is_encoded_in_one_go(encoding: LearnedPredictor) -> None:
    calls: list[int] = []
    inner = parity_encoder()

    class Counting:
        name = inner.name

        def encode(self, texts: list[str]) -> object:
            calls.append(len(texts))
            return inner.encode(texts)

    counting = LearnedPredictor(encoding.models, encoding.weights, encoder=Counting())
    np.testing.assert_array_equal(
        counting.qualities(["1", "2", "3"]), encoding.qualities(["1", "2", "3"])
    )
    assert calls == [3]


def test_an_encoder_never_runs_on_the_event_loop(encoding: LearnedPredictor) -> None:
    threads: list[threading.Thread] = []

    def row(text: str) -> list[float]:
        threads.append(threading.current_thread())
        return [0.0] * 4

    slow = LearnedPredictor(encoding.models, encoding.weights, encoder=FakeEncoder(row))
    candidates = prepare_candidates(KNOWN, lambda candidate: (None, {}))
    router = Router(candidates, Policy(), slow)
    for text in ("", "hello"):
        asyncio.run(router.adecide(prompt(text)))
    assert len(threads) == 2
    assert threading.main_thread() not in threads


def test_without_an_encoder_short_prompts_stay_on_the_loop(plain: LearnedPredictor) -> None:
    assert plain.inline_chars >= 1_000


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (lambda text: [1.0, 2.0], "2 numbers, not the 4"),
        (lambda text: [1.0, float("nan"), 1.0, 1.0], "no numbers"),
        (lambda text: 1.0, "shape"),
        (lambda text: "words", "no numbers"),
    ],
)
def test_what_an_encoder_gives_wrong_is_said(
    encoding: LearnedPredictor, row: object, said: str
) -> None:
    broken = LearnedPredictor(encoding.models, encoding.weights, encoder=FakeEncoder(row))
    with pytest.raises(ConfigurationError, match=said):
        broken.predict(prompt("1"), KNOWN)


def test_learned_with_an_encoder_and_used_without_is_said(encoding: LearnedPredictor) -> None:
    with pytest.raises(ConfigurationError, match="0 numbers, not the 4"):
        LearnedPredictor(encoding.models, encoding.weights).qualities(["1"])


@pytest.mark.parametrize("which", ["plain", "encoding"])
def test_what_is_saved_predicts_the_same(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    predictor: LearnedPredictor = request.getfixturevalue(which)
    predictor.save(tmp_path / "deep" / "folder")
    loaded = LearnedPredictor.load(tmp_path / "deep" / "folder", predictor.encoder)
    assert loaded.models == predictor.models
    assert loaded.card == predictor.card
    assert loaded.inline_chars == predictor.inline_chars
    for text in TEXTS:
        assert loaded.predict(prompt(text), KNOWN) == predictor.predict(prompt(text), KNOWN)
    assert loaded.sample is not None
    assert predictor.sample is not None
    np.testing.assert_allclose(loaded.sample.predicted, predictor.sample.predicted, atol=1e-6)
    np.testing.assert_array_equal(loaded.trained_on, predictor.trained_on)


def test_an_artefact_is_loaded_with_the_encoder_that_it_names(
    plain: LearnedPredictor, encoding: LearnedPredictor, tmp_path: Path
) -> None:
    encoding.save(tmp_path / "with")
    plain.save(tmp_path / "without")
    with pytest.raises(ArtefactError, match=r"'fake:parity', not None: pass encoder="):
        LearnedPredictor.load(tmp_path / "with")
    with pytest.raises(ArtefactError, match="'fake:parity', not 'another'"):
        LearnedPredictor.load(tmp_path / "with", parity_encoder("another"))
    with pytest.raises(ArtefactError, match="without an encoder"):
        LearnedPredictor.load(tmp_path / "without", parity_encoder())
    assert LearnedPredictor.load(tmp_path / "with", parity_encoder()).encoder is not None


def test_64_threads_that_load_and_predict_agree(encoding: LearnedPredictor, tmp_path: Path) -> None:
    encoding.save(tmp_path)
    start = threading.Barrier(64)

    def one(n: int) -> list[float]:
        start.wait(timeout=30)
        predictor = LearnedPredictor.load(tmp_path, parity_encoder())
        return predictor.qualities(["12", "13", "a"]).ravel().tolist()

    with ThreadPoolExecutor(64) as pool:
        found = list(pool.map(one, range(64)))
    assert found == [encoding.qualities(["12", "13", "a"]).ravel().tolist()] * 64


def test_a_probe_takes_the_encoding_over(encoding: LearnedPredictor) -> None:
    table = hidden(seed=2, n=60)
    new = type(table)(
        table.prompts, ("new",), table.scores[:, :1], table.output_tokens[:, :1],
        table.cost[:, :1], table.datasets,
    )  # fmt: skip
    wider = probe(encoding, new, "new")
    assert wider.models == ("small", "large", "new")
    assert wider.encoder is encoding.encoder
    fresh = hidden(seed=3)
    places = wider.qualities(fresh.prompts)[:, 2]
    right = fresh.scores[:, 0] == 1
    assert places[right].min() > places[~right].max()
