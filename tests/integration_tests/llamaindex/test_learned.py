"""A router that has learned: what was trained on a table decides inside the LLM."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from llama_index.core.llms import ChatMessage

from llamaindex_router import LearnedPredictor, Policy
from shared_core.cli import main
from tests.fakes.learning import MODELS, write
from tests.integration_tests.llamaindex.forms import FORMS, Form
from tests.integration_tests.llamaindex.scripted import router

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.fakes.llms import ScriptedLLM  # isort: skip

EASY, HARD = "Task 1: give the sum of 2 and 3", "Task 1: give the proof of 2 and 3"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> LearnedPredictor:
    folder: Path = tmp_path_factory.mktemp("learned")
    table = write(folder / "table.jsonl", MODELS, prompts=600)
    assert main(["train", str(table), "--out", str(folder / "artefact")]) == 0
    return LearnedPredictor.load(folder / "artefact")


@pytest.mark.parametrize("form", [f for f in FORMS if "structured" not in f.__name__])
def test_what_it_has_learned_decides_in_every_form(form: Form, predictor: LearnedPredictor) -> None:
    llm = router(ScriptedLLM(), ScriptedLLM(), predictor=predictor)
    record = form(llm).additional_kwargs["router"]
    assert record["calibrated"] is True
    assert record["candidate"] in MODELS


def test_easy_goes_to_the_small_and_hard_to_the_large(predictor: LearnedPredictor) -> None:
    llm = router(ScriptedLLM(), ScriptedLLM(), predictor=predictor)
    for question, who in ((EASY, "small"), (HARD, "large")):
        answer = llm.chat([ChatMessage(content=question)])
        assert answer.additional_kwargs["router"]["candidate"] == who
        answer = asyncio.run(llm.acomplete(question))
        assert answer.additional_kwargs["router"]["candidate"] == who
    decision = llm.with_policy(Policy(quality=0.5)).explain(HARD, detail=True)
    assert decision.candidate == "small"
    assert decision.detail is not None
    assert "'proof'" in dict(decision.detail.moved["small"])
