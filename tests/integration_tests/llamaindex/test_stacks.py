"""Query engines, chat engines and agents over a router with real clients on a loopback server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.agent.workflow import AgentOutput, AgentStream, AgentWorkflow, FunctionAgent
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import SentenceSplitter
from llama_index.llms.openai_like import OpenAILike

from llamaindex_router import Policy, RouterLLM
from tests.fakes.core import Choosing
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.replies import Answer, ToolCall
from tests.integration_tests.llamaindex.forms import QUESTION, City, client, weather

CORPUS = [
    "The Rhine rises in the Swiss Alps, passes Lake Constance and the Rhine Falls, and reaches the "
    "North Sea in the Netherlands after about 1,230 kilometres.",
    "The Danube rises in the Black Forest and flows through ten countries, more than any other "
    "river, before it reaches the Black Sea.",
    "The Elbe rises in the Giant Mountains of the Czech Republic, passes Dresden and Hamburg, and "
    "ends in the North Sea at Cuxhaven.",
]


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    return VectorStoreIndex.from_documents(
        [Document(text=text, doc_id=str(number)) for number, text in enumerate(CORPUS)],
        embed_model=MockEmbedding(embed_dim=8),
        transformations=[SentenceSplitter(chunk_size=128, chunk_overlap=0)],
    )


def switching(
    server: OpenAIServer, choose: Callable[[int], str], **settings: Any
) -> tuple[RouterLLM, Choosing]:
    """A router that picks by the number of the decision, from 0, and what it decided on."""
    candidates = {name: client(server, name) for name in ("small", "large")}
    predictor = Choosing(choose)
    return RouterLLM(candidates, predictor=predictor, **settings), predictor


@pytest.fixture
def llm(server: OpenAIServer) -> RouterLLM:
    """A router that picks what `bare` is, however long the prompts of these stacks are."""
    return switching(server, lambda _: "small")[0]


def halves(server: OpenAIServer) -> tuple[list[Any], list[Any]]:
    """What the server got in the first and in the second half of a comparison."""
    requests = server.requests
    middle = len(requests) // 2
    return requests[:middle], requests[middle:]


@pytest.mark.parametrize("mode", ["compact", "tree_summarize", "refine"])
def test_a_query_engine_asks_and_answers_as_over_the_bare_client(
    mode: str, index: VectorStoreIndex, bare: OpenAILike, llm: RouterLLM, server: OpenAIServer
) -> None:
    expected, given = (
        index.as_query_engine(llm=one, response_mode=mode, similarity_top_k=3).query(
            "Where does the Danube end?"
        )
        for one in (bare, llm)
    )
    assert str(given) == str(expected)
    assert "small answers: " in str(given)
    wanted, sent = halves(server)
    assert sent == wanted
    assert "ten countries" in str(sent)


def test_tree_summarize_decides_for_every_call(
    index: VectorStoreIndex, server: OpenAIServer
) -> None:
    # The window that the router states makes chunks so small that two calls have to be summed up.
    llm, decided = switching(server, lambda n: "small" if n < 2 else "large", context_window=460)
    engine = index.as_query_engine(llm=llm, response_mode="tree_summarize", similarity_top_k=3)
    assert "large answers: " in str(engine.query("Which rivers end in the North Sea?"))
    asked = [request["model"] for request in server.requests]
    assert asked == ["small", "small", "large"]
    assert len(decided.prompts) == 3


async def test_a_query_engine_streams_and_runs_async(
    index: VectorStoreIndex, bare: OpenAILike, llm: RouterLLM, server: OpenAIServer
) -> None:
    async def asked(one: Any) -> tuple[list[str], str, str]:
        engine = index.as_query_engine(llm=one, streaming=True, use_async=True)
        words = list(engine.query("Where does the Elbe end?").response_gen)
        awaited = await engine.aquery("Where does the Elbe end?")
        streamed = "".join([word async for word in awaited.async_response_gen()])
        plain = await index.as_query_engine(llm=one).aquery("And the Rhine?")
        return [word for word in words if word], streamed, str(plain)

    expected = await asked(bare)
    assert await asked(llm) == expected
    assert len(expected[0]) > 2
    wanted, sent = halves(server)
    assert sent == wanted


@pytest.mark.parametrize("mode", ["context", "condense_plus_context", "condense_question"])
async def test_a_chat_engine_asks_as_over_the_bare_client(
    mode: str, index: VectorStoreIndex, bare: OpenAILike, llm: RouterLLM, server: OpenAIServer
) -> None:
    async def talk(one: Any) -> list[str]:
        memory = ChatMemoryBuffer.from_defaults(llm=one)
        engine = index.as_chat_engine(chat_mode=mode, llm=one, memory=memory)
        first = engine.chat("Where does the Rhine rise?")
        second = "".join(engine.stream_chat("And the Elbe?").response_gen)
        third = await engine.achat("And the Danube?")
        return [str(first), second, str(third)]

    expected = await talk(bare)
    assert await talk(llm) == expected
    assert all(" answers: " in answer for answer in expected)
    wanted, sent = halves(server)
    assert sent == wanted


def test_a_chat_engine_remembers_who_answered_and_tells_nobody(
    index: VectorStoreIndex, llm: RouterLLM, server: OpenAIServer
) -> None:
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    engine = index.as_chat_engine(chat_mode="simple", llm=llm, memory=memory)
    engine.chat("Hello")
    engine.chat("And again.")
    remembered = [m for m in engine.chat_history if m.role == "assistant"]
    assert [m.additional_kwargs["router"]["candidate"] for m in remembered] == ["small"] * 2
    assert len(server.requests[1]["messages"]) == 3
    assert '"router"' not in str(server.requests).replace("'", '"')


class Look:
    """A tool that remembers what it was called with."""

    def __init__(self) -> None:
        self.cities: list[str] = []

    def look(self, city: str) -> str:
        """Tell the weather in a city."""
        self.cities.append(city)
        return weather(city)


@pytest.mark.parametrize("streaming", [True, False])
async def test_33_35_37_a_function_agent_runs_its_tool(
    streaming: bool, bare: OpenAILike, server: OpenAIServer
) -> None:
    async def run(one: Any) -> tuple[Any, Look, list[Any]]:
        tool = Look()
        agent = FunctionAgent(tools=[tool.look], llm=one, streaming=streaming)
        memory = ChatMemoryBuffer.from_defaults(llm=bare)
        question = "Use the look tool: how is the weather in 'Lisbon'?"
        handler = agent.run(question, memory=memory)
        events = [event async for event in handler.stream_events()]
        return await handler, tool, [e.delta for e in events if isinstance(e, AgentStream)]

    # The second decision alone would go to the other one, whose request would be `large`'s.
    routed, decided = switching(server, lambda n: "small" if n == 0 else "large")
    expected, given = await run(bare), await run(routed)
    assert given[1].cities == expected[1].cities == ["Lisbon"]
    assert str(given[0]) == str(expected[0])
    assert [d for d in given[2] if d] == [d for d in expected[2] if d]
    assert given[0].response.additional_kwargs["router"]["candidate"] == "small"
    assert len(decided.prompts) == 2
    wanted, sent = halves(server)
    assert [(r["model"], r["messages"][-1]["role"]) for r in sent] == [
        ("small", "user"),
        ("small", "tool"),
    ]
    for ours, bares in zip(sent, wanted, strict=True):
        assert ours["tools"] == bares["tools"]
        assert [set(m) for m in ours["messages"]] == [set(m) for m in bares["messages"]]


async def test_an_agents_next_question_may_go_to_another_model(server: OpenAIServer) -> None:
    llm, _ = switching(server, lambda n: "small" if n < 2 else "large")
    tool = Look()
    agent = FunctionAgent(tools=[tool.look], llm=llm)
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    for city in ("Lisbon", "Porto"):
        await agent.run(f"Use the look tool for '{city}'.", memory=memory)
    assert tool.cities == ["Lisbon", "Porto"]
    assert [request["model"] for request in server.requests] == ["small"] * 2 + ["large"] * 2
    authors = [
        m.additional_kwargs["router"]["candidate"]
        for m in memory.get_all()
        if m.role == "assistant"
    ]
    assert authors == ["small"] * 2 + ["large"] * 2


async def test_a_workflow_takes_the_agent_that_calls_functions(llm: RouterLLM) -> None:
    workflow = AgentWorkflow.from_tools_or_functions([weather], llm=llm)
    assert isinstance(next(iter(workflow.agents.values())), FunctionAgent)
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    assert str(await workflow.run("Use the weather tool: how is it?", memory=memory))


def test_38_settings_count_what_the_router_spends(
    llm: RouterLLM,
    bare: OpenAILike,
    index: VectorStoreIndex,
    server: OpenAIServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    for name in ("_llm", "_callback_manager", "_prompt_helper"):
        monkeypatch.setattr(Settings, name, None)
    Settings.callback_manager = CallbackManager([counter])
    counted = []
    for one in (bare, llm):
        Settings.llm = one
        assert " answers: " in str(index.as_query_engine().query(QUESTION))
        counted.append(counter.total_llm_token_count)
        counter.reset_counts()
    assert counted[0] == counted[1] > 0
    assert len(server.requests) == 2


async def test_a_structured_llm_asks_as_over_the_bare_client(
    bare: OpenAILike, llm: RouterLLM, server: OpenAIServer
) -> None:
    hello = llm.chat([ChatMessage(content="Hello")]).message
    server.reset()
    plain = ChatMessage(role="assistant", content=hello.content)
    for one, said in ((bare, plain), (llm, hello)):
        structured = one.as_structured_llm(City)
        messages = [ChatMessage(content="Hello"), said, ChatMessage(content="'Lima' in 'Peru'")]
        for answer in (structured.chat(messages), await structured.achat(messages)):
            assert answer.raw == City(name="Lima", country="Peru")
        assert isinstance(structured.complete("A city.").raw, City)
    wanted, sent = halves(server)
    assert sent == wanted
    llm.as_structured_llm(City).chat(messages, model="large")
    assert server.requests[-1]["model"] == "large"


async def test_an_agent_that_takes_over_follows_its_own_policy(server: OpenAIServer) -> None:
    def small(body: dict[str, Any]) -> str | Answer:
        if not body.get("tools"):
            return "Hi"
        call = ToolCall("handoff", {"to_agent": "writer", "reason": "none"})
        return Answer(tool_calls=(call,), finish_reason="tool_calls")

    server.say("small", small)
    llm = RouterLLM({name: client(server, name) for name in ("small", "large")})
    clerk = FunctionAgent(name="clerk", description="Hands over.", llm=llm)
    best = llm.with_policy(Policy(quality=1, stay_in_tool_loop=False))
    writer = FunctionAgent(name="writer", description="Writes.", llm=best, can_handoff_to=[])
    workflow = AgentWorkflow(agents=[clerk, writer], root_agent="clerk")
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    handler = workflow.run("Write a letter.", memory=memory)
    authors = [
        (event.current_agent_name, event.response.additional_kwargs["router"]["candidate"])
        async for event in handler.stream_events()
        if isinstance(event, AgentOutput)
    ]
    await handler
    assert authors == [("clerk", "small"), ("writer", "large")]
