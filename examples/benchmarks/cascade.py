"""Cascades on stored answers: draft, look at the draft, decide; every draft and check charged.

Run `python -m examples.benchmarks.cascade --data FOLDER [--reader-features FOLDER]`; needs the
extra `[train]`. It reads RouteLLM's answers to GSM8K (weak Mixtral-8x7B, strong GPT-4, without the
prompts flagged as contaminated), ZeroEval's to the same questions, and list prices.

APGR, CPT50 and CPT80 are RouteLLM's, but on an axis of cost: 0 is the weak model alone, 1 the
strong one alone. Drafts and strong answers are charged at list prices, a reader's pass at the
lowest list price of any model's input. A verifier learns from four folds of the prompts and judges
the fifth, or from some labelled prompts and judges the others; without labels it is the one that
comes with the package, which knows no reader, and nobody tells it anything beforehand (a prior of
one half).

A prompt goes to the strong model in the order of what that is worth: how much more probably right
its answer is than the draft, over what it is expected to cost. How probably the strong one is right
is learned in the same way, from its scores on the same labelled prompts and the same features;
without labels it always is. It is expected to write half what the draft has, and half the mean of
all drafts.

Early abort: the draft is also judged when 25, 50 and 75 % of it are there, and dropped as soon as
it would hardly be accepted in the end: when what is still to come would have to move the log odds
by more than `PATIENCE` standard deviations. Before its first token it is judged by the question.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from examples.benchmarks import _page, _splits
from examples.benchmarks._cascades import (
    Pair,
    answers,
    as_rows,
    chance,
    curve,
    figures,
    pair,
    worth,
)
from shared_core.lab.answers import Rows, fit_rows
from shared_core.lab.crossfit import FOLDS, folds_of
from shared_core.lab.evaluate import Figure, auc, calibration_error, with_intervals
from shared_core.strategies.verifiers.head import SHARES, Head
from shared_core.strategies.verifiers.learned import shipped_head
from shared_core.strategies.verifiers.surface import FEATURES

Floats = np.ndarray[Any, Any]

GSM8K = "eval_routellm_gsm8k_answers"
ZEROEVAL = "eval_answers_gsm8k"
MIXTRAL, GPT4 = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
PAIRS = (
    ("Meta-Llama-3.1-8B-Instruct", "gpt-4o-2024-08-06"),
    ("gemma-2-2b-it", "gpt-4o-2024-08-06"),
)
LABELS = (30, 100, 300)
WHOLE = len(SHARES) - 1
PATIENCE = 1.0
POINT = 0.01  # less than the strong model's accuracy is good enough
NAMES = ("apgr", "cpt50", "cpt80")


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON files and the tables."""
    parser = _page.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--reader-features", type=Path, help="folder of SET.npz of a reader")
    parser.add_argument("--draws", type=int, default=500, help="bootstrap samples")
    parser.add_argument("--seeds", type=int, default=20, help="draws of the labelled prompts")
    parser.add_argument("--fold-seeds", type=int, default=3, help="draws of the folds")
    options = parser.parse_args(arguments)
    readings = options.reader_features
    command = (
        "python -m examples.benchmarks.cascade --data FOLDER "
        f"{'--reader-features FOLDER ' if readings else ''}--seed {options.seed} "
        f"--seeds {options.seeds} --fold-seeds {options.fold_seeds} --draws {options.draws}"
    )
    paths = {"default_path": gsm8k(options.data, None)}
    if readings:
        paths["reader"] = gsm8k(options.data, readings)
    quality = {name: of_pair(one, options) for name, one in paths.items()}
    labels = {name: by_labels(one, options) for name, one in paths.items()}
    best = "reader" if readings else "default_path"
    gsm = {
        "command": command,
        **quality[best],
        "cost_charged": "all",
        "default_path": quality["default_path"] | {"cost_charged": "all"},
        "beside": beside(paths[best], options),
        "early_abort": abort(paths["default_path"], options),
        "pairs": pairs(options),
    }
    curve_of = {"command": command, **labels[best], "default_path": labels["default_path"]}
    transfer = transferred(options)
    _page.publish(options.out, "verifier_transfer", transfer, {})
    _page.publish(options.out, "cascade_labels", curve_of, {"cascade_labels": draw_labels(labels)})
    drawn = {"cascade": draw(gsm), "cascade_pairs": draw_pairs(gsm["pairs"])}
    drawn["verifier_transfer"] = draw_transfer(transfer)
    _page.publish(options.out, "cascade_gsm8k", gsm, drawn)


