"""The README's blocks run in order, and those in Python print what the README says they print.

The blocks name a local server and a hosted model; both are the loopback server here. What is
printed is the router's own doing and does not depend on who answers.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.judged import judged_answers
from tests.fakes.learning import MODELS, write
from tests.integration_tests.written import blocks, stand_in, walk

README = Path(__file__).parents[2] / "README.md"


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
    with stand_in(monkeypatch) as server:
        walk(README, server)


def test_the_readme_has_blocks_of_both_kinds() -> None:
    languages = [language for language, _, _ in blocks(README)]
    assert languages.count("python") >= 6
    assert languages.count("bash") >= 3
