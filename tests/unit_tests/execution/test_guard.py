"""What a candidate's failures and rests do to the calls of a router, in all four forms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared_core import (
    AllCandidatesFailedError,
    CandidateRestingError,
    Cooldown,
    DeadlineExceededError,
    Policy,
    Router,
    deadline_s,
)
from shared_core.decision.candidates import prepare_candidates
from shared_core.execution.deadline import Deadline
from shared_core.execution.guard import Guard
from shared_core.execution.health import Health
from shared_core.types import Answer, Ask
from tests.fakes.core import FakeTransport, FixedPredictor, NoAccount, candidate, prompt


def router(names: str = "ab", **settings: Any) -> Router:
    given = [candidate(name) for name in names]
    prepared = prepare_candidates(given, lambda c: (c.model, {}))
    qualities = dict.fromkeys(names, 0.9)
    return Router(prepared, predictor=FixedPredictor(qualities), **settings)


def answer(router: Router, transport: Any, ask: Any = None) -> Answer:
    view = ask or prompt()
    return router.answer(view, router.decide(view), transport)


def aanswer(router: Router, transport: Any) -> Answer:
    return asyncio.run(router.aanswer(prompt(), router.decide(prompt()), transport))


def stream(router: Router, transport: Any) -> Answer:
    return list(router.stream(prompt(), router.decide(prompt()), transport))[-1]


def astream(router: Router, transport: Any) -> Answer:
    async def collect() -> Answer:
        items = router.astream(prompt(), router.decide(prompt()), transport)
        return [item async for item in items][-1]

    return asyncio.run(collect())


every_form = pytest.mark.parametrize("form", [answer, aanswer, stream, astream])
Form = Callable[..., Answer]


class Limited(ConnectionError):
    """An error with a Retry-After header."""

    def __init__(self, seconds: str) -> None:
        self.response = type("Response", (), {"headers": {"retry-after": seconds}})


@every_form
def test_who_keeps_failing_is_asked_last_and_the_decision_says_so(form: Form) -> None:
    llm = router(health=Health(Cooldown(failures=2)))
    down = FakeTransport({"a": [ConnectionError("lost")], "b": ["fine"]})
    for _ in range(2):
        entry = form(llm, down).entry
        assert [a.candidate for a in entry.attempts] == ["a", "b"]
    decision = llm.decide(prompt())
    assert decision.candidate == "b"
    assert decision.fallbacks == ("a",)
    (rest,) = decision.resting
    assert rest.candidate == "a"
    assert "after 2 failures (ConnectionError)" in rest.reason
    assert f"; a {rest.reason}"[:8] in decision.reason
    assert [a.candidate for a in form(llm, down).entry.attempts] == ["b"]


@every_form
def test_one_that_rests_still_answers_where_nobody_else_does(form: Form) -> None:
    llm = router(health=Health(Cooldown(failures=1)))
    form(llm, FakeTransport({"a": [ConnectionError()], "b": ["fine"]}))
    entry = form(llm, FakeTransport({"a": ["back"], "b": [ConnectionError()]})).entry
    assert [(a.candidate, a.outcome) for a in entry.attempts] == [
        ("b", "failed"),
        ("a", "answered"),
    ]


@every_form
def test_errors_of_the_request_send_nobody_to_rest(form: Form) -> None:
    llm = router(health=Health(Cooldown(failures=1)))
    for _ in range(3):
        with pytest.raises(ValueError, match="wrong"):
            form(llm, FakeTransport({"a": [ValueError("wrong")], "b": ["fine"]}))
    assert llm.decide(prompt()).resting == ()


@every_form
def test_a_server_that_asked_for_a_long_wait_is_not_asked_before(form: Form) -> None:
    llm = router("a")
    limited = FakeTransport({"a": [Limited("60")]})
    with pytest.raises(Limited):
        form(llm, limited)
    with pytest.raises(CandidateRestingError, match="asked to be left alone for 60 s more"):
        form(llm, limited)
    assert len(limited.asked) == 1


def test_all_told_to_wait_is_one_error_that_names_everyone_and_costs_nothing() -> None:
    llm = router()
    limited = FakeTransport({"a": [Limited("60")], "b": [Limited("30")]})
    with pytest.raises(AllCandidatesFailedError):
        answer(llm, limited)
    with pytest.raises(AllCandidatesFailedError, match=r"a: Candidate.*60 s more; b: .*30 s more"):
        answer(llm, limited)
    assert len(limited.asked) == 2


@dataclass
class Sleeps:
    """A clock that goes on only while somebody waits."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_short_wait_is_waited_for(asynchronous: bool) -> None:
    clock = Sleeps()
    health = Health(Cooldown(patience=10), clock)
    health.failed("a", ConnectionError(), 4.0)
    transport = FakeTransport({"a": ["fine"]})
    guard = Guard(transport, NoAccount(), health, Deadline(None, clock), clock.sleep, clock.asleep)
    reply = asyncio.run(guard.asend(Ask("a"))) if asynchronous else guard.send(Ask("a"))
    assert reply.text == "fine"
    assert clock.slept == [4.0]


