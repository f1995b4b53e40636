"""What is made for the benchmarks of a reader: a row per answer, and of its first quarters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from examples.benchmarks import read


class FakeReader:
    """Tells how long question and draft are."""

    name = "reader:fake"

    def read(self, question: str, drafts: Sequence[str]) -> Any:
        return np.array([[len(question), len(draft)] for draft in drafts], float)


@pytest.fixture
def table() -> pd.DataFrame:
    """Two models' answers to three questions."""
    rows = [
        (n, f"question {'?' * n}", model, "a" * (40 + n), 1.0)
        for n in range(3)
        for model in ("mathstral-7B", "some-other")
    ]
    return pd.DataFrame(rows, columns=["prompt_id", "prompt", "model", "answer", "score"])


def test_quarters_are_read_as_if_they_were_all(table: pd.DataFrame) -> None:
    arrays, _ = read.vectors(FakeReader(), table)
    assert arrays["prompt_id"].tolist() == ["0", "0", "1", "1", "2", "2"]
    assert arrays["model"].tolist() == ["mathstral-7B", "some-other"] * 3
    assert arrays["features"][:, 1].tolist() == [40, 40, 41, 41, 42, 42]
    assert arrays["features_25"][-1].tolist() == [11, 10]
    assert arrays["features_75"][-1].tolist() == [11, 31]


def test_all_answers_to_the_prompts_drawn_are_taken(table: pd.DataFrame) -> None:
    drawn = read.some(table, 2)
    assert drawn.groupby("prompt_id").size().tolist() == [2, 2]
    pd.testing.assert_frame_equal(drawn, read.some(table, 2))
    assert len(read.some(table, 9)) == len(table)


def test_a_file_per_set_is_written(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "Reader", lambda file: FakeReader())
    (tmp_path / "answers").mkdir()
    table.to_parquet(tmp_path / "answers" / "data.parquet")
    read.main(["answers", "--data", str(tmp_path), "--out", str(tmp_path / "made"), "--clean"])
    with np.load(tmp_path / "made" / "answers.npz") as made:
        assert str(made["reader"]) == "reader:fake"
        assert set(made["model"]) == {"mathstral-7B"}
        assert made["features"].shape == (3, 2)
