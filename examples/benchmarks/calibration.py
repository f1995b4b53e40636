"""Does `Policy(quality=q)` keep its promise on prompts of the same traffic that nobody labelled?

Run `python -m examples.benchmarks.calibration --data FOLDER`, the folder as for `routellm` plus
`eval_zeroeval_gsm8k_mmluredux` and `model_info` (extra `[train]`). Split by split: some prompts,
drawn at random, are labelled; a predictor is fitted and δ calibrated on its cross-fitted sample, as
`router-llm train` does; all other prompts are routed. The promise holds unless the mean of (score
of the routed choice - q x score of the best single model) is below 0 by more than the noise of
the held-out prompts (one-sided 95 %, paired). Where the labels do not bear the promise out the
router says so and takes δ = 1 - q of predicted quality: counted apart.

Spend: against the largest saving that any δ gives on the held-out prompts at the same quality,
chosen in hindsight. Intervals: the middle 95 % of the splits.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from examples.benchmarks import _page, _splits, _tables
from examples.benchmarks.baselines import BASELINES, Learner, router
from examples.benchmarks.routellm import fallback
from shared_core import Candidate, Policy
from shared_core.decision.calibration import routed, threshold
from shared_core.lab.evaluate import brier, calibration_error
from shared_core.lab.fit import fit
from shared_core.lab.table import Outcomes
from shared_core.prediction.learned import LearnedPredictor
from shared_core.prediction.surface import OUTPUT_TOKENS
from shared_core.tokens import estimate_tokens

QUALITIES = (0.95, 0.9, 0.8)
LABELS = (200, 650, 7000)
PAIR = ((0.6, 0.6), (24.7, 24.7))  # USD per million tokens as in RouteLLM: Mixtral, GPT-4
LADDER = (
    "gemma-2-2b-it",
    "Meta-Llama-3.1-8B-Instruct",
    "gpt-4o-mini-2024-07-18",
    "gpt-4o-2024-08-06",
)
ZEROEVAL = "eval_zeroeval_gsm8k_mmluredux"
LARGE = 2000  # labels; a fit of more takes seconds
ONE_SIDED = 1.645
MOST_LABELLED = 0.65  # share of a table; the rest is for testing

Floats = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Task:
    """A table, and its models as candidates, weakest first."""

    table: Outcomes
    candidates: tuple[Candidate, ...]

    @cached_property
    def cost(self) -> Floats:
        """Expected USD, prompts x models."""
        tokens = np.array([estimate_tokens(prompt) for prompt in self.table.prompts], float)
        price = np.array([candidate.price for candidate in self.candidates])
        return (tokens[:, None] * price[:, 0] + self.table.output_tokens * price[:, 1]) * 1e-6


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON file and the tables."""
    parser = _page.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--splits", type=int, default=100, help="draws of the labelled prompts")
    parser.add_argument("--large-splits", type=int, default=12, help="the same over 2,000 labels")
    parser.add_argument("--believed", type=int, default=4, help="splits for ECE and Brier")
    parser.add_argument("--tested", type=int, default=7000, help="most held-out prompts")
    parser.add_argument("--labels", type=int, nargs="+", default=LABELS)
    options = parser.parse_args(arguments)
    _splits.remember_features()
    tasks = read(options.data)
    promises = {
        name: keep_promises(tasks[name], options) for name in ("mmlu", "zeroeval_mmlu_redux")
    }
    results = {
        "command": f"python -m examples.benchmarks.calibration --data FOLDER --seed {options.seed} "
        f"--splits {options.splits} --large-splits {options.large_splits} "
        f"--tested {options.tested} --believed {options.believed} "
        f"--labels {' '.join(map(str, options.labels))}",
        **{f"quality_{q}": summed(promises["mmlu"], f"quality_{q}") for q in QUALITIES},
        "promises": promises,
        "believed": {name: believed(task, options) for name, task in tasks.items()},
    }
    drawn = {"calibration": draw(promises), "believed": draw_believed(results["believed"])}
    _page.publish(options.out, "calibration", results, drawn)


