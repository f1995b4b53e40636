"""A LangGraph graph whose nodes use one router, each with a policy of its own.

A customer's letter is made anonymous on this machine and nowhere else, a reply is drafted cheaply,
and the best model reviews it. Needs any OpenAI-compatible server at http://127.0.0.1:11434/v1 that
serves `qwen3:4b` (Ollama, for instance: `ollama pull qwen3:4b`), a key in OPENAI_API_KEY for the
large model, and

    pip install 'router-llm-plugin[langchain]' langchain-openai langgraph
    python examples/03_langgraph_policies.py
"""

from typing import TypedDict

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph

from langchain_router import Candidate, ChatRouter, Policy, local_only

LETTER = """My name is Edith Marlow, customer 88-4127. On 3 March I ordered six cups (order 20931,
84.50 EUR, paid from account DE02 1203 0000 0000 2020 51). The parcel came on 29 March, 19 days
late, with two cups in pieces. I asked for my money on 30 March and 4 April, by telephone, and was
promised an answer within 48 hours both times. Either refund 84.50 EUR by 20 April, or send two
cups and 15 EUR. Otherwise I shall go to the consumer arbitration board."""

small = ChatOpenAI(model="qwen3:4b", base_url="http://127.0.0.1:11434/v1", api_key="none")
large = ChatOpenAI(model="gpt-5-mini")
router = ChatRouter(
    candidates=[  # weakest first
        Candidate("small", small, local=True, price=(0, 0)),
        Candidate("large", large, price=(0.25, 2.00)),
    ]
)
private = router.with_policy(Policy(subject_to=[local_only()]))  # a hard limit
thrifty = router.with_policy(Policy(quality=0.7))  # gives up quality for money
best = router.with_policy(Policy(quality=1.0))  # gives up none


class State(TypedDict, total=False):
    """What the nodes hand on."""

    letter: str
    facts: AIMessage
    draft: AIMessage
    reply: AIMessage


def anonymise(state: State) -> State:
    """Retell the letter without what is private in it: only the retelling leaves this machine."""
    task = "Retell this letter in three sentences, without names, numbers of customers or accounts:"
    return {"facts": private.invoke(f"{task}\n\n{state['letter']}")}


def draft(state: State) -> State:
    """Draft a reply to what is known of the letter."""
    return {"draft": thrifty.invoke(f"Draft a polite reply to a customer:\n{state['facts'].text}")}


def review(state: State) -> State:
    """Have the draft improved by the best model."""
    task = "Improve this reply to a customer; promise nothing new:"
    return {"reply": best.invoke(f"{task}\n{state['draft'].text}")}


def main() -> None:
    """Run the graph and print what each node got from whom."""
    graph = StateGraph(State).add_sequence([anonymise, draft, review])
    app = graph.add_edge(START, "anonymise").add_edge("review", END).compile()
    for step in app.stream({"letter": LETTER}, stream_mode="updates"):
        for node, update in step.items():
            for message in update.values():
                record = message.response_metadata["router"]
                print(f"{node}: {record['candidate']}, because {record['reason']}")
                print(f"  {message.text}\n")


if __name__ == "__main__":
    main()
