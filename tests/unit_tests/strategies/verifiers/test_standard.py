"""The verifiers of a cascade that is told nothing else."""

from __future__ import annotations

import time

from shared_core.strategies.verifiers.standard import standard_verifiers
from tests.fakes.verifying import Scripted, draft

ANSWER = "She sells 16 - 7 = 9 eggs, which makes 9 * $2 = $18 a day. " * 8 + "The answer is 18."


def test_they_ask_nobody_and_look_in_passing() -> None:
    driven = Scripted()
    said = [driven.verdict(one, draft(ANSWER)) for one in standard_verifiers()]
    assert [one.verifier for one in said] == ["structure", "wording", "learned"]
    assert driven.asks == []
    assert all(check.inline for check in driven.checks)


def test_an_answer_of_usual_length_takes_them_little_time() -> None:
    looked_at, started = draft(ANSWER), time.thread_time()
    for _ in range(20):
        for one in standard_verifiers():
            Scripted().verdict(one, looked_at)
    assert (time.thread_time() - started) / 20 < 0.02
