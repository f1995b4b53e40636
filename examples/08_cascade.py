"""Look at the small model's answer first: it is taken where its SQL runs, else a large one answers.

A cascade with a verifier of your own, in both frameworks. The verifier has SQLite plan the query
for the tables as they are, with no row in them: what does not parse, or names a column that is not
there, is no answer. Nothing is run. Needs any OpenAI-compatible server at http://127.0.0.1:11434/v1
that serves `qwen3:4b` (Ollama, for instance: `ollama pull qwen3:4b`), a key in OPENAI_API_KEY for
the large model, and

    pip install 'router-llm-plugin[langchain,llamaindex]' langchain-openai
    pip install llama-index-llms-openai-like
    python examples/08_cascade.py
"""

import sqlite3

from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from langchain_router import Cascade, ChatRouter, Draft
from llamaindex_router import RouterLLM

SCHEMA = """
create table river (name text, length_km real, sea text);
create table city (name text, river text, people integer);
"""
SYSTEM = f"Answer with one SQLite query alone, without an explanation. The tables:\n{SCHEMA}"
QUESTIONS = [
    "How long is the Rhine?",
    "Which cities lie on rivers that end in the North Sea?",
]


def query_in(text: str) -> str:
    """The query of an answer: what is in its block of code, where it has one."""
    block = text.partition("```")[2].partition("```")[0].removeprefix("sql")
    return (block or text).strip()


def plans(draft: Draft) -> float:
    """How probable it makes it that the draft is right: 0.5 would say nothing."""
    tables = sqlite3.connect(":memory:")
    try:
        tables.executescript(SCHEMA)
        tables.execute("explain " + query_in(draft.reply.text[:2000]))  # planned, not run
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        return 0.01
    finally:
        tables.close()
    return 0.8


strategy = Cascade(verify=plans, accept=0.6)
chat = ChatRouter(
    candidates={  # weakest first
        "small": ChatOpenAI(model="qwen3:4b", base_url="http://127.0.0.1:11434/v1", api_key="none"),
        "large": ChatOpenAI(model="gpt-5-mini"),
    },
    strategy=strategy,
)
llm = RouterLLM(
    candidates={
        "small": OpenAILike(
            model="qwen3:4b",
            api_base="http://127.0.0.1:11434/v1",
            api_key="none",
            is_chat_model=True,
        ),
        "large": OpenAILike(model="gpt-5-mini", is_chat_model=True),
    },
    strategy=strategy,
)


def tell(text: str, record: dict) -> None:
    """Print an answer, who was asked for it, and what was made of the drafts."""
    print(query_in(text))
    print("  asked:", ", ".join(one["candidate"] for one in record["attempts"]))
    for verdict in record["verdicts"]:
        chance = verdict["probability"]
        print(f"  {verdict['verifier']}: {verdict['candidate']} is right with {chance:.2f}")


if __name__ == "__main__":
    print(chat.explain(QUESTIONS[0]).plan)
    for question in QUESTIONS:
        answer = chat.invoke([("system", SYSTEM), ("human", question)])
        tell(answer.text, answer.response_metadata["router"])
        messages = [ChatMessage(SYSTEM, role="system"), ChatMessage(question)]
        *_, last = llm.stream_chat(messages)  # an accepted draft comes at once, in one response
        tell(last.message.content, last.additional_kwargs["router"])
