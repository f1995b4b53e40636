"""How many tokens a text is, about, without a tokenizer or a network.

A token of today's vocabularies is about four bytes of English in UTF-8 (OpenAI's rule of thumb).
Counting bytes and not characters keeps scripts without spaces near the truth: a Chinese character
is three bytes, and mostly one token or less.
"""

from __future__ import annotations

__all__ = [
    "BYTES_PER_TOKEN",
    "TOKENS_PER_ATTACHMENT",
    "TOKENS_PER_MESSAGE",
    "estimate_tokens",
    "size_of",
]

TOKENS_PER_MESSAGE = 4
"""Role and separators, as in OpenAI's chat format."""

TOKENS_PER_ATTACHMENT = 800
"""One image at medium size, by the vendors' documentation: 258 (Gemini) to 1,600 (Claude)."""

BYTES_PER_TOKEN = 4


def size_of(text: str) -> int:
    """Return the bytes of `text` in UTF-8; half a character counts as three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def estimate_tokens(text: str) -> int:
    """Return the estimated tokens of `text`, at least 1 unless it is empty."""
    return -(-size_of(text) // BYTES_PER_TOKEN)
