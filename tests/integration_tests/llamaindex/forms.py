"""LlamaIndex's call forms as one parameter: each asks and gives the last response back.

Beside them what scripted and real LLMs are tested with: a client, a predictor, a few arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from tests.contracts.llamaindex import (  # noqa: F401 - for the tests beside this
    METHODS,
    QUESTION,
    TEMPLATE,
    TOOL,
    City,
    begin,
    collect,
    weather,
)
from tests.fakes.openai_server import OpenAIServer

Form = Callable[..., Any]


def client(server: OpenAIServer, model: str = "small", **settings: Any) -> OpenAILike:
    """A real client of the loopback server, without retries of its own."""
    return OpenAILike(
        model=model,
        is_chat_model=True,
        is_function_calling_model=True,
        **{
            "api_base": server.base_url,
            "api_key": "test",
            "context_window": 8000,
            "max_retries": 0,
            **settings,
        },
    )


def form(method: str) -> Form:
    """Return a function that calls `method` of an LLM and returns the last response."""

    def call(llm: Any, history: Sequence[ChatMessage] = (), **kwargs: Any) -> Any:
        return collect(method, llm, history, **kwargs)[-1]

    call.__name__ = method
    return call


FORMS = [form(method) for method in METHODS]
RECORDED = FORMS[:12]
"""Forms whose response has a place for the record."""
STRUCTURED = FORMS[12:]
STREAMED = [one for one in FORMS if "stream_" in one.__name__]
ASYNC = [one for one in FORMS if one.__name__.startswith("a")]
WITH_HISTORY = [one for one in FORMS if "complete" not in one.__name__]
