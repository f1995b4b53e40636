"""The fallback predictor: what it promises is bounded, monotone and hard to buy."""

from __future__ import annotations

import itertools
import string
import time

import pytest

from shared_core import FallbackPredictor, Policy, Router
from shared_core.decision.candidates import prepare_candidates
from shared_core.prediction.surface import difficulty, quality, surface_features
from tests.fakes.core import candidate, prompt

EASY = [
    "Hi!",
    "What is the capital of France?",
    "Wie heißt die Hauptstadt von Peru?",
    "日本の首都は?",
]

PROOF = (
    "Let $f: \\mathbb{R} \\to \\mathbb{R}$ satisfy $f(x+y) = f(x)f(y) + 3xy(x+y)$ for all real "
    "$x, y$ with $f(0) = 1$ and $f'(0) = 2$. Determine $f(7)$, prove that the solution is unique, "
    "and compute $\\sum_{k=1}^{20} \\frac{f(k)}{k^2 + 1}$ to 4 decimal places. Show every step, "
    "state where differentiability is used, and discuss whether dropping it admits other solutions."
)

AWKWARD = [
    "",
    "   \n\t ",
    "\0" * 1000,
    "\ud800 lone \udfff",
    "a" * 1_000_000,
    "1 + 1 " * 200_000,
    "".join(chr(code) for code in range(0x4E00, 0x9FFF)),
    "\u200b\u202e" * 1000,
]


def hardness(text: str) -> float:
    return difficulty(surface_features(text))


def chosen(text: str, *, count: int = 2, keep: float = 0.95) -> str:
    names = string.ascii_lowercase[:count]
    prepared = prepare_candidates([candidate(name) for name in names], lambda c: (c.model, {}))
    return Router(prepared, policy=Policy(quality=keep)).decide(prompt(text)).candidate


@pytest.mark.parametrize("text", EASY)
def test_easy_prompts_go_to_the_weakest(text: str) -> None:
    assert chosen(text) == "a"
    assert chosen(text, count=5) in "ab"


def test_hard_prompts_go_to_the_strong() -> None:
    assert chosen(PROOF) == "b"
    assert chosen(PROOF, count=3) == "c"


def test_a_lenient_policy_sends_more_to_the_weak() -> None:
    middle = PROOF[:200]
    assert chosen(middle) == "b"
    assert chosen(middle, keep=0.6) == "a"


def test_quality_rises_with_strength_and_falls_with_difficulty() -> None:
    steps = [step / 10 for step in range(11)]
    for hard, (weak, strong) in itertools.product(steps, itertools.pairwise(steps)):
        assert quality(hard, weak)[0] <= quality(hard, strong)[0]
        assert quality(strong, hard)[0] <= quality(weak, hard)[0]
        value, low, high = quality(hard, weak)
        assert 0 < low < value < high < 1


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text_is_read_in_bounded_time(text: str) -> None:
    started = time.thread_time()
    assert 0 <= hardness(text) <= 1
    assert time.thread_time() - started < 0.05


@pytest.mark.parametrize("filler", [" ", "\n", "very ", "please think hard ", "1 ", "$", "a"])
def test_padding_does_not_buy_the_strong_model(filler: str) -> None:
    question = EASY[1]
    assert chosen(filler * 500 + question) == chosen(question + filler * 500) == "a"


def test_every_candidate_gets_an_estimate_with_tokens() -> None:
    prepared = prepare_candidates(
        [candidate("a"), candidate("b", strength=1)], lambda c: (c.model, {})
    )
    easy = FallbackPredictor().predict(prompt("Hi"), prepared)
    hard = FallbackPredictor().predict(prompt(PROOF), prepared)
    assert [e.candidate for e in easy] == ["a", "b"]
    assert all(0 < e.quality_low < e.quality < e.quality_high < 1 for e in [*easy, *hard])
    assert all(e.output_tokens == 200 for e in [*easy, *hard])
    assert easy[1].quality - easy[0].quality < hard[1].quality - hard[0].quality
