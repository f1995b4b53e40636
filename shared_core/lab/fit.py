"""Learning: from a table of outcomes to a predictor.

In: `Outcomes`. Out: a `LearnedPredictor`, its calibration sample made of cross-fitted predictions
(each prompt is predicted by regressions that have not seen it). Needs scikit-learn (`[train]`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from shared_core.errors import MissingExtraError, TableError
from shared_core.lab.table import Outcomes
from shared_core.prediction.features import BUCKETS, MEASURES, Features, features, fingerprints
from shared_core.prediction.learned import SLOPE, LearnedPredictor, Weights
from shared_core.prediction.surface import difficulty, quality_logit, surface_features
from shared_core.tokens import estimate_tokens
from shared_core.types import CalibrationSample

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

__all__ = ["fit", "probe", "sample_of", "unseen"]

FOLDS: Final = 5
PENALTIES: Final = {
    "measures": (0.3, 3.0, 30.0, 300.0),
    "terms": (0.5, 1.5, 5.0, 15.0, 50.0),
}
"""Ridge penalties tried, besides an infinite one; rows have a norm of about 1."""

PRIOR_MEAN: Final = np.array([0.0, 0.0, 0.0, 1.0])
PRIOR_SD: Final = np.array([2.0, 0.5, 0.3, 0.5])
"""Before any label the fallback is right; the regressions have to earn their part of the blend."""

LEAST_SPREAD: Final = 0.25
"""Standard deviation of a measure (a logarithm: a quarter more or less) under which it is taken for
a constant: otherwise one more letter would mean much where all prompts are of one form."""

FEWEST: Final = 10  # scored prompts of a model; fewer than two a fold teach nothing

Floats = npt.NDArray[np.floating[Any]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Design:
    """The prompts as matrices: standardised measures (n x k), weighted terms (n x BUCKETS)."""

    measures: Floats
    terms: csr_matrix
    idf: Floats
    centre: Floats
    scale: Floats
    hardness: Floats


def fit(outcomes: Outcomes, *, seed: int = 0, progress: Progress | None = None) -> LearnedPredictor:
    """Learn from scored prompts.

    Args:
        outcomes: Prompts, models and scores.
        seed: Of the folds.
        progress: Is told (steps done, steps in all).

    Raises:
        TableError: A model has too few scores, or nothing in the table differs.
        MissingExtraError: scikit-learn is not installed.
    """
    _check(outcomes)
    design = _design(outcomes.prompts)
    folds = _folds(outcomes.prompts, seed)
    m = len(outcomes.models)
    unseen = {name: np.zeros((len(outcomes.prompts), m)) for name in PENALTIES}
    final = {"measures": np.zeros((len(MEASURES), m)), "terms": np.zeros((BUCKETS, m))}
    penalties = {name: np.full(m, np.inf) for name in PENALTIES}
    mean = np.nanmean(outcomes.scores, axis=0)
    groups = list(_groups(outcomes.scores))
    steps = len(groups) * sum(map(len, PENALTIES.values()))
    for done, (columns, rows) in enumerate(groups):
        targets = outcomes.scores[np.ix_(rows, columns)] - mean[columns]
        step = 0
        for name, grid in PENALTIES.items():
            inputs = getattr(design, name)
            best = np.mean(targets**2, axis=0)
            for penalty in grid:
                predicted = np.zeros((len(outcomes.prompts), len(columns)))
                for fold in range(FOLDS):
                    kept, left = rows[folds[rows] != fold], folds != fold
                    weights = _ridge(inputs[kept], targets[folds[rows] != fold], penalty)
                    predicted[~left] = inputs[~left] @ weights
                errors = np.mean((targets - predicted[rows]) ** 2, axis=0)
                better = errors < best
                best = np.where(better, errors, best)
                unseen[name][:, columns[better]] = predicted[:, better]
                penalties[name][columns[better]] = penalty
                step += 1
                if progress:
                    progress(done * (steps // len(groups)) + step, steps)
            for penalty in set(penalties[name][columns]) - {np.inf}:
                chosen = penalties[name][columns] == penalty
                final[name][:, columns[chosen]] = _ridge(inputs[rows], targets[:, chosen], penalty)
    return _blended(outcomes, design, unseen, final, penalties, mean, seed)


def unseen(predictor: LearnedPredictor, outcomes: Outcomes) -> npt.NDArray[np.bool_]:
    """Say which prompts the predictor can be judged by, n.

    Those that it was not trained on, and those of which its sample has what was predicted before
    they were.
    """
    known = fingerprints(outcomes.prompts)
    judged = ~np.isin(known, predictor.trained_on)
    if predictor.sample is not None and predictor.sample.prompts is not None:
        judged |= np.isin(known, predictor.sample.prompts)
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


def probe(
    predictor: LearnedPredictor, outcomes: Outcomes, model: str, *, seed: int = 0
) -> LearnedPredictor:
    """Add a model that training never saw, from some scored prompts of it (about 30 to 200).

    What the known models share is taken over; only its four blend weights are fitted.

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
            "blend": np.vstack([w.blend, [0.0, 1.0, 1.0, 1.0]]),
            "blend_covariance": np.concatenate([w.blend_covariance, np.zeros((1, 4, 4))]),
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
    blend, covariance = _map_logistic(
        inputs, column[rows], np.array([0.0, 1.0, 1.0, 1.0]), np.array([2.0, 0.5, 0.5, 0.5])
    )
    wider.blend[-1], wider.blend_covariance[-1] = blend, covariance
    wider.usual[-1] = float((inputs @ blend).mean())
    return wider_predictor


