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
    Sequence,
)
from contextlib import AbstractContextManager, aclosing, closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add, is_
from typing import Any, Final, cast

from langchain_core.exceptions import ContextOverflowError, ModelError
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langchain_core.runnables.config import merge_configs

from langchain_router._history import history_for
from langchain_router._messages import as_chunk, as_messages, retold, with_turns
from langchain_router._models import limited, tuned
from langchain_router._tools import BoundTools
from langchain_router._witness import watched
from shared_core.execution import failures
from shared_core.execution.failures import Kind
from shared_core.types import (
    Ask,
    Candidate,
    Entry,
    Prompt,
    Reply,
    Turn,
    Usage,
    usage_of_counts,
)

__all__ = [
    "ChatTransport",
    "Request",
    "attempt",
    "kind_of",
    "own_astream",
    "reply_of",
    "usage_of",
]

_CACHE_WRITES: Final = (
    *("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
)
"""Under which LangChain's packages report tokens written to a prompt cache, one or several."""

_REASONS: Final = ("finish_reason", "stop_reason", "done_reason")
"""Under which they report why an answer ended: OpenAI's and others', Anthropic's, Ollama's."""

_TEXTS: Final = ("text", "reasoning", "thinking")
"""Under which content blocks keep what they say."""

_NOSTREAM: Final = "nostream"  # as LangGraph calls it
_HELD: Final = {"answer": "router:draft", "check": "router:check"}


@dataclass
class Request:
    """What one call asks for.

    Attributes:
        input: What the caller gave; the chosen model reads it without another conversion where
            nothing in it has to change.
        messages: The same as messages.
        prompt: The core's view of them.
        force: The candidate that must answer, by name.
        tools: What to bind, with `tool_choice` and `tool_options`.
        stop: Stop sequences.
        params: Further call arguments, handed on as they are.
    """

    input: PromptValue
    messages: Sequence[BaseMessage]
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

    def input_for(self, candidate: Candidate, turns: Sequence[Turn] = ()) -> PromptValue:
        """Return the conversation as the candidate can read it, with what is said besides it."""
        history = history_for(candidate, with_turns(self.messages, turns))
        same = len(history) == len(self.messages) and all(map(is_, history, self.messages))
        return self.input if same else ChatPromptValue.model_construct(messages=history)

    def bound(self, model: Runnable[Any, Any]) -> Runnable[Any, Any]:
        """Return the model with this request's tools bound its own way."""
        if not self.tools:
            return model
        return self.tools.bound_to(model, self.tool_choice, self.tool_options)


@dataclass
class ChatTransport:
    """Puts a request to chat models; see `shared_core.execution.run.Transport`.

    Attributes:
        request: What is asked.
        candidate: Gives a candidate by name.
        config: The router run's child config.
        streaming: Whole answers are collected from a stream, so that handlers see the tokens;
            not those that are held back.
    """

    request: Request
    candidate: Callable[[str], Candidate]
    config: RunnableConfig
    streaming: bool = False
    spoken: list[Exception] = field(default_factory=list)

    def send(self, ask: Ask) -> Reply:
        """Call the asked candidate."""
        if self.streaming and ask.visible:
            return reply_of(ask, _merged(list(self.stream(ask))))
        model, asked, kwargs = self.parts(ask)
        with self.watched(ask) as config:
            return reply_of(ask, model.invoke(asked, config, **kwargs))

    async def asend(self, ask: Ask) -> Reply:
        """Call the asked candidate without blocking."""
        if self.streaming and ask.visible:
            return reply_of(ask, _merged([chunk async for chunk in self.astream(ask)]))
        model, asked, kwargs = self.parts(ask)
        with self.watched(ask) as config:
            return reply_of(ask, await model.ainvoke(asked, config, **kwargs))

    def stream(self, ask: Ask) -> Generator[Any, None, None]:
        """Yield the asked candidate's chunks; one that cannot stream gives a single chunk."""
        model, asked, kwargs = self.parts(ask)
        with self.watched(ask) as config:
            chunks = cast("Any", model.stream(asked, config, **kwargs))
            with closing(chunks):
                for chunk in chunks:
                    yield as_chunk(chunk)

    async def astream(self, ask: Ask) -> AsyncGenerator[Any, None]:
        """Do the same without blocking."""
        model, asked, kwargs = self.parts(ask)
        with self.watched(ask) as config:
            chunks = own_astream(model, asked, config, kwargs)
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield as_chunk(chunk)

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        """Make one reply out of a stream; chunks that the caller has are not merged."""
        if not ask.visible:
            return reply_of(ask, _merged(chunks))
        text = "".join([str(chunk.text) for chunk in chunks])
        used = [usage_of(chunk) for chunk in chunks if chunk.usage_metadata]
        known = [usage for usage in used if usage is not None]
        usage = reduce(add, known) if known and len(known) == len(used) else None
        return Reply(ask.candidate, native=chunks, text=text, usage=usage)

    def split(self, reply: Reply) -> Iterable[Any]:
        """Return a reply that was held back as a stream of one chunk."""
        return (as_chunk(reply.native),)

    def edited(self, reply: Reply) -> Reply:
        """Return a reply whose message says the reply's text."""
        return replace(reply, native=retold(reply.native, reply.text))

    def is_visible(self, chunk: Any) -> bool:
        """Tell whether the chunk carries content or a part of a tool call."""
        content = chunk.content
        shown = any(map(_shows, content)) if isinstance(content, list) else content
        return bool(shown or chunk.tool_call_chunks or chunk.additional_kwargs)

    def kind_of(self, error: Exception) -> Kind | None:
        """See `kind_of`."""
        return kind_of(error)

    def is_retryable(self, error: Exception) -> bool:
        """Tell whether another may answer: not once a handler has shown a part of this answer."""
        return kind_of(error) is not None and not any(error is known for known in self.spoken)

    def recorded(self, entry: Entry) -> None:
        """Do nothing: the record is on the answer, and on the run."""

    def parts(self, ask: Ask) -> tuple[Runnable[Any, Any], PromptValue, dict[str, Any]]:
        """Return the asked candidate's model with its tools bound, what it reads, and arguments."""
        model, asked, kwargs = self.unbound(ask)
        return model if ask.replace else self.request.bound(model), asked, kwargs

    def unbound(self, ask: Ask) -> tuple[Runnable[Any, Any], PromptValue, dict[str, Any]]:
        """Return the same with the model as the user gave it."""
        candidate = self.candidate(ask.candidate)
        model: Runnable[Any, Any] = candidate.model
        kwargs = {} if ask.replace else self.request.kwargs()
        kwargs.update(tuned(candidate, ask.params, self.request.prompt))
        if (longest := ask.params.get("max_tokens")) is not None:
            model, kwargs = limited(model, kwargs, longest)
        if ask.replace:
            said = ChatPromptValue.model_construct(messages=as_messages(ask.turns))
            return model, said, kwargs
        return model, self.request.input_for(candidate, ask.turns), kwargs

    def watched(self, ask: Ask) -> AbstractContextManager[RunnableConfig]:
        """Give the config of one attempt; see `attempt`."""
        return attempt(self.config, ask, self.spoken)


def attempt(
    config: RunnableConfig, ask: Ask, spoken: list[Exception]
) -> AbstractContextManager[RunnableConfig]:
    """Give the config of one attempt; see `watched`.

    What is held back is tagged, so that LangGraph's `messages` mode does not show it; nobody has to
    be told then that something was shown.
    """
    if ask.visible:
        return watched(config, spoken)
    tags = [*(config.get("tags") or ()), _NOSTREAM, _HELD[ask.purpose]]
    return nullcontext({**config, "tags": tags})


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


def _shows(block: Any) -> bool:
    """Tell whether a content block shows anything: one that only opens a text does not."""
    if not isinstance(block, dict):
        return bool(block)
    texts = [block[kind] for kind in _TEXTS if kind in block]
    return any(texts) or not texts


def _merged(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    """Return the answer that the chunks of a stream add up to."""
    if not chunks:
        return AIMessageChunk(content="", chunk_position="last")
    return add_ai_message_chunks(*chunks)


def reply_of(ask: Ask, message: AIMessage) -> Reply:
    """Return what the core needs to know of an answer; all of it where it is held back."""
    text, usage = str(message.text), usage_of(message)
    if ask.visible:
        return Reply(ask.candidate, native=message, text=text, usage=usage)
    metadata = message.response_metadata
    reason = next((why for name in _REASONS if (why := metadata.get(name))), None)
    return Reply(
        ask.candidate,
        native=message,
        text=text,
        usage=usage,
        tool_calls=tuple((call["name"], call["args"]) for call in message.tool_calls),
        finish_reason=reason if isinstance(reason, str) else None,
        logprobs=_logprobs(metadata.get("logprobs")),
    )


def _logprobs(report: Any) -> tuple[float, ...] | None:
    """Return the log probability of each token, where the answer reports them as OpenAI's do."""
    tokens = report.get("content") if isinstance(report, Mapping) else None
    found = [t.get("logprob") if isinstance(t, Mapping) else None for t in tokens or ()]
    numbers = [float(one) for one in found if isinstance(one, (int, float))]
    return tuple(numbers) if numbers and len(numbers) == len(found) else None


def usage_of(message: AIMessage) -> Usage | None:
    """Return the tokens that a message reports; None where it reports none, or nonsense.

    LangChain counts cached and cache-written tokens as input, and reasoning as output. An answer
    out of LangChain's own cache reports a total cost of 0.
    """
    used: Any = message.usage_metadata
    if not isinstance(used, Mapping):
        return None
    read, wrote = used.get("input_token_details") or {}, used.get("output_token_details") or {}
    return usage_of_counts(
        used.get("input_tokens"),
        used.get("output_tokens"),
        read.get("cache_read"),
        sum(count for kind in _CACHE_WRITES if isinstance(count := read.get(kind), int)),
        wrote.get("reasoning"),
        free=used.get("total_cost") == 0,
    )


def kind_of(error: BaseException) -> Kind | None:
    """Tell what kind of failure it is.

    LangChain's provider packages raise one typed tree and mark what may pass: rate limits, server
    errors, timeouts, lost connections. Packages that do not raise it yet are told by
    `shared_core.execution.failures`.
    """
    cause = failures.behind(error)
    if isinstance(cause, ModelError) and not isinstance(cause, ContextOverflowError):
        return "unavailable" if cause.is_retryable else None
    return failures.kind_of(cause)
