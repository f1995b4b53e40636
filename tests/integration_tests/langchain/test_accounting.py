"""Tokens and money are exact, in every form of a call over real OpenAI clients.

The loopback server reports a usage that is known beforehand; the ledger, LangChain's own counter
and the catalogue of prices have to agree on it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable
from pydantic import ValidationError

from langchain_router import Budget, Candidate, ChatRouter, ChatRouterMiddleware
from shared_core import StreamInterruptedError
from shared_core.accounting.budgets.stores import Amounts
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import Choosing
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS, openai_chat
from tests.integration_tests.accounts import (
    KNOWN,
    LISTED,
    ODD,
    PRICE,
    declared_usd,
    entries,
    known,
    last,
    listed_usd,
    outcomes,
    standing,
    tokens,
)
from tests.integration_tests.cancelling import at_suspension
from tests.integration_tests.langchain.forms import (
    FORMS,
    City,
    Form,
    Way,
    plain,
    stream,
    weather,
    with_tool,
)

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS]
QUESTION = "Name a city."
TOOL_QUESTION: Any = {"messages": [("user", "Use the weather tool: how is it in Lisbon?")]}


def native(model: BaseChatModel) -> Runnable[Any, Any]:
    return model.with_structured_output(City, method="json_schema")


def by_tool(model: BaseChatModel) -> Runnable[Any, Any]:
    return model.with_structured_output(City, method="function_calling")


def raw(model: BaseChatModel) -> Runnable[Any, Any]:
    return model.with_structured_output(City, include_raw=True)


def events(model: Runnable[Any, Any], question: str, *args: Any) -> Any:
    """By LangChain's own stream object."""
    made: Any = model
    return made.stream_events(question, *args, version="v3").output


every_form = pytest.mark.parametrize("form", FORMS)
every_way = pytest.mark.parametrize("way", [plain, with_tool, native, by_tool, raw])
priced = pytest.mark.parametrize(
    ("terms", "usd"),
    [({"price": PRICE}, declared_usd), ({"listing": LISTED}, listed_usd)],
    ids=["declared", "listed"],
)


@pytest.fixture(autouse=True)
def _known(server: OpenAIServer) -> None:
    for model in server.models:
        server.report(model, KNOWN)


def routed(server: OpenAIServer, **settings: Any) -> ChatRouter:
    """A router over two clients of the server; `terms` are those of both candidates."""
    terms = settings.pop("terms", {"price": PRICE})
    settings.setdefault("predictor", Choosing())
    made = [Candidate(name, openai_chat(server, name), **terms) for name in server.models]
    return ChatRouter(made, **settings)


def counted(handler: Any) -> tuple[int, int, int, int]:
    """What LangChain's own counter saw, of all models."""
    used = list(handler.usage_metadata.values())
    return (
        sum(u["input_tokens"] for u in used),
        sum(u["output_tokens"] for u in used),
        sum(u["input_token_details"].get("cache_read", 0) for u in used),
        sum(u["output_token_details"].get("reasoning", 0) for u in used),
    )


@priced
@every_way
@pytest.mark.parametrize("form", [*FORMS, events])
def test_every_form_is_exact(
    form: Any, way: Way, terms: Any, usd: Any, server: OpenAIServer
) -> None:
    if form is events and way is not plain:
        pytest.skip("only a bare model has this form")
    llm = routed(server, terms=terms)
    with get_usage_metadata_callback() as handler:
        form(way(llm), QUESTION)
    (entry,) = entries(llm)
    assert tokens(llm) == counted(handler) == known()
    assert entry["cost_usd"] == pytest.approx(usd(), rel=1e-12)
    assert outcomes(entry) == [("small", "answered")]
    assert (entry["outcome"], entry["attempts"][0]["usage"]["free"]) == ("answered", False)


@priced
@every_form
def test_the_record_on_the_answer_is_the_entry(
    form: Form, terms: Any, usd: Any, server: OpenAIServer
) -> None:
    llm = routed(server, terms=terms)
    record = form(llm, QUESTION).response_metadata["router"]
    assert record["cost_usd"] == last(llm)["cost_usd"] == pytest.approx(usd(), rel=1e-12)
    assert record["decision_id"] == last(llm)["decision_id"]


@pytest.mark.parametrize("many", ["batch", "abatch", "generate", "agenerate"])
def test_each_question_of_many_is_an_entry(many: str, server: OpenAIServer) -> None:
    llm, questions = routed(server), list("abc")
    asked: list[Any] = [[("user", q)] for q in questions] if "generate" in many else questions
    given: Any = [llm._convert_input(q).to_messages() for q in asked]
    with get_usage_metadata_callback() as handler:
        made = getattr(llm, many)(given)
        if many.startswith("a"):
            asyncio.run(_awaited(made))
    assert len(entries(llm)) == 3
    assert tokens(llm) == counted(handler) == known(3)
    assert sum(entry["cost_usd"] for entry in entries(llm)) == pytest.approx(declared_usd(3))


async def _awaited(made: Any) -> None:
    await made


