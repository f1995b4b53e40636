"""A conformance suite for any LangChain chat model, beyond what `langchain-tests` checks.

In: a subclass of `ChatModelContract` with a fixture `model`, and `slow_model` and `failing_model`
where the model can be made slow or made to fail. Out: a test for each thing that handlers, graphs,
chains and callers rely on.

    class TestMyChatModel(ChatModelContract):
        @pytest.fixture
        def model(self):
            return MyChatModel()
"""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any, ClassVar
from uuid import UUID

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.tools import tool
from pydantic import BaseModel

from tests.contracts.gates import (
    UNTYPED,
    Contract,
    assert_it_ticks,
    cancelled,
    is_that,
    needs,
    only,
    outcome_of,
)

QUESTION = "What is the capital of France?"
TOOL_QUESTION = "weather in Lisbon?"

TOKENS = ("input_tokens", "output_tokens", "total_tokens")

Form = Callable[..., AIMessage]


def invoke(model: Runnable[Any, Any], /, *args: Any, **kwargs: Any) -> AIMessage:
    """Whole."""
    return model.invoke(*args, **kwargs)


def ainvoke(model: Runnable[Any, Any], /, *args: Any, **kwargs: Any) -> AIMessage:
    """Whole, on an event loop."""
    return asyncio.run(model.ainvoke(*args, **kwargs))


def stream(model: Runnable[Any, Any], /, *args: Any, **kwargs: Any) -> AIMessage:
    """Streamed and added up."""
    return reduce(add, model.stream(*args, **kwargs))


def astream(model: Runnable[Any, Any], /, *args: Any, **kwargs: Any) -> AIMessage:
    """Streamed on an event loop and added up."""

    async def collect() -> list[AIMessageChunk]:
        return [chunk async for chunk in model.astream(*args, **kwargs)]

    return reduce(add, asyncio.run(collect()))


FORMS = [invoke, ainvoke, stream, astream]


class Runs(BaseCallbackHandler):
    """Every run: kind, name, parent, tags, metadata, how it ended, in which order."""

    def __init__(self) -> None:
        self.runs: dict[UUID, dict[str, Any]] = {}
        self.ended: list[tuple[str, str]] = []
        self.order: list[UUID] = []

    def _start(self, kind: str, run_id: UUID, parent_run_id: UUID | None, **kwargs: Any) -> None:
        self.runs[run_id] = {
            "kind": kind,
            "name": kwargs.get("name"),
            "parent": parent_run_id,
            "tags": kwargs.get("tags") or [],
            "metadata": kwargs.get("metadata") or {},
        }

    def _end(self, run_id: UUID, how: str) -> None:
        self.ended.append((self.runs[run_id]["kind"], how))
        self.order.append(run_id)

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self._start("chain", **kwargs)

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self._start("model", **kwargs)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, "end")

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, "error")

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, "end")

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, "error")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The runs of a kind, in order of their start."""
        return [run for run in self.runs.values() if run["kind"] == kind]


class City(BaseModel):
    """A city and its country."""

    name: str
    country: str


CITY = {**City.model_json_schema(), "title": "City"}


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


async def collected(model: Runnable[Any, Any], asynchronous: bool, *args: Any) -> list[Any]:
    """The chunks of a stream, in whichever way."""
    if asynchronous:
        return [item async for item in model.astream(*args)]
    return list(model.stream(*args))


class CountingCache(InMemoryCache):
    """Counts what was found and what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.hits, self.writes = 0, 0

    def lookup(self, prompt: str, llm_string: str) -> Any:
        found = super().lookup(prompt, llm_string)
        self.hits += found is not None
        return found

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        super().update(prompt, llm_string, return_val)
        self.writes += 1


class Busiest(BaseCallbackHandler):
    """The most model runs that were open at one time."""

    def __init__(self) -> None:
        self.open, self.most = 0, 0
        self.lock = threading.Lock()

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        with self.lock:
            self.open += 1
            self.most = max(self.most, self.open)

    def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        with self.lock:
            self.open -= 1


