"""Files of earlier formats: read as they are, brought up to date when they are written."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from shared_core.accounting.ledger import database
from shared_core.accounting.ledger.ledger import Ledger, LedgerFile
from shared_core.accounting.report.savings import make_report
from shared_core.errors import StorageError
from shared_core.types import Verdict
from tests.fakes.entries import entry

FIRST = """
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
PRAGMA application_id = 1917602893;
PRAGMA user_version = 1;
INSERT INTO entries VALUES (NULL, 'old', 'large', 'small', 'answered', 0, 1, 0.05, 'good enough',
    't', 'u', NULL, NULL, NULL, NULL, 1000000.0, 1.5, 0.25, 0.5, 0.5, 0.0,
    1.0, 2.0, 4.0, 'declared', 'abc', NULL, NULL, 0, 7);
INSERT INTO attempts VALUES (1, 0, 'small', 'failed', 'Timeout', 1.0,
    NULL, NULL, NULL, NULL, NULL, NULL, 0.0, NULL, 0.0, 0.0, 0.0, 'declared', 30, 0);
INSERT INTO attempts VALUES (1, 1, 'large', 'answered', NULL, 0.5,
    100, 20, 40, 10, 5, 0, 0.5, NULL, 1.0, 2.0, 4.0, 'declared', 25, 1);
INSERT INTO alternatives VALUES (1, 0, 'small', 0.5, 1, 0.1, NULL, NULL, NULL, NULL);
INSERT INTO alternatives VALUES (1, 1, 'large', 0.75, 0, 0.5, 1.0, 2.0, 4.0, 'declared');
INSERT INTO feedback VALUES (1, 0.75, 'fine', 1000001.0);
"""
"""The first format, as it was made, with one call of two attempts."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(FIRST)
    return path


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        ((found,),) = connection.execute("PRAGMA user_version")
        return int(found)


def columns(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Names and types of every table's columns, with their places."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            name: list(connection.execute(f"PRAGMA table_info({name})")) for (name,) in [*tables]
        }


def only_read(path: Path) -> LedgerFile:
    return LedgerFile(path)


def written(path: Path) -> Ledger:
    return Ledger(path)


@pytest.mark.parametrize("opened", [only_read, written])
def test_an_old_file_reads_like_a_new_one(
    opened: Callable[[Path], Ledger | LedgerFile], old: Path
) -> None:
    (found,) = opened(old).entries()
    assert (found["decision_id"], found["cost_usd"], found["user"]) == ("old", 0.5, "u")
    assert found["feedback"] == {"score": 0.75, "comment": "fine"}
    assert found["verdicts"] == []
    failed, answered = found["attempts"]
    assert (failed["purpose"], failed["usage"]) == ("answer", None)
    assert (answered["purpose"], answered["predicted_tokens"]) == ("answer", 25)
    assert answered["usage"]["output_tokens"] == 20
    assert answered["usage"]["estimated"] is False
    report = make_report(opened(old))
    assert (report.calls["all"], report.spent["usd"], report.quality["scores"]) == (1, 0.5, 1)


@pytest.mark.parametrize("sealed", [False, True])
def test_reading_leaves_an_old_file_as_it_is(
    sealed: bool, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = old.read_bytes()
    if sealed:  # its folder, in which nothing can be made
        monkeypatch.setattr(database.os, "access", lambda *_: False)
    assert len(list(LedgerFile(old).entries())) == 1
    assert make_report(LedgerFile(old)).calls["all"] == 1
    assert old.read_bytes() == before
    assert version(old) == 1


def test_writing_brings_an_old_file_up_to_date_and_loses_nothing(old: Path, tmp_path: Path) -> None:
    (before,) = LedgerFile(old).entries()
    said = Verdict("judge", 0.25, "too short", "small", 0.5)
    with Ledger(old) as ledger:
        ledger.add(entry(1, verdicts=(said,)))
        first, second = ledger.entries()
        assert [past.predicted_tokens for past in ledger.past("large")] == [25]
    assert first == before
    assert second["verdicts"] == [
        {
            **{"candidate": "small", "verifier": "judge", "probability": 0.25},
            **{"note": "too short", "seconds": 0.5},
        }
    ]
    Ledger(tmp_path / "new.db").close()
    assert version(old) == version(tmp_path / "new.db") == database.VERSION
    assert columns(old) == columns(tmp_path / "new.db")


def test_a_reader_that_came_before_goes_on_reading(old: Path) -> None:
    with closing(database.connect_readonly(old)) as reader:
        with Ledger(old) as ledger:
            ledger.add(entry(1))
        rows = reader.execute("SELECT purpose, estimated FROM attempts").fetchall()
        assert rows == [("answer", 0)] * 3
        assert reader.execute("SELECT count(*) FROM verdicts").fetchone() == (0,)


def test_many_that_open_an_old_file_at_once_all_write(old: Path) -> None:
    together, faults = threading.Barrier(8), list[BaseException]()

    def work(number: int) -> None:
        try:
            together.wait(10)
            with Ledger(old) as ledger:
                ledger.add(entry(number, verdicts=(Verdict("judge", 0.5),)))
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert faults == []
    found = list(LedgerFile(old).entries())
    assert {kept["decision_id"] for kept in found} == {"old", *(f"d{n}" for n in range(8))}
    assert sum(len(kept["verdicts"]) for kept in found) == 8


def test_an_upgrade_that_breaks_off_leaves_the_old_file_whole(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = database._FORMATS
    broken = second.replace("PRAGMA user_version", "INSERT INTO nowhere VALUES (1); PRAGMA x")
    with monkeypatch.context() as patch:
        patch.setattr(database, "_FORMATS", (first, broken))
        with pytest.raises(StorageError, match="no such table: nowhere"):
            Ledger(old)
    assert version(old) == 1
    assert "verdicts" not in columns(old)
    with Ledger(old) as ledger:
        assert len(ledger) == 1