def read(folder: Path) -> dict[str, Task]:
    """Return the tasks; output tokens are the fallback's guess, the same for all models."""
    found = {name: (_tables.routellm(folder, name), PAIR) for name in ("mmlu", "gsm8k")}
    for dataset in ("mmlu_redux", "gsm8k_test"):
        table = _tables.read(folder, ZEROEVAL, [dataset], LADDER)
        found[f"zeroeval_{dataset}"] = table, tuple(_tables.prices(folder, ZEROEVAL, LADDER))
    tasks = {}
    for name, (table, prices) in found.items():
        guessed = np.full(table.scores.shape, float(OUTPUT_TOKENS))
        priced = zip(table.models, prices, strict=True)
        candidates = tuple([Candidate(model, None, price=price) for model, price in priced])
        tasks[name] = Task(replace(table, output_tokens=guessed), candidates)
    return tasks


def keep_promises(task: Task, options: argparse.Namespace) -> dict[str, Any]:
    """Return how promises fared, by number of labels and quality."""
    found: dict[str, Any] = {}
    for labels in fitting(task, options.labels):
        tried: dict[str, list[dict[str, float]]] = {f"quality_{q}": [] for q in QUALITIES}
        splits = options.splits if labels <= LARGE else options.large_splits
        for seed in range(options.seed, options.seed + splits):
            chosen, others = _splits.split(len(task.table.prompts), labels, seed)
            predictor = fit(task.table.subset(chosen))
            tested = others[: options.tested]  # in random order already
            for quality, promise in promises_of(task, predictor, tested).items():
                tried[f"quality_{quality}"].append(promise)
        found[str(labels)] = {name: counted(promises) for name, promises in tried.items()}
    return found


def fitting(task: Task, labels: Sequence[int]) -> list[int]:
    """Return the numbers of labels that leave enough prompts for testing."""
    return [count for count in labels if count <= MOST_LABELLED * len(task.table.prompts)]


def promises_of(
    task: Task, predictor: LearnedPredictor, tested: Floats
) -> dict[float, dict[str, float]]:
    """Calibrate for each quality, route the tested prompts, and look at what came out."""
    assert predictor.sample is not None
    scores, cost = task.table.scores[tested], task.cost[tested]
    predicted = predictor.qualities([task.table.prompts[row] for row in tested])
    rows = np.arange(len(tested))
    best = scores[:, scores.mean(axis=0).argmax()]

    def at(delta: float) -> tuple[Floats, float, float]:
        chosen = routed(Policy(), task.candidates, predicted, cost, delta)
        return scores[rows, chosen], float(cost[rows, chosen].mean()), float((chosen != 0).mean())

    gaps = predicted.max(axis=1, keepdims=True) - predicted
    path = [at(float(delta)) for delta in np.quantile(gaps, np.linspace(0, 1, 101))]

    def one(quality: float) -> dict[str, float]:
        found = threshold(Policy(quality=quality), task.candidates, predictor.sample)
        score, spend, dearer = at(found.delta)
        surplus = score - quality * best
        noise = ONE_SIDED * surplus.std(ddof=1) / np.sqrt(len(surplus))
        enough = [cost for got, cost, _ in path if got.mean() >= quality * best.mean()]
        return {
            "calibrated": float(found.calibrated),
            "held": float(surplus.mean() + noise >= 0),
            "at_or_over": float(surplus.mean() >= 0),
            "kept": float(score.mean() / best.mean()),
            "not_cheapest": dearer,
            "spend": spend / min(enough, default=spend),
            "delta": found.delta,
        }

    return {quality: one(quality) for quality in QUALITIES}


