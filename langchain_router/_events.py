"""Event streams of `version="v3"`: the chosen model's own events, inside the router's run.

In: a routed `Call` whose transport is `EventTransport`. Out: LangChain's own stream object, fed one
event at a time as its consumer asks for more. The record comes with the last event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable
from typing import Any, cast

from langchain_core.language_models._compat_bridge import message_to_events
from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.messages import AIMessage

from langchain_router._messages import STAMP, as_message
from langchain_router._transport import ChatTransport, reply_of
from shared_core.types import Answer, Ask, Reply

__all__ = ["AsyncRoutedEvents", "EventChunks", "EventTransport", "routed_events"]

_FIRST, _LAST = "message-start", "message-finish"


class EventTransport(ChatTransport):
    """Puts a request to chat models and yields their events; the last item is the message."""

    def stream(self, ask: Ask) -> Generator[Any, None, None]:
        """Yield the asked candidate's events, then its message."""
        model, asked, kwargs = self.parts(ask)
        options: Any = {"version": "v3", **kwargs}
        with self.watched(ask) as config:
            events = cast("ChatModelStream", model.stream_events(asked, config, **options))
            yield from events
            yield events.output

    async def astream(self, ask: Ask) -> AsyncGenerator[Any, None]:
        """Do the same without blocking; a stream that is left early is closed."""
        model, asked, kwargs = self.parts(ask)
        options: Any = {"version": "v3", **kwargs}
        with self.watched(ask) as config:
            made = await cast("Any", model.astream_events(asked, config, **options))
            async with cast("AsyncChatModelStream", made) as events:
                async for event in events:
                    yield event
                yield await events

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        """Make one reply out of a stream, or out of what there is of one that has broken off."""
        if chunks and isinstance(chunks[-1], AIMessage):
            return reply_of(ask, chunks[-1])
        deltas = (chunk.get("delta") or {} for chunk in chunks)
        texts = (delta.get("text") or delta.get("reasoning") or "" for delta in deltas)
        return Reply(ask.candidate, native=chunks, text="".join(texts))

    def split(self, reply: Reply) -> Iterable[Any]:
        """Return a reply that was held back as the events that it would have been."""
        message = as_message(reply.native)
        return (*message_to_events(message), message)

    def is_visible(self, chunk: Any) -> bool:
        """Every event after the first shows something."""
        return isinstance(chunk, AIMessage) or chunk.get("event") != _FIRST


class EventChunks:
    """Hands events on as they come; the last one waits for the record."""

    def __init__(self) -> None:
        """Begin a stream."""
        self._last: dict[str, Any] = {"event": _LAST}

    def take(self, item: Any | Answer) -> Iterable[Any]:
        """See `Chunks.take`."""
        if isinstance(item, Answer):
            metadata = {**(self._last.get("metadata") or {}), STAMP: item.entry.as_dict()}
            return ({**self._last, "metadata": metadata},)
        if isinstance(item, AIMessage):
            return ()
        if item.get("event") == _LAST:
            self._last = item
            return ()
        return (item,)


def routed_events(source: Generator[Any, None, None]) -> ChatModelStream:
    """Return LangChain's stream object over a routed call's events."""
    stream = ChatModelStream()

    def pump() -> bool:
        try:
            event = next(source, None)
            if event is None:
                return False
            if event.get("event") == _LAST:
                next(source, None)  # the router's run ends before the stream does
        except BaseException as error:  # noqa: BLE001 - raised by whoever reads the stream
            stream.fail(error)
            return False
        stream.dispatch(event)
        return True

    stream.bind_pump(pump)
    return stream


class AsyncRoutedEvents(AsyncChatModelStream):
    """LangChain's stream object over a routed call's events."""

    def __init__(self, source: AsyncGenerator[Any, None]) -> None:
        """Begin with nothing asked for."""
        super().__init__()
        self._source = source
        self._turn = asyncio.Lock()  # several projections may be read side by side
        self.set_arequest_more(self._pump)

    async def aclose(self) -> None:
        """Leave the call where it is: its runs end, its connection closes."""
        await self._source.aclose()
        if not self.done:
            self.fail(asyncio.CancelledError())

    async def _pump(self) -> bool:
        async with self._turn:
            if self.done:
                return False
            try:
                event = await anext(self._source, None)
                if event is None:
                    return False
                if event.get("event") == _LAST:
                    await anext(self._source, None)
            except BaseException as error:
                self.fail(error)
                if isinstance(error, Exception):
                    return False
                raise
            self.dispatch(event)
            return True
