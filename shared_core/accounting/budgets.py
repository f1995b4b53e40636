"""Budgets: how much money, energy, tokens or calls may be spent, by whom, in what time.

In: limits as the user states them, and who is calling. Out: the accounts that a call is charged to,
how full they are, and holds in them that never exceed a limit.

An account is somebody's spending in some window ("user=u7", "day=2026-11-26"); budgets are limits
on accounts, so two budgets per day look at one account.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared_core.accounting.stores import Amounts, Line, Standing, Store, open_store
from shared_core.errors import BudgetExceededError, ConfigurationError, StorageError
from shared_core.types import Refusal, Scope

__all__ = ["Budget", "BudgetState", "Budgets", "StoreWarning", "amounts"]

_KEYS = ("run", "thread", "user", "tenant")
_WINDOWS = ("hour", "day", "month")
_NANO, _MICRO = 1_000_000_000, 1_000_000
_UNITS = ("USD", "Wh", "tokens", "calls")
_SCALES = (_NANO, _MICRO, 1, 1)


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

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for label in ("usd", "wh", "tokens", "calls"):
            value = getattr(self, label)
            if value is not None and not _number(value):
                raise ConfigurationError(f"budget: {label} must be 0 or more, not {value!r}")
        if all(limit is None for limit in self.limits):
            raise ConfigurationError("budget: give a limit: usd=, wh=, tokens= or calls=")
        object.__setattr__(self, "per", _pers(self.per))
        if not _number(self.near) or self.near > 1:
            raise ConfigurationError(f"budget: near must be 0 to 1, not {self.near!r}")
        if self.unknown not in ("refuse", "worst"):
            raise ConfigurationError(
                f"budget: unknown must be 'refuse' or 'worst', not {self.unknown!r}"
            )
        for label in ("bytes_per_token", "hold_s"):
            value = getattr(self, label)
            if not _number(value) or value == 0:
                raise ConfigurationError(f"budget: {label} must be over 0, not {value!r}")
        _zone(self.timezone)

    @property
    def limits(self) -> tuple[int | None, int | None, int | None, int | None]:
        """The limits in whole nano-USD, micro-Wh, tokens and calls; None for none."""
        given = (self.usd, self.wh, self.tokens, self.calls)
        scaled = [
            None if limit is None else math.floor(limit * scale + 1e-6)
            for limit, scale in zip(given, _SCALES, strict=True)
        ]
        return (scaled[0], scaled[1], scaled[2], scaled[3])

    @property
    def calls_alone(self) -> bool:
        """It limits nothing but calls: how long they get does not matter."""
        return self.usd is None and self.wh is None and self.tokens is None

    def __str__(self) -> str:
        """Say it in words."""
        given = zip((self.usd, self.wh, self.tokens, self.calls), _UNITS, strict=True)
        limits = " and ".join(f"{limit:g} {unit}" for limit, unit in given if limit is not None)
        return " ".join([limits, *(f"per {key}" for key in self.per)])


def _number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0


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
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise ConfigurationError(f"budget: no time zone is named {name!r}") from error


def amounts(usd: float | None, wh: float | None, tokens: int | None, calls: int = 1) -> Amounts:
    """Return amounts in whole units, rounded up; what is unknown counts as nothing."""
    return Amounts(
        math.ceil((usd or 0.0) * _NANO - 1e-6),
        math.ceil((wh or 0.0) * _MICRO - 1e-6),
        tokens or 0,
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
        taken = map(sum, zip(self.standing.spent, self.standing.held, strict=True))
        shares = [
            used / limit if limit else 1.0
            for used, limit in zip(taken, self.budget.limits, strict=True)
            if limit is not None
        ]
        return max(shares)

    @property
    def pressure(self) -> float:
        """How far it is from `near` to its end, 0 to 1: how thrifty the policy has to be."""
        near = self.budget.near
        if near >= 1:
            return 0.0
        return min(1.0, max(0.0, (self.used - near) / (1 - near)))

    def left(self) -> tuple[int | None, int | None, int | None, int | None]:
        """Return what is neither spent nor held, in whole units; None where nothing limits it."""
        left = [
            None if limit is None else limit - spent - held
            for limit, spent, held in zip(
                self.budget.limits, self.standing.spent, self.standing.held, strict=True
            )
        ]
        return (left[0], left[1], left[2], left[3])

    def lacks(self, most: Amounts) -> str | None:
        """Return what it has too little room for, in words; None where there is room."""
        for left, needed, unit, scale in zip(self.left(), most, _UNITS, _SCALES, strict=True):
            if left is not None and needed > left:
                needs, has = needed / scale, max(0, left) / scale
                return f"may take {needs:.3g} {unit}, and of {self.budget} {has:.3g} is left"
        return None

    def error(self, refusals: Sequence[Refusal] = ()) -> BudgetExceededError:
        """Return the error that says so."""
        left = {
            unit: max(0, amount) / scale
            for amount, unit, scale in zip(self.left(), _UNITS, _SCALES, strict=True)
            if amount is not None
        }
        return BudgetExceededError(str(self.budget), left, self.resets_at, refusals)


@dataclass(frozen=True, slots=True)
class _Account:
    name: str
    ends_at: float | None
    budgets: tuple[Budget, ...]

    @property
    def line(self) -> Line:
        hard = [budget.limits for budget in self.budgets if budget.hard]
        least = [
            min((limits[i] for limits in hard if limits[i] is not None), default=None)  # type: ignore[type-var]
            for i in range(4)
        ]
        return Line(self.name, (least[0], least[1], least[2], least[3]), self.ends_at)


class Budgets:
    """Several budgets over one store.

    Args:
        budgets: Each must have room for a call.
        store: Where spending is kept: None for this process alone; a path, for an SQLite file that
            many processes share; "redis://…" for many machines; or a store of your own.
        clock: Unix time, for days and months.

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

    @property
    def per_call(self) -> tuple[Budget, ...]:
        """Those that look at one call alone."""
        return tuple(budget for budget in self.budgets if budget.per == ("call",))

    def accounts(self, scope: Scope) -> tuple[_Account, ...]:
        """Return the accounts that a call of this caller is charged to, now."""
        now, found = self._clock(), dict[str, tuple[float | None, list[Budget]]]()
        for budget in self.budgets:
            if budget.per != ("call",):
                name, ends_at = _account_of(budget, scope, now)
                found.setdefault(name, (ends_at, []))[1].append(budget)
        return tuple(_Account(name, ends, tuple(own)) for name, (ends, own) in found.items())

    def states(self, scope: Scope) -> tuple[BudgetState, ...]:
        """Return how full each budget is for this caller; those per call are always empty.

        Raises:
            StorageError: The store fails, and a hard budget depends on it.
        """
        accounts = self.accounts(scope)
        nothing = Standing(Amounts(), Amounts())
        try:
            standings = self.store.standings([a.name for a in accounts]) if accounts else []
        except StorageError as error:
            self._fail_closed(accounts, error)
            standings = [nothing] * len(accounts)
        found = [
            BudgetState(budget, standing, account.ends_at)
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
        if not accounts:
            return
        try:
            self.store.settle(hold, [(a.name, a.ends_at) for a in accounts], spent)
        except StorageError as error:
            warnings.warn(
                f"a call could not be charged to its budgets; what was held for it stays held: "
                f"{error}",
                StoreWarning,
                stacklevel=2,
            )

    def _refusal(self, account: _Account, most: Amounts) -> BudgetExceededError:
        (standing,) = self.store.standings([account.name])
        states = [BudgetState(b, standing, account.ends_at) for b in account.budgets if b.hard]
        full = [state for state in states if state.lacks(most)]
        return (full or states)[0].error()

    def _fail_closed(self, accounts: Sequence[_Account], error: StorageError) -> None:
        if any(budget.hard for account in accounts for budget in account.budgets):
            raise error
        warnings.warn(
            f"budgets that refuse nobody are not being kept: {error}", StoreWarning, stacklevel=3
        )


def _account_of(budget: Budget, scope: Scope, now: float) -> tuple[str, float | None]:
    parts, ends_at = [], None
    for key in sorted(budget.per):
        if key in _KEYS:
            parts.append(f"{key}={quote(getattr(scope, key) or '', safe='')}")
        else:
            begins, ends_at = _window(key, now, _zone(budget.timezone))
            parts.append(f"{key}={begins}")
    return "|".join(parts) or "ever", ends_at


def _window(kind: str, now: float, zone: tzinfo) -> tuple[str, float]:
    """Return the name of the hour, day or month around a moment, and when it ends."""
    local = datetime.fromtimestamp(now, zone)
    begins = local.replace(minute=0, second=0, microsecond=0)
    if kind == "hour":
        return f"{begins:%Y-%m-%dT%H%z}", begins.timestamp() + 3600
    begins = begins.replace(hour=0, fold=0)
    if kind == "day":
        ends = begins + timedelta(days=1)  # of the calendar: 23 to 25 hours
    else:
        begins = begins.replace(day=1)
        ends = (begins + timedelta(days=32)).replace(day=1)
    place = "" if zone is UTC else f"@{zone}"
    return f"{begins:%Y-%m-%d}{place}", ends.timestamp()
