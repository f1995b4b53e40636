"""A mixture of LangChain models: what the aggregator reads, in every form of call, and agents.

What reaches a model is looked at in the process and on the wire: LlamaIndex's own pack for mixtures
forgets the references, so here each is asked for by its words.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.exceptions import ModelRateLimitError
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable

from langchain_router import (
    ChatRouter,
    ChatRouterMiddleware,
    MixtureOfAgents,
    StreamInterruptedError,
)
from tests.contracts.langchain import CountingCache
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import FixedPredictor
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.replies import Answer, ToolCall, parts
from tests.fakes.script import Break
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS, openai_chat
from tests.integration_tests.accounts import last, outcomes
from tests.integration_tests.langchain.forms import City, collected, plain, structured, weather

NAMES = ("small", "middle", "large")
CHANCES = FixedPredictor({"small": 0.6, "middle": 0.65, "large": 0.8})
BUSY = ModelRateLimitError("busy")
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
ASKED = [
    SystemMessage("Be brief."),
    HumanMessage([{"type": "text", "text": "weather in Lisbon?"}, IMAGE]),
]
TEXTS = ("First of all, {Porto} it is.", "On balance, I prefer Braga.")
CITIES = ("Porto", "Braga")
PORTO = City(name="Porto", country="Portugal")

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS]
both_ways = pytest.mark.parametrize("asynchronous", [False, True])
streamed_or_not = pytest.mark.parametrize("streaming", [False, True])


def with_tools(model: BaseChatModel) -> Runnable[Any, Any]:
    return model.bind_tools([weather])


WAYS: list[tuple[Callable[[Any], Any], tuple[str, ...]]] = [
    (plain, TEXTS),
    (with_tools, tuple(f'calls weather({{"city": "{city}"}})' for city in CITIES)),
    (structured, CITIES),
]
every_way = pytest.mark.parametrize(
    ("way", "told"), WAYS, ids=["plain", "with_tools", "structured"]
)


def mixture(models: dict[str, Any], **settings: Any) -> ChatRouter:
    """A router whose small and middle models propose and whose large one reads them."""
    about = {"proposers": NAMES[:2], "aggregator": "large", **settings.pop("about", {})}
    return ChatRouter(models, predictor=CHANCES, strategy=MixtureOfAgents(**about), **settings)


def scripted(way: Any, **large: Any) -> dict[str, ScriptedChat]:
    """Models of which the first two propose what differs."""
    models = {}
    for name, text, city in zip(NAMES, TEXTS, CITIES, strict=False):
        call = {"name": "weather", "args": {"city": city}, "id": "1"}
        parsed = {"name": "City", "args": {"name": city, "country": "Portugal"}, "id": "1"}
        said: Any = {with_tools: AIMessage("", tool_calls=[call])}.get(way, text)
        said = AIMessage("", tool_calls=[parsed]) if way is structured else said
        models[name] = ScriptedChat(model_name=name, replies=[said])
    return {**models, "large": ScriptedChat(model_name="large", **large)}


def run(model: Any, asynchronous: bool, streaming: bool, asked: Any = ASKED) -> list[Any]:
    """Everything that one call gives."""
    if streaming:
        return asyncio.run(collected(model, asynchronous, asked))
    return [asyncio.run(model.ainvoke(asked)) if asynchronous else model.invoke(asked)]


# --- what the aggregator reads ---


@both_ways
@streamed_or_not
@every_way
def test_every_proposal_reaches_the_aggregator_with_the_callers_own_request(
    asynchronous: bool, streaming: bool, way: Any, told: tuple[str, ...]
) -> None:
    alone = ScriptedChat(model_name="large")
    run(way(alone), asynchronous, streaming)
    models = scripted(way)
    llm = mixture(models)
    run(way(llm), asynchronous, streaming)
    (own,), (read,) = alone.calls, models["large"].calls
    system, user = read.messages
    assert system == ASKED[0]
    assert user.content[:2] == ASKED[1].content  # the image too
    assert all(proposal in user.content[2]["text"] for proposal in told)
    assert read.kwargs == own.kwargs  # tools, schema, choice
    for name in NAMES[:2]:
        ((messages, kwargs),) = [(c.messages, c.kwargs) for c in models[name].calls]
        assert messages == ASKED
        assert kwargs == own.kwargs
    assert outcomes(last(llm)) == [(n, "answered") for n in ("middle", "small", "large")]
    (verdict,) = last(llm)["verdicts"]
    assert verdict["note"] == "2 of 2 proposals reached large, which wrote the answer"


@both_ways
@streamed_or_not
@every_way
def test_they_do_on_the_wire(
    server: OpenAIServer, asynchronous: bool, streaming: bool, way: Any, told: tuple[str, ...]
) -> None:
    run(way(openai_chat(server, "large")), asynchronous, streaming)
    (own,) = server.asked("large")
    server.reset()
    for name, text, city in zip(NAMES, TEXTS, CITIES, strict=False):
        call = Answer(tool_calls=(ToolCall("weather", {"city": city}),), finish_reason="tool_calls")
        server.say(
            name,
            {with_tools: call, structured: json.dumps({"name": city, "country": "Portugal"})}.get(
                way, text
            ),
        )
    run(way(mixture({n: openai_chat(server, n) for n in NAMES})), asynchronous, streaming)
    (read,) = server.asked("large")
    *before, said = parts(read["messages"][-1])
    assert all(proposal in said["text"] for proposal in told)
    read["messages"][-1]["content"] = before
    assert read == own  # the image, tools, schema, streaming, all of it
    for name in NAMES[:2]:
        (body,) = server.asked(name)
        assert body["messages"] == own["messages"]
        assert body.get("tools") == own.get("tools")
        assert body.get("response_format") == own.get("response_format")


@both_ways
def test_the_answer_streams_and_no_proposal_does(asynchronous: bool) -> None:
    llm = mixture(scripted(plain, replies=[["one ", "two ", "three"]]))
    chunks = run(llm, asynchronous, streaming=True)
    assert [chunk.text for chunk in chunks if chunk.text] == ["one ", "two ", "three"]
    first, *others = chunks
    record = sum(others, first).response_metadata["router"]
    assert record["candidate"] == "large"
    assert record["verdicts"][0]["verifier"] == "mixture"


@both_ways
@streamed_or_not
def test_what_agrees_is_given_as_it_is(asynchronous: bool, streaming: bool) -> None:
    models = scripted(plain)
    for name in NAMES[:2]:
        models[name].replies = ["The answer is 7."]
    chunks = run(mixture(models), asynchronous, streaming)
    assert "".join(chunk.text for chunk in chunks) == "The answer is 7."
    assert not models["large"].calls


def test_structured_output_that_agrees_is_parsed() -> None:
    models = scripted(structured)
    for name in NAMES[:2]:
        call = {"name": "City", "args": PORTO.model_dump(), "id": name}
        models[name].replies = [AIMessage("", tool_calls=[call])]
    assert structured(mixture(models)).invoke(ASKED) == PORTO
    assert not models["large"].calls


def test_braces_and_brackets_reach_it_as_they_are() -> None:
    models = scripted(plain)
    odd = 'First {a} {{b}} %s $c </s> <|im_start|> {"d": [1]} so on.'
    models["small"].replies = [odd]
    mixture(models).invoke("Hello")
    assert odd in models["large"].calls[0].messages[-1].content


def test_a_cache_answers_a_mixture_that_it_has_seen() -> None:
    models = scripted(plain)
    llm = mixture(models)
    cache = CountingCache()
    set_llm_cache(cache)
    try:
        first, second = (llm.invoke("Where to?").text for _ in range(2))
    finally:
        set_llm_cache(None)
    assert first == second
    assert (cache.writes, cache.hits) == (3, 3)  # the aggregator's, too, is the same request
    assert len(models["large"].calls) == 1


def test_two_layers_read_each_other() -> None:
    models = scripted(plain)
    models["small"].replies = ["First, it is a.", "Second, it is a."]
    models["middle"].replies = ["First, it is b.", "Second, it is b."]
    mixture(models, about={"layers": 2}).invoke(ASKED)
    assert [len(models[name].calls) for name in NAMES] == [2, 2, 1]
    for name in NAMES[:2]:
        text = models[name].calls[1].messages[-1].content[2]["text"]
        assert "First, it is a." in text
        assert "First, it is b." in text


# --- failures ---


@both_ways
@streamed_or_not
def test_a_proposer_that_fails_costs_nothing_but_its_proposal(
    server: OpenAIServer, asynchronous: bool, streaming: bool
) -> None:
    for name, text in zip(NAMES, TEXTS, strict=False):
        server.say(name, text)
    server.script("small", [Fault("status", status=503)])
    llm = mixture({n: openai_chat(server, n) for n in NAMES}, about={"proposers": NAMES})
    server.say("large", lambda body: None if "PROPOSAL" in str(body) else "Third, it is Faro.")
    run(llm, asynchronous, streaming)
    assert [len(server.asked(name)) for name in NAMES] == [1, 1, 2]
    assert TEXTS[1] in str(server.asked("large")[1])
    (verdict,) = last(llm)["verdicts"]
    assert verdict["note"] == "2 of 3 proposals reached large, which wrote the answer"


@both_ways
@streamed_or_not
def test_without_an_aggregator_the_best_proposal_answers(
    asynchronous: bool, streaming: bool
) -> None:
    models = scripted(plain, replies=[BUSY])
    for name, text in zip(NAMES, TEXTS, strict=False):
        models[name].replies = [text, BUSY]
    chunks = run(mixture(models), asynchronous, streaming)
    assert "".join(chunk.text for chunk in chunks) == TEXTS[1]


@both_ways
def test_after_a_part_of_the_answer_nothing_else_follows(asynchronous: bool) -> None:
    llm = mixture(scripted(plain, replies=[Break(BUSY, after=1, reply=["Hel", "lo"])]))
    with pytest.raises(StreamInterruptedError) as caught:
        run(llm, asynchronous, streaming=True)
    assert caught.value.partial == "Hel"


def test_nothing_follows_what_langgraph_has_shown() -> None:
    llm = mixture(scripted(plain, replies=[Break(BUSY, after=1, reply=["Hel", "lo"])]))
    agent = create_agent(llm, [])
    shown = []

    def watch() -> None:
        for message, _ in agent.stream({"messages": ASKED}, stream_mode="messages"):
            shown.append(message.text)

    with pytest.raises(ModelRateLimitError):
        watch()
    assert "".join(shown) == "Hel"


# --- inside an agent ---


def test_the_middleware_mixes_too() -> None:
    models = scripted(plain)
    llm = mixture(models)
    agent = create_agent(llm, [weather], middleware=[ChatRouterMiddleware()])
    state = agent.invoke({"messages": [HumanMessage("Where to?")]})
    (read,) = models["large"].calls
    assert all(text in read.messages[-1].content for text in TEXTS)
    assert [tool["function"]["name"] for tool in read.kwargs["tools"]] == ["weather"]
    assert state["messages"][-1].response_metadata["router"]["candidate"] == "large"


@both_ways
def test_an_agent_calls_tools_cheaply_and_mixes_its_answer(asynchronous: bool) -> None:
    models = scripted(plain)
    call = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Porto"}, "id": "1"}])
    again = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Braga"}, "id": "2"}])
    models["small"].replies = [call, "First of all, it is sunny there."]
    models["middle"].replies = [call, again, "On balance, it is rather sunny."]
    # What agrees is the better one's; a scripted model repeats no tool call to a tool's result.
    models["middle"].replies[1] = lambda _: again
    agent = create_agent(mixture(models), [weather])
    asked = {"messages": [HumanMessage("weather in Porto and Braga?")]}
    state = asyncio.run(agent.ainvoke(asked)) if asynchronous else agent.invoke(asked)
    kinds = [message.type for message in state["messages"]]
    assert kinds == ["human", "ai", "tool", "ai", "tool", "ai"]
    # Both propose to call the tool; then the one that waits for it calls on alone; then all mix.
    assert [len(models[name].calls) for name in NAMES] == [2, 3, 1]
    system, *others = models["large"].calls[0].messages
    assert system.type == "system"
    assert "First of all, it is sunny there." in system.content
    assert others[-1].type == "tool"
    assert isinstance(state["messages"][-1], AIMessage)
    assert not isinstance(state["messages"][-1], AIMessageChunk)
