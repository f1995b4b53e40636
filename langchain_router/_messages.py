"""LangChain messages seen from the core: the view in, the stamp out.

In: the caller's messages, which are read and never changed. Out: a `Prompt`; and copies of
answers that carry the router's record under `response_metadata["router"]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    message_chunk_to_message,
)
from langchain_core.prompt_values import ChatPromptValue

from langchain_router._tools import BoundTool
from shared_core.decision.loops import Result, call_text, loop_of
from shared_core.tokens import (
    TOKENS_PER_ATTACHMENT,
    TOKENS_PER_MESSAGE,
    estimate_tokens,
    longest_of,
    tokens_of_arguments,
)
from shared_core.types import Modality, Prompt, Scope, Step, Turn

__all__ = [
    "INNER",
    "STAMP",
    "as_chunk",
    "as_message",
    "as_messages",
    "as_prompt_value",
    "author_of",
    "read_prompt",
    "retold",
    "role_of",
    "stamp",
    "with_turns",
]

STAMP = "router"
INNER = "inner"
"""Under which a record keeps that of a router which is itself the candidate."""

Role = Literal["system", "user", "assistant", "tool"]

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "System": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "ai": "assistant",
    "assistant": "assistant",
    "AI": "assistant",
    "tool": "tool",
    "Tool": "tool",
    "function": "tool",
}

_MODALITIES: Mapping[str, Modality] = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "file": "pdf",
    "input_file": "pdf",
    "document": "pdf",
}

_NOBODY = Scope()
_NOTHING: Mapping[str, Any] = MappingProxyType({})

M = TypeVar("M", bound=BaseMessage)


def read_prompt(
    messages: Sequence[BaseMessage],
    tools: Sequence[BoundTool] = (),
    *,
    must_call: bool = False,
    schema: Mapping[str, Any] | None = None,
    schema_method: str | None = None,
    scope: Scope = _NOBODY,
    params: Mapping[str, Any] = _NOTHING,
) -> Prompt:
    """Return the plain view of a call that the core decides by.

    Of `params`, the call's further arguments, a model may read those that are more than a setting:
    a schema, tools in a provider's own form.
    """
    tokens = TOKENS_PER_MESSAGE * len(messages) + sum(estimate_tokens(str(t)) for t in tools)
    tokens += tokens_of_arguments(params)
    turns: list[Turn] = []
    modalities: set[Modality] = set()
    answer: AIMessage | None = None
    since = 0
    for place, message in enumerate(messages):
        role = role_of(message)
        text = message.content
        if not isinstance(text, str):
            text, attachments = _read_content(text)
            modalities.update(attachments)
            tokens += TOKENS_PER_ATTACHMENT * len(attachments)
        turns.append(Turn(role, text))
        tokens += estimate_tokens(text)
        if role == "user":
            since = place + 1
        if message.name:
            tokens += estimate_tokens(message.name)
        if role == "assistant" and isinstance(message, AIMessage):
            answer = message
            for call in message.tool_calls:
                tokens += estimate_tokens(str(call["args"]))
    return Prompt(
        turns=tuple(turns),
        tokens=tokens,
        tools=tuple(tools),
        must_call=must_call,
        schema=schema,
        schema_method=schema_method,
        modalities=frozenset(modalities),
        in_tool_loop=bool(turns) and turns[-1].role == "tool",
        author=None if answer is None else author_of(answer),
        scope=scope,
        max_tokens=longest_of(params),
        loop=loop_of(_said(messages[since:], turns[since:])),
    )


def role_of(message: BaseMessage) -> Role:
    """Return the plain role of a message; one that nobody knows is a user's."""
    kind = message.type.removesuffix("MessageChunk")
    return _ROLES.get(kind) or _ROLES.get(getattr(message, "role", ""), "user")


def _said(messages: Sequence[BaseMessage], turns: Sequence[Turn]) -> Iterator[Step | Result]:
    """Yield the steps of a tool loop and what the tools said.

    LangGraph marks a tool's error in the result's status; those that a user's own node makes begin
    as LangGraph's own do.
    """
    for message, turn in zip(messages, turns, strict=True):
        if turn.role == "tool":
            marked = getattr(message, "status", None) == "error"
            yield Result(turn.text, marked or turn.text.startswith("Error:"))
        elif isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls):
            calls = tuple(call_text(call["name"], call["args"]) for call in message.tool_calls)
            broken = bool(message.invalid_tool_calls)
            yield Step(author_of(message), calls, malformed=broken)


