"""Streams that break off at random places: is a character ever lost, doubled or spliced?

Run `python -m examples.benchmarks.stream_cuts`; needs `[langchain,llamaindex]`. Three scripted
models per call stream chunks of random kinds (text, a tool call's JSON, reasoning, empty ones, one
that names the role, one with the usage), each of which may break off at a random place with a lost
connection; they are called through the real `ChatRouter` and `RouterLLM`, sync and async, with
`Single` and with `Cascade` (drafts are accepted, rejected, broken off while they grow, at random).
Every character is used once, so each tells who wrote it and where it belongs. An oracle that knows
the script says what the caller has to get: before anything was shown the next candidate's answer,
after it a `StreamInterruptedError` with the text that was shown.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, UsageMetadata, message_chunk_to_message
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms.custom import CustomLLM
from pydantic import PrivateAttr

from examples.benchmarks import _page
from langchain_router import Cascade, ChatRouter, Cooldown, StreamInterruptedError
from llamaindex_router import RouterLLM
from shared_core.strategies.single import Single
from shared_core.types import Draft, Estimate, Verdict, Verification

NAMES = ("a", "b", "c")
QUALITIES = {"a": 0.6, "b": 0.8, "c": 0.95}
QUESTION = "Hello"

Channel = Literal["text", "tool", "reasoning"]
Kind = Literal["text", "block", "tool", "reasoning", "empty", "opening", "role", "usage"]
KINDS: tuple[Kind, ...] = ("tool", "reasoning", "empty", "opening", "role", "usage")
SHOWS: dict[Kind, Channel] = {
    "text": "text",
    "block": "text",
    "tool": "tool",
    "reasoning": "reasoning",
}
Content = dict[Channel, str]

_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")
_FIRST_CHARACTER = 0x4E00  # of a range in which every one is a letter, and none is JSON


@dataclass
class Stream:
    """What one candidate streams, and where it breaks off: after so many chunks, None for never."""

    pieces: list[tuple[Kind, str]]
    cut: int | None

    @property
    def arriving(self) -> list[tuple[Kind, str]]:
        """What comes before the break."""
        return self.pieces[: self.cut]

    def content(self) -> Content:
        """What the arriving chunks show."""
        shown: Content = {"text": "", "tool": "", "reasoning": ""}
        for kind, piece in self.arriving:
            if kind in SHOWS:
                shown[SHOWS[kind]] += piece
        return shown


@dataclass
class Script:
    """One call: what each candidate does, and what becomes of its draft."""

    streams: dict[str, Stream] = field(default_factory=dict)
    verdicts: dict[str, Literal["accept", "reject", "drop"]] = field(default_factory=dict)
    cuts: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a caller gets: the content, and how it ended."""

    content: Content
    error: Literal["", "interrupted", "failed"] = ""
    partial: str | None = None


def draw(rng: random.Random) -> Script:
    """Draw the script of a call."""
    script = Script()
    for number, name in enumerate(NAMES):
        characters = iter(range(_FIRST_CHARACTER + 2000 * number, 2**16))
        told: Kind = rng.choice(("text", "block"))  # as plain text or in blocks, never both
        length = rng.choice((rng.randint(0, 9), rng.randint(0, 9), rng.randint(16, 24)))
        kinds = [rng.choice((told, told, *KINDS)) for _ in range(length)]
        pieces = [(kind, _piece(rng, kind, characters)) for kind in kinds]
        _close_call(pieces)
        cut = rng.randint(0, len(pieces)) if rng.random() < 0.75 else None
        script.streams[name] = Stream(pieces, cut)
        script.verdicts[name] = rng.choice(("accept", "reject", "reject", "drop"))
    return script


def _piece(rng: random.Random, kind: Kind, characters: Iterator[int]) -> str:
    length = rng.randint(1, 4) if kind in SHOWS else 0
    return "".join(chr(next(characters)) for _ in range(length))


def _close_call(pieces: list[tuple[Kind, str]]) -> None:
    """Make one JSON text of the pieces of a tool call, cut where the pieces are."""
    places = [number for number, (kind, _) in enumerate(pieces) if kind == "tool"]
    if places:
        first, last = places[0], places[-1]
        pieces[first] = ("tool", '{"x": "' + pieces[first][1])
        pieces[last] = ("tool", pieces[last][1] + '"}')


# --- what has to come of it ---


def after_single(script: Script) -> Outcome:
    """Return what the caller has to get of `Single`: the candidates in their order."""
    return _answers(script, NAMES)


