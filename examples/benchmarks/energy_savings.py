"""Money and energy that routing saves at 95 % and 99 % of the strong model's quality.

Run `python -m examples.benchmarks.energy_savings --data FOLDER`, with `eval_routellm/data.parquet`
and `eval_routellm_gsm8k_answers/data.parquet` in the folder; needs the extras `[train,energy]`.
Replayed answers of Mixtral-8x7B (weak) and GPT-4 (gpt-4-1106-preview, strong). Input tokens are
the data's; output tokens are those of the answers' texts on GSM8K (bytes / 4), one on MMLU (a
letter), and on MT-Bench, whose answers are not in the data, 300 assumed for both. Money at the list
prices of genai-prices, Wh by EcoLogits (output tokens only, a GPU server assumed; the strong
model's size is EcoLogits' own guess for gpt-4-turbo, the weak one's is public: 12.9 of 46.7 billion
parameters active).

Prompts go to the strong model in the order of predicted gain until the mean score reaches the given
share of the strong model's; saved is what the rest costs less than sending everything there. That
stopping point is known in hindsight, as in RouteLLM's CPT. The row "promised" has no hindsight: δ
comes from labelled prompts alone (`Policy(quality=...)`), and the quality kept stands beside it.
Intervals: 95 % of bootstrap samples over prompts and draws of labels; of the energy estimate itself
they know nothing: `ends` are the savings with its ends against each other (weak high and strong
low, and the other way round).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from examples.benchmarks import _page, _splits, _tables
from examples.benchmarks.baselines import as_outcomes, router
from examples.benchmarks.routellm import fallback
from shared_core.accounting.energy.hosted import ecologits_rates, ecologits_rates_of_size
from shared_core.accounting.prices import catalogue_tariff
from shared_core.decision.calibration import threshold
from shared_core.decision.candidates import prepare_candidates
from shared_core.decision.policy import Policy
from shared_core.lab.fit import fit
from shared_core.lab.table import Outcomes
from shared_core.tokens import estimate_tokens
from shared_core.types import Candidate, Listing, Usage

QUALITIES = (0.95, 0.99)
FOLDS = 5
WEAK, STRONG = Listing("mistral", "open-mixtral-8x7b"), Listing("openai", "gpt-4-1106-preview")
STRONG_ENERGY = Listing("openai", "gpt-4-turbo")
LETTER, ASSUMED = 1, 300  # output tokens of an answer to MMLU, to MT-Bench
WEAK_BILLIONS = (12.9, 46.7)  # active, all: Mistral AI's announcement of Mixtral 8x7B

WAYS = ("random", "zero_label", "adapted", "adapted_more_labels", "oracle", "promised")

Floats = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Bench:
    """One benchmark: scores, and what each answer costs; n x (weak, strong).

    Attributes:
        table: Prompts and scores.
        usd: USD.
        wh: Wh: low, mid, high.
    """

    table: Outcomes
    usd: Floats
    wh: tuple[Floats, Floats, Floats]


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON file and the table."""
    parser = _page.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--draws", type=int, default=500, help="bootstrap samples")
    parser.add_argument("--seeds", type=int, default=10, help="draws of the labelled prompts")
    parser.add_argument("--labels", type=int, default=1500, help="labelled prompts of MMLU")
    parser.add_argument("--more-labels", type=int, default=7000, help="the same, of another row")
    options = parser.parse_args(arguments)
    _splits.remember_features()
    benches = {name: read(options.data, name) for name in ("mmlu", "gsm8k", "mt_bench")}
    results = {
        "command": "python -m examples.benchmarks.energy_savings --data FOLDER "
        f"--seed {options.seed} --seeds {options.seeds} --labels {options.labels} "
        f"--more-labels {options.more_labels} --draws {options.draws}",
        "seed": options.seed,
        "more_labels": options.more_labels,
        "prices": {"weak": tariff(WEAK).source, "strong": tariff(STRONG).source},
        "energy": energy(STRONG_ENERGY).method,
        "benchmarks": {name: measure(name, bench, options) for name, bench in benches.items()},
    }
    _page.publish(options.out, "energy_savings", results, {"energy_savings": draw(results)})


def tariff(listing: Listing) -> Any:
    """Return the list price.

    Raises:
        LookupError: The catalogue does not have it.
    """
    found = catalogue_tariff(listing)
    if found is None:
        raise LookupError(f"no price is known of {listing}")
    return found


