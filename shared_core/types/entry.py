"""What is written down of a call, and what the skin hands to the caller."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from shared_core.types.prompt import Scope
from shared_core.types.reply import Energy, Reply, Usage
from shared_core.types.steps import Purpose, Verdict

__all__ = ["Alternative", "Answer", "Attempt", "Ending", "Entry", "Outcome"]

Outcome = Literal["answered", "failed", "cancelled", "dropped", "resting", "refused"]
"""How one attempt at one candidate ended. A resting one was not asked at all, nor was one that a
budget refused; a cancelled one was left by the caller before its answer was whole, a dropped one by
the router, which had seen enough of it."""

Ending = Literal["answered", "failed", "cancelled"]
"""How a routed call ended."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one candidate, as it is written down. None is unknown, never zero.

    Attributes:
        candidate: Its name.
        outcome: How it ended.
        seconds: Wall-clock time.
        usage: Tokens, where the model reports them.
        cost_usd: USD.
        energy: Wh.
        error: Class of what it raised.
        cost_usd_high: USD at most, which budgets are charged where the usage is unknown.
        predicted_tokens: Output tokens that were predicted, before past calls corrected it.
        purpose: What it was asked for.
    """

    candidate: str
    outcome: Outcome
    seconds: float
    usage: Usage | None = None
    cost_usd: float | None = None
    energy: Energy | None = None
    error: str | None = None
    cost_usd_high: float | None = None
    predicted_tokens: int | None = None
    purpose: Purpose = "answer"


@dataclass(frozen=True, slots=True)
class Alternative:
    """What one candidate would have come to, had it answered this call and those before it.

    Attributes:
        candidate: Its name.
        quality: Predicted quality, 0 to 1.
        local: It is declared to run locally.
        cost_usd: USD, at the tokens that were really read, with its own prompt cache warm.
        energy: Wh.
    """

    candidate: str
    quality: float
    local: bool
    cost_usd: float | None = None
    energy: Energy | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What is written down of one routed call.

    Attributes:
        decision_id: Of its decision.
        candidate: Who answered; the one chosen where nobody did.
        reason: Why, in words and numbers.
        calibrated: The quality threshold comes from a calibration.
        attempts: Every attempt, in order: failed ones, drafts that were dropped, cancelled ones.
        cost_usd: USD of all attempts together; None as soon as one's share is unknown.
        energy: Wh of all attempts together, in the same sense.
        outcome: How the call ended.
        chosen: Whom the policy chose; in shadow mode, whom it would have chosen.
        shadow: The call was made in shadow mode.
        scope: Who called.
        started_at: Unix time, seconds.
        seconds: Wall-clock time from the decision to the end.
        overhead_s: Of it, the router's own: deciding and booking, no attempt and no wait.
        delta: How far under the best predicted quality a candidate could be, 0 to 1.
        prompt_hash: Names the prompt without telling it.
        prompt_text: What the user asked last, where text is kept.
        answer_text: The answer, where text is kept.
        lost_cache_usd: USD that a warm prompt cache would have saved, had the model that answered
            written the conversation so far.
        alternatives: One per candidate: what it would have come to.
        verdicts: What was made of drafts, in order.
    """

    decision_id: str
    candidate: str
    reason: str
    calibrated: bool
    attempts: tuple[Attempt, ...]
    cost_usd: float | None
    energy: Energy | None
    outcome: Ending = "answered"
    chosen: str = ""
    shadow: bool = False
    scope: Scope = field(default_factory=Scope)
    started_at: float = 0.0
    seconds: float = 0.0
    overhead_s: float = 0.0
    delta: float = 0.0
    prompt_hash: str = ""
    prompt_text: str | None = None
    answer_text: str | None = None
    lost_cache_usd: float = 0.0
    alternatives: tuple[Alternative, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    @property
    def energy_wh(self) -> float | None:
        """Wh of all attempts together, the best guess."""
        return None if self.energy is None else self.energy.mid

    def as_dict(self) -> dict[str, Any]:
        """Return the small, plain-JSON form that is stamped on every answer.

        Verdicts are in it where there are any.
        """
        record = {
            "decision_id": self.decision_id,
            "candidate": self.candidate,
            "reason": self.reason,
            "calibrated": self.calibrated,
            "attempts": [{"candidate": a.candidate, "outcome": a.outcome} for a in self.attempts],
            "cost_usd": self.cost_usd,
            "energy_wh": self.energy_wh,
        }
        if self.verdicts:
            record["verdicts"] = [
                {
                    "candidate": v.candidate,
                    "verifier": v.verifier,
                    "probability": None if v.probability is None else round(v.probability, 4),
                    "note": v.note,
                    "seconds": round(v.seconds, 6),
                }
                for v in self.verdicts
            ]
        return record


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply that answers the caller, and the entry that records how it came about."""

    reply: Reply
    entry: Entry
