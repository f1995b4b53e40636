"""The router as a LangChain chat model.

`ChatRouter` and its middleware are loaded when they are first used: LangChain's chat model base
takes half a second to import, which whoever needs a `Policy` alone should not wait for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shared_core import (
    Candidate,
    Cooldown,
    Draft,
    MissingExtraError,
    Policy,
    Single,
    StreamInterruptedError,
    Verdict,
    call_scope,
    cleared,
    deadline_s,
    local_only,
    max_cost_usd,
    max_energy_wh,
    max_steps,
)

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("langchain-core", "langchain") from error

if TYPE_CHECKING:
    from langchain_router.chat_models import ChatRouter
    from langchain_router.middleware import ChatRouterMiddleware
    from shared_core import (
        Agreement,
        Arithmetic,
        Budget,
        Budgets,
        Cascade,
        ChainOfThought,
        Judge,
        LearnedPredictor,
        LearnedVerifier,
        Ledger,
        Likelihood,
        MixtureOfAgents,
        Reader,
        SelfConsistency,
        Structure,
        Wording,
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
    "ChatRouter",
    "ChatRouterMiddleware",
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


_OF_THE_CORE = (
    "Agreement",
    "Arithmetic",
    "Budget",
    "Budgets",
    "Cascade",
    "ChainOfThought",
    "Judge",
    "LearnedPredictor",
    "LearnedVerifier",
    "Ledger",
    "Likelihood",
    "MixtureOfAgents",
    "Reader",
    "SelfConsistency",
    "Structure",
    "Wording",
    "measured",
    "standard_verifiers",
)
_LAZY = {
    "ChatRouter": "langchain_router.chat_models",
    "ChatRouterMiddleware": "langchain_router.middleware",
    **dict.fromkeys(_OF_THE_CORE, "shared_core"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
