"""The four drivers as one kind of function: a run and a transport in, what the caller gets out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shared_core.execution import drivers
from shared_core.execution.run import Run
from tests.fakes.core import FakeTransport

Driver = Callable[[Run, FakeTransport], str]


def whole(run: Run, transport: Any) -> str:
    drivers.answer(run, transport)
    assert run.result is not None
    return str(run.result.native)


def awaited(run: Run, transport: Any) -> str:
    asyncio.run(drivers.aanswer(run, transport))
    assert run.result is not None
    return str(run.result.native)


def streamed(run: Run, transport: Any) -> str:
    return "".join(drivers.stream(run, transport))


def astreamed(run: Run, transport: Any) -> str:
    async def collect() -> str:
        return "".join([chunk async for chunk in drivers.astream(run, transport)])

    return asyncio.run(collect())


every_driver = pytest.mark.parametrize("driver", [whole, awaited, streamed, astreamed])
streaming = pytest.mark.parametrize("driver", [streamed, astreamed])
