"""How sure the model was of its own words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from shared_core.strategies.verifiers.likelihood import Likelihood
from shared_core.types import Reply, Verdict
from tests.fakes.verifying import draft, verdict


def looked(logprobs: Any, prior: float = 0.6) -> Verdict:
    return verdict(Likelihood(), draft(Reply("small", text="x", logprobs=logprobs), prior=prior))


def test_sure_words_speak_for_an_answer_and_unsure_ones_against() -> None:
    sure, unsure = looked((-0.01, -0.02)), looked((-1.5, -2.0))
    assert sure.probability is not None
    assert unsure.probability is not None
    assert 0.6 < sure.probability < 0.8
    assert 0.3 < unsure.probability < 0.6
    assert sure.note == "log probability -0.01 a token, -0.0 the lowest"


def test_one_improbable_token_counts() -> None:
    even, slip = looked((-0.2,) * 99), looked((-0.16,) * 98 + (-4.1,))
    assert slip.probability is not None
    assert even.probability is not None
    assert slip.probability < even.probability


def test_a_token_outside_what_was_looked_at_does_not_drown_the_others() -> None:
    even, outside = looked((-0.01,) * 2000), looked((-0.01,) * 1999 + (-9999.0,))
    assert even.probability is not None
    assert outside.probability is not None
    assert even.probability - 0.1 < outside.probability < even.probability


@pytest.mark.parametrize("surest", [(0.0,) * 9, (-9999.0,) * 9, (-1e308,) * 9])
def test_evidence_is_bounded(surest: tuple[float, ...]) -> None:
    said = looked(surest, prior=0.5)
    assert said.probability is not None
    assert 0.268 < said.probability < 0.732


@pytest.mark.parametrize(
    "logprobs",
    [None, (), (math.nan, -1.0), (0.5,), (-math.inf,), (math.inf,), ("a",), (None,), (True,)],
)
def test_what_is_no_log_probability_tells_nothing(logprobs: Any) -> None:
    said = looked(logprobs)
    assert said.probability is None
    assert said.note


def test_a_million_tokens_are_borne() -> None:
    assert looked((-0.1,) * 1_000_000).probability is not None


def test_it_says_what_a_draft_has_to_be_asked_with() -> None:
    assert Likelihood().params == {"logprobs": True}
    assert hash(Likelihood()) == hash(Likelihood())
