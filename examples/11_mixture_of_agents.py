"""A mixture of agents beside its large model alone: who proposed, who wrote, what each took.

Two small models and the large one propose, and the large one writes the answer out of what they
say, unless most of them agree; in both frameworks. The same question goes to the large model alone,
and the ledger's report sets the two side by side: whether the answers are better is yours to judge.
Needs any OpenAI-compatible server at http://127.0.0.1:11434/v1 that serves `qwen3:4b` and
`gemma3:4b` (Ollama, for instance: `ollama pull qwen3:4b`), a key in OPENAI_API_KEY for the large
model, and

    pip install 'router-llm-plugin[langchain,llamaindex]' langchain-openai
    pip install llama-index-llms-openai-like
    python examples/11_mixture_of_agents.py
"""

from typing import Any

from langchain_openai import ChatOpenAI
from llama_index.llms.openai_like import OpenAILike

from langchain_router import Candidate, ChatRouter, MixtureOfAgents, call_scope
from llamaindex_router import RouterLLM

QUESTION = "A village of 300 wants to keep its only shop. Name the three best ways, and the risks."
LOCAL = "http://127.0.0.1:11434/v1"


def candidates(qwen: Any, gemma: Any, large: Any) -> list[Candidate]:
    """Say what each costs and takes; the Wh per million tokens are assumed, not measured."""
    return [  # weakest first
        Candidate("qwen", qwen, local=True, price=(0, 0), energy=(60, 400)),
        Candidate("gemma", gemma, local=True, price=(0, 0), energy=(60, 400)),
        Candidate("large", large, price=(0.25, 2.00), energy=(0, 280)),
    ]


def local_llm(model: str) -> OpenAILike:
    """Make LlamaIndex's client of a model that is served here."""
    return OpenAILike(model=model, api_base=LOCAL, api_key="none", is_chat_model=True)


strategy = MixtureOfAgents(proposers=["qwen", "gemma", "large"], aggregator="large")
chat = ChatRouter(
    candidates(
        ChatOpenAI(model="qwen3:4b", base_url=LOCAL, api_key="none"),
        ChatOpenAI(model="gemma3:4b", base_url=LOCAL, api_key="none"),
        ChatOpenAI(model="gpt-5-mini"),
    ),
    strategy=strategy,
)
llm = RouterLLM(
    candidates(
        local_llm("qwen3:4b"),
        local_llm("gemma3:4b"),
        OpenAILike(model="gpt-5-mini", is_chat_model=True),
    ),
    strategy=strategy,
    ledger=chat.ledger,
)


def tell(answer: str, record: dict[str, Any]) -> None:
    """Print an answer, who was asked for it, and what became of the proposals."""
    print(answer)
    print("  asked:", ", ".join(one["candidate"] for one in record["attempts"]))
    for verdict in record.get("verdicts", []):
        print(f"  {verdict['note']}")


def main() -> None:
    """Ask in both frameworks, mixed and alone, then compare."""
    print(chat.explain(QUESTION).plan)
    for step, forced in (("mixture", {}), ("large alone", {"model": "large"})):
        with call_scope(step=step):
            message = chat.invoke(QUESTION, **forced)
            tell(message.text, message.response_metadata["router"])
            response = llm.complete(QUESTION, **forced)
            tell(response.text, response.additional_kwargs["router"])
    for row in chat.ledger.report().steps:
        print(f"{row['name']}: {row['usd']:.2g} USD, {row['wh']:.2g} Wh, calls: {row['calls']}")


if __name__ == "__main__":
    main()
