"""The same strategy over the same models does the same in LangChain and in LlamaIndex.

In: one script for the models of both frameworks. Out: what was answered, who was asked and how it
ended, what verifiers made of it, and what was written down; in four forms of a call each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms import types

if not hasattr(types, "ToolCallBlock"):
    pytest.skip("the scripted LLMs need LlamaIndex's tool call blocks", allow_module_level=True)

from langchain_router import ChatRouter
from llamaindex_router import Cascade, Draft, RouterLLM, SelfConsistency, Verdict
from shared_core.types import Ask, Check, Turn, Verification
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import FixedPredictor
from tests.fakes.llms import ScriptedLLM
from tests.fakes.script import Break
from tests.integration_tests.accounts import last

NAMES = ("small", "middle", "large")
CHANCES = FixedPredictor({"small": 0.55, "middle": 0.6, "large": 0.9})
LONG = " ".join(f"word{number}" for number in range(120))
QUESTION = "What is the capital of France?"
DIFFERS = {"decision_id", "started_at", "seconds", "overhead_s", "prompt_hash"}


class Busy(Exception):
    """As a vendor's SDK raises it."""

    status_code = 429


class Dropping:
    """Gives a draft up once it holds a word, and likes all others."""

    name = "dropping"

    def glance(self, draft: Draft) -> tuple[float, float] | None:
        """Look at what there is."""
        return (0.002, 0.1) if "word40" in draft.reply.text else None

    def verify(self, draft: Draft) -> Verification:
        """Look at all of it."""
        look = lambda draft: 0.8 if draft.reply.text.startswith("middle") else 0.3  # noqa: E731
        verdict: Verdict
        (verdict,) = yield (Check(self.name, look, draft, inline=True),)
        return verdict


class Judge:
    """Has the large model say something of each draft."""

    name = "judge"

    def verify(self, draft: Draft) -> Verification:
        """Ask it."""
        turns = (Turn("system", "Judge."), Turn("user", draft.reply.text))
        (reply,) = yield (
            Ask("large", False, {"max_tokens": 9}, turns, purpose="check", replace=True),
        )
        return Verdict(self.name, 0.9 if "middle" in reply.text else 0.1, "as the judge has it")


def _raises(draft: Draft) -> Any:
    raise ValueError(draft.reply.text)


def right(draft: Draft) -> bool:
    """What the middle one says is right."""
    return draft.reply.text.startswith("middle")


def long_enough(draft: Draft) -> float:
    """By the length of it."""
    return min(0.99, len(draft.reply.text) / 60)


CASES: dict[str, tuple[Any, dict[str, list[Any]]]] = {
    "the second is right": (right, {}),
    "a probability": (long_enough, {}),
    "nobody can tell": (lambda _: None, {}),
    "it raises": (_raises, {}),
    "no probability": (lambda _: float("nan"), {}),
    "several": ([long_enough, right], {}),
    "a judge": (Judge(), {}),
    "a judge that fails": (Judge(), {"large": [Busy(), None]}),
    "a draft is dropped": (Dropping(), {"small": [LONG]}),
    "all are dropped": (Dropping(), {"small": [LONG], "middle": [LONG]}),
    "the first fails": (right, {"small": [Busy()]}),
    "the second fails": (right, {"middle": [Busy()]}),
    "a draft breaks off": (Dropping(), {"small": [Break(Busy(), after=2)]}),
    "the last fails": (lambda _: 0.2, {"large": [Busy()]}),
    "an empty draft": (long_enough, {"small": [""]}),
    "odd text": (long_enough, {"small": ["\u202e\u0000 \U0001f600 1+1=3"]}),
}

SEVEN, EIGHT = "3 + 4 = 7\nThe answer is 7.", "The answer is 8."
VOTES: dict[str, tuple[SelfConsistency, dict[str, list[Any]]]] = {
    "all say the same": (SelfConsistency(), {"large": [SEVEN]}),
    "the vote turns": (SelfConsistency(at_once=1), {"large": [EIGHT, SEVEN, SEVEN]}),
    "an essay": (SelfConsistency(), {"large": [LONG]}),
    "all take turns": (
        SelfConsistency(voters="all", at_once=1),
        {"small": [SEVEN], "middle": [EIGHT], "large": [EIGHT]},
    ),
    "a sample fails": (SelfConsistency(at_once=1), {"large": [SEVEN, Busy(), SEVEN]}),
    "a voter fails": (
        SelfConsistency(voters=("small", "large"), at_once=1),
        {"small": [Busy()], "large": [SEVEN]},
    ),
}


