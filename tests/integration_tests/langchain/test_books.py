"""What is written down of a call, and who is told of it: ledger, shadow mode, traces, spans."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.exceptions import ModelRateLimitError
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run

from langchain_router import (
    Budget,
    Candidate,
    ChatRouter,
    Ledger,
    Policy,
    call_scope,
    cleared,
)
from shared_core import (
    BudgetExceededError,
    ConfigurationError,
    NoCandidateError,
    UnknownCandidateError,
    UnknownDecisionError,
)
from shared_core.types import Ask, Decision, Prompt, Steps
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import Choosing, FixedPredictor
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.standard_gates import THIRD_PARTY_WARNINGS, openai_chat
from tests.integration_tests.accounts import (
    KNOWN,
    PRICE,
    declared_usd,
    entries,
    last,
    outcomes,
    take,
)
from tests.integration_tests.langchain.forms import (
    FORMS,
    WAYS,
    Form,
    Way,
    astream,
    invoke,
    plain,
    router,
    stream,
    structured,
)
from tests.integration_tests.spans import Spans

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY_WARNINGS]
QUESTION = "weather in Lisbon?"
BUSY = ModelRateLimitError("busy")

every_form = pytest.mark.parametrize("form", FORMS)
every_way = pytest.mark.parametrize("way", WAYS)


# --- shadow mode ---


def shadowed(shadow: Any = "large", **settings: Any) -> ChatRouter:
    """A router that would pick the small one."""
    return router(predictor=Choosing(), shadow=shadow, **settings)


@every_way
@every_form
def test_in_shadow_the_named_one_answers_and_the_chosen_one_is_noted(form: Form, way: Way) -> None:
    llm = shadowed()
    form(way(llm), QUESTION)
    entry = last(llm)
    assert (entry["candidate"], entry["chosen"], entry["shadow"]) == ("large", "small", True)
    assert entry["reason"].startswith("large answers in shadow mode; small would: ")
    assert outcomes(entry) == [("large", "answered")]


@every_way
@every_form
def test_in_shadow_nobody_steps_in(form: Form, way: Way) -> None:
    small = ScriptedChat(model_name="small")
    llm = router(small, ScriptedChat(replies=[BUSY]), predictor=Choosing(), shadow="large")
    with pytest.raises(ModelRateLimitError):
        form(way(llm), QUESTION)
    entry = last(llm)
    assert (entry["chosen"], entry["shadow"], entry["outcome"]) == ("small", True, "failed")
    assert outcomes(entry) == [("large", "failed")]
    assert small.calls == []


@every_way
@every_form
def test_who_is_asked_for_by_name_answers_in_shadow_too(form: Form, way: Way) -> None:
    llm = shadowed()
    form(way(llm), QUESTION, model="small")
    form(way(llm), QUESTION, {"configurable": {"pin": "small"}})
    for entry in entries(llm):
        assert (entry["candidate"], entry["chosen"], entry["shadow"]) == ("small", "small", False)


@pytest.mark.parametrize("name", ["huge", "", "Large"])
def test_an_unknown_shadow_is_a_configuration_error(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"shadow names no candidate: .*small, large"):
        shadowed(name)
    llm = shadowed()
    with pytest.raises(ConfigurationError, match="shadow names no candidate"):
        llm.shadow = name
    assert llm.shadow == "large"


def test_shadow_mode_is_switched_off_and_on() -> None:
    llm = shadowed()
    for shadow, answers in ((None, "small"), ("large", "large"), ("small", "small")):
        llm.shadow = shadow
        llm.invoke(QUESTION)
        assert (last(llm)["candidate"], last(llm)["shadow"]) == (answers, shadow is not None)
    assert llm.model_copy(update={"shadow": "large"}).explain(QUESTION).candidate == "large"
    assert llm.explain(QUESTION).candidate == "small"


def test_in_shadow_a_forced_unknown_name_is_refused_as_ever() -> None:
    with pytest.raises(UnknownCandidateError):
        shadowed().invoke(QUESTION, model="huge")


@every_form
def test_a_shadow_is_held_to_constraints_and_budgets(form: Form) -> None:
    private = shadowed(policy=Policy(subject_to=[cleared("pii")]))
    private.candidates = [
        Candidate("small", ScriptedChat(), tags=("pii",)),
        Candidate("large", ScriptedChat()),
    ]
    with pytest.raises(NoCandidateError, match=r"large: .*not cleared for pii") as caught:
        form(private, QUESTION)
    assert not isinstance(caught.value, BudgetExceededError)

    dear = Candidate("large", ScriptedChat(model_name="large"), price=(1000, 1000))
    cheap = Candidate("small", ScriptedChat(model_name="small"), price=PRICE)
    llm = ChatRouter([cheap, dear], shadow="large", budgets=Budget(usd=0.05, per="day"))
    with pytest.raises(BudgetExceededError) as refused:
        form(llm, QUESTION)
    assert refused.value.budget == "0.05 USD per day"
    assert [refusal.candidate for refusal in refused.value.refusals] == ["large"]
    assert refused.value.left == {"USD": 0.05}
    assert refused.value.resets_at is not None


@every_form
def test_a_shadow_that_is_refused_otherwise_is_not_said_to_be_over_budget(form: Form) -> None:
    dear = Candidate("small", ScriptedChat(model_name="small"), price=(1000, 1000))
    blind = Candidate("large", ScriptedChat(model_name="large"))
    cheap = Candidate("middle", ScriptedChat(model_name="middle"), price=PRICE)
    llm = ChatRouter([dear, cheap, blind], shadow="large", budgets=Budget(usd=0.05))
    with pytest.raises(NoCandidateError, match="its price is unknown") as caught:
        form(llm, QUESTION)
    assert not isinstance(caught.value, BudgetExceededError)


# --- the ledger ---


def test_a_score_is_kept_with_its_entry() -> None:
    llm = router()
    ids = [llm.invoke(q).response_metadata["router"]["decision_id"] for q in "ab"]
    llm.feedback(ids[0], 0.25, comment="too short")
    llm.feedback(ids[0], 0.75)
    llm.with_policy(Policy(quality=0.9)).feedback(ids[1], 1)
    assert [entry["feedback"] for entry in entries(llm)] == [
        {"score": 0.75, "comment": None},
        {"score": 1.0, "comment": None},
    ]
    for wrong in (-0.1, 1.1, float("nan"), "good", True, None):
        with pytest.raises(ConfigurationError, match="score must be a number from 0 to 1"):
            llm.feedback(ids[0], wrong)  # type: ignore[arg-type]
    with pytest.raises(UnknownDecisionError, match=r"'nobody' is in the ledger.*2 so far"):
        llm.feedback("nobody", 1)


@every_form
def test_texts_are_kept_where_that_is_asked_for_alone(form: Form) -> None:
    for kept in (False, True):
        llm = router(ledger=Ledger(keep_text=kept))
        form(llm, "Is this kept?")
        entry = last(llm)
        assert len(entry["prompt_hash"]) == 32
        texts = (entry["prompt_text"], entry["answer_text"])
        assert texts == (
            ("Is this kept?", "small answers: Is this kept?") if kept else (None, None)
        )


@every_form
def test_a_path_is_a_ledger_that_stays(form: Form, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    llm = router(ledger=str(path))
    assert isinstance(llm.ledger, Ledger)
    form(llm, QUESTION)
    decision = last(llm)["decision_id"]
    again = router(ledger=path)
    again.feedback(decision, 0.5)
    form(again, QUESTION)
    with Ledger(path) as read:
        assert [e["feedback"] is None for e in read.entries()] == [False, True]
    llm.ledger.close()
    again.ledger.close()


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


@every_way
@every_form
@pytest.mark.parametrize("fault", [None, Fault("status", status=401, message="key sk-secret-1")])
def test_no_key_and_no_text_is_in_the_file(
    fault: Fault | None, form: Form, way: Way, server: OpenAIServer, tmp_path: Path
) -> None:
    server.script("small", [fault])
    small = openai_chat(server, api_key="sk-secret-1", default_headers={"X-Key": "sk-secret-2"})
    llm = ChatRouter({"small": small}, ledger=tmp_path / "ledger.db")
    with call_scope(user="u7"):
        told: Any = (
            pytest.raises(Exception, match="sk-secret-1") if fault else contextlib.nullcontext()
        )
        with told:
            form(way(llm), "tell me of xylophones")
    written = everything_in(tmp_path)
    llm.ledger.close()
    assert b"u7" in written
    assert last(llm)["outcome"] == ("answered" if fault is None else "failed")
    assert b"secret" not in written
    assert b"xylophones" not in written


def test_a_kept_text_is_in_the_file_and_a_key_is_not(server: OpenAIServer, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", keep_text=True)
    llm = ChatRouter({"small": openai_chat(server, api_key="sk-secret")}, ledger=ledger)
    llm.invoke("tell me of xylophones")
    written = everything_in(tmp_path)
    ledger.close()
    assert b"xylophones" in written
    assert b"secret" not in written


def test_copies_write_into_the_same_ledger_and_pickles_into_their_own() -> None:
    llm = router()
    for twin in (copy.copy(llm), copy.deepcopy(llm), llm.with_policy(Policy(quality=1))):
        twin.invoke(QUESTION)
    assert len(entries(llm)) == 3
    assert len(entries(router())) == 0


@pytest.mark.parametrize("wrong", [5, object(), "", ["a"]])
def test_what_is_no_ledger_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"must (be a path|name a file)"):
        router(ledger=wrong)


# --- the same in every form ---

BY_CHANCE = ("decision_id", "started_at", "seconds", "overhead_s")


def steady(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry without what differs from call to call."""
    kept = {name: value for name, value in entry.items() if name not in BY_CHANCE}
    kept["attempts"] = [{**attempt, "seconds": 0.0} for attempt in entry["attempts"]]
    return kept


