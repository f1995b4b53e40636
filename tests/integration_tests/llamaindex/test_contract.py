"""`RouterLLM` held to the contract, by its numbers, over scripted LLMs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llama_index.core.base.llms.types import MessageRole
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate

from llamaindex_router import RouterLLM
from shared_core import UnknownCandidateError

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.fakes.core import Choosing
from tests.integration_tests.llamaindex.forms import (
    FORMS,
    QUESTION,
    RECORDED,
    STRUCTURED,
    TEMPLATE,
    TOOL,
    WITH_HISTORY,
    City,
    Form,
    collect,
)
from tests.integration_tests.llamaindex.scripted import Busy, router

from tests.fakes.llms import ScriptedLLM, ScriptedTextLLM  # isort: skip

KEYS = {
    "decision_id", "candidate", "reason", "calibrated", "attempts", "cost_usd", "energy_wh"
}  # fmt: skip

every_form = pytest.mark.parametrize("form", FORMS)
recorded_form = pytest.mark.parametrize("form", RECORDED)
history_form = pytest.mark.parametrize("form", WITH_HISTORY)


@every_form
def test_35_one_decision_and_the_same_method_of_one_candidate(form: Form) -> None:
    bare, small, large = (ScriptedLLM(model=name) for name in ("small", "small", "large"))
    decided = Choosing()
    llm = router(small, large, predictor=decided)
    assert isinstance(llm, FunctionCallingLLM)
    form(bare, temperature=0.5)
    form(llm, temperature=0.5)
    assert len(decided.prompts) == 1
    assert [(c.method, c.messages, c.kwargs) for c in small.calls] == [
        (c.method, c.messages, c.kwargs) for c in bare.calls
    ]
    assert len(small.calls) == 1
    if "tools" in form.__name__:
        assert small.bound == bare.bound == [[TOOL]]
    assert large.calls == []


@recorded_form
def test_35_37_the_record_is_on_the_response_and_on_the_message(form: Form) -> None:
    bare, routed = form(ScriptedLLM(model="small")), form(router())
    record = routed.additional_kwargs["router"]
    assert set(record) == KEYS
    assert json.loads(json.dumps(record)) == record
    assert record["candidate"] == "small"
    assert record["attempts"] == [{"candidate": "small", "outcome": "answered"}]
    if hasattr(routed, "message"):
        assert routed.message.additional_kwargs["router"] == record
        assert routed.message.content == bare.message.content
    else:
        assert routed.text == bare.text


@every_form
def test_35_a_stream_is_the_bare_one_and_its_record(form: Form) -> None:
    bare = collect(form.__name__, ScriptedLLM(model="small"))
    routed = collect(form.__name__, router())
    if form in STRUCTURED:
        assert [city.model_dump() for city in routed] == [city.model_dump() for city in bare]
        return
    assert [r.delta for r in routed if r.delta] == [r.delta for r in bare if r.delta]
    assert {r.additional_kwargs["router"]["candidate"] for r in routed} == {"small"}
    assert len({r.additional_kwargs["router"]["decision_id"] for r in routed}) == 1


@every_form
def test_model_forces_a_candidate_in_every_form(form: Form) -> None:
    small, large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
    form(router(small, large), model="large")
    assert small.calls == []
    assert large.calls[0].kwargs.get("model") is None
    with pytest.raises(UnknownCandidateError, match="'gpt-9'; there are: small, large"):
        form(router(), model="gpt-9")


@pytest.mark.parametrize("form", STRUCTURED)
def test_model_may_stand_among_the_templates_values(form: Form) -> None:
    class Named:
        """Passes `model` as a value of the template."""

        def __init__(self, llm: RouterLLM) -> None:
            self.llm = llm

        def __getattr__(self, method: str) -> Any:
            return lambda *args, **kw: getattr(self.llm, method)(*args, model="large", **kw)

    large = ScriptedLLM(model="large")
    form(Named(router(large=large)))
    assert len(large.calls) == 1


def test_a_templates_own_model_variable_is_the_templates() -> None:
    small = ScriptedLLM(model="small")
    cars = PromptTemplate("A city known for the {model}.")
    router(small).structured_predict(City, cars, model="large")
    assert "known for the large" in str(small.calls[0].messages)


class Decoding(ScriptedLLM):
    """Counts the responses whose tool calls it decoded."""

    decoded: int = 0

    def get_tool_calls_from_response(self, *args: Any, **kwargs: Any) -> Any:
        self.decoded += 1
        return super().get_tool_calls_from_response(*args, **kwargs)


def test_35_tool_calls_are_decoded_by_the_one_that_wrote_them() -> None:
    small, large = Decoding(model="small"), Decoding(model="large")
    llm = router(small, large)
    response = llm.chat_with_tools([TOOL], user_msg="weather?", tool_required=True)
    (selection,) = llm.get_tool_calls_from_response(response)
    assert selection.tool_name == "weather"
    response.additional_kwargs.clear()  # agents keep the message alone
    assert llm.get_tool_calls_from_response(response)
    assert (small.decoded, large.decoded) == (2, 0)
    for foreign in ({}, {"router": {"candidate": "renamed"}}, {"router": "not ours"}):
        response.message.additional_kwargs = foreign
        assert llm.get_tool_calls_from_response(response)
    assert (small.decoded, large.decoded) == (2, 3)


def test_35_a_router_may_be_a_candidate() -> None:
    outer = RouterLLM({"inner": router()})
    response = outer.chat_with_tools([TOOL], user_msg="weather?", tool_required=True)
    assert response.additional_kwargs["router"]["candidate"] == "inner"
    assert outer.get_tool_calls_from_response(response)[0].tool_name == "weather"


def test_35_the_private_preparation_stays_with_its_candidate() -> None:
    prepared = router()._prepare_chat_with_tools([TOOL], user_msg="weather?")
    assert prepared["model"] == "small"
    assert prepared["tools"]


@history_form
def test_34_the_callers_lists_and_messages_stay_as_they_are(form: Form) -> None:
    history = [ChatMessage(content="Hi"), ChatMessage(role="assistant", content="Hello")]
    history[1].additional_kwargs["router"] = {"candidate": "small"}
    before = [message.model_dump() for message in history]
    form(router(ScriptedLLM(replies=[Busy()])), history, temperature=0)
    assert [message.model_dump() for message in history] == before


def test_34_a_history_does_not_grow_and_no_attempt_sees_the_one_before() -> None:
    history, tools = [ChatMessage(content="Hi")], [TOOL]
    asked = ChatMessage(content="weather?", additional_kwargs={"router": {"candidate": "small"}})
    large = ScriptedLLM(model="large")
    llm = router(ScriptedLLM(replies=[Busy()]), large)
    llm.chat_with_tools(tools, user_msg=asked, chat_history=history, tool_required=True)
    assert (len(history), tools) == (1, [TOOL])
    assert "router" in asked.additional_kwargs
    assert [m.content for m in large.calls[0].messages] == ["Hi", "weather?"]


def test_34_a_stream_asks_what_was_asked_when_it_was_called() -> None:
    for llm in (ScriptedLLM(model="small"), router()):
        history = [ChatMessage(content="now")]
        stream = llm.stream_chat(history)
        history.append(ChatMessage(content="later"))
        assert list(stream)[-1].message.content == "small answers: now"


def test_34_a_candidate_leaves_nothing_in_the_template_or_in_its_arguments() -> None:
    class Writing(ScriptedLLM):
        """Writes into `llm_kwargs`, as OpenAI's integration does."""

        def structured_predict(self, cls: Any, prompt: Any, llm_kwargs: Any, **kwargs: Any) -> Any:
            llm_kwargs["response_format"] = "json"
            prompt.output_parser = object()
            raise Busy

    large, given = ScriptedLLM(model="large"), {"temperature": 0}
    template = PromptTemplate("Name a city in {place}.")
    llm = router(Writing(model="small"), large)
    assert isinstance(llm.structured_predict(City, template, given, place="Asia"), City)
    assert "response_format" not in large.calls[0].kwargs
    assert given == {"temperature": 0}
    assert template.output_parser is None


