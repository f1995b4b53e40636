"""The routing core: decides which of the user's models answers. Knows no framework."""

from typing import TYPE_CHECKING, Any

from shared_core.decision.constraints import cleared, deadline_s, local_only
from shared_core.decision.policy import Policy
from shared_core.errors import (
    AllCandidatesFailedError,
    ArtefactError,
    CandidateRestingError,
    ConfigurationError,
    DeadlineExceededError,
    MissingExtraError,
    NoCandidateError,
    NotCalibratedError,
    RouterError,
    TableError,
    UnknownCandidateError,
    UnknownDecisionError,
)
from shared_core.execution.health import Cooldown
from shared_core.prediction.fallback import FallbackPredictor
from shared_core.router import Router
from shared_core.scope import call_scope
from shared_core.strategies.single import Single
from shared_core.types import Candidate, Decision, Estimate, Prompt, Refusal, Scope

if TYPE_CHECKING:
    from shared_core.prediction.learned import LearnedPredictor

__all__ = [
    "AllCandidatesFailedError",
    "ArtefactError",
    "Candidate",
    "CandidateRestingError",
    "ConfigurationError",
    "Cooldown",
    "DeadlineExceededError",
    "Decision",
    "Estimate",
    "FallbackPredictor",
    "LearnedPredictor",
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
    "TableError",
    "UnknownCandidateError",
    "UnknownDecisionError",
    "call_scope",
    "cleared",
    "deadline_s",
    "local_only",
]


def __getattr__(name: str) -> Any:
    # It needs numpy and safetensors, which routing without anything learned does not.
    if name == "LearnedPredictor":
        from shared_core.prediction.learned import LearnedPredictor

        return LearnedPredictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
