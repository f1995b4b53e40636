"""The events that tell of each decision and each call, for who listens to LlamaIndex."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import NullEventHandler

from llamaindex_router._usage import UsageHandler
from shared_core.types import Decision, Entry

__all__ = ["RouterDecisionEvent", "RouterEntryEvent", "announce", "announce_entry"]

_dispatcher = get_dispatcher(__name__)
_OURS = (NullEventHandler, UsageHandler)
"""Handlers that no event needs to be made for: LlamaIndex's root has one that does nothing."""


class RouterDecisionEvent(BaseEvent):
    """A router has decided who answers; no model has been called yet.

    Attributes:
        decision_id: The same as in the record of the answer.
        candidate: Who was chosen.
        reason: Why, in words and numbers.
        calibrated: The quality threshold comes from a calibration.
        fallbacks: Who else is allowed, in order.
        refusals: `{"candidate", "reason"}` of each who is not.
        estimates: What each was expected to do, as plain data.
    """

    decision_id: str
    candidate: str
    reason: str
    calibrated: bool
    fallbacks: list[str]
    refusals: list[dict[str, str]]
    estimates: list[dict[str, Any]]

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the event."""
        return "RouterDecisionEvent"


class RouterEntryEvent(BaseEvent):
    """A routed call has ended, well or not, and was written down.

    Attributes:
        decision_id: The same as in the record of the answer.
        candidate: Who answered.
        outcome: "answered", "failed" or "cancelled".
        attempts: Every attempt: candidate, outcome, seconds, tokens, USD, Wh, as plain data.
        cost_usd: USD of all attempts together; None is unknown.
        energy_wh: Wh of all attempts together; None is unknown.
        seconds: It took.
    """

    decision_id: str
    candidate: str
    outcome: str
    attempts: list[dict[str, Any]]
    cost_usd: float | None
    energy_wh: float | None
    seconds: float

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the event."""
        return "RouterEntryEvent"


def announce_entry(entry: Entry) -> None:
    """Tell the dispatcher of a call that has ended, if anybody listens."""
    if not _anybody_listens():
        return
    _dispatcher.event(
        RouterEntryEvent(
            decision_id=entry.decision_id,
            candidate=entry.candidate,
            outcome=entry.outcome,
            attempts=[asdict(attempt) for attempt in entry.attempts],
            cost_usd=entry.cost_usd,
            energy_wh=entry.energy_wh,
            seconds=entry.seconds,
        )
    )


def announce(decision: Decision) -> None:
    """Tell the dispatcher, if anybody listens."""
    if not _anybody_listens():
        return
    _dispatcher.event(
        RouterDecisionEvent(
            decision_id=decision.id,
            candidate=decision.candidate,
            reason=decision.reason,
            calibrated=decision.calibrated,
            fallbacks=list(decision.fallbacks),
            refusals=[asdict(refusal) for refusal in decision.refusals],
            estimates=[asdict(estimate) for estimate in decision.estimates],
        )
    )


def _anybody_listens() -> bool:
    dispatcher: Any = _dispatcher
    while dispatcher is not None:
        if any(type(handler) not in _OURS for handler in dispatcher.event_handlers):
            return True
        dispatcher = dispatcher.parent if dispatcher.propagate else None
    return False