def counted(promises: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return counts over all promises, and means over those calibrated and the others."""
    groups = {
        "calibrated": [one for one in promises if one["calibrated"]],
        "uncalibrated": [one for one in promises if not one["calibrated"]],
    }
    found: dict[str, Any] = {
        "held": int(sum(one["held"] for one in promises)),
        "splits": len(promises),
        "not_enough_data": len(groups["uncalibrated"]),
    }
    for name, group in groups.items():
        if not group:
            continue
        figures = {
            key: _splits.figure(float(values.mean()), values)
            for key in ("kept", "not_cheapest", "spend", "delta")
            for values in [np.array([one[key] for one in group])]
        }
        counts = {key: int(sum(one[key] for one in group)) for key in ("held", "at_or_over")}
        found[name] = {"promises": len(group), **counts, **figures}
    return found


def summed(by_labels: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the counts of one quality over all numbers of labels, and one by one."""
    ones = {labels: found[name] for labels, found in by_labels.items()}
    calibrated = [one["calibrated"] for one in ones.values() if "calibrated" in one]
    return {
        "held": sum(one["held"] for one in ones.values()),
        "splits": sum(one["splits"] for one in ones.values()),
        "calibrated": sum(one["promises"] for one in calibrated),
        "held_of_calibrated": sum(one["held"] for one in calibrated),
        "by_labels": ones,
    }


def believed(task: Task, options: argparse.Namespace) -> dict[str, Any]:
    """Return ECE and Brier score on prompts without labels, mean over the models."""

    def figures(each: list[Floats]) -> dict[str, Any]:
        found = []
        for predicted in each:
            seen = ~np.isnan(predicted[:, 0])
            pairs = list(zip(predicted[seen].T, task.table.scores[seen].T, strict=True))
            means = [
                [statistic(*pair) for pair in pairs] for statistic in (calibration_error, brier)
            ]
            found.append(np.mean(means, axis=1))
        columns = np.array(found).T
        ece, squared = (_splits.figure(float(column.mean()), column) for column in columns)
        return {"ece": ece, "brier": squared, "splits": len(each)}

    ways: Mapping[str, Learner] = {
        "router": router,
        "tfidf_logistic": BASELINES["tfidf_logistic"],
        "mean_score": lambda _, scores: lambda new: np.tile(scores.mean(axis=0), (len(new), 1)),
    }
    found = {"fallback": {"0": figures([fallback(task.table)])}}
    for way, learner in ways.items():
        found[way] = {}
        for labels in fitting(task, options.labels):
            predict = partial(_splits.held_out, learner, task.table, labels)
            splits = options.believed if labels <= LARGE else 2
            seeds = range(options.seed, options.seed + splits)
            found[way][str(labels)] = figures([predict(seed) for seed in seeds])
    return found


def draw(promises: Mapping[str, Any]) -> str:
    """Return the fate of the promises as a Markdown table."""
    titles = ["traffic", "labels", "promise", "promises", "held", "not below at all"]
    titles += ["quality kept", "not to the cheapest", "spend / best in hindsight"]
    rows = []
    for name, by_labels in promises.items():
        for labels, found in by_labels.items():
            for quality, one in found.items():
                for kind in ("calibrated", "uncalibrated"):
                    if kind not in one:
                        continue
                    group = one[kind]
                    counts = [f"{group['promises']} {kind}", str(group["held"])]
                    counts.append(str(group["at_or_over"]))
                    shown = [_page.shown(group[key]) for key in ("kept", "not_cheapest")]
                    spend = _page.shown(group["spend"], 2)
                    rows.append([name, labels, quality[8:], *counts, *shown, spend])
    return _page.markdown(titles, rows)


def draw_believed(found: Mapping[str, Any]) -> str:
    """Return ECE and Brier as a Markdown table."""
    rows = [
        [name, way, labels, str(one["splits"]), _page.shown(one["ece"]), _page.shown(one["brier"])]
        for name, ways in found.items()
        for way, by_labels in ways.items()
        for labels, one in by_labels.items()
    ]
    return _page.markdown(["traffic", "predictor", "labels", "splits", "ECE", "Brier"], rows)


if __name__ == "__main__":
    main()
