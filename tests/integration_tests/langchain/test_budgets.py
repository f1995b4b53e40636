"""Budgets through the chat model: what is held and sent, who is refused, what is given back."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.exceptions import ModelRateLimitError
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import SkipValidation

from langchain_router import (
    Budget,
    Budgets,
    Candidate,
    ChatRouter,
    ChatRouterMiddleware,
    Cooldown,
    Policy,
    call_scope,
)
from shared_core import (
    AllCandidatesFailedError,
    BudgetExceededError,
    NoCandidateError,
    StreamInterruptedError,
)
from shared_core.accounting.budgets.stores import NOTHING, Amounts, MemoryStore, Standing
from shared_core.types import Ask, Decision, Prompt, Steps
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import Choosing, FixedPredictor
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.script import Break
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS, openai_chat
from tests.integration_tests.accounts import (
    KNOWN,
    PRICE,
    declared_usd,
    entries,
    last,
    nothing_held,
    outcomes,
    standing,
    take,
)
from tests.integration_tests.cancelling import CUTS, Cut, cancel_everywhere, on_trial
from tests.integration_tests.langchain.forms import (
    FORMS,
    WAYS,
    Form,
    Way,
    ainvoke,
    invoke,
    plain,
    weather,
    with_tool,
)

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS]
QUESTION = "weather in Lisbon?"
TOOL_QUESTION: Any = {"messages": [("user", "Use the weather tool: how is it in Lisbon?")]}
DAY = Budget(usd=1, per="day")
BUSY = ModelRateLimitError("busy")

every_form = pytest.mark.parametrize("form", FORMS)
every_way = pytest.mark.parametrize("way", WAYS)


def routed(server: OpenAIServer, budgets: Any = DAY, **settings: Any) -> ChatRouter:
    """A router over two clients of the server, both at `PRICE`, which picks the small one."""
    settings.setdefault("predictor", Choosing())
    made = [Candidate(name, openai_chat(server, name), price=PRICE) for name in server.models]
    return ChatRouter(made, budgets=budgets, **settings)


def scripted(budgets: Any = DAY, price: Any = PRICE, **settings: Any) -> ChatRouter:
    """A router over two models in the process, which picks the small one."""
    settings.setdefault("predictor", Choosing())
    models = {name: ScriptedChat(model_name=name) for name in ("small", "large")}
    models |= settings.pop("models", {})
    made = [Candidate(name, model, price=price) for name, model in models.items()]
    return ChatRouter(made, budgets=budgets, **settings)


# --- what is held is what is sent ---


class During:
    """Answers as by default, and notes what is held while a request is on its way."""

    def __init__(self) -> None:
        self.llm: Any = None
        self.held: list[Amounts] = []

    def __call__(self, body: Any) -> None:
        self.held.append(standing(self.llm).held)


@every_way
@every_form
def test_the_longest_answer_that_is_held_is_what_the_server_is_told(
    form: Form, way: Way, server: OpenAIServer
) -> None:
    during = During()
    server.say("small", during)
    during.llm = llm = routed(server)
    form(way(llm), QUESTION)
    (sent,), (held,) = server.requests, during.held
    longest = sent["max_completion_tokens"]
    read = held.tokens - longest
    assert longest == 4096
    assert 0 < read < 2000
    assert held.nano_usd == pytest.approx((read * PRICE[0] + longest * PRICE[1]) * 1000, abs=1)
    assert held.calls == 1
    assert nothing_held(llm)


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
@every_way
@every_form
def test_the_callers_own_limit_is_held_and_sent(
    form: Form, way: Way, limit: str, server: OpenAIServer
) -> None:
    during = During()
    server.say("small", during)
    during.llm = llm = routed(server)
    form(way(llm), QUESTION, **{limit: 30})
    assert [r["max_completion_tokens"] for r in server.requests] == [30]
    assert "max_tokens" not in server.requests[0]
    assert during.held[0].nano_usd < 2000 * PRICE[0] * 1000 + 30 * PRICE[1] * 1000


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
@every_way
def test_a_candidates_own_limit_is_never_raised(way: Way, limit: str, server: OpenAIServer) -> None:
    for small in (
        openai_chat(server, "small").bind(**{limit: 50}),
        openai_chat(server, "small", **{limit: 50}),
        openai_chat(server, "small", max_tokens=90).bind(**{limit: 70}).bind(**{limit: 50}),
    ):
        llm = ChatRouter([Candidate("small", small, price=PRICE)], budgets=DAY)
        way(llm).invoke(QUESTION)
        way(llm).invoke(QUESTION, max_completion_tokens=30)
        way(llm).invoke(QUESTION, max_tokens=60)
    assert [r["max_completion_tokens"] for r in server.requests] == [50, 30, 50] * 3


def test_a_default_of_the_router_is_held_and_sent(server: OpenAIServer) -> None:
    llm = routed(server, max_tokens=40)
    llm.invoke(QUESTION)
    llm.invoke(QUESTION, max_tokens=20)
    assert [r["max_completion_tokens"] for r in server.requests] == [40, 20]


@every_way
@every_form
def test_one_answer_is_held_and_so_one_is_asked_for(
    form: Form, way: Way, server: OpenAIServer
) -> None:
    for small in (
        openai_chat(server, "small", n=8),
        openai_chat(server, "small").bind(n=8),
        openai_chat(server, "small"),
    ):
        llm = ChatRouter([Candidate("small", small, price=PRICE)], budgets=DAY)
        form(way(llm), QUESTION, **({} if small.n else {"n": 8}))
    assert [request.get("n") or 1 for request in server.requests] == [1, 1, 1]


@pytest.mark.parametrize(
    ("message", "params"),
    [
        (HumanMessage("Hi", name="n" * 9000), {}),
        ("Hi", {"response_format": {"type": "json_object", "description": "d" * 9000}}),
        ("Hi", {"functions": [{"name": "f", "description": "d" * 9000}]}),
    ],
)
def test_what_a_model_reads_besides_the_text_is_held_too(message: Any, params: Any) -> None:
    llm = scripted(Budget(tokens=9000, per="user"))
    with pytest.raises(BudgetExceededError, match="has 9,000 tokens left"):
        llm.invoke([message], **params)


@pytest.mark.parametrize("budget", [None, Budget(calls=9), Budget(usd=1, hard=False)])
@every_form
def test_without_a_budget_on_tokens_nothing_is_sent_that_was_not_asked_for(
    form: Form, budget: Any, server: OpenAIServer
) -> None:
    form(routed(server, budget), QUESTION)
    assert not {"max_tokens", "max_completion_tokens"} & set(server.requests[0])


@pytest.mark.parametrize("limit", [None, 30])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_agents_steps_are_held_and_sent(
    asynchronous: bool, limit: int | None, server: OpenAIServer
) -> None:
    llm = routed(server, max_tokens=limit)
    agent = create_agent(llm, [weather], middleware=[ChatRouterMiddleware()])
    if asynchronous:
        asyncio.run(agent.ainvoke(TOOL_QUESTION))
    else:
        agent.invoke(TOOL_QUESTION)
    assert [r["max_completion_tokens"] for r in server.requests] == [limit or 4096] * 2
    assert standing(llm).spent.calls == 2
    assert nothing_held(llm)


class OllamaLike(ScriptedChat):
    """Takes the limit of its answers as a field alone, like LangChain's `ChatOllama`."""

    num_predict: int | None = None

    def _next(self, method: str, messages: Any, stop: Any, kwargs: Any) -> Any:
        assert not {"max_tokens", "max_completion_tokens", "num_predict"} & set(kwargs)
        return super()._next(method, messages, stop, {**kwargs, "limit": self.num_predict})


