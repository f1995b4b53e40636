"""The gap between the best single model and the oracle: which share of it routing closes.

Run `python -m examples.benchmarks.oracle_gap --data FOLDER` with `eval_routerbench_lite`,
`eval_zeroeval_gsm8k_mmluredux`, `eval_mmlu_pro_ori_mmlu`, `eval_routellm_gsm8k_answers`,
`eval_answers_gsm8k` and `model_info` in the folder (extra `[train]`).

With S the mean score of the best single model, chosen on labelled prompts, O the mean of the best
score of any model for each prompt, and R that of a router: gap closed = (R - S) / (O - S), on
tested prompts, and only where the router costs no more there than the best single model. Whatever
a router has to choose (models, an order of them, how sure is sure enough, what quality is worth) is
chosen on labelled prompts, from predictions that have not seen these. Two kinds:

- by the prompt alone: qualities are predicted, and of quality less λ times the usual cost the
  highest is taken. Half of a table is labelled, at most 1,600 prompts;
- by looking at answers, where they are stored: models are asked one after the other, the cheapest
  first, and the best single one last or never; their final answers are compared and judged by a
  verifier. Each call is charged. Half of the prompts are labelled and the others tested, then the
  other way round.

An oracle over many models is partly luck: somebody is right by chance. `told` looks for what is
not: the models are split into two halves at random, and whom to ask of the one half is predicted
(ridge) from what all of the other half score on the very same prompt, at any cost, against the best
single model and the oracle of that half. It is a yardstick and no bound: scores tell how hard a
prompt is, but not what it is about. `rare` is the share of the gap that lies in prompts which at
most a tenth of the models get right. `all answers` asks everybody, whatever it costs.

Intervals: 95 % of bootstrap samples, each of the tested prompts of one seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV

from examples.benchmarks import _page, _splits, _tables, _votes, baselines
from examples.benchmarks._votes import Answered, Belief, Plan
from examples.benchmarks.n_models import ROUTERBENCH, Half, charged, halves
from examples.benchmarks.n_models import oracle as cheapest_best
from shared_core.lab.fit import fit
from shared_core.lab.table import Outcomes

Floats = np.ndarray[Any, Any]
Parts = dict[str, tuple[Floats, ...]]  # by way: see `beside`

GOAL = 0.5
PUBLISHED = {"Avengers on LLMRouterBench": 0.18, "arXiv 2603.20895, its own models": 0.456}
TABLES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "routerbench_lite": ("eval_routerbench_lite", ROUTERBENCH),
    "mmlu_redux": ("eval_zeroeval_gsm8k_mmluredux", ("mmlu_redux",)),
    "mmlu_pro": ("eval_mmlu_pro_ori_mmlu", ("mmlu_pro_cot",)),
}
ANSWERS = {
    "gsm8k_pair": ("eval_routellm_gsm8k_answers", "eval_routellm", ("routellm_gsm8k",)),
    "gsm8k": ("eval_answers_gsm8k", "eval_zeroeval_gsm8k_mmluredux", ("gsm8k_test",)),
}
SETS = (*TABLES, *ANSWERS)
LEARNERS: Mapping[str, baselines.Learner] = {
    "tfidf_logistic": partial(baselines.tfidf_logistic, search=False),
    "neighbours": baselines.neighbours,
    "matrix_factorisation": baselines.matrix_factorisation,
    "clusters": baselines.clusters,
}
WORTHS = np.array([0.0, *np.geomspace(0.001, 3.0, 40)])  # λ, quality for the best single's cost
PENALTIES = np.geomspace(1.0, 1e4, 9)
HALVINGS = 4  # random halves of the models
RARE = 0.1


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON file and the table."""
    parser = _page.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--draws", type=int, default=500, help="bootstrap samples")
    parser.add_argument("--seeds", type=int, default=2, help="draws of the labelled half")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="measure only these")
    options = parser.parse_args(arguments)
    _splits.remember_features()
    measured = {name: measure(name, options) for name in options.sets}
    sets = {**_page.load(options.out, "oracle_gap").get("sets", {}), **measured}
    sets = {name: sets[name] for name in SETS if name in sets}
    results = {
        "command": f"python -m examples.benchmarks.oracle_gap --data FOLDER --seed {options.seed} "
        f"--seeds {options.seeds} --draws {options.draws}",
        "goal": GOAL,
        "published": PUBLISHED,
        "sets": sets,
    }
    _page.publish(options.out, "oracle_gap", results, {"oracle_gap": draw(sets)})


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a set."""
    if name in ANSWERS:
        return by_answers(_votes.read(options.data, *ANSWERS[name]), options)
    return by_prompt(table_of(options.data, name), options)


def table_of(folder: Path, name: str) -> Outcomes:
    """Return a table of scores with all models of which a cost is known."""
    source, datasets = TABLES[name]
    if name == "routerbench_lite":
        return _tables.read(folder, source, datasets)
    rows = pd.read_parquet(folder / source / "data.parquet", columns=_tables.ASKED)
    rows = rows[rows.dataset.isin(datasets)]
    models = _tables.asked_nearly_all(rows, _tables.priced(folder, source, datasets))
    table = _tables.read(folder, source, datasets, models)
    return charged(table, _tables.prices(folder, source, models))


def by_prompt(table: Outcomes, options: argparse.Namespace) -> dict[str, Any]:
    """Return what routing by the prompt alone closes of the gap."""
    seeds = range(options.seed, options.seed + options.seeds)
    each = [ways_by_prompt(halves(table, seed), seed) for seed in seeds]
    labels = len(halves(table, options.seed).labelled.prompts)
    return summary(table, each, options) | {"labels": labels}


def by_answers(answered: Answered, options: argparse.Namespace) -> dict[str, Any]:
    """Return what looking at answers closes of the gap, beside routing by the prompt alone."""
    everything = np.arange(len(answered.prompts))
    table = answered.outcomes(everything)
    each = []
    for seed in range(options.seed, options.seed + options.seeds):
        both = _splits.split(len(everything), len(everything) // 2, seed)
        parts: list[Parts] = []
        for known, others in (both, both[::-1]):
            labelled = answered.outcomes(known)
            half = Half(labelled, answered.outcomes(others), labelled.cost.mean(axis=0))
            parts.append(
                ways_by_prompt(half, seed) | ways_by_answers(answered, known, others, seed)
            )
        each.append({way: _joined([part[way] for part in parts]) for way in parts[0]})
    return summary(table, each, options) | {"labels": len(everything) // 2}


def _joined(parts: list[tuple[Floats, ...]]) -> tuple[Floats, ...]:
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def summary(table: Outcomes, each: list[Parts], options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of each way, from its arrays of each seed, and of the table."""
    found: dict[str, Any] = {
        "prompts": len(table.prompts),
        "models": len(table.models),
        "best_single": table.models[int(table.scores.mean(axis=0).argmax())],
        "rare": round(rare(table), 4),
        "ways": {},
    }
    for way in each[0]:
        arrays = [one[way] for one in each]
        gap, cost, score = _splits.over_seeds(closed, arrays, options.draws, options.seed)
        within = bool(cost["value"] is not None and cost["value"] <= 1.0)
        found["ways"][way] = {"gap": gap, "cost": cost, "score": score, "within": within}
    return found


def rare(table: Outcomes) -> float:
    """Return the share of the gap in prompts that hardly any model gets right."""
    best = table.scores[:, table.scores.mean(axis=0).argmax()]
    top = table.scores.max(axis=1)
    right = (table.scores >= top[:, None]).mean(axis=1)
    return float((top - best)[right <= RARE].sum() / (top - best).sum())


def closed(
    score: Floats, usd: Floats, best: Floats, best_usd: Floats, oracle: Floats
) -> list[float]:
    """Return the share of the gap that is closed, cost in that of the best single, mean score."""
    gap = float((oracle - best).mean())
    share = float((score - best).mean()) / gap if gap > 0 else float("nan")
    return [share, float(usd.mean() / best_usd.mean()), float(score.mean())]


def beside(half: Half, score: Floats, usd: Floats) -> tuple[Floats, ...]:
    """Return score and USD of each tested prompt, those of the best single model, the oracle's."""
    best = best_of(half)
    tested = half.tested
    return score, usd, tested.scores[:, best], tested.cost[:, best], tested.scores.max(axis=1)


def best_of(half: Half) -> int:
    """Return the place of the model that is best on the labelled prompts."""
    return int(half.labelled.scores.mean(axis=0).argmax())


def picked(half: Half, choices: Floats) -> tuple[Floats, ...]:
    """Return what choosing one model for each tested prompt gives; see `beside`."""
    row = np.arange(len(half.tested.prompts))
    return beside(half, half.tested.scores[row, choices], half.tested.cost[row, choices])


