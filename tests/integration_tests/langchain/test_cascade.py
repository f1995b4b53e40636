"""A cascade of LangChain models: the same in every form of call, and drafts that nobody sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.exceptions import ModelRateLimitError
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable
from langchain_tests.utils.stream_lifecycle import assert_valid_event_stream

from langchain_router import (
    Budget,
    Cascade,
    ChatRouter,
    Policy,
    StreamInterruptedError,
    deadline_s,
)
from shared_core import DeadlineExceededError
from shared_core.types import Draft, Verdict, Verification
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import FixedPredictor
from tests.fakes.script import Break
from tests.integration_tests.accounts import last, nothing_held, outcomes, standing
from tests.integration_tests.langchain.forms import (
    FORMS,
    City,
    Form,
    Runs,
    Way,
    plain,
    router,
    structured,
    weather,
    with_tool,
)

QUESTION = "weather in Lisbon?"
QUALITIES = {"small": 0.6, "large": 0.95}
BUSY = ModelRateLimitError("busy")
BROKEN = Break(BUSY, after=1, reply=["Hel", "lo"])
v3 = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
both_ways = pytest.mark.parametrize("asynchronous", [False, True])
every_form = pytest.mark.parametrize("form", FORMS)
verified = pytest.mark.parametrize("accepted", [True, False], ids=["accepted", "escalated"])


def right(draft: Draft) -> bool:
    return True


def wrong(draft: Draft) -> bool:
    return False


def cascade(
    accepted: bool, small: Any = None, large: Any = None, verify: Any = None, **settings: Any
) -> ChatRouter:
    """A router whose small model's drafts are accepted, or not."""
    strategy = Cascade((right if accepted else wrong) if verify is None else verify)
    predictor = FixedPredictor(QUALITIES)
    return router(small, large, strategy=strategy, predictor=predictor, **settings)


# --- the same in every form of call ---


def whole(model: Runnable[Any, Any], asynchronous: bool) -> Any:
    return asyncio.run(model.ainvoke(QUESTION)) if asynchronous else model.invoke(QUESTION)


def streamed(model: Runnable[Any, Any], asynchronous: bool) -> Any:
    async def collect() -> list[Any]:
        return [chunk async for chunk in model.astream(QUESTION)]

    chunks = asyncio.run(collect()) if asynchronous else list(model.stream(QUESTION))
    if not isinstance(chunks[0], AIMessageChunk):
        return chunks[-1]
    first, *others = chunks
    return sum(others, first)


def batched(model: Runnable[Any, Any], asynchronous: bool) -> Any:
    (answer,) = asyncio.run(model.abatch([QUESTION])) if asynchronous else model.batch([QUESTION])
    return answer


_CHANGING = {"decision_id", "id", "started_at", "seconds", "overhead_s"}


def lasting(value: Any) -> Any:
    """What is the same in two calls: no id, no time."""
    if isinstance(value, dict):
        return {key: lasting(one) for key, one in value.items() if key not in _CHANGING}
    return [lasting(one) for one in value] if isinstance(value, list) else value


def told(llm: ChatRouter, answer: Any) -> dict[str, Any]:
    """All that a caller is told of a call, and all that is written down."""
    entry = lasting(last(llm))
    if not isinstance(answer, AIMessage):
        return {"value": answer, "entry": entry}
    return {
        "text": answer.text,
        "calls": lasting(answer.tool_calls),
        "usage": answer.usage_metadata,
        "record": lasting(answer.response_metadata["router"]),
        "model": answer.response_metadata["model_name"],
        "entry": entry,
    }


@pytest.mark.parametrize("way", [plain, with_tool, structured])
@verified
def test_every_form_of_call_gives_and_writes_the_same(accepted: bool, way: Way) -> None:
    every = []
    for form in (whole, streamed, batched):
        for asynchronous in (False, True):
            llm = cascade(accepted)
            every.append(told(llm, form(way(llm), asynchronous)))
    first, *others = every
    answering = "small" if accepted else "large"
    assert first["entry"]["candidate"] == answering
    asked = ["small"] if accepted else ["small", "large"]
    assert [one["candidate"] for one in first["entry"]["attempts"]] == asked
    assert len(first["entry"]["verdicts"]) == 1
    for other in others:
        assert other == first


# --- item 10: nobody sees a draft that is not accepted ---


def shown(agent: Any, asynchronous: bool, version: Any) -> list[Any]:
    """The messages that LangGraph's `messages` mode shows."""
    options: Any = {"stream_mode": "messages", "version": version}
    asked: Any = {"messages": [("user", "Hello there")]}

    async def collect() -> list[Any]:
        return [part async for part in agent.astream(asked, **options)]

    parts = asyncio.run(collect()) if asynchronous else list(agent.stream(asked, **options))
    return [part["data"][0] if isinstance(part, dict) else part[0] for part in parts]