@every_way
@every_form
def test_a_model_whose_limit_is_a_field_is_copied_with_it(form: Form, way: Way) -> None:
    small = OllamaLike(model_name="small")
    llm = ChatRouter([Candidate("small", small, price=PRICE)], budgets=DAY)
    form(way(llm), QUESTION)
    form(way(llm), QUESTION, max_tokens=30)
    assert [call.kwargs["limit"] for call in small.calls] == [4096, 30]
    assert small.num_predict is None
    bound = ChatRouter([Candidate("small", small.bind(stop=["x"]), price=PRICE)], budgets=DAY)
    form(way(bound), QUESTION)
    assert (small.calls[-1].kwargs["limit"], small.calls[-1].kwargs["stop"]) == (4096, ["x"])


def test_such_a_model_of_an_agent_is_copied_too() -> None:
    small = OllamaLike(model_name="small", num_predict=70)
    llm = ChatRouter([Candidate("small", small, price=PRICE)], budgets=DAY)
    create_agent(llm, [weather], middleware=[ChatRouterMiddleware()]).invoke(TOOL_QUESTION)
    assert [call.kwargs["limit"] for call in small.calls] == [70, 70]


# --- near the limit, at the limit ---

TERMS = {"small": (1.0, 2.0), "large": (10.0, 20.0)}


