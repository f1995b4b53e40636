"""What the chosen LLM reads of a conversation that others may have written.

In: the caller's messages and a candidate. Out: copies, since integrations write into what they get,
without our stamps and in the role that the LLM reads. In messages of other LLMs nothing is left
that only their writer understands: thinking blocks, arguments still encoded, a provider's own
fields. Text, tool calls and their results stay, paired as they were.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms import types
from llama_index.core.base.llms.types import ChatMessage, ContentBlock, MessageRole, TextBlock
from llama_index.core.llms.utils import parse_partial_json

from llamaindex_router._loops import call_parts
from llamaindex_router._messages import INNER, STAMP, author_of, role_of
from shared_core.types import Candidate

__all__ = ["history_for"]

_TAKES_CACHE_POINTS = ("anthropic", "bedrock", "router")
"""In the class names of LLMs that understand cache points; others refuse the block."""

_CALLS = ("tool_calls", "function_call")
"""Where integrations keep tool calls besides, or instead of, blocks."""

_ToolCallBlock: Any = getattr(types, "ToolCallBlock", None)  # not in LlamaIndex 0.14.0

_ONE_TEXT = [TextBlock]
"""The types of the blocks of most messages."""

_PORTABLE_ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")
"""Tool call ids that every provider takes: OpenAI allows 40 characters, Anthropic these only."""


def history_for(candidate: Candidate, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return copies of the messages as the candidate can read them."""
    reader = _Reader(candidate)
    read = map(reader.read, messages)
    return [message for message in read if message is not None]


class _Reader:
    """Reads one conversation, first message first, on behalf of one candidate."""

    def __init__(self, candidate: Candidate) -> None:
        self._name, self._llm = candidate.name, candidate.model
        self._ids: dict[str, str] = {}

    def read(self, message: ChatMessage) -> ChatMessage | None:
        kwargs, blocks = dict(message.additional_kwargs), list(message.blocks)
        if kwargs or list(map(type, blocks)) != _ONE_TEXT:
            readable = self._readable(message, kwargs, blocks)
            if readable is None:
                return None
            blocks, kwargs = readable
        role = message.role
        if role == MessageRole.SYSTEM:
            role = self._llm.metadata.system_role
        # `model_copy(update=...)` takes half as long again, for every message.
        copy = message.model_copy()
        copy.__dict__.update(additional_kwargs=kwargs, blocks=blocks, role=role)
        return copy

    def _readable(
        self, message: ChatMessage, kwargs: dict[str, Any], blocks: list[ContentBlock]
    ) -> tuple[list[ContentBlock], dict[str, Any]] | None:
        record = kwargs.pop(STAMP, None)
        if role_of(message) == "assistant":
            if author_of(message) == self._name:
                if isinstance(record, Mapping) and INNER in record:
                    kwargs[STAMP] = record[INNER]
            elif kwargs or any(not isinstance(block, TextBlock) for block in blocks):
                blocks, kwargs = self._portable(blocks, kwargs, keep=record is None)
                if not blocks and not kwargs:
                    return None  # nothing but thoughts
        elif not self._takes_cache_points():
            kwargs.pop("cache_control", None)
            blocks = [block for block in blocks if getattr(block, "block_type", "") != "cache"]
        if (answers := kwargs.get("tool_call_id")) in self._ids:
            kwargs["tool_call_id"] = self._ids[answers]
        return blocks, kwargs

    def _portable(
        self, blocks: Sequence[ContentBlock], kwargs: Mapping[str, Any], *, keep: bool
    ) -> tuple[list[ContentBlock], dict[str, Any]]:
        """Return text and tool calls alone; `keep` further fields that somebody else may own."""
        found = [
            (block.tool_call_id, block.tool_name, block.tool_kwargs)
            for block in blocks
            if _ToolCallBlock is not None and isinstance(block, _ToolCallBlock)
        ]
        found = found or [call_parts(call) for call in kwargs.get("tool_calls") or ()]
        known = _ToolCallBlock is not None and all(name for _, name, _ in found)
        dropped = _CALLS if known and found else ()
        kept = {k: v for k, v in kwargs.items() if (keep or k in _CALLS) and k not in dropped}
        texts = [block for block in blocks if isinstance(block, TextBlock) and block.text]
        calls = [
            _ToolCallBlock(tool_call_id=self._id(key), tool_name=name, tool_kwargs=_object(args))
            for key, name, args in found
            if known
        ]
        return [*texts, *calls], kept

    def _takes_cache_points(self) -> bool:
        name = self._llm.class_name().lower()
        return any(taker in name for taker in _TAKES_CACHE_POINTS)

    def _id(self, given: str | None) -> str | None:
        if given and not _PORTABLE_ID.fullmatch(given):
            digest = hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
            self._ids[given] = f"call_{digest[:24]}"
            return self._ids[given]
        return given


def _object(args: Any) -> dict[str, Any]:
    """Return a tool call's arguments as the object that they encode."""
    if isinstance(args, str):
        try:
            args = parse_partial_json(args) if args.strip() else {}
        except ValueError:
            args = {}
    return dict(args) if isinstance(args, Mapping) else {}
