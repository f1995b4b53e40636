"""Item 11: event streams of version 3, directly and in an agent; and item 30 where handlers show
tokens that the router does not stream itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.exceptions import ModelRateLimitError
from langchain_core.messages import AIMessage
from langchain_tests.utils.stream_lifecycle import assert_valid_event_stream
from langgraph.graph import START, MessagesState, StateGraph

from langchain_router import ChatRouter, StreamInterruptedError
from tests.fakes.chat_models import ScriptedChat, ScriptedChatWithoutStream
from tests.fakes.script import Break
from tests.integration_tests.langchain.forms import Runs, router, structured, weather

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")

QUESTION = "What is the capital of France?"
BUSY = ModelRateLimitError("busy")
both_ways = pytest.mark.parametrize("asynchronous", [False, True])


def events_of(
    model: Any, asynchronous: bool, /, *args: Any, **kwargs: Any
) -> tuple[list[Any], Any]:
    """The events of a whole stream, and its message."""
    if not asynchronous:
        stream = model.stream_events(*args, version="v3", **kwargs)
        return list(stream), stream.output

    async def collect() -> tuple[list[Any], Any]:
        stream = await model.astream_events(*args, version="v3", **kwargs)
        return [event async for event in stream], await stream

    return asyncio.run(collect())


@both_ways
def test_11_the_chosen_models_events_inside_the_routers_run_with_the_record(
    asynchronous: bool,
) -> None:
    runs = Runs()
    events, message = events_of(router(), asynchronous, QUESTION, {"callbacks": [runs]})
    bare, expected = events_of(ScriptedChat(model_name="small"), asynchronous, QUESTION)
    assert_valid_event_stream(events)
    assert [e["event"] for e in events] == [e["event"] for e in bare]
    assert [b["text"] for b in message.content] == [b["text"] for b in expected.content]
    assert message.usage_metadata == expected.usage_metadata
    assert message.response_metadata["router"]["candidate"] == "small"
    assert message.response_metadata["model_name"] == "small"
    (model,), (chain,) = runs.of("model"), runs.of("chain")
    assert model["parent"] is not None
    assert chain["name"] == "ChatRouter"
    assert runs.ended == [("model", "end"), ("chain", "end")]


@both_ways
def test_11_tools_and_forced_candidates_work_as_elsewhere(asynchronous: bool) -> None:
    agent = router().bind_tools([weather], tool_choice="any")
    events, message = events_of(agent, asynchronous, "weather in Lisbon?", model="large")
    assert_valid_event_stream(events)
    assert message.tool_calls[0]["name"] == "weather"
    assert message.response_metadata["router"]["candidate"] == "large"


@both_ways
def test_11_a_failure_before_anything_was_shown_is_taken_over(asynchronous: bool) -> None:
    runs = Runs()
    llm = router(ScriptedChat(replies=[BUSY]))
    events, message = events_of(llm, asynchronous, QUESTION, {"callbacks": [runs]})
    assert_valid_event_stream(events)
    assert message.response_metadata["router"]["attempts"] == [
        {"candidate": "small", "outcome": "failed"},
        {"candidate": "large", "outcome": "answered"},
    ]
    assert runs.ended == [("model", "error"), ("model", "end"), ("chain", "end")]


@both_ways
def test_11_a_failure_after_that_is_raised_and_ends_every_run(asynchronous: bool) -> None:
    runs, large = Runs(), ScriptedChat(model_name="large")
    llm = router(ScriptedChat(replies=[Break(BUSY, after=1, reply=["Hel", "lo"])]), large)
    with pytest.raises(StreamInterruptedError) as caught:
        events_of(llm, asynchronous, QUESTION, {"callbacks": [runs]})
    assert (caught.value.partial, caught.value.__cause__) == ("Hel", BUSY)
    assert large.calls == []
    assert runs.ended == [("model", "error"), ("chain", "error")]


def test_11_a_text_projection_alone_drives_the_stream() -> None:
    stream = router().stream_events(QUESTION, version="v3")
    assert "".join(stream.text) == str(stream.text) != ""
    assert stream.output.response_metadata["router"]["candidate"] == "small"


async def test_11_projections_may_be_read_side_by_side() -> None:
    stream = await router().astream_events(QUESTION, version="v3")

    async def read(projection: Any) -> list[Any]:
        return [item async for item in projection]

    texts, events = await asyncio.gather(read(stream.text), read(stream))
    message = await stream
    assert "".join(texts) == message.text
    assert events[-1]["event"] == "message-finish"


async def test_11_a_stream_that_is_left_early_leaves_nothing_behind() -> None:
    runs = Runs()
    slow = ScriptedChat(replies=["one two three"], chunk_delay_s=0.05)
    async with await router(slow).astream_events(
        QUESTION, {"callbacks": [runs]}, version="v3"
    ) as stream:
        async for event in stream:
            if event["event"] == "content-block-delta":
                break
    assert [kind for kind, _ in runs.ended] == ["model", "chain"]
    assert len(asyncio.all_tasks()) == 1


def test_11_a_model_that_cannot_stream_behaves_as_without_a_router() -> None:
    def tell(model: Any) -> str:
        try:
            return events_of(model, False, QUESTION)[1].text
        except Exception as error:
            return repr(error)

    assert tell(router(ScriptedChatWithoutStream())) == tell(ScriptedChatWithoutStream())


async def test_11_an_agents_event_stream_carries_the_answer() -> None:
    agent = create_agent(router(), [weather])
    stream = await agent.astream_events({"messages": [("user", QUESTION)]}, version="v3")
    texts = [await message.text async for message in stream.messages]
    assert texts == [ScriptedChat(model_name="small").invoke(QUESTION).text]


# --- item 30: handlers that show tokens ---


def graph(llm: Any) -> Any:
    async def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    made = StateGraph(MessagesState)
    made.add_node("ask", ask)
    made.add_edge(START, "ask")
    return made.compile()


async def _shown(llm: Any) -> tuple[str, list[Exception]]:
    texts, errors = [], []
    try:
        async for chunk, _ in graph(llm).astream({"messages": QUESTION}, stream_mode="messages"):
            texts.append(chunk.text)
    except Exception as error:
        errors.append(error)
    return "".join(texts), errors


async def test_30_what_a_graph_has_shown_is_never_followed_by_another_models_text() -> None:
    large = ScriptedChat(model_name="large")
    llm = router(ScriptedChat(replies=[Break(BUSY, after=1, reply=["Hel", "lo"])]), large)
    assert await _shown(llm) == ("Hel", [BUSY])
    assert large.calls == []
    assert llm.explain(QUESTION).resting == ()


async def test_30_before_anything_was_shown_another_answers() -> None:
    large = ScriptedChat(model_name="large")
    text, errors = await _shown(router(ScriptedChat(replies=[BUSY]), large))
    assert (text, errors) == (large.invoke(QUESTION).text, [])


class Shows(BaseCallbackHandler):
    """As an application that prints tokens."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.tokens.append(token)


