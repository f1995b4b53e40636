"""One strategy, four drivers: the same reply, whole or streamed, sync or async."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import pytest

from shared_core import (
    AllCandidatesFailedError,
    DeadlineExceededError,
    Decision,
    RouterError,
    Single,
    StreamInterruptedError,
    TooManyAttemptsError,
)
from shared_core.execution import drivers
from shared_core.execution.run import Run
from shared_core.types import Ask, Check, Draft, Reply, Steps, Verdict, Watch
from tests.fakes.core import FakeTransport, prompt
from tests.fakes.driving import Driver, awaited, every_driver, streamed, streaming, whole
from tests.fakes.strategies import Editing, Everyone, Relay, Twice

DECISION = Decision("id", "a", "because", False, (), fallbacks=("b", "c"), allowed=("a", "b", "c"))

in_threads = pytest.mark.parametrize("driver", [whole, streamed])


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


# --- edited answers ---


@every_driver
def test_an_edited_answer_is_what_the_caller_gets(driver: Driver) -> None:
    run = start(Editing())
    assert driver(run, FakeTransport({"a": ["dra", "ft"]})) == "draft (edited)"
    assert run.result is not None
    assert run.result.native == "draft (edited)"


@every_driver
def test_an_edit_that_changes_nothing_is_none(driver: Driver) -> None:
    class Never(FakeTransport):
        def edited(self, reply: Reply) -> Reply:
            raise AssertionError

    assert driver(start(Editing(str)), Never({"a": ["dra", "ft"]})) == "draft"


@every_driver
def test_an_answer_that_the_caller_may_have_seen_is_not_edited(driver: Driver) -> None:
    transport = FakeTransport({"a": ["dra", "ft"]})
    with pytest.raises(RouterError, match="edited a visible answer; only held ones"):
        driver(start(Editing(visible=True)), transport)
    assert transport.closed == ["a"]


def test_what_was_shown_is_shown_once_and_then_comes_the_error() -> None:
    stream = drivers.stream(start(Editing(visible=True)), FakeTransport({"a": ["dra", "ft"]}))
    assert [next(stream), next(stream)] == ["dra", "ft"]
    with pytest.raises(RouterError):
        next(stream)


@streaming
def test_no_other_answer_follows_the_one_that_was_shown(driver: Driver) -> None:
    with pytest.raises(RouterError, match="another answer than the caller has seen"):
        driver(start(Twice()), FakeTransport({"a": ["dra", "ft"]}))


@every_driver
def test_a_copy_of_what_was_shown_with_the_same_text_is_that_answer(driver: Driver) -> None:
    class Copying:
        def steps(self, prompt: object, decision: Decision) -> Steps:
            (reply,) = yield (Ask("a"),)
            return replace(reply, seconds=0.0)

    assert driver(start(Copying()), FakeTransport({"a": ["dra", "ft"]})) == "draft"


# --- side by side ---


@every_driver
def test_asks_beside_others_are_held_whatever_they_say(driver: Driver) -> None:
    class Loud:
        def steps(self, prompt: object, decision: Decision) -> Steps:
            first, _ = yield (Ask("a"), Ask("b"))
            yield (Ask("c"), Verdict("loud"))
            return first

    transport = FakeTransport({name: [name, "!"] for name in "abc"})
    assert driver(start(Loud()), transport) == "a!"
    assert [ask.visible for ask in transport.asked] == [False] * 3


@every_driver
def test_replies_come_in_the_order_of_the_asks_which_know_their_places(driver: Driver) -> None:
    transport = FakeTransport({name: [name] for name in "abc"})
    run = start(Everyone(rounds=2, edit="".join))
    assert driver(run, transport) == "abcabc"
    assert [reply.candidate for reply in run.replies] == list("abcabc")
    assert sorted(ask.place for ask in transport.asked) == [1, 2, 3, 4, 5, 6]


@every_driver
def test_one_step_after_another_goes_on_counting(driver: Driver) -> None:
    transport = FakeTransport({name: [name] for name in "abc"})
    assert driver(start(Relay()), transport) == "c"
    assert transport.asked[-1].place == 4
    assert transport.asked[-1].visible


@in_threads
def test_without_an_event_loop_they_go_side_by_side_too(driver: Driver) -> None:
    all_of_them = threading.Barrier(3, timeout=10)

    class Waiting(FakeTransport):
        def send(self, ask: Ask) -> Reply:
            all_of_them.wait()
            return super().send(ask)

    assert driver(start(Everyone()), Waiting({name: [name] for name in "abc"})) == "a"


PLACE: ContextVar[str] = ContextVar("place", default="nowhere")


@every_driver
def test_each_runs_in_a_copy_of_the_callers_context(driver: Driver) -> None:
    seen: list[str] = []

    class Looking(FakeTransport):
        def send(self, ask: Ask) -> Reply:
            seen.append(PLACE.get())
            PLACE.set(ask.candidate)  # its own affair
            return super().send(ask)

    token = PLACE.set("here")
    try:
        driver(start(Everyone()), Looking({name: [name] for name in "abc"}))
        assert PLACE.get() == "here"
    finally:
        PLACE.reset(token)
    assert seen == ["here"] * 3


class GraphBubbleUp(Exception):
    """As LangGraph has it."""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GraphBubbleUp()])
@pytest.mark.parametrize("one", ["a", "b", "c"])
@every_driver
def test_what_is_no_failure_goes_on_its_way(driver: Driver, one: str, error: BaseException) -> None:
    script: dict[str, list[Any]] = {name: [name] for name in "abc"}
    run = start(Everyone())
    with pytest.raises(type(error)) as caught:
        driver(run, FakeTransport({**script, one: [error]}))
    assert caught.value is error
    assert run.result is None


@in_threads
def test_nobody_is_left_behind_by_one_that_is_interrupted(driver: Driver) -> None:
    ended = threading.Event()

    class Slow(FakeTransport):
        def send(self, ask: Ask) -> Reply:
            if ask.candidate == "b":
                threading.Event().wait(0.1)
                ended.set()
            return super().send(ask)

    stop = KeyboardInterrupt()
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        driver(start(Everyone()), Slow({"a": [stop], "b": ["b"], "c": [stop]}))
    assert ended.is_set()
    assert threading.active_count() == before


@pytest.mark.parametrize("strategy", [Single(), Everyone(), Relay()])
@every_driver
def test_the_limit_of_attempts_is_forgiven_by_no_strategy(driver: Driver, strategy: Any) -> None:
    error = TooManyAttemptsError(3)
    transport = FakeTransport({"a": [ConnectionError()], "b": [error], "c": ["fine"]})
    with pytest.raises(TooManyAttemptsError) as caught:
        driver(start(strategy), transport)
    assert caught.value is error
