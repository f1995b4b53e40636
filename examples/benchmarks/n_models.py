"""Many models at once: what quality costs, and how soon a model that nobody labelled is of use.

Run `python -m examples.benchmarks.n_models --data FOLDER` with `eval_routerbench_lite` (published
costs), `eval_zeroeval_gsm8k_mmluredux`, `eval_mmlu_pro_ori_mmlu` and `model_info` in the folder
(extra `[train]`). Half of the prompts (at most 1,600), drawn at random, are labelled; the others
are routed at every δ by what `routed` makes of predicted qualities and each model's mean cost on
the labelled ones, and charged what they cost. Where a table has no cost, the list price of
`model_info` stands in, times estimated input tokens and the answer's output tokens, or the
fallback's guess where those are unknown too.

What can be had for a spend: the concave hull of a way's points and of the two single models, the
cheapest and the best (two settings can be mixed). Area: under it, between those two (0.5: a random
mixture of them, 1: the best for the price of the cheapest). Saving: how much less than the best
single model a point of it costs that is as good, or 99 % or 95 % as good, read off the tested
prompts. "Chosen" is the largest δ that keeps the mean score of the best single model on the
labelled prompts (cross-fitted), so that nothing is read off. Intervals: 95 % of bootstrap samples,
each of the tested prompts of one seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from examples.benchmarks import _page, _splits, _tables
from examples.benchmarks.baselines import BASELINES, Learner, prompt_length
from examples.benchmarks.routellm import fallback
from shared_core import Candidate, Policy, Prompt
from shared_core.decision.calibration import routed
from shared_core.lab.fit import fit, probe
from shared_core.lab.table import Outcomes
from shared_core.prediction.learned import LearnedPredictor
from shared_core.prediction.surface import OUTPUT_TOKENS
from shared_core.tokens import estimate_tokens
from shared_core.types import Turn

LEVELS = np.linspace(0, 1, 101)
PROBES = 30
MOST_LABELS = 1600
KEPT = (1.0, 0.99, 0.95)  # shares of the best single model's quality
FIGURES = ("area", "saving", "saving_at_0.99", "saving_at_0.95", "best_quality")
PRICED: Mapping[str, tuple[str, Sequence[str], Sequence[str]]] = {
    "zeroeval": (
        "eval_zeroeval_gsm8k_mmluredux",
        ("mmlu_redux", "gsm8k_test"),
        (
            "gemma-2-2b-it",
            "Meta-Llama-3.1-8B-Instruct",
            "gpt-4o-mini-2024-07-18",
            "claude-3-haiku-20240307",
            "Meta-Llama-3.1-70B-Instruct",
            "gpt-4o-2024-08-06",
            "claude-3-5-sonnet-20240620",
        ),
    ),
    "mmlu_pro": (
        "eval_mmlu_pro_ori_mmlu",
        ("mmlu_pro_cot",),
        (
            "Phi-3-mini-4k-instruct",
            "Meta-Llama-3_1-8B-Instruct",
            "Mixtral-8x7B-Instruct-v0.1",
            "gemini-1.5-flash-002",
            "Meta-Llama-3_1-70B-Instruct",
            "gemini-1.5-pro-002",
            "gpt-4o-2024-05-13",
        ),
    ),
}
ROUTERBENCH = ("routerbench_arc_challenge", "routerbench_mbpp", "routerbench_winogrande")

Floats = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Half:
    """The tested half of a table beside what the labelled half tells of the models' costs."""

    labelled: Outcomes
    tested: Outcomes
    usual: Floats  # USD for each model, mean over the labelled answers

    def path(self, predicted: Floats, table: Outcomes) -> Floats:
        """Return which model every prompt goes to, δ by δ."""
        candidates = [Candidate(name, None) for name in table.models]
        cost = np.broadcast_to(self.usual, predicted.shape)
        return np.array([routed(Policy(), candidates, predicted, cost, d) for d in LEVELS])


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON file and the tables."""
    parser = _page.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--draws", type=int, default=300, help="bootstrap samples")
    parser.add_argument("--seeds", type=int, default=4, help="draws of the labelled half")
    parser.add_argument("--left-out-seeds", type=int, default=2, help="of these, leave models out")
    options = parser.parse_args(arguments)
    _splits.remember_features()
    tables = read(options.data)
    results = {
        "command": f"python -m examples.benchmarks.n_models --data FOLDER --seed {options.seed} "
        f"--seeds {options.seeds} --draws {options.draws} "
        f"--left-out-seeds {options.left_out_seeds}",
        "sets": {name: measure(table, options) for name, table in tables.items()},
        "left_out": {name: left_out(table, options) for name, table in tables.items()},
    }
    drawn = {"n_models": draw(results["sets"]), "left_out": draw_left_out(results["left_out"])}
    _page.publish(options.out, "n_models", results, drawn)


def read(folder: Path) -> dict[str, Outcomes]:
    """Return the tables with a cost for every answer, models from weak to strong."""
    tables = {"routerbench_lite": _tables.read(folder, "eval_routerbench_lite", ROUTERBENCH)}
    for name, (source, datasets, models) in PRICED.items():
        table = _tables.read(folder, source, datasets, models)
        tables[name] = charged(table, _tables.prices(folder, source, models))
    return {name: weakest_first(table) for name, table in tables.items()}


def charged(table: Outcomes, prices: Sequence[tuple[float, float]]) -> Outcomes:
    """Return the table with costs from list prices."""
    price = np.array(prices)
    read = np.array([estimate_tokens(prompt) for prompt in table.prompts], float)[:, None]
    known = ~np.isnan(table.output_tokens)
    written = np.where(known, table.output_tokens, OUTPUT_TOKENS)
    return replace(table, cost=(read * price[:, 0] + written * price[:, 1]) * 1e-6)


def weakest_first(table: Outcomes) -> Outcomes:
    """Sort the models by mean score, as a user would list them."""
    order = np.argsort(table.scores.mean(axis=0))
    return table.subset(slice(None), [table.models[place] for place in order])


def halves(table: Outcomes, seed: int) -> Half:
    """Label one half of the prompts, of a large table less."""
    labels = min(MOST_LABELS, len(table.prompts) // 2)
    chosen, others = _splits.split(len(table.prompts), labels, seed)
    labelled = table.subset(chosen)
    return Half(labelled, table.subset(others), labelled.cost.mean(axis=0))


def measure(table: Outcomes, options: argparse.Namespace) -> dict[str, Any]:
    """Return what each way of routing gives, and the points of its first seed's curve."""
    seeds = [halves(table, seed) for seed in range(options.seed, options.seed + options.seeds)]
    found: dict[str, Any] = {
        "prompts": len(table.prompts),
        "labels": len(seeds[0].labelled.prompts),
        "models": {
            name: {"score": round(float(score), 4), "usd_per_1000": round(float(cost) * 1000, 4)}
            for name, score, cost in zip(
                table.models, table.scores.mean(axis=0), table.cost.mean(axis=0), strict=True
            )
        },
        "ways": {},
        "curves": {},
    }
    ours = [fit(half.labelled) for half in seeds]
    sweeps = {
        "router": [
            sweep(h, h.path(p.qualities(h.tested.prompts), h.tested))
            for h, p in zip(seeds, ours, strict=True)
        ]
    }
    learners: Mapping[str, Learner] = {**BASELINES, "prompt_length": prompt_length}
    for way, learner in learners.items():
        sweeps[way] = [
            sweep(half, half.path(learned(learner, half), half.tested)) for half in seeds
        ]
    sweeps["fallback"] = [sweep(h, h.path(fallback(h.tested), h.tested)) for h in seeds]
    sweeps["random"] = [random_mixture(half) for half in seeds]
    sweeps["single_models"] = [sweep(half, every_single(half)) for half in seeds]
    sweeps["oracle"] = [sweep(half, oracle(half)) for half in seeds]
    for way, each in sweeps.items():
        figures = _splits.over_seeds(trade_off, each, options.draws, options.seed)
        found["ways"][way] = dict(zip(FIGURES, figures, strict=True))
        found["curves"][way] = points(each[0])
    found["chosen"] = chosen_delta(seeds, ours, options)
    return found


