"""A cascade over real OpenAI clients: what reaches the server, what is broken off, who can use it.

In: a loopback server that answers, logs and counts. Out: what it was asked, and what it noticed.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from itertools import repeat
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.agent.workflow import AgentOutput, AgentStream, AgentWorkflow, FunctionAgent
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike

from llamaindex_router import Draft, RouterLLM, Verdict
from shared_core.types import Ask, Turn, Verification
from tests.fakes.leftovers import eventually, nothing_left
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.replies import Answer, ToolCall
from tests.integration_tests.accounts import KNOWN, READ, WROTE, last, outcomes, tokens
from tests.integration_tests.llamaindex.cascades import Noting, bad, cascade, good
from tests.integration_tests.llamaindex.forms import (
    FORMS,
    RECORDED,
    STREAMED,
    Form,
    client,
    weather,
)

OWN = {"small": "gpt-4o-mini", "large": "gpt-4o"}
TEXT_FORMS = RECORDED[:8]
LONG = " ".join(f"word{number}" for number in range(200))
every_form = pytest.mark.parametrize("form", FORMS)
each_text_form = pytest.mark.parametrize("form", TEXT_FORMS)


def over(server: OpenAIServer, verify: Any, make: Any = client, **settings: Any) -> RouterLLM:
    """A cascade over two clients of the server."""
    return cascade({name: make(server, name) for name in server.models}, verify, **settings)


class Wanting:
    """Wants drafts asked for in its own way, and looks at them, while they grow too if it may.

    Attributes:
        replies: What it was shown, whole.
        grown: What it was shown of those that grew.
    """

    name = "wanting"

    def __init__(self, *, watches: bool = False, drops: str | None = None) -> None:
        self.params = {"logprobs": True, "temperature": 0.7}
        self.replies: list[Any] = []
        self.grown: list[Any] = []
        self._drops = drops
        if watches:
            self.glance = self._glance

    def verify(self, draft: Draft) -> Verification:
        """Like it."""
        yield from ()
        self.replies.append(draft.reply)
        return Verdict(self.name, 0.9)

    def _glance(self, draft: Draft) -> tuple[float, float] | None:
        self.grown.append(draft.reply)
        hit = self._drops is not None and self._drops in draft.reply.text
        return (0.001, 0.1) if hit else None


# --- what is asked for, and what comes of it ---


@every_form
def test_what_a_verifier_wants_of_a_draft_reaches_the_server(
    form: Form, server: OpenAIServer
) -> None:
    verify = Wanting()
    form(over(server, verify))
    (asked,) = server.requests
    assert (asked["model"], asked["temperature"], asked["logprobs"]) == ("small", 0.7, True)
    assert not asked.get("stream")
    assert len(verify.replies) == 1


@every_form
def test_the_answer_in_sight_is_asked_for_as_the_caller_does(
    form: Form, server: OpenAIServer
) -> None:
    form(cascade({n: client(server, n) for n in server.models}, [Wanting(), bad]), temperature=0.2)
    draft, answer = server.requests
    assert (draft["temperature"], answer["temperature"]) == (0.7, 0.2)
    assert "logprobs" not in answer
    assert bool(answer.get("stream")) == (form in STREAMED)


@each_text_form
@pytest.mark.parametrize("watches", [False, True])
def test_the_log_probability_of_every_token_is_known(
    form: Form, watches: bool, server: OpenAIServer
) -> None:
    server.say("small", LONG, logprob=-0.25)
    verify = Wanting(watches=watches)
    form(over(server, verify))
    (reply,) = verify.replies
    assert reply.logprobs == (-0.25,) * 200
    assert (reply.text, reply.finish_reason) == (LONG, "stop")
    assert bool(server.requests[0].get("stream")) == watches
    assert bool(verify.grown) == watches
    for grown in verify.grown:
        assert len(grown.logprobs) == len(grown.text.split())
        assert grown.finish_reason is None


@each_text_form
def test_what_nobody_asked_for_is_not_told(form: Form, server: OpenAIServer) -> None:
    verify = Noting()
    form(over(server, verify))
    assert verify.drafts[0].reply.logprobs is None
    assert "logprobs" not in server.requests[0]


def test_a_completion_model_is_not_asked_for_chat_log_probabilities(server: OpenAIServer) -> None:
    verify = Wanting()

    def completing(server: OpenAIServer, name: str) -> Any:
        return OpenAILike(model=name, api_base=server.base_url, api_key="test")

    over(server, verify, completing).complete("Hello")
    (asked,) = server.requests
    assert "prompt" in asked
    assert "logprobs" not in asked


class Judge:
    """Asks the large model about each draft, in its own words."""

    name = "judge"

    def __init__(self) -> None:
        self.replies: list[Any] = []

    def verify(self, draft: Draft) -> Verification:
        """Ask it."""
        turns = Turn("system", "Say yes or no."), Turn("user", f"<{draft.reply.text}>")
        params = {"temperature": 0.0, "max_tokens": 5, "logprobs": True}
        (reply,) = yield (Ask("large", False, params, turns, purpose="check", replace=True),)
        self.replies.append(reply)
        return Verdict(self.name, 0.9)


@every_form
def test_a_judge_is_sent_its_own_words_alone(form: Form, server: OpenAIServer) -> None:
    server.say("large", "yes")
    judge = Judge()
    form(over(server, judge))
    asked = server.asked("large")
    assert len(asked) == 1
    assert [(m["role"], m["content"][:1]) for m in asked[0]["messages"]] == [
        ("system", "S"),
        ("user", "<"),
    ]
    sent = {name: asked[0][name] for name in ("temperature", "max_tokens", "logprobs")}
    assert sent == {"temperature": 0.0, "max_tokens": 5, "logprobs": True}
    assert not {"tools", "response_format", "tool_choice"} & set(asked[0])
    assert (judge.replies[0].text, judge.replies[0].logprobs) == ("yes", (-0.1,))


# --- usage ---


@every_form
def test_drafts_and_checks_are_charged(form: Form, server: OpenAIServer) -> None:
    for model in server.models:
        server.report(model, KNOWN)
    llm = over(server, [Judge(), bad])
    options = {"stream_options": {"include_usage": True}} if form in STREAMED else {}
    form(llm, **options)
    assert outcomes(last(llm)) == [
        ("small", "answered"),
        ("large", "answered"),
        ("large", "answered"),
    ]
    assert tokens(llm)[:2] == (3 * READ, 3 * WROTE)


@each_text_form
def test_a_watched_draft_of_openais_own_client_tells_its_usage(
    form: Form, server: OpenAIServer
) -> None:
    def own(server: OpenAIServer, name: str) -> Any:
        return OpenAI(model=OWN[name], api_base=server.base_url, api_key="test")

    server.report(OWN["small"], KNOWN)
    llm = over(server, Wanting(watches=True), own)
    form(llm)
    assert server.requests[0]["stream_options"] == {"include_usage": True}
    assert tokens(llm)[:2] == (READ, WROTE)


# --- a draft that is broken off ---


@each_text_form
def test_the_server_notices_that_a_draft_is_dropped(form: Form, server: OpenAIServer) -> None:
    server.say("small", LONG)
    server.script("small", [Fault("slow", between_s=0.003)])
    llm = over(server, Wanting(watches=True, drops="word20"))
    with nothing_left(server.let_go):
        response = form(llm)
        del response
    assert eventually(lambda: server.abandoned == 1)
    assert outcomes(last(llm)) == [("small", "dropped"), ("large", "answered")]
    assert [request["model"] for request in server.requests] == ["small", "large"]


async def test_it_does_so_while_the_loop_goes_on(server: OpenAIServer) -> None:
    server.say("small", LONG)
    server.script("small", [Fault("slow", between_s=0.003)])
    server.script("large", [Fault("slow", first_s=0.2)])  # by then the draft would be whole
    llm = over(server, Wanting(watches=True, drops="word20"))
    gc.disable()
    try:
        await llm.acomplete("Hello")
        assert server.abandoned == 1
    finally:
        gc.enable()


def test_the_server_notices_that_a_stream_is_left(server: OpenAIServer) -> None:
    server.say("small", LONG)
    server.script("small", [Fault("slow", between_s=0.01)])
    gc.disable()
    try:
        stream = RouterLLM({"small": client(server)}).stream_complete("Hello")
        next(stream)
        stream.close()
        assert eventually(lambda: server.abandoned == 1)
    finally:
        gc.enable()


# --- agents and engines ---


@pytest.mark.parametrize(("verify", "writer"), [(good, "small"), (bad, "large")])
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_function_agent_runs_its_tool(
    verify: Any, writer: str, streaming: bool, server: OpenAIServer
) -> None:
    cities = []

    def look(city: str) -> str:
        """Tell the weather in a city."""
        cities.append(city)
        return weather(city)

    llm = over(server, verify)
    agent = FunctionAgent(tools=[look], llm=llm, streaming=streaming)
    question = "Use the look tool: how is the weather in 'Lisbon'?"
    handler = agent.run(question, memory=ChatMemoryBuffer.from_defaults(llm=llm))
    events = [event async for event in handler.stream_events()]
    answer = await handler
    assert cities == ["Lisbon"]  # the rejected draft's call is not carried out
    assert str(answer) == f"{writer} answers: sunny in Lisbon"
    authors = [
        event.response.additional_kwargs["router"]["candidate"]
        for event in events
        if isinstance(event, AgentOutput)
    ]
    assert authors == [writer] * 2
    if streaming:
        streamed = "".join(event.delta for event in events if isinstance(event, AgentStream))
        assert streamed == str(answer)
    # Who called the tool reads its result; where that is the best one, without a draft.
    asked = ["small", "small"] if writer == "small" else ["small", "large", "large"]
    assert [request["model"] for request in server.requests] == asked


async def test_a_workflow_hands_over_by_an_accepted_draft(server: OpenAIServer) -> None:
    call = ToolCall("handoff", {"to_agent": "writer", "reason": "none"})

    def small(body: dict[str, Any]) -> str | Answer:
        if not body.get("tools"):
            return "Hi"
        return Answer(tool_calls=(call,), finish_reason="tool_calls")

    server.say("small", small)
    llm = over(server, lambda draft: any(name == "handoff" for name, _ in draft.reply.tool_calls))
    clerk = FunctionAgent(name="clerk", description="Hands over.", llm=llm)
    writer = FunctionAgent(name="writer", description="Writes.", llm=llm, can_handoff_to=[])
    workflow = AgentWorkflow(agents=[clerk, writer], root_agent="clerk")
    handler = workflow.run("Write.", memory=ChatMemoryBuffer.from_defaults(llm=llm))
    authors = [
        (event.current_agent_name, event.response.additional_kwargs["router"]["candidate"])
        async for event in handler.stream_events()
        if isinstance(event, AgentOutput)
    ]
    assert "large" in str(await handler)
    assert authors == [("clerk", "small"), ("writer", "large")]


@pytest.mark.parametrize(("verify", "writer"), [(good, "small"), (bad, "large")])
async def test_engines_answer_and_stream(verify: Any, writer: str, server: OpenAIServer) -> None:
    llm = over(server, verify)
    index = SummaryIndex.from_documents([Document(text="The Elbe ends at Cuxhaven.")])
    whole = index.as_query_engine(llm=llm).query("Where does the Elbe end?")
    streamed = index.as_query_engine(llm=llm, streaming=True).query("Where does the Elbe end?")
    assert "".join(streamed.response_gen) == str(whole)
    later = await index.as_query_engine(llm=llm, use_async=True).aquery("Where does the Elbe end?")
    assert str(later) == str(whole)
    assert str(whole).startswith(f"{writer} answers: ")
    chat = SimpleChatEngine.from_defaults(llm=llm, memory=ChatMemoryBuffer.from_defaults(llm=llm))
    said = "".join(chat.stream_chat("Hello").response_gen)
    assert said == f"{writer} answers: Hello"
    assert [m.additional_kwargs["router"]["candidate"] for m in chat.chat_history[1:]] == [writer]
    assert len(server.requests) == (4 if writer == "small" else 8)


# --- verifiers are waited for without blocking ---


async def test_the_loop_goes_on_while_a_verifier_looks(server: OpenAIServer) -> None:
    looking, done = threading.Event(), threading.Event()

    def waits(draft: Draft) -> bool:
        looking.set()
        return done.wait(10)

    llm = over(server, waits)
    task = asyncio.ensure_future(llm.acomplete("Hello"))
    async with asyncio.timeout(10):
        while not looking.is_set():  # noqa: ASYNC110 - the loop is what is tested
            await asyncio.sleep(0.001)
    done.set()
    assert (await task).text == "small answers: Hello"


def test_calls_side_by_side_keep_their_drafts_apart(server: OpenAIServer) -> None:
    server.script("small", repeat(Fault("slow", between_s=0.001)))

    def odd(draft: Draft) -> bool:
        return draft.reply.text.split()[-1] in "13579"

    llm = over(server, odd)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(llm.acomplete(f"Number {n}") for n in range(10)))

    said = [response.text for response in asyncio.run(all_of_them())]
    assert said == [f"{'small' if n % 2 else 'large'} answers: Number {n}" for n in range(10)]
