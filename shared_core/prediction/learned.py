"""A predictor that has learned from scored prompts: linear, small, without torch.

For each model, ridge regressions of its scores, one on a prompt's surface measures, one on its
hashed terms and one on what an encoder of the user's makes of it (no encoder: a vector of no
numbers), and the fallback's own opinion are blended into log odds (each regression is the sum of
what the models share and of what is the model's own):

    logit = b0 + b1 * measures + b2 * terms + b3 * fallback + b4 * encoding

The blend is fitted on predictions for prompts that the regressions have not seen, with a prior that
says "the fallback is right" (b3 = 1, the others 0): few labels move it little, many overrule it. A
model that no table knew gets the fallback's opinion for its strength, moved by as much as the known
models find the prompt harder or easier than most.

`shared_core.lab.fit` makes it; everything here is numpy and needs no scikit-learn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from shared_core.errors import ArtefactError, ConfigurationError
from shared_core.prediction.artefact import read_artefact, write_artefact
from shared_core.prediction.encoders import Encoder, encoded
from shared_core.prediction.features import MEASURES, Features, bucket, features, read, terms
from shared_core.prediction.prior import contributions as opinions
from shared_core.prediction.prior import prompt_difficulty
from shared_core.prediction.surface import QUALITY_SPREAD, quality_logit
from shared_core.types import CalibrationSample, Candidate, Estimate, Prompt

__all__ = ["LearnedPredictor", "Weights", "moved", "standardised"]

Floats = npt.NDArray[np.floating[Any]]

SLOPE: Final = 4.0
"""Log odds per unit of probability at one half: puts a regression of scores among log odds."""

_ANYTHING: Final = 1 / 3  # variance of a deviation that may be anything from -1 to 1 alike
_CLIP: Final = 4.0  # standard deviations: one odd measure must not decide
_INLINE: Final = 2_000  # characters, about a millisecond; a thread costs a tenth of one
_REGRESSIONS: Final = [1, 2, 4]  # places in the blend
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
        encoding_centre: Mean of each number of the encoding, d; 0 without an encoder.
        encoding_scale: Standard deviation of each, d.
        by_measure: Of the regression on measures, len(MEASURES) x m.
        by_term: Of the regression on terms, BUCKETS x m.
        by_encoding: Of the regression on the encoding, d x m.
        blend: b0 to b4, m x 5.
        blend_covariance: Posterior covariance of the blend, m x 5 x 5.
        measure_covariance: Of `by_measure`, alike for all models.
        term_variance: Of each row of `by_term`, BUCKETS: the diagonal of the inverse Hessian (as in
            Chapelle and Li, "An empirical evaluation of Thompson sampling", 2011, algorithm 3).
        encoding_variance: Of each row of `by_encoding`, d, in the same way.
        usual: Mean logit over the training prompts, m.
        mean_score: m.
        output_tokens: Mean over the training answers, m; NaN where unknown.
    """

    strengths: Floats
    idf: Floats
    centre: Floats
    scale: Floats
    encoding_centre: Floats
    encoding_scale: Floats
    by_measure: Floats
    by_term: Floats
    by_encoding: Floats
    blend: Floats
    blend_covariance: Floats
    measure_covariance: Floats
    term_variance: Floats
    encoding_variance: Floats
    usual: Floats
    mean_score: Floats
    output_tokens: Floats


def moved(deviations: Floats) -> Floats:
    """Return what deviations of a score from its mean are in log odds; beyond 1 there are none."""
    # Not np.clip, which is several times as slow on a few numbers.
    return SLOPE * np.minimum(np.maximum(deviations, -1.0), 1.0)