@both_ways
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_10_an_accepted_draft_arrives_once(version: str, asynchronous: bool) -> None:
    agent = create_agent(cascade(True), tools=[weather])
    (message,) = shown(agent, asynchronous, version)
    assert message.text == "small answers: Hello there"
    assert message.response_metadata["router"]["candidate"] == "small"


@both_ways
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_10_of_a_rejected_draft_nothing_is_shown_and_the_last_one_streams(
    version: str, asynchronous: bool
) -> None:
    agent = create_agent(cascade(False), tools=[weather])
    messages = shown(agent, asynchronous, version)
    texts = [message.text for message in messages]
    assert texts == ["large ", "answers: ", "Hello ", "there", ""]
    assert {message.id for message in messages} == {messages[0].id}


@both_ways
def test_10_a_last_one_that_says_nothing_leaves_the_draft_to_be_shown(asynchronous: bool) -> None:
    large = ScriptedChat(model_name="large", replies=[BUSY])
    agent = create_agent(cascade(False, None, large), tools=[weather])
    (message,) = shown(agent, asynchronous, "v2")
    assert message.text == "small answers: Hello there"


@both_ways
def test_10_no_draft_is_spliced_to_what_the_last_one_had_shown(asynchronous: bool) -> None:
    large = ScriptedChat(model_name="large", replies=[BROKEN])
    llm = cascade(False, None, large)
    agent = create_agent(llm, tools=[weather])
    with pytest.raises(ModelRateLimitError):
        shown(agent, asynchronous, "v2")
    assert outcomes(last(llm)) == [("small", "answered"), ("large", "failed")]
    assert last(llm)["outcome"] == "failed"


@v3
@both_ways
@verified
def test_10_in_event_streams_of_an_agent_too(accepted: bool, asynchronous: bool) -> None:
    agent = create_agent(cascade(accepted), tools=[weather])
    asked: Any = {"messages": [("user", "Hello there")]}

    async def collect() -> list[str]:
        events: Any = await agent.astream_events(asked, version="v3")
        return [str(await message.text) async for message in events.messages]

    if asynchronous:
        texts = asyncio.run(collect())
    else:
        events: Any = agent.stream_events(asked, version="v3")
        texts = [str(message.text) for message in events.messages]
    assert texts == [f"{'small' if accepted else 'large'} answers: Hello there"]


@both_ways
def test_10_a_tool_call_of_a_draft_is_carried_out_once(asynchronous: bool) -> None:
    llm = cascade(True)
    agent: Any = create_agent(llm, tools=[weather])
    asked = {"messages": [("user", QUESTION)]}
    said = asyncio.run(agent.ainvoke(asked)) if asynchronous else agent.invoke(asked)
    kinds = [message.type for message in said["messages"]]
    assert kinds == ["human", "ai", "tool", "ai"]
    records = [entry["candidate"] for entry in llm.ledger.entries()]
    assert records == ["small", "small"]


@every_form
def test_drafts_are_tagged_and_all_runs_are_siblings(form: Form) -> None:
    runs = Runs()
    form(cascade(False), QUESTION, {"callbacks": [runs], "tags": ["mine"]})
    outer, draft, answer = runs.runs.values()
    assert set(draft["tags"]) >= {"mine", "nostream", "router:draft"}
    assert set(answer["tags"]) == {"mine"}
    (root,) = (key for key, run in runs.runs.items() if run is outer)
    assert draft["parent"] == answer["parent"] == root
    assert runs.ended == [("model", "end"), ("model", "end"), ("chain", "end")]


@every_form
def test_every_attempt_is_counted_once(form: Form) -> None:
    with get_usage_metadata_callback() as handler:
        message = form(cascade(False), QUESTION)
    assert set(handler.usage_metadata) == {"small", "large"}
    assert handler.usage_metadata["large"] == message.usage_metadata


