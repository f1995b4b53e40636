"""Tokens and money are exact, in every form of a call over real OpenAI clients.

The loopback server reports a usage that is known beforehand; the ledger, LlamaIndex's own counters
and the catalogue of prices have to agree on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from llama_index.core import Document, Settings, SummaryIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import ChatMessage, LLMMetadata
from llama_index.core.memory import ChatMemoryBuffer

from llamaindex_router import Candidate, RouterLLM
from tests.fakes.core import Choosing
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.integration_tests.accounts import (
    KNOWN,
    LISTED,
    ODD,
    PRICE,
    READ,
    WROTE,
    declared_usd,
    entries,
    known,
    last,
    listed_usd,
    outcomes,
    tokens,
)
from tests.integration_tests.llamaindex.forms import (
    FORMS,
    QUESTION,
    RECORDED,
    STREAMED,
    Form,
    client,
    weather,
)
from tests.integration_tests.llamaindex.scripted import ScriptedLLM

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.fakes.llms import ScriptedTextLLM  # isort: skip

every_form = pytest.mark.parametrize("form", FORMS)
priced = pytest.mark.parametrize(
    ("terms", "usd"),
    [({"price": PRICE}, declared_usd), ({"listing": LISTED}, listed_usd)],
    ids=["declared", "listed"],
)


@pytest.fixture(autouse=True)
def _known(server: OpenAIServer) -> None:
    for model in server.models:
        server.report(model, KNOWN)


def routed(server: OpenAIServer, **settings: Any) -> RouterLLM:
    """A router over two clients of the server; `terms` are those of both candidates."""
    terms = settings.pop("terms", {"price": PRICE})
    extra = settings.pop("client", {})
    settings.setdefault("predictor", Choosing())
    made = [Candidate(name, client(server, name, **extra), **terms) for name in server.models]
    return RouterLLM(made, **settings)


def asked(form: Form, llm: Any, **kwargs: Any) -> Any:
    """A call whose stream reports its usage, as OpenAI does for those who ask for it."""
    if form in STREAMED:
        kwargs["stream_options"] = {"include_usage": True}
    return form(llm, **kwargs)


class Ended(BaseEventHandler):
    """The responses with which calls of models have ended."""

    responses: list[Any] = []  # noqa: RUF012

    def handle(self, event: Any, **kwargs: Any) -> None:
        if event.class_name() in ("LLMChatEndEvent", "LLMCompletionEndEvent"):
            self.responses.append(event.response)


@contextmanager
def listening() -> Iterator[list[Any]]:
    handler, dispatcher = Ended(responses=[]), get_dispatcher()
    dispatcher.add_event_handler(handler)
    try:
        yield handler.responses
    finally:
        dispatcher.event_handlers.remove(handler)


def seen(responses: list[Any]) -> tuple[int, int, int, int]:
    """The tokens of responses, read out of what OpenAI's client made of them."""
    used = [response.raw.usage for response in responses]
    return (
        sum(u.prompt_tokens for u in used),
        sum(u.completion_tokens for u in used),
        sum(u.prompt_tokens_details.cached_tokens for u in used),
        sum(u.completion_tokens_details.reasoning_tokens for u in used),
    )


@priced
@every_form
def test_every_form_is_exact(form: Form, terms: Any, usd: Any, server: OpenAIServer) -> None:
    llm, counter = routed(server, terms=terms), TokenCountingHandler(tokenizer=str.split)
    llm.callback_manager = CallbackManager([counter])
    with listening() as responses:
        asked(form, llm)
    (entry,) = entries(llm)
    assert tokens(llm) == seen(responses) == known()
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (READ, WROTE)
    assert entry["cost_usd"] == pytest.approx(usd(), rel=1e-12)
    assert outcomes(entry) == [("small", "answered")]
    assert (entry["outcome"], entry["attempts"][0]["usage"]["free"]) == ("answered", False)


@priced
@pytest.mark.parametrize("form", RECORDED)
def test_the_record_on_the_answer_is_the_entry(
    form: Form, terms: Any, usd: Any, server: OpenAIServer
) -> None:
    llm = routed(server, terms=terms)
    record = asked(form, llm).additional_kwargs["router"]
    assert record["cost_usd"] == last(llm)["cost_usd"] == pytest.approx(usd(), rel=1e-12)
    assert record["decision_id"] == last(llm)["decision_id"]


