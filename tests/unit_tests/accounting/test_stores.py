"""What every store of budgets must do, each in turn; then what is particular to one."""

import asyncio
import copy
import pickle
import threading
import time

import pytest

from shared_core.accounting.stores import (
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
from shared_core.errors import ConfigurationError

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
        assert store.reserve("dead", ONE, [line(calls=1)], 0.2) is None
        assert store.reserve("a", ONE, [line(calls=1)], 60) == 0
        wait(0.25)
        assert standing(store) == NOBODY
        assert store.reserve("a", ONE, [line(calls=1)], 60) is None
        for _ in range(2):
            store.settle("dead", [("all", None)], ONE)
        assert standing(store) == Standing(ONE, ONE)

    def test_each_hold_becomes_void_at_its_own_time(self, store, wait):
        for name, seconds in (("long", 60), ("short", 0.1), ("longer", 90), ("shorter", 0.05)):
            assert store.reserve(name, ONE, [line(name), line()], seconds) is None
        wait(0.15)
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
        assert store.reserve(name, ONE, [line(name, calls=1), line()], 0.2) is None
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

    def test_an_account_outlives_the_holds_in_it(self, store, times):
        assert store.reserve("a", ONE, [line("day", calls=1, keep_until=times.unix)], 1e6) is None
        times.wait(GRACE_S + 10)
        store.settle("b", [("other", None)], ONE)
        assert store.reserve("c", ONE, [line("day", calls=1)], 60) == 0
        store.settle("a", [("day", times.unix)], ONE)
        assert standing(store, "day") == Standing(ONE, NOTHING)

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
        monkeypatch.setattr("shared_core.accounting.stores._MOST_ENDED", 10)
        for number in range(100):
            store.settle(str(number), [("all", None)], ONE)
        assert len(store._ended) <= 11
        store.settle("99", [("all", None)], ONE)
        assert standing(store).spent == Amounts(calls=100)


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
