"""The tables of the ledger, in SQLite: opened, written and read.

In: the path of a file, or none for one in memory; entries. Out: rows, and entries as plain JSON.
Nothing is kept as JSON or pickled: every figure has its column, so that any tool reads the file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from shared_core.errors import StorageError
from shared_core.types import Alternative, Attempt, Energy, Entry, Usage, Verdict

__all__ = [
    "DEALS",
    "connect",
    "connect_readonly",
    "faults",
    "insert",
    "is_database",
    "past",
    "prune",
    "stored",
]

APPLICATION: Final = 0x724C4C4D  # "rLLM": tells the file from other programs' databases
VERSION: Final = 2

DEALS: Final = 1000
"""Groups to which conversations are dealt, for intervals: all calls of one move together."""

# A figure that is no number becomes NULL, which must not cost the entry: no column refuses it.
_FIRST: Final = f"""
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, decision_id TEXT, candidate TEXT,
    chosen TEXT, outcome TEXT, shadow INTEGER,
    calibrated INTEGER, delta REAL, reason TEXT,
    thread TEXT, user TEXT, tenant TEXT, run TEXT, step TEXT, pin TEXT,
    started_at REAL, seconds REAL, overhead_s REAL,
    cost_usd REAL, cost_usd_high REAL, lost_cache_usd REAL,
    wh_low REAL, wh REAL, wh_high REAL, energy_method TEXT,
    prompt_hash TEXT, prompt_text TEXT, answer_text TEXT,
    alone INTEGER, -- one candidate was asked, ran and answered
    deal INTEGER -- of 1,000 groups, the one to which the conversation is dealt
);
CREATE INDEX entries_by_decision ON entries (decision_id);
CREATE TABLE attempts (
    entry INTEGER NOT NULL, place INTEGER NOT NULL, candidate TEXT,
    outcome TEXT, error TEXT, seconds REAL,
    input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER,
    cache_write_tokens INTEGER, reasoning_tokens INTEGER, free INTEGER,
    cost_usd REAL, cost_usd_high REAL, wh_low REAL, wh REAL, wh_high REAL, energy_method TEXT,
    predicted_tokens INTEGER,
    kept INTEGER, -- the caller got its answer
    PRIMARY KEY (entry, place)
) WITHOUT ROWID;
CREATE TABLE alternatives (
    entry INTEGER NOT NULL, place INTEGER NOT NULL, candidate TEXT,
    quality REAL, local INTEGER,
    cost_usd REAL, wh_low REAL, wh REAL, wh_high REAL, energy_method TEXT,
    PRIMARY KEY (entry, candidate)
) WITHOUT ROWID;
CREATE TABLE feedback (
    entry INTEGER PRIMARY KEY, score REAL, comment TEXT, given_at REAL
);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = 1;
"""
_SECOND: Final = """
ALTER TABLE attempts ADD COLUMN purpose TEXT DEFAULT 'answer';
ALTER TABLE attempts ADD COLUMN estimated INTEGER DEFAULT 0;
CREATE TABLE verdicts (
    entry INTEGER NOT NULL, place INTEGER NOT NULL, candidate TEXT,
    verifier TEXT, probability REAL, note TEXT, seconds REAL,
    PRIMARY KEY (entry, place)
) WITHOUT ROWID;
PRAGMA user_version = 2;
"""
_FORMATS: Final = (_FIRST, _SECOND)  # each as a change of the one before: no file stays behind
_PARTS: Final = ("attempts", "alternatives", "verdicts")  # of an entry, in order

# What stands in for the second format, to read a file of the first.
_AS_SECOND: Final = """
CREATE TEMP VIEW attempts AS SELECT {columns}, 'answer' AS purpose, 0 AS estimated
FROM main.attempts;
CREATE TEMP TABLE verdicts (entry, place, candidate, verifier, probability, note, seconds);
"""

_ENTRY: Final = (
    "INSERT INTO entries VALUES "
    "(NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ATTEMPT: Final = (
    "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ALTERNATIVE: Final = "REPLACE INTO alternatives VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_VERDICT: Final = "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)"

_PAGE: Final = 500  # entries that are read at once

_NOTHING: Final = (None, None, None, None)  # unknown energy
_UNCOUNTED: Final = (None, None, None, None, None, None)  # unknown usage

faults: Final = (sqlite3.Error, OSError)
"""What opening, writing and reading raise where the place is at fault."""


def connect(path: Path | None, wait_s: float) -> sqlite3.Connection:
    """Open a ledger, made where there is none, and brought to this format where it is older.

    The write-ahead log lets others read while one writes. With synchronous=NORMAL a transaction has
    been handed to the operating system when it ends: it survives the process, kill -9 included;
    only a crash of the machine can lose the last ones, and leaves the file sound.

    Args:
        path: None for one in memory.
        wait_s: For how long to wait for others that write.

    Raises:
        StorageError: It cannot be opened, or is not a ledger that this version can write.
    """
    if path is None:
        connection = _opened(":memory:", wait_s)
        connection.executescript("".join(_FORMATS))
        return connection
    try:
        connection = _opened(str(path), wait_s)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except faults as error:
        raise StorageError(f"the ledger {str(path)!r}", _fault(error, path)) from error
    return connection


def connect_readonly(path: Path, wait_s: float = 5.0) -> sqlite3.Connection:
    """Open a ledger that is there, for reading; one of an older format is left as it is.

    Raises:
        StorageError: It is not there, cannot be read, or is no ledger.
    """
    place = f"the ledger {str(path)!r}"
    if not path.is_file():
        raise StorageError(place, "it is a folder" if path.is_dir() else "it does not exist")
    # Strictly read-only, SQLite would leave files beside it that it may make but not remove.
    address = f"{path.absolute().as_uri()}?mode=rw"
    if not os.access(path.parent, os.W_OK) and not _beside(path, "-wal").exists():
        address += "&immutable=1"  # nor can they be made: nobody is writing
    try:
        connection = _opened(address, wait_s)
        try:
            version = _version(connection, path)
            if not version:
                raise StorageError(place, "it holds no tables: it is no ledger")
            if version == 1:
                _read_as_second(connection)
            connection.execute("PRAGMA query_only = TRUE")
        except BaseException:
            connection.close()
            raise
    except faults as error:
        raise StorageError(place, _fault(error, path)) from error
    return connection


def is_database(path: Path) -> bool:
    """Return whether a file is one of SQLite's."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _opened(name: str, wait_s: float) -> sqlite3.Connection:
    return sqlite3.connect(
        name,
        timeout=wait_s,
        isolation_level=None,  # transactions begin where we say so
        check_same_thread=False,  # the ledger has a lock
        uri=name.startswith("file:"),
    )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection, path) < VERSION:
        connection.execute("BEGIN IMMEDIATE")
        try:  # it may have come further meanwhile: somebody was faster
            for change in _FORMATS[_version(connection, path) :]:
                for statement in filter(str.strip, change.split(";")):
                    connection.execute(statement)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _read_as_second(connection: sqlite3.Connection) -> None:
    """Have a file of the first format read like one of the second; nothing is written to it."""
    columns = ", ".join(row[1] for row in connection.execute("PRAGMA main.table_info(attempts)"))
    connection.execute("PRAGMA temp_store = MEMORY")
    for statement in filter(str.strip, _AS_SECOND.format(columns=columns).split(";")):
        connection.execute(statement)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the format of a ledger, 0 for an empty file; an error for all that is none."""
    # In one statement: another process may be making the tables at this moment.
    ((application, version, tables),) = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
        "FROM pragma_application_id, pragma_user_version"
    )
    if not (application or version or tables):
        return 0
    place = f"the ledger {str(path)!r}"
    if application != APPLICATION:
        raise StorageError(place, "it is another program's database")
    if version > VERSION:
        fault = f"a newer version of this package wrote it (format {version}, known: {VERSION})"
        raise StorageError(place, f"{fault}: upgrade router-llm-plugin")
    return int(version)


def _fault(error: Exception, path: Path) -> str:
    """Say what is wrong; SQLite's own words do not tell a missing folder from a read-only one."""
    folder = path.parent
    if path.is_dir():
        return "it is a folder"
    if not folder.is_dir():
        return f"its folder {str(folder)!r} does not exist"
    return str(error)


