"""A predictor that has learned from scored prompts: linear, small, without torch or an encoder.

For each model, two ridge regressions of its scores, one on a prompt's surface measures and one on
its hashed terms, and the fallback's own opinion are blended into log odds:

    logit = b0 + b1 * measures + b2 * terms + b3 * fallback

The blend is fitted on predictions for prompts that the regressions have not seen, with a prior that
says "the fallback is right" (b1 = b2 = 0, b3 = 1): few labels move it little, many overrule it. A
model that no table knew gets the fallback's opinion for its strength, moved by as much as the known
models find the prompt harder or easier than most.

`shared_core.lab.fit` makes it; everything here is numpy and needs no scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from shared_core.prediction.artefact import read_artefact, write_artefact
from shared_core.prediction.features import MEASURES, Features, bucket, features, terms
from shared_core.prediction.surface import (
    QUALITY_SPREAD,
    difficulty,
    quality_logit,
    surface_features,
)
from shared_core.prediction.surface import contributions as surface_contributions
from shared_core.types import CalibrationSample, Candidate, Estimate, Prompt

__all__ = ["LearnedPredictor", "Weights"]

Floats = npt.NDArray[np.floating[Any]]

SLOPE: Final = 4.0
"""Log odds per unit of probability at one half: puts a regression of scores among log odds."""

_CLIP: Final = 4.0  # standard deviations: one odd measure must not decide
_MOST: Final = 8  # parts of an estimate that are worth reading
_TWO_SIDED: Final = 1.96  # 95 % of a normal distribution lies within


@dataclass(frozen=True, eq=False)
class Weights:
    """What has been learned, m models.

    Attributes:
        strengths: 0 to 1, m; the fallback's opinion is asked for these.
        idf: Inverse document frequency of each hash bucket, BUCKETS.
        centre: Mean of each surface measure in the training prompts, len(MEASURES).
        scale: Standard deviation of each, len(MEASURES).
        by_measure: Of the regression on measures, len(MEASURES) x m.
        by_term: Of the regression on terms, BUCKETS x m.
        blend: b0 to b3, m x 4.
        blend_covariance: Posterior covariance of the blend, m x 4 x 4.
        measure_covariance: Of `by_measure`, alike for all models.
        term_variance: Of each row of `by_term`, BUCKETS: the diagonal of the inverse Hessian (as in
            Chapelle and Li, "An empirical evaluation of Thompson sampling", 2011, algorithm 3).
        usual: Mean logit over the training prompts, m.
        mean_score: m.
        output_tokens: Mean over the training answers, m; NaN where unknown.
    """

    strengths: Floats
    idf: Floats
    centre: Floats
    scale: Floats
    by_measure: Floats
    by_term: Floats
    blend: Floats
    blend_covariance: Floats
    measure_covariance: Floats
    term_variance: Floats
    usual: Floats
    mean_score: Floats
    output_tokens: Floats


def _nothing() -> npt.NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class LearnedPredictor:
    """Predicts quality with an interval (95 %) and output tokens, for N models.

    Attributes:
        models: Names of the models it has learned about; a candidate is known by its name.
        weights: What it has learned.
        sample: Predictions for prompts not trained on, and their scores: makes a policy's
            promise a threshold.
        trained_on: `fingerprints` of the prompts it has learned from, so that nobody judges it by
            them.
        card: Where it comes from: plain JSON.
        name: What decisions call it.
        inline_chars: Most characters of a prompt that is predicted on an event loop.
    """

    models: tuple[str, ...]
    weights: Weights = field(repr=False)
    sample: CalibrationSample | None = field(default=None, repr=False)
    trained_on: npt.NDArray[np.int64] = field(default_factory=_nothing, repr=False)
    card: Mapping[str, Any] = field(default_factory=dict, repr=False)
    name: str = "learned"
    inline_chars: int = 8_000

    def predict(self, prompt: Prompt, candidates: Sequence[Candidate]) -> Sequence[Estimate]:
        """See `Predictor.predict`."""
        text = prompt.text
        hardness = _hardness(text)
        inputs = self._inputs(features(text), hardness)
        logits, spreads = self._logits(*inputs)
        places = {name: place for place, name in enumerate(self.models)}
        return [
            self._known(candidate.name, places[candidate.name], logits, spreads)
            if candidate.name in places
            else self._unseen(candidate, hardness, logits, spreads)
            for candidate in candidates
        ]

    def qualities(self, texts: Sequence[str]) -> Floats:
        """Return predicted quality, texts x models."""
        return np.asarray(1.0 / (1.0 + np.exp(-(self.inputs(texts) * self.weights.blend).sum(-1))))

    def inputs(self, texts: Sequence[str]) -> Floats:
        """Return what is blended, texts x models x 4: 1, measures, terms, fallback."""
        rows = [self._inputs(features(t), _hardness(t))[0] for t in texts]
        return np.array(rows).reshape(len(texts), len(self.models), 4)

    def contributions(self, prompt: Prompt, candidate: Candidate) -> list[tuple[str, float]]:
        """Return what moved a candidate's estimate: (measure or term, log odds), largest first."""
        text, w = prompt.text, self.weights
        opinion = surface_contributions(surface_features(text), candidate.strength or 0.0)
        if candidate.name not in self.models:
            logits, _ = self._logits(*self._inputs(features(text), _hardness(text)))
            shift = float((logits - w.usual).mean())
            return _largest({**dict(opinion), "what known models find harder or easier": shift})
        place, seen = self.models.index(candidate.name), features(text)
        _, by_measure, by_term, by_fallback = w.blend[place].tolist()
        measures = SLOPE * by_measure * self._measures(seen) * w.by_measure[:, place]
        parts = dict(zip(MEASURES, measures.tolist(), strict=True))
        values = dict(zip(seen.buckets.tolist(), self._terms(seen).tolist(), strict=True))
        for term in terms(text):  # terms that share a bucket share its weight
            at = bucket(term)
            parts[repr(term)] = SLOPE * by_term * values[at] * float(w.by_term[at, place])
        opinion = surface_contributions(surface_features(text), float(w.strengths[place]))
        return _largest(parts | {f"fallback: {name}": by_fallback * x for name, x in opinion})

    def save(self, folder: str | Path) -> None:
        """Write a folder with a JSON card and the weights; see `write_artefact`."""
        write_artefact(
            Path(folder), self.models, vars(self.weights), self.trained_on, self.sample, self.card
        )

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtefactError: It is missing, corrupt, of another format, or of a wrong shape.
        """
        models, arrays, trained_on, sample, card = read_artefact(Path(folder))
        return cls(models, Weights(**arrays), sample, trained_on, card)

    def _measures(self, seen: Features) -> Floats:
        w = self.weights
        standard = np.clip((seen.measures - w.centre) / w.scale, -_CLIP, _CLIP)
        return np.asarray(standard / math.sqrt(len(MEASURES)))

    def _terms(self, seen: Features) -> Floats:
        values = seen.counts * self.weights.idf[seen.buckets]
        return np.asarray(values / max(float(np.sqrt(values @ values)), 1e-9))

    def _inputs(self, seen: Features, hardness: float) -> tuple[Floats, Floats]:
        """Return what is blended, m x 4, and the variance of the middle two, 2."""
        w, measures, values = self.weights, self._measures(seen), self._terms(seen)
        inputs = np.empty((len(self.models), 4))
        inputs[:, 0] = 1.0
        # A score cannot be further from its mean than 1: prompts unlike any that were seen.
        inputs[:, 1] = SLOPE * np.clip(measures @ w.by_measure, -1, 1)
        inputs[:, 2] = SLOPE * np.clip(values @ w.by_term[seen.buckets], -1, 1)
        inputs[:, 3] = [quality_logit(hardness, s) for s in w.strengths.tolist()]
        variance = (measures @ w.measure_covariance @ measures,
                    (values * values) @ w.term_variance[seen.buckets])  # fmt: skip
        return inputs, SLOPE**2 * np.array(variance)

    def _logits(self, inputs: Floats, variance: Floats) -> tuple[Floats, Floats]:
        """Return each known model's log odds and their standard deviation."""
        w = self.weights
        logits = (inputs * w.blend).sum(axis=1)
        of_blend = np.einsum("mi,mij,mj->m", inputs, w.blend_covariance, inputs)
        return logits, np.sqrt(of_blend + w.blend[:, 1:3] ** 2 @ variance)

    def _known(self, name: str, place: int, logits: Floats, spreads: Floats) -> Estimate:
        tokens = float(self.weights.output_tokens[place])
        return _estimate(name, float(logits[place]), float(spreads[place]), tokens)

    def _unseen(
        self, candidate: Candidate, hardness: float, logits: Floats, spreads: Floats
    ) -> Estimate:
        shift = float((logits - self.weights.usual).mean())
        opinion = quality_logit(hardness, candidate.strength or 0.0)
        spread = math.hypot(QUALITY_SPREAD / _TWO_SIDED, float(spreads.mean()))
        tokens = self.weights.output_tokens
        known = tokens[~np.isnan(tokens)]
        return _estimate(
            candidate.name,
            opinion + shift,
            spread,
            float(known.mean()) if len(known) else math.nan,
        )


def _estimate(name: str, logit: float, spread: float, tokens: float) -> Estimate:
    return Estimate(
        name,
        quality=_probability(logit),
        quality_low=_probability(logit - _TWO_SIDED * spread),
        quality_high=_probability(logit + _TWO_SIDED * spread),
        output_tokens=None if math.isnan(tokens) else round(tokens),
    )


def _hardness(text: str) -> float:
    return difficulty(surface_features(text))


def _largest(parts: Mapping[str, float]) -> list[tuple[str, float]]:
    moved = [(name, value) for name, value in parts.items() if value]
    return sorted(moved, key=lambda part: -abs(part[1]))[:_MOST]


def _probability(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(logit, -700.0), 700.0)))
