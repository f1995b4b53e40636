"""What a ledger of earlier days teaches a router that has just begun."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from shared_core import (
    Budget,
    Budgets,
    Ledger,
    NoCandidateError,
    Policy,
    Router,
    max_cost_usd,
    max_energy_wh,
    measured,
)
from shared_core.accounting.books import Books
from shared_core.decision.candidates import prepare_candidates
from shared_core.types import Ask, Candidate, Reply, Usage
from tests.fakes.core import FakeTransport, FixedPredictor, prompt


@dataclass
class Talks(FakeTransport):
    """Answers with a known usage."""

    def send(self, ask: Ask) -> Reply:
        return Reply(ask.candidate, native="yes", text="yes", usage=Usage(10, 400))


@dataclass(frozen=True)
class Meter:
    """Counts a Wh a reading."""

    readings: list[float]
    method: str = "measured (test)"
    spread: tuple[float, float] = (1.0, 1.0)

    def joules(self) -> float:
        self.readings.append(0.0)
        return 3600.0 * len(self.readings)

    def __hash__(self) -> int:
        return id(self)


def router(path: Path | None, meter: Meter | None = None) -> Router:
    given = [Candidate("a", None, price=(1, 1), energy=meter), Candidate("b", None)]
    candidates = prepare_candidates(given, lambda c: (None, {}))
    predictor = FixedPredictor({"a": 0.9, "b": 0.8}, output_tokens=100)
    return Router(candidates, predictor=predictor, books=Books(candidates, ledger=Ledger(path)))


def test_lengths_of_answers_and_measured_energy_survive_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    first = router(file, Meter([]))
    assert first.decide(prompt()).estimates[0].output_tokens == 100
    for _ in range(20):
        first.answer(prompt(), first.decide(prompt()), Talks({}))
    learned = first.decide(prompt()).estimates[0]
    first.books.ledger.close()
    again = router(file, Meter([])).decide(prompt()).estimates[0]
    assert again.output_tokens == learned.output_tokens
    assert learned.output_tokens is not None
    assert learned.output_tokens > 300
    assert again.energy_wh == pytest.approx(learned.energy_wh)
    assert again.latency_s is None  # another day's times say nothing of today's


def test_energy_that_was_declared_is_not_learned_as_if_measured(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    given = [Candidate("a", None, energy=(1000, 1000))]
    candidates = prepare_candidates(given, lambda c: (None, {}))
    first = Router(
        candidates,
        predictor=FixedPredictor({"a": 0.9}),
        books=Books(candidates, ledger=Ledger(file)),
    )
    for _ in range(5):
        first.answer(prompt(), first.decide(prompt()), Talks({}))
    first.books.ledger.close()
    later = router(file)
    assert later.books.experience.energy_rates("a") is None
    assert later.decide(prompt()).estimates[0].energy_wh is None


def test_the_less_a_machine_can_draw_the_less_is_held_until_it_is_measured() -> None:
    given = [Candidate("a", None, local=True, energy=measured(20)), Candidate("b", None)]
    candidates = prepare_candidates(given, lambda c: (None, {}))
    predictor = FixedPredictor({"a": 0.9, "b": 0.1})

    def told(wh: float) -> str:
        llm = Router(
            candidates, predictor=predictor, books=Books(candidates, Budgets(Budget(wh=wh)))
        )
        try:
            return llm.decide(prompt()).candidate
        except NoCandidateError as error:
            return str(error)

    assert told(5) == "a"
    assert "its energy is yet to be measured, energy=(input, output) would" in told(0.01)


@pytest.mark.parametrize("budget", [Budget(usd=1, per="day"), Budget(wh=100, per="day")])
def test_a_budget_lets_a_model_be_measured_in_the_first_place(budget: Budget) -> None:
    given = [Candidate("a", None, local=True, energy=Meter([]))]
    candidates = prepare_candidates(given, lambda c: (None, {}))
    llm = Router(
        candidates,
        policy=Policy(usd_per_kwh=0.3),
        predictor=FixedPredictor({"a": 0.9}),
        books=Books(candidates, Budgets(budget)),
    )
    for _ in range(3):
        llm.answer(prompt(), llm.decide(prompt()), Talks({}))
    (state,) = llm.books.budgets.states(prompt().scope)
    spent, held = state.standing
    assert held.calls == 0
    assert spent.micro_wh == pytest.approx(3e6)  # 1 Wh between two readings
    assert spent.nano_usd == pytest.approx(3 * 0.3e-3 * 1e9)
    assert llm.decide(prompt()).estimates[0].energy_wh is not None


def test_constraints_let_a_model_be_measured_in_the_first_place() -> None:
    given = [Candidate("a", None, local=True, energy=measured(20)), Candidate("b", None)]
    candidates = prepare_candidates(given, lambda c: (None, {}))
    llm = Router(
        candidates,
        policy=Policy(usd_per_kwh=0.3, subject_to=[max_cost_usd(0.01), max_energy_wh(1)]),
        predictor=FixedPredictor({"a": 0.9, "b": 0.9}),
    )
    first = llm.decide(prompt()).estimates[0]
    assert llm.decide(prompt()).candidate == "a"
    assert first.energy_method == "assumed until it is measured"
    assert first.energy_wh_low == 0
    answer = llm.answer(prompt(), llm.decide(prompt()), Talks({}))
    (alternative, _) = answer.entry.alternatives
    assert alternative.energy is None  # what is assumed is no baseline
