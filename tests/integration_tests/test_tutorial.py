"""The tutorial's blocks run in order, and print what the tutorial says they print.

Its two models are the loopback server, with the answers that are written here: the small one adds
up rightly and gets most discounts wrong.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fakes.openai_server import OpenAIServer
from tests.fakes.openai_wire import Body
from tests.fakes.replies import Answer, message_text
from tests.integration_tests.written import LARGE, SMALL, blocks, stand_in, walk

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"

SAID = {
    "open on Saturdays": "From 9 to 14 o'clock.",
    "May I return a tin": "Yes, unopened and within 30 days.",
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
    server.say(SMALL, lambda body: answered(body, discounts=False))
    server.say(LARGE, lambda body: answered(body, discounts=True))


def answered(body: Body, *, discounts: bool) -> str | Answer | None:
    """What a model answers; None leaves it to the stand-in: JSON, tool calls."""
    last = body["messages"][-1]
    text = message_text(last)
    if last["role"] == "tool":
        return text
    if bought := re.search(r"I bought (\d+) tins at (\d+) EUR( with 15 % off)?", text):
        total = int(bought[1]) * int(bought[2])
        knows = discounts or total % 4 == 0
        return f"{total * (0.85 if bought[3] and knows else 1):g}"
    return next((said for asked, said in SAID.items() if asked in text), None)
