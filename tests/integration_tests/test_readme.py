"""The README's blocks run in order, and those in Python print what the README says they print.

The blocks name a local server and a hosted model; both are the loopback server here. What is
printed is the router's own doing and does not depend on who answers.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from shared_core.cli import main
from tests.fakes.judged import judged_answers
from tests.fakes.learning import MODELS, write
from tests.integration_tests.written import run, stand_in

README = Path(__file__).parents[2] / "README.md"


def blocks() -> list[tuple[str, str, str]]:
    """Each Python or shell block in order: its language, its text, the output that follows it."""
    pattern = r"```(python|bash)\n(.*?)```\n(?:\n```text\n(.*?)```)?"
    return re.findall(pattern, README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_every_block_runs_and_prints_what_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from llama_index.core import Settings

    monkeypatch.setattr(Settings, "_llm", None)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "outcomes.jsonl", MODELS, prompts=600)
    write(tmp_path / "new.jsonl", MODELS, prompts=600, seed=1)
    judged = map(json.dumps, judged_answers(60))
    (tmp_path / "answers.jsonl").write_text("\n".join(judged))
    namespace: dict[str, Any] = {}
    with stand_in(monkeypatch) as server:
        for language, code, said in blocks():
            if language == "python":
                assert run(code, server, namespace) == said
            else:
                commands(code)


def commands(code: str) -> None:
    """Run the lines that call our own command; what installs is for `make`."""
    for line in code.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        if program == "router-llm":
            assert main(arguments) == 0


def test_the_readme_has_blocks_of_both_kinds() -> None:
    languages = [language for language, _, _ in blocks()]
    assert languages.count("python") >= 6
    assert languages.count("bash") >= 3
