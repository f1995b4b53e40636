"""A mixture of LlamaIndex LLMs: what the aggregator reads, in all sixteen forms, and agents.

LlamaIndex's own pack for mixtures forgets the references, so here each is asked for by its words,
in the process and on the wire.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage, MessageRole

from llamaindex_router import MixtureOfAgents, RouterLLM
from shared_core import StreamInterruptedError
from tests.fakes.core import FixedPredictor
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.replies import Answer, ToolCall, message_text, parts
from tests.fakes.script import Break
from tests.integration_tests.accounts import last, outcomes
from tests.integration_tests.llamaindex.forms import METHODS, TOOL, City, client, collect
from tests.integration_tests.llamaindex.scripted import Busy

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from llama_index.core.base.llms.types import ImageBlock, TextBlock, ToolCallBlock  # isort: skip
from tests.contracts.llamaindex import CHAT, COMPLETE, STRUCTURED, WITH_TOOLS, text_of  # isort: skip
from tests.fakes.llms import ScriptedLLM  # isort: skip

NAMES = ("small", "middle", "large")
CHANCES = FixedPredictor({"small": 0.6, "middle": 0.65, "large": 0.8})
HISTORY = [
    ChatMessage(content="Be brief.", role=MessageRole.SYSTEM),
    ChatMessage(
        blocks=[
            TextBlock(text="What is this?"),
            ImageBlock(url="https://example.com/a.png", image_mimetype="image/png"),
        ]
    ),
    ChatMessage(content="A city.", role=MessageRole.ASSISTANT),
]
TEXTS = ("First of all, {place} {{it}} is.", "On balance, I prefer Braga.")
CITIES = ("Porto", "Braga")

every_method = pytest.mark.parametrize("method", METHODS)
each_text = pytest.mark.parametrize("method", [*CHAT, *COMPLETE])
each_text_stream = pytest.mark.parametrize("method", [*CHAT[2:], *COMPLETE[2:]])
each_structured = pytest.mark.parametrize("method", STRUCTURED)


def mixture(models: dict[str, Any], **settings: Any) -> RouterLLM:
    """A router whose small and middle LLMs propose and whose large one reads them."""
    about = {"proposers": NAMES[:2], "aggregator": "large", **settings.pop("about", {})}
    return RouterLLM(models, predictor=CHANCES, strategy=MixtureOfAgents(**about), **settings)


def calling(tool: str, **arguments: Any) -> ChatMessage:
    block = ToolCallBlock(tool_call_id="1", tool_name=tool, tool_kwargs=arguments)
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=[block])


def scripted(method: str, **large: Any) -> dict[str, ScriptedLLM]:
    """LLMs of which the first two propose what differs."""
    models = {}
    for name, text, city in zip(NAMES, TEXTS, CITIES, strict=False):
        said: Any = calling("weather", city=city) if method in WITH_TOOLS else text
        if method in STRUCTURED:
            said = calling("City", name=city, country="Portugal")
        models[name] = ScriptedLLM(model=name, replies=[said])
    return {**models, "large": ScriptedLLM(model="large", **large)}


def told(method: str) -> list[str]:
    """What the aggregator must read."""
    if method in WITH_TOOLS:
        return [f'calls weather({{"city": "{city}"}})' for city in CITIES]
    if method in STRUCTURED:
        return [f'{{"name": "{city}", "country": "Portugal"}}' for city in CITIES]
    return [*TEXTS]


def history(method: str) -> list[ChatMessage]:
    return [] if method in COMPLETE else HISTORY


# --- what the aggregator reads ---


@every_method
def test_every_proposal_reaches_the_aggregator_with_the_callers_own_request(method: str) -> None:
    alone = ScriptedLLM(model="large")
    collect(method, alone, history(method))
    models = scripted(method)
    llm = mixture(models)
    collect(method, llm, history(method))
    (own,), (read,) = alone.calls, models["large"].calls
    if method in COMPLETE:
        assert read.messages.startswith(own.messages)
        said = read.messages
    else:
        *before, asked = read.messages
        assert before == own.messages[:-1]
        assert asked.content.startswith(own.messages[-1].content)
        said = asked.content
    assert all(proposal in said for proposal in told(method))
    assert read.kwargs == own.kwargs
    for name in NAMES[:2]:
        (call,) = models[name].calls
        assert call.messages == own.messages
    assert outcomes(last(llm)) == [(n, "answered") for n in ("middle", "small", "large")]
    (verdict,) = last(llm)["verdicts"]
    assert verdict["note"] == "2 of 2 proposals reached large, which wrote the answer"


@every_method
def test_they_do_on_the_wire(server: OpenAIServer, method: str) -> None:
    collect(method, client(server, "large"), history(method))
    (own,) = server.asked("large")
    server.reset()
    for name, text, city in zip(NAMES, TEXTS, CITIES, strict=False):
        tool, arguments = "weather", {"city": city}
        if method in STRUCTURED:
            tool, arguments = "City", {"name": city, "country": "Portugal"}
        call = Answer(tool_calls=(ToolCall(tool, arguments),), finish_reason="tool_calls")
        server.say(name, call if method in (*WITH_TOOLS, *STRUCTURED) else text)
    collect(method, mixture({n: client(server, n) for n in NAMES}), history(method))
    (read,) = server.asked("large")
    text, asked = (message_text(body["messages"][-1]) for body in (read, own))
    assert text.startswith(asked)
    assert all(proposal in text for proposal in told(method))
    kinds = [part["type"] for message in read["messages"] for part in parts(message)]
    assert kinds.count("image_url") == (0 if method in COMPLETE else 1)
    assert read["messages"][:-1] == own["messages"][:-1]
    assert {**read, "messages": 0} == {**own, "messages": 0}  # tools, choice, streaming
    for name in NAMES[:2]:
        (body,) = server.asked(name)
        assert body["messages"] == own["messages"]
        assert body.get("tools") == own.get("tools")


@each_text_stream
def test_the_answer_streams_and_no_proposal_does(method: str) -> None:
    llm = mixture(scripted(method, replies=[["one ", "two ", "three"]]))
    responses = collect(method, llm)
    assert [response.delta for response in responses if response.delta] == ["one ", "two ", "three"]
    assert last(llm)["candidate"] == "large"


@each_text
def test_what_agrees_is_given_as_it_is(method: str) -> None:
    models = scripted(method)
    for name in NAMES[:2]:
        models[name].replies = ["The answer is 7."]
    assert text_of(collect(method, mixture(models))[-1]) == "The answer is 7."
    assert not models["large"].calls


@each_structured
def test_structured_output_that_agrees_is_given(method: str) -> None:
    models = scripted(method)
    for name in NAMES[:2]:
        models[name].replies = [calling("City", name="Porto", country="Portugal")]
    found = collect(method, mixture(models))[-1]
    assert found == City(name="Porto", country="Portugal")
    assert not models["large"].calls


# --- failures ---


@each_text
def test_a_proposer_that_fails_costs_nothing_but_its_proposal(
    server: OpenAIServer, method: str
) -> None:
    for name, text in zip(NAMES, TEXTS, strict=False):
        server.say(name, text)
    server.script("small", [Fault("status", status=503)])
    server.say("large", lambda body: None if "PROPOSAL" in str(body) else "Third, it is Faro.")
    llm = mixture({n: client(server, n) for n in NAMES}, about={"proposers": NAMES})
    collect(method, llm)
    assert [len(server.asked(name)) for name in NAMES] == [1, 1, 2]
    assert TEXTS[1] in str(server.asked("large")[1])
    (verdict,) = last(llm)["verdicts"]
    assert verdict["note"] == "2 of 3 proposals reached large, which wrote the answer"


@each_text
def test_without_an_aggregator_the_best_proposal_answers(method: str) -> None:
    models = scripted(method, replies=[Busy("busy")])
    for name, text in zip(NAMES, TEXTS, strict=False):
        models[name].replies = [text, Busy("busy")]
    assert text_of(collect(method, mixture(models))[-1]) == TEXTS[1]


@each_text_stream
def test_after_a_part_of_the_answer_nothing_else_follows(method: str) -> None:
    broken = Break(Busy("busy"), after=1, reply=["Hel", "lo"])
    with pytest.raises(StreamInterruptedError) as caught:
        collect(method, mixture(scripted(method, replies=[broken])))
    assert caught.value.partial == "Hel"


# --- inside an agent ---


def test_an_agent_calls_tools_cheaply_and_mixes_its_answer() -> None:
    models = scripted("chat")
    for name in NAMES[:2]:
        text = f"Well, {name} thinks it is sunny there."
        models[name].replies = [calling("weather", city="Porto"), text]
    agent = FunctionAgent(tools=[TOOL], llm=mixture(models))

    async def answer() -> str:
        return str(await agent.run("weather in Porto?"))

    assert asyncio.run(answer())
    # Both propose to call the tool and agree; then all propose an answer, and the large one reads.
    assert [len(models[name].calls) for name in NAMES] == [2, 2, 1]
    system, *others = models["large"].calls[0].messages
    assert system.role == MessageRole.SYSTEM
    assert all(f"Well, {name} thinks" in system.content for name in NAMES[:2])
    assert others[-1].role == MessageRole.TOOL
