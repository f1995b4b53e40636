"""The bookkeeping of one call: what is held before each attempt, charged after, written down last.

In: a decision, then each attempt as it begins and ends. Out: the `Entry`, in the ledger.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass, replace
from operator import itemgetter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from shared_core.accounting.budgets.bounds import TOKENS_AROUND, Most, Shortage
from shared_core.accounting.budgets.budget import BudgetState, amounts
from shared_core.accounting.budgets.stores import NOTHING, Amounts, Standing
from shared_core.accounting.expected import repeated_tokens
from shared_core.accounting.record import Facts, make_entry
from shared_core.accounting.telemetry import trace
from shared_core.errors import BudgetExceededError, DraftDroppedError
from shared_core.tokens import TOKENS_PER_MESSAGE, estimate_tokens, size_of
from shared_core.types import (
    Ask,
    Attempt,
    Candidate,
    Decision,
    Ending,
    Energy,
    Entry,
    Estimate,
    Outcome,
    Prompt,
    Reply,
    Usage,
    Verdict,
)

if TYPE_CHECKING:
    from shared_core.accounting.books import Books

__all__ = ["Account", "Hold"]

T = TypeVar("T")
_NUMBERS = itertools.count(1)  # of holds: a decision may be carried out more than once


@dataclass(slots=True)
class Hold:
    """One attempt that is under way.

    Attributes:
        ask: What to ask: with the answer's length limited to what is held for it.
        id: Names what is held in the store.
        most: What is held.
        started: When it began, by the account's clock.
        metering: What the meter gave when it began.
    """

    ask: Ask
    id: str
    most: Amounts
    started: float
    metering: Any = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended; `shown` is the text that a stream which broke off has given.

    Of one that broke off, only an estimated usage is written down.
    """

    outcome: Outcome
    usage: Usage | None
    reply: Reply | None = None
    error: BaseException | None = None
    shown: str | None = None


