"""What the chosen model reads of a conversation that others may have written.

In: the caller's messages and a candidate. Out: the same messages, or copies in which nothing is
left that only the model which wrote it understands: thinking blocks and their signatures, ids of
a provider's own, cache markers. Text, tool calls and their results stay, paired as they were.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.runnables import RunnableBinding

from langchain_router._messages import INNER, STAMP, author_of
from shared_core.types import Candidate

__all__ = ["history_for"]

_NO_CACHE_MARKERS = frozenset(
    {
        *("azure", "cerebras", "cohere", "deepseek", "fireworks", "google_genai"),
        *("google_vertexai", "groq", "mistralai", "ollama", "openai", "perplexity", "xai"),
    }
)
"""Providers (by LangChain's `ls_provider`) that refuse or ignore Anthropic's `cache_control`."""

_PORTABLE_ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")
"""Tool call ids that every provider takes: OpenAI allows 40 characters, Anthropic these only."""

_DATED = re.compile(r"[-@](\d{4}.*|latest)")
"""What providers append to a model's name when they report it."""

_UNSIGNED = frozenset({"human", "system"})
"""Types of messages that no model has written or asked for."""

M = TypeVar("M", bound=BaseMessage)


def history_for(candidate: Candidate, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the messages as the candidate can read them; what need not change is not copied."""
    reader = _Reader(candidate)
    read = map(reader.read, messages)
    return [message for message in read if message is not None]


class _Reader:
    """Reads one conversation, first message first, on behalf of one candidate."""

    def __init__(self, candidate: Candidate) -> None:
        self._name, self._model = candidate.name, candidate.model
        self._params: Mapping[str, Any] | None = None
        self._ids: dict[str, str] = {}

    def read(self, message: BaseMessage) -> BaseMessage | None:
        if message.type in _UNSIGNED and isinstance(message.content, str):
            return message
        if isinstance(message, AIMessage):
            return self._answer(message)
        if isinstance(message, ToolMessage) and message.tool_call_id in self._ids:
            update = {"tool_call_id": self._ids[message.tool_call_id], "additional_kwargs": {}}
            message = message.model_copy(update=update)
        return self._without_markers(message)

    def _answer(self, message: AIMessage) -> AIMessage | None:
        author = author_of(message)
        if author == self._name:
            return _unstamped(message)
        if _is_plain(message):
            return message if author is None else _anonymous(message)
        if author is None and self._wrote(message):
            return message
        return self._portable(message)

    def _portable(self, message: AIMessage) -> AIMessage | None:
        """Return another model's answer with nothing in it but text and tool calls."""
        text, calls = _text_and_calls(message)
        if not text and not calls and not message.invalid_tool_calls:
            return None  # nothing but thoughts
        legacy = message.additional_kwargs.get("function_call")
        return AIMessage(
            content=text,
            name=message.name,
            tool_calls=[self._call(call) for call in calls],
            invalid_tool_calls=message.invalid_tool_calls,
            additional_kwargs={"function_call": legacy} if legacy and not calls else {},
            usage_metadata=message.usage_metadata,
        )

    def _call(self, call: Mapping[str, Any]) -> ToolCall:
        return tool_call(name=call["name"], args=call["args"], id=self._id(call["id"]))

    def _id(self, given: str | None) -> str | None:
        if given is None:
            return None
        if not _PORTABLE_ID.fullmatch(given):
            digest = hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
            self._ids[given] = f"call_{digest[:24]}"
        return self._ids.setdefault(given, given)

    def _wrote(self, message: AIMessage) -> bool:
        """Tell whether an answer without a record is the candidate's, by what it reports."""
        told, known = message.response_metadata, self._known()
        reported, stated = str(told.get("model_name") or ""), known.get("ls_model_name")
        if not stated or told.get("model_provider", known.get("ls_provider")) != known.get(
            "ls_provider"
        ):
            return False
        return reported.startswith(stated) and (
            reported == stated or bool(_DATED.fullmatch(reported[len(stated) :]))
        )

    def _without_markers(self, message: M) -> M:
        content = message.content
        if isinstance(content, str) or not any(
            isinstance(block, dict) and "cache_control" in block for block in content
        ):
            return message
        if not self._refuses_markers():
            return message
        stripped = [
            {key: value for key, value in block.items() if key != "cache_control"}
            if isinstance(block, dict)
            else block
            for block in content
        ]
        return message.model_copy(update={"content": stripped})

    def _refuses_markers(self) -> bool:
        base_url = str(getattr(_bare(self._model), "openai_api_base", None) or "openai.com")
        # An OpenAI client with another address may well speak to a gateway that takes them.
        return self._known().get("ls_provider") in _NO_CACHE_MARKERS and "openai.com" in base_url

    def _known(self) -> Mapping[str, Any]:
        if self._params is None:
            self._params = cast("Mapping[str, Any]", _bare(self._model)._get_ls_params())
        return self._params


def _bare(model: Any) -> Any:
    while isinstance(model, RunnableBinding):
        model = model.bound
    return model


def _unstamped(message: AIMessage) -> AIMessage:
    """Return an answer as its author gave it; a router's answer with its own record."""
    metadata = dict(message.response_metadata)
    record = metadata.pop(STAMP)
    if INNER in record:
        metadata[STAMP] = record[INNER]
    return message.model_copy(update={"response_metadata": metadata})


def _anonymous(message: AIMessage) -> AIMessage:
    """Return an answer without what its provider said about it."""
    return message.model_copy(update={"response_metadata": {}, "id": None})


def _is_plain(message: AIMessage) -> bool:
    """Tell whether there is nothing in an answer that belongs to a provider."""
    if not isinstance(message.content, str) or message.additional_kwargs:
        return False
    calls = message.tool_calls
    return not calls or all(_PORTABLE_ID.fullmatch(call["id"] or "-") for call in calls)


def _text_and_calls(message: AIMessage) -> tuple[str, list[Any]]:
    calls = list(message.tool_calls)
    if isinstance(message.content, str):
        return message.content, calls
    texts: list[str] = []
    known = {call["id"] for call in calls}
    for block in message.content:
        if isinstance(block, str):
            texts.append(block)
        elif block.get("type") in ("text", "output_text", "refusal"):
            texts.append(str(block.get("text") or block.get("refusal") or ""))
        elif block.get("type") == "tool_use" and block.get("id") not in known:
            args = block.get("input")
            args = args if isinstance(args, dict) else {}
            key = None if block.get("id") is None else str(block["id"])
            calls.append(tool_call(name=str(block.get("name") or ""), args=args, id=key))
    return "".join(texts), calls
