"""Learning: from a table of outcomes to a predictor.

In: `Outcomes`. Out: a `LearnedPredictor`, its calibration sample made of cross-fitted predictions
(each prompt is predicted by regressions that have not seen it). Needs scikit-learn (`[train]`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from shared_core.errors import ConfigurationError, MissingExtraError, TableError
from shared_core.lab.crossfit import FOLDS, folds_of, map_logistic
from shared_core.lab.table import Outcomes
from shared_core.prediction.encoders import Encoder, encoded
from shared_core.prediction.features import BUCKETS, MEASURES, Features, features, fingerprints
from shared_core.prediction.learned import LearnedPredictor, Weights, moved, standardised
from shared_core.prediction.prior import prompt_difficulty
from shared_core.prediction.surface import quality_logit
from shared_core.tokens import estimate_tokens
from shared_core.types import CalibrationSample

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

__all__ = ["fit", "probe", "sample_of", "unseen"]

PENALTIES: Final = {
    "measures": (0.3, 3.0, 30.0, 300.0),
    "terms": (0.5, 1.5, 5.0, 15.0, 50.0),
    "encoding": (0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
}
"""Ridge penalties tried, besides an infinite one; rows have a norm of about 1."""

PRIOR_MEAN: Final = np.array([0.0, 0.0, 0.0, 1.0, 0.0])
PRIOR_SD: Final = np.array([2.0, 0.5, 0.3, 0.5, 0.5])
"""Before any label the fallback is right; the regressions have to earn their part of the blend."""

LEAST_SPREAD: Final = 0.25
"""Standard deviation of a measure (a logarithm: a quarter more or less) under which it is taken for
a constant: otherwise one more letter would mean much where all prompts are of one form."""

PROBE_MEAN: Final = np.array([0.0, 1.0, 1.0, 1.0, 1.0])
PROBE_SD: Final = np.array([2.0, 0.5, 0.5, 0.5, 0.5])
"""Before any label a new model is like the known ones."""

FEWEST: Final = 10  # scored prompts of a model; fewer than two a fold teach nothing

_PIECE: Final = 32  # prompts that are encoded at once

Floats = npt.NDArray[np.floating[Any]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Design:
    """The prompts as matrices: measures and encodings standardised, terms weighted, n rows each."""

    measures: Floats
    terms: csr_matrix
    idf: Floats
    encoding: Floats
    centre: Floats
    scale: Floats
    encoding_centre: Floats
    encoding_scale: Floats
    hardness: Floats


def fit(
    outcomes: Outcomes,
    *,
    encoder: Encoder | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> LearnedPredictor:
    """Learn from scored prompts.

    Args:
        outcomes: Prompts, models and scores.
        encoder: Learned from besides measures and terms, where given; reads each prompt once.
        seed: Of the folds.
        progress: Is told (steps done, steps in all).

    Raises:
        TableError: A model has too few scores, or nothing in the table differs.
        ConfigurationError: The encoder does not give one row of finite numbers per prompt.
        MissingExtraError: scikit-learn is not installed.
    """
    _check(outcomes)
    groups = list(_groups(outcomes.scores))
    pieces = -(-len(outcomes.prompts) // _PIECE) if encoder is not None else 0
    tick = _ticks(pieces + len(groups) * sum(map(len, PENALTIES.values())), progress)
    design = _design(outcomes.prompts, _encodings(encoder, outcomes.prompts, tick))
    folds = folds_of(fingerprints(outcomes.prompts), seed)
    m = len(outcomes.models)
    unseen = {name: np.zeros((len(outcomes.prompts), m)) for name in PENALTIES}
    final = {name: np.zeros((getattr(design, name).shape[1], m)) for name in PENALTIES}
    penalties: dict[str, list[float]] = {name: [] for name in PENALTIES}
    mean = np.nanmean(outcomes.scores, axis=0)
    for columns, rows in groups:
        targets = outcomes.scores[np.ix_(rows, columns)] - mean[columns]
        for name in PENALTIES:
            found = _regressed(getattr(design, name), rows, targets, folds, PENALTIES[name], tick)
            unseen[name][:, columns], final[name][:, columns] = found.unseen, found.weights
            penalties[name] += found.penalties
    predictor = _blended(outcomes, design, unseen, final, penalties, mean, folds, seed)
    if encoder is None:
        return predictor
    card = {**predictor.card, "encoder": encoder.name}
    return replace(predictor, encoder=encoder, card=card)


@dataclass(frozen=True)
class _Regressed:
    """Cross-fitted predictions (n x m), weights (d x m), and the penalties that were chosen."""

    unseen: Floats
    weights: Floats
    penalties: list[float]


def _regressed(
    inputs: Any,
    rows: npt.NDArray[np.int64],
    targets: Floats,
    folds: npt.NDArray[np.int64],
    grid: Sequence[float],
    tick: Callable[[], None],
) -> _Regressed:
    """Regress what the models share and what is each one's own, each with a penalty of its own.

    What is a model's own decides between models, and is far harder to predict than how hard a
    prompt is for all: with one penalty for both its noise would choose.
    """
    shared = targets.mean(axis=1, keepdims=True)
    parts = np.hstack([shared, targets - shared])
    least, unseen = np.mean(parts**2, axis=0), np.zeros((len(folds), parts.shape[1]))
    penalties = np.full(parts.shape[1], np.inf)
    for penalty in grid:
        predicted = _cross_fitted(inputs, rows, parts, folds, penalty)
        errors = np.mean((parts - predicted[rows]) ** 2, axis=0)
        better = errors < least
        least, penalties = np.where(better, errors, least), np.where(better, penalty, penalties)
        unseen[:, better] = predicted[:, better]
        tick()
    weights = np.zeros((inputs.shape[1], parts.shape[1]))
    for penalty in set(penalties.tolist()) - {np.inf}:
        chosen = penalties == penalty
        weights[:, chosen] = _ridge(inputs[rows], parts[:, chosen], penalty)
    return _Regressed(
        unseen[:, :1] + unseen[:, 1:], weights[:, :1] + weights[:, 1:], penalties.tolist()
    )


def _cross_fitted(
    inputs: Any, rows: npt.NDArray[np.int64], targets: Floats, folds: Any, penalty: float
) -> Floats:
    """Predict every prompt by a ridge on the scored rows of the other folds."""
    predicted = np.zeros((len(folds), targets.shape[1]))
    for fold in range(FOLDS):
        kept, asked = folds[rows] != fold, folds == fold
        if not kept.any():  # all of these rows have one text
            continue
        predicted[asked] = inputs[asked] @ _ridge(inputs[rows[kept]], targets[kept], penalty)
    return predicted


def unseen(predictor: LearnedPredictor, outcomes: Outcomes) -> npt.NDArray[np.bool_]:
    """Say which prompts the predictor can be judged by, n.

    Those that it was not trained on, and those of which its sample has what was predicted before
    they were, for every model of the table: it has not for one that was probed later.
    """
    known, sample = fingerprints(outcomes.prompts), predictor.sample
    judged = ~np.isin(known, predictor.trained_on)
    models = set(predictor.models) & set(outcomes.models)
    if sample is not None and sample.prompts is not None and models <= set(sample.names):
        judged |= np.isin(known, sample.prompts)
    return judged


def sample_of(predictor: LearnedPredictor, outcomes: Outcomes) -> CalibrationSample:
    """Return a calibration sample of prompts by which the predictor can be judged; see `unseen`.

    Raises:
        TableError: The table has scores of none of the predictor's models.
    """
    places = [name for name in predictor.models if name in outcomes.models]
    if not places:
        raise TableError(
            f"the table has none of the predictor's models ({', '.join(predictor.models)})"
        )
    columns = [predictor.models.index(name) for name in places]
    scores = outcomes.scores[:, [outcomes.models.index(name) for name in places]]
    predicted = predictor.qualities(outcomes.prompts)[:, columns]
    _recall(predicted, predictor.sample, places, fingerprints(outcomes.prompts))
    return _sample(
        outcomes.prompts,
        tuple(places),
        predicted,
        scores,
        predictor.weights.output_tokens[columns],
    )


def _recall(
    predicted: Floats,
    sample: CalibrationSample | None,
    models: Sequence[str],
    known: npt.NDArray[np.int64],
) -> None:
    """Put what was predicted before training in the place of what is predicted after it."""
    if sample is None or sample.prompts is None:
        return
    places = {prompt: place for place, prompt in enumerate(sample.prompts.tolist())}
    pairs = [(row, places[p]) for row, p in enumerate(known.tolist()) if p in places]
    rows, sources = [row for row, _ in pairs], [source for _, source in pairs]
    for column, model in enumerate(models):
        if model in sample.names:
            predicted[rows, column] = sample.predicted[sources, sample.names.index(model)]


def probe(predictor: LearnedPredictor, outcomes: Outcomes, model: str) -> LearnedPredictor:
    """Add a model that training never saw, from some scored prompts of it (about 30 to 200).

    What the known models share is taken over; only its five blend weights are fitted.

    Raises:
        TableError: The table has no or too few scores of that model, or it is known already.
    """
    if model in predictor.models:
        raise TableError(f"the predictor knows {model!r} already: train it anew instead")
    if model not in outcomes.models:
        raise TableError(f"the table has no model {model!r}; it has: {', '.join(outcomes.models)}")
    column = outcomes.scores[:, outcomes.models.index(model)]
    rows = np.flatnonzero(~np.isnan(column))
    if len(rows) < FEWEST:
        raise TableError(f"{model!r} has {len(rows)} scores; a probe needs at least {FEWEST}")
    w = predictor.weights
    order = np.argsort(w.mean_score)
    strength = np.interp(column[rows].mean(), w.mean_score[order], w.strengths[order])
    tokens = outcomes.output_tokens[rows, outcomes.models.index(model)]
    wider = Weights(
        **{
            **vars(w),
            "strengths": np.append(w.strengths, strength),
            "by_measure": np.column_stack([w.by_measure, (w.by_measure * w.blend[:, 1]).mean(1)]),
            "by_term": np.column_stack([w.by_term, (w.by_term * w.blend[:, 2]).mean(1)]),
            "by_encoding": np.column_stack(
                [w.by_encoding, (w.by_encoding * w.blend[:, 4]).mean(1)]
            ),
            "blend": np.vstack([w.blend, PROBE_MEAN]),
            "blend_covariance": np.concatenate([w.blend_covariance, np.zeros((1, 5, 5))]),
            "usual": np.append(w.usual, 0.0),
            "mean_score": np.append(w.mean_score, column[rows].mean()),
            "output_tokens": np.append(w.output_tokens, _mean(tokens)),
        }
    )
    seen = fingerprints([outcomes.prompts[row] for row in rows])
    wider_predictor = replace(
        predictor,
        models=(*predictor.models, model),
        weights=wider,
        trained_on=np.union1d(predictor.trained_on, seen),
    )
    inputs = wider_predictor.inputs([outcomes.prompts[row] for row in rows])[:, -1]
    blend, covariance = map_logistic(inputs, column[rows], PROBE_MEAN, PROBE_SD)
    wider.blend[-1], wider.blend_covariance[-1] = blend, covariance
    wider.usual[-1] = float((inputs @ blend).mean())
    return wider_predictor


def _blended(
    outcomes: Outcomes,
    design: _Design,
    unseen: Mapping[str, Floats],
    final: Mapping[str, Floats],
    penalties: Mapping[str, Sequence[float]],
    mean: Floats,
    folds: npt.NDArray[np.int64],
    seed: int,
) -> LearnedPredictor:
    n, m = outcomes.scores.shape
    strengths = (np.argsort(np.argsort(mean)) + 1) / (m + 1)
    blend, covariance, usual = np.zeros((m, 5)), np.zeros((m, 5, 5)), np.zeros(m)
    logits = np.zeros((n, m))
    for place in range(m):
        inputs = np.column_stack(
            [
                np.ones(n),
                moved(unseen["measures"][:, place]),
                moved(unseen["terms"][:, place]),
                [quality_logit(h, float(strengths[place])) for h in design.hardness],
                moved(unseen["encoding"][:, place]),
            ]
        )
        scores = outcomes.scores[:, place]
        blend[place], covariance[place] = _blend(inputs, scores)
        usual[place] = (inputs @ blend[place]).mean()
        # What the sample says must not have seen its own scores: they would look kept too easily.
        for fold in range(FOLDS):
            others, _ = _blend(inputs, np.where(folds == fold, np.nan, scores))
            logits[folds == fold, place] = inputs[folds == fold] @ others
    noise = float(np.nanmean(mean * (1 - mean)))
    tokens = np.array([_mean(column) for column in outcomes.output_tokens.T])
    weights = Weights(
        strengths=strengths,
        idf=design.idf.astype(np.float32),
        centre=design.centre,
        scale=design.scale,
        encoding_centre=design.encoding_centre,
        encoding_scale=design.encoding_scale,
        by_measure=final["measures"],
        by_term=final["terms"].astype(np.float32),
        by_encoding=final["encoding"].astype(np.float32),
        blend=blend,
        blend_covariance=covariance,
        measure_covariance=noise
        * np.linalg.inv(
            design.measures.T @ design.measures
            + _finite(penalties["measures"]) * np.eye(len(MEASURES))
        ),
        term_variance=_variance(noise, design.terms.power(2), penalties["terms"]),
        encoding_variance=_variance(noise, design.encoding**2, penalties["encoding"]),
        usual=usual,
        mean_score=mean,
        output_tokens=tokens,
    )
    predicted = 1.0 / (1.0 + np.exp(-logits))
    card = {
        "prompts": n,
        "scores": {
            name: int((~np.isnan(column)).sum())
            for name, column in zip(outcomes.models, outcomes.scores.T, strict=True)
        },
        "data sets": sorted(set(outcomes.datasets) - {""}),
        "seed": seed,
        "penalties": {
            name: [None if math.isinf(p) else p for p in values]
            for name, values in penalties.items()
        },
    }
    sample = _sample(outcomes.prompts, outcomes.models, predicted, outcomes.scores, tokens)
    return LearnedPredictor(
        outcomes.models, weights, sample, np.unique(fingerprints(outcomes.prompts)), card
    )


def _blend(inputs: Floats, scores: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(scores)
    return map_logistic(inputs[known], scores[known], PRIOR_MEAN, PRIOR_SD)


def _check(outcomes: Outcomes) -> None:
    for name, column in zip(outcomes.models, outcomes.scores.T, strict=True):
        known = column[~np.isnan(column)]
        if len(known) < FEWEST:
            raise TableError(f"{name!r} has {len(known)} scores; training needs at least {FEWEST}")
    known = outcomes.scores[~np.isnan(outcomes.scores)]
    if known.min() == known.max():
        raise TableError(f"every score is {known.min():g}: there is nothing to learn from")


def _ticks(steps: int, progress: Progress | None) -> Callable[[], None]:
    """Return what tells progress, each time it is called, that one more step is done."""
    done = itertools.count(1)
    return lambda: progress(next(done), steps) if progress else None


def _encodings(encoder: Encoder | None, prompts: Sequence[str], tick: Callable[[], None]) -> Floats:
    """Encode the prompts piece by piece, so that progress can be told."""
    pieces = []
    for start in range(0, 0 if encoder is None else len(prompts), _PIECE):
        pieces.append(encoded(encoder, prompts[start : start + _PIECE]))
        tick()
    if len({piece.shape[1] for piece in pieces}) > 1:
        raise ConfigurationError("the encoder gave vectors of different lengths")
    return np.concatenate(pieces) if pieces else encoded(None, prompts)


def _design(prompts: Sequence[str], encodings: Floats) -> _Design:
    try:
        from scipy.sparse import csr_matrix, diags
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "train") from error
    seen: list[Features] = [features(prompt) for prompt in prompts]
    ends = np.cumsum([0, *(len(one.buckets) for one in seen)])
    counts = csr_matrix(
        (
            np.concatenate([one.counts for one in seen]),
            np.concatenate([one.buckets for one in seen]),
            ends,
        ),
        shape=(len(seen), BUCKETS),
    )
    documents = np.asarray((counts > 0).sum(axis=0)).ravel()
    idf = np.log((1 + len(seen)) / (1 + documents)) + 1.0  # scikit-learn's smooth idf
    weighted = counts @ diags(idf)
    norms = np.sqrt(np.asarray(weighted.power(2).sum(axis=1)).ravel())
    measures = np.array([one.measures for one in seen])
    centre, scale = measures.mean(axis=0), np.maximum(measures.std(axis=0), LEAST_SPREAD)
    encoding_centre, encoding_scale = _moments(encodings)
    hardness = np.array([prompt_difficulty(prompt) for prompt in prompts])
    terms = (diags(1.0 / np.maximum(norms, 1e-9)) @ weighted).tocsr()
    return _Design(
        measures=standardised(measures, centre, scale),
        terms=terms,
        idf=idf,
        encoding=standardised(encodings, encoding_centre, encoding_scale),
        centre=centre,
        scale=scale,
        encoding_centre=encoding_centre,
        encoding_scale=encoding_scale,
        hardness=hardness,
    )


def _moments(values: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of each column; 1 where nothing differs."""
    centre, scale = values.mean(axis=0, dtype=float), values.std(axis=0, dtype=float)
    return centre, np.where(scale > 1e-6, scale, 1.0)


