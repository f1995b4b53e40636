"""Agents and query engines whose steps are routed one by one: trouble, ends, stages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex, get_response_synthesizer
from llama_index.core.agent.workflow import AgentOutput, AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.tools import QueryEngineTool

from llamaindex_router import Budget, Policy, RouterLLM, call_scope, max_steps
from llamaindex_router._messages import read_prompt
from shared_core import BudgetExceededError, NoCandidateError
from shared_core.types import Step
from tests.fakes.core import Choosing
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.replies import Answer, ToolCall
from tests.integration_tests.llamaindex.forms import METHODS, client, form

pytestmark = pytest.mark.filterwarnings(  # LlamaIndex's own `ReActAgent` does
    "ignore:is_running called from within a step:DeprecationWarning"
)

QUESTION = "How is it in these cities?"
TROUBLED = ("bad Lisboa", "bad Porta", "Lisbon", "Porto", "Faro")


def look(city: str) -> str:
    """Look up a city."""
    if city.startswith("bad"):
        raise ValueError(f"Error: there is no {city}")
    return f"sunny in {city}"


def router(server: OpenAIServer, **settings: Any) -> RouterLLM:
    """A router that takes `small` where nothing speaks against it, however long the prompt is."""
    predictor = Fixed()
    candidates = {name: client(server, name) for name in ("small", "large")}
    return RouterLLM(candidates, **{"predictor": predictor, **settings})


class Fixed(Choosing):
    """Predicts the same of both, so that the first of them is taken."""

    def predict(self, prompt: Any, candidates: Any) -> Any:
        from tests.fakes.core import estimate

        self.prompts.append(prompt)
        return [estimate(candidate.name, 0.8) for candidate in candidates]


def functions(*cities: str) -> Callable[[dict[str, Any]], Answer | None]:
    """Each city once, one call after the other."""

    def reply(body: dict[str, Any]) -> Answer | None:
        results = sum(message["role"] == "tool" for message in body["messages"])
        if not body.get("tools") or results >= len(cities):
            return None
        return Answer(tool_calls=(ToolCall("look", {"city": cities[results]}),))

    return reply


def texts(*cities: str) -> Callable[[dict[str, Any]], str]:
    """The same in `ReActAgent`'s text."""

    def reply(body: dict[str, Any]) -> str:
        said = [str(message["content"]) for message in body["messages"]]
        results = sum("Observation:" in text for text in said[2:])
        if results >= len(cities):
            return "Thought: I know.\nAnswer: It is sunny."
        return f'Thought: I look.\nAction: look\nAction Input: {{"city": "{cities[results]}"}}'

    return reply


Agent = Callable[[RouterLLM], Any]
AGENTS: dict[str, tuple[Agent, Any]] = {
    "function agent": (lambda llm: FunctionAgent(tools=[look], llm=llm), functions),
    "function agent, whole": (
        lambda llm: FunctionAgent(tools=[look], llm=llm, streaming=False),
        functions,
    ),
    "react agent": (lambda llm: ReActAgent(tools=[look], llm=llm), texts),
    "workflow": (lambda llm: AgentWorkflow.from_tools_or_functions([look], llm=llm), functions),
    "workflow of react agents": (
        lambda llm: AgentWorkflow(
            agents=[ReActAgent(name="a", description="Looks.", tools=[look], llm=llm)]
        ),
        texts,
    ),
}
every_agent = pytest.mark.parametrize(("agent", "script"), AGENTS.values(), ids=AGENTS)


async def run(agent: Any, llm: RouterLLM, **options: Any) -> list[dict[str, Any]]:
    """Run an agent; return the record of each step."""
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    handler = agent.run(QUESTION, memory=memory, **options)
    steps = [
        event.response.additional_kwargs["router"]
        async for event in handler.stream_events()
        if isinstance(event, AgentOutput)
    ]
    await handler
    return steps


@every_agent
async def test_the_large_one_takes_over_and_hands_back(
    agent: Agent, script: Any, server: OpenAIServer
) -> None:
    for name in ("small", "large"):
        server.say(name, script(*TROUBLED))
    llm = router(server)
    steps = await run(agent(llm), llm)
    authors = [step["candidate"] for step in steps]
    assert authors == ["small", "small", "large", "large", "small", "small"]
    assert [body["model"] for body in server.requests] == authors
    whose, where = ("the", " of this loop") if script is texts else ("small's", "")
    assert steps[2]["reason"] == f"{whose} last 2 calls{where} failed; large takes over"
    assert steps[4]["reason"].startswith("2 calm steps since the trouble; small")
    for body in server.requests:
        ids = [one["id"] for m in body["messages"] for one in m.get("tool_calls", ())]
        assert ids == [m["tool_call_id"] for m in body["messages"] if m["role"] == "tool"]
        assert '"router"' not in str(body).replace("'", '"')


