"""Runs code as it is written in a document or an example, with loopback models in it.

In: code that names the local server and the hosted model of the README. Out: what it printed; and
the loopback server that stood in for both, which can be told what to answer and what it was asked.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared_core.cli import main
from tests.fakes.openai_server import OpenAIServer

LOCAL_SERVER = "http://127.0.0.1:11434/v1"
SMALL, LARGE = "qwen3:4b", "gpt-5-mini"


@contextlib.contextmanager
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    """The server of both models; clients without an address of their own go there too."""
    with OpenAIServer(models=(SMALL, LARGE)) as server:
        for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
            monkeypatch.setenv(name, server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        yield server


def run(code: str, server: OpenAIServer, names: dict[str, Any], file: str = "<block>") -> str:
    """Run code in a namespace of names; return what it printed."""
    code = code.replace(LOCAL_SERVER, server.base_url)
    compiled = compile(code, file, "exec", dont_inherit=True)  # without this file's `__future__`
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compiled, names)  # noqa: S102
    return out.getvalue()


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Each Python or shell block in order: its language, its text, the output that follows it."""
    pattern = r"```(python|bash)\n(.*?)```\n(?:\n```text\n(.*?)```)?"
    return re.findall(pattern, page.read_text(encoding="utf-8"), flags=re.DOTALL)


def walk(page: Path, server: OpenAIServer) -> None:
    """Run a page's blocks in order, in one namespace; each prints what the page says it prints.

    What a shell block prints is compared where the page says it.
    """
    names: dict[str, Any] = {}
    for language, code, said in blocks(page):
        if language == "python":
            assert run(code, server, names) == said
        else:
            assert commands(code) == said or not said


def commands(code: str) -> str:
    """Run the lines that call our own command; return what they printed.

    What installs is for `make`.
    """
    out = io.StringIO()
    for line in code.splitlines():
        program, *arguments = shlex.split(line, comments=True) or [""]
        if program == "router-llm":
            with contextlib.redirect_stdout(out):
                assert main(arguments) == 0
    return out.getvalue()
