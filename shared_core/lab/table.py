"""Tables of outcomes: how good the answers of which models to which prompts were.

In: a file with one row per prompt x model, of any size, or a ledger's file. Out: `Outcomes`, the
same as matrices, or a `TableError` that names the file, the row and the column, and says what to
change. Files are read piece by piece: memory grows with the distinct prompts and the models, not
with the rows.
"""

from __future__ import annotations

import csv
import difflib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared_core.accounting.ledger.database import is_database
from shared_core.accounting.ledger.ledger import LedgerFile
from shared_core.errors import MissingExtraError, StorageError, TableError

__all__ = ["Outcomes", "Scale", "read_table", "rows_of", "text_of"]

REQUIRED: Final = ("prompt", "model", "score")
OPTIONAL: Final = ("dataset", "output_tokens", "cost")
FIGURES: Final = ("score", "output_tokens", "cost")

_WORDS: Final = {
    **dict.fromkeys(("", "nan", "na", "n/a", "<na>", "null", "none"), math.nan),
    **{"true": 1.0, "false": 0.0},
}
_PIECE: Final = 1_000  # rows of a parquet file that are held at once
_LONGEST_LINE: Final = 64_000_000  # characters of a JSON line or a CSV field; more is neither
_USUAL_TOPS: Final = (1.0, 5.0, 10.0, 100.0)  # upper ends of the scales that people grade on

_ANSWERED: Final = """
SELECT e.id, e.prompt_text, e.answer_text, e.candidate, f.score, a.output_tokens, a.cost_usd,
    EXISTS (SELECT 1 FROM verdicts v WHERE v.entry = e.id AND v.candidate = '')
    AND (SELECT count(*) FROM attempts t WHERE t.entry = e.id AND t.outcome = 'answered'
        AND t.purpose = 'answer') > 1
FROM entries e
LEFT JOIN feedback f ON f.entry = e.id LEFT JOIN attempts a ON a.entry = e.id AND a.kept
WHERE e.outcome = 'answered' ORDER BY e.id
"""

Floats = npt.NDArray[np.float64]
Row = tuple[str, Mapping[str, Any]]
"""Where a row is, in words, and its columns."""
_Columns = Callable[[str, Sequence[str]], list[str]]
"""Is told where columns are, and their names; returns those to read."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """How good the answers of m models to n prompts were.

    Attributes:
        prompts: Texts, n; the same text may occur once in each data set.
        models: Names, m, in the order in which they first appear.
        scores: 0 to 1, n x m; NaN where nobody knows. No row and no column is all NaN.
        output_tokens: Of each answer, n x m; NaN where unknown.
        cost: USD for each answer, n x m; NaN where unknown.
        datasets: Where each prompt is from, n; "" where the table does not say.
        unscored: Rows of the table that have no score and are left out.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    scores: Floats
    output_tokens: Floats
    cost: Floats
    datasets: tuple[str, ...]
    unscored: int = 0

    def subset(
        self,
        rows: npt.NDArray[Any] | Sequence[int] | slice,
        models: Sequence[str] | None = None,
    ) -> Outcomes:
        """Return some of the prompts, by their places or a mask, and some or all models."""
        chosen = rows if isinstance(rows, slice) else np.asarray(rows)
        places = np.arange(len(self.prompts))[chosen].tolist()
        names = self.models if models is None else tuple(models)
        cells = np.ix_(places, [self.models.index(name) for name in names])
        return Outcomes(
            tuple([self.prompts[place] for place in places]),
            names,
            self.scores[cells],
            self.output_tokens[cells],
            self.cost[cells],
            tuple([self.datasets[place] for place in places]),
        )

    def pair(self, weak: str, strong: str) -> Outcomes:
        """Return two models alone, on the prompts for which both have a score."""
        columns = [self.models.index(weak), self.models.index(strong)]
        both = np.flatnonzero(~np.isnan(self.scores[:, columns]).any(axis=1))
        return self.subset(both, (weak, strong))