def test_nobody_waits_past_the_deadline() -> None:
    clock = Sleeps()
    health = Health(Cooldown(patience=10), clock)
    health.failed("a", ConnectionError(), 4.0)
    guard = Guard(
        FakeTransport({}), NoAccount(), health, Deadline(3, clock), clock.sleep, clock.asleep
    )
    with pytest.raises(CandidateRestingError):
        guard.send(Ask("a"))
    assert clock.slept == []


def test_patience_is_for_the_whole_of_an_attempt() -> None:
    clock = Sleeps()
    health = Health(Cooldown(patience=10), clock)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        health.failed("a", ConnectionError(), 6.0)  # another call is told to wait again

    health.failed("a", ConnectionError(), 6.0)
    guard = Guard(FakeTransport({}), NoAccount(), health, Deadline(None), sleep, clock.asleep)
    with pytest.raises(CandidateRestingError):
        guard.send(Ask("a"))
    assert clock.slept == [6.0]


@every_form
def test_the_deadline_is_over_all_attempts_and_is_not_the_candidates_fault(form: Form) -> None:
    class Slow(FakeTransport):
        """Takes a while before it fails."""

        async def asend(self, ask: Ask) -> Any:
            await asyncio.sleep(0.15)
            return await super().asend(ask)

        def stream(self, ask: Ask) -> Any:
            time.sleep(0.15)
            yield from super().stream(ask)

        async def astream(self, ask: Ask) -> Any:
            await asyncio.sleep(0.15)
            async for chunk in super().astream(ask):
                yield chunk

    llm = router("abc", policy=Policy(subject_to=[deadline_s(0.25)]))
    down = Slow({name: [ConnectionError("lost")] for name in "abc"})
    with pytest.raises(AllCandidatesFailedError) as caught:
        form(llm, down)
    kinds = [type(error) for _, error in caught.value.errors]
    assert kinds == [ConnectionError, DeadlineExceededError]
    assert isinstance(caught.value.__cause__, DeadlineExceededError)
    assert llm.decide(prompt()).resting == ()


@every_form
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError(), ValueError("wrong")]
)
def test_a_trial_that_told_nothing_is_free_for_the_next(form: Form, error: BaseException) -> None:
    clock = Sleeps()
    llm = router(health=Health(Cooldown(failures=1, seconds=5), clock))
    form(llm, FakeTransport({"a": [ConnectionError()], "b": ["fine"]}))
    clock.now += 10
    with pytest.raises(type(error)):
        form(llm, FakeTransport({"a": [error], "b": ["fine"]}))
    assert llm.decide(prompt()).resting == ()
    lost = FakeTransport({"a": [ConnectionError()], "b": ["fine"]})
    form(llm, lost)
    assert [ask.candidate for ask in lost.asked] == ["a", "b"]
    (rest,) = llm.decide(prompt()).resting  # it was a trial, and it failed
    assert "rests for" in rest.reason
    assert llm.health.rest_of("a").seconds >= 10  # type: ignore[union-attr]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_trial_whose_stream_is_left_is_free_for_the_next(asynchronous: bool) -> None:
    clock = Sleeps()
    llm = router(health=Health(Cooldown(failures=1, seconds=5), clock))
    answer(llm, FakeTransport({"a": [ConnectionError()], "b": ["fine"]}))
    clock.now += 10
    transport = FakeTransport({"a": ["Hel", "lo"]})

    async def leave() -> None:
        items = llm.astream(prompt(), llm.decide(prompt()), transport)
        await anext(items)
        await items.aclose()

    if asynchronous:
        asyncio.run(leave())
    else:
        items = llm.stream(prompt(), llm.decide(prompt()), transport)
        next(items)
        assert llm.decide(prompt()).resting != ()  # while it lasts
        items.close()
    assert llm.decide(prompt()).resting == ()


def test_a_trial_that_the_deadline_cut_off_is_not_followed_at_once_by_another() -> None:
    clock = Sleeps()
    health = Health(Cooldown(failures=1, seconds=5), clock)
    health.failed("a", ConnectionError(), None)
    clock.now += 10
    guard = Guard(
        FakeTransport({"a": [DeadlineExceededError(1)]}), NoAccount(), health, Deadline(None)
    )
    with pytest.raises(DeadlineExceededError):
        guard.send(Ask("a"))
    assert health.rest_of("a") is not None