@every_form
def test_a_cached_input_is_cheaper_by_the_catalogue_alone(form: Form, server: OpenAIServer) -> None:
    costs = {}
    for cached in (0, 300):
        details = {"prompt_tokens_details": {"cached_tokens": cached}}
        server.report("small", {**KNOWN, **details})
        for label, terms in (("declared", {"price": PRICE}), ("listed", {"listing": LISTED})):
            llm = routed(server, terms=terms)
            form(llm, QUESTION)
            costs[label, cached] = last(llm)["cost_usd"]
    assert costs["declared", 0] == costs["declared", 300]
    assert costs["listed", 0] > costs["listed", 300] == pytest.approx(listed_usd(), rel=1e-12)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
@pytest.mark.parametrize("what", ODD)
@every_form
def test_what_cannot_be_a_usage_is_unknown_and_never_zero(
    form: Form, what: str, server: OpenAIServer
) -> None:
    server.report("small", ODD[what])
    llm = routed(server)
    with contextlib.suppress(ValidationError, StreamInterruptedError):  # words fit in no chunk
        assert form(llm, QUESTION).text
    (attempt,) = last(llm)["attempts"]
    assert (attempt["usage"], attempt["cost_usd"], last(llm)["cost_usd"]) == (None, None, None)


@every_form
def test_a_part_that_is_more_than_its_whole_is_left_out(form: Form, server: OpenAIServer) -> None:
    odd = {
        "prompt_tokens_details": {"cached_tokens": 9000},
        "completion_tokens_details": {"reasoning_tokens": 9000},
    }
    server.report("small", {**KNOWN, **odd})
    llm = routed(server, terms={"listing": LISTED})
    form(llm, QUESTION)
    read, wrote, *_ = known()
    assert tokens(llm) == (read, wrote, 0, 0)


@every_form
def test_a_stream_that_was_not_asked_for_its_usage_is_unknown(
    form: Form, server: OpenAIServer
) -> None:
    small = openai_chat(server, "small", stream_usage=False)
    llm = ChatRouter([Candidate("small", small, price=PRICE)])
    form(llm, QUESTION)
    streamed = "stream" in form.__name__
    assert tokens(llm) == ((0, 0, 0, 0) if streamed else known())
    assert (last(llm)["cost_usd"] is None) == streamed


@every_way
@every_form
def test_a_fallback_is_paid_and_the_refused_request_is_not(
    form: Form, way: Way, server: OpenAIServer
) -> None:
    server.script("small", [Fault("status", status=429)])
    llm = routed(server)
    with get_usage_metadata_callback() as handler:
        form(way(llm), QUESTION)
    entry = last(llm)
    assert outcomes(entry) == [("small", "failed"), ("large", "answered")]
    assert entry["candidate"] == "large"
    assert entry["attempts"][0]["cost_usd"] == 0.0
    assert entry["attempts"][0]["usage"] is None
    assert entry["cost_usd"] == pytest.approx(declared_usd(), rel=1e-12)
    assert tokens(llm) == counted(handler) == known()


@every_form
def test_a_refused_request_costs_nothing_where_each_request_is_paid(
    form: Form, server: OpenAIServer
) -> None:
    paid = "perplexity:sonar"  # by the request too
    server.script("small", [Fault("status", status=429)])
    llm = routed(server, terms={"listing": paid})
    form(llm, QUESTION)
    first, second = last(llm)["attempts"]
    assert first["cost_usd"] == 0.0
    assert second["cost_usd"] == pytest.approx(listed_usd(name=paid))
    assert second["cost_usd"] > 0.001


@every_way
@every_form
def test_a_call_that_fails_is_written_down_too(form: Form, way: Way, server: OpenAIServer) -> None:
    server.script("small", [Fault("status", status=401)])
    llm = routed(server)
    with pytest.raises(Exception, match="401"):
        form(way(llm), QUESTION)
    entry = last(llm)
    assert entry["outcome"] == "failed"
    assert outcomes(entry) == [("small", "failed")]
    assert entry["cost_usd"] == 0.0


@every_way
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_cancelled_call_is_of_unknown_cost(
    streamed: bool, way: Way, server: OpenAIServer
) -> None:
    server.script("small", [Fault("hang", after=2)])
    llm = routed(server)

    async def ask() -> None:
        model = way(llm)
        if not streamed:
            await model.ainvoke(QUESTION)
        async for _ in model.astream(QUESTION):
            pass

    task = asyncio.create_task(ask())
    async with asyncio.timeout(10):
        while not server.requests:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    entry = last(llm)
    assert (entry["outcome"], entry["cost_usd"]) == ("cancelled", None)
    assert outcomes(entry) == [("small", "cancelled")]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_stream_that_is_left_is_of_unknown_cost(
    asynchronous: bool, server: OpenAIServer
) -> None:
    llm = routed(server)
    if asynchronous:
        later: Any = llm.astream(QUESTION)
        async for chunk in later:
            if chunk.text:
                break
        await later.aclose()
    else:
        chunks = llm.stream(QUESTION)
        while not next(chunks).text:
            pass
        chunks.close()
    entry = last(llm)
    assert (entry["outcome"], entry["cost_usd"]) == ("cancelled", None)
    assert entry["attempts"][0]["usage"] is None


