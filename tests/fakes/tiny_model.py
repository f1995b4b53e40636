"""A language model that has learned nothing, and its tokenizer."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["LetterTokenizer", "tiny_model"]


class LetterTokenizer:
    """One token per character."""

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        text.encode()  # lone surrogates are refused
        return {"input_ids": [ord(character) % 61 + 3 for character in text]}


def tiny_model() -> Any:
    """A Llama of 6 layers; skips the test without torch and transformers."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=6,
        num_attention_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()
