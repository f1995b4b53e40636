"""Tables of outcomes: what is read, and what is refused with which words."""

from __future__ import annotations

import json
import sqlite3
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared_core import ConfigurationError, MissingExtraError, TableError
from shared_core.accounting.ledger.ledger import Ledger
from shared_core.lab.table import Outcomes, read_table
from shared_core.types import Verdict
from tests.fakes.entries import attempt, entry

Rows = list[dict[str, Any]]

GOOD: Rows = [
    {"prompt": "1 + 1?", "model": "small", "score": 1, "cost": 0.001, "output_tokens": 5, "x": 1},
    {"prompt": "1 + 1?", "model": "large", "score": 1, "cost": 0.01, "output_tokens": 7, "x": 1},
    {"prompt": 'Prove it,\n"now"', "model": "small", "score": 0, "cost": 0.002, "x": 1},
    {"prompt": 'Prove it,\n"now"', "model": "large", "score": 1, "cost": None, "x": 1},
]


def as_json(rows: Rows) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def as_csv(rows: Rows) -> bytes:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    quoted = ['"{}"'.format(str(v).replace('"', '""')) for v in columns]
    lines = [",".join(quoted)]
    for row in rows:
        values = ["" if row.get(c) is None else str(row[c]) for c in columns]
        lines.append(",".join('"{}"'.format(v.replace('"', '""')) for v in values))
    return "\n".join(lines).encode()


def as_parquet(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


FORMATS: dict[str, Callable[[Rows], bytes]] = {
    "table.jsonl": as_json,
    "table.NDJSON": as_json,
    "table.csv": as_csv,
    "table.parquet": as_parquet,
}


def read(tmp_path: Path, content: bytes | Rows, name: str = "table.jsonl", **how: Any) -> Outcomes:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else FORMATS[name](content))
    return read_table(path, **how)


def rows(*scores: Any, model: str = "m") -> Rows:
    return [{"prompt": f"p{n}", "model": model, "score": s} for n, s in enumerate(scores)]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_outcomes(tmp_path: Path, name: str) -> None:
    outcomes = read(tmp_path, GOOD, name)
    assert outcomes.prompts == ("1 + 1?", 'Prove it,\n"now"')
    assert outcomes.models == ("small", "large")
    np.testing.assert_array_equal(outcomes.scores, [[1, 1], [0, 1]])
    np.testing.assert_array_equal(outcomes.cost, [[0.001, 0.01], [0.002, np.nan]])
    np.testing.assert_array_equal(outcomes.output_tokens, [[5, 7], [np.nan, np.nan]])
    assert outcomes.datasets == ("", "")


def test_rows_of_the_same_prompt_and_model_are_averaged_within_a_data_set(tmp_path: Path) -> None:
    same = {"prompt": "p", "model": "m"}
    outcomes = read(
        tmp_path,
        [
            {**same, "dataset": "a", "score": 1},
            {**same, "dataset": "a", "score": 0},
            {**same, "dataset": "a", "score": None},
            {**same, "dataset": "b", "score": 1},
        ],
    )
    assert outcomes.prompts == ("p", "p")
    assert outcomes.datasets == ("a", "b")
    np.testing.assert_array_equal(outcomes.scores, [[0.5], [1]])
    assert outcomes.unscored == 1


def test_what_has_no_score_at_all_is_left_out_and_counted(tmp_path: Path) -> None:
    table = [*rows(1, 0, None), *rows(None, float("nan"), model="never")]
    outcomes = read(tmp_path, table)
    assert outcomes.prompts == ("p0", "p1")
    assert outcomes.models == ("m",)
    assert outcomes.unscored == 3


@pytest.mark.parametrize(
    ("written", "score"), [("True", 1), ("false", 0), (" 0.5 ", 0.5), ("1e-1", 0.1), ("NA", None)]
)
def test_a_csv_may_write_scores_in_several_ways(
    tmp_path: Path, written: str, score: float | None
) -> None:
    table = f"prompt,model,score\na,m,1\nb,m,0\nc,m,{written}\n"
    outcomes = read(tmp_path, table.encode(), "table.csv")
    assert (outcomes.scores[2, 0] if score is not None else outcomes.unscored) == (
        1 if score is None else score
    )


def test_a_stated_scale_maps_scores(tmp_path: Path) -> None:
    outcomes = read(tmp_path, rows(1, 5.5, 10), scale=(1, 10))
    np.testing.assert_allclose(outcomes.scores[:, 0], [0, 0.5, 1])


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    for name in ("table.csv", "table.jsonl"):
        assert read(tmp_path, b"\xef\xbb\xbf" + FORMATS[name](GOOD), name).models[0] == "small"


def test_a_prompt_longer_than_the_csv_modules_own_limit_is_read(tmp_path: Path) -> None:
    table = rows(1, 0)
    table[0]["prompt"] = "x" * 200_000
    assert len(read(tmp_path, table, "table.csv").prompts[0]) == 200_000


