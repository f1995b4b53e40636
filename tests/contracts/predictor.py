"""What every predictor owes to the router, whatever it has learned from."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared_core.prediction.base import Predictor
from shared_core.types import Candidate
from tests.fakes.core import prompt

TEXTS = (
    "",
    " \n\t",
    "What is the capital of France?",
    "Prove that there are infinitely many primes p with p = 3 mod 4.",
    "证明这个定理并举出三个例子",
    "🤖" * 500,
    "\udcff \0 \u200b\u202e",
    "1" * 5_000,
    "a " * 50_000,
    "\n" * 50_000,
)


class PredictorContract:
    """Inherit it and give a fixture `predictor`, and `known` where it has learned about some."""

    known: tuple[str, ...] = ()

    @pytest.fixture
    def candidates(self) -> tuple[Candidate, ...]:
        """Some that it may know, and one that it cannot."""
        names = (*self.known, "nobody has heard of it")
        return tuple(
            Candidate(name, None, strength=(place + 1) / (len(names) + 1))
            for place, name in enumerate(names)
        )

    @pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
    def test_any_text_gets_an_estimate_per_candidate_in_their_order(
        self, predictor: Predictor, candidates: tuple[Candidate, ...], text: str
    ) -> None:
        for asked in (candidates, candidates[::-1]):
            estimates = predictor.predict(prompt(text), asked)
            assert [e.candidate for e in estimates] == [c.name for c in asked]
            for e in estimates:
                assert 0 <= e.quality_low <= e.quality <= e.quality_high <= 1
                assert e.output_tokens is None or e.output_tokens >= 0

    def test_it_says_the_same_again_from_many_threads(
        self, predictor: Predictor, candidates: tuple[Candidate, ...]
    ) -> None:
        expected = [list(predictor.predict(prompt(text), candidates)) for text in TEXTS[:6]]
        with ThreadPoolExecutor(16) as pool:
            for _ in range(4):
                found = pool.map(
                    lambda t: list(predictor.predict(prompt(t), candidates)), TEXTS[:6]
                )
                assert list(found) == expected

    def test_a_stronger_stranger_is_no_worse(self, predictor: Predictor) -> None:
        strengths = (0.0, 0.2, 0.5, 0.8, 1.0)
        strangers = [Candidate(f"new {s}", None, strength=s) for s in strengths]
        for text in TEXTS:
            qualities = [e.quality for e in predictor.predict(prompt(text), strangers)]
            assert qualities == sorted(qualities)

    def test_what_moved_an_estimate_is_named_with_a_number(
        self, predictor: Predictor, candidates: tuple[Candidate, ...]
    ) -> None:
        moved = getattr(predictor, "contributions", None)
        if moved is None:
            pytest.skip("this predictor does not say")
        for text in TEXTS:
            for candidate in candidates:
                for name, part in moved(prompt(text), candidate):
                    assert name
                    assert math.isfinite(part)

    def test_what_is_predicted_on_an_event_loop_takes_no_time(
        self, predictor: Predictor, candidates: tuple[Candidate, ...]
    ) -> None:
        """A few hundredths of a second of the processor's time at most, whatever the text."""
        for letter in ("a ", "1", "\n", "漢", "? "):
            text = (letter * predictor.inline_chars)[: min(predictor.inline_chars, 1_000_000)]
            spent = []
            for _ in range(5):
                start = time.thread_time()
                predictor.predict(prompt(text), candidates)
                spent.append(time.thread_time() - start)
            assert min(spent) < 0.05
