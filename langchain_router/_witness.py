"""Whether a handler shows the caller tokens that the router does not stream itself.

LangGraph's `messages` mode, for one, attaches a handler that makes `ainvoke` stream and passes the
tokens on. Once it has shown one, another candidate's answer would follow it: two models' texts in
one. In: an attempt's config. Out: the same with a witness among its handlers, where it matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import patch_config
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer

__all__ = ["watched"]

_SILENT = (
    BaseCallbackHandler.on_llm_new_token,
    AsyncCallbackHandler.on_llm_new_token,
    BaseCallbackHandler.on_stream_event,
    AsyncCallbackHandler.on_stream_event,
)


@contextmanager
def watched(config: RunnableConfig, spoken: list[Exception]) -> Iterator[RunnableConfig]:
    """Give the config of one attempt; an error after something was shown is put in `spoken`."""
    manager: Any = config.get("callbacks")
    if manager is None or not any(map(_shows, manager.handlers)):
        yield config
        return
    witness, manager = _Witness(), manager.copy()
    manager.add_handler(witness)
    try:
        yield patch_config(config, callbacks=manager)
    except Exception as error:
        if witness.seen:
            spoken.append(error)
        raise


class _Witness(BaseCallbackHandler):
    run_inline = True
    seen = False

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        message = getattr(chunk, "message", None)
        self.seen |= bool(token or getattr(message, "tool_call_chunks", None))

    def on_stream_event(self, event: Any, **kwargs: Any) -> None:
        self.seen |= event.get("event") != "message-start"


def _shows(handler: BaseCallbackHandler) -> bool:
    """Tell whether a handler does something with tokens; tracers only write them down."""
    if isinstance(handler, (BaseTracer, AsyncBaseTracer)):
        return False
    cls = type(handler)
    return cls.on_llm_new_token not in _SILENT or cls.on_stream_event not in _SILENT
