"""How many tokens a text is, about, without a tokenizer or a network.

A token of today's vocabularies is about four bytes of English in UTF-8 (OpenAI's rule of thumb).
Counting bytes and not characters keeps scripts without spaces near the truth: a Chinese character
is three bytes, and mostly one token or less.
"""

from __future__ import annotations

__all__ = ["estimate_tokens"]

_BYTES_PER_TOKEN = 4


def estimate_tokens(text: str) -> int:
    """Return the estimated tokens of `text`, at least 1 unless it is empty."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // _BYTES_PER_TOKEN)