def ways_by_prompt(half: Half, seed: int) -> Parts:
    """Return what each way gives that sees the prompt alone, and what to compare with."""
    n = len(half.tested.prompts)
    found = {
        "random": beside(half, half.tested.scores.mean(axis=1), half.tested.cost.mean(axis=1)),
        "cheapest": picked(half, np.full(n, half.usual.argmin())),
        "best_single": picked(half, np.full(n, best_of(half))),
        "oracle": picked(half, cheapest_best(half)[0]),
        "told": told(half, seed),
    }
    ours = fit(half.labelled, seed=seed)
    assert ours.sample is not None
    found["router"] = within_budget(
        half, ours.sample.predicted, ours.qualities(half.tested.prompts)
    )
    for way, learner in LEARNERS.items():
        before = _splits.cross_fitted(learner, half.labelled, baselines.FOLDS, seed)
        predict = learner(half.labelled.prompts, half.labelled.scores)
        found[way] = within_budget(half, before, predict(half.tested.prompts))
    return found


def within_budget(half: Half, before: Floats, predicted: Floats) -> tuple[Floats, ...]:
    """Choose what quality is worth by what was predicted of labelled prompts, and route by it.

    Where nothing is better than the best single model and cheaper, it answers everything.
    """
    labelled, best = half.labelled, best_of(half)
    row, usual = np.arange(len(labelled.prompts)), half.usual / half.usual[best]
    top, choices = labelled.scores[:, best].mean(), np.full(len(predicted), best)
    for worth in WORTHS:
        chosen = (before - worth * usual).argmax(axis=1)
        spent = labelled.cost[row, chosen].mean()
        score = labelled.scores[row, chosen].mean()
        if spent <= _votes.MARGIN * half.usual[best] and score > top:
            top, choices = score, (predicted - worth * usual).argmax(axis=1)
    return picked(half, choices)


def told(half: Half, seed: int) -> tuple[Floats, ...]:
    """Return what is to be had by knowing what other models score on the prompt itself.

    Means over `HALVINGS` ways to split the models, and both halves of each.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(HALVINGS):
        order = rng.permutation(len(half.tested.models))
        both = np.array_split(order, 2)
        for asked, known in (both, both[::-1]):
            pool = Half(_columns(half.labelled, asked), _columns(half.tested, asked), half.usual)
            others = RidgeCV(PENALTIES).fit(half.labelled.scores[:, known], pool.labelled.scores)
            predicted = others.predict(half.tested.scores[:, known]).reshape(-1, len(asked))
            found.append(picked(pool, predicted.argmax(axis=1)))
    return tuple(np.mean(columns, axis=0) for columns in zip(*found, strict=True))


def _columns(table: Outcomes, places: Floats) -> Outcomes:
    return table.subset(slice(None), [table.models[place] for place in places])


def ways_by_answers(answered: Answered, known: Floats, others: Floats, seed: int) -> Parts:
    """Return what looking at answers gives, with and without a verifier."""
    labelled, tested = answered[known], answered[others]
    half = Half(answered.outcomes(known), answered.outcomes(others), labelled.usd.mean(axis=0))
    looks = _votes.looked_at(answered, known, others, seed)
    blind = _votes.believed(answered, np.zeros_like(looks), known, others, seed)
    judged = _votes.believed(answered, looks, known, others, seed)

    best = best_of(half)

    def by(plan: Plan, belief: Belief) -> tuple[Floats, ...]:
        return beside(half, *_votes.routed(plan, tested, belief[others]))

    draft = _votes.planned(labelled, judged[known], best, escalate=True, longest=2)
    everybody = Plan(tuple(range(len(answered.models))), np.inf)
    return {
        "cascade": by(draft, judged),
        "votes": by(_votes.either(labelled, blind[known], best), blind),
        "votes and verifier": by(_votes.either(labelled, judged[known], best), judged),
        "all answers": by(everybody, judged),
    }


def draw(sets: Mapping[str, Any]) -> str:
    """Return the shares of the gap as a Markdown table."""
    titles = ["set", "way", "gap closed (95 %)", "cost / best single's", "score"]
    return _page.markdown(titles, list(_drawn(sets)))


def _drawn(sets: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, found in sets.items():
        about = f"{name}: {found['models']} models, {found['labels']} labels"
        for way, one in found["ways"].items():
            over = "" if one["within"] else " (dearer)"
            yield [
                about,
                way,
                _page.shown(one["gap"]) + over,
                _page.shown(one["cost"], 2),
                f"{one['score']['value']:.3f}",
            ]


if __name__ == "__main__":
    main()