ODD_INPUTS: dict[str, list[BaseMessage]] = {
    "nothing": [],
    "empty": [HumanMessage("")],
    "no blocks": [HumanMessage([])],
    "whitespace": [HumanMessage(" \n\t\u00a0")],
    "NUL": [HumanMessage("a\x00b")],
    "lone surrogate": [HumanMessage("a\ud800b")],
    "system alone": [SystemMessage("Be brief.")],
    "assistant last": [HumanMessage(QUESTION), AIMessage("Paris")],
    "tool without a call": [HumanMessage(QUESTION), ToolMessage("42", tool_call_id="1")],
}

VIEWS: dict[str, Callable[[Any], Any]] = {
    "repr": repr,
    "str": str,
    "dumps": dumps,
    "runs": lambda model: _started(model),
}
"""What ends up in logs and traces."""


def _started(model: BaseChatModel) -> list[Any]:
    """Everything that handlers are told when runs start."""
    told: list[Any] = []

    class Starts(BaseCallbackHandler):
        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            told.append((args, kwargs))

        on_chain_start = on_chat_model_start

    model.invoke(QUESTION, {"callbacks": [Starts()]})
    assert told
    return told


every_form = pytest.mark.parametrize("form", FORMS)
both_streams = pytest.mark.parametrize("asynchronous", [False, True], ids=["stream", "astream"])


