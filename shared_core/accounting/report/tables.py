"""The savings report as tables: the same words on a terminal and on a page.

In: a `Report`. Out: `Table`s of text; every column has its unit, every comparison its baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from shared_core.accounting.report.savings import Report

__all__ = ["Table", "as_text", "shown", "tables"]

_WIDEST: Final = 60  # characters of a name
_DAYS: Final = 31  # the last ones; all of them are in the JSON

Figure = Mapping[str, float | None]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: What it is about.
        columns: Headings, with units.
        rows: Cells.
        notes: What holds for all of it, a sentence each.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()


def as_text(report: Report) -> str:
    """Return the tables as plain text."""
    return "\n\n".join(map(_lines, tables(report)))


def _lines(table: Table) -> str:
    cells = [table.columns, *table.rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    body = [f"  {line.rstrip()}" for line in lines] if table.rows else ["  none"]
    notes = [fill(note, 98, initial_indent="  ", subsequent_indent="  ") for note in table.notes]
    return "\n".join([table.title, *body, *notes])


def tables(report: Report) -> list[Table]:
    """Return every table of a report that has something to say."""
    found = [_calls(report), _spent(report)]
    if any(row["calls"] or row["left_out"] for row in report.saved):
        found.append(_saved(report))
    if report.shadow:
        found.append(_shadow(report))
    found += [_apart(report), _models(report)]
    if report.drafts:
        found.append(_drafts(report))
    if report.quality["scores"]:
        found.append(_quality(report))
    for title, rows in (("step", report.steps), ("user", report.users)):
        if any(row["name"] is not None for row in rows):
            found.append(_shares(f"By {title}", title, rows))
    return [*found, _days(report)]


def _calls(report: Report) -> Table:
    calls = report.calls
    rows = [(what, _number(calls[what])) for what in ("answered", "failed", "cancelled")]
    rows.append(("all", _number(calls["all"])))
    if calls["shadow"]:
        rows.append(("of them in shadow mode", _number(calls["shadow"])))
    rows.append(("conversations", _number(calls["conversations"])))
    if calls["local_share"] is not None:
        rows.append(("share that a local model answered", _percent(calls["local_share"])))
    title = "Calls"
    if calls["first"] is not None:
        title += f", {_moment(calls['first'])} to {_moment(calls['last'])} UTC"
    return Table(title, ("calls", "number"), rows)


def _spent(report: Report) -> Table:
    spent = report.spent
    usd, wh = spent["usd_unknown_calls"], spent["wh_unknown_calls"]
    most = spent["usd_unknown_at_most"]
    unknown = "none"
    if usd:
        limit = "nobody knows how much" if most is None else f"{_number(most)} USD at most"
        unknown = f"{_number(usd)} ({limit})"
    ends = spent["wh"]
    energy = "not known"
    if ends["mid"] is not None:
        energy = _number(ends["mid"])
        if ends["low"] != ends["high"]:
            energy += f" ({_number(ends['low'])} to {_number(ends['high'])})"
    rows = [
        ("USD", _number(spent["usd"]), "price x tokens", unknown),
        (
            "Wh",
            energy,
            ", ".join(map(shown, spent["wh_methods"])) or "none",
            _number(wh) if wh else "none",
        ),
    ]
    notes = ("Of all attempts, those that bought no answer too. In brackets: the method's range.",)
    return Table("Spent", ("unit", "spent", "method", "calls of unknown amount"), rows, notes)


def _saved(report: Report) -> Table:
    rows = [
        (
            _named(row),
            row["unit"],
            _figure(row["other"]),
            _number(row["spent"]),
            _figure(row["saved"]),
            _figure(row["share"], _percent),
            _range(row),
            f"{_number(row['calls'])} ({_number(row['left_out'])})",
        )
        for row in report.saved
    ]
    columns = ("baseline", "unit", "it would have come to", "spent", "saved", "saved share")
    notes = (
        "Always-best: the model with the highest mean predicted quality. Always-cheapest: the "
        "one with the lowest mean cost. Random mix: each call to each model by chance, with the "
        "shares that they had.",
        "Negative: more was spent than the baseline would have come to.",
        f"In brackets: 95 % bootstrap interval over {_number(report.calls['conversations'])} "
        f"conversations, {_number(report.draws)} draws; of energy, of the method's middle values.",
        "Where the baseline's model answered alone, it is what was spent. Else it is estimated "
        "from the tokens that were really read, and corrected by what the model's answers really "
        "came to beside the estimates, where it answered 10 calls or more alone; the interval "
        "covers that correction.",
        "Compared are calls of which every piece is known. Those that ended without an answer "
        "count with what they cost, and the baseline with nothing.",
    )
    return Table("Saved", (*columns, "method's range", "calls (left out)"), rows, notes)


def _shadow(report: Report) -> Table:
    rows = [
        (
            row["unit"],
            _number(row["spent"]),
            _figure(row["other"]),
            _figure(row["saved"]),
            _figure(row["share"], _percent),
            _range(row),
            f"{_number(row['calls'])} ({_number(row['left_out'])})",
        )
        for row in report.shadow
    ]
    columns = ("unit", "spent", "the choice would have come to", "it would have saved")
    more = ("saved share", "method's range", "calls (left out)")
    notes = ("Not part of what was saved. In brackets: 95 % bootstrap interval.",)
    title = "Shadow mode: the policy's choice beside what answered"
    return Table(title, (*columns, *more), rows, notes)


def _apart(report: Report) -> Table:
    rows = []
    for row in report.apart:
        mean = row.get("mean_seconds")
        seconds = "" if "seconds" not in row else _number(row["seconds"])
        if mean is not None:
            seconds += f" ({_number(mean)} per call)"
        usd = "" if row["usd"] is None and "seconds" in row else _known(row, "usd")
        wh = _known(row, "wh") if row["wh"] is not None or row["wh_unknown"] else ""
        rows.append((row["what"], _number(row["count"]), usd, wh, seconds))
    notes = (
        "All attempts and calls are included in what was spent; a lost cache is, as what its "
        "tokens cost more than cached ones. What a draft that was broken off took is estimated.",
    )
    columns = ("what", "number", "USD", "Wh", "seconds")
    return Table("Of it, what bought no answer, and the router's own time", columns, rows, notes)


def _models(report: Report) -> Table:
    rows = [
        (
            shown(row["name"]),
            _number(row["calls"]),
            _percent(row["share"]),
            _number(row["attempts"]),
            _known(row, "usd"),
            _known(row, "wh"),
            *(_number(row[f"{part}_tokens"]) for part in ("input", "cached", "output")),
            _number(row["reasoning_tokens"]),
            _number(row["mean_seconds"]) if row["mean_seconds"] is not None else "",
        )
        for row in report.models
    ]
    columns = ("model", "calls answered", "share", "attempts", "USD", "Wh", "tokens in")
    more = ("of them cached", "tokens out", "of them reasoning", "mean seconds of an answer")
    notes = ("USD, Wh and tokens are of all its attempts.",)
    return Table("By model", (*columns, *more), rows, notes)


def _drafts(report: Report) -> Table:
    rows = [
        (
            shown(row["name"]),
            _number(row["drafts"]),
            _number(row["accepted"]),
            _number(row["probability"]),
            _number(row["scores"]),
            _number(row["rated_probability"]) if row["scores"] else "",
            _number(row["score"]) if row["scores"] else "",
        )
        for row in report.drafts
    ]
    columns = ("model", "drafts looked at", "accepted", "mean probability")
    more = ("scores of accepted", "mean probability of those", "mean score of those")
    notes = (
        "Probability that a draft is right, as the last verdict on it says. It is well calibrated "
        "where the last two columns agree.",
    )
    return Table("Drafts", (*columns, *more), rows, notes)


def _quality(report: Report) -> Table:
    rated = [row for row in report.models if row["scores"]]
    rows = [
        (
            shown(row["name"]) if "name" in row else "all",
            _number(row["scores"]),
            _figure(row["score"]),
            _number(row["predicted"]),
        )
        for row in (*rated, report.quality)
    ]
    notes = (
        "Scores from 0 to 1, of calls that users scored. In brackets: 95 % bootstrap interval.",
    )
    columns = ("model that answered", "scores", "mean score", "mean predicted quality")
    return Table("Quality", columns, rows, notes)


def _shares(title: str, label: str, found: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for row in found:
        name = "all others" if row["others"] else row["name"]
        name = "(not stated)" if name is None else shown(name)
        rows.append((name, _number(row["calls"]), _known(row, "usd"), _known(row, "wh")))
    return Table(title, (label, "calls", "USD", "Wh"), rows)


def _days(report: Report) -> Table:
    days: dict[str, list[Mapping[str, Any]]] = {}
    for row in report.days:
        days.setdefault(row["day"] or "not known", []).append(row)
    rows = [
        (
            day,
            _number(sum(row["calls"] for row in found)),
            *(_known(_together(found, unit), unit) for unit in ("usd", "wh")),
        )
        for day, found in list(days.items())[-_DAYS:]
    ]
    notes = (f"The last {_DAYS} of {len(days)} days.",) if len(days) > _DAYS else ()
    return Table("By day (UTC)", ("day", "calls", "USD", "Wh"), rows, notes)


def _together(found: Sequence[Mapping[str, Any]], unit: str) -> Mapping[str, Any]:
    known = [row[unit] for row in found if row[unit] is not None]
    unknown = sum(row[f"{unit}_unknown"] for row in found)
    return {unit: sum(known) if known else None, f"{unit}_unknown": unknown}


def shown(name: str) -> str:
    """Return a name as it may be printed: short, and without characters that steer a terminal."""
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return printable if len(printable) <= _WIDEST else f"{printable[: _WIDEST - 1]}…"


def _named(row: Mapping[str, Any]) -> str:
    return str(row["baseline"]) + ("" if row["model"] is None else f": {shown(row['model'])}")


def _known(row: Mapping[str, Any], unit: str) -> str:
    """Return an amount, and of how many it is not known."""
    unknown = row[f"{unit}_unknown"]
    if not unknown:
        return _number(row[unit])
    if row[unit] is None:
        return "not known"
    return f"{_number(row[unit])} ({_number(unknown)} not known)"


def _range(row: Mapping[str, Any]) -> str:
    if row["method_low"] is None:
        return ""
    return f"{_number(row['method_low'])} to {_number(row['method_high'])}"


def _figure(figure: Figure, written: Callable[[float | None], str] | None = None) -> str:
    as_ = written or _number
    if figure["value"] is None:
        return "not known"
    if figure["low"] is None:
        return f"{as_(figure['value'])} (no interval)"
    return f"{as_(figure['value'])} ({as_(figure['low'])} to {as_(figure['high'])})"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    """Return a number as people read it: four digits that count, thousands apart."""
    if value is None:
        return "not known"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
