"""Prefer local, at most 5 USD a day, and a report of what that saved.

Questions of two users go through a router that takes the local model where it is good enough, never
spends more than the budgets allow, and writes every call down; the report compares what was spent
with always asking the best model, the cheapest, and chance. Needs any OpenAI-compatible server at
http://127.0.0.1:11434/v1 that serves `qwen3:4b` (Ollama, for instance: `ollama pull qwen3:4b`), a
key in OPENAI_API_KEY for the large model, and

    pip install 'router-llm-plugin[langchain]' langchain-openai
    python examples/07_budgets_and_savings.py

The same report from the command line: `router-llm report calls.sqlite --html report.html`.
"""

from langchain_openai import ChatOpenAI

from langchain_router import Budget, Candidate, ChatRouter, Policy, call_scope, measured
from shared_core import BudgetExceededError

WATTS = 20  # of this machine while it answers: yours to know, where nothing measures it

small = ChatOpenAI(model="qwen3:4b", base_url="http://127.0.0.1:11434/v1", api_key="none")
large = ChatOpenAI(model="gpt-5-mini")
router = ChatRouter(
    candidates=[  # weakest first
        Candidate("small", small, local=True, energy=measured(WATTS)),
        Candidate("large", large, price=(0.25, 2.00)),
    ],
    policy=Policy(prefer_local=True, usd_per_kwh=0.30),
    budgets=[
        Budget(usd=5, per="day"),  # of everybody together
        Budget(calls=3, per=("user", "day")),
    ],
    ledger="calls.sqlite",
)

QUESTIONS = {
    "ann": ["What is the capital of France?", "What is 17 plus 25?", "Who wrote Faust?"],
    "bob": [
        "Spell 'necessary'.",
        "Name three primes.",
        "Translate 'tea' to German.",
        "And coffee?",
    ],
}

if __name__ == "__main__":
    for user, questions in QUESTIONS.items():
        for question in questions:
            with call_scope(user=user, step="questions"):
                try:
                    answer = router.invoke(question)
                except BudgetExceededError as error:
                    print(f"{user} has to wait: {error}")
                    continue
            record = answer.response_metadata["router"]
            router.feedback(record["decision_id"], 1.0 if str(answer.text) else 0.0)
            print(f"{user}: {record['candidate']}, {record['cost_usd']:.1g} USD")
    print(router.ledger.report())
