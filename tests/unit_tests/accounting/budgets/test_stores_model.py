"""Stores beside a plain model of them: whatever is done in whatever order, both stand alike."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared_core.accounting.budgets.sqlite_store import SQLiteStore
from shared_core.accounting.budgets.stores import (
    ENDED_S,
    NOTHING,
    Amounts,
    Line,
    MemoryStore,
    Standing,
)
from shared_core.errors import ConfigurationError

ACCOUNTS = ("day", "user", "total")
amounts = st.builds(Amounts, *[st.integers(0, 4)] * 4)
some_accounts = st.lists(st.sampled_from(ACCOUNTS), unique=True)
limits = st.tuples(*[st.none() | st.integers(0, 12)] * 4)


class Model:
    """What a store does, without any thought for speed."""

    def __init__(self):
        self.now, self.settled, self.held = 1000.0, [], {}  # settled: (hold, at, accounts, spent)

    def standing(self, account):
        held = [a for a, accounts, _ in self.held.values() if account in accounts]
        spent = [a for _, _, accounts, a in self.settled if account in accounts]
        return Standing(total(spent), total(held))

    def is_ended(self, hold):
        return any(name == hold and self.now < at + ENDED_S for name, at, _, _ in self.settled)

    def place_without_room(self, lines, wanted):
        for place, line in enumerate(lines):
            spent, held = self.standing(line.account)
            after = total([spent, held, wanted])
            if any(most is not None and a > most for a, most in zip(after, line.limits)):  # noqa: B905
                return place
        return None

    def wait(self, seconds):
        self.now += seconds
        self.held = {name: hold for name, hold in self.held.items() if self.now < hold[2]}


def total(many):
    return Amounts(*map(sum, zip(NOTHING, *many, strict=True)))


class Machine(RuleBasedStateMachine):
    """Holds are named by few letters, so that they are settled twice, late, and never made."""

    names = st.sampled_from("abcdef")

    def __init__(self):
        super().__init__()
        self.model = Model()
        self.store = self.begin()

    def clock(self):
        return self.model.now

    @rule(
        hold=names,
        wanted=amounts,
        accounts=some_accounts,
        limits=limits,
        seconds=st.sampled_from([1, 5, 60]),
    )
    def reserve(self, hold, wanted, accounts, limits, seconds):
        lines = [Line(account, limits, None) for account in accounts]
        if hold in self.model.held or self.model.is_ended(hold):
            try:
                self.store.reserve(hold, wanted, lines, seconds)
            except ConfigurationError:
                return
            raise AssertionError("two holds of one name")
        place = self.store.reserve(hold, wanted, lines, seconds)
        assert place == self.model.place_without_room(lines, wanted)
        if place is None:
            self.model.held[hold] = (wanted, accounts, self.model.now + seconds)

    @rule(hold=names, spent=amounts, accounts=some_accounts)
    def settle(self, hold, spent, accounts):
        self.store.settle(hold, [(account, None) for account in accounts], spent)
        if not self.model.is_ended(hold):
            self.model.held.pop(hold, None)
            self.model.settled.append((hold, self.model.now, accounts, spent))

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def refund(self, data):
        hold = data.draw(st.sampled_from(sorted(self.model.held)))
        self.settle(hold, NOTHING, self.model.held[hold][1])

    @rule(seconds=st.sampled_from([0.5, 1, 5, 60, ENDED_S]))
    def wait(self, seconds):
        self.model.wait(seconds)

    @invariant()
    def both_stand_alike(self):
        expected = [self.model.standing(account) for account in ACCOUNTS]
        assert self.store.standings(ACCOUNTS) == expected


class MemoryMachine(Machine):
    def begin(self):
        return MemoryStore(clock=self.clock)


class SQLiteMachine(Machine):
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        return self.opened()

    def opened(self):
        return SQLiteStore(Path(self.folder.name, "budgets.db"), clock=self.clock)

    @rule(how=st.sampled_from(["end", "crash amid a write"]))
    def restart(self, how):
        """What was not committed is gone, the rest is there."""
        if how != "end":
            self.store._database.execute("BEGIN IMMEDIATE")
            self.store._database.execute("UPDATE accounts SET calls = calls + 100")
        self.store.close()
        self.store = self.opened()

    @precondition(lambda self: self.model.now > 1000)
    @rule()
    def reboot(self):
        """Everything ended or held before is forgotten; it was stamped later than now."""
        self.store.close()
        self.model.held = {}
        self.model.settled = [(name, -1e9, *rest) for name, _, *rest in self.model.settled]
        self.model.now = 10.0
        self.store = self.opened()

    def teardown(self):
        self.store.close()
        self.folder.cleanup()


def quickly(machine, examples):
    test = machine.TestCase
    test.settings = settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    return test


TestMemoryMachine = quickly(MemoryMachine, 80)
TestSQLiteMachine = quickly(SQLiteMachine, 25)
