"""A LangChain chain over a router: streamed, then in a batch, with who answered and why.

Needs any OpenAI-compatible server at http://127.0.0.1:11434/v1 that serves `qwen3:4b` (Ollama, for
instance: `ollama pull qwen3:4b`), a key in OPENAI_API_KEY for the large model, and

    pip install 'router-llm-plugin[langchain]' langchain-openai
    python examples/01_langchain_chain.py
"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from langchain_router import Candidate, ChatRouter

QUESTIONS = [
    "Which planet is closest to the sun?",
    "Name three uses of baking soda.",
    "How many legs does a spider have?",
    "A tank of 1,200 litres is filled by one pipe in 40 minutes and by a second in 60, while a "
    "drain empties it in 90. All three are opened at 08:00, the drain is shut at 08:15 and the "
    "first pipe at 08:25. When is the tank full, and how much would have to be drained per minute "
    "from then on to halve it by 12:00?",
]

small = ChatOpenAI(model="qwen3:4b", base_url="http://127.0.0.1:11434/v1", api_key="none")
large = ChatOpenAI(model="gpt-5-mini")
router = ChatRouter(
    candidates=[  # weakest first
        Candidate("small", small, local=True, price=(0, 0)),
        Candidate("large", large, price=(0.25, 2.00)),
    ]
)
prompt = ChatPromptTemplate.from_messages(
    [("system", "Answer in at most three sentences."), ("user", "{question}")]
)


def stream(question: str) -> None:
    """Print an answer as it grows; `explain` says beforehand who will give it."""
    decision = router.explain(prompt.invoke({"question": question}))
    print(f"{question}\n  {decision.candidate} answers: {decision.reason}\n  ", end="")
    chain = prompt | router | StrOutputParser()
    for text in chain.stream({"question": question}):
        print(text, end="", flush=True)
    print("\n")


def batch(questions: list[str]) -> None:
    """Answer several questions, two at a time; the message itself says who gave each answer."""
    chain = prompt | router | {"text": StrOutputParser(), "record": lambda m: m.response_metadata}
    inputs = [{"question": question} for question in questions]
    answers = chain.batch(inputs, config={"max_concurrency": 2})
    for question, answer in zip(questions, answers, strict=True):
        record = answer["record"]["router"]
        print(f"{question}\n  {record['candidate']} answered: {record['reason']}")
        print(f"  {answer['text']}\n")


def main() -> None:
    """Stream the first answer, then get all of them."""
    stream(QUESTIONS[0])
    batch(QUESTIONS)


if __name__ == "__main__":
    main()
