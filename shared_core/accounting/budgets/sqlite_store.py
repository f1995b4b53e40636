"""Budgets in a file (SQLite), shared by the processes of one machine.

In: the path of a file. Out: a store whose spending survives its processes. A settlement that has
returned is in the hands of the operating system (write-ahead log, written at every commit), so
killing the process, by SIGKILL too, loses nothing; `synchronous=NORMAL` does not wait for the
disk, so a power cut may lose the last moments, and never damages the file.

The file must lie on a disk of this machine: write-ahead logs do not work over a network.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shared_core.accounting.budgets.stores import (
    ENDED_S,
    GRACE_S,
    NOTHING,
    UNUSED_S,
    Amounts,
    Line,
    Shared,
    Standing,
    already_held,
    check_reserve,
    check_settle,
    has_room,
)
from shared_core.errors import StorageError

__all__ = ["SQLiteStore"]

_APPLICATION = int.from_bytes(b"RLbu", "big")
_VERSION = 1
_DAY_S = 86400.0
_LOOK_AGAIN_S = 0.001
"""Seconds between two looks whether others have finished writing, which takes them about 0.1 ms."""

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS accounts (
        name TEXT PRIMARY KEY,
        nano_usd INTEGER, micro_wh INTEGER, tokens INTEGER, calls INTEGER,
        held_nano_usd INTEGER, held_micro_wh INTEGER, held_tokens INTEGER, held_calls INTEGER,
        forget_at REAL -- unix time
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS accounts_forget_at ON accounts (forget_at)",
    """CREATE TABLE IF NOT EXISTS holds (
        name TEXT PRIMARY KEY,
        nano_usd INTEGER, micro_wh INTEGER, tokens INTEGER, calls INTEGER,
        accounts TEXT, -- JSON
        made_at REAL, void_at REAL -- of the machine's clock that never goes back
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS holds_void_at ON holds (void_at)",
    "CREATE TABLE IF NOT EXISTS ended (name TEXT PRIMARY KEY, at REAL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS ended_at ON ended (at)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)
# One statement, so that it does not see a database half made.
_IDENTITY = """
SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)
FROM pragma_application_id, pragma_user_version
"""
_STANDING = """
SELECT nano_usd, micro_wh, tokens, calls, held_nano_usd, held_micro_wh, held_tokens, held_calls
FROM accounts WHERE name = ?
"""
_ADD = """
INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET
nano_usd = nano_usd + excluded.nano_usd, micro_wh = micro_wh + excluded.micro_wh,
tokens = tokens + excluded.tokens, calls = calls + excluded.calls,
held_nano_usd = held_nano_usd + excluded.held_nano_usd,
held_micro_wh = held_micro_wh + excluded.held_micro_wh,
held_tokens = held_tokens + excluded.held_tokens,
held_calls = held_calls + excluded.held_calls,
forget_at = max(forget_at, excluded.forget_at)
"""
_RELEASE = """
UPDATE accounts SET held_nano_usd = held_nano_usd - ?, held_micro_wh = held_micro_wh - ?,
held_tokens = held_tokens - ?, held_calls = held_calls - ? WHERE name = ?
"""
_ONE, _VOID, _FROM_BEFORE = "name = ?", "void_at <= ?", "made_at > ?"
_HELD = "SELECT name, nano_usd, micro_wh, tokens, calls, accounts FROM holds WHERE "
_IS_KNOWN = """
SELECT EXISTS (SELECT 1 FROM holds WHERE name = ?1) OR EXISTS (SELECT 1 FROM ended WHERE name = ?1)
"""
# A few at a time, so that no call has to do all the work that has piled up.
_FORGET_ENDED = """
DELETE FROM ended WHERE name IN (SELECT name FROM ended WHERE at <= ? LIMIT 8)
"""
_FORGET_ACCOUNTS = """
DELETE FROM accounts WHERE name IN (
    SELECT name FROM accounts WHERE forget_at <= ? AND held_nano_usd = 0 AND held_micro_wh = 0
    AND held_tokens = 0 AND held_calls = 0 LIMIT 8
)
"""

_FAULTS = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked; end that program, or try again later",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked; end that program, or try again later",
    sqlite3.SQLITE_FULL: "the disk is full; make room on it",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written; is it full or gone?",
    sqlite3.SQLITE_READONLY: "it may not be written; give write access to it and to its folder",
    sqlite3.SQLITE_PERM: "it may not be written; give write access to it and to its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened or made; give write access to it and its folder",
    sqlite3.SQLITE_CORRUPT: "it is damaged; put a copy in its place, or move it away to begin anew",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database; give the path of another file",
}

