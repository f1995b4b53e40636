"""The same strategy over the same models does the same in LangChain and in LlamaIndex.

In: one script for the models of both frameworks. Out: what was answered, who was asked and how it
ended, what verifiers made of it, and what was written down; whole, in a batch and streamed, sync
and async.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import reduce
from operator import add
from typing import Any

import pytest
from llama_index.core.base.llms import types

if not hasattr(types, "ToolCallBlock"):
    pytest.skip("the scripted LLMs need LlamaIndex's tool call blocks", allow_module_level=True)

from langchain_router import ChatRouter
from llamaindex_router import (
    Candidate,
    Cascade,
    ChainOfThought,
    Draft,
    RouterLLM,
    SelfConsistency,
    Verdict,
)
from shared_core.types import Ask, Check, Turn, Verification
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import FixedPredictor
from tests.fakes.llms import ScriptedLLM
from tests.fakes.script import Break
from tests.integration_tests.accounts import PRICE, last
from tests.integration_tests.strategies import CHANCES as STRATEGY_CHANCES
from tests.integration_tests.strategies import (
    NAMES,
    REPEATING,
    STRATEGIES,
    each_strategy,
)

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


THINKING = ChainOfThought(easy="low")
HELD = "I think.\n=== ANSWER ===\nParis"
REASONED: dict[str, dict[str, list[Any]]] = {
    "under its marker": {"large": [HELD]},
    "no marker": {"large": ["<think>I think.</think>Paris"]},
    "nothing, then something": {"large": ["<think>I think.", "Paris"]},
    "nothing twice": {"large": ["", Busy()], "middle": [HELD]},
    "another answers": {"large": [Busy()], "middle": [HELD]},
}


SEVEN, EIGHT = "3 + 4 = 7\nThe answer is 7.", "The answer is 8."
VOTES: dict[str, tuple[SelfConsistency, dict[str, list[Any]], str, int]] = {
    "all say the same": (SelfConsistency(), {"large": [SEVEN]}, "2 of 2 say the same", 2),
    "the vote turns": (
        SelfConsistency(samples=3, certainty=1, at_once=1),
        {"large": [EIGHT, SEVEN, SEVEN]},
        "2 of 3 say the same",
        3,
    ),
    "an essay": (SelfConsistency(), {"large": [LONG]}, "its answer cannot be compared", 1),
    "all take turns": (
        SelfConsistency(samples=3, voters="all", certainty=1, at_once=1),
        {"small": [SEVEN], "middle": [EIGHT], "large": [EIGHT]},
        "2 of 3 say the same",
        3,
    ),
    "a voter fails": (
        SelfConsistency(voters=("small", "large"), at_once=1),
        {"small": [Busy()], "large": [SEVEN]},
        "1 of 1 say the same",
        2,
    ),
}
"""A strategy, what is said, what it makes of it, and how many attempts that takes."""


Forms = dict[str, Callable[[], tuple[str, Any]]]
"""How a call is made; each gives the answer's text and the record on it."""

FORMS = ("whole", "awaited", "batched", "batched later", "streamed", "streamed later")


def langchain(llm: ChatRouter) -> Forms:
    """The forms of a call of a chat model."""

    def told(message: Any) -> tuple[str, Any]:
        return message.text, message.response_metadata["router"]

    def merged(chunks: list[Any]) -> tuple[str, Any]:
        return told(reduce(add, chunks))

    async def astream() -> list[Any]:
        return [chunk async for chunk in llm.astream(QUESTION)]

    return {
        "whole": lambda: told(llm.invoke(QUESTION)),
        "awaited": lambda: told(asyncio.run(llm.ainvoke(QUESTION))),
        "batched": lambda: told(llm.batch([QUESTION])[0]),
        "batched later": lambda: told(asyncio.run(llm.abatch([QUESTION]))[0]),
        "streamed": lambda: merged(list(llm.stream(QUESTION))),
        "streamed later": lambda: merged(asyncio.run(astream())),
    }


