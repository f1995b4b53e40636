"""What the suites of both frameworks share: known failures, time limits, a clock of the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import pytest

T = TypeVar("T")

UNTYPED = (
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    RecursionError,
    TypeError,
)
"""Errors that tell of a slip in the code, not of what was wrong with the input."""


class Contract:
    """A suite whose known failures are strict.

    Attributes:
        known_failures: Why a test fails, by its name, with or without its parameters in brackets.
        secret: A key that the model under test was given; None where it has none.
        slow_s: Seconds that a call of the slow model lasts at least.
    """

    known_failures: ClassVar[Mapping[str, str]] = {}
    secret: ClassVar[str | None] = None
    slow_s: ClassVar[float] = 0.2

    @pytest.fixture(autouse=True)
    def _expect_known_failures(self, request: pytest.FixtureRequest) -> None:
        known = self.known_failures
        reason = known.get(request.node.name) or known.get(request.node.originalname)
        if reason:
            request.applymarker(pytest.mark.xfail(strict=True, reason=reason))


def needs(offered: bool, what: str) -> None:
    """Skip the test of something that the model does not offer."""
    if not offered:
        pytest.skip(f"the model does not offer {what}")


def only(found: Sequence[T]) -> T:
    """The one thing that there is."""
    assert len(found) == 1, f"not one but {len(found)}: {found}"
    return found[0]


def is_that(error: BaseException, expected: Exception | type[Exception]) -> bool:
    """Whether an error is the one that was expected: itself, or one of its class."""
    return error is expected or (isinstance(expected, type) and isinstance(error, expected))


def outcome_of(call: Callable[[], Any], seconds: float = 20) -> Any:
    """What a call returns or raises; a call that hangs fails the test and is left behind."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"no answer and no error after {seconds} s"
    return outcome[0]


async def assert_it_ticks(begin: Callable[[], Iterable[Awaitable[Any]]], seconds: float) -> None:
    """See that no call keeps the event loop for as long as it lasts.

    Args:
        begin: Begins the calls.
        seconds: How long each of them lasts at least.
    """
    pauses = []
    for _ in range(3):  # what blocks, blocks each time; a busy machine does not
        pauses.append(await _longest_pause(begin()))
        if pauses[-1] < 0.9 * seconds:
            return
    raise AssertionError(f"the loop stood still for {min(pauses):.2f} s")


async def _longest_pause(calls: Iterable[Awaitable[Any]]) -> float:
    loop = asyncio.get_running_loop()
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = loop.time()
            await asyncio.sleep(0.01)
            longest = max(longest, loop.time() - before)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await asyncio.gather(*calls)
    await asyncio.sleep(0.02)
    ticking.cancel()
    return longest


async def cancelled(call: Awaitable[Any], after_s: float = 0.05) -> None:
    """Cancel a call that runs, and see that it leaves no task behind."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(after_s)
    assert not task.done(), "the slow model was not slow"
    task.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await task
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - whatever they are
            await asyncio.sleep(0.01)
