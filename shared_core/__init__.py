"""The routing core: decides which of the user's models answers. Knows no framework."""

from shared_core.decision.policy import Policy, local_only
from shared_core.errors import (
    AllCandidatesFailedError,
    ConfigurationError,
    MissingExtraError,
    NoCandidateError,
    NotCalibratedError,
    RouterError,
    UnknownCandidateError,
)
from shared_core.prediction.fallback import FallbackPredictor
from shared_core.router import Router
from shared_core.strategies.single import Single
from shared_core.types import Candidate, Decision, Estimate, Prompt, Refusal

__all__ = [
    "AllCandidatesFailedError",
    "Candidate",
    "ConfigurationError",
    "Decision",
    "Estimate",
    "FallbackPredictor",
    "MissingExtraError",
    "NoCandidateError",
    "NotCalibratedError",
    "Policy",
    "Prompt",
    "Refusal",
    "Router",
    "RouterError",
    "Single",
    "UnknownCandidateError",
    "local_only",
]
