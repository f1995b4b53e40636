"""Who is calling, and constraints by hand: per router, call and scope, in every call form."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from langchain_router import Candidate, ChatRouter, Policy, call_scope, cleared, local_only
from shared_core import NoCandidateError, Prompt, UnknownCandidateError
from shared_core.types import Scope
from tests.fakes.chat_models import ScriptedChat
from tests.integration_tests.langchain.forms import FORMS, Form, router, structured, with_tool

every_form = pytest.mark.parametrize("form", FORMS)
HARD = "Prove that for all real x, y > 0 with x + y = 1 the inequality (1 + 1/x)(1 + 1/y) >= 9 " * 3


def spied(seen: list[Scope], **settings: Any) -> ChatRouter:
    def spy(prompt: Prompt, candidate: Any, estimate: Any) -> None:
        seen.append(prompt.scope)

    return router(policy=Policy(subject_to=[spy]), **settings)


@every_form
def test_configurable_says_who_is_calling_inside_any_scope(form: Form) -> None:
    seen: list[Scope] = []
    llm = spied(seen)
    configurable = {"thread_id": 7, "user": "u", "checkpoint_ns": ""}
    with call_scope(user="outer", tenant="acme"):
        form(llm, "Hello", {"configurable": configurable})
    form(llm, "Hello", {"configurable": {"thread": "t", "thread_id": "other"}})
    form(llm, "Hello")
    assert seen[0] == Scope(thread="7", user="u", tenant="acme")
    assert seen[2].thread == "t"
    assert seen[-1] == Scope()


@every_form
def test_a_pin_answers_and_is_held_to_constraints(form: Form) -> None:
    llm = router()
    pinned = {"configurable": {"pin": "large"}}
    record = form(llm, "Hello", pinned).response_metadata["router"]
    assert (record["candidate"], record["reason"]) == ("large", "large is pinned")
    with call_scope(pin="large"):
        assert form(llm, "Hello").response_metadata["router"]["candidate"] == "large"
        named = form(llm, "Hello", model="small").response_metadata["router"]
        assert named["candidate"] == "small"
        with pytest.raises(NoCandidateError, match="large: is not declared to run locally"):
            form(llm, "Hello", subject_to=[local_only()])
    with pytest.raises(UnknownCandidateError, match="'huge'"):
        form(llm, "Hello", {"configurable": {"pin": "huge"}})


@pytest.mark.parametrize("way", [with_tool, structured])
def test_pins_and_constraints_reach_tools_and_structured_output(way: Any) -> None:
    small, large = ScriptedChat(model_name="small"), ScriptedChat(model_name="large")
    bound = way(router(small, large))
    bound.invoke("Hello", {"configurable": {"pin": "large"}})
    assert (len(small.calls), len(large.calls)) == (0, 1)
    with pytest.raises(NoCandidateError):
        bound.invoke("Hello", subject_to=[local_only()])


def private(prompt: Prompt) -> list[str]:
    """Anything with an address in it, tools' results too, is personal."""
    return ["pii"] if any("@" in turn.text for turn in prompt.turns) else []


def two(small_replies: Any = (), **settings: Any) -> tuple[ScriptedChat, ScriptedChat, ChatRouter]:
    own = ScriptedChat(model_name="own", replies=small_replies)
    hosted = ScriptedChat(model_name="hosted")
    candidates = [Candidate("own", own, local=True, tags=["pii"]), Candidate("hosted", hosted)]
    return own, hosted, ChatRouter(candidates, **settings)


@every_form
def test_a_private_prompt_goes_only_to_who_is_cleared_for_it(form: Form) -> None:
    own, hosted, llm = two(policy=Policy(subject_to=[cleared(private)]))
    form(llm, HARD)
    assert len(hosted.calls) == 1
    form(llm, HARD + " Write to ann@example.org.")
    assert len(hosted.calls) == 1
    assert len(own.calls) == 1
    looked_up = [
        HumanMessage("Look her up."),
        form(
            llm.bind_tools([{"name": "f", "description": "f", "parameters": {}}]),
            "f",
            model="hosted",
        ),
    ]
    result = ToolMessage("ann@example.org", tool_call_id="c1")
    record = form(llm, [*looked_up, result]).response_metadata["router"]
    assert record["candidate"] == "own", "not even the model that called the tool reads it"


@every_form
def test_a_constraint_survives_fallbacks_pins_and_with_policy(form: Form) -> None:
    _, hosted, llm = two(small_replies=[ConnectionError("down")])
    with call_scope(subject_to=[cleared("pii")]):
        with pytest.raises(ConnectionError, match="down"):
            form(llm, "Hello")
        with pytest.raises(ConnectionError, match="down"):
            form(llm.with_policy(Policy(quality=1)), HARD)
        with pytest.raises(NoCandidateError, match="hosted: is not cleared for pii"):
            form(llm, "Hello", {"configurable": {"pin": "hosted"}})
    assert hosted.calls == []
    assert form(llm, "Hello").response_metadata["router"]["candidate"] == "hosted"


def test_explain_knows_the_caller_and_constraints_of_the_call() -> None:
    llm = router()
    assert llm.explain("Hello", {"configurable": {"pin": "large"}}).candidate == "large"
    with pytest.raises(NoCandidateError):
        llm.explain("Hello", subject_to=[local_only()])


def test_a_graphs_thread_is_known_in_its_nodes() -> None:
    seen: list[Scope] = []
    llm = spied(seen)
    graph = StateGraph(MessagesState)
    graph.add_node("ask", lambda state: {"messages": [llm.invoke(state["messages"])]})
    graph.add_edge(START, "ask")
    app = graph.compile(checkpointer=InMemorySaver())
    app.invoke({"messages": "Hello"}, {"configurable": {"thread_id": "t1", "user": "u7"}})
    assert {(scope.thread, scope.user) for scope in seen} == {("t1", "u7")}


def test_batches_carry_the_scope_into_their_threads() -> None:
    seen: list[Scope] = []
    llm = spied(seen)
    with call_scope(thread="t1"):
        llm.batch(["a", "b", "c"], {"max_concurrency": 2})
        (RunnableLambda(str) | llm).batch(["a", "b"])
    assert {scope.thread for scope in seen} == {"t1"}