def learned(learner: Learner, half: Half) -> Floats:
    """Return what a baseline predicts for the tested prompts."""
    return learner(half.labelled.prompts, half.labelled.scores)(half.tested.prompts)


def sweep(half: Half, choices: Floats) -> tuple[Floats, ...]:
    """Return score and cost of every tested prompt, δ by δ, and those of the two single models.

    Columns: the levels. Then cheapest and best single model (of the labelled half).
    """
    rows = np.arange(len(half.tested.prompts))
    ends = [half.usual.argmin(), half.labelled.scores.mean(axis=0).argmax()]
    paths = np.vstack([choices, *(np.full((1, len(rows)), end) for end in ends)])
    return half.tested.scores[rows, paths].T, half.tested.cost[rows, paths].T


def trade_off(scores: Floats, costs: Floats) -> list[float]:
    """Return the area, the savings at `KEPT`, and the highest quality beside the best single's."""
    score, cost = scores.mean(axis=0), costs.mean(axis=0)
    spend, had = frontier(score, cost)
    needed = [float(np.interp(share * score[-1], had, spend)) for share in KEPT]
    savings = [1 - one / float(cost[-1]) for one in needed]
    return [area(score, cost), *savings, float(score[:-2].max() / score[-1])]


def area(score: Floats, cost: Floats) -> float:
    """Return the area under the frontier, as shares of the gaps in score and in cost."""
    low, high, least, most = score[-2], score[-1], cost[-2], cost[-1]
    if most <= least or high <= low:
        return float("nan")
    spend, had = frontier(score, cost)
    at = np.linspace(0, 1, 201)
    share = np.interp(at, (spend - least) / (most - least), (had - low) / (high - low))
    return float(np.trapezoid(share, at))


