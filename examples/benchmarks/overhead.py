"""What a routed call adds to the bare candidate: both frameworks, sync, async, streamed.

Run `python -m examples.benchmarks.overhead`. The candidates answer at once and in process, so all
that is left is the frameworks' own work and ours. Bare and routed calls alternate in one run, so
that whatever else the machine is doing falls on both; quote the ratio, not the milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.llms import ChatMessage, CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback

from langchain_router import ChatRouter
from llamaindex_router import RouterLLM

RESULTS = Path(__file__).parent / "results" / "overhead.json"
PAGE = Path(__file__).parent / "README.md"
WORDS = ["four ", "words ", "at ", "once"]
QUESTION = "What is the capital of France?"
HISTORY_TURNS = 100
TURN = "Some two hundred characters of a longer talk about nothing much, and so on, " * 5

Work = Callable[[], Any]


class InstantChat(BaseChatModel):
    """A LangChain chat model that answers at once."""

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(WORDS)))])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        return self._generate(messages)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for word in WORDS:
            yield ChatGenerationChunk(message=AIMessageChunk(word))

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream([]):
            yield chunk


class InstantLLM(CustomLLM):
    """A LlamaIndex LLM that answers at once."""

    @property
    def metadata(self) -> LLMMetadata:
        """A window that fits every history here."""
        return LLMMetadata(context_window=100_000)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer whole."""
        return CompletionResponse(text="".join(WORDS))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Answer word by word."""

        def grow() -> Iterator[CompletionResponse]:
            for end in range(1, len(WORDS) + 1):
                yield CompletionResponse(text="".join(WORDS[:end]), delta=WORDS[end - 1])

        return grow()


def histories() -> dict[str, list[tuple[str, str]]]:
    """A short question, and the same after about 10,000 tokens of talk, as (role, text)."""
    talk = [("user" if turn % 2 == 0 else "assistant", TURN) for turn in range(HISTORY_TURNS)]
    return {"short": [("user", QUESTION)], "10k tokens": [*talk, ("user", QUESTION)]}


def langchain_work(model: BaseChatModel, turns: list[tuple[str, str]]) -> dict[str, Work]:
    """What is timed, by call form; the async forms return an awaitable."""
    messages: list[BaseMessage] = [
        HumanMessage(text) if role == "user" else AIMessage(text) for role, text in turns
    ]

    async def consume() -> None:
        async for _ in model.astream(messages):
            pass

    return {
        "sync": lambda: model.invoke(messages),
        "async": lambda: model.ainvoke(messages),
        "stream": lambda: list(model.stream(messages)),
        "async stream": consume,
    }


def llamaindex_work(llm: Any, turns: list[tuple[str, str]]) -> dict[str, Work]:
    """The same for LlamaIndex."""
    messages = [ChatMessage(content=text, role=role) for role, text in turns]

    async def consume() -> None:
        async for _ in await llm.astream_chat(messages):
            pass

    return {
        "sync": lambda: llm.chat(messages),
        "async": lambda: llm.achat(messages),
        "stream": lambda: list(llm.stream_chat(messages)),
        "async stream": consume,
    }


async def _milliseconds(work: Work) -> float:
    started = time.perf_counter()
    outcome = work()
    if isinstance(outcome, Awaitable):
        await outcome
    return (time.perf_counter() - started) * 1000


async def compare(bare: Work, routed: Work, pairs: int) -> dict[str, Any]:
    """Time both in turn; return medians in ms and their ratio, and the middle half of each."""
    samples = []
    for pair in range(pairs + 10):
        times = (await _milliseconds(bare), await _milliseconds(routed))
        if pair >= 10:  # the first warm the caches
            samples.append(times)
    added = statistics.quantiles([after - before for before, after in samples], n=4)
    ratio = statistics.quantiles([after / before for before, after in samples], n=4)
    return {
        "bare_ms": round(statistics.median(before for before, _ in samples), 4),
        "added_ms": {
            "value": round(added[1], 4),
            "low": round(added[0], 4),
            "high": round(added[2], 4),
        },
        "ratio": {
            "value": round(ratio[1], 2),
            "low": round(ratio[0], 2),
            "high": round(ratio[2], 2),
        },
    }


async def measure(pairs: int) -> dict[str, Any]:
    """Measure every framework, history and call form."""
    rows: dict[str, Any] = {}
    bare_chat, bare_llm = InstantChat(), InstantLLM()
    chat_router = ChatRouter(candidates={"small": InstantChat(), "large": InstantChat()})
    router_llm = RouterLLM(candidates={"small": InstantLLM(), "large": InstantLLM()})
    for length, turns in histories().items():
        for framework, bare, routed in (
            ("langchain", langchain_work(bare_chat, turns), langchain_work(chat_router, turns)),
            ("llamaindex", llamaindex_work(bare_llm, turns), llamaindex_work(router_llm, turns)),
        ):
            for form, work in bare.items():
                rows[f"{framework}, {length}, {form}"] = await compare(work, routed[form], pairs)
    return rows


def table(rows: dict[str, Any]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| call | bare, ms | added at p50, ms (p25 to p75) | routed / bare |",
        "|---|---|---|---|",
    ]
    for name, row in rows.items():
        added, ratio = row["added_ms"], row["ratio"]
        lines.append(
            f"| {name} | {row['bare_ms']:.3f} | {added['value']:.3f} "
            f"({added['low']:.3f} to {added['high']:.3f}) | {ratio['value']:.2f} |"
        )
    return "\n".join(lines)


def with_table(page: str, drawn: str) -> str:
    """Return the page with the table in its place."""
    start, end = "<!-- table: overhead -->\n", "<!-- end -->"
    before, _, rest = page.partition(start)
    return f"{before}{start}{drawn}\n{end}{rest.partition(end)[2]}"


def main() -> None:
    """Measure, write the JSON file, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=400, help="timed pairs per row")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON file goes")
    arguments = parser.parse_args()
    rows = asyncio.run(measure(arguments.pairs))
    arguments.out.write_text(
        json.dumps(
            {
                "command": f"python -m examples.benchmarks.overhead --pairs {arguments.pairs}",
                "python": platform.python_version(),
                "langchain_core": version("langchain-core"),
                "llama_index_core": version("llama-index-core"),
                "unit": "milliseconds; low and high are the first and third quartile over pairs",
                "rows": rows,
            },
            indent=2,
        )
        + "\n"
    )
    print(table(rows))
    if arguments.out == RESULTS:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
