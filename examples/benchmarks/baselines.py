"""What a learned router has to beat, and the router itself, behind one interface.

In: texts and their scores, n x models, 0 to 1. Out: a function from texts to predicted scores,
n x models. Every choice that a baseline has (neighbours, penalties) is made inside its labels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from scipy.special import expit
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.preprocessing import normalize

from shared_core.lab.fit import fit
from shared_core.lab.table import Outcomes

Floats = np.ndarray[Any, Any]
Predict = Callable[[Sequence[str]], Floats]
Learner = Callable[[Sequence[str], Floats], Predict]

PENALTIES: Final = [0.5, 1.5, 5.0, 15.0, 50.0]
INVERSE_PENALTIES: Final = [1.0, 3.0, 10.0]
FOLDS: Final = 3
NEIGHBOURS: Final = (5, 20, 80)
FACTORS: Final = 3
CLUSTERS: Final = 16
DIMENSIONS: Final = 64
DRAWN: Final = 5.0  # prompts that the mean of all is worth in that of a cluster
CHUNK: Final = 2_000  # prompts whose similarities are held at once

_analyze: Final = TfidfVectorizer(
    ngram_range=(1, 2),
    token_pattern=r"(?u)\w+|[^\w\s]",  # noqa: S106
).build_analyzer()


def router(texts: Sequence[str], scores: Floats, **options: Any) -> Predict:
    """Fit ours; the options are those of `fit`."""
    return fit(as_outcomes(texts, scores), **options).qualities


def as_outcomes(texts: Sequence[str], scores: Floats) -> Outcomes:
    """Return a table of scores alone."""
    unknown = np.full(scores.shape, np.nan)
    names = tuple([str(place) for place in range(scores.shape[1])])
    return Outcomes(tuple(texts), names, scores, unknown, unknown, ("",) * len(texts))


def prompt_length(texts: Sequence[str], scores: Floats) -> Predict:
    """Fit a logistic regression on the logarithm of the length."""
    return _logistic(_log_lengths, texts, scores, search=False)


def tfidf_logistic(texts: Sequence[str], scores: Floats, *, search: bool = True) -> Predict:
    """Fit a logistic regression on TF-IDF of words and pairs for each model."""
    return _logistic(_tfidf().fit(texts).transform, texts, scores, search=search)


def neighbours(texts: Sequence[str], scores: Floats) -> Predict:
    """Average over the most similar labelled prompts (cosine of TF-IDF); k by leave-one-out."""
    vectorizer = _tfidf()
    known = vectorizer.fit_transform(texts)

    def average(similar: Floats, k: int) -> Floats:
        k = min(k, len(scores))
        nearest = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        return np.asarray(scores[nearest].mean(axis=1))

    def similarity(rows: Any) -> Floats:
        return np.asarray((rows @ known.T).toarray())

    errors = dict.fromkeys(NEIGHBOURS, 0.0)
    for start in range(0, len(scores), CHUNK):
        here = slice(start, min(start + CHUNK, len(scores)))
        similar = similarity(known[here])
        similar[np.arange(len(similar)), np.arange(here.start, here.stop)] = -1.0  # not itself
        for k in NEIGHBOURS:
            errors[k] += float(((average(similar, k) - scores[here]) ** 2).sum())
    best = min(errors, key=errors.__getitem__)

    def predict(new: Sequence[str]) -> Floats:
        rows = vectorizer.transform(new)
        parts = range(0, rows.shape[0], CHUNK)
        return np.concatenate([average(similarity(rows[at : at + CHUNK]), best) for at in parts])

    return predict


def clusters(texts: Sequence[str], scores: Floats) -> Predict:
    """Average over the cluster that a prompt falls into, as Avengers does (arXiv 2505.19797).

    k-means of what TF-IDF comes to in few dimensions; each mean is drawn to that of all prompts.
    """
    vectorizer = _tfidf()
    rows = vectorizer.fit_transform(texts)
    svd = TruncatedSVD(min(DIMENSIONS, rows.shape[1] - 1), random_state=0).fit(rows)
    places: Any = KMeans(min(CLUSTERS, len(texts) // 2), n_init=4, random_state=0)
    inside = places.fit_predict(normalize(svd.transform(rows)))[:, None] == np.arange(
        places.n_clusters
    )
    means = inside.T @ scores + DRAWN * scores.mean(axis=0)
    means /= inside.sum(axis=0)[:, None] + DRAWN
    return lambda new: means[places.predict(normalize(svd.transform(vectorizer.transform(new))))]


def matrix_factorisation(texts: Sequence[str], scores: Floats) -> Predict:
    """Factorise the scores; find a prompt's factors from its TF-IDF by ridge."""
    mean = scores.mean(axis=0)
    left, size, right = np.linalg.svd(scores - mean, full_matrices=False)
    vectorizer = _tfidf()
    ridge = _ridge().fit(vectorizer.fit_transform(texts), (left * size)[:, :FACTORS])

    def predict(new: Sequence[str]) -> Floats:
        factors = ridge.predict(vectorizer.transform(new)).reshape(len(new), -1)
        return np.asarray(np.clip(mean + factors @ right[:FACTORS], 0, 1))

    return predict


