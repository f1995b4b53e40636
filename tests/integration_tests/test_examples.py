"""The numbered examples run as they are, with their two models on the loopback server.

A test's name is the name of the example that it runs.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llama_index.core
import pytest

from shared_core import Draft, Ledger, Prompt, Scope
from shared_core.types import Reply
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.openai_wire import Body
from tests.fakes.replies import Answer, ToolCall, message_text
from tests.integration_tests.written import LARGE, SMALL, run, stand_in

EXAMPLES = Path(__file__).parents[2] / "examples"

MODELS = {"small": SMALL, "large": LARGE}

Example = Callable[[], str]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with stand_in(monkeypatch) as standing:
        yield standing


@pytest.fixture
def names(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The namespace of the example that the test is named after."""
    file = EXAMPLES / f"{request.node.name.removeprefix('test_')}.py"
    return {"__name__": "__main__", "__file__": str(file)}


@pytest.fixture
def example(names: dict[str, Any], server: OpenAIServer) -> Example:
    """Runs that example and returns what it printed."""
    file = names["__file__"]
    return lambda: run(Path(file).read_text(encoding="utf-8"), server, names, file)


def texts(body: Body, *roles: str) -> list[str]:
    """The texts of a request's messages, of these roles alone where any are given."""
    messages = body["messages"]
    return [message_text(one) for one in messages if not roles or one["role"] in roles]


def stepwise(*steps: list[ToolCall]) -> Callable[[Body], str | Answer]:
    """A voice that calls tools step by step, then says what they have returned."""

    def voice(body: Body) -> str | Answer:
        taken = sum(1 for message in body["messages"] if message.get("tool_calls"))
        if taken < len(steps):
            return Answer(tool_calls=tuple(steps[taken]), finish_reason="tool_calls")
        return "It is " + ", ".join(texts(body, "tool"))

    return voice


class Pairs:
    """A voice that holds back whole answers until two are wanted at once.

    Attributes:
        most: The most that were wanted at once.
    """

    def __init__(self) -> None:
        self.most = 0
        self._wanted = 0
        self._lock = threading.Lock()
        self._two = threading.Barrier(2, timeout=10)

    def __call__(self, body: Body) -> None:
        if body.get("stream"):
            return
        self._count(1)
        self._two.wait()
        time.sleep(0.05)  # long enough for a third one to come
        self._count(-1)

    def _count(self, step: int) -> None:
        with self._lock:
            self._wanted += step
            self.most = max(self.most, self._wanted)


def test_every_example_has_a_test() -> None:
    files = sorted(file.stem for file in EXAMPLES.glob("[0-9]*.py"))
    assert len(files) >= 6
    assert [f"test_{file}" for file in files] == [
        name for name in globals() if re.match(r"test_\d", name)
    ]


def test_01_langchain_chain(example: Example, names: dict[str, Any], server: OpenAIServer) -> None:
    pairs = Pairs()
    for model in (SMALL, LARGE):
        server.say(model, pairs)
    printed = example()
    assert pairs.most == 2
    easy, hard = names["QUESTIONS"][:3], names["QUESTIONS"][3]
    streamed, *batched = server.requests
    assert streamed["stream"]
    assert texts(streamed) == ["Answer in at most three sentences.", easy[0]]
    assert sorted((body["model"], *texts(body, "user")) for body in batched) == [
        (LARGE, hard),
        *sorted((SMALL, question) for question in easy),
    ]
    for question in easy:
        assert f"\n  {SMALL} answers: {question}\n" in printed
    who = re.findall(r"^  (\w+) (answers|answered): (.*)$", printed, flags=re.MULTILINE)
    assert [candidate for candidate, _, _ in who] == ["small"] * 4 + ["large"]
    assert {when for _, when, _ in who[:1]} == {"answers"}
    assert {when for _, when, _ in who[1:]} == {"answered"}
    assert "lowest estimated cost" in who[0][2]
    assert "no other candidate" in who[4][2]