def test_more_models_and_prompts_than_first_expected_are_kept_apart(tmp_path: Path) -> None:
    table = [
        {"prompt": f"p{p}", "model": f"m{m}", "score": (p * 7 + m) % 11 / 10}
        for p in range(150)
        for m in range(9)
    ]
    outcomes = read(tmp_path, table)
    expected = [[(p * 7 + m) % 11 / 10 for m in range(9)] for p in range(150)]
    np.testing.assert_allclose(outcomes.scores, expected)


@pytest.mark.parametrize("name", ["table.jsonl", "table.csv", "table.parquet"])
def test_memory_grows_with_distinct_prompts_not_with_rows(tmp_path: Path, name: str) -> None:
    texts = [f"{n} " + "word " * 400 for n in range(20)]
    table = [{"prompt": texts[n % 20], "model": f"m{n % 3}", "score": n % 2} for n in range(12_000)]
    path = tmp_path / name
    path.write_bytes(FORMATS[name](table))
    read_table(path)  # imports
    tracemalloc.start()
    outcomes = read_table(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcomes.scores.shape == (20, 3)
    assert peak < 4_000_000  # the rows hold 24 MB of text


def test_a_pair_has_the_prompts_that_both_models_were_scored_on(tmp_path: Path) -> None:
    outcomes = read(tmp_path, [*rows(1, 0, 1), *rows(1, None, 0, model="n"), *rows(1, model="o")])
    pair = outcomes.pair("n", "m")
    assert pair.prompts == ("p0", "p2")
    assert pair.models == ("n", "m")
    np.testing.assert_array_equal(pair.scores, [[1, 1], [0, 1]])


@pytest.mark.parametrize("chosen", [[2, 0], np.array([True, False, True]), slice(0, 3, 2)])
def test_a_subset_takes_places_a_mask_or_a_slice(tmp_path: Path, chosen: Any) -> None:
    outcomes = read(tmp_path, rows(1, 0.5, 0))
    assert set(outcomes.subset(chosen).prompts) == {"p0", "p2"}
    first = outcomes.subset(chosen).prompts[0]
    assert outcomes.subset(chosen).scores[0, 0] == {"p0": 1, "p2": 0}[first]


LONE = '{"prompt": "ab\\ud83d", "model": "m", "score": 1}'

BAD: dict[str, tuple[bytes | Rows, str, list[str]]] = {
    "no rows": (b"", "table.jsonl", ["is empty"]),
    "blank lines": (b"\n\n", "table.jsonl", ["is empty"]),
    "no header": (b"", "table.csv", ["is empty"]),
    "only a header": (b"prompt,model,score\n", "table.csv", ["is empty"]),
    "near name": (b"Prompt,model,score\np,m,1", "table.csv", ["'prompt'", "rename 'Prompt'?"]),
    "nearer name": (
        [{"prompt": "p", "models": "m", "score": 1}],
        "table.parquet",
        ["'model'", "rename 'models'?"],
    ),
    "no score": ([{"prompt": "p", "model": "m", "y": 1}], "table.jsonl", ["line 1", "'score'"]),
    "twice": (b"prompt,model,score,score\np,m,1,0", "table.csv", ["two columns 'score'"]),
    "one class": (
        [*rows(1, 1), *rows(1, model="n")],
        "table.jsonl",
        ["every score is 1", "good and bad"],
    ),
    "a word": (rows(1, "good"), "table.jsonl", ["line 2", "score", "'good' is not a number"]),
    "a list": (rows(1, [1]), "table.jsonl", ["line 2", "[1] is not a number"]),
    "infinite": (rows(1, float("inf")), "table.jsonl", ["line 2, column score", "infinite"]),
    "huge": (rows(1, 10**400), "table.jsonl", ["line 2, column score", "not a number"]),
    "only NaN": (rows(float("nan"), None), "table.jsonl", ["none of its 2 rows has a score"]),
    "tens": (rows(1, 0, 8.5, 10), "table.jsonl", ["line 3", "0 to 10: divide by 10", "0 10"]),
    "percent": (rows(0, 87), "table.csv", ["line 3", "divide by 100"]),
    "stars": (rows(1, 5), "table.csv", ["subtract 1, divide by 4", "1 5"]),
    "minus one": (rows(-1, 1), "table.csv", ["line 2", "subtract -1, divide by 2", "-1 1"]),
    "empty prompt": (
        [{"prompt": " \n", "model": "m", "score": 1}],
        "table.jsonl",
        ["line 1, column prompt", "empty"],
    ),
    "null prompt": (
        [{"prompt": None, "model": "m", "score": 1}],
        "table.jsonl",
        ["line 1, column prompt", "missing"],
    ),
    "empty model": (b"prompt,model,score\np,m,1\nq,,0", "table.csv", ["line 3, column model"]),
    "a number": (
        [{"prompt": 5, "model": "m", "score": 1}],
        "table.parquet",
        ["row 1, column prompt", "int, not text"],
    ),
    "negative cost": (
        [{"prompt": "p", "model": "m", "score": 1, "cost": -1}],
        "table.jsonl",
        ["line 1, column cost", "below 0"],
    ),
    "broken line": (as_json(GOOD) + b'\n{"prompt": ', "table.jsonl", ["line 5", "broken JSON"]),
    "an array": (b'[{"prompt": "p"}]', "table.jsonl", ["line 1", "JSON list", "JSON Lines"]),
    "too deep": (b"[" * 200_000, "table.jsonl", ["line 1", "broken JSON"]),
    "half a character": (LONE.encode(), "table.jsonl", ["column prompt", "character 3", "U+D83D"]),
    "Latin-1": ("prompt,model,score\né,m,1".encode("latin-1"), "table.csv", ["save it as UTF-8"]),
    "open quote": (b'prompt,model,score\n"p,m,1', "table.csv", ["line 2", "broken CSV"]),
    "open comma": (b"prompt,model,score\nHi, you,m,1", "table.csv", ["line 2 has 4 columns"]),
    "cut off": (b"prompt,model,score\np,m,1\nq,m", "table.csv", ["line 3 has 2 columns"]),
    "no parquet": (b"PAR1 or not", "table.parquet", ["broken parquet"]),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_named_with_its_place_and_what_to_change(tmp_path: Path, fault: str) -> None:
    content, name, said = BAD[fault]
    with pytest.raises(TableError) as caught:
        read(tmp_path, content, name)
    message = str(caught.value)
    assert all(words in message for words in [name, *said]), message


def test_the_line_of_a_csv_row_counts_line_breaks_within_quotes(tmp_path: Path) -> None:
    table = b'prompt,model,score\n"a\nb",m,1\nc,m,good\n'
    with pytest.raises(TableError, match="line 4"):
        read(tmp_path, table, "table.csv")


def test_scores_off_a_stated_scale_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="11 is not between 1 and 10"):
        read(tmp_path, rows(1, 11), scale=(1, 10))


@pytest.mark.parametrize("scale", [(1, 1), (2, 1), (0, float("nan"))])
def test_a_scale_that_is_none_is_refused(tmp_path: Path, scale: tuple[float, float]) -> None:
    with pytest.raises(TableError, match="the lower one first"):
        read(tmp_path, rows(1, 0), scale=scale)


def test_one_model_alone_may_always_be_right(tmp_path: Path) -> None:
    assert read(tmp_path, rows(1, 1)).scores.tolist() == [[1], [1]]


def test_a_path_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "table.xlsx").write_bytes(b"")
    for name, said in {
        "folder.csv": "is a folder",
        "table.xlsx": "unknown ending: give .jsonl",
        "gone.csv": "does not exist",
        "gone.parquet": "does not exist",
    }.items():
        with pytest.raises(TableError, match=said):
            read_table(tmp_path / name)


