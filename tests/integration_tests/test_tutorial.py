"""The tutorial's blocks run in order, and print what the tutorial says they print.

Its two models are the loopback server, with the answers that are written here: the small one adds
up rightly and gets most discounts wrong.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from tests.fakes.openai_server import OpenAIServer
from tests.fakes.openai_wire import Body
from tests.fakes.replies import Answer, ToolCall, message_text
from tests.integration_tests.written import LARGE, SMALL, blocks, stand_in, walk

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"

SAID = {
    "open on Saturdays": "From 9 to 14 o'clock.",
    "May I return a tin": "Yes, unopened and within 30 days.",
    "drinks coffee": "A strong black tea.",
    "PROPOSAL": "A strong black tea, or a roasted one.",
    "Ann has twice": "6",
}


def test_every_block_runs_and_prints_what_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with stand_in(monkeypatch) as server:
        staff(server)
        walk(TUTORIAL, server)


def test_every_python_block_prints_something() -> None:
    assert all(said for language, _, said in blocks(TUTORIAL) if language == "python")


def staff(server: OpenAIServer) -> None:
    """Give both models their answers."""
    samples = itertools.cycle(["24", "25", "24"])
    server.say(SMALL, lambda body: answered(body, next(samples)))
    server.say(LARGE, lambda body: answered(body))


def answered(body: Body, sample: str | None = None) -> str | Answer | None:
    """What a model answers; None leaves it to the stand-in: JSON, tool calls.

    Args:
        body: The request.
        sample: What the small model says where its answers differ. None: it is the large one.
    """
    last = body["messages"][-1]
    text = message_text(last)
    if any(tool["function"]["name"] == "refund" for tool in body.get("tools") or []):
        return refunds(body, sample is not None)
    if last["role"] == "tool":
        return text
    if bought := re.search(r"I bought (\d+) tins at (\d+) EUR( with 15 % off)?", text):
        total = int(bought[1]) * int(bought[2])
        knows = sample is None or total % 4 == 0
        return f"{total * (0.85 if bought[3] and knows else 1):g}"
    said = next((said for asked, said in SAID.items() if asked in text), None)
    if "125 g" in text:
        said = sample or "24"
    if marker := re.search(r"=== ANSWER.* ===", text):
        return f"Ann has two parts of three.\n{marker[0]}\n{said}"
    return said


def refunds(body: Body, small: bool) -> str | Answer:
    """The steps of an agent: the small model gives a reason that the tool does not know."""
    last = body["messages"][-1]
    if last["role"] == "tool" and "refunded" in message_text(last):
        return message_text(last)
    call = ToolCall("refund", {"order": 1042, "reason": "opened" if small else "damaged"})
    return Answer(tool_calls=(call,), finish_reason="tool_calls")
