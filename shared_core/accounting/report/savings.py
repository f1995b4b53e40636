"""The savings report: what was spent, and what three other ways to route would have cost.

In: a ledger. Out: a `Report` that prints as text and is written as JSON, HTML or CSV. Every figure
has its unit, its baseline and its interval; what is unknown is counted, and is never zero.

How intervals come about: conversations, not calls, are drawn anew (bootstrap; calls of one thread
move together), dealt to at most 1,000 groups. What a candidate would have cost is what it did
cost where it answered alone; elsewhere the estimate, corrected by what its answers really cost
beside what was estimated, where it answered at least 10 calls alone; that ratio is taken anew
within each draw, so that the interval covers it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from shared_core.accounting.report.baselines import (
    BASELINES,
    UNKNOWN,
    Comparison,
    best,
    by_deal,
    cheapest,
    figure,
    quotient,
    ratio,
    weights_of,
)
from shared_core.accounting.report.sheet import write_calls, written
from shared_core.accounting.report.sums import Period, Sums, rows, sums

__all__ = ["Report", "make_report"]

_ENOUGH: Final = (
    10  # calls that a candidate must have answered alone before its costs are corrected
)
_LONGEST: Final = 50  # rows of a table by user or step; the others are summed in one


class Source(Protocol):
    """What a report is made of: a `Ledger` or a `LedgerFile`."""

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Lend a connection that reads."""

    def entries(
        self, *, since: float | None = None, until: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield every entry as plain JSON, oldest first."""


@dataclass(frozen=True, eq=False)
class Report:
    """What was spent and saved; `print` it to read it.

    USD and Wh throughout, seconds, tokens; unknown is None.

    Attributes:
        calls: How many, how they ended, from when to when, how many stayed local.
        spent: USD and Wh of all attempts, and of how many calls they are not known.
        saved: One row per baseline and unit: what it would have cost, and the difference.
        shadow: The same for calls in shadow mode: what the choice would have saved.
        apart: What is included in what was spent and bought no answer; the router's own time.
        quality: Scores that users gave, beside what was predicted, overall.
        models: One row per candidate.
        drafts: One row per candidate whose drafts were looked at: how many, how many of them the
            callers got, how probably right they were, and how right, by users' scores.
        steps: One row per step of a run.
        users: One row per user.
        days: One row per day (UTC) and candidate that answered.
        draws: Bootstrap draws behind each interval.
    """

    calls: dict[str, Any]
    spent: dict[str, Any]
    saved: list[dict[str, Any]]
    shadow: list[dict[str, Any]]
    apart: list[dict[str, Any]]
    quality: dict[str, Any]
    models: list[dict[str, Any]]
    drafts: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    users: list[dict[str, Any]]
    days: list[dict[str, Any]]
    draws: int
    _entries: Callable[[], Iterator[dict[str, Any]]] = field(repr=False)

    def __str__(self) -> str:
        """Return it as tables of plain text."""
        from shared_core.accounting.report.tables import as_text

        return as_text(self)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        names = ("calls", "spent", "saved", "shadow", "apart", "quality")
        names += ("models", "drafts", "steps", "users", "days", "draws")  # type: ignore[assignment]
        return {name: getattr(self, name) for name in names}

    def to_html(self, path: str | Path) -> None:
        """Write it as one page that asks nobody for anything."""
        from shared_core.accounting.report.page import as_html

        with written(path) as file:
            file.write(as_html(self))

    def to_csv(self, path: str | Path) -> None:
        """Write the calls behind it, one per row, for a spreadsheet."""
        with written(path) as file:
            write_calls(file, self._entries())


def make_report(
    ledger: Source,
    *,
    since: float | None = None,
    until: float | None = None,
    seed: int = 0,
    draws: int = 1000,
) -> Report:
    """Sum up a ledger.

    Args:
        ledger: Whose calls.
        since: Unix time, seconds: only calls that began then or later.
        until: Unix time, seconds: only calls that began before.
        seed: Of the draws.
        draws: Bootstrap draws behind each interval.

    Raises:
        StorageError: It cannot be read.
    """
    period = Period(since, until)
    rng = np.random.default_rng(seed)
    with ThreadPoolExecutor(1) as pool:  # SQLite sums up in two threads at once
        plain = pool.submit(_plain, ledger, period)
        with ledger.reading() as connection:
            found = sums(connection, period)
            scores = _scores(connection, period, found.names, rng, draws)
        weights = weights_of(found.groups, rng, draws)
        compared = [Comparison(found, unit, weights) for unit in ("USD", "Wh")]
        ends = best(found), cheapest(compared)
        known = plain.result()
    return Report(
        calls=_calls(known, found),
        spent=_spent(known.totals),
        saved=[one.saved(name, *ends) for one in compared for name in BASELINES],
        shadow=[one.shadow() for one in compared] if found.shadow.any() else [],
        apart=_apart(known.attempts, known.totals),
        quality=scores[None],
        models=_models(found, known.attempts, scores),
        drafts=known.drafts,
        steps=known.steps,
        users=known.users,
        days=_days(known.totals),
        draws=draws,
        _entries=lambda: ledger.entries(since=since, until=until),
    )


@dataclass(frozen=True)
class _Plain:
    """Sums without intervals: rows by day and candidate, by attempt, step and user."""

    totals: list[dict[str, Any]]
    conversations: int
    attempts: list[dict[str, Any]]
    drafts: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    users: list[dict[str, Any]]


def _plain(ledger: Source, period: Period) -> _Plain:
    with ledger.reading() as connection:
        ((conversations,),) = connection.execute(_CONVERSATIONS.format(period.where))
        return _Plain(
            totals=list(rows(connection, _TOTALS.format(period.where))),
            conversations=conversations or 0,
            attempts=list(rows(connection, _ATTEMPTS.format(_over(period)))),
            drafts=list(rows(connection, _DRAFTS.format(period.where))),
            steps=_shares(connection, period, "step"),
            users=_shares(connection, period, "user"),
        )


# Sums without intervals

_TOTALS = """
SELECT CAST(started_at / 86400 AS INTEGER) AS day, candidate, energy_method, count(*) AS calls,
    sum(outcome = 'answered') AS answered, sum(outcome = 'failed') AS failed,
    sum(outcome = 'cancelled') AS cancelled, sum(shadow) AS shadow,
    min(started_at) AS first, max(started_at) AS last,
    count(cost_usd) AS usd_known, sum(cost_usd) AS usd,
    sum(CASE WHEN cost_usd IS NULL THEN cost_usd_high END) AS usd_high,
    sum(cost_usd IS NULL AND cost_usd_high IS NULL) AS unbounded,
    sum(wh_low) AS wh_low, sum(wh) AS wh, sum(wh_high) AS wh_high, count(wh) AS wh_known,
    sum(overhead_s) AS overhead_s, sum(lost_cache_usd) AS lost_cache_usd,
    sum(lost_cache_usd > 0) AS lost_caches
FROM entries e WHERE {} GROUP BY 1, 2, 3 ORDER BY 1, 2
"""
_CONVERSATIONS = """
SELECT count(DISTINCT thread) + sum(thread IS NULL) FROM entries e WHERE {}
"""
_ATTEMPTS = """
SELECT a.candidate, CASE WHEN kept THEN 'kept'
    WHEN a.outcome NOT IN ('answered', 'dropped') THEN a.outcome
    WHEN a.purpose = 'check' THEN 'check' WHEN a.outcome = 'dropped' THEN 'dropped'
    ELSE 'draft' END AS kind, count(*) AS attempts, sum(a.seconds) AS seconds,
    sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
    sum(cached_tokens) AS cached_tokens, sum(reasoning_tokens) AS reasoning_tokens,
    sum(a.cost_usd) AS usd, sum(a.cost_usd IS NULL) AS usd_unknown,
    sum(a.wh) AS wh, sum(a.wh IS NULL) AS wh_unknown
FROM attempts a {} GROUP BY 1, 2
"""
_DRAFTS = """
SELECT v.candidate AS name, count(*) AS drafts, sum(kept) AS accepted,
    avg(v.probability) AS probability, count(rated) AS scores,
    avg(CASE WHEN rated THEN v.probability END) AS rated_probability,
    avg(CASE WHEN rated THEN score END) AS score
FROM (
    SELECT v.*, e.outcome = 'answered' AND e.candidate = v.candidate AS kept, score,
        CASE WHEN e.outcome = 'answered' AND e.candidate = v.candidate AND score IS NOT NULL
            AND probability IS NOT NULL THEN 1 END AS rated
    FROM verdicts v JOIN entries e ON e.id = v.entry LEFT JOIN feedback f ON f.entry = v.entry
    WHERE {} AND v.candidate != '' AND v.place = (
        SELECT o.place FROM verdicts o WHERE o.entry = v.entry AND o.candidate = v.candidate
        ORDER BY o.probability IS NULL, o.place DESC LIMIT 1
    ) -- of several verdicts on a draft, the last one counts that could tell anything
) v GROUP BY 1 ORDER BY 1
"""
_SHARES = """
SELECT {0} AS name, count(*) AS calls, sum(cost_usd) AS usd, sum(cost_usd IS NULL) AS usd_unknown,
    sum(wh) AS wh, sum(wh IS NULL) AS wh_unknown
FROM entries e WHERE {1} GROUP BY 1 ORDER BY calls DESC, name
"""
_SCORES = """
SELECT e.deal, e.candidate, count(*) AS n, sum(score) AS score, count(a.quality) AS predictions,
    sum(a.quality) AS predicted
FROM feedback f JOIN entries e ON e.id = f.entry
LEFT JOIN alternatives a ON a.entry = e.id AND a.candidate = e.candidate
WHERE {} GROUP BY 1, 2
"""


def _over(period: Period) -> str:
    """Join the entries to attempts only where a period asks for it."""
    if period == Period():
        return ""
    return f"JOIN entries e ON e.id = a.entry WHERE {period.where}"


def _total(found: Sequence[dict[str, Any]], column: str) -> float:
    return sum((row[column] or 0 for row in found), 0)


def _calls(known: _Plain, found: Sums) -> dict[str, Any]:
    totals, answered = known.totals, found.answered
    return {
        "all": _total(totals, "calls"),
        **{
            column: _total(totals, column)
            for column in ("answered", "failed", "cancelled", "shadow")
        },
        "conversations": known.conversations,
        "first": min((row["first"] for row in totals), default=None),
        "last": max((row["last"] for row in totals), default=None),
        "local_share": ratio(found.local[answered].sum(), found.calls[answered].sum()),
    }


def _spent(totals: Sequence[dict[str, Any]]) -> dict[str, Any]:
    calls = _total(totals, "calls")
    usd_known, wh_known = _total(totals, "usd_known"), _total(totals, "wh_known")
    methods = sorted({row["energy_method"] for row in totals} - {None})
    return {
        "usd": _total(totals, "usd") if usd_known else None,
        "usd_unknown_calls": calls - usd_known,
        "usd_unknown_at_most": None if _total(totals, "unbounded") else _total(totals, "usd_high"),
        "wh": {
            end: _total(totals, column) if wh_known else None
            for end, column in (("low", "wh_low"), ("mid", "wh"), ("high", "wh_high"))
        },
        "wh_unknown_calls": calls - wh_known,
        "wh_methods": methods,
    }


def _apart(
    attempts: Sequence[dict[str, Any]], totals: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return what bought no answer, and the router's own time."""
    lines = []
    for kind, what in (
        ("draft", "drafts that were not kept"),
        ("dropped", "drafts that were broken off"),
        ("check", "calls that checked drafts"),
        ("failed", "attempts that failed"),
        ("cancelled", "attempts that were cancelled"),
    ):
        found = [row for row in attempts if row["kind"] == kind]
        lines.append({"what": what, "count": _total(found, "attempts"), **_sum_of(found)})
    calls = _total(totals, "calls")
    lost = {"usd": _total(totals, "lost_cache_usd"), "usd_unknown": 0, "wh": None, "wh_unknown": 0}
    left = _total(totals, "lost_caches")
    lines.append({"what": "warm prompt caches that were left", "count": left, **lost})
    seconds = _total(totals, "overhead_s")
    overhead = {"seconds": seconds, "mean_seconds": ratio(seconds, calls)}
    nothing = {"usd": None, "usd_unknown": 0, "wh": None, "wh_unknown": 0}
    lines.append({"what": "the router's own time", "count": calls, **nothing, **overhead})
    return lines


def _sum_of(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums of rows; None where nothing is known."""
    count = _total(found, "attempts" if found and "attempts" in found[0] else "calls")
    summed: dict[str, Any] = {}
    for unit in ("usd", "wh"):
        unknown = _total(found, f"{unit}_unknown")
        summed[unit] = _total(found, unit) if unknown < count or not count else None
        summed[f"{unit}_unknown"] = unknown
    return summed


def _shares(connection: sqlite3.Connection, period: Period, column: str) -> list[dict[str, Any]]:
    """Return sums by step or user, those with most calls first; None is "not stated"."""
    found: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for row in rows(connection, _SHARES.format(column, period.where)):
        if len(found) < _LONGEST:
            found.append({**row, "others": False})
        else:  # summed up at once: there may be many
            others = [_together([*others, row])]
    return [*found, *others]


def _together(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"name": None, "others": True, "calls": _total(found, "calls"), **_sum_of(found)}


def _days(totals: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return sums by day and by the candidate that answered; None is a day out of this world."""
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in totals:
        unknown = {f"{unit}_unknown": row["calls"] - row[f"{unit}_known"] for unit in ("usd", "wh")}
        found.setdefault((row["day"], row["candidate"]), []).append(row | unknown)
    return [
        {"day": _date(day), "candidate": name, "calls": _total(own, "calls"), **_sum_of(own)}
        for (day, name), own in found.items()
    ]


def _date(day: int) -> str | None:
    try:
        return date.fromordinal(day + date(1970, 1, 1).toordinal()).isoformat()
    except (ValueError, OverflowError):
        return None


def _models(
    found: Sums, attempts: Sequence[dict[str, Any]], scores: dict[str | None, dict[str, Any]]
) -> list[dict[str, Any]]:
    names = dict.fromkeys([*found.names, *(row["candidate"] for row in attempts)])
    answered = found.calls[found.answered].sum()
    models = []
    for place, name in enumerate(names):
        own = [row for row in attempts if row["candidate"] == name]
        kept = [row for row in own if row["kind"] == "kept"]
        calls = found.calls[found.answered & (found.candidate == place)].sum()
        tokens = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
        models.append(
            {
                "name": name,
                "calls": int(calls),
                "share": ratio(calls, answered),
                "attempts": _total(own, "attempts"),
                **(_sum_of(own) if own else {"usd": 0.0, "usd_unknown": 0, "wh": 0.0}),
                "wh_unknown": _total(own, "wh_unknown"),
                **{column: _total(own, column) for column in tokens},
                "mean_seconds": ratio(_total(kept, "seconds"), _total(kept, "attempts")),
                **scores.get(name, _NO_SCORES),
            }
        )
    return models


# Intervals


_NO_SCORES: Final[dict[str, Any]] = {"scores": 0, "score": UNKNOWN, "predicted": None}


def _scores(
    connection: sqlite3.Connection,
    period: Period,
    names: Sequence[str],
    rng: np.random.Generator,
    draws: int,
) -> dict[str | None, dict[str, Any]]:
    """Return mean score and mean predicted quality of the calls that were scored, by model.

    None stands for all models.
    """
    found = list(rows(connection, _SCORES.format(period.where)))
    groups = {deal: place for place, deal in enumerate({row["deal"] for row in found})}
    weights = weights_of(len(groups), rng, draws)
    known: dict[str | None, dict[str, Any]] = {}
    for name in (*names, None):
        own = [row for row in found if name in (None, row["candidate"])]
        at = np.array([groups[row["deal"]] for row in own], int)
        n, score = (
            by_deal(at, np.array([row[column] for row in own], float), len(groups))
            for column in ("n", "score")
        )
        drawn = quotient(weights @ score, weights @ n)
        predicted = ratio(_total(own, "predicted"), _total(own, "predictions"))
        mean = figure(ratio(score.sum(), n.sum()), drawn, int((n > 0).sum()))
        known[name] = {"scores": int(n.sum()), "score": mean, "predicted": predicted}
    return known
