"""A conversation in which models of several vendors take turns: items 31 to 34, 37.

What each vendor would be sent is built by its own real adapter, without a network, and compared
with what it is sent in a conversation that it had alone.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_openai import ChatOpenAI

from langchain_router._history import history_for
from langchain_router._messages import stamp
from shared_core.types import Candidate
from tests.fakes.chat_models import ScriptedChat
from tests.integration_tests.langchain.forms import FORMS, Form, router, weather

KEY = {"api_key": "test"}
OPENAI = ChatOpenAI(model="gpt-5-mini", **KEY)
RESPONSES = ChatOpenAI(model="gpt-5", use_responses_api=True, **KEY)
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000}
SONNET = ChatAnthropic(model_name="claude-sonnet-4-5", **THINKING, **KEY)
HAIKU = ChatAnthropic(model_name="claude-haiku-4-5", **KEY)
MODELS = {"openai": OPENAI, "responses": RESPONSES, "sonnet": SONNET, "haiku": HAIKU}
CALL = {"name": "weather", "args": {"city": "Lisbon"}, "id": "toolu_01A", "type": "tool_call"}

SECRETS = ("sig-", "rs_", "fc_", "msg_", "resp_", "encrypted", "hmm", "cache_control", "router")


def by(name: str, message: AIMessage) -> AIMessage:
    return stamp(message, {"candidate": name, "decision_id": "d"})


def anthropic(**block: Any) -> AIMessage:
    thought = {"type": "thinking", "thinking": "hmm", "signature": "sig-1", **block}
    content = [
        thought,
        {"type": "text", "text": "Let me look.", "cache_control": {"type": "ephemeral"}},
        {"type": "tool_use", "id": CALL["id"], "name": "weather", "input": CALL["args"]},
    ]
    told = {
        "model_name": "claude-sonnet-4-5-20250929",
        "model_provider": "anthropic",
        "id": "msg_1",
    }
    return AIMessage(content, tool_calls=[CALL], response_metadata=told, id="msg_1")


def responses() -> AIMessage:
    content = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "encrypted"},
        {"type": "text", "text": "Let me look.", "id": "msg_1", "annotations": []},
        {"type": "function_call", "id": "fc_1", "call_id": CALL["id"], "name": "weather"},
    ]
    told = {"model_name": "gpt-5-2025-08-07", "model_provider": "openai", "id": "resp_1"}
    return AIMessage(content, tool_calls=[CALL], response_metadata=told, id="resp_1")


def v1(provider: str) -> AIMessage:
    content = [
        {"type": "reasoning", "reasoning": "hmm", "extras": {"signature": "sig-2"}, "id": "rs_2"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_call", **{k: v for k, v in CALL.items() if k != "type"}},
    ]
    told = {"output_version": "v1", "model_provider": provider, "model_name": "other"}
    return AIMessage(content, tool_calls=[CALL], response_metadata=told)


def deepseek() -> AIMessage:
    kwargs = {"reasoning_content": "hmm", "refusal": None}
    told = {"model_name": "deepseek-reasoner", "model_provider": "deepseek"}
    return AIMessage(
        "Let me look.", tool_calls=[CALL], additional_kwargs=kwargs, response_metadata=told
    )


def gemini() -> AIMessage:
    kwargs = {"__gemini_function_call_thought_signatures__": {CALL["id"]: "sig-3"}}
    content: list[Any] = [
        {"type": "thinking", "thinking": "hmm", "signature": "sig-4"},
        {"type": "text", "text": "Let me look.", "extras": {"signature": "sig-5"}},
    ]
    told = {"model_name": "gemini-3", "model_provider": "google_genai"}
    return AIMessage(content, tool_calls=[CALL], additional_kwargs=kwargs, response_metadata=told)


FOREIGN = {
    "anthropic": anthropic(),
    "redacted": anthropic(type="redacted_thinking", data="encrypted"),
    "responses": responses(),
    "v1 anthropic": v1("anthropic"),
    "v1 openai": v1("openai"),
    "deepseek": deepseek(),
    "gemini": gemini(),
}


def conversation(answer: AIMessage) -> list[BaseMessage]:
    return [
        SystemMessage("Be kind."),
        HumanMessage("How is it in Lisbon?"),
        answer,
        ToolMessage("sunny", tool_call_id=answer.tool_calls[0]["id"]),
    ]


def payload(model: Any, messages: list[BaseMessage]) -> Any:
    return json.loads(json.dumps(model._get_request_payload(messages), default=str))


@pytest.mark.parametrize("reader", MODELS)
@pytest.mark.parametrize("writer", FOREIGN)
def test_31_32_a_foreign_answer_reads_like_a_plain_one(writer: str, reader: str) -> None:
    model = MODELS[reader]
    history = conversation(by("somebody else", FOREIGN[writer]))
    before = copy.deepcopy(history)
    sent = payload(model, history_for(Candidate("me", model), history))
    plain = AIMessage("Let me look.", tool_calls=[CALL])
    assert sent == payload(model, conversation(plain))
    assert not [secret for secret in SECRETS if secret in json.dumps(sent)]
    assert history == before


@pytest.mark.parametrize(
    ("writer", "reader"),
    [("anthropic", "sonnet"), ("redacted", "sonnet"), ("responses", "responses")],
)
@pytest.mark.parametrize("known_by", ["record", "what it reports"])
def test_31_the_writers_own_answer_stays_as_it_was(writer: str, reader: str, known_by: str) -> None:
    model, answer = MODELS[reader], FOREIGN[writer]
    stamped = by("me", answer) if known_by == "record" else answer
    sent = history_for(Candidate("me", model), conversation(stamped))
    assert payload(model, sent) == payload(model, conversation(answer))
    assert "router" not in json.dumps(payload(model, sent))


def test_31_two_models_of_one_provider_are_two() -> None:
    sent = payload(HAIKU, history_for(Candidate("haiku", HAIKU), conversation(anthropic())))
    assert "sig-1" not in json.dumps(sent)


@pytest.mark.parametrize("call_id", ["functions.weather:0", "c" * 64, "a b", "\ud800"])
def test_32_ids_that_not_every_provider_takes_stay_paired(call_id: str) -> None:
    answer = AIMessage("", tool_calls=[{**CALL, "id": call_id}])
    history = conversation(by("somebody else", answer))
    _, _, read, result = history_for(Candidate("me", OPENAI), history)
    assert isinstance(read, AIMessage)
    assert isinstance(result, ToolMessage)
    (made,) = {read.tool_calls[0]["id"], result.tool_call_id}
    assert len(made or "") <= 40
    assert (made or "").replace("_", "").isalnum()


def test_32_calls_in_anthropics_content_alone_become_tool_calls() -> None:
    answer = AIMessage(
        [{"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "x"}}]
    )
    (read,) = history_for(Candidate("me", OPENAI), [answer])
    assert isinstance(read, AIMessage)
    assert [(c["name"], c["args"], c["id"]) for c in read.tool_calls] == [
        ("weather", {"city": "x"}, "t1")
    ]


def test_31_an_answer_of_thoughts_alone_is_left_out() -> None:
    thoughts = AIMessage([{"type": "thinking", "thinking": "hmm", "signature": "sig-1"}])
    history = [HumanMessage("a"), by("somebody else", thoughts), HumanMessage("b")]
    assert history_for(Candidate("me", OPENAI), history) == [history[0], history[2]]


@pytest.mark.parametrize(
    ("reader", "kept"), [("openai", False), ("sonnet", True), ("haiku", True), ("gateway", True)]
)
def test_31_cache_markers_go_only_to_who_may_take_them(reader: str, kept: bool) -> None:
    gateway = ChatOpenAI(model="anthropic/claude", base_url="https://gateway.example/v1", **KEY)
    marked = [{"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}]
    history: list[BaseMessage] = [SystemMessage(marked), HumanMessage(marked)]
    before = copy.deepcopy(history)
    sent = history_for(Candidate("me", {**MODELS, "gateway": gateway}[reader]), history)
    assert all(("cache_control" in json.dumps(message.content)) is kept for message in sent)
    assert history == before


def test_34_what_need_not_change_is_not_copied() -> None:
    history = [
        *conversation(AIMessage("", tool_calls=[CALL])),
        AIMessage("Sunny."),
        HumanMessage("?"),
    ]
    sent = history_for(Candidate("me", OPENAI), history)
    assert all(a is b for a, b in zip(sent, history, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_37_no_candidate_sees_a_record_and_the_caller_keeps_them(form: Form) -> None:
    small, large = ScriptedChat(model_name="small"), ScriptedChat(model_name="large")
    llm = router(small, large)
    history: list[BaseMessage] = [HumanMessage("What is the capital of France?")]
    for name in ("small", "large", "small"):
        history += [form(llm, history, model=name), HumanMessage("And now?")]
    stamped = copy.deepcopy(history)
    form(llm, history, model="large")
    for call in (*small.calls, *large.calls):
        assert not any("router" in m.response_metadata for m in call.messages)
    assert history == stamped
    assert [m.response_metadata["router"]["candidate"] for m in history[1::2]] == [
        "small", "large", "small"
    ]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_33_a_router_as_candidate_stays_with_its_own_model_in_a_tool_loop(form: Form) -> None:
    inner = router(ScriptedChat(model_name="inner small"), ScriptedChat(model_name="inner large"))
    outer = router(inner, ScriptedChat(model_name="outer large"))
    agent = outer.bind_tools([weather])
    question = HumanMessage("Use the weather tool: how is it in Lisbon?")
    asked = form(outer.bind(model="small"), [question])
    assert asked.response_metadata["router"]["inner"]["candidate"] == "small"
    called = form(inner.bind_tools([weather], tool_choice="any"), [question], model="large")
    stamped = stamp(called, {"candidate": "small", "decision_id": "d"})
    result = ToolMessage("sunny", tool_call_id=called.tool_calls[0]["id"])
    answer = form(agent, [question, stamped, result])
    assert answer.response_metadata["model_name"] == "inner large"
