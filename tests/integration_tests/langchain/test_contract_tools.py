"""Tools, structured output, candidates, wrong arguments: items of the contract by their numbers."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableBinding
from langchain_core.tools import tool
from pydantic import BaseModel, SecretStr

from langchain_router import Candidate, ChatRouter, Policy
from shared_core import ConfigurationError, NoCandidateError
from tests.fakes.chat_models import ScriptedChat, ScriptedChatWithoutTools
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.standard_gates import openai_chat
from tests.integration_tests.langchain.forms import FORMS, Form, Runs, router

every_form = pytest.mark.parametrize("form", FORMS)


class City(BaseModel):
    """A city and its country."""

    name: str
    country: str


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}


def test_14_a_binding_with_dictionaries_for_whoever_looks() -> None:
    bound = router().bind_tools([weather, SEARCH])
    assert isinstance(bound, RunnableBinding)
    view, search = bound.kwargs["tools"]
    assert isinstance(view, dict)
    assert view["function"]["name"] == "weather"
    assert search["type"]


@every_form
def test_15_the_model_binds_the_original_objects(form: Form) -> None:
    small = ScriptedChat(model_name="small")
    bound = router(small).bind_tools([weather, SEARCH, City])
    form(bound, "Hello")
    form(bound, "Hello")
    (tools,) = small.bound  # bound once, used twice
    assert tools[0] is weather
    assert tools[1] is SEARCH
    assert tools[2] is City


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("auto", "auto"),
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        ("weather", {"type": "function", "function": {"name": "weather"}}),
        (
            {"type": "function", "function": {"name": "weather"}},
            {"type": "function", "function": {"name": "weather"}},
        ),
        (
            {"type": "tool", "name": "weather"},
            {"type": "function", "function": {"name": "weather"}},
        ),
        ({"type": "any"}, "required"),
        (None, None),
        (False, None),
    ],
)
def test_16_a_tool_choice_means_the_same_for_every_candidate(given: Any, sent: Any) -> None:
    small = ScriptedChat(model_name="small")
    router(small).bind_tools([weather], tool_choice=given).invoke("Hello")
    assert small.calls[0].kwargs.get("tool_choice") == sent
    assert small.calls[0].kwargs["tools"]


def test_16_none_sends_no_tools() -> None:
    small = ScriptedChat(model_name="small")
    router(small).bind_tools([weather], tool_choice="none").invoke("Hello")
    assert "tools" not in small.calls[0].kwargs
    assert "tool_choice" not in small.calls[0].kwargs


@every_form
def test_17_who_cannot_call_tools_is_never_asked(form: Form) -> None:
    mute, able = ScriptedChatWithoutTools(model_name="mute"), ScriptedChat(model_name="able")
    message = form(router(mute, able).bind_tools([weather], tool_choice="any"), "Hello")
    assert message.tool_calls[0]["name"] == "weather"
    assert mute.calls == []
    only_mute = ChatRouter({"a": mute, "b": ScriptedChatWithoutTools()})
    with pytest.raises(NoCandidateError, match=r"a: cannot call tools .*; b: cannot call tools"):
        form(only_mute.bind_tools([weather]), "Hello")


def test_17_options_that_a_model_does_not_know_are_dropped_with_a_warning() -> None:
    small = ScriptedChat(model_name="small")
    bound = router(small).bind_tools([weather], parallel_tool_calls=False)
    with pytest.warns(UserWarning, match="knows no 'parallel_tool_calls'"):
        bound.invoke("Hello")
    assert "parallel_tool_calls" not in small.calls[0].kwargs


@pytest.mark.parametrize("method", [None, "function_calling", "json_schema"])
@every_form
def test_18_structured_output_in_the_models_own_way(form: Form, method: str | None) -> None:
    with OpenAIServer() as server:
        llm = ChatRouter({name: openai_chat(server, name) for name in ("small", "large")})
        bare = openai_chat(server, "small")
        options = {"method": method} if method else {}
        runs = Runs()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # langchain-openai dumps `parsed`
            routed = llm.with_structured_output(City, **options)
            answers = [form(routed, "A city.", {"callbacks": [runs]})] if form in FORMS[:2] else []
            answers += list(routed.stream("A city."))[-1:] if form not in FORMS[:2] else []
            expected = bare.with_structured_output(City, **options).invoke("A city.")
        first, *_, last = server.asked("small")
        assert answers == [expected]
        assert isinstance(answers[0], City)
        shape = [key for key in ("tools", "response_format") if key in last]
        assert [key for key in ("tools", "response_format") if key in first] == shape
        assert len(runs.of("model")) in (0, 1)


def test_18_include_raw_keeps_raw_parsed_and_error() -> None:
    small = ScriptedChat(model_name="small", replies=["no tool call"])
    llm = router(small)
    result = llm.with_structured_output(City, include_raw=True).invoke("A city.")
    assert set(result) == {"raw", "parsed", "parsing_error"}
    assert isinstance(result["parsed"], City)
    record = result["raw"].response_metadata["router"]
    assert record["candidate"] == "small"


def test_18_a_failed_parse_is_raised_or_returned() -> None:
    class Wrong(ScriptedChat):
        def _said(self, said: Any, body: Any) -> Any:
            message = super()._said(said, body)
            for call in message.tool_calls:
                call["args"] = {"name": 3}
            return message

    llm = router(Wrong(model_name="small"))
    result = llm.with_structured_output(City, include_raw=True).invoke("A city.")
    assert result["parsed"] is None
    assert "country" in str(result["parsing_error"])
    with pytest.raises(type(result["parsing_error"])):
        llm.with_structured_output(City).invoke("A city.")


def test_18_by_a_method_that_a_candidate_lacks_it_is_refused() -> None:
    small = Candidate("small", ScriptedChat(), capabilities={"tool_calling": False})
    llm = ChatRouter([small, Candidate("large", ScriptedChat(model_name="large"))])
    raw = llm.with_structured_output(City, method="function_calling", include_raw=True)
    assert raw.invoke("A city.")["raw"].response_metadata["router"]["candidate"] == "large"


@every_form
def test_a_binding_is_a_candidate_and_one_model_serves_several(form: Form) -> None:
    model = ScriptedChat(model_name="one")
    llm = ChatRouter(
        [
            Candidate("cold", model.bind(temperature=0)),
            Candidate("warm", model.bind(temperature=1).with_config(tags=["warm"])),
        ]
    )
    runs = Runs()
    form(llm, "Hello", {"callbacks": [runs]})
    form(llm.bind_tools([weather], tool_choice="any"), "Hello", model="warm")
    assert [call.kwargs["temperature"] for call in model.calls] == [0, 1]
    assert "tools" in model.calls[1].kwargs
    city = llm.with_structured_output(City).invoke("A city.", model="warm")
    assert isinstance(city, City)
    assert model.calls[2].kwargs["temperature"] == 1


@every_form
def test_a_router_is_a_candidate(form: Form) -> None:
    inner = router()
    message = form(ChatRouter({"inner": inner, "large": ScriptedChat(model_name="x")}), "Hello")
    assert message.response_metadata["model_name"] == "small"
    assert message.response_metadata["router"]["candidate"] == "inner"


def test_a_chain_batches_with_a_decision_each() -> None:
    small = ScriptedChat(model_name="small", replies=["yes"])
    chain = ChatPromptTemplate.from_template("{q}") | router(small) | StrOutputParser()
    answers = chain.batch([{"q": "a"}, {"q": "b"}, {"q": "c"}], {"max_concurrency": 2})
    assert answers == ["yes"] * 3
    assert "".join(chain.stream({"q": "a"})) == "yes"
    messages = router(small).batch(["a", "b"])
    ids = {message.response_metadata["router"]["decision_id"] for message in messages}
    assert len(ids) == 2
    failing = router(ScriptedChat(replies=[ValueError("no")]), max_retries=0)
    assert [type(r) for r in failing.batch(["a"], return_exceptions=True)] == [ValueError]


def test_fields_may_be_configurable() -> None:
    small = ScriptedChat(model_name="small")
    llm = router(small).configurable_fields(temperature=ConfigurableField(id="t"))
    llm.with_config(configurable={"t": 0.7}).invoke("Hello")
    assert small.calls[0].kwargs["temperature"] == 0.7
    assert len(list(llm.stream("Hello"))) > 1


def test_explain_calls_nobody_and_with_policy_shares_everything_else() -> None:
    small, large = ScriptedChat(model_name="small"), ScriptedChat(model_name="large")
    llm = router(small, large)
    strict = llm.with_policy(Policy(quality=1))
    assert llm.explain("Hello").candidate == "small"
    assert strict.explain("Hello").candidate == "large"
    assert llm.explain("Hello", model="large").reason == "large was asked for by name"
    assert small.calls == large.calls == []
    assert strict.invoke("Hello").response_metadata["router"]["candidate"] == "large"
    assert llm.policy == Policy()
    assert strict.candidates is llm.candidates


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ChatRouter(), "candidates is missing"),
        (lambda: ChatRouter([]), "candidates is empty"),
        (lambda: ChatRouter({"a": "gpt-5"}), "must be a LangChain BaseChatModel"),
        (lambda: ChatRouter([ScriptedChat()]), "wrap it as Candidate"),
        (
            lambda: ChatRouter([Candidate("a", ScriptedChat()), Candidate("a", ScriptedChat())]),
            "two candidates are named 'a'",
        ),
        (lambda: Candidate("a", ScriptedChat(), price=(-1, 0)), "must not be negative"),
        (lambda: Candidate("a", ScriptedChat(), strength=math.nan), "finite number"),
        (lambda: router(polcy=Policy()), "did you mean 'policy'"),
        (lambda: router(cache=True), "cache belongs to the candidates"),
        (lambda: router(policy=0.9), "policy must be a Policy"),
        (lambda: router(max_retries=-1), "max_retries must be 0 or more"),
        (lambda: router(policy=Policy(strong_share=0.3)), "calibration"),
    ],
)
def test_wrong_arguments_say_what_to_change(make: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make()


def test_a_key_is_not_used_and_never_shown() -> None:
    with pytest.warns(UserWarning, match="keys belong to the candidates"):
        router(api_key="sk-router")
    with OpenAIServer() as server:
        chat = openai_chat(server, "small")
        chat.openai_api_key = SecretStr("sk-secret")
        llm = ChatRouter({"small": chat})
        shown = f"{llm!r} {llm} {llm.model_dump()!s} {llm.candidates!r} {llm._serialized}"
        assert "sk-secret" not in shown


def test_23_24_25_what_others_see_of_it() -> None:
    small = Candidate("gpt-5", ScriptedChat(), context_window=100, capabilities={"tool_calling": 1})
    large = Candidate("x", ScriptedChat(), capabilities={"max_input_tokens": 50})
    llm = ChatRouter([small, large])
    assert llm.profile == {"max_input_tokens": 50}
    assert router().profile is None
    assert not hasattr(llm, "model")
    assert not hasattr(llm, "model_name")
    assert llm.get_num_tokens("four words at once") == 5
    assert llm.get_num_tokens_from_messages([HumanMessage("Hello")], [weather]) > 10
