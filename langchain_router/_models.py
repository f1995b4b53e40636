"""What a LangChain chat model says of itself, before it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.runnables import Runnable, RunnableBinding

from langchain_router._reasoning import effort_is_set, reasoning_of
from shared_core.errors import ConfigurationError, MissingExtraError
from shared_core.tokens import LIMITS, longest_of, without_limits
from shared_core.types import Candidate, Listing, Prompt

__all__ = ["common_profile", "limited", "look_at", "tuned"]

_ADDRESSES = ("openai_api_base", "anthropic_api_url", "azure_endpoint", "base_url", "api_base")
"""Where chat models keep the address that they call, if it was set."""


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
    stated: dict[str, Any] = {**(model.profile or {}), **_lacking(type(model))}
    if effort_is_set(model):
        stated.setdefault("reasoning_output", True)
    if own := _own_limit(given):
        stated["max_output_tokens"] = min(own, stated.get("max_output_tokens") or own)
    if listing := _listing(model):
        stated["listing"] = listing
    return given, stated


def _lacking(cls: type[BaseChatModel]) -> dict[str, bool]:
    if cls.bind_tools is not BaseChatModel.bind_tools:
        return {}
    if cls.with_structured_output is not BaseChatModel.with_structured_output:
        return {"tool_calling": False}
    return {"tool_calling": False, "structured_output": False}


def _own_limit(model: Any) -> int | None:
    """Return how long the answers of a model get at most, by the bindings around it or itself."""
    while isinstance(model, RunnableBinding):
        if limit := longest_of(model.kwargs):
            return limit
        model = model.bound
    names = [name for name in LIMITS if name in type(model).model_fields]
    return longest_of({name: getattr(model, name) for name in names[:1]})


def _listing(model: BaseChatModel) -> Listing | None:
    """Return how catalogues know the model, if it says its name."""
    try:
        params = model._get_ls_params()
    except Exception:  # noqa: BLE001 - whatever a class of anybody's makes of it
        return None
    name, provider = params.get("ls_model_name"), params.get("ls_provider")
    if not isinstance(name, str) or not name:
        return None
    addresses = (getattr(model, attribute, None) for attribute in _ADDRESSES)
    address = next((a for a in addresses if isinstance(a, str) and a), None)
    return Listing(provider if isinstance(provider, str) else None, name, address)


def limited(
    model: Runnable[Any, Any], kwargs: dict[str, Any], tokens: int
) -> tuple[Runnable[Any, Any], dict[str, Any]]:
    """Return a model and the arguments of its call, so that an answer gets no longer than `tokens`.

    It is one answer, all that a router gives, whatever `n` says: others would be paid beyond what
    is held. A model that knows no such limit is returned as it is.
    """
    inner: Any = model
    asked = kwargs
    while isinstance(inner, RunnableBinding):
        asked, inner = {**inner.kwargs, **asked}, inner.bound
    limit = next((name for name in LIMITS if name in type(inner).model_fields), None)
    if limit is None:
        return model, kwargs
    rest = without_limits(kwargs)
    if "n" in asked:
        rest["n"] = 1
    elif "n" in type(inner).model_fields and inner.n not in (None, 1):
        model = _copied(model, "n", 1)
    if limit != "num_predict":
        return model, {**rest, limit: tokens}
    return _copied(model, limit, tokens), rest  # Ollama's takes no such argument


def tuned(candidate: Candidate, params: Mapping[str, Any], prompt: Prompt) -> dict[str, Any]:
    """Return the arguments of a call for those neutral parameters that the candidate knows."""
    inner: Any = candidate.model
    while isinstance(inner, RunnableBinding):
        inner = inner.bound
    found: dict[str, Any] = {}
    for name in ("temperature", "logprobs"):
        refused = candidate.capabilities.get(name) is False
        if name in params and name in type(inner).model_fields and not refused:
            found[name] = params[name]
    if (level := params.get("reasoning")) is not None:
        found.update(reasoning_of(candidate, inner, level, prompt, params.get("max_tokens")))
    return found


def _copied(model: Any, setting: str, value: int) -> Runnable[Any, Any]:
    inner = isinstance(model, RunnableBinding)
    update = {"bound": _copied(model.bound, setting, value)} if inner else {setting: value}
    copy: Runnable[Any, Any] = model.model_copy(update=update)
    return copy


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