def test_02_langchain_agent(example: Example, names: dict[str, Any], server: OpenAIServer) -> None:
    monday, sunday = [ToolCall("weekday", {"day": day}) for day in ("2031-02-03", "2031-05-25")]
    count = ToolCall("days_between", {"first": "2031-02-03", "second": "2031-05-26"})
    server.say(SMALL, stepwise([sunday]))
    server.say(LARGE, stepwise([monday, sunday], [count]))
    printed = example().strip().splitlines()
    printed[7:9] = sorted(printed[7:9])  # tools that run side by side end in either order
    assert printed == [
        names["EASY"],
        f"small calls weekday {sunday.arguments}",
        "  weekday -> Sunday",
        "small says: It is Sunday",
        "",
        names["HARD"],
        f"large calls weekday {monday.arguments}, weekday {sunday.arguments}",
        "  weekday -> Monday",
        "  weekday -> Sunday",
        f"large calls days_between {count.arguments}",
        "  days_between -> 112",
        "large says: It is Monday, Sunday, 112",
    ]
    assert [body["model"] for body in server.requests] == [SMALL] * 2 + [LARGE] * 3
    for body in server.requests:
        assert [tool["function"]["name"] for tool in body["tools"]] == ["weekday", "days_between"]


def test_03_langgraph_policies(
    example: Example, names: dict[str, Any], server: OpenAIServer
) -> None:
    facts = "A customer wants money back for two broken cups."

    def local(body: Body) -> str:
        return facts if "Marlow" in str(body) else "We are sorry about the cups."

    server.say(SMALL, local)
    server.say(LARGE, "We are very sorry about the cups.")
    printed = example()
    nodes = re.findall(r"^(\w+): (\w+), because (.*)\n  (.*)$", printed, flags=re.MULTILINE)
    assert [node[:2] for node in nodes] == [
        ("anonymise", "small"),
        ("draft", "small"),
        ("review", "large"),
    ]
    assert nodes[0][2] == "small is the only candidate allowed"
    assert nodes[2][3] == "We are very sorry about the cups."
    letter, draft, review = [(body["model"], *texts(body)) for body in server.requests]
    assert letter[0] == draft[0] == SMALL
    assert review[0] == LARGE
    assert names["LETTER"] in letter[1]
    assert facts in draft[1]
    assert "We are sorry about the cups." in review[1]
    for private in ("Marlow", "88-4127", "DE02"):
        assert private in letter[1]
        assert private not in draft[1] + review[1]
    # Without the limit, the letter would have left the machine.
    assert names["router"].explain(letter[1]).candidate == "large"


@pytest.fixture
def stop_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """llama-index-core 0.14.0 brings its stop words along, but would download them all the same."""
    bundled = Path(llama_index.core.__file__).parent / "_static" / "nltk_cache"
    monkeypatch.setenv("NLTK_DATA", str(bundled))


@pytest.mark.usefixtures("stop_words")
def test_04_llamaindex_query_engine(example: Example, server: OpenAIServer) -> None:
    server.say(SMALL, "Nobody knows what an unknown price is.")
    server.say(LARGE, "So that it is written once.")
    printed = example()
    whole, streamed = server.requests
    assert (whole["model"], streamed["model"]) == (LARGE, SMALL)
    assert streamed["stream"]
    assert not whole.get("stream")
    answers = re.findall(r"^(.+)\n  from (\[.+\])\n  (\w+) answered: (.+)", printed, flags=re.M)
    assert [(answer[0], answer[2]) for answer in answers] == [
        ("So that it is written once.", "large"),
        ("Nobody knows what an unknown price is.", "small"),
    ]
    assert answers[1][3] == "small is the only candidate allowed"
    for body, (_, files, _, _) in zip((whole, streamed), answers, strict=True):
        assert passages_of(body) == set(re.findall(r"'(.+?)'", files)) != set()


def passages_of(body: Body) -> set[str]:
    """The documents of which at least one whole line is in a request."""
    (asked,) = texts(body, "user")
    documents = {
        file.name: [line for line in file.read_text(encoding="utf-8").splitlines() if line]
        for file in (EXAMPLES.parent / "docs").rglob("*.md")
    }
    return {
        name
        for name, lines in documents.items()
        if any(line in asked for line in lines if len(line) > 60)
    }


