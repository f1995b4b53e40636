"""Limits, the accounts that they look at, and a store that fails."""

from __future__ import annotations

import copy
import math
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_core import BudgetExceededError, ConfigurationError, Scope, StorageError
from shared_core.accounting.budgets.budget import (
    Budget,
    Budgets,
    BudgetState,
    StoreWarning,
    amounts,
)
from shared_core.accounting.budgets.stores import MOST, NOTHING, Amounts, Standing
from tests.fakes.core import prompt
from tests.fakes.spending import FailingStore, Metered, router, standing
from tests.fakes.timing import Clock

NOBODY = Scope()
BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> float:
    """Unix time of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def account(budget: Budget, now: float = 0.0, scope: Scope = NOBODY) -> tuple[str, float | None]:
    """Name and end of the account that a budget looks at."""
    (found,) = Budgets(budget, clock=lambda: now).accounts(scope)
    return found.line.account, found.line.keep_until


def state(budget: Budget, spent: Amounts = NOTHING, held: Amounts = NOTHING) -> BudgetState:
    return BudgetState(budget, Standing(spent, held), None)


# --- limits ---


def test_limits_are_whole_numbers_of_small_units() -> None:
    assert Budget(usd=0.1).limits == (100_000_000, None, None, None)
    assert Budget(wh=0.3, calls=2).limits == (None, 300_000, None, 2)
    assert Budget(tokens=1e6).limits == (None, None, 1_000_000, None)  # type: ignore[arg-type]
    assert Budget(usd=1e300).limits[0] < 2**63  # type: ignore[operator]


@given(st.integers(0, 10**12))
def test_what_is_exactly_the_limit_fits_and_more_does_not(nano_usd: int) -> None:
    full = state(Budget(usd=nano_usd / 1e9))
    assert full.lacks(amounts(nano_usd / 1e9, None, 0)) is None
    assert full.lacks(amounts((nano_usd + 1) / 1e9, None, 0)) is not None


@pytest.mark.parametrize(
    ("limit", "fits", "not_", "says"),
    [
        ({"usd": 1}, (10**9, 0, 0, 0), (10**9 + 10**7, 0, 0, 0), "1.01 USD, and of 1 USD 1 is"),
        ({"wh": 2}, (0, 2 * 10**6, 0, 0), (0, 3 * 10**6, 0, 0), "3 Wh, and of 2 Wh 2 is left"),
        ({"tokens": 50}, (0, 0, 50, 0), (0, 0, 51, 0), "51 tokens, and of 50 tokens 50 is left"),
        ({"calls": 1}, (0, 0, 0, 1), (0, 0, 0, 2), "may take 2 calls, and of 1 call 1 is left"),
    ],
)
def test_every_kind_of_limit_says_what_it_lacks(
    limit: dict[str, Any], fits: Any, not_: Any, says: str
) -> None:
    full = state(Budget(**limit))
    assert full.lacks(Amounts(*fits)) is None
    assert says in (full.lacks(Amounts(*not_)) or "")


def test_the_fullest_of_several_limits_counts() -> None:
    both = state(Budget(usd=1, calls=10), Amounts(nano_usd=5 * 10**8), Amounts(calls=9))
    assert both.used == 0.9
    assert both.left() == {"USD": 0.5, "calls": 1}
    assert "2 calls" in (both.lacks(Amounts(calls=2)) or "")


def test_what_was_spent_beyond_a_limit_leaves_nothing_and_not_less() -> None:
    over = state(Budget(usd=1), Amounts(nano_usd=3 * 10**9))
    assert over.used == 3
    assert over.left() == {"USD": 0}
    assert "and of 1 USD 0 is left" in (over.lacks(Amounts(nano_usd=1)) or "")
    assert over.error().left == {"USD": 0}


@pytest.mark.parametrize(
    ("near", "spent", "pressure"),
    [(0.8, 0.79, 0), (0.8, 0.8, 0), (0.8, 0.9, 0.5), (0.8, 2, 1), (1, 2, 0), (0, 0.5, 0.5)],
)
def test_pressure_grows_from_near_on(near: float, spent: float, pressure: float) -> None:
    one = state(Budget(usd=1, near=near), amounts(spent, None, 0))
    assert one.pressure == pytest.approx(pressure)


def test_a_limit_of_nothing_is_full_and_lets_what_is_free_pass() -> None:
    none = state(Budget(usd=0))
    assert (none.used, none.pressure) == (1, 1)
    assert none.lacks(Amounts(tokens=5, calls=1)) is None
    assert none.lacks(Amounts(nano_usd=1)) is not None


def test_amounts_are_rounded_up_and_stay_within_what_a_store_takes() -> None:
    assert amounts(1e-11, 1e-8, 3) == Amounts(1, 1, 3, 1)
    assert amounts(0.1 + 0.2, None, None) == Amounts(300_000_000, 0, 0, 1)  # no drift of floats
    assert amounts(1e300, math.inf, 10**30) == Amounts(MOST, MOST, MOST, 1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "give a limit: usd=, wh=, tokens= or calls="),
        ({"usd": -1}, "usd must be 0 or more, not -1"),
        ({"usd": math.nan}, "usd must be 0 or more, not nan"),
        ({"usd": math.inf}, "usd must be 0 or more, not inf"),
        ({"usd": True}, "usd must be 0 or more, not True"),
        ({"usd": "5"}, "usd must be 0 or more, not '5'"),
        ({"wh": -0.1}, "wh must be 0 or more"),
        ({"tokens": 0.5}, "tokens must be a whole number, not 0.5"),
        ({"calls": 1.5}, "calls must be a whole number, not 1.5"),
        ({"calls": False}, "calls must be 0 or more, not False"),
        ({"usd": 1, "per": "week"}, "per must be of call, run, thread, .*, not 'week'"),
        ({"usd": 1, "per": ""}, "per must be of call, .*, not ''"),
        ({"usd": 1, "per": None}, "per must be of call, .*, not None"),
        ({"usd": 1, "per": ("user", 7)}, "per must be of call, .*, not 7"),
        ({"usd": 1, "per": ("user", ["day"])}, r"per must be of call, .*, not \['day'\]"),
        ({"usd": 1, "per": ("day", "month")}, "names a thing twice, or two times"),
        ({"usd": 1, "per": ("user", "user")}, "names a thing twice"),
        ({"usd": 1, "per": ("call", "user")}, "per call goes with nothing else"),
        ({"usd": 1, "near": 1.1}, "near must be 0 to 1, not 1.1"),
        ({"usd": 1, "near": math.nan}, "near must be 0 to 1, not nan"),
        ({"usd": 1, "near": True}, "near must be 0 to 1, not True"),
        ({"usd": 1, "unknown": "allow"}, "unknown must be 'refuse' or 'worst', not 'allow'"),
        ({"usd": 1, "bytes_per_token": 0}, "bytes_per_token must be over 0, not 0"),
        ({"usd": 1, "hold_s": -5}, "hold_s must be over 0, not -5"),
        ({"usd": 1, "hold_s": math.inf}, "hold_s must be over 0, not inf"),
        ({"usd": 1, "timezone": "Berlin"}, "no time zone is named 'Berlin'"),
        ({"usd": 1, "timezone": ""}, "no time zone is named ''"),
        ({"usd": 1, "timezone": "../UTC"}, "no time zone is named"),
        ({"usd": 1, "timezone": "Europe"}, "no time zone is named 'Europe'"),
        ({"usd": 1, "timezone": None}, "no time zone is named None"),
        ({"usd": 1, "timezone": 1}, "no time zone is named 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"budget: .*{says}"):
        Budget(**wrong)


@pytest.mark.parametrize("wrong", ["5 USD", 5, None, [Budget(usd=1)], Budget])
def test_only_budgets_are_budgets(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"budgets must be Budget\(\.\.\.\)s"):
        Budgets(wrong)


def test_a_budget_reads_as_text() -> None:
    assert str(Budget(usd=5, per=("user", "day"))) == "5 USD per user per day"
    assert str(Budget(wh=2.5, calls=10)) == "2.5 Wh and 10 calls"
    assert str(Budget(tokens=12_345_678, calls=1)) == "12,345,678 tokens and 1 call"


def test_budgets_do_not_show_where_they_are_kept() -> None:
    shown = repr(Budgets(Budget(usd=1)))
    assert shown.startswith("Budgets(Budget(usd=1")
    assert "store" not in shown
    assert not Budgets()


def test_a_copy_does_not_get_the_money_twice() -> None:
    ours = Budgets(Budget(usd=1))
    assert copy.copy(ours).store is copy.deepcopy(ours).store is ours.store


# --- accounts ---


@pytest.mark.parametrize(
    ("per", "named"),
    [
        ((), "ever"),
        ("run", "run=r"),
        ("thread", "thread=t"),
        ("user", "user=u"),
        ("tenant", "tenant=x"),
        ("hour", "hour=1970-01-01T00+0000"),
        ("day", "day=1970-01-01"),
        ("month", "month=1970-01-01"),
        (("user", "day"), "user=u|day=1970-01-01"),
        (("day", "user"), "user=u|day=1970-01-01"),
        (["tenant", "user", "month"], "tenant=x|user=u|month=1970-01-01"),
    ],
)
def test_every_per_has_its_account(per: Any, named: str) -> None:
    scope = Scope(run="r", thread="t", user="u", tenant="x")
    assert account(Budget(usd=1, per=per), 0, scope)[0] == named


def test_a_budget_per_call_has_no_account() -> None:
    ours = Budgets(Budget(usd=1, per="call"), Budget(calls=1, per="user"))
    assert [a.line.account for a in ours.accounts(NOBODY)] == ["user="]
    assert [str(s.budget) for s in ours.states(NOBODY)] == ["1 call per user", "1 USD per call"]


def test_calls_without_a_name_share_one_account() -> None:
    one = Budget(usd=1, per="user")
    assert account(one) == account(one, scope=Scope(tenant="x")) == ("user=", None)


def test_budgets_of_one_account_are_one_line_with_the_lowest_hard_limits() -> None:
    ours = Budgets(
        Budget(usd=5, per=("day", "user")),
        Budget(usd=2, calls=9, per=("user", "day")),
        Budget(usd=1, tokens=1, per=("user", "day"), hard=False),
    )
    (only,) = ours.accounts(NOBODY)
    assert only.line.limits == (2 * 10**9, None, None, 9)
    assert len(only.budgets) == 3


HOSTILE = st.sampled_from(
    [
        "u",
        "u|day=1970-01-01",
        "day=1970-01-01",
        "|",
        "=",
        "%",
        "%7C",
        "ü",
        "\ud800",
        "\0",
        " ",
        "|user=",
    ]
) | st.text(min_size=1)


@given(*[st.builds(Scope, user=st.none() | HOSTILE, tenant=st.none() | HOSTILE)] * 2)
def test_no_two_callers_share_an_account(one: Scope, other: Scope) -> None:
    every = [
        Budget(usd=1, per=per)
        for per in ("user", "tenant", ("user", "tenant"), ("user", "day"), ("tenant", "day"), "day")
    ]
    ours = Budgets(*every, Budget(usd=1), clock=lambda: 0.0)
    for budget in every:
        same = all(getattr(one, k) == getattr(other, k) for k in budget.per if k != "day")
        names = [account(budget, 0, scope)[0] for scope in (one, other)]
        assert (names[0] == names[1]) is same
    assert len({a.line.account for a in ours.accounts(one)}) == len(every) + 1


@given(st.builds(Scope, user=HOSTILE))
def test_any_name_can_be_charged(scope: Scope) -> None:
    llm = router(Budget(calls=2, per="user"))
    view = prompt(scope=scope)
    llm.answer(view, llm.decide(view), Metered({"a": ["x"]}))
    assert standing(llm, scope).spent.calls == 1


# --- windows ---


@pytest.mark.parametrize(
    ("now", "per", "zone", "name", "ends"),
    [
        ("2026-11-26T13:14:15", "hour", "UTC", "hour=2026-11-26T13+0000", "2026-11-26T14:00"),
        ("2026-11-26T13:14:15", "day", "UTC", "day=2026-11-26", "2026-11-27T00:00"),
        ("2026-11-26T13:14:15", "month", "UTC", "month=2026-11-01", "2026-12-01T00:00"),
        ("2026-12-31T23:59:59", "month", "UTC", "month=2026-12-01", "2027-01-01T00:00"),
        ("2028-02-29T12:00", "month", "UTC", "month=2028-02-01", "2028-03-01T00:00"),
        ("2026-01-31T12:00", "month", "UTC", "month=2026-01-01", "2026-02-01T00:00"),
        ("2026-11-26T23:30", "day", BERLIN, "day=2026-11-26@Europe/Berlin", "2026-11-27T00:00"),
        ("2026-03-29T12:00", "day", BERLIN, "day=2026-03-29@Europe/Berlin", "2026-03-30T00:00"),
        ("2026-10-25T12:00", "day", BERLIN, "day=2026-10-25@Europe/Berlin", "2026-10-26T00:00"),
        (
            *("2026-11-26T10:10", "hour", "Asia/Kolkata"),
            *("hour=2026-11-26T10+0530@Asia/Kolkata", "2026-11-26T11:00"),
        ),
    ],
)
def test_windows_of_a_zone(now: str, per: str, zone: str, name: str, ends: str) -> None:
    budget = Budget(usd=1, per=per, timezone=zone)
    assert account(budget, at(now, zone)) == (name, at(ends, zone))


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_days_on_which_clocks_change_are_as_long_as_they_are(day: str, hours: int) -> None:
    budget = Budget(usd=1, per="day", timezone=BERLIN)
    midnight = at(f"{day}T00:00", BERLIN)
    assert account(budget, midnight)[1] == midnight + hours * 3600
    assert account(budget, midnight - 1)[1] == midnight


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    budget = Budget(usd=1, per="hour", timezone=BERLIN)
    first = at("2026-10-25T02:30", BERLIN)
    names = [account(budget, first + 3600 * i)[0] for i in range(3)]
    assert [name.partition("@")[0] for name in names] == [
        "hour=2026-10-25T02+0200",
        "hour=2026-10-25T02+0100",
        "hour=2026-10-25T03+0100",
    ]


ZONES = ["UTC", BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Havana"]
ZONES += ["America/Santiago", "Pacific/Apia", "Asia/Kathmandu", "Africa/Cairo"]


@given(
    now=st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),
    per=st.sampled_from(["hour", "day", "month"]),
    zone=st.sampled_from(ZONES),
    later=st.timedeltas(timedelta(0), timedelta(days=40)),
)
def test_every_moment_lies_in_one_window(
    now: datetime, per: str, zone: str, later: timedelta
) -> None:
    budget, moment = Budget(usd=1, per=per, timezone=zone), now.timestamp()
    name, ends = account(budget, moment)
    assert ends is not None
    assert ends > moment
    after, ends_after = account(budget, moment + later.total_seconds())
    inside = moment + later.total_seconds() < ends
    assert (after == name) is inside, "a window has one name, and the next another"
    assert (ends_after == ends) is inside
    assert account(budget, ends - 0.001)[0] == name


def test_a_clock_that_jumps_finds_each_days_spending_again() -> None:
    clock = Clock()
    clock.now = at("2026-11-26T12:00")
    llm = router(Budget(calls=1, per="day"), clock=clock)

    def ask() -> None:
        llm.answer(prompt(), llm.decide(prompt()), Metered({"a": ["x"]}))

    ask()
    with pytest.raises(BudgetExceededError, match="it resets at 2026-11-27 00:00 UTC") as caught:
        ask()
    assert caught.value.resets_at == at("2026-11-27T00:00")
    clock.now += 86400
    ask()
    clock.now -= 86400  # set back: what was spent on that day is not forgotten
    with pytest.raises(BudgetExceededError):
        ask()
    clock.now += 86400
    with pytest.raises(BudgetExceededError):
        ask()


def test_a_call_over_midnight_is_charged_to_the_day_it_began_on() -> None:
    clock = Clock()
    clock.now = at("2026-11-26T23:59")
    llm = router(Budget(calls=5, per="day"), clock=clock)
    stream = llm.stream(prompt(), llm.decide(prompt()), Metered({"a": ["x", "y"]}))
    next(stream)
    clock.now += 120
    list(stream)
    assert standing(llm).spent.calls == 0
    clock.now -= 120
    assert standing(llm) == Standing(Amounts(20_000, 0, 15, 1), NOTHING)


# --- stores that fail ---


@pytest.mark.parametrize("failing", ["standings", "reserve"])
def test_a_hard_budget_whose_store_fails_lets_nobody_pass(failing: str) -> None:
    store = FailingStore()
    llm = router(Budget(usd=1), Budget(usd=1, per="user", hard=False), store=store)
    before = llm.decide(prompt())
    store.failing.add(failing)
    transport = Metered({"a": ["x"], "b": ["x"]})
    with pytest.raises(StorageError, match="the store: it is gone"):
        llm.answer(prompt(), llm.decide(prompt()), transport)
    if failing == "reserve":
        with pytest.raises(StorageError, match="the store: it is gone"):
            llm.answer(prompt(), before, transport)
    assert transport.asked == []
    store.failing.clear()
    llm.answer(prompt(), llm.decide(prompt()), transport)
    assert standing(llm).held == NOTHING


@pytest.mark.parametrize("failing", ["standings", "reserve"])
def test_a_soft_budget_whose_store_fails_warns_and_goes_on(failing: str) -> None:
    store = FailingStore(failing)
    llm = router(Budget(usd=1, hard=False), store=store)
    with pytest.warns(
        StoreWarning, match="refuse nobody are not being kept: the store: it is gone"
    ):
        answer = llm.answer(prompt(), llm.decide(prompt()), Metered({"a": ["x"]}))
    assert answer.reply.text == "x"
    store.failing.clear()
    assert standing(llm) == Standing(Amounts(20_000, 0, 15, 1), NOTHING)  # charged all the same


@pytest.mark.parametrize("hard", [True, False])
def test_a_settlement_that_fails_keeps_the_hold_and_the_answer(hard: bool) -> None:
    store = FailingStore("settle")
    llm = router(Budget(usd=1, hard=hard), store=store)
    with pytest.warns(StoreWarning, match="could not be charged .* stays held: the store"):
        answer = llm.answer(prompt(), llm.decide(prompt()), Metered({"a": ["x"]}))
    assert answer.reply.text == "x"
    spent, held = standing(llm)
    assert spent == NOTHING
    assert held.nano_usd > 20_000, "the most that it could cost"


def test_a_soft_budget_refuses_nobody_and_is_charged() -> None:
    llm = router(Budget(usd=0, hard=False))
    for calls in (1, 2):
        transport = Metered({"a": ["x"]})
        llm.answer(prompt(), llm.decide(prompt()), transport)
        assert standing(llm).spent.calls == calls
        assert transport.asked[0].params == {}, "and it makes no answer shorter"


def test_the_error_of_a_full_budget_says_what_is_left() -> None:
    llm = router(Budget(usd=0.001, calls=1, per="user"))
    view = prompt("x" * 4000, scope=Scope(user="u"))
    with pytest.raises(BudgetExceededError) as caught:
        llm.decide(view)
    error = caught.value
    assert error.budget == "0.001 USD and 1 call per user"
    assert error.left == {"USD": 0.001, "calls": 1}
    assert error.resets_at is None
    assert [r.candidate for r in error.refusals] == ["a", "b"]
    assert "has 0.001 USD and 1 call left, it never resets; a: may take 0.00" in str(error)