def better_is_dearer(budgets: Any, **settings: Any) -> ChatRouter:
    models = {name: ScriptedChat(model_name=name) for name in TERMS}
    made = [Candidate(name, model, price=TERMS[name]) for name, model in models.items()]
    predictor = FixedPredictor({"small": 0.6, "large": 0.9})
    return ChatRouter(made, budgets=budgets, predictor=predictor, **settings)


@every_way
@every_form
def test_near_the_limit_the_cheaper_one_answers_and_it_is_said(form: Form, way: Way) -> None:
    llm = better_is_dearer(Budget(usd=10, per="day", near=0.5))
    form(way(llm), QUESTION)
    take(llm, "somebody", 9.0)
    form(way(llm), QUESTION)
    before, after = entries(llm)
    assert (before["candidate"], after["candidate"]) == ("large", "small")
    assert "is used or held" not in before["reason"]
    assert "90% of 10 USD per day is used or held, so δ is" in after["reason"]
    assert after["delta"] > before["delta"]


def test_a_soft_budget_makes_thrifty_and_refuses_nobody() -> None:
    llm = better_is_dearer(Budget(usd=10, per="day", hard=False))
    take(llm, "somebody", 50.0)
    llm.invoke(QUESTION)
    assert last(llm)["candidate"] == "small"
    assert last(llm)["delta"] == 1.0


def refused(error: BudgetExceededError) -> None:
    assert error.budget == "1 USD per day"
    assert error.left == {"USD": 0.0}
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tomorrow += timedelta(days=1)
    assert error.resets_at == tomorrow.timestamp()
    assert f"it resets at {tomorrow:%Y-%m-%d} 00:00 UTC" in str(error)
    assert {refusal.candidate for refusal in error.refusals} == {"small", "large"}
    assert "of 1 USD per day 0 is left" in str(error)


@every_way
@every_form
def test_at_the_limit_nobody_is_asked(form: Form, way: Way, server: OpenAIServer) -> None:
    llm = routed(server)
    take(llm, "somebody", 1.0)
    with pytest.raises(BudgetExceededError) as caught:
        form(way(llm), QUESTION)
    refused(caught.value)
    assert server.requests == []
    assert standing(llm) == Standing(Amounts(1_000_000_000, 0, 0, 1), NOTHING)


def chain(llm: ChatRouter) -> Runnable[Any, Any]:
    return ChatPromptTemplate.from_messages([("user", "{text}")]) | llm | StrOutputParser()


def graph(llm: ChatRouter) -> Runnable[Any, Any]:
    made = StateGraph(MessagesState).add_node("ask", lambda s: {"messages": [llm.invoke("Hi")]})
    return made.add_edge(START, "ask").add_edge("ask", END).compile()


def agent(llm: ChatRouter) -> Runnable[Any, Any]:
    return create_agent(llm, [weather])


