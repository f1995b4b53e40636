"""An agent with a calculator, then a model that answers, as a graph of either framework.

In: two models, one for the agent and one for the answer. Out: runs that put a question to the graph
and take down all that it streams: a LangGraph graph with its messages and updates, a LlamaIndex
workflow with its events.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    HumanMessage,
    ToolMessage,
)
from langgraph.graph import END, START, MessagesState, StateGraph
from llama_index.core.agent.workflow import (
    AgentOutput,
    AgentStream,
    FunctionAgent,
    ToolCallResult,
)
from llama_index.core.llms import ChatMessage
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from langchain_router import ChatRouter, Draft, call_scope
from llamaindex_router import RouterLLM
from shared_core.strategies.verifiers.expressions import compute, tokens

TASK = "Work out sums with the calculator."
NUMBER = re.compile(r"\d+(?:\.\d+)?")
CALL = {"name": "calculator", "arguments": '{"expression": "6 * 7"}'}
EXAMPLES: list[dict[str, Any]] = [  # small models do as they see it done, and as it was done last
    {"role": "user", "content": "What is the capital of France? Answer in one short sentence."},
    {"role": "assistant", "content": "The capital of France is Paris."},
    {"role": "user", "content": "What is 6 times 7? Reply with the number only."},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "type": "function", "function": CALL}],
    },
    {"role": "tool", "content": "42", "tool_call_id": "1"},
    {"role": "assistant", "content": "42"},
]


def calculator(expression: str) -> str:
    """Work out an arithmetic expression."""
    found = compute(tokens(expression, 1))
    return "That is no expression." if found is None else f"{found.value:g}"


def by_calculator(draft: Draft) -> bool | None:
    """Sums are to be worked out by the calculator, with all their numbers, and nothing else is.

    Whether anything but a call is right, it cannot tell.
    """
    if draft.prompt.in_tool_loop:
        return None
    numbers = set(NUMBER.findall(draft.prompt.text))
    called = [str(arguments.get("expression")) for _, arguments in draft.reply.tool_calls]
    if not (numbers or called):
        return None
    return bool(called and numbers) and numbers <= set(NUMBER.findall(called[0]))


def told(question: str, found: str) -> str:
    """Return what the mixture is asked."""
    return f"{question}\n\nSomebody has looked into it and says: {found}"


@dataclass
class Seen:
    """What one run showed.

    Attributes:
        streamed: Texts by the step that wrote them, each as it grew.
        answers: Texts that the steps ended with.
        results: What the calculator returned.
    """

    streamed: dict[str, str] = field(default_factory=lambda: defaultdict(str))
    answers: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    @property
    def stray(self) -> int:
        """How many of the streamed texts no step ended with."""
        return sum(text not in self.answers for text in self.streamed.values() if text)


Run = Callable[[str, str], Seen]
"""Puts a question to a graph, under a name for the run."""


def through_langgraph(cascading: ChatRouter, mixing: ChatRouter) -> Run:
    """Return runs of a LangGraph graph."""

    def answer(state: MessagesState) -> dict[str, Any]:
        *_, question = [m.text for m in state["messages"] if isinstance(m, HumanMessage)]
        return {"messages": [mixing.invoke(told(question, state["messages"][-1].text))]}

    agent = create_agent(cascading, [calculator], system_prompt=TASK, name="agent")
    graph = StateGraph(MessagesState).add_node("agent", agent).add_node("answer", answer)
    graph.add_edge(START, "agent").add_edge("agent", "answer").add_edge("answer", END)
    app = graph.compile()

    def run(question: str, name: str) -> Seen:
        seen, asked = Seen(), {"messages": [*EXAMPLES, {"role": "user", "content": question}]}
        config: Any = {"configurable": {"run": name}, "recursion_limit": 12}
        modes: Any = ["messages", "updates"]
        for _, mode, item in app.stream(asked, config, stream_mode=modes, subgraphs=True):
            if mode == "messages" and isinstance(item[0], (AIMessage, AIMessageChunk)):
                seen.streamed[item[0].id or ""] += item[0].text
            elif mode == "updates":
                for node in item.keys() - {"agent"}:  # whose own nodes have told already
                    note(seen, item[node]["messages"])
        return seen

    return run


def note(seen: Seen, messages: Sequence[AnyMessage]) -> None:
    """Take down what a node has added to the state."""
    seen.answers += [m.text for m in messages if isinstance(m, AIMessage) and m.text]
    seen.results += [m.text for m in messages if isinstance(m, ToolMessage)]


class Piece(Event):
    """A piece of the mixture's answer."""

    delta: str


class Found(Event):
    """What the agent found."""

    question: str
    text: str


def spoken(role: str, content: str, **more: Any) -> ChatMessage:
    """Return a message of OpenAI's form as one of LlamaIndex."""
    return ChatMessage(role=role, content=content, additional_kwargs=more)


class AgentThenMixture(Workflow):
    """The two steps as a workflow of LlamaIndex."""

    def __init__(self, cascading: RouterLLM, mixing: RouterLLM) -> None:
        """Keep the models of both steps."""
        super().__init__(timeout=1800)
        self._agent = FunctionAgent(llm=cascading, tools=[calculator], system_prompt=TASK)
        self._mixing = mixing

    @step
    async def look_into(self, ctx: Context, started: StartEvent) -> Found:
        """Have the agent look into it."""
        history = [spoken(**example) for example in EXAMPLES]
        handler = self._agent.run(started.question, chat_history=history, max_iterations=5)
        async for event in handler.stream_events():
            if isinstance(event, (AgentStream, AgentOutput, ToolCallResult)):
                ctx.write_event_to_stream(event)
        return Found(question=started.question, text=str(await handler))

    @step
    async def answer(self, ctx: Context, found: Found) -> StopEvent:
        """Have the mixture answer."""
        text, asked = "", [ChatMessage(role="user", content=told(found.question, found.text))]
        async for response in await self._mixing.astream_chat(asked):
            text = response.message.content or ""
            ctx.write_event_to_stream(Piece(delta=response.delta or ""))
        return StopEvent(result=text)


def through_llamaindex(cascading: RouterLLM, mixing: RouterLLM) -> Run:
    """Return runs of a LlamaIndex workflow."""

    async def collect(question: str, name: str) -> Seen:
        seen = Seen()
        with call_scope(run=name):
            handler = AgentThenMixture(cascading, mixing).run(question=question)
            async for event in handler.stream_events():
                if isinstance(event, (AgentStream, Piece)):
                    seen.streamed[f"{type(event).__name__} {len(seen.results)}"] += event.delta
                elif isinstance(event, AgentOutput):
                    seen.answers.append(event.response.content or "")
                elif isinstance(event, ToolCallResult):
                    seen.results.append(str(event.tool_output.content))
            seen.answers.append(await handler)
        return seen

    return lambda question, name: asyncio.run(collect(question, name))
