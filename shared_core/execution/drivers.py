"""The four drivers: sync and async, whole and streamed. Each runs every strategy in both skins.

In: a `Run` and a `Caller`. What the run wishes is carried out until it has a result; the streaming
two yield the framework's own chunks on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, suppress
from contextvars import copy_context
from typing import Any

from shared_core.errors import DraftDroppedError
from shared_core.execution.run import Caller, Growing, Run, Shown
from shared_core.types import Ask, Check, Reply, Verdict, Watch, Wish

__all__ = ["aanswer", "answer", "astream", "stream"]


def answer(run: Run, caller: Caller) -> None:
    """Carry out a run; wishes of one step go side by side, in threads."""
    with closing(run):
        while run.wishes:
            run.resume(_grant_all(run, caller))
        run.finish(caller)


async def aanswer(run: Run, caller: Caller) -> None:
    """Carry out a run on the event loop; wishes of one step go side by side."""
    with closing(run):
        while run.wishes:
            run.resume(await _agrant_all(run, caller))
        run.finish(caller)


def stream(run: Run, caller: Caller) -> Generator[Any, None, None]:
    """Carry out a run and yield chunks of the answer as they come."""
    with closing(run):
        while run.wishes:
            if (ask := run.visible) is not None:
                yield from _show(run, caller, ask)
            else:
                run.resume(_grant_all(run, caller))
        run.finish(caller)
        if run.result is not None and not run.was_shown:
            yield from caller.split(run.result)


async def astream(run: Run, caller: Caller) -> AsyncGenerator[Any, None]:
    """Carry out a run on the event loop and yield chunks of the answer as they come."""
    with closing(run):
        while run.wishes:
            if (ask := run.visible) is not None:
                async with aclosing(_ashow(run, caller, ask)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            else:
                run.resume(await _agrant_all(run, caller))
        run.finish(caller)
        if run.result is not None and not run.was_shown:
            for chunk in caller.split(run.result):
                yield chunk


def _show(run: Run, caller: Caller, ask: Ask) -> Generator[Any, None, None]:
    shown = Shown(run, caller, ask)
    try:
        with closing(caller.stream(ask)) as chunks:
            for chunk in chunks:
                yield from shown.take(chunk)
    except Exception as error:  # noqa: BLE001 - a failed call is data
        shown.fail(error)
    else:
        yield from shown.rest()
        shown.finish()


async def _ashow(run: Run, caller: Caller, ask: Ask) -> AsyncGenerator[Any, None]:
    shown = Shown(run, caller, ask)
    try:
        async with aclosing(caller.astream(ask)) as chunks:
            async for chunk in chunks:
                for ready in shown.take(chunk):
                    yield ready
    except Exception as error:  # noqa: BLE001 - a failed call is data
        shown.fail(error)
    else:
        for left in shown.rest():
            yield left
        shown.finish()


def _grant(run: Run, caller: Caller, wish: Wish) -> Reply | Verdict:
    if isinstance(wish, Check):
        return caller.check(wish)
    if isinstance(wish, Verdict):
        return _noted(caller, wish)
    started = run.clock()
    try:
        reply = caller.send(wish) if wish.watch is None else _watch(caller, wish, wish.watch)
    except Exception as error:  # noqa: BLE001 - a failed call is data
        reply = run.failed(caller, wish, error)
    return run.timed(reply, started)


async def _agrant(run: Run, caller: Caller, wish: Wish) -> Reply | Verdict:
    if isinstance(wish, Check):
        return await caller.acheck(wish)
    if isinstance(wish, Verdict):
        return _noted(caller, wish)
    started = run.clock()
    try:
        if wish.watch is None:
            reply = await caller.asend(wish)
        else:
            reply = await _awatch(caller, wish, wish.watch)
    except Exception as error:  # noqa: BLE001 - a failed call is data
        reply = run.failed(caller, wish, error)
    return run.timed(reply, started)


def _watch(caller: Caller, ask: Ask, watch: Watch) -> Reply:
    """Have an answer grow out of sight; break it off once it is seen to be no good."""
    growing = Growing(caller, ask, watch)
    with closing(caller.stream(ask)) as chunks:
        for chunk in chunks:
            if growing.take(chunk) and caller.glance(growing):
                with suppress(DraftDroppedError, StopIteration):
                    chunks.throw(DraftDroppedError())
                return growing.reply(dropped=True)
    return growing.reply(dropped=False)


async def _awatch(caller: Caller, ask: Ask, watch: Watch) -> Reply:
    growing = Growing(caller, ask, watch)
    async with aclosing(caller.astream(ask)) as chunks:
        async for chunk in chunks:
            if growing.take(chunk) and await caller.aglance(growing):
                with suppress(DraftDroppedError, StopAsyncIteration):
                    await chunks.athrow(DraftDroppedError())
                return growing.reply(dropped=True)
    return growing.reply(dropped=False)


def _noted(caller: Caller, verdict: Verdict) -> Verdict:
    caller.judged(verdict)
    return verdict


def _grant_all(run: Run, caller: Caller) -> list[Reply | Verdict]:
    """Grant the wishes of one step; several asks go side by side, each in a thread.

    Nothing can stop a call that is under way in a thread, so that one which raises what is no
    failure (a signal) waits for the others.
    """
    if sum(isinstance(wish, Ask) for wish in run.wishes) < 2:
        return [_grant(run, caller, wish) for wish in run.wishes]
    with ThreadPoolExecutor(len(run.wishes), "router-ask") as pool:
        granted = [
            pool.submit(copy_context().run, _grant, run, caller, wish) for wish in run.wishes
        ]
    return [one.result() for one in granted]


async def _agrant_all(run: Run, caller: Caller) -> list[Reply | Verdict]:
    if len(run.wishes) == 1:
        return [await _agrant(run, caller, run.wishes[0])]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_agrant(run, caller, wish)) for wish in run.wishes]
    except BaseExceptionGroup as several:  # the caller is told what it would be told of one wish
        raise several.exceptions[0] from None
    return [task.result() for task in tasks]