def energy(listing: Listing) -> Any:
    """Return EcoLogits' rates.

    Raises:
        LookupError: It does not know the model.
    """
    found = ecologits_rates(listing)
    if found is None:
        raise LookupError(f"no energy is known of {listing}")
    return found


def read(folder: Path, name: str) -> Bench:
    """Return a benchmark with its answers' costs."""
    table = _tables.routellm(folder, name)
    read_, written = input_tokens(folder, table), output_tokens(folder, name, table)
    tariffs = [tariff(WEAK), tariff(STRONG)]
    rates = [ecologits_rates_of_size(*WEAK_BILLIONS), energy(STRONG_ENERGY)]
    usages = [[Usage(i, o) for i, o in zip(read_, column, strict=True)] for column in written]
    usd = [[t.cost(u) for u in column] for t, column in zip(tariffs, usages, strict=True)]
    wh = [[r.of(u) for u in column] for r, column in zip(rates, usages, strict=True)]
    low, mid, high = (
        np.array([[getattr(e, end) for e in column] for column in wh]).T
        for end in ("low", "mid", "high")
    )
    return Bench(table, np.array(usd).T, (low, mid, high))


def input_tokens(folder: Path, table: Outcomes) -> list[int]:
    """Return the tokens of each prompt, as the data counts them."""
    rows = pd.read_parquet(folder / "eval_routellm" / "data.parquet")
    known = dict(zip(rows.prompt, rows.input_tokens, strict=True))
    return [int(known[text]) for text in table.prompts]


def output_tokens(folder: Path, name: str, table: Outcomes) -> list[list[int]]:
    """Return the tokens of each model's answers."""
    if name != "gsm8k":
        return [[LETTER if name == "mmlu" else ASSUMED] * len(table.prompts)] * 2
    rows = pd.read_parquet(folder / "eval_routellm_gsm8k_answers" / "data.parquet")
    texts = {(r.model, r.prompt): r.answer for r in rows.itertuples()}
    return [
        [estimate_tokens(texts[model, text]) for text in table.prompts] for model in table.models
    ]