def gsm8k(folder: Path, readings: Path | None) -> Pair:
    """Return RouteLLM's pair on GSM8K."""
    models = (MIXTRAL, GPT4)
    return pair(folder, GSM8K, models, ("eval_routellm", models), readings, growing=True)


def judged(head: Head, rows: Rows, share: int = WHOLE) -> Floats:
    """Return log odds by a head."""
    reading = rows.reading if len(head.reading) else None
    return head.logits(rows.surface[:, share], rows.prior, reading, share, rows.models)


def cross_fitted(rows: Rows, seed: int, shares: Sequence[int] = (WHOLE,)) -> Floats:
    """Return log odds of each answer by what has not seen its prompt: shares x n."""
    found = np.empty((len(shares), len(rows.scores)))
    for seen, others in folds(rows, seed):
        head = fit_rows(rows[seen], seed=seed, shares=(*shares[:-1], WHOLE)).head
        found[:, others] = [judged(head, rows[others], share) for share in shares]
    return found


def folds(rows: Rows, seed: int) -> list[tuple[Floats, Floats]]:
    """Return the places of the answers to learn from, and of those to judge, fold by fold."""
    fold = folds_of(rows.prompts, seed)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]


def of_pair(one: Pair, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a pair's cascade, cross-fitted, and of its verifier."""
    weak = [cross_fitted(one.rows, seed)[0] for seed in fold_seeds(options)]
    strong = [cross_fitted(of_strong(one), seed)[0] for seed in fold_seeds(options)]
    orders = [-worth(w, chance(s), one.expected_usd) for w, s in zip(weak, strong, strict=True)]
    return {
        **area(one, orders, options),
        "auc": over(auc, one, weak, options),
        "ece": over(expected_error, one, weak, options),
        "prompts": len(one.weak),
        "fold_seeds": len(weak),
    }


def of_strong(one: Pair) -> Rows:
    """Return the rows with the strong model's scores: what they say of its chance."""
    return replace(one.rows, scores=one.strong)


def fold_seeds(options: argparse.Namespace) -> range:
    """Return the seeds of the folds."""
    return range(options.seed, options.seed + options.fold_seeds)


def area(one: Pair, logits: list[Floats], options: argparse.Namespace) -> dict[str, Figure]:
    """Return APGR, CPT50, CPT80 of orders; NaN: labelled, left out."""
    gain, draft = one.strong - one.weak, one.weak_usd + one.read_usd
    each = [
        tuple(array[seen] for array in (order, gain, draft, one.strong_usd, one.weak_usd))
        for order in logits
        for seen in [~np.isnan(order)]
    ]
    found = _splits.over_seeds(
        lambda *arrays: figures(*curve(*arrays)), each, options.draws, options.seed
    )
    return dict(zip(NAMES, found, strict=True))


def over(
    statistic: Callable[[Floats, Floats], float],
    one: Pair,
    logits: list[Floats],
    options: argparse.Namespace,
) -> Figure:
    """Return a statistic of log odds and scores."""
    each = [(order, one.weak) for order in logits]
    return _splits.over_seeds(statistic, each, options.draws, options.seed)[0]


def expected_error(logits: Floats, scores: Floats) -> float:
    """Return the calibration error of log odds."""
    return calibration_error(chance(logits), scores)


def beside(one: Pair, options: argparse.Namespace) -> dict[str, Any]:
    """Return what there is beside it: no verifier, and one that knows."""
    n = len(one.weak)
    orders = {
        "random": np.zeros(n),
        "question_only": one.rows.prior,
        "oracle": (one.weak - one.strong) / one.strong_usd,
        "zero_label": zero_label(one),
    }
    found: dict[str, Any] = {name: area(one, [order], options) for name, order in orders.items()}
    for name, scores, usd in (
        ("cheapest", one.weak, one.weak_usd),
        ("best_single", one.strong, one.strong_usd),
    ):
        accuracy, cost = with_intervals(
            lambda s, u: np.array([s.mean(), u.mean()]), scores, usd * 1e3, draws=options.draws
        )
        found[name] = {"accuracy": accuracy, "usd_per_1000": cost}
    return found


def by_labels(one: Pair, options: argparse.Namespace) -> dict[str, Any]:
    """Return APGR by the number of judged answers, on the other prompts."""
    unread = replace(one, read_usd=0.0 * one.read_usd)  # what comes with the package reads nothing
    found: dict[str, Any] = {"0": area(unread, [zero_label(one)], options)["apgr"]}
    for labels in LABELS:
        if labels > 0.65 * len(one.weak):
            continue
        orders = [labelled(one, labels, seed) for seed in seeds(options)]
        found[str(labels)] = area(one, orders, options)["apgr"]
    return found


def seeds(options: argparse.Namespace) -> range:
    """Return the seeds of the labelled prompts."""
    return range(options.seed, options.seed + options.seeds)


def zero_label(one: Pair) -> Floats:
    """Return the order of the verifier that comes with the package."""
    return -worth(unprompted(one.rows), 1.0, one.expected_usd)


def unprompted(rows: Rows) -> Floats:
    """Return log odds by what comes with the package, under a prior of one half."""
    return judged(shipped_head(), replace(rows, prior=np.zeros(len(rows.prior))))


def labelled(one: Pair, labels: int, seed: int) -> Floats:
    """Return the order by what has learned from some answers; NaN for these."""
    chosen, others = _splits.split(len(one.weak), labels, seed)
    weak, strong = (
        judged(fit_rows(rows[chosen], seed=seed, shares=(WHOLE,)).head, rows[others])
        for rows in (one.rows, of_strong(one))
    )
    found = np.full(len(one.weak), np.nan)
    found[others] = -worth(weak, chance(strong), one.expected_usd[others])
    return found


def abort(one: Pair, options: argparse.Namespace) -> dict[str, Any]:
    """Return the draft tokens that are saved, and the area beside the one without."""
    places = range(len(SHARES))
    begun, before = [], []
    for seed in fold_seeds(options):
        begun.append(cross_fitted(one.rows, seed, places))
        before.append(cross_fitted(unwritten(one.rows), seed)[0])
    each = [
        (*logits, none, one.strong - one.weak, one.weak_usd, one.strong_usd, one.draft_tokens)
        for logits, none in zip(begun, before, strict=True)
    ]
    saved, gained, whole = _splits.over_seeds(aborted, each, options.draws, options.seed)
    return {
        "patience": PATIENCE,
        "draft_tokens_saved": saved,
        "apgr_change": gained,
        "apgr": whole,
    }


def unwritten(rows: Rows) -> Rows:
    """Return the rows as they are before the first token: the question's features alone."""
    asked = [name[:2] == "q_" and not name.endswith(("_used", "_calculated")) for name in FEATURES]
    return replace(rows, surface=np.where(asked, rows.surface, 0.0))


def aborted(*arrays: Floats) -> Floats:
    """Return tokens saved, change of APGR, and APGR, of a cascade that drops drafts early.

    For each share of prompts that go to the strong model, from none to all.
    """
    *parts, none, gain, weak_usd, strong_usd, tokens = arrays
    stages = [none, *parts[:-1]]
    final = parts[-1]
    there = np.array([0.0, *SHARES[:-1]])
    drift = [float(np.std(final - stage)) for stage in stages]
    cost, won, saved = [], [], []
    for level in np.quantile(final, np.linspace(0, 1, 41)):
        dropped = np.array(
            [stage < level - PATIENCE * d for stage, d in zip(stages, drift, strict=True)]
        )
        written = np.where(dropped.any(axis=0), there[dropped.argmax(axis=0)], 1.0)
        up = (written < 1) | (final < level)
        saved.append(1.0 - (written * tokens).sum() / tokens.sum())
        spent = (weak_usd * written).sum() + strong_usd[up].sum()
        cost.append((spent - weak_usd.sum()) / (strong_usd.sum() - weak_usd.sum()))
        won.append(gain[up].sum() / gain.sum())
    plain = figures(*curve(final, gain, weak_usd, strong_usd, weak_usd))[0]
    order = np.argsort(cost, kind="stable")
    early = figures(np.array(cost)[order], np.array(won)[order])[0]
    return np.array([np.mean(saved), early - plain, early])


def pairs(options: argparse.Namespace) -> dict[str, Any]:
    """Return what cascades between two models of ZeroEval need to come near the strong one."""
    found = {}
    for models in PAIRS:
        listed = ("eval_zeroeval_gsm8k_mmluredux", models)
        one = pair(options.data, ZEROEVAL, models, listed, options.reader_features)
        ways = {"cross_fitted": [cross_fitted(one.rows, seed)[0] for seed in fold_seeds(options)]}
        ways["zero_label"] = [unprompted(one.rows)]
        found[one.name] = {
            "strong_accuracy": round(float(one.strong.mean()), 4),
            "weak_accuracy": round(float(one.weak.mean()), 4),
            **{way: near(one, orders, options) for way, orders in ways.items()},
        }
    return found


def near(one: Pair, orders: list[Floats], options: argparse.Namespace) -> dict[str, Figure]:
    """Return strong calls and cost at the strong model's accuracy less a point, as shares."""
    each = [
        (order, one.weak, one.strong, one.weak_usd + one.read_usd, one.strong_usd)
        for order in orders
    ]
    calls, cost = _splits.over_seeds(reached, each, options.draws, options.seed)
    return {"strong_calls": calls, "cost": cost}


def reached(
    order: Floats, weak: Floats, strong: Floats, draft_usd: Floats, strong_usd: Floats
) -> Floats:
    """Return the share of strong calls, and the cost in that of the strong model alone."""
    first = np.argsort(order, kind="stable")
    right = weak.sum() + np.concatenate([[0.0], np.cumsum((strong - weak)[first])])
    enough = int(np.argmax(right >= strong.sum() - POINT * len(weak)))
    spent = draft_usd.sum() + strong_usd[first[:enough]].sum()
    return np.array([enough / len(weak), spent / strong_usd.sum()])


def transferred(options: argparse.Namespace) -> dict[str, Any]:
    """Return AUC of the verifier that comes with the package, by answering model."""
    table = answers(options.data, ZEROEVAL)
    found = {}
    for model, of_model in table.groupby("model"):
        rows = as_rows(of_model, None)
        logits = unprompted(rows)
        (area,) = with_intervals(auc, logits, rows.scores, draws=options.draws, seed=options.seed)
        found[str(model)] = {"auc": area}
    return found


def draw(found: Mapping[str, Any]) -> str:
    """Return the figures of GSM8K as a Markdown table."""
    ways = {"best path": found, "default path": found["default_path"], **found["beside"]}
    rows = [
        [name, *(_page.shown(one[key]) for key in NAMES)]
        for name, one in ways.items()
        if "apgr" in one
    ]
    return _page.markdown(["order", "APGR (95 %)", "CPT50", "CPT80"], rows)


def draw_labels(labels: Mapping[str, Any]) -> str:
    """Return APGR by labels as a Markdown table."""
    titles = ["judged answers", *labels]
    counts = next(iter(labels.values()))
    rows = [[n, *(_page.shown(one[n]) for one in labels.values())] for n in counts]
    return _page.markdown(titles, rows)


def draw_pairs(found: Mapping[str, Any]) -> str:
    """Return the cascades between two models as a Markdown table."""
    rows = [
        [name, way, _page.shown(one[way]["strong_calls"]), _page.shown(one[way]["cost"])]
        for name, one in found.items()
        for way in ("cross_fitted", "zero_label")
    ]
    return _page.markdown(["cascade", "verifier", "strong calls", "cost"], rows)


def draw_transfer(found: Mapping[str, Any]) -> str:
    """Return AUC by answering model as a Markdown table."""
    rows = [[model, _page.shown(one["auc"])] for model, one in found.items()]
    return _page.markdown(["answers of", "AUC (95 %)"], rows)


if __name__ == "__main__":
    main()
