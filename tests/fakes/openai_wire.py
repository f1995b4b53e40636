"""OpenAI's wire shapes: what a fake model's answer looks like as JSON and as stream events.

In: a request body. Out: the body of the reply, or the list of its stream events, or the reason for
a 400. Requests that OpenAI would refuse (an unpaired tool result, an unknown role or content part,
a field of ours in a message) are refused here too, because a lenient fake would hide them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.fakes.replies import Answer, Scripted, answer, parts, pieces, usage

Body = dict[str, Any]

COUNTED: Any = object()
"""Usage as `replies` counts it."""

_MESSAGE_FIELDS = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "refusal", "audio"},
    "tool": {"role", "content", "tool_call_id", "name"},
}
_PART_TYPES = {"text", "image_url", "input_audio", "file", "refusal"}


@dataclass(frozen=True)
class Voice:
    """What a model was told to answer, with the log-probability of each of its tokens.

    Attributes:
        usage: What it reports instead of what it used; None: it reports nothing.
    """

    scripted: Scripted | None = None
    logprob: float = -0.1
    usage: Any = COUNTED


class Chat:
    """The answer to one chat request, whole or as stream events."""

    name, whole_object, event_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, body: Body, number: int, voice: Voice) -> None:
        self._body = self._as_chat(body)
        self._number = number
        self._voice = voice
        self._answers = list(self._choices(answer(self._body, voice.scripted)))

    def _choices(self, first: Answer) -> Iterator[Answer]:
        """The `n` choices; free texts are numbered from the second on, to tell them apart."""
        free = first.text and not self._body.get("response_format")
        yield first
        for index in range(2, (self._body.get("n") or 1) + 1):
            yield replace(first, text=f"{first.text} ({index})") if free else first

    def _as_chat(self, body: Body) -> Body:
        return body

    def whole(self) -> Body:
        """The body of an answer that is not streamed."""
        choices = [
            self._choice(index, self._whole_content(index, one), one.text, one.finish_reason)
            for index, one in enumerate(self._answers)
        ]
        whole = {**self._envelope(self.whole_object), "choices": choices}
        return whole if self._voice.usage is None else {**whole, "usage": self._usage()}

    def events(self) -> list[Body]:
        """The stream events, without the final [DONE]; usage comes last where it was asked for."""
        wants_usage = (self._body.get("stream_options") or {}).get("include_usage")
        envelope = self._envelope(self.event_object) | ({"usage": None} if wants_usage else {})
        events = [
            {**envelope, "choices": [choice]}
            for index, one in enumerate(self._answers)
            for choice in self._streamed(index, one)
        ]
        if wants_usage and self._voice.usage is not None:
            events.append({**envelope, "choices": [], "usage": self._usage()})
        return events

    def _envelope(self, kind: str) -> Body:
        model = self._body["model"]
        return {"id": f"{self.name}-{self._number}", "object": kind, "created": 0, "model": model}

    def _usage(self) -> Body:
        told = self._voice.usage
        return usage(self._body, self._answers) if told is COUNTED else told

    def _choice(self, index: int, content: Body, text: str, finish_reason: str | None) -> Body:
        logprobs = self._logprobs(text) if self._body.get("logprobs") else None
        return {**content, "index": index, "finish_reason": finish_reason, "logprobs": logprobs}

    def _logprobs(self, text: str) -> Body:
        entry = {"bytes": None, "logprob": self._voice.logprob}
        entries = [{"token": token, **entry} for token in pieces(text)]
        wants_top = self._body.get("top_logprobs")
        return {"content": [{**one, "top_logprobs": [one] if wants_top else []} for one in entries]}

    def _tool_calls(self, index: int, one: Answer) -> list[Body]:
        return [
            {
                "id": f"call_{self._number}_{index}_{position}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.json},
            }
            for position, call in enumerate(one.tool_calls)
        ]

    def _whole_content(self, index: int, one: Answer) -> Body:
        message: Body = {"role": "assistant", "content": one.text or None, "refusal": None}
        if one.tool_calls:
            message["tool_calls"] = self._tool_calls(index, one)
        return {"message": message}

    def _streamed(self, index: int, one: Answer) -> Iterator[Body]:
        yield self._delta(index, {"role": "assistant", "content": ""})
        for piece in pieces(one.text):
            yield self._delta(index, {"content": piece})
        for position, call in enumerate(self._tool_calls(index, one)):
            for part in _halves(call):
                yield self._delta(index, {"tool_calls": [{"index": position, **part}]})
        yield self._delta(index, {}, one.finish_reason)

    def _delta(self, index: int, delta: Body, finish_reason: str | None = None) -> Body:
        return self._choice(index, {"delta": delta}, delta.get("content", ""), finish_reason)


class Completion(Chat):
    """The answer to one request of the older text completion API."""

    name, whole_object, event_object = "cmpl", "text_completion", "text_completion"

    def _as_chat(self, body: Body) -> Body:
        return {**body, "messages": [{"role": "user", "content": body["prompt"]}], "logprobs": None}

    def _whole_content(self, index: int, one: Answer) -> Body:
        return {"text": one.text}

    def _streamed(self, index: int, one: Answer) -> Iterator[Body]:
        for piece in pieces(one.text):
            yield self._choice(index, {"text": piece}, piece, None)
        yield self._choice(index, {"text": ""}, "", one.finish_reason)


def _halves(call: Body) -> Iterator[Body]:
    """A tool call as a stream sends it: name first, then the arguments in two pieces of JSON."""
    arguments = call["function"]["arguments"]
    middle = len(arguments) // 2
    yield {**call, "function": {**call["function"], "arguments": ""}}
    yield {"function": {"arguments": arguments[:middle]}}
    yield {"function": {"arguments": arguments[middle:]}}


def refusal(body: Body) -> str | None:
    """Why OpenAI would refuse a request, if it would."""
    if not body.get("model"):
        return "You must provide a model parameter."
    if "messages" not in body:
        return None if "prompt" in body else "Missing required parameter: 'messages'."
    if not body["messages"]:
        return "Invalid 'messages': empty array."
    open_calls: set[str] = set()
    for index, message in enumerate(body["messages"]):
        if problem := _message_problem(message, open_calls):
            return f"Invalid 'messages[{index}]': {problem}."
    return f"Tool calls without a result: {sorted(open_calls)}." if open_calls else None


def _message_problem(message: Body, open_calls: set[str]) -> str | None:
    """Checks one message; `open_calls` are the tool calls that still wait for a result."""
    role = message.get("role")
    if role not in _MESSAGE_FIELDS:
        return f"unknown role {role!r}"
    if unknown := set(message) - _MESSAGE_FIELDS[role]:
        return f"unknown fields {sorted(unknown)}"
    if bad := {part.get("type") for part in parts(message)} - _PART_TYPES:
        return f"unknown content types {sorted(map(str, bad))}"
    if role == "tool":
        if message.get("tool_call_id") not in open_calls:
            return "a tool result must follow the message that called the tool"
        open_calls.remove(message["tool_call_id"])
        return None
    if open_calls:
        return f"tool calls without a result: {sorted(open_calls)}"
    return _tool_call_problem(message.get("tool_calls") or [], open_calls)


def _tool_call_problem(calls: list[Body], open_calls: set[str]) -> str | None:
    for call in calls:
        try:
            arguments = json.loads(call["function"]["arguments"])
        except (TypeError, ValueError):
            return "tool arguments are not JSON text"
        if not isinstance(arguments, dict):
            return "tool arguments are not an object"
        open_calls.add(call["id"])
    return None
