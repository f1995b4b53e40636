"""Chain of thought over LangChain models: what reaches a provider, what the caller gets of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langchain_tests.utils.stream_lifecycle import assert_valid_event_stream
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import Field

from langchain_router import Candidate, ChainOfThought, ChatRouter, ChatRouterMiddleware
from langchain_router._models import look_at, tuned
from langchain_router._reasoning import reasoning_of
from shared_core.decision.candidates import prepare_candidates
from shared_core.types import Prompt
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import FixedPredictor, prompt
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.replies import REASONING_TOKENS
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS, openai_chat
from tests.integration_tests.accounts import tokens
from tests.integration_tests.langchain.forms import (
    FORMS,
    WAYS,
    Form,
    Way,
    plain,
    router,
    structured,
    weather,
    with_tool,
)
from tests.integration_tests.langchain.test_events import events_of

QUESTION = "weather in 'Lisbon', 2 + 2?"
HELD = "I add.\n=== ANSWER ===\n42"
HARD = FixedPredictor({"small": 0.3, "large": 0.3})
EASY = FixedPredictor({"small": 0.99, "large": 0.99})
LEVELS = {"reasoning_effort_levels": ["minimal", "low", "medium", "high"]}
pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS]
both_ways = pytest.mark.parametrize("asynchronous", [False, True])
every_form = pytest.mark.parametrize("form", FORMS)


def over(server: OpenAIServer, capabilities: Any = LEVELS, **settings: Any) -> ChatRouter:
    """A router that reasons, over two real clients."""
    made = [
        Candidate(name, openai_chat(server, name), capabilities=capabilities)
        for name in server.models
    ]
    settings = {"predictor": HARD, **settings}
    return ChatRouter(candidates=made, strategy=ChainOfThought(), **settings)


def thinking(*replies: Any, **settings: Any) -> ChatRouter:
    """A router that reasons, over a scripted model that does so on request."""
    small = ScriptedChat(model_name="small", replies=list(replies), **settings)
    return router(small, predictor=HARD, strategy=ChainOfThought())


# --- the parameter ---


@every_form
@pytest.mark.parametrize("way", WAYS)
def test_the_effort_reaches_the_provider(server: OpenAIServer, form: Form, way: Way) -> None:
    llm = over(server)
    form(way(llm), QUESTION)
    (body,) = server.asked("small")
    assert body["reasoning_effort"] == "medium"
    assert body["messages"] == [{"role": "user", "content": QUESTION}]
    assert tokens(llm)[3] == REASONING_TOKENS


@every_form
def test_an_easy_prompt_gets_the_least_effort_that_the_model_knows(
    server: OpenAIServer, form: Form
) -> None:
    form(over(server, predictor=EASY), QUESTION)
    assert server.asked("small")[0]["reasoning_effort"] == "minimal"


@every_form
@pytest.mark.parametrize("way", [with_tool, structured])
@pytest.mark.parametrize("capabilities", [{}, {**LEVELS, "reasoning_output": False}])
def test_a_model_that_nobody_says_reasons_is_asked_as_ever_for_forms(
    server: OpenAIServer, form: Form, way: Way, capabilities: Any
) -> None:
    form(way(over(server, capabilities)), QUESTION)
    (body,) = server.asked("small")
    assert "reasoning_effort" not in body
    assert body["messages"] == [{"role": "user", "content": QUESTION}]


def test_an_effort_that_the_user_has_set_says_that_a_model_reasons(server: OpenAIServer) -> None:
    small = ChatOpenAI(
        model="small", base_url=server.base_url, api_key="test", reasoning_effort="high"
    )
    ChatRouter({"small": small}, predictor=EASY, strategy=ChainOfThought()).invoke(QUESTION)
    assert server.asked("small")[0]["reasoning_effort"] == "low"


def test_what_langchain_knows_of_a_model_decides() -> None:
    for name, levels in (
        ("gpt-5-mini", ("minimal", "medium")),
        ("gpt-5.1", ("none", "medium")),
        ("o3", ("low", "medium")),
        ("gpt-4o", (None, None)),
    ):
        model = ChatOpenAI(model=name, api_key="test")
        if levels[0] in ("minimal", "none") and "reasoning_effort_levels" not in model.profile:
            continue  # older packages do not tell the levels of a model
        (known,) = prepare_candidates([Candidate(name, model)], look_at)
        found = [tuned(known, {"reasoning": level}, prompt()) for level in ("none", "medium")]
        assert tuple(one.get("reasoning_effort") for one in found) == levels


def test_options_that_the_user_has_set_stay() -> None:
    model = ChatOpenAI(model="gpt-5", api_key="test", reasoning={"summary": "auto"})
    (known,) = prepare_candidates([Candidate("gpt-5", model)], look_at)
    assert tuned(known, {"reasoning": "low"}, prompt()) == {
        "reasoning": {"summary": "auto", "effort": "low"}
    }


class Claude(ScriptedChat):
    """Has the field that `ChatAnthropic` has."""

    thinking: dict[str, Any] | None = None


class Gemini(ScriptedChat):
    """Has the fields that `ChatGoogleGenerativeAI` has."""

    thinking_budget: int | None = None
    reasoning_effort: str | None = None


class Llama(ScriptedChat):
    """Has the field that `ChatOllama` has."""

    reasoning: bool | str | None = None


class Plain(ScriptedChat):
    """Reasons, but cannot be told how much."""

    effort_in_words: str | None = Field(default=None)


ENABLED = {"type": "enabled", "budget_tokens": 8192}


@pytest.mark.parametrize(
    ("model", "level", "asked", "levels", "arguments"),
    [
        (Claude(), "medium", prompt(), (), {"thinking": ENABLED, "temperature": 1}),
        (Claude(), "none", prompt(), (), {"thinking": {"type": "disabled"}}),
        (
            *(Claude(), "high", prompt(max_tokens=4000), ()),
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "temperature": 1},
        ),
        (Claude(), "high", prompt(max_tokens=1500), (), {"thinking": {"type": "disabled"}}),
        (Claude(), "high", prompt(tools=({},)), (), {}),
        (Claude(), "high", prompt(schema={}), (), {}),
        (Gemini(), "low", prompt(), (), {"thinking_budget": 1024}),
        (Gemini(), "none", prompt(), (), {"thinking_budget": 512}),
        (Gemini(), "none", prompt(), ("low", "high"), {"reasoning_effort": "low"}),
        (Gemini(reasoning_effort="high"), "low", prompt(), (), {"reasoning_effort": "low"}),
        (Llama(), "low", prompt(), (), {"reasoning": True}),
        (Llama(), "none", prompt(), (), {"reasoning": False}),
        (Llama(), "medium", prompt(), ("low", "high"), {"reasoning": "low"}),
        (Llama(), "none", prompt(), ("none", "high"), {"reasoning": False}),
        (Plain(), "high", prompt(), (), {}),
    ],
)
def test_each_class_is_told_in_its_own_words(
    model: BaseChatModel, level: Any, asked: Prompt, levels: Any, arguments: dict[str, Any]
) -> None:
    can = {"reasoning_output": True, "reasoning_effort_levels": list(levels)}
    stated = Candidate("it", model, capabilities=can)
    assert reasoning_of(stated, model, level, asked, None) == arguments
    assert reasoning_of(Candidate("it", model), model, level, asked, None) == {}


def test_a_temperature_that_a_model_refuses_is_not_sent_with_its_thoughts() -> None:
    can = {"reasoning_output": True, "temperature": False}
    stated = Candidate("it", Claude(), capabilities=can)
    assert reasoning_of(stated, stated.model, "medium", prompt(), None) == {"thinking": ENABLED}


# --- the answer ---


@every_form
def test_the_answer_alone_reaches_the_caller(form: Form) -> None:
    llm = thinking(HELD)
    answer = form(plain(llm), [SystemMessage("Be brief."), HumanMessage(QUESTION)])
    assert answer.text == "42"
    assert answer.content == "42"
    assert answer.usage_metadata["output_tokens"] == len(HELD.split())
    assert answer.id
    assert answer.response_metadata["model_name"] == "small"
    assert answer.response_metadata["router"]["candidate"] == "small"
    asked: Any = llm.candidates["small"].calls[0].messages  # type: ignore[call-overload]
    assert [m.type for m in asked] == ["system", "human"]
    assert asked[1].text.startswith(QUESTION)
    assert "=== ANSWER ===" in asked[1].text
    assert tokens(llm)[1] == len(HELD.split())


@every_form
def test_a_list_of_blocks_keeps_all_but_its_text(form: Form) -> None:
    image = {"type": "image", "base64": "aGk=", "mime_type": "image/png"}
    blocks = [{"type": "text", "text": HELD}, image]
    message = AIMessage(content=blocks, id="msg_1")  # type: ignore[arg-type]
    answer = form(plain(thinking(message)), QUESTION)
    assert answer.content == [{"type": "text", "text": "42"}, image]


@every_form
def test_the_newer_form_of_content_too(form: Form) -> None:
    answer = form(plain(thinking(HELD, output_version="v1")), QUESTION)
    assert [block["text"] for block in answer.content if block["type"] == "text"] == ["42"]
    assert answer.text == "42"


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@both_ways
def test_an_event_stream_tells_the_answer_alone(asynchronous: bool) -> None:
    events, message = events_of(thinking(HELD), asynchronous, QUESTION)
    assert_valid_event_stream(events)
    assert message.text == "42"
    assert "I add" not in str(events)
    assert message.usage_metadata["output_tokens"] == len(HELD.split())


@both_ways
def test_an_agent_sees_the_answer_alone(asynchronous: bool) -> None:
    agent = create_agent(thinking(HELD), middleware=[ChatRouterMiddleware()])
    asked: Any = {"messages": [("user", QUESTION)]}
    result = asyncio.run(agent.ainvoke(asked)) if asynchronous else agent.invoke(asked)
    assert result["messages"][-1].text == "42"
    assert result["messages"][-1].response_metadata["router"]["candidate"] == "small"


@both_ways
def test_an_agent_with_tools_is_never_told_to_write_otherwise(asynchronous: bool) -> None:
    llm = thinking()
    agent = create_agent(llm, [weather], middleware=[ChatRouterMiddleware()])
    asked: Any = {"messages": [("user", "Use the weather tool: how is it in Lisbon?")]}
    result = asyncio.run(agent.ainvoke(asked)) if asynchronous else agent.invoke(asked)
    assert [m.type for m in result["messages"]] == ["human", "ai", "tool", "ai"]
    calls = llm.candidates["small"].calls  # type: ignore[call-overload]
    assert "=== ANSWER" not in str([call.messages for call in calls])


def test_an_agents_steps_get_the_effort(server: OpenAIServer) -> None:
    agent = create_agent(over(server), [weather], middleware=[ChatRouterMiddleware()])
    agent.invoke({"messages": [("user", "Use the weather tool: how is it in 'Lisbon'?")]})
    assert [body["reasoning_effort"] for body in server.asked("small")] == ["medium", "medium"]


def test_a_graph_that_streams_tokens_shows_the_answer_alone() -> None:
    llm = thinking(HELD)
    graph = StateGraph(MessagesState)
    graph.add_node("ask", lambda state: {"messages": [llm.invoke(state["messages"])]})
    graph.add_edge(START, "ask")
    shown = graph.compile().stream({"messages": [("user", QUESTION)]}, stream_mode="messages")
    assert "".join(chunk.text for chunk, _ in shown) == "42"


@every_form
def test_cut_off_while_it_thought_it_is_asked_again(form: Form) -> None:
    cut = AIMessage("I add and", response_metadata={"finish_reason": "length"})
    llm = thinking(cut, "42")
    answer = form(plain(llm), QUESTION)
    assert answer.text == "42"
    record = answer.response_metadata["router"]
    assert [a["candidate"] for a in record["attempts"]] == ["small", "small"]
    assert [v["note"][:9] for v in record["verdicts"]] == ["reasoning", "no answer"]
