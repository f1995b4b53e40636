"""One caller's request in LlamaIndex's terms: how to put it to a candidate.

LlamaIndex names its methods by one rule: `chat`, `achat`, `stream_chat`, `astream_chat`, and so
for `complete`, `chat_with_tools` and `structured_predict`. So one transport serves sixteen.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from llama_index.core.base.llms.types import (
    ChatResponse,
    CompletionResponse,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM

from llamaindex_router._history import history_for
from llamaindex_router._messages import (
    as_messages,
    logprobs_of,
    reason_of,
    retold,
    stamp,
    text_of,
    usage_of,
)
from llamaindex_router._models import counted, limited, tuned
from llamaindex_router._reasoning import reasoning
from llamaindex_router._streams import all_aclosed, all_closed
from llamaindex_router._usage import Watch
from llamaindex_router.events import announce_entry
from shared_core.execution import failures
from shared_core.execution.failures import Kind
from shared_core.settings import Steered
from shared_core.types import Ask, Candidate, Decision, Entry, Prompt, Reply, Turn

__all__ = ["LLMTransport", "Method", "Request"]

_END: Any = object()

Method = Literal["chat", "complete", "chat_with_tools", "structured_predict"]


@dataclass
class Request:
    """What one call asks for.

    Attributes:
        method: The method that is called, by its plain name.
        prompt: The core's view of it.
        arguments: Makes fresh arguments for one attempt at a candidate, with what is said besides
            the caller's messages; nothing in them is the caller's own list or message.
        force: The candidate that must answer, by name.
    """

    method: Method
    prompt: Prompt
    arguments: Callable[[Candidate, Sequence[Turn]], tuple[tuple[Any, ...], Mapping[str, Any]]]
    force: str | None = None


@dataclass
class LLMTransport:
    """Puts a request to LLMs; see `shared_core.execution.run.Transport`.

    Attributes:
        request: What is asked.
        decision: Stamped on the chunks of a stream, whose record is not complete yet.
        candidate: Gives a candidate by name.
    """

    request: Request
    decision: Decision
    candidate: Callable[[str], Candidate]
    _watched: dict[int, Watch | None] = field(default_factory=dict, init=False)  # by ask's place

    def send(self, ask: Ask) -> Reply:
        """Call the asked candidate."""
        watch = self._watch(ask)
        try:
            with _on(watch):
                native = self._call("", ask)
        except ValueError as error:
            return self._unparsed(ask, error, watch)
        return self._reply(ask, native, watch)

    async def asend(self, ask: Ask) -> Reply:
        """Call the asked candidate without blocking."""
        watch = self._watch(ask)
        try:
            with _on(watch):
                native = await self._call("a", ask)
        except ValueError as error:
            return self._unparsed(ask, error, watch)
        return self._reply(ask, native, watch)

    def stream(self, ask: Ask) -> Generator[Any, None, None]:
        """Yield the asked candidate's responses as they grow."""
        watch = self._watched[ask.place] = self._watch(ask)
        with _on(watch):
            stream = self._call("stream_", ask)
        with all_closed(stream) as chunks:
            while True:
                with _on(watch):  # not while the caller has its turn
                    chunk = next(chunks, _END)
                if chunk is _END:
                    return
                yield self._stamped(chunk, ask.candidate)

    async def astream(self, ask: Ask) -> AsyncGenerator[Any, None]:
        """Do the same without blocking."""
        watch = self._watched[ask.place] = self._watch(ask)
        with _on(watch):
            stream = await self._call("astream_", ask)
        async with all_aclosed(stream) as chunks:
            while True:
                with _on(watch):
                    chunk = await anext(chunks, _END)
                if chunk is _END:
                    return
                yield self._stamped(chunk, ask.candidate)

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        """Make one reply out of a stream, of which each response holds all that came before."""
        if not ask.visible and not chunks:
            return Reply(ask.candidate, parse_error=ValueError("the stream had no response"))
        native = chunks[-1] if chunks else None
        if not ask.visible and isinstance(native, (ChatResponse, CompletionResponse)):
            native = native.model_copy(update={"delta": None})
        return self._reply(ask, native, self._watched.get(ask.place), chunks)

    def recorded(self, entry: Entry) -> None:
        """Tell who listens to LlamaIndex's events."""
        announce_entry(entry)

    def split(self, reply: Reply) -> Iterable[Any]:
        """Return a reply that was held back as a stream of one response."""
        native = reply.native
        if isinstance(native, (ChatResponse, CompletionResponse)):
            native = native.model_copy(update={"delta": reply.text})
        return (self._stamped(native, reply.candidate),)

    def edited(self, reply: Reply) -> Reply:
        """Return a reply whose response says the reply's text."""
        return replace(reply, native=retold(reply.native, reply.text))

    def is_visible(self, chunk: Any) -> bool:
        """Tell whether the response shows anything: text, a tool call, structured output."""
        if isinstance(chunk, ChatResponse):
            message = chunk.message
            calls = message.additional_kwargs.get("tool_calls")  # in older integrations no blocks
            shown = any(getattr(block, "text", True) for block in message.blocks)
            return bool(chunk.delta or calls or shown)
        return not isinstance(chunk, CompletionResponse) or bool(chunk.delta or chunk.text)

    def kind_of(self, error: Exception) -> Kind | None:
        """See `failures.kind_of`: LlamaIndex has no error tree of its own."""
        return failures.kind_of(error)

    def is_retryable(self, error: Exception) -> bool:
        """Tell whether another candidate might succeed where this error was raised."""
        return failures.kind_of(error) is not None

    def _call(self, prefix: str, ask: Ask) -> Any:
        candidate = self.candidate(ask.candidate)
        model, method = candidate.model, self._method(ask)
        args: tuple[Any, ...]
        kwargs: Mapping[str, Any]
        if ask.replace:
            args, kwargs = (history_for(candidate, as_messages(ask.turns)),), {}
        else:
            args, kwargs = self.request.arguments(candidate, ask.turns)
        if "stream_" in prefix and not ask.visible:
            kwargs = {**counted(model), **kwargs}
        if ask.params:
            prompt = self.request.prompt
            model, kwargs = _with_params(model, method, kwargs, ask.params, candidate, prompt)
        return getattr(model, prefix + method)(*args, **kwargs)

    def _method(self, ask: Ask) -> Method:
        return "chat" if ask.replace else self.request.method

    def _watch(self, ask: Ask) -> Watch | None:
        """Structured output does not carry its usage, nor a router's answer that of its drafts."""
        alone = not isinstance(self.candidate(ask.candidate).model, Steered)
        return None if alone and not self._is_structured(ask) else Watch()

    def _is_structured(self, ask: Ask) -> bool:
        return self._method(ask) == "structured_predict"

    def _unparsed(self, ask: Ask, error: ValueError, watch: Watch | None) -> Reply:
        """Return a held answer that cannot be parsed; any other error goes on its way."""
        if ask.visible or not self._is_structured(ask) or self.kind_of(error) is not None:
            raise error
        return Reply(ask.candidate, parse_error=error, usage=None if watch is None else watch.usage)

    def _reply(
        self, ask: Ask, native: Any, watch: Watch | None, parts: Sequence[Any] = ()
    ) -> Reply:
        """Return what the core needs to know of an answer; all of it where it is held back.

        What a provider says of each part of a stream is found in `parts` alone.
        """
        parsed = None if isinstance(native, (ChatResponse, CompletionResponse)) else native
        usage = usage_of(native) if watch is None else watch.usage
        reply = Reply(ask.candidate, native, text_of(native), parsed, usage=usage)
        if ask.visible:
            return reply
        try:
            reply = replace(reply, tool_calls=self._tool_calls(ask, native))
        except Exception as error:  # noqa: BLE001 - arguments that cannot be decoded
            reply = replace(reply, parse_error=error)
        said = parts or (native,)
        return replace(reply, finish_reason=reason_of(said), logprobs=logprobs_of(said))

    def _tool_calls(self, ask: Ask, native: Any) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        model = self.candidate(ask.candidate).model
        if self._method(ask) != "chat_with_tools" or not isinstance(model, FunctionCallingLLM):
            return ()
        calls = model.get_tool_calls_from_response(native, error_on_no_tool_call=False)
        return tuple((call.tool_name, call.tool_kwargs) for call in calls)

    def _stamped(self, chunk: Any, candidate: str) -> Any:
        decision = self.decision
        so_far = {
            "decision_id": decision.id,
            "candidate": candidate,
            "reason": decision.reason,
            "calibrated": decision.calibrated,
            "attempts": [],
            "cost_usd": None,
            "energy_wh": None,
        }
        return stamp(chunk, so_far)


def _on(watch: Watch | None) -> AbstractContextManager[None]:
    return nullcontext() if watch is None else watch.on()


def _with_params(
    model: LLM,
    method: Method,
    kwargs: Mapping[str, Any],
    params: Mapping[str, Any],
    candidate: Candidate,
    prompt: Prompt,
) -> tuple[LLM, Mapping[str, Any]]:
    """Return an LLM and its arguments with the neutral parameters of an ask in them."""
    inside = method == "structured_predict"
    inner = {**((kwargs.get("llm_kwargs") or {}) if inside else kwargs), **tuned(candidate, params)}
    longest, limits = params.get("max_tokens"), dict(inner)
    if (level := params.get("reasoning")) is not None:
        model, limits = reasoning(candidate, model, limits, level, prompt, longest)
    if longest is not None:
        model, found = limited(model, limits, longest)
        limits = dict(found)
    return model, {**kwargs, "llm_kwargs": limits} if inside else limits
