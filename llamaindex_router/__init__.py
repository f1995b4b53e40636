"""The router as a LlamaIndex LLM."""

from shared_core.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("llama-index-core", "llamaindex") from error

from llamaindex_router.base import RouterLLM
from llamaindex_router.events import RouterDecisionEvent, RouterEntryEvent
from shared_core import (
    Agreement,
    Arithmetic,
    Budget,
    Budgets,
    Candidate,
    Cascade,
    ChainOfThought,
    Cooldown,
    Draft,
    Judge,
    LearnedPredictor,
    LearnedVerifier,
    Ledger,
    Likelihood,
    MixtureOfAgents,
    Policy,
    Reader,
    SelfConsistency,
    Single,
    StreamInterruptedError,
    Structure,
    Verdict,
    Wording,
    call_scope,
    cleared,
    deadline_s,
    local_only,
    max_cost_usd,
    max_energy_wh,
    max_steps,
    measured,
    standard_verifiers,
)

__all__ = [
    "Agreement",
    "Arithmetic",
    "Budget",
    "Budgets",
    "Candidate",
    "Cascade",
    "ChainOfThought",
    "Cooldown",
    "Draft",
    "Judge",
    "LearnedPredictor",
    "LearnedVerifier",
    "Ledger",
    "Likelihood",
    "MixtureOfAgents",
    "Policy",
    "Reader",
    "RouterDecisionEvent",
    "RouterEntryEvent",
    "RouterLLM",
    "SelfConsistency",
    "Single",
    "StreamInterruptedError",
    "Structure",
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
