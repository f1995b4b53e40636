"""What is written down of a call, and who is told of it: ledger, shadow mode, events, spans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler

from llamaindex_router import Budget, Candidate, Ledger, Policy, RouterLLM, call_scope, cleared
from llamaindex_router.events import RouterDecisionEvent, RouterEntryEvent
from shared_core import (
    BudgetExceededError,
    ConfigurationError,
    NoCandidateError,
    UnknownDecisionError,
)
from tests.fakes.core import Choosing, FixedPredictor
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.integration_tests.accounts import (
    KNOWN,
    PRICE,
    READ,
    WROTE,
    declared_usd,
    entries,
    last,
    outcomes,
    take,
)
from tests.integration_tests.llamaindex.forms import (
    FORMS,
    QUESTION,
    RECORDED,
    STREAMED,
    Form,
    client,
)
from tests.integration_tests.llamaindex.scripted import Busy, router
from tests.integration_tests.spans import Spans

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.fakes.llms import ScriptedLLM  # isort: skip

every_form = pytest.mark.parametrize("form", FORMS)


# --- shadow mode ---


def shadowed(shadow: Any = "large", **settings: Any) -> RouterLLM:
    """A router that would pick the small one."""
    return router(predictor=Choosing(), shadow=shadow, **settings)


@every_form
def test_in_shadow_the_named_one_answers_and_the_chosen_one_is_noted(form: Form) -> None:
    llm = shadowed()
    form(llm)
    entry = last(llm)
    assert (entry["candidate"], entry["chosen"], entry["shadow"]) == ("large", "small", True)
    assert entry["reason"].startswith("large answers in shadow mode; small would: ")
    assert outcomes(entry) == [("large", "answered")]


@every_form
def test_in_shadow_nobody_steps_in(form: Form) -> None:
    small = ScriptedLLM(model="small")
    llm = router(small, ScriptedLLM(replies=[Busy()]), predictor=Choosing(), shadow="large")
    with pytest.raises(Busy):
        form(llm)
    entry = last(llm)
    assert (entry["chosen"], entry["shadow"], entry["outcome"]) == ("small", True, "failed")
    assert outcomes(entry) == [("large", "failed")]
    assert small.calls == []


@every_form
def test_who_is_asked_for_by_name_answers_in_shadow_too(form: Form) -> None:
    llm = shadowed()
    form(llm, model="small")
    with call_scope(pin="small"):
        form(llm)
    for entry in entries(llm):
        assert (entry["candidate"], entry["chosen"], entry["shadow"]) == ("small", "small", False)


def test_an_unknown_shadow_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"shadow names no candidate: .*small, large"):
        shadowed("huge")
    llm = shadowed()
    with pytest.raises(ConfigurationError, match="shadow names no candidate"):
        llm.shadow = "huge"
    assert llm.shadow == "large"


@every_form
def test_a_shadow_over_its_budget_is_said_to_be(form: Form) -> None:
    dear = Candidate("large", ScriptedLLM(model="large"), price=(1000, 1000))
    cheap = Candidate("small", ScriptedLLM(model="small"), price=PRICE)
    llm = RouterLLM([cheap, dear], shadow="large", budgets=Budget(usd=0.05, per="day"))
    with pytest.raises(BudgetExceededError) as refused:
        form(llm)
    assert [refusal.candidate for refusal in refused.value.refusals] == ["large"]
    assert refused.value.left == {"USD": 0.05}


# --- the ledger ---


def test_a_score_is_kept_with_its_entry() -> None:
    llm = router()
    decision = llm.complete(QUESTION).additional_kwargs["router"]["decision_id"]
    llm.feedback(decision, 0.25, comment="too short")
    assert last(llm)["feedback"] == {"score": 0.25, "comment": "too short"}
    with pytest.raises(ConfigurationError, match="score must be"):
        llm.feedback(decision, 2)
    with pytest.raises(UnknownDecisionError):
        llm.feedback("nobody", 1)


@every_form
def test_texts_are_kept_where_that_is_asked_for_alone(form: Form) -> None:
    for kept in (False, True):
        llm = router(ledger=Ledger(keep_text=kept))
        form(llm)
        assert (last(llm)["prompt_text"] is not None) == kept
        assert (last(llm)["answer_text"] is not None) == kept


@every_form
def test_a_path_is_a_ledger_that_stays(form: Form, tmp_path: Path) -> None:
    llm = router(ledger=str(tmp_path / "ledger.db"))
    assert isinstance(llm.ledger, Ledger)
    form(llm)
    again = router(ledger=tmp_path / "ledger.db")
    again.feedback(last(llm)["decision_id"], 0.5)
    form(again)
    assert [e["feedback"] is None for e in entries(llm)] == [False, True]
    llm.ledger.close()
    again.ledger.close()


@every_form
@pytest.mark.parametrize("fault", [None, Fault("status", status=401, message="key sk-secret-1")])
def test_no_key_and_no_text_is_in_the_file(
    fault: Fault | None, form: Form, server: OpenAIServer, tmp_path: Path
) -> None:
    server.script("small", [fault])
    small = client(server, api_key="sk-secret-1", default_headers={"X-Key": "sk-secret-2"})
    llm = RouterLLM({"small": small}, ledger=tmp_path / "ledger.db")
    with call_scope(user="u7"):
        if fault is None:
            form(llm)
        else:
            with pytest.raises(Exception, match="sk-secret-1"):
                form(llm)
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    llm.ledger.close()
    assert last(llm)["outcome"] == ("answered" if fault is None else "failed")
    assert b"u7" in written
    for secret in (b"secret", b"capital of France", b"Lisbon", b"Europe"):
        assert secret not in written


# --- the same in every form ---

BY_CHANCE = ("decision_id", "started_at", "seconds", "overhead_s")
KINDS = [FORMS[place : place + 4] for place in range(0, len(FORMS), 4)]


def steady(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry without what differs from call to call."""
    kept = {name: value for name, value in entry.items() if name not in BY_CHANCE}
    kept["attempts"] = [{**attempt, "seconds": 0.0} for attempt in entry["attempts"]]
    return kept


