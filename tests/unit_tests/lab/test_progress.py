"""Progress is a bar on a terminal with rich, and plain lines everywhere else."""

from __future__ import annotations

import io
import sys

import pytest

from shared_core.lab.progress import shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with shown("working") as progress:
        for done in range(1, 41):
            progress(done, 40)
    return stream.getvalue()


def test_plain_lines_come_once_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = written(monkeypatch, io.StringIO()).splitlines()
    assert lines == [f"working: {10 * tenth} %" for tenth in range(11)]


def test_a_terminal_with_rich_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    bar = written(monkeypatch, Terminal())
    assert "━" in bar
    assert "working: 10 %" not in bar


def test_without_rich_a_terminal_shows_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert "working: 100 %" in written(monkeypatch, Terminal())
