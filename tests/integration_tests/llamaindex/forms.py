"""LlamaIndex's call forms as one parameter: each asks and gives the last response back.

Beside them what scripted and real LLMs are tested with: a client, a predictor, a few arguments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from shared_core import Candidate, Estimate, Prompt
from tests.fakes.core import estimate
from tests.fakes.openai_server import OpenAIServer

QUESTION = "What is the capital of France?"


class City(BaseModel):
    """A city and its country."""

    name: str
    country: str


def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


TOOL = FunctionTool.from_defaults(weather)
TEMPLATE = PromptTemplate("Name a city in {place}.")

Form = Callable[..., Any]


def client(server: OpenAIServer, model: str = "small", **settings: Any) -> OpenAILike:
    """A real client of the loopback server, without retries of its own."""
    return OpenAILike(
        model=model,
        api_base=server.base_url,
        is_chat_model=True,
        is_function_calling_model=True,
        **{"api_key": "test", "context_window": 8000, "max_retries": 0, **settings},
    )


@dataclass
class Choosing:
    """Has the router pick the candidate that `choose` names for the n-th decision, from 0.

    Attributes:
        prompts: What was decided on, one per decision.
    """

    choose: Callable[[int], str] = lambda _: "small"
    prompts: list[Prompt] = field(default_factory=list)
    name: str = "choosing"
    inline_chars: int = 1000

    def predict(self, prompt: Prompt, candidates: Sequence[Candidate]) -> list[Estimate]:
        chosen = self.choose(len(self.prompts))
        self.prompts.append(prompt)
        return [estimate(c.name, 0.9 if c.name == chosen else 0.1) for c in candidates]


def _arguments(
    method: str, history: Sequence[ChatMessage], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if method.endswith("chat"):
        return ([*history, ChatMessage(content=QUESTION)],), kwargs
    if method.endswith("complete"):
        return (QUESTION,), kwargs
    if method.endswith("chat_with_tools"):
        asked = {"user_msg": "weather in Lisbon?", "chat_history": list(history)}
        return ([TOOL],), {**asked, "tool_required": True, **kwargs}
    if history:
        return (City, ChatPromptTemplate([*history, ChatMessage(content="A city.")]), kwargs), {}
    return (City, TEMPLATE), {"llm_kwargs": kwargs, "place": "Europe"}


def begin(method: str, llm: Any, history: Sequence[ChatMessage] = (), **kwargs: Any) -> Any:
    """Call `method` of an LLM; return what it returns: a response, a stream or an awaitable."""
    args, named = _arguments(method, history, kwargs)
    return getattr(llm, method)(*args, **named)


def collect(method: str, llm: Any, history: Sequence[ChatMessage] = (), **kwargs: Any) -> list[Any]:
    """Call `method` of an LLM to its end; return every response, one where it is no stream."""
    made = begin(method, llm, history, **kwargs)
    if method.startswith("stream_"):
        return list(made)
    if not method.startswith("a"):
        return [made]

    async def finish() -> list[Any]:
        answer = await made
        if method.startswith("astream_"):
            return [response async for response in answer]
        return [answer]

    return asyncio.run(finish())


def form(method: str) -> Form:
    """Return a function that calls `method` of an LLM and returns the last response."""

    def call(llm: Any, history: Sequence[ChatMessage] = (), **kwargs: Any) -> Any:
        return collect(method, llm, history, **kwargs)[-1]

    call.__name__ = method
    return call


KINDS = ("chat", "complete", "chat_with_tools", "structured_predict")
PREFIXES = ("", "a", "stream_", "astream_")
FORMS = [form(prefix + kind) for kind in KINDS for prefix in PREFIXES]
RECORDED = FORMS[:12]
"""Forms whose response has a place for the record."""
STRUCTURED = FORMS[12:]
STREAMED = [one for one in FORMS if "stream_" in one.__name__]
ASYNC = [one for one in FORMS if one.__name__.startswith("a")]
WITH_HISTORY = [one for one in FORMS if "complete" not in one.__name__]