class ShowsLater(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.tokens.append(token)


@pytest.mark.parametrize("make", [Shows, ShowsLater])
@pytest.mark.parametrize("way", ["plain", "structured"])
async def test_30_any_handler_that_shows_tokens_counts(make: Any, way: str) -> None:
    handler, large = make(), ScriptedChat(model_name="large")
    broken = ScriptedChat(replies=[Break(BUSY, after=1, reply=["Hel", "lo"])])
    llm: Any = router(broken, large, streaming=True)
    asked = structured(llm) if way == "structured" else llm
    # of a value, nothing has been shown yet by the stream itself
    wanted = ModelRateLimitError if way == "structured" else StreamInterruptedError
    with pytest.raises(wanted):
        [value async for value in asked.astream(QUESTION, {"callbacks": [handler]})]
    assert large.calls == []


async def test_30_a_handler_that_shows_nothing_does_not() -> None:
    broken = ScriptedChat(replies=[Break(BUSY, after=1, reply=["Hel", "lo"])])
    llm = router(broken, streaming=True)
    message = await llm.ainvoke(QUESTION, {"callbacks": [Runs()]})
    assert isinstance(message, AIMessage)
    assert message.response_metadata["router"]["candidate"] == "large"


def test_strings_name_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    llm = ChatRouter({"small": "openai:gpt-5-nano", "large": ScriptedChat()})
    assert llm.explain(QUESTION).candidate == "small"
    assert llm._router["small"].model.model_name == "gpt-5-nano"
    assert llm.with_policy(llm.policy)._router["small"].model is llm._router["small"].model
