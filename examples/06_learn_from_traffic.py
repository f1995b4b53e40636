"""A router that learns from your own questions: ask, grade, train, route.

Both models answer questions whose right answers are known; the grades become a table of outcomes,
and what is learned from it decides from then on. Sums are read from the answers here; put your own
way of grading in `grade`. Needs any OpenAI-compatible server at http://127.0.0.1:11434/v1 that
serves `qwen3:4b` (Ollama, for instance: `ollama pull qwen3:4b`), a key in OPENAI_API_KEY for the
large model (it answers 120 short questions), and

    pip install 'router-llm-plugin[langchain,train]' langchain-openai
    python examples/06_learn_from_traffic.py

The same from the command line: `router-llm train outcomes.jsonl --out learned`.
"""

import json
import random
import re
from pathlib import Path

from langchain_openai import ChatOpenAI

from langchain_router import Candidate, ChatRouter, LearnedPredictor, Policy
from shared_core.lab.fit import fit
from shared_core.lab.table import read_table

FOLDER = Path("learned")
QUESTIONS = 120

small = ChatOpenAI(model="qwen3:4b", base_url="http://127.0.0.1:11434/v1", api_key="none")
large = ChatOpenAI(model="gpt-5-mini")
candidates = [  # weakest first
    Candidate("small", small, local=True, price=(0, 0)),
    Candidate("large", large, price=(0.25, 2.00)),
]


def questions(rng: random.Random) -> list[tuple[str, int]]:
    """Make questions and their right answers: half of them are easy, half are not."""
    pairs = [(rng.randint(100, 999), rng.randint(100, 999)) for _ in range(QUESTIONS // 2)]
    return [(f"What is {a} plus {b}? Give the number alone.", a + b) for a, b in pairs] + [
        (f"What is {a} times {b}? Give the number alone.", a * b) for a, b in pairs
    ]


def grade(answer: str, right: int) -> float:
    """Score an answer from 0 to 1: here, whether its last number is the right one."""
    numbers = re.findall(r"\d+", answer.replace(",", ""))
    return float(bool(numbers) and int(numbers[-1]) == right)


def outcomes(asked: list[tuple[str, int]]) -> list[dict[str, str | float]]:
    """Have each model answer each question, and grade it: one row per question and model."""
    rows: list[dict[str, str | float]] = []
    for candidate in candidates:
        answers = candidate.model.batch([q for q, _ in asked], {"max_concurrency": 8})
        for (question, right), answer in zip(asked, answers, strict=True):
            rows.append(
                {
                    "prompt": question,
                    "model": candidate.name,
                    "score": grade(answer.text, right),
                    "output_tokens": answer.usage_metadata["output_tokens"],
                }
            )
    return rows


def main() -> None:
    """Ask, grade, train, then show what the router makes of two new questions."""
    FOLDER.mkdir(exist_ok=True)
    table = FOLDER / "outcomes.jsonl"
    rows = outcomes(questions(random.Random(0)))
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fit(read_table(table)).save(FOLDER / "artefact")

    predictor = LearnedPredictor.load(FOLDER / "artefact")
    router = ChatRouter(candidates, predictor=predictor, policy=Policy(quality=0.8))
    for question, _ in questions(random.Random(1))[:: QUESTIONS // 2]:
        print(f"{question}\n{router.explain(question, detail=True)}\n")


if __name__ == "__main__":
    main()
