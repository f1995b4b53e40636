"""Learning to verify: from a table of judged answers to the head of a `LearnedVerifier`.

In: `JudgedAnswers`. Out: a `Head`, and how good it is on answers that it has not seen (splits by
prompt). Three regressions are learned, each so that an answer is predicted by what has not seen its
prompt: a logistic one on surface features, which starts at the head that comes with the package and
leaves it as labels tell it to; boosted trees on the same features; a ridge on a reader's vectors. A
logistic regression blends them; the fewer the labels, the less of the latter two. Needs
scikit-learn (`[train]`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared_core.errors import ConfigurationError, MissingExtraError, TableError
from shared_core.lab.crossfit import FOLDS, folds_of, map_logistic
from shared_core.lab.evaluate import auc, calibration_error
from shared_core.lab.judged import JudgedAnswers
from shared_core.prediction.features import fingerprints
from shared_core.prediction.prior import prompt_difficulty
from shared_core.prediction.surface import quality_logit
from shared_core.strategies.verifiers.head import CLIP, SHARES, Head, climbed
from shared_core.strategies.verifiers.learned import Reader, shipped_head
from shared_core.strategies.verifiers.surface import FEATURES, draft_features

__all__ = ["Fitted", "Rows", "fit_answers", "fit_rows", "prior_logits", "rows_of_answers"]

FEWEST: Final = 10  # answers; fewer than two a fold teach nothing
FREEDOMS: Final = (0.1, 0.2, 0.4)
"""Standard deviations tried of how far a surface weight may be from the shipped head's; the first
where there are too few answers to choose by."""

SLOPE_SD: Final = 0.25  # of the prior's weight, around 1
BASE_SD: Final = 1.0  # of the log odds of all answers, and of each model
PENALTIES: Final = (300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0, 100_000.0, 300_000.0)
"""Of the ridge on a reader's standardised vectors."""

TREES: Final = 100
DEPTH: Final = 3
RATE: Final = 0.05
LEAF: Final = 15  # answers in a leaf, at least
FEW: Final = 80  # answers; fewer choose no freedom and grow no trees
STEADY: Final = 30.0
"""So many answers the shipped head's means and deviations are worth when the own ones are taken."""

BLEND_MEAN: Final = np.array([0.0, 1.0, 0.0, 0.0])
BLEND_SD: Final = np.array([0.5, 0.3, 0.5, 0.5])
SLOPE: Final = 4.0  # log odds per unit of probability at one half

_WHOLE: Final = len(SHARES) - 1

