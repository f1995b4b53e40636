"""Scripted LlamaIndex LLMs that run in the process, decorated as real integrations are.

In: a script of replies. Out: responses, streams, tool calls and failures, the events of a real
call, and a record of the calls. Without a script they answer by the rules of `replies`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Generator, Iterator, MutableSequence, Sequence
from functools import partial
from itertools import islice
from typing import Any, Literal
from uuid import uuid4

from llama_index.core.base.llms.generic_utils import (
    astream_chat_response_to_completion_response,
    chat_response_to_completion_response,
    stream_chat_response_to_completion_response,
)
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    LogProb,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from llama_index.core.program.streaming_utils import process_streaming_content_incremental
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel, Field, PrivateAttr, SkipValidation

from tests.fakes.replies import Answer, ToolCall, answer, pieces, usage
from tests.fakes.script import Call, Turn, next_turn

dispatcher = get_dispatcher(__name__)

_ROLES = {MessageRole.SYSTEM: "system", MessageRole.ASSISTANT: "assistant"}
_ROLES |= {MessageRole.TOOL: "tool", MessageRole.DEVELOPER: "system"}
_NOT_MEDIA = {"text", "tool_call", "thinking"}


class _Scripted(LLM):
    """What both fakes share: settings, script, record and the four completion methods.

    Attributes:
        model: Appears in the answers and in `metadata.model_name`.
        replies: One per call in any of the forms that `script` lists, the last one for ever. A text
            does not replace a tool call that the call forces, and a message with tool calls is not
            repeated to a tool result, so an agent loop ends.
        usage: "words" counts them; a dict in OpenAI's shape; None leaves usage out.
        logprob: Log-probability of each token, in responses to calls with `logprobs=True`.
        delay_s: Seconds before the answer or the first chunk.
        chunk_delay_s: Seconds between chunks.
        context_window, num_output, system_role: As in `metadata`.
        calls: The record; give several LLMs the same list (or bounded deque) to see their order.
    """

    model: str = "scripted"
    replies: SkipValidation[Sequence[Any]] = Field(default=(), exclude=True)
    usage: Literal["words"] | dict[str, int] | None = "words"
    logprob: float = -0.1
    delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    context_window: int = 4096
    num_output: int = 256
    system_role: MessageRole = MessageRole.SYSTEM
    calls: SkipValidation[MutableSequence[Call]] = Field(default_factory=list, exclude=True)
    _turns: list[int] = PrivateAttr(default_factory=lambda: [0])

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        response = self._whole(*self._next_prompt("complete", prompt, kwargs))
        return chat_response_to_completion_response(response)

    @llm_completion_callback()
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        response = await self._awhole(*self._next_prompt("acomplete", prompt, kwargs))
        return chat_response_to_completion_response(response)

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        parts = self._parts(*self._next_prompt("stream_complete", prompt, kwargs))
        return stream_chat_response_to_completion_response(parts)

    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        parts = self._aparts(*self._next_prompt("astream_complete", prompt, kwargs))
        return astream_chat_response_to_completion_response(parts)

    def _next(
        self, method: str, native: Any, messages: Sequence[ChatMessage], kwargs: dict[str, Any]
    ) -> tuple[ChatResponse, Turn]:
        """Records a call and works out its whole response and how it comes."""
        if not messages:
            raise ValueError("messages must not be empty")
        self.calls.append(Call(self.model, method, native, kwargs))
        turn = next_turn(self.replies, self._turns, native, partial(_calls_again, messages))
        sent = [_openai_message(message) for message in messages]
        body = {"model": self.model, **kwargs, "messages": sent}
        said = turn.said
        message = said if isinstance(said, ChatMessage) else _message(answer(body, said))
        counts = usage(body, [_given(message)]) if self.usage == "words" else self.usage
        response = _response(message.model_copy(deep=True), self.model, counts)
        if kwargs.get("logprobs"):
            tokens = pieces(message.content or "")
            response.logprobs = [[LogProb(token=one, logprob=self.logprob)] for one in tokens]
        return response, turn

    def _next_prompt(
        self, method: str, prompt: str, kwargs: dict[str, Any]
    ) -> tuple[ChatResponse, Turn]:
        return self._next(method, prompt, [ChatMessage(content=prompt)], kwargs)

    def _metadata(self, **flags: bool) -> LLMMetadata:
        return LLMMetadata(
            model_name=self.model,
            context_window=self.context_window,
            num_output=self.num_output,
            system_role=self.system_role,
            **flags,
        )

    def _whole(self, response: ChatResponse, turn: Turn) -> ChatResponse:
        time.sleep(self.delay_s)
        return _unbroken(response, turn)

    async def _awhole(self, response: ChatResponse, turn: Turn) -> ChatResponse:
        await asyncio.sleep(self.delay_s)
        return _unbroken(response, turn)

    def _parts(self, response: ChatResponse, turn: Turn) -> ChatResponseGen:
        time.sleep(self.delay_s)
        for part in _stream(response, turn):
            yield part
            time.sleep(self.chunk_delay_s)

    async def _aparts(self, response: ChatResponse, turn: Turn) -> ChatResponseAsyncGen:
        await asyncio.sleep(self.delay_s)
        for part in _stream(response, turn):
            yield part
            await asyncio.sleep(self.chunk_delay_s)


class ScriptedLLM(_Scripted, FunctionCallingLLM):
    """A chat LLM with function calling that follows a script.

    It has habits of the OpenAI integration that callers must survive: it appends the user's message
    to the caller's `chat_history` in place, tool arguments stay JSON text, and tool calls are
    repeated in `message.additional_kwargs`.

    Attributes:
        native_structured: Whether `structured_predict` and its three siblings use a native
            `response_format`, as OpenAI's do, or a forced tool call, as the base class does.
        json_tool_kwargs: Whether tool arguments in messages are JSON text or an object.
        bound: The tools of each `*_with_tools` call, the objects themselves.
    """

    native_structured: bool = False
    json_tool_kwargs: bool = True
    bound: SkipValidation[list[list[Any]]] = Field(default_factory=list, exclude=True)

    @classmethod
    def class_name(cls) -> str:
        return "scripted_llm"

    @property
    def metadata(self) -> LLMMetadata:
        return self._metadata(is_chat_model=True, is_function_calling_model=True)

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return self._whole(*self._next_chat("chat", messages, kwargs))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return await self._awhole(*self._next_chat("achat", messages, kwargs))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        return self._parts(*self._next_chat("stream_chat", messages, kwargs))

    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        return self._aparts(*self._next_chat("astream_chat", messages, kwargs))

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if error_on_no_tool_call and not calls:
            raise ValueError("Expected at least one tool call, but got 0 tool calls.")
        return [
            ToolSelection(
                tool_id=call.tool_call_id or "",
                tool_name=call.tool_name,
                tool_kwargs=_arguments(call),
            )
            for call in calls
        ]

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[Any],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        self.bound.append(list(tools))
        messages = chat_history if chat_history is not None else []
        if user_msg:
            asked = ChatMessage(content=user_msg) if isinstance(user_msg, str) else user_msg
            messages.append(asked)
        choice: Any = tool_choice or ("required" if tool_required else "auto")
        if isinstance(choice, str) and choice not in ("auto", "required", "none"):
            choice = {"type": "function", "function": {"name": choice}}
        return {
            "messages": messages,
            "tools": [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools],
            "tool_choice": choice,
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    @dispatcher.span
    def structured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> BaseModel:
        llm_kwargs = self._structured_kwargs(llm_kwargs, output_cls)
        if not self.native_structured:
            return super().structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
        messages = self._extend_messages(prompt.format_messages(**prompt_args))
        response = self.chat(messages, **llm_kwargs)
        return output_cls.model_validate_json(str(response.message.content))

    @dispatcher.span
    async def astructured_predict(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> BaseModel:
        llm_kwargs = self._structured_kwargs(llm_kwargs, output_cls)
        if not self.native_structured:
            return await super().astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
        messages = self._extend_messages(prompt.format_messages(**prompt_args))
        response = await self.achat(messages, **llm_kwargs)
        return output_cls.model_validate_json(str(response.message.content))

    def _structured_stream_call(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        llm_kwargs = self._structured_kwargs(llm_kwargs, output_cls)
        if not self.native_structured:
            return super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
        messages = self._extend_messages(prompt.format_messages(**prompt_args))
        return _objects(self.stream_chat(messages, **llm_kwargs), output_cls)

    async def _structured_astream_call(
        self,
        output_cls: type[BaseModel],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        llm_kwargs = self._structured_kwargs(llm_kwargs, output_cls)
        if not self.native_structured:
            return await super()._structured_astream_call(
                output_cls, prompt, llm_kwargs, **prompt_args
            )
        messages = self._extend_messages(prompt.format_messages(**prompt_args))
        return _aobjects(await self.astream_chat(messages, **llm_kwargs), output_cls)

    def _structured_kwargs(
        self, llm_kwargs: dict[str, Any] | None, output_cls: type[BaseModel]
    ) -> dict[str, Any]:
        """What a structured call adds: a schema natively, else a tool choice, as OpenAI's does."""
        if not self.native_structured:
            return {"tool_choice": "required", **(llm_kwargs or {})}
        schema = {"name": output_cls.__name__, "schema": output_cls.model_json_schema()}
        wanted = {"type": "json_schema", "json_schema": schema}
        return {**(llm_kwargs or {}), "response_format": wanted}

    def _next_chat(
        self, method: str, messages: Sequence[ChatMessage], kwargs: dict[str, Any]
    ) -> tuple[ChatResponse, Turn]:
        response, turn = self._next(method, messages, messages, kwargs)
        for block in response.message.blocks:
            if isinstance(block, ToolCallBlock):
                arguments = _arguments(block)
                block.tool_kwargs = json.dumps(arguments) if self.json_tool_kwargs else arguments
        _repeat_tool_calls(response.message)
        return response, turn


