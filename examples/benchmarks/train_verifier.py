"""Make the verifier that comes with the package: `shared_core/strategies/verifiers/data/verifier/`.

Run `python -m examples.benchmarks.train_verifier --data FOLDER` with the sets below in the folder
(columns prompt, model, answer, score); needs the extra `[train]`. Only answers of models whose
weights are under Apache-2.0 or MIT are learned from. No text is stored: means, deviations, weights.

A ridge regression per domain, of right minus the answering model's mean, so that it does not learn
which model is good. Answers that count as right but end otherwise than most right ones to the
prompt are left out. A weight may only go the way that makes sense (more slips, doubts, steps or
numbers in the question: less likely to be right), or it is 0; what the package gets is the mean
over domains, each feature's weighted by how much it varies in the domain. So it does not learn one
domain's ways. One domain has questions alone: the steps of the human solution say how hard they
are. What all that is worth elsewhere is measured by leaving a domain, or a model, out.

A reader's vectors are not learned from: with a ridge on states of a model of 135M parameters, from
677 answers, a domain that was left out fared worse than by the surface alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from shared_core.lab.answers import SLOPE, Rows, rows_of_answers
from shared_core.lab.evaluate import auc
from shared_core.lab.judged import JudgedAnswers
from shared_core.strategies.verifiers.answers import final_answer
from shared_core.strategies.verifiers.head import CLIP, SHARES, Head
from shared_core.strategies.verifiers.learned import SHIPPED
from shared_core.strategies.verifiers.surface import FEATURES, draft_features

Floats = np.ndarray[Any, Any]

SOURCES: Final = {
    "train_answers_mmlu_pro": "TIGER-AI-Lab/MMLU-Pro eval_results, 5-shot (Apache-2.0)",
    "train_answers_math": "WildEval/ZeroEval result_dirs/math-l5 (Apache-2.0)",
}
MODELS: Final = {
    "Mistral-7B-Instruct-v0.2": "Apache-2.0",
    "Mixtral-8x7B-Instruct-v0.1": "Apache-2.0",
    "mathstral-7B": "Apache-2.0",
    "Qwen2-7B-Instruct": "Apache-2.0",
    "Qwen2.5-7B-Instruct": "Apache-2.0",
    "Phi-3-mini-4k-instruct": "MIT",
    "Phi-3.5-mini-instruct": "MIT",
}
STEPS: Final = "train_gsm8k_steps"
SOURCES_OF_QUESTIONS: Final = {STEPS: "GSM8K train, steps of the solutions; OpenAI (MIT)"}

MORE_IS_WORSE: Final = frozenset(
    (
        *("q_words", "q_numbers", "q_sentences", "q_relations", "q_fractions", "q_largest"),
        *("words", "sentences", "steps", "lines", "words_per_sentence", "words_per_q_word"),
        *("calculations", "numbers", "new_numbers", "largest", "fractional", "negative"),
        *("wrong", "wrong_share", "operands_unknown", "results_unused"),
        *("doubts", "turns", "failures", "links", "cut"),
        *("marks_differ", "final_negative", "final_in_q"),
    )
)
MORE_IS_BETTER: Final = frozenset(
    (
        *("q_numbers_used", "q_numbers_calculated", "calculated_anything"),
        *("compressed", "distinct_words"),
        *("final_whole", "final_is_last", "final_is_result", "final_repeated"),
    )
)
CALCULATED: Final = (
    0.2  # share of the answers to a question with a calculation: it is about numbers
)
PENALTY: Final = 0.1  # per answer, in variances of a feature: domains of any size count alike
PER_STEP: Final = -0.15  # share of right answers per standard deviation of the steps' logarithm
SWEEPS: Final = 300
LEAST_SCALE: Final = 0.05  # what differs less is a constant
RIGHT: Final = 0.5
AGREEING: Final = 3
_WHOLE: Final = len(SHARES) - 1
_OF_DRAFT: Final = ("q_numbers_used", "q_numbers_calculated", "q_words_used")
_QUESTION: Final = np.array([name[:2] == "q_" and name not in _OF_DRAFT for name in FEATURES])


@dataclass(frozen=True, eq=False)
class Questions:
    """Questions without answers: n.

    Attributes:
        surface: Features of each beside an empty draft, n x len(FEATURES).
        target: How right answers to it are expected to be, against the mean, n.
    """

    surface: Floats
    target: Floats


def load(folder: Path) -> dict[str, Rows]:
    """Return the answers by domain: knowledge, numbers, maths; of every model."""
    pro, maths = (read(folder, name) for name in SOURCES)
    calculated = pro.surface[:, _WHOLE, FEATURES.index("calculated_anything")]
    _, place = np.unique(pro.prompts, return_inverse=True)
    share = (np.bincount(place, calculated) / np.bincount(place))[place]
    return {
        "knowledge": pro[share <= CALCULATED],
        "numbers": pro[share > CALCULATED],
        "maths": maths,
    }


def read(folder: Path, name: str) -> Rows:
    """Return a set as numbers."""
    table = told_apart(pd.read_parquet(folder / name / "data.parquet"))
    return rows_of_answers(
        JudgedAnswers(
            tuple(table.prompt),
            tuple(map(str, table.model)),
            tuple(table.answer),
            table.score.to_numpy(float),
        )
    )


def told_apart(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without answers that count as right but end otherwise than most right ones.

    Some benchmarks take an answer that never ends for right. What most right answers say is told by
    those that may be learned from, where `AGREEING` of them say the same.
    """
    ends, right = table.answer.map(final_answer), table.score > RIGHT
    known = right & table.model.astype(str).isin(MODELS)
    expected = table.prompt.map(ends[known].groupby(table.prompt[known]).agg(_most_frequent))
    return table[~right | expected.isna() | (ends == expected)]