def priced(server: OpenAIServer, **settings: Any) -> ChatRouter:
    terms: Any = {"price": PRICE, "energy": (1, 2)}
    made = [Candidate(n, openai_chat(server, n), **terms) for n in server.models]
    predictor = FixedPredictor({"small": 0.8, "large": 0.9})
    return ChatRouter(made, predictor=predictor, ledger=Ledger(keep_text=True), **settings)


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "budget": {"budgets": Budget(usd=1, wh=9, per=("user", "day"))},
    "shadow": {"shadow": "small"},
    "thrifty": {"policy": Policy(quality=0.5)},
    "private": {"policy": Policy(subject_to=[cleared("pii")])},
}


@pytest.mark.parametrize("status", [None, 503, 401])
@pytest.mark.parametrize("settings", SETTINGS)
@every_way
def test_what_is_decided_and_written_is_the_same_in_every_form(
    way: Way, settings: str, status: int | None, server: OpenAIServer
) -> None:
    seen = []
    for form in FORMS:
        server.reset()
        for model in server.models:
            server.report(model, KNOWN)
        if status is not None:
            server.script("large", [Fault("status", status=status)])
            server.script("small", [Fault("status", status=status)] * (settings == "thrifty"))
        llm = priced(server, **SETTINGS[settings])
        record = None
        try:
            with call_scope(user="u", thread="t"):
                answer = form(way(llm), QUESTION)
            if way is not structured:
                record = {**answer.response_metadata["router"], "decision_id": ""}
        except Exception as error:
            record = {"error": type(error).__name__}
        seen.append((record, [steady(e) for e in entries(llm)], server.asked("small") == []))
    assert seen[1:] == seen[:1] * 3
    expected = 0 if settings == "private" else 1
    assert len(seen[0][1]) == expected


