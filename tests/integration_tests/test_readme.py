"""The README's Python blocks run in order, and print what the README says they print.

The blocks name a local server and a hosted model; both are the loopback server here. What is
printed is the router's own doing and does not depend on who answers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration_tests.written import run, stand_in

README = Path(__file__).parents[2] / "README.md"


def blocks() -> list[tuple[str, str]]:
    """Each Python block with the output that follows it."""
    pattern = r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?"
    return re.findall(pattern, README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_every_block_runs_and_prints_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_index.core import Settings

    monkeypatch.setattr(Settings, "_llm", None)
    namespace: dict[str, Any] = {}
    with stand_in(monkeypatch) as server:
        printed = [(said, run(code, server, namespace)) for code, said in blocks()]
    assert len(printed) >= 6
    for said, really in printed:
        assert really == said