def after_cascade(script: Script) -> Outcome:
    """Return what the caller has to get of `Cascade`: the first two draft, the last one answers."""
    held: list[Stream] = []
    failed = 0
    for name in NAMES[:-1]:
        stream, verdict = script.streams[name], script.verdicts[name]
        if verdict == "drop" and len(stream.arriving) >= LOOK_AFTER:
            continue
        if stream.cut is not None:
            failed += 1
        elif verdict == "accept":
            return Outcome(stream.content())
        else:
            held.append(stream)
    answer = _answers(script, NAMES[-1:])
    return Outcome(held[0].content()) if answer.error == "failed" and held else answer


def _answers(script: Script, names: Sequence[str]) -> Outcome:
    for name in names:
        stream = script.streams[name]
        shown = stream.content()
        if stream.cut is None:
            return Outcome(shown)
        if any(shown.values()):
            return Outcome(shown, "interrupted", shown["text"])
    return Outcome(Stream([], None).content(), "failed")


# --- the strategy ---

LOOK_AFTER = 16
"""Chunks before a growing draft is looked at, as `shared_core.types.Watch` says."""


@dataclass
class Scripted:
    """A verifier that does with each draft what the script says."""

    script: Script
    name: str = "scripted"

    def glance(self, draft: Draft) -> tuple[float, float] | None:
        """Be sure that it is wrong, where it is to be dropped."""
        drops = self.script.verdicts[draft.reply.candidate] == "drop"
        return (0.0, 0.0) if drops else None

    def verify(self, draft: Draft) -> Verification:
        """Be sure that it is right, where it is to be accepted."""
        accepts = self.script.verdicts[draft.reply.candidate] == "accept"
        return Verdict(self.name, 1.0 if accepts else 0.5)
        yield ()


@dataclass(frozen=True)
class Known:
    """Predicts fixed qualities; all alike, the candidates are asked in their order."""

    alike: bool
    name: str = "known"
    inline_chars: int = 1000

    def predict(self, prompt: Any, candidates: Sequence[Any]) -> list[Estimate]:
        """Return them."""
        qualities = [0.9 if self.alike else QUALITIES[c.name] for c in candidates]
        return [Estimate(c.name, q, q, q) for c, q in zip(candidates, qualities, strict=True)]


def settings(strategy: str, script: Script) -> dict[str, Any]:
    """Return what both routers take."""
    cascade = Cascade(Scripted(script), accept=0.9)
    return {
        "strategy": Single() if strategy == "single" else cascade,
        "predictor": Known(alike=strategy == "single"),
        "cooldown": Cooldown(failures=0),
    }


# --- LangChain ---


class CutChat(BaseChatModel):
    """Streams what the script says of it."""

    name: str
    _script: Script = PrivateAttr()

    @property
    def _llm_type(self) -> str:
        return "cut"

    def _chunks(self) -> Iterator[AIMessageChunk]:
        stream = self._script.streams[self.name]
        for kind, piece in stream.arriving:
            yield _chunk(kind, piece)
        if stream.cut is not None:
            self._script.cuts += 1
            raise ConnectionError("lost")
        yield AIMessageChunk(content="", chunk_position="last")

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in self._chunks():
            yield ChatGenerationChunk(message=chunk)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks():
            yield ChatGenerationChunk(message=chunk)

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        message = message_chunk_to_message(reduce(add, self._chunks()))
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate()


def _chunk(kind: Kind, piece: str) -> AIMessageChunk:
    match kind:
        case "text":
            return AIMessageChunk(content=piece)
        case "block":
            return AIMessageChunk(content=[{"type": "text", "text": piece, "index": 0}])
        case "reasoning":
            return AIMessageChunk(content=[{"type": "reasoning", "reasoning": piece, "index": 1}])
        case "tool":
            first = {"name": "tool", "id": "call"} if piece.startswith("{") else {}
            part = tool_call_chunk(args=piece, index=0, **first)
            return AIMessageChunk(content="", tool_call_chunks=[part])
        case "opening":
            return AIMessageChunk(content=[{"type": "text", "text": "", "index": 0}])
        case "usage":
            counts = UsageMetadata(input_tokens=1, output_tokens=1, total_tokens=2)
            return AIMessageChunk(content="", usage_metadata=counts)
        case "role":
            return AIMessageChunk(content="", response_metadata={"model_provider": "cut"})
    return AIMessageChunk(content="")


def chat_router(strategy: str, script: Script) -> ChatRouter:
    """Return a router over three such models."""
    models = {name: CutChat(name=name) for name in NAMES}
    for model in models.values():
        model._script = script
    return ChatRouter(models, **settings(strategy, script))