# A connection must not be open while the process is forked: SQLite notes in its memory which locks
# it holds, and the child would go by those of its parent. Both open the file again when they need
# it. The locks are taken, too, or the child might wait for a thread that it does not have.
_STORES: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()
_AT_FORK: list[SQLiteStore] = []


def _before_fork() -> None:
    for store in list(_STORES):
        store._lock.acquire()
        store._drop()
        _AT_FORK.append(store)


def _after_fork() -> None:
    while _AT_FORK:
        _AT_FORK.pop()._lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )


class SQLiteStore(Shared):
    """Budgets that the processes of this machine share, in a file.

    One connection serves all threads in turn: writers of one file have to wait for each other
    anyway. Pickled, it opens the same file in the other process.

    Attributes:
        path: Of the file.
    """

    slow = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        busy_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Open the file, and make it where there is none.

        Args:
            path: Of the file; its folder must exist.
            busy_s: Seconds to wait for others who write.
            clock: Seconds that never go back, alike in all processes of the machine and begun
                anew when it starts: when holds become void. Setting the time of day changes
                nothing.
            wall: Unix time in seconds: when accounts are forgotten.

        Raises:
            StorageError: The file cannot be used.
        """
        self._database: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self.path = Path(os.path.expanduser(path)).absolute()
        self._busy_s, self._clock, self._wall = busy_s, clock, wall
        _STORES.add(self)
        with self._transaction():
            pass

    def __repr__(self) -> str:
        """Show the path."""
        return f"{type(self).__name__}({str(self.path)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Carry the path over."""
        return type(self), (self.path,)

    def __del__(self) -> None:
        """Close the file."""
        self._drop()

    def standings(self, accounts: Sequence[str]) -> list[Standing]:
        """See `Store.standings`."""
        with self._transaction() as (database, _):
            return [_standing(database, name) for name in accounts]

    def reserve(
        self, hold: str, amounts: Amounts, lines: Sequence[Line], seconds: float
    ) -> int | None:
        """See `Store.reserve`."""
        check_reserve(hold, amounts, lines, seconds)
        with self._transaction() as (database, now):
            if database.execute(_IS_KNOWN, (hold,)).fetchone()[0]:
                raise already_held(hold)
            for place, line in enumerate(lines):
                if not has_room(line, _standing(database, line.account), amounts):
                    return place
            accounts = json.dumps([line.account for line in lines])
            database.execute(
                "INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (hold, *amounts, accounts, now, now + seconds),
            )
            database.executemany(
                _ADD,
                [
                    (line.account, *NOTHING, *amounts, self._forget_at(line.keep_until))
                    for line in lines
                ],
            )
            return None

    def settle(
        self, hold: str, accounts: Sequence[tuple[str, float | None]], spent: Amounts
    ) -> None:
        """See `Store.settle`."""
        check_settle(hold, accounts, spent)
        with self._transaction() as (database, now):
            database.execute(_FORGET_ENDED, (now - ENDED_S,))
            database.execute(_FORGET_ACCOUNTS, (self._wall(),))
            added = database.execute("INSERT OR IGNORE INTO ended VALUES (?, ?)", (hold, now))
            if not added.rowcount:
                return
            _release(database, _ONE, hold)
            database.executemany(
                _ADD,
                [
                    (name, *spent, *NOTHING, self._forget_at(keep_until))
                    for name, keep_until in accounts
                ],
            )

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            self._drop()

    def _forget_at(self, keep_until: float | None) -> float:
        if keep_until is not None:
            return keep_until + GRACE_S
        # In whole days, so that the index on it is not written at every use.
        return ((self._wall() + UNUSED_S) // _DAY_S + 1) * _DAY_S

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """Open the file to one writer, with void holds cleared away; all is written, or nothing.

        Raises:
            StorageError: The file cannot be used.
        """
        if not self._lock.acquire(timeout=self._busy_s):
            raise StorageError(self.path, _FAULTS[sqlite3.SQLITE_BUSY])
        try:
            if self._database is None:
                self._database = self._opened()
            database = self._database
            self._patiently(database, "BEGIN IMMEDIATE")
            now = self._clock()  # read here, so that nobody has written anything later
            _release(database, _VOID, now)
            yield database, now
            database.execute("COMMIT")
        except BaseException as error:
            self._drop()  # which takes back what was not committed
            if isinstance(error, (sqlite3.Error, OSError)):
                raise StorageError(self.path, _fault(error)) from error
            raise
        finally:
            self._lock.release()

    def _opened(self) -> sqlite3.Connection:
        if self.path.is_dir():
            raise StorageError(self.path, "it is a folder; give the path of a file")
        if not self.path.parent.is_dir():
            raise StorageError(self.path, f"there is no folder {self.path.parent}; make it first")
        database = sqlite3.connect(
            self.path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        try:
            if self._is_new(database):
                self._patiently(database, "PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            # Pages in the log before one writer must wait for the disk: a call in 300 does.
            database.execute("PRAGMA wal_autocheckpoint = 4000")
            self._patiently(database, "BEGIN IMMEDIATE")
            if self._is_new(database):  # still, now that nobody else can make it
                for statement in _SCHEMA:
                    database.execute(statement)
            self._begin_after_reboot(database)
            database.execute("COMMIT")
            database.execute("PRAGMA busy_timeout = 0")  # from here on, see _patiently
        except BaseException:
            database.close()
            raise
        return database

    def _is_new(self, database: sqlite3.Connection) -> bool:
        """Tell whether the database is empty; refuse one that is not ours."""
        application, version, tables = database.execute(_IDENTITY).fetchone()
        if (application, version) == (_APPLICATION, _VERSION):
            return False
        if application == _APPLICATION:
            fault = f"its format is {version}, this release reads {_VERSION}; use the other release"
            raise StorageError(self.path, fault)
        if application or version or tables:
            raise StorageError(self.path, "it belongs to another program; give another path")
        return True

    def _patiently(self, database: sqlite3.Connection, statement: str) -> None:
        """Run a statement when nobody else is writing.

        SQLite's own wait looks again ever more rarely, up to every 100 ms, and so may never find a
        gap among busy writers; it does not cover every statement either.
        """
        until = time.monotonic() + self._busy_s
        while True:
            try:
                database.execute(statement)
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(_LOOK_AGAIN_S)
            else:
                return

    def _begin_after_reboot(self, database: sqlite3.Connection) -> None:
        """Void what was stamped in the clock's future: the machine has been started since."""
        now = self._clock()
        _release(database, _FROM_BEFORE, now)
        database.execute("DELETE FROM ended WHERE at > ?", (now,))

    def _drop(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with suppress(sqlite3.Error):
                database.close()


def _standing(database: sqlite3.Connection, name: str) -> Standing:
    row = database.execute(_STANDING, (name,)).fetchone()
    return (
        Standing(NOTHING, NOTHING)
        if row is None
        else Standing(Amounts(*row[:4]), Amounts(*row[4:]))
    )


def _release(database: sqlite3.Connection, condition: str, value: str | float) -> None:
    """Delete the holds that meet a condition, and give back what they held."""
    for hold, *amounts, accounts in database.execute(_HELD + condition, (value,)).fetchall():
        database.execute("DELETE FROM holds WHERE name = ?", (hold,))
        database.executemany(_RELEASE, [(*amounts, name) for name in json.loads(accounts)])


def _code(error: BaseException) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF  # the rest says more than one can act on


def _fault(error: sqlite3.Error | OSError) -> str:
    return _FAULTS.get(_code(error) or 0, f"it cannot be used: {error}")
