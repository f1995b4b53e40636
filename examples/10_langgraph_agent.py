"""A LangGraph agent routed step by step: a plan first, then tools, under one budget for the run.

The planner is held to the best model; each step of the loop goes to the cheapest that is good
enough, and where its tools fail twice in a row a better one takes over. Needs any OpenAI-compatible
server at http://127.0.0.1:11434/v1 that serves `qwen3:4b` (Ollama, for instance:
`ollama pull qwen3:4b`), a key in OPENAI_API_KEY for the large model, and

    pip install 'router-llm-plugin[langchain]' langchain-openai langgraph
    python examples/10_langgraph_agent.py
"""

import sqlite3

from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from langchain_router import Budget, Candidate, ChatRouter, Policy, max_steps

QUESTION = "How many people live in cities on rivers that are longer than 1,000 km?"

tables = sqlite3.connect(":memory:", check_same_thread=False)  # tools run in threads
tables.executescript("""
create table river (name text, length_km real);
create table city (name text, river text, people integer);
insert into river values ('Rhine', 1233), ('Elbe', 1094), ('Thames', 346);
insert into city values ('Basel', 'Rhine', 177595), ('Dresden', 'Elbe', 563311),
    ('Oxford', 'Thames', 162100);
""")
tables.execute("pragma query_only = on")


def schema() -> str:
    """List the tables and their columns."""
    return "\n".join(sql for (sql,) in tables.execute("select sql from sqlite_master"))


def query(sql: str) -> str:
    """Run one SQLite query that reads, and return its rows."""
    return str(tables.execute(sql).fetchmany(20))


# Without `stream_usage`, streams from an address of one's own do not say what they used.
small = ChatOpenAI(
    model="qwen3:4b", base_url="http://127.0.0.1:11434/v1", api_key="none", stream_usage=True
)
large = ChatOpenAI(model="gpt-5-mini", stream_usage=True)
router = ChatRouter(
    candidates=[  # weakest first
        Candidate("small", small, local=True, price=(0, 0)),
        Candidate("large", large, price=(0.25, 2.00)),
    ],
    budgets=[Budget(usd=0.05, per="run")],
)
tools = ToolNode([schema, query], handle_tool_errors=True)  # an error is a result to learn from
planner = router.with_policy(Policy(quality=1.0), step="plan")
stepwise = router.with_policy(Policy(quality=0.9, subject_to=[max_steps(8)]), step="act")
agent = stepwise.bind_tools([schema, query])


class State(MessagesState, total=False):
    """The conversation, and the plan beside it."""

    plan: AIMessage


def plan(state: State) -> State:
    """Say in a few lines how to go about it."""
    task = "Plan in three lines how to find this out from a database of unknown tables."
    return {"plan": planner.invoke([("system", task), *state["messages"]])}


def act(state: State) -> State:
    """Take the next step: call a tool, or answer."""
    task = f"Answer from the database alone. The plan:\n{state['plan'].text}"
    return {"messages": [agent.invoke([("system", task), *state["messages"]])]}


graph = StateGraph(State).add_node(plan).add_node(act).add_node("tools", tools)
graph.add_edge(START, "plan").add_edge("plan", "act").add_edge("tools", "act")
app = graph.add_conditional_edges("act", tools_condition, ["tools", END]).compile()


def show(node: str, message: AnyMessage) -> None:
    """Print a step: a tool's result, or who said or called what, and why they."""
    if not isinstance(message, AIMessage):
        print(f"  {message.text}")
        return
    record = message.response_metadata["router"]
    print(f"\n{node}: {record['candidate']}, because {record['reason']}")
    for call in message.tool_calls:
        print(f"  {call['name']} {call['args']}")


def main() -> None:
    """Ask one question; print texts as they grow, each step once it is taken, and the sums."""
    config = {"configurable": {"run": "question 1"}}
    asked = {"messages": [("user", QUESTION)]}
    for mode, update in app.stream(asked, config, stream_mode=["messages", "updates"]):
        if mode == "messages":
            chunk, _ = update
            if isinstance(chunk, AIMessageChunk):
                print(chunk.text, end="", flush=True)
            continue
        for node, state in update.items():
            for message in state.get("messages") or [state["plan"]]:
                show(node, message)
    for row in router.ledger.report().steps:
        print(f"{row['name']}: {row['usd']:.2g} USD, calls: {row['calls']}")


if __name__ == "__main__":
    main()
