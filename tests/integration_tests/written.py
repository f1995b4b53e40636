"""Runs Python as it is written in a document or an example, with loopback models in it.

In: code that names the local server and the hosted model of the README. Out: what it printed; and
the loopback server that stood in for both, which can be told what to answer and what it was asked.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import pytest

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
