"""One pass over the prompts: a way of answering in, what came of each prompt out."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.llm import LLM

from examples.demo.prompts import Prompt, grade


@dataclass(frozen=True)
class Result:
    """What came of one prompt.

    Attributes:
        prompt: Which.
        model: The candidate that answered.
        right: The reply was right.
        tokens_in: Input tokens as the server counted them; so are `tokens_out`.
        seconds: Wall-clock time of the call.
        calls: Models called for it, failed attempts included.
        error: What went wrong, if anything did.
    """

    prompt: Prompt
    model: str
    right: bool
    tokens_in: int
    tokens_out: int
    seconds: float
    calls: tuple[str, ...]
    error: str | None = None


@dataclass(frozen=True)
class Said:
    """A reply with what was counted of it."""

    text: str
    tokens_in: int
    tokens_out: int
    record: dict[str, Any] | None


def by_langchain(model: BaseChatModel) -> Callable[[str], Said]:
    """Return what asks a LangChain model."""

    def ask(text: str) -> Said:
        message = model.invoke(text)
        used = message.usage_metadata or {"input_tokens": 0, "output_tokens": 0}
        record = message.response_metadata.get("router")
        return Said(str(message.text), used["input_tokens"], used["output_tokens"], record)

    return ask


def by_llamaindex(llm: LLM) -> Callable[[str], Said]:
    """Return what asks a LlamaIndex LLM."""

    def ask(text: str) -> Said:
        response = llm.chat([ChatMessage(content=text)])
        counts = response.additional_kwargs
        return Said(
            response.message.content or "",
            counts.get("prompt_tokens", 0),
            counts.get("completion_tokens", 0),
            counts.get("router"),
        )

    return ask


def run_pass(
    prompts: Sequence[Prompt], name: str, ask: Callable[[str], Said], *, run_code: bool
) -> Iterator[Result]:
    """Ask every prompt; `name` is who answers where no record says so."""
    for prompt in prompts:
        started = time.perf_counter()
        try:
            said = ask(prompt.text)
        except Exception as error:  # noqa: BLE001 - the demo goes on and says so at its end
            seconds = time.perf_counter() - started
            yield Result(prompt, name, False, 0, 0, seconds, (), f"{type(error).__name__}: {error}")
            continue
        seconds = time.perf_counter() - started
        record = said.record or {"candidate": name, "attempts": [{"candidate": name}]}
        yield Result(
            prompt=prompt,
            model=record["candidate"],
            right=grade(prompt, said.text, run_code=run_code),
            tokens_in=said.tokens_in,
            tokens_out=said.tokens_out,
            seconds=seconds,
            calls=tuple(attempt["candidate"] for attempt in record["attempts"]),
        )
