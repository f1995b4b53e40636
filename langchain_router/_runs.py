"""One routed call inside one `chain` run: whole or streamed, sync or async.

A run of type `chain` may have children, a model run may not; so the router is the chain and each
attempt a model run below it. `Call` holds what differs between free text and structured output.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import patch_config

from langchain_router._transport import Request
from shared_core.execution.run import Transport
from shared_core.router import Router
from shared_core.types import Answer

__all__ = ["Call", "Chunks"]


class Chunks(Protocol):
    """Turns what the core streams into what the caller gets."""

    def take(self, item: Any | Answer) -> Iterable[Any]:
        """Receive a native chunk, or last the `Answer`; return the chunks to hand on now."""
        ...


@dataclass(frozen=True)
class Call:
    """One routed call.

    Attributes:
        router: The core.
        request: What is asked.
        transport: Makes the transport, given the router run's child config.
        output: Makes the caller's value out of the answer.
        chunks: Makes a fresh `Chunks` for one stream.
    """

    router: Router
    request: Request
    transport: Callable[[RunnableConfig], Transport]
    output: Callable[[Answer], Any]
    chunks: Callable[[], Chunks]

    def invoke(self, owner: Runnable[Any, Any], input: Any, config: RunnableConfig) -> Any:
        """Return the caller's value."""

        def call(_: Any, run_manager: Any, config: RunnableConfig) -> Any:
            transport = self.transport(_child(config, run_manager))
            decision = self.router.decide(self.request.prompt, self.request.force)
            return self.output(self.router.answer(self.request.prompt, decision, transport))

        return owner._call_with_config(call, input, config)

    async def ainvoke(self, owner: Runnable[Any, Any], input: Any, config: RunnableConfig) -> Any:
        """Return the caller's value without blocking."""

        async def call(_: Any, run_manager: Any, config: RunnableConfig) -> Any:
            transport = self.transport(_child(config, run_manager))
            decision = await self.router.adecide(self.request.prompt, self.request.force)
            return self.output(await self.router.aanswer(self.request.prompt, decision, transport))

        return await owner._acall_with_config(call, input, config)

    def stream(
        self, owner: Runnable[Any, Any], input: Any, config: RunnableConfig
    ) -> Iterator[Any]:
        """Yield the caller's chunks; an abandoned stream ends the model's run before its own."""
        sources: list[Iterator[Any]] = []

        def transform(_: Iterator[Any], run_manager: Any, config: RunnableConfig) -> Iterator[Any]:
            sources.append(self._source(config))
            yield from sources[0]

        outer = owner._transform_stream_with_config(iter([input]), transform, config)
        try:
            for chunk in outer:  # noqa: UP028 - `yield from` would close `outer` first
                yield chunk
        finally:
            for generator in [*sources, outer]:
                cast("Any", generator).close()

    async def astream(
        self, owner: Runnable[Any, Any], input: Any, config: RunnableConfig
    ) -> AsyncIterator[Any]:
        """Yield the caller's chunks without blocking."""
        sources: list[AsyncIterator[Any]] = []

        async def transform(
            _: AsyncIterator[Any], run_manager: Any, config: RunnableConfig
        ) -> AsyncIterator[Any]:
            sources.append(self._asource(config))
            async for chunk in sources[0]:
                yield chunk

        outer = owner._atransform_stream_with_config(_once(input), transform, config)
        try:
            async for chunk in outer:
                yield chunk
        finally:
            for generator in [*sources, outer]:
                await cast("Any", generator).aclose()

    def _source(self, config: RunnableConfig) -> Iterator[Any]:
        decision = self.router.decide(self.request.prompt, self.request.force)
        chunks = self.chunks()
        transport = self.transport(config)
        for item in self.router.stream(self.request.prompt, decision, transport):
            yield from chunks.take(item)

    async def _asource(self, config: RunnableConfig) -> AsyncIterator[Any]:
        decision = await self.router.adecide(self.request.prompt, self.request.force)
        chunks = self.chunks()
        transport = self.transport(config)
        items = self.router.astream(self.request.prompt, decision, transport)
        async with aclosing(cast("Any", items)):
            async for item in items:
                for chunk in chunks.take(item):
                    yield chunk


def _child(config: RunnableConfig, run_manager: Any) -> RunnableConfig:
    return patch_config(config, callbacks=run_manager.get_child())


async def _once(value: Any) -> AsyncIterator[Any]:
    yield value