def routed_agent(llm: ChatRouter) -> Runnable[Any, Any]:
    return create_agent(llm, [weather], middleware=[ChatRouterMiddleware()])


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("stack", [chain, graph, agent, routed_agent])
def test_at_the_limit_the_error_comes_through_every_stack(stack: Any, asynchronous: bool) -> None:
    llm = scripted()
    take(llm, "somebody", 1.0)
    asked: Any = {"text": "Hi"} if stack is chain else {"messages": [("user", "Hi")]}
    form = ainvoke if asynchronous else invoke
    with pytest.raises(BudgetExceededError) as caught:
        form(stack(llm), asked)
    refused(caught.value)
    assert nothing_held(llm)


def test_langchains_own_fallback_takes_over_at_the_limit() -> None:
    llm, spare = scripted(), ScriptedChat(model_name="spare")
    take(llm, "somebody", 1.0)
    with_spare = llm.with_fallbacks([spare], exceptions_to_handle=(BudgetExceededError,))
    assert with_spare.invoke("Hi").text.startswith("spare")


def test_a_short_rest_makes_answers_shorter_but_not_those_that_were_asked_for(
    server: OpenAIServer,
) -> None:
    llm = routed(server, Budget(usd=0.01))
    llm.invoke(QUESTION)
    (sent,) = server.requests
    assert 64 < sent["max_completion_tokens"] < 0.01 / (PRICE[1] * 1e-6)
    with pytest.raises(BudgetExceededError):
        llm.invoke(QUESTION, max_tokens=4000)


# --- what is given back ---


@every_way
@every_form
@pytest.mark.parametrize("status", [401, 500])
def test_a_failed_call_is_given_back(
    status: int, form: Form, way: Way, server: OpenAIServer
) -> None:
    for model in server.models:
        server.script(model, [Fault("status", status=status)])
    llm = routed(server)
    with pytest.raises(Exception, match=str(status)):
        form(way(llm), QUESTION)
    assert standing(llm) == Standing(NOTHING, NOTHING)


@every_way
@every_form
def test_a_call_that_falls_back_is_charged_once(form: Form, way: Way, server: OpenAIServer) -> None:
    server.report("large", KNOWN)
    server.script("small", [Fault("status", status=503)])
    llm = routed(server)
    form(way(llm), QUESTION)
    assert standing(llm).spent == Amounts(round(declared_usd() * 1e9), 0, 1270, 1)
    assert nothing_held(llm)


@every_form
def test_an_interrupt_is_given_back(form: Form) -> None:
    llm = scripted(models={"small": ScriptedChat(replies=[KeyboardInterrupt("stop")])})
    with pytest.raises(KeyboardInterrupt):
        form(llm, QUESTION)
    assert standing(llm) == Standing(NOTHING, NOTHING)


async def whole(model: Runnable[Any, Any]) -> Any:
    return await model.ainvoke(QUESTION)


async def streamed(model: Runnable[Any, Any]) -> Any:
    return [chunk async for chunk in model.astream(QUESTION)]


class SlowStore(MemoryStore):
    """In memory, and asked in a thread, as those on a disk are."""

    slow = True


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
@every_way
@pytest.mark.parametrize("ask", [whole, streamed])
async def test_a_call_cancelled_anywhere_leaves_no_hold(
    ask: Any, way: Way, store: Any, cut: Cut
) -> None:
    made: list[ChatRouter] = []

    def begin() -> Any:
        made.append(scripted(Budgets(Budget(usd=1, calls=9), store=store())))
        return ask(way(made[-1])), lambda: None

    assert await cancel_everywhere(begin, cut) >= 2
    async with asyncio.timeout(10):  # a thread that was left behind gives back what it holds
        while not all(map(nothing_held, made)):  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@every_way
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_stream_that_is_left_pays_for_what_it_showed(
    asynchronous: bool, way: Way, server: OpenAIServer
) -> None:
    model: Any = way(llm := routed(server, Budget(usd=1, per="day")))
    if asynchronous:
        later = model.astream(QUESTION)
        async for chunk in later:
            if not isinstance(chunk, AIMessage) or chunk.content or chunk.tool_call_chunks:
                break
        await later.aclose()
        await asyncio.sleep(0.1)  # the binding that `bind_tools` returned closes late
    else:
        chunks = model.stream(QUESTION)
        for chunk in chunks:
            if not isinstance(chunk, AIMessage) or chunk.content or chunk.tool_call_chunks:
                break
        chunks.close()
    (attempt,) = last(llm)["attempts"]
    spent = standing(llm).spent
    assert nothing_held(llm)
    assert spent.calls == 1
    assert attempt["cost_usd"] is None or attempt["outcome"] == "answered"
    if attempt["outcome"] == "cancelled":
        assert attempt["cost_usd_high"] == pytest.approx(spent.nano_usd / 1e9)
        longest = server.requests[0]["max_completion_tokens"]
        # A token has a byte at least; nobody counts the tokens of a tool call for us.
        assert (spent.tokens > longest) == (way is with_tool)
        assert spent.tokens < longest + 1000


