"""Where budgets keep what is spent and what is held: a store, and the one in memory.

In: holds with their amounts, and the accounts they would be charged to. Out: whether there is
room. A call holds the most that it may cost before it is made, and is charged what it did cost
after it, so calls that run at the same time never spend the same room twice.

```
reserve ──► held ──► settle: the hold ends, what was really spent is charged
              └────► void: its holder died; the room comes back by itself
```
"""

from __future__ import annotations

import heapq
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

from shared_core.errors import ConfigurationError

__all__ = [
    "ENDED_S",
    "GRACE_S",
    "MOST",
    "NOTHING",
    "UNUSED_S",
    "Amounts",
    "Limits",
    "Line",
    "MemoryStore",
    "Shared",
    "Standing",
    "Store",
    "already_held",
    "check_reserve",
    "check_settle",
    "has_room",
    "open_store",
]

GRACE_S = 86400.0
"""Seconds that an account outlives its `keep_until`: a late call is still charged to its window,
and a clock that is set wrong for an hour forgets nothing."""

UNUSED_S = 30 * 86400.0
"""Seconds without use after which an account without `keep_until` is forgotten: budgets of
conversations and users who never come back must not pile up for ever."""

ENDED_S = 3600.0
"""Seconds for which it is remembered that a hold has ended, so that a settlement may be repeated
when it is not known whether it was done."""

_MOST_ENDED = 100_000
"""Ended holds that are remembered in memory at most, where no settlement can be lost on its way."""

MOST = 2**53
"""The greatest single amount: whole numbers up to here are exact in every store (9 million USD)."""


class Amounts(NamedTuple):
    """What a call costs, in whole numbers, so that sums do not drift."""

    nano_usd: int = 0
    micro_wh: int = 0
    tokens: int = 0
    calls: int = 0

    def plus(self, other: Amounts) -> Amounts:
        """Add each to each."""
        a, b, c, d = other
        return Amounts(self[0] + a, self[1] + b, self[2] + c, self[3] + d)

    def minus(self, other: Amounts) -> Amounts:
        """Take each from each."""
        a, b, c, d = other
        return Amounts(self[0] - a, self[1] - b, self[2] - c, self[3] - d)


NOTHING = Amounts()


Limits = tuple[int | None, int | None, int | None, int | None]
"""The most of each amount, in the order of `Amounts`; None: no limit."""


class Line(NamedTuple):
    """One budget that a call must find room in.

    Attributes:
        account: Whose spending, in which window: "day=2026-11-26", "user=u7|day=2026-11-26".
        limits: The most of each amount.
        keep_until: Unix time in seconds from which nobody asks for the account again; None: it is
            kept as long as it is used. See `GRACE_S`, `UNUSED_S`.
    """

    account: str
    limits: Limits
    keep_until: float | None


class Standing(NamedTuple):
    """What an account has spent, and what calls that are under way hold in it."""

    spent: Amounts
    held: Amounts


@runtime_checkable
class Store(Protocol):
    """Keeps accounts and holds. Every method is atomic, for threads and for whoever shares it.

    Attributes:
        slow: It waits for a disk or a network, so an event loop should leave it to a thread.
    """

    slow: bool

    def standings(self, accounts: Sequence[str]) -> list[Standing]:
        """Return how each account stands; one that is not known has spent nothing.

        Raises:
            StorageError: The store cannot be read.
        """
        ...

    def reserve(
        self, hold: str, amounts: Amounts, lines: Sequence[Line], seconds: float
    ) -> int | None:
        """Hold amounts in the account of every line, or in none.

        Args:
            hold: A name that no other hold ever has.
            amounts: The most that will be spent.
            lines: At most one per account; with none, there is room.
            seconds: After them the hold is void, in case its holder dies.

        Returns:
            The place of the first line without room; None if the hold was made. There is room if
            `spent + held + amounts <= limit` for each limited amount.

        Raises:
            ConfigurationError: An argument is wrong, or the hold exists or has ended.
            StorageError: The store cannot be written. Try again under another name: this hold may
                have been made, and then becomes void by itself.
        """
        ...

    def settle(
        self, hold: str, accounts: Sequence[tuple[str, float | None]], spent: Amounts
    ) -> None:
        """End a hold and charge what was really spent; `NOTHING` is a refund.

        It is charged all the same if the hold is void or unknown. Settling a hold again changes
        nothing (for `ENDED_S`).

        Args:
            hold: Its name.
            accounts: Those to charge, each with its `keep_until`.
            spent: What to charge to each of them.

        Raises:
            ConfigurationError: An argument is wrong.
            StorageError: The store cannot be written. The call may be repeated.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections; they are opened again if the store is used again."""
        ...