def test_05_llamaindex_agents(example: Example, server: OpenAIServer) -> None:
    look = ToolCall("weekday", {"day": "2031-02-03"})
    hand_over = ToolCall("handoff", {"to_agent": "writer", "reason": "it is looked up"})

    def small(body: Body) -> str | Answer:
        is_clerk = len(body["tools"]) == 2
        return stepwise([look], [hand_over])(body) if is_clerk else stepwise([look])(body)

    server.say(SMALL, small)
    server.say(LARGE, lambda body: f"Come on {texts(body, 'tool')[0]}!")
    printed = example().splitlines()
    steps = [line.strip() for line in printed if line.startswith("  ")]
    assert steps == [
        "Agent (small) calls weekday {'day': '2031-02-03'}",
        "Agent (small) says: It is Monday",
        "clerk (small) calls weekday {'day': '2031-02-03'}",
        f"clerk (small) calls handoff {hand_over.arguments}",
        "writer (large) says: Come on Monday!",
    ]
    assert [body["model"] for body in server.requests] == [SMALL] * 4 + [LARGE]
    assert texts(server.requests[1], "tool") == ["Monday"]
    assert "the clerk has looked up" in texts(server.requests[4], "system", "developer")[0]


def test_06_learn_from_traffic(
    example: Example, server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def calculates(body: Body) -> str:
        a, b = map(int, re.findall(r"\d+", texts(body, "user")[0]))
        return str(a + b if "plus" in texts(body, "user")[0] else a * b)

    def guesses_products(body: Body) -> str:
        return calculates(body) if "plus" in texts(body, "user")[0] else "12"

    server.say(SMALL, guesses_products)
    server.say(LARGE, calculates)
    plus, times = example().strip().split("\n\n")
    assert len(server.requests) == 240
    assert re.match(r"What is \d+ plus \d+\? Give the number alone\.\nsmall: ", plus)
    assert re.match(r"What is \d+ times \d+\? Give the number alone\.\nlarge: ", times)
    assert "calibrated: yes" in plus
    assert "'times'" in times
    assert len((tmp_path / "learned" / "outcomes.jsonl").read_text().splitlines()) == 240


def test_07_budgets_and_savings(
    example: Example, server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = example()
    assert said.count("ann: small") == 3
    assert said.count("bob: small") == 3
    assert "bob has to wait: the budget of 3 calls per user per day has 0 calls left" in said
    assert len(server.requests) == 6
    assert "always-best: large" in said
    assert len(Ledger(tmp_path / "calls.sqlite")) == 6


def test_08_cascade(example: Example, names: dict[str, Any], server: OpenAIServer) -> None:
    def guesses(body: Body) -> str:
        column = "length_km" if "Rhine" in texts(body, "user")[0] else "ocean"
        return f"```sql\nselect {column} from river where name = 'Rhine';\n```"

    server.say(SMALL, guesses)
    server.say(LARGE, "select city.name from city join river on city.river = river.name")
    plan, *told = example().splitlines()
    assert plan.startswith("small drafts; looked at by plans; accepted from a probability of 0.60")
    right = ["select length_km from river where name = 'Rhine';", "  asked: small"]
    wrong = ["select city.name from city join river on city.river = river.name"]
    wrong += ["  asked: small, large"]
    assert [line for line in told if not line.startswith("  plans: small")] == [
        *right * 2,
        *wrong * 2,
    ]
    chances = [float(line.split()[-1]) for line in told if line.startswith("  plans: small")]
    assert [chance > 0.6 for chance in chances] == [True, True, False, False]
    asked = [(body["model"], bool(body.get("stream"))) for body in server.requests]
    assert asked == [(SMALL, False)] * 3 + [(LARGE, False), (SMALL, False), (LARGE, True)]
    plans = names["plans"]
    for text in ("", "drop table river; select 1", "a" * 10**6, "\x00", "\ud800", "explain"):
        assert plans(draft_of(text)) == 0.01


def sums_of(printed: list[str]) -> dict[str, int]:
    """How many calls each step made, as the report's lines say."""
    found = [re.fullmatch(r"(\w+): \S+ USD, calls: (\d+)", line) for line in printed]
    return {match[1]: int(match[2]) for match in found if match}


def draft_of(text: str) -> Draft:
    """A draft that says this."""
    return Draft(Prompt((), 0), Reply("small", text=text))


@pytest.mark.usefixtures("stop_words")
def test_09_rag_router_per_stage(example: Example, server: OpenAIServer) -> None:
    asked = {
        "architecture": "Where does a strategy get its replies from?",
        "decisions": "Why is a strategy a generator?",
    }
    parts = [{"sub_question": text, "tool_name": name} for name, text in asked.items()]

    def small(body: Body) -> str:
        splits = "sub_question" in str(body)
        return json.dumps({"items": parts}) if splits else "From its generator."

    server.say(SMALL, small)
    server.say(LARGE, "It yields asks, so that it is written once.")
    printed = example().splitlines()
    assert printed[0] == "It yields asks, so that it is written once. "
    split, *read, write = server.requests
    assert [body["model"] for body in (split, *read, write)] == [SMALL] * (1 + len(read)) + [LARGE]
    assert len(read) == 4  # two passages of each source, one after the other
    for text in asked.values():
        assert sum(text in str(body) for body in read) == 2
    assert "From its generator." in str(write)
    told = re.findall(r"^(\w+): (small|large), ", "\n".join(printed), flags=re.MULTILINE)
    assert told == [("split", "small"), *[("read", "small")] * 4, ("write", "large")]
    assert sums_of(printed) == {"split": 1, "read": 4, "write": 1}
    assert [line for line in printed if line.startswith("write: 0 USD")] == []


def test_10_langgraph_agent(example: Example, names: dict[str, Any], server: OpenAIServer) -> None:
    queries = [
        "select size from city",
        "select souls from city",
        "select sum(people) from city join river on river = river.name where length_km > 1000",
    ]
    calls = [ToolCall("schema", {}), *(ToolCall("query", {"sql": sql}) for sql in queries)]
    step = stepwise(*([call] for call in calls))
    server.say(SMALL, step)
    server.say(LARGE, lambda body: step(body) if body.get("tools") else "Look, then count.")
    printed = example()
    steps = re.findall(r"^(\w+): (\w+), because (.*)$", printed, flags=re.MULTILINE)
    assert [step[:2] for step in steps] == [("plan", "large"), *[("act", "small")] * 3] + [
        ("act", "large")
    ] * 2
    assert "large takes over" in steps[4][2]
    assert [body["model"] for body in server.requests] == [MODELS[name] for _, name, _ in steps]
    assert all(body["stream"] for body in server.requests)
    for body in server.requests[1:]:
        assert "Look, then count." in texts(body, "system", "developer")[0]
    assert "no such column: souls" in texts(server.requests[4], "tool")[-1]
    assert "740906" in texts(server.requests[5], "tool")[-1]
    assert sums_of(printed.splitlines()) == {"plan": 1, "act": 5}
    (state,) = names["router"].budgets.states(Scope(run="question 1"))
    assert 0 < state.used < 1


def test_11_mixture_of_agents(example: Example, server: OpenAIServer) -> None:
    said = {SMALL: "Run it together.", "gemma3:4b": "Open it for two hours.", LARGE: "Sell shares."}

    def large(body: Body) -> str:
        return "Sell shares, open it for two hours." if "PROPOSAL" in str(body) else said[LARGE]

    for model in (SMALL, "gemma3:4b"):
        server.say(model, said[model])
    server.say(LARGE, large)
    plan, *told = example().splitlines()
    assert "large writes the answer" in plan
    mixed = ["Sell shares, open it for two hours.", "  asked: large, qwen, gemma, large"]
    for place in (0, 3):
        assert told[place] == mixed[0]
        assert sorted(told[place + 1].split(", ")) == sorted(mixed[1].split(", "))
        assert told[place + 2] == "  3 of 3 proposals reached large, which wrote the answer"
    assert told[6:10] == ["Sell shares.", "  asked: large"] * 2
    spent = dict(line.split(": ", 1) for line in told[10:])
    assert spent.keys() == {"mixture", "large alone"}
    usd = {step: float(re.findall(r"^(\S+) USD", said)[0]) for step, said in spent.items()}
    assert usd["mixture"] > 2 * usd["large alone"] > 0
    assert len(server.requests) == 10
    written = [body for body in server.requests if "PROPOSAL" in str(body)]
    assert [body["model"] for body in written] == [LARGE, LARGE]
    for body in written:
        assert all(text in str(body) for text in said.values())