@every_form
def test_a_stream_that_breaks_off_pays_for_what_it_showed(form: Form) -> None:
    broken = Break(BUSY, after=2, reply=["Hel", "lo", " world"])
    llm = scripted(models={"small": ScriptedChat(replies=[broken])})
    if "stream" in form.__name__:
        with pytest.raises(StreamInterruptedError) as caught:
            form(llm, QUESTION)
        assert (caught.value.partial, caught.value.__cause__) == ("Hello", BUSY)
        assert standing(llm).spent.calls == 1
        assert 0 < standing(llm).spent.tokens < 200
        assert last(llm)["attempts"][0]["cost_usd_high"] > 0
    else:
        form(llm, QUESTION)
        assert outcomes(last(llm)) == [("small", "failed"), ("large", "answered")]
        assert standing(llm).spent.calls == 1
    assert nothing_held(llm)


@pytest.mark.parametrize("report", [None, {}])
@every_way
@every_form
def test_an_answer_of_unknown_usage_is_charged_at_its_most(
    form: Form, way: Way, report: Any, server: OpenAIServer
) -> None:
    server.report("small", report)
    llm = routed(server)
    form(way(llm), QUESTION, max_tokens=500)
    (attempt,), spent = last(llm)["attempts"], standing(llm).spent
    assert attempt["cost_usd"] is None
    assert attempt["cost_usd_high"] == pytest.approx(spent.nano_usd / 1e9)
    assert (spent.tokens > 500) == (way is not plain)  # a text bounds its own tokens
    assert spent.tokens > 0
    assert nothing_held(llm)


# --- whose money ---

KEYS = ("user", "thread", "tenant", "run")


@pytest.mark.parametrize("key", KEYS)
@every_form
def test_each_has_an_account_of_its_own(form: Form, key: str) -> None:
    llm = scripted(Budget(calls=1, per=key))
    with call_scope(**{key: "a"}):  # type: ignore[arg-type]
        form(llm, QUESTION)
        with pytest.raises(BudgetExceededError, match=f"1 call per {key} has 0 calls left"):
            form(llm, QUESTION)
    form(llm, QUESTION, {"configurable": {key: "b"}})
    with pytest.raises(BudgetExceededError):
        form(llm, QUESTION, {"configurable": {key: "b"}})
    form(llm, QUESTION)  # nobody is somebody too
    assert [standing(llm, **{key: who}).spent.calls for who in "abc"] == [1, 1, 0]
    assert standing(llm).spent.calls == 1
    assert [entry[key] for entry in entries(llm)] == ["a", "b", None]


def test_two_keys_together_are_one_account() -> None:
    llm = scripted(Budget(calls=1, per=("user", "day")))
    for user in "ab":
        llm.invoke(QUESTION, {"configurable": {"user": user}})
        with pytest.raises(BudgetExceededError):
            llm.invoke(QUESTION, {"configurable": {"user": user}})