@every_agent
async def test_a_stall_ends_with_another_model(
    agent: Agent, script: Any, server: OpenAIServer
) -> None:
    for name in ("small", "large"):
        server.say(name, script("Faro", "Faro", "Porto"))
    llm = router(server)
    steps = await run(agent(llm), llm)
    assert [step["candidate"] for step in steps] == ["small", "small", "large", "large"]
    assert "made before, with the same result; large takes over" in steps[2]["reason"]


async def test_one_error_of_calls_side_by_side_is_no_trouble(server: OpenAIServer) -> None:
    def reply(body: dict[str, Any]) -> Answer | None:
        results = sum(message["role"] == "tool" for message in body["messages"])
        if results >= 6:
            return None
        cities = (f"bad {results}", f"good {results}")
        return Answer(tool_calls=tuple(ToolCall("look", {"city": city}) for city in cities))

    server.say("small", reply)
    llm = router(server)
    agent = FunctionAgent(tools=[look], llm=llm, allow_parallel_tool_calls=True)
    steps = await run(agent, llm)
    assert [step["candidate"] for step in steps] == ["small"] * 4


async def test_a_text_that_cannot_be_parsed_goes_to_another_model(server: OpenAIServer) -> None:
    server.say("small", "Thought: I look.\nAction: look\nAction Input: none")
    server.say("large", texts())
    llm = router(server)
    steps = await run(ReActAgent(tools=[look], llm=llm), llm)
    assert [step["candidate"] for step in steps] == ["small", "large"]
    assert steps[1]["reason"] == "small's last call could not be parsed; large takes over"


@pytest.mark.parametrize(
    "said",
    [
        "Error: no such city",
        "ValueError: no such city",
        "Encountered error: no such city",
        "Tool lok not found. Please select a tool that is available.",
        "1 validation error for look\ncity\n  Field required",
        "look() missing 1 required positional argument: 'city'",
        "Traceback (most recent call last):\n  File",
    ],
)
def test_what_a_tools_error_looks_like(said: str) -> None:
    assert read_prompt([*LOOP[:2], ChatMessage(said, role="tool")]).loop[0].failed == 1


@pytest.mark.parametrize(
    "said", ["sunny", "", "Errors are rare there", "Exceptions: none", "No error", "3 errors found"]
)
def test_what_it_does_not_look_like(said: str) -> None:
    result = ChatMessage(said, role="tool")
    assert read_prompt([*LOOP[:2], result]).loop[0].failed == 0
    result.additional_kwargs["is_error"] = True
    assert read_prompt([*LOOP[:2], result]).loop[0].failed == 1


def _openai_call(arguments: str) -> dict[str, Any]:
    return {
        "id": "call_1",
        "type": "function",
        "function": {"name": "look", "arguments": arguments},
    }


LOOP = [
    ChatMessage("How is it?"),
    ChatMessage(
        role="assistant",
        additional_kwargs={
            "tool_calls": [_openai_call('{"b": 1, "a": 2}')],
            "router": {"candidate": "small"},
        },
    ),
    ChatMessage("sunny", role="tool"),
]


def test_what_is_read_of_a_loop() -> None:
    calls = {"tool_calls": [_openai_call('{"city": ')]}
    cut = ChatMessage(role="assistant", additional_kwargs=calls)
    assert read_prompt([*LOOP, cut]).loop == (
        Step("small", ('look {"a": 2, "b": 1}',), results=("sunny",)),
        Step(None, ("look null",), malformed=True),
    )
    assert read_prompt([*LOOP, ChatMessage("And then?")]).loop == ()


def test_what_is_read_of_a_text_loop() -> None:
    action = "Thought: I look.\nAction: look\nAction Input: {'city': 'Faro'}"
    observed = [ChatMessage(action, role="assistant"), ChatMessage("Observation: Error: none")]
    view = read_prompt([ChatMessage("How is it?"), *observed])
    call = "look\nAction Input: {'city': 'Faro'}"
    assert view.loop == (Step(None, (call,), failed=1, results=("Observation: Error: none",)),)
    assert (view.text, view.in_tool_loop) == ("How is it?", True)
    # A user may say what looks like it.
    view = read_prompt([ChatMessage("Hello", role="assistant"), *observed[1:]])
    assert (view.loop, view.in_tool_loop) == ((), False)


@every_agent
async def test_a_loop_that_never_ends_is_ended_by_its_steps(
    agent: Agent, script: Any, server: OpenAIServer
) -> None:
    server.say("small", script(*map(str, range(40))))
    llm = router(server, policy=Policy(subject_to=[max_steps(3)]))
    tasks = asyncio.all_tasks()
    with pytest.raises(NoCandidateError, match="the tool loop has had 3 steps, and at most 3"):
        await run(agent(llm), llm, max_iterations=100)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= tasks
    assert len(server.requests) == 3


