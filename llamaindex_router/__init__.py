"""The router as a LlamaIndex LLM."""

from shared_core.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("llama-index-core", "llamaindex") from error

from llamaindex_router.base import RouterLLM
from shared_core import Candidate, Policy, Single, local_only

__all__ = ["Candidate", "Policy", "RouterLLM", "Single", "local_only"]
