"""Structured output, bound late: the chosen model's own way, looked at from the core.

A model's `with_structured_output` gives a sequence of the model and its parser. The two are run
one after the other here, so that the raw answer (usage, metadata) and the parser's verdict are
both at hand whether or not the caller asked for the raw answer.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableSequence
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_router._messages import as_chunk, as_message, stamp
from langchain_router._runs import Call
from langchain_router._tools import rebound
from langchain_router._transport import ChatTransport, own_astream, reply_of
from shared_core.types import Answer, Ask, Reply

__all__ = ["Schema", "StructuredChunks", "StructuredRouter", "StructuredTransport"]


@dataclass(frozen=True)
class Schema:
    """The output that a caller asks for.

    Attributes:
        source: The caller's own schema object, handed to the chosen model.
        options: Further arguments for the model's `with_structured_output`.
        include_raw: The caller wants `{"raw", "parsed", "parsing_error"}`.
    """

    source: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    include_raw: bool = False

    @cached_property
    def view(self) -> Mapping[str, Any]:
        """It as JSON schema, empty where the caller gave none (JSON mode)."""
        if self.source is None:
            return {}
        function: Mapping[str, Any] = convert_to_openai_tool(self.source)["function"]
        return cast("Mapping[str, Any]", function.get("parameters", {}))

    def output(self, answer: Answer) -> Any:
        """Return what the caller gets, or raise the parser's error."""
        reply = answer.reply
        if self.include_raw:
            raw = stamp(reply.native, answer.entry.as_dict())
            return {"raw": raw, "parsed": reply.parsed, "parsing_error": reply.parse_error}
        if reply.parse_error is not None:
            raise reply.parse_error
        return reply.parsed


class StructuredRouter(Runnable[LanguageModelInput, Any]):
    """What `ChatRouter.with_structured_output` returns: routes, calls, parses."""

    def __init__(
        self,
        make_call: Callable[..., Call],
        schema: Schema,
    ) -> None:
        """Keep what a call is made of: input, config, stop sequences, further arguments."""
        self._make_call, self._schema = make_call, schema

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Route one call; see `ChatRouter.invoke`."""
        return self._make_call(input, config, stop, kwargs).invoke(self, input)

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Route one call without blocking."""
        return await self._make_call(input, config, stop, kwargs).ainvoke(self, input)

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield the parsed value as it grows; with `include_raw`, whole."""
        if self._schema.include_raw:
            yield self.invoke(input, config, stop=stop, **kwargs)
            return
        call = self._make_call(input, config, stop, kwargs)
        with closing(call.stream(self, input)) as values:
            yield from values

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Do the same without blocking."""
        if self._schema.include_raw:
            yield await self.ainvoke(input, config, stop=stop, **kwargs)
            return
        call = self._make_call(input, config, stop, kwargs)
        async with aclosing(call.astream(self, input)) as values:
            async for value in values:
                yield value


class StructuredChunks:
    """Hands parsed values on; the record has no place on them."""

    def take(self, item: Any | Answer) -> Iterable[Any]:
        """See `Chunks.take`."""
        return () if isinstance(item, Answer) else (item,)


