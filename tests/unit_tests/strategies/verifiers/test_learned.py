"""A learned verifier: odds add up, artefacts are refused or read as they were, drafts may grow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_core.errors import ArtefactError
from shared_core.strategies.verifiers.base import logit
from shared_core.strategies.verifiers.head import SHARES, Head
from shared_core.strategies.verifiers.learned import LearnedVerifier, shipped_head
from shared_core.strategies.verifiers.surface import FEATURES
from shared_core.types import Draft, Prompt, Reply, Turn, Verdict
from tests.fakes.verifying import Scripted

QUESTION = "Tom has 5 apples and buys 3 boxes of 4 apples each. How many apples has he?"
GOOD = (
    "Three boxes of four apples each hold 3 * 4 = 12 apples. With the 5 that he has at first "
    "that makes 12 + 5 = 17 apples in all. The answer is 17."
)


class FakeReader:
    """Reads how many letters a draft has."""

    name = "fake"

    def read(self, question: str, drafts: Sequence[str]) -> np.ndarray[Any, Any]:
        """Return one row per draft."""
        return np.array([[len(draft), 1.0] for draft in drafts], float)


def draft(answer: str, **about: Any) -> Draft:
    candidate = about.pop("candidate", "weak")
    prompt = Prompt((Turn("user", QUESTION),), tokens=20)
    return Draft(prompt, Reply(candidate, text=answer), **about)


def judged(verifier: LearnedVerifier, looked_at: Draft) -> Verdict:
    return Scripted().verdict(verifier, looked_at)


def head(**changes: Any) -> Head:
    """The shipped head with a reader's block, trees and a model of its own."""
    s = len(SHARES)
    rng = np.random.default_rng(1)
    made: dict[str, Any] = {
        "split": rng.integers(0, len(FEATURES), (s, 5, 7)),
        "threshold": rng.normal(size=(s, 5, 7)),
        "leaf": rng.normal(size=(s, 5, 8)),
        "reading_centre": np.zeros(2),
        "reading_scale": np.array([10.0, 1.0]),
        "reading": np.array([0.5, 0.0]),
        "base": np.array([0.7]),
        "models": ("weak",),
        "reader": "fake",
    }
    return replace(shipped_head(), **made | changes)


def test_starts_from_the_prior() -> None:
    """The same draft under a better prior is more probable, by the prior's own odds."""
    verifier = LearnedVerifier.shipped()
    low, high = (judged(verifier, draft(GOOD, prior=prior)).probability for prior in (0.4, 0.8))
    assert low is not None
    assert high is not None
    assert logit(high) - logit(low) == pytest.approx(logit(0.8) - logit(0.4))
    assert judged(verifier, draft(GOOD)).note.startswith("log odds: ")


def test_prefers_the_sound_draft() -> None:
    """A draft with slips and doubts is less probable than one without."""
    verifier = LearnedVerifier.shipped()
    bad = (
        "Perhaps three boxes of four apples hold 3 * 4 = 13 apples, however, I cannot tell for "
        "sure. It might be 5 apples. The answer is 99 or 98."
    )
    sound, unsound = (judged(verifier, draft(text)).probability for text in (GOOD, bad))
    assert sound is not None
    assert unsound is not None
    assert sound > unsound


@pytest.mark.parametrize("text", ["", " \n", "\0"])
def test_says_nothing_about_nothing(text: str) -> None:
    """An empty draft is unknown, never a pass."""
    verifier = LearnedVerifier.shipped()
    found = judged(verifier, draft(text)).probability
    assert found is None or text == "\0"
    assert verifier.glance(draft("")) is None


def test_asks_its_reader_and_knows_its_models() -> None:
    """A reader's vector and the answering model's base move the log odds."""
    made = head()
    verifier = LearnedVerifier(made, FakeReader())
    text = GOOD * 2
    known, unknown = (judged(verifier, draft(text, candidate=name)) for name in ("weak", "other"))
    assert known.probability is not None
    assert unknown.probability is not None
    assert logit(known.probability) - logit(unknown.probability) == pytest.approx(0.7)
    deaf = LearnedVerifier(head(reading=np.zeros(2)), FakeReader())
    without = judged(deaf, draft(text, candidate="other")).probability
    assert without is not None
    moved = 0.5 * min(4.0, len(text) / 10)
    assert logit(unknown.probability) - logit(without) == pytest.approx(moved)


def test_climbs_its_trees() -> None:
    """The arrays give what walking from node to node gives."""
    made, rng = head(), np.random.default_rng(2)
    rows = rng.normal(size=(20, len(FEATURES)))
    expected = np.zeros(20)
    for row, z in enumerate(rows):
        for split, threshold, leaf in zip(
            made.split[1], made.threshold[1], made.leaf[1], strict=True
        ):
            node = 0
            while node < 7:
                node = 2 * node + (2 if z[split[node]] > threshold[node] else 1)
            expected[row] += leaf[node - 7]
    assert made.by_trees(rows, share=1) == pytest.approx(expected)


