"""`ChatRouterMiddleware` in `create_agent`: every step routed, seen from inside the agent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelFallbackMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.exceptions import ModelRateLimitError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.tool import tool_call
from langgraph.errors import GraphBubbleUp

from langchain_router import Candidate, ChatRouter, ChatRouterMiddleware, Policy, cleared
from shared_core import AllCandidatesFailedError, ConfigurationError, Estimate, NoCandidateError
from shared_core.types import Prompt
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import estimate
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import Break
from tests.fakes.standard_gates import openai_chat
from tests.integration_tests.langchain.forms import City, router, weather

QUESTION = {"messages": [("user", "Use the weather tool: how is it in Lisbon?")]}
BUSY = ModelRateLimitError("busy")
both_ways = pytest.mark.parametrize("asynchronous", [False, True])


class StrongFirst:
    """Picks the large one for the first decision and the small one for all others."""

    name, inline_chars = "strong first", 10_000

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    def predict(self, prompt: Prompt, candidates: Sequence[Candidate]) -> list[Estimate]:
        self.prompts.append(prompt)
        best = 1 if len(self.prompts) == 1 else 0
        return [estimate(c.name, 0.9 if i == best else 0.1) for i, c in enumerate(candidates)]


def run(agent: Any, asynchronous: bool, *args: Any) -> Any:
    given = args or (QUESTION,)
    return asyncio.run(agent.ainvoke(*given)) if asynchronous else agent.invoke(*given)


def agent_over(llm: ChatRouter, *more: AgentMiddleware[Any, Any, Any], **settings: Any) -> Any:
    return create_agent(llm, [weather], middleware=[ChatRouterMiddleware(), *more], **settings)


def authors(result: Any) -> list[str]:
    answers = [m for m in result["messages"] if isinstance(m, AIMessage)]
    return [m.response_metadata["router"]["candidate"] for m in answers]


@both_ways
def test_each_step_is_routed_and_carries_the_record(asynchronous: bool) -> None:
    small = ScriptedChat(model_name="small")
    result = run(agent_over(router(small)), asynchronous)
    assert [m.type for m in result["messages"]] == ["human", "ai", "tool", "ai"]
    assert authors(result) == ["small", "small"]
    assert len(small.calls) == 2
    assert small.bound == [[weather], [weather]]


@both_ways
def test_a_tool_loop_stays_with_its_model_and_the_next_question_is_free(asynchronous: bool) -> None:
    llm = router(predictor=StrongFirst())
    agent = agent_over(llm)
    first = run(agent, asynchronous)
    assert authors(first) == ["large", "large"]
    again = {"messages": [*first["messages"], HumanMessage("And in Porto?")]}
    assert authors(run(agent, asynchronous, again)) == ["large", "large", "small"]


@both_ways
def test_inner_middleware_sees_the_chosen_model_and_the_history_it_can_read(
    asynchronous: bool,
) -> None:
    seen: list[Any] = []

    class Spy(AgentMiddleware[Any, Any, Any]):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            seen.append((request.model, request.messages, request.system_message))
            return handler(request)

        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            seen.append((request.model, request.messages, request.system_message))
            return await handler(request)

    small = ScriptedChat(model_name="small")
    thought = AIMessage(
        [
            {"type": "thinking", "thinking": "hmm", "signature": "sig"},
            {"type": "text", "text": "Hi."},
        ]
    )
    history = {"messages": [HumanMessage("Hello"), thought, HumanMessage("Hello again")]}
    run(agent_over(router(small), Spy(), system_prompt="Be kind."), asynchronous, history)
    ((model, messages, system),) = seen
    assert model is small
    assert [m.content for m in messages] == ["Hello", "Hi.", "Hello again"]
    assert system.content == "Be kind."


@both_ways
def test_a_failed_step_falls_back_with_tools_and_all(asynchronous: bool) -> None:
    large = ScriptedChat(model_name="large")
    result = run(agent_over(router(ScriptedChat(replies=[BUSY]), large)), asynchronous)
    assert authors(result) == ["large", "large"]
    attempts = result["messages"][1].response_metadata["router"]["attempts"]
    assert [a["outcome"] for a in attempts] == ["failed", "answered"]


@both_ways
def test_all_failed_and_none_allowed_are_the_routers_own_errors(asynchronous: bool) -> None:
    down = [ScriptedChat(replies=[BUSY]) for _ in range(2)]
    with pytest.raises(AllCandidatesFailedError, match=r"small: .*busy; large: .*busy"):
        run(agent_over(router(*down)), asynchronous)
    private = router(policy=Policy(subject_to=[cleared("pii")]))
    with pytest.raises(NoCandidateError, match="is not cleared for pii"):
        run(agent_over(private), asynchronous)


@both_ways
def test_interrupts_pass_through_even_after_a_failure(asynchronous: bool) -> None:
    stop = GraphBubbleUp("stop")
    llm = router(ScriptedChat(replies=[BUSY]), ScriptedChat(replies=[stop]))
    with pytest.raises(GraphBubbleUp) as caught:
        llm.invoke("Hello")
    assert caught.value is stop


def test_the_thread_and_a_pin_come_from_the_graphs_config() -> None:
    llm = router()
    config = {"configurable": {"thread_id": "t", "pin": "large"}}
    assert authors(run(agent_over(llm), False, QUESTION, config)) == ["large", "large"]


def test_each_model_gets_its_own_way_of_structured_output(server: OpenAIServer) -> None:
    native = openai_chat(server, "small").model_copy(
        update={"profile": {"structured_output": True, "tool_calling": True}}
    )
    llm = ChatRouter({"small": native, "large": ScriptedChat()})
    agent = create_agent(llm, [weather], middleware=[ChatRouterMiddleware()], response_format=City)
    result = agent.invoke({"messages": [("user", "Name a city.")]})
    assert isinstance(result["structured_response"], City)
    assert server.asked("small")[0]["response_format"]["type"] == "json_schema"


@both_ways
def test_a_tool_strategy_works_and_needs_a_candidate_that_calls_tools(asynchronous: bool) -> None:
    cannot = Candidate("small", ScriptedChat(), capabilities={"tool_calling": False})
    large = ScriptedChat(model_name="large")
    llm = ChatRouter([cannot, Candidate("large", large)])
    agent = create_agent(
        llm, middleware=[ChatRouterMiddleware()], response_format=ToolStrategy(City)
    )
    result = run(agent, asynchronous, {"messages": [("user", "Name a city.")]})
    assert isinstance(result["structured_response"], City)
    assert authors(result) == ["large"]


async def test_what_the_graph_has_shown_is_not_followed_by_another_models_text() -> None:
    large = ScriptedChat(model_name="large")
    llm = router(ScriptedChat(replies=[Break(BUSY, after=1, reply=["Hel", "lo"])]), large)
    texts: list[str] = []

    async def read() -> None:
        async for chunk, _ in agent_over(llm).astream(
            {"messages": [("user", "Hello")]}, stream_mode="messages"
        ):
            texts.append(chunk.text)

    with pytest.raises(ModelRateLimitError):
        await read()
    assert texts == ["Hel"]
    assert large.calls == []


async def test_messages_mode_shows_the_chosen_models_chunks_once() -> None:
    async def chunks(agent: Any) -> list[str]:
        stream = agent.astream({"messages": [("user", "Hello")]}, stream_mode="messages")
        return [chunk.text async for chunk, _ in stream]

    bare = create_agent(ScriptedChat(model_name="small"), [weather])
    assert await chunks(agent_over(router())) == await chunks(bare)


def test_a_bindings_arguments_and_the_routers_defaults_reach_the_model() -> None:
    small = ScriptedChat(model_name="small")
    llm = ChatRouter({"small": small.bind(seed=7)}, temperature=0.5, stop=["END"])
    run(agent_over(llm), False)
    for call in small.calls:
        assert call.kwargs["seed"] == 7
        assert call.kwargs["temperature"] == 0.5
        assert call.kwargs["stop"] == ["END"]


def test_a_router_of_its_own_serves_an_agent_of_another_model() -> None:
    unused = ScriptedChat(model_name="unused")
    agent = create_agent(unused, [weather], middleware=[ChatRouterMiddleware(router())])
    assert authors(agent.invoke(QUESTION)) == ["small", "small"]
    assert unused.calls == []


def test_it_works_inside_langchains_own_fallback_middleware() -> None:
    down = ChatRouter({"small": ScriptedChat(replies=[BUSY])})
    spare = ScriptedChat(model_name="spare")
    agent = create_agent(
        down, [weather], middleware=[ModelFallbackMiddleware(spare), ChatRouterMiddleware(down)]
    )
    with pytest.raises(ModelRateLimitError):
        agent.invoke(QUESTION)  # the router is asked again: it decides, whatever the model is


def test_wrong_arguments_say_what_to_change() -> None:
    with pytest.raises(ConfigurationError, match="takes a ChatRouter, not ScriptedChat"):
        ChatRouterMiddleware(ScriptedChat())  # type: ignore[arg-type]
    agent = create_agent(ScriptedChat(), [weather], middleware=[ChatRouterMiddleware()])
    with pytest.raises(ConfigurationError, match="needs an agent whose model is a ChatRouter"):
        agent.invoke(QUESTION)


def test_every_tool_call_of_a_step_is_answered() -> None:
    calls = [tool_call(name="weather", args={"city": c}, id=c) for c in ("Lisbon", "Porto")]
    replies = [AIMessage("", tool_calls=calls), "Sunny in both."]
    small: BaseChatModel = ScriptedChat(model_name="small", replies=replies)
    result = run(agent_over(router(small)), False)
    assert [m.type for m in result["messages"]] == ["human", "ai", "tool", "tool", "ai"]