def read_chunks(chunks: Sequence[AIMessageChunk]) -> Content:
    """Return all that the chunks show."""
    blocks = [b for chunk in chunks if isinstance(chunk.content, list) for b in chunk.content]
    calls = [part["args"] or "" for chunk in chunks for part in chunk.tool_call_chunks]
    return {
        "text": "".join([str(chunk.text) for chunk in chunks]),
        "tool": _ESCAPED.sub(lambda found: chr(int(found[1], 16)), "".join(calls)),
        "reasoning": "".join([b.get("reasoning", "") for b in blocks if isinstance(b, dict)]),
    }


# --- LlamaIndex ---


class CutLLM(CustomLLM):
    """Streams what the script says of it."""

    name: str
    _script: Script = PrivateAttr()

    @property
    def metadata(self) -> LLMMetadata:
        """Its name."""
        return LLMMetadata(model_name=self.name)

    def _responses(self) -> Iterator[ChatResponse]:
        stream = self._script.streams[self.name]
        so_far: Content = {"text": "", "tool": "", "reasoning": ""}
        for kind, piece in stream.arriving:
            if kind in SHOWS:
                so_far[SHOWS[kind]] += piece
            yield _response(so_far, piece if SHOWS.get(kind) == "text" else "", kind == "usage")
        if stream.cut is not None:
            self._script.cuts += 1
            raise ConnectionError("lost")
        yield _response(so_far, "", usage=False)

    def chat(self, messages: Any, **kwargs: Any) -> Any:
        """Return all at once."""
        (*_, last) = self._responses()
        return last

    async def achat(self, messages: Any, **kwargs: Any) -> Any:
        """Do the same without blocking."""
        return self.chat(messages)

    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        """Return the responses as they grow."""
        return self._responses()

    async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
        """Do the same without blocking."""

        async def responses() -> AsyncIterator[ChatResponse]:
            for response in self._responses():
                yield response

        return responses()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Never called."""
        raise NotImplementedError

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Never called."""
        raise NotImplementedError


def _response(so_far: Content, delta: str, usage: bool) -> ChatResponse:
    blocks: list[Any] = []
    if so_far["reasoning"]:
        blocks.append(ThinkingBlock(content=so_far["reasoning"]))
    if so_far["text"]:
        blocks.append(TextBlock(text=so_far["text"]))
    if so_far["tool"]:
        blocks.append(ToolCallBlock(tool_name="tool", tool_kwargs=so_far["tool"]))
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)
    counted = {"prompt_tokens": 1, "completion_tokens": 1} if usage else {}
    return ChatResponse(message=message, delta=delta, additional_kwargs=counted)


def llm_router(strategy: str, script: Script) -> RouterLLM:
    """Return a router over three such LLMs."""
    models = {name: CutLLM(name=name) for name in NAMES}
    for model in models.values():
        model._script = script
    return RouterLLM(models, **settings(strategy, script))


def read_responses(responses: Sequence[ChatResponse]) -> Content:
    """Return all that the responses show; the last one has to hold all that they added."""
    content: Content = {"text": "", "tool": "", "reasoning": ""}
    if not responses:
        return content
    for block in responses[-1].message.blocks:
        if isinstance(block, ThinkingBlock):
            content["reasoning"] = block.content or ""
        elif isinstance(block, ToolCallBlock):
            content["tool"] = str(block.tool_kwargs)
    content["text"] = "".join([response.delta or "" for response in responses])
    if content["text"] != (responses[-1].message.content or ""):
        content["text"] += responses[-1].message.content or ""  # counts as doubled
    return content


# --- the campaign ---


def caught(error: Exception) -> dict[str, Any]:
    """Return how a call ended that did not end well."""
    if isinstance(error, StreamInterruptedError):
        return {"error": "interrupted", "partial": error.partial}
    return {"error": "failed"}


def listen(stream: Callable[[], Any], read: Callable[[Any], Content]) -> Outcome:
    """Make one call, and return what the caller got."""
    got: list[Any] = []
    try:
        got.extend(stream())  # keeps what came before an error
    except Exception as error:  # noqa: BLE001 - it is looked at
        return Outcome(read(got), **caught(error))
    return Outcome(read(got))


async def alisten(stream: Callable[[], Any], read: Callable[[Any], Content]) -> Outcome:
    """Do the same without blocking."""
    got: list[Any] = []
    try:
        async for chunk in await _begun(stream()):
            got.append(chunk)  # noqa: PERF401 - what came before an error counts
    except Exception as error:  # noqa: BLE001 - it is looked at
        return Outcome(read(got), **caught(error))
    return Outcome(read(got))


