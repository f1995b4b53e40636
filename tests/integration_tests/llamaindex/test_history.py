"""A conversation in which LLMs of several vendors take turns: items 31, 32, 34 and 37."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from llama_index.core.base.llms import types
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai.utils import to_openai_message_dicts
from openai.types.chat.chat_completion_message_tool_call import (
    ChatCompletionMessageToolCall,
    Function,
)

from llamaindex_router._history import history_for
from shared_core.types import Candidate
from tests.integration_tests.llamaindex.forms import WITH_HISTORY, Form
from tests.integration_tests.llamaindex.scripted import ScriptedLLM, router

CachePoint, ThinkingBlock, ToolCallBlock = (
    getattr(types, name) for name in ("CachePoint", "ThinkingBlock", "ToolCallBlock")
)

ARGS = {"city": "Lisbon"}
OPENAI = OpenAI(model="gpt-4o-mini", api_key="test")
ME = Candidate("me", OPENAI)
TOOL_CALL = ToolCallBlock(tool_call_id="c1", tool_name="weather", tool_kwargs=ARGS)
NATIVE = ChatCompletionMessageToolCall(
    id="c1", function=Function(name="weather", arguments=json.dumps(ARGS)), type="function"
)


def answer(*blocks: Any, by: str | None = "somebody else", **kwargs: Any) -> ChatMessage:
    record = {"router": {"candidate": by, "decision_id": "d"}} if by else {}
    return ChatMessage(
        role="assistant", blocks=list(blocks), additional_kwargs={**kwargs, **record}
    )


def text(said: str = "Let me look.") -> TextBlock:
    return TextBlock(text=said)


def encoded(args: str = json.dumps(ARGS)) -> Any:
    return ToolCallBlock(tool_call_id="c1", tool_name="weather", tool_kwargs=args)


THOUGHT = ThinkingBlock(content="hmm", additional_information={"signature": "sig", "id": "rs_1"})
PLAIN = [text(), TOOL_CALL]

FOREIGN = {
    "openai": answer(text(), encoded(), tool_calls=[NATIVE]),
    "anthropic": answer(THOUGHT, text(), TOOL_CALL, thinking={"signature": "sig"}),
    "older openai": answer(text(), tool_calls=[NATIVE]),
    "older anthropic": answer(text(), tool_calls=[{"id": "c1", "name": "weather", "input": ARGS}]),
    "ollama": answer(
        text(), tool_calls=[{"id": "c1", "function": {"name": "weather", "arguments": ARGS}}]
    ),
    "deepseek": answer(THOUGHT, text(), encoded(), reasoning_content="hmm"),
    "unknown openai": answer(text(), encoded(), by=None, tool_calls=[NATIVE]),
}


@pytest.mark.parametrize("writer", FOREIGN)
def test_31_32_a_foreign_answer_is_text_and_tool_calls_whose_arguments_are_objects(
    writer: str,
) -> None:
    message = FOREIGN[writer]
    before = copy.deepcopy(message)
    (read,) = history_for(ME, [message])
    assert read.blocks == PLAIN
    assert read.additional_kwargs == {}
    assert message == before


def test_31_the_writers_own_answer_stays_as_it_was() -> None:
    own = answer(THOUGHT, text(), encoded(), by="me", tool_calls=[NATIVE])
    (read,) = history_for(ME, [own])
    assert read.blocks == own.blocks
    assert read.additional_kwargs == {"tool_calls": [NATIVE]}


def test_31_what_nobody_we_know_of_wrote_keeps_its_further_fields() -> None:
    (read,) = history_for(ME, [answer(text(), by=None, name="Ann")])
    assert read.additional_kwargs == {"name": "Ann"}


@pytest.mark.parametrize("broken", ["", "   ", "{", "not json", "[1]", '{"city": "Lis'])
def test_32_arguments_that_cannot_be_read_are_still_an_object(broken: str) -> None:
    (read,) = history_for(ME, [answer(encoded(broken))])
    (block,) = read.blocks
    assert isinstance(block, ToolCallBlock)
    assert isinstance(block.tool_kwargs, dict)


@pytest.mark.parametrize("call_id", ["functions.weather:0", "c" * 64, "\ud800"])
def test_32_ids_that_not_every_provider_takes_stay_paired(call_id: str) -> None:
    called = answer(ToolCallBlock(tool_call_id=call_id, tool_name="weather", tool_kwargs=ARGS))
    result = ChatMessage(role="tool", content="sunny", additional_kwargs={"tool_call_id": call_id})
    read, told = history_for(ME, [called, result])
    (block,) = read.blocks
    assert isinstance(block, ToolCallBlock)
    assert block.tool_call_id == told.additional_kwargs["tool_call_id"] != call_id
    assert len(block.tool_call_id) <= 40


def test_31_an_answer_of_thoughts_alone_is_left_out() -> None:
    asked = [ChatMessage(content="a"), answer(THOUGHT), ChatMessage(content="b")]
    assert [m.content for m in history_for(ME, asked)] == ["a", "b"]


def test_31_cache_points_go_only_to_who_takes_them() -> None:
    cached = ChatMessage(
        role="user", blocks=[text(), CachePoint(cache_control={"type": "ephemeral"})]
    )

    class AnthropicLike(ScriptedLLM):
        @classmethod
        def class_name(cls) -> str:
            return "Anthropic_LLM"

    assert [b.block_type for b in history_for(ME, [cached])[0].blocks] == ["text"]
    kept = history_for(Candidate("claude", AnthropicLike()), [cached])
    assert kept[0].blocks == cached.blocks
    to_openai_message_dicts(history_for(ME, [cached]), model="gpt-4o-mini")  # refuses the block


def test_31_a_real_client_is_sent_the_same_whoever_wrote() -> None:
    asked = ChatMessage(content="How is it in Lisbon?")
    result = ChatMessage(role="tool", content="sunny", additional_kwargs={"tool_call_id": "c1"})
    sent = [
        to_openai_message_dicts(history_for(ME, [asked, message, result]), model="gpt-4o-mini")
        for message in (*FOREIGN.values(), answer(*PLAIN, by=None))
    ]
    assert all(one == sent[-1] for one in sent)
    assert "router" not in json.dumps(sent)


def test_31_what_users_show_stays() -> None:
    shown = ChatMessage(role="user", blocks=[text(), ImageBlock(url="https://example.org/a.png")])
    assert history_for(ME, [shown])[0].blocks == shown.blocks


def test_39_the_system_role_is_each_ones_own() -> None:
    own = ScriptedLLM(system_role=MessageRole.DEVELOPER)
    (read,) = history_for(Candidate("o1", own), [ChatMessage(role="system", content="Be kind.")])
    assert read.role == MessageRole.DEVELOPER


@pytest.mark.parametrize("form", WITH_HISTORY)
def test_37_no_candidate_sees_a_record_and_the_caller_keeps_them(form: Form) -> None:
    small, large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
    llm = router(small, large)
    history = [ChatMessage(content="What is the capital of France?")]
    for name in ("small", "large"):
        history += [llm.chat(history, model=name).message, ChatMessage(content="And now?")]
    stamped = copy.deepcopy(history)
    form(llm, history, model="large")
    for call in (*small.calls, *large.calls):
        assert not any("router" in m.additional_kwargs for m in call.messages)
    assert history == stamped
    authors = [m.additional_kwargs["router"]["candidate"] for m in history[1::2]]
    assert authors == ["small", "large"]


def test_37_a_router_as_candidate_reads_its_own_records_again() -> None:
    inner = router(ScriptedLLM(model="inner small"), ScriptedLLM(model="inner large"))
    outer = router(inner)
    said = outer.chat([ChatMessage(content="Hello")], model="small").message
    assert said.additional_kwargs["router"]["candidate"] == "small"
    (read,) = history_for(Candidate("small", inner), [said])
    assert read.additional_kwargs["router"] == said.additional_kwargs["router"]["inner"]