def read_table(path: str | Path, *, scale: tuple[float, float] | None = None) -> Outcomes:
    """Read a table of outcomes.

    Columns `prompt`, `model` and `score` are required; `dataset`, `output_tokens` and `cost` (USD)
    are read where they exist; all others are ignored. Rows of the same prompt (the same text within
    a data set) and model are averaged. Rows without a score (null, NaN, empty) are left out and
    counted.

    Args:
        path: `.jsonl` or `.ndjson` (one object a line), `.csv` (with a header), `.parquet`, or the
            file of a ledger that keeps texts, of any ending: its scores are the users' feedback.
        scale: Scores of the table that become 0 and 1, for instance (1, 10). None: they are 0 to 1.

    Raises:
        TableError: The file is missing, broken or empty, a column is missing, a value cannot be
            meant, a score is not on the scale, or all scores of two or more models are equal.
        MissingExtraError: The package that reads this kind of file is not installed.
    """
    path = Path(path)
    cells, seen = _Cells(), Scale(path, scale)
    for where, row in rows_of(path):
        prompt, model = text_of(where, row, "prompt"), text_of(where, row, "model")
        dataset = row.get("dataset")
        score = seen.score(where, row)
        cells.add(
            ("" if dataset is None else _encodable(where, "dataset", str(dataset)), prompt),
            model,
            (math.nan if score is None else score),
            _amount(where, row, "output_tokens"),
            _amount(where, row, "cost"),
        )
    seen.check()
    outcomes = cells.outcomes(seen.unscored)
    known = outcomes.scores[~np.isnan(outcomes.scores)]
    if len(outcomes.models) > 1 and known.min() == known.max():
        raise TableError(
            f"{path}: every score is {known[0]:g}, which tells neither prompts nor models apart: "
            "give rows of both good and bad answers"
        )
    return outcomes


class _Cells:
    """Sums and counts per quantity, prompt and model, in arrays that grow."""

    def __init__(self) -> None:
        self.prompts: dict[tuple[str, str], int] = {}
        self.models: dict[str, int] = {}
        self.sums = np.zeros((len(FIGURES), 64, 4))
        self.counts = np.zeros((len(FIGURES), 64, 4), np.int32)

    def add(self, prompt: tuple[str, str], model: str, *figures: float) -> None:
        row = self.prompts.setdefault(prompt, len(self.prompts))
        column = self.models.setdefault(model, len(self.models))
        _, rows, columns = self.sums.shape
        if row >= rows or column >= columns:
            more = ((0, 0), (0, rows * (row >= rows)), (0, columns * (column >= columns)))
            self.sums, self.counts = np.pad(self.sums, more), np.pad(self.counts, more)
        for place, figure in enumerate(figures):
            if figure == figure:  # not NaN
                self.sums[place, row, column] += figure
                self.counts[place, row, column] += 1

    def outcomes(self, unscored: int) -> Outcomes:
        """Return the means, without prompts and models that have no score at all."""
        counts = self.counts[:, : len(self.prompts), : len(self.models)]
        sums = self.sums[:, : len(self.prompts), : len(self.models)]
        means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        rows, columns = counts[0].any(axis=1), counts[0].any(axis=0)
        scores, tokens, cost = means[:, rows][:, :, columns]
        prompts = [key for key, kept in zip(self.prompts, rows, strict=True) if kept]
        return Outcomes(
            tuple([text for _, text in prompts]),
            tuple([name for name, kept in zip(self.models, columns, strict=True) if kept]),
            scores,
            tokens,
            cost,
            tuple([dataset for dataset, _ in prompts]),
            unscored,
        )


