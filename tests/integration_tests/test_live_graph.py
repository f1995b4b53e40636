"""The benchmark of graphs over local models, with scripted models in their place."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("xllamacpp")  # what the demo serves with

from examples.benchmarks import _live, live_graph
from examples.benchmarks._graphs import Seen, by_calculator, calculator
from examples.benchmarks._live import Models
from examples.demo.clients import served
from examples.demo.energy import Wattmeter, meter_of
from examples.demo.grading import Mentions, Number
from examples.demo.prompts import Prompt
from examples.demo.serve_gguf import parameters
from examples.demo.server import Endpoint
from langchain_router import Budget, Budgets
from shared_core.types import Draft, Reply, Turn
from shared_core.types import Prompt as Asked
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.replies import Answer, ToolCall
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS]

PROMPTS = [
    Prompt("facts", "Who painted Guernica?", Mentions("Picasso")),
    Prompt("arithmetic", "How many minutes are in 3 hours?", Number(180)),
]


def voice(name: str) -> Any:
    """The small model drafts only; the large one calls the calculator for sums, and answers."""

    def say(body: dict[str, Any]) -> Answer:
        last = body["messages"][-1]
        if name == "small":
            return Answer("DRAFT of Dalí, 3")
        if body.get("tools") and last["role"] != "tool" and "3 hours" in last["content"]:
            call = ToolCall("calculator", {"expression": "3 * 60"})
            return Answer(tool_calls=(call,), finish_reason="tool_calls")
        return Answer("It was Picasso, 180")

    return say


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(models=("small", "large")) as running:
        for name in ("small", "large"):
            running.say(name, voice(name))
        yield running


@pytest.mark.parametrize("at", [0, 1], ids=["LangGraph", "LlamaIndex"])
def test_all_that_a_graph_did_is_told(
    at: int, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def models_tokens(models: Models) -> dict[str, list[int]]:
        return {name: [len(server.requests), 0] for name in models}

    monkeypatch.setattr(live_graph, "tokens_counted", models_tokens)
    meter = meter_of(os.getpid(), 10.0)
    models = {
        name: served(Endpoint(server.base_url, name, os.getpid(), "key"), name, meter, tools=True)
        for name in ("small", "large")
    }
    row = live_graph.lane(PROMPTS, models, Wattmeter([meter]), at)
    fact, by_tool = row["runs"]
    assert fact["right"] is by_tool["right"] is True
    assert (fact["results"], by_tool["results"]) == ([], ["180"])
    assert by_tool["called_rightly"] is True
    assert [run["stray"] for run in row["runs"]] == [0, 0]
    assert [run["streamed"] for run in row["runs"]] == [2, 2]
    assert sum(run["calls"] for run in row["runs"]) == row["ledger_calls"] == len(server.requests)
    assert row["ledger_calls"] > row["entries"]
    assert all(min(counts) > 0 for counts in row["ledger_tokens"].values())
    assert row["server_tokens"]["small"] == [len(server.requests), 0]


def test_a_run_that_fails_is_told() -> None:
    def fails(question: str, name: str) -> Seen:
        raise RuntimeError("no answer")

    router = SimpleNamespace(budgets=Budgets(Budget(calls=1)))
    told = live_graph.put(fails, PROMPTS[0], router)
    assert (told["error"], told["calls"]) == ("RuntimeError: no answer", 0)


def test_a_draft_among_what_was_streamed_is_noticed() -> None:
    seen = Seen({"1": "", "2": "DRAFT", "3": "Picasso"}, ["Picasso"])
    assert seen.stray == 1


@pytest.mark.parametrize(
    ("question", "expression", "right"),
    [
        ("What is 3 times 4?", "3 * 4", True),
        ("What is 3 times 4?", "3 * 5", False),
        ("What is 3 times 4?", None, False),
        ("Who was it?", "who", False),
        ("Who was it?", None, None),
    ],
)
def test_only_sums_are_for_the_calculator(
    question: str, expression: str | None, right: bool | None
) -> None:
    calls = () if expression is None else (("calculator", {"expression": expression}),)
    asked = Asked((Turn("user", question),), tokens=9)
    assert by_calculator(Draft(asked, Reply("small", tool_calls=calls))) is right
    looped = Asked((Turn("user", question),), tokens=9, in_tool_loop=True)
    assert by_calculator(Draft(looped, Reply("small", tool_calls=calls))) is None


def test_the_calculator_computes_nothing_but_sums() -> None:
    assert calculator("(12 + 8) * 3 - 7") == "53"
    assert calculator("__import__('os')") == calculator("1 / 0") == "That is no expression."


def test_only_servers_of_tools_have_another_template() -> None:
    plain, tools = (parameters("m.gguf", "key", 1, 2048, tools=tools) for tools in (False, True))
    assert (plain.chat_template, plain.endpoint_metrics) == ("", False)
    assert "<call>" in tools.chat_template
    assert tools.endpoint_metrics is True


def test_what_the_servers_take_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    work = "import sys, time; input(); end = time.process_time() + 0.5\n"
    work += "while time.process_time() < end: pass\nprint(flush=True); sys.stdin.read()"

    @contextmanager
    def serve(model: Path, threads: int, *, tools: bool) -> Iterator[Endpoint]:
        with Popen([sys.executable, "-c", work], stdin=PIPE, stdout=PIPE) as process:
            working.append(process)
            yield Endpoint("http://127.0.0.1:9/v1", "model", process.pid, "key")
            process.communicate()

    working: list[Popen[bytes]] = []
    monkeypatch.setattr(_live, "machine_meter", lambda: None)
    monkeypatch.setattr(_live, "obtain", lambda *arguments: Path("model.gguf"))
    monkeypatch.setattr(_live, "serve", serve)
    with _live.pair(_live.parser("").parse_args([])) as (models, meter):
        servers = Wattmeter(clients.meter for clients in models.values())
        before, by_servers = meter.wh(), servers.wh()
        for process in working:
            assert process.stdin
            assert process.stdout
            process.stdin.write(b"\n")
            process.stdin.flush()
            process.stdout.readline()
        assert servers.wh() - by_servers > 0
        assert meter.wh() - before < 1.6 * (servers.wh() - by_servers)