@dataclass(kw_only=True)
class StructuredTransport(ChatTransport):
    """Puts a request for structured output: the model, then its own parser."""

    schema: Schema
    _raw: dict[int, list[AIMessageChunk]] = field(default_factory=dict)  # by the ask's place

    def send(self, ask: Ask) -> Reply:
        """Call the asked candidate, then its parser."""
        if ask.replace:
            return super().send(ask)
        llm, parser, asked, kwargs = self._all_parts(ask)
        with self.watched(ask) as config:
            raw = llm.invoke(asked, config, **kwargs)
        if parser is None:
            return _opaque(ask, raw)
        reply = reply_of(ask, raw)
        try:
            return replace(reply, parsed=parser.invoke(raw, self.config))
        except Exception as error:  # noqa: BLE001 - the verdict is data
            return replace(reply, parse_error=error)

    async def asend(self, ask: Ask) -> Reply:
        """Do the same without blocking."""
        if ask.replace:
            return await super().asend(ask)
        llm, parser, asked, kwargs = self._all_parts(ask)
        with self.watched(ask) as config:
            raw = await llm.ainvoke(asked, config, **kwargs)
        if parser is None:
            return _opaque(ask, raw)
        reply = reply_of(ask, raw)
        try:
            return replace(reply, parsed=await parser.ainvoke(raw, self.config))
        except Exception as error:  # noqa: BLE001 - the verdict is data
            return replace(reply, parse_error=error)

    def stream(self, ask: Ask) -> Generator[Any, None, None]:
        """Yield the parsed value as it grows; whole where the parser cannot be told apart."""
        llm, parser, asked, kwargs = self._all_parts(ask)
        kept = self._raw[ask.place] = []
        if parser is None:
            reply = self.send(ask)
            kept.append(as_chunk(reply.native))
            yield _whole(reply)
            return
        with self.watched(ask) as config:
            raw = llm.stream(asked, config, **kwargs)
            with closing(cast("Any", raw)):
                yield from parser.transform(map(_keeping(kept), raw), self.config)

    async def astream(self, ask: Ask) -> AsyncGenerator[Any, None]:
        """Do the same without blocking."""
        llm, parser, asked, kwargs = self._all_parts(ask)
        kept = self._raw[ask.place] = []
        if parser is None:
            reply = await self.asend(ask)
            kept.append(as_chunk(reply.native))
            yield _whole(reply)
            return
        with self.watched(ask) as config:
            raw, keep = own_astream(llm, asked, config, kwargs), _keeping(kept)
            read = (keep(chunk) async for chunk in raw)
            values = cast("Any", parser.atransform(read, self.config))
            async with aclosing(raw), aclosing(read), aclosing(values):
                async for value in values:
                    yield value

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        """Make one reply out of a stream."""
        kept = self._raw.get(ask.place)
        if not kept:
            return Reply(ask.candidate, parsed=chunks[-1] if chunks else None)
        raw = as_message(add_ai_message_chunks(*kept))
        return replace(reply_of(ask, raw), parsed=chunks[-1] if chunks else None)

    def split(self, reply: Reply) -> Iterable[Any]:
        """Return a reply that was held back as a stream of one value."""
        return (_whole(reply),)

    def is_visible(self, chunk: Any) -> bool:
        """Every parsed value shows the caller something."""
        return True

    def _all_parts(
        self, ask: Ask
    ) -> tuple[Runnable[Any, Any], Runnable[Any, Any] | None, PromptValue, dict[str, Any]]:
        model, asked, kwargs = self.unbound(ask)
        return *self._parts(model), asked, kwargs

    def _parts(
        self, model: Runnable[Any, Any]
    ) -> tuple[Runnable[Any, Any], Runnable[Any, Any] | None]:
        """Return the bound model and its parser; no parser where the two cannot be told apart."""
        if isinstance(model, RunnableBinding):
            llm, parser = self._parts(model.bound)
            return rebound(model, llm, "response_format"), parser
        if not isinstance(model, BaseChatModel):
            raise TypeError(f"{type(model).__name__} gives no structured output")
        structured = model.with_structured_output(self.schema.source, **self.schema.options)
        if isinstance(structured, RunnableSequence) and _is_model(structured.first):
            rest = structured.steps[1:]
            return structured.first, rest[0] if len(rest) == 1 else RunnableSequence(*rest)
        options = {**self.schema.options, "include_raw": True}
        return model.with_structured_output(self.schema.source, **options), None


def _whole(reply: Reply) -> Any:
    if reply.parse_error is not None:
        raise reply.parse_error
    return reply.parsed


def _keeping(kept: list[AIMessageChunk]) -> Callable[[AIMessage], AIMessageChunk]:
    """Return what hands chunks on, and keeps them."""

    def keep(chunk: AIMessage) -> AIMessageChunk:
        kept.append(as_chunk(chunk))
        return kept[-1]

    return keep


def _is_model(runnable: Runnable[Any, Any]) -> bool:
    while isinstance(runnable, RunnableBinding):
        runnable = runnable.bound
    return isinstance(runnable, BaseChatModel)


def _opaque(ask: Ask, result: Mapping[str, Any]) -> Reply:
    reply = reply_of(ask, result["raw"])
    return replace(reply, parsed=result["parsed"], parse_error=result["parsing_error"])
