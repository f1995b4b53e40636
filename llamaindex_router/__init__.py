"""The router as a LlamaIndex LLM."""

from shared_core.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("llama-index-core", "llamaindex") from error

from llamaindex_router.base import RouterLLM
from llamaindex_router.events import RouterDecisionEvent
from shared_core import (
    Candidate,
    Cooldown,
    LearnedPredictor,
    Policy,
    Single,
    call_scope,
    cleared,
    deadline_s,
    local_only,
)

__all__ = [
    "Candidate",
    "Cooldown",
    "LearnedPredictor",
    "Policy",
    "RouterDecisionEvent",
    "RouterLLM",
    "Single",
    "call_scope",
    "cleared",
    "deadline_s",
    "local_only",
]