def test_langgraphs_thread_and_node_are_the_thread_and_the_step() -> None:
    llm = scripted([Budget(calls=2, per="thread"), Budget(usd=1)])

    def ask(state: MessagesState) -> Any:
        return {"messages": [llm.invoke(state["messages"])]}

    made = StateGraph(MessagesState).add_node("draft", ask).add_node("review", ask)
    made.add_edge(START, "draft").add_edge("draft", "review").add_edge("review", END)
    app, asked = made.compile(), {"messages": [("user", "Hi")]}
    app.invoke(asked, {"configurable": {"thread_id": 7}})
    assert [(e["thread"], e["step"]) for e in entries(llm)] == [("7", "draft"), ("7", "review")]
    with pytest.raises(BudgetExceededError):
        app.invoke(asked, {"configurable": {"thread_id": 7}})  # type: ignore[arg-type]
    app.invoke(asked, {"configurable": {"thread_id": 8}})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "twin",
    [
        lambda llm: llm.with_policy(Policy(quality=1)),
        copy.copy,
        copy.deepcopy,
        lambda llm: llm.model_copy(deep=True),
    ],
    ids=["with_policy", "copy", "deepcopy", "model_copy"],
)
def test_copies_spend_the_same_money(twin: Callable[[ChatRouter], ChatRouter]) -> None:
    llm = scripted(Budget(calls=2, per="day"))
    other = twin(llm)
    llm.invoke(QUESTION)
    other.invoke(QUESTION)
    for one in (llm, other):
        with pytest.raises(BudgetExceededError):
            one.invoke(QUESTION)
        assert standing(one).spent.calls == 2
    assert len(entries(llm)) == 2
    assert entries(llm) == entries(other)


def test_a_copy_with_a_budget_of_its_own_spends_that() -> None:
    llm = scripted(Budget(calls=1))
    other = llm.model_copy(update={"budgets": Budget(calls=1)})
    llm.invoke(QUESTION)
    other.invoke(QUESTION)
    assert standing(llm).spent.calls == standing(other).spent.calls == 1


# --- what nobody knows the price of ---


@every_way
@every_form
def test_an_unknown_price_is_refused_and_it_is_said_what_to_declare(form: Form, way: Way) -> None:
    llm = scripted(price=None)
    with pytest.raises(NoCandidateError) as caught:
        form(way(llm), QUESTION)
    assert not isinstance(caught.value, BudgetExceededError)
    wanted = "small: its price is unknown, and there is a budget of 1 USD per day: declare price="
    assert wanted in str(caught.value)
    assert "unknown='worst'" in str(caught.value)
    assert standing(llm) == Standing(NOTHING, NOTHING)


@every_form
def test_an_unknown_price_may_count_as_the_worst(form: Form) -> None:
    small, large = (ScriptedChat(model_name=name) for name in ("small", "large"))
    made = [Candidate("small", small), Candidate("large", large, price=PRICE)]
    budget = Budget(usd=1, unknown="worst")
    llm = ChatRouter(made, budgets=budget, predictor=Choosing())
    form(llm, QUESTION)
    (attempt,), spent = last(llm)["attempts"], standing(llm).spent
    assert attempt["usage"]["input_tokens"] > 0
    assert attempt["cost_usd"] is None
    assert last(llm)["cost_usd"] is None
    assert attempt["cost_usd_high"] == pytest.approx(spent.nano_usd / 1e9)
    assert spent.nano_usd > 4096 * PRICE[1] * 1000  # the most it could take, at the dearest price
    assert nothing_held(llm)


def test_worst_of_nothing_known_is_refused_too() -> None:
    with pytest.raises(NoCandidateError, match="its price is unknown"):
        scripted(Budget(usd=1, unknown="worst"), price=None).invoke(QUESTION)


def test_an_unknown_energy_is_refused_and_it_is_said_what_to_declare() -> None:
    with pytest.raises(NoCandidateError, match=r"its energy is unknown.*declare energy="):
        scripted(Budget(wh=1)).invoke(QUESTION)


# --- fallbacks, trials, asks side by side ---


