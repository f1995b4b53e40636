"""One strategy, four drivers: the same reply, whole or streamed, sync or async."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared_core import (
    AllCandidatesFailedError,
    DeadlineExceededError,
    Decision,
    RouterError,
    Single,
    StreamInterruptedError,
)
from shared_core.execution import drivers
from shared_core.execution.run import Run
from shared_core.types import Ask, Check, Draft, Reply, Steps, Watch
from tests.fakes.core import FakeTransport, prompt
from tests.fakes.driving import Driver, awaited, every_driver, streaming

DECISION = Decision("id", "a", "because", False, (), fallbacks=("b", "c"))


def start(strategy: Any = None) -> Run:
    return Run((strategy or Single()).steps(prompt(), DECISION), DECISION)


class DraftThenFinal:
    """Asks two candidates out of sight, then returns the first one's reply."""

    def steps(self, prompt: object, decision: Decision) -> Steps:
        first, _ = yield (Ask("a", visible=False), Ask("b", visible=False))
        return first


class Stray:
    """Asks a candidate that the decision did not allow."""

    def steps(self, prompt: object, decision: Decision) -> Steps:
        (reply,) = yield (Ask("z"),)
        return reply


@every_driver
def test_the_chosen_one_answers(driver: Driver) -> None:
    transport = FakeTransport({"a": ["he", "llo"]})
    run = start()
    assert driver(run, transport) == "hello"
    assert [ask.candidate for ask in transport.asked] == ["a"]
    assert [(r.candidate, r.error) for r in run.replies] == [("a", None)]
    assert run.replies[0].seconds > 0


@every_driver
def test_a_retryable_failure_goes_to_the_next(driver: Driver) -> None:
    lost = ConnectionError("lost")
    transport = FakeTransport({"a": [lost], "b": [lost], "c": ["fine"]})
    run = start()
    assert driver(run, transport) == "fine"
    assert [(r.candidate, r.error) for r in run.replies] == [("a", lost), ("b", lost), ("c", None)]


@every_driver
def test_an_error_that_no_other_could_mend_is_raised_as_it_is(driver: Driver) -> None:
    wrong_key = PermissionError("wrong key")
    transport = FakeTransport({"a": [wrong_key], "b": ["never"]})
    with pytest.raises(PermissionError) as caught:
        driver(start(), transport)
    assert caught.value is wrong_key
    assert len(transport.asked) == 1


@every_driver
def test_everything_failed_names_everyone(driver: Driver) -> None:
    transport = FakeTransport({name: [ConnectionError(name * 3)] for name in "abc"})
    with pytest.raises(AllCandidatesFailedError, match=r"a: ConnectionError: aaa; b: .*; c: ") as e:
        driver(start(), transport)
    assert [name for name, _ in e.value.errors] == ["a", "b", "c"]


@streaming
def test_nothing_visible_was_shown_so_the_next_may_answer(driver: Driver) -> None:
    transport = FakeTransport({"a": ["", "", ConnectionError()], "b": ["", "fine"]})
    run = start()
    assert driver(run, transport) == "fine"
    assert [r.candidate for r in run.replies] == ["a", "b"]


@streaming
def test_two_models_texts_are_never_spliced(driver: Driver) -> None:
    lost = ConnectionError("lost")
    transport = FakeTransport({"a": ["he", lost], "b": ["never"]})
    with pytest.raises(StreamInterruptedError, match="'a' broke off after 2 characters") as caught:
        driver(start(), transport)
    assert (caught.value.candidate, caught.value.partial) == ("a", "he")
    assert caught.value.__cause__ is lost
    assert len(transport.asked) == 1


@streaming
def test_an_empty_stream_is_an_answer(driver: Driver) -> None:
    run = start()
    assert driver(run, FakeTransport({"a": ["", ""]})) == ""
    assert run.result is not None


def test_empty_chunks_are_handed_on_in_their_order() -> None:
    transport = FakeTransport({"a": ["", "x", "", "y"]})
    assert list(drivers.stream(start(), transport)) == ["", "x", "", "y"]


@every_driver
def test_a_draft_that_is_accepted_is_shown_once(driver: Driver) -> None:
    transport = FakeTransport({"a": ["dra", "ft"], "b": ["other"]})
    assert driver(start(DraftThenFinal()), transport) == "draft"


def test_a_draft_never_streams() -> None:
    transport = FakeTransport({"a": ["dra", "ft"], "b": ["other"]})
    assert list(drivers.stream(start(DraftThenFinal()), transport)) == ["draft"]


def test_a_strategy_is_held_to_the_decision() -> None:
    with pytest.raises(RouterError, match="'z', which is not allowed"):
        start(Stray())


def test_an_abandoned_stream_closes_the_model_s() -> None:
    transport = FakeTransport({"a": ["x", "y"]})
    stream = drivers.stream(start(), transport)
    next(stream)
    stream.close()
    assert transport.closed == ["a"]


async def test_asks_of_one_step_go_side_by_side() -> None:
    both = asyncio.Barrier(2)

    class Waiting(FakeTransport):
        async def asend(self, ask: Ask) -> Any:
            await asyncio.wait_for(both.wait(), 5)
            return self.send(ask)

    await drivers.aanswer(start(DraftThenFinal()), Waiting({"a": ["x"], "b": ["y"]}))


async def test_an_error_of_one_of_several_is_raised_as_it_is() -> None:
    class Interrupted(FakeTransport):
        async def acheck(self, check: Check) -> Any:
            raise DeadlineExceededError(1)

    class Twice:
        def steps(self, prompt: Any, decision: Decision) -> Steps:
            check = Check("slow", lambda _: None, Draft(prompt, Reply("a")))
            yield (check, check)
            raise AssertionError

    with pytest.raises(DeadlineExceededError):
        await drivers.aanswer(start(Twice()), Interrupted({}))


def test_looks_at_a_growing_answer_come_ever_further_apart() -> None:
    seen: list[int] = []
    looks = Watch(lambda reply: bool(seen.append(len(reply.text))), first=4)

    class Watched:
        def steps(self, prompt: object, decision: Decision) -> Steps:
            (reply,) = yield (Ask("a", visible=False, watch=looks),)
            return reply

    assert awaited(start(Watched()), FakeTransport({"a": ["x"] * 40})) == "x" * 40
    assert seen == [4, 6, 9, 13, 19, 28]


@every_driver
def test_an_answer_that_is_dropped_is_read_no_further(driver: Driver) -> None:
    class Dropping:
        def steps(self, prompt: object, decision: Decision) -> Steps:
            watch = Watch(lambda reply: True, inline=driver is not awaited, first=2)
            (reply,) = yield (Ask("a", visible=False, watch=watch),)
            return reply

    transport = FakeTransport({"a": ["x", "y", AssertionError("read on")]})
    run = start(Dropping())
    assert driver(run, transport) == "xy"
    assert transport.closed == ["a"]
    assert run.result is not None
    assert run.result.finish_reason == "dropped"


@every_driver
def test_a_look_that_raises_sees_nothing(driver: Driver) -> None:
    class Watched:
        def steps(self, prompt: object, decision: Decision) -> Steps:
            watch = Watch(lambda reply: bool(1 / 0), first=1)
            (reply,) = yield (Ask("a", visible=False, watch=watch),)
            return reply

    assert driver(start(Watched()), FakeTransport({"a": ["dra", "ft"]})) == "draft"
