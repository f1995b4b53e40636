"""A cascade in an agent with a tool, then a mixture, in a graph of each framework, on local models.

Run `python -m examples.benchmarks.live_graph` (extras `[demo]`, `langgraph`): the demo's two models
are served with a template out of which tool calls can be read. An agent, whose model is a cascade,
may work sums out with a calculator; then a mixture is told what the agent found and answers. Both
routers share one budget per run and one ledger. The same is a LangGraph graph, streamed with its
messages and updates, and a LlamaIndex workflow, streamed with its events. The demo's graded facts
and sums are put to both.

Out: runs that ended, right answers, calls that the budget let through, texts that were streamed but
are no answer of either step (drafts that should have been held), tool calls, Wh; and the ledger's
tokens beside those that the two servers have counted themselves.
"""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, ToolMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from llama_index.core.agent.workflow import AgentOutput, AgentStream, FunctionAgent, ToolCallResult
from llama_index.core.llms import ChatMessage
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from examples.benchmarks import _live, _page
from examples.benchmarks._live import Models
from examples.demo.__main__ import candidates_for
from examples.demo.clients import Clients
from examples.demo.energy import Wattmeter
from examples.demo.prompts import Prompt, select
from examples.demo.questions import ARITHMETIC, FACTS
from langchain_router import (
    Budget,
    Budgets,
    Cascade,
    ChatRouter,
    Draft,
    Ledger,
    MixtureOfAgents,
    call_scope,
)
from llamaindex_router import RouterLLM
from shared_core.strategies.verifiers.expressions import compute, tokens
from shared_core.types import Scope

