"""The chosen model's message on its way out: stamped, and in the content format asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_router._messages import as_message, stamp
from shared_core.types import Answer

__all__ = ["MessageChunks", "finished_message"]

_V1 = "v1"

M = TypeVar("M", bound=AIMessage)


def finished_message(answer: Answer, output_version: str | None) -> AIMessage:
    """Return the answer with the record stamped on it."""
    message = as_message(answer.reply.native)
    return stamp(_in_version(message, output_version), answer.entry.as_dict())


class MessageChunks:
    """Hands chunks on as they come and stamps the record on exactly one, the last.

    Metadata on several chunks would be merged by concatenation. Only a chunk that says it is the
    last waits for the record, so no token is held up.
    """

    def __init__(self, output_version: str | None) -> None:
        """Begin a stream."""
        self._version = output_version
        self._held: AIMessageChunk | None = None
        self._index, self._kind = -1, ""

    def take(self, item: AIMessageChunk | Answer) -> Iterable[AIMessageChunk]:
        """See `Chunks.take`."""
        held, self._held = self._held, None
        if isinstance(item, Answer):
            last = held or AIMessageChunk(content="", chunk_position="last")
            return (stamp(last, item.entry.as_dict()),)
        chunk = self._in_version(item)
        before = () if held is None else (held,)
        if chunk.chunk_position == "last":
            self._held = chunk
            return before
        return (*before, chunk)

    def _in_version(self, chunk: AIMessageChunk) -> AIMessageChunk:
        converted = _in_version(chunk, self._version)
        if converted is chunk:
            return chunk
        for block in converted.content:
            if isinstance(block, dict):
                if block.get("type") != self._kind:
                    self._index, self._kind = self._index + 1, str(block.get("type"))
                block.setdefault("index", self._index)
        return converted


def _in_version(message: M, output_version: str | None) -> M:
    """Return the message with standard content blocks as its content where v1 is asked for."""
    metadata = message.response_metadata
    if output_version != _V1 or metadata.get("output_version") == _V1:
        return message
    update = {
        "content": message.content_blocks,
        "response_metadata": {**metadata, "output_version": _V1},
    }
    return message.model_copy(update=update)
