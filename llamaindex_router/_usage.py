"""The tokens of calls whose answer does not carry them: structured output is a bare object.

In: LlamaIndex's own events of the calls below. Out: their usage. One handler listens at the root of
LlamaIndex's dispatchers, from the first structured call on, and hears only what belongs to a call
that is being watched in the same context.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, reduce
from operator import add
from typing import Any

from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMCompletionEndEvent
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.event_handlers import BaseEventHandler

from llamaindex_router._messages import usage_of
from shared_core.types import Usage

__all__ = ["UsageHandler", "Watch"]

_WATCH: ContextVar[Watch | None] = ContextVar("router_llm_usage", default=None)


class Watch:
    """What the calls of one attempt report."""

    def __init__(self) -> None:
        """Begin with nothing, inside whatever is being watched already."""
        _listen()
        self._reports: list[tuple[object, Usage | None]] = []
        self._outer = _WATCH.get()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch while the block runs; a stream goes in and out of it for each of its chunks."""
        token = _WATCH.set(self)
        try:
            yield
        finally:
            _WATCH.reset(token)

    def take(self, raw: object, usage: Usage | None) -> None:
        """Receive the report of one call; a router outside this one counts it too.

        Args:
            raw: What the provider said. A chat made of a completion tells of the same call twice.
            usage: Its tokens.
        """
        if raw is None or not any(raw is known for known, _ in self._reports):
            self._reports.append((raw, usage))
        if self._outer is not None:
            self._outer.take(raw, usage)

    @property
    def usage(self) -> Usage | None:
        """All calls together; None as soon as one reports nothing, or there was none."""
        known = [usage for _, usage in self._reports if usage is not None]
        return reduce(add, known) if known and len(known) == len(self._reports) else None


class UsageHandler(BaseEventHandler):
    """Hands what calls report to whoever watches them."""

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows it."""
        return "RouterUsageHandler"

    def handle(self, event: Any, **kwargs: Any) -> None:
        """Take note of the end of a call."""
        watch = _WATCH.get()
        if watch is not None and isinstance(event, (LLMChatEndEvent, LLMCompletionEndEvent)):
            raw = None if event.response is None else event.response.raw
            watch.take(raw, usage_of(event.response))


@cache
def _listen() -> None:
    get_dispatcher().add_event_handler(UsageHandler())
