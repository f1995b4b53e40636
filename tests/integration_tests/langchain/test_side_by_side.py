"""Models that are asked side by side, on an event loop or in threads, are one call of the caller's.

Each runs in the caller's context; there is one run per attempt; budgets, deadlines and interrupts
hold for all of them together.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextvars import ContextVar
from typing import Any

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.exceptions import ModelRateLimitError
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import collect_runs
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import Field, SkipValidation

from langchain_router import Budget, Candidate, ChatRouter, Policy, call_scope, deadline_s
from shared_core import AllCandidatesFailedError, DeadlineExceededError
from shared_core.scope import current_scope
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import FixedPredictor
from tests.fakes.strategies import Everyone, Relay
from tests.integration_tests.accounts import PRICE, last, nothing_held, outcomes, standing
from tests.integration_tests.langchain.forms import FORMS, Form, Runs, ainvoke, invoke, stream

every_form = pytest.mark.parametrize("form", FORMS)
in_threads = pytest.mark.parametrize("form", [invoke, stream])

NAMES = ("small", "middle", "large")
BUSY = ModelRateLimitError("busy")
PLACE: ContextVar[str] = ContextVar("place", default="nowhere")


class Looking(ScriptedChat):
    """Keeps what it sees of the context in which it is called.

    Attributes:
        seen: The value of a context variable, the caller's scope, and the thread.
    """

    seen: SkipValidation[list[Any]] = Field(default_factory=list, exclude=True)

    def _next(self, *args: Any) -> Any:
        self.seen.append((PLACE.get(), current_scope().user, threading.current_thread()))
        PLACE.set("its own affair")
        return super()._next(*args)


def models(make: Any = ScriptedChat, **settings: Any) -> dict[str, Any]:
    return {name: make(model_name=name, **settings) for name in NAMES}


def over(made: Any, strategy: Any = None, **settings: Any) -> ChatRouter:
    predictor = FixedPredictor({"small": 0.9, "middle": 0.91, "large": 0.92})
    return ChatRouter(
        [Candidate(name, model, price=PRICE) for name, model in made.items()],
        strategy=strategy or Everyone(),
        predictor=predictor,
        **settings,
    )


@every_form
def test_each_runs_in_the_callers_context_and_changes_nothing_in_it(form: Form) -> None:
    made = models(Looking)
    token = PLACE.set("here")
    try:
        with call_scope(user="u7"):
            form(over(made), "Hi")
        assert PLACE.get() == "here"
    finally:
        PLACE.reset(token)
    seen = [look for model in made.values() for look in model.seen]
    assert [look[:2] for look in seen] == [("here", "u7")] * 3
    if form in (invoke, stream):
        assert threading.main_thread() not in {thread for *_, thread in seen}


@in_threads
def test_without_an_event_loop_they_are_asked_at_the_same_time(form: Form) -> None:
    together = threading.Barrier(3, timeout=10)

    class Waiting(ScriptedChat):
        def _next(self, *args: Any) -> Any:
            together.wait()
            return super()._next(*args)

    form(over(models(Waiting)), "Hi")


@every_form
@pytest.mark.parametrize(("strategy", "asks"), [(Everyone(), 3), (Everyone(2), 6), (Relay(), 4)])
def test_03_there_is_one_run_per_ask_below_the_routers_own(
    form: Form, strategy: Any, asks: int
) -> None:
    told = Runs()
    form(over(models(), strategy), "Hi", {"callbacks": [told]})
    ((key, _),) = [(k, run) for k, run in told.runs.items() if run["kind"] == "chain"]
    assert [run["parent"] for run in told.of("model")] == [key] * asks
    assert Counter(told.ended) == {("model", "end"): asks, ("chain", "end"): 1}
    assert told.order[-1] == key
    drafts = [run for run in told.of("model") if "router:draft" in run["tags"]]
    assert len(drafts) == 3 * (2 if asks == 6 else 1)


@every_form
def test_04_a_tracer_has_each_ask_as_a_child_of_the_router(form: Form) -> None:
    with collect_runs() as traced:
        form(over(models(), Relay()), "Hi")
    (root,) = traced.traced_runs
    assert [child.run_type for child in root.child_runs] == ["llm"] * 4
    assert all(child.end_time and child.trace_id == root.id for child in root.child_runs)


@every_form
def test_06_the_usage_of_all_is_counted(form: Form) -> None:
    with get_usage_metadata_callback() as counted:
        llm = over(models(), Relay())
        form(llm, "Hi")
    attempts = last(llm)["attempts"]
    assert set(counted.usage_metadata) == set(NAMES)
    for kind in ("input_tokens", "output_tokens"):
        told = sum(usage[kind] for usage in counted.usage_metadata.values())  # type: ignore[literal-required]
        assert told == sum(attempt["usage"][kind] for attempt in attempts) > 0


@every_form
def test_attempts_are_written_down_in_the_order_in_which_they_were_asked_for(form: Form) -> None:
    made = {
        name: ScriptedChat(model_name=name, delay_s=0.09 - 0.04 * place)
        for place, name in enumerate(NAMES)
    }
    llm = over(made, Relay())
    form(llm, "Hi")
    assert outcomes(last(llm)) == [(name, "answered") for name in (*NAMES, "large")]
    entry = last(llm)
    assert sum(a["seconds"] for a in entry["attempts"][:3]) > 0.14
    assert 0 <= entry["overhead_s"] < entry["seconds"]


@every_form
def test_one_that_fails_does_not_harm_the_others(form: Form) -> None:
    made = models()
    made["small"] = ScriptedChat(model_name="small", replies=[BUSY])
    made["large"] = ScriptedChat(model_name="large", replies=[ValueError("wrong key")])
    llm = over(made)
    assert form(llm, "Hi").response_metadata["router"]["candidate"] == "middle"
    assert [how for _, how in outcomes(last(llm))] == ["failed", "answered", "failed"]


@every_form
def test_all_that_fail_are_told_of_in_order(form: Form) -> None:
    with pytest.raises(AllCandidatesFailedError) as caught:
        form(over(models(replies=[BUSY])), "Hi")
    assert [name for name, _ in caught.value.errors] == list(NAMES)


@every_form
@pytest.mark.parametrize("one", NAMES)
@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), GraphBubbleUp("stop")])
def test_23_an_interrupt_inside_one_of_them_passes_through(
    form: Form, one: str, error: BaseException
) -> None:
    made = models()
    made[one] = ScriptedChat(model_name=one, replies=[error, "fine"])
    told = Runs()
    llm = over(made, budgets=[Budget(tokens=10**6)])
    with pytest.raises(type(error)) as caught:
        form(llm, "Hi", {"callbacks": [told]})
    assert caught.value is error
    assert nothing_held(llm)
    assert told.ended[-1] == ("chain", "error")
    assert last(llm)["outcome"] == ("failed" if isinstance(error, Exception) else "cancelled")
    assert form(llm, "Hi").text


@every_form
def test_the_deadline_is_over_all_of_them(form: Form) -> None:
    made = models()
    made["middle"] = ScriptedChat(model_name="middle", delay_s=5)
    made["large"] = ScriptedChat(model_name="large", delay_s=5)
    llm = over(made, policy=Policy(subject_to=[deadline_s(0.5)]))
    assert form(llm, "Hi").response_metadata["router"]["candidate"] == "small"
    entry = last(llm)
    assert [how for _, how in outcomes(entry)] == ["answered", "failed", "failed"]
    assert [a["error"] for a in entry["attempts"][1:]] == ["DeadlineExceededError"] * 2
    assert entry["seconds"] < 3
    assert llm.explain("Hi").resting == ()


@every_form
def test_where_all_are_too_late_the_deadline_is_what_is_raised(form: Form) -> None:
    llm = over(models(delay_s=5), policy=Policy(subject_to=[deadline_s(0.2)]))
    with pytest.raises(DeadlineExceededError):
        form(llm, "Hi")
    assert last(llm)["seconds"] < 3


@every_form
def test_a_step_that_took_all_the_time_leaves_none_for_the_next(form: Form) -> None:
    made = {name: ScriptedChat(model_name=name, delay_s=0.3) for name in NAMES}
    llm = over(made, Relay(), policy=Policy(subject_to=[deadline_s(0.45)]))
    with pytest.raises(DeadlineExceededError):
        form(llm, "Hi")
    assert [how for _, how in outcomes(last(llm))][:3] == ["answered"] * 3


@every_form
@pytest.mark.parametrize("per", ["call", "day"])
def test_they_share_one_budget_and_nobody_slips_through(form: Form, per: str) -> None:
    for _ in range(10):
        llm = over(models(), Everyone(2), budgets=[Budget(calls=4, per=per)])  # type: ignore[arg-type]
        form(llm, "Hi")
        assert Counter(how for _, how in outcomes(last(llm))) == {"answered": 4, "refused": 2}
        if per == "day":
            assert nothing_held(llm)
            assert standing(llm).spent.calls == 4


def test_calls_side_by_side_that_ask_side_by_side_keep_to_a_budget() -> None:
    llm = over(models(), Everyone(), budgets=[Budget(calls=20, per="day")])
    answers = llm.batch(["Hi"] * 10, return_exceptions=True)
    assert standing(llm).spent.calls == 20
    assert nothing_held(llm)
    asked = sum(how == "answered" for e in llm.ledger.entries() for _, how in outcomes(e))
    assert asked == 20
    assert len(answers) == 10


@pytest.mark.parametrize("asynchronous", [False, True])
def test_below_a_graphs_node_each_knows_the_graphs_config(asynchronous: bool) -> None:
    threads: list[Any] = []

    class Asking(ScriptedChat):
        def _next(self, *args: Any) -> Any:
            threads.append(get_config()["configurable"]["thread_id"])
            assert var_child_runnable_config.get() is not None
            return super()._next(*args)

    llm = over(models(Asking))

    def node(state: MessagesState) -> Any:
        return {"messages": [llm.invoke(state["messages"])]}

    async def anode(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("node", anode if asynchronous else node)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    graph: Any = builder.compile()
    given, config = {"messages": [("user", "Hi")]}, {"configurable": {"thread_id": "t1"}}
    if asynchronous:
        shown = asyncio.run(_collected(graph, given, config))
    else:
        shown = list(graph.stream(given, config, stream_mode="messages"))
    assert threads == ["t1"] * 3
    assert len(shown) == 1  # the answer, and nothing of the others


async def _collected(graph: Any, given: Any, config: Any) -> list[Any]:
    return [item async for item in graph.astream(given, config, stream_mode="messages")]


async def test_28_the_loop_goes_on_meanwhile() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await over(models(delay_s=0.3)).ainvoke("Hi")
    ticking.cancel()
    assert ticks > 10


def test_ainvoke_is_no_slower_than_the_slowest() -> None:
    llm = over(models(delay_s=0.3), Everyone(2))
    for form in (invoke, ainvoke):
        form(llm, "Hi")
        assert last(llm)["seconds"] < 1.2  # one after the other it would be 1.8