class ScriptedTextLLM(_Scripted, CustomLLM):
    """A completion LLM without function calling.

    Its chat methods are the base class's: they go through `complete` (so one chat gives a chat
    event and a completion event), and `achat` blocks the event loop for `delay_s`.
    """

    @classmethod
    def class_name(cls) -> str:
        return "scripted_text_llm"

    @property
    def metadata(self) -> LLMMetadata:
        return self._metadata(is_chat_model=False, is_function_calling_model=False)


def _calls_again(messages: Sequence[ChatMessage], said: Any) -> bool:
    return messages[-1].role == MessageRole.TOOL and bool(_tool_blocks(said))


def _tool_blocks(said: Any) -> list[ToolCallBlock]:
    blocks = said.blocks if isinstance(said, ChatMessage) else []
    return [block for block in blocks if isinstance(block, ToolCallBlock)]


def _arguments(call: ToolCallBlock) -> dict[str, Any]:
    """Arguments as an object; JSON text may be cut short, in the middle of a stream."""
    if isinstance(call.tool_kwargs, dict):
        return call.tool_kwargs
    try:
        return parse_partial_json(call.tool_kwargs)
    except ValueError:
        return {}


def _message(given: Answer) -> ChatMessage:
    blocks: list[Any] = [TextBlock(text=given.text)] if given.text else []
    blocks += [
        ToolCallBlock(
            tool_call_id=f"call_{uuid4().hex}", tool_name=call.name, tool_kwargs=call.arguments
        )
        for call in given.tool_calls
    ]
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)


