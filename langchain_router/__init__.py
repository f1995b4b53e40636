"""The router as a LangChain chat model.

`ChatRouter` is loaded when it is first used: LangChain's chat model base takes half a second to
import, which whoever needs a `Policy` or a `Candidate` alone should not wait for.
"""

from typing import TYPE_CHECKING, Any

from shared_core import (
    Candidate,
    Cooldown,
    MissingExtraError,
    Policy,
    Single,
    call_scope,
    cleared,
    deadline_s,
    local_only,
)

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("langchain-core", "langchain") from error

if TYPE_CHECKING:
    from langchain_router.chat_models import ChatRouter

__all__ = [
    "Candidate",
    "ChatRouter",
    "Cooldown",
    "Policy",
    "Single",
    "call_scope",
    "cleared",
    "deadline_s",
    "local_only",
]


def __getattr__(name: str) -> Any:
    if name != "ChatRouter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from langchain_router.chat_models import ChatRouter

    return ChatRouter