@every_way
def test_the_decision_that_is_explained_is_the_one_that_is_made(way: Way) -> None:
    llm = router(budgets=Budget(calls=9))
    explained = llm.explain(QUESTION)
    for form in FORMS:
        form(way(llm), QUESTION)
        if way is plain:
            assert last(llm)["reason"] == explained.reason
            assert last(llm)["chosen"] == explained.candidate


# --- traces and spans ---


class Traced(BaseTracer):
    """Keeps the runs that have ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.ended.append(run)


@every_way
@every_form
def test_the_routers_run_carries_the_record(form: Form, way: Way, server: OpenAIServer) -> None:
    server.report("small", KNOWN)
    llm, traced = priced(server, shadow="small"), Traced()
    form(way(llm), QUESTION, {"callbacks": [traced]})
    run = traced.ended[-1]
    found = {k: v for k, v in run.extra["metadata"].items() if k.startswith("router_")}
    entry = last(llm)
    assert found == {
        "router_decision_id": entry["decision_id"],
        "router_candidate": "small",
        "router_reason": entry["reason"],
        "router_calibrated": False,
        "router_cost_usd": pytest.approx(declared_usd()),
        "router_energy_wh": pytest.approx(entry["energy_wh"]["mid"]),
    }
    assert run.run_type == "chain"
    json.dumps(found)


@pytest.fixture
def spans() -> Iterator[Spans]:
    with Spans() as collected:
        yield collected


@every_way
@every_form
def test_a_call_is_a_span_below_the_current_one(
    form: Form, way: Way, server: OpenAIServer, spans: Spans
) -> None:
    server.report("small", KNOWN)
    llm = priced(server, shadow="small")
    with spans.outer() as outer, call_scope(user="u7", thread="t3"):
        form(way(llm), QUESTION)
    (span,), entry = spans.routed(), last(llm)
    assert span.name == "chat small"
    assert span.parent is not None
    assert span.parent.span_id == outer.get_span_context().span_id
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "small",
        "gen_ai.conversation.id": "t3",
        "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.output_tokens": 70,
        "gen_ai.usage.cache_read.input_tokens": 300,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "user.id": "u7",
        "router.decision_id": entry["decision_id"],
        "router.candidate": "small",
        "router.chosen": entry["chosen"],
        "router.reason": entry["reason"],
        "router.outcome": "answered",
        "router.attempts": ("small",),
        "router.cost_usd": entry["cost_usd"],
        "router.overhead_s": entry["overhead_s"],
        "router.energy_wh": entry["energy_wh"]["mid"],
        "router.energy_wh_low": entry["energy_wh"]["low"],
        "router.energy_wh_high": entry["energy_wh"]["high"],
        "router.energy_method": "declared",
    }
    assert span.start_time == round(entry["started_at"] * 1e9)
    assert span.end_time == round((entry["started_at"] + entry["seconds"]) * 1e9)
    assert span.status.is_unset


@every_form
def test_unknown_tokens_are_left_out_of_the_span(
    form: Form, server: OpenAIServer, spans: Spans
) -> None:
    server.report("small", None)
    form(ChatRouter({"small": openai_chat(server)}), QUESTION)
    (span,) = spans.routed()
    assert not [name for name in span.attributes or {} if "usage" in name or "cost" in name]


class Both:
    """Asks both and takes the first one's reply."""

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        names = (decision.candidate, *decision.fallbacks)
        first, _ = yield tuple(Ask(name, visible=False) for name in names)
        return first


