"""How often a call may ask, with all calls inside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context

import pytest

from shared_core.errors import TooManyAttemptsError
from shared_core.execution.tally import _OUTER, Tally


def taken(tally: Tally) -> int:
    """How many it still gives."""
    count = 0
    try:
        while count < 1000:
            tally.take()
            count += 1
    except TooManyAttemptsError:
        pass
    return count


def test_it_gives_as_many_as_allowed_and_no_more() -> None:
    tally = Tally(3)
    assert taken(tally) == 3
    with pytest.raises(TooManyAttemptsError, match=r"3 attempts.*raise max_attempts") as caught:
        tally.take()
    assert caught.value.limit == 3


def test_one_inside_another_counts_on_both() -> None:
    outer = Tally(5)
    outer.take()
    with outer.on():
        inner = Tally(100)
    assert taken(inner) == 4
    with pytest.raises(TooManyAttemptsError) as caught:
        inner.take()
    assert caught.value.limit == 5
    assert taken(outer) == 0


def test_three_deep_the_outermost_is_told_of_each() -> None:
    outer = Tally(10)
    with outer.on():
        middle = Tally(100)
        with middle.on():
            inner = Tally(100)
    assert taken(inner) == 10
    assert taken(middle) == 0


def test_ones_beside_each_other_do_not_count_on_each_other() -> None:
    first = Tally(2)
    with first.on():
        pass
    assert taken(Tally(4)) == 4
    assert taken(first) == 2


def test_threads_together_take_no_more_than_there_are() -> None:
    outer, start = Tally(500), threading.Barrier(8)
    with outer.on():
        inner = Tally(10_000)

    def work() -> int:
        start.wait(10)
        return taken(inner)

    with ThreadPoolExecutor(8) as pool:
        got = [one.result() for one in [pool.submit(work) for _ in range(8)]]
    assert sum(got) == 500


def test_a_stream_counts_while_it_makes_chunks_and_not_between_them() -> None:
    tally, seen = Tally(1), list[object]()

    def chunks() -> Generator[int, None, None]:
        try:
            for number in range(3):
                seen.append(_OUTER.get())
                yield number
        finally:
            seen.append("closed")

    with closing(tally.over(chunks())) as stream:
        for _ in stream:
            assert _OUTER.get() is None
            break
    assert seen == [tally, "closed"]
    assert list(tally.over(chunks())) == [0, 1, 2]


async def test_on_an_event_loop_too() -> None:
    tally, seen = Tally(1), list[object]()

    async def chunks() -> AsyncGenerator[int, None]:
        for number in range(2):
            await asyncio.sleep(0)
            seen.append(_OUTER.get())
            yield number

    async for _ in tally.aover(chunks()):
        assert _OUTER.get() is None
        await asyncio.sleep(0)
    assert seen == [tally, tally]


def test_a_stream_that_fails_leaves_nothing_counting() -> None:
    def chunks() -> Generator[int, None, None]:
        yield 1
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(Tally(1).over(chunks()))
    assert _OUTER.get() is None


def test_a_stream_may_be_read_on_in_another_context() -> None:
    tally = Tally(1)
    stream = tally.over(number for number in range(3))
    assert [copy_context().run(next, stream) for _ in range(3)] == [0, 1, 2]
    stream.close()
