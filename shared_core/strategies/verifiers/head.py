"""What a learned verifier has learned: log odds that an answer is right, out of what it looks like.

    logit = offset + base + slope * logit(prior) + surface * linear + trees(surface) + reader

once for each share of a draft that may be there (`SHARES`), so that a growing one can be judged. On
disk as `shared_core.weights` says. No scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from shared_core.errors import ArtefactError
from shared_core.strategies.verifiers.surface import FEATURES
from shared_core.weights import read_weights, write_weights

__all__ = ["CLIP", "FORMAT", "SHARES", "Head", "climbed"]

FORMAT: Final = 1
"""Number of the format; another one is refused. It changes with `FEATURES`."""

SHARES: Final = (0.25, 0.5, 0.75, 1.0)
"""Of a draft that is there, for each of which something has been learned."""

CLIP: Final = 4.0
"""Standard deviations: one odd measure must not decide."""

Floats = npt.NDArray[np.floating[Any]]

_WHOLE: Final = len(SHARES) - 1
_NAMES: Final = ("models", "reader", "card")  # in the card, not among the weights


@dataclass(frozen=True, eq=False)
class Head:
    """Weights for s shares of a draft, k surface features, d numbers of a reader, t trees.

    Attributes:
        offset: Log odds, s.
        slope: Of the prior's log odds, s.
        centre: Mean of each surface feature, s x k.
        scale: Standard deviation of each, s x k.
        linear: Log odds per standard deviation, s x k.
        split: Feature that each inner node asks for, s x t x inner nodes, root first, as a heap.
        threshold: Standardised value up to which it goes left, of the same shape.
        leaf: Log odds of each leaf, s x t x (inner nodes + 1).
        reading_centre: Mean of each number of the reader, d; none without a reader.
        reading_scale: Standard deviation of each, d.
        reading: Log odds per standard deviation, d; of the whole draft alone.
        base: Log odds by which each of `models` differs from the others, m.
        drift: Standard deviation of what the whole draft moves them by beyond that, s.
        models: Names of candidates whose answers it has learned from and knows apart.
        reader: Name of the reader that it was trained with, if any.
        card: Where it comes from: plain JSON.
    """

    offset: Floats
    slope: Floats
    centre: Floats
    scale: Floats
    linear: Floats
    split: npt.NDArray[np.integer[Any]]
    threshold: Floats
    leaf: Floats
    reading_centre: Floats
    reading_scale: Floats
    reading: Floats
    base: Floats
    drift: Floats
    models: tuple[str, ...] = ()
    reader: str | None = None
    card: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def standardised(self, surface: Floats, share: int = _WHOLE) -> Floats:
        """Return surface features (or rows of them) as standard deviations from the mean."""
        values = (surface - self.centre[share]) / self.scale[share]
        return np.asarray(np.minimum(np.maximum(values, -CLIP), CLIP))

    def logits(
        self,
        surface: Floats,
        prior: Floats | float = 0.0,
        reading: Floats | None = None,
        share: int = _WHOLE,
        models: Sequence[str] = (),
    ) -> Floats:
        """Return log odds that answers are right, n.

        Args:
            surface: One row of features per answer, n x k.
            prior: Log odds before they were looked at, n or one for all.
            reading: One row of the reader's numbers per answer, n x d.
            share: Place in `SHARES` of how much of them is there.
            models: Who wrote each answer, n; none: candidates that it does not know.
        """
        z = self.standardised(surface, share)
        logits = self.offset[share] + self.slope[share] * np.asarray(prior)
        logits = logits + np.array([self._bases.get(model, 0.0) for model in models] or 0.0)
        logits = logits + z @ self.linear[share] + self.by_trees(z, share)
        if reading is not None and share == _WHOLE:
            logits = logits + self.read(reading)
        return np.asarray(logits)

    def by_trees(self, z: Floats, share: int = _WHOLE) -> Floats:
        """Return what the trees add for rows of standardised features."""
        return climbed(self.split[share], self.threshold[share], self.leaf[share], z)

    def read(self, reading: Floats) -> Floats:
        """Return what a reader's rows add."""
        values = (reading - self.reading_centre) / self.reading_scale
        return np.asarray(np.clip(values, -CLIP, CLIP) @ self.reading)

    def save(self, folder: str | Path) -> None:
        """Write a folder with weights and card, in place of those that are there.

        Raises:
            OSError: It cannot be written.
        """
        arrays = {name: getattr(self, name) for name in self._arrays}
        content = {
            "format": FORMAT,
            "kind": "verifier",
            "features": list(FEATURES),
            "models": list(self.models),
            "reader": self.reader,
            "about": dict(self.card),
        }
        write_weights(Path(folder), arrays, content)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtefactError: It is missing, corrupt, of another format, or of a wrong shape.
        """
        folder = Path(folder)
        content, arrays = read_weights(folder, "verifier", FORMAT)
        if content.get("features") != list(FEATURES):
            raise ArtefactError(folder, "has learned from other features: train it again")
        named: dict[str, Any] = {**arrays, "reader": content.get("reader")}
        try:
            models, card = tuple(content["models"]), dict(content["about"])
            head = cls(**named, models=models, card=card)
        except (KeyError, TypeError, ValueError) as error:
            fault = f"cannot be read ({type(error).__name__}: {error})"
            raise ArtefactError(folder, fault) from error
        head._check(folder)
        return head

    @cached_property
    def _bases(self) -> dict[str, float]:
        return dict(zip(self.models, self.base.tolist(), strict=True))

    @cached_property
    def _arrays(self) -> tuple[str, ...]:
        return tuple(one.name for one in fields(self) if one.name not in _NAMES)

    def _check(self, folder: Path) -> None:
        s, k, d = len(SHARES), len(FEATURES), len(self.reading)
        trees, inner = self.split.shape[1:] if self.split.ndim == 3 else (-1, -1)
        shapes = {
            **dict.fromkeys(("offset", "slope", "drift"), (s,)),
            **dict.fromkeys(("centre", "scale", "linear"), (s, k)),
            **dict.fromkeys(("split", "threshold"), (s, trees, inner)),
            "leaf": (s, trees, inner + 1),
            **dict.fromkeys(("reading_centre", "reading_scale", "reading"), (d,)),
            "base": (len(set(self.models)),),
        }
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ArtefactError(folder, f"has {name} of shape {array.shape}, not {shape}")
            if not np.isfinite(array).all():
                raise ArtefactError(folder, f"has {name} with values that are no numbers")
        whole_tree = trees == 0 or (inner + 1) & inner == 0
        if not whole_tree or self.split.min(initial=0) < 0 or self.split.max(initial=0) >= k:
            raise ArtefactError(folder, "has trees that lead nowhere")
        if min(self.scale.min(), self.reading_scale.min(initial=1.0)) <= 0:
            raise ArtefactError(folder, "has a scale that is not over 0")
        if (self.reader is None) != (d == 0):
            raise ArtefactError(folder, "has weights for a reader without its name, or the reverse")


def climbed(
    split: npt.NDArray[np.integer[Any]], threshold: Floats, leaf: Floats, z: Floats
) -> Floats:
    """Return the sum of the leaves that rows of standardised features come to, n."""
    trees, inner = split.shape
    at, every = np.zeros((len(z), trees), np.intp), np.arange(trees)
    rows = np.arange(len(z))[:, None]
    while inner:  # a level less each time
        right = z[rows, split[every, at]] > threshold[every, at]
        at, inner = 2 * at + 1 + right, inner // 2
    return np.asarray(leaf[every, at - split.shape[1]].sum(axis=1))