def priced(server: OpenAIServer, **settings: Any) -> RouterLLM:
    terms: Any = {"price": PRICE, "energy": (1, 2)}
    made = [Candidate(n, client(server, n), **terms) for n in server.models]
    predictor = FixedPredictor({"small": 0.8, "large": 0.9})
    return RouterLLM(made, predictor=predictor, **settings)


def asked(form: Form, llm: Any) -> Any:
    """A call whose stream reports its usage."""
    options = {"stream_options": {"include_usage": True}} if form in STREAMED else {}
    return form(llm, **options)


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "budget": {"budgets": Budget(usd=1, wh=9, per=("user", "day"))},
    "shadow": {"shadow": "small"},
    "thrifty": {"policy": Policy(quality=0.5)},
    "private": {"policy": Policy(subject_to=[cleared("pii")])},
}


@pytest.mark.parametrize("status", [None, 503, 401])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("forms", KINDS, ids=lambda forms: forms[0].__name__)
def test_what_is_decided_and_written_is_the_same_in_every_form(
    forms: list[Form], settings: str, status: int | None, server: OpenAIServer
) -> None:
    seen = []
    for form in forms:
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
                answer = asked(form, llm)
            if form in RECORDED:
                record = {**answer.additional_kwargs["router"], "decision_id": ""}
        except Exception as error:
            record = {"error": type(error).__name__}
        seen.append((record, [steady(e) for e in entries(llm)]))
    assert seen[1:] == seen[:1] * 3
    assert len(seen[0][1]) == (0 if settings == "private" else 1)


# --- events and spans ---


class Heard(BaseEventHandler):
    """What routers tell of their calls."""

    events: list[Any] = []  # noqa: RUF012

    def handle(self, event: Any, **kwargs: Any) -> None:
        if isinstance(event, (RouterDecisionEvent, RouterEntryEvent)):
            self.events.append(event)


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    handler, dispatcher = Heard(events=[]), get_dispatcher()
    dispatcher.add_event_handler(handler)
    yield handler.events
    dispatcher.event_handlers.remove(handler)


@every_form
def test_the_end_of_a_call_is_an_event(form: Form, server: OpenAIServer, heard: list[Any]) -> None:
    server.report("small", KNOWN)
    llm = priced(server, shadow="small")
    asked(form, llm)
    begun, ended = heard
    entry = last(llm)
    assert isinstance(begun, RouterDecisionEvent)
    assert isinstance(ended, RouterEntryEvent)
    assert begun.decision_id == ended.decision_id == entry["decision_id"]
    assert (ended.candidate, ended.outcome) == ("small", "answered")
    assert ended.cost_usd == entry["cost_usd"] == pytest.approx(declared_usd())
    assert ended.energy_wh == entry["energy_wh"]["mid"]
    assert ended.seconds == entry["seconds"]
    (attempt,) = ended.attempts
    assert (attempt["usage"]["input_tokens"], attempt["usage"]["output_tokens"]) == (READ, WROTE)
    assert ended.model_dump_json()


@every_form
def test_a_failed_call_is_an_event_too(form: Form, heard: list[Any]) -> None:
    llm = router(ScriptedLLM(replies=[Busy()]), ScriptedLLM(replies=[Busy()]))
    with pytest.raises(Exception, match="Busy"):
        form(llm)
    _, ended = heard
    assert ended.outcome == "failed"
    assert [(a["candidate"], a["error"]) for a in ended.attempts] == [
        ("small", "Busy"),
        ("large", "Busy"),
    ]


@pytest.fixture
def spans() -> Iterator[Spans]:
    with Spans() as collected:
        yield collected


@every_form
def test_a_call_is_a_span_below_the_current_one(
    form: Form, server: OpenAIServer, spans: Spans
) -> None:
    server.report("small", KNOWN)
    llm = priced(server, shadow="small")
    with spans.outer() as outer, call_scope(user="u7", thread="t3"):
        asked(form, llm)
    (span,), entry = spans.routed(), last(llm)
    attributes = dict(span.attributes or {})
    assert span.name == "chat small"
    assert span.parent is not None
    assert span.parent.span_id == outer.get_span_context().span_id
    assert attributes["gen_ai.usage.input_tokens"] == READ
    assert attributes["gen_ai.usage.output_tokens"] == WROTE
    assert attributes["gen_ai.conversation.id"] == "t3"
    assert attributes["user.id"] == "u7"
    assert attributes["router.chosen"] == entry["chosen"] == "large"
    assert attributes["router.cost_usd"] == entry["cost_usd"]
    assert span.end_time == round((entry["started_at"] + entry["seconds"]) * 1e9)


@every_form
def test_unknown_tokens_are_left_out_of_the_span(
    form: Form, server: OpenAIServer, spans: Spans
) -> None:
    server.report("small", None)
    form(RouterLLM({"small": client(server)}))
    (span,) = spans.routed()
    assert not [name for name in span.attributes or {} if "usage" in name or "cost" in name]


@every_form
def test_at_the_limit_there_is_neither_an_entry_nor_a_span(
    form: Form, spans: Spans, heard: list[Any]
) -> None:
    llm = router(budgets=Budget(calls=1))
    take(llm, "somebody", 0.0)
    with pytest.raises(NoCandidateError):
        form(llm)
    assert entries(llm) == heard == spans.routed() == []