class Account:
    """The bookkeeping of one call; a context manager around it, sync or async.

    Attributes:
        entry: What was written down, once the call has ended.
        reply: The reply that answers, to be set before it ends.
    """

    def __init__(
        self,
        books: Books,
        prompt: Prompt,
        decision: Decision,
        usd_per_kwh: float,
        told: Callable[[Entry], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin with nothing held and nothing spent."""
        self._told = told
        self.entry: Entry | None = None
        self.reply: Reply | None = None
        self._books, self._prompt, self._decision = books, prompt, decision
        self._usd_per_kwh, self._clock = usd_per_kwh, clock
        self._started_at, self._started = books.clock(), clock()
        self._attempts: list[tuple[int, Attempt]] = []  # each with the place of its ask
        self._verdicts: list[Verdict] = []
        self._read_by: dict[str, int] = {}  # tokens of the caller's own prompt
        self._busy_from: list[tuple[float, float]] = []  # from when to when, by attempts and waits
        budgets = books.budgets
        self._accounts = budgets.accounts(prompt.scope) if budgets else ()
        self._most = books.most(prompt, usd_per_kwh)
        self._spent = self._held = NOTHING  # by this call; asks of one step go side by side
        self._lock = threading.Lock()  # around these two

    # --- around the call ---

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the call down, however it ended."""
        self._write(error)
        self._tell()

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the call down without blocking."""
        if self._books.ledger.slow:
            await asyncio.shield(asyncio.to_thread(self._write, error))
        else:
            self._write(error)
        self._tell()

    # --- around each attempt ---

    def open(self, ask: Ask) -> Hold:
        """Hold what an attempt can take at most.

        Raises:
            BudgetExceededError: A budget has no room for it.
            StorageError: The store of a hard budget fails.
        """
        hold = Hold(ask, f"{self._decision.id}.{next(_NUMBERS)}", NOTHING, 0.0)
        if self._most is not None:
            try:
                self._reserve(hold, self._most)
            except BudgetExceededError as error:
                self.note(ask, "refused", error)
                raise
        if (shares := self._shares(ask)) is not None:
            hold.metering = shares.begin()
        hold.started = self._clock()
        return hold

    async def aopen(self, ask: Ask) -> Hold:
        """Do the same without blocking; one who is cancelled meanwhile holds nothing."""
        if not self._slow:
            return self.open(ask)
        opening = _in_thread(lambda: self.open(ask))
        try:
            return await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._undo)  # the thread does it, if it is not done yet
            raise

    def close(self, hold: Hold, reply: Reply) -> None:
        """Charge an attempt that has answered."""
        self._settle(hold, self._end(hold, self._answered(hold.ask, reply)))

    async def aclose(self, hold: Hold, reply: Reply) -> None:
        """Do the same without blocking."""
        await self._asettle(hold, self._end(hold, self._answered(hold.ask, reply)))

    def fail(
        self, hold: Hold, error: BaseException, *, billed: bool, shown: str | None = None
    ) -> None:
        """Free what was held for an attempt that has given no answer.

        Args:
            hold: What `open` gave.
            error: What ended it: its own error, the caller's leaving, or `DraftDroppedError`.
            billed: Somebody may still be paid for it.
            shown: The text that a stream has given so far, which is charged; empty where it gave
                something else. None: nothing.
        """
        self._settle(hold, self._end(hold, self._broken(hold.ask, error, billed, shown)))

    async def afail(
        self, hold: Hold, error: BaseException, *, billed: bool, shown: str | None = None
    ) -> None:
        """Do the same without blocking."""
        await self._asettle(hold, self._end(hold, self._broken(hold.ask, error, billed, shown)))

    def note(self, ask: Ask, outcome: Outcome, error: Exception) -> None:
        """Write down that a candidate was not asked at all."""
        name = type(error).__name__
        noted = Attempt(ask.candidate, outcome, 0.0, cost_usd=0.0, error=name, purpose=ask.purpose)
        self._attempts.append((ask.place, noted))  # from any thread: it is one step

    def judged(self, verdict: Verdict) -> None:
        """Take note of what was made of a draft."""
        self._verdicts.append(verdict)  # from any thread: it is one step

    def waited(self, seconds: float) -> None:
        """Take note of a wait that a server asked for, which is over."""
        now = self._clock()
        self._busy_from.append((max(self._started, now - seconds), now))

    # --- inside ---

    @property
    def _slow(self) -> bool:
        return bool(self._accounts) and self._books.budgets.slow

    def _undo(self, opening: Future[Hold]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self.fail(opening.result(), asyncio.CancelledError(), billed=False)

    def _shares(self, ask: Ask) -> Any:
        meter = self._books.terms[ask.candidate].meter
        return None if meter is None else self._books.shares[meter]

    def _reserve(self, hold: Hold, most: Most) -> None:
        """Hold the most there can be; with no room for that, for a shorter answer."""
        budgets = self._books.budgets
        longest = self._claim(hold, most, ())
        try:
            try:
                budgets.reserve(hold.id, hold.most, self._accounts)
            except BudgetExceededError:
                self._free(hold)
                shorter = self._claim(hold, most, budgets.states_of(self._accounts))
                if shorter >= longest:
                    raise
                longest = shorter
                budgets.reserve(hold.id, hold.most, self._accounts)
        except BaseException:
            self._free(hold)
            raise
        if budgets.bound_answers:
            params = {**hold.ask.params, "max_tokens": longest}
            hold.ask = replace(hold.ask, params=params)

    def _claim(self, hold: Hold, most: Most, states: Sequence[BudgetState]) -> int:
        """Hold the longest answer that fits into the budgets of this call and these others."""
        name, asked = hold.ask.candidate, hold.ask.params.get("max_tokens")
        candidate, estimate = self._candidate(name), self._estimate(name)
        added = most.added(hold.ask.turns)
        with self._lock:
            own = self._own_states()
            longest = most.longest(candidate, estimate, (*states, *own), asked, added)
            if isinstance(longest, Shortage):
                raise (longest.state or own[0]).error()
            hold.most = most.amounts(name, longest, added)
            self._held = self._held.plus(hold.most)
        return longest

    def _free(self, hold: Hold, spent: Amounts = NOTHING) -> None:
        with self._lock:
            self._held, self._spent = self._held.minus(hold.most), self._spent.plus(spent)
            hold.most = NOTHING

    def _candidate(self, name: str) -> Candidate:
        return next(c for c in self._books.candidates if c.name == name)

    def _own_states(self) -> Sequence[BudgetState]:
        standing = Standing(self._spent, self._held)
        return [BudgetState(b, standing, None) for b in self._books.budgets.per_call]

    def _answered(self, ask: Ask, reply: Reply) -> Ended:
        """Return how it ended; a usage of no tokens at all was never counted.

        Of an answer that was streamed only to be watched, it is told from the texts.
        """
        usage = reply.usage
        if usage is None or not (usage.input_tokens or usage.output_tokens):
            calls = "".join(f"{name}{arguments}" for name, arguments in reply.tool_calls)
            usage = None if ask.watch is None else self._from_texts(ask, reply.text + calls)
        return Ended("answered", usage, reply)

    def _broken(self, ask: Ask, error: BaseException, billed: bool, shown: str | None) -> Ended:
        if isinstance(error, DraftDroppedError):
            return Ended("dropped", self._from_texts(ask, shown or ""), shown=shown or "")
        outcome: Outcome = "failed" if isinstance(error, Exception) else "cancelled"
        return Ended(outcome, None if billed else Usage(0, 0, free=True), None, error, shown)

    def _from_texts(self, ask: Ask, text: str) -> Usage:
        """Return the usage as the texts tell it, where nobody counts the tokens."""
        added = sum(estimate_tokens(turn.text) + TOKENS_PER_MESSAGE for turn in ask.turns)
        read = added if ask.replace else self._prompt.tokens + added
        return Usage(read, estimate_tokens(text), estimated=True)

    def _end(self, hold: Hold, ended: Ended) -> Amounts:
        """Write an attempt down and learn from it; return what it is charged."""
        ask, seconds = hold.ask, self._clock() - hold.started
        name, shares, usage = ask.candidate, self._shares(ask), ended.usage
        written = usage is not None and (ended.reply is not None or usage.estimated)
        measured = None if shares is None else shares.end(hold.metering)
        energy = measured if shares is not None else self._energy(name, usage)
        cost = None
        if usage is not None:
            cost = self._books.terms[name].cost(usage, energy, self._usd_per_kwh)
        spent = self._charge(hold, ended, cost, energy)
        attempt = Attempt(
            candidate=name,
            outcome=ended.outcome,
            seconds=seconds,
            usage=usage if written else None,
            cost_usd=cost,
            energy=energy,
            error=None if ended.error is None else type(ended.error).__name__,
            cost_usd_high=spent.nano_usd / 1e9 if cost is None and spent.nano_usd else None,
            predicted_tokens=self._estimate(name).predicted_tokens if _is_plain(ask) else None,
            purpose=ask.purpose,
        )
        self._attempts.append((ask.place, attempt))
        self._busy_from.append((hold.started, hold.started + seconds))
        if usage is not None and ended.reply is not None and _is_plain(ask):
            self._read_by[name] = usage.input_tokens
        if usage is not None and written and not usage.estimated:
            self._learn(ask, usage, seconds, measured)
        self._free(hold, spent)
        return spent

    def _settle(self, hold: Hold, spent: Amounts) -> None:
        self._books.budgets.settle(hold.id, spent, self._accounts)

    async def _asettle(self, hold: Hold, spent: Amounts) -> None:
        if self._slow:
            await asyncio.shield(asyncio.wrap_future(_in_thread(lambda: self._settle(hold, spent))))
        else:
            self._settle(hold, spent)

    def _energy(self, name: str, usage: Usage | None) -> Energy | None:
        rates = self._books.terms[name].rates
        if usage is None or rates is None:
            return None
        return rates.of(usage)

    def _charge(
        self, hold: Hold, ended: Ended, cost: float | None, energy: Energy | None
    ) -> Amounts:
        """Return what the budgets are charged: the truth where it is known, else the most."""
        usage, reply = ended.usage, ended.reply
        if reply is None:  # refunded, but for what a stream has shown
            if ended.shown is None:
                return NOTHING
            return self._by_text(hold, ended.shown) if ended.shown else hold.most
        if usage is None or usage.estimated:
            # Calls of tools are no text, and nobody counts them for us.
            plain = hold.ask.replace or not (self._prompt.tools or self._prompt.schema is not None)
            return self._by_text(hold, reply.text) if plain and reply.text else hold.most
        if usage.free:
            return NOTHING
        wh = None if energy is None else energy.mid
        true = amounts(cost, wh, usage.input_tokens + usage.output_tokens)
        return Amounts(
            hold.most.nano_usd if cost is None else true.nano_usd,
            hold.most.micro_wh if wh is None else true.micro_wh,
            true.tokens,
            1,
        )

    def _by_text(self, hold: Hold, text: str) -> Amounts:
        """Return the most that an answer of this text can have taken: a token has a byte."""
        if self._most is None:
            return hold.most
        size, added = size_of(text) + TOKENS_AROUND, self._most.added(hold.ask.turns)
        shorter = self._most.amounts(hold.ask.candidate, size, added)
        return Amounts(*map(min, shorter, hold.most))

    def _estimate(self, name: str) -> Estimate:
        return next(e for e in self._decision.estimates if e.candidate == name)

    def _learn(self, ask: Ask, usage: Usage, seconds: float, measured: Energy | None) -> None:
        """Learn from an attempt; from one at another prompt only what energy a token takes."""
        name = ask.candidate
        if not _is_plain(ask):
            if measured is not None:
                self._books.experience.note(name, usage, None, energy=measured)
            return
        predicted = self._estimate(name).predicted_tokens
        repeated = repeated_tokens(self._prompt) if self._prompt.author == name else 0
        self._books.experience.note(
            name, usage, seconds, predicted=predicted, repeated=repeated, energy=measured
        )

    def _write(self, error: BaseException | None) -> None:
        ending: Ending = "answered"
        if error is not None or self.reply is None:
            ending = "failed" if error is None or isinstance(error, Exception) else "cancelled"
        seconds = self._clock() - self._started
        # In the order in which they were asked for: those of one step end in any.
        attempts = [attempt for _, attempt in sorted(self._attempts, key=itemgetter(0))]
        facts = Facts(
            prompt=self._prompt,
            decision=self._decision,
            attempts=tuple(attempts),
            verdicts=tuple(self._verdicts),
            read_by=self._read_by,
            reply=self.reply,
            ending=ending,
            started_at=self._started_at,
            seconds=self._decision.seconds + seconds,
            overhead_s=self._decision.seconds + max(0.0, seconds - self._busy()),
        )
        self.entry = make_entry(facts, self._books, self._usd_per_kwh)
        self._books.ledger.add(self.entry)

    def _busy(self) -> float:
        """Return the seconds in which attempts were made or waited for, each counted once."""
        busy, until = 0.0, -math.inf
        for began, ended in sorted(self._busy_from):
            busy += max(0.0, ended - max(began, until))
            until = max(until, ended)
        return busy

    def _tell(self) -> None:
        if self.entry is not None:
            trace(self.entry)
            self._told(self.entry)


def _is_plain(ask: Ask) -> bool:
    """Return whether the caller's own prompt is put, for which the predictions were made."""
    return ask.purpose == "answer" and not ask.turns


def _in_thread(work: Callable[[], T]) -> Future[T]:
    """Have work done in a thread of the event loop's; its end can be waited for from any thread."""
    done = Future[T]()

    def run() -> None:
        if done.set_running_or_notify_cancel():
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                done.set_exception(error)

    asyncio.get_running_loop().run_in_executor(None, copy_context().run, run)
    return done
