"""Tools, structured output, what others see: items of the contract by their numbers."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableBinding

from langchain_router import Candidate, ChatRouter
from shared_core import NoCandidateError
from tests.fakes.chat_models import ScriptedChat, ScriptedChatWithoutTools
from tests.integration_tests.langchain.forms import FORMS, City, Form, router, weather

every_form = pytest.mark.parametrize("form", FORMS)


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


@pytest.mark.parametrize(
    ("given", "received"),
    [
        *[("auto", "auto"), ("any", "any"), ("required", "any"), (True, "any")],
        *[({"type": "any"}, "any"), ({"type": "auto"}, "auto"), ("weather", "weather")],
        ({"type": "function", "function": {"name": "weather"}}, "weather"),
        ({"type": "tool", "name": "weather"}, "weather"),
        *[(None, None), (False, None)],
    ],
)
def test_16_models_get_a_choice_in_words_that_all_providers_share(
    given: Any, received: Any
) -> None:
    """One vendor's `bind_tools` takes "required" for the name of a tool, and refuses True."""
    choices: list[Any] = []

    class Strict(ScriptedChat):
        def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:
            choices.append(tool_choice)
            return super().bind_tools(tools, tool_choice=tool_choice, **kwargs)

    router(Strict()).bind_tools([weather], tool_choice=given).invoke("Hello")
    assert choices == [received]


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
