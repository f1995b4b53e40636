"""The router as a LangChain chat model."""

from shared_core.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401
except ImportError as error:  # pragma: no cover - exercised in an environment without it
    raise MissingExtraError("langchain-core", "langchain") from error

from langchain_router.chat_models import ChatRouter
from shared_core import Candidate, Policy, Single, local_only

__all__ = ["Candidate", "ChatRouter", "Policy", "Single", "local_only"]