@history_form
def test_37_no_stamp_of_ours_is_sent_again(form: Form) -> None:
    bare, small = ScriptedLLM(model="small"), ScriptedLLM(model="small")
    llm = router(small)
    answer = llm.chat([ChatMessage(content=QUESTION)]).message
    assert "router" in answer.additional_kwargs
    plain = ChatMessage(role="assistant", content=answer.content)
    form(llm, [ChatMessage(content=QUESTION), answer])
    form(bare, [ChatMessage(content=QUESTION), plain])
    assert small.calls[1].messages == bare.calls[0].messages
    assert "router" in answer.additional_kwargs


def test_37_a_key_of_that_name_that_is_not_ours_does_no_harm() -> None:
    message = ChatMessage(role="assistant", content="Hi", additional_kwargs={"router": "x"})
    assert router().chat([message, ChatMessage(content="Hi")]).message.content


@pytest.mark.parametrize("form", STRUCTURED)
def test_39_structured_output_goes_the_candidates_native_way(form: Form) -> None:
    small = ScriptedLLM(model="small", native_structured=True)
    assert isinstance(form(router(small)), City)
    assert "response_format" in small.calls[0].kwargs
    assert "tools" not in small.calls[0].kwargs


@pytest.mark.parametrize("form", STRUCTURED)
def test_39_the_routers_system_prompt_is_applied(form: Form) -> None:
    small = ScriptedLLM(model="small", native_structured=True)
    llm = router(small, system_prompt="Answer in {braces}.")
    form(llm)
    first, second = small.calls[0].messages
    assert (first.role, first.content) == (MessageRole.SYSTEM, "Answer in {braces}.")
    assert second.content == "Name a city in Europe."
    llm.predict(TEMPLATE, place="Asia")
    assert small.calls[1].messages[0].content == "Answer in {braces}."


