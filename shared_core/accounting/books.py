"""What a router keeps of money and energy: terms, experience, budgets, ledger.

In: candidates, and the budgets and ledger of the user. Out: estimates with cost and energy, who is
refused for want of a budget, and an `Account` for each call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shared_core.accounting.account import Account
from shared_core.accounting.budgets.bounds import Most
from shared_core.accounting.budgets.budget import Budgets, BudgetState
from shared_core.accounting.energy.meters import Meter
from shared_core.accounting.energy.shares import Shares
from shared_core.accounting.expected import expected, repeated_tokens
from shared_core.accounting.experience import Experience
from shared_core.accounting.ledger.ledger import Ledger
from shared_core.accounting.terms import Terms, terms_of
from shared_core.types import Candidate, Decision, Entry, Estimate, Prompt

__all__ = ["Books"]


@dataclass
class Books:
    """Shared by all copies of a router.

    Attributes:
        candidates: Completed ones.
        budgets: What may be spent.
        ledger: Where calls are written down.
        experience: What past calls teach about the next.
        clock: Unix time, in seconds.
        terms: What each candidate's tokens cost, by its name.
    """

    candidates: Sequence[Candidate]
    budgets: Budgets = field(default_factory=Budgets)
    ledger: Ledger = field(default_factory=Ledger)
    experience: Experience = field(default_factory=Experience)
    clock: Callable[[], float] = time.time
    terms: Mapping[str, Terms] = field(init=False)
    shares: Mapping[Meter, Shares] = field(init=False, repr=False)
    _last: tuple[Prompt, float, Most] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Look up what the candidates cost; learn from a ledger of earlier days."""
        self.terms = terms_of(self.candidates)
        meters = [terms.meter for terms in self.terms.values() if terms.meter is not None]
        self.shares = {meter: Shares(meter) for meter in meters}
        if self.ledger.path is not None and not self.experience:
            for name, terms in self.terms.items():
                past = self.ledger.past(name)
                self.experience.remember(past, measured=terms.meter is not None)

    def __deepcopy__(self, memo: object) -> Books:
        """Return the same: copies of a router spend the same money."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Take along what is written down elsewhere; another process measures for itself."""
        return type(self), (self.candidates, self.budgets, self.ledger)

    def with_parts(self, **changes: Any) -> Books:
        """Return books with other parts: candidates, budgets or a ledger."""
        if "candidates" in changes:
            changes.setdefault("experience", Experience())
        return replace(self, **changes)

    def expected(
        self, prompt: Prompt, estimates: Sequence[Estimate], usd_per_kwh: float
    ) -> tuple[Estimate, ...]:
        """Return the predictor's estimates with cost, energy and time."""
        cached = any(terms.tariff and terms.tariff.discounts_cache for terms in self.terms.values())
        repeated = repeated_tokens(prompt) if prompt.author is not None and cached else 0
        priced = [
            expected(
                estimate,
                candidate,
                self.terms[candidate.name],
                prompt,
                self.experience,
                usd_per_kwh,
                repeated,
            )
            for candidate, estimate in zip(self.candidates, estimates, strict=True)
        ]
        return _with_worst(priced)

    def most(self, prompt: Prompt, usd_per_kwh: float) -> Most | None:
        """Return what each candidate can take at most; None where no budget asks."""
        if not self.budgets:
            return None
        last = self._last  # the decision has worked it out for the calls that follow it
        if last is None or last[0] is not prompt or last[1] != usd_per_kwh:
            most = Most(prompt, self.budgets.budgets, self.terms, self.experience, usd_per_kwh)
            last = self._last = (prompt, usd_per_kwh, most)
        return last[2]

    def states(self, prompt: Prompt) -> tuple[BudgetState, ...]:
        """Return how full each budget is for this caller.

        Raises:
            StorageError: They cannot be read, and one of them is hard.
        """
        return self.budgets.states(prompt.scope) if self.budgets else ()

    def account(
        self,
        prompt: Prompt,
        decision: Decision,
        usd_per_kwh: float,
        told: Callable[[Entry], None],
    ) -> Account:
        """Begin the bookkeeping of one call; `told` is handed its entry when it has ended."""
        return Account(self, prompt, decision, usd_per_kwh, told)


def _with_worst(estimates: Sequence[Estimate]) -> tuple[Estimate, ...]:
    """Add the worst that is known of any to those of which nothing is."""
    if not any(e.cost_usd is None or e.energy_wh is None for e in estimates):
        return tuple(estimates)
    usd = max((e.cost_usd for e in estimates if e.cost_usd is not None), default=None)
    wh = max((e.energy_wh_high for e in estimates if e.energy_wh_high is not None), default=None)
    return tuple(
        replace(
            e,
            worst_usd=usd if e.cost_usd is None else None,
            worst_wh=wh if e.energy_wh is None else None,
        )
        if (e.cost_usd is None and usd is not None) or (e.energy_wh is None and wh is not None)
        else e
        for e in estimates
    )
