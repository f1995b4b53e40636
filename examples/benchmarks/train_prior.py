"""Train the prior that comes with the package, from the sets whose licences allow it.

Run `python -m examples.benchmarks.train_prior --data FOLDER`; needs the extra `[train]`. It writes
`shared_core/prediction/data/`: weights and card. No prompt that overlaps with an evaluation prompt
is trained on (`overlap.py`), no evaluation score is looked at.

What is learned is where a stronger model pays: the mean, over pairs of a passable model and a
better one, of the better one's lead on the prompt. Where a set has no such pairs: how often its
models fail. Where it has no models: the steps of the human solution. Each is standardised within
its set, so that one set is not told from another, and what the surface explains is taken off.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import safetensors.numpy
from scipy import sparse
from sklearn.linear_model import Ridge

from examples.benchmarks.overlap import overlapping, prompts_of
from shared_core.lab.evaluate import cost_quality
from shared_core.prediction.prior import CARD, FORMAT, LEAST, MOST, SHIPPED, WEIGHTS, term_values
from shared_core.prediction.surface import difficulty, surface_features
from shared_core.prediction.terms import BUCKETS

SOURCES: Final = {
    "train_mmlu_pro_nonmmlu": "MMLU-Pro without MMLU, 5-shot answers; TIGER-AI-Lab, Apache-2.0",
    "train_zeroeval_crux_math_zebra": "CRUXEval, MATH 5, ZebraLogic; WildEval/ZeroEval, Apache-2.0",
    "train_ulab_llmrouter": "ten tasks of ulab-uiuc/LLMRouter, MIT",
    "train_gsm8k_steps": "GSM8K train, steps of the solutions; OpenAI, MIT",
}
LEFT_OUT: Final = ("mmlu_pro_loglik",)  # its scores have no licence
FAMILIES: Final = {
    "mmlu_pro": "knowledge", "crux": "code execution", "math_level5": "maths", "ulab_math": "maths",
    "zebra": "logic", "logicgrid": "logic", "gsm8k": "word problems", "mbpp": "code",
    "human_eval": "code", "commongen": "writing", "arc": "school", "openbook": "school",
    "commonsense": "school", "natural_qa": "trivia",
}  # fmt: skip
PASSABLE, GAP, FEWEST_PAIRS = 0.4, 0.1, 5  # weak model's mean, its distance to the better one
PENALTY: Final = 1.0
# Standard deviations of the target per unit of surface difficulty: what the surface explains within
# a set, and how much it counts for beside the words. A larger first figure teaches words to undo
# the surface, which they then do for long prompts of every kind.
EXPLAINED, SURFACE = 2.0, 6.0
FEWEST_PROMPTS: Final = 3  # a term in fewer has no weight
FOLDS: Final = 5

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Prompts of one set: n.

    Attributes:
        name: Of the data set.
        texts: Prompts, n.
        target: What is learned, standardised, n.
        gains: Lead of the better model of each pair a gap apart, n each.
        passable: Those of them whose weaker model is passable.
        surface: Difficulty of the surface, n.
    """

    name: str
    texts: list[str]
    target: Array
    gains: list[Array]
    passable: list[Array]
    surface: Array

    @property
    def family(self) -> str:
        """Return the family it is left out with."""
        return next(family for part, family in FAMILIES.items() if part in self.name)


def load(data: Path) -> list[TrainingSet]:
    """Read the sets, without prompts that overlap with evaluation prompts."""
    others = [text for texts in prompts_of(data, "eval_*").values() for text in texts]
    found = []
    for source in SOURCES:
        table = pd.read_parquet(data / source / "data.parquet")
        table["prompt"] = table.prompt.astype(str)
        texts = table.prompt.unique().tolist()
        known = {t for t, out in zip(texts, overlapping(texts, others), strict=True) if out}
        for name, rows in table[~table.prompt.isin(known)].groupby("dataset", observed=True):
            if name not in LEFT_OUT:
                found.append(_training_set(str(name), rows))
    return found


def _training_set(name: str, rows: pd.DataFrame) -> TrainingSet:
    gains: list[Array] = []
    passable: list[Array] = []
    if "n_steps" in rows:
        goal = rows.drop_duplicates("prompt").set_index("prompt").n_steps
        texts, target = goal.index.tolist(), goal.to_numpy(float)
    else:
        scores = rows.pivot_table("score", "prompt", "model", observed=True)
        scores = scores.loc[:, scores.notna().mean() > 0.9]
        scores = scores.fillna(scores.mean())
        texts, mean = scores.index.tolist(), scores.mean()
        pairs = [(w, s) for w, s in permutations(scores, 2) if mean[s] - mean[w] >= GAP]
        lead = {pair: (scores[pair[1]] - scores[pair[0]]).to_numpy(float) for pair in pairs}
        gains = list(lead.values())
        passable = [gain for (weak, _), gain in lead.items() if mean[weak] >= PASSABLE]
        target = -scores.mean(axis=1).to_numpy(float)
        if len(passable) >= FEWEST_PAIRS:
            target = np.clip(np.mean([gain / gain.mean() for gain in passable], axis=0), -3, 6)
    surface = np.array([difficulty(surface_features(text)) for text in texts])
    standard = (target - target.mean()) / target.std()
    return TrainingSet(name, texts, standard, gains, passable, surface)


