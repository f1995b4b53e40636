"""Difficulty of a prompt before anything has been learned from the user's own traffic.

The surface's difficulty, moved by what the prompt's words say: a ridge regression on hashed terms
that comes with the package, learned from public benchmarks whose licences allow it. Terms that it
has not met have no weight but count in the norm, so that a text from elsewhere, or in another
language, keeps the difficulty of its surface. `examples/benchmarks/train_prior.py` makes it; its
card, `data/prior.json`, says from what and how good it is.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import mul
from pathlib import Path
from typing import Final, Self

from safetensors import SafetensorError, deserialize

from shared_core.errors import ArtefactError
from shared_core.prediction.surface import (
    DIFFICULTY_WEIGHTS,
    difficulty,
    quality_logit,
    surface_features,
)
from shared_core.prediction.terms import BUCKETS, buckets, tokens

__all__ = ["FORMAT", "Prior", "contributions", "prompt_difficulty"]

FORMAT: Final = 1
"""Number of the format; another one is refused."""

SHIPPED: Final = Path(__file__).parent / "data"
WEIGHTS: Final = "prior.safetensors"
CARD: Final = "prior.json"
MOST: Final = 0.2
"""Words move the difficulty by no more than this; of training prompts, 2 % would go further."""

LEAST: Final = 0.5
"""Share of the surface's difficulty that words leave: at none, the strongest were no better."""

_READ: Final = 1_000  # characters of either end of a longer text
_LOADING: Final = threading.Lock()


@dataclass(frozen=True, eq=False)
class Prior:
    """What words add to the difficulty of a surface.

    Attributes:
        weights: Difficulty per unit of each hash bucket, BUCKETS.
        idf: Inverse document frequency of each, BUCKETS; largest where training prompts had none.
    """

    weights: Sequence[float] = field(repr=False)
    idf: Sequence[float] = field(repr=False)

    def difficulty(self, text: str) -> float:
        """Return the difficulty of a prompt, 0 to 1; the work is bounded."""
        surface = difficulty(surface_features(text))
        return min(1.0, max(LEAST * surface, surface + self.shift(text)))

    def shift(self, text: str) -> float:
        """Return by how much a text's words move its difficulty, at most `MOST` either way."""
        found, values = term_values(text, self.idf)
        moved: float = sum(map(mul, values, map(self.weights.__getitem__, found)))
        return min(MOST, max(-MOST, moved))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read weights and card from a folder.

        Raises:
            ArtefactError: They are missing, corrupt, of another format, or of a wrong shape.
        """
        try:
            card = json.loads((folder / CARD).read_text(encoding="utf-8"))
            blob = (folder / WEIGHTS).read_bytes()
            if card["format"] != FORMAT:
                raise ArtefactError(folder, f"is of format {card['format']!r}, not {FORMAT}")
            if hashlib.sha256(blob).hexdigest() != card["sha256"]:
                raise ArtefactError(folder, "has weights that are not those its card names")
            tensors = dict(deserialize(blob))  # type: ignore[no-untyped-call]
            arrays = {name: _half_floats(tensors[name]["data"]) for name in ("weights", "idf")}
        except (OSError, KeyError, TypeError, ValueError, struct.error, SafetensorError) as error:
            fault = f"cannot be read ({type(error).__name__}: {error})"
            raise ArtefactError(folder, fault) from error
        for name, values in arrays.items():
            if len(values) != BUCKETS:
                raise ArtefactError(folder, f"has {len(values)} {name}, not {BUCKETS}")
            if not all(map(math.isfinite, values)):
                raise ArtefactError(folder, f"has {name} with values that are no numbers")
        return cls(**arrays)


def prompt_difficulty(text: str) -> float:
    """Return the difficulty of a prompt, 0 to 1, by the prior that comes with the package."""
    return _shipped().difficulty(text)


def contributions(text: str, strength: float) -> list[tuple[str, float]]:
    """Share out what difficulty takes off the log odds of a good answer, largest part first."""
    hardness = prompt_difficulty(text)
    drop = quality_logit(hardness, strength) - quality_logit(0.0, strength)
    surface = surface_features(text)
    shares = {name: weight * surface[name] for name, weight in DIFFICULTY_WEIGHTS.items()}
    shares["words"] = hardness - sum(shares.values())
    parts = {name: drop * share / max(hardness, 1e-9) for name, share in shares.items()}
    return sorted(((n, part) for n, part in parts.items() if part), key=lambda p: -abs(p[1]))


def term_values(text: str, idf: Sequence[float]) -> tuple[list[int], list[float]]:
    """Return the buckets of a text's terms and their values, of norm 1; a term counts once."""
    ends = text if len(text) <= 2 * _READ else f"{text[:_READ]} {text[-_READ:]}"
    found = list(set(buckets(tokens(ends))))
    values = list(map(idf.__getitem__, found))
    norm = max(math.sqrt(sum(map(mul, values, values))), 1e-9)
    return found, [value / norm for value in values]


def _shipped() -> Prior:
    with _LOADING:  # `cache` alone would let threads that come first load it side by side
        return _loaded(SHIPPED)


@cache
def _loaded(folder: Path) -> Prior:
    return Prior.load(folder)


def _half_floats(raw: bytes) -> array[float]:
    return array("f", struct.unpack(f"<{len(raw) // 2}e", raw))