class Scale:
    """What the scores of a table look like; says at the end what is wrong with them."""

    def __init__(self, path: Path, scale: tuple[float, float] | None) -> None:
        self.low, self.high = _checked_scale(scale)
        self.path, self.stated = path, scale is not None
        self.least, self.most = math.inf, -math.inf
        self.rows = self.unscored = 0
        self.first_off: str | None = None

    def score(self, where: str, row: Mapping[str, Any]) -> float | None:
        """Return a row's score, 0 to 1, None where it is missing."""
        self.rows += 1
        score = _number(where, "score", row["score"])
        if math.isnan(score):
            self.unscored += 1
            return None
        self.least, self.most = min(self.least, score), max(self.most, score)
        if not self.low <= score <= self.high and self.first_off is None:
            self.first_off = f"{where}, column score: {score:g}"
        return (score - self.low) / (self.high - self.low)

    def check(self) -> None:
        """Refuse a table without scores, or with scores off the scale."""
        if not self.rows:
            raise TableError(f"{self.path} is empty: give one row per prompt x model")
        if self.rows == self.unscored:
            raise TableError(
                f"{self.path}: none of its {self.rows} rows has a score: fill the column score "
                "with numbers from 0 (bad) to 1 (good)"
            )
        if self.first_off is not None:
            raise TableError(f"{self.first_off} is not {self._remedy()}")

    def _remedy(self) -> str:
        between = f"between {self.low:g} and {self.high:g}"
        span = f"{between}; the column goes from {self.least:g} to {self.most:g}"
        if self.stated:
            return f"{span}: state a scale that holds all scores"
        reach = max(abs(self.least), abs(self.most))
        top = next((top for top in _USUAL_TOPS if reach <= top), reach)
        low = -top if self.least < 0 else float(self.least >= 1 and top in (5.0, 10.0))
        first = f"divide by {top:g}" if low == 0 else f"subtract {low:g}, divide by {top - low:g}"
        return f"{span}: {first}, or state the scale: {low:g} {top:g}"


def _checked_scale(scale: tuple[float, float] | None) -> tuple[float, float]:
    if scale is None:
        return 0.0, 1.0
    low, high = scale
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise TableError(f"scale must be two numbers, the lower one first, not {low!r} {high!r}")
    return float(low), float(high)


def text_of(where: str, row: Mapping[str, Any], column: str) -> str:
    """Return the text of a column.

    Raises:
        TableError: It is missing, empty, no text, or cannot be written down.
    """
    value = row[column]
    if not isinstance(value, str):
        found = "missing" if value is None else f"{type(value).__name__}, not text"
        raise TableError(f"{where}, column {column}: it is {found}")
    if not value.strip():
        raise TableError(f"{where}, column {column}: it is empty: fill it in or delete the row")
    return _encodable(where, column, value)


def _encodable(where: str, column: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TableError(
            f"{where}, column {column}: character {error.start + 1} is half a character (the lone "
            f"surrogate U+{ord(value[error.start]):04X}): replace it"
        ) from None
    return value


def _number(where: str, column: str, value: Any) -> float:
    """Return a number, NaN where it is missing."""
    try:
        number = _as_float(value)
    except (TypeError, ValueError, OverflowError):
        shown = repr(value) if len(repr(value)) <= 40 else repr(value)[:40] + "…"
        raise TableError(f"{where}, column {column}: {shown} is not a number") from None
    if math.isinf(number):
        raise TableError(f"{where}, column {column}: it is infinite: give a number or leave it out")
    return number


def _as_float(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, str):
        word = value.strip().lower()
        return _WORDS[word] if word in _WORDS else float(word)
    if isinstance(value, (int, float, Decimal)):
        return float(value)
    raise TypeError


def _amount(where: str, row: Mapping[str, Any], column: str) -> float:
    amount = _number(where, column, row.get(column))
    if amount < 0:
        raise TableError(f"{where}, column {column}: {amount:g} is below 0")
    return amount


def rows_of(
    path: Path, required: Sequence[str] = REQUIRED, optional: Sequence[str] = OPTIONAL
) -> Iterator[Row]:
    """Yield the rows of a file, of any of the kinds that `read_table` reads.

    Raises:
        TableError: It is missing or broken, or lacks a required column.
        MissingExtraError: The package that reads this kind of file is not installed.
    """
    readers: dict[str, Callable[[Path, _Columns], Iterator[Row]]] = {
        ".jsonl": _json_rows,
        ".ndjson": _json_rows,
        ".csv": _csv_rows,
        ".parquet": _parquet_rows,
    }
    if path.is_dir():
        raise TableError(f"{path} is a folder: name a file in it ({', '.join(readers)})")
    reader = _ledger_rows if is_database(path) else readers.get(path.suffix.lower())
    if reader is None:
        raise TableError(f"{path} has an unknown ending: give {', '.join(readers)}")
    try:
        yield from reader(path, partial(_columns, required=required, optional=optional))
    except FileNotFoundError:
        raise TableError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not UTF-8 ({error.reason}): save it as UTF-8") from None
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}") from error