def measure(name: str, bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """Return every way of ordering, at every quality, and what a promise does."""
    table = bench.table
    seeds = range(options.seed, options.seed + options.seeds)
    labels = min(options.labels, len(table.prompts) // 2)
    orders = {
        "random": [np.full(len(table.prompts), np.nan)],
        "zero_label": [gain(fallback(table))],
        "oracle": [gain(table.scores)],
    }
    if name == "mmlu":
        predict = partial(_splits.held_out, router, table, labels)
        orders["adapted"] = [gain(predict(seed)) for seed in seeds]
        more = partial(_splits.held_out, router, table, options.more_labels)
        orders["adapted_more_labels"] = [gain(more(seed)) for seed in seeds]
    elif name == "gsm8k":
        labels = len(table.prompts) * (FOLDS - 1) // FOLDS
        predict = partial(_splits.cross_fitted, router, table, FOLDS)
        orders["adapted"] = [gain(predict(seed)) for seed in seeds]
    found: dict[str, Any] = {
        way: {
            f"{quality:.0%}".rstrip("%"): figures(way, order, bench, quality, options)
            for quality in QUALITIES
        }
        for way, order in orders.items()
    }
    found["prompts"], found["labels"] = len(table.prompts), labels
    if name != "mt_bench":
        found["promised"] = {
            f"{quality:.0%}".rstrip("%"): promised(bench, quality, labels, seeds, options)
            for quality in QUALITIES
        }
    return found


def gain(scores: Floats) -> Floats:
    """Return strong minus weak."""
    return np.asarray(scores[:, 1] - scores[:, 0])


def figures(
    way: str, orders: list[Floats], bench: Bench, quality: float, options: argparse.Namespace
) -> dict[str, Any]:
    """Return the share of strong calls and what is saved, at a share of the strong quality."""

    def statistic(order: Floats, *columns: Floats) -> Floats:
        scores, *costs = (np.stack(pair, axis=1) for pair in zip(*[iter(columns)] * 2, strict=True))
        extra = costs[0][:, 1] - costs[0][:, 0]
        strong = (
            random_share(scores, quality)
            if way == "random"
            else share_of(order, scores, extra, quality)
        )
        return np.array([strong.mean(), *(saved(strong, cost) for cost in costs)])

    names = ("strong_share", "usd_saved", "wh_saved", "wh_saved_least", "wh_saved_most")
    arrays = [seen(way, order, bench) for order in orders]
    values = _splits.over_seeds(statistic, arrays, options.draws, options.seed)
    return dict(zip(names, values, strict=True))


def seen(way: str, order: Floats, bench: Bench) -> tuple[Floats, ...]:
    """Return the columns of the prompts that were not labelled."""
    low, mid, high = bench.wh
    crossed = [
        np.stack(pair, axis=1) for pair in ((high[:, 0], low[:, 1]), (low[:, 0], high[:, 1]))
    ]
    matrices = (bench.table.scores, bench.usd, mid, *crossed)
    kept = np.ones(len(order), bool) if way == "random" else np.isfinite(order)
    return (order[kept], *(matrix[kept, column] for matrix in matrices for column in (0, 1)))


def share_of(order: Floats, scores: Floats, extra: Floats, quality: float) -> Floats:
    """Return which prompts go to the strong model, 0 or 1 each: as few as reach the quality.

    Of equal gains the cheaper first.
    """
    by_gain = np.lexsort((extra, -order))
    gained = scores[by_gain, 1] - scores[by_gain, 0]
    reached = scores[:, 0].sum() + np.concatenate([[0.0], np.cumsum(gained)])
    wanted = quality * scores[:, 1].sum()
    enough = np.flatnonzero(reached >= wanted - 1e-9)
    strong = np.zeros(len(order))
    strong[by_gain[: enough[0] if len(enough) else len(order)]] = 1.0
    return strong


def random_share(scores: Floats, quality: float) -> Floats:
    """Return the same for a random choice: everybody at the share that reaches it on average."""
    weak, strong = scores.mean(axis=0)
    share = (quality * strong - weak) / (strong - weak)
    return np.full(len(scores), min(1.0, max(0.0, share)))


def saved(strong: Floats, cost: Floats) -> float:
    """Return the share of the strong model's cost that is not spent."""
    spent = strong * cost[:, 1] + (1 - strong) * cost[:, 0]
    return float(1 - spent.sum() / cost[:, 1].sum())


def promised(
    bench: Bench, quality: float, labels: int, seeds: range, options: argparse.Namespace
) -> dict[str, Any]:
    """Return what `Policy(quality=...)` does with labels alone, on prompts it has not seen."""
    table, arrays = bench.table, []
    names = [str(place) for place in range(2)]
    candidates = prepare_candidates([Candidate(n, None) for n in names], lambda c: (None, {}))
    kept = 0
    for seed in seeds:
        chosen, others = _splits.split(len(table.prompts), labels, seed)
        texts = [table.prompts[row] for row in chosen]
        predictor = fit(as_outcomes(texts, table.scores[chosen]))
        limit = threshold(Policy(quality=quality), candidates, predictor.sample)
        kept += limit.calibrated
        predicted = predictor.qualities([table.prompts[row] for row in others])
        strong = (predicted[:, 0] < predicted.max(axis=1) - limit.delta - 1e-9).astype(float)
        rows = (table.scores, bench.usd, bench.wh[1])
        arrays.append((strong, *(m[others, column] for m in rows for column in (0, 1))))

    def statistic(
        strong: Floats, weak_score: Floats, strong_score: Floats, *costs: Floats
    ) -> Floats:
        got = strong * strong_score + (1 - strong) * weak_score
        usd, wh = np.stack(costs[:2], axis=1), np.stack(costs[2:], axis=1)
        kept_quality = got.sum() / strong_score.sum()
        return np.array([kept_quality, strong.mean(), saved(strong, usd), saved(strong, wh)])

    values = _splits.over_seeds(statistic, arrays, options.draws, options.seed)
    names = ("quality_kept", "strong_share", "usd_saved", "wh_saved")
    return {"calibrated": f"{kept} of {len(seeds)}", **dict(zip(names, values, strict=True))}


def draw(results: Mapping[str, Any]) -> str:
    """Return the table of the page."""
    rows = []
    for name, found in results["benchmarks"].items():
        for quality in ("95", "99"):
            for way in WAYS:
                if way in found:
                    one = found[way][quality]
                    label = way.replace("_", " ")
                    if way == "promised":
                        label += f" (kept {percent(one['quality_kept'])})"
                    cells = [percent(one[k]) for k in ("strong_share", "usd_saved", "wh_saved")]
                    rows.append([name, f"{quality} %", label, *cells])
    titles = ["benchmark", "quality", "way", "calls of the strong model", "USD saved", "Wh saved"]
    return _page.markdown(titles, rows)


def percent(figure: Mapping[str, float]) -> str:
    """Return a figure with its interval, in per cent."""
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    return f"{value:.0f} % ({low:.0f} to {high:.0f})"


if __name__ == "__main__":
    main()
