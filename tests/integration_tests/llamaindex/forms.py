"""LlamaIndex's call forms as one parameter: each asks and gives the last response back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

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


def _arguments(method: str, kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if method.endswith("chat"):
        return ([ChatMessage(content=kwargs.pop("text", QUESTION))],), kwargs
    if method.endswith("complete"):
        return (QUESTION,), kwargs
    if method.endswith("chat_with_tools"):
        return ([TOOL],), {"user_msg": "weather in Lisbon?", "tool_required": True, **kwargs}
    return (City, TEMPLATE), {"llm_kwargs": kwargs, "place": "Europe"}


def form(method: str) -> Form:
    """Return a function that calls `method` of an LLM to its end."""

    def call(llm: Any, **kwargs: Any) -> Any:
        args, named = _arguments(method, kwargs)
        made = getattr(llm, method)(*args, **named)
        if method.startswith("stream_"):
            return list(made)[-1]
        if not method.startswith("a"):
            return made

        async def finish() -> Any:
            answer = await made
            if method.startswith("astream_"):
                return [response async for response in answer][-1]
            return answer

        return asyncio.run(finish())

    call.__name__ = method
    return call


KINDS = ("chat", "complete", "chat_with_tools", "structured_predict")
PREFIXES = ("", "a", "stream_", "astream_")
FORMS = [form(prefix + kind) for kind in KINDS for prefix in PREFIXES]
RECORDED = FORMS[:12]
"""Forms whose response has a place for the record."""