CALLS, WH = 8, 1.0  # the budget of a run; the agent takes 2 to 4 calls, the mixture 2 or 3
TASK = "Work out sums with the calculator."
KINDS = ("input_tokens", "output_tokens")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
CALL = {"name": "calculator", "arguments": '{"expression": "6 * 7"}'}
EXAMPLES: list[dict[str, Any]] = [  # without them, neither model ever calls a tool
    {"role": "user", "content": "What is 6 times 7?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "type": "function", "function": CALL}],
    },
    {"role": "tool", "content": "42", "tool_call_id": "1"},
    {"role": "assistant", "content": "42"},
    {"role": "user", "content": "What is the capital of France? Answer in one short sentence."},
    {"role": "assistant", "content": "The capital of France is Paris."},
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


def main(arguments: list[str] | None = None) -> None:
    """Put the prompts to both graphs; write the figures."""
    options = _live.parser(__doc__).parse_args(arguments)
    prompts = select((*FACTS, *ARITHMETIC), options.prompts)
    with _live.pair(options, tools=True) as (models, meter):
        figures = {
            name: lane(prompts, models, meter, at)
            for at, name in enumerate(("LangGraph", "LlamaIndex"))
        }
        method = meter.method
    results = {
        "command": f"python -m examples.benchmarks.live_graph --prompts {len(prompts)} "
        f"--watts {options.watts:g} --threads {options.threads}",
        "prompts": {kind: sum(p.kind == kind for p in prompts) for kind in ("facts", "arithmetic")},
        "budget": {"calls": CALLS, "wh": WH, "per": "run"},
        "energy": method,
        "models": {name: clients.title for name, clients in models.items()},
        "rows": figures,
    }
    _page.publish(options.out, "live_graph", results, {"live graph": table(results)})


def lane(prompts: Sequence[Prompt], models: Models, meter: Wattmeter, at: int) -> dict[str, Any]:
    """Return what became of all prompts in one framework, 0 for LangChain, 1 for LlamaIndex."""
    candidates = [candidates_for(name, counting(clients))[at] for name, clients in models.items()]
    shared: dict[str, Any] = {
        "budgets": Budgets(Budget(calls=CALLS, wh=WH, per="run")),
        "ledger": Ledger(),
        "policy": _live.policy(),
    }
    router, through = ((ChatRouter, through_langgraph), (RouterLLM, through_llamaindex))[at]
    cascading = router(candidates, strategy=Cascade(by_calculator, accept=0.6), **shared)
    mixture = MixtureOfAgents(proposers=tuple(models), skip=None)
    run = through(cascading, router(candidates, strategy=mixture, **shared))
    before, wh = tokens_counted(models), meter.wh()
    runs = [put(run, prompt, cascading) for prompt in prompts]
    entries = list(shared["ledger"].entries())
    attempts = [
        one for entry in entries for one in entry["attempts"] if one["outcome"] != "refused"
    ]
    used = [(one["candidate"], one["usage"] or {}) for one in attempts]
    after = tokens_counted(models)
    return {
        "runs": runs,
        "wh": meter.wh() - wh,
        "attempts": Counter(f"{one['candidate']}: {one['outcome']}" for one in attempts),
        "held_back": len(attempts) - len(entries),
        "ledger_calls": len(attempts),
        "ledger_wh": sum(one["energy_wh"] or 0.0 for one in attempts),
        "ledger_tokens": {
            name: [sum(u.get(kind, 0) for by, u in used if by == name) for kind in KINDS]
            for name in models
        },
        "server_tokens": {
            name: [late - early for early, late in zip(before[name], after[name], strict=True)]
            for name in models
        },
    }


def put(run: Run, prompt: Prompt, router: Any) -> dict[str, Any]:
    """Put one prompt to a graph, and look at its budget; a run that fails is data."""
    name, told = f"run {uuid4().hex}", {"kind": prompt.kind, "prompt": prompt.text}
    try:
        seen = run(prompt.text, name)
    except Exception as error:  # noqa: BLE001 whatever went wrong, the figures must say so
        told |= {"error": f"{type(error).__name__}: {error}"[:300]}
    else:
        told |= {
            "answers": seen.answers,
            "results": seen.results,
            "right": prompt.check(seen.answers[-1]),
            "called_rightly": any(map(prompt.check, seen.results)),
            "stray": seen.stray,
        }
    spent = router.budgets.states(Scope(run=name))[0].standing.spent
    print(told := told | {"calls": spent.calls, "charged_wh": spent.micro_wh / 1e6}, flush=True)
    return told


def tokens_counted(models: Models) -> dict[str, list[int]]:
    """Return how many tokens each server says it has read and written so far."""
    found = {}
    for name, clients in models.items():
        url, key = clients.llm.api_base.removesuffix("/v1"), clients.llm.api_key
        asked = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"})  # noqa: S310
        with urllib.request.urlopen(asked, timeout=60) as reply:  # noqa: S310
            page = reply.read().decode()
        found[name] = [
            int(re.search(rf"^llamacpp:{kind}_total (\d+)", page, re.MULTILINE)[1])
            for kind in ("prompt_tokens", "tokens_predicted")
        ]
    return found


def counting(clients: Clients) -> Clients:
    """Return a model whose LlamaIndex client has the tokens of a stream told, as the other does."""
    told = {"additional_kwargs": {"stream_options": {"include_usage": True}}}
    return replace(clients, llm=clients.llm.model_copy(update=told))


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    titles = ["graph of", "runs ended", "right", "sums: called the calculator, rightly"]
    titles += ["calls per run (at most)", "drafts held back", "drafts shown", "Wh per run"]
    titles += ["tokens by the ledger", "by the servers"]
    rows = []
    for name, row in results["rows"].items():
        runs, sums = row["runs"], [r for r in row["runs"] if r["kind"] == "arithmetic"]
        calls = [run["calls"] for run in runs]
        rows.append(
            [
                name,
                f"{sum('error' not in run for run in runs)} of {len(runs)}",
                f"{sum(run.get('right', False) for run in runs)} of {len(runs)}",
                f"{sum(bool(r.get('results')) for r in sums)}, "
                f"{sum(r.get('called_rightly', False) for r in sums)} of {len(sums)}",
                f"{min(calls)} to {max(calls)} ({results['budget']['calls']})",
                str(row["held_back"]),
                str(sum(run.get("stray", 0) for run in runs)),
                f"{row['wh'] / len(runs):.4f}",
                str(sum(sum(pair) for pair in row["ledger_tokens"].values())),
                str(sum(sum(pair) for pair in row["server_tokens"].values())),
            ]
        )
    return _page.markdown(titles, rows)


if __name__ == "__main__":
    main()