def llamaindex(llm: RouterLLM) -> Forms:
    """The forms of a call of an LLM; LlamaIndex has batches of its own making alone."""
    asked = [types.ChatMessage(content=QUESTION)]

    def told(response: Any) -> tuple[str, Any]:
        return response.message.content or "", response.additional_kwargs["router"]

    def merged(parts: list[Any]) -> tuple[str, Any]:
        text, record = told(parts[-1])
        assert "".join(part.delta or "" for part in parts) == text
        return text, record

    async def astream() -> list[Any]:
        return [part async for part in await llm.astream_chat(asked)]

    async def gathered() -> list[Any]:
        return await asyncio.gather(llm.achat(asked))

    def threaded() -> list[Any]:
        with ThreadPoolExecutor(1) as pool:
            return list(pool.map(llm.chat, [asked]))

    return {
        "whole": lambda: told(llm.chat(asked)),
        "awaited": lambda: told(asyncio.run(llm.achat(asked))),
        "batched": lambda: told(threaded()[0]),
        "batched later": lambda: told(asyncio.run(gathered())[0]),
        "streamed": lambda: merged(list(llm.stream_chat(asked))),
        "streamed later": lambda: merged(asyncio.run(astream())),
    }


def made(framework: str, replies: dict[str, list[Any]], **about: Any) -> tuple[Any, Forms]:
    """A router of one framework over scripted models, and the forms of its calls."""
    if framework == "langchain":
        chats = [ScriptedChat(model_name=n, replies=replies.get(n, ())) for n in NAMES]
        llm: Any = ChatRouter([_candidate(one.model_name, one) for one in chats], **about)
        return llm, langchain(llm)
    llms = [ScriptedLLM(model=n, replies=replies.get(n, ())) for n in NAMES]
    llm = RouterLLM([_candidate(one.model, one) for one in llms], **about)
    return llm, llamaindex(llm)


def _candidate(name: str, model: Any) -> Candidate:
    return Candidate(name, model, context_window=4096, price=PRICE)


FRAMEWORKS = ("langchain", "llamaindex")


def about(verify: Any) -> dict[str, Any]:
    """What both routers are told."""
    return {"predictor": CHANCES, "strategy": Cascade(verify=verify, accept=0.65)}


def steady(found: Any) -> Any:
    """An entry without what differs from call to call."""
    if isinstance(found, dict):
        return {name: steady(value) for name, value in found.items() if name not in DIFFERS}
    return [steady(one) for one in found] if isinstance(found, list) else found


