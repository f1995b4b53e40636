"""Runs, usage, records, streams: items of the contract by their numbers."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.rate_limiters import InMemoryRateLimiter

from langchain_router import Candidate, ChatRouter, Policy
from shared_core import UnknownCandidateError
from tests.fakes.chat_models import ScriptedChat, ScriptedChatWithoutStream
from tests.integration_tests.langchain.forms import (
    FORMS,
    Form,
    Runs,
    ainvoke,
    collected,
    invoke,
    router,
    weather,
)

QUESTION = "What is the capital of France?"
KEYS = {
    "decision_id", "candidate", "reason", "calibrated", "attempts", "cost_usd", "energy_wh"
}  # fmt: skip

every_form = pytest.mark.parametrize("form", FORMS)
both_streams = pytest.mark.parametrize("asynchronous", [False, True])


@every_form
def test_02_one_decision_per_call(form: Form) -> None:
    made: list[Any] = []

    class Counted(type(router().predictor)):  # type: ignore[misc]
        def predict(self, *args: Any) -> Any:
            made.append(args)
            return super().predict(*args)

    llm = router(predictor=Counted())
    form(llm, QUESTION)
    assert len(made) == 1
    form(llm.bind_tools([{"name": "f", "description": "f", "parameters": {}}]), QUESTION)
    assert len(made) == 2


@every_form
def test_03_04_05_one_model_run_below_the_routers(form: Form) -> None:
    runs, run_id = Runs(), uuid4()
    config = {
        "callbacks": [runs],
        "run_id": run_id,
        "run_name": "mine",
        "tags": ["t"],
        "metadata": {"user": "u"},
    }
    small = ScriptedChat(model_name="small", tags=["own"])
    form(router(small), QUESTION, config)
    (chain,), (model,) = runs.of("chain"), runs.of("model")
    assert chain["name"] == "mine"
    assert model["parent"] == run_id
    assert chain["parent"] is None
    for run in (chain, model):
        assert "t" in run["tags"]
        assert run["metadata"]["user"] == "u"
    assert "own" in model["tags"]
    assert model["metadata"]["ls_model_name"] == "small"
    assert model["metadata"]["ls_provider"] == "scripted"
    assert runs.ended == [("model", "end"), ("chain", "end")]


def test_04_without_a_name_the_run_is_the_routers() -> None:
    runs = Runs()
    router().invoke(QUESTION, {"callbacks": [runs]})
    assert [run["name"] for run in runs.of("chain")] == ["ChatRouter"]


@every_form
def test_07_08_the_models_metadata_is_untouched_and_the_record_is_there_once(form: Form) -> None:
    bare, routed = form(ScriptedChat(model_name="small"), QUESTION), form(router(), QUESTION)
    record = routed.response_metadata["router"]
    assert set(record) == KEYS
    assert json.loads(json.dumps(record)) == record
    assert record["attempts"] == [{"candidate": "small", "outcome": "answered"}]
    rest = {k: v for k, v in routed.response_metadata.items() if k != "router"}
    assert rest == bare.response_metadata
    assert rest["model_name"] == "small"
    assert routed.content == bare.content
    assert routed.usage_metadata == bare.usage_metadata


def test_08_exactly_one_chunk_carries_the_record() -> None:
    chunks = list(router().stream(QUESTION))
    bare = list(ScriptedChat(model_name="small").stream(QUESTION))
    assert len(chunks) == len(bare)
    assert ["router" in chunk.response_metadata for chunk in chunks] == [
        *[False] * (len(chunks) - 1),
        True,
    ]
    assert chunks[-1].chunk_position == "last"


@both_streams
async def test_12_a_model_that_cannot_stream_gives_one_last_chunk(asynchronous: bool) -> None:
    mute = ScriptedChatWithoutStream(model_name="small")
    (said,) = await collected(mute, asynchronous, QUESTION)
    (chunk,) = await collected(router(mute), asynchronous, QUESTION)
    assert isinstance(chunk, AIMessageChunk)
    assert chunk.chunk_position == "last"
    assert chunk.content == said.content
    assert chunk.usage_metadata == said.usage_metadata
    assert chunk.response_metadata["router"]["candidate"] == "small"
    (call,) = await collected(router(mute).bind_tools([weather]), asynchronous, "weather?")
    assert [made["name"] for made in call.tool_calls] == ["weather"]


@pytest.mark.parametrize(
    ("settings", "call"),
    [
        ({"disable_streaming": True}, {}),
        ({"streaming": False}, {}),
        ({}, {"stream": False}),
        ({"disable_streaming": "tool_calling"}, {"tools": [{"name": "f", "parameters": {}}]}),
    ],
)
@both_streams
async def test_13_streaming_can_be_switched_off_on_the_router(
    asynchronous: bool, settings: Any, call: Any
) -> None:
    small = ScriptedChat(model_name="small")
    (chunk,) = await collected(router(small, **settings).bind(**call), asynchronous, QUESTION)
    assert isinstance(chunk, AIMessageChunk)
    assert [made.method for made in small.calls] == ["agenerate" if asynchronous else "generate"]


@pytest.mark.parametrize("disabled", [True, "tool_calling", False])
@pytest.mark.parametrize("tools", [[], [weather]], ids=["no tools", "tools"])
@both_streams
async def test_13_streaming_can_be_switched_off_on_the_candidate(
    asynchronous: bool, tools: list[Any], disabled: Any
) -> None:
    small = ScriptedChat(model_name="small", disable_streaming=disabled)
    expected, chunks = [
        await collected(model.bind_tools(tools) if tools else model, asynchronous, QUESTION)
        for model in (small, router(small))
    ]
    assert len(chunks) == len(expected)
    assert (len(chunks) == 1) is bool(disabled and (tools or disabled is True))
    bare, routed = small.calls
    assert routed.method == bare.method


@pytest.mark.parametrize("form", [invoke, ainvoke])
def test_13_streaming_true_collects_an_answer_from_a_stream(form: Form) -> None:
    small = ScriptedChat(model_name="small")
    message = form(router(small, streaming=True), QUESTION)
    assert not isinstance(message, AIMessageChunk)
    assert small.calls[0].method in ("stream", "astream")
    assert message.response_metadata["router"]["candidate"] == "small"


@every_form
def test_19_model_forces_a_candidate(form: Form) -> None:
    small, large = ScriptedChat(model_name="small"), ScriptedChat(model_name="large")
    message = form(router(small, large), QUESTION, model="large")
    assert message.response_metadata["model_name"] == "large"
    assert "model" not in large.calls[0].kwargs
    assert small.calls == []
    with pytest.raises(UnknownCandidateError, match="'gpt-9'; there are: small, large"):
        form(router(), QUESTION, model="gpt-9")


@every_form
def test_20_stop_reaches_the_candidate(form: Form) -> None:
    small = ScriptedChat(model_name="small")
    form(router(small), QUESTION, stop=["now"])
    form(router(small, stop=["field"], temperature=0.5), QUESTION)
    form(router(small), QUESTION)
    assert [call.kwargs["stop"] for call in small.calls] == [["now"], ["field"], None]
    assert small.calls[1].kwargs["temperature"] == 0.5


def test_21_a_global_cache_never_serves_another_models_answer() -> None:
    set_llm_cache(InMemoryCache())
    try:
        small, large = ScriptedChat(model_name="small"), ScriptedChat(model_name="large")
        llm = router(small, large)
        first = llm.invoke(QUESTION)
        second = llm.invoke(QUESTION)
        other = llm.invoke(QUESTION, model="large")
        assert first.content == second.content != other.content
        assert [len(small.calls), len(large.calls)] == [1, 1]
        ids = {m.response_metadata["router"]["decision_id"] for m in (first, second, other)}
        assert len(ids) == 3
        uncached = ScriptedChat(model_name="uncached", cache=False)
        llm = router(uncached)
        llm.invoke(QUESTION)
        llm.invoke(QUESTION)
        assert len(uncached.calls) == 2
    finally:
        set_llm_cache(None)


@every_form
def test_21_a_router_shares_the_bare_models_cache(form: Form) -> None:
    """A direct call's answer serves the router that picks the same model, and the other way."""
    set_llm_cache(InMemoryCache())
    try:
        small = ScriptedChat(model_name="small")
        for model in (small, router(small), router(small, policy=Policy(quality=0.9)), small):
            form(model, QUESTION)
        assert len(small.calls) == (1 if form in FORMS[:2] else 4)  # streams are never cached
        best = router(small, policy=Policy(quality=1))
        assert form(best, QUESTION).response_metadata["model_name"] == "large"
    finally:
        set_llm_cache(None)