def test_parquet_without_pyarrow_prints_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"router-llm-plugin\[train\]"):
        read(tmp_path, b"", "table.parquet")


def test_a_table_error_is_a_configuration_error() -> None:
    assert issubclass(TableError, ConfigurationError)


# Ledgers


def test_a_ledger_is_read_as_a_table_of_its_scored_answers(tmp_path: Path) -> None:
    with Ledger(tmp_path / "calls.db", keep_text=True) as ledger:
        kept = [("p", "small", 0.25), ("p", "large", 1), ("q", "small", None), (" ", "small", 1)]
        for number, (text, model, score) in enumerate(kept):
            ledger.add(entry(number, model, prompt_text=text))
            if score is not None:
                ledger.feedback(f"d{number}", score)
        ledger.add(entry(9, "small", prompt_text="r", outcome="failed"))
    outcomes = read_table(tmp_path / "calls.db")
    assert (outcomes.prompts, outcomes.models) == (("p",), ("small", "large"))
    assert outcomes.scores.tolist() == [[0.25, 1]]
    assert outcomes.output_tokens.tolist() == [[20, 20]]
    assert outcomes.cost.tolist() == [[0.001, 0.001]]
    assert outcomes.unscored == 1


def test_what_several_made_together_says_nothing_of_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    said = (Verdict("vote", None, "2 of 2 say the same"),)
    with Ledger(path, keep_text=True) as ledger:
        attempts = (attempt("small"), attempt("large"))
        ledger.add(entry(0, "large", prompt_text="p", attempts=attempts, verdicts=said))
        ledger.feedback("d0", 1)
        with pytest.raises(TableError, match="1 calls were answered by several models together"):
            read_table(path)
        ledger.add(entry(1, "large", prompt_text="q", verdicts=said))  # it was asked once
        ledger.feedback("d1", 0.5)
    outcomes = read_table(path)
    assert (outcomes.prompts, outcomes.models) == (("q",), ("large",))


def test_a_ledger_that_cannot_be_learned_from_says_what_to_change(tmp_path: Path) -> None:
    for keep, fault in ((False, "keep_text=True"), (True, "feedback")):
        path = tmp_path / f"{keep}.db"
        with Ledger(path, keep_text=keep) as ledger:
            ledger.add(entry(prompt_text="p"))
        with pytest.raises(TableError, match=fault):
            read_table(path)
    foreign = sqlite3.connect(tmp_path / "foreign.db")
    foreign.execute("CREATE TABLE notes (text)")
    foreign.close()
    with pytest.raises(TableError, match="another program's database"):
        read_table(tmp_path / "foreign.db")
