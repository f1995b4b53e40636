"""The README's Python blocks run in order, and print what the README says they print.

The blocks name a local server and a hosted model; both are the loopback server here. What is
printed is the router's own doing and does not depend on who answers.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from tests.fakes.openai_server import OpenAIServer

README = Path(__file__).parents[2] / "README.md"
LOCAL_SERVER = "http://127.0.0.1:11434/v1"


def blocks() -> list[tuple[str, str]]:
    """Each Python block with the output that follows it."""
    pattern = r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?"
    return re.findall(pattern, README.read_text(encoding="utf-8"), flags=re.DOTALL)


def run_blocks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Run them in one namespace; return what the README says and what was printed."""
    namespace: dict[str, object] = {}
    printed = []
    with OpenAIServer(models=("qwen3:4b", "gpt-5-mini")) as server:
        for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
            monkeypatch.setenv(name, server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        for code, said in blocks():
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(code.replace(LOCAL_SERVER, server.base_url), namespace)  # noqa: S102
            printed.append((said, out.getvalue()))
    return printed


def test_every_block_runs_and_prints_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_index.core import Settings

    monkeypatch.setattr(Settings, "_llm", None)
    printed = run_blocks(monkeypatch)
    assert len(printed) >= 6
    for said, really in printed:
        assert really == said
