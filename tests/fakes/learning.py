"""Tables in memory and in files, and encoders without a model, that tests learn from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared_core.lab.table import Outcomes

ABILITY = {"small": 0.35, "large": 0.9}
MODELS = {"small": 0.4, "large": 0.95}  # of the tables that are written to files
TOPICS = {"sum": 0.1, "list": 0.3, "proof": 0.9, "integral": 0.8}


def outcomes(
    ability: dict[str, float] | None = None,
    *,
    n: int = 120,
    seed: int = 0,
    topics: dict[str, float] = TOPICS,
) -> Outcomes:
    """Models of that ability fail at topics that are harder."""
    rng, ability = np.random.default_rng(seed), ability or ABILITY
    names = [list(topics)[i % len(topics)] for i in range(n)]
    prompts = [f"Task {seed}-{i}: give the {name} of {i % 97}" for i, name in enumerate(names)]
    hard = np.array([[topics[name]] for name in names])
    chance = 1 / (1 + np.exp(8 * (hard - np.array([list(ability.values())]))))
    scores = (rng.random(chance.shape) < chance).astype(float)
    return table(prompts, tuple(ability), scores)


def write(
    path: Path, models: dict[str, float], *, prompts: int = 120, seed: int = 0, top: float = 1.0
) -> Path:
    """A table in which models of that ability fail at topics that are harder."""
    rng, lines = np.random.default_rng(seed), []
    for n in range(prompts):
        topic = list(TOPICS)[n % len(TOPICS)]
        prompt = f"Task {seed}-{n}: give the {topic} of {rng.integers(100)} and {rng.integers(9)}"
        for name, ability in models.items():
            right = rng.random() < 1 / (1 + np.exp(8 * (TOPICS[topic] - ability)))
            row = {
                "prompt": prompt,
                "model": name,
                "score": top * bool(right),
                "cost": ability / 100,
            }
            lines.append(json.dumps({**row, "output_tokens": 50}))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def table(prompts: Sequence[str], models: Sequence[str], scores: np.ndarray) -> Outcomes:
    """A table without costs; every answer has 50 tokens."""
    unknown = np.full(scores.shape, np.nan)
    tokens = np.full(scores.shape, 50.0)
    return Outcomes(tuple(prompts), tuple(models), scores, tokens, unknown, ("",) * len(prompts))


def hidden(seed: int = 0, n: int = 200) -> Outcomes:
    """Whether the small model fails shows in no word and no measure, only in `ParityEncoder`."""
    rng = np.random.default_rng(seed)
    prompts = [f"{word:06d}" for word in rng.permutation(900_000)[:n] + 100_000]
    odd = np.array([parity(prompt) for prompt in prompts])
    return table(prompts, ("small", "large"), np.column_stack([1.0 - odd, np.ones(n)]))


def parity(text: str) -> int:
    """Of the text's characters."""
    return sum(map(ord, text)) % 2


@dataclass(frozen=True)
class FakeEncoder:
    """Gives each text the row that a function makes of it."""

    row: Callable[[str], Any]
    name: str = "fake:encoder"

    def encode(self, texts: Sequence[str]) -> Any:
        return [self.row(text) for text in texts]


def parity_encoder(name: str = "fake:parity") -> FakeEncoder:
    """Knows what `hidden` hides, among numbers that mean nothing."""
    return FakeEncoder(lambda text: [parity(text), len(text), 7.0, ord(text[:1] or " ") % 5], name)