def inverse_frequency(sets: Sequence[TrainingSet]) -> Array:
    """Return the inverse document frequency of each bucket."""
    ones = [1.0] * BUCKETS
    texts = [text for one in sets for text in one.texts]
    seen = np.zeros(BUCKETS)
    for text in texts:
        seen[term_values(text, ones)[0]] += 1
    return np.log((1 + len(texts)) / (1 + seen)) + 1


def term_matrix(texts: Sequence[str], idf: Array) -> sparse.csr_matrix:
    """Return texts x buckets."""
    listed = idf.tolist()
    rows = [term_values(text, listed) for text in texts]
    ends = np.cumsum([0, *(len(buckets) for buckets, _ in rows)])
    parts = [np.concatenate(part) for part in zip(*rows, strict=True)]
    return sparse.csr_matrix((parts[1], parts[0], ends), shape=(len(texts), BUCKETS))


Rows = Mapping[str, Array]


def fit(sets: Sequence[TrainingSet], terms: Mapping[str, Any], rows: Rows) -> Array:
    """Return difficulty per unit of each bucket, learned from some rows of the sets."""
    inputs, targets, weights = [], [], []
    for one in sets:
        at = rows[one.name]
        rest = one.target[at] - EXPLAINED * one.surface[at]
        inputs.append(terms[one.name][at])
        targets.append(rest - rest.mean())
        weights.append(np.full(len(at), len(one.texts) ** -0.5))
    matrix = sparse.vstack(inputs).tocsr()
    common = np.bincount(matrix.indices, minlength=BUCKETS) >= FEWEST_PROMPTS
    weight = np.concatenate(weights)
    # Without an intercept: a prompt of unknown words stays where its surface puts it.
    ridge = Ridge(alpha=PENALTY, fit_intercept=False, solver="sparse_cg", tol=1e-4)
    ridge.fit(
        matrix @ sparse.diags(common.astype(float)),
        np.concatenate(targets),
        sample_weight=weight / weight.mean(),
    )
    return np.where(common, ridge.coef_, 0.0) / SURFACE


def moved(surface: Array, terms: sparse.csr_matrix, weights: Array) -> Array:
    """Return the difficulty of each row, as `Prior.difficulty` does."""
    shifted = surface + np.clip(terms @ weights, -MOST, MOST)
    return np.minimum(1.0, np.maximum(LEAST * surface, shifted))


def held_out(
    sets: Sequence[TrainingSet], terms: Mapping[str, Any], seed: int
) -> dict[str, dict[str, Array]]:
    """Return the difficulty of each set's prompts: surface, family left out, prompts left out."""
    every = {one.name: np.arange(len(one.texts)) for one in sets}
    rng = np.random.default_rng(seed)
    fold = {one.name: rng.integers(0, FOLDS, len(one.texts)) for one in sets}
    by_fold = [
        fit(sets, terms, {name: np.flatnonzero(at != left) for name, at in fold.items()})
        for left in range(FOLDS)
    ]
    by_family = {
        family: fit([one for one in sets if one.family != family], terms, every)
        for family in sorted({one.family for one in sets})
    }
    found = {}
    for one in sets:
        folds = np.array([moved(one.surface, terms[one.name], weights) for weights in by_fold])
        found[one.name] = {
            "surface": one.surface,
            "family_left_out": moved(one.surface, terms[one.name], by_family[one.family]),
            "prompts_left_out": folds[fold[one.name], np.arange(len(one.texts))],
        }
    return found


def figures(
    sets: Sequence[TrainingSet],
    orders: Mapping[str, Mapping[str, Array]],
    gains_of: Callable[[TrainingSet], list[Array]],
) -> Any:
    """Return the mean APGR over pairs, by family and over families."""
    by_set = {
        one.name: {
            way: float(np.mean([cost_quality(order, gain)[0] for gain in gains]))
            for way, order in orders[one.name].items()
        }
        for one in sets
        if (gains := gains_of(one))
    }
    family = {one.name: one.family for one in sets}
    families = pd.DataFrame(by_set).T.groupby(family).mean()
    families.loc["mean"] = families.mean()
    return families.round(4).to_dict("index")


def write(folder: Path, weights: Array, idf: Array, about: Mapping[str, Any]) -> None:
    """Write weights and card."""
    half = {"weights": weights.astype(np.float16), "idf": idf.astype(np.float16)}
    blob = safetensors.numpy.save(half)
    card = {"format": FORMAT, "sha256": hashlib.sha256(blob).hexdigest(), **about}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(blob)
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def main(report: Callable[[str], object] = print) -> None:
    """Train, measure on what was left out, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder to write to")
    parser.add_argument("--seed", type=int, default=7, help="of the folds")
    arguments = parser.parse_args()
    seed = arguments.seed
    sets = load(arguments.data)
    idf = inverse_frequency(sets)
    terms = {one.name: term_matrix(one.texts, idf) for one in sets}
    orders = held_out(sets, terms, seed)
    weights = fit(sets, terms, {one.name: np.arange(len(one.texts)) for one in sets})
    about = {
        "command": f"python -m examples.benchmarks.train_prior --data FOLDER --seed {seed}",
        "what": "difficulty per unit of each hash bucket of terms; no text is stored",
        "sources": SOURCES,
        "prompts": {one.name: len(one.texts) for one in sets},
        "apgr": figures(sets, orders, lambda one: one.gains),
        "apgr_of_passable_pairs": figures(sets, orders, lambda one: one.passable),
    }
    write(arguments.out, weights, idf, about)
    report(json.dumps(about, indent=2))


if __name__ == "__main__":
    main()
