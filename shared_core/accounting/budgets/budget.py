"""Budgets: how much money, energy, tokens or calls may be spent, by whom, in what time.

In: limits as the user states them, and who is calling. Out: the accounts that a call is charged to,
how full they are, and holds in them that never exceed a limit.

An account is somebody's spending in some window ("user=u7", "day=2026-11-26"); budgets are limits
on accounts, so two budgets per day look at one account.
"""

from __future__ import annotations

import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared_core.accounting.budgets.stores import (
    MOST,
    NOTHING,
    Amounts,
    Limits,
    Line,
    Standing,
    Store,
    open_store,
)
from shared_core.errors import BudgetExceededError, ConfigurationError, StorageError, said
from shared_core.ranges import is_number
from shared_core.types import Refusal, Scope

__all__ = ["Budget", "BudgetState", "Budgets", "StoreWarning", "amounts"]

_KEYS = ("run", "thread", "user", "tenant")
_WINDOWS = ("hour", "day", "month")
_NANO, _MICRO = 1_000_000_000, 1_000_000
_UNITS = ("USD", "Wh", "tokens", "calls")
_SCALES = (_NANO, _MICRO, 1, 1)
_DIGITS = 3  # of a small unit: what is beyond them is an error of floating point
_HIGHEST = 2.0**62
"""The highest limit in whole units: stores count in 64 bits."""


class StoreWarning(RuntimeWarning):
    """A store failed where that does not stop the call; says what follows from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much may be spent.

    A call is let through only if the most that it can cost fits in beside all that is under way;
    what it did cost is charged when it has ended.

    Attributes:
        usd: USD.
        wh: Wh.
        tokens: Input and output tokens together.
        calls: Calls of models, retries too.
        per: Of what: "call", "run", "thread", "user", "tenant", "hour", "day", "month", or several,
            as in ("user", "day"). Calls that name no user (thread, …) share one account.
        near: From this share on, 0 to 1, the policy gives up more and more quality for money; 1 for
            never.
        unknown: What becomes of a candidate whose price (or energy) nobody knows: "refuse" it, or
            count it at the "worst" that is known of any candidate.
        hard: False: it only makes the policy thrifty, and refuses nobody.
        timezone: In which days and months begin, as "Europe/Berlin".
        bytes_per_token: How many tokens a prompt can be at most, for what is held: its bytes in
            UTF-8 by this. 1 is certain; 3 suits English prose, and holds less.
        hold_s: Seconds after which what is held for a call is free again, for processes that died.
            Longer than any call may take.
        limits: The limits in whole nano-USD, micro-Wh, tokens and calls; None for none.

    Raises:
        ConfigurationError: A value is out of range, or there is no limit at all.
    """

    usd: float | None = None
    wh: float | None = None
    tokens: int | None = None
    calls: int | None = None
    per: str | tuple[str, ...] = ()
    near: float = 0.8
    unknown: Literal["refuse", "worst"] = "refuse"
    hard: bool = True
    timezone: str = "UTC"
    bytes_per_token: float = 1.0
    hold_s: float = 900.0
    limits: Limits = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        object.__setattr__(self, "limits", _limits(self.usd, self.wh, self.tokens, self.calls))
        object.__setattr__(self, "per", _pers(self.per))
        if not is_number(self.near, 0, 1):
            raise ConfigurationError(f"budget: near must be 0 to 1, not {self.near!r}")
        if self.unknown not in ("refuse", "worst"):
            raise ConfigurationError(
                f"budget: unknown must be 'refuse' or 'worst', not {self.unknown!r}"
            )
        for label in ("bytes_per_token", "hold_s"):
            value = getattr(self, label)
            if not is_number(value, 0) or value == 0:
                raise ConfigurationError(f"budget: {label} must be over 0, not {value!r}")
        _zone(self.timezone)

    @property
    def calls_alone(self) -> bool:
        """It limits nothing but calls: how long they get does not matter."""
        return self.usd is None and self.wh is None and self.tokens is None

    def __str__(self) -> str:
        """Say it in words."""
        given = zip((self.usd, self.wh, self.tokens, self.calls), _UNITS, strict=True)
        limits = " and ".join(said(limit, unit) for limit, unit in given if limit is not None)
        return " ".join([limits, *(f"per {key}" for key in self.per)])


