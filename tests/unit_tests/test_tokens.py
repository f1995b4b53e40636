"""Token estimates without a tokenizer."""

from __future__ import annotations

import pytest

from shared_core.tokens import estimate_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("你好吗", 3), ("\ud800", 1), ("\0" * 8, 2)],
)
def test_four_bytes_are_a_token(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens
