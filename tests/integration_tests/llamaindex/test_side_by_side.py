"""LLMs that are asked side by side, on an event loop or in threads, are one call of the caller's.

Each runs in the caller's context; there is one span and one pair of events per attempt; budgets,
deadlines and interrupts hold for all of them together.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextvars import ContextVar
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.dispatcher import instrument_tags
from llama_index.core.instrumentation.span.simple import SimpleSpan
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from pydantic import Field, SkipValidation

from llamaindex_router import Budget, Candidate, Policy, RouterLLM, call_scope, deadline_s
from shared_core import AllCandidatesFailedError, DeadlineExceededError
from shared_core.scope import current_scope
from tests.fakes.core import FixedPredictor
from tests.fakes.strategies import Everyone, Relay
from tests.integration_tests.accounts import PRICE, last, nothing_held, outcomes, standing
from tests.integration_tests.llamaindex.forms import FORMS, STRUCTURED, Form
from tests.integration_tests.llamaindex.scripted import Busy, Denied

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.contracts.llamaindex import observed  # isort: skip
from tests.fakes.llms import ScriptedLLM  # isort: skip

every_form = pytest.mark.parametrize("form", FORMS)
SYNC = [form for form in FORMS if not form.__name__.startswith("a")]
in_threads = pytest.mark.parametrize("form", SYNC)

NAMES = ("small", "middle", "large")
PLACE: ContextVar[str] = ContextVar("place", default="nowhere")


class Looking(ScriptedLLM):
    """Keeps what it sees of the context in which it is called.

    Attributes:
        seen: The value of a context variable, the caller's scope, and the thread.
    """

    seen: SkipValidation[list[Any]] = Field(default_factory=list, exclude=True)

    def _next(self, *args: Any) -> Any:
        self.seen.append((PLACE.get(), current_scope().user, threading.current_thread()))
        PLACE.set("its own affair")
        return super()._next(*args)


def models(make: Any = ScriptedLLM, **settings: Any) -> dict[str, Any]:
    return {name: make(model=name, **settings) for name in NAMES}


def over(made: Any, strategy: Any = None, **settings: Any) -> RouterLLM:
    predictor = FixedPredictor({"small": 0.9, "middle": 0.91, "large": 0.92})
    return RouterLLM(
        [Candidate(name, model, price=PRICE) for name, model in made.items()],
        strategy=strategy or Everyone(),
        predictor=predictor,
        **settings,
    )


@every_form
def test_each_runs_in_the_callers_context_and_changes_nothing_in_it(form: Form) -> None:
    made = models(Looking)
    token = PLACE.set("here")
    try:
        with call_scope(user="u7"):
            form(over(made))
        assert PLACE.get() == "here"
    finally:
        PLACE.reset(token)
    seen = [look for model in made.values() for look in model.seen]
    assert [look[:2] for look in seen] == [("here", "u7")] * 3
    if form in SYNC:
        assert threading.main_thread() not in {thread for *_, thread in seen}


@in_threads
def test_without_an_event_loop_they_are_asked_at_the_same_time(form: Form) -> None:
    together = threading.Barrier(3, timeout=10)

    class Waiting(ScriptedLLM):
        def _next(self, *args: Any) -> Any:
            together.wait()
            return super()._next(*args)

    form(over(models(Waiting)))


@every_form
@pytest.mark.parametrize(("strategy", "asks"), [(Everyone(), 3), (Everyone(2), 6)])
def test_36_there_is_one_pair_of_events_per_ask(form: Form, strategy: Any, asks: int) -> None:
    with observed() as seen:
        form(over(models(), strategy))
    kind = "LLMCompletion" if "complete" in form.__name__ else "LLMChat"
    for moment in ("Start", "End"):
        assert len(seen.of(f"{kind}{moment}Event")) == asks
    assert sorted(seen.opened) == sorted(seen.closed)


SPANNED = [f for f in FORMS if "stream_" not in f.__name__ and "tools" not in f.__name__]
"""Forms whose LLMs run within the router's own span; LlamaIndex ends that of a stream at once."""


@every_form
def test_every_span_has_the_callers_tags_and_is_below_the_routers_own(form: Form) -> None:
    dispatcher, spans = get_dispatcher(), SimpleSpanHandler()
    dispatcher.add_span_handler(spans)
    try:
        with instrument_tags({"who": "me"}):
            form(over(models()))
    finally:
        dispatcher.span_handlers.remove(spans)
    ended: dict[str, SimpleSpan] = {span.id_: span for span in spans.completed_spans}
    assert not spans.open_spans
    assert not spans.dropped_spans
    assert all(span.tags == {"who": "me"} for span in ended.values())
    roots = [span for span in ended.values() if span.parent_id is None]
    if form in SPANNED:
        assert [root.id_.split(".")[0] for root in roots] == ["RouterLLM"]
        below = [span for span in ended.values() if span.parent_id == roots[0].id_]
        assert sum(span.id_.startswith("ScriptedLLM") for span in below) == 3


