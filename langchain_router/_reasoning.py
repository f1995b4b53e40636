"""How LangChain's classes are told to reason: the neutral level as arguments of one call.

In: a model, a level, the prompt. Out: arguments under the names of the class's own fields, so that
no provider's package is imported; none for a class without any such field.
"""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel

from shared_core.decision.reasoning import effort_of, longest_answer, reasons, thinking_tokens
from shared_core.types import Candidate, Prompt, Reasoning

__all__ = ["effort_is_set", "reasoning_of"]

_FIELDS = ("reasoning_effort", "reasoning", "thinking", "thinking_budget", "thinking_config")
"""OpenAI's, Groq's, xAI's, DeepSeek's, Bedrock's and others'; OpenAI's and Ollama's; Anthropic's;
Google's."""

_LEAST_BUDGET = 512
"""Tokens: the least that every Gemini 2.5 takes; not all of them can be kept from thinking."""


def effort_is_set(model: BaseChatModel) -> bool:
    """Tell whether the user has told the model itself to reason, in whatever way."""
    own = type(model).model_fields
    return any(name in own and getattr(model, name) is not None for name in _FIELDS)


def reasoning_of(
    candidate: Candidate, model: Any, level: Reasoning, prompt: Prompt, limit: int | None
) -> dict[str, Any]:
    """Return the arguments with which a model reasons at a level; see `_FIELDS`.

    Args:
        candidate: Whose model it is; one that is not known to reason gets no arguments.
        model: The model, without bindings around it.
        level: How much.
        prompt: What is asked.
        limit: Most output tokens of the ask.
    """
    fields = type(model).model_fields
    if not reasons(candidate):
        return {}
    if not candidate.capabilities.get("reasoning_effort_levels"):
        longest = longest_answer(candidate, prompt.max_tokens, limit)
        if "thinking" in fields:
            return _thinking(candidate, level, prompt, longest)
        if "thinking_budget" in fields and getattr(model, "reasoning_effort", None) is None:
            return {"thinking_budget": thinking_tokens(level, longest) or _LEAST_BUDGET}
        if "reasoning" in fields and "reasoning_effort" not in fields:  # Ollama's
            return {"reasoning": level != "none"}
    effort = effort_of(candidate, level)
    if effort is None:
        return {}
    if "reasoning_effort" not in fields:
        return {"reasoning": effort if effort != "none" else False} if "reasoning" in fields else {}
    own = getattr(model, "reasoning", None)
    return {"reasoning": {**own, "effort": effort}} if own else {"reasoning_effort": effort}


def _thinking(
    candidate: Candidate, level: Reasoning, prompt: Prompt, longest: int | None
) -> dict[str, Any]:
    """Return Anthropic's arguments for models that know no efforts.

    They can neither think where a tool call is forced, as one is for structured output, nor begin
    to in a tool loop; they think at temperature 1 alone.
    """
    if prompt.tools or prompt.in_tool_loop or prompt.schema is not None:
        return {}
    if (tokens := thinking_tokens(level, longest)) is None:
        return {"thinking": {"type": "disabled"}}
    warm = {} if candidate.capabilities.get("temperature") is False else {"temperature": 1}
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}, **warm}