def test_39_metadata_is_what_holds_for_all() -> None:
    text = ScriptedTextLLM(model="text", context_window=900, num_output=50)
    llm = router(text, ScriptedLLM(context_window=8000, num_output=80))
    assert llm.metadata.context_window == 900
    assert llm.metadata.num_output == 50
    unstated = ScriptedLLM(num_output=-1)
    assert router(text, unstated).metadata.num_output == 50
    assert router(unstated, unstated).metadata.num_output == -1
    assert llm.metadata.is_chat_model
    assert llm.metadata.is_function_calling_model
    both = router(text, text.model_copy()).metadata
    assert (both.is_chat_model, both.is_function_calling_model) == (False, False)
    assert router(text, context_window=5000).metadata.context_window == 5000


@history_form
def test_39_the_system_role_is_the_candidates(form: Form) -> None:
    small = ScriptedLLM(model="small", system_role=MessageRole.USER)
    system = ChatMessage(role="system", content="Be brief.")
    form(router(small), [system])
    assert [m.role for m in small.calls[0].messages] == [MessageRole.USER] * 2
    assert system.role == MessageRole.SYSTEM
    small.calls.clear()
    router(small, system_prompt="Be brief.").structured_predict(City, TEMPLATE, place="Asia")
    assert [m.role for m in small.calls[0].messages] == [MessageRole.USER] * 2


def test_39_a_template_of_messages_keeps_its_values() -> None:
    small = ScriptedLLM(model="small")
    template = ChatPromptTemplate(
        [
            ChatMessage(role="system", content="You know {place}."),
            ChatMessage(content="A city.", additional_kwargs={"router": {}}),
        ]
    )
    router(small).structured_predict(City, template, place="Asia")
    assert [m.content for m in small.calls[0].messages] == ["You know Asia.", "A city."]
    assert [m.additional_kwargs for m in small.calls[0].messages] == [{}, {}]