def insert(
    connection: sqlite3.Connection,
    entries: Sequence[Entry],
    keep_text: bool,
    clean: Callable[[tuple[Any, ...]], tuple[Any, ...]] = tuple,
) -> int:
    """Write entries, all or none, and return the number of the last one.

    Args:
        connection: To write to.
        entries: One at least.
        keep_text: Texts too.
        clean: Makes of a row one that SQLite takes.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for entry in entries:
            answer = _answer(entry)
            row = (
                connection.execute(_ENTRY, clean(_entry_row(entry, keep_text, answer))).lastrowid
                or 0
            )
            attempts = enumerate(entry.attempts)
            connection.executemany(
                _ATTEMPT, [clean(_attempt_row(row, at, one, one is answer)) for at, one in attempts]
            )
            others = enumerate(entry.alternatives)
            connection.executemany(
                _ALTERNATIVE, [clean(_alternative_row(row, at, other)) for at, other in others]
            )
            if entry.verdicts:
                said = enumerate(entry.verdicts)
                connection.executemany(
                    _VERDICT, [clean(_verdict_row(row, at, verdict)) for at, verdict in said]
                )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return row


def prune(connection: sqlite3.Connection, last: int) -> None:
    """Delete all entries up to this number."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("DELETE FROM entries WHERE id <= ?", (last,))
        for table in (*_PARTS, "feedback"):
            connection.execute(f"DELETE FROM {table} WHERE entry <= ?", (last,))  # noqa: S608
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _answer(entry: Entry) -> Attempt | None:
    """Return the attempt whose answer the caller got."""
    if entry.outcome == "answered":
        for attempt in reversed(entry.attempts):
            ended = attempt.outcome == "answered" and attempt.purpose == "answer"
            if ended and attempt.candidate == entry.candidate:
                return attempt
    return None