@every_agent
async def test_a_loop_that_never_ends_is_ended_by_the_runs_budget(
    agent: Agent, script: Any, server: OpenAIServer
) -> None:
    server.say("small", script(*map(str, range(40))))
    llm = router(server, budgets=Budget(calls=4, per="run"))
    tasks = asyncio.all_tasks()
    for name in ("r1", "r2"):  # each run has its own
        with call_scope(run=name), pytest.raises(BudgetExceededError):
            await run(agent(llm), llm, max_iterations=100)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= tasks
    assert [entry["outcome"] for entry in llm.ledger.entries()] == ["answered"] * 8


# --- stages ---


@pytest.mark.parametrize("method", METHODS)
def test_a_stage_has_its_own_policy_and_its_row_in_the_report(
    method: str, server: OpenAIServer
) -> None:
    llm = router(server)
    stage = llm.with_policy(Policy(subject_to=[large_only]), step="synthesis")
    form(method)(stage)
    form(method)(llm)
    assert [body["model"] for body in server.requests] == ["large", "small"]
    rows = {row["name"]: row["calls"] for row in llm.ledger.report().steps}
    assert rows == {"synthesis": 1, None: 1}


def large_only(prompt: Any, candidate: Any, estimate: Any) -> bool:
    return candidate.name == "large"


def test_whose_word_on_the_step_holds(server: OpenAIServer) -> None:
    llm = router(server)
    stage = llm.with_policy(Policy(), step="own")
    with call_scope(step="scope", user="u7"):
        llm.complete("Hello")
        stage.complete("Hello")
    stage.with_policy(Policy(quality=0.5)).complete("Hello")
    entries = list(llm.ledger.entries())
    assert [entry["step"] for entry in entries] == ["scope", "own", "own"]
    assert [entry["user"] for entry in entries] == ["u7", "u7", None]


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    rivers = ("The Rhine ends in the North Sea.", "The Danube ends in the Black Sea.", "The Elbe.")
    return VectorStoreIndex.from_documents(
        [Document(text=text, doc_id=str(number)) for number, text in enumerate(rivers)],
        embed_model=MockEmbedding(embed_dim=8),
        transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0)],
    )


@pytest.mark.parametrize("mode", ["refine", "tree_summarize"])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_stages_of_a_query_engine(
    mode: Any, asynchronous: bool, index: VectorStoreIndex, server: OpenAIServer
) -> None:
    llm = router(server)
    synthesis = llm.with_policy(Policy(subject_to=[large_only]), step="synthesis")
    engine = RetrieverQueryEngine(
        index.as_retriever(similarity_top_k=3),
        response_synthesizer=get_response_synthesizer(llm=synthesis, response_mode=mode),
    )
    question = "Where does the Rhine end?"
    answer = await engine.aquery(question) if asynchronous else engine.query(question)
    assert "large answers: " in str(answer)
    assert {body["model"] for body in server.requests} == {"large"}
    steps = {row["name"]: row["calls"] for row in llm.ledger.report().steps}
    assert steps == {"synthesis": 3 if mode == "refine" else 1}


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_cheap_sub_questions_and_a_better_synthesis(
    asynchronous: bool, index: VectorStoreIndex, server: OpenAIServer
) -> None:
    questions = [{"sub_question": f"Where does the {r} end?", "tool_name": "rivers"} for r in "AB"]
    server.say(
        "small", lambda body: str({"items": questions}).replace("'", '"') if _asks(body) else None
    )
    llm = router(server)
    small = llm.with_policy(Policy(quality=0.8), step="sub-questions")
    better = llm.with_policy(Policy(subject_to=[large_only]), step="synthesis")
    tool = QueryEngineTool.from_defaults(
        index.as_query_engine(llm=small, similarity_top_k=1), name="rivers", description="Rivers."
    )
    engine = SubQuestionQueryEngine.from_defaults(
        [tool],
        llm=better,
        question_gen=LLMQuestionGenerator.from_defaults(llm=small),
        response_synthesizer=get_response_synthesizer(llm=better),
        use_async=False,
        verbose=False,
    )
    question = "Where do the rivers end?"
    answer = await engine.aquery(question) if asynchronous else engine.query(question)
    assert "large answers: " in str(answer)
    assert [body["model"] for body in server.requests] == ["small"] * 3 + ["large"]
    steps = {row["name"]: row["calls"] for row in llm.ledger.report().steps}
    assert steps == {"sub-questions": 3, "synthesis": 1}


def _asks(body: dict[str, Any]) -> bool:
    return "<User Question>" in str(body["messages"])