async def _begun(stream: Any) -> Any:
    """Return a stream that LlamaIndex has to be waited for."""
    return await stream if asyncio.iscoroutine(stream) else stream


def faults(expected: Outcome, got: Outcome) -> Counter[str]:
    """Count the characters that are not where they belong."""
    found: Counter[str] = Counter()
    for channel, wanted in expected.content.items():
        said = got.content[channel]
        counts = Counter(said)
        found["duplicated"] += sum(n - 1 for c, n in counts.items() if ord(c) >= _FIRST_CHARACTER)
        found["spliced"] += sum(1 for c in counts if c not in wanted)
        found["lost"] += sum(1 for c in wanted if c not in counts)
        found["out of order"] += said != wanted and sorted(said) == sorted(wanted)
    found["wrong error"] += (expected.error, expected.partial) != (got.error, got.partial)
    return +found


@dataclass(frozen=True)
class Way:
    """One way to call a router."""

    framework: Literal["LangChain", "LlamaIndex"]
    strategy: Literal["single", "cascade"]
    asynchronous: bool

    def __str__(self) -> str:
        return f"{self.framework}, {self.strategy}, {'async' if self.asynchronous else 'sync'}"

    async def run(self, cuts: int, seed: int) -> Counter[str]:
        """Break so many streams off; return what went wrong, and what happened."""
        rng, script = random.Random(f"{seed} {self}"), Script()
        found: Counter[str] = Counter(calls=0)
        stream, read = self._caller(script)
        while script.cuts < cuts:
            drawn = draw(rng)
            script.streams, script.verdicts = drawn.streams, drawn.verdicts
            expected = (after_single if self.strategy == "single" else after_cascade)(script)
            got = await alisten(stream, read) if self.asynchronous else listen(stream, read)
            found += faults(expected, got)
            found["calls"] += 1
            found[f"ended: {expected.error or 'answered'}"] += 1
        found["cuts"] = script.cuts
        return found

    def _caller(self, script: Script) -> tuple[Callable[[], Any], Callable[[Any], Content]]:
        if self.framework == "LangChain":
            chat = chat_router(self.strategy, script)
            call: Any = chat.astream if self.asynchronous else chat.stream
            return lambda: call(QUESTION), read_chunks
        llm = llm_router(self.strategy, script)
        asks: Any = llm.astream_chat if self.asynchronous else llm.stream_chat
        return lambda: asks([ChatMessage(content=QUESTION)]), read_responses


WAYS = [
    Way(framework, strategy, asynchronous)
    for framework in ("LangChain", "LlamaIndex")
    for strategy in ("single", "cascade")
    for asynchronous in (False, True)
]
WRONG = ("duplicated", "spliced", "lost", "out of order", "wrong error")
ENDS = ("answered", "interrupted", "failed")


def main(arguments: list[str] | None = None) -> None:
    """Break streams off, write the JSON file and the table."""
    parser = _page.parser(__doc__)
    parser.add_argument("--cuts", type=int, default=100_000, help="streams that are broken off")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    each = -(-options.cuts // len(WAYS))
    found = {str(way): asyncio.run(way.run(each, options.seed)) for way in WAYS}
    ways = {
        name: {
            "cuts": one["cuts"],
            "calls": one["calls"],
            **{end: one[f"ended: {end}"] for end in ENDS},
            **{wrong.replace(" ", "_"): one[wrong] for wrong in WRONG},
        }
        for name, one in found.items()
    }
    keys = next(iter(ways.values()))
    results = {
        "command": f"python -m examples.benchmarks.stream_cuts --cuts {options.cuts} "
        f"--seed {options.seed}",
        "seed": options.seed,
        **{key: sum(way[key] for way in ways.values()) for key in keys},
        "ways": ways,
        "seconds": round(time.perf_counter() - started),
    }
    _page.publish(options.out, "stream_cuts", results, {"stream_cuts": table(ways)})


def table(ways: dict[str, dict[str, int]]) -> str:
    """Return the table of the page."""
    titles = ["call", "streams cut", "calls", *ENDS, *WRONG]
    keys = ["cuts", "calls", *ENDS, *(wrong.replace(" ", "_") for wrong in WRONG)]
    rows = [[name, *(f"{way[key]:,}" for key in keys)] for name, way in ways.items()]
    return _page.markdown(titles, rows)


if __name__ == "__main__":
    main()