def _limits(*given: float | None) -> Limits:
    """Return limits in whole units, rounded down."""
    scaled: list[int | None] = []
    for limit, label, scale in zip(given, ("usd", "wh", "tokens", "calls"), _SCALES, strict=True):
        if limit is None:
            scaled.append(None)
            continue
        if not is_number(limit, 0):
            raise ConfigurationError(f"budget: {label} must be 0 or more, not {limit!r}")
        if scale == 1 and limit != int(limit):
            raise ConfigurationError(f"budget: {label} must be a whole number, not {limit!r}")
        scaled.append(math.floor(min(round(limit * scale, _DIGITS), _HIGHEST)))
    if all(limit is None for limit in scaled):
        raise ConfigurationError("budget: give a limit: usd=, wh=, tokens= or calls=")
    return scaled[0], scaled[1], scaled[2], scaled[3]


def _pers(per: Any) -> tuple[str, ...]:
    keys = (per,) if isinstance(per, str) else tuple(per) if isinstance(per, Iterable) else (per,)
    known = ("call", *_KEYS, *_WINDOWS)
    for key in keys:
        if key not in known:
            raise ConfigurationError(f"budget: per must be of {', '.join(known)}, not {key!r}")
    if len(set(keys)) < len(keys) or sum(key in _WINDOWS for key in keys) > 1:
        raise ConfigurationError(f"budget: per names a thing twice, or two times: {keys!r}")
    if "call" in keys and len(keys) > 1:
        raise ConfigurationError(f"budget: per call goes with nothing else: {keys!r}")
    return keys


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError) as error:
        raise ConfigurationError(f"budget: no time zone is named {name!r}") from error


def amounts(usd: float | None, wh: float | None, tokens: int | None, calls: int = 1) -> Amounts:
    """Return amounts in whole units, rounded up; what is unknown counts as nothing.

    None is more than a store can take: a model that reports absurd usage must not fail for it.
    """
    return Amounts(
        math.ceil(min(round(usd * _NANO, _DIGITS), MOST)) if usd else 0,
        math.ceil(min(round(wh * _MICRO, _DIGITS), MOST)) if wh else 0,
        min(tokens or 0, MOST),
        calls,
    )


@dataclass(frozen=True, slots=True)
class BudgetState:
    """How full a budget is, for one caller at one moment.

    Attributes:
        budget: The budget.
        standing: What has been spent and what is held, in the account.
        resets_at: Unix time at which the account ends, in seconds.
    """

    budget: Budget
    standing: Standing
    resets_at: float | None

    @property
    def used(self) -> float:
        """The fullest limit's share that is spent or held, 0 to 1 (and more if it was exceeded)."""
        fullest = 0.0
        for limit, spent, held in zip(self.budget.limits, *self.standing, strict=True):
            if limit is not None:
                fullest = max(fullest, (spent + held) / limit if limit else 1.0)
        return fullest

    @property
    def pressure(self) -> float:
        """How far it is from `near` to its end, 0 to 1: how thrifty the policy has to be."""
        near = self.budget.near
        if near >= 1:
            return 0.0
        return min(1.0, max(0.0, (self.used - near) / (1 - near)))

    def left(self) -> dict[str, float]:
        """Return what is neither spent nor held, by its unit; never under 0."""
        limits = zip(self.budget.limits, *self.standing, _UNITS, _SCALES, strict=True)
        return {
            unit: max(0, limit - spent - held) / scale
            for limit, spent, held, unit, scale in limits
            if limit is not None
        }

    def lacks(self, most: Amounts) -> str | None:
        """Return what it has too little room for, in words; None where there is room."""
        for place, (limit, spent, held, needed) in enumerate(
            zip(self.budget.limits, *self.standing, most, strict=True)
        ):
            if limit is not None and spent + held + needed > limit:
                unit, left = _UNITS[place], self.left()[_UNITS[place]]
                needs = said(needed / _SCALES[place], unit, digits=3)
                return f"may take {needs}, and of {self.budget} {said(left, digits=3)} is left"
        return None

    def error(self, refusals: Sequence[Refusal] = ()) -> BudgetExceededError:
        """Return the error that says so."""
        return BudgetExceededError(str(self.budget), self.left(), self.resets_at, refusals)


class _Account(NamedTuple):
    """One that a call is charged to, and the budgets that limit it."""

    line: Line
    budgets: tuple[Budget, ...]


