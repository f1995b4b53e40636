"""A LlamaIndex engine with a router per stage: small ones split and read, the best one writes.

A question is split into one for each of two indexes over this repository's documents, each is
answered from its passages, and an answer is written from these. The stages are copies of one
router, each with its own policy: they share a ledger, which reports by stage, and a budget for the
question. Needs any OpenAI-compatible server at http://127.0.0.1:11434/v1 that serves `qwen3:4b`
(Ollama, for instance: `ollama pull qwen3:4b`), a key in OPENAI_API_KEY for the large model, and

    pip install 'router-llm-plugin[llamaindex]' llama-index-llms-openai-like
    python examples/09_rag_router_per_stage.py
"""

from pathlib import Path

from llama_index.core import Document, SimpleKeywordTableIndex, get_response_synthesizer
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.tools import QueryEngineTool
from llama_index.llms.openai_like import OpenAILike

from llamaindex_router import Budget, Candidate, Policy, RouterLLM, call_scope

DOCS = Path(__file__).parents[1] / "docs"
SOURCES = {
    "architecture": ("How the code is built: stages, rooms, rules.", [DOCS / "architecture.md"]),
    "decisions": ("Why it is built so.", sorted((DOCS / "decisions").glob("*.md"))),
}
QUESTION = "Where does a strategy get its replies from, and why is it written as a generator?"

small = OpenAILike(
    model="qwen3:4b",
    api_base="http://127.0.0.1:11434/v1",
    api_key="none",
    is_chat_model=True,
    context_window=32_000,
)
large = OpenAILike(model="gpt-5-mini", is_chat_model=True, context_window=400_000)
router = RouterLLM(
    candidates=[  # weakest first
        Candidate("small", small, local=True, price=(0, 0)),
        Candidate("large", large, price=(0.25, 2.00)),
    ],
    budgets=[Budget(usd=0.05, per="run")],
)
thrifty = Policy(quality=0.7, prefer_local=True)
splitting = router.with_policy(thrifty, step="split")
reading = router.with_policy(thrifty, step="read")
writing = router.with_policy(Policy(quality=1.0), step="write")


def reader(name: str) -> QueryEngineTool:
    """Make an engine over one source that refines its answer passage by passage."""
    about, files = SOURCES[name]
    index = SimpleKeywordTableIndex.from_documents(
        [Document(text=file.read_text(encoding="utf-8")) for file in files],
        llm=reading,
        transformations=[SentenceSplitter(chunk_size=256, chunk_overlap=0)],
    )
    engine = index.as_query_engine(llm=reading, response_mode="refine", num_chunks_per_query=2)
    return QueryEngineTool.from_defaults(engine, name=name, description=about)


def main() -> None:
    """Ask one question, then print what each stage did and cost."""
    engine = SubQuestionQueryEngine(
        question_gen=LLMQuestionGenerator.from_defaults(llm=splitting),
        response_synthesizer=get_response_synthesizer(llm=writing),
        query_engine_tools=[reader(name) for name in SOURCES],
        verbose=False,
    )
    with call_scope(run="question 1"):
        print(engine.query(QUESTION), "\n")
    for entry in router.ledger.entries():
        print(f"{entry['step']}: {entry['candidate']}, {entry['reason']}")
    for row in router.ledger.report().steps:
        print(f"{row['name']}: {row['usd']:.2g} USD, calls: {row['calls']}")


if __name__ == "__main__":
    main()
