"""Cancels a call at each of its await points, and sees that nothing of it is left.

In: something that begins the call anew each time, and what has to hold afterwards. A *suspension*
is where the call, or a task below it, begins to wait; a *turn* is one round of the event loop.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import count, repeat
from typing import Any

import pytest

from shared_core import Cooldown
from shared_core.execution.health import Health
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.fakes.timing import Clock

Call = Coroutine[Any, Any, Any]
Begin = Callable[[], tuple[Call, Callable[[], Any]]]
"""Begins a call; returns it and what to check once it has been cancelled."""
Cut = Callable[[Call, int], Coroutine[Any, Any, asyncio.Task[Any]]]


async def at_suspension(call: Call, number: int, patience_s: float = 20) -> asyncio.Task[Any]:
    """Run a call as a task that is cancelled when anything in it waits for the n-th time.

    Or when it has been waiting for so many seconds, all together.
    """
    loop, waits, patient = asyncio.get_running_loop(), count(1), True

    def waited() -> None:
        if next(waits) == number and patient:
            task.cancel()

    loop.set_task_factory(
        lambda loop, call, **kw: asyncio.Task(_Told(call, waited), loop=loop, **kw)
    )
    try:
        task = asyncio.create_task(call)
        await asyncio.wait([task], timeout=patience_s)
        patient = False  # what it waits for on its way out is not cut short as well
        task.cancel()
        await asyncio.wait([task], timeout=20)
    finally:
        loop.set_task_factory(None)
    return task


async def at_turn(call: Call, number: int) -> asyncio.Task[Any]:
    """Run a call as a task that is cancelled after n turns of the event loop."""
    task = asyncio.create_task(call)
    for _ in range(number):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=20)
    return task


CUTS: list[Cut] = [at_suspension, at_turn]


class _Told(Coroutine[Any, Any, Any]):
    """Does what a call does, and tells each time that it begins to wait."""

    def __init__(self, call: Call, waits: Callable[[], None]) -> None:
        self._call, self._waits = call, waits

    def send(self, value: Any) -> Any:
        waits_for = self._call.send(value)
        self._waits()
        return waits_for

    def throw(self, *error: Any) -> Any:
        waits_for = self._call.throw(*error)
        self._waits()
        return waits_for

    def close(self) -> None:
        self._call.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError("it is for a task alone")


async def cancel_everywhere(begin: Begin, cut: Cut) -> int:
    """Cancel a call at its first point, then at its second, until it ends before it is cancelled.

    Returns:
        How many points there were.
    """
    for number in count(1):
        async with nothing_left():
            call, check = begin()
            task = await cut(call, number)
            assert task.done(), f"hangs when it is cancelled at point {number}"
            if not task.cancelled():
                task.result()
                return number - 1
            check()
    raise AssertionError


def cancel_while_it_hangs(
    make: Callable[[], Any],
    ask: Callable[[Any], Call],
    server: OpenAIServer,
    patience_s: float = 1.5,
) -> int:
    """Cancel a call to the small model of a server that never ends its answer, at each point.

    Returns:
        How many points there were before it had waited for too long.
    """

    async def everywhere() -> int:
        llm = make()
        await ask(llm)  # the client warms up
        server.reset()
        server.script("small", repeat(Fault("hang", after=3)))
        loop = asyncio.get_running_loop()
        for number in count(1):
            async with nothing_left():
                began = loop.time()
                task = await at_suspension(ask(llm), number, patience_s)
                assert task.cancelled()
            if loop.time() - began >= patience_s:  # it got as far as it could
                break
        async with asyncio.timeout(10):
            while server.abandoned < len(server.requests):  # noqa: ASYNC110 - it notices late
                await asyncio.sleep(0.01)
        return number

    points = asyncio.run(everywhere())
    with warnings.catch_warnings():
        # httpcore loses the socket where it is cancelled just as it has connected.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    return points


async def cancel_when_due(call: Call, log: list[str], due_s: float, *, late: bool) -> None:
    """Cancel a call in the moment in which its deadline passes, just before it or just after.

    Args:
        call: What is cancelled.
        log: Says "under way" once the model is being asked.
        due_s: Seconds that the call has.
        late: The deadline is noticed first.
    """
    loop = asyncio.get_running_loop()
    async with nothing_left():
        task = asyncio.create_task(call)
        while "under way" not in log:  # noqa: ASYNC110
            await asyncio.sleep(0)
        if late:
            loop.call_later(due_s, task.cancel)
        time.sleep(2.5 * due_s)  # noqa: ASYNC251 - both come due while the loop is kept busy
        if not late:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@asynccontextmanager
async def nothing_left(seconds: float = 5) -> AsyncIterator[None]:
    """See that the block leaves no task, no thread, and nothing that the loop complains of."""
    loop = asyncio.get_running_loop()
    threads, complaints = _threads(), list[Any]()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        with _known():
            yield
            gc.collect()
            async with asyncio.timeout(seconds):
                await _settled()
            gc.collect()
        assert complaints == []
        async with asyncio.timeout(seconds):
            # one that looks at a draft ends in its own time
            while not _threads() <= threads:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    finally:
        loop.set_exception_handler(None)


async def _settled(turns: int = 20) -> None:
    """Wait until there is no other task, and for some turns none that closes what was dropped."""
    quiet = 0
    while quiet < turns:
        await asyncio.sleep(0)
        quiet = 0 if len(asyncio.all_tasks()) > 1 else quiet + 1


@contextmanager
def _known() -> Iterator[None]:
    """Keep the collector from looking through all that was there before, which takes long."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def noted(log: list[str]) -> Iterator[None]:
    """Write down that the block was entered, and then how it was left."""
    place = len(log)
    log.append("under way")
    try:
        yield
    except BaseException as error:
        log[place] = type(error).__name__
        raise
    log[place] = "returned"


def on_trial(llm: Any, name: str) -> None:
    """Have a router's candidate fail and rest, so that its next call is a trial."""
    clock = Clock()
    health = Health(Cooldown(failures=1), clock)
    health.failed(name, ConnectionError("lost"), None)
    clock.now += 60
    llm._router = replace(llm._router, health=health)


def _threads() -> set[threading.Thread]:
    """The threads that run, without the workers of the event loop and of the loopback server."""
    kept = ("asyncio_", "process_request_thread")
    return {one for one in threading.enumerate() if not any(name in one.name for name in kept)}