class _Kind(NamedTuple):
    """Accounts of one kind: of the same keys, in the same sort of window of the same zone."""

    keys: tuple[str, ...]
    window: str | None
    zone: str
    budgets: tuple[Budget, ...]
    limits: Limits


def _kinds(budgets: Iterable[Budget]) -> tuple[_Kind, ...]:
    """Sort budgets by the accounts that they look at; those per call look at none."""
    found: dict[tuple[tuple[str, ...], str | None, str], list[Budget]] = {}
    for budget in budgets:
        if budget.per == ("call",):
            continue
        window = next((key for key in budget.per if key in _WINDOWS), None)
        keys = tuple(sorted(key for key in budget.per if key in _KEYS))
        zone = "" if window is None else budget.timezone
        found.setdefault((keys, window, zone), []).append(budget)
    return tuple(_Kind(*kind, tuple(own), _least(own)) for kind, own in found.items())


def _least(budgets: Iterable[Budget]) -> Limits:
    """Return the lowest of each limit among the hard ones."""
    hard = [budget.limits for budget in budgets if budget.hard]
    a, b, c, d = (
        min((limits[i] for limits in hard if limits[i] is not None), default=None)  # type: ignore[type-var]
        for i in range(4)
    )
    return a, b, c, d


class _Alone:
    """Around whatever a thread does with a store, which is not to be disturbed.

    An abandoned stream may be collected at any moment, in the middle of this too, and then ends its
    call: it cannot wait for the locks that its own thread holds, so its settlement waits instead.
    """

    _here = threading.local()

    def __enter__(self) -> None:
        self._here.waiting = []

    def __exit__(self, *_: object) -> None:
        waiting: list[Callable[[], None]] = self._here.waiting
        self._here.waiting = None
        for settle in waiting:
            settle()

    @classmethod
    def waits(cls, settle: Callable[[], None]) -> bool:
        """Tell whether this thread is at it; then it settles this afterwards."""
        waiting = getattr(cls._here, "waiting", None)
        if waiting is None:
            return False
        waiting.append(settle)
        return True