@every_form
def test_a_cached_input_is_cheaper_by_the_catalogue_alone(form: Form, server: OpenAIServer) -> None:
    costs = {}
    for cached in (0, 300):
        details = {"prompt_tokens_details": {"cached_tokens": cached}}
        server.report("small", {**KNOWN, **details})
        for label, terms in (("declared", {"price": PRICE}), ("listed", {"listing": LISTED})):
            llm = routed(server, terms=terms)
            asked(form, llm)
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
    asked(form, llm)
    (attempt,) = last(llm)["attempts"]
    assert (attempt["usage"], attempt["cost_usd"], last(llm)["cost_usd"]) == (None, None, None)


@every_form
def test_a_stream_that_was_not_asked_for_its_usage_is_unknown(
    form: Form, server: OpenAIServer
) -> None:
    llm = routed(server)
    form(llm)
    assert tokens(llm) == ((0, 0, 0, 0) if form in STREAMED else known())
    assert (last(llm)["cost_usd"] is None) == (form in STREAMED)


@every_form
def test_a_fallback_is_paid_and_the_refused_request_is_not(
    form: Form, server: OpenAIServer
) -> None:
    server.script("small", [Fault("status", status=429)])
    llm = routed(server)
    with listening() as responses:
        asked(form, llm)
    entry = last(llm)
    assert outcomes(entry) == [("small", "failed"), ("large", "answered")]
    assert entry["attempts"][0]["cost_usd"] == 0.0
    assert entry["attempts"][0]["usage"] is None
    assert entry["cost_usd"] == pytest.approx(declared_usd(), rel=1e-12)
    assert tokens(llm) == seen([r for r in responses if r is not None]) == known()


@every_form
def test_a_call_that_fails_is_written_down_too(form: Form, server: OpenAIServer) -> None:
    server.script("small", [Fault("status", status=401)])
    llm = routed(server)
    with pytest.raises(Exception, match="401"):
        form(llm)
    assert last(llm)["outcome"] == "failed"
    assert outcomes(last(llm)) == [("small", "failed")]
    assert last(llm)["cost_usd"] == 0.0


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_cancelled_call_is_of_unknown_cost(streamed: bool, server: OpenAIServer) -> None:
    server.script("small", [Fault("hang", after=2)])
    llm = routed(server)

    async def ask() -> None:
        if not streamed:
            await llm.acomplete(QUESTION)
        async for _ in await llm.astream_complete(QUESTION):
            pass

    task = asyncio.create_task(ask())
    async with asyncio.timeout(10):
        while not server.requests:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (last(llm)["outcome"], last(llm)["cost_usd"]) == ("cancelled", None)
    assert outcomes(last(llm)) == [("small", "cancelled")]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_stream_that_is_left_is_of_unknown_cost(
    asynchronous: bool, server: OpenAIServer
) -> None:
    llm = routed(server)
    if asynchronous:
        later: Any = await llm.astream_complete(QUESTION)
        async for part in later:
            if part.text:
                break
        await later.aclose()
    else:
        parts: Any = llm.stream_complete(QUESTION)
        while not next(parts).text:
            pass
        parts.close()
    assert (last(llm)["outcome"], last(llm)["cost_usd"]) == ("cancelled", None)
    assert last(llm)["attempts"][0]["usage"] is None


# --- calls that are more than one event ---

STRUCTURED = [form for form in FORMS if "structured" in form.__name__]


class ChatsByCompleting(ScriptedTextLLM):
    """A completion LLM that calls itself a chat model: each chat is a completion too."""

    @property
    def metadata(self) -> LLMMetadata:
        return self._metadata(is_chat_model=True, is_function_calling_model=False)


