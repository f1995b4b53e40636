"""The tutorial's blocks run in order, and print what the tutorial says they print.

Its two models are the loopback server, with the answers that are written here: the small one adds
up rightly and gets most discounts wrong.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.openai_server import OpenAIServer
from tests.fakes.openai_wire import Body
from tests.fakes.replies import Answer, ToolCall, message_text
from tests.integration_tests.written import LARGE, SMALL, blocks, stand_in, walk

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"

BOTH = {
    "open on Saturdays": "From 9 to 14 o'clock.",
    "May I return a tin": "Yes, unopened and within 30 days.",
    "PROPOSAL": "A roasted oolong, or a strong black tea.",
    "Ann has twice": "6",
}
SAID = {
    True: {**BOTH, "drinks coffee": "A strong black tea."},
    False: {**BOTH, "drinks coffee": "A roasted oolong."},
}
"""By whether the model is the small one: what is said where a text is in the last message."""


def test_every_block_runs_and_prints_what_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with stand_in(monkeypatch) as server:
        staff(server)
        walk(TUTORIAL, server)


def test_most_blocks_print_something() -> None:
    found = [bool(said) for language, _, said in blocks(TUTORIAL) if language == "python"]
    assert len(found) >= 15
    assert sum(found) >= len(found) - 1


def staff(server: OpenAIServer) -> None:
    """Give both models their answers."""
    samples = itertools.cycle(["24", "25", "24"])
    server.say(SMALL, lambda body: answered(body, samples))
    server.say(LARGE, answered)


def answered(body: Body, samples: Iterator[str] | None = None) -> str | Answer | None:
    """What a model answers; None leaves it to the stand-in: JSON, tool calls.

    Args:
        body: The request.
        samples: What the small model says where its answers differ. None: it is the large one.
    """
    text, is_small = message_text(body["messages"][-1]), samples is not None
    if any(tool["function"]["name"] == "refund" for tool in body.get("tools") or []):
        return refunded(text, is_small)
    if body["messages"][-1]["role"] == "tool":
        return text
    if bought := re.search(r"I bought (\d+) tins at (\d+) EUR( with 15 % off)?", text):
        total = int(bought[1]) * int(bought[2])
        knows = not is_small or total % 4 == 0
        return f"{total * (0.85 if bought[3] and knows else 1):g}"
    if "125 g" in text and samples is not None:
        return next(samples)
    said = next((said for asked, said in SAID[is_small].items() if asked in text), None)
    marker = re.search(r"=== ANSWER.* ===", text)
    return said if marker is None else f"Ann has two parts of three.\n{marker[0]}\n{said}"


def refunded(text: str, is_small: bool) -> str | Answer:
    """A step of an agent: the small model gives a reason that the tool does not know."""
    if "is refunded" in text:
        return text
    call = ToolCall("refund", {"order": 1042, "reason": "opened" if is_small else "damaged"})
    return Answer(tool_calls=(call,), finish_reason="tool_calls")