def item_response(texts: Sequence[str], scores: Floats) -> Predict:
    """One easiness a prompt, found from its TF-IDF by ridge; two parameters a model."""
    vectorizer = _tfidf()
    rows, easiness = vectorizer.fit_transform(texts), scores.mean(axis=1)
    centre = float(easiness.mean())
    ridge = _ridge().fit(rows, easiness - centre)
    unseen = cross_val_predict(ridge.best_estimator_, rows, easiness - centre)[:, None]
    curves = [_classify(unseen, column, search=False) for column in scores.T]

    def predict(new: Sequence[str]) -> Floats:
        found = ridge.predict(vectorizer.transform(new))[:, None]
        return np.column_stack([curve(found) for curve in curves])

    return predict


BASELINES: Final[dict[str, Learner]] = {
    "tfidf_logistic": tfidf_logistic,
    "neighbours": neighbours,
    "matrix_factorisation": matrix_factorisation,
    "item_response": item_response,
}


def _tfidf() -> TfidfVectorizer:
    return TfidfVectorizer(analyzer=_terms, sublinear_tf=True)


@cache  # the scripts fit again and again on the same texts
def _terms(text: str) -> tuple[str, ...]:
    return tuple(map(sys.intern, _analyze(text)))


def _log_lengths(texts: Sequence[str]) -> Floats:
    return np.log1p([[len(text)] for text in texts])


def _ridge() -> Any:
    search = {"alpha": PENALTIES}
    return GridSearchCV(
        Ridge(solver="sparse_cg"), search, scoring="neg_mean_squared_error", cv=FOLDS
    )


def _logistic(inputs: Any, texts: Sequence[str], scores: Floats, *, search: bool) -> Predict:
    rows = inputs(texts)
    models = [_classify(rows, column, search=search) for column in scores.T]
    return lambda new: _columns(models, inputs(new))


def _columns(models: Sequence[Callable[[Any], Floats]], rows: Any) -> Floats:
    return np.column_stack([model(rows) for model in models])


def _classify(rows: Any, scores: Floats, *, search: bool) -> Callable[[Any], Floats]:
    """Return the chance of a good answer (score 0.5 or more); the mean where all are alike."""
    good = scores >= 0.5
    rarer = int(min(good.sum(), (~good).sum()))
    if not rarer:
        return lambda new: np.full(new.shape[0], scores.mean())
    model: Any = LogisticRegression(solver="liblinear")
    if search and rarer >= 2 * FOLDS:
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        model = GridSearchCV(model, {"C": INVERSE_PENALTIES}, scoring="neg_log_loss", cv=folds)
    model.fit(rows, good)
    return lambda new: expit(model.decision_function(new))
