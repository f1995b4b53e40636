"""A cascade that is cancelled or left, wherever it is, ends and leaves nothing behind.

Whoever is being asked is left, be it for a draft, for a word on one, or for the answer; what was
held of budgets is given back; and no thread looks at a draft that nobody wants any more for longer
than it takes.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from llamaindex_router import Budget, Candidate, Draft, Policy, RouterLLM, Verdict, deadline_s
from shared_core import DeadlineExceededError
from shared_core.types import Ask, Turn, Verification
from tests.integration_tests.accounts import PRICE, entries, last, nothing_held, outcomes
from tests.integration_tests.cancelling import CUTS, Cut, at_turn, cancel_everywhere, nothing_left
from tests.integration_tests.llamaindex.cascades import bad, cascade, good
from tests.integration_tests.llamaindex.forms import FORMS, METHODS, Form, begin
from tests.integration_tests.llamaindex.scripted import Watched

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from tests.contracts.llamaindex import awaited, observed  # isort: skip

LONG = " ".join(f"word{number}" for number in range(100))


class Judge:
    """Asks the large LLM."""

    name = "judge"

    def verify(self, draft: Draft) -> Verification:
        """Ask it, and mind nothing that it says."""
        yield (
            Ask(
                "large", False, turns=(Turn("user", "Is it right?"),), purpose="check", replace=True
            ),
        )
        return Verdict(self.name, 0.1)


class Dropping:
    """Gives up drafts while they grow; looks at them in a thread.

    Attributes:
        word: What a draft must not hold.
    """

    name = "dropping"
    inline_glance = False
    word = "word25"

    def glance(self, draft: Draft) -> tuple[float, float] | None:
        """Look at what there is."""
        return (0.001, 0.1) if self.word in draft.reply.text else None

    def verify(self, draft: Draft) -> Verification:
        """Reject it."""
        yield from ()
        return Verdict(self.name, 0.1)


VERIFIERS: dict[str, Callable[[], Any]] = {
    "accepted": lambda: good,
    "rejected": lambda: bad,
    "judged": Judge,
    "dropped": Dropping,
}


def priced(verify: Any, **settings: Any) -> tuple[RouterLLM, list[Watched]]:
    """A cascade of two LLMs with a budget, and the two."""
    small = Watched(model="small", replies=[LONG, None])
    made = [small, Watched(model="large")]
    budget = Budget(usd=1, calls=9, per="day")
    settings.setdefault("budgets", budget)
    candidates = [Candidate(one.model, one, price=PRICE) for one in made]
    return cascade(candidates, verify, **settings), made


def threads_end() -> None:
    """Wait for what looks at drafts: it is never cut short, and ends by itself."""
    for thread in threading.enumerate():
        if thread.daemon and thread.name.startswith("Thread-"):
            thread.join(5)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("way", VERIFIERS)
@pytest.mark.parametrize("method", METHODS[1::2])
async def test_a_cascade_may_be_cancelled_at_every_await_point(
    method: str, way: str, cut: Cut
) -> None:
    logs: list[tuple[str, list[str]]] = []

    def start() -> Any:
        llm, made = priced(VERIFIERS[way]())
        logs.extend((one.model, one.log) for one in made)

        def check() -> None:
            threads_end()
            assert nothing_held(llm)
            for entry in entries(llm):  # none where it was cancelled before it was decided
                assert entry["outcome"] == "cancelled"
            assert llm.explain("Hello").resting == ()

        return awaited(method, begin(method, llm)), check

    with observed() as seen:
        assert await cancel_everywhere(start, cut) >= 3
    ends = {(name, end) for name, log in logs for end in log}
    assert ("small", "CancelledError") in ends
    # How many turns a check in a thread takes, nobody can say.
    missed = way == "accepted" or cut is at_turn
    assert missed or ("large", "CancelledError") in ends
    assert "under way" not in {end for _, end in ends}
    assert sorted(seen.closed) == sorted(seen.opened)


@pytest.mark.parametrize("way", VERIFIERS)
@pytest.mark.parametrize("method", [m for m in METHODS if "stream_" in m])
async def test_a_cascade_whose_stream_is_left_ends(method: str, way: str) -> None:
    llm, made = priced(VERIFIERS[way]())
    async with nothing_left():
        if method.startswith("a"):
            later = await begin(method, llm)
            await anext(later)
            await later.aclose()
            del later
        else:
            responses = begin(method, llm)
            next(responses)
            responses.close()
            del responses
        threads_end()
        gc.collect()
    assert "under way" not in str([one.log for one in made])
    assert nothing_held(llm)
    assert last(llm)["outcome"] == "cancelled"
    kept = ("answered", "dropped")  # the caller had come by all of the draft
    assert outcomes(last(llm))[0][1] in kept


@pytest.mark.parametrize("form", FORMS)
def test_a_deadline_holds_across_the_rungs(form: Form) -> None:
    small = Watched(model="small")
    large = Watched(model="large", delay_s=2)
    policy = Policy(subject_to=[deadline_s(0.3)])
    llm = cascade({"small": small, "large": large}, bad, policy=policy)
    with pytest.raises(DeadlineExceededError):
        form(llm)
    assert outcomes(last(llm)) == [("small", "answered"), ("large", "failed")]
    assert last(llm)["seconds"] < 2


@pytest.mark.parametrize("form", FORMS)
def test_a_verifier_that_hangs_is_not_waited_for_beyond_the_deadline(form: Form) -> None:
    let_go = threading.Event()

    def hangs(draft: Draft) -> bool:
        return let_go.wait(30)

    policy = Policy(subject_to=[deadline_s(0.3)])
    made = {name: Watched(model=name) for name in ("small", "large")}
    llm = cascade(made, hangs, policy=policy)
    try:
        with pytest.raises(DeadlineExceededError):
            form(llm)
    finally:
        let_go.set()
        threads_end()
    assert outcomes(last(llm)) == [("small", "answered")]
    assert last(llm)["seconds"] < 5


async def test_the_callers_own_time_limit_ends_a_look() -> None:
    let_go = threading.Event()
    llm, made = priced(lambda _: let_go.wait(30))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await llm.acomplete("Hello")
    let_go.set()
    threads_end()
    assert nothing_held(llm)
    assert last(llm)["outcome"] == "cancelled"
    assert made[1].calls == []
