"""The spine: the whole way of a routed call.

    prompt → estimates → decision → calls → reply → entry

A skin (LangChain, LlamaIndex) makes a `Prompt` out of its own messages, calls `decide`, then one
of `answer`, `aanswer`, `stream`, `astream` with a `Transport` that knows those messages, and hands
the answer back with the entry stamped on it. Nothing here knows a framework.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from typing import Any

from shared_core.accounting.account import Account
from shared_core.accounting.books import Books
from shared_core.accounting.budgets.bounds import Shortage
from shared_core.accounting.budgets.budget import BudgetState
from shared_core.decision.capabilities import missing_capability
from shared_core.decision.constraints import broken_constraint, time_limit
from shared_core.decision.flips import flips
from shared_core.decision.loops import Course, is_in_loop, next_in_loop, phase_of
from shared_core.decision.policy import Contender, Policy, Threshold
from shared_core.decision.reasoning import reasons
from shared_core.errors import (
    ConfigurationError,
    NoCandidateError,
    RouterError,
    UnknownCandidateError,
)
from shared_core.execution import drivers
from shared_core.execution.deadline import Deadline
from shared_core.execution.guard import Guard
from shared_core.execution.health import Cooldown, Health
from shared_core.execution.run import Caller, Run, Transport
from shared_core.execution.tally import Tally
from shared_core.prediction.base import Predictor
from shared_core.prediction.fallback import FallbackPredictor
from shared_core.ranges import is_whole
from shared_core.strategies.base import Strategy
from shared_core.strategies.single import Single
from shared_core.types import (
    Answer,
    Candidate,
    Constraint,
    Decision,
    Detail,
    Estimate,
    Prompt,
    Refusal,
)

__all__ = ["Router"]


def _new_id() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Router:
    """Decides which candidate answers, has it called, and writes down how it came about.

    Attributes:
        candidates: Completed by `prepare_candidates`, weakest first.
        policy: The trade-off.
        predictor: Tells, before any call, how well each candidate would do.
        strategy: Turns a decision into calls.
        max_retries: Most further attempts after the first one; None for as many as there are
            allowed candidates.
        max_attempts: Most attempts of a call, failed ones and those of calls inside it too (of a
            router that is itself a candidate): a limit that strategies should not come near.
        health: How the candidates have been doing; shared by the copies of a router.
        books: Of money and energy: prices, budgets, ledger; shared by the copies of a router. None:
            of these candidates, without budgets, with a ledger in memory.
        shadow: The candidate that always answers, while what would have been chosen is noted.
        new_id: Makes the id of a decision.
        threshold: What the policy's promise comes to, with what the predictor knows of the traffic.
    """

    candidates: tuple[Candidate, ...]
    policy: Policy = field(default_factory=Policy)
    predictor: Predictor = field(default_factory=FallbackPredictor)
    strategy: Strategy = field(default_factory=Single)
    max_retries: int | None = None
    max_attempts: int = 100
    health: Health = field(default_factory=lambda: Health(Cooldown()))
    books: Books = None  # type: ignore[assignment]
    shadow: str | None = None
    new_id: Callable[[], str] = _new_id
    threshold: Threshold = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse parts that cannot do their work.

        Raises:
            ConfigurationError: A part is of the wrong kind.
            NotCalibratedError: The policy needs a calibration.
        """
        for name, wanted in (("predictor", "predict"), ("strategy", "steps")):
            part = getattr(self, name)
            if isinstance(part, type) or not callable(getattr(part, wanted, None)):
                hint = "; give an instance of it" if isinstance(part, type) else ""
                raise ConfigurationError(
                    f"{name} must have a method {wanted!r}, not be {part!r}{hint}"
                )
        if not isinstance(self.policy, Policy):
            raise ConfigurationError(f"policy must be a Policy(...), not {self.policy!r}")
        retries = self.max_retries
        if retries is not None and not is_whole(retries, 0):
            raise ConfigurationError(f"max_retries must be 0 or more, not {self.max_retries!r}")
        if not is_whole(self.max_attempts, 1):
            raise ConfigurationError(f"max_attempts must be 1 or more, not {self.max_attempts!r}")
        if self.books is None:
            object.__setattr__(self, "books", Books(self.candidates))
        if self.shadow is not None and self.shadow not in self._by_name:
            raise ConfigurationError(
                f"shadow names no candidate: {self.shadow!r}; there are: {', '.join(self._by_name)}"
            )
        self._know(getattr(self.strategy, "names", ()))
        object.__setattr__(self, "threshold", self._threshold())

    def _know(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._by_name:
                known = ", ".join(self._by_name)
                raise ConfigurationError(
                    f"the strategy names no candidate: {name!r}; there are: {known}"
                )

    def __getitem__(self, name: str) -> Candidate:
        """Return the candidate of that name."""
        candidate = self._by_name.get(name) if isinstance(name, str) else None
        if candidate is None:
            raise UnknownCandidateError(name, list(self._by_name))
        return candidate

    @cached_property
    def _by_name(self) -> Mapping[str, Candidate]:
        return {candidate.name: candidate for candidate in self.candidates}

    @cached_property
    def _reasoners(self) -> frozenset[str]:
        return frozenset(candidate.name for candidate in self.candidates if reasons(candidate))

    @cached_property
    def _windows(self) -> Mapping[str, int]:
        return {c.name: c.context_window for c in self.candidates if c.context_window is not None}

    @cached_property
    def _overlaps(self) -> Mapping[tuple[str, str], float]:
        """What candidates have in common; told once, and only for a strategy that asks."""
        needed = getattr(self.strategy, "needs_overlaps", False)
        sample = getattr(self.predictor, "sample", None) if needed else None
        if sample is None:
            return {}
        from shared_core.decision.overlaps import overlaps

        return overlaps(sample, list(self._by_name))

    def decide(self, prompt: Prompt, force: str | None = None) -> Decision:
        """Choose who answers; no model is called.

        Args:
            prompt: What is asked.
            force: The name of a candidate that must answer. It is held to every constraint.

        Raises:
            UnknownCandidateError: `force` names no candidate.
            NoCandidateError: Every candidate is refused; carries each refusal.
            BudgetExceededError: So it is, and for some of them it is a budget that has no room.
            StorageError: A budget cannot be read.
            RouterError: The predictor does not tell how well each candidate would do.
        """
        started = time.perf_counter()
        asked = prompt.scope.pin if force is None else force
        estimates = self._estimates(prompt)
        contenders = list(zip(self.candidates, estimates, strict=True))
        if asked is not None:
            chosen = self[asked]
            contenders = [c for c in contenders if c[0] is chosen]
        states = self.books.states(prompt)
        refusals, short = self._refusals(prompt, contenders, states)
        refused = {refusal.candidate for refusal in refusals}
        allowed = [c for c in contenders if c[0].name not in refused]
        if not allowed:
            raise _nobody(refusals, next(iter(short.values()), None))
        delta, thrift = self._delta(states)
        course = None
        if prompt.loop or prompt.in_tool_loop:
            course = Course(prompt.loop, lambda: self.policy.order(allowed, delta)[0][0][0].name)
            estimates = course.weighed(estimates)
            by_name = {estimate.candidate: estimate for estimate in estimates}
            allowed = [(candidate, by_name[candidate.name]) for candidate, _ in allowed]
        awake, resting = self._awake(allowed)
        order, reason = self._order(prompt, awake or allowed, delta, course)
        if asked is not None:
            reason = f"{asked} {'is pinned' if force is None else 'was asked for by name'}"
        names = [candidate.name for candidate, _ in order]
        names += [rest.candidate for rest in resting if rest.candidate not in names]
        decision = Decision(
            id=self.new_id(),
            candidate=names[0],
            reason="; ".join([reason, *thrift, *(f"{r.candidate} {r.reason}" for r in resting)]),
            calibrated=self.threshold.calibrated,
            estimates=estimates,
            refusals=refusals,
            fallbacks=tuple(names[1 : None if self.max_retries is None else 1 + self.max_retries]),
            allowed=tuple(candidate.name for candidate, _ in awake or allowed),
            reasoners=self._reasoners,
            resting=resting,
            predictor=self.predictor.name,
            delta=delta,
            calibration=self.threshold.note,
            windows=self._windows,
            overlaps=self._overlaps,
            seconds=time.perf_counter() - started,
            phase=phase_of(prompt, course),
        )
        if self.shadow is not None and asked is None:
            if self.shadow in refused:
                own = [refusal for refusal in refusals if refusal.candidate == self.shadow]
                raise _nobody(own, short.get(self.shadow))
            decision = self._in_shadow(decision, self.shadow)
        return decision

    def explain(
        self, prompt: Prompt, force: str | None = None, *, detail: bool = False
    ) -> Decision:
        """Decide, and say what the strategy makes of it.

        Args:
            prompt: What is asked.
            force: The name of a candidate that must answer.
            detail: Also say what moved the estimates and what would have changed the choice.

        Raises:
            Exception: As `decide`.
        """
        decision = self.decide(prompt, force)
        plan = getattr(self.strategy, "plan", None)
        if plan is not None:
            decision = replace(decision, plan=plan(prompt, decision))
        return self._detailed(prompt, decision, force) if detail else decision

    def _detailed(self, prompt: Prompt, decision: Decision, force: str | None) -> Decision:
        everyone = list(zip(self.candidates, decision.estimates, strict=True))
        asked = prompt.scope.pin if force is None else force
        # Constraints may count: whoever was looked at for the decision is not looked at again.
        others = [c for c in everyone if asked is not None and c[0].name != asked]
        states = self.books.states(prompt) if others else ()
        refusals = (*decision.refusals, *self._refusals(prompt, others, states)[0])
        refused = {refusal.candidate for refusal in refusals}
        allowed = [c for c in everyone if c[0].name not in refused]
        would = flips(self.policy, allowed, decision.delta)
        first = self.policy.order(allowed, decision.delta)[0][0][0].name
        if first != decision.candidate:
            would = (f"{first} would answer by the policy alone", *would)
        moved = getattr(self.predictor, "contributions", None)
        parts = {c.name: tuple(moved(prompt, c)) for c in self.candidates} if moved else {}
        return replace(decision, detail=Detail(parts, would))

    async def adecide(self, prompt: Prompt, force: str | None = None) -> Decision:
        """Do the same without blocking.

        A prompt too long to predict inline goes to a thread; so do budgets kept on a disk or behind
        a network.
        """
        short = sum(len(turn.text) for turn in prompt.turns) <= self.predictor.inline_chars
        if short and not self.books.budgets.slow:
            return self.decide(prompt, force)
        return await asyncio.to_thread(self.decide, prompt, force)

    def answer(self, prompt: Prompt, decision: Decision, transport: Transport) -> Answer:
        """Have the decision carried out; return the reply and its entry.

        Raises:
            Exception: What the strategy raises when no candidate answers.
        """
        with self._account(prompt, decision, transport) as account:
            run = Run(self.strategy.steps(prompt, decision), decision)
            drivers.answer(run, self._guarded(prompt, transport, account))
            account.reply = run.result
        return _answered(account)

    async def aanswer(self, prompt: Prompt, decision: Decision, transport: Transport) -> Answer:
        """Do the same on the event loop."""
        async with self._account(prompt, decision, transport) as account:
            run = Run(self.strategy.steps(prompt, decision), decision)
            await drivers.aanswer(run, self._guarded(prompt, transport, account))
            account.reply = run.result
        return _answered(account)

    def stream(
        self, prompt: Prompt, decision: Decision, transport: Transport
    ) -> Generator[Any | Answer, None, None]:
        """Have the decision carried out; yield the answer's chunks, and last the `Answer`."""
        with self._account(prompt, decision, transport) as account:
            run = Run(self.strategy.steps(prompt, decision), decision)
            yield from drivers.stream(run, self._guarded(prompt, transport, account))
            account.reply = run.result
        yield _answered(account)

    async def astream(
        self, prompt: Prompt, decision: Decision, transport: Transport
    ) -> AsyncGenerator[Any | Answer, None]:
        """Do the same on the event loop."""
        async with self._account(prompt, decision, transport) as account:
            run = Run(self.strategy.steps(prompt, decision), decision)
            chunks = drivers.astream(run, self._guarded(prompt, transport, account))
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
            account.reply = run.result
        yield _answered(account)

    def _estimates(self, prompt: Prompt) -> tuple[Estimate, ...]:
        predicted = tuple(self.predictor.predict(prompt, self.candidates))
        if len(predicted) != len(self.candidates):
            raise RouterError(
                f"the predictor {self.predictor.name!r} gave {len(predicted)} estimates "
                f"for {len(self.candidates)} candidates"
            )
        for estimate in predicted:
            if not 0 <= estimate.quality <= 1:  # NaN neither
                raise RouterError(
                    f"the predictor {self.predictor.name!r} gave {estimate.candidate!r} the "
                    f"quality {estimate.quality!r}, which is no number from 0 to 1"
                )
        return self.books.expected(prompt, predicted, self.policy.usd_per_kwh)

    def _threshold(self) -> Threshold:
        # Only predictors that have learned carry a sample, and only then numpy is needed.
        sample = getattr(self.predictor, "sample", None)
        if sample is None:
            return Threshold(self.policy.delta(), False, "nothing has been calibrated")
        from shared_core.decision.calibration import threshold

        return threshold(self.policy, self.candidates, sample)

    def _refusals(
        self,
        prompt: Prompt,
        contenders: Sequence[Contender],
        states: Sequence[BudgetState],
    ) -> tuple[tuple[Refusal, ...], Mapping[str, BudgetState]]:
        """Return who is refused and why, and by their names the budgets that have no room."""
        rules = self._constraints(prompt)
        refusals: list[Refusal] = []
        short: dict[str, BudgetState] = {}
        most = self.books.most(prompt, self.policy.usd_per_kwh)
        for candidate, estimate in contenders:
            reason = missing_capability(candidate, prompt) or broken_constraint(
                rules, prompt, candidate, estimate
            )
            if reason is None and most is not None:
                longest = most.longest(candidate, estimate, states)
                if isinstance(longest, Shortage):
                    reason = longest.reason
                    if longest.state is not None:
                        short[candidate.name] = longest.state
            if reason is not None:
                refusals.append(Refusal(candidate.name, reason))
        return tuple(refusals), short

    def _delta(self, states: Sequence[BudgetState]) -> tuple[float, Sequence[str]]:
        """Return δ, raised step by step to 1 while a budget nears its end, and a word on that."""
        delta = self.threshold.delta
        most, fullest = max(
            ((s.pressure, s) for s in states), key=itemgetter(0), default=(0.0, None)
        )
        if fullest is None or not most:
            return delta, ()
        raised = delta + (1.0 - delta) * most
        return raised, (
            f"{fullest.used:.0%} of {fullest.budget} is used or held, so δ is {raised:.2f} and "
            f"not {delta:.2f}",
        )

    def _in_shadow(self, decision: Decision, name: str) -> Decision:
        """Have the named candidate answer, and nobody else."""
        reason = f"{name} answers in shadow mode; {decision.candidate} would: {decision.reason}"
        wanted = decision.candidate
        return replace(
            decision,
            candidate=name,
            reason=reason,
            fallbacks=(),
            allowed=(name,),
            wanted=wanted,
        )

    def _constraints(self, prompt: Prompt) -> Sequence[Constraint]:
        return (*self.policy.subject_to, *prompt.scope.subject_to)

    def _awake(self, allowed: Sequence[Contender]) -> tuple[list[Contender], tuple[Refusal, ...]]:
        """Part those who are well from those who are let rest, the first to wake first."""
        rests = {candidate.name: self.health.rest_of(candidate.name) for candidate, _ in allowed}
        awake = [c for c in allowed if rests[c[0].name] is None]
        if len(awake) == len(allowed):
            return awake, ()
        resting = sorted(
            ((name, rest) for name, rest in rests.items() if rest is not None),
            key=lambda item: item[1].seconds,
        )
        return awake, tuple(Refusal(name, rest.reason) for name, rest in resting)

    def _order(
        self, prompt: Prompt, allowed: Sequence[Contender], delta: float, course: Course | None
    ) -> tuple[list[Contender], str]:
        if course is not None and is_in_loop(prompt) and self.policy.stay_in_tool_loop:
            return next_in_loop(self.policy, allowed, delta, prompt, course)
        return self.policy.order(allowed, delta)

    def _account(self, prompt: Prompt, decision: Decision, transport: Transport) -> Account:
        rate = self.policy.usd_per_kwh
        return self.books.account(prompt, decision, rate, transport.recorded)

    def _guarded(self, prompt: Prompt, transport: Transport, account: Account) -> Caller:
        deadline = Deadline(time_limit(self._constraints(prompt)))
        tally = Tally(self.max_attempts)
        return Guard(transport, account, self.health, deadline, tally=tally)


def _nobody(refusals: Sequence[Refusal], full: BudgetState | None) -> NoCandidateError:
    """Return the error that says why nobody may answer."""
    return NoCandidateError(refusals) if full is None else full.error(refusals)


def _answered(account: Account) -> Answer:
    if account.reply is None or account.entry is None:
        raise RuntimeError("the strategy returned no reply")
    return Answer(account.reply, account.entry)