@pytest.mark.parametrize("told", [True, False])
@every_form
def test_the_tokens_of_a_span_are_those_of_all_answers(
    form: Form, told: bool, server: OpenAIServer, spans: Spans
) -> None:
    server.report("small", KNOWN)
    server.report("large", KNOWN if told else None)
    form(priced(server, strategy=Both()), QUESTION)
    (span,) = spans.routed()
    read = (span.attributes or {}).get("gen_ai.usage.input_tokens")
    assert read == (2 * KNOWN["prompt_tokens"] if told else None)


@every_form
def test_a_failed_call_is_a_span_with_its_error(form: Form, spans: Spans) -> None:
    llm = router(ScriptedChat(replies=[BUSY]), ScriptedChat(replies=[BUSY]))
    with pytest.raises(Exception, match="busy"):
        form(llm, QUESTION)
    (span,) = spans.routed()
    assert not span.status.is_ok
    assert span.status.description == "failed"
    attributes = dict(span.attributes or {})
    assert attributes["router.attempts"] == ("small", "large")
    assert attributes["router.outcome"] == "failed"
    assert "gen_ai.usage.input_tokens" not in attributes
    assert QUESTION not in json.dumps(attributes)


async def test_an_abandoned_stream_is_a_cancelled_span(spans: Spans) -> None:
    llm = router()
    chunks: Any = llm.astream(QUESTION)
    await anext(chunks)
    await chunks.aclose()
    (span,) = spans.routed()
    assert (span.attributes or {})["router.outcome"] == "cancelled"


def test_calls_side_by_side_are_spans_of_their_own_callers(spans: Spans) -> None:
    llm = router()

    async def ask() -> None:
        async def one(number: int) -> int:
            with spans.outer() as outer:
                await llm.ainvoke(f"{QUESTION} {number}")
                return int(outer.get_span_context().span_id)

        outers = await asyncio.gather(*(one(n) for n in range(20)))
        assert sorted(s.parent.span_id for s in spans.routed() if s.parent) == sorted(outers)

    asyncio.run(ask())


@pytest.mark.parametrize("form", [invoke, stream, astream])
def test_at_the_limit_there_is_neither_an_entry_nor_a_span(form: Form, spans: Spans) -> None:
    llm = router(budgets=Budget(calls=1))
    take(llm, "somebody", 0.0)
    with pytest.raises(BudgetExceededError):
        form(llm, QUESTION)
    assert entries(llm) == []
    assert spans.routed() == []
