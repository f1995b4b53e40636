"""A look at a draft: whatever the verifier does, a verdict comes of it, and in time."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from shared_core import DeadlineExceededError
from shared_core.execution.checks import acarried_out, aglanced, carried_out, glanced
from shared_core.execution.deadline import Deadline
from shared_core.execution.run import Growing
from shared_core.types import Ask, Check, Draft, Reply, Verdict, Watch
from tests.fakes.core import FakeTransport, prompt

DRAFT = Draft(prompt(), Reply("a", text="42"), prior=0.6)
Carry = Callable[..., Verdict]


def here(check: Check, seconds: float | None = None) -> Verdict:
    return carried_out(check, Deadline(seconds))


def on_a_loop(check: Check, seconds: float | None = None) -> Verdict:
    return asyncio.run(acarried_out(check, Deadline(seconds)))


every_way = pytest.mark.parametrize("carry", [here, on_a_loop])
everywhere = pytest.mark.parametrize("inline", [True, False])


def check(said: Any, **how: Any) -> Check:
    return Check("looker", said if callable(said) else lambda _: said, DRAFT, **how)


class Odd:
    def __float__(self) -> float:
        raise RuntimeError("odd")


async def coroutine() -> float:
    return 0.9


SAID = [
    (0.7, 0.7),
    (0, 0.0),
    (1, 1.0),
    (True, 0.99),
    (False, 0.01),
    (np.float32(0.5), 0.5),
    (Verdict("other", 0.3, "because"), 0.3),
]

UNSAID = [
    *(None, math.nan, math.inf, -0.1, 1.1, 10**400),
    *("0.9", "I am quite sure.", b"1", [], {}, object(), Odd(), 1j),
    *(Verdict("other", math.nan), Verdict("other", 7.0), Verdict("other", "0.9")),  # type: ignore[arg-type]
]


@everywhere
@every_way
@pytest.mark.parametrize(("said", "chance"), SAID)
def test_a_probability_is_one(carry: Carry, inline: bool, said: Any, chance: float) -> None:
    verdict = carry(check(said, inline=inline))
    assert verdict.probability == pytest.approx(chance)
    assert (verdict.verifier, verdict.candidate) == ("looker", "a")
    assert verdict.seconds > 0


@everywhere
@every_way
@pytest.mark.parametrize("said", UNSAID, ids=repr)
def test_what_is_no_probability_cannot_tell(carry: Carry, inline: bool, said: Any) -> None:
    verdict = carry(check(said, inline=inline))
    assert verdict.probability is None
    assert verdict.candidate == "a"
    assert said is None or "no probability" in verdict.note


@every_way
def test_a_coroutine_cannot_tell_and_is_not_left_waiting(carry: Carry) -> None:
    verdict = carry(check(lambda _: coroutine()))
    assert (verdict.probability, verdict.note) == (None, "it gave a coroutine, no probability")


@everywhere
@every_way
def test_one_that_raises_cannot_tell(carry: Carry, inline: bool) -> None:
    def raises(draft: Draft) -> float:
        raise ValueError(draft.reply.text)

    verdict = carry(check(raises, inline=inline))
    assert (verdict.probability, verdict.note) == (None, "it raised ValueError")


@pytest.fixture
def hanging() -> Iterator[Check]:
    """One that hangs until the test is over."""
    over = threading.Event()
    yield check(lambda _: bool(over.wait(30)), limit_s=0.05)
    over.set()


@every_way
def test_one_that_hangs_is_waited_for_no_longer_than_its_limit(
    carry: Carry, hanging: Check
) -> None:
    started = time.monotonic()
    verdict = carry(hanging)
    assert time.monotonic() - started < 5
    assert (verdict.probability, verdict.candidate) == (None, "a")
    assert verdict.note == "it had not answered after 0.05 s"


@every_way
def test_the_calls_deadline_holds_too(carry: Carry, hanging: Check) -> None:
    with pytest.raises(DeadlineExceededError):
        carry(Check(hanging.verifier, hanging.look, DRAFT, limit_s=60), 0.05)


@every_way
def test_an_interrupt_of_a_graph_goes_on_its_way(carry: Carry) -> None:
    class GraphBubbleUp(Exception):
        pass

    def interrupts(draft: Draft) -> float:
        raise GraphBubbleUp

    with pytest.raises(GraphBubbleUp):
        carry(check(interrupts))


@every_way
def test_it_is_done_in_the_callers_context(carry: Carry) -> None:
    variable = contextvars.ContextVar("variable", default=0.0)
    variable.set(0.25)
    assert carry(check(lambda _: variable.get())).probability == 0.25


def glance_here(growing: Growing, seconds: float | None = None) -> bool:
    return glanced(growing, Deadline(seconds))


def glance_on_a_loop(growing: Growing, seconds: float | None = None) -> bool:
    return asyncio.run(aglanced(growing, Deadline(seconds)))


every_glance = pytest.mark.parametrize("glance", [glance_here, glance_on_a_loop])


def growing(drops: Callable[[Reply], bool], **how: Any) -> Growing:
    watch = Watch(drops, first=1, **how)
    return Growing(FakeTransport({}), Ask("a", visible=False, watch=watch), watch)


@everywhere
@every_glance
def test_a_growing_answer_is_dropped_where_a_look_says_so(glance: Any, inline: bool) -> None:
    assert glance(growing(lambda reply: True, inline=inline))
    assert not glance(growing(lambda reply: False, inline=inline))
    assert not glance(growing(lambda reply: bool(1 / 0), inline=inline))


@every_glance
def test_after_a_look_that_hangs_there_is_no_other(glance: Any, hanging: Check) -> None:
    one = growing(lambda reply: bool(hanging.look(DRAFT)), inline=False, limit_s=0.05)
    assert one.take("x")
    assert not glance(one)
    assert not any(one.take("x") for _ in range(100))


@every_glance
def test_a_look_ends_with_the_call(glance: Any, hanging: Check) -> None:
    with pytest.raises(DeadlineExceededError):
        glance(growing(lambda reply: bool(hanging.look(DRAFT)), inline=False), 0.05)


async def test_the_loop_goes_on_meanwhile() -> None:
    turned = threading.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    verdict = await acarried_out(check(lambda _: turned.wait(10)), Deadline(None))
    assert verdict.probability == 0.99
