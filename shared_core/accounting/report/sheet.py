"""The calls of a ledger as a table for a spreadsheet, one row per call.

In: entries as plain JSON. Out: CSV. Text that a spreadsheet would take for a formula is disarmed.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

__all__ = ["write_calls", "written"]

_COPIED: Final = (
    *("decision_id", "outcome", "candidate", "chosen", "shadow"),
    *("thread", "user", "tenant", "run", "step", "cost_usd", "cost_usd_high", "lost_cache_usd"),
)
_TOKENS: Final = (
    *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
)
_COLUMNS: Final = (
    *("started_at_utc", *_COPIED),
    *("energy_wh_low", "energy_wh", "energy_wh_high", "energy_method"),
    *("attempts", *_TOKENS, "seconds", "overhead_s", "predicted_quality", "score", "comment"),
    *("dropped", "checks", "draft_probability"),
    "reason",
)


def write_calls(file: IO[str], entries: Iterable[Mapping[str, Any]]) -> None:
    """Write one row per call: tokens are those of all its attempts, as far as they are known."""
    table = csv.writer(file)
    table.writerow(_COLUMNS)
    for entry in entries:
        table.writerow([_disarmed(cell) for cell in _row(entry)])


def _row(entry: Mapping[str, Any]) -> list[Any]:
    energy = entry["energy_wh"] or {}
    used = [one["usage"] for one in entry["attempts"] if one["usage"]]
    tokens = [sum(usage[part] for usage in used) if used else None for part in _TOKENS]
    predicted = {other["candidate"]: other["quality"] for other in entry["alternatives"]}
    judged = {one["candidate"]: one["probability"] for one in entry["verdicts"]}
    feedback = entry["feedback"] or {}
    return [
        datetime.fromtimestamp(entry["started_at"], UTC).strftime("%Y-%m-%d %H:%M:%S"),
        *(entry[column] for column in _COPIED),
        *(energy.get(end) for end in ("low", "mid", "high", "method")),
        len(entry["attempts"]),
        *tokens,
        entry["seconds"],
        entry["overhead_s"],
        predicted.get(entry["candidate"]),
        feedback.get("score"),
        feedback.get("comment"),
        sum(one["outcome"] == "dropped" for one in entry["attempts"]),
        sum(one["purpose"] == "check" for one in entry["attempts"]),
        judged.get(entry["candidate"]),
        entry["reason"],
    ]


def _disarmed(cell: Any) -> Any:
    """Put a quote before text that begins like a formula, as spreadsheets themselves do."""
    if isinstance(cell, str) and cell.lstrip(" \t\r\n\0").startswith(("=", "+", "-", "@")):
        return f"'{cell}"
    if isinstance(cell, str) and cell.startswith(("\t", "\r", "\n", "\0", "|", "%")):
        return f"'{cell}"
    return cell


@contextmanager
def written(path: str | Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """Write a file, text in UTF-8 or bytes, all of it or none."""
    target = Path(path)
    new = target.with_name(f".new-{os.getpid()}-{target.name}")
    try:
        with new.open("wb") if binary else new.open("w", encoding="utf-8", newline="") as file:
            yield file
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
