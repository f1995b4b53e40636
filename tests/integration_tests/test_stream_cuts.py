"""A small campaign of streams that break off, and that it would notice what goes wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms import types

from shared_core.execution.run import Shown

if not hasattr(types, "ThinkingBlock"):
    pytest.skip("the campaign needs LlamaIndex's thinking blocks", allow_module_level=True)

from examples.benchmarks import stream_cuts
from examples.benchmarks.stream_cuts import WAYS, WRONG, Outcome, Way, faults

every_way = pytest.mark.parametrize("way", WAYS, ids=str)


def test_no_character_is_lost_doubled_or_spliced(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("<!-- table: stream_cuts -->\n<!-- end -->")
    stream_cuts.main(["--out", str(tmp_path), "--cuts", "800", "--seed", "11"])
    found = json.loads((tmp_path / "results" / "stream_cuts.json").read_text())
    assert found["cuts"] >= 800
    for way in (found, *found["ways"].values()):
        assert [way[wrong.replace(" ", "_")] for wrong in WRONG] == [0] * len(WRONG)
        assert min(way["answered"], way["interrupted"]) > 0
    assert found["failed"] > 0


@every_way
def test_it_notices_what_is_spliced(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken_over(shown: Any, error: Exception) -> None:
        shown._run.resume([shown._run.failed(shown._transport, shown._ask, error)])

    monkeypatch.setattr(Shown, "fail", taken_over)
    found = asyncio.run(way.run(100, 1))
    assert found["wrong error"] > 0
    if way.strategy == "single":
        assert found["spliced"] > 0


@every_way
def test_it_notices_what_is_lost(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shown, "rest", lambda shown: [])
    assert asyncio.run(way.run(100, 1))["lost"] > 0


@every_way
def test_it_notices_what_is_doubled(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Shown.take

    monkeypatch.setattr(Shown, "take", lambda shown, chunk: [*taken(shown, chunk), chunk])
    assert asyncio.run(way.run(100, 1))["duplicated"] > 0


def test_characters_are_counted_by_what_is_wrong_with_them() -> None:
    wanted = Outcome({"text": "一二三", "tool": "", "reasoning": ""}, "interrupted", "一二三")
    for said, wrong in {
        "一二三": {},
        "一三": {"lost": 1},
        "一二二三": {"duplicated": 1},
        "一二三四": {"spliced": 1},
        "一三二": {"out of order": 1},
    }.items():
        got = Outcome({"text": said, "tool": "", "reasoning": ""}, "interrupted", "一二三")
        assert faults(wanted, got) == wrong
    assert faults(wanted, Outcome(wanted.content)) == {"wrong error": 1}
