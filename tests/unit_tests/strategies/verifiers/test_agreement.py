"""Whether the same candidate says the same again."""

from __future__ import annotations

from typing import Any

import pytest

from shared_core.errors import BudgetExceededError, ConfigurationError
from shared_core.strategies.verifiers.agreement import Agreement
from tests.fakes.verifying import ODD_TEXTS, Scripted, draft

AGREED = ["It is 6 * 2 = 12.", "\\boxed{12}", "The answer is 12."]


def test_it_asks_the_drafts_own_candidate_side_by_side() -> None:
    driven = Scripted(AGREED)
    said = driven.verdict(Agreement(), draft("So the answer is 12.", prior=0.5))
    assert len(driven.asks) == 3
    for ask in driven.asks:
        assert (ask.candidate, ask.visible, ask.purpose) == ("small", False, "check")
    # A cache would take samples that are asked for alike for one.
    assert [ask.params["temperature"] for ask in driven.asks] == [0.7, 0.6999993, 0.6999986]
    assert said.probability == pytest.approx((2 * 0.5 + 3) / 5)
    assert said.note == "3 of 3 say the same"


def test_the_share_is_pulled_towards_the_prior() -> None:
    script = ["12", "13", "14"]
    said = Scripted(script).verdict(Agreement(), draft("12", prior=0.9))
    assert said.probability == pytest.approx((2 * 0.9 + 1) / 5)


def test_failed_samples_are_left_out() -> None:
    some = Scripted(["12", ConnectionError(), "12"]).verdict(Agreement(), draft("12"))
    assert some.probability == pytest.approx((2 * 0.5 + 2) / 4)
    script = ["12", ConnectionError(), TimeoutError()]
    few = Scripted(script).verdict(Agreement(same=lambda a, b: True), draft("12"))
    assert (few.probability, few.note) == (None, "1 of 3 could be compared")


def test_samples_that_a_budget_refuses_side_by_side_are_drawn_one_by_one() -> None:
    full = BudgetExceededError("1 USD", {"USD": 0.0}, None)
    driven = Scripted(["12", full, full, "12", full])
    said = driven.verdict(Agreement(), draft("12"))
    assert said.note == "2 of 2 say the same"
    assert [ask.params["temperature"] for ask in driven.asks[3:]] == [0.6999993, 0.6999986]


def test_what_cannot_be_compared_is_not_asked_for() -> None:
    driven = Scripted()
    said = driven.verdict(Agreement(), draft("An essay has many words. " * 40))
    assert said.probability is None
    assert driven.asks == []


def test_samples_that_cannot_be_compared_are_left_out() -> None:
    said = Scripted(["12", "I had rather not say what it may be.", "12"]).verdict(
        Agreement(), draft("12")
    )
    assert said.note == "2 of 2 say the same"


def test_the_users_own_comparison() -> None:
    longer = Agreement(samples=2, same=lambda a, b: len(a) <= len(b))
    said = Scripted(["abcd", "a"]).verdict(longer, draft("An essay"[:3], prior=0.5))
    assert said.note == "1 of 2 say the same"

    def fails(a: str, b: str) -> bool:
        raise KeyError(a)

    none = Scripted(["a", "b"]).verdict(Agreement(samples=2, same=fails), draft("a"))
    assert none.probability is None


@pytest.mark.parametrize(
    "wrong",
    [
        *({"samples": n} for n in (0, 1, 21, True, 2.0, None)),
        *({"temperature": t} for t in (0, -1, 3, "hot", float("nan"))),
        {"same": "same"},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Agreement(**wrong)


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_any_text_is_borne(text: str) -> None:
    said = Scripted([text, text]).verdict(Agreement(samples=2), draft(text))
    assert said.probability in (None, 0.75)
    assert Scripted([text, text]).verdict(Agreement(samples=2), draft("12")).verifier == "agreement"
