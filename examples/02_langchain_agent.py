"""A LangChain agent over a router: two tools, questions of several steps, who wrote each step.

Every step is routed by itself, but the model that called a tool is also the one that reads its
result. Needs any OpenAI-compatible server at http://127.0.0.1:11434/v1 that serves `qwen3:4b`
(Ollama, for instance: `ollama pull qwen3:4b`), a key in OPENAI_API_KEY for the large model, and

    pip install 'router-llm-plugin[agents]' langchain-openai
    python examples/02_langchain_agent.py
"""

from datetime import date

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage
from langchain_openai import ChatOpenAI

from langchain_router import Candidate, ChatRouter

EASY = "Which day of the week is 2031-05-25?"
HARD = (
    "The milestones of a project are 2031-02-03, 2031-05-25 and 2031-08-17. Any that falls on a "
    "Saturday or a Sunday moves to the Monday after. How many days lie between the milestones "
    "once they have moved, and which of the two stretches is longer?"
)


def weekday(day: date) -> str:
    """Tell which day of the week a date is."""
    return day.strftime("%A")


def days_between(first: date, second: date) -> int:
    """Count the days from one date to another."""
    return (second - first).days


def describe(message: BaseMessage) -> str:
    """One step in a line: a tool's result, or what a candidate said or called."""
    if not isinstance(message, AIMessage):
        return f"  {message.name} -> {message.text}"
    calls = ", ".join(f"{call['name']} {call['args']}" for call in message.tool_calls)
    said = f"calls {calls}" if calls else f"says: {message.text}"
    return f"{message.response_metadata['router']['candidate']} {said}"


def main() -> None:
    """Ask both questions and print each step as it is taken."""
    small = ChatOpenAI(model="qwen3:4b", base_url="http://127.0.0.1:11434/v1", api_key="none")
    large = ChatOpenAI(model="gpt-5-mini")
    router = ChatRouter(
        candidates=[  # weakest first
            Candidate("small", small, local=True, price=(0, 0)),
            Candidate("large", large, price=(0.25, 2.00)),
        ]
    )
    agent = create_agent(router, tools=[weekday, days_between])
    for question in (EASY, HARD):
        print(f"\n{question}")
        steps = agent.stream({"messages": [("user", question)]}, stream_mode="updates")
        for step in steps:
            for update in step.values():
                for message in update["messages"]:
                    print(describe(message))


if __name__ == "__main__":
    main()