def frontier(score: Floats, cost: Floats) -> tuple[Floats, Floats]:
    """Return the rising part of the concave hull: spends, and the scores to be had for them."""
    hull: list[tuple[float, float]] = []
    for point in sorted(zip(cost.tolist(), score.tolist(), strict=True)):
        while len(hull) > 1 and _turns_left(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    spend, had = np.array(hull).T
    top = int(had.argmax()) + 1  # what is dearer and no better is not bought
    return spend[:top], had[:top]


def _turns_left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) >= (b[1] - a[1]) * (c[0] - a[0])


def random_mixture(half: Half) -> tuple[Floats, ...]:
    """Return what a mixture of cheapest and best single model gives on average."""
    return tuple(column[:, [-2, -1, -2, -1]] for column in sweep(half, every_single(half)))


def every_single(half: Half) -> Floats:
    """Return each model for every prompt: their hull is what mixing them blindly can give."""
    models, prompts = len(half.tested.models), len(half.tested.prompts)
    return np.repeat(np.arange(models)[:, None], prompts, axis=1)


def oracle(half: Half) -> Floats:
    """Return the cheapest of the best answers, and the cheapest answer."""
    scores, cost = half.tested.scores, half.tested.cost
    best = scores >= scores.max(axis=1, keepdims=True)
    return np.array([np.where(best, cost, np.inf).argmin(axis=1), cost.argmin(axis=1)])


def points(swept: tuple[Floats, ...]) -> list[list[float]]:
    """Return the distinct points of a curve: USD per 1,000 prompts, mean score."""
    scores, costs = (column.mean(axis=0)[:-2] for column in swept)
    pairs = {
        (round(float(c) * 1000, 4), round(float(s), 4)) for c, s in zip(costs, scores, strict=True)
    }
    return [list(pair) for pair in sorted(pairs)]


def chosen_delta(
    seeds: Sequence[Half], ours: Sequence[LearnedPredictor], options: argparse.Namespace
) -> dict[str, Any]:
    """Return saving and quality kept at the δ that the labelled prompts suggest."""
    each = []
    for half, predictor in zip(seeds, ours, strict=True):
        assert predictor.sample is not None
        labelled, _ = sweep(
            replace(half, tested=half.labelled),
            half.path(predictor.sample.predicted, half.labelled),
        )
        mean = labelled.mean(axis=0)
        level = int(np.flatnonzero(mean[:-2] >= mean[-1]).max(initial=0))
        scores, costs = sweep(
            half, half.path(predictor.qualities(half.tested.prompts), half.tested)
        )
        each.append((scores[:, [level, -1]], costs[:, [level, -1]]))

    def figures(scores: Floats, costs: Floats) -> list[float]:
        (got, best), (spent, most) = scores.mean(axis=0), costs.mean(axis=0)
        return [1 - spent / most, got / best]

    found = _splits.over_seeds(figures, each, options.draws, options.seed)
    return dict(zip(("saving", "quality_kept"), found, strict=True))


