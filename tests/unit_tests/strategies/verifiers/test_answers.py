"""What an answer comes to in the end."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_core.strategies.verifiers.answers import as_number, final_answer
from tests.fakes.verifying import ODD_TEXTS


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is blue, so the answer is **(B)**.", "b"),
        ("B", "b"),
        ("(B) Paris", "b"),
        ("B. Paris", "b"),
        ("The answer is (A). No: the answer is (C).", "c"),
        (r"Hence \boxed{1,200}", "1200"),
        (r"so it is $\boxed{\dfrac{3}{4}}$.", "3/4"),
        (r"\boxed{\text{odd}}", "odd"),
        (r"\boxed{x = 5}", "5"),
        ("1200.0 km", "1200"),
        ("16 - 7 = 9\n#### 18", "18"),
        ('```json\n{"reasoning": "2 of 3", "answer": "18"}\n```', "18"),
        ("She has 3 * 6 = 18.\nSo she makes $18 per day.", "18"),
        ("−3", "-3"),  # noqa: RUF001
        ("**Answer:** the Nile", "nile"),
        ("Paris.", "paris"),
        ("Answer: 3 or 4", "3 or 4"),
        ("2x + 3", "2x + 3"),
    ],
)
def test_a_final_answer_is_normalised(text: str, answer: str) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The capital is Paris.",  # a sentence has many wordings
        "An essay has many words. " * 40,
        "In 1789 there was a revolution. " * 20,
        r"\boxed{" + "x" * 200,
    ],
)
def test_what_cannot_be_compared_has_none(text: str) -> None:
    assert final_answer(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("$1,200.50", 1200.5),
        ("-3 m", -3),
        (".5", 0.5),
        ("1.2.3", None),
        ("3 or 4", None),
        ("", None),
    ],
)
def test_the_only_number_of_a_text(text: str, number: float | None) -> None:
    assert as_number(text) == number


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_any_text_is_read_in_bounded_time(text: str) -> None:
    started = time.thread_time()
    final_answer(text)
    final_answer(f"the answer is {text}")
    final_answer(f"\\boxed{{{text}")
    assert time.thread_time() - started < 0.05


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    found = final_answer(text)
    assert found is None or found
