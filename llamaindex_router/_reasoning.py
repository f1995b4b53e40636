"""How LlamaIndex's classes are told to reason: the neutral level as a model and its arguments.

In: an LLM, the arguments of its call, a level. Out: both, changed under the names of the class's
own fields, so that no integration is imported; as they were for a class without any such field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.llms.llm import LLM

from shared_core.decision.reasoning import effort_of, longest_answer, reasons, thinking_tokens
from shared_core.types import Candidate, Prompt, Reasoning

__all__ = ["is_known_to_reason", "reasoning"]

_FIELDS = ("reasoning_effort", "reasoning_options", "thinking_dict", "thinking")
"""OpenAI's and those like it; OpenAI's Responses API; Anthropic's; Ollama's."""


def is_known_to_reason(model: LLM) -> bool:
    """Tell whether the user has told the LLM itself to reason, or it is one of OpenAI's that do."""
    own = type(model).model_fields
    if any(name in own and getattr(model, name) is not None for name in _FIELDS):
        return True
    if not type(model).__module__.startswith("llama_index.llms.openai."):
        return False
    from llama_index.llms.openai.utils import O1_MODELS, O1_MODELS_WITHOUT_FUNCTION_CALLING

    name = model.metadata.model_name
    known = name in O1_MODELS and name not in O1_MODELS_WITHOUT_FUNCTION_CALLING
    return known and "chat" not in name  # gpt-5-chat knows no effort, nor did the first o1


def reasoning(
    candidate: Candidate,
    model: LLM,
    kwargs: dict[str, Any],
    level: Reasoning,
    prompt: Prompt,
    limit: int | None,
) -> tuple[LLM, dict[str, Any]]:
    """Return an LLM and its arguments with which it reasons at a level; see `_FIELDS`.

    Some integrations heed no argument of the call where they have a field: those are copied.

    Args:
        candidate: Whose LLM it is; one that is not known to reason stays as it is.
        model: The LLM.
        kwargs: The arguments of its call.
        level: How much.
        prompt: What is asked.
        limit: Most output tokens of the ask.
    """
    fields = type(model).model_fields
    if not reasons(candidate):
        return model, kwargs
    levels = candidate.capabilities.get("reasoning_effort_levels")
    if "thinking_dict" in fields and not levels:
        longest = longest_answer(candidate, prompt.max_tokens, limit)
        return _copied(model, _thinking(model, level, prompt, longest)), kwargs
    if "thinking" in fields and not levels:
        return _copied(model, {"thinking": level != "none"}), kwargs
    effort = effort_of(candidate, level)
    if effort is None:
        return model, kwargs
    if "reasoning_effort" in fields:
        own = getattr(model, "reasoning_effort") is not None  # noqa: B009 - a field of some classes
        return _copied(model, {"reasoning_effort": None} if own else {}), {
            **kwargs,
            "reasoning_effort": effort,
        }
    if "reasoning_options" in fields:
        options = {**(getattr(model, "reasoning_options", None) or {}), "effort": effort}
        return _copied(model, {"reasoning_options": options}), kwargs
    if "thinking" in fields:
        return _copied(model, {"thinking": effort if effort != "none" else False}), kwargs
    return model, kwargs


def _thinking(model: LLM, level: Reasoning, prompt: Prompt, longest: int | None) -> dict[str, Any]:
    """Return Anthropic's fields for models that know no efforts.

    They can neither think where a tool call is forced, as one is for structured output, nor begin
    to in a tool loop; they think at temperature 1 alone.
    """
    if prompt.tools or prompt.in_tool_loop or prompt.schema is not None:
        return {}
    if (tokens := thinking_tokens(level, longest)) is None:
        return {"thinking_dict": None} if getattr(model, "thinking_dict", None) else {}
    return {"thinking_dict": {"type": "enabled", "budget_tokens": tokens}, "temperature": 1.0}


def _copied(model: LLM, update: Mapping[str, Any]) -> LLM:
    return model.model_copy(update=dict(update)) if update else model