def _blended(
    outcomes: Outcomes,
    design: _Design,
    unseen: Mapping[str, Floats],
    final: Mapping[str, Floats],
    penalties: Mapping[str, Floats],
    mean: Floats,
    seed: int,
) -> LearnedPredictor:
    n, m = outcomes.scores.shape
    strengths = (np.argsort(np.argsort(mean)) + 1) / (m + 1)
    blend, covariance, logits = np.zeros((m, 4)), np.zeros((m, 4, 4)), np.zeros((n, m))
    for place in range(m):
        inputs = np.column_stack(
            [
                np.ones(n),
                SLOPE * np.clip(unseen["measures"][:, place], -1, 1),
                SLOPE * np.clip(unseen["terms"][:, place], -1, 1),
                [quality_logit(h, float(strengths[place])) for h in design.hardness],
            ]
        )
        rows = ~np.isnan(outcomes.scores[:, place])
        blend[place], covariance[place] = _map_logistic(
            inputs[rows], outcomes.scores[rows, place], PRIOR_MEAN, PRIOR_SD
        )
        logits[:, place] = inputs @ blend[place]
    noise = float(np.nanmean(mean * (1 - mean)))
    tokens = np.array([_mean(column) for column in outcomes.output_tokens.T])
    weights = Weights(
        strengths=strengths,
        idf=design.idf.astype(np.float32),
        centre=design.centre,
        scale=design.scale,
        by_measure=final["measures"],
        by_term=final["terms"].astype(np.float32),
        blend=blend,
        blend_covariance=covariance,
        measure_covariance=noise
        * np.linalg.inv(
            design.measures.T @ design.measures
            + _finite(penalties["measures"]) * np.eye(len(MEASURES))
        ),
        term_variance=(
            noise
            / (np.asarray(design.terms.power(2).sum(axis=0)).ravel() + _finite(penalties["terms"]))
        ).astype(np.float32),
        usual=logits.mean(axis=0),
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


def _check(outcomes: Outcomes) -> None:
    for name, column in zip(outcomes.models, outcomes.scores.T, strict=True):
        known = column[~np.isnan(column)]
        if len(known) < FEWEST:
            raise TableError(f"{name!r} has {len(known)} scores; training needs at least {FEWEST}")
    known = outcomes.scores[~np.isnan(outcomes.scores)]
    if known.min() == known.max():
        raise TableError(f"every score is {known.min():g}: there is nothing to learn from")


def _design(prompts: Sequence[str]) -> _Design:
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
    centre, scale = measures.mean(axis=0), measures.std(axis=0)
    scale = np.maximum(scale, LEAST_SPREAD)
    standard = np.clip((measures - centre) / scale, -4.0, 4.0) / math.sqrt(len(MEASURES))
    hardness = np.array([difficulty(surface_features(prompt)) for prompt in prompts])
    terms = (diags(1.0 / np.maximum(norms, 1e-9)) @ weighted).tocsr()
    return _Design(standard, terms, idf, centre, scale, hardness)


def _folds(prompts: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of each prompt; the same text in two data sets is in one of them."""
    texts, place = np.unique(fingerprints(prompts), return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(texts)) % FOLDS)[place]


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
    try:
        from sklearn.linear_model import ridge_regression  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "train") from error
    solver = "cholesky" if isinstance(inputs, np.ndarray) else "sparse_cg"
    found = ridge_regression(inputs, targets, penalty, solver=solver, tol=1e-3)
    return np.asarray(found).reshape(targets.shape[1], -1).T


def _map_logistic(
    inputs: Floats, scores: Floats, prior_mean: Floats, prior_sd: Floats
) -> tuple[Floats, Floats]:
    """Return the weights of a logistic regression under a Gaussian prior, and their covariance.

    Newton's method; scores between 0 and 1 count as shares. The parts of the two regressions
    stay at 0 or over: below, noise would speak.
    """
    weights, free = prior_mean.copy(), np.ones(len(prior_mean), bool)
    while True:
        weights[~free] = 0.0
        hessian = _newton(inputs[:, free], scores, weights, free, prior_mean[free], prior_sd[free])
        negative = np.flatnonzero(weights[1:] < 0) + 1
        if not len(negative):
            break
        free[negative] = False
    covariance = np.zeros((len(weights), len(weights)))
    covariance[np.ix_(free, free)] = np.linalg.inv(hessian)
    return weights, covariance


def _newton(
    inputs: Floats,
    scores: Floats,
    weights: Floats,
    free: npt.NDArray[np.bool_],
    prior_mean: Floats,
    prior_sd: Floats,
) -> Floats:
    """Move the free weights to the posterior's mode; return its Hessian there."""
    precision = np.diag(prior_sd**-2.0)
    for _ in range(50):
        quality = 1.0 / (1.0 + np.exp(-np.clip(inputs @ weights[free], -30, 30)))
        gradient = inputs.T @ (quality - scores) + precision @ (weights[free] - prior_mean)
        hessian = (inputs * (quality * (1 - quality))[:, None]).T @ inputs + precision
        step = np.linalg.solve(hessian, gradient)
        weights[free] -= step
        if np.abs(step).max() < 1e-8:
            break
    return hessian


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


def _finite(penalties: Floats) -> float:
    known = penalties[np.isfinite(penalties)]
    return float(np.median(known)) if len(known) else 1e6
