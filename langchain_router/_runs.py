"""One routed call inside one `chain` run: whole or streamed, sync or async.

A run of type `chain` may have children, a model run may not; so the router is the chain and each
attempt a model run below it. `Call` holds what differs between free text and structured output.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, Protocol

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import (
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
    patch_config,
)
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer

from langchain_router._transport import Request
from shared_core.execution.run import Transport
from shared_core.router import Router
from shared_core.types import Answer

__all__ = ["Call", "Chunks"]


_TRACED = ("decision_id", "candidate", "reason", "calibrated", "cost_usd", "energy_wh")


class Chunks(Protocol):
    """Turns what the core streams into what the caller gets."""

    def take(self, item: Any | Answer) -> Iterable[Any]:
        """Receive a native chunk, or last the `Answer`; return the chunks to hand on now."""
        ...


@dataclass
class Call:
    """One routed call.

    Attributes:
        router: The core.
        request: What is asked.
        config: The caller's.
        transport: Makes the transport, given the router run's child config.
        output: Makes the caller's value out of the answer.
        chunks: Makes a fresh `Chunks` for one stream.
    """

    router: Router
    request: Request
    config: RunnableConfig
    transport: Callable[[RunnableConfig], Transport]
    output: Callable[[Answer], Any]
    chunks: Callable[[], Chunks]

    def invoke(self, owner: Runnable[Any, Any], input: Any) -> Any:
        """Return the caller's value."""
        manager = get_callback_manager_for_config(self.config)
        run = manager.on_chain_start(None, input, **_identity(owner, self.config))
        try:
            transport = self.transport(patch_config(self.config, callbacks=run.get_child()))
            decision = self.router.decide(self.request.prompt, self.request.force)
            answer = self.router.answer(self.request.prompt, decision, transport)
            _annotate(run, answer)
            output = self.output(answer)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(output)
        return output

    async def ainvoke(self, owner: Runnable[Any, Any], input: Any) -> Any:
        """Return the caller's value without blocking."""
        manager = get_async_callback_manager_for_config(self.config)
        run = await manager.on_chain_start(None, input, **_identity(owner, self.config))
        try:
            transport = self.transport(patch_config(self.config, callbacks=run.get_child()))
            decision = await self.router.adecide(self.request.prompt, self.request.force)
            answer = await self.router.aanswer(self.request.prompt, decision, transport)
            _annotate(run, answer)
            output = self.output(answer)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        if run.handlers:  # without any, LangChain would still wait for a turn of the event loop
            await run.on_chain_end(output)
        return output

    def stream(self, owner: Runnable[Any, Any], input: Any) -> Generator[Any, None, None]:
        """Yield the caller's chunks; an abandoned stream ends the model's run before its own."""
        manager = get_callback_manager_for_config(self.config)
        run = manager.on_chain_start(None, input, **_identity(owner, self.config))
        shown: list[Any] = []
        try:
            with closing(
                self._source(run, patch_config(self.config, callbacks=run.get_child()))
            ) as source:
                for chunk in _tapped(run, source):
                    yield chunk
                    shown.append(chunk)
        except GeneratorExit:
            run.on_chain_end(_merged(run, shown))
            raise
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(_merged(run, shown))

    async def astream(self, owner: Runnable[Any, Any], input: Any) -> AsyncGenerator[Any, None]:
        """Yield the caller's chunks without blocking."""
        manager = get_async_callback_manager_for_config(self.config)
        run = await manager.on_chain_start(None, input, **_identity(owner, self.config))
        shown: list[Any] = []
        try:
            child = patch_config(self.config, callbacks=run.get_child())
            async with aclosing(self._asource(run, child)) as source:
                async for chunk in _atapped(run, source):
                    yield chunk
                    shown.append(chunk)
        except GeneratorExit:
            await run.on_chain_end(_merged(run, shown))
            raise
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        if run.handlers:
            await run.on_chain_end(_merged(run, shown))

    def _source(
        self, run: CallbackManagerForChainRun, config: RunnableConfig
    ) -> Generator[Any, None, None]:
        decision = self.router.decide(self.request.prompt, self.request.force)
        chunks = self.chunks()
        transport = self.transport(config)
        for item in self.router.stream(self.request.prompt, decision, transport):
            if isinstance(item, Answer):
                _annotate(run, item)
            yield from chunks.take(item)

    async def _asource(
        self, run: AsyncCallbackManagerForChainRun, config: RunnableConfig
    ) -> AsyncGenerator[Any, None]:
        decision = await self.router.adecide(self.request.prompt, self.request.force)
        chunks = self.chunks()
        transport = self.transport(config)
        items = self.router.astream(self.request.prompt, decision, transport)
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Answer):
                    _annotate(run, item)
                for chunk in chunks.take(item):
                    yield chunk


def _identity(owner: Runnable[Any, Any], config: RunnableConfig) -> dict[str, Any]:
    name = config.get("run_name") or owner.get_name()
    return {"name": name, "run_id": config.pop("run_id", None)}


def _annotate(
    run: CallbackManagerForChainRun | AsyncCallbackManagerForChainRun, answer: Answer
) -> None:
    """Put the record into the metadata of the router's run, for LangSmith and other tracers."""
    for handler in run.handlers:
        if isinstance(handler, (BaseTracer, AsyncBaseTracer)):
            traced = handler.run_map.get(str(run.run_id))
            if traced is not None:
                record = answer.entry.as_dict()
                known = {f"router_{name}": record[name] for name in _TRACED}
                traced.extra.setdefault("metadata", {}).update(known)


def _tapped(run: CallbackManagerForChainRun, source: Iterator[Any]) -> Iterator[Any]:
    """Let a handler that streams events (`astream_events`) see the router's own chunks."""
    for handler in run.handlers:
        if isinstance(handler, _StreamingCallbackHandler):
            return handler.tap_output_iter(run.run_id, source)
    return source


def _atapped(
    run: AsyncCallbackManagerForChainRun, source: AsyncIterator[Any]
) -> AsyncIterator[Any]:
    for handler in run.handlers:
        if isinstance(handler, _StreamingCallbackHandler):
            return handler.tap_output_aiter(run.run_id, source)
    return source


def _merged(
    run: CallbackManagerForChainRun | AsyncCallbackManagerForChainRun, shown: list[Any]
) -> Any:
    """Return what the chunks add up to, for whoever traces the run."""
    if not shown or not run.handlers:
        return None
    if all(isinstance(chunk, AIMessageChunk) for chunk in shown):
        return add_ai_message_chunks(*shown)
    return shown[-1]