Floats = npt.NDArray[np.floating[Any]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Rows:
    """Answers as numbers.

    Attributes:
        surface: Features of each share of each answer, n x len(SHARES) x len(FEATURES).
        reading: What a reader made of each whole answer, n x d; d is 0 without one.
        prior: Log odds that it is right, before it is looked at, n.
        scores: 0 to 1, n.
        models: Who answered, n.
        prompts: A number per prompt, n: answers to one prompt stay together.
    """

    surface: Floats
    reading: Floats
    prior: Floats
    scores: Floats
    models: npt.NDArray[np.str_]
    prompts: npt.NDArray[np.int64]

    def __getitem__(self, chosen: npt.NDArray[Any]) -> Rows:
        """Return some of the rows."""
        return Rows(**{name: array[chosen] for name, array in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Fitted:
    """What was learned, and what it says of answers when their prompts are left out.

    Attributes:
        head: From all answers.
        unseen: Log odds of each whole answer, by what has not seen its prompt, n.
        auc: Of these.
        ece: Of these, as probabilities.
    """

    head: Head
    unseen: Floats
    auc: float
    ece: float


def fit_answers(
    answers: JudgedAnswers,
    *,
    reader: Reader | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """Learn from judged answers.

    Args:
        answers: Prompts, answers, scores.
        reader: Learned from besides the surface, where given; reads each answer once.
        seed: Of the folds.
        progress: Is told (steps done, steps in all).

    Raises:
        TableError: There are too few answers, or nothing in their scores differs.
        ConfigurationError: The reader does not give one row of finite numbers per answer.
        MissingExtraError: scikit-learn is not installed.
    """
    _check(answers)
    n = len(answers.scores)
    done, steps = itertools.count(1), n + len(SHARES)

    def tick() -> None:
        if progress:
            progress(next(done), steps)

    rows = rows_of_answers(answers, reader, tick)
    fitted = fit_rows(rows, seed=seed, tick=tick)
    about = {
        "answers": n,
        "prompts": len(set(answers.prompts)),
        "auc": None if math.isnan(fitted.auc) else round(fitted.auc, 4),
        "ece": round(fitted.ece, 4),
        "seed": seed,
    }
    name = None if reader is None else reader.name
    return replace(fitted, head=replace(fitted.head, reader=name, card=about))


def rows_of_answers(
    answers: JudgedAnswers,
    reader: Reader | None = None,
    tick: Callable[[], None] = lambda: None,
    *,
    growing: bool = True,
) -> Rows:
    """Return answers as numbers.

    Each share of one is measured as if it were all there is; where nobody asks for growing drafts,
    the whole stands for all of them.
    """
    surface, reading = [], []
    for prompt, answer in zip(answers.prompts, answers.answers, strict=True):
        shares = SHARES if growing else (1.0,)
        parts = [answer[: math.ceil(share * len(answer))] for share in shares]
        surface.append([draft_features(prompt, part) for part in parts])
        if reader is not None:
            reading.append(np.asarray(reader.read(prompt, [answer]), float).reshape(-1))
        tick()
    if len({len(one) for one in reading}) > 1 or not all(np.isfinite(one).all() for one in reading):
        raise ConfigurationError("the reader must give one row of as many finite numbers each time")
    return Rows(
        np.broadcast_to(surface, (len(surface), len(SHARES), len(FEATURES))),
        np.array(reading).reshape(len(surface), -1),
        prior_logits(answers),
        answers.scores,
        np.array(answers.models),
        fingerprints(answers.prompts),
    )


def prior_logits(answers: JudgedAnswers) -> Floats:
    """Return the log odds that a router without any training starts from.

    The models' strengths are what it takes them to be when they are listed weakest first.
    """
    listed = np.array(answers.models)
    names = sorted(set(answers.models), key=lambda name: answers.scores[listed == name].mean())
    strengths = {name: (place + 1) / (len(names) + 1) for place, name in enumerate(names)}
    if len(names) == 1:
        strengths[names[0]] = 1 / 3  # the weaker of two
    hardness = {prompt: prompt_difficulty(prompt) for prompt in set(answers.prompts)}
    pairs = zip(answers.prompts, answers.models, strict=True)
    return np.array([quality_logit(hardness[p], strengths[model]) for p, model in pairs])


def fit_rows(
    rows: Rows,
    *,
    start: Head | None = None,
    seed: int = 0,
    shares: Sequence[int] = range(len(SHARES)),
    tick: Callable[[], None] = lambda: None,
) -> Fitted:
    """Learn from answers as numbers.

    Args:
        rows: The answers.
        start: The head that few labels stay near; None: the one that comes with the package.
        seed: Of the folds, and of the trees.
        shares: Places in `SHARES` to learn about; the others get what the whole draft gets.
        tick: Is called after each share.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    start = shipped_head() if start is None else start
    folds = folds_of(rows.prompts, seed)
    found = {share: _fit_share(rows, start, share, folds, seed, tick) for share in shares}
    whole = found[_WHOLE]
    parts = [found.get(share, whole) for share in range(len(SHARES))]
    drift = [float(np.std(whole.unseen - part.unseen)) for part in parts]
    arrays: dict[str, Any] = {
        name: np.array([one.arrays[name] for one in parts]) for name in whole.arrays
    }
    head = Head(
        **arrays,
        reading_centre=whole.reading[0],
        reading_scale=whole.reading[1],
        reading=whole.reading[2],
        base=whole.base,
        models=tuple(np.unique(rows.models).tolist()),
        drift=np.array(drift),
    )
    chances = 1.0 / (1.0 + np.exp(-whole.unseen))
    return Fitted(
        head, whole.unseen, auc(whole.unseen, rows.scores), calibration_error(chances, rows.scores)
    )


@dataclass(frozen=True, eq=False)
class _Share:
    """What was learned about one share of a draft."""

    arrays: dict[str, Any]
    reading: tuple[Floats, Floats, Floats]
    base: Floats
    unseen: Floats


def _fit_share(
    rows: Rows,
    start: Head,
    share: int,
    folds: npt.NDArray[np.int64],
    seed: int,
    tick: Callable[[], None],
) -> _Share:
    raw, y = rows.surface[:, share], rows.scores
    centre, scale = _moments(raw, start.centre[share], start.scale[share])
    z = np.clip((raw - centre) / scale, -CLIP, CLIP)
    names = np.unique(rows.models)
    mean = _means(rows.models, y)
    flat = _Linear(z, rows, names, start.linear[share] * scale / start.scale[share])
    freedom = _freedom(flat, y, folds)
    parts = [_unseen(lambda at: flat.fit(y, at, freedom), lambda w, at: flat.inputs[at] @ w, folds)]
    weights = flat.fit(y, np.arange(len(y)), freedom)
    trees = _no_trees()
    parts.append(np.zeros(len(y)))
    if len(y) >= FEW:
        parts[1] = _unseen(
            lambda at: _trees(z[at], y[at] - mean[at], seed),
            lambda t, at: _climbed(t, z[at]),
            folds,
        )
        trees = _trees(z, y - mean, seed)
    reading = _moments_of_reading(rows.reading)
    read: Floats = np.zeros(len(y))
    by_reader: Floats = np.zeros(rows.reading.shape[1])
    if share == _WHOLE and rows.reading.shape[1]:
        r = np.clip((rows.reading - reading[0]) / reading[1], -CLIP, CLIP)
        read, by_reader = _ridge(r, y - mean, folds)
    parts.append(read)
    blended, unseen = _blend(parts, y, folds)
    constant, flat_part, tree_part, read_part = blended.tolist()
    k, m = z.shape[1], len(names)
    tick()
    return _Share(
        arrays={
            "offset": constant + flat_part * weights[0],
            "slope": flat_part * weights[1],
            "centre": centre,
            "scale": scale,
            "linear": flat_part * weights[2 : 2 + k],
            "split": trees.split,
            "threshold": trees.threshold,
            "leaf": tree_part * trees.leaf,
        },
        reading=(reading[0], reading[1], read_part * by_reader),
        base=flat_part * weights[2 + k :] if m > 1 else np.zeros(m),
        unseen=unseen,
    )


class _Linear:
    """The logistic regression on surface features: 1, the prior, features, models."""

    def __init__(self, z: Floats, rows: Rows, names: npt.NDArray[np.str_], start: Floats) -> None:
        several = len(names) > 1
        models = (rows.models[:, None] == names).astype(float) if several else z[:, :0]
        self.inputs = np.column_stack([np.ones(len(z)), rows.prior, z, models])
        self.mean = np.concatenate([[0.0, 1.0], start, np.zeros(models.shape[1])])
        self.kept = np.concatenate([[2.0, SLOPE_SD], np.zeros(z.shape[1]), models[0] * 0 + BASE_SD])

    def fit(self, y: Floats, at: npt.NDArray[np.int64], freedom: float) -> Floats:
        """Return the weights for some of the rows."""
        sd = np.where(self.kept > 0, self.kept, freedom)
        return map_logistic(self.inputs[at], y[at], self.mean, sd, positive=False)[0]


def _freedom(flat: _Linear, y: Floats, folds: npt.NDArray[np.int64]) -> float:
    """Return the freedom under which answers that were left out are likeliest."""

    def loss(freedom: float) -> float:
        logits = _unseen(
            lambda at: flat.fit(y, at, freedom), lambda w, at: flat.inputs[at] @ w, folds
        )
        return float(np.mean(np.logaddexp(0.0, logits) - y * logits))

    return min(FREEDOMS, key=loss) if len(y) >= FEW else FREEDOMS[0]


def _unseen(
    fit: Callable[[npt.NDArray[np.int64]], Any],
    predict: Callable[[Any, npt.NDArray[np.int64]], Floats],
    folds: npt.NDArray[np.int64],
) -> Floats:
    """Return predictions for each fold by what was learned from the others."""
    found = np.zeros(len(folds))
    for fold in range(FOLDS):
        others, at = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if len(at):
            found[at] = predict(fit(others), at)
    return found


def _blend(
    parts: Sequence[Floats], y: Floats, folds: npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return the weights of the parts, and cross-fitted log odds."""
    inputs = np.column_stack([np.ones(len(y)), *parts])

    def fit(at: npt.NDArray[np.int64]) -> Floats:
        return map_logistic(inputs[at], y[at], BLEND_MEAN, BLEND_SD)[0]

    return fit(np.arange(len(y))), _unseen(fit, lambda w, at: inputs[at] @ w, folds)


@dataclass(frozen=True, eq=False)
class _Trees:
    split: npt.NDArray[np.int16]
    threshold: Floats
    leaf: Floats


def _no_trees() -> _Trees:
    inner = 2**DEPTH - 1
    return _Trees(
        np.zeros((TREES, inner), np.int16),
        np.zeros((TREES, inner), np.float32),
        np.zeros((TREES, inner + 1), np.float32),
    )


def _trees(z: Floats, target: Floats, seed: int) -> _Trees:
    """Return boosted trees of what is left of scores, as heaps: under node i, 2i + 1 and 2i + 2."""
    try:
        from sklearn.ensemble import GradientBoostingRegressor  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "train") from error
    model = GradientBoostingRegressor(
        n_estimators=TREES,
        max_depth=DEPTH,
        learning_rate=RATE,
        min_samples_leaf=LEAF,
        subsample=0.5,
        max_features=0.3,
        init="zero",
        random_state=seed,
    )
    made = _no_trees()
    for place, one in enumerate(model.fit(z, target).estimators_[:, 0]):
        _fill(made, place, one.tree_, 0, 0, RATE)
    return made


def _fill(made: _Trees, place: int, tree: Any, node: int, at: int, rate: float) -> None:
    """Copy a node and what is under it; a leaf above the last level is repeated down to it."""
    inner = made.split.shape[1]
    if at >= inner:
        made.leaf[place, at - inner] = SLOPE * rate * tree.value[node, 0, 0]
        return
    left, right = int(tree.children_left[node]), int(tree.children_right[node])
    if left < 0:
        left = right = node
    else:
        made.split[place, at], made.threshold[place, at] = tree.feature[node], tree.threshold[node]
    _fill(made, place, tree, left, 2 * at + 1, rate)
    _fill(made, place, tree, right, 2 * at + 2, rate)


def _climbed(trees: _Trees, z: Floats) -> Floats:
    return climbed(trees.split, trees.threshold, trees.leaf, z)


def _ridge(r: Floats, target: Floats, folds: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return cross-fitted log odds and weights, under the penalty that predicts best."""

    def fit(at: npt.NDArray[np.int64], penalty: float) -> Floats:
        gram = r[at] @ r[at].T + penalty * np.eye(len(at))  # fewer answers than numbers
        return np.asarray(r[at].T @ np.linalg.solve(gram, target[at]))

    def unseen(penalty: float) -> Floats:
        return _unseen(lambda at: fit(at, penalty), lambda weights, at: r[at] @ weights, folds)

    tried = {penalty: unseen(penalty) for penalty in PENALTIES}
    best = min(tried, key=lambda penalty: float(np.mean((tried[penalty] - target) ** 2)))
    return SLOPE * tried[best], SLOPE * fit(np.arange(len(target)), best)


def _moments(raw: Floats, centre: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation, the fewer the rows the nearer to those given."""
    n = len(raw)
    mean = (n * raw.mean(axis=0) + STEADY * centre) / (n + STEADY)
    square = n * raw.var(axis=0) + STEADY * scale**2
    return mean, np.sqrt(square / (n + STEADY))


def _moments_of_reading(values: Floats) -> tuple[Floats, Floats]:
    scale = values.std(axis=0)
    return values.mean(axis=0), np.where(scale > 1e-6, scale, 1.0)


def _means(models: npt.NDArray[np.str_], y: Floats) -> Floats:
    """Return the mean score of each row's model, drawn to that of all."""
    _, place = np.unique(models, return_inverse=True)
    sums = np.bincount(place, weights=y) + FEWEST * y.mean()
    return np.asarray((sums / (np.bincount(place) + FEWEST))[place])


def _check(answers: JudgedAnswers) -> None:
    n = len(answers.scores)
    if n < FEWEST:
        raise TableError(f"there are {n} judged answers; training needs at least {FEWEST}")
    if len(set(answers.prompts)) < FOLDS:
        raise TableError(f"the answers are to fewer than {FOLDS} prompts")
    if answers.scores.min() == answers.scores.max():
        raise TableError(f"every score is {answers.scores[0]:g}: there is nothing to learn from")