def _most_frequent(ends: pd.Series[str]) -> str | None:
    counts = ends.value_counts()
    return str(counts.index[0]) if len(counts) and counts.iloc[0] >= AGREEING else None


def licensed(rows: Rows) -> Rows:
    """Return the answers that may be learned from."""
    return rows[np.isin(rows.models, list(MODELS))]


def questions(folder: Path) -> Questions:
    """Return the questions of which only the steps of a solution are known."""
    table = pd.read_parquet(folder / STEPS / "data.parquet")
    steps = np.log(table.n_steps.to_numpy(float))
    measured = [draft_features(question, "") for question in table.prompt]
    return Questions(np.array(measured), PER_STEP * (steps - steps.mean()) / steps.std())


def fit(domains: Mapping[str, Rows], asked: Questions) -> Head:
    """Return the head that some domains make."""
    s, k = len(SHARES), len(FEATURES)
    centre, scale, linear = (np.zeros((s, k)) for _ in range(3))
    targets = [against_model(rows) for rows in domains.values()]
    for share in range(s):
        values = [rows.surface[:, share] for rows in domains.values()]
        centre[share] = np.mean([one.mean(axis=0) for one in values], axis=0)
        together = np.mean([((one - centre[share]) ** 2).mean(axis=0) for one in values], axis=0)
        scale[share] = np.sqrt(together) + LEAST_SCALE
        found = [
            signed_ridge(standardised(one, centre[share], scale[share]), target)
            for one, target in zip(values, targets, strict=True)
        ]
        z = np.where(_QUESTION, standardised(asked.surface, centre[share], scale[share]), 0.0)
        found.append(signed_ridge(z, asked.target))
        weights, varies = (np.array(part) for part in zip(*found, strict=True))
        linear[share] = (weights * varies).sum(axis=0) / np.maximum(varies.sum(axis=0), 1e-9)
    head = Head(
        offset=np.zeros(s),
        slope=np.ones(s),
        centre=centre,
        scale=scale,
        linear=SLOPE * linear,
        split=np.zeros((s, 0, 1), np.int16),
        threshold=np.zeros((s, 0, 1), np.float32),
        leaf=np.zeros((s, 0, 2), np.float32),
        reading_centre=np.zeros(0),
        reading_scale=np.zeros(0),
        reading=np.zeros(0),
        base=np.zeros(0),
        drift=np.zeros(s),
    )
    moved = [
        np.concatenate(
            [head.logits(rows.surface[:, share], share=share) for rows in domains.values()]
        )
        for share in range(s)
    ]
    return replace(
        head,
        drift=np.array([(moved[_WHOLE] - one).std() for one in moved]),
    )