def open_store(place: str | os.PathLike[str] | Store | None) -> Store:
    """Return the store at a place.

    Args:
        place: None: in memory. "redis://…", "rediss://…", "unix://…": a Redis server. Another
            string or a path: an SQLite file, made where there is none. A store: itself.

    Raises:
        ConfigurationError: The place is none of these.
        StorageError: The file cannot be used.
        MissingExtraError: redis is not installed.
    """
    if place is None:
        return MemoryStore()
    if isinstance(place, Store) and not isinstance(place, type):
        return place
    path = os.fspath(place) if isinstance(place, os.PathLike) else place
    if not isinstance(path, str) or not path or path == ":memory:" or "\0" in path:
        raise ConfigurationError(
            "budgets are kept in a file (its path), in a Redis server (redis://…) or in memory "
            f"(None), not in {place!r}"
        )
    scheme, separator, _ = path.partition("://")
    if not separator:
        from shared_core.accounting.budgets.sqlite_store import SQLiteStore

        return SQLiteStore(path)
    if scheme.lower() in ("redis", "rediss", "unix"):
        from shared_core.accounting.budgets.redis_store import RedisStore

        return RedisStore(path)
    raise ConfigurationError(  # the rest of the address may hold a password
        f"budgets cannot be kept in {scheme}://…: give the path of a file, or redis://…"
    )


def has_room(line: Line, standing: Standing, amounts: Amounts) -> bool:
    """Tell whether amounts fit into a line's account as it stands."""
    (a, b, c, d), (spent, held) = line.limits, standing  # written out: this is on every call's way
    return (
        (a is None or spent[0] + held[0] + amounts[0] <= a)
        and (b is None or spent[1] + held[1] + amounts[1] <= b)
        and (c is None or spent[2] + held[2] + amounts[2] <= c)
        and (d is None or spent[3] + held[3] + amounts[3] <= d)
    )


def check_reserve(hold: str, amounts: Amounts, lines: Sequence[Line], seconds: float) -> None:
    """Refuse arguments of `Store.reserve` that cannot be meant.

    Raises:
        ConfigurationError: One of them is wrong.
    """
    _check_hold(hold, amounts)
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"a hold lasts a positive number of seconds, not {seconds!r}")
    _check_accounts([(line.account, line.keep_until) for line in lines])
    for line in lines:
        given = [limit for limit in line.limits if limit is not None]
        whole = len(line.limits) == len(NOTHING) and set(map(type, given)) <= {int}
        if not whole or min(given, default=0) < 0:
            raise ConfigurationError(
                f"{line.account}: limits are four whole numbers from 0 up, or None where there is "
                f"no limit, not {line.limits!r}"
            )


def check_settle(hold: str, accounts: Sequence[tuple[str, float | None]], spent: Amounts) -> None:
    """Refuse arguments of `Store.settle` that cannot be meant.

    Raises:
        ConfigurationError: One of them is wrong.
    """
    _check_hold(hold, spent)
    _check_accounts(accounts)


def already_held(hold: str) -> ConfigurationError:
    """Return the error for a hold whose name is taken."""
    return ConfigurationError(f"there is or was a hold named {hold!r}: give each its own name")


def _check_hold(hold: str, amounts: Amounts) -> None:
    _check_name("a hold", hold)
    whole = len(amounts) == len(NOTHING) and set(map(type, amounts)) == {int}
    if not whole or min(amounts) < 0 or max(amounts) > MOST:
        raise ConfigurationError(
            f"amounts are four whole numbers from 0 to {MOST}, not {tuple(amounts)!r}"
        )


def _check_accounts(accounts: Iterable[tuple[str, float | None]]) -> None:
    seen = set()
    for account, keep_until in accounts:
        _check_name("an account", account)
        if account in seen:
            raise ConfigurationError(f"the account {account!r} is named twice")
        seen.add(account)
        if keep_until is not None and not -math.inf < keep_until < math.inf:
            raise ConfigurationError(f"{account}: keep_until is a unix time, not {keep_until!r}")


def _check_name(what: str, name: str) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{what} is named by a non-empty string, not {name!r}")
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ConfigurationError(f"{what} is named by valid Unicode, not {name!r}") from None


# One lock for all stores in memory (they hold it for microseconds), so that no process is forked
# while an account is half written.
_LOCK = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
    )


class _Account:
    __slots__ = ("forget_at", "held", "spent")

    def __init__(self) -> None:
        self.spent = self.held = NOTHING
        self.forget_at = -math.inf


