"""What the savings report reads of a ledger: sums, made by SQLite.

In: a connection and a period. Out: few rows, however many calls there are. Calls are summed in
groups of conversations (`deal`), for the intervals, and with the pattern of what is unknown about
them, so that what is left out of a comparison is left out of both of its sides.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared_core.errors import ConfigurationError
from shared_core.ranges import is_number

__all__ = ["Period", "Sums", "rows", "sums"]

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]

MOST: Final = 25
"""Candidates that are compared at most: SQLite joins no more than 64 tables."""

_ENDS: Final = 10_000
"""First and last entries whose alternatives are compared, besides all that answered: to look into
each would take longer than all sums."""

_BLOCK: Final = 100_000  # entries that are summed at once, which bounds what is sorted
_WHO: Final = ("e.candidate", "e.chosen")
_FLAGS: Final = (
    *("e.shadow", "e.outcome = 'answered'", "e.alone"),
    *("e.cost_usd IS NOT NULL", "e.wh IS NOT NULL"),
)
_PARTS: Final = ("quality IS NOT NULL", "quality", "cost_usd", "wh_low", "wh", "wh_high")


@dataclass(frozen=True)
class Period:
    """From when to when.

    Attributes:
        since: Unix time, seconds; calls that began then or later.
        until: Unix time, seconds; calls that began before.
    """

    since: float | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no time.

        Raises:
            ConfigurationError: An end is no number.
        """
        for label in ("since", "until"):
            value = getattr(self, label)
            if value is not None and not is_number(value):
                raise ConfigurationError(
                    f"report: {label} is a unix time in seconds, as datetime.timestamp() gives it, "
                    f"not {value!r}"
                )

    @property
    def where(self) -> str:
        """A condition on the table of entries, called e."""
        found = [f"e.started_at >= {float(self.since)!r}"] if self.since is not None else []
        found += [f"e.started_at < {float(self.until)!r}"] if self.until is not None else []
        return " AND ".join(found) or "TRUE"


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over calls that are alike, r rows; m candidates by their places in `names`.

    Attributes:
        names: Candidates.
        groups: Of conversations, at most 1,000.
        deal: Group of conversations, from 0, r.
        candidate: Who answered, r.
        chosen: Whom the policy chose, r.
        shadow: Made in shadow mode, r.
        answered: Ended with an answer, r.
        alone: One candidate was asked, and answered, r.
        usd_known: What the calls cost is known, r.
        wh_known: What they drew is known, r.
        calls: How many, r.
        local: How many a local model answered, r.
        usd: USD, r.
        wh: Wh, low, mid and high, r x 3.
        rated: How many have a predicted quality of each candidate, r x m.
        other_quality: Sum of those, r x m.
        other_usd_known: What each candidate would have cost is known, r x m.
        other_wh_known: What each would have drawn is known, r x m.
        other_usd: USD, had each candidate answered, r x m.
        other_wh: Wh, low, mid and high, had each answered, r x m x 3.
    """

    names: tuple[str, ...]
    groups: int
    deal: npt.NDArray[np.int64]
    candidate: npt.NDArray[np.int64]
    chosen: npt.NDArray[np.int64]
    shadow: Masks
    answered: Masks
    alone: Masks
    usd_known: Masks
    wh_known: Masks
    calls: Floats
    local: Floats
    usd: Floats
    wh: Floats
    rated: Floats
    other_quality: Floats
    other_usd_known: Masks
    other_wh_known: Masks
    other_usd: Floats
    other_wh: Floats


def sums(connection: sqlite3.Connection, period: Period) -> Sums:
    """Return what the calls of a period cost, and what each candidate would have cost."""
    names = _names(connection)
    asked = _question(len(names), period)
    ((first, last),) = connection.execute("SELECT min(id), max(id) FROM entries")
    found: dict[tuple[int, int], Floats] = {}
    for start in range(first or 0, (last or -1) + 1, _BLOCK):
        ends = start, min(start + _BLOCK - 1, last)
        for row in connection.execute(asked, (*names, *ends)):
            key, values = row[:2], np.array(row[2:], float)
            found[key] = found[key] + values if key in found else values
    return _arranged(names, found)


def _names(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Return the candidates, those that answered first."""
    answering = connection.execute("SELECT DISTINCT candidate FROM entries ORDER BY 1")
    others = connection.execute(
        "SELECT DISTINCT candidate FROM alternatives WHERE "
        "entry > (SELECT max(entry) FROM alternatives) - ?1 "
        "OR entry < (SELECT min(entry) FROM alternatives) + ?1 ORDER BY 1",
        (_ENDS,),
    )
    names = dict.fromkeys(name for (name,) in [*answering, *others])
    return tuple(names)[:MOST]


