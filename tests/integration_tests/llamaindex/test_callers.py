"""Who is calling, constraints by hand, and the event that tells of each decision."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler

from llamaindex_router import (
    Candidate,
    Policy,
    RouterDecisionEvent,
    RouterLLM,
    call_scope,
    cleared,
    local_only,
)
from shared_core import NoCandidateError, Prompt, UnknownCandidateError
from shared_core.types import Scope
from tests.integration_tests.llamaindex.forms import FORMS, Form, form
from tests.integration_tests.llamaindex.scripted import Busy, ScriptedLLM, router

every_form = pytest.mark.parametrize("form", FORMS)


@every_form
def test_a_scope_is_seen_by_constraints_and_its_pin_is_held_to_them(form: Form) -> None:
    seen: list[Scope] = []

    def spy(prompt: Prompt, candidate: Any, estimate: Any) -> None:
        seen.append(prompt.scope)

    small, large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
    llm = router(small, large, policy=Policy(subject_to=[spy]))
    with call_scope(thread="t1", user="u", tenant="acme", pin="large"):
        form(llm)
        with pytest.raises(NoCandidateError, match="large: is not declared to run locally"):
            form(llm, subject_to=[local_only()])
    assert (len(small.calls), len(large.calls)) == (0, 1)
    assert seen[0] == Scope("t1", "u", "acme", "large")
    form(llm)
    assert len(small.calls) == 1
    with call_scope(pin="huge"), pytest.raises(UnknownCandidateError):
        form(llm)


@every_form
def test_a_constraint_survives_a_fallback(form: Form) -> None:
    own = ScriptedLLM(model="own", replies=[Busy("down")])
    hosted = ScriptedLLM(model="hosted")
    llm = RouterLLM([Candidate("own", own, tags=["pii"]), Candidate("hosted", hosted)])
    with pytest.raises(Busy), call_scope(subject_to=[cleared("pii")]):
        form(llm)
    assert hosted.calls == []


async def test_tasks_keep_their_scopes_apart() -> None:
    seen: list[Any] = []

    def spy(prompt: Prompt, candidate: Any, estimate: Any) -> None:
        seen.append((prompt.turns[0].text, prompt.scope.thread))

    llm = router(policy=Policy(subject_to=[spy]))

    async def call(thread: str) -> None:
        with call_scope(thread=thread):
            await llm.acomplete(thread)

    await asyncio.gather(*(call(f"t{n}") for n in range(10)))
    assert all(text == thread for text, thread in seen)
    assert len(set(seen)) == 10


class Heard(BaseEventHandler):
    events: list[Any] = []  # noqa: RUF012 - a pydantic field

    def handle(self, event: Any, **kwargs: Any) -> None:
        if isinstance(event, RouterDecisionEvent):
            self.events.append(event)


@pytest.fixture
def heard() -> Any:
    handler, root = Heard(), get_dispatcher()
    root.add_event_handler(handler)
    yield handler.events
    root.event_handlers.remove(handler)


@every_form
def test_each_decision_is_an_event_of_its_own(form: Form, heard: list[Any]) -> None:
    response = form(router(), model="large")
    (event,) = heard
    assert event.class_name() == "RouterDecisionEvent"
    assert (event.candidate, event.reason) == ("large", "large was asked for by name")
    assert [e["candidate"] for e in event.estimates] == ["small", "large"]
    assert event.span_id or "with_tools" in form.__name__  # LlamaIndex opens no span for those
    assert event.model_dump_json()
    if hasattr(response, "additional_kwargs"):
        assert response.additional_kwargs["router"]["decision_id"] == event.decision_id


def test_a_refusal_is_in_the_event(heard: list[Any]) -> None:
    llm = RouterLLM(
        [Candidate("own", ScriptedLLM(), local=True), Candidate("hosted", ScriptedLLM())]
    )
    form("chat")(llm, subject_to=[local_only()])
    (event,) = heard
    assert event.refusals == [{"candidate": "hosted", "reason": "is not declared to run locally"}]
    assert event.fallbacks == []
