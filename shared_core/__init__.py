"""The routing core: decides which of the user's models answers. Knows no framework."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shared_core.decision.constraints import (
    cleared,
    deadline_s,
    local_only,
    max_cost_usd,
    max_energy_wh,
    max_steps,
)
from shared_core.decision.policy import Policy
from shared_core.errors import (
    AllCandidatesFailedError,
    ArtefactError,
    BudgetExceededError,
    CandidateRestingError,
    ConfigurationError,
    DeadlineExceededError,
    MissingExtraError,
    NoCandidateError,
    NotCalibratedError,
    RouterError,
    StorageError,
    StreamInterruptedError,
    TableError,
    TooManyAttemptsError,
    UnknownCandidateError,
    UnknownDecisionError,
)
from shared_core.execution.health import Cooldown
from shared_core.prediction.fallback import FallbackPredictor
from shared_core.scope import call_scope
from shared_core.strategies.single import Single
from shared_core.types import Candidate, Decision, Draft, Estimate, Prompt, Refusal, Scope, Verdict

if TYPE_CHECKING:
    from shared_core.accounting.budgets.budget import Budget, Budgets
    from shared_core.accounting.energy.meters import measured
    from shared_core.accounting.ledger.ledger import Ledger
    from shared_core.prediction.learned import LearnedPredictor
    from shared_core.router import Router
    from shared_core.strategies.cascade import Cascade
    from shared_core.strategies.chain_of_thought import ChainOfThought
    from shared_core.strategies.mixture import MixtureOfAgents
    from shared_core.strategies.self_consistency import SelfConsistency
    from shared_core.strategies.verifiers.agreement import Agreement
    from shared_core.strategies.verifiers.arithmetic import Arithmetic
    from shared_core.strategies.verifiers.judge import Judge
    from shared_core.strategies.verifiers.learned import LearnedVerifier
    from shared_core.strategies.verifiers.likelihood import Likelihood
    from shared_core.strategies.verifiers.reader import Reader
    from shared_core.strategies.verifiers.standard import standard_verifiers
    from shared_core.strategies.verifiers.structure import Structure
    from shared_core.strategies.verifiers.wording import Wording

__all__ = [
    "Agreement",
    "AllCandidatesFailedError",
    "Arithmetic",
    "ArtefactError",
    "Budget",
    "BudgetExceededError",
    "Budgets",
    "Candidate",
    "CandidateRestingError",
    "Cascade",
    "ChainOfThought",
    "ConfigurationError",
    "Cooldown",
    "DeadlineExceededError",
    "Decision",
    "Draft",
    "Estimate",
    "FallbackPredictor",
    "Judge",
    "LearnedPredictor",
    "LearnedVerifier",
    "Ledger",
    "Likelihood",
    "MissingExtraError",
    "MixtureOfAgents",
    "NoCandidateError",
    "NotCalibratedError",
    "Policy",
    "Prompt",
    "Reader",
    "Refusal",
    "Router",
    "RouterError",
    "Scope",
    "SelfConsistency",
    "Single",
    "StorageError",
    "StreamInterruptedError",
    "Structure",
    "TableError",
    "TooManyAttemptsError",
    "UnknownCandidateError",
    "UnknownDecisionError",
    "Verdict",
    "Wording",
    "call_scope",
    "cleared",
    "deadline_s",
    "local_only",
    "max_cost_usd",
    "max_energy_wh",
    "max_steps",
    "measured",
    "standard_verifiers",
]


_LAZY = {
    "Agreement": "shared_core.strategies.verifiers.agreement",
    "Arithmetic": "shared_core.strategies.verifiers.arithmetic",
    "Budget": "shared_core.accounting.budgets.budget",
    "Budgets": "shared_core.accounting.budgets.budget",
    "Cascade": "shared_core.strategies.cascade",
    "ChainOfThought": "shared_core.strategies.chain_of_thought",
    "Judge": "shared_core.strategies.verifiers.judge",
    "LearnedPredictor": "shared_core.prediction.learned",
    "LearnedVerifier": "shared_core.strategies.verifiers.learned",
    "Ledger": "shared_core.accounting.ledger.ledger",
    "Likelihood": "shared_core.strategies.verifiers.likelihood",
    "MixtureOfAgents": "shared_core.strategies.mixture",
    "Reader": "shared_core.strategies.verifiers.reader",
    "Router": "shared_core.router",
    "SelfConsistency": "shared_core.strategies.self_consistency",
    "Structure": "shared_core.strategies.verifiers.structure",
    "Wording": "shared_core.strategies.verifiers.wording",
    "measured": "shared_core.accounting.energy.meters",
    "standard_verifiers": "shared_core.strategies.verifiers.standard",
}
"""What whoever needs a `Policy` alone should not wait for."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
