"""Entries of a ledger, as a routed call would leave them."""

from __future__ import annotations

from typing import Any

from shared_core.types import Alternative, Attempt, Energy, Entry, Scope, Usage


def energy(wh: float, method: str = "declared") -> Energy:
    """A range from half to double."""
    return Energy(wh / 2, wh, wh * 2, method)


def attempt(candidate: str = "small", usd: float | None = 0.001, **known: Any) -> Attempt:
    """One that answered, of 100 tokens in and 20 out, unless told otherwise."""
    usage = Usage(100, 20, 40, 10, 5)
    return Attempt(
        candidate, **{"outcome": "answered", "seconds": 1.0, "usage": usage, **known}, cost_usd=usd
    )


def other(
    candidate: str, quality: float, usd: float | None = None, wh: float | None = None
) -> Alternative:
    """What a candidate would have come to; the one named "small" is local."""
    drawn = None if wh is None else energy(wh)
    return Alternative(candidate, quality, candidate == "small", usd, drawn)


def entry(number: int = 0, candidate: str = "small", **known: Any) -> Entry:
    """A call that this candidate answered at once; its attempts say what it cost."""
    known.setdefault("attempts", (attempt(candidate),))
    costs = [one.cost_usd for one in known["attempts"]]
    drawn = [one.energy for one in known["attempts"]]
    total = None
    for part in drawn:
        total = part if total is None or part is None else total + part
    return Entry(
        **{
            "decision_id": f"d{number}",
            "candidate": candidate,
            "reason": "good enough",
            "calibrated": True,
            "cost_usd": None if None in costs else sum(c for c in costs if c is not None),
            "energy": None if None in drawn else total,
            "chosen": candidate,
            "scope": Scope(),
            "started_at": 1_000_000.0 + number,
            "seconds": 1.25,
            "overhead_s": 0.25,
            **known,
        }
    )
