"""Training the shipped verifier: licensed answers alone, weights that make sense, figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from examples.benchmarks import train_verifier
from examples.benchmarks.train_verifier import (
    MODELS,
    MORE_IS_BETTER,
    MORE_IS_WORSE,
    SOURCES,
    STEPS,
    fit,
    licensed,
    load,
    questions,
)
from shared_core.strategies.verifiers.head import SHARES, Head
from shared_core.strategies.verifiers.learned import shipped_head
from shared_core.strategies.verifiers.surface import FEATURES
from tests.fakes.judged import judged_answers

OPEN, OTHER, CLOSED = "Mixtral-8x7B-Instruct-v0.1", "Phi-3-mini-4k-instruct", "gpt-4o-2024-08-06"


def write(folder: Path, name: str, table: pd.DataFrame) -> None:
    (folder / name).mkdir(parents=True)
    table.to_parquet(folder / name / "data.parquet")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for place, name in enumerate(SOURCES):
        rows = pd.DataFrame(judged_answers(40, models=(OPEN, OTHER, CLOSED), seed=place))
        knowing = pd.DataFrame(judged_answers(30, models=(OPEN, OTHER, CLOSED), seed=place + 9))
        knowing = knowing.assign(
            prompt="Who wrote book number " + knowing.prompt_id + "?",
            answer=[
                "Ada did." if s else "Perhaps Bob, however, I cannot tell." for s in knowing.score
            ],
        )
        write(folder, name, pd.concat([rows, knowing] if place == 0 else [rows]))
    questions = [f"Ann has {'a bag of 3 and ' * n}one pen. How many?" for n in range(1, 30)]
    write(folder, STEPS, pd.DataFrame({"prompt": questions, "n_steps": range(1, 30)}))
    return folder


def test_learns_from_licensed_answers_what_makes_sense(data: Path, tmp_path: Path) -> None:
    """Weights have the signs they may have; the card says how it does elsewhere."""
    said: list[str] = []
    train_verifier.main(["--data", str(data), "--out", str(tmp_path / "out")], said.append)
    head = Head.load(tmp_path / "out")
    card = json.loads(said[0])
    assert head.card == card
    assert card["answers"] == {"knowledge": 60, "numbers": 80, "maths": 80}
    assert card["questions"] == 29
    for ways in card["mean_auc"].values():
        assert 0 < ways["domain_left_out"] < 1
    assert card["mean_auc"]["numbers"]["domain_left_out"] > 0.6
    assert set(card["auc"]["numbers"]["domain_left_out"]) == {OPEN, OTHER, CLOSED}
    assert set(card["auc"]["numbers"]["model_left_out"]) == {OPEN, OTHER}
    for name, weights in zip(FEATURES, head.linear.T, strict=True):
        assert (weights <= 0).all() or name in MORE_IS_BETTER
        assert (weights >= 0).all() or name in MORE_IS_WORSE
    assert head.linear[-1][FEATURES.index("wrong")] < 0
    assert head.linear[-1][FEATURES.index("q_words")] < 0
    assert (head.slope == 1).all()


def learned(data: Path) -> Head:
    domains = {name: licensed(rows) for name, rows in load(data).items()}
    return fit(domains, questions(data))


def test_answers_of_other_models_teach_nothing(data: Path) -> None:
    """What models without a free licence said does not move a weight."""
    before = learned(data)
    for name in SOURCES:
        path = data / name / "data.parquet"
        table = pd.read_parquet(path)
        closed = table.model == CLOSED
        table["score"] = np.where(closed, 1.0 - table.score, table.score)
        table["answer"] = np.where(closed, "No.", table.answer)
        table.to_parquet(path)
    after = learned(data)
    assert np.array_equal(before.linear[-1], after.linear[-1])


def test_what_counts_as_right_and_is_not_is_left_out() -> None:
    """An answer that loops counts as right with some graders; most right ones say otherwise."""
    said = ["The answer is 7.", "So it is 7. The answer is 7.", "The answer is 7.", "7 7 7 8 9"]
    models = [*list(MODELS)[:3], CLOSED]
    table = pd.DataFrame({"prompt": "3 + 4?", "model": models, "answer": said, "score": 1.0})
    assert list(train_verifier.told_apart(table).answer) == said[:3]
    few = table.iloc[1:]
    assert len(train_verifier.told_apart(few)) == 3


def test_the_shipped_one_is_made_by_this_script() -> None:
    """Its card names the command, the sources and licensed models alone."""
    head = shipped_head()
    assert head.card["command"].startswith("python -m examples.benchmarks.train_verifier")
    assert set(head.card["models"]) == set(MODELS)
    assert set(head.card["sources"]) == {*SOURCES, STEPS}
    assert head.linear.shape == (len(SHARES), len(FEATURES))
