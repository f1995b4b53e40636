"""Whole calls of a router in any order: no limit is passed, and at the end nothing is held."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shared_core import BudgetExceededError, Router, RouterError, Scope
from shared_core.accounting.budgets.budget import Budget, BudgetState
from shared_core.accounting.budgets.stores import NOTHING, MemoryStore
from shared_core.types import Ask, Prompt, Reply, Usage
from tests.fakes.core import candidate, prompt
from tests.fakes.spending import Asking, Metered, SlowStore, router

BUDGETS = (
    Budget(usd=0.05),
    Budget(tokens=30_000, per="user"),
    Budget(calls=12, per=("user", "day")),
    Budget(wh=20, usd=0.04, per="thread"),
    Budget(usd=0.015, calls=3, per="call"),
    Budget(usd=0.001, per="tenant", hard=False),
)
AMONG = (
    candidate("a", price=(0.5, 1), energy=(100, 400)),
    candidate("b", price=(2, 8), energy=(500, 2000), capabilities={"max_output_tokens": 900}),
)
STRATEGIES = {
    "one": None,
    "twice": Asking(((Ask("a", visible=False),), (Ask("b"),))),
    "both": Asking(((Ask("a", visible=False), Ask("b", visible=False)),)),
}
NAMES = st.sampled_from(["x", "y"])
SHARE = st.floats(0, 1)


class Within(Metered):
    """Reports a share of what its budgets allowed it, or fails, or reports nothing."""

    def __init__(self, view: Prompt, share: float, ends: str) -> None:
        super().__init__({name: ["some ", "text"] for name in "ab"})
        self.view, self.share, self.ends = view, share, ends

    def stream(self, ask: Ask) -> Generator[Any, None, None]:
        if self.ends == "fails":
            raise ConnectionError
        if self.ends == "cancelled":
            raise asyncio.CancelledError
        yield from super().stream(ask)
        if self.ends == "breaks":
            raise ConnectionError

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        most = ask.params["max_tokens"]
        text = "".join(chunks)
        usage = Usage(len(self.view.text), round(most * self.share))
        return Reply(
            ask.candidate, native=text, text=text, usage=None if self.ends == "silent" else usage
        )


class Calls(RuleBasedStateMachine):
    """Random calls, whole and streamed, some of them left open while others are made."""

    @initialize()
    def begin(self) -> None:
        self.routers = {
            name: router(*BUDGETS, among=AMONG, **({} if s is None else {"strategy": s}))
            for name, s in STRATEGIES.items()
        }
        shared = self.routers["one"]
        for name, llm in self.routers.items():
            self.routers[name] = Router(
                llm.candidates, predictor=llm.predictor, strategy=llm.strategy, books=shared.books
            )
        self.open: list[Generator[Any, None, None]] = []
        self.loop = asyncio.new_event_loop()

    def _call(self, which: str, user: str, length: int, share: float, ends: str) -> Any:
        llm = self.routers[which]
        view = prompt("x" * length, tokens=length // 4, scope=Scope(user=user, thread=user))
        with suppress(BudgetExceededError):
            return llm, view, llm.decide(view), Within(view, share, ends)
        return None

    @rule(
        which=st.sampled_from(sorted(STRATEGIES)),
        user=NAMES,
        length=st.integers(1, 6000),
        share=SHARE,
        ends=st.sampled_from(["answers", "fails", "breaks", "silent", "cancelled"]),
        form=st.sampled_from(["answer", "aanswer", "stream"]),
    )
    def call(self, which: str, user: str, length: int, share: float, ends: str, form: str) -> None:
        made = self._call(which, user, length, share, ends)
        if made is None:
            return
        llm, *rest = made
        with suppress(ConnectionError, RouterError, asyncio.CancelledError):
            if form == "answer":
                llm.answer(*rest)
            elif form == "aanswer":
                self.loop.run_until_complete(llm.aanswer(*rest))
            else:
                list(llm.stream(*rest))

    @rule(user=NAMES, length=st.integers(1, 6000), share=SHARE)
    def begin_stream(self, user: str, length: int, share: float) -> None:
        made = self._call("one", user, length, share, "answers")
        if made is not None:
            llm, *rest = made
            stream = llm.stream(*rest)
            with suppress(RouterError):
                next(stream)
                self.open.append(stream)

    @rule(data=st.data(), whole=st.booleans())
    def end_stream(self, data: st.DataObject, whole: bool) -> None:
        if not self.open:
            return
        stream = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        list(stream) if whole else stream.close()

    def _states(self) -> list[BudgetState]:
        budgets = self.routers["one"].books.budgets
        scopes = [Scope(user=user, thread=user) for user in "xy"]
        return [state for scope in scopes for state in budgets.states(scope)]

    @invariant()
    def no_hard_limit_is_passed(self) -> None:
        if not hasattr(self, "routers"):
            return
        for state in self._states():
            if state.budget.hard:
                assert state.used <= 1
            assert min(state.standing.held) >= 0

    def teardown(self) -> None:
        for stream in getattr(self, "open", []):
            stream.close()
        if hasattr(self, "routers"):
            self.loop.close()
            assert [
                state.standing.held for state in self._states() if any(state.standing.held)
            ] == []
            for entry in self.routers["one"].books.ledger.entries():
                spent = sum(a["cost_usd"] or 0.0 for a in entry["attempts"])
                assert spent <= 0.015 + 1e-9, "what one call may cost"


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("kind", [MemoryStore, SlowStore])
def test_many_at_once_share_a_budget_without_passing_it(kind: type[MemoryStore]) -> None:
    """Tasks on loops of several threads, with calls that are cancelled among them."""
    llm = router(Budget(calls=100), Budget(tokens=60_000), among=AMONG, store=kind())

    class Late(Within):
        async def asend(self, ask: Ask) -> Reply:
            await asyncio.sleep(0.001)
            return await super().asend(ask)

    async def one(number: int) -> None:
        view = prompt("x" * 50, tokens=12)
        ends = ("answers", "silent", "fails", "cancelled")[number % 4]
        with suppress(RouterError, ConnectionError, TimeoutError, asyncio.CancelledError):
            decision = await llm.adecide(view)
            async with asyncio.timeout(0.002 if number % 7 == 0 else 20):
                await llm.aanswer(view, decision, Late(view, 0.01, ends))

    async def several(first: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(first, first + 40):
                group.create_task(one(number))

    threads = [
        threading.Thread(target=lambda i=i: asyncio.run(several(i))) for i in range(0, 160, 40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls, tokens = llm.books.budgets.states(Scope())
    assert calls.standing.held == NOTHING
    assert 0 < calls.standing.spent.calls <= 100
    assert tokens.standing.spent.tokens <= 60_000
