"""What is written down of a call: every attempt, and what the others would have come to.

In: the decision, every attempt, how the call ended. Out: one `Entry`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared_core.accounting.expected import energy_of, rates_of, repeated_tokens
from shared_core.types import (
    Alternative,
    Attempt,
    Decision,
    Ending,
    Energy,
    Entry,
    Prompt,
    Reply,
    Usage,
    Verdict,
)

if TYPE_CHECKING:
    from shared_core.accounting.books import Books

__all__ = ["Facts", "make_entry"]

_NOT_ASKED = ("resting", "refused")
_WHY = {
    "failed": "which failed",
    "cancelled": "which was cancelled",
    "dropped": "whose draft was broken off",
    "resting": "which rests",
    "refused": "for which a budget had no room",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """How a call went; see `Entry`.

    `read_by` has the input tokens of the caller's own prompt, with nothing said besides it, as each
    model that read it has counted them.
    """

    prompt: Prompt
    decision: Decision
    attempts: tuple[Attempt, ...]
    reply: Reply | None
    ending: Ending
    started_at: float
    seconds: float
    overhead_s: float
    verdicts: tuple[Verdict, ...] = ()
    read_by: Mapping[str, int] = field(default_factory=dict)


def make_entry(facts: Facts, books: Books, usd_per_kwh: float) -> Entry:
    """Record one call.

    Args:
        facts: How it went.
        books: What the candidates cost.
        usd_per_kwh: What a kWh costs, in USD, for what runs locally.
    """
    decision, prompt = facts.decision, facts.prompt
    answered_by = decision.candidate if facts.reply is None else facts.reply.candidate
    answers = [a for a in _drafts(facts) if a.outcome == "answered" and a.candidate == answered_by]
    answer = answers[-1] if answers else None
    read_by = facts.read_by
    read = read_by.get(answered_by) or next(iter(read_by.values()), prompt.tokens)
    repeated = repeated_tokens(prompt)
    if repeated and prompt.tokens:  # as a share of what was really read
        repeated = min(read, round(repeated * read / prompt.tokens))
    keeps = books.ledger.keep_text
    return Entry(
        decision_id=decision.id,
        candidate=answered_by,
        reason=_reason(facts, answered_by),
        calibrated=decision.calibrated,
        attempts=facts.attempts,
        cost_usd=_total(attempt.cost_usd for attempt in facts.attempts),
        energy=_energy(facts.attempts),
        outcome=facts.ending,
        chosen=decision.wanted or decision.candidate,
        shadow=decision.wanted is not None,
        scope=prompt.scope,
        started_at=facts.started_at,
        seconds=facts.seconds,
        overhead_s=facts.overhead_s,
        delta=decision.delta,
        prompt_hash=_hash(prompt),
        prompt_text=prompt.text if keeps else None,
        answer_text=facts.reply.text if keeps and facts.reply is not None else None,
        lost_cache_usd=_lost(prompt, answer, repeated, books),
        alternatives=tuple(_alternatives(decision, books, read, repeated, usd_per_kwh)),
        verdicts=facts.verdicts,
    )


def _drafts(facts: Facts) -> list[Attempt]:
    """Return the attempts at an answer: a check is never one."""
    return [attempt for attempt in facts.attempts if attempt.purpose == "answer"]


def _reason(facts: Facts, answered_by: str) -> str:
    chosen, reason = facts.decision.candidate, facts.decision.reason
    judged = "" if facts.reply is None else _judged(facts.verdicts, answered_by)
    if judged:
        reason = f"{answered_by} answers: {judged}; {reason}"
    outcomes = {attempt.candidate: attempt.outcome for attempt in _drafts(facts)}
    outcome = outcomes.get(chosen, "answered")
    if answered_by == chosen or (judged and outcome in ("answered", "dropped")):
        return reason
    why = _WHY.get(outcome, "by the strategy's choice")
    return f"{answered_by} stepped in for {chosen}, {why}; {reason}"


def _judged(verdicts: Iterable[Verdict], answered_by: str) -> str:
    """Say what was made of each draft: the last verdict counts that could tell anything."""
    last: dict[str, Verdict] = {}
    for verdict in verdicts:
        known = last.get(verdict.candidate)
        if known is None or verdict.probability is not None or known.probability is None:
            last[verdict.candidate] = verdict
    return ", ".join(_concluded(verdict, answered_by) for verdict in last.values())


def _concluded(verdict: Verdict, answered_by: str) -> str:
    """Say a verdict; one on no draft is a strategy's own word."""
    name, chance = verdict.candidate, verdict.probability
    if not name:
        return verdict.note
    whose = "its draft" if name == answered_by else f"the draft of {name}"
    return f"{whose} " + (
        "could not be judged" if chance is None else f"has a probability of {chance:.2f}"
    )


def _alternatives(
    decision: Decision, books: Books, read: int, repeated: int, usd_per_kwh: float
) -> Iterator[Alternative]:
    for estimate in decision.estimates:
        name = estimate.candidate
        terms, cost, energy = books.terms[name], None, None
        if estimate.output_tokens is not None:
            cached = 0
            if repeated and terms.tariff is not None and terms.tariff.discounts_cache:
                cached = round(repeated * books.experience.cached_share(name, repeated))
            usage = Usage(read, estimate.output_tokens, cached)
            energy = energy_of(usage, rates_of(name, terms, books.experience))
            cost = terms.cost(usage, energy, usd_per_kwh)
        yield Alternative(name, estimate.quality, terms.local, cost, energy)


def _lost(prompt: Prompt, answer: Attempt | None, repeated: int, books: Books) -> float:
    """Return USD that the answering model's own cache would have saved, had it been warm."""
    if answer is None or answer.usage is None or answer.usage.estimated or not repeated:
        return 0.0
    name, usage = answer.candidate, answer.usage
    tariff = books.terms[name].tariff
    if prompt.author in (None, name) or tariff is None or not tariff.discounts_cache:
        return 0.0
    cached = round(repeated * books.experience.cached_share(name, repeated))
    if cached <= usage.cached_tokens:
        return 0.0
    warm = Usage(usage.input_tokens, usage.output_tokens, cached, 0, usage.reasoning_tokens)
    return max(0.0, tariff.cost(usage) - tariff.cost(warm))


def _hash(prompt: Prompt) -> str:
    """Return 128 bits of SHA-256 over roles and texts."""
    digest = hashlib.sha256()
    for turn in prompt.turns:
        text = turn.text.encode("utf-8", "surrogatepass")
        digest.update(b"%s %d " % (turn.role.encode(), len(text)))  # no text looks like two turns
        digest.update(text)
    return digest.hexdigest()[:32]


def _total(shares: Iterable[float | None]) -> float | None:
    total = 0.0
    for share in shares:
        if share is None:
            return None
        total += share
    return total


def _energy(attempts: Iterable[Attempt]) -> Energy | None:
    total = None
    for attempt in attempts:
        if attempt.outcome in _NOT_ASKED:
            continue
        if attempt.energy is None:
            return None
        total = attempt.energy if total is None else total + attempt.energy
    return total