@every_way
@every_form
def test_a_fallback_is_refused_by_the_budget_too(form: Form, way: Way) -> None:
    def spends_all(_: Any) -> Any:
        take(llm, "somebody", 1.0)
        return BUSY

    large = ScriptedChat(model_name="large")
    small = ScriptedChat(model_name="small", replies=[spends_all])
    llm = scripted(models={"small": small, "large": large})
    with pytest.raises(AllCandidatesFailedError) as caught:
        form(way(llm), QUESTION)
    assert [type(e) for _, e in caught.value.errors] == [ModelRateLimitError, BudgetExceededError]
    assert large.calls == []
    assert outcomes(last(llm)) == [("small", "failed"), ("large", "refused")]
    assert last(llm)["attempts"][1]["cost_usd"] == 0.0
    assert standing(llm).spent.calls == 1
    assert nothing_held(llm)


def test_a_budget_per_call_holds_over_all_attempts() -> None:
    large = ScriptedChat(model_name="large")
    broken = ScriptedChat(replies=[Break(BUSY, after=1, reply=["", "Hello"])])
    llm = scripted(Budget(tokens=200, per="call"), models={"small": broken, "large": large})
    assert invoke(llm, "Hi", max_tokens=50).text
    with pytest.raises(BudgetExceededError, match=r"200 tokens per call has 200 tokens left"):
        llm.invoke("Hi", max_tokens=500)


@every_form
def test_a_trial_that_a_budget_refuses_is_the_next_ones(form: Form) -> None:
    llm = scripted(Budget(calls=1, per="day"), models={"large": ScriptedChat()})
    on_trial(llm, "small")
    real = llm.budgets.store

    class Full(MemoryStore):
        """Has room when it is asked for its standing, and none any more a moment later."""

        def standings(self, accounts: Any) -> Any:
            return [Standing(NOTHING, NOTHING) for _ in accounts]

        def reserve(self, *args: Any) -> Any:
            return 0

    llm.budgets.store = Full()
    with pytest.raises(BudgetExceededError):
        form(llm, QUESTION)
    llm.budgets.store = real
    assert llm.explain(QUESTION).resting == ()
    form(llm, QUESTION)
    assert last(llm)["candidate"] == "small"


class Both:
    """Asks both side by side and takes the first reply that is an answer."""

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        names = (decision.candidate, *decision.fallbacks)
        replies = yield tuple(Ask(name, visible=False) for name in names)
        return next(reply for reply in replies if reply.error is None)


@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
@pytest.mark.parametrize("ask", [whole, streamed])
async def test_asks_side_by_side_are_all_charged(ask: Any, store: Any) -> None:
    llm = scripted(Budgets(Budget(usd=1, per="day"), store=store()), strategy=Both())
    for _ in range(20):
        await ask(llm)
    assert standing(llm).spent.calls == 40
    assert nothing_held(llm)
    total = sum(a["cost_usd"] for e in entries(llm) for a in e["attempts"])
    assert standing(llm).spent.nano_usd == pytest.approx(total * 1e9, abs=40)


class Hesitant(SlowStore):
    """Takes its time, in which another attempt of the same call may come."""

    def reserve(self, *args: Any) -> Any:
        threading.Event().wait(0.05)
        return super().reserve(*args)


@pytest.mark.parametrize("ask", [whole, streamed])
async def test_asks_side_by_side_never_overshoot_what_one_call_may_take(ask: Any) -> None:
    budgets = Budgets(Budget(calls=1, per="call"), Budget(usd=1), store=Hesitant())
    llm = scripted(budgets, strategy=Both())
    await ask(llm)
    assert sorted(outcome for _, outcome in outcomes(last(llm))) == ["answered", "refused"]
    assert standing(llm).spent.calls == 1


# --- races ---


class Gated(ScriptedChat):
    """Answers once all who were refused have been: everybody admitted is under way at once.

    Attributes:
        may_answer: Whether it may.
        asked: How often it was.
    """

    may_answer: SkipValidation[Callable[[], bool]]
    asked: SkipValidation[list[int]]

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append(1)
        while not self.may_answer():
            threading.Event().wait(0.001)
        return super()._generate(*args, **kwargs)

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append(1)
        while not self.may_answer():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        return await super()._agenerate(*args, **kwargs)


