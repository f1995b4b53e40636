"""What a LlamaIndex LLM says of itself, and what the router says of all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import LLMMetadata, MessageRole
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM

from llamaindex_router._reasoning import is_known_to_reason
from shared_core.errors import ConfigurationError
from shared_core.tokens import LIMITS, without_limits
from shared_core.types import Candidate, Listing

__all__ = ["common_metadata", "counted", "limited", "look_at", "tuned"]

_ADDRESSES = ("api_base", "azure_endpoint", "base_url")
"""Where integrations keep the address that they call."""


def look_at(candidate: Candidate) -> tuple[LLM, dict[str, Any]]:
    """Return the candidate's LLM and what it says of itself: its window, whether it calls tools.

    LlamaIndex has no "unknown": a window that equals its default (3,900 tokens) is taken for one
    that nobody stated, so that a model is not refused a prompt which it could take.

    Raises:
        ConfigurationError: The model is no LlamaIndex LLM.
    """
    model = candidate.model
    if not isinstance(model, LLM):
        raise ConfigurationError(
            f"candidate {candidate.name!r}: model must be a LlamaIndex LLM, "
            f"not {type(model).__name__}"
        )
    metadata = model.metadata
    calls_tools = isinstance(model, FunctionCallingLLM) and metadata.is_function_calling_model
    stated: dict[str, Any] = {"tool_calling": calls_tools}
    if metadata.context_window > 0 and metadata.context_window != DEFAULT_CONTEXT_WINDOW:
        stated["max_input_tokens"] = metadata.context_window
    own = next((getattr(model, name) for name in LIMITS if name in type(model).model_fields), None)
    if isinstance(own, int) and own > 0:
        stated["max_output_tokens"] = own
    if is_known_to_reason(model):
        stated["reasoning_output"] = True
    stated["listing"] = _listing(model, metadata.model_name)
    return model, stated


def _listing(model: LLM, name: str) -> Listing | None:
    """Return how catalogues know the model: its provider by the integration's package."""
    if not name or name == "unknown":
        return None
    package = type(model).__module__.split(".")
    provider = package[2] if package[:2] == ["llama_index", "llms"] else None
    addresses = (getattr(model, attribute, None) for attribute in _ADDRESSES)
    address = next((a for a in addresses if isinstance(a, str) and a), None)
    return Listing(provider, name, address)


def limited(model: LLM, kwargs: Mapping[str, Any], tokens: int) -> tuple[LLM, Mapping[str, Any]]:
    """Return an LLM and the arguments of its call, so that an answer gets no longer than `tokens`.

    OpenAI's own heeds no argument where it has a longer limit as a field; it is copied then. It is
    one answer, whatever `n` says: others would be paid beyond what is held. An LLM that knows no
    such limit is returned as it is.
    """
    limit = next((name for name in LIMITS if name in type(model).model_fields), None)
    if limit is None:
        return model, kwargs
    own = getattr(model, limit)
    if isinstance(own, int) and own > tokens:
        model = model.model_copy(update={limit: tokens})
    rest = without_limits(kwargs)
    if "n" in kwargs:
        rest["n"] = 1
    always = getattr(model, "additional_kwargs", None) or {}
    if "n" in always:
        model = model.model_copy(update={"additional_kwargs": {**always, "n": 1}})
    return model, {**rest, limit: tokens}


def counted(model: LLM) -> dict[str, Any]:
    """Return the arguments of a streamed call that make it tell its usage: OpenAI's own needs them.

    Servers that merely speak its API may refuse them, so no other integration gets any.
    """
    own = type(model).__module__ == "llama_index.llms.openai.base"
    return {"stream_options": {"include_usage": True}} if own else {}


def tuned(candidate: Candidate, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call for those neutral parameters that the candidate knows."""
    model = candidate.model
    known = set(type(model).model_fields)
    if not model.metadata.is_chat_model:
        known.discard("logprobs")  # a number of alternatives there, not a yes
    return {
        name: params[name]
        for name in ("temperature", "logprobs")
        if name in params and name in known and candidate.capabilities.get(name) is not False
    }


def common_metadata(candidates: Sequence[Candidate], context_window: int | None) -> LLMMetadata:
    """Return metadata that holds whichever candidate answers.

    Args:
        candidates: Completed candidates.
        context_window: The window to state instead of the smallest, in tokens; a candidate whose
            own is smaller is then refused prompts that do not fit it.
    """
    stated = [candidate.model.metadata for candidate in candidates]
    windows = [
        candidate.context_window or metadata.context_window
        for candidate, metadata in zip(candidates, stated, strict=True)
    ]
    outputs = [metadata.num_output for metadata in stated if metadata.num_output > 0]
    return LLMMetadata(
        context_window=context_window or min(windows),
        num_output=min(outputs, default=-1),
        is_chat_model=any(metadata.is_chat_model for metadata in stated),
        is_function_calling_model=any(c.capabilities.get("tool_calling") for c in candidates),
        model_name="router",
        system_role=MessageRole.SYSTEM,
    )
