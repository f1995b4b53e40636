"""How many tokens a text is, about, without a tokenizer or a network.

A token of today's vocabularies is about four bytes of English in UTF-8 (OpenAI's rule of thumb).
Counting bytes and not characters keeps scripts without spaces near the truth: a Chinese character
is three bytes, and mostly one token or less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "BYTES_PER_TOKEN",
    "LIMITS",
    "TOKENS_PER_ATTACHMENT",
    "TOKENS_PER_MESSAGE",
    "TOKENS_TO_THINK",
    "estimate_tokens",
    "longest_of",
    "size_of",
    "tokens_of_arguments",
    "without_limits",
]

LIMITS = ("max_tokens", "max_output_tokens", "max_new_tokens", "num_predict")
"""What models call the limit of an answer's length; the first that a class has is its own."""

_ALL_LIMITS = (*LIMITS, "max_completion_tokens")

_READ = ("functions", "response_format", "tools", "format")
"""Arguments of a call that a model reads: OpenAI's, and Ollama's schema."""

TOKENS_PER_MESSAGE = 4
"""Role and separators, as in OpenAI's chat format."""

TOKENS_PER_ATTACHMENT = 800
"""One image at medium size, by the vendors' documentation: 258 (Gemini) to 1,600 (Claude)."""

TOKENS_TO_THINK = {"low": 1024, "medium": 8192, "high": 24576}
"""What a model may think in at each effort, as Google translates them for Gemini 2.5 (Gemini API,
"OpenAI compatibility")."""

BYTES_PER_TOKEN = 4


def size_of(text: str) -> int:
    """Return the bytes of `text` in UTF-8; half a character counts as three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def estimate_tokens(text: str) -> int:
    """Return the estimated tokens of `text`, at least 1 unless it is empty."""
    return -(-size_of(text) // BYTES_PER_TOKEN)


def tokens_of_arguments(arguments: Mapping[str, Any]) -> int:
    """Return the estimated tokens of what a model reads among the arguments of its call.

    Schemas and tools in a provider's own form are read; all else sets how the call is made.
    """
    read = (arguments.get(name) for name in _READ)
    return sum(estimate_tokens(str(value)) for value in read if isinstance(value, (dict, list)))


def longest_of(arguments: Mapping[str, Any]) -> int | None:
    """Return the most output tokens that the arguments of a call ask for."""
    given = (arguments.get(name) for name in _ALL_LIMITS)
    return next((limit for limit in given if isinstance(limit, int) and limit > 0), None)


def without_limits(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call without any limit of the answer's length."""
    return {name: value for name, value in arguments.items() if name not in _ALL_LIMITS}