def left_out(table: Outcomes, options: argparse.Namespace) -> dict[str, Any]:
    """Return the area with each model left out of training, known by a probe or by its place."""
    areas: dict[str, dict[str, list[float]]] = {way: {} for way in ("all", "probe", "strength")}
    for seed in range(options.seed, options.seed + options.left_out_seeds):
        half = halves(table, seed)
        whole = area_of(half, fit(half.labelled).qualities(half.tested.prompts))
        for model in table.models:
            others = [name for name in table.models if name != model]
            predictor = fit(half.labelled.subset(slice(None), others))
            known_by = {
                "all": whole,
                "probe": area_of(half, by_probe(predictor, half, model, seed)),
                "strength": area_of(half, by_strength(predictor, half)),
            }
            for way, found_area in known_by.items():
                areas[way].setdefault(model, []).append(found_area)
    known = np.array(list(areas["all"].values()))
    found: dict[str, Any] = {
        "labels": PROBES,
        "seeds": options.left_out_seeds,
        "area_all": round(float(known.mean()), 4),
    }
    for way in ("probe", "strength"):
        losses = known - np.array(list(areas[way].values()))
        per_model = dict(zip(table.models, losses.mean(axis=1).round(4).tolist(), strict=True))
        found[way] = {
            "loss": _splits.figure(float(losses.mean()), losses.ravel()),
            "by_model": per_model,
            "worst": max(per_model, key=per_model.__getitem__),
        }
    return found


def area_of(half: Half, predicted: Floats) -> float:
    """Return the area under the curve of predictions."""
    scores, costs = sweep(half, half.path(predicted, half.tested))
    return area(scores.mean(axis=0), costs.mean(axis=0))


def by_probe(predictor: LearnedPredictor, half: Half, model: str, seed: int) -> Floats:
    """Predict with a model that is known by few labels."""
    asked, _ = _splits.split(len(half.labelled.prompts), PROBES, seed)
    wider = probe(predictor, half.labelled.subset(asked, [model]), model)
    places = [wider.models.index(name) for name in half.tested.models]
    return wider.qualities(half.tested.prompts)[:, places]


def by_strength(predictor: LearnedPredictor, half: Half) -> Floats:
    """Predict with a model that is known by its place in the list."""
    names = half.tested.models
    candidates = [
        Candidate(name, None, strength=place / (len(names) + 1))
        for place, name in enumerate(names, start=1)
    ]

    def qualities(text: str) -> list[float]:
        prompt = Prompt(turns=(Turn("user", text),), tokens=estimate_tokens(text))
        return [estimate.quality for estimate in predictor.predict(prompt, candidates)]

    return np.array([qualities(text) for text in half.tested.prompts])


def draw(sets: Mapping[str, Any]) -> str:
    """Return areas and savings as a Markdown table."""
    titles = ["set", "way", "area (95 %)", "saving at the best single's quality", "at 99 % of it"]
    titles += ["at 95 % of it", "highest quality / best single"]
    rows = []
    for name, found in sets.items():
        about = f"{name}: {len(found['models'])} models, {found['labels']} labels"
        for way, one in found["ways"].items():
            rows.append([about, way, *(_page.shown(one[key]) for key in one)])
        one = found["chosen"]
        kept = _page.shown(one["quality_kept"])
        saving = _page.shown(one["saving"])
        rows.append([about, "router, δ chosen on the labels", "-", saving, "-", "-", kept])
    return _page.markdown(titles, rows)


def draw_left_out(found: Mapping[str, Any]) -> str:
    """Return what a model costs that training never saw."""
    titles = ["set", "known by", "area, trained on all", "area lost (95 %)", "worst model"]
    rows = []
    for name, one in found.items():
        for way, words in (("probe", f"{one['labels']} labels"), ("strength", "its place")):
            worst = one[way]["worst"]
            cells = [f"{one['area_all']:.3f}", _page.shown(one[way]["loss"])]
            rows.append([name, words, *cells, f"{worst}: {one[way]['by_model'][worst]:.3f}"])
    return _page.markdown(titles, rows)


if __name__ == "__main__":
    main()