def _question(m: int, period: Period) -> str:
    """Return the query; its values are the m names, and the ends of a block."""
    candidates = range(m)
    usd, wh = (
        " + ".join(["0", *(f"{1 << c} * (a{c}.{column} IS NULL)" for c in candidates)])
        for column in ("cost_usd", "wh")
    )
    totals = ["e.cost_usd", "e.wh_low", "e.wh", "e.wh_high"]
    totals += [f"a{c}.{part}" for c in candidates for part in _PARTS]
    local = _case("e.candidate", [f"a{c}.local" for c in candidates], "0")
    summed = ", ".join(f"total({column})" for column in [local, *totals])
    joins = " ".join(
        f"LEFT JOIN alternatives a{c} ON a{c}.entry = e.id AND a{c}.candidate = ?{c + 1}"
        for c in candidates
    )
    who, chosen = (_case(column, [*map(str, candidates)], "-1") for column in _WHO)
    flags = " + ".join(f"{1 << at} * ({flag})" for at, flag in enumerate(_FLAGS))
    # Packed, because sorting by two numbers is faster than by twelve.
    alike = f"((e.deal * 32 + 1 + {who}) * 32 + 1 + {chosen}) * 32 + {flags}"
    return (
        f"SELECT {alike}, (({usd}) << {MOST}) + {wh}, count(*), {summed} FROM entries e {joins} "  # noqa: S608
        f"WHERE e.id BETWEEN ?{m + 1} AND ?{m + 2} AND {period.where} GROUP BY 1, 2"
    )


def _case(column: str, values: Sequence[str], otherwise: str) -> str:
    """Return an expression: the value that belongs to the name in the column."""
    cases = " ".join(f"WHEN ?{at} THEN {value}" for at, value in enumerate(values, start=1))
    return f"CASE {column} {cases} ELSE {otherwise} END" if cases else otherwise


def _arranged(names: tuple[str, ...], found: dict[tuple[int, int], Floats]) -> Sums:
    m = len(names)
    alike, unknown = np.array(list(found), np.int64).reshape(-1, 2).T
    values = np.array(list(found.values()), float).reshape(-1, 6 + len(_PARTS) * m)
    others = values[:, 6:].reshape(len(alike), m, len(_PARTS))
    who, summed = alike >> 5, values.T
    flags = (alike >> np.arange(5)[:, None]) & 1 == 1
    known = (unknown[:, None, None] >> np.arange(2 * MOST).reshape(2, MOST)) & 1 == 0
    groups, deal = np.unique(who >> 10, return_inverse=True)
    return Sums(
        names,
        groups=len(groups),
        deal=deal,
        candidate=((who >> 5) & 31) - 1,
        chosen=(who & 31) - 1,
        shadow=flags[0],
        answered=flags[1],
        alone=flags[2],
        usd_known=flags[3],
        wh_known=flags[4],
        calls=summed[0],
        local=summed[1],
        usd=summed[2],
        wh=values[:, 3:6],
        rated=others[:, :, 0],
        other_quality=others[:, :, 1],
        other_usd_known=known[:, 1, :m],
        other_wh_known=known[:, 0, :m],
        other_usd=others[:, :, 2],
        other_wh=others[:, :, 3:],
    )


def rows(
    connection: sqlite3.Connection, asked: str, values: Sequence[Any] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query by column."""
    found = connection.execute(asked, values)
    names = [column[0] for column in found.description]
    for row in found:
        yield dict(zip(names, row, strict=True))
