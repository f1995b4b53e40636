"""The call forms and kinds of call as parameters, and a handler that writes down every run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_router import ChatRouter
from tests.fakes.chat_models import ScriptedChat

Form = Callable[..., AIMessage]


def invoke(model: Runnable[Any, Any], /, *args: Any, **kwargs: Any) -> AIMessage:
    """Whole."""
    return model.invoke(*args, **kwargs)


def ainvoke(model: Runnable[Any, Any], /, *args: Any, **kwargs: Any) -> AIMessage:
    """Whole, on an event loop."""
    return asyncio.run(model.ainvoke(*args, **kwargs))


def stream(model: Runnable[Any, Any], /, *args: Any, **kwargs: Any) -> AIMessage:
    """Streamed and added up."""
    return reduce(add, model.stream(*args, **kwargs))


def astream(model: Runnable[Any, Any], /, *args: Any, **kwargs: Any) -> AIMessage:
    """Streamed on an event loop and added up."""

    async def collect() -> list[AIMessageChunk]:
        return [chunk async for chunk in model.astream(*args, **kwargs)]

    return reduce(add, asyncio.run(collect()))


FORMS = [invoke, ainvoke, stream, astream]


class Runs(BaseCallbackHandler):
    """Every run: kind, name, parent, tags, metadata, how it ended, in which order."""

    def __init__(self) -> None:
        self.runs: dict[UUID, dict[str, Any]] = {}
        self.ended: list[tuple[str, str]] = []
        self.order: list[UUID] = []

    def _start(self, kind: str, run_id: UUID, parent_run_id: UUID | None, **kwargs: Any) -> None:
        self.runs[run_id] = {
            "kind": kind,
            "name": kwargs.get("name"),
            "parent": parent_run_id,
            "tags": kwargs.get("tags") or [],
            "metadata": kwargs.get("metadata") or {},
        }

    def _end(self, run_id: UUID, how: str) -> None:
        self.ended.append((self.runs[run_id]["kind"], how))
        self.order.append(run_id)

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self._start("chain", **kwargs)

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self._start("model", **kwargs)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, "end")

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, "error")

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, "end")

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, "error")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The runs of a kind, in order of their start."""
        return [run for run in self.runs.values() if run["kind"] == kind]


class City(BaseModel):
    """A city and its country."""

    name: str
    country: str


CITY = {**City.model_json_schema(), "title": "City"}


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


def plain(model: BaseChatModel) -> Runnable[Any, Any]:
    return model


def with_tool(model: BaseChatModel) -> Runnable[Any, Any]:
    return model.bind_tools([weather], tool_choice="any")


def structured(model: BaseChatModel) -> Runnable[Any, Any]:
    return model.with_structured_output(City)


Way = Callable[[BaseChatModel], Runnable[Any, Any]]
WAYS: list[Way] = [plain, with_tool, structured]


async def collected(model: Runnable[Any, Any], asynchronous: bool, *args: Any) -> list[Any]:
    """The chunks of a stream, in whichever way."""
    if asynchronous:
        return [item async for item in model.astream(*args)]
    return list(model.stream(*args))


def router(small: Any = None, large: Any = None, **settings: Any) -> ChatRouter:
    """A router over two scripted models, small and large."""
    small = ScriptedChat(model_name="small") if small is None else small
    large = ScriptedChat(model_name="large") if large is None else large
    return ChatRouter(candidates={"small": small, "large": large}, **settings)
