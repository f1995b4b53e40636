"""A look at a draft, carried out: whatever the verifier does, a verdict comes of it, and in time.

In: a `Check` and the call's deadline. Out: a `Verdict`; a verifier that raises, hangs, or returns
something else than a probability cannot tell. The same for a draft that grows: one whose look
raises or hangs is not dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import replace
from threading import Thread
from typing import Any, Final, TypeVar

from shared_core.execution.deadline import Deadline
from shared_core.execution.failures import is_signal
from shared_core.execution.run import Growing
from shared_core.types import Check, Verdict

__all__ = ["acarried_out", "aglanced", "carried_out", "glanced"]

T = TypeVar("T")

_CERTAIN: Final = 0.99
"""What a plain True is worth, and False what is left of it: no verifier is beyond doubt."""


def carried_out(check: Check, deadline: Deadline) -> Verdict:
    """Return the verdict.

    Raises:
        DeadlineExceededError: The call's own time is over.
    """
    if check.inline:
        return _look(check)
    limit = min(check.limit_s, deadline.left())
    try:
        return _begun(lambda: _look(check)).result(limit)
    except TimeoutError:
        return _late(check, limit, deadline)


async def acarried_out(check: Check, deadline: Deadline) -> Verdict:
    """Do the same without blocking."""
    if check.inline:
        return _look(check)
    limit = min(check.limit_s, deadline.left())
    try:
        async with asyncio.timeout(limit):
            return await asyncio.wrap_future(_begun(lambda: _look(check)))
    except TimeoutError:
        return _late(check, limit, deadline)


def glanced(growing: Growing, deadline: Deadline) -> bool:
    """Tell whether a growing answer is to be dropped.

    Raises:
        DeadlineExceededError: The call's own time is over.
    """
    if growing.watch.inline:
        return growing.drops()
    try:
        return _begun(growing.drops).result(min(growing.watch.limit_s, deadline.left()))
    except TimeoutError:
        return _blind(growing, deadline)


async def aglanced(growing: Growing, deadline: Deadline) -> bool:
    """Do the same without blocking."""
    if growing.watch.inline:
        return growing.drops()
    try:
        async with asyncio.timeout(min(growing.watch.limit_s, deadline.left())):
            return await asyncio.wrap_future(_begun(growing.drops))
    except TimeoutError:
        return _blind(growing, deadline)


def _blind(growing: Growing, deadline: Deadline) -> bool:
    deadline.left()
    growing.look_no_more()
    return False


def _begun(task: Callable[[], T]) -> Future[T]:
    """Have it done in a thread of its own, which is left behind where it hangs."""
    done = Future[T]()

    def work() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            done.set_result(task())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(error)

    Thread(target=copy_context().run, args=(work,), daemon=True).start()
    return done


def _look(check: Check) -> Verdict:
    started = time.perf_counter()
    try:
        said = check.look(check.draft)
    except Exception as error:
        if is_signal(error):
            raise
        said = _unknown(check, f"it raised {type(error).__name__}")
    verdict = said if isinstance(said, Verdict) else _read(check, said)
    if not _is_chance(verdict.probability):
        verdict = _unknown(check, f"it gave {verdict.probability!r}, no probability")
    return replace(
        verdict,
        verifier=check.verifier,
        candidate=check.draft.reply.candidate,
        seconds=time.perf_counter() - started,
    )


def _read(check: Check, said: Any) -> Verdict:
    if isinstance(said, bool):
        return Verdict(check.verifier, _CERTAIN if said else 1.0 - _CERTAIN)
    if said is None:
        return Verdict(check.verifier)
    if isinstance(said, Coroutine):
        said.close()
    try:
        return Verdict(check.verifier, float(said + 0))  # a text that reads as a number is none
    except Exception:  # noqa: BLE001 - whatever a thing of anybody's does when it is added to
        return _unknown(check, f"it gave a {type(said).__name__}, no probability")


def _is_chance(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and 0 <= value <= 1)  # NaN is not


def _unknown(check: Check, note: str) -> Verdict:
    return Verdict(check.verifier, None, note)


def _late(check: Check, limit: float, deadline: Deadline) -> Verdict:
    deadline.left()
    verdict = _unknown(check, f"it had not answered after {limit:.3g} s")
    return replace(verdict, candidate=check.draft.reply.candidate, seconds=limit)
