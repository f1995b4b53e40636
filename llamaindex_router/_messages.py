"""LlamaIndex messages seen from the core: the view in, the stamp out.

In: the caller's messages, which are read and never changed. Out: a `Prompt`; copies of responses
that carry the router's record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
)

from llamaindex_router._loops import is_an_agents, loop_of
from shared_core.tokens import (
    TOKENS_PER_ATTACHMENT,
    TOKENS_PER_MESSAGE,
    estimate_tokens,
    longest_of,
    tokens_of_arguments,
)
from shared_core.types import Modality, Prompt, Scope, Turn, Usage, usage_of_counts

__all__ = [
    "INNER",
    "STAMP",
    "as_messages",
    "author_of",
    "logprobs_of",
    "read_prompt",
    "reason_of",
    "retold",
    "role_of",
    "stamp",
    "text_of",
    "usage_of",
    "with_turns",
]

STAMP = "router"
INNER = "inner"
"""Under which a record keeps that of a router which is itself the candidate."""

Role = Literal["system", "user", "assistant", "tool"]

_ROLES: Mapping[MessageRole, Role] = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}

_MODALITIES: Mapping[str, Modality] = {
    "image": "image",
    "audio": "audio",
    "video": "video",
    "document": "pdf",
}
"""By `block_type`: the classes differ between the versions of LlamaIndex."""

_NOBODY = Scope()
_NOTHING: Mapping[str, Any] = MappingProxyType({})

R = TypeVar("R")


def read_prompt(
    messages: Sequence[ChatMessage],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    must_call: bool = False,
    schema: Mapping[str, Any] | None = None,
    scope: Scope = _NOBODY,
    params: Mapping[str, Any] = _NOTHING,
) -> Prompt:
    """Return the plain view of a call that the core decides by.

    Of `params`, the call's further arguments, a model may read those that are more than a setting:
    a schema, tools in a provider's own form.
    """
    tokens = TOKENS_PER_MESSAGE * len(messages) + _besides(messages, tools, params)
    turns: list[Turn] = []
    modalities: list[Modality] = []
    answer: ChatMessage | None = None
    since = 0
    for place, message in enumerate(messages):
        role = role_of(message)
        text, attachments, read = _read_blocks(message)
        if role == "assistant":
            answer = message
        elif role == "user":
            if turns and is_an_agents(turns[-1], text):
                role = "tool"
            else:
                since = place + 1
        turns.append(Turn(role, text))
        modalities += attachments
        tokens += read
    return Prompt(
        turns=tuple(turns),
        tokens=tokens + TOKENS_PER_ATTACHMENT * len(modalities),
        tools=tuple(tools),
        must_call=must_call,
        schema=schema,
        modalities=frozenset(modalities),
        in_tool_loop=bool(turns) and turns[-1].role == "tool",
        author=None if answer is None else author_of(answer),
        scope=scope,
        max_tokens=longest_of(params),
        loop=loop_of(messages[since:], turns[since:], author_of),
    )


def _read_blocks(message: ChatMessage) -> tuple[str, Sequence[Modality], int]:
    """Return a message's text, its attachments, and the estimated tokens of text and tool calls."""
    texts: list[str] = []
    attachments: list[Modality] = []
    tokens, blocks = 0, list(message.blocks)
    for block in blocks:
        kind = getattr(block, "block_type", "")
        if kind == "text":
            texts.append(getattr(block, "text", ""))
        elif kind == "tool_call":
            tokens += estimate_tokens(str(getattr(block, "tool_kwargs", "")))
        elif kind in _MODALITIES:
            attachments.append(_MODALITIES[kind])
        elif kind == "citable":
            blocks += getattr(block, "content", ())  # texts and pictures, read in their turn
    text = "\n".join(texts)
    return text, attachments, tokens + estimate_tokens(text)


def _besides(
    messages: Sequence[ChatMessage], tools: Sequence[Any], params: Mapping[str, Any]
) -> int:
    """Return the estimated tokens of what a model reads besides the messages' blocks."""
    read: list[Any] = [*tools]
    read += [calls for m in messages if (calls := m.additional_kwargs.get("tool_calls"))]
    return tokens_of_arguments(params) + sum(estimate_tokens(str(one)) for one in read)


def role_of(message: ChatMessage) -> Role:
    """Return the plain role of a message; one that nobody knows is a user's."""
    return _ROLES.get(message.role, "user")


def author_of(stamped: ChatMessage | ChatResponse) -> str | None:
    """Return the candidate that wrote it, by the record that it carries, if it carries ours."""
    record = stamped.additional_kwargs.get(STAMP)
    return record.get("candidate") if isinstance(record, dict) else None


def stamp(response: R, record: Mapping[str, Any]) -> R:
    """Return a copy of a response that carries the router's record.

    A chat response carries it on its message too: agents keep the message alone. Structured
    output has no place for it and is returned as it is.
    """
    if isinstance(response, ChatResponse):
        message = response.message
        update: dict[str, Any] = {
            "message": message.model_copy(update=_stamped(message, record)),
            **_stamped(response, record),
        }
        return response.model_copy(update=update)
    if isinstance(response, CompletionResponse):
        return response.model_copy(update=_stamped(response, record))
    return response