def _shares(parts: Floats) -> Floats:
    """Share out among parts of a deviation what it is in log odds."""
    whole = float(parts.sum())
    return SLOPE * parts / max(1.0, abs(whole))


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
        encoder: What it was trained with, if anything.
        name: What decisions call it.
    """

    models: tuple[str, ...]
    weights: Weights = field(repr=False)
    sample: CalibrationSample | None = field(default=None, repr=False)
    trained_on: npt.NDArray[np.int64] = field(default_factory=_nothing, repr=False)
    card: Mapping[str, Any] = field(default_factory=dict, repr=False)
    encoder: Encoder | None = field(default=None, repr=False)
    name: str = "learned"

    @property
    def inline_chars(self) -> int:
        """See `Predictor.inline_chars`; an encoder is too slow for any prompt."""
        return _INLINE if self.encoder is None else -1

    def predict(self, prompt: Prompt, candidates: Sequence[Candidate]) -> Sequence[Estimate]:
        """See `Predictor.predict`."""
        ((inputs, variance, hardness),) = self._inputs([prompt.text])
        logits, spreads = self._logits(inputs, variance)
        return [
            self._known(candidate.name, self._places[candidate.name], logits, spreads)
            if candidate.name in self._places
            else self._unseen(candidate, hardness, logits, spreads)
            for candidate in candidates
        ]

    def qualities(self, texts: Sequence[str]) -> Floats:
        """Return predicted quality, texts x models."""
        return np.asarray(1.0 / (1.0 + np.exp(-(self.inputs(texts) * self.weights.blend).sum(-1))))

    def inputs(self, texts: Sequence[str]) -> Floats:
        """Return what is blended, texts x models x 5: 1, measures, terms, fallback, encoding."""
        rows = [inputs for inputs, _, _ in self._inputs(texts)]
        return np.array(rows).reshape(len(texts), *self.weights.blend.shape)

    def contributions(self, prompt: Prompt, candidate: Candidate) -> list[tuple[str, float]]:
        """Return what moved a candidate's estimate: (name, log odds), largest first.

        Names are measures, terms, parts of the fallback's opinion, and the encoding as a whole.
        """
        text, w = prompt.text, self.weights
        opinion = opinions(text, candidate.strength or 0.0)
        if candidate.name not in self.models:
            ((inputs, _, _),) = self._inputs([text])
            logits = (inputs * w.blend).sum(axis=1)
            shift = float((logits - w.usual).mean())
            return _largest({**dict(opinion), "what known models find harder or easier": shift})
        place, seen = self.models.index(candidate.name), features(text)
        _, by_measure, by_term, by_fallback, by_encoding = w.blend[place].tolist()
        measures = by_measure * _shares(self._measures(seen) * w.by_measure[:, place])
        parts = dict(zip(MEASURES, measures.tolist(), strict=True))
        values = by_term * _shares(self._terms(seen) * w.by_term[seen.buckets, place])
        by_bucket = dict(zip(seen.buckets.tolist(), values.tolist(), strict=True))
        places = {term: bucket(term) for term in terms(read(text))}
        sharing = Counter(places.values())  # terms that share a bucket share its part
        for term, at in places.items():
            parts[repr(term)] = by_bucket[at] / sharing[at]
        encoding = self._encodings([text])[0] @ w.by_encoding[:, place]
        parts["encoding"] = by_encoding * float(moved(encoding))
        opinion = opinions(text, float(w.strengths[place]))
        return _largest(parts | {f"fallback: {name}": by_fallback * x for name, x in opinion})

    def save(self, folder: str | Path) -> None:
        """Write a folder with a JSON card and the weights; see `write_artefact`."""
        write_artefact(
            Path(folder), self.models, vars(self.weights), self.trained_on, self.sample, self.card
        )

    @classmethod
    def load(cls, folder: str | Path, encoder: Encoder | None = None) -> Self:
        """Read what `save` wrote.

        Args:
            folder: Where it is.
            encoder: The one that it was trained with, where it was.

        Raises:
            ArtefactError: It is missing, corrupt, of another format, or of a wrong shape, or was
                trained with another encoder.
        """
        models, arrays, trained_on, sample, card = read_artefact(Path(folder))
        needed, given = card.get("encoder"), None if encoder is None else encoder.name
        if needed != given:
            raise ArtefactError(
                folder,
                "was trained without an encoder: load it without"
                if needed is None
                else f"was trained with the encoder {needed!r}, not {given!r}: pass "
                f"encoder=encoder_from({needed!r}) or the one of that name",
            )
        return cls(models, Weights(**arrays), sample, trained_on, card, encoder)

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(self.models)}

    def _measures(self, seen: Features) -> Floats:
        return standardised(seen.measures, self.weights.centre, self.weights.scale)

    def _encodings(self, texts: Sequence[str]) -> Floats:
        centre = self.weights.encoding_centre
        rows = encoded(self.encoder, texts) if texts else np.zeros((0, len(centre)))
        if rows.shape[1] != len(centre):
            raise ConfigurationError(
                f"the encoder gave {rows.shape[1]} numbers, not the {len(centre)} of training"
            )
        return standardised(rows, centre, self.weights.encoding_scale)

    def _terms(self, seen: Features) -> Floats:
        values = seen.counts * self.weights.idf[seen.buckets]
        return np.asarray(values / max(float(np.sqrt(values @ values)), 1e-9))

    def _inputs(self, texts: Sequence[str]) -> Iterator[tuple[Floats, Floats, float]]:
        """Yield of each text what is blended, m x 5, 3 regressions' variances, its difficulty."""
        w = self.weights
        for text, encoding in zip(texts, self._encodings(texts), strict=True):
            seen, hardness = features(text), prompt_difficulty(text)
            measures, values = self._measures(seen), self._terms(seen)
            inputs = np.empty(w.blend.shape)
            inputs[:, 0] = 1.0
            inputs[:, 3] = [quality_logit(hardness, s) for s in w.strengths.tolist()]
            found = (
                measures @ w.by_measure,
                values @ w.by_term[seen.buckets],
                encoding @ w.by_encoding,
            )
            inputs[:, _REGRESSIONS] = moved(np.array(found)).T
            variance = (
                measures @ w.measure_covariance @ measures,
                (values * values) @ w.term_variance[seen.buckets],
                (encoding * encoding) @ w.encoding_variance,
            )
            yield inputs, SLOPE**2 * np.minimum(variance, _ANYTHING), hardness

    def _logits(self, inputs: Floats, variance: Floats) -> tuple[Floats, Floats]:
        """Return each known model's log odds and their standard deviation."""
        w = self.weights
        logits = (inputs * w.blend).sum(axis=1)
        of_blend = np.einsum("mi,mij,mj->m", inputs, w.blend_covariance, inputs)
        return logits, np.sqrt(of_blend + w.blend[:, _REGRESSIONS] ** 2 @ variance)

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


def standardised(values: Floats, centre: Floats, scale: Floats) -> Floats:
    """Return numbers, or rows of them, in standard deviations, as vectors of a norm of about 1."""
    standard = np.minimum(np.maximum((values - centre) / scale, -_CLIP), _CLIP)
    return np.asarray(standard / math.sqrt(max(1, len(centre))))


def _estimate(name: str, logit: float, spread: float, tokens: float) -> Estimate:
    return Estimate(
        name,
        quality=_probability(logit),
        quality_low=_probability(logit - _TWO_SIDED * spread),
        quality_high=_probability(logit + _TWO_SIDED * spread),
        output_tokens=None if math.isnan(tokens) else round(tokens),
    )


def _largest(parts: Mapping[str, float]) -> list[tuple[str, float]]:
    found = [(name, value) for name, value in parts.items() if value]
    return sorted(found, key=lambda part: -abs(part[1]))[:_MOST]


def _probability(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(logit, -700.0), 700.0)))
