"""The books as a whole: shared by copies, renewed with other candidates, carried elsewhere."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path

from shared_core import Policy
from shared_core.accounting.budgets.budget import Budget, Budgets
from shared_core.accounting.budgets.stores import NOTHING
from shared_core.accounting.ledger.ledger import Ledger
from tests.fakes.core import candidate, prompt
from tests.fakes.spending import Metered, prepared, router, standing

ONE = Metered({"a": ["x"]})


class Joules:
    """A meter that counts on by a Wh each time it is read."""

    method, spread = "measured", (0.9, 1.1)

    def __init__(self) -> None:
        self.counted = 0.0

    def joules(self) -> float:
        self.counted += 3600.0
        return self.counted


def test_copies_of_a_router_spend_the_same_money() -> None:
    llm = router(Budget(calls=5))
    other = replace(llm, policy=Policy(quality=0.5))
    for each in (llm, other, copy.copy(llm), copy.deepcopy(llm)):
        each.answer(prompt(), each.decide(prompt()), ONE)
    assert standing(llm).spent.calls == 4
    assert len(llm.books.ledger) == 4


def test_other_candidates_bring_their_own_terms_and_begin_without_experience() -> None:
    books = router(Budget(calls=5)).books
    renewed = books.with_parts(candidates=prepared(candidate("z", price=(7, 7))))
    assert set(renewed.terms) == {"z"}
    assert renewed.experience is not books.experience
    assert renewed.budgets is books.budgets
    other = books.with_parts(ledger=Ledger())
    assert other.experience is books.experience
    assert other.ledger is not books.ledger


def test_only_what_waits_is_slow(tmp_path: Path) -> None:
    assert not Budgets(Budget(usd=1)).slow
    assert Budgets(Budget(usd=1), store=tmp_path / "budgets.db").slow
    assert not Budgets(store=tmp_path / "budgets.db").slow  # without a budget nobody asks it
    assert not Ledger().slow
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.slow


def test_another_process_has_the_same_limits_and_its_own_spending() -> None:
    llm = router(Budget(calls=5))
    llm.answer(prompt(), llm.decide(prompt()), ONE)
    books = pickle.loads(pickle.dumps(llm.books))  # noqa: S301
    assert books.budgets.budgets == llm.books.budgets.budgets
    (state,) = books.states(prompt())
    assert state.standing.spent == NOTHING


def test_without_budgets_nothing_is_bounded_or_asked() -> None:
    books = router().books
    assert books.most(prompt(), 0.0) is None
    assert books.states(prompt()) == ()


def test_what_runs_on_a_meter_is_charged_and_learned_from_what_it_counts() -> None:
    meter = Joules()
    llm = router(
        Budget(wh=100, unknown="worst"),
        among=[candidate("a", local=True, energy=meter), candidate("b", energy=(9, 9), local=True)],
        policy=Policy(usd_per_kwh=0.5),
    )
    decision = llm.decide(prompt(), "a")
    assert decision.estimates[0].energy_method == "assumed until it is measured"
    for _ in range(3):
        entry = llm.answer(prompt(), decision, ONE).entry
    assert entry.energy is not None
    assert (entry.energy.low, entry.energy.mid, entry.energy.high) == (0.9, 1.0, 1.1)
    assert entry.cost_usd == 0.5 / 1000
    assert standing(llm).spent.micro_wh == 3 * 10**6
    learned = llm.decide(prompt(), "a").estimates[0]
    assert learned.energy_wh is not None
    assert learned.energy_method is not None
    assert learned.energy_method.startswith("measured, learned from 3+ calls")