def _read_content(content: Any) -> tuple[str, Sequence[Modality]]:
    """Return text and attachments; blocks may be of any provider's making, so nothing is sure."""
    if not isinstance(content, list):
        return str(content), ()
    texts: list[str] = []
    attachments: list[Modality] = []
    for block in content:
        if not isinstance(block, dict):
            texts.append(str(block))
            continue
        kind = str(block.get("type"))
        if kind == "text":
            texts.append(str(block.get("text") or ""))
        elif kind == "tool_result":
            text, inner = _read_content(block.get("content") or "")
            texts.append(text)
            attachments += inner
        elif kind == "media":
            attachments.append(_modality_of(str(block.get("mime_type"))))
        elif kind in _MODALITIES:
            attachments.append(_MODALITIES[kind])
    return "\n".join(texts), attachments


def _modality_of(mime_type: str) -> Modality:
    kind = mime_type.partition("/")[0]
    return _MODALITIES.get(kind, "pdf")


def author_of(message: AIMessage) -> str | None:
    """Return the candidate that wrote it, by the record that it carries, if it carries ours."""
    record = message.response_metadata.get(STAMP)  # anyone may use that key
    return record.get("candidate") if isinstance(record, dict) else None


def stamp(message: M, record: Mapping[str, Any]) -> M:
    """Return a copy of the answer that carries the router's record.

    The record of a router that is itself the candidate is kept inside, so that its own messages
    can be given back to it as it wrote them.
    """
    inner = message.response_metadata.get(STAMP)
    nested = {INNER: inner} if isinstance(inner, Mapping) else {}
    metadata = {**message.response_metadata, STAMP: {**record, **nested}}
    return message.model_copy(update={"response_metadata": metadata})


def as_prompt_value(input: Any) -> ChatPromptValue | None:
    """Return a list of messages as a prompt value, unchecked but for its kinds of elements."""
    if isinstance(input, list) and all(
        issubclass(kind, BaseMessage) for kind in set(map(type, input))
    ):
        return ChatPromptValue.model_construct(messages=list(input))
    return None


def as_message(message: AIMessage) -> AIMessage:
    """Return a merged stream as the whole answer that it is."""
    return cast("AIMessage", message_chunk_to_message(message))


def as_messages(turns: Sequence[Turn]) -> list[BaseMessage]:
    """Return plain turns as messages; what a tool said is told as the user's."""
    kinds = {"system": SystemMessage, "assistant": AIMessage}
    return [kinds.get(turn.role, HumanMessage)(turn.text) for turn in turns]


def with_turns(messages: Sequence[BaseMessage], turns: Sequence[Turn]) -> list[BaseMessage]:
    """Return messages with turns said besides them, as `Ask.turns` has it; none is changed."""
    said = list(messages)
    for turn, message in zip(turns, as_messages(turns), strict=True):
        at = turn.place_in([role_of(one) for one in said])
        if at is not None:
            said[at] = _longer(said[at], turn.text)
        else:
            said.insert(0 if turn.role == "system" else len(said), message)
    return said


def _longer(message: M, text: str) -> M:
    content: Any = message.content
    if isinstance(content, str):
        longer: Any = f"{content}\n\n{text}" if content else text
    else:
        longer = [*content, {"type": "text", "text": text}]
    return message.model_copy(update={"content": longer})


def retold(message: M, text: str) -> M:
    """Return a copy of an answer with another text; what else it carries stays."""
    content = message.content
    if isinstance(content, str):
        return message.model_copy(update={"content": text})
    kept: list[Any] = []
    for block in content:
        is_text = isinstance(block, str) or block.get("type") in ("text", "output_text")
        if not is_text:
            kept.append(block)
        elif text:
            kept.append({"type": "text", "text": text})
            text = ""
    if text:  # there was none before
        kept.append({"type": "text", "text": text})
    return message.model_copy(update={"content": kept})


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """Return a whole answer as the only chunk of a stream."""
    if isinstance(message, AIMessageChunk):
        return message
    return AIMessageChunk(
        content=message.content,
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        tool_calls=message.tool_calls,
        invalid_tool_calls=message.invalid_tool_calls,
        usage_metadata=message.usage_metadata,
        id=message.id,
        name=message.name,
        chunk_position="last",
    )
