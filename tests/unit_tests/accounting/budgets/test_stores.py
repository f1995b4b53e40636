"""What every store of budgets must do, each in turn; then what is particular to one."""

import asyncio
import copy
import faulthandler
import os
import pickle
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from shared_core.accounting.budgets.redis_store import RedisStore
from shared_core.accounting.budgets.sqlite_store import SQLiteStore
from shared_core.accounting.budgets.stores import (
    ENDED_S,
    GRACE_S,
    NOTHING,
    UNUSED_S,
    Amounts,
    Line,
    MemoryStore,
    Standing,
    open_store,
)
from shared_core.errors import ConfigurationError, MissingExtraError, StorageError

SPENDER = Path(__file__).with_name("spender.py")
ONE = Amounts(calls=1)
NOBODY = Standing(NOTHING, NOTHING)


class Times:
    """Two clocks that a test sets."""

    def __init__(self):
        self.now, self.unix = 1000.0, time.time()

    def clock(self):
        return self.now

    def wall(self):
        return self.unix

    def wait(self, seconds):
        self.now += seconds
        self.unix += seconds


def line(account="all", calls=None, tokens=None, nano_usd=None, keep_until=None):
    return Line(account, (nano_usd, None, tokens, calls), keep_until)


def standing(store, account="all"):
    return store.standings([account])[0]


def pickled(store):
    return pickle.loads(pickle.dumps(store))  # noqa: S301


