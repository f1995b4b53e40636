"""A LlamaIndex query engine over a router: this repository's documents, asked whole and streamed.

The index finds its passages by keywords, so no embedding model is needed. The second engine is held
to models that run here: its passages never leave this machine. Needs any OpenAI-compatible server
at http://127.0.0.1:11434/v1 that serves `qwen3:4b` (Ollama, for instance: `ollama pull qwen3:4b`),
a key in OPENAI_API_KEY for the large model, and

    pip install 'router-llm-plugin[llamaindex]' llama-index-llms-openai-like
    python examples/04_llamaindex_query_engine.py
"""

from dataclasses import dataclass, field
from pathlib import Path

from llama_index.core import Document, SimpleKeywordTableIndex
from llama_index.core.node_parser import SentenceSplitter
from llama_index.llms.openai_like import OpenAILike

from llamaindex_router import Candidate, Policy, RouterLLM, Single, local_only
from shared_core.types import Decision, Prompt, Steps

FOLDER = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True)
class Noting(Single):
    """Routes as usual and notes who answered: a query engine keeps an answer's text alone."""

    notes: list[str] = field(default_factory=list)

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        """See `Single.steps`."""
        reply = yield from super().steps(prompt, decision)
        self.notes.append(f"{reply.candidate} answered: {decision.reason}")
        return reply


def main() -> None:
    """Ask two questions, one of each engine."""
    small = OpenAILike(
        model="qwen3:4b",
        api_base="http://127.0.0.1:11434/v1",
        api_key="none",
        is_chat_model=True,
        context_window=32_000,
    )
    large = OpenAILike(model="gpt-5-mini", is_chat_model=True, context_window=400_000)
    noting = Noting()
    router = RouterLLM(
        candidates=[  # weakest first
            Candidate("small", small, local=True, price=(0, 0)),
            Candidate("large", large, price=(0.25, 2.00)),
        ],
        strategy=noting,
    )
    private = router.with_policy(Policy(subject_to=[local_only()]))

    documents = [
        Document(text=path.read_text(encoding="utf-8"), metadata={"file": path.name})
        for path in sorted(FOLDER.rglob("*.md"))
    ]
    splitter = SentenceSplitter(chunk_size=256, chunk_overlap=0)
    index = SimpleKeywordTableIndex.from_documents(
        documents, llm=router, transformations=[splitter]
    )

    engine = index.as_query_engine(llm=router, num_chunks_per_query=3)
    response = engine.query("Why is a strategy written as a generator?")
    print(response)
    print("  from", sorted({node.metadata["file"] for node in response.source_nodes}))
    print(" ", noting.notes[-1], "\n")

    engine = index.as_query_engine(llm=private, num_chunks_per_query=3, streaming=True)
    response = engine.query("Why is an unknown price not zero?")
    response.print_response_stream()
    print("\n  from", sorted({node.metadata["file"] for node in response.source_nodes}))
    print(" ", noting.notes[-1])


if __name__ == "__main__":
    main()
