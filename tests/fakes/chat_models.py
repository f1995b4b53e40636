"""Scripted LangChain chat models that run in the process.

In: a script of replies. Out: messages, streams, tool calls and failures as real integrations give
them, and a record of the calls. Without a script they answer by the rules of `replies`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, MutableSequence, Sequence
from functools import partial
from itertools import islice
from typing import Any, Literal
from uuid import uuid4

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, UsageMetadata
from langchain_core.messages.tool import ToolCall as LCToolCall
from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr, SkipValidation

from tests.fakes.replies import Answer, ToolCall, answer, pieces, usage
from tests.fakes.script import Call, Turn, next_turn

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
_MEDIA = {"image", "image_url", "audio", "file", "video"}


class ScriptedChat(BaseChatModel):
    """A chat model that streams, calls tools and follows a script.

    Attributes:
        model_name: Appears in the answers and in `response_metadata["model_name"]`.
        replies: One per call in any of the forms that `script` lists, the last one for ever. A text
            does not replace a tool call that the call forces, and a message with tool calls is not
            repeated to a tool result, so an agent loop ends.
        usage: "words" counts them; a fixed value; None leaves usage out.
        logprob: Log-probability of each token, in the metadata of calls with `logprobs=True`.
        delay_s: Seconds before the answer or the first chunk.
        chunk_delay_s: Seconds between chunks.
        stop: Stop sequences of every call that has none of its own.
        calls: The record; give several models the same list (or bounded deque) to see their order.
        bound: The tools of each `bind_tools`, the objects themselves.
    """

    model_name: str = "scripted"
    replies: SkipValidation[Sequence[Any]] = Field(default=(), exclude=True)
    usage: Literal["words"] | UsageMetadata | None = "words"
    logprob: float = -0.1
    delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    stop: list[str] | None = None
    calls: SkipValidation[MutableSequence[Call]] = Field(default_factory=list, exclude=True)
    bound: SkipValidation[list[list[Any]]] = Field(default_factory=list, exclude=True)
    _turns: list[int] = PrivateAttr(default_factory=lambda: [0])

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "stop": self.stop}

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        self.bound.append(list(tools))
        if tool_choice:
            kwargs["tool_choice"] = _openai_choice(tool_choice)
        return self.bind(tools=[_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reply = self._next("generate", messages, stop, kwargs)
        time.sleep(self.delay_s)
        return _result(*reply)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reply = self._next("agenerate", messages, stop, kwargs)
        await asyncio.sleep(self.delay_s)
        return _result(*reply)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        reply = self._next("stream", messages, stop, kwargs)
        time.sleep(self.delay_s)
        for chunk in _chunks(*reply):
            yield chunk
            time.sleep(self.chunk_delay_s)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        reply = self._next("astream", messages, stop, kwargs)
        await asyncio.sleep(self.delay_s)
        for chunk in _chunks(*reply):
            yield chunk
            await asyncio.sleep(self.chunk_delay_s)

    def _next(
        self, method: str, messages: list[BaseMessage], stop: list[str] | None, kwargs: Any
    ) -> tuple[AIMessage, Turn]:
        """Records a call and works out what comes of it."""
        if not messages:
            raise ValueError("messages must not be empty")
        self.calls.append(Call(self.model_name, method, messages, {"stop": stop, **kwargs}))
        loops = partial(_calls_again, messages)
        turn = next_turn(self.replies, self._turns, messages, loops)
        return self._said(turn.said, self._body(messages, stop, kwargs)), turn

    def _said(self, said: str | AIMessage | None, body: dict[str, Any]) -> AIMessage:
        """A reply as a message, with usage and metadata where the script gives none."""
        message = said if isinstance(said, AIMessage) else _message(answer(body, said))
        given = Answer(message.text, _tool_calls(message))
        update = {
            "usage_metadata": message.usage_metadata or self._usage(body, given),
            "response_metadata": self._metadata(body, message) | message.response_metadata,
        }
        return message.model_copy(deep=True, update=update)

    def _body(self, messages: list[BaseMessage], stop: Any, kwargs: dict[str, Any]) -> Any:
        """The call as an OpenAI request, for the rules of `replies`."""
        converted = [_openai_message(message) for message in messages]
        stops = stop or self.stop
        return {"model": self.model_name, **kwargs, "messages": converted, "stop": stops}

    def _metadata(self, body: dict[str, Any], message: AIMessage) -> dict[str, Any]:
        metadata = {
            "model_name": body["model"],
            "model_provider": "scripted",
            "finish_reason": "tool_calls" if message.tool_calls else "stop",
        }
        if not body.get("logprobs"):
            return metadata
        tokens = [{"token": token, "logprob": self.logprob} for token in pieces(message.text)]
        return {**metadata, "logprobs": {"content": tokens}}

    def _usage(self, body: dict[str, Any], given: Answer) -> UsageMetadata | None:
        if self.usage != "words":
            return self.usage
        counts = usage(body, [given])
        return UsageMetadata(
            input_tokens=counts["prompt_tokens"],
            output_tokens=counts["completion_tokens"],
            total_tokens=counts["total_tokens"],
        )


class ScriptedChatWithoutStream(ScriptedChat):
    """Like an integration that never implemented streaming."""

    _stream = BaseChatModel._stream
    _astream = BaseChatModel._astream


class ScriptedChatWithoutTools(ScriptedChat):
    """Like an integration that never implemented tool calling."""

    bind_tools = BaseChatModel.bind_tools


def _calls_again(messages: list[BaseMessage], said: Any) -> bool:
    return messages[-1].type == "tool" and bool(getattr(said, "tool_calls", None))


def _result(message: AIMessage, turn: Turn) -> ChatResult:
    if turn.broken:
        raise turn.broken.error
    return ChatResult(generations=[ChatGeneration(message=message)])


def _chunks(message: AIMessage, turn: Turn) -> Iterator[ChatGenerationChunk]:
    """The stream of a reply, ended by its failure if it has one."""
    chunks = _message_chunks(message, turn)
    for chunk in islice(chunks, turn.broken.after if turn.broken else None):
        yield ChatGenerationChunk(message=chunk)
    if turn.broken:
        raise turn.broken.error


def _message_chunks(message: AIMessage, turn: Turn) -> Iterator[AIMessageChunk]:
    """Contents, then tool calls, then one chunk with usage and metadata."""
    for content in _contents(message, turn):
        yield AIMessageChunk(content=content)
    for index, tool_call in enumerate(message.tool_calls):
        for chunk in _tool_call_chunks(index, tool_call):
            yield AIMessageChunk(content="", tool_call_chunks=[chunk])
    yield AIMessageChunk(
        content="" if isinstance(message.content, str) else [],
        additional_kwargs=message.additional_kwargs,
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )


def _contents(message: AIMessage, turn: Turn) -> list[Any]:
    """The contents of the chunks: as the script cut them, else by words; lists stay whole."""
    if not isinstance(message.content, str):
        return [message.content]
    return turn.chunks(pieces(message.content))


def _tool_call_chunks(index: int, call: LCToolCall) -> Iterator[ToolCallChunk]:
    """A tool call as a stream sends it: name first, then the arguments in two pieces of JSON."""
    text = json.dumps(call["args"], ensure_ascii=False)
    middle = len(text) // 2
    yield tool_call_chunk(name=call["name"], args="", id=call["id"], index=index)
    yield tool_call_chunk(args=text[:middle], index=index)
    yield tool_call_chunk(args=text[middle:], index=index)


def _message(given: Answer) -> AIMessage:
    calls = [
        {"name": call.name, "args": call.arguments, "id": f"call_{uuid4().hex}"}
        for call in given.tool_calls
    ]
    metadata = {"finish_reason": given.finish_reason}
    return AIMessage(given.text, tool_calls=calls, response_metadata=metadata)


def _tool_calls(message: BaseMessage) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(call["name"], call["args"]) for call in getattr(message, "tool_calls", ())
    )


def _openai_message(message: BaseMessage) -> dict[str, Any]:
    """A message as far as the rules of `replies` look at it."""
    blocks = message.content if isinstance(message.content, list) else []
    kinds = [block["type"] for block in blocks if isinstance(block, dict)]
    media = [{"type": kind} for kind in kinds if kind.removeprefix("input_") in _MEDIA]
    calls = [
        {"function": {"name": call.name, "arguments": call.json}} for call in _tool_calls(message)
    ]
    content = [{"type": "text", "text": message.text}, *media]
    return {"role": _ROLES.get(message.type, "user"), "content": content, "tool_calls": calls}


def _openai_choice(choice: Any) -> Any:
    """LangChain's forms of `tool_choice` in OpenAI's form."""
    if choice in (True, "any", "required"):
        return "required"
    if isinstance(choice, str) and choice not in ("auto", "none"):
        return {"type": "function", "function": {"name": choice}}
    return choice


def _openai_tool(tool: Any) -> dict[str, Any]:
    """A tool in OpenAI's form; a provider's own built-in tool stays as it is."""
    if isinstance(tool, dict):
        built_in = tool.get("type", "function") not in ("function", "object")
        if built_in or not {"name", "title", "function"} & tool.keys():
            return tool
    return convert_to_openai_tool(tool)