def _variance(noise: float, squares: Any, penalties: Sequence[float]) -> Floats:
    """Return the diagonal of a ridge's posterior covariance, roughly; see `Weights`."""
    hessian = np.asarray(squares.sum(axis=0)).ravel() + _finite(penalties)
    return np.asarray(noise / hessian, np.float32)


def _groups(scores: Floats) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield (models, prompts) of models that were scored on the same prompts."""
    observed = ~np.isnan(scores)
    patterns: dict[bytes, list[int]] = {}
    for column in range(scores.shape[1]):
        patterns.setdefault(observed[:, column].tobytes(), []).append(column)
    for columns in patterns.values():
        yield np.array(columns), np.flatnonzero(observed[:, columns[0]])


def _ridge(inputs: Any, targets: Floats, penalty: float) -> Floats:
    """Return ridge weights without an intercept: inputs and targets are centred, or nearly."""
    if not inputs.shape[1]:
        return np.zeros((0, targets.shape[1]))
    try:
        from sklearn.linear_model import ridge_regression  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "train") from error
    solver = "cholesky" if isinstance(inputs, np.ndarray) else "sparse_cg"
    found = ridge_regression(inputs, targets, penalty, solver=solver, tol=1e-3)
    return np.asarray(found).reshape(targets.shape[1], -1).T


def _sample(
    prompts: Sequence[str],
    models: tuple[str, ...],
    predicted: Floats,
    scores: Floats,
    tokens: npt.NDArray[np.floating[Any]],
) -> CalibrationSample:
    return CalibrationSample(
        models,
        predicted,
        np.array([estimate_tokens(prompt) for prompt in prompts], float),
        np.broadcast_to(tokens, predicted.shape),
        scores,
        fingerprints(prompts),
    )


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _finite(penalties: Sequence[float]) -> float:
    known = [penalty for penalty in penalties if math.isfinite(penalty)]
    return float(np.median(known)) if known else 1e6