def _entry_row(entry: Entry, keep_text: bool, answer: Attempt | None) -> tuple[Any, ...]:
    scope = entry.scope
    asked = [one for one in entry.attempts if one.outcome not in ("resting", "refused")]
    ran = answer is not None and not (answer.usage and answer.usage.free)
    return (
        entry.decision_id,
        entry.candidate,
        entry.chosen or entry.candidate,
        entry.outcome,
        entry.shadow,
        entry.calibrated,
        entry.delta,
        entry.reason,
        scope.thread,
        scope.user,
        scope.tenant,
        scope.run,
        scope.step,
        scope.pin,
        entry.started_at,
        entry.seconds,
        entry.overhead_s,
        entry.cost_usd,
        _at_most(entry),
        entry.lost_cache_usd,
        *_energy_cells(entry.energy),
        entry.prompt_hash,
        entry.prompt_text if keep_text else None,
        entry.answer_text if keep_text else None,
        ran and len(asked) == 1,
        crc32((scope.thread or entry.decision_id).encode("utf-8", "replace")) % DEALS,
    )


def _at_most(entry: Entry) -> float | None:
    """Return USD at most: where an attempt's cost is unknown, its upper end counts."""
    total = 0.0
    for attempt in entry.attempts:
        most = attempt.cost_usd_high if attempt.cost_usd is None else attempt.cost_usd
        if most is None:
            return None
        total += most
    return total


def _attempt_row(entry: int, place: int, attempt: Attempt, kept: bool) -> tuple[Any, ...]:
    return (
        entry,
        place,
        attempt.candidate,
        attempt.outcome,
        attempt.error,
        attempt.seconds,
        *_usage_cells(attempt.usage),
        attempt.cost_usd,
        attempt.cost_usd_high,
        *_energy_cells(attempt.energy),
        attempt.predicted_tokens,
        kept,
        attempt.purpose,
        attempt.usage is not None and attempt.usage.estimated,
    )


def _usage_cells(usage: Usage | None) -> tuple[Any, ...]:
    if usage is None:
        return _UNCOUNTED
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
        usage.free,
    )


def _energy_cells(energy: Energy | None) -> tuple[Any, ...]:
    return _NOTHING if energy is None else (energy.low, energy.mid, energy.high, energy.method)


def _alternative_row(entry: int, place: int, other: Alternative) -> tuple[Any, ...]:
    return (
        entry,
        place,
        other.candidate,
        other.quality,
        other.local,
        other.cost_usd,
        *_energy_cells(other.energy),
    )


def _verdict_row(entry: int, place: int, verdict: Verdict) -> tuple[Any, ...]:
    return (
        entry,
        place,
        verdict.candidate,
        verdict.verifier,
        verdict.probability,
        verdict.note,
        verdict.seconds,
    )


def past(connection: sqlite3.Connection, candidate: str, most: int) -> list[Attempt]:
    """Return a candidate's last answers with counted usage, oldest first.

    Args:
        connection: To read from.
        candidate: Its name.
        most: How many at most; looked for among the last hundred times as many entries.
    """
    found = _rows(
        connection,
        "SELECT * FROM attempts WHERE candidate = ? AND outcome = 'answered' "
        "AND purpose = 'answer' AND NOT estimated "
        "AND input_tokens IS NOT NULL AND entry > (SELECT max(id) FROM entries) - ? "
        "ORDER BY entry DESC, place DESC LIMIT ?",
        (candidate, 100 * most, most),
    )
    return [_as_attempt(row) for row in found][::-1]


