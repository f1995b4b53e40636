"""The four drivers: sync and async, whole and streamed. Each runs every strategy in both skins.

In: a `Run` and a `Transport`. The run's asks are carried out until it has a result; the streaming
two yield the framework's own chunks on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from typing import Any

from shared_core.execution.run import Run, Shown, Transport
from shared_core.types import Ask, Reply

__all__ = ["aanswer", "answer", "astream", "stream"]


def answer(run: Run, transport: Transport) -> None:
    """Carry out a run, one call after the other."""
    with closing(run):
        while run.asks:
            run.resume([_send(run, transport, ask) for ask in run.asks])


async def aanswer(run: Run, transport: Transport) -> None:
    """Carry out a run on the event loop; asks of one step go side by side."""
    with closing(run):
        while run.asks:
            run.resume(await _asend_all(run, transport))


def stream(run: Run, transport: Transport) -> Generator[Any, None, None]:
    """Carry out a run and yield chunks of the answer as they come."""
    with closing(run):
        while run.asks:
            if _shows(run.asks):
                yield from _show(run, transport, run.asks[0])
            else:
                run.resume([_send(run, transport, ask) for ask in run.asks])
        if run.result is not None and not run.was_shown:
            yield from transport.split(run.result)


async def astream(run: Run, transport: Transport) -> AsyncGenerator[Any, None]:
    """Carry out a run on the event loop and yield chunks of the answer as they come."""
    with closing(run):
        while run.asks:
            if _shows(run.asks):
                async with aclosing(_ashow(run, transport, run.asks[0])) as chunks:
                    async for chunk in chunks:
                        yield chunk
            else:
                run.resume(await _asend_all(run, transport))
        if run.result is not None and not run.was_shown:
            for chunk in transport.split(run.result):
                yield chunk


def _show(run: Run, transport: Transport, ask: Ask) -> Generator[Any, None, None]:
    shown = Shown(run, transport, ask)
    try:
        with closing(transport.stream(ask)) as chunks:
            for chunk in chunks:
                yield from shown.take(chunk)
    except Exception as error:  # noqa: BLE001 - a failed call is data
        shown.fail(error)
    else:
        yield from shown.rest()
        shown.finish()


async def _ashow(run: Run, transport: Transport, ask: Ask) -> AsyncGenerator[Any, None]:
    shown = Shown(run, transport, ask)
    try:
        async with aclosing(transport.astream(ask)) as chunks:
            async for chunk in chunks:
                for ready in shown.take(chunk):
                    yield ready
    except Exception as error:  # noqa: BLE001 - a failed call is data
        shown.fail(error)
    else:
        for left in shown.rest():
            yield left
        shown.finish()


def _shows(asks: tuple[Ask, ...]) -> bool:
    return len(asks) == 1 and asks[0].visible


def _send(run: Run, transport: Transport, ask: Ask) -> Reply:
    started = run.clock()
    try:
        reply = transport.send(ask)
    except Exception as error:  # noqa: BLE001 - a failed call is data
        reply = run.failed(transport, ask, error)
    return run.timed(reply, started)


async def _asend(run: Run, transport: Transport, ask: Ask) -> Reply:
    started = run.clock()
    try:
        reply = await transport.asend(ask)
    except Exception as error:  # noqa: BLE001 - a failed call is data
        reply = run.failed(transport, ask, error)
    return run.timed(reply, started)


async def _asend_all(run: Run, transport: Transport) -> list[Reply]:
    if len(run.asks) == 1:
        return [await _asend(run, transport, run.asks[0])]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_asend(run, transport, ask)) for ask in run.asks]
    return [task.result() for task in tasks]