@pytest.mark.parametrize("form", STRUCTURED)
def test_a_chat_that_is_made_of_a_completion_is_counted_once(form: Form) -> None:
    said, usage = '{"name": "Oslo", "country": "Norway"}', {"prompt_tokens": 10}
    model = ChatsByCompleting(replies=[said], usage={**usage, "completion_tokens": 5})
    inner = RouterLLM([Candidate("small", model, price=PRICE)])
    for llm in (inner, RouterLLM([Candidate("inner", inner, price=PRICE)])):
        form(llm)
        assert last(llm)["attempts"][0]["usage"]["input_tokens"] == 10
        assert last(llm)["attempts"][0]["usage"]["output_tokens"] == 5


@every_form
def test_a_router_inside_a_router_counts_once_each(form: Form, server: OpenAIServer) -> None:
    inner = routed(server)
    outer = RouterLLM([Candidate("inner", inner, price=PRICE)])
    asked(form, outer)
    assert tokens(inner) == tokens(outer) == known()


# --- engines and agents ---

TOOL_QUESTION = "Use the weather tool: how is it in Lisbon?"
REPORTING = {"additional_kwargs": {"stream_options": {"include_usage": True}}}


@priced
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("mode", ["compact", "tree_summarize", "refine"])
def test_a_query_engine_is_exact(
    mode: str, streaming: bool, asynchronous: bool, terms: Any, usd: Any, server: OpenAIServer
) -> None:
    llm = routed(server, terms=terms, client=REPORTING)
    documents = [Document(text=f"City {number}.") for number in range(3)]
    index = SummaryIndex.from_documents(documents, transformations=[])
    engine = index.as_query_engine(llm=llm, response_mode=mode, streaming=streaming)
    with listening() as responses:
        if asynchronous:
            asyncio.run(_read(engine))
        else:
            str(engine.query(QUESTION))
    calls = len(entries(llm))
    assert calls == len(responses) == len(server.requests) >= 1
    assert tokens(llm) == seen(responses) == known(calls)
    assert sum(e["cost_usd"] for e in entries(llm)) == pytest.approx(usd(calls), rel=1e-12)


async def _read(engine: Any) -> None:
    answer = await engine.aquery(QUESTION)
    if hasattr(answer, "async_response_gen"):
        async for _ in answer.async_response_gen():
            pass


@priced
@pytest.mark.parametrize("streaming", [False, True])
async def test_each_step_of_an_agent_is_exact(
    streaming: bool, terms: Any, usd: Any, server: OpenAIServer
) -> None:
    llm = routed(server, terms=terms, client=REPORTING)
    agent = FunctionAgent(tools=[weather], llm=llm, streaming=streaming)
    with listening() as responses:
        await agent.run(TOOL_QUESTION, memory=ChatMemoryBuffer.from_defaults(llm=llm))
    assert len(entries(llm)) == 2
    assert tokens(llm) == seen(responses) == known(2)
    assert sum(e["cost_usd"] for e in entries(llm)) == pytest.approx(usd(2), rel=1e-12)


async def test_an_agents_step_that_falls_back_is_exact(server: OpenAIServer) -> None:
    server.script("small", [None, Fault("status", status=503)])
    llm = routed(server, client=REPORTING)
    agent = FunctionAgent(tools=[weather], llm=llm)
    await agent.run(TOOL_QUESTION, memory=ChatMemoryBuffer.from_defaults(llm=llm))
    assert [outcomes(e) for e in entries(llm)] == [
        [("small", "answered")],
        [("small", "failed"), ("large", "answered")],
    ]
    assert tokens(llm) == known(2)


def test_the_settings_llm_is_counted_too(server: OpenAIServer) -> None:
    llm, before = routed(server), Settings._llm
    Settings.llm = llm
    try:
        index = SummaryIndex.from_documents([Document(text="Oslo.")], transformations=[])
        memory = ChatMemoryBuffer.from_defaults(llm=llm)
        index.as_chat_engine(chat_mode="context", memory=memory).chat(QUESTION)
    finally:
        Settings._llm = before
    assert tokens(llm) == known(len(server.requests))
    assert len(server.requests) >= 1


def test_a_scripted_call_without_usage_is_unknown() -> None:
    llm = RouterLLM([Candidate("small", ScriptedLLM(usage=None), price=PRICE)])
    llm.chat([ChatMessage(content=QUESTION)])
    assert last(llm)["cost_usd"] is None