def _as_attempt(row: dict[str, Any]) -> Attempt:
    usage = Usage(
        row["input_tokens"],
        row["output_tokens"],
        row["cached_tokens"],
        row["cache_write_tokens"],
        row["reasoning_tokens"],
        bool(row["free"]),
    )
    energy = None
    if row["wh"] is not None:
        energy = Energy(row["wh_low"], row["wh"], row["wh_high"], row["energy_method"])
    return Attempt(
        candidate=row["candidate"],
        outcome=row["outcome"],
        seconds=row["seconds"],
        usage=usage,
        cost_usd=row["cost_usd"],
        energy=energy,
        predicted_tokens=row["predicted_tokens"],
    )


def stored(
    reading: Callable[[], AbstractContextManager[sqlite3.Connection]],
    since: float | None,
    until: float | None,
) -> Iterator[dict[str, Any]]:
    """Yield entries as plain JSON, oldest first, few of them in memory at a time.

    Args:
        reading: Lends a connection, for one page at a time: none is held while the caller works.
        since: Unix time, seconds: those that began then or later.
        until: Unix time, seconds: those that began before.
    """
    last = 0
    while True:
        with reading() as connection:
            found = _page(connection, last, since, until)
        if not found:
            return
        for last, entry in found:  # noqa: B007
            yield entry


def _page(
    connection: sqlite3.Connection, after: int, since: float | None, until: float | None
) -> list[tuple[int, dict[str, Any]]]:
    """Return the entries after one, with their numbers."""
    found = {
        row["id"]: row
        for row in _rows(
            connection,
            "SELECT entries.*, score, comment FROM entries "
            "LEFT JOIN feedback ON feedback.entry = entries.id WHERE id > ? "
            "AND started_at >= ifnull(?, started_at) AND (? IS NULL OR started_at < ?) "
            "ORDER BY id LIMIT ?",
            (after, since, until, until, _PAGE),
        )
    }
    if not found:
        return []
    ends = (min(found), max(found))
    parts: dict[int, dict[str, list[dict[str, Any]]]] = {
        number: {table: [] for table in _PARTS} for number in found
    }
    for table in _PARTS:
        asked = f"SELECT * FROM {table} WHERE entry BETWEEN ? AND ? ORDER BY entry, place"  # noqa: S608
        for row in _rows(connection, asked, ends):
            if row["entry"] in parts:
                parts[row["entry"]][table].append(row)
    return [(number, _as_json(row, **parts[number])) for number, row in found.items()]


def _rows(
    connection: sqlite3.Connection, asked: str, values: Sequence[Any]
) -> Iterator[dict[str, Any]]:
    found = connection.execute(asked, values)
    names = [column[0] for column in found.description]
    for row in found:
        yield dict(zip(names, row, strict=True))


def _as_json(
    row: dict[str, Any],
    attempts: list[dict[str, Any]],
    alternatives: list[dict[str, Any]],
    verdicts: list[dict[str, Any]],
) -> dict[str, Any]:
    del row["id"], row["alone"], row["deal"]
    score, comment = row.pop("score"), row.pop("comment")
    row |= {"shadow": bool(row["shadow"]), "calibrated": bool(row["calibrated"])}
    return {
        **_with_energy(row),
        "feedback": None if score is None else {"score": score, "comment": comment},
        "attempts": [_with_usage(_with_energy(_bare(attempt))) for attempt in attempts],
        "alternatives": [
            {**_with_energy(_bare(other)), "local": bool(other["local"])} for other in alternatives
        ],
        "verdicts": [_bare(verdict) for verdict in verdicts],
    }


def _bare(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("entry", "place", "kept")}


def _with_energy(row: dict[str, Any]) -> dict[str, Any]:
    """Put the columns of energy together, in Wh."""
    low, mid, high = (row.pop(name) for name in ("wh_low", "wh", "wh_high"))
    method = row.pop("energy_method")
    known = None if mid is None else {"low": low, "mid": mid, "high": high, "method": method}
    return {**row, "energy_wh": known}


def _with_usage(row: dict[str, Any]) -> dict[str, Any]:
    parts = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens")
    usage = {name: row.pop(name) for name in (*parts, "reasoning_tokens")}
    flags = {name: bool(row.pop(name)) for name in ("free", "estimated")}
    return {**row, "usage": None if usage["input_tokens"] is None else usage | flags}