class Tokens(BaseCallbackHandler):
    """The tokens that a handler of the user's sees."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.seen.append(token)


@both_ways
def test_a_router_that_streams_for_its_handlers_gives_the_same(asynchronous: bool) -> None:
    tokens, llm = Tokens(), cascade(False, streaming=True)
    config: Any = {"callbacks": [tokens]}
    message = (
        asyncio.run(llm.ainvoke("Hello there", config))
        if asynchronous
        else llm.invoke("Hello there", config)
    )
    assert message.text == "large answers: Hello there"
    assert "".join(tokens.seen) == "large answers: Hello there"


# --- event streams ---


async def _aevents(llm: Any, config: Any) -> list[Any]:
    return [event async for event in await llm.astream_events("Hello there", config, version="v3")]


@v3
@both_ways
@verified
def test_11_a_direct_event_stream_is_one_models(accepted: bool, asynchronous: bool) -> None:
    llm, runs = cascade(accepted), Runs()
    config = {"callbacks": [runs]}
    if asynchronous:
        events = asyncio.run(_aevents(llm, config))
    else:
        events = list(llm.stream_events("Hello there", config, version="v3"))
    assert_valid_event_stream(events)
    texts = [(event.get("delta") or {}).get("text", "") for event in events]
    who = "small" if accepted else "large"
    assert "".join(texts) == f"{who} answers: Hello there"
    assert events[-1]["metadata"]["router"]["candidate"] == who
    assert len(events[-1]["metadata"]["router"]["verdicts"]) == 1
    assert len(runs.ended) == (2 if accepted else 3)


# --- structured output ---


@pytest.mark.parametrize("form", [whole, streamed, batched])
@both_ways
def test_a_draft_that_does_not_parse_is_escalated(form: Any, asynchronous: bool) -> None:
    small = ScriptedChat(model_name="small", replies=[AIMessage("No tool is called.")])
    llm = cascade(True, small)
    assert isinstance(form(structured(llm), asynchronous), City)
    assert outcomes(last(llm)) == [("small", "answered"), ("large", "answered")]
    assert [v["probability"] for v in last(llm)["verdicts"]] == [0.0]


# --- budgets ---


@every_form
def test_where_a_budget_refuses_the_last_one_the_draft_answers(form: Form) -> None:
    llm = cascade(False, budgets=[Budget(calls=1)])
    assert form(llm, "Hello there").text == "small answers: Hello there"
    entry = last(llm)
    assert outcomes(entry) == [("small", "answered"), ("large", "refused")]
    assert (entry["candidate"], entry["outcome"]) == ("small", "answered")
    assert nothing_held(llm)
    assert standing(llm).spent.calls == 1


@every_form
def test_every_draft_is_charged(form: Form) -> None:
    llm = cascade(False, budgets=[Budget(tokens=10**6)])
    form(llm, "Hello there")
    used = [attempt["usage"] for attempt in last(llm)["attempts"]]
    total = sum(usage["input_tokens"] + usage["output_tokens"] for usage in used)
    assert standing(llm).spent.tokens == total
    assert len(used) == 2


@every_form
def test_where_the_last_one_fails_the_draft_answers(form: Form) -> None:
    large = ScriptedChat(model_name="large", replies=[BUSY])
    llm = cascade(False, None, large)
    assert form(llm, "Hello there").text == "small answers: Hello there"
    assert outcomes(last(llm)) == [("small", "answered"), ("large", "failed")]


# --- early abort ---


class Glancing:
    """Sees at once that a draft is bad."""

    name = "glancing"

    def __init__(self, inline: bool) -> None:
        self.inline_glance = inline

    def glance(self, draft: Draft) -> tuple[float, float] | None:
        return (0.01, 0.1) if "bad" in draft.reply.text else None

    def verify(self, draft: Draft) -> Verification:
        return Verdict(self.name, 0.99)
        yield ()


ENDLESS = Break(AssertionError("it was read on"), after=60, reply=["bad "] * 80)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("limits", [[], [deadline_s(60)]], ids=["no deadline", "deadline"])
@every_form
def test_a_bad_draft_is_broken_off_and_paid_for_in_part(
    form: Form, limits: Any, inline: bool
) -> None:
    small, runs = ScriptedChat(model_name="small", replies=[ENDLESS]), Runs()
    settings: Any = {"budgets": [Budget(tokens=10**6)], "policy": Policy(subject_to=limits)}
    llm = cascade(True, small, verify=Glancing(inline), **settings)
    message = form(llm, "Hello there", {"callbacks": [runs]})
    assert message.text == "large answers: Hello there"
    entry = last(llm)
    assert outcomes(entry) == [("small", "dropped"), ("large", "answered")]
    assert [v["probability"] for v in entry["verdicts"]] == [0.01]
    assert nothing_held(llm)
    assert standing(llm).spent.calls == 2
    assert [kind for kind, _ in runs.ended] == ["model", "model", "chain"]
    assert llm.explain("Hello there").resting == ()


@v3
@both_ways
def test_a_bad_draft_is_broken_off_in_event_streams_too(asynchronous: bool) -> None:
    small = ScriptedChat(model_name="small", replies=[ENDLESS])
    llm = cascade(True, small, verify=Glancing(True))
    if asynchronous:
        events = asyncio.run(_aevents(llm, None))
    else:
        events = list(llm.stream_events("Hello there", version="v3"))
    assert_valid_event_stream(events)
    assert events[-1]["metadata"]["router"]["candidate"] == "large"
    assert outcomes(last(llm)) == [("small", "dropped"), ("large", "answered")]


# --- what verifiers are given ---


class TellsLogprobs(ScriptedChat):
    """Knows the parameter."""

    logprobs: bool | None = None


class Sure(Glancing):
    """Accepts what a model was sure of, and keeps what it was given."""

    params: Mapping[str, Any] = {"logprobs": True}

    def __init__(self) -> None:
        super().__init__(inline=True)
        self.drafts: list[Draft] = []

    def verify(self, draft: Draft) -> Verification:
        self.drafts.append(draft)
        return Verdict(self.name, 0.99 if draft.reply.logprobs else None)
        yield ()


@pytest.mark.parametrize("make", [TellsLogprobs, ScriptedChat])
@every_form
def test_a_model_that_knows_them_is_asked_for_log_probabilities(form: Form, make: Any) -> None:
    small, large = make(model_name="small"), make(model_name="large")
    verifier = Sure()
    message = form(cascade(True, small, large, verify=verifier), "Hello there")
    (draft,) = verifier.drafts
    if make is TellsLogprobs:
        assert draft.reply.logprobs == (-0.1,) * 4
        assert (draft.reply.finish_reason, draft.prior) == ("stop", 0.6)
        assert message.response_metadata["router"]["candidate"] == "small"
    else:
        assert draft.reply.logprobs is None
        assert not any("logprobs" in call.kwargs for call in (*small.calls, *large.calls))
        assert message.response_metadata["router"]["candidate"] == "large"


# --- a router inside a router ---


@pytest.mark.parametrize("verify", [right, Glancing(True)], ids=["held", "watched"])
@pytest.mark.parametrize("streaming", [False, True])
@every_form
def test_an_inner_router_that_breaks_off_out_of_sight_is_stood_in_for(
    form: Form, streaming: bool, verify: Any
) -> None:
    inner = router(
        ScriptedChat(model_name="first", replies=[BROKEN]),
        ScriptedChat(model_name="second"),
        max_retries=0,
    )
    llm = cascade(True, inner, verify=verify, streaming=streaming)
    message = form(llm, "Hello there")
    assert message.text == "large answers: Hello there"
    assert outcomes(last(llm)) == [("small", "failed"), ("large", "answered")]


@pytest.mark.parametrize("form", FORMS[2:])
def test_an_inner_routers_error_tells_what_was_shown_once(form: Form) -> None:
    inner = router(ScriptedChat(model_name="first", replies=[BROKEN]))
    with pytest.raises(StreamInterruptedError) as caught:
        form(router(inner), "Hello there")
    assert caught.value.partial == "Hel"
    assert caught.value.__cause__ is BUSY


# --- time ---


@every_form
def test_a_deadline_holds_over_drafts_and_checks(form: Form) -> None:
    def slow(draft: Draft) -> bool:
        time.sleep(4)
        return True

    large = ScriptedChat(model_name="large")
    llm = cascade(True, None, large, verify=slow, policy=Policy(subject_to=[deadline_s(1)]))
    started = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        form(llm, "Hello there")
    assert time.monotonic() - started < 3.5  # a busy machine is slow, too
    assert large.calls == []
    assert outcomes(last(llm)) == [("small", "answered")]
    assert last(llm)["outcome"] == "failed"


@every_form
def test_a_draft_that_is_too_slow_is_the_end_of_the_call(form: Form) -> None:
    slow, large = ScriptedChat(model_name="small", delay_s=0.5), ScriptedChat(model_name="large")
    llm = cascade(False, slow, large, policy=Policy(subject_to=[deadline_s(0.1)]))
    with pytest.raises(DeadlineExceededError):
        form(llm, "Hello there")
    assert large.calls == []


@every_form
def test_shadow_mode_and_a_forced_candidate_make_no_draft(form: Form) -> None:
    shadow = cascade(False, shadow="small")
    assert form(shadow, "Hello there").text == "small answers: Hello there"
    assert outcomes(last(shadow)) == [("small", "answered")]
    assert last(shadow)["chosen"] == "large"
    forced = cascade(False)
    assert form(forced, "Hello there", model="small").text == "small answers: Hello there"
    assert outcomes(last(forced)) == [("small", "answered")]
    assert last(forced)["verdicts"] == []


def test_explain_says_what_would_be_done() -> None:
    plan = cascade(True).explain(QUESTION).plan
    assert plan.startswith("small drafts; looked at by right; accepted from a probability of 0.93")