class ChatModelContract(Contract):
    """What any LangChain chat model promises; inherit it and give a fixture `model`.

    The answers are expected to be the same each time that the same is asked: set the temperature
    to 0, or use a double of the model.

    Attributes:
        streams: Whether a text comes in several chunks.
        reports_usage: Whether messages hold token counts.
        stops: Whether it ends its answer before a stop sequence.
        gives_blocks: Whether it heeds `output_version="v1"`.
        caches: Whether it heeds the global cache.
        counts_tokens: Whether it counts tokens without a download.
        picklable: Whether it can be copied deeply and pickled.
        structured_methods: The ways of `with_structured_output` that it knows; None for the tools
            alone, where it can call them.
    """

    streams: ClassVar[bool] = True
    reports_usage: ClassVar[bool] = True
    stops: ClassVar[bool] = True
    gives_blocks: ClassVar[bool] = True
    caches: ClassVar[bool] = True
    counts_tokens: ClassVar[bool] = True
    picklable: ClassVar[bool] = False
    structured_methods: ClassVar[Sequence[str] | None] = None

    @pytest.fixture
    def model(self) -> BaseChatModel:
        """The model under test, a new one for every test."""
        raise NotImplementedError

    @pytest.fixture
    def slow_model(self) -> BaseChatModel:
        """The model, or its like, whose calls last `slow_s` seconds or more."""
        pytest.skip("no slow model was given")

    @pytest.fixture
    def failing_model(self) -> tuple[BaseChatModel, Exception | type[Exception]]:
        """The model, or its like, and the error or its class that every call raises."""
        pytest.skip("no failing model was given")

    @pytest.fixture(autouse=True)
    def _read(self, model: BaseChatModel) -> None:
        self.subject = model

    @property
    def calls_tools(self) -> bool:
        """Whether it calls tools: whether its class says how they are bound."""
        return type(self.subject).bind_tools is not BaseChatModel.bind_tools

    def _methods(self) -> Sequence[str]:
        if self.structured_methods is None:
            return ("function_calling",) if self.calls_tools else ()
        return self.structured_methods

    # --- runs ---

    @every_form
    def test_a_call_is_one_model_run_in_a_closed_tree(
        self, form: Form, model: BaseChatModel
    ) -> None:
        runs = Runs()
        config = {"callbacks": [runs], "run_name": "mine", "tags": ["t"], "metadata": {"user": "u"}}
        form(model, QUESTION, config)
        run = only(runs.of("model"))
        root = only([one for one in runs.runs.values() if one["parent"] is None])
        assert root["name"] == "mine"
        assert "t" in run["tags"]
        assert run["metadata"]["user"] == "u"
        assert run["metadata"]["ls_model_type"] == "chat"
        assert run["metadata"]["ls_provider"]
        assert isinstance(run["metadata"].get("ls_model_name", ""), str)
        self._all_ended(runs)
        assert {how for _, how in runs.ended} == {"end"}

    @every_form
    def test_a_bound_call_is_one_model_run_in_a_closed_tree(
        self, form: Form, model: BaseChatModel
    ) -> None:
        needs(self.calls_tools, "tool calls")
        runs = Runs()
        form(model.bind_tools([weather]), QUESTION, {"callbacks": [runs]})
        assert len(runs.of("model")) == 1
        self._all_ended(runs)

    @both_streams
    async def test_a_stream_that_is_left_closes_its_runs(
        self, asynchronous: bool, model: BaseChatModel
    ) -> None:
        runs = Runs()
        if asynchronous:
            chunks: Any = model.astream(QUESTION, {"callbacks": [runs]})
            await anext(chunks)
            await chunks.aclose()
        else:
            chunks = model.stream(QUESTION, {"callbacks": [runs]})
            next(chunks)
            chunks.close()
        assert len(runs.of("model")) == 1
        self._all_ended(runs)
        self._inside_out(runs)
        assert len(asyncio.all_tasks()) == 1

    @pytest.mark.parametrize("streamed", [False, True], ids=["ainvoke", "astream"])
    async def test_a_cancelled_call_closes_its_runs_and_leaves_no_task(
        self, streamed: bool, slow_model: BaseChatModel
    ) -> None:
        runs = Runs()
        config: Any = {"callbacks": [runs]}
        if streamed:
            await cancelled(collected(slow_model, True, QUESTION, config))
        else:
            await cancelled(slow_model.ainvoke(QUESTION, config))
        self._all_ended(runs)
        assert {how for _, how in runs.ended} == {"error"}

    @every_form
    def test_an_error_reaches_the_caller_and_closes_its_runs(
        self, form: Form, failing_model: tuple[BaseChatModel, Exception | type[Exception]]
    ) -> None:
        model, error = failing_model
        runs = Runs()
        with pytest.raises(Exception) as caught:
            form(model, QUESTION, {"callbacks": [runs]})
        assert is_that(caught.value, error)
        self._all_ended(runs)
        assert {how for _, how in runs.ended} == {"error"}

    def _all_ended(self, runs: Runs) -> None:
        assert sorted(runs.order) == sorted(runs.runs), f"left open: {runs.runs.keys()}"

    def _inside_out(self, runs: Runs) -> None:
        for run_id, run in runs.runs.items():
            if run["parent"] in runs.runs:
                assert runs.order.index(run_id) < runs.order.index(run["parent"])

    # --- usage ---

    @every_form
    def test_usage_is_counted_as_the_message_says(self, form: Form, model: BaseChatModel) -> None:
        needs(self.reports_usage, "usage")
        with get_usage_metadata_callback() as counted:
            message = form(model, QUESTION)
        usage = only([*counted.usage_metadata.values()])
        assert usage == message.usage_metadata
        whole = model.invoke(QUESTION).usage_metadata
        assert {key: usage[key] for key in TOKENS} == {key: whole[key] for key in TOKENS}

    # --- answers ---

    async def test_every_way_of_asking_has_the_same_answer(self, model: BaseChatModel) -> None:
        said = model.invoke(QUESTION).content
        assert said
        assert (await model.ainvoke(QUESTION)).content == said
        for asynchronous in (False, True):
            assert reduce(add, await collected(model, asynchronous, QUESTION)).content == said
        batches = model.batch([QUESTION] * 2), await model.abatch([QUESTION] * 2)
        assert [[m.content for m in batch] for batch in batches] == [[said] * 2] * 2
        messages: list[list[BaseMessage]] = [[HumanMessage(QUESTION)]]
        for result in (model.generate(messages), await model.agenerate(messages)):
            assert result.generations[0][0].message.content == said  # type: ignore[union-attr]

    @both_streams
    async def test_a_stream_is_chunks_of_which_one_is_the_last(
        self, asynchronous: bool, model: BaseChatModel
    ) -> None:
        chunks = await collected(model, asynchronous, QUESTION)
        assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
        assert [chunk.chunk_position for chunk in chunks] == [None] * (len(chunks) - 1) + ["last"]
        assert len({chunk.id for chunk in chunks}) == 1
        assert len([chunk for chunk in chunks if chunk.content]) > 1 or not self.streams
        full = reduce(add, chunks)
        whole = model.invoke(QUESTION)
        assert full.text == whole.text
        named = [said.response_metadata.get("model_name") for said in (full, whole)]
        assert named[0] == named[1]

    @both_streams
    async def test_a_stream_of_tool_calls_adds_up(
        self, asynchronous: bool, model: BaseChatModel
    ) -> None:
        needs(self.calls_tools, "tool calls")
        bound = model.bind_tools([weather], tool_choice="any")
        full = reduce(add, await collected(bound, asynchronous, TOOL_QUESTION))
        assert [(c["name"], c["args"]) for c in full.tool_calls] == [
            (c["name"], c["args"]) for c in bound.invoke(TOOL_QUESTION).tool_calls
        ]
        assert full.invalid_tool_calls == []

    @both_streams
    async def test_a_graph_shows_the_chunks_of_a_plain_stream(
        self, asynchronous: bool, model: BaseChatModel
    ) -> None:
        graphs = pytest.importorskip("langgraph.graph")

        def step(state: Any) -> dict[str, Any]:
            return {"messages": [model.invoke(state["messages"])]}

        async def astep(state: Any) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        graph = graphs.StateGraph(graphs.MessagesState)
        graph.add_node("step", astep if asynchronous else step)
        graph.add_edge(graphs.START, "step").add_edge("step", graphs.END)
        shown = graph.compile().astream(
            {"messages": [HumanMessage(QUESTION)]}, stream_mode="messages"
        )
        messages = [message async for message, _ in shown]
        chunks = await collected(model, asynchronous, QUESTION)
        assert [message.content for message in messages] == [chunk.content for chunk in chunks]

    async def test_a_chain_streams_through_it(self, model: BaseChatModel) -> None:
        chain = ChatPromptTemplate.from_messages([("human", "{question}")]) | model
        parsed = chain | StrOutputParser()
        values = {"question": QUESTION}
        said = model.invoke(QUESTION).text
        assert parsed.invoke(values) == said
        for asynchronous in (False, True):
            pieces = [p for p in await collected(parsed, asynchronous, values) if p]
            assert "".join(pieces) == said
            assert len(pieces) > 1 or not self.streams

    @every_form
    def test_27_version_1_gives_blocks(self, form: Form, model: BaseChatModel) -> None:
        needs(self.gives_blocks, 'output_version="v1"')
        blocks = form(model.model_copy(update={"output_version": "v1"}), QUESTION).content
        assert isinstance(blocks, list)
        assert [block["type"] for block in blocks] == ["text"]
        assert blocks[0]["text"] == model.invoke(QUESTION).text

    @every_form
    def test_an_answer_ends_before_a_stop_sequence(self, form: Form, model: BaseChatModel) -> None:
        needs(self.stops, "stop sequences")
        said = model.invoke(QUESTION).text
        stop = said.split()[-1]
        assert form(model, QUESTION, stop=[stop]).text.strip() == said.split(stop)[0].strip()
        assert form(model.bind(stop=[stop]), QUESTION).text.strip() == said.split(stop)[0].strip()

    def test_token_counts_need_no_network(self, model: BaseChatModel) -> None:
        needs(self.counts_tokens, "a tokenizer of its own")
        assert model.get_num_tokens("four words at once") > 0
        assert model.get_num_tokens_from_messages([HumanMessage("Hello")]) > 0

    # --- batches ---

    def test_a_batch_keeps_to_its_concurrency(self, slow_model: BaseChatModel) -> None:
        busiest = Busiest()
        slow_model.batch([QUESTION] * 3, {"callbacks": [busiest], "max_concurrency": 2})
        assert busiest.most == 2
        assert busiest.open == 0

    async def test_an_async_batch_keeps_to_its_concurrency(self, slow_model: BaseChatModel) -> None:
        busiest = Busiest()
        await slow_model.abatch([QUESTION] * 3, {"callbacks": [busiest], "max_concurrency": 2})
        assert busiest.most == 2
        assert busiest.open == 0

    async def test_a_batch_returns_errors_if_told_to(
        self, failing_model: tuple[BaseChatModel, Exception | type[Exception]]
    ) -> None:
        model, error = failing_model
        given = model.batch([QUESTION] * 2, return_exceptions=True)
        given += await model.abatch([QUESTION] * 2, return_exceptions=True)
        assert len(given) == 4
        assert all(is_that(one, error) for one in given)
        with pytest.raises(Exception) as caught:
            model.batch([QUESTION] * 2)
        assert is_that(caught.value, error)

    # --- tools and structured output ---

    def test_bound_tools_can_be_looked_at(self, model: BaseChatModel) -> None:
        needs(self.calls_tools, "tool calls")
        bound = model.bind_tools([weather, City])
        assert isinstance(bound, RunnableBinding)
        assert all(isinstance(view, dict) for view in bound.kwargs["tools"])
        names = [view.get("function", view)["name"] for view in bound.kwargs["tools"]]
        assert names == ["weather", "City"]

    @pytest.mark.parametrize("choice", ["any", "weather"])
    @every_form
    def test_a_tool_choice_forces_a_call(
        self, form: Form, choice: str, model: BaseChatModel
    ) -> None:
        needs(self.calls_tools, "tool calls")
        message = form(model.bind_tools([weather], tool_choice=choice), QUESTION)
        call = only(message.tool_calls)
        assert call["name"] == "weather"
        assert isinstance(call["args"], dict)
        assert call["id"]

    def test_structured_output_keeps_what_it_was_parsed_from(self, model: BaseChatModel) -> None:
        methods = self._methods()
        needs(bool(methods), "structured output")
        question = 'Reply in JSON with the keys "name" and "country": a city.'
        for method in methods:
            parsed = model.with_structured_output(City, method=method).invoke(question)
            assert isinstance(parsed, City), method
            both = model.with_structured_output(City, method=method, include_raw=True)
            kept: Any = both.invoke(question)
            assert set(kept) == {"raw", "parsed", "parsing_error"}, method
            assert isinstance(kept["raw"], AIMessage), method
            assert kept["parsed"] == parsed, method
            assert kept["parsing_error"] is None, method

    # --- what the caller gave stays the caller's ---

    @every_form
    def test_messages_and_tools_stay_as_they_are(self, form: Form, model: BaseChatModel) -> None:
        messages: list[BaseMessage] = [
            SystemMessage("Be brief."),
            HumanMessage([{"type": "text", "text": TOOL_QUESTION}], name="me"),
            AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Rome"}, "id": "1"}]),
            ToolMessage("sunny", tool_call_id="1"),
            HumanMessage("Thank you."),
        ]
        stop, before = ["never"], copy.deepcopy(messages)
        form(model, messages, stop=stop)
        assert messages == before
        assert stop == ["never"]
        if self.calls_tools:
            tools, schema = [weather, dict(CITY)], dict(CITY)
            form(model.bind_tools(tools), messages)
            assert messages == before
            assert tools == [weather, schema]

    @pytest.mark.parametrize("view", VIEWS)
    def test_no_secret_is_shown(self, view: str, model: BaseChatModel) -> None:
        needs(self.secret is not None, "a secret to look for")
        assert str(self.secret) not in str(VIEWS[view](model))

    def test_a_copy_answers_alike(self, model: BaseChatModel) -> None:
        needs(self.picklable, "copies")
        said = model.invoke(QUESTION).content
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
            assert twin is not model
            assert twin.invoke(QUESTION).content == said

    async def test_the_global_cache_is_heeded(
        self, cache: CountingCache, model: BaseChatModel
    ) -> None:
        needs(self.caches, "caching")
        said = {model.invoke(QUESTION).text, model.invoke(QUESTION).text}
        said.add((await model.ainvoke(QUESTION)).text)
        assert len(said) == 1
        assert (cache.writes, cache.hits) == (1, 2)
        model.invoke(QUESTION, stop=["never"])
        assert (cache.writes, cache.hits) == (2, 2)

    @pytest.fixture
    def cache(self) -> Iterator[CountingCache]:
        """The global cache of one test."""
        counting = CountingCache()
        set_llm_cache(counting)
        yield counting
        set_llm_cache(None)

    # --- slowness and odd input ---

    async def test_no_async_call_blocks_the_loop(self, slow_model: BaseChatModel) -> None:
        await assert_it_ticks(
            lambda: [slow_model.ainvoke(QUESTION), collected(slow_model, True, QUESTION)],
            self.slow_s,
        )

    @pytest.mark.parametrize("name", ODD_INPUTS)
    def test_odd_input_is_answered_or_refused(self, name: str, model: BaseChatModel) -> None:
        messages = ODD_INPUTS[name]
        before = copy.deepcopy(messages)
        for form in FORMS:
            outcome = outcome_of(lambda form=form: form(model, messages))
            assert not isinstance(outcome, UNTYPED), f"{form.__name__}: {outcome!r}"
            assert isinstance(outcome, (AIMessage, Exception))
        assert messages == before
        assert model.invoke(QUESTION).text
