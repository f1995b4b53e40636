"""Make the verifier that comes with the package: `shared_core/strategies/verifiers/data/verifier/`.

Run `python -m examples.benchmarks.train_verifier --data FOLDER` with the sets below in the folder
(columns prompt, model, answer, score); needs the extra `[train]`. Only answers of models whose
weights are under Apache-2.0 or MIT are learned from. No text is stored: means, deviations, weights.

A ridge regression per domain, of right minus the answering model's mean, so that it does not learn
which model is good; what the package gets is their mean, so that it does not learn one domain's
ways. What that is worth elsewhere is measured by leaving a domain, or a model, out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from shared_core.lab.answers import SLOPE, Rows, rows_of_answers
from shared_core.lab.evaluate import auc
from shared_core.lab.judged import JudgedAnswers
from shared_core.strategies.verifiers.head import CLIP, SHARES, Head
from shared_core.strategies.verifiers.learned import SHIPPED
from shared_core.strategies.verifiers.surface import FEATURES

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
CALCULATED: Final = (
    0.2  # share of the answers to a question with a calculation: it is about numbers
)
PENALTY: Final = 2.0  # per answer, in variances of a feature: domains of any size count alike
LEAST_SCALE: Final = 0.05  # what differs less is a constant
_WHOLE: Final = len(SHARES) - 1


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
    table = pd.read_parquet(folder / name / "data.parquet")
    return rows_of_answers(
        JudgedAnswers(
            tuple(table.prompt),
            tuple(map(str, table.model)),
            tuple(table.answer),
            table.score.to_numpy(float),
        )
    )


def licensed(rows: Rows) -> Rows:
    """Return the answers that may be learned from."""
    return rows[np.isin(rows.models, list(MODELS))]


def fit(domains: Mapping[str, Rows]) -> Head:
    """Return the head that some domains make."""
    s, k = len(SHARES), len(FEATURES)
    centre, scale, linear = (np.zeros((s, k)) for _ in range(3))
    targets = {name: against_model(rows) for name, rows in domains.items()}
    for share in range(s):
        values = [rows.surface[:, share] for rows in domains.values()]
        centre[share] = np.mean([one.mean(axis=0) for one in values], axis=0)
        together = np.mean([((one - centre[share]) ** 2).mean(axis=0) for one in values], axis=0)
        scale[share] = np.sqrt(together) + LEAST_SCALE
        z = {
            name: np.clip((rows.surface[:, share] - centre[share]) / scale[share], -CLIP, CLIP)
            for name, rows in domains.items()
        }
        linear[share] = np.mean([ridge(z[name], targets[name]) for name in domains], axis=0)
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
        spread=np.ones(s),
        drift=np.zeros(s),
    )
    moved = [
        np.concatenate(
            [head.logits(rows.surface[:, share], share=share) for rows in domains.values()]
        )
        for share in range(s)
    ]
    return replaced(
        head,
        spread=np.array([one.std() for one in moved]),
        drift=np.array([(moved[_WHOLE] - one).std() for one in moved]),
    )


def replaced(head: Head, **changes: Any) -> Head:
    """Return a head with other arrays."""
    return Head(**{name: value for name, value in vars(head).items() if name[0] != "_"} | changes)


def against_model(rows: Rows) -> Floats:
    """Return scores less the mean of the model that answered."""
    _, place = np.unique(rows.models, return_inverse=True)
    means = np.bincount(place, rows.scores) / np.bincount(place)
    return np.asarray(rows.scores - means[place])


def ridge(z: Floats, target: Floats) -> Floats:
    """Return the weights of a ridge regression."""
    inputs = z - z.mean(axis=0)
    gram = inputs.T @ inputs / len(z) + PENALTY * np.eye(z.shape[1])
    return np.asarray(np.linalg.solve(gram, inputs.T @ target / len(z)))


def left_out(domains: Mapping[str, Rows]) -> dict[str, Any]:
    """Return AUC within each model's answers: without its domain, without itself."""
    found: dict[str, Any] = {}
    for name, rows in domains.items():
        others = {one: licensed(it) for one, it in domains.items() if one != name}
        head = fit(others)
        found[name] = {"domain_left_out": by_model(head, rows)}
    for model in MODELS:
        head = fit({n: (one := licensed(rows))[one.models != model] for n, rows in domains.items()})
        for name, rows in domains.items():
            if model in rows.models:
                own = by_model(head, rows[rows.models == model])
                found[name].setdefault("model_left_out", {}).update(own)
    return found


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
    outside = left_out(domains)
    about = {
        "command": "python -m examples.benchmarks.train_verifier --data FOLDER",
        "what": "log odds per standard deviation of each surface feature; no text is stored",
        "sources": SOURCES,
        "models": MODELS,
        "answers": {name: len(rows.scores) for name, rows in licensed_only.items()},
        "auc": outside,
        "mean_auc": {
            name: {way: round(float(np.mean(list(one.values()))), 4) for way, one in ways.items()}
            for name, ways in outside.items()
        },
    }
    replaced(fit(licensed_only), card=about).save(options.out)
    report(json.dumps(about, indent=2))


if __name__ == "__main__":
    main()