@every_form
def test_38_the_tokens_of_all_are_counted(form: Form) -> None:
    counting = TokenCountingHandler(tokenizer=str.split)
    llm = over(models(), Everyone(2))
    llm.callback_manager = CallbackManager([counting])
    form(llm)
    attempts = last(llm)["attempts"]
    assert len(counting.llm_token_counts) == len(attempts) == 6
    if form not in STRUCTURED:
        used = sum(attempt["usage"]["input_tokens"] for attempt in attempts)
        assert counting.prompt_llm_token_count == used > 0


@every_form
def test_usages_of_llms_side_by_side_are_kept_apart(form: Form) -> None:
    counts = {"small": 10, "middle": 200, "large": 3000}
    made = {
        name: ScriptedLLM(
            model=name,
            usage={"prompt_tokens": n, "completion_tokens": n + 1, "total_tokens": 2 * n + 1},
            delay_s=0.02,
        )
        for name, n in counts.items()
    }
    llm = over(made, Everyone(2))
    form(llm)
    found = [(a["candidate"], a["usage"]["input_tokens"]) for a in last(llm)["attempts"]]
    assert found == [*counts.items()] * 2


@every_form
def test_attempts_are_written_down_in_the_order_in_which_they_were_asked_for(form: Form) -> None:
    made = {
        name: ScriptedLLM(model=name, delay_s=0.09 - 0.04 * place)
        for place, name in enumerate(NAMES)
    }
    llm = over(made, Relay(last=False))
    form(llm)
    assert outcomes(last(llm)) == [(name, "answered") for name in (*NAMES, "large")]
    entry = last(llm)
    assert sum(a["seconds"] for a in entry["attempts"][:3]) > 0.14
    assert 0 <= entry["overhead_s"] < entry["seconds"]


@every_form
def test_one_that_fails_does_not_harm_the_others(form: Form) -> None:
    made = models()
    made["small"] = ScriptedLLM(model="small", replies=[Busy()])
    made["large"] = ScriptedLLM(model="large", replies=[Denied()])
    llm = over(made)
    form(llm)
    assert last(llm)["candidate"] == "middle"
    assert [how for _, how in outcomes(last(llm))] == ["failed", "answered", "failed"]


@every_form
def test_all_that_fail_are_told_of_in_order(form: Form) -> None:
    with pytest.raises(AllCandidatesFailedError) as caught:
        form(over(models(replies=[Busy()])))
    assert [name for name, _ in caught.value.errors] == list(NAMES)


class GraphBubbleUp(Exception):
    """As LangGraph has it."""


@every_form
@pytest.mark.parametrize("one", NAMES)
@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), GraphBubbleUp("stop")])
def test_an_interrupt_inside_one_of_them_passes_through(
    form: Form, one: str, error: BaseException
) -> None:
    made = models()
    made[one] = ScriptedLLM(model=one, replies=[error, None])
    llm = over(made, budgets=[Budget(tokens=10**6)])
    with pytest.raises(type(error)) as caught:
        form(llm)
    assert caught.value is error
    assert nothing_held(llm)
    assert last(llm)["outcome"] == ("failed" if isinstance(error, Exception) else "cancelled")
    assert form(llm)


@every_form
def test_the_deadline_is_over_all_of_them(form: Form) -> None:
    made = models()
    made["middle"] = ScriptedLLM(model="middle", delay_s=5)
    made["large"] = ScriptedLLM(model="large", delay_s=5)
    llm = over(made, policy=Policy(subject_to=[deadline_s(0.5)]))
    form(llm)
    entry = last(llm)
    assert entry["candidate"] == "small"
    assert [how for _, how in outcomes(entry)] == ["answered", "failed", "failed"]
    assert [a["error"] for a in entry["attempts"][1:]] == ["DeadlineExceededError"] * 2
    assert entry["seconds"] < 3
    assert llm.explain("Hi").resting == ()


@every_form
def test_where_all_are_too_late_the_deadline_is_what_is_raised(form: Form) -> None:
    llm = over(models(delay_s=3), policy=Policy(subject_to=[deadline_s(0.2)]))
    with pytest.raises(DeadlineExceededError):
        form(llm)
    assert last(llm)["seconds"] < 2


@every_form
@pytest.mark.parametrize("per", ["call", "day"])
def test_they_share_one_budget_and_nobody_slips_through(form: Form, per: Any) -> None:
    for _ in range(5):
        llm = over(models(), Everyone(2), budgets=[Budget(calls=4, per=per)])
        form(llm)
        assert Counter(how for _, how in outcomes(last(llm))) == {"answered": 4, "refused": 2}
        if per == "day":
            assert nothing_held(llm)
            assert standing(llm).spent.calls == 4


async def test_28_the_loop_goes_on_meanwhile() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await over(models(delay_s=0.3)).acomplete("Hi")
    ticking.cancel()
    assert ticks > 10