def against_model(rows: Rows) -> Floats:
    """Return scores less the mean of the model that answered."""
    _, place = np.unique(rows.models, return_inverse=True)
    means = np.bincount(place, rows.scores) / np.bincount(place)
    return np.asarray(rows.scores - means[place])


def standardised(values: Floats, centre: Floats, scale: Floats) -> Floats:
    """Return standard deviations from the mean, of these rows."""
    z = np.clip((values - centre) / scale, -CLIP, CLIP)
    return np.asarray(z - z.mean(axis=0))


def signed_ridge(z: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Return the weights of a ridge regression whose signs make sense, and what each varies by.

    By coordinate descent.
    """
    gram, with_target = z.T @ z / len(z), z.T @ target / len(z)
    varies = np.diag(gram).copy()
    gram += PENALTY * np.eye(len(gram))
    least = np.array([-np.inf if name in MORE_IS_WORSE else 0.0 for name in FEATURES])
    most = np.array([np.inf if name in MORE_IS_BETTER else 0.0 for name in FEATURES])
    weights = np.zeros(len(gram))
    for _ in range(SWEEPS):
        before = weights.copy()
        for place in range(len(gram)):
            rest = with_target[place] - gram[place] @ weights + gram[place, place] * weights[place]
            weights[place] = min(most[place], max(least[place], rest / gram[place, place]))
        if np.abs(weights - before).max() < 1e-7:
            break
    return weights, varies


def left_out(domains: Mapping[str, Rows], asked: Questions) -> dict[str, Any]:
    """Return AUC within each model's answers: without its domain, without itself."""
    found: dict[str, Any] = {}
    for name, rows in domains.items():
        others = {one: licensed(it) for one, it in domains.items() if one != name}
        head = fit(others, asked)
        found[name] = {"domain_left_out": by_model(head, rows)}
    for model in MODELS:
        head = fit({name: without(licensed(rows), model) for name, rows in domains.items()}, asked)
        for name, rows in domains.items():
            if model in rows.models:
                own = by_model(head, rows[rows.models == model])
                found[name].setdefault("model_left_out", {}).update(own)
    return found


def without(rows: Rows, model: str) -> Rows:
    """Return the answers of all other models."""
    return rows[rows.models != model]


def by_model(head: Head, rows: Rows) -> dict[str, float]:
    """Return AUC within the answers of each model."""
    logits = head.logits(rows.surface[:, _WHOLE])
    return {
        str(model): round(auc(logits[rows.models == model], rows.scores[rows.models == model]), 4)
        for model in np.unique(rows.models)
    }


def main(arguments: Sequence[str] | None = None, report: Callable[[str], object] = print) -> None:
    """Train, measure on what was left out, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder to write to")
    options = parser.parse_args(arguments)
    domains = load(options.data)
    licensed_only = {name: licensed(rows) for name, rows in domains.items()}
    asked = questions(options.data)
    outside = left_out(domains, asked)
    about = {
        "command": "python -m examples.benchmarks.train_verifier --data FOLDER",
        "what": "log odds per standard deviation of each surface feature; no text is stored",
        "sources": {**SOURCES, **SOURCES_OF_QUESTIONS},
        "models": MODELS,
        "answers": {name: len(rows.scores) for name, rows in licensed_only.items()},
        "questions": len(asked.target),
        "auc": outside,
        "mean_auc": {
            name: {way: round(float(np.mean(list(one.values()))), 4) for way, one in ways.items()}
            for name, ways in outside.items()
        },
    }
    replace(fit(licensed_only, asked), card=about).save(options.out)
    report(json.dumps(about, indent=2))


if __name__ == "__main__":
    main()
