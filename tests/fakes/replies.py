"""What every fake model answers: a pure function of an OpenAI chat request.

In: a request body (`model`, `messages`, `tools`, `response_format`, ...). Out: an `Answer` and its
usage. The loopback server and the in-process fakes of both frameworks share these rules, so a test
knows text, tool calls and token counts in advance:

- text is `"<model> answers: <text of the last message>"`; of a longer message the last
  `ECHO_WORDS` words, so that instructions in a prompt (ReAct's, say) are not taken for an answer;
- one token is one word; each image, audio or file part of the prompt is `MEDIA_TOKENS` more;
- a tool is called when `tool_choice` forces it, or when the last message is the user's and has a
  word of the tool's name in it. No tool is called twice for one user message, not even a forced
  one, so every agent loop ends;
- JSON schemas are filled with the numbers and the quoted strings of the prompt, in order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ECHO_WORDS = 12
"""Words of the last message that the default text repeats."""
MEDIA_TOKENS = 10
"""Tokens that an image, audio or file part counts for."""
REASONING_TOKENS = 5
"""Hidden output tokens of a request that sets `reasoning_effort`."""

_QUOTED = re.compile(r"(?<!\w)'([^']+)'(?!\w)|\"([^\"]+)\"")
_NOT_TELLING = {"tool", "function", "with", "from"}
_FORMATS = {
    "date": "2024-01-02",
    "time": "03:04:05Z",
    "date-time": "2024-01-02T03:04:05Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "someone@example.com",
    "uri": "https://example.com/",
}
_MAX_DEPTH = 5


@dataclass(frozen=True)
class ToolCall:
    """A call of one tool: its name and the arguments, as an object."""

    name: str
    arguments: dict[str, Any]

    @property
    def json(self) -> str:
        """The arguments as providers send them: JSON text."""
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True)
class Answer:
    """One choice: text or tool calls, never both, and an OpenAI `finish_reason`."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"

    @property
    def tokens(self) -> int:
        """Words of the text and of the tool arguments."""
        return words(self.text) + sum(words(call.json) for call in self.tool_calls)


Scripted = str | Answer | Callable[[dict[str, Any]], str | Answer | None]
"""What to answer instead of the default: a text, a whole answer, or a function of the request
body, which returns None where the default will do."""


def answer(body: Mapping[str, Any], scripted: Scripted | None = None) -> Answer:
    """Answers a request.

    Args:
        body: The request, in OpenAI's shape.
        scripted: A text replaces the default text and the filled JSON, but not a tool call; an
            `Answer` replaces everything.
    """
    reply = scripted(dict(body)) if callable(scripted) else scripted
    if isinstance(reply, Answer):
        return reply
    calls = tuple(_call(tool, body) for tool in _chosen(body))
    if calls:
        return Answer(tool_calls=calls, finish_reason="tool_calls")
    if reply is None:
        reply = _json_text(body) or f"{body['model']} answers: {_echo(body)}".strip()
    return _shortened(reply, body)


def usage(body: Mapping[str, Any], answers: Iterable[Answer]) -> dict[str, Any]:
    """Usage in OpenAI's shape; cached and reasoning tokens only where the request asks for them."""
    messages = body["messages"]
    reasoning = REASONING_TOKENS if body.get("reasoning_effort") else 0
    prompt = prompt_tokens(messages)
    completion = sum(one.tokens for one in answers) + reasoning
    kinds = [part.get("type") for message in messages for part in parts(message)]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": prompt_tokens(messages[:-1]) if body.get("prompt_cache_key") else 0,
            "audio_tokens": kinds.count("input_audio") * MEDIA_TOKENS,
        },
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def reported(read: Any, written: Any, cached: Any = 0, reasoning: Any = 0) -> dict[str, Any]:
    """Usage in OpenAI's shape with these counts, whatever they are."""
    whole = isinstance(read, int) and isinstance(written, int)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written if whole else 0,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def words(text: str) -> int:
    """Tokens of a text: its words."""
    return len(text.split())


def pieces(text: str) -> list[str]:
    """A text cut into the chunks a stream sends: one word each, joined they give the text."""
    return re.findall(r"^\s+|\S+\s*", text)


def parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A message's content as a list of parts, whatever form it was sent in."""
    content = message.get("content") or []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]


def message_text(message: Mapping[str, Any]) -> str:
    """The text of a message, without its other parts."""
    return " ".join(part["text"] for part in parts(message) if part.get("type") == "text")


def prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Tokens of a prompt: the words of all texts, and `MEDIA_TOKENS` for each other part."""
    texts = sum(words(message_text(message)) for message in messages)
    kinds = [part.get("type") for message in messages for part in parts(message)]
    return texts + (len(kinds) - kinds.count("text")) * MEDIA_TOKENS


def fill(schema: Mapping[str, Any], prompt: str = "") -> Any:
    """A value that satisfies a JSON schema, made of what the prompt mentions where it fits."""
    return _Filler(schema, prompt).value(schema, "value")


def _echo(body: Mapping[str, Any]) -> str:
    return "".join(pieces(message_text(body["messages"][-1]))[-ECHO_WORDS:])


def _user_text(body: Mapping[str, Any]) -> str:
    return next((message_text(m) for m in reversed(body["messages"]) if m["role"] == "user"), "")


def _call(tool: Mapping[str, Any], body: Mapping[str, Any]) -> ToolCall:
    schema = tool.get("parameters") or {"type": "object"}
    return ToolCall(tool["name"], fill(schema, _user_text(body)))


def _chosen(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tools to call now, each a function definition."""
    choice = body.get("tool_choice") or "auto"
    called = _called_since_user(body["messages"])
    functions = [tool["function"] for tool in body.get("tools") or [] if "function" in tool]
    left = [function for function in functions if function["name"] not in called]
    if isinstance(choice, Mapping):
        return [one for one in left if one["name"] == choice["function"]["name"]][:1]
    fitting = [function for function in left if _fits(function["name"], _user_text(body))]
    if choice == "required":
        fitting = fitting or left[:1]
    elif choice == "none" or body["messages"][-1]["role"] != "user":
        return []
    return fitting if body.get("parallel_tool_calls") else fitting[:1]


def _called_since_user(messages: Sequence[Mapping[str, Any]]) -> set[str]:
    names: set[str] = set()
    for message in reversed(messages):
        if message["role"] == "user":
            break
        names |= {call["function"]["name"] for call in message.get("tool_calls") or []}
    return names


def _fits(name: str, text: str) -> bool:
    """Whether a text mentions a tool: a word of four letters or more of its name."""
    telling = {word for word in re.split(r"[^a-z]+", name.lower()) if len(word) > 3}
    return bool((telling - _NOT_TELLING) & set(re.split(r"[^a-z]+", text.lower())))


def _json_text(body: Mapping[str, Any]) -> str | None:
    """The JSON that `response_format` asks for, if it does."""
    wanted = body.get("response_format") or {}
    prompt = _user_text(body)
    if wanted.get("type") == "json_schema":
        return json.dumps(fill(wanted["json_schema"]["schema"], prompt), ensure_ascii=False)
    if wanted.get("type") == "json_object":
        keys = [key for key in _quoted(prompt) if key.isidentifier()] or ["answer"]
        return json.dumps({key: f"some {key}" for key in keys}, ensure_ascii=False)
    return None


def _shortened(text: str, body: Mapping[str, Any]) -> Answer:
    """Applies `stop` and the token limit."""
    stops = body.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.split(stop)[0]
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit and words(text) > limit:
        return Answer("".join(pieces(text)[:limit]).rstrip(), finish_reason="length")
    return Answer(text)


def _quoted(text: str) -> list[str]:
    return [single or double for single, double in _QUOTED.findall(text)]


class _Filler:
    """Walks a schema, handing out the numbers and quoted strings of the prompt one by one."""

    def __init__(self, root: Mapping[str, Any], prompt: str) -> None:
        self._root = root
        self._numbers: Iterator[str] = iter(re.findall(r"-?\d+", prompt))
        self._strings: Iterator[str] = iter(_quoted(prompt))

    def value(self, schema: Mapping[str, Any], name: str, depth: int = 0) -> Any:
        """A value for one schema; `name` is the property it belongs to."""
        schema = self._resolved(schema, depth)
        if "const" in schema or "enum" in schema:
            return schema["const"] if "const" in schema else schema["enum"][0]
        match schema.get("type", "object" if "properties" in schema else "string"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer" | "number" as kind:
                return self._number(schema, 1 if kind == "integer" else 0.001)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._string(schema, name)

    def _resolved(self, schema: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
        """Follows references and picks one branch of unions; deep down it prefers null."""
        if "$ref" in schema:
            target: Any = self._root
            for key in schema["$ref"].removeprefix("#/").split("/"):
                target = target[key]
            return self._resolved(target, depth)
        if "allOf" in schema:
            merged: dict[str, Any] = {}
            for one in schema["allOf"]:
                merged |= self._resolved(one, depth)
            return merged
        branches = schema.get("anyOf") or schema.get("oneOf")
        if not branches and isinstance(schema.get("type"), list):
            branches = [{**schema, "type": kind} for kind in schema["type"]]
        if not branches:
            return schema
        null = [one for one in branches if one.get("type") == "null"]
        rest = [one for one in branches if one.get("type") != "null"]
        return self._resolved((null + rest if depth > _MAX_DEPTH else rest + null)[0], depth)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        names = properties if depth <= _MAX_DEPTH else schema.get("required", [])
        return {name: self.value(properties[name], name, depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        if "prefixItems" in schema:
            return [self.value(one, name, depth + 1) for one in schema["prefixItems"]]
        count = max(schema.get("minItems", 0), 0 if depth > _MAX_DEPTH else 1)
        return [self.value(schema.get("items", {}), name, depth + 1) for _ in range(count)]

    def _number(self, schema: Mapping[str, Any], step: float) -> float:
        low, high = schema.get("minimum"), schema.get("maximum")
        if "exclusiveMinimum" in schema:
            low = schema["exclusiveMinimum"] + step
        if "exclusiveMaximum" in schema:
            high = schema["exclusiveMaximum"] - step
        number: float = int(next(self._numbers, "1"))
        number = number if low is None else max(number, low)
        return number if high is None else min(number, high)

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = next(self._strings, f"some {name}").ljust(schema.get("minLength", 0), ".")
        return text[: schema.get("maxLength")]
