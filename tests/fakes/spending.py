"""What tests of money and budgets use: candidates with prices, replies with usage, bad stores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared_core.accounting.books import Books
from shared_core.accounting.budgets.budget import Budget, Budgets
from shared_core.accounting.budgets.stores import Amounts, MemoryStore, Standing
from shared_core.decision.candidates import prepare_candidates
from shared_core.errors import StorageError
from shared_core.router import Router
from shared_core.types import Ask, Candidate, Decision, Prompt, Reply, Scope, Steps, Turn, Usage
from tests.fakes.core import FakeTransport, FixedPredictor, candidate

LISTED = "openai:gpt-4o-mini"
"""Whose cached input costs half."""


def conversation(author: str | None, repeated: int = 8000) -> Prompt:
    """A user's question after a long conversation, whose last answer that candidate wrote."""
    long = "x" * (4 * repeated - 40)
    turns = (Turn("user", long), Turn("assistant", "y" * 40), Turn("user", "z" * 40))
    return Prompt(turns, repeated + 10, author=author)


def prepared(*given: Candidate) -> tuple[Candidate, ...]:
    """Candidates as a router has them; "a" is cheap and "b" dear where none are given."""
    some = given or (candidate("a", price=(1, 2)), candidate("b", price=(10, 20)))
    return prepare_candidates(some, lambda c: (c.model, {}))


def router(*budgets: Budget, among: Sequence[Candidate] = (), **settings: Any) -> Router:
    """A router over candidates of equal quality; `store`, `clock` and `ledger` go to its books."""
    candidates = prepared(*among)
    kept = {key: settings.pop(key) for key in ("store", "clock") if key in settings}
    books = {key: settings.pop(key) for key in ("ledger",) if key in settings}
    settings.setdefault("predictor", FixedPredictor(dict.fromkeys("abcd", 0.9)))
    return Router(
        candidates, books=Books(candidates, Budgets(*budgets, **kept), **books), **settings
    )


@dataclass
class Metered(FakeTransport):
    """Reports `usage` with every reply."""

    usage: Usage | None = field(default_factory=lambda: Usage(10, 5))

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        text = "".join(chunks)
        return Reply(ask.candidate, native=text, text=text, usage=self.usage)


def standing(router: Router, scope: Scope | None = None) -> Standing:
    """How the account of the first budget stands for a caller."""
    return router.books.budgets.states(scope or Scope())[0].standing


class FailingStore(MemoryStore):
    """Fails at the operations whose names are in `failing`."""

    def __init__(self, *failing: str) -> None:
        super().__init__()
        self.failing = set(failing)

    def standings(self, *args: Any) -> Any:
        return self._unless("standings", super().standings, *args)

    def reserve(self, *args: Any) -> Any:
        return self._unless("reserve", super().reserve, *args)

    def settle(self, *args: Any) -> Any:
        return self._unless("settle", super().settle, *args)

    def _unless(self, name: str, work: Callable[..., Any], *args: Any) -> Any:
        if name in self.failing:
            raise StorageError("the store", "it is gone")
        return work(*args)


class SlowStore(MemoryStore):
    """Waits at `gates` (by operation) until a test lets it go on; remembers its threads."""

    slow = True

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[str, threading.Event] = {}
        self.came = threading.Semaphore(0)
        self.threads: list[tuple[str, threading.Thread]] = []

    def standings(self, accounts: Sequence[str]) -> Any:
        self._wait("standings")
        return super().standings(accounts)

    def reserve(self, hold: str, amounts: Amounts, *rest: Any) -> Any:
        self._wait("reserve")
        return super().reserve(hold, amounts, *rest)

    def settle(self, *args: Any) -> Any:
        self._wait("settle")
        return super().settle(*args)

    def _wait(self, name: str) -> None:
        self.threads.append((name, threading.current_thread()))
        if gate := self.gates.get(name):
            self.came.release()
            assert gate.wait(10)


@dataclass(frozen=True)
class Asking:
    """A strategy that asks all of these, each inner tuple at once; the last reply answers."""

    asks: tuple[tuple[Ask, ...], ...] = field(default=())

    def steps(self, prompt: Prompt, decision: Decision) -> Steps:
        reply: Reply | None = None
        for step in self.asks:
            *_, reply = yield step
        assert reply is not None
        if reply.error is not None:
            raise reply.error
        return reply
