"""The ledger: one entry per routed call, in memory or in a file.

In: entries as calls end, scores as users give them. Out: the same as plain JSON, and the savings
report. An entry whose writing fails is kept aside and written later: storage never costs a caller
the answer that was paid for.
"""

from __future__ import annotations

import atexit
import json
import operator
import os
import sqlite3
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shared_core.accounting.ledger.database import (
    connect,
    connect_readonly,
    faults,
    insert,
    past,
    prune,
    stored,
)
from shared_core.accounting.report.sheet import written
from shared_core.errors import (
    ConfigurationError,
    StorageError,
    UnknownDecisionError,
    said,
)
from shared_core.ranges import is_number, is_whole
from shared_core.types import Attempt, Entry

if TYPE_CHECKING:
    from shared_core.accounting.report.savings import Report

__all__ = ["Ledger", "LedgerFile", "LedgerWarning"]

_BACKLOG: Final = 10_000  # entries that are kept aside at most
_BATCH: Final = 500  # entries that are written at once
_WAIT_S: Final = 2.0  # for others that write; none while writing fails, so that no call waits twice


class LedgerWarning(RuntimeWarning):
    """The ledger cannot be written at the moment; its entries are kept aside."""


class Ledger:
    """Every routed call with its attempts, what they cost, and what others would have cost.

    Threads, tasks and processes may share one; after a fork each process opens it anew. A settled
    entry survives kill -9 where a path is given.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        keep_text: bool = False,
        limit: int = 10_000,
    ) -> None:
        """Say where entries are kept.

        Args:
            path: A file (SQLite), made where there is none, on a disk of this machine. None: in
                memory, opened when it is first needed; a fork or a pickled copy starts empty.
            keep_text: Keep prompts and answers too.
            limit: Entries that are kept in memory; a file keeps all.

        Raises:
            ConfigurationError: An argument cannot be meant.
            StorageError: The path cannot be used: it is no ledger, or cannot be written.
        """
        if not is_whole(limit, 1):
            raise ConfigurationError(f"limit must be a whole number from 1 up, not {limit!r}")
        self.path = None if path is None else _checked(path)
        self.keep_text, self.limit = bool(keep_text), limit
        self._lock = threading.RLock()  # around the connection and the backlog
        self._reports = threading.Lock()  # around connections that read a file
        self._backlog: deque[Entry] = deque()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # which file the connection has open
        self._writing = self._failing = False
        self._lost = 0
        if self.path is not None:
            self._connected()
        with _REGISTER:
            _LEDGERS.add(self)

    @property
    def slow(self) -> bool:
        """Adding an entry touches a disk."""
        return self.path is not None

    def add(self, entry: Entry) -> None:
        """Write an entry down; where that fails, keep it aside and warn once.

        In memory it goes into the tables when somebody reads them: no call waits for that.
        """
        self._backlog.append(entry)
        with self._lock:
            if self.path is None:
                if len(self._backlog) > self.limit and not self._writing:
                    self._backlog.popleft()
                return
            fault = self._drained()
            first, self._failing = fault is not None and not self._failing, fault is not None
            lost = self._trimmed()
        if fault is not None and (first or lost):
            told = f"{fault}; entries are kept in memory until it can be written"
            if lost:
                told = f"{fault}; more than {_BACKLOG} entries wait, the oldest are being lost"
            warnings.warn(told, LedgerWarning, stacklevel=2)

    def flush(self) -> None:
        """Write what is kept aside.

        Raises:
            StorageError: It still cannot be written.
        """
        with self._lock:
            fault = self._drained()
            self._failing = fault is not None
        if fault is not None:
            raise fault

    def feedback(self, decision_id: str, score: float, *, comment: str | None = None) -> None:
        """Note how good the answer to a call was; a second score replaces the first.

        Args:
            decision_id: Of the call's decision, as it is stamped on the answer.
            score: 0 (bad) to 1 (good).
            comment: In words; kept whether texts are kept or not.

        Raises:
            ConfigurationError: The score is no number from 0 to 1.
            UnknownDecisionError: No entry has this decision.
            StorageError: It cannot be written.
        """
        if not is_number(score, 0, 1):
            raise ConfigurationError(f"score must be a number from 0 to 1, not {score!r}")
        self.flush()
        asked = "SELECT id FROM entries WHERE decision_id = ? ORDER BY id DESC LIMIT 1"
        with self._lock, _named_faults(self.path):
            connection = self._connected()
            found = connection.execute(asked, _plain((decision_id,))).fetchone()
            if found is not None:
                row = _plain((found[0], score, comment, time.time()))
                connection.execute("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?)", row)
        if found is None:
            raise UnknownDecisionError(decision_id, self._kept())

    def entries(
        self, *, since: float | None = None, until: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield every entry as plain JSON, oldest first, few of them in memory at a time.

        Args:
            since: Unix time, seconds: only calls that began then or later.
            until: Unix time, seconds: only calls that began before.

        Raises:
            StorageError: It cannot be read.
        """
        self._try_to_flush()
        yield from stored(self.reading, since, until)

    def report(
        self, *, since: float | None = None, until: float | None = None, seed: int = 0
    ) -> Report:
        """Return what was spent, and what was saved against three baselines; `print` it.

        Args:
            since: Unix time, seconds: only calls that began then or later.
            until: Unix time, seconds: only calls that began before.
            seed: Of the draws behind the intervals.

        Raises:
            StorageError: It cannot be read.
        """
        from shared_core.accounting.report.savings import (
            make_report,  # needs numpy: routing does not
        )

        self._try_to_flush()
        source = self if self.path is None else LedgerFile(self.path)  # read by two at a time
        return make_report(source, since=since, until=until, seed=seed)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write every entry to a file, one JSON object a line; all of it or none.

        Raises:
            ConfigurationError: The file is the ledger itself.
            StorageError: The ledger cannot be read.
            OSError: The file cannot be written.
        """
        target = Path(path).absolute()
        if self.path is not None and target.exists() and target.samefile(self.path):
            raise ConfigurationError(f"{target} is the ledger: export to another file")
        with written(target) as file:
            for entry in self.entries():
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that reads: of a file one of its own, so that nobody waits for it."""
        with _named_faults(self.path):
            if self.path is None:
                with self._lock:
                    if fault := self._drained():
                        raise fault
                    yield self._connected()
            else:
                with self._reports, LedgerFile(self.path).reading() as connection:
                    yield connection

    def past(self, candidate: str, most: int = 200) -> list[Attempt]:
        """Return a candidate's last answers whose tokens are known, oldest first.

        Raises:
            StorageError: They cannot be read.
        """
        with self.reading() as connection:
            return past(connection, candidate, most)

    def close(self) -> None:
        """Write what is kept aside and close the file; what is in memory is forgotten.

        Raises:
            StorageError: Something cannot be written.
        """
        try:
            self.flush()
        finally:
            with self._lock:
                self._disconnect()

    def __len__(self) -> int:
        """Return the number of entries."""
        self._try_to_flush()
        with self.reading() as connection:
            ((stored,),) = connection.execute("SELECT count(*) FROM entries")
        return int(stored) + len(self._backlog)

    def __bool__(self) -> bool:
        """Be true even when empty, so that `ledger or Ledger()` is the ledger."""
        return True

    def __repr__(self) -> str:
        kept = f"limit={self.limit}" if self.path is None else repr(str(self.path))
        return f"Ledger({kept}, keep_text={self.keep_text})"

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __copy__(self) -> Ledger:
        return self

    def __deepcopy__(self, _: object) -> Ledger:
        return self  # the copies of a router share what they spend

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.path, self.keep_text, self.limit)

    def __del__(self) -> None:
        if getattr(self, "_backlog", None) and self.path is not None:
            self._try_to_flush()
        if connection := getattr(self, "_connection", None):
            connection.close()

    def _kept(self) -> str:
        if self.path is not None:
            return f"{str(self.path)!r} keeps {said(len(self), 'calls')}"
        return f"the last {self.limit} calls of this process are kept, {len(self)} so far"

    def _connected(self) -> sqlite3.Connection:
        """Return the connection; a new one where the file was moved away or deleted."""
        if self._connection is not None and self._file != self._identity():
            self._disconnect()
        if self._connection is None:
            self._connection = connect(self.path, 0.0 if self._failing else _WAIT_S)
            self._file = self._identity()
        return self._connection

    def _identity(self) -> tuple[int, int] | None:
        if self.path is None:
            return None
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _drained(self) -> StorageError | None:
        """Write what is kept aside; return what is in the way. The lock is held.

        An abandoned stream that is collected in the middle of this ends its call here too: its
        entry waits for the next round.
        """
        if self._writing:
            return None
        self._writing = True
        try:
            while waiting := min(len(self._backlog), _BATCH):
                batch = [self._backlog[at] for at in range(waiting)]
                self._write(batch)
                for _ in batch:
                    self._backlog.popleft()
            if self._failing and self._connection is not None:  # it may wait again
                self._connection.execute(f"PRAGMA busy_timeout = {_WAIT_S * 1000:.0f}")
        except StorageError as error:
            self._disconnect()
            return error
        except faults as error:
            self._disconnect()
            return _fault(self.path, error)
        finally:
            self._writing = False
        return None

    def _write(self, batch: list[Entry]) -> None:
        connection = self._connected()
        try:
            last = insert(connection, batch, self.keep_text)
        except (UnicodeError, OverflowError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
            # Half a character, a number of more than 64 bits: no reason to lose a call.
            last = insert(connection, batch, self.keep_text, _plain)
        if self.path is None and last > self.limit:
            prune(connection, last - self.limit)

    def _trimmed(self) -> bool:
        """Drop the oldest entries that are too many; return whether those are the first."""
        before = self._lost
        while len(self._backlog) > _BACKLOG:
            self._backlog.popleft()
            self._lost += 1
        if not self._failing:
            self._lost = 0
        return not before and bool(self._lost)

    def _try_to_flush(self) -> None:
        with suppress(StorageError):
            self.flush()

    def _before_fork(self) -> None:
        """Close the file: SQLite's locks belong to a process, and a child would not know."""
        self._lock.acquire()
        self._reports.acquire()
        if self.path is not None:
            self._disconnect()

    def _after_fork(self, child: bool) -> None:
        if child:  # what waits, and what is in memory, is the parent's
            self._backlog.clear()
            self._disconnect()
        self._reports.release()
        self._lock.release()


@dataclass(frozen=True)
class LedgerFile:
    """A ledger's file that is only read, and not made where there is none.

    Attributes:
        path: Of the file.
    """

    path: Path

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that reads.

        Raises:
            StorageError: It is not there, is no ledger, or cannot be read.
        """
        with _named_faults(self.path), closing(connect_readonly(self.path)) as connection:
            yield connection

    def entries(
        self, *, since: float | None = None, until: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """See `Ledger.entries`."""
        return stored(self.reading, since, until)


@contextmanager
def _named_faults(path: Path | None) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _fault(path, error) from error


def _fault(path: Path | None, error: Exception) -> StorageError:
    return StorageError(
        f"the ledger {'in memory' if path is None else repr(str(path))}", str(error)
    )


def _again(path: Path | None, keep_text: bool, limit: int) -> Ledger:
    return Ledger(path, keep_text=keep_text, limit=limit)


def _checked(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)) or not str(path) or str(path) == ":memory:":
        raise ConfigurationError(
            f"path must name a file, not {path!r}; leave it out to keep entries in memory"
        )
    return Path(path).absolute()  # the working folder may change


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(map(_cell, row))


def _cell(value: Any) -> Any:
    """Return what SQLite can hold of a value."""
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    try:
        return max(-(2**63), min(operator.index(value), 2**63 - 1))
    except TypeError:
        pass
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


_LEDGERS: weakref.WeakSet[Ledger] = weakref.WeakSet()
_REGISTER = threading.Lock()
_forking: list[Ledger] = []


def _before_fork() -> None:
    _REGISTER.acquire()
    _forking.extend(_LEDGERS)
    for ledger in _forking:
        ledger._before_fork()


def _after_fork(child: bool) -> None:
    for ledger in _forking:
        ledger._after_fork(child)
    _forking.clear()
    _REGISTER.release()


@atexit.register
def _at_exit() -> None:
    """Try once more to write what is kept aside."""
    for ledger in list(_LEDGERS):
        if ledger.path is not None:
            ledger._try_to_flush()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(False),
        after_in_child=lambda: _after_fork(True),
    )
