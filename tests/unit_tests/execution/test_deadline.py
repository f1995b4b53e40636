"""A deadline over whole calls and streams, with and without an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import closing
from contextvars import ContextVar

import pytest

from shared_core import DeadlineExceededError
from shared_core.execution.deadline import Deadline

WHO: ContextVar[str] = ContextVar("who", default="nobody")


def test_in_time_nothing_changes() -> None:
    for deadline in (Deadline(None), Deadline(5)):
        assert deadline.call(lambda: 7) == 7
        assert list(deadline.iterate(x for x in "abc")) == ["a", "b", "c"]


def test_errors_come_as_they_are_even_time_outs_of_the_calls_own() -> None:
    own = TimeoutError("its own")

    def fail() -> None:
        raise own

    async def afail() -> None:
        raise own

    for deadline in (Deadline(None), Deadline(5)):
        for call in (
            lambda d=deadline: d.call(fail),
            lambda d=deadline: asyncio.run(d.acall(afail)),
        ):
            with pytest.raises(TimeoutError) as caught:
                call()
            assert caught.value is own


def test_a_call_that_is_too_late_is_left_behind() -> None:
    go = threading.Event()
    started = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=r"within its deadline of 0\.1 s"):
        Deadline(0.1).call(go.wait)
    assert time.monotonic() - started < 0.5
    go.set()


def test_a_stream_that_is_too_late_is_closed_as_soon_as_it_comes_back() -> None:
    go, closed = threading.Event(), threading.Event()

    def chunks() -> Generator[str, None, None]:
        try:
            yield "a"
            go.wait()
            yield "b"
        finally:
            closed.set()

    seen = []
    with pytest.raises(DeadlineExceededError):  # noqa: PT012
        for chunk in Deadline(0.2).iterate(chunks()):
            seen.append(chunk)  # noqa: PERF402
    assert seen == ["a"]
    assert not closed.is_set()
    go.set()
    assert closed.wait(5)


def test_a_stream_that_is_left_early_is_closed_at_once_and_its_thread_ends() -> None:
    closed: list[bool] = []

    def chunks() -> Generator[int, None, None]:
        try:
            yield from range(10)
        finally:
            closed.append(True)

    before = threading.active_count()
    with closing(Deadline(5).iterate(chunks())) as stream:
        assert next(stream) == 0
    assert closed == [True]
    assert threading.active_count() == before


def test_the_thread_sees_the_callers_context_from_chunk_to_chunk() -> None:
    def chunks() -> Generator[str, None, None]:
        token = WHO.set(WHO.get() + "!")
        yield WHO.get()
        WHO.reset(token)
        yield WHO.get()

    WHO.set("me")
    assert Deadline(5).call(WHO.get) == "me"
    assert list(Deadline(5).iterate(chunks())) == ["me!", "me"]


async def test_on_the_event_loop_what_is_too_late_is_cancelled() -> None:
    cancelled: list[str] = []

    async def call() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append("call")
            raise

    async def chunks() -> AsyncGenerator[str, None]:
        try:
            yield "a"
            await asyncio.sleep(30)
        finally:
            cancelled.append("stream")

    started = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        await Deadline(0.1).acall(call)
    seen = []
    with pytest.raises(DeadlineExceededError):  # noqa: PT012
        async for chunk in Deadline(0.1).aiterate(chunks()):
            seen.append(chunk)  # noqa: PERF401
    assert seen == ["a"]
    assert cancelled == ["call", "stream"]
    assert time.monotonic() - started < 1
    assert len(asyncio.all_tasks()) == 1


async def test_a_cancelled_call_is_cancelled_not_late() -> None:
    task = asyncio.create_task(Deadline(5).acall(lambda: asyncio.sleep(30)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_no_time_left_asks_nobody() -> None:
    clock = iter([0.0, 2.0]).__next__
    with pytest.raises(DeadlineExceededError):
        Deadline(1, clock).call(lambda: pytest.fail("asked"))
