"""The routing core: decides which of the user's models answers. Knows no framework."""

from shared_core.decision.constraints import cleared, deadline_s, local_only
from shared_core.decision.policy import Policy
from shared_core.errors import (
    AllCandidatesFailedError,
    CandidateRestingError,
    ConfigurationError,
    DeadlineExceededError,
    MissingExtraError,
    NoCandidateError,
    NotCalibratedError,
    RouterError,
    UnknownCandidateError,
)
from shared_core.execution.health import Cooldown
from shared_core.prediction.fallback import FallbackPredictor
from shared_core.router import Router
from shared_core.scope import call_scope
from shared_core.strategies.single import Single
from shared_core.types import Candidate, Decision, Estimate, Prompt, Refusal, Scope

__all__ = [
    "AllCandidatesFailedError",
    "Candidate",
    "CandidateRestingError",
    "ConfigurationError",
    "Cooldown",
    "DeadlineExceededError",
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
    "Scope",
    "Single",
    "UnknownCandidateError",
    "call_scope",
    "cleared",
    "deadline_s",
    "local_only",
]
