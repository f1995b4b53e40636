"""The ledger: what it keeps, what it survives, and that no failure loses an entry."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import shared_core.accounting.ledger.ledger as module
from shared_core.accounting.ledger.database import APPLICATION, VERSION
from shared_core.accounting.ledger.ledger import Ledger, LedgerWarning
from shared_core.errors import ConfigurationError, StorageError, UnknownDecisionError
from shared_core.types import Energy, Scope, Usage, Verdict
from tests.fakes.entries import attempt, energy, entry, other

ROOT = Path(__file__).parents[4]


@pytest.fixture(params=["memory", "file"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db" if request.param == "file" else None) as made:
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def ids(ledger: Ledger) -> list[str]:
    return [kept["decision_id"] for kept in ledger.entries()]


def fill(ledger: Ledger, numbers: Iterable[int]) -> None:
    for number in numbers:
        ledger.add(entry(number))


def child(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds this package and these tests."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment()
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def test_an_entry_comes_back_as_plain_json_with_every_figure(ledger: Ledger) -> None:
    kept = entry(
        7,
        "large",
        chosen="small",
        shadow=True,
        scope=Scope(thread="t", user="u", tenant="w", run="r", step="s", pin="large"),
        attempts=(
            attempt(
                "small", None, outcome="failed", usage=None, error="Timeout", cost_usd_high=0.5
            ),
            attempt("large", 0.25, energy=energy(2, "measured"), usage=Usage(9, 8, 3, 2, 1, True)),
            attempt(
                **{"candidate": "large", "usd": 0.5, "outcome": "dropped", "purpose": "check"},
                **{"usage": Usage(9, 8, estimated=True), "predicted_tokens": 30},
            ),
        ),
        energy=Energy(1, 2, 4, "measured"),
        prompt_hash="abc",
        lost_cache_usd=0.125,
        delta=0.05,
        alternatives=(other("small", 0.5, 0.1, 1), other("large", 0.75)),
        verdicts=(
            Verdict("judge", 0.25, "too short", "small", 0.5),
            Verdict("format", None, candidate="large"),
        ),
    )
    ledger.add(kept)
    (found,) = ledger.entries()
    assert json.loads(json.dumps(found)) == found
    measured = {"low": 1, "mid": 2, "high": 4, "method": "measured"}
    declared = {"low": 0.5, "mid": 1, "high": 2, "method": "declared"}
    assert found == {
        **{"decision_id": "d7", "candidate": "large", "chosen": "small", "outcome": "answered"},
        **{"shadow": True, "calibrated": True, "delta": 0.05, "reason": "good enough"},
        **{"thread": "t", "user": "u", "tenant": "w", "run": "r", "step": "s", "pin": "large"},
        **{"started_at": 1_000_007.0, "seconds": 1.25, "overhead_s": 0.25},
        **{"cost_usd": None, "cost_usd_high": 1.25, "lost_cache_usd": 0.125},
        **{"prompt_hash": "abc", "prompt_text": None, "answer_text": None},
        "energy_wh": measured,
        "feedback": None,
        "attempts": [
            {
                **{"candidate": "small", "outcome": "failed", "error": "Timeout", "seconds": 1.0},
                **{"usage": None, "cost_usd": None, "cost_usd_high": 0.5, "energy_wh": None},
                **{"predicted_tokens": None, "purpose": "answer"},
            },
            {
                **{"candidate": "large", "outcome": "answered", "error": None, "seconds": 1.0},
                "usage": {
                    **{"input_tokens": 9, "output_tokens": 8, "cached_tokens": 3},
                    **{"cache_write_tokens": 2, "reasoning_tokens": 1, "free": True},
                    "estimated": False,
                },
                **{"cost_usd": 0.25, "cost_usd_high": None, "energy_wh": measured},
                **{"predicted_tokens": None, "purpose": "answer"},
            },
            {
                **{"candidate": "large", "outcome": "dropped", "error": None, "seconds": 1.0},
                "usage": {
                    **{"input_tokens": 9, "output_tokens": 8, "cached_tokens": 0},
                    **{"cache_write_tokens": 0, "reasoning_tokens": 0, "free": False},
                    "estimated": True,
                },
                **{"cost_usd": 0.5, "cost_usd_high": None, "energy_wh": None},
                **{"predicted_tokens": 30, "purpose": "check"},
            },
        ],
        "alternatives": [
            {
                **{"candidate": "small", "quality": 0.5, "local": True, "cost_usd": 0.1},
                "energy_wh": declared,
            },
            {
                **{"candidate": "large", "quality": 0.75, "local": False, "cost_usd": None},
                "energy_wh": None,
            },
        ],
        "verdicts": [
            {
                **{"candidate": "small", "verifier": "judge", "probability": 0.25},
                **{"note": "too short", "seconds": 0.5},
            },
            {
                **{"candidate": "large", "verifier": "format", "probability": None},
                **{"note": "", "seconds": 0.0},
            },
        ],
    }


def test_entries_come_oldest_first_page_after_page_within_a_period(ledger: Ledger) -> None:
    for number in range(1201):
        ledger.add(entry(number, attempts=()))
    assert len(ledger) == 1201
    assert ids(ledger) == [f"d{number}" for number in range(1201)]
    some = ledger.entries(since=1_000_010, until=1_000_012)
    assert [kept["decision_id"] for kept in some] == ["d10", "d11"]


def test_entries_that_come_while_others_are_read_are_read_too(ledger: Ledger) -> None:
    ledger.add(entry(0))
    reading = ledger.entries()
    assert next(reading)["decision_id"] == "d0"
    ledger.add(entry(1))
    assert next(reading)["decision_id"] == "d1"


@pytest.mark.parametrize("keep", [False, True])
def test_texts_are_kept_only_where_that_is_asked_for(keep: bool, path: Path) -> None:
    with Ledger(path, keep_text=keep) as ledger:
        ledger.add(entry(prompt_text="my secret", answer_text="my answer"))
        (found,) = ledger.entries()
    assert found["prompt_text"] == ("my secret" if keep else None)
    assert found["answer_text"] == ("my answer" if keep else None)
    assert (b"my secret" in path.read_bytes()) is keep


def test_memory_keeps_the_last_entries_and_their_parts() -> None:
    ledger = Ledger(limit=3)
    for number in range(10):
        said = (Verdict("judge", 0.5),)
        ledger.add(entry(number, alternatives=(other("small", 0.5),), verdicts=said))
        ledger.feedback(f"d{number}", 1)
    assert len(ledger) == 3
    assert ids(ledger) == ["d7", "d8", "d9"]
    assert ledger._connection is not None
    for table in ("attempts", "alternatives", "verdicts", "feedback"):
        counted = f"SELECT count(*) FROM {table}"  # noqa: S608
        assert ledger._connection.execute(counted).fetchone() == (3,)
    with pytest.raises(UnknownDecisionError, match=r"'d2'.*the last 3 calls of this process"):
        ledger.feedback("d2", 1)


def test_a_file_keeps_all_and_is_opened_again(path: Path) -> None:
    with Ledger(path, limit=3) as ledger:
        assert ledger.slow
        for number in range(10):
            ledger.add(entry(number))
    with Ledger(path) as again:
        assert len(again) == 10
        again.add(entry(10))
        assert len(again) == 11


def test_a_ledger_in_memory_costs_nothing_until_it_is_used() -> None:
    ledger = Ledger()
    assert ledger._connection is None
    assert not ledger.slow
    assert bool(ledger)
    assert list(ledger.entries()) == []


def test_a_ledger_needs_no_numpy_until_it_reports() -> None:
    ran = child(
        """
        import sys
        from shared_core.accounting.ledger.ledger import Ledger
        from tests.fakes.entries import entry
        ledger = Ledger()
        ledger.add(entry())
        print("numpy" in sys.modules, ledger.report().calls["all"], "matplotlib" in sys.modules)
        """
    )
    assert (ran.stdout.strip(), ran.stderr) == ("False 1 False", "")


def test_a_closed_ledger_opens_again_when_it_is_used(path: Path) -> None:
    ledger = Ledger(path)
    ledger.add(entry(0))
    ledger.close()
    assert not path.with_name("ledger.db-wal").exists()
    ledger.add(entry(1))
    assert ids(ledger) == ["d0", "d1"]


def test_a_relative_path_stays_where_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = Ledger("ledger.db")
    ledger.close()
    monkeypatch.chdir("/")
    ledger.add(entry())
    ledger.close()
    assert path.exists()


@pytest.mark.parametrize("wrong", ["", ":memory:", 3, b"x"])
def test_a_path_that_names_no_file_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="path must name a file"):
        Ledger(wrong)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, None])
def test_a_limit_that_cannot_be_meant_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="limit"):
        Ledger(limit=wrong)


# Feedback


def test_a_second_score_replaces_the_first(ledger: Ledger) -> None:
    ledger.add(entry(0))
    ledger.add(entry(1))
    ledger.feedback("d0", 0.25, comment="meh")
    assert next(ledger.entries())["feedback"] == {"score": 0.25, "comment": "meh"}
    ledger.feedback("d0", 1)
    first, second = ledger.entries()
    assert first["feedback"] == {"score": 1, "comment": None}
    assert second["feedback"] is None


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), float("inf"), "1", None, True])
def test_a_score_that_is_none_is_refused(wrong: Any, ledger: Ledger) -> None:
    ledger.add(entry())
    with pytest.raises(ConfigurationError, match="score must be a number from 0 to 1"):
        ledger.feedback("d0", wrong)


def test_feedback_to_an_unknown_call_says_what_is_kept(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.add(entry())
        with pytest.raises(UnknownDecisionError, match=r"'other'.*ledger\.db' keeps 1 call"):
            ledger.feedback("other", 1)


# Export


def test_export_writes_all_of_it_or_none(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        ledger.add(entry(number, scope=Scope(user="Zoë\u2028\n")))
    target = tmp_path / "all.jsonl"
    ledger.export(target)
    with target.open(encoding="utf-8", newline="\n") as file:
        assert [json.loads(line) for line in file] == list(ledger.entries())
    before = target.read_bytes()

    def broken(*_: object, **__: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(module.json, "dumps", broken)
    with pytest.raises(OSError, match="disk full"):
        ledger.export(target)
    assert target.read_bytes() == before
    assert not list(tmp_path.glob(".new-*"))


def test_export_never_replaces_the_ledger(path: Path, tmp_path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.add(entry())
        link = tmp_path / "link"
        link.symlink_to(path)
        for target in (path, link):
            with pytest.raises(ConfigurationError, match="is the ledger"):
                ledger.export(target)
        assert len(ledger) == 1


# Odd values


def test_no_odd_value_loses_an_entry(ledger: Ledger) -> None:
    odd = entry(
        0,
        scope=Scope(user="half \ud800", thread="null \0 byte"),
        attempts=(attempt(usage=Usage(10**30, 1)),),
        reason="δ'); DROP TABLE entries; --",
    )
    ledger.add(odd)
    ledger.add(entry(1))
    first, second = ledger.entries()
    assert (first["user"], first["thread"]) == ("half \\ud800", "null \0 byte")
    assert first["attempts"][0]["usage"]["input_tokens"] == 2**63 - 1
    assert first["reason"] == odd.reason
    assert second["decision_id"] == "d1"


def test_a_figure_that_is_no_number_costs_no_entry(ledger: Ledger) -> None:
    nan = float("nan")
    ledger.add(entry(0, delta=nan, seconds=nan, alternatives=(other("small", nan, nan),)))
    (found,) = ledger.entries()
    assert (found["delta"], found["seconds"]) == (None, None)
    assert found["alternatives"][0]["quality"] is None
    assert ledger.report().calls["all"] == 1


# Places that cannot be used


def unusable(tmp_path: Path) -> dict[str, Path]:
    text, foreign, newer = (tmp_path / name for name in ("text.db", "foreign.db", "newer.db"))
    text.write_text("Dear diary, this is no database. " * 50)
    for path, marks in ((foreign, (0, 0)), (newer, (APPLICATION, VERSION + 1))):
        database = sqlite3.connect(path)
        database.executescript(
            "CREATE TABLE notes (text);"
            f"PRAGMA application_id = {marks[0]}; PRAGMA user_version = {marks[1]};"
        )
        database.close()
    return {
        "not a database": text,
        "another program's database": foreign,
        "a newer version of this package wrote it": newer,
        "it is a folder": tmp_path,
        "its folder .* does not exist": tmp_path / "none" / "ledger.db",
    }


def test_a_place_that_cannot_be_used_is_refused_and_left_alone(tmp_path: Path) -> None:
    for fault, path in unusable(tmp_path).items():
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(StorageError, match=fault) as refused:
            Ledger(path)
        assert str(path) in str(refused.value)
        assert (path.read_bytes() if path.is_file() else None) == before
    assert not (tmp_path / "none").exists()


def test_a_truncated_ledger_is_refused(path: Path) -> None:
    with Ledger(path) as ledger:
        for number in range(100):
            ledger.add(entry(number))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StorageError, match=r"malformed|not a database"):
        Ledger(path)


# Failures while it works


def locked(path: Path) -> sqlite3.Connection:
    """Another program that holds the file."""
    holder = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    return holder


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_S", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_locked_file_delays_entries_warns_once_and_loses_none(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.add(entry(0))
        holder = locked(path)
        with pytest.warns(LedgerWarning, match=r"ledger\.db': database is locked") as warned:
            fill(ledger, range(1, 6))
        assert len(warned) == 1
        with pytest.raises(StorageError, match="database is locked"):
            ledger.flush()
        with pytest.raises(StorageError, match="database is locked"):
            ledger.feedback("d3", 1)
        assert ids(ledger) == ["d0"]
        assert len(ledger) == 6
        holder.execute("ROLLBACK")
        holder.close()
        ledger.add(entry(6))
        assert ids(ledger) == [f"d{number}" for number in range(7)]
        holder = locked(path)
        with pytest.warns(LedgerWarning):
            ledger.add(entry(7))
        holder.close()
        ledger.flush()
        assert len(ledger) == 8


@pytest.mark.usefixtures("impatient")
def test_only_the_first_of_a_streak_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    real = module.connect
    monkeypatch.setattr(module, "connect", lambda p, wait: (waits.append(wait), real(p, wait))[1])
    with Ledger(path) as ledger:
        holder = locked(path)
        with pytest.warns(LedgerWarning):
            fill(ledger, range(2))
        holder.close()
        ledger.flush()
        connection = ledger._connected()
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (50,)
    assert waits == [0.05, 0.0, 0.0]


@pytest.mark.usefixtures("impatient")
def test_what_waits_is_bounded_and_the_loss_is_told_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BACKLOG", 3)
    with Ledger(path) as ledger:
        holder = locked(path)
        with pytest.warns(LedgerWarning) as warned:
            fill(ledger, range(6))
        holder.close()
        assert [("being lost" in str(w.message)) for w in warned] == [False, True]
        assert ids(ledger) == ["d3", "d4", "d5"]


def test_a_full_disk_delays_entries(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.add(entry(0))
        connection = ledger._connected()
        ((pages,),) = connection.execute("PRAGMA page_count")
        connection.execute(f"PRAGMA max_page_count = {pages}")
        monkey = {"reason": "r" * 10_000}
        with pytest.warns(LedgerWarning, match="full"):
            ledger.add(entry(1, **monkey))
        ledger.add(entry(2))
        assert ids(ledger) == ["d0", "d1", "d2"]


def test_a_file_that_may_not_grow_delays_entries(path: Path) -> None:
    ran = child(
        """
        import resource, signal, sys, warnings
        from shared_core.accounting.ledger.ledger import Ledger
        from shared_core.errors import StorageError
        from tests.fakes.entries import entry
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        ledger = Ledger(sys.argv[1])
        ledger.add(entry(0))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            for number in range(1, 50):
                ledger.add(entry(number))
        try:
            ledger.flush()
        except StorageError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        ledger.add(entry(50))
        print(len(warned), [e["decision_id"] for e in ledger.entries()] == [
            f"d{n}" for n in range(51)])
        """,
        path,
    )
    assert ran.stderr == ""
    told, counts = ran.stdout.splitlines()
    assert str(path) in told
    assert counts == "1 True"


def test_a_file_that_turns_read_only_delays_entries(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(path) as ledger:
        ledger.add(entry(0))
        ledger.close()
        real = module.connect
        monkeypatch.setattr(module, "connect", lambda p, _: module.connect_readonly(p))
        with pytest.warns(LedgerWarning, match="readonly"):
            ledger.add(entry(1))
        monkeypatch.setattr(module, "connect", real)
        ledger.flush()
        assert ids(ledger) == ["d0", "d1"]


def test_a_file_that_turns_to_rubbish_delays_entries_until_it_is_moved_away(path: Path) -> None:
    ledger = Ledger(path)
    ledger.add(entry(0))
    ledger.close()
    path.write_bytes(b"rubbish" * 1000)
    with pytest.warns(LedgerWarning, match="not a database"):
        ledger.add(entry(1))
    with pytest.raises(StorageError, match="not a database"):
        list(ledger.entries())
    path.rename(path.with_suffix(".bad"))
    ledger.add(entry(2))
    assert ids(ledger) == ["d1", "d2"]
    ledger.close()


@pytest.mark.parametrize("away", [Path.unlink, lambda path: path.rename(path.with_suffix(".old"))])
def test_a_file_that_is_moved_away_is_begun_anew(path: Path, away: Callable[[Path], Any]) -> None:
    with Ledger(path) as ledger:
        ledger.add(entry(0))
        ledger.close()
        ledger.add(entry(1))
        away(path)
        ledger.add(entry(2))
        assert ids(ledger) == ["d2"]


@pytest.mark.usefixtures("impatient")
def test_what_waits_is_written_when_the_process_ends(path: Path) -> None:
    ran = child(
        """
        import sqlite3, sys, warnings
        warnings.simplefilter("ignore")
        from shared_core.accounting.ledger import ledger as module
        from tests.fakes.entries import entry
        module._WAIT_S = 0.05
        ledger = module.Ledger(sys.argv[1])
        holder = sqlite3.connect(sys.argv[1], isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        ledger.add(entry(0))
        print(len(ledger._backlog))
        holder.close()
        """,
        path,
    )
    assert (ran.stdout.strip(), ran.stderr) == ("1", "")
    with Ledger(path) as ledger:
        assert ids(ledger) == ["d0"]


def test_an_interrupt_while_it_writes_keeps_the_entry(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.insert

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "insert", interrupted)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - in memory nothing is written before
        ledger.add(entry(0))
        ledger.flush()
    monkeypatch.setattr(module, "insert", real)
    ledger.add(entry(1))
    assert ids(ledger) == ["d0", "d1"]


def test_in_memory_the_last_calls_are_kept_whether_somebody_reads_or_not() -> None:
    for read_at in (None, 2, 7, 11):
        kept = Ledger(limit=5)
        for number in range(12):
            kept.add(entry(number))
            if number == read_at:
                assert len(kept) == min(number + 1, 5)
        assert ids(kept) == [f"d{number}" for number in range(7, 12)]
        assert len(kept) == 5


def test_a_call_that_ends_while_another_is_written_is_written_too(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an abandoned stream does when it is collected at that moment."""
    real, late = module.insert, [entry(1)]

    def collecting(*arguments: Any) -> int:
        if late:
            ledger.add(late.pop())
        return real(*arguments)

    monkeypatch.setattr(module, "insert", collecting)
    ledger.add(entry(0))
    assert ids(ledger) == ["d0", "d1"]


# Who shares it


def test_threads_share_it(ledger: Ledger) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 100):
            ledger.add(entry(number))
            ledger.feedback(f"d{number}", 0.5)
            if not number % 50:
                list(ledger.entries())

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = list(ledger.entries())
    assert len({one["decision_id"] for one in found}) == len(found) == 800
    assert all(one["feedback"] for one in found)


