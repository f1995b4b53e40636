"""Token estimates without a tokenizer."""

from __future__ import annotations

import pytest

from shared_core.tokens import estimate_tokens, tokens_of_arguments


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("你好吗", 3), ("\ud800", 1), ("\0" * 8, 2)],
)
def test_four_bytes_are_a_token(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


def test_of_the_arguments_of_a_call_what_a_model_reads_is_counted() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x" * 400}}
    assert tokens_of_arguments({"response_format": schema}) > 100
    assert tokens_of_arguments({"tools": [schema]}) > 100
    assert tokens_of_arguments({"stream_options": {"include_usage": True}, "tools": None}) == 0
