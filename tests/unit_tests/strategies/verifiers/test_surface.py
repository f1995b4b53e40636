"""The surface of a draft: the same figures for the same answer, in whatever form it comes."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from shared_core.strategies.verifiers.surface import FEATURES, draft_features

QUESTION = "Tom has 5 apples and buys 3 boxes of 4 apples each. How many apples are left after 2?"
STEPS = "First he buys 3 * 4 = 12 apples. Then he has 12 + 5 = 17 apples. 17 - 2 = 15."
FORMS = {
    "plain": f"{STEPS} The answer is 15.",
    "gsm8k": f"{STEPS}\n#### 15",
    "json": json.dumps({"reasoning": STEPS, "answer": "15"}, indent=4),
    "boxed": f"{STEPS} \\boxed{{15}}",
}
ODD = (
    "",
    " ",
    "\0",
    "\ud800",
    "1" * 1_000_000,
    "1+" * 500_000,
    "=" * 1_000_000,
    "((((",
    "²³½",
    "\u0663+\u0664=\u0667",
)


def measured(answer: str, question: str = QUESTION) -> dict[str, float]:
    return dict(zip(FEATURES, draft_features(question, answer).tolist(), strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_reads_the_same_from_every_form(form: str) -> None:
    """Calculations and the final answer are found in every format."""
    found, plain = measured(FORMS[form]), measured(FORMS["plain"])
    for name in FEATURES:
        if name.startswith("q_") or name.startswith("final_") or "calculat" in name:
            assert found[name] == pytest.approx(plain[name], abs=0.2), name
    assert found["final_number"] == found["final_is_last"] == 1.0
    assert found["wrong"] == 0.0


def test_notices_what_is_odd() -> None:
    """Slips, doubts, unused numbers and answers from nowhere show."""
    bad = measured("Perhaps 3 * 4 = 13. However, I cannot tell. The answer is 99.")
    good = measured(FORMS["plain"])
    for name in ("wrong", "wrong_share", "doubts", "turns", "failures"):
        assert bad[name] > good[name]
    for name in ("q_numbers_used", "final_is_last", "final_is_result"):
        assert bad[name] < good[name]


def test_knows_a_choice() -> None:
    """A letter is a final answer of its own kind; two that differ are noticed."""
    found = measured("The answer is (F). Wait. The answer is (B).")
    assert found["final_choice"] == found["marks_differ"] == 1.0
    assert found["final_number"] == 0.0


@pytest.mark.parametrize("text", ODD)
def test_measures_odd_text(text: str) -> None:
    """Whatever a model says is measured in bounded time, as finite numbers."""
    start = time.process_time()
    for question, answer in ((QUESTION, text), (text, FORMS["plain"]), (text, text)):
        found = draft_features(question, answer)
        assert found.shape == (len(FEATURES),)
        assert np.isfinite(found).all()
    assert time.process_time() - start < 2.0
