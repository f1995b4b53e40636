"""What was written down of a call, as an OpenTelemetry span, for whoever collects spans.

In: an `Entry`. Out: one span with the attributes of the gen_ai semantic conventions and ours under
`router.`; nothing at all where the program has not loaded OpenTelemetry.
"""

from __future__ import annotations

import sys
from functools import reduce
from operator import add
from typing import Any

from shared_core.types import Entry

__all__ = ["attributes_of", "trace"]

_NANO = 1_000_000_000


def trace(entry: Entry) -> None:
    """Make a span of a call that has ended, below the one that is current.

    Only a program that uses OpenTelemetry itself has loaded it, and then its interface is there.
    """
    api = sys.modules.get("opentelemetry.trace")
    if api is None or isinstance(api.get_tracer_provider(), api.ProxyTracerProvider):
        return  # it is loaded by LangChain's packages, too, and then nobody collects
    ends = round((entry.started_at + entry.seconds) * _NANO)
    tracer = api.get_tracer("router-llm-plugin")
    begins = round(entry.started_at * _NANO)
    span = tracer.start_span(f"chat {entry.candidate}", start_time=begins)
    if span.is_recording():
        span.set_attributes(attributes_of(entry))
        if entry.outcome != "answered":
            span.set_status(api.StatusCode.ERROR, entry.outcome)
    span.end(end_time=ends)


def attributes_of(entry: Entry) -> dict[str, Any]:
    """Return an entry as attributes; what is unknown is left out.

    Tokens are those of all attempts that answered, as counted. Names: OpenTelemetry's semantic
    conventions for generative AI, version 1.37 and later.
    """
    found: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": entry.candidate,
        "gen_ai.conversation.id": entry.scope.thread,
        "user.id": entry.scope.user,
        "router.decision_id": entry.decision_id,
        "router.candidate": entry.candidate,
        "router.chosen": entry.chosen,
        "router.reason": entry.reason,
        "router.outcome": entry.outcome,
        "router.attempts": [attempt.candidate for attempt in entry.attempts],
        "router.cost_usd": entry.cost_usd,
        "router.overhead_s": entry.overhead_s,
    }
    answers = [attempt.usage for attempt in entry.attempts if attempt.outcome == "answered"]
    known = [usage for usage in answers if usage is not None and not usage.estimated]
    if known and len(known) == len(answers):
        usage = reduce(add, known)
        found["gen_ai.usage.input_tokens"] = usage.input_tokens
        found["gen_ai.usage.output_tokens"] = usage.output_tokens
        found["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
        found["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write_tokens
    if entry.energy is not None:
        found["router.energy_wh"] = entry.energy.mid
        found["router.energy_wh_low"] = entry.energy.low
        found["router.energy_wh_high"] = entry.energy.high
        found["router.energy_method"] = entry.energy.method
    for place, verdict in enumerate(entry.verdicts):  # no notes: they are words
        found[f"router.verdicts.{place}.candidate"] = verdict.candidate
        found[f"router.verdicts.{place}.verifier"] = verdict.verifier
        found[f"router.verdicts.{place}.probability"] = verdict.probability
    return {name: value for name, value in found.items() if value is not None}