def the_same(replies: dict[str, list[Any]], about: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """See that every form of a call in both frameworks ends alike; return the entry."""
    ends, written = {}, {}
    for framework in FRAMEWORKS:
        for form in FORMS:
            llm, forms = made(framework, replies, **about())
            try:
                text, record = forms[form]()
                end: Any = (text, steady(record))
            except Exception as error:
                end = (type(error), str(error))
            ends[framework, form], written[framework, form] = end, steady(last(llm))
    first = ends["langchain", "whole"], written["langchain", "whole"]
    for who, end in ends.items():
        assert end == first[0], who
    for who, entry in written.items():
        for part in first[1]:
            assert entry[part] == first[1][part], (who, part)
    return first[1]


@pytest.mark.parametrize("case", CASES)
def test_both_frameworks_and_all_forms_do_the_same(case: str) -> None:
    verify, replies = CASES[case]
    the_same(replies, lambda: about(verify))


@pytest.mark.parametrize("case", REASONED)
def test_answers_are_found_alike(case: str) -> None:
    told = {"predictor": CHANCES, "strategy": THINKING}
    entry = the_same(REASONED[case], lambda: told)
    assert entry["outcome"] == "answered"


@pytest.mark.parametrize("case", VOTES)
def test_votes_are_counted_alike(case: str) -> None:
    strategy, replies, note, attempts = VOTES[case]
    entry = the_same(replies, lambda: {"predictor": CHANCES, "strategy": strategy})
    (verdict,) = entry["verdicts"]
    assert verdict["note"].startswith(note)
    assert len(entry["attempts"]) == attempts


def test_the_cases_end_in_every_way() -> None:
    told = []
    for verify, replies in CASES.values():
        llm, forms = made("llamaindex", replies, **about(verify))
        forms["whole"]()
        entry = last(llm)
        attempts = [(a["candidate"], a["outcome"], a["purpose"]) for a in entry["attempts"]]
        told.append((attempts, entry["verdicts"], entry["candidate"]))
    answering = [candidate for *_, candidate in told]
    assert set(answering) == set(NAMES)
    outcomes = {outcome for attempts, *_ in told for _, outcome, _ in attempts}
    assert outcomes == {"answered", "dropped", "failed"}


# --- every strategy ---


class Denied(Exception):
    """As a vendor's SDK raises it."""

    status_code = 401


def everyone(*replies: Any) -> dict[str, list[Any]]:
    """The same script for all."""
    return {name: list(replies) for name in NAMES}


SAID: dict[str, dict[str, list[Any]]] = {
    "all differ": {"small": ["It is 1."], "middle": ["It is 2."], "large": ["It is 3."]},
    "all agree": everyone("The answer is 42."),
    "two agree": {**everyone("It is 7."), "small": ["It is 8."]},
    "only the strongest is short": {**everyone(" ".join(["word"] * 40)), "large": ["No."]},
    "the first fails": {**everyone("It is 7."), "small": [Busy("busy")]},
    "the last fails": {**everyone("It is 7."), "large": [Busy("busy")]},
    "the last fails, then answers": {**everyone("It is 7."), "large": [Busy("busy"), "It is 9."]},
    "two fail": {**everyone(Busy("busy")), "large": ["It is 7."]},
    "all fail": everyone(Busy("busy")),
    "all fail once": everyone(Busy("busy"), "It is 7."),
    "one may not be asked": {**everyone("It is 7."), "middle": [Denied("wrong key")]},
    "none may be asked": everyone(Denied("wrong key")),
    "one breaks off": {**everyone("It is 7."), "small": [Break(Busy("busy"), after=0)]},
    "one is empty": {**everyone("It is 7."), "small": [""]},
    "the last is empty": {**everyone("It is 7."), "large": [""]},
    "all are empty": everyone(""),
    "blank": everyone(" \n "),
    "thoughts": everyone("<think>Hm.</think>\nIt is 7."),
    "under a marker": everyone("Because 3 + 4 = 7.\n=== ANSWER ===\nIt is 7."),
    "odd text": everyone("\u202e\u0000 {braces} {0} \U0001f600 1+1=3"),
}
"""By what is said; where all are asked at once, no two answers of one model differ."""


TWICE = ("the last fails, then answers", "all fail once")
"""What one that asks the same model twice in a step hears in any order."""


@pytest.mark.parametrize(
    ("name", "case"),
    [(n, c) for n in STRATEGIES for c in SAID if c not in TWICE or n not in REPEATING],
)
def test_every_strategy_does_the_same_in_all_of_them(name: str, case: str) -> None:
    settings = {"predictor": STRATEGY_CHANCES, "strategy": STRATEGIES[name]}
    entry = the_same(SAID[case], lambda: settings)
    assert entry["outcome"] in ("answered", "failed")
    if case in ("all fail", "none may be asked"):
        assert entry["outcome"] == "failed"
    elif case in ("all differ", "all agree", "two agree", "the first fails"):
        assert entry["outcome"] == "answered"


@each_strategy
def test_every_strategy_is_explained_alike(name: str) -> None:
    told = []
    for framework in FRAMEWORKS:
        llm, _ = made(framework, {}, predictor=STRATEGY_CHANCES, strategy=STRATEGIES[name])
        decision = asdict(llm.explain(QUESTION, detail=True))
        told.append({part: decision[part] for part in decision if part not in ("id", "seconds")})
    assert told[0] == told[1]
