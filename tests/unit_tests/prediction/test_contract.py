"""The predictors of the package keep the contract of predictors."""

from __future__ import annotations

import pytest

from shared_core import FallbackPredictor, LearnedPredictor
from shared_core.lab.fit import fit
from tests.contracts.predictor import PredictorContract
from tests.fakes.learning import ABILITY, outcomes, parity_encoder


@pytest.fixture(scope="module")
def learned() -> LearnedPredictor:
    return fit(outcomes())


@pytest.fixture(scope="module")
def encoding() -> LearnedPredictor:
    return fit(outcomes(), encoder=parity_encoder())


class TestFallback(PredictorContract):
    """Without anything learned."""

    @pytest.fixture
    def predictor(self) -> FallbackPredictor:
        return FallbackPredictor()


class TestLearned(PredictorContract):
    """From a table."""

    known = tuple(ABILITY)

    @pytest.fixture
    def predictor(self, learned: LearnedPredictor) -> LearnedPredictor:
        return learned


class TestEncoding(PredictorContract):
    """From a table, with an encoder."""

    known = tuple(ABILITY)

    @pytest.fixture
    def predictor(self, encoding: LearnedPredictor) -> LearnedPredictor:
        return encoding