def test_glances_at_a_growing_draft() -> None:
    """A part is judged as a part, once there is enough of it and its length is expected."""
    verifier = LearnedVerifier.shipped()
    part = GOOD[:20]
    assert verifier.glance(draft(part, whole=False)) is None
    assert verifier.glance(draft(part, whole=False, expected_tokens=1000)) is None
    early = verifier.glance(draft(part, whole=False, expected_tokens=10))
    later = verifier.glance(draft(part, whole=False, expected_tokens=5))
    assert early is not None
    assert later is not None
    assert 0 < early[0] < 1
    assert 0 < later[1] < early[1]


def test_says_what_moved_it() -> None:
    """Parts of the log odds add up to the whole."""
    made = head()
    verifier = LearnedVerifier(made, FakeReader())
    parts = verifier.contributions(draft(GOOD))
    sizes = [abs(part) for _, part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert "together" in dict(parts)


def test_is_saved_and_read(tmp_path: Path) -> None:
    """What was saved is read as it was; the reader must be the same."""
    verifier = LearnedVerifier(head(card={"a": 1}), FakeReader())
    verifier.save(tmp_path / "one")
    again = LearnedVerifier.load(tmp_path / "one", FakeReader())
    assert again.head.card == {"a": 1}
    assert judged(again, draft(GOOD)) == judged(verifier, draft(GOOD))
    with pytest.raises(ArtefactError, match="needs the reader 'fake', not None"):
        LearnedVerifier.load(tmp_path / "one")
    with pytest.raises(ArtefactError, match="needs the reader None, not 'fake'"):
        LearnedVerifier.shipped(FakeReader())


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"linear": np.zeros((4, 3))}, "has linear of shape"),
        ({"offset": np.full(4, np.nan)}, "values that are no numbers"),
        ({"split": np.full((4, 5, 7), 999)}, "trees that lead nowhere"),
        ({"scale": np.zeros((4, len(FEATURES)))}, "a scale that is not over 0"),
        ({"reader": None}, "without its name"),
        ({"models": ("weak", "weak"), "base": np.zeros(2)}, "has base of shape"),
    ],
)
def test_refuses_wrong_weights(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    """Weights that cannot be meant are refused when they are read."""
    head(**changes).save(tmp_path)
    with pytest.raises(ArtefactError, match=fault):
        Head.load(tmp_path)


def test_refuses_broken_files(tmp_path: Path) -> None:
    """A missing, cut, foreign or later file is an error that names the folder."""
    made = head()
    with pytest.raises(ArtefactError, match="cannot be read"):
        Head.load(tmp_path / "nowhere")
    made.save(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    for wrong, fault in (
        ({**card, "format": 99}, "is of format 99"),
        ({**card, "features": ["x"]}, "other features"),
        ({**card, "kind": "predictor"}, "and no verifier's"),
        ({**card, "sha256": "0"}, "not those its card names"),
        ([], "cannot be read"),
    ):
        (tmp_path / "card.json").write_text(json.dumps(wrong))
        with pytest.raises(ArtefactError, match=fault):
            Head.load(tmp_path)
    made.save(tmp_path)
    (weights,) = tmp_path.glob("weights-*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ArtefactError, match="not those its card names"):
        Head.load(tmp_path)


def test_ships_one_for_all_threads() -> None:
    """The shipped head is read once, has no reader, and is small."""
    with ThreadPoolExecutor(8) as pool:
        heads = list(pool.map(lambda _: shipped_head(), range(16)))
    assert len(set(map(id, heads))) == 1
    assert heads[0].reader is None
    assert heads[0].card["answers"]


@pytest.mark.parametrize(
    ("text", "known"), [("Paris", False), ("3 * 4 = 13", True), ("word " * 5000, False)]
)
def test_leaves_what_it_has_never_seen_the_like_of_to_others(text: str, known: bool) -> None:
    """A single word is none of what it learned from: its sums alone can be looked at."""
    verdict = judged(LearnedVerifier.shipped(), draft(text))
    assert verdict.note.startswith("unlike what it has learned from")
    assert (verdict.probability is not None) == known
    assert verdict.verifier == "learned"


def test_what_is_written_anew_is_whole_or_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that breaks off before the card leaves the old head, which can be read."""
    head().save(tmp_path)

    def broken(source: Any, target: Path) -> None:
        if Path(target).name == "card.json":
            raise OSError("the disk is full")
        Path(source).rename(target)

    monkeypatch.setattr("shared_core.weights.os.replace", broken)
    with pytest.raises(OSError, match="full"):
        head(base=np.array([0.1])).save(tmp_path)
    assert Head.load(tmp_path).base.tolist() == [0.7]