def _stamped(
    holder: ChatMessage | ChatResponse | CompletionResponse, record: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields with the record in them, that of a candidate's own router kept inside."""
    kwargs = holder.additional_kwargs
    inner = kwargs.get(STAMP)
    if isinstance(inner, Mapping) and inner.get("decision_id") == record["decision_id"]:
        inner = inner.get(INNER)  # our own, of an earlier moment of the same stream
    nested = {INNER: inner} if isinstance(inner, Mapping) else {}
    return {"additional_kwargs": {**kwargs, STAMP: {**record, **nested}}}


def text_of(response: object) -> str:
    """Return the plain text of a response."""
    if isinstance(response, ChatResponse):
        return response.message.content or ""
    return response.text if isinstance(response, CompletionResponse) else ""


def as_messages(turns: Sequence[Turn]) -> list[ChatMessage]:
    """Return plain turns as messages; what a tool said is told as the user's."""
    roles = {"system": MessageRole.SYSTEM, "assistant": MessageRole.ASSISTANT}
    return [ChatMessage(turn.text, role=roles.get(turn.role, MessageRole.USER)) for turn in turns]


def with_turns(messages: Sequence[ChatMessage], turns: Sequence[Turn]) -> list[ChatMessage]:
    """Return messages with turns said besides them, as `Ask.turns` has it; none is changed."""
    said = list(messages)
    for turn, message in zip(turns, as_messages(turns), strict=True):
        at = turn.place_in([role_of(one) for one in said])
        if at is not None:
            said[at] = _longer(said[at], turn.text)
        else:
            said.insert(0 if turn.role == "system" else len(said), message)
    return said


def _longer(message: ChatMessage, text: str) -> ChatMessage:
    *others, last = message.blocks or [TextBlock(text="")]
    if isinstance(last, TextBlock):
        blocks = [*others, TextBlock(text=f"{last.text}\n\n{text}" if last.text else text)]
    else:
        blocks = [*others, last, TextBlock(text=text)]
    return message.model_copy(update={"blocks": blocks})


def retold(response: R, text: str) -> R:
    """Return a copy of a response with another text; what else it carries stays."""
    if isinstance(response, CompletionResponse):
        return response.model_copy(update={"text": text, "delta": None})
    if not isinstance(response, ChatResponse):
        return response
    blocks: list[Any] = []
    for block in response.message.blocks:
        if not isinstance(block, TextBlock):
            blocks.append(block)
        elif text:
            blocks.append(TextBlock(text=text))
            text = ""
    if text:  # there was none before
        blocks.append(TextBlock(text=text))
    message = response.message.model_copy(update={"blocks": blocks})
    return response.model_copy(update={"message": message, "delta": None})


def reason_of(parts: Sequence[object]) -> str | None:
    """Return why an answer ended, where OpenAI's, Anthropic's or Ollama's integration says so.

    Args:
        parts: Its one response, or all those of a stream: the last ones may tell usage alone.
    """
    for part in reversed(parts):
        raw = getattr(part, "raw", None)
        reason = _get(_first_choice(part), "finish_reason") or _get(raw, "stop_reason")
        reason = reason or _get(raw, "done_reason")
        if isinstance(reason, str):
            return reason
    return None


def logprobs_of(parts: Sequence[object]) -> tuple[float, ...] | None:
    """Return the log probability of each token, where raw responses have them as OpenAI's.

    Args:
        parts: The one response, or all those of a stream, each of which has its own tokens'.
    """
    told = (_get(_get(_first_choice(part), "logprobs"), "content") for part in parts)
    tokens = [token for listed in told if isinstance(listed, Sequence) for token in listed]
    found = [_get(token, "logprob") for token in tokens]
    numbers = [float(one) for one in found if isinstance(one, (int, float))]
    return tuple(numbers) if numbers and len(numbers) == len(found) else None


def _first_choice(response: object) -> Any:
    choices = _get(getattr(response, "raw", None), "choices")
    return choices[0] if isinstance(choices, Sequence) and choices else None


def usage_of(response: object) -> Usage | None:
    """Return the tokens that a response reports, in the places where integrations put them."""
    if not isinstance(response, (ChatResponse, CompletionResponse)):
        return None
    raw = response.raw
    usage = raw.get("usage") if isinstance(raw, Mapping) else getattr(raw, "usage", None)
    for report in filter(None, (usage, response.additional_kwargs)):
        if (found := _usage(report)) is not None:
            return found
    return None


def _usage(report: Any) -> Usage | None:
    """Return the usage out of OpenAI's report, or out of Anthropic's, which counts the cache apart.

    OpenAI's Responses API has Anthropic's names for the totals, and OpenAI's meaning.
    """
    read = _get(report, "prompt_tokens")
    details = _get(report, "prompt_tokens_details") or _get(report, "input_tokens_details")
    outputs = _get(report, "completion_tokens_details") or _get(report, "output_tokens_details")
    thought = _get(outputs, "reasoning_tokens")
    if read is not None:
        written = _get(report, "completion_tokens")
        return usage_of_counts(read, written, _get(details, "cached_tokens"), 0, thought)
    read, written = _get(report, "input_tokens"), _get(report, "output_tokens")
    if details is not None:
        return usage_of_counts(read, written, _get(details, "cached_tokens"), 0, thought)
    parts = [_get(report, f"cache_{kind}_input_tokens") for kind in ("read", "creation")]
    cached, stored = (part if isinstance(part, int) else 0 for part in parts)
    total = read + cached + stored if isinstance(read, int) else read
    return usage_of_counts(total, written, cached, stored, thought)


def _get(report: Any, name: str) -> Any:
    """Return what a report has under a name, be it a mapping or an object."""
    return report.get(name) if isinstance(report, Mapping) else getattr(report, name, None)
