"""What a LangChain chat model says of itself, before it is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.runnables import RunnableBinding

from shared_core.errors import ConfigurationError, MissingExtraError
from shared_core.types import Candidate

__all__ = ["common_profile", "look_at"]


def look_at(candidate: Candidate) -> tuple[Any, dict[str, Any]]:
    """Return the candidate's model and what it can do: its profile, and what its class cannot.

    A `bind_tools` that the class never overrides means that it cannot call tools. A string is the
    name of a model for LangChain's `init_chat_model`.

    Raises:
        ConfigurationError: The model is no chat model, nor a binding around one, nor its name.
        MissingExtraError: The model is a string and langchain is not installed.
    """
    given = candidate.model
    if isinstance(given, str):
        given = _by_name(candidate.name, given)
    model = given
    while isinstance(model, RunnableBinding):
        model = model.bound
    if not isinstance(model, BaseChatModel):
        raise ConfigurationError(
            f"candidate {candidate.name!r}: model must be a LangChain BaseChatModel, a binding "
            "around one, or a string such as 'ollama:qwen3:4b', "
            f"not {type(model).__name__}"
        )
    stated: dict[str, Any] = dict(model.profile or {})
    cls = type(model)
    if cls.bind_tools is BaseChatModel.bind_tools:
        stated["tool_calling"] = False
        if cls.with_structured_output is BaseChatModel.with_structured_output:
            stated["structured_output"] = False
    return given, stated


def _by_name(candidate: str, model: str) -> BaseChatModel:
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise MissingExtraError("langchain", "agents") from error
    try:
        return init_chat_model(model)
    except Exception as error:  # whatever the provider's own class refuses
        raise ConfigurationError(f"candidate {candidate!r}: {error}") from error


def common_profile(candidates: Sequence[Candidate]) -> ModelProfile | None:
    """Return what holds for every candidate: all of the yes/no's, the smallest token limits.

    A key that one candidate does not state is left out; None where nothing is left.
    """
    stated = [
        {**c.capabilities, **({"max_input_tokens": c.context_window} if c.context_window else {})}
        for c in candidates
    ]
    common = set(stated[0]).intersection(*stated[1:])
    profile: dict[str, Any] = {}
    for key in sorted(common):
        values = [known[key] for known in stated]
        if all(isinstance(value, bool) for value in values):
            profile[key] = all(values)
        elif key in ("max_input_tokens", "max_output_tokens"):
            profile[key] = min(values)
    return cast("ModelProfile", profile) if profile else None