def race(workers, work):
    """Run work(number) in threads that all start at once; return what they returned."""
    barrier, results = threading.Barrier(workers), []

    def run(number):
        barrier.wait()
        results.append(work(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == workers
    return results


class StoreContract:
    """Subclasses give the fixture `store`, and `wait`, a function that lets seconds pass."""

    def test_what_is_held_is_no_longer_free_and_what_is_settled_is_spent(self, store):
        most, spent = Amounts(900, 80, 70, 1), Amounts(500, 60, 40, 1)
        assert store.reserve("a", most, [line("day"), line("user")], 60) is None
        assert store.standings(["day", "user", "other"]) == [
            Standing(NOTHING, most),
            Standing(NOTHING, most),
            NOBODY,
        ]
        store.settle("a", [("day", None), ("user", None)], spent)
        assert store.standings(["user", "day"]) == [Standing(spent, NOTHING)] * 2

    def test_the_first_line_without_room_is_named_and_nothing_is_held(self, store):
        lines = [line("wide", calls=9), line("narrow", calls=1), line("none", calls=0)]
        assert store.reserve("a", ONE, lines[:2], 60) is None
        assert store.reserve("b", ONE, lines, 60) == 1
        assert store.reserve("c", ONE, [lines[0], lines[2]], 60) == 1
        assert store.standings(["wide", "narrow", "none"]) == [
            Standing(NOTHING, ONE),
            Standing(NOTHING, ONE),
            NOBODY,
        ]
        assert store.reserve("b", ONE, lines[:1], 60) is None, "a hold not made has no name"

    @pytest.mark.parametrize("amount", range(4))
    def test_a_limit_may_be_reached_and_not_passed(self, store, amount):
        def of(number):
            return Amounts(*(number if place == amount else 0 for place in range(4)))

        limits = tuple(10 if place == amount else None for place in range(4))
        lines = [Line("all", limits, None)]
        store.settle("before", [("all", None)], of(3))
        assert store.reserve("a", of(3), lines, 60) is None
        assert store.reserve("b", of(5), lines, 60) == 0
        assert store.reserve("b", of(4), lines, 60) is None
        assert store.reserve("c", of(1), lines, 60) == 0
        assert store.reserve("c", of(0), lines, 60) is None, "what needs nothing has room"

    def test_a_refund_gives_the_room_back(self, store):
        assert store.reserve("a", ONE, [line(calls=1)], 60) is None
        assert store.reserve("b", ONE, [line(calls=1)], 60) == 0
        store.settle("a", [("all", None)], NOTHING)
        assert standing(store) == NOBODY
        assert store.reserve("b", ONE, [line(calls=1)], 60) is None

    def test_what_was_spent_beyond_a_limit_is_charged(self, store):
        assert store.reserve("a", ONE, [line(tokens=5)], 60) is None
        store.settle("a", [("all", None)], Amounts(tokens=7))
        assert standing(store).spent.tokens == 7
        assert store.reserve("b", NOTHING, [line(tokens=5)], 60) == 0

    def test_a_hold_is_settled_once(self, store):
        assert store.reserve("a", ONE, [line()], 60) is None
        for _ in range(3):
            store.settle("a", [("all", None)], ONE)
        assert standing(store) == Standing(ONE, NOTHING)

    def test_a_hold_nobody_knows_is_charged_once(self, store):
        for _ in range(2):
            store.settle("lost", [("all", None)], ONE)
        assert standing(store) == Standing(ONE, NOTHING)

    def test_a_hold_becomes_void_and_is_charged_if_its_holder_comes_back(self, store, wait):
        assert store.reserve("dead", ONE, [line(calls=1)], 1) is None
        assert store.reserve("a", ONE, [line(calls=1)], 60) == 0
        wait(1.1)
        assert standing(store) == NOBODY
        assert store.reserve("a", ONE, [line(calls=1)], 60) is None
        for _ in range(2):
            store.settle("dead", [("all", None)], ONE)
        assert standing(store) == Standing(ONE, ONE)

    def test_each_hold_becomes_void_at_its_own_time(self, store, wait):
        for name, seconds in (("long", 60), ("short", 0.8), ("longer", 90), ("shorter", 0.5)):
            assert store.reserve(name, ONE, [line(name), line()], seconds) is None
        wait(0.9)
        store.settle("long", [("long", None), ("all", None)], ONE)
        assert store.standings(["all", "long", "longer", "short", "shorter"]) == [
            Standing(ONE, ONE),
            Standing(ONE, NOTHING),
            Standing(NOTHING, ONE),
            NOBODY,
            NOBODY,
        ]

    def test_what_is_charged_may_differ_from_what_was_held(self, store):
        assert store.reserve("a", ONE, [line("today"), line("user")], 60) is None
        store.settle("a", [("tomorrow", None), ("user", None)], ONE)
        assert store.standings(["today", "tomorrow", "user"]) == [
            NOBODY,
            Standing(ONE, NOTHING),
            Standing(ONE, NOTHING),
        ]

    def test_with_no_line_there_is_room(self, store):
        assert store.reserve("a", ONE, [], 60) is None
        store.settle("a", [], ONE)
        assert store.standings([]) == []

    def test_large_sums_are_exact(self, store):
        large = 2**53 - 1
        assert store.reserve("a", Amounts(large), [line(nano_usd=large)], 60) is None
        assert standing(store).held.nano_usd == large
        for name, more in (("a", large), ("b", 1), ("c", large)):
            store.settle(name, [("all", None)], Amounts(more))
        assert standing(store).spent.nano_usd == 2 * large + 1
        assert store.reserve("d", Amounts(1), [line(nano_usd=large)], 60) == 0

    @pytest.mark.parametrize(
        "name", ["ü 🙂", "a b\n", "}{*", 'q"\\', "x" * 2000, "n\0l", "%s", "'"]
    )
    def test_any_text_may_name_an_account_or_a_hold(self, store, name):
        assert store.reserve(name, ONE, [line(name, calls=1), line()], 60) is None
        assert store.standings([name, name[:-1]]) == [Standing(NOTHING, ONE), NOBODY]
        store.settle(name, [(name, None)], ONE)
        assert store.standings([name, "all"]) == [Standing(ONE, NOTHING), NOBODY]

    def test_a_name_is_given_to_one_hold_only(self, store):
        assert store.reserve("a", ONE, [line()], 60) is None
        with pytest.raises(ConfigurationError, match="a hold named 'a'"):
            store.reserve("a", ONE, [line("other")], 60)
        store.settle("a", [("all", None)], NOTHING)
        with pytest.raises(ConfigurationError, match="a hold named 'a'"):
            store.reserve("a", ONE, [line()], 60)
        assert store.standings(["all", "other"]) == [NOBODY, NOBODY]

    @pytest.mark.parametrize(
        ("hold", "amounts", "lines", "seconds"),
        [
            ("", ONE, [line()], 60),
            ("\ud800", ONE, [line()], 60),
            ("a", Amounts(calls=-1), [line()], 60),
            ("a", Amounts(nano_usd=2**53 + 1), [line()], 60),
            ("a", Amounts(tokens=0.5), [line()], 60),
            ("a", (1, 2), [line()], 60),
            ("a", ONE, [line("")], 60),
            ("a", ONE, [line("x"), line("x")], 60),
            ("a", ONE, [line(calls=-1)], 60),
            ("a", ONE, [line(calls=1.5)], 60),
            ("a", ONE, [Line("all", (1,), None)], 60),
            ("a", ONE, [line(keep_until=float("nan"))], 60),
            ("a", ONE, [line()], 0),
            ("a", ONE, [line()], float("inf")),
        ],
    )
    def test_what_cannot_be_meant_is_refused_and_nothing_held(
        self, store, hold, amounts, lines, seconds
    ):
        with pytest.raises(ConfigurationError):
            store.reserve(hold, amounts, lines, seconds)
        assert standing(store) == NOBODY

    def test_a_wrong_settlement_is_refused_and_nothing_charged(self, store):
        assert store.reserve("a", ONE, [line()], 60) is None
        for accounts, spent in (
            ([("all", None)], Amounts(calls=-1)),
            ([("all", None), ("all", None)], ONE),
            ([("", None)], ONE),
        ):
            with pytest.raises(ConfigurationError):
                store.settle("a", accounts, spent)
        assert standing(store) == Standing(NOTHING, ONE)

    def test_a_copy_in_this_process_is_the_store_itself(self, store):
        assert copy.deepcopy({"store": store})["store"] is store
        assert copy.copy(store) is store

    def test_it_can_be_used_again_after_it_was_closed(self, store):
        store.settle("a", [("all", None)], ONE)
        store.close()
        store.close()
        assert store.reserve("b", ONE, [line(calls=2)], 60) is None
        assert standing(store) == Standing(ONE, ONE)

    def test_a_store_is_its_own_place(self, store):
        assert open_store(store) is store

    def test_no_overshoot_in_64_threads(self, store):
        def spend(number):
            admitted = 0
            for turn in range(4):
                name = f"{number}-{turn}"
                if store.reserve(name, ONE, [line("wide"), line(calls=100)], 60) is None:
                    store.settle(name, [("all", None)], ONE)
                    admitted += 1
            return admitted

        assert sum(race(64, spend)) == 100
        assert store.standings(["all", "wide"]) == [Standing(Amounts(calls=100), NOTHING), NOBODY]

    async def test_no_overshoot_in_1000_coroutines(self, store):
        async def call(number):
            ask = (str(number), ONE, [line(calls=300)], 60)
            await asyncio.sleep(0)
            if store.slow:
                return await asyncio.to_thread(store.reserve, *ask) is None
            return store.reserve(*ask) is None

        assert sum(await asyncio.gather(*map(call, range(1000)))) == 300
        assert standing(store) == Standing(NOTHING, Amounts(calls=300))


def spenders(number, place, *arguments):
    """Start processes that spend, and wait until each is ready."""
    started = [
        subprocess.Popen(
            [sys.executable, str(SPENDER), place, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(number)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    return started


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def said(process):
    """Return how often a spender was admitted, when it has ended."""
    with process:
        return int(process.stdout.readline())


@contextmanager
def leaving():
    """End a forked process here, and say why if it failed: pytest is the parent's."""
    status = 1
    try:
        yield
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


class SharedContract:
    """For stores that processes share: `store`, and the `place` where it is."""

    def test_no_overshoot_in_8_processes(self, store, place):
        started = spenders(8, place, "40")
        for process in started:
            go(process)
        assert sum(map(said, started)) == 100
        assert store.standings(["all", "wide"]) == [Standing(Amounts(calls=100), NOTHING), NOBODY]

    @pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
    def test_no_overshoot_and_the_room_comes_back_when_processes_are_killed(self, store, place):
        started = spenders(2, place, "30", "hold")
        began = time.monotonic()
        for process in started:
            with process:
                go(process)
                assert process.stdout.readline() == "30\n"
                process.kill()
        assert process.returncode == -signal.SIGKILL
        assert standing(store) == Standing(NOTHING, Amounts(calls=60))
        assert store.reserve("a", Amounts(calls=41), [line(calls=100)], 60) == 0
        assert time.monotonic() - began < 3.0, "too slow to see the holds of the dead"
        time.sleep(3.1)
        assert store.reserve("a", Amounts(calls=100), [line(calls=100)], 60) is None

    @pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
    def test_what_was_settled_survives_a_kill(self, store, place):
        """It is killed at any moment: as much is charged as it was admitted, or one less."""
        (process,) = spenders(1, place, "100000")
        with process:
            go(process)
            while standing(store).spent.calls < 30:
                time.sleep(0.001)
            process.kill()
        spent, held = standing(store)
        assert held in (NOTHING, ONE)
        again = open_store(place)
        assert standing(again) == (spent, held)
        again.close()

    def test_settlements_survive_the_store(self, store, place):
        assert store.reserve("a", ONE, [line()], 60) is None
        store.settle("a", [("all", None)], ONE)
        assert store.reserve("b", ONE, [line()], 60) is None
        store.close()
        again = open_store(place)
        assert standing(again) == Standing(ONE, ONE)
        again.settle("a", [("all", None)], ONE)
        again.settle("b", [("all", None)], ONE)
        assert standing(again) == Standing(Amounts(calls=2), NOTHING)
        again.close()

    def test_a_pickled_store_is_the_same_budget(self, store, place):
        store = open_store(place)
        store.settle("a", [("all", None)], ONE)
        other = pickled(store)
        assert standing(other).spent == ONE
        other.settle("b", [("all", None)], ONE)
        assert standing(store).spent == Amounts(calls=2)
        other.close()
        store.close()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
    def test_a_forked_process_has_its_own_connection(self, store, place):
        store.settle("a", [("all", None)], ONE)
        child = os.fork()
        if not child:
            with leaving():
                store.settle("b", [("all", None)], ONE)
                assert standing(store).spent.calls >= 2
                store.close()
        store.settle("c", [("all", None)], ONE)
        assert os.waitpid(child, 0)[1] == 0
        assert standing(store).spent == Amounts(calls=3)

    def test_a_process_forked_while_a_thread_writes_is_not_stuck(self, store, place):
        """Its lock may be held by a thread that it does not have."""
        over = threading.Event()

        def write():
            while not over.is_set():
                store.standings(["all"])

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for turn in range(5):
                child = os.fork()
                if not child:
                    faulthandler.dump_traceback_later(10, exit=True)
                    with leaving():
                        store.settle(f"b{turn}", [("all", None)], ONE)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            over.set()
            thread.join()
        assert standing(store).spent == Amounts(calls=5)


class ForgettingContract:
    """For stores whose clocks a test can set: `store`, and `times` that it follows."""

    def test_an_account_is_forgotten_a_day_after_its_window(self, store, times):
        store.settle("a", [("day", times.unix + 100)], ONE)
        times.wait(100 + GRACE_S - 1)
        store.settle("b", [("other", None)], ONE)
        assert standing(store, "day").spent == ONE
        times.wait(2)
        store.settle("c", [("other", None)], ONE)
        assert standing(store, "day") == NOBODY
        assert standing(store, "other").spent == Amounts(calls=2)

    def test_an_account_without_a_window_is_kept_while_it_is_used(self, store, times):
        store.settle("a", [("all", None), ("left", None)], ONE)
        for turn in range(3):
            times.wait(UNUSED_S - 2 * 86400)
            store.settle(f"b{turn}", [("all", None)], ONE)
        assert standing(store).spent == Amounts(calls=4)
        assert standing(store, "left") == NOBODY

    @pytest.mark.parametrize("amount", range(4))
    def test_an_account_outlives_the_holds_in_it(self, store, times, amount):
        held = Amounts(*(int(place == amount) for place in range(4)))
        limits = [Line("day", held, times.unix)]
        assert store.reserve("a", held, limits, 1e6) is None
        times.wait(GRACE_S + 10)
        store.settle("b", [("other", None)], ONE)
        assert store.reserve("c", held, limits, 60) == 0
        store.settle("a", [("day", times.unix)], held)
        assert standing(store, "day") == Standing(held, NOTHING)

    def test_an_account_is_never_kept_shorter_than_before(self, store, times):
        for number, days in enumerate((10, 2, 5)):
            store.settle(str(number), [("week", times.unix + days * 86400)], ONE)
        times.wait(9 * 86400)
        store.settle("later", [("other", None)], ONE)
        assert standing(store, "week").spent == Amounts(calls=3)

    def test_a_name_that_comes_back_has_its_own_time(self, store, times):
        """When its first end has been forgotten, it is another hold."""
        assert store.reserve("a", ONE, [line()], 2 * ENDED_S) is None
        store.settle("a", [("all", None)], NOTHING)
        times.wait(ENDED_S + 1)
        store.settle("other", [("other", None)], NOTHING)
        assert store.reserve("a", ONE, [line()], 2 * ENDED_S) is None
        times.wait(ENDED_S + 1)
        assert standing(store).held == ONE, "the first would have been void by now"

    def test_an_end_is_remembered_for_an_hour(self, store, times):
        store.settle("a", [("all", None)], ONE)
        times.wait(ENDED_S - 1)
        store.settle("a", [("all", None)], ONE)
        assert standing(store).spent == ONE
        times.wait(2)
        store.settle("a", [("all", None)], ONE)
        assert standing(store).spent == Amounts(calls=2)

    @pytest.mark.parametrize("jump", [-1e9, -3600, 3600, GRACE_S - 200])
    def test_a_jump_of_the_wall_clock_voids_and_forgets_nothing(self, store, times, jump):
        assert store.reserve("a", ONE, [line(calls=1, keep_until=times.unix + 100)], 60) is None
        times.unix += jump
        times.now += 59
        assert store.reserve("b", ONE, [line(calls=1)], 60) == 0
        times.now += 2
        assert store.reserve("b", ONE, [line(calls=1)], 60) is None

    def test_what_is_past_does_not_pile_up(self, store, times):
        for number in range(1500):
            name, keep_until = f"user={number}", times.unix
            assert store.reserve(name, ONE, [line(name, keep_until=keep_until)], 60) is None
            if number % 3:
                store.settle(name, [(name, keep_until)], ONE)
            times.wait(3600)
        assert max(self.sizes(store).values()) < 150


@pytest.fixture
def times():
    return Times()


@pytest.fixture
def wait(times):
    return times.wait


class TestMemory(StoreContract, ForgettingContract):
    @pytest.fixture
    def store(self, times):
        return MemoryStore(times.clock, times.wall)

    @staticmethod
    def sizes(store):
        return {
            name: len(getattr(store, name)) for name in ("_accounts", "_holds", "_ends", "_ended")
        }

    def test_apickled_store_begins_empty(self, store):
        store.settle("a", [("all", None)], ONE)
        assert standing(pickled(MemoryStore())) == NOBODY
        assert standing(store).spent == ONE

    def test_ended_holds_are_counted_out(self, store, monkeypatch):
        monkeypatch.setattr("shared_core.accounting.budgets.stores._MOST_ENDED", 10)
        for number in range(100):
            store.settle(str(number), [("all", None)], ONE)
        assert len(store._ended) <= 11
        store.settle("99", [("all", None)], ONE)
        assert standing(store).spent == Amounts(calls=100)


class TestSQLite(StoreContract, ForgettingContract):
    @pytest.fixture
    def store(self, tmp_path, times):
        store = SQLiteStore(tmp_path / "budgets.db", clock=times.clock, wall=times.wall)
        yield store
        store.close()

    @staticmethod
    def sizes(store):
        with closing(sqlite3.connect(store.path)) as database:
            return {
                table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
                for table in ("accounts", "holds", "ended")
            }

    def test_holds_from_before_a_reboot_are_void(self, store, times):
        """The clock begins anew with the machine."""
        assert store.reserve("a", ONE, [line(calls=2)], 60) is None
        store.settle("b", [("all", None)], ONE)
        store.close()
        times.now = 5.0
        assert standing(store) == Standing(ONE, NOTHING)
        store.settle("a", [("all", None)], ONE)
        assert standing(store).spent == Amounts(calls=2)


class TestSQLiteShared(SharedContract):
    @pytest.fixture
    def place(self, tmp_path):
        return str(tmp_path / "budgets.db")

    @pytest.fixture
    def store(self, place):
        store = open_store(place)
        yield store
        store.close()

    def test_no_overshoot_among_connections_of_one_process(self, place):
        def spend(number):
            store, admitted = SQLiteStore(place), 0
            for turn in range(10):
                name = f"{number}-{turn}"
                admitted += store.reserve(name, ONE, [line(calls=50)], 60) is None
            store.close()
            return admitted

        assert sum(race(8, spend)) == 50


def raw(path, statement):
    """Run a statement beside the store."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(statement).fetchall()


class TestSQLiteFaults:
    """What is wrong with a file is said as one error, and nothing is half written."""

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "budgets.db"

    @pytest.fixture
    def store(self, path):
        store = SQLiteStore(path, busy_s=0.1)
        store.settle("before", [("all", None)], ONE)
        yield store
        store.close()

    def refused(self, path, why):
        with pytest.raises(StorageError, match=why) as raised:
            SQLiteStore(path, busy_s=0.1)
        assert raised.value.place == path
        assert str(path) in str(raised.value)

    def test_a_folder(self, tmp_path):
        self.refused(tmp_path, "it is a folder")

    def test_a_missing_folder(self, tmp_path):
        self.refused(tmp_path / "none" / "budgets.db", "there is no folder .*none; make it first")

    def test_a_name_that_is_too_long(self, tmp_path):
        self.refused(tmp_path / ("x" * 5000), "it cannot be used")

    def test_another_file(self, path):
        path.write_text("model,price\n" * 100)
        self.refused(path, "it is not an SQLite database")
        assert path.read_text() == "model,price\n" * 100

    def test_an_empty_file_is_taken(self, path):
        path.touch()
        SQLiteStore(path).close()
        assert raw(path, "SELECT count(*) FROM accounts") == [(0,)]

    @pytest.mark.parametrize(
        ("statement", "why"),
        [
            ("CREATE TABLE accounts (name)", "it belongs to another program"),
            ("PRAGMA application_id = 7", "it belongs to another program"),
            ("PRAGMA user_version = 1", "it belongs to another program"),
        ],
    )
    def test_the_database_of_another_program(self, path, statement, why):
        raw(path, statement)
        before = path.read_bytes()
        self.refused(path, why)
        assert path.read_bytes() == before

    def test_a_newer_format(self, store, path):
        store.close()
        raw(path, "PRAGMA user_version = 2")
        before = path.read_bytes()
        self.refused(path, "its format is 2, this release reads 1")
        assert path.read_bytes() == before

    def test_a_damaged_file(self, store, path):
        store.close()
        pages = bytearray(path.read_bytes())
        pages[4096:] = b"\x5a" * (len(pages) - 4096)
        path.write_bytes(pages)
        with pytest.raises(StorageError, match="it is damaged"):
            SQLiteStore(path).settle("a", [("all", None)], ONE)

    def test_a_file_that_stays_locked(self, store, path):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for use in (
                lambda: store.reserve("a", ONE, [line()], 60),
                lambda: store.settle("before 2", [("all", None)], ONE),
                lambda: store.standings(["all"]),
            ):
                with pytest.raises(StorageError, match="another program keeps it locked"):
                    use()
            other.execute("ROLLBACK")
        store.settle("before 2", [("all", None)], ONE)
        assert standing(store) == Standing(Amounts(calls=2), NOTHING)

    def test_threads_wait_for_a_locked_file_at_the_same_time(self, store, path):
        def fail(_):
            with pytest.raises(StorageError, match="another program keeps it locked"):
                store.standings(["all"])

        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            race(32, fail)
            assert time.monotonic() - began < 2.0, "32 threads waited one after the other"

    def test_a_full_disk_writes_nothing_and_the_settlement_can_be_repeated(self, store):
        assert store.reserve("a", ONE, [line()], 60) is None
        pages = store._database.execute("PRAGMA page_count").fetchone()[0]
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        many = [("all", None), *((f"{number} {'x' * 500}", None) for number in range(50))]
        with pytest.raises(StorageError, match="the disk is full"):
            store.settle("a", many, ONE)
        assert standing(store) == Standing(ONE, ONE)
        store.settle("a", many, ONE)
        store.settle("a", many, ONE)
        assert standing(store) == Standing(Amounts(calls=2), NOTHING)
        assert standing(store, many[-1][0]).spent == ONE

    def test_a_file_that_may_not_be_written(self, store):
        store._database.execute("PRAGMA query_only = ON")
        with pytest.raises(StorageError, match="it may not be written"):
            store.settle("a", [("all", None)], ONE)
        assert standing(store).spent == ONE

    @pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may write anywhere"
    )
    def test_a_folder_that_may_not_be_written(self, path):
        path.parent.chmod(0o500)
        try:
            self.refused(path, "it cannot be opened or made")
        finally:
            path.parent.chmod(0o700)

    def test_an_error_amid_a_transaction_writes_nothing(self, store, monkeypatch):
        def stopped(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(store, "_forget_at", stopped)
        with pytest.raises(KeyboardInterrupt):
            store.reserve("a", ONE, [line()], 60)
        monkeypatch.undo()
        assert standing(store) == Standing(ONE, NOTHING)
        assert store.reserve("a", ONE, [line()], 60) is None

    def test_a_path_stays_where_it_was(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        store = SQLiteStore("here.db")
        (tmp_path / "deeper").mkdir()
        monkeypatch.chdir(tmp_path / "deeper")
        store.close()
        store.settle("a", [("all", None)], ONE)
        store.close()
        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["here.db"]
        assert repr(store) == f"SQLiteStore({str(tmp_path / 'here.db')!r})"

    @pytest.mark.parametrize("place", [str, Path])
    def test_a_string_or_a_path_is_a_place(self, path, place):
        store = open_store(place(path))
        assert isinstance(store, SQLiteStore)
        assert store.slow
        store.close()


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory):
    """A Redis server of our own, on loopback, that keeps nothing."""
    pytest.importorskip("redis", reason="the Python package redis is not installed")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("the program redis-server is not installed")
    process, port = start_redis(program, tmp_path_factory.mktemp("redis"))
    yield port
    process.terminate()
    process.wait()


def start_redis(program, folder, *options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(
        [program, *settings, *options], cwd=folder, stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return process, port
    process.kill()
    pytest.fail("redis-server did not start")


@pytest.fixture
def redis_place(redis_port):
    client = redis_client(redis_port)
    client.flushall()
    client.close()
    return f"redis://127.0.0.1:{redis_port}/3"


def redis_client(port):
    import redis

    return redis.Redis(host="127.0.0.1", port=port, db=3, decode_responses=True)


class TestRedis(StoreContract, SharedContract):
    @pytest.fixture
    def place(self, redis_place):
        return redis_place

    @pytest.fixture
    def wait(self):
        return time.sleep

    @pytest.fixture
    def store(self, place):
        store = open_store(place)
        yield store
        store.close()

    @pytest.fixture
    def client(self, redis_port):
        client = redis_client(redis_port)
        yield client
        client.close()

    def test_every_key_is_in_one_slot_of_a_cluster_under_the_prefix(self, store, client):
        assert store.reserve("a", ONE, [line("}{"), line("user")], 60) is None
        store.settle("b", [("all", None)], ONE)
        keys = client.keys("*")
        assert len(keys) == 6
        assert all(key.startswith("{router-llm}:") for key in keys)

    def test_namespaces_share_nothing(self, store, place):
        other = RedisStore(place, namespace="other")
        other.settle("a", [("all", None)], ONE)
        assert standing(store) == NOBODY
        assert pickled(other).standings(["all"])[0].spent == ONE
        other.close()

    @pytest.mark.parametrize("namespace", ["", "a{b", "a}b"])
    def test_a_namespace_without_a_hash_tag_is_refused(self, place, namespace):
        with pytest.raises(ConfigurationError, match="a namespace is"):
            RedisStore(place, namespace)

    def test_an_account_is_kept_a_day_longer_than_its_window(self, store, client):
        until = time.time() + 100
        lines = [line("day", keep_until=until), line("total")]
        assert store.reserve("a", ONE, lines, 60) is None
        left = client.ttl("{router-llm}:account:day")
        assert 100 + GRACE_S - 5 < left <= 100 + GRACE_S + 2
        assert UNUSED_S - 5 < client.ttl("{router-llm}:account:total") <= UNUSED_S
        store.settle("b", [("day", until - 50), ("none", until - 2 * GRACE_S)], ONE)
        assert left - 5 < client.ttl("{router-llm}:account:day"), "never kept shorter than before"
        assert client.exists("{router-llm}:account:none") == 0
        assert ENDED_S - 5 < client.ttl("{router-llm}:ended:b") <= ENDED_S

    def test_an_account_outlives_the_holds_in_it(self, store, client):
        lines = [line("day", keep_until=0), line("total")]
        assert store.reserve("a", ONE, lines, 1e7) is None
        assert client.ttl("{router-llm}:account:day") >= 1e7
        assert client.ttl("{router-llm}:account:total") >= 1e7

    def test_void_holds_are_cleared_away(self, store, client):
        for number in range(50):
            assert store.reserve(str(number), ONE, [line()], 0.01) is None
        time.sleep(0.05)
        assert standing(store) == NOBODY
        assert client.exists("{router-llm}:holds", "{router-llm}:void_at") == 0

    def test_a_hold_whose_account_was_deleted_leaves_nothing_behind(self, store, client):
        assert store.reserve("a", ONE, [line()], 60) is None
        client.delete("{router-llm}:account:all")
        store.settle("a", [("all", None)], ONE)
        assert standing(store) == Standing(ONE, NOTHING)

    def test_a_server_that_lost_its_scripts_gets_them_again(self, store, client):
        store.settle("a", [("all", None)], ONE)
        client.script_flush()
        store.settle("b", [("all", None)], ONE)
        assert standing(store).spent == Amounts(calls=2)

    def test_keys_of_another_program_are_an_error(self, store, client):
        client.set("{router-llm}:account:all", "x")
        with pytest.raises(StorageError, match="the server refuses: WRONGTYPE"):
            store.standings(["all"])

    def test_a_server_that_is_slow_is_an_error(self, place, client):
        store = RedisStore(place, timeout_s=0.3)
        store.settle("a", [("all", None)], ONE)
        client.client_pause(5000)
        began = time.monotonic()
        with pytest.raises(StorageError, match="did not answer in time"):
            store.settle("b", [("all", None)], ONE)
        assert time.monotonic() - began < 0.9, "it tried again"
        client.client_unpause()
        for _ in range(2):
            store.settle("b", [("all", None)], ONE)
        assert standing(store) == Standing(Amounts(calls=2), NOTHING)
        store.close()

    def test_a_connection_that_was_closed_meanwhile_is_made_again(self, store, client):
        store.settle("a", [("all", None)], ONE)
        client.client_kill_filter(_type="normal", skipme=True)
        store.settle("b", [("all", None)], ONE)
        assert standing(store).spent == Amounts(calls=2)

    def test_a_server_that_died_is_an_error_that_shows_no_password(self, redis_port, tmp_path):
        program = shutil.which("redis-server")
        process, port = start_redis(program, tmp_path, "--requirepass", "tops3cret")
        try:
            place = f"redis://:tops3cret@127.0.0.1:{port}/0"
            store, wrong = open_store(place), open_store(place.replace("3cret", "3cre7"))
            assert store.reserve("a", ONE, [line()], 60) is None
            with pytest.raises(StorageError, match="the user or the password") as refused:
                wrong.standings(["all"])
            wrong.close()
        finally:
            process.kill()
            process.wait()
        with pytest.raises(StorageError, match="the server cannot be reached") as lost:
            store.settle("a", [("all", None)], ONE)
        shown = [repr(store), repr(store._client), *map(traceback_of, (refused, lost))]
        assert f"redis://127.0.0.1:{port}/0" in shown[0]
        assert not [text for text in shown if "tops3cre" in text]
        store.close()


def traceback_of(raised):
    return "".join(traceback.format_exception(raised.value))


class TestRedisPlaces:
    @pytest.fixture(autouse=True)
    def _package(self):
        pytest.importorskip("redis", reason="the Python package redis is not installed")

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("redis://me:s3cret@host", "redis://host:6379/0"),
            ("rediss://:s3cret@host:6380/2", "rediss://host:6380/2"),
            ("redis://host?password=s3cret&db=0", "redis://host:6379/0"),
            ("redis://:a%2Fs3cret%40@host/1", "redis://host:6379/1"),
            ("unix://me:s3cret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        ],
    )
    def test_it_is_shown_without_the_password(self, url, shown):
        store = open_store(url)
        assert isinstance(store, RedisStore)
        assert store.place == shown
        assert repr(store) == f"RedisStore({shown!r})"
        assert "s3cret" not in repr(store._client)
        assert repr(pickled(store)) == repr(store)

    @pytest.mark.parametrize(
        "url",
        [
            "redis://:12/s3cret@host",
            "redis://:12?s3cret@host",
            "redis://:12#s3cret@host",
            "redis://:12@s3cret@host",
            "redis://:s3cret",
            "redis://host/s3cret",
            "unix://s3cret",
            "unix://",
            "redis://host?s3cret=1",
            "redis://host?db=s3cret",
            "redis://[s3cret",
        ],
    )
    def test_one_that_would_be_misread_is_refused_without_showing_it(self, url):
        with pytest.raises(ConfigurationError) as raised:
            open_store(url)
        assert "s3cret" not in str(raised.value)

    def test_without_the_package_it_says_how_to_get_it(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "redis", None)
        with pytest.raises(MissingExtraError, match=r"\[redis\]"):
            open_store("redis://host")


class TestPlaces:
    def test_none_is_in_memory(self):
        first, second = open_store(None), open_store(None)
        assert isinstance(first, MemoryStore)
        assert first is not second

    @pytest.mark.parametrize("place", ["", ":memory:", "a\0b", 7, b"x.db", MemoryStore, ["x.db"]])
    def test_what_is_no_place_is_refused(self, place):
        with pytest.raises(ConfigurationError, match="budgets are kept in"):
            open_store(place)

    def test_an_unknown_scheme_is_refused_without_showing_the_password(self):
        with pytest.raises(ConfigurationError, match=r"postgres://…") as raised:
            open_store("postgres://me:secret@host/db")
        assert "secret" not in str(raised.value)