# --- agents ---


def agent_over(llm: ChatRouter, inside: bool) -> Any:
    return create_agent(llm, [weather], middleware=[ChatRouterMiddleware()] if inside else [])


@priced
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_each_step_of_an_agent_is_exact(
    how: str, inside: bool, terms: Any, usd: Any, server: OpenAIServer
) -> None:
    llm = routed(server, terms=terms)
    agent = agent_over(llm, inside)
    mode = {"stream_mode": "messages"} if "stream" in how else {}
    with get_usage_metadata_callback() as handler:
        if how == "invoke":
            agent.invoke(TOOL_QUESTION)
        elif how == "stream":
            list(agent.stream(TOOL_QUESTION, **mode))
        else:
            asyncio.run(_all_of(getattr(agent, how)(TOOL_QUESTION, **mode), how))
    assert len(entries(llm)) == 2
    assert tokens(llm) == counted(handler) == known(2)
    assert sum(e["cost_usd"] for e in entries(llm)) == pytest.approx(usd(2), rel=1e-12)
    assert {e["step"] for e in entries(llm)} == {"model"}


async def _all_of(made: Any, how: str) -> None:
    if how == "ainvoke":
        await made
        return
    async for _ in made:
        pass


@pytest.mark.parametrize("inside", [False, True])
def test_an_agents_step_that_falls_back_is_exact(inside: bool, server: OpenAIServer) -> None:
    server.script("small", [None, Fault("status", status=503)])
    llm = routed(server)
    with get_usage_metadata_callback() as handler:
        result = agent_over(llm, inside).invoke(TOOL_QUESTION)
    assert [outcomes(e) for e in entries(llm)] == [
        [("small", "answered")],
        [("small", "failed"), ("large", "answered")],
    ]
    assert tokens(llm) == counted(handler) == known(2)
    records = [_record(m) for m in result["messages"] if isinstance(m, AIMessage)]
    assert [r["cost_usd"] for r in records] == [e["cost_usd"] for e in entries(llm)]


def _record(message: BaseMessage) -> Any:
    return message.response_metadata["router"]


def test_a_router_inside_a_router_counts_once_each(server: OpenAIServer) -> None:
    inner = routed(server)
    outer = ChatRouter([Candidate("inner", inner, price=PRICE)])
    with get_usage_metadata_callback() as handler:
        stream(outer, QUESTION)
    assert tokens(inner) == tokens(outer) == counted(handler) == known()


# --- LangChain's own cache ---


@pytest.fixture
def _cache() -> Iterator[None]:
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(None)


@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("way", [plain, with_tool])
def test_what_langchains_cache_answers_is_free(
    way: Way, asynchronous: bool, server: OpenAIServer
) -> None:
    llm = routed(server, terms={"price": PRICE, "energy": (1, 2)}, budgets=Budget(usd=1, wh=9))
    for _ in range(2):
        if asynchronous:
            asyncio.run(way(llm).ainvoke(QUESTION))
        else:
            way(llm).invoke(QUESTION)
    assert len(server.requests) == 1
    paid, free = entries(llm)
    assert paid["cost_usd"] == pytest.approx(declared_usd())
    assert (free["cost_usd"], free["energy_wh"]["mid"]) == (0.0, 0.0)
    usages = [entry["attempts"][0]["usage"] for entry in (paid, free)]
    assert [usage.pop("free") for usage in usages] == [False, True]
    assert usages[0] == usages[1]
    assert tokens(llm) == known(2)
    now = standing(llm)
    assert now.spent.calls == 1
    assert now.spent.nano_usd == round(declared_usd() * 1e9)
    assert now.held == Amounts()


@pytest.mark.usefixtures("_cache")
def test_a_bare_models_cache_of_its_own_is_free_too() -> None:
    small = ScriptedChat(model_name="small", cache=InMemoryCache())
    llm = ChatRouter([Candidate("small", small, price=PRICE)], budgets=Budget(calls=1, usd=1))
    llm.invoke(QUESTION)
    held = standing(llm).spent
    assert held.calls == 1
    with pytest.raises(Exception, match="calls left"):  # nobody knows beforehand that it is free
        llm.invoke(QUESTION)


async def test_a_cancelled_call_leaves_one_entry_at_every_point() -> None:
    for point in range(1, 6):
        small = ScriptedChat(model_name="small", delay_s=0.01)
        llm = ChatRouter([Candidate("small", small, price=PRICE)], budgets=Budget(usd=1))
        task = await at_suspension(llm.ainvoke(QUESTION), point)
        assert len(entries(llm)) <= 1
        assert standing(llm).held == Amounts()
        if not task.cancelled():
            assert last(llm)["outcome"] == "answered"
            return
    raise AssertionError("it never ends")