@every_form
def test_22_the_candidates_own_limiter_callbacks_and_tags_work(form: Form) -> None:
    class Counting(InMemoryRateLimiter):
        acquired = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            type(self).acquired += 1
            return True

        async def aacquire(self, *, blocking: bool = True) -> bool:
            return self.acquire()

    Counting.acquired = 0
    own = Runs()
    small = ScriptedChat(model_name="small", rate_limiter=Counting(), callbacks=[own], tags=["own"])
    form(router(small), QUESTION)
    assert Counting.acquired == 1
    assert [run["tags"] for run in own.of("model")] == [["own"]]


def test_26_attachments_pass_unchanged_and_the_blind_are_refused() -> None:
    image = {"type": "image", "url": "https://example.org/a.png"}
    message = HumanMessage([{"type": "text", "text": "What is it?"}, image])
    small, large = ScriptedChat(model_name="small"), ScriptedChat(model_name="large")
    llm = ChatRouter(
        [Candidate("small", small, capabilities={"image_inputs": False}), Candidate("large", large)]
    )
    decision = llm.explain([message])
    assert [(r.candidate, r.reason) for r in decision.refusals] == [("small", "cannot read images")]
    llm.invoke([message])
    assert small.calls == []
    assert large.calls[0].messages[0].content == message.content