ROOM = 7
MOST = 100
"""Output tokens of each call."""


class Race:
    """Calls of which only some find room.

    Attributes:
        llm: A router over one model that answers when everybody has been decided on.
        refusals: How many were refused.
    """

    def __init__(self, budgets: Any, callers: int, price: Any = PRICE) -> None:
        self.refusals: list[BudgetExceededError] = []
        self.asked: list[int] = []
        small = Gated(
            may_answer=lambda: len(self.refusals) + len(self.asked) >= callers, asked=self.asked
        )
        self.llm = ChatRouter(
            [Candidate("small", small, price=price)], budgets=budgets, cooldown=Cooldown(failures=0)
        )
        self.callers = callers

    def call(self) -> None:
        try:
            self.llm.invoke(QUESTION, max_tokens=MOST)
        except BudgetExceededError as error:
            self.refusals.append(error)

    async def acall(self) -> None:
        try:
            await self.llm.ainvoke(QUESTION, max_tokens=MOST)
        except BudgetExceededError as error:
            self.refusals.append(error)

    def run(self, asynchronous: bool) -> None:
        if asynchronous:
            asyncio.run(self._gathered())
            return
        threads = [threading.Thread(target=self.call) for _ in range(self.callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    async def _gathered(self) -> None:
        await asyncio.gather(*(self.acall() for _ in range(self.callers)))


def most_of_a_call() -> Amounts:
    """What one call holds."""
    llm = scripted()
    prompt = llm._request(QUESTION, {}, None, {"max_tokens": MOST}).prompt
    most = llm._router.books.most(prompt, 0.0)
    assert most is not None
    return most.amounts("small", MOST)


def room_for(amount: Amounts, calls: int, unit: str) -> Budget:
    if unit == "usd":
        return Budget(usd=calls * amount.nano_usd / 1e9, per="day", near=1)
    if unit == "tokens":
        return Budget(tokens=calls * amount.tokens, per="day", near=1)
    return Budget(calls=calls, per="day", near=1)


@pytest.mark.parametrize("unit", ["calls", "usd", "tokens"])
@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
@pytest.mark.parametrize(("asynchronous", "callers"), [(True, 1000), (False, 64)])
def test_overshoot_never_happens_and_exactly_those_with_room_are_admitted(
    asynchronous: bool, callers: int, store: Any, unit: str
) -> None:
    budget = room_for(most_of_a_call(), ROOM, unit)
    race = Race(Budgets(budget, store=store()), callers)
    race.run(asynchronous)
    assert len(race.asked) == ROOM
    assert len(race.refusals) == callers - ROOM
    now = standing(race.llm)
    assert now.held == NOTHING
    assert now.spent.calls == ROOM
    for spent, limit in zip(now.spent, budget.limits, strict=True):
        assert limit is None or 0 < spent <= limit
    answered = [e for e in entries(race.llm) if e["outcome"] == "answered"]
    assert len(answered) == ROOM
    assert sum(e["cost_usd"] for e in answered) == pytest.approx(now.spent.nano_usd / 1e9, rel=1e-3)


@pytest.mark.parametrize(("asynchronous", "callers"), [(True, 1000), (False, 64)])
def test_overshoot_never_happens_while_calls_come_and_go(asynchronous: bool, callers: int) -> None:
    budget = room_for(most_of_a_call(), ROOM, "usd")
    race = Race(budget, 0)  # nobody waits for anybody
    race.callers = callers
    race.run(asynchronous)
    now, limit = standing(race.llm), budget.limits[0]
    assert limit is not None
    assert now.held == NOTHING
    assert len(race.asked) + len(race.refusals) == callers
    assert len(race.asked) == now.spent.calls >= ROOM
    assert 0 < now.spent.nano_usd <= limit
