"""Prompts are put to models and routers: a prompt in, one `Trial` with every call of it out.

Each prompt goes, in turn, to the small model alone, to the large one alone, through `ChatRouter`
and through `RouterLLM`. So a run that stops early has still compared like with like.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from llama_index.core.llms import LLM, ChatMessage, ChatResponse

from examples.demo.energy import Wattmeter
from examples.demo.options import Deadline
from examples.demo.prompts import Prompt, grade

RESERVE_S = 5.0  # seconds kept for the end: tables, servers that stop


@dataclass(frozen=True)
class Answer:
    """What came back, whichever framework it came through.

    Attributes:
        candidate: Which model answered.
        text: What it said.
        tokens_in: Tokens of the prompt, as the model counted them.
        tokens_out: Tokens of the answer.
        reason: Why the router chose this model; empty where no router did.
        decision_id: Names the router's decision; empty where there was none.
    """

    candidate: str
    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    reason: str = ""
    decision_id: str = ""


@dataclass(frozen=True)
class Call:
    """One call with its grade.

    Attributes:
        answer: What came back; None if the call failed.
        seconds: How long it took, on the clock.
        right: Whether the answer is right.
        error: Why the call failed; empty if it did not.
        wh: Wh that this machine took meanwhile.
    """

    answer: Answer | None
    seconds: float
    right: bool
    error: str = ""
    wh: float = 0.0

    @property
    def answered(self) -> bool:
        """Whether a model was reached and said anything."""
        return self.answer is not None and bool(self.answer.text.strip())


@dataclass(frozen=True)
class Trial:
    """One prompt with its call in each lane: alone in a model, or through a router."""

    prompt: Prompt
    calls: Mapping[str, Call]


Lane = Callable[[str], Answer]
"""Something that answers a prompt."""


def through_langchain(model: BaseChatModel, alone: str = "") -> Lane:
    """A lane through a LangChain model; `alone` names it where it is no router."""

    def ask(text: str) -> Answer:
        return read_message(model.invoke(text), alone)

    return ask


def through_llamaindex(llm: LLM) -> Lane:
    """A lane through LlamaIndex's router."""

    def ask(text: str) -> Answer:
        return read_response(llm.chat([ChatMessage(role="user", content=text)]))

    return ask


def read_message(message: AIMessage, alone: str = "") -> Answer:
    """Reads a LangChain message; the router, if any, left its record in the metadata."""
    record = message.response_metadata.get("router") or {}
    usage = message.usage_metadata
    return Answer(
        candidate=record.get("candidate", alone),
        text=str(message.text),
        tokens_in=usage["input_tokens"] if usage else 0,
        tokens_out=usage["output_tokens"] if usage else 0,
        reason=record.get("reason", ""),
        decision_id=record.get("decision_id", ""),
    )


def read_response(response: ChatResponse) -> Answer:
    """Reads a LlamaIndex response; the router left its record in `additional_kwargs`."""
    extra = response.additional_kwargs
    return Answer(
        candidate=extra["router"]["candidate"],
        text=response.message.content or "",
        tokens_in=extra.get("prompt_tokens", 0),
        tokens_out=extra.get("completion_tokens", 0),
        reason=extra["router"]["reason"],
        decision_id=extra["router"]["decision_id"],
    )


def ask(lane: Lane, prompt: Prompt, wattmeter: Wattmeter, *, run_code: bool) -> Call:
    """Makes one call and grades it. A failed call is data: it costs its time and is wrong."""
    start, before = time.monotonic(), wattmeter.wh()
    try:
        answer = lane(prompt.text)
    except Exception as error:  # noqa: BLE001 whatever went wrong, the table must say so
        seconds, said = time.monotonic() - start, f"{type(error).__name__}: {error}"
        return Call(None, seconds, False, said, wattmeter.wh() - before)
    seconds, wh = time.monotonic() - start, wattmeter.wh() - before
    return Call(answer, seconds, grade(prompt, answer.text, run_code=run_code), wh=wh)


def run_trials(
    prompts: Iterable[Prompt],
    lanes: Mapping[str, Lane],
    deadline: Deadline,
    wattmeter: Wattmeter,
    *,
    run_code: bool = False,
) -> Iterator[Trial]:
    """Puts each prompt to every lane, until none is left or the time is nearly up.

    A prompt is started only if there is time for one as slow as the slowest so far.
    """
    slowest = 0.0
    for prompt in prompts:
        if not deadline.allows(slowest + RESERVE_S):
            return
        start = time.monotonic()
        calls = {
            name: ask(lane, prompt, wattmeter, run_code=run_code) for name, lane in lanes.items()
        }
        yield Trial(prompt, calls)
        slowest = max(slowest, time.monotonic() - start)