def langchain(form: str, verify: Any, replies: dict[str, list[Any]]) -> tuple[str, Any]:
    """Ask a chat model; return the text and the router."""
    made = {name: ScriptedChat(model_name=name, replies=replies.get(name, ())) for name in NAMES}
    llm = ChatRouter(candidates=made, **about(verify))

    async def astream() -> str:
        return "".join([chunk.text async for chunk in llm.astream(QUESTION)])

    forms: dict[str, Callable[[], Any]] = {
        "whole": lambda: llm.invoke(QUESTION).text,
        "awaited": lambda: asyncio.run(llm.ainvoke(QUESTION)).text,
        "streamed": lambda: "".join(chunk.text for chunk in llm.stream(QUESTION)),
        "streamed later": lambda: asyncio.run(astream()),
    }
    return str(forms[form]()), llm


def llamaindex(form: str, verify: Any, replies: dict[str, list[Any]]) -> tuple[str, Any]:
    """Ask an LLM; return the text and the router."""
    made = {name: ScriptedLLM(model=name, replies=replies.get(name, ())) for name in NAMES}
    llm = RouterLLM(candidates=made, **about(verify))
    asked = [types.ChatMessage(content=QUESTION)]

    async def astream() -> str:
        return "".join([part.delta or "" async for part in await llm.astream_chat(asked)])

    forms: dict[str, Callable[[], Any]] = {
        "whole": lambda: llm.chat(asked).message.content,
        "awaited": lambda: asyncio.run(llm.achat(asked)).message.content,
        "streamed": lambda: "".join(part.delta or "" for part in llm.stream_chat(asked)),
        "streamed later": lambda: asyncio.run(astream()),
    }
    return str(forms[form]() or ""), llm


def about(how: Any) -> dict[str, Any]:
    """What both routers are told: a strategy, or how the drafts of a cascade are verified."""
    voting = isinstance(how, SelfConsistency)
    strategy = how if voting else Cascade(verify=how, accept=0.65)
    return {"predictor": CHANCES, "strategy": strategy}


def steady(found: Any) -> Any:
    """An entry without what differs from call to call."""
    if isinstance(found, dict):
        return {name: steady(value) for name, value in found.items() if name not in DIFFERS}
    return [steady(one) for one in found] if isinstance(found, list) else found


@pytest.mark.parametrize("case", [*CASES, *VOTES])
def test_both_frameworks_and_all_forms_do_the_same(case: str) -> None:
    verify, replies = {**CASES, **VOTES}[case]
    texts, entries = {}, {}
    for ask in (langchain, llamaindex):
        for form in ("whole", "awaited", "streamed", "streamed later"):
            text, llm = ask(form, verify, replies)
            texts[ask.__name__, form], entries[ask.__name__, form] = text, steady(last(llm))
    assert len(set(texts.values())) == 1, texts
    first = entries["langchain", "whole"]
    for who, entry in entries.items():
        for part in first:
            assert entry[part] == first[part], (who, part)


def test_the_cases_end_in_every_way() -> None:
    told = []
    for verify, replies in CASES.values():
        _, llm = llamaindex("whole", verify, replies)
        entry = last(llm)
        attempts = [(a["candidate"], a["outcome"], a["purpose"]) for a in entry["attempts"]]
        told.append((attempts, entry["verdicts"], entry["candidate"]))
    answering = [candidate for *_, candidate in told]
    assert set(answering) == set(NAMES)
    outcomes = {outcome for attempts, *_ in told for _, outcome, _ in attempts}
    assert outcomes == {"answered", "dropped", "failed"}


def test_the_votes_end_as_they_should() -> None:
    told = {}
    for case, (strategy, replies) in VOTES.items():
        text, llm = llamaindex("whole", strategy, replies)
        (verdict,) = last(llm)["verdicts"]
        told[case] = (text, len(last(llm)["attempts"]), verdict["note"])
    assert told["all say the same"] == (SEVEN, 2, "2 of 2 say the same (of at most 16)")
    assert told["the vote turns"][0] == SEVEN
    assert told["an essay"] == (LONG, 1, "its answer cannot be compared")
    assert told["all take turns"][0] == EIGHT
    assert told["a sample fails"][0] == told["a voter fails"][0] == SEVEN