def _json_rows(path: Path, columns_of: _Columns) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), ""), start=1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            if len(line) == _LONGEST_LINE:
                raise TableError(f"{where} has {len(line):,} characters or more: one object a line")
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                fault = getattr(error, "msg", str(error))
                raise TableError(f"{where} is broken JSON ({fault}): one object a line") from None
            if not isinstance(row, dict):
                raise TableError(
                    f"{where} is a JSON {type(row).__name__}: write one object a line (JSON Lines)"
                )
            columns_of(where, list(row))
            yield where, row


def _csv_rows(path: Path, columns_of: _Columns) -> Iterator[Row]:
    # One limit for the whole process, and 131,072 characters at first: a prompt may be longer.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_LINE))
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader, line = csv.reader(file, strict=True), 1
        try:
            header = next(reader, [])
            if header:
                columns_of(str(path), header)
            line = reader.line_num + 1
            for row in reader:
                where, line = f"{path}, line {line}", reader.line_num + 1
                if row and len(row) != len(header):
                    raise TableError(
                        f"{where} has {len(row)} columns, the header {len(header)}: "
                        'put text that holds commas or line breaks in "quotes"'
                    )
                if row:
                    yield where, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise TableError(f"{path}, line {line} is broken CSV ({error})") from None


def _parquet_rows(path: Path, columns_of: _Columns) -> Iterator[Row]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("pyarrow", "train") from error
    try:
        # By its path and with a small buffer: otherwise whole row groups come into memory.
        with pq.ParquetFile(str(path), buffer_size=1 << 16, pre_buffer=False) as file:
            columns, number = columns_of(str(path), file.schema_arrow.names), 0
            for piece in file.iter_batches(batch_size=_PIECE, columns=columns, use_threads=False):
                for row in piece.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise TableError(f"{path} is broken parquet: {error}") from None


def _ledger_rows(path: Path, columns_of: _Columns) -> Iterator[Row]:
    """Yield the answered calls of a ledger whose prompt is kept.

    What several made together, by a vote or a mixture, says nothing of one of them: it is left out.
    """
    kept = scored = together = 0
    try:
        with LedgerFile(path).reading() as connection:
            for row_ in connection.execute(_ANSWERED):
                number, text, answer, model, score, tokens, usd, several = row_
                if text is None or not text.strip():
                    continue
                if several:
                    together += 1
                    continue
                kept, scored = kept + 1, scored + (score is not None)
                row = {"prompt": text, "model": model, "score": score}
                row |= {} if answer is None else {"answer": answer}
                columns_of(f"{path}, call {number}", list(row))
                yield f"{path}, call {number}", {**row, "output_tokens": tokens, "cost": usd}
    except StorageError as error:
        raise TableError(str(error)) from error
    if together and not scored:
        raise TableError(
            f"{path}: {together} calls were answered by several models together, which says "
            "nothing of one of them, and no other call has a score"
        )
    if not kept:
        raise TableError(f"{path} keeps no prompt: make it with Ledger(…, keep_text=True)")
    if not scored:
        raise TableError(
            f"{path}: none of its {kept} calls has a score: give scores with Ledger.feedback(…)"
        )


def _columns(
    where: str, found: Sequence[str], required: Sequence[str], optional: Sequence[str]
) -> list[str]:
    """Return the columns to read.

    Raises:
        TableError: A required one is missing, or one is there twice.
    """
    for column in required:
        if column in found:
            continue
        lower = {name.strip().lower(): name for name in found}
        near = difflib.get_close_matches(column, lower, n=1)
        hint = f"; rename {lower[near[0]]!r}?" if near else ""
        names = ", ".join(map(repr, found)) or "none"
        raise TableError(f"{where} has no column {column!r}{hint} (its columns: {names})")
    wanted = [column for column in (*required, *optional) if column in found]
    for column in wanted:
        if list(found).count(column) > 1:
            raise TableError(f"{where} has two columns {column!r}: rename one of them")
    return wanted
