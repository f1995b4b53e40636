"""Tables of outcomes that tests make: models that fail at some topics more than at others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

TOPICS = {"sum": 0.1, "list": 0.3, "proof": 0.9, "integral": 0.8}


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


MODELS = {"small": 0.4, "large": 0.95}
