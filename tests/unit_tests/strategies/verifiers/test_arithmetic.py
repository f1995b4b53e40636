"""Sums of an answer, computed again: what is read, what is left alone, and what it costs."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_core.strategies.verifiers.arithmetic import Arithmetic, Calculation, calculations
from tests.fakes.verifying import ODD_TEXTS, draft, verdict


def equations(text: str) -> tuple[int, int]:
    """How many of a text's equations are right, and how many wrong."""
    found = calculations(text)
    return sum(one.right for one in found), sum(not one.right for one in found)


@pytest.mark.parametrize(
    "text",
    [
        "3 * 4 = 12",
        "3×4=12",  # noqa: RUF001
        "12 ÷ 4 − 1 = 2",  # noqa: RUF001
        "9 x $2 = $18 per day",
        "so $9 * $2 = $<<9*2=18>>18.",
        r"\( \frac{6}{2} \times 5 = 15 \)",
        r"\\frac{6}{2} \\cdot 5 = 15\n\nThe answer",  # as JSON writes it
        r"\[ 3 + 4 = \boxed{7} \]",
        r"\text{total} = 3 + 4 = 7 \text{ eggs}",
        "(1,200 - 300) / 3 = 300",
        "She has (3 + 4 = 7) eggs",
        "2(3 + 4) = 14",
        "5 - -3 = 8",
        "- 3 + 4 = 7",  # an item of a list
        "1. 3 + 4 = 7",
        "Step 2: 3 + 4 = 7.",
        "**3 + 4 = 7**",
        "3 + 4 eggs = 7 eggs",
        "10 / 3 = 3.33",
        "11 / 3 = 3.66",  # cut, not rounded
        "10 / 3 ≈ 3.3",
        "100 / 7 = 14",
        "20% of 50 = 10",
        "20 / 50 = 40%",
        "100% - 20% = 80%",
        "$5.50 + $4.50 = $10",
    ],
)
def test_a_right_sum_is_right(text: str) -> None:
    assert equations(text) == (1, 0)


@pytest.mark.parametrize(
    "text",
    [
        "3 * 4 = 13",
        "(3 + 4 = 8)",
        "7 + 8 = 14",
        "10 / 3 = 2.33",
        "<<9*2=19>>",
        r"\(3 \cdot 4 = 13\)",
        "3 + 4 eggs = 8 eggs",
        "1,000 - 1 = 99",
        "3 + 4 == 8",
    ],
)
def test_a_wrong_sum_is_wrong(text: str) -> None:
    assert equations(text) == (0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "2x + 3 = 7",
        "x - 3 + 1 = 10",
        "3 + 4 = 7 + y",
        "3 + 4 = 9x",
        "2^3 + 1 = 10",
        "4! - 3 + 1 = 22",
        "f(3) + 4 = 10",
        "log 100 + 1 = 3",
        r"\sqrt{16} + 1 = 5",
        "5 + 9 = 2 (mod 12)",
        "3:30 + 2 = 5:30",
        "3 + 4 != 8",
        "3 + 4 <= 8",
        "3 * 2 dozen = 72",
        "Sales above $2,500 = $5,070 - $2,500",  # a label
        "50 + 20% = 60",  # who says it so means something else
        "1,5 + 1 = 3",  # a decimal comma, or a list
        "1 / 0 = 3",
        "5 = 5",
        "year = 2024",
        "3 1/2 + 1 = 7",
    ],
)
def test_what_may_be_meant_otherwise_is_not_counted(text: str) -> None:
    assert equations(text) == (0, 0)


def test_a_chain_is_read_pair_by_pair() -> None:
    assert equations("2 + 3 = 5 = 4 + 1 = 6") == (2, 1)


@given(st.integers(-999, 999), st.integers(0, 999), st.integers(1, 50))
def test_every_sum_of_whole_numbers_is_right_and_off_by_one_wrong(a: int, b: int, off: int) -> None:
    assert equations(f"Then {a} + {b} = {a + b}.") == ((1, 0) if a >= 0 else (0, 0))
    assert equations(f"so: {a} - {b} = {a - b + off}") == (0, 1)
    assert equations(f"{b} * {off} = {b * off} and {b} + 1 = {b}") == (1, 1)


def test_wrong_sums_are_strong_evidence_and_right_ones_weak() -> None:
    def chance(text: str) -> float:
        said = verdict(Arithmetic(), draft(text, prior=0.7)).probability
        assert said is not None
        return said

    assert chance("3 * 4 = 13") < 0.4
    assert chance("3 * 4 = 13") < chance("3 * 4 = 13, " + "1 + 1 = 2, " * 20) < 0.7
    assert 0.7 < chance("3 * 4 = 12") < chance("1 + 1 = 2, " * 9) < 0.8


def test_it_says_how_many_and_nothing_of_the_text() -> None:
    said = verdict(Arithmetic(), draft("1 + 1 = 2, 2 + 2 = 5"))
    assert said.note == "1 of 2 sums are right"
    assert said.verifier == "arithmetic"


def test_no_sums_say_nothing() -> None:
    assert verdict(Arithmetic(), draft("Paris.")).probability is None


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_any_text_is_read_in_bounded_time(text: str) -> None:
    started = time.thread_time()
    right, wrong = equations(text)
    assert time.thread_time() - started < 0.05
    assert right + wrong <= 200


@given(st.text(st.sampled_from("0123456789.,+-*/()=%$x \n{}\\<>"), max_size=300))
def test_no_text_breaks_it(text: str) -> None:
    right, wrong = equations(text)
    assert min(right, wrong) >= 0


def test_a_calculation_tells_what_it_is_made_of() -> None:
    assert calculations("3 * 4 = 12, and 12 + 9 = 20") == [
        Calculation((3.0, 4.0), 12.0, 12.0, right=True),
        Calculation((12.0, 9.0), 21.0, 20.0, right=False),
    ]