class _Hold(NamedTuple):
    amounts: Amounts
    accounts: tuple[str, ...]
    void_at: float


class Shared:
    """A copy is the store itself: a copied router must not spend its budget twice."""

    def __copy__(self) -> Self:
        """Return the store itself."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the store itself."""
        return self


class MemoryStore(Shared):
    """Budgets of this process alone, gone with it.

    Pickled, it begins empty in the other process; a forked process goes on from what its parent
    had spent.
    """

    slow = False

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Begin with nothing spent.

        Args:
            clock: Seconds that never go back: when holds become void, accounts are forgotten.
            wall: Unix time in seconds, only to tell how far away a `keep_until` is.
        """
        self._clock, self._wall = clock, wall
        self._accounts: OrderedDict[str, _Account] = OrderedDict()  # least recently looked at first
        self._holds: dict[str, _Hold] = {}
        self._ends: list[tuple[float, str]] = []  # a heap: (void_at, hold), also of settled ones
        self._ended: OrderedDict[str, float] = OrderedDict()  # hold: when it was settled

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave everything behind: another process has its own budgets."""
        return type(self), ()

    def standings(self, accounts: Sequence[str]) -> list[Standing]:
        """See `Store.standings`."""
        with _LOCK:
            self._void(self._clock())
            return [self._standing(name) for name in accounts]

    def reserve(
        self, hold: str, amounts: Amounts, lines: Sequence[Line], seconds: float
    ) -> int | None:
        """See `Store.reserve`."""
        check_reserve(hold, amounts, lines, seconds)
        with _LOCK:
            now = self._clock()
            self._void(now)
            if hold in self._holds or hold in self._ended:
                raise already_held(hold)
            for place, line in enumerate(lines):
                if not has_room(line, self._standing(line.account), amounts):
                    return place
            for line in lines:
                account = self._used(line.account, line.keep_until, now)
                account.held = account.held.plus(amounts)
            void_at = now + seconds
            self._holds[hold] = _Hold(amounts, tuple(line.account for line in lines), void_at)
            heapq.heappush(self._ends, (void_at, hold))
            self._tidy(now, len(lines))
            return None

    def settle(
        self, hold: str, accounts: Sequence[tuple[str, float | None]], spent: Amounts
    ) -> None:
        """See `Store.settle`; of more than 100 000 ended holds, the oldest are forgotten."""
        check_settle(hold, accounts, spent)
        with _LOCK:
            now = self._clock()
            self._void(now)
            if hold in self._ended:
                return
            self._ended[hold] = now
            self._release(hold)
            for name, keep_until in accounts:
                account = self._used(name, keep_until, now)
                account.spent = account.spent.plus(spent)
            self._tidy(now, len(accounts))

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _standing(self, name: str) -> Standing:
        account = self._accounts.get(name)
        return (
            Standing(NOTHING, NOTHING) if account is None else Standing(account.spent, account.held)
        )

    def _used(self, name: str, keep_until: float | None, now: float) -> _Account:
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = _Account()
        kept = UNUSED_S if keep_until is None else max(keep_until - self._wall(), 0.0) + GRACE_S
        account.forget_at = max(account.forget_at, now + kept)
        return account

    def _void(self, now: float) -> None:
        """End the holds whose time is up, and those that ended long ago."""
        while self._ends and self._ends[0][0] <= now:
            void_at, hold = heapq.heappop(self._ends)
            if hold in self._holds and self._holds[hold].void_at == void_at:
                self._release(hold)
        while self._ended and (
            len(self._ended) > _MOST_ENDED or next(iter(self._ended.values())) <= now - ENDED_S
        ):
            self._ended.popitem(last=False)

    def _release(self, hold: str) -> None:
        held = self._holds.pop(hold, None)
        if held is not None:
            for name in held.accounts:
                if account := self._accounts.get(name):  # it may be gone if nothing is held in it
                    account.held = account.held.minus(held.amounts)

    def _tidy(self, now: float, used: int) -> None:
        """Look at two accounts for each one used, in turn, and forget those that are past.

        So there are never more than about twice as many as there must be, and no call has to look
        at all of them.
        """
        for _ in range(min(2 * used, len(self._accounts))):
            name, account = self._accounts.popitem(last=False)
            if account.held != NOTHING or now < account.forget_at:
                self._accounts[name] = account
        if len(self._ends) > 2 * len(self._holds) + 64:  # most of them are settled
            self._ends = [(held.void_at, hold) for hold, held in self._holds.items()]
            heapq.heapify(self._ends)
