"""A router that has learned: what was trained on a table decides inside the chat model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_router import ChatRouter, LearnedPredictor, Policy
from shared_core import NotCalibratedError
from shared_core.cli import main
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.learning import MODELS, TOPICS, write
from tests.integration_tests.langchain.forms import router

EASY, HARD = "Task 1: give the sum of 2 and 3", "Task 1: give the proof of 2 and 3"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> LearnedPredictor:
    folder = tmp_path_factory.mktemp("learned")
    table = write(folder / "table.jsonl", MODELS, prompts=600)
    assert main(["train", str(table), "--out", str(folder / "artefact")]) == 0
    return LearnedPredictor.load(folder / "artefact")


def learned(predictor: LearnedPredictor, **settings: object) -> ChatRouter:
    return router(ScriptedChat(), ScriptedChat(), predictor=predictor, **settings)


def test_what_it_has_learned_decides_and_is_on_record(predictor: LearnedPredictor) -> None:
    llm = learned(predictor)
    for question, who in ((EASY, "small"), (HARD, "large")):
        record = llm.invoke(question).response_metadata["router"]
        assert (record["candidate"], record["calibrated"]) == (who, True)
    decision = llm.explain(HARD, detail=True)
    assert decision.predictor == "learned"
    assert decision.calibration.endswith("from 600 scored prompts")
    assert decision.detail is not None
    assert "'proof'" in dict(decision.detail.moved["small"])


def test_the_estimates_are_those_of_the_predictor(predictor: LearnedPredictor) -> None:
    estimates = learned(predictor).explain(HARD).estimates
    assert [e.quality for e in estimates] == pytest.approx(predictor.qualities([HARD])[0].tolist())
    for estimate in estimates:
        assert 0 < estimate.quality_low < estimate.quality < estimate.quality_high < 1
        assert estimate.output_tokens == 50


def test_inside_a_tool_loop_evidence_comes_after_the_prediction(
    predictor: LearnedPredictor,
) -> None:
    llm = learned(predictor)
    messages: list[BaseMessage] = [HumanMessage(EASY)]
    for number in range(2):
        call = {"name": "add", "args": {"n": number}, "id": f"call_{number}"}
        stamp = {"router": {"candidate": "small"}}
        messages += [
            AIMessage("", tool_calls=[call], response_metadata=stamp),
            ToolMessage("Error: no", tool_call_id=f"call_{number}", status="error"),
        ]
    before, after = llm.explain(EASY), llm.explain(messages)
    assert (before.candidate, after.candidate) == ("small", "large")
    assert (
        (after.calibrated, after.delta) == (before.calibrated, before.delta) == (True, before.delta)
    )
    small, large = before.estimates
    assert after.estimates[0].quality == pytest.approx(small.quality * 4 / 6)
    assert after.estimates[0].quality_low == pytest.approx(small.quality_low * 4 / 6)
    assert after.estimates[1].quality == large.quality
    llm.explain(messages, detail=True)


def test_a_share_of_strong_calls_can_be_asked_for(predictor: LearnedPredictor) -> None:
    llm = learned(predictor, policy=Policy(strong_share=0.25))
    prompts = [f"Task 7-{n}: give the {t} of {n} and {n % 9}" for n in range(30) for t in TOPICS]
    asked = [llm.explain(prompt).candidate for prompt in prompts]
    assert 0.1 < asked.count("large") / len(asked) < 0.4
    with pytest.raises(NotCalibratedError):
        router(ScriptedChat(), policy=Policy(strong_share=0.25))


def test_a_candidate_that_no_table_knew_is_estimated_by_its_strength(
    predictor: LearnedPredictor,
) -> None:
    llm = ChatRouter(
        {"small": ScriptedChat(), "new": ScriptedChat(), "large": ScriptedChat()},
        predictor=predictor,
    )
    easy, hard = llm.explain(EASY), llm.explain(HARD)
    assert easy.estimates[1].quality > hard.estimates[1].quality
    assert not easy.calibrated
    assert easy.calibration == "the calibration sample has no candidate 'new'"


def test_copies_share_it_and_retune_without_training(predictor: LearnedPredictor) -> None:
    llm = learned(predictor)
    strict, loose = llm.with_policy(Policy(quality=1)), llm.with_policy(Policy(quality=0.5))
    assert strict.predictor is loose.predictor is predictor
    assert strict.explain(HARD).delta <= llm.explain(HARD).delta <= loose.explain(HARD).delta
    assert loose.explain(HARD).candidate == "small"


def test_long_prompts_are_decided_beside_the_event_loop(predictor: LearnedPredictor) -> None:
    llm = learned(predictor)
    long = f"{HARD} {'and so on ' * 20_000}"
    message = asyncio.run(llm.ainvoke(long))
    assert message.response_metadata["router"]["candidate"] == llm.explain(long).candidate


def test_no_weights_are_printed(predictor: LearnedPredictor, tmp_path: Path) -> None:
    assert len(repr(learned(predictor))) < 1_500