class Budgets:
    """Several budgets over one store.

    Args:
        budgets: Each must have room for a call.
        store: Where spending is kept: None for this process alone; a path, for an SQLite file that
            many processes share; "redis://…" for many machines; or a store of your own.
        clock: Unix time, for days and months.

    Attributes:
        budgets: All of them.
        per_call: Those that look at one call alone.
        bound_answers: One of them limits how long an answer may get.
        store: Where spending is kept.

    Raises:
        ConfigurationError: Something is no budget.
        StorageError: The store cannot be used.
    """

    def __init__(
        self,
        *budgets: Budget,
        store: str | os.PathLike[str] | Store | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the store."""
        for budget in budgets:
            if not isinstance(budget, Budget):
                raise ConfigurationError(f"budgets must be Budget(...)s, not {budget!r}")
        self.budgets, self._clock = budgets, clock
        self.per_call = tuple(budget for budget in budgets if budget.per == ("call",))
        self.bound_answers = any(budget.hard and not budget.calls_alone for budget in budgets)
        self._kinds = _kinds(budgets)
        self._windows: dict[tuple[str, str], _Window] = {}  # the last one of each sort
        self.store: Store = open_store(store)

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self.budgets)

    def __repr__(self) -> str:
        """Show the budgets, not where the store is: its address may hold a password."""
        return f"Budgets({', '.join(map(repr, self.budgets))})"

    def __deepcopy__(self, memo: object) -> Budgets:
        """Return the same: a copy of a router does not get the money twice."""
        return self

    @property
    def slow(self) -> bool:
        """Asking takes a disk or a network."""
        return bool(self.budgets) and self.store.slow

    def accounts(self, scope: Scope) -> tuple[_Account, ...]:
        """Return the accounts that a call of this caller is charged to, now."""
        now = self._clock()
        return tuple(_Account(self._line(kind, scope, now), kind.budgets) for kind in self._kinds)

    def _line(self, kind: _Kind, scope: Scope, now: float) -> Line:
        parts, ends_at = [f"{key}={_quoted(getattr(scope, key))}" for key in kind.keys], None
        if kind.window is not None:
            sort = (kind.window, kind.zone)
            window = self._windows.get(sort)
            if window is None or not window.begins_at <= now < window.ends_at:
                window = self._windows[sort] = _window(*sort, now)
            parts.append(window.name)
            ends_at = window.ends_at
        return Line("|".join(parts) or "ever", kind.limits, ends_at)

    def states(self, scope: Scope) -> tuple[BudgetState, ...]:
        """Return how full each budget is for this caller; those per call are always empty.

        Raises:
            StorageError: The store fails, and a hard budget depends on it.
        """
        return self.states_of(self.accounts(scope))

    def states_of(self, accounts: Sequence[_Account]) -> tuple[BudgetState, ...]:
        """Return how full each budget is in these accounts; see `states`."""
        nothing, names = Standing(NOTHING, NOTHING), [a.line.account for a in accounts]
        try:
            with _Alone():
                standings = self.store.standings(names) if names else []
        except StorageError as error:
            self._fail_closed(accounts, error)
            standings = [nothing] * len(accounts)
        found = [
            BudgetState(budget, standing, account.line.keep_until)
            for account, standing in zip(accounts, standings, strict=True)
            for budget in account.budgets
        ]
        return (*found, *(BudgetState(budget, nothing, None) for budget in self.per_call))

    def reserve(self, hold: str, most: Amounts, accounts: Sequence[_Account]) -> None:
        """Hold amounts in every account, or in none.

        Raises:
            BudgetExceededError: A hard budget has no room.
            StorageError: The store fails, and a hard budget depends on it.
        """
        if not accounts:
            return
        seconds = max(budget.hold_s for account in accounts for budget in account.budgets)
        try:
            with _Alone():
                full = self.store.reserve(hold, most, [a.line for a in accounts], seconds)
        except StorageError as error:
            self._fail_closed(accounts, error)
            return
        if full is not None:
            raise self._refusal(accounts[full], most)

    def settle(self, hold: str, spent: Amounts, accounts: Sequence[_Account]) -> None:
        """Charge what was spent and free the rest; nothing spent is a refund.

        A store that fails keeps the hold, at the most the call could cost, until it expires: that
        errs on the safe side, and is warned of.
        """
        if not accounts or _Alone.waits(lambda: self.settle(hold, spent, accounts)):
            return
        charged = [(account.line.account, account.line.keep_until) for account in accounts]
        try:
            with _Alone():
                self.store.settle(hold, charged, spent)
        except StorageError as error:
            warnings.warn(
                f"a call could not be charged to its budgets; what was held for it stays held: "
                f"{error}",
                StoreWarning,
                stacklevel=2,
            )

    def _refusal(self, account: _Account, most: Amounts) -> BudgetExceededError:
        name, _, ends_at = account.line
        with _Alone():
            (standing,) = self.store.standings([name])
        states = [BudgetState(b, standing, ends_at) for b in account.budgets if b.hard]
        full = [state for state in states if state.lacks(most)]
        return (full or states)[0].error()

    def _fail_closed(self, accounts: Sequence[_Account], error: StorageError) -> None:
        if any(budget.hard for account in accounts for budget in account.budgets):
            raise error
        warnings.warn(
            f"budgets that refuse nobody are not being kept: {error}", StoreWarning, stacklevel=3
        )


def _quoted(name: str | None) -> str:
    """Return a name in which nothing can be mistaken for another part of an account's."""
    return quote(name, safe="", errors="surrogatepass") if name else ""


class _Window(NamedTuple):
    """An hour, day or month: unix times, in seconds, and its name."""

    begins_at: float
    ends_at: float
    name: str


def _window(kind: str, zone: str, now: float) -> _Window:
    """Return the hour, day or month around a moment."""
    local = datetime.fromtimestamp(now, _zone(zone))
    place = "" if zone == "UTC" else f"@{zone}"
    if kind == "hour":  # whole hours of the zone's own time, whatever its clocks do
        ahead = (local.utcoffset() or timedelta()).total_seconds()
        begins_at = (now + ahead) // 3600 * 3600 - ahead
        return _Window(begins_at, begins_at + 3600, f"hour={local:%Y-%m-%dT%H%z}{place}")
    begins = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if kind == "day":
        ends = begins + timedelta(days=1)  # of the calendar: 23 to 25 hours
    else:
        begins = begins.replace(day=1)
        ends = (begins + timedelta(days=32)).replace(day=1)
    name = f"{kind}={begins:%Y-%m-%d}{place}"
    return _Window(begins.timestamp(), ends.timestamp(), name)
