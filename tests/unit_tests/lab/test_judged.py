"""Tables of judged answers: what is wrong is named by file, row and column."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from shared_core.errors import TableError
from shared_core.lab.judged import read_answers
from tests.fakes.judged import judged_answers


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_reads_every_kind(tmp_path: Path, ending: str) -> None:
    """The same answers come out of every kind of file; rows without a score are counted."""
    rows = judged_answers(12, models=("a", "b"))
    rows[3]["score"] = None
    found = read_answers(written(tmp_path / f"t.{ending}", rows))
    kept = [row for row in rows if row["score"] is not None]
    assert found.answers == tuple(row["answer"] for row in kept)
    assert found.models == tuple(row["model"] for row in kept)
    assert found.scores.tolist() == [row["score"] for row in kept]
    assert found.unscored == 1
    assert found.subset([2, 0]).prompts == (found.prompts[2], found.prompts[0])


def test_reads_a_scale(tmp_path: Path) -> None:
    """A stated scale becomes 0 to 1."""
    rows = [{**row, "score": 1 + 9 * row["score"]} for row in judged_answers(12)]
    found = read_answers(written(tmp_path / "t.jsonl", rows), scale=(1, 10))
    assert set(found.scores.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"answer": None}, "line 2, column answer: it is missing"),
        ({"answer": ""}, "line 2, column answer: it is empty"),
        ({"answer": 7}, "line 2, column answer: it is int, not text"),
        ({"score": 3}, "line 2, column score: 3 is not between 0 and 1"),
        ({"score": "good"}, "line 2, column score: 'good' is not a number"),
    ],
)
def test_names_what_is_wrong(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    """File, line and column are told."""
    rows = judged_answers(12)
    rows[1] |= change
    path = written(tmp_path / "t.jsonl", rows)
    with pytest.raises(TableError, match=fault) as error:
        read_answers(path)
    assert str(path) in str(error.value)


def test_needs_the_column(tmp_path: Path) -> None:
    """A table of outcomes alone is refused, with the near name."""
    rows = judged_answers(12)
    for row in rows:
        row["answers"] = row.pop("answer")
    with pytest.raises(TableError, match="no column 'answer'; rename 'answers'"):
        read_answers(written(tmp_path / "t.csv", rows))


def test_needs_right_and_wrong(tmp_path: Path) -> None:
    """Scores that are all alike teach nothing."""
    rows = [{**row, "score": 1.0} for row in judged_answers(12)]
    with pytest.raises(TableError, match="every score is 1: give both"):
        read_answers(written(tmp_path / "t.jsonl", rows))


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    """A file without rows says so."""
    (tmp_path / "t.jsonl").write_text("")
    with pytest.raises(TableError, match="is empty"):
        read_answers(tmp_path / "t.jsonl")
