"""One caller's request in LangChain's terms: how to put it to a candidate.

The caller's own messages go to the chosen model's public methods, inside the router's run, so
that its cache, rate limiter, callbacks, streaming choice and tracing all work as without a router.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Iterable,
    Mapping,
)
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.exceptions import ContextOverflowError, ModelError
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langchain_core.runnables.config import merge_configs

from langchain_router._messages import as_chunk
from langchain_router._tools import BoundTools
from shared_core.execution.failures import may_pass
from shared_core.types import Ask, Prompt, Reply, Usage

__all__ = ["ChatTransport", "Request", "is_retryable", "own_astream", "reply_of"]


@dataclass(frozen=True)
class Request:
    """What one call asks for.

    Attributes:
        input: The caller's own messages; the chosen model reads them from here without another
            conversion.
        prompt: The core's view of them.
        force: The candidate that must answer, by name.
        tools: What to bind, with `tool_choice` and `tool_options`.
        stop: Stop sequences.
        params: Further call arguments, handed on as they are.
    """

    input: PromptValue
    prompt: Prompt
    force: str | None = None
    tools: BoundTools = field(default_factory=BoundTools)
    tool_choice: str | None = None
    tool_options: Mapping[str, Any] = field(default_factory=dict)
    stop: list[str] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    def kwargs(self) -> dict[str, Any]:
        """Return the arguments of the chosen model's call."""
        return {**self.params, **({"stop": self.stop} if self.stop else {})}

    def bound(self, model: Runnable[Any, Any]) -> Runnable[Any, Any]:
        """Return the model with this request's tools bound its own way."""
        if not self.tools:
            return model
        return self.tools.bound_to(model, self.tool_choice, self.tool_options)


@dataclass(frozen=True)
class ChatTransport:
    """Puts a request to chat models; see `shared_core.execution.run.Transport`.

    Attributes:
        request: What is asked.
        model_of: Gives a candidate's model by name.
        config: The router run's child config.
        streaming: Whole answers are collected from a stream, so that handlers see the tokens.
    """

    request: Request
    model_of: Callable[[str], Runnable[Any, Any]]
    config: RunnableConfig
    streaming: bool = False

    def send(self, ask: Ask) -> Reply:
        """Call the asked candidate."""
        if self.streaming:
            return self.join(ask, list(self.stream(ask)))
        model = self.request.bound(self.model_of(ask.candidate))
        return reply_of(ask, model.invoke(*self._arguments(), **self.request.kwargs()))

    async def asend(self, ask: Ask) -> Reply:
        """Call the asked candidate without blocking."""
        if self.streaming:
            return self.join(ask, [chunk async for chunk in self.astream(ask)])
        model = self.request.bound(self.model_of(ask.candidate))
        return reply_of(ask, await model.ainvoke(*self._arguments(), **self.request.kwargs()))

    def stream(self, ask: Ask) -> Generator[AIMessageChunk, None, None]:
        """Yield the asked candidate's chunks; one that cannot stream gives a single chunk."""
        model = self.request.bound(self.model_of(ask.candidate))
        chunks = cast("Any", model.stream(*self._arguments(), **self.request.kwargs()))
        with closing(chunks):
            for chunk in chunks:
                yield as_chunk(chunk)

    async def astream(self, ask: Ask) -> AsyncGenerator[AIMessageChunk, None]:
        """Do the same without blocking."""
        model = self.request.bound(self.model_of(ask.candidate))
        async with aclosing(
            own_astream(model, *self._arguments(), self.request.kwargs())
        ) as chunks:
            async for chunk in chunks:
                yield as_chunk(chunk)

    def join(self, ask: Ask, chunks: list[AIMessageChunk]) -> Reply:
        """Make one reply out of a stream."""
        if not chunks:
            return Reply(ask.candidate, native=AIMessageChunk(content="", chunk_position="last"))
        return reply_of(ask, add_ai_message_chunks(*chunks))

    def split(self, reply: Reply) -> Iterable[AIMessageChunk]:
        """Return a reply that was held back as a stream of one chunk."""
        return (as_chunk(reply.native),)

    def is_visible(self, chunk: AIMessageChunk) -> bool:
        """Tell whether the chunk carries content or a part of a tool call."""
        return bool(chunk.content or chunk.tool_call_chunks or chunk.additional_kwargs)

    def is_retryable(self, error: Exception) -> bool:
        """See `is_retryable`."""
        return is_retryable(error)

    def _arguments(self) -> tuple[PromptValue, RunnableConfig]:
        return self.request.input, self.config


def own_astream(
    model: Runnable[Any, Any], input: PromptValue, config: RunnableConfig, kwargs: dict[str, Any]
) -> AsyncGenerator[Any, None]:
    """Begin the stream of a model itself, with the arguments of the bindings around it.

    A binding that is left early leaves the model's stream to the garbage collector, so the model's
    run would end after the router's.
    """
    while isinstance(model, RunnableBinding):
        kwargs = {**model.kwargs, **kwargs}
        config = merge_configs(model.config, config)
        config = merge_configs(config, *(make(config) for make in model.config_factories))
        model = model.bound
    return cast("AsyncGenerator[Any, None]", model.astream(input, config, **kwargs))


def reply_of(ask: Ask, message: AIMessage) -> Reply:
    """Return what the core needs to know of an answer."""
    used = message.usage_metadata
    usage = None if used is None else Usage(used["input_tokens"], used["output_tokens"])
    return Reply(ask.candidate, native=message, text=str(message.text), usage=usage)


def is_retryable(error: Exception) -> bool:
    """Tell whether another candidate might succeed where this error was raised.

    LangChain's provider packages raise one typed tree and mark what may pass (rate limits, server
    errors, timeouts, lost connections); besides those, a prompt too long for one model may fit
    another. Packages that do not raise it yet are told by `may_pass`.
    """
    if isinstance(error, ModelError):
        return error.is_retryable or isinstance(error, ContextOverflowError)
    return may_pass(error)