def _given(message: ChatMessage) -> Answer:
    calls = [ToolCall(call.tool_name, _arguments(call)) for call in _tool_blocks(message)]
    return Answer(message.content or "", tuple(calls))


def _openai_message(message: ChatMessage) -> dict[str, Any]:
    """A message as far as the rules of `replies` look at it."""
    media = [block for block in message.blocks if block.block_type not in _NOT_MEDIA]
    content = [{"type": "text", "text": message.content or ""}]
    return {
        "role": _ROLES.get(message.role, "user"),
        "content": content + [{"type": block.block_type} for block in media],
        "tool_calls": [{"function": {"name": one.tool_name}} for one in _tool_blocks(message)],
    }


def _response(message: ChatMessage, model: str, counts: dict[str, Any] | None) -> ChatResponse:
    """A response with its usage where the OpenAI integration has it."""
    raw = {"model": model, "usage": counts}
    totals = {key: count for key, count in (counts or {}).items() if key.endswith("_tokens")}
    return ChatResponse(message=message, raw=raw, additional_kwargs=totals)


def _repeat_tool_calls(message: ChatMessage) -> None:
    """Adds the tool calls in OpenAI's form, without which structured streams see none."""
    if calls := _tool_blocks(message):
        message.additional_kwargs["tool_calls"] = [_openai_call(call) for call in calls]


def _openai_call(call: ToolCallBlock) -> dict[str, Any]:
    given = call.tool_kwargs
    arguments = given if isinstance(given, str) else json.dumps(given)
    function = {"name": call.tool_name, "arguments": arguments}
    return {"id": call.tool_call_id, "type": "function", "function": function}


def _unbroken(response: ChatResponse, turn: Turn) -> ChatResponse:
    if turn.broken:
        raise turn.broken.error
    return response


def _stream(response: ChatResponse, turn: Turn) -> Iterator[ChatResponse]:
    """The parts of a response, ended by its failure if it has one."""
    yield from islice(_parts(response, turn), turn.broken.after if turn.broken else None)
    _unbroken(response, turn)


def _parts(response: ChatResponse, turn: Turn) -> Iterator[ChatResponse]:
    """Growing texts, then growing tool arguments, then the whole response with its usage."""
    text = ""
    for piece in turn.chunks(pieces(response.message.content or "")):
        text += piece
        yield _part([TextBlock(text=text)], response, piece)
    calls = _tool_blocks(response.message)
    if any(isinstance(call.tool_kwargs, str) for call in calls):
        yield _part([TextBlock(text=text), *map(_half, calls)], response)
    yield response.model_copy(update={"delta": ""})


def _part(blocks: list[Any], response: ChatResponse, delta: str = "") -> ChatResponse:
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)
    _repeat_tool_calls(message)
    raw = {**(response.raw or {}), "usage": None}
    return ChatResponse(message=message, delta=delta, raw=raw)


def _half(call: ToolCallBlock) -> ToolCallBlock:
    """A tool call whose arguments have arrived by half."""
    if isinstance(call.tool_kwargs, dict):
        return call
    arguments = call.tool_kwargs[: len(call.tool_kwargs) // 2]
    return call.model_copy(update={"tool_kwargs": arguments})


def _objects(parts: ChatResponseGen, output_cls: type[BaseModel]) -> Generator[Any, None, None]:
    """The objects of a structured stream, each more complete than the one before."""
    current = None
    for part in parts:
        current = process_streaming_content_incremental(part, output_cls, current)
        yield current


async def _aobjects(
    parts: ChatResponseAsyncGen, output_cls: type[BaseModel]
) -> AsyncGenerator[Any, None]:
    current = None
    async for part in parts:
        current = process_streaming_content_incremental(part, output_cls, current)
        yield current
