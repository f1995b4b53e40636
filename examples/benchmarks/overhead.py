"""What a routed call adds to the bare candidate: both frameworks, sync, async, streamed.

Run `python -m examples.benchmarks.overhead`. The candidates answer at once and in process, so all
that is left is the frameworks' own work and the router's. The bare model and every router take
turns, in an order drawn anew each round, and all rows are gone through several times, so that
whatever else the machine is doing falls on all of them; quote the ratio, not the milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.llms import ChatMessage, CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback

from examples.benchmarks import _page
from langchain_router import ChatRouter
from llamaindex_router import RouterLLM

WORDS = ["four ", "words ", "at ", "once"]
QUESTION = "What is the capital of France?"
HISTORY_TURNS = 100
TURN = "Some two hundred characters of a longer talk about nothing much, and so on, " * 5
PACKAGES = ("langchain-core", "llama-index-core", "langchain-model-router")
PASSES = 20
WARM_UP = 10
BOOTSTRAP_DRAWS = 2000

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


def langchain_work(model: Runnable[Any, Any], turns: list[tuple[str, str]]) -> dict[str, Work]:
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


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the median."""
    draws = np.random.default_rng(0).choice(values, (BOOTSTRAP_DRAWS, len(values)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(low), float(high)


def row_of(bare: np.ndarray, routed: np.ndarray) -> dict[str, Any]:
    """Return medians in ms, and what one router adds, round by round."""
    added = routed - bare
    low, high = median_interval(added)
    return {
        "bare_ms": round(float(np.median(bare)), 4),
        "added_ms": {
            "value": round(float(np.median(added)), 4),
            "low": round(low, 4),
            "high": round(high, 4),
        },
        "ratio": round(float(np.median(routed / bare)), 2),
    }


def langchain_routers(small: BaseChatModel, large: BaseChatModel) -> dict[str, Runnable[Any, Any]]:
    """Ours and two others inside LangChain, all over the same two models; each asks `small`.

    `with_fallbacks` is LangChain's own and decides nothing: it asks the first, and the next after
    an error. `langchain-model-router` is set up as its own first example shows, with the rules of
    its `HeuristicStrategy` as they come: no further model, no embeddings. Without that package its
    rows are left out.
    """
    routers = {
        "ChatRouter": ChatRouter(candidates={"small": small, "large": large}),
        "with_fallbacks": small.with_fallbacks([large]),
    }
    try:
        import langchain_model_router as other
    except ImportError:
        print("langchain-model-router is not installed (see `make bench`); its rows are left out")
        return routers
    routers["langchain-model-router"] = other.ChatRouter(
        routes={"small": small, "large": large},
        default_route="small",
        strategy=other.HeuristicStrategy("small", "large"),
    )
    return routers


def calls() -> dict[str, dict[str, Work]]:
    """What is compared, by framework, history and call form: first the bare call, then routed."""
    chat, llm = InstantChat(), InstantLLM()
    chats = {"bare": chat, **langchain_routers(chat, InstantChat())}
    llms = {"bare": llm, "RouterLLM": RouterLLM(candidates={"small": llm, "large": InstantLLM()})}
    compared: dict[str, dict[str, Work]] = {}
    for length, turns in histories().items():
        for framework, work_of, models in (
            ("langchain", langchain_work, chats),
            ("llamaindex", llamaindex_work, llms),
        ):
            works = {name: work_of(model, turns) for name, model in models.items()}
            for form in works["bare"]:
                call = {name: own[form] for name, own in works.items()}
                compared[f"{framework}, {length}, {form}"] = call
    return compared


async def take_turns(works: dict[str, Work], rounds: int) -> np.ndarray:
    """Do each work once a round; return milliseconds, a row for each."""
    times = np.empty((len(works), WARM_UP + rounds))
    order = list(enumerate(works.values()))
    for turn in range(WARM_UP + rounds):
        random.shuffle(order)  # nobody always runs in another's wake
        for place, work in order:
            times[place, turn] = await _milliseconds(work)
    return times[:, WARM_UP:]


async def measure(rounds: int) -> dict[str, Any]:
    """Time everything in several passes; return a row for each call by each router."""
    compared = calls()
    passes = [
        [await take_turns(works, rounds) for works in compared.values()] for _ in range(PASSES)
    ]
    rows: dict[str, Any] = {}
    for (call, works), taken in zip(compared.items(), zip(*passes, strict=True), strict=True):
        bare, *routed = np.concatenate(taken, axis=1)
        for name, own in zip(list(works)[1:], routed, strict=True):
            rows[f"{call}, {name}"] = row_of(bare, own)
    return rows


def table(rows: dict[str, Any]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| framework, history, call, router | bare, ms | added at p50, ms (95 %) | routed / bare |",
        "|---|---|---|---|",
    ]
    for name, row in rows.items():
        added = row["added_ms"]
        lines.append(
            f"| {name} | {row['bare_ms']:.3f} | {added['value']:.3f} "
            f"({added['low']:.3f} to {added['high']:.3f}) | {row['ratio']:.2f} |"
        )
    return "\n".join(lines)


def installed(package: str) -> str | None:
    """Return the version of a package, None where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Measure, write the JSON file, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50, help=f"timed in each of {PASSES} passes")
    parser.add_argument(
        "--out", type=Path, default=_page.HERE, help="folder of README.md and results/"
    )
    arguments = parser.parse_args()
    rows = asyncio.run(measure(arguments.rounds))
    results = {
        "command": f"python -m examples.benchmarks.overhead --rounds {arguments.rounds}",
        "python": platform.python_version(),
        "versions": {package: installed(package) for package in PACKAGES},
        "pairs": arguments.rounds * PASSES,
        "unit": "milliseconds; low and high: 95 % bootstrap interval of the median",
        "rows": rows,
    }
    _page.publish(arguments.out, "overhead", results, {"overhead": table(rows)})


if __name__ == "__main__":
    main()