async def test_tasks_share_it(ledger: Ledger) -> None:
    await asyncio.gather(*(asyncio.to_thread(ledger.add, entry(n)) for n in range(100)))
    assert sorted(ids(ledger)) == sorted(f"d{n}" for n in range(100))


_WRITER = """
import sys
from shared_core.accounting.ledger.ledger import Ledger
from tests.fakes.entries import entry
ledger = Ledger(sys.argv[1])
first = int(sys.argv[2])
for number in range(first, first + int(sys.argv[3])):
    ledger.add(entry(number))
    print(number, flush=True)
"""


def writer(path: Path, first: int, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(first), str(count)],
        **{"cwd": ROOT, "env": environment(), "text": True},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_eight_processes_make_and_fill_one_file(path: Path) -> None:
    writers = [writer(path, 1000 * n, 100) for n in range(8)]
    ends = [process.communicate(timeout=120) for process in writers]
    assert [told for _, told in ends] == [""] * 8
    with Ledger(path) as ledger:
        assert len(ledger) == 800
        assert len(set(ids(ledger))) == 800


def test_every_acknowledged_entry_survives_kill_9(path: Path) -> None:
    process = writer(path, 0, 10**6)
    with process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
    acknowledged = [int(line) for line in told if line.endswith("\n")]
    with Ledger(path) as ledger:
        kept = [int(one[1:]) for one in ids(ledger)]
        assert kept[: len(acknowledged)] == acknowledged
        assert len(kept) <= len(acknowledged) + 1  # the last may not have been told yet
        ((sound,),) = ledger._connected().execute("PRAGMA integrity_check")
        assert sound == "ok"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_opens_it_anew_and_leaves_the_parent_what_is_the_parents(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.add(entry(0))
    ledger._backlog.append(entry(1))  # waits, as after a failure
    pid = os.fork()
    if not pid:
        code = 1
        with warnings.catch_warnings():
            ledger.add(entry(2))
            expected = ["d2"] if ledger.path is None else ["d0", "d2"]
            code = 0 if ids(ledger) == expected else 1
            ledger._disconnect()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    ledger.add(entry(3))
    expected = ["d0", "d1", "d3"] if ledger.path is None else ["d0", "d2", "d1", "d3"]
    assert ids(ledger) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forks_while_threads_write_lose_nothing(path: Path) -> None:
    ran = child(
        """
        import multiprocessing, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork among threads, on purpose
        from shared_core.accounting.ledger.ledger import Ledger
        from tests.fakes.entries import entry
        ledger = Ledger(sys.argv[1])
        def work(first):
            for number in range(first, first + 100):
                ledger.add(entry(number))
        threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(3)]
        for thread in threads: thread.start()
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=work, args=(10_000 * n,)) for n in range(1, 5)]
        for process in children: process.start()
        for part in [*threads, *children]: part.join()
        found = [kept["decision_id"] for kept in ledger.entries()]
        print(len(found), len(set(found)), [process.exitcode for process in children])
        """,
        path,
    )
    assert ran.stdout.strip() == "700 700 [0, 0, 0, 0]", ran.stderr


def test_copies_are_the_same_ledger_and_pickles_of_files_open_them_again(path: Path) -> None:
    with Ledger(path, keep_text=True) as ledger:
        ledger.add(entry())
        assert copy.deepcopy(ledger) is ledger
        assert copy.copy(ledger) is ledger
        with pickle.loads(pickle.dumps(ledger)) as again:  # noqa: S301
            assert again is not ledger
            assert (again.keep_text, len(again)) == (True, 1)


def test_a_pickle_of_a_ledger_in_memory_starts_empty() -> None:
    ledger = Ledger(limit=5)
    ledger.add(entry())
    again = pickle.loads(pickle.dumps(ledger))  # noqa: S301
    assert (again.limit, len(again), len(ledger)) == (5, 0, 1)


def test_a_forgotten_ledger_closes_its_file(path: Path) -> None:
    ledger = Ledger(path)
    ledger.add(entry())
    del ledger
    gc.collect()
    assert not path.with_name("ledger.db-wal").exists()


def test_reading_holds_few_entries_at_a_time(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger._backlog.extend(entry(n, reason="r" * 2000) for n in range(6000))
        ledger.flush()
        tracemalloc.start()
        try:
            assert sum(1 for _ in ledger.entries()) == 6000
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 6_000_000  # all of them: more than 12 MB
