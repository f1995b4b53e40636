"""The event that tells of each decision, for whoever listens to LlamaIndex's dispatcher."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import NullEventHandler

from shared_core.types import Decision

__all__ = ["RouterDecisionEvent", "announce"]

_dispatcher = get_dispatcher(__name__)


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
        if any(type(handler) is not NullEventHandler for handler in dispatcher.event_handlers):
            return True  # LlamaIndex's root always has one of those, which does nothing
        dispatcher = dispatcher.parent if dispatcher.propagate else None
    return False
