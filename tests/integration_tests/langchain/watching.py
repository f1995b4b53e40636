"""Models and handlers that note how a call ended, and calls that can be cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field, SkipValidation

from tests.fakes.chat_models import ScriptedChat
from tests.integration_tests.cancelling import noted
from tests.integration_tests.langchain.forms import Runs

QUESTION = "weather in Lisbon?"


class Told(Runs):
    """Is told on the event loop, as tracers are; others are told in threads, in their own time."""

    run_inline = True

    @property
    def open(self) -> list[str]:
        """The kinds of the runs that have begun and not ended."""
        return [run["kind"] for key, run in self.runs.items() if key not in self.order]


class Watched(ScriptedChat):
    """Notes how each of its calls ended.

    Attributes:
        log: "under way", "returned" or the name of the error, for each call.
    """

    log: SkipValidation[list[str]] = Field(default_factory=list, exclude=True)

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        with noted(self.log):
            await asyncio.sleep(0)
            return await super()._agenerate(*args, **kwargs)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        with noted(self.log):
            async for chunk in super()._astream(*args, **kwargs):
                yield chunk

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        with noted(self.log):
            return super()._generate(*args, **kwargs)

    def _stream(self, *args: Any, **kwargs: Any) -> Any:
        with noted(self.log):
            yield from super()._stream(*args, **kwargs)


async def whole(model: Runnable[Any, Any], config: Any) -> Any:
    return await model.ainvoke(QUESTION, config)


async def streamed(model: Runnable[Any, Any], config: Any) -> Any:
    return [chunk async for chunk in model.astream(QUESTION, config)]


async def events(model: Any, config: Any) -> Any:
    """By LangChain's own stream object."""
    made = await model.astream_events(QUESTION, config, version="v3")
    async with made:
        return [event async for event in made]


Asks = Callable[[Any, Any], Coroutine[Any, Any, Any]]
