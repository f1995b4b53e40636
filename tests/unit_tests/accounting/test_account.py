"""What is held before an attempt, charged after it, and written down at the end."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import pytest

from shared_core import BudgetExceededError, Router, StreamInterruptedError
from shared_core.accounting.budgets.budget import Budget
from shared_core.accounting.budgets.stores import (
    MOST,
    NOTHING,
    Amounts,
    MemoryStore,
    Standing,
)
from shared_core.accounting.ledger.ledger import Ledger
from shared_core.execution.health import Cooldown, Health
from shared_core.types import Answer, Ask, Entry, Reply, Usage
from tests.fakes.core import candidate, prompt
from tests.fakes.spending import Asking, Metered, SlowStore, router, standing
from tests.fakes.strategies import Everyone, Relay

CALL = Amounts(20_000, 0, 15, 1)
"""What `Usage(10, 5)` of the cheap candidate comes to."""

VIEW = prompt("Hi")


class BadRequest(ValueError):
    """Answered by the server with an error status: nobody is paid."""

    status_code = 400


def answer(llm: Router, transport: Any) -> Answer:
    return llm.answer(VIEW, llm.decide(VIEW), transport)


def stream(llm: Router, transport: Any) -> Answer:
    return list(llm.stream(VIEW, llm.decide(VIEW), transport))[-1]


async def _aanswer(llm: Router, transport: Any) -> Answer:
    return await llm.aanswer(VIEW, await llm.adecide(VIEW), transport)


async def _astream(llm: Router, transport: Any) -> Answer:
    items = llm.astream(VIEW, await llm.adecide(VIEW), transport)
    return [item async for item in items][-1]


def aanswer(llm: Router, transport: Any) -> Answer:
    return asyncio.run(_aanswer(llm, transport))


def astream(llm: Router, transport: Any) -> Answer:
    return asyncio.run(_astream(llm, transport))


Form = Callable[[Router, Any], Answer]
every_form = pytest.mark.parametrize("form", [answer, aanswer, stream, astream])
every_store = pytest.mark.parametrize("kind", [MemoryStore, SlowStore])


def spent(llm: Router) -> Amounts:
    """What was charged; nothing may be held."""
    charged, held = standing(llm)
    assert held == NOTHING
    return charged


# --- what is charged ---


@every_form
@every_store
def test_an_answer_is_charged_what_it_took(form: Form, kind: type[MemoryStore]) -> None:
    llm = router(Budget(usd=1), store=kind())
    held: list[Standing] = []

    class Looking(Metered):
        def stream(self, ask: Ask) -> Any:
            held.append(standing(llm))
            return super().stream(ask)

    entry = form(llm, Looking({"a": ["x"]})).entry
    assert spent(llm) == CALL
    ((before, most),) = held
    assert before == NOTHING
    assert most.calls == 1
    assert most.nano_usd > 2 * 4096 * 1000, "the longest answer there can be"
    (attempt,) = entry.attempts
    assert (attempt.cost_usd, attempt.cost_usd_high) == (pytest.approx(2e-5), None)
    assert entry.cost_usd == attempt.cost_usd


@every_form
@every_store
@pytest.mark.parametrize("error", [ConnectionRefusedError("down"), BadRequest("no")])
def test_who_was_paid_nothing_is_charged_nothing(
    form: Form, kind: type[MemoryStore], error: Exception
) -> None:
    llm = router(Budget(usd=1), among=[candidate("a", price=(1, 2), energy=(5, 5))], store=kind())
    transport = Metered({"a": [error]})
    with pytest.raises(type(error)):
        form(llm, transport)
    assert spent(llm) == NOTHING
    (entry,) = transport.entries
    assert (entry.outcome, entry.cost_usd, entry.energy_wh) == ("failed", 0, 0)
    (attempt,) = entry.attempts
    assert (attempt.outcome, attempt.usage, attempt.error) == ("failed", None, type(error).__name__)


@every_form
def test_what_a_timeout_cost_is_unknown_and_not_nothing(form: Form) -> None:
    llm, transport = router(Budget(usd=1), max_retries=0), Metered({"a": [TimeoutError()]})
    with pytest.raises(TimeoutError):
        form(llm, transport)
    assert spent(llm) == NOTHING
    assert transport.entries[0].cost_usd is None


@every_form
@every_store
def test_one_that_fails_is_refunded_and_the_next_is_charged(
    form: Form, kind: type[MemoryStore]
) -> None:
    llm = router(Budget(usd=1), store=kind())
    entry = form(llm, Metered({"a": [ConnectionError()], "b": ["x"]})).entry
    assert spent(llm) == Amounts(200_000, 0, 15, 1)
    assert [(a.candidate, a.outcome) for a in entry.attempts] == [
        ("a", "failed"),
        ("b", "answered"),
    ]


@every_form
def test_usage_above_what_was_held_is_charged_in_full(form: Form) -> None:
    llm = router(Budget(usd=0.1))
    form(llm, Metered({"a": ["x"]}, usage=Usage(200_000, 5)))
    assert spent(llm) == Amounts(200_010_000, 0, 200_005, 1)
    with pytest.raises(BudgetExceededError, match=r"the budget of 0\.1 USD has 0 USD left"):
        llm.decide(VIEW)


@every_form
def test_absurd_usage_costs_nobody_the_answer(form: Form) -> None:
    llm = router(Budget(usd=1))
    assert form(llm, Metered({"a": ["x"]}, usage=Usage(10**30, 10**30))).reply.text == "x"
    assert spent(llm) == Amounts(MOST, 0, MOST, 1)


@every_form
def test_missing_usage_is_charged_by_the_bytes_of_the_answer(form: Form) -> None:
    llm = router(Budget(usd=1))
    attempt = form(llm, Metered({"a": ["yes"]}, usage=None)).entry.attempts[0]
    charged = spent(llm)
    assert (attempt.usage, attempt.cost_usd) == (None, None)
    assert attempt.cost_usd_high == pytest.approx(charged.nano_usd / 1e9)
    assert charged.calls == 1
    assert 3 < charged.tokens < 200, "and not the thousands that were held"
    more = router(Budget(usd=1))
    form(more, Metered({"a": ["yes" * 100]}, usage=None))
    assert spent(more).nano_usd == charged.nano_usd + 99 * 3 * 2000


@pytest.mark.parametrize("view", [{"tools": ({"type": "function"},)}, {"schema": {}}])
@pytest.mark.parametrize("text", ["yes", ""])
def test_missing_usage_of_more_than_text_is_charged_the_most(view: Any, text: str) -> None:
    llm = router(Budget(usd=1))
    asked = prompt("Hi", **view)
    llm.answer(asked, llm.decide(asked), Metered({"a": [text]}, usage=None))
    assert spent(llm).tokens > 4096


@every_form
def test_the_frameworks_own_cache_is_free(form: Form) -> None:
    llm = router(Budget(usd=1), among=[candidate("a", price=(1, 2), energy=(5, 5))])
    entry = form(llm, Metered({"a": ["x"]}, usage=Usage(10, 5, free=True))).entry
    assert spent(llm) == NOTHING
    assert (entry.cost_usd, entry.energy_wh) == (0, 0)


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream_that_is_left_is_charged_for_what_it_showed(
    slow: bool, asynchronous: bool
) -> None:
    llm = router(Budget(usd=1), store=SlowStore() if slow else None)
    transport = Metered({"a": ["one ", "two ", "three"]})

    async def leave() -> None:
        items = llm.astream(VIEW, await llm.adecide(VIEW), transport)
        await anext(items)
        await items.aclose()

    if asynchronous:
        asyncio.run(leave())
    else:
        items = llm.stream(VIEW, llm.decide(VIEW), transport)
        next(items)
        items.close()
    charged = spent(llm)
    assert charged.calls == 1
    assert 0 < charged.nano_usd < 200_000
    (entry,) = transport.entries
    assert (entry.outcome, entry.cost_usd) == ("cancelled", None)
    (attempt,) = entry.attempts
    assert attempt.outcome == "cancelled"
    assert attempt.cost_usd_high == pytest.approx(charged.nano_usd / 1e9)


def test_an_unknown_price_is_charged_at_the_worst_that_is_known() -> None:
    llm = router(
        Budget(usd=1, unknown="worst"),
        among=[candidate("a"), candidate("b", price=(10, 20))],
    )
    attempt = answer(llm, Metered({"a": ["x"]})).entry.attempts[0]
    assert spent(llm).nano_usd > 20 * 4096 * 1000
    assert attempt.cost_usd is None
    assert attempt.cost_usd_high == pytest.approx(spent(llm).nano_usd / 1e9)


def test_a_stream_whose_chunks_cannot_be_joined_holds_nothing() -> None:
    class Unjoinable(Metered):
        def join(self, ask: Ask, chunks: list[Any]) -> Reply:
            raise ValueError("chunks of two kinds")

    llm = router(Budget(usd=1))
    with pytest.raises(StreamInterruptedError, match="chunks of two kinds") as caught:
        stream(llm, Unjoinable({"a": ["x"]}))
    assert caught.value.partial == ""  # what cannot be joined cannot be told
    spent(llm)


def test_the_same_decision_may_be_carried_out_again() -> None:
    llm = router(Budget(usd=1))
    decision = llm.decide(VIEW)
    for calls in (1, 2, 3):
        llm.answer(VIEW, decision, Metered({"a": ["x"]}))
        assert spent(llm).calls == calls


# --- how long answers may get ---


@every_form
def test_the_answer_is_held_to_what_was_held_for_it(form: Form) -> None:
    llm, transport = router(Budget(tokens=1000)), Metered({"a": ["x"]})
    form(llm, transport)
    (ask,) = transport.asked
    assert 64 <= ask.params["max_tokens"] < 1000
    free = Metered({"a": ["x"]})
    form(router(Budget(calls=5)), free)
    assert free.asked[0].params == {}


def test_a_strategys_own_limit_is_kept() -> None:
    short = Asking(((Ask("a", params={"max_tokens": 50, "other": 1}),),))
    transport = Metered({"a": ["x"]})
    llm = router(Budget(tokens=5000), strategy=short)
    answer(llm, transport)
    assert transport.asked[0].params == {"max_tokens": 50, "other": 1}


def test_with_too_little_left_for_the_whole_a_shorter_answer_is_held_for() -> None:
    llm, inner = router(Budget(tokens=6000)), []

    class Twice(Metered):
        def send(self, ask: Ask) -> Reply:
            if not inner:  # a second call, while the first one holds some 4000
                inner.append(Metered({"a": ["y"]}))
                answer(llm, inner[0])
            return super().send(ask)

    outer = Twice({"a": ["x"]})
    answer(llm, outer)
    assert outer.asked[0].params["max_tokens"] == 4096
    assert 1000 < inner[0].asked[0].params["max_tokens"] < 2000
    assert spent(llm).calls == 2


# --- several asks ---


@every_form
@every_store
def test_asks_of_one_step_share_the_room(form: Form, kind: type[MemoryStore]) -> None:
    both = Asking(((Ask("a"), Ask("b", visible=False)),))
    llm = router(Budget(calls=2), store=kind(), strategy=both)
    entry = form(llm, Metered({"a": ["x"], "b": ["y"]})).entry
    assert spent(llm).calls == 2
    assert sorted(a.candidate for a in entry.attempts) == ["a", "b"]
    assert entry.cost_usd == pytest.approx(2e-5 + 2e-4)


@pytest.mark.parametrize("kind", [MemoryStore, SlowStore])
@pytest.mark.parametrize("limit", [{"calls": 1}, {"tokens": 5000}])
def test_a_budget_per_call_is_one_for_all_asks_side_by_side(
    kind: type[MemoryStore], limit: dict[str, Any]
) -> None:
    """With a max_tokens that leaves room for one of them only."""

    class Late(Metered):
        async def asend(self, ask: Ask) -> Reply:
            await asyncio.sleep(0.01)
            return await super().asend(ask)

    asks = tuple(Ask(name, params={"max_tokens": 4000}) for name in "aaaabbbb")
    llm = router(
        Budget(**limit, per="call"), Budget(calls=99), store=kind(), strategy=Asking((asks,))
    )
    transport = Late({"a": ["x"], "b": ["x"]})
    with pytest.raises(BudgetExceededError):
        aanswer(llm, transport)
    assert len(transport.asked) == 1
    (entry,) = transport.entries
    outcomes = [a.outcome for a in entry.attempts]
    assert sorted(outcomes) == ["answered", *["refused"] * 7]
    states = llm.books.budgets.states(VIEW.scope)
    assert states[0].standing == Standing(
        CALL._replace(nano_usd=states[0].standing.spent[0]), NOTHING
    )


def test_a_budget_per_call_counts_every_attempt_of_it() -> None:
    llm = router(Budget(calls=2, per="call"), strategy=Asking(((Ask("a"),), (Ask("b"),))))
    assert len(answer(llm, Metered({"a": ["x"], "b": ["y"]})).entry.attempts) == 2
    three = Asking(((Ask("a"),), (Ask("b"),), (Ask("a"),)))
    with pytest.raises(
        BudgetExceededError, match="the budget of 2 calls per call has 0 calls left"
    ):
        answer(
            router(Budget(calls=2, per="call"), strategy=three), Metered({"a": ["x"], "b": ["y"]})
        )


def test_attempts_are_written_down_in_order_with_those_that_were_not_asked() -> None:
    class Limited(ConnectionError):
        response = type("Response", (), {"headers": {"retry-after": "60"}})

    llm = router(Budget(calls=1), among=[candidate(name, price=(1, 1)) for name in "abc"])
    llm.health.failed("a", Limited(), 60.0)
    holding = llm.stream(VIEW, llm.decide(VIEW), Metered({"b": ["x", "y"]}))
    plan = llm.decide(VIEW)
    next(holding)  # from here on there is no room
    transport = Metered({})
    with pytest.raises(Exception, match="attempts failed"):
        llm.answer(VIEW, plan, transport)
    (entry,) = transport.entries
    assert [(a.candidate, a.outcome) for a in entry.attempts] == [
        ("b", "refused"),
        ("c", "refused"),
        ("a", "resting"),
    ]
    assert entry.cost_usd == 0
    holding.close()


@pytest.mark.parametrize(
    ("outcome", "why"),
    [("failed", "which failed"), ("refused", "for which a budget had no room")],
)
def test_the_reason_says_why_another_stepped_in(outcome: str, why: str) -> None:
    local = candidate("b", price=(0, 0))
    llm = router(Budget(usd=0.01), among=[candidate("a", price=(1, 1)), local])
    plan = replace(llm.decide(VIEW), candidate="a", fallbacks=("b",))
    if outcome == "refused":
        llm.books.budgets.store.settle("x", [("ever", None)], Amounts(nano_usd=10**7))
    entry = llm.answer(VIEW, plan, Metered({"a": [ConnectionError()], "b": ["x"]})).entry
    assert entry.attempts[0].outcome == outcome
    assert entry.reason == f"b stepped in for a, {why}; {plan.reason}"


# --- the entry ---


def test_overhead_is_what_is_neither_an_attempt_nor_a_wait() -> None:
    class Napping(Metered):
        def send(self, ask: Ask) -> Reply:
            time.sleep(0.2)
            return super().send(ask)

    llm = router(Budget(usd=1), health=Health(Cooldown(patience=5)))
    llm.health.failed("a", ConnectionError(), 0.2)
    llm.health.failed("b", ConnectionError(), 0.2)
    entry = answer(llm, Napping({"a": ["x"]})).entry
    assert entry.seconds > 0.35  # it has rested a moment already
    assert 0 < entry.overhead_s < 0.15
    (attempt,) = entry.attempts
    assert 0.2 <= attempt.seconds < 0.35


@every_form
def test_waits_side_by_side_are_counted_once(form: Form) -> None:
    llm = router(strategy=Everyone(), health=Health(Cooldown(patience=5)))
    for name in "ab":
        llm.health.failed(name, ConnectionError(), 0.3)
    entry = form(llm, Metered({"a": ["x"], "b": ["y"]})).entry
    assert 0.25 < entry.seconds < 0.55  # it has rested a moment already
    assert 0 < entry.overhead_s < 0.25


@every_form
def test_attempts_are_in_the_order_of_their_asks_whichever_ends_first(form: Form) -> None:
    class Late(Metered):
        """The first one asked ends last."""

        def send(self, ask: Ask) -> Reply:
            time.sleep({1: 0.06, 2: 0.03}.get(ask.place, 0))
            return super().send(ask)

        async def asend(self, ask: Ask) -> Reply:
            return await asyncio.to_thread(self.send, ask)

    llm = router(Budget(usd=1), strategy=Relay())
    entry = form(llm, Late({"a": ["x"], "b": ["y"]})).entry
    assert [a.candidate for a in entry.attempts] == ["a", "b", "b"]
    assert spent(llm).calls == 3


@every_form
def test_one_that_a_budget_refused_stands_at_its_place_too(form: Form) -> None:
    llm = router(Budget(calls=2), strategy=Everyone(2))
    entry = form(llm, Metered({"a": ["x"], "b": ["y"]})).entry
    assert [a.candidate for a in entry.attempts] == ["a", "b", "a", "b"]
    assert sorted(a.outcome for a in entry.attempts) == ["answered"] * 2 + ["refused"] * 2
    assert spent(llm).calls == 2


def test_overhead_is_never_negative_where_asks_go_side_by_side() -> None:
    class Napping(Metered):
        async def asend(self, ask: Ask) -> Reply:
            await asyncio.sleep(0.02)
            return await super().asend(ask)

    both = Asking(((Ask("a"), Ask("b"), Ask("a")),))
    entry = aanswer(router(strategy=both), Napping({"a": ["x"], "b": ["y"]})).entry
    assert entry.overhead_s >= 0
    assert sum(a.seconds for a in entry.attempts) > entry.seconds


@every_form
@pytest.mark.parametrize(
    "error", [ValueError("wrong"), asyncio.CancelledError(), KeyboardInterrupt()]
)
def test_calls_that_did_not_answer_are_in_the_ledger_too(form: Form, error: BaseException) -> None:
    llm = router(Budget(usd=1))
    with pytest.raises(type(error)):
        form(llm, Metered({"a": [error]}))
    (entry,) = llm.books.ledger.entries()
    ending = "failed" if isinstance(error, Exception) else "cancelled"
    assert entry["outcome"] == entry["attempts"][0]["outcome"] == ending
    assert entry["candidate"] == "a"
    spent(llm)


@every_form
def test_a_ledger_that_cannot_be_written_costs_nobody_the_answer(form: Form) -> None:
    class Full(Ledger):
        def add(self, entry: Entry) -> None:
            warnings.warn("the disk is full", RuntimeWarning, stacklevel=1)

    llm = router(ledger=Full())
    with pytest.warns(RuntimeWarning, match="the disk is full"):
        assert form(llm, Metered({"a": ["x"]})).reply.text == "x"


# --- slow stores and cancellation ---


async def _until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not ready():  # noqa: ASYNC110 - a thread makes it so
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("form", [_aanswer, _astream])
def test_a_slow_store_is_never_asked_on_the_loop(form: Any) -> None:
    store = SlowStore()
    asyncio.run(form(router(Budget(usd=1), store=store), Metered({"a": ["x"]})))
    assert [name for name, _ in store.threads] == ["standings", "reserve", "settle"]
    assert threading.main_thread() not in [thread for _, thread in store.threads]


@pytest.mark.parametrize("form", [_aanswer, _astream])
@pytest.mark.parametrize("operation", ["reserve", "settle"])
def test_one_who_is_cancelled_while_a_store_works_leaves_nothing_held(
    form: Any, operation: str
) -> None:
    store = SlowStore()
    llm = router(Budget(usd=1), store=store)
    gate = store.gates[operation] = threading.Event()
    transport = Metered({"a": ["x"]})

    async def leave() -> None:
        task = asyncio.create_task(form(llm, transport))
        await _until(lambda: store.came.acquire(blocking=False))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not gate.is_set(), "who is cancelled waits for no store"
        store.gates.clear()
        gate.set()
        await _until(lambda: standing(llm).held == NOTHING)

    asyncio.run(leave())
    asked = operation == "settle"
    assert spent(llm) == (CALL if asked else NOTHING)
    assert len(transport.asked) == asked
    (entry,) = transport.entries
    assert entry.outcome == "cancelled"
    assert [a.outcome for a in entry.attempts] == (["answered"] if asked else [])


@pytest.mark.parametrize("operation", ["reserve", "settle"])
def test_nothing_stays_held_when_the_loop_ends_meanwhile(operation: str) -> None:
    store = SlowStore()
    llm = router(Budget(usd=1), store=store)
    gate = store.gates[operation] = threading.Event()

    async def leave() -> None:
        task = asyncio.create_task(_aanswer(llm, Metered({"a": ["x"]})))
        await _until(lambda: store.came.acquire(blocking=False))
        task.cancel()
        threading.Timer(0.1, gate.set).start()  # the loop is being closed by then

    asyncio.run(leave())
    assert spent(llm) == (CALL if operation == "settle" else NOTHING)


def test_one_who_is_cancelled_before_a_thread_is_free_never_reserves() -> None:
    store = SlowStore()
    llm = router(Budget(usd=1), store=store)
    decision = llm.decide(VIEW)
    busy = threading.Event()

    async def leave() -> None:
        loop = asyncio.get_running_loop()
        waiting = [loop.run_in_executor(None, busy.wait, 10) for _ in range(64)]
        task = asyncio.create_task(llm.aanswer(VIEW, decision, Metered({"a": ["x"]})))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        busy.set()
        await asyncio.gather(*waiting)

    asyncio.run(leave())
    assert spent(llm) == NOTHING
    assert [name for name, _ in store.threads] == ["standings", "standings"]


@pytest.mark.parametrize("form", [_aanswer, _astream])
@pytest.mark.parametrize("kind", [MemoryStore, SlowStore])
def test_one_who_is_cancelled_while_the_model_works_is_refunded(
    form: Any, kind: type[MemoryStore]
) -> None:
    class Endless(Metered):
        async def asend(self, ask: Ask) -> Reply:
            self.asked.append(ask)
            await asyncio.sleep(60)
            raise AssertionError

        async def astream(self, ask: Ask) -> AsyncGenerator[Any, None]:
            yield await self.asend(ask)

    llm, transport = router(Budget(usd=1), store=kind()), Endless({})

    async def leave() -> None:
        task = asyncio.create_task(form(llm, transport))
        await _until(lambda: bool(transport.asked))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert spent(llm) == NOTHING
    (entry,) = transport.entries
    assert entry.outcome == entry.attempts[0].outcome == "cancelled"
    assert entry.cost_usd is None


def test_a_trial_that_a_budget_refuses_is_free_for_the_next() -> None:
    now = [0.0]
    health = Health(Cooldown(failures=1, seconds=5), lambda: now[0])
    llm = router(Budget(calls=1), among=[candidate("a", price=(1, 1))], health=health)
    plan = llm.decide(VIEW)
    health.failed("a", ConnectionError(), None)
    now[0] = 20
    holding = llm.stream(VIEW, plan, Metered({"a": ["x", "y"]}))
    next(holding)
    holding.close()  # the trial was free again after it, and the only call is spent
    with pytest.raises(BudgetExceededError):
        llm.answer(VIEW, plan, Metered({"a": ["x"]}))
    assert health.rest_of("a") is None


def test_a_stream_that_is_collected_while_the_store_works_ends_its_call_afterwards() -> None:
    """The garbage collector may close it anywhere, in a thread that has the store's lock too."""
    abandoned: list[Any] = []

    class Collecting(MemoryStore):
        def _standing(self, name: str) -> Standing:
            if abandoned:
                abandoned.pop().close()
            return super()._standing(name)

    llm = router(Budget(usd=1), store=Collecting())
    items = llm.stream(VIEW, llm.decide(VIEW), Metered({"a": ["x", "y"]}))
    next(items)

    def work() -> None:
        decision = llm.decide(VIEW)
        abandoned.append(items)
        llm.answer(VIEW, decision, Metered({"a": ["x"]}))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(10)
    assert not worker.is_alive(), "it waits for itself"
    assert spent(llm).calls == 2
    assert [entry["outcome"] for entry in llm.books.ledger.entries()] == ["cancelled", "answered"]
