"""RouteLLM's protocol on its own three benchmarks: how well a predictor orders prompts.

Run `python -m examples.benchmarks.routellm --data FOLDER` with `eval_routellm/data.parquet` in the
folder (columns dataset, prompt_id, prompt, model, score, contaminated_per_routellm); needs the
extra `[train]`. Two models, weak Mixtral-8x7B and strong GPT-4. Prompts go to the strong one in
the order of its predicted gain; APGR is the area under the share of the gap between the two that
is recovered (random: 0.5), CPT(x) the share of prompts at which x of the gap is recovered first.
Flagged as contaminated by RouteLLM: left out.

Without labels every prompt is ordered. With labels (drawn at random, or four folds of five) only
prompts that the fit has not seen. Value: mean over seeds; interval: 95 % of bootstrap samples, each
of the prompts of one seed, so it covers one draw of labels, not the mean of many.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from examples.benchmarks import _page, _splits, _tables
from examples.benchmarks.baselines import BASELINES, Learner, router
from shared_core import Candidate, Prompt, Router
from shared_core.decision.candidates import prepare_candidates
from shared_core.lab.evaluate import cost_quality
from shared_core.lab.table import Outcomes
from shared_core.tokens import estimate_tokens
from shared_core.types import Turn

BENCHMARKS = ("mmlu", "gsm8k", "mt_bench")
LEARNED = ("mmlu", "gsm8k")  # with labels; MT-Bench has too few prompts
FOLDS = 5
PREFILL = "smollm2"  # among the encodings: states of a small language model
CURVE = (30, 60, 120, 200, 400, 800, 1500, 7000)
CURVE_WAYS: Mapping[str, Learner] = {
    "adapted": router,
    "tfidf_logistic": BASELINES["tfidf_logistic"],
}

Floats = np.ndarray[Any, Any]


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON file, the tables and the picture."""
    parser = _page.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--draws", type=int, default=500, help="bootstrap samples")
    parser.add_argument("--seeds", type=int, default=20, help="draws of the labelled prompts")
    parser.add_argument("--baseline-seeds", type=int, default=5, help="the same for baselines")
    parser.add_argument("--encodings", type=Path, help="folder of MODEL_BENCHMARK.npz: adds these")
    parser.add_argument("--labels", type=int, default=1500, help="labelled prompts of MMLU")
    options = parser.parse_args(arguments)
    _splits.remember_features()
    tables = {name: _tables.routellm(options.data, name) for name in BENCHMARKS}
    results = with_encodings(tables, options) if options.encodings else without(tables, options)
    drawn = {"routellm": draw(results), "label_curve": draw_curve(results["label_curve"])}
    _page.publish(options.out, "routellm", results, drawn)
    if not options.encodings:
        picture = options.out / "results" / "label_curve.png"
        picture.write_bytes(plot(results["label_curve"]))


def without(tables: Mapping[str, Outcomes], options: argparse.Namespace) -> dict[str, Any]:
    """Return all that needs no encoder; what an earlier run found with one is kept."""
    earlier = _page.load(options.out, "routellm")
    return {
        "command": f"python -m examples.benchmarks.routellm --data FOLDER --seed {options.seed} "
        f"--seeds {options.seeds} --baseline-seeds {options.baseline_seeds} "
        f"--labels {options.labels} --draws {options.draws}",
        **without_labels(tables, options),
        **with_labels(tables, options),
        **{name: one for name, one in earlier.items() if "adapted_" in name},
        "label_curve": label_curve(tables, options),
    }


def gain_of(scores: Floats) -> Floats:
    """Return strong minus weak."""
    return np.asarray(scores[:, 1] - scores[:, 0])


def without_labels(tables: Mapping[str, Outcomes], options: argparse.Namespace) -> dict[str, Any]:
    """Return the orders that need no label of the benchmark, and the one that knows them all."""
    orders: dict[str, Callable[[Outcomes], Floats]] = {
        "zero_label": lambda table: gain_of(fallback(table)),
        "prompt_length": lambda table: np.array([len(text) for text in table.prompts], float),
        "random": lambda table: np.zeros(len(table.prompts)),  # what random orders give on average
        "oracle": lambda table: gain_of(table.scores),
    }
    return {
        way: {
            name: figures([order(table)], table, options) | {"labels": 0}
            for name, table in tables.items()
        }
        for way, order in orders.items()
    }


def fallback(table: Outcomes) -> Floats:
    """Return the qualities as a router without any training estimates them, weakest first."""
    given = [Candidate(model, None) for model in table.models]
    router = Router(prepare_candidates(given, lambda c: (c.model, {})))

    def qualities(text: str) -> list[float]:
        prompt = Prompt(turns=(Turn("user", text),), tokens=estimate_tokens(text))
        return [estimate.quality for estimate in router.decide(prompt).estimates]

    return np.array([qualities(text) for text in table.prompts])


def with_labels(tables: Mapping[str, Outcomes], options: argparse.Namespace) -> dict[str, Any]:
    """Return what ours and the baselines learn from labels of the benchmark itself."""
    fewer = with_seeds(options, options.baseline_seeds)
    baselines = {way: learned(learner, tables, fewer) for way, learner in BASELINES.items()}
    return {"adapted": learned(router, tables, options), **baselines}


def with_encodings(tables: Mapping[str, Outcomes], options: argparse.Namespace) -> dict[str, Any]:
    """Add to an earlier run what ours learns with an encoder, and without it from the same prompts.

    The vectors are read from files (arrays prompt_id and encoding), on the prompts that have one.
    """
    found = _page.load(options.out, "routellm")
    found["command_of_adapted_with_encodings"] = (
        f"python -m examples.benchmarks.routellm --data FOLDER --encodings FOLDER "
        f"--seed {options.seed} --baseline-seeds {options.baseline_seeds} "
        f"--labels {options.labels} --draws {options.draws}"
    )
    ids = _tables.prompts_by_id(options.data, "eval_routellm")
    for model in sorted({file.stem.rpartition("_")[0] for file in options.encodings.glob("*.npz")}):
        vectors: dict[str, Floats] = {}
        encoded = {}
        for name in LEARNED:
            file = options.encodings / f"{model}_{name}.npz"
            if file.exists():
                vectors |= read_vectors(file, ids)
                there = [text in vectors for text in tables[name].prompts]
                encoded[name] = tables[name].subset(there)
        few = with_seeds(options, options.baseline_seeds)
        way = "adapted_prefill" if model == PREFILL else f"adapted_{model}"
        reading = partial(router, encoder=Vectors(model, vectors))
        found[way] = learned(reading, encoded, few)
        found[f"{way}_without"] = learned(router, encoded, few)
    return found


def read_vectors(path: Path, ids: Mapping[str, str]) -> dict[str, Floats]:
    """Return the vector of each prompt of a file."""
    with np.load(path) as file:
        pairs = zip(file["prompt_id"].tolist(), file["encoding"], strict=True)
        return {ids[place]: vector for place, vector in pairs}


@dataclass(frozen=True)
class Vectors:
    """An encoder whose answers are known beforehand."""

    name: str
    of: Mapping[str, Floats]

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return one row per text."""
        return np.array([self.of[text] for text in texts])


def learned(
    learner: Learner, tables: Mapping[str, Outcomes], options: argparse.Namespace
) -> dict[str, Any]:
    """Return one learner's figures: MMLU by a share of labels, GSM8K cross-fitted."""
    found = {}
    for name in [name for name in LEARNED if name in tables]:
        if name == "mmlu":
            labels = min(options.labels, len(tables[name].prompts) // 2)
            predict = partial(_splits.held_out, learner, tables[name], labels)
        else:
            labels = len(tables[name].prompts) * (FOLDS - 1) // FOLDS
            predict = partial(_splits.cross_fitted, learner, tables[name], FOLDS)
        orders = [gain_of(predict(seed)) for seed in seeds(options)]
        found[name] = figures(orders, tables[name], options) | {"labels": labels}
    return found


def seeds(options: argparse.Namespace) -> range:
    """Return the seeds of the splits."""
    return range(options.seed, options.seed + options.seeds)


def with_seeds(options: argparse.Namespace, count: int) -> argparse.Namespace:
    """Return the options with another number of seeds."""
    return argparse.Namespace(**{**vars(options), "seeds": count})


def figures(orders: list[Floats], table: Outcomes, options: argparse.Namespace) -> dict[str, Any]:
    """Return APGR, CPT50 and CPT80 of one order a seed; NaN in an order: labelled, left out."""
    gain = gain_of(table.scores)
    each = [(order[seen], gain[seen]) for order in orders for seen in [~np.isnan(order)]]
    found = _splits.over_seeds(cost_quality, each, options.draws, options.seed)
    return {
        **dict(zip(("apgr", "cpt50", "cpt80"), found, strict=True)),
        "prompts": len(each[0][0]),
        "seeds": len(orders),
    }


def label_curve(tables: Mapping[str, Outcomes], options: argparse.Namespace) -> dict[str, Any]:
    """Return APGR on all other prompts by the number of labels; the more, the fewer seeds."""
    curve: dict[str, Any] = {}
    for name in ("mmlu", "gsm8k"):
        table = tables[name]
        none = figures([gain_of(fallback(table))], table, options)
        length = np.array([len(text) for text in table.prompts], float)
        curve[name] = {way: {"0": none["apgr"]} for way in CURVE_WAYS}
        curve[name]["tfidf_logistic"].clear()  # nothing to say without labels
        curve[name]["prompt_length"] = {"0": figures([length], table, options)["apgr"]}
        curve[name]["seeds"] = {}
        for labels in CURVE:
            if labels > 0.65 * len(table.prompts):
                continue
            few = with_seeds(
                options,
                max(min(2, options.baseline_seeds), min(options.baseline_seeds, 15_000 // labels)),
            )
            curve[name]["seeds"][str(labels)] = few.seeds
            for way, learner in CURVE_WAYS.items():
                predict = partial(_splits.held_out, learner, table, labels)
                orders = [gain_of(predict(seed)) for seed in seeds(few)]
                curve[name][way][str(labels)] = figures(orders, table, options)["apgr"]
    return curve


def draw(results: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    titles = ["benchmark", "order", "labels", "seeds", "APGR (95 %)", "CPT50", "CPT80"]
    ways = {way: one for way, one in results.items() if "command" not in way}
    rows = []
    for name in BENCHMARKS:
        for way in (way for way in ways if name in ways[way] and way != "label_curve"):
            one = ways[way][name]
            cpt = [f"{one[key]['value']:.3f}" for key in ("cpt50", "cpt80")]
            prompts = f"{name}, {one['prompts']} prompts"
            rows.append(
                [
                    prompts,
                    way,
                    str(one["labels"]),
                    str(one["seeds"]),
                    _page.shown(one["apgr"]),
                    *cpt,
                ]
            )
    return _page.markdown(titles, rows)


def draw_curve(curve: Mapping[str, Any]) -> str:
    """Return APGR by labels as a Markdown table."""
    rows = [
        [name, labels, str(one["seeds"].get(labels, "-"))]
        + [_page.shown(one[way].get(labels)) for way in (*CURVE_WAYS, "prompt_length")]
        for name, one in curve.items()
        for labels in one["adapted"]
    ]
    return _page.markdown(["benchmark", "labels", "seeds", *CURVE_WAYS, "prompt_length"], rows)


def plot(curve: Mapping[str, Any]) -> bytes:
    """Return a PNG of APGR by labels."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(figsize=(7, 3), dpi=90, layout="constrained")
    for place, (name, one) in enumerate(curve.items(), start=1):
        axes = picture.add_subplot(1, len(curve), place)
        for way, style in (("adapted", "#0b6e4f"), ("tfidf_logistic", "#c05621")):
            labels = [max(10, int(count)) for count in one[way]]  # no zero on a logarithmic axis
            points = list(one[way].values())
            axes.plot(labels, [p["value"] for p in points], "o-", color=style, label=way, ms=3)
            low, high = [p["low"] for p in points], [p["high"] for p in points]
            axes.fill_between(labels, low, high, color=style, alpha=0.15, linewidth=0)
        length = one["prompt_length"]["0"]["value"]
        axes.axhline(length, color="#2b6cb0", ls="--", label="prompt_length")
        axes.axhline(0.5, color="#718096", ls=":", label="random")
        axes.set(xscale="log", title=name, xlabel="labels (leftmost: none)", ylabel="APGR")
    axes.legend(fontsize="x-small")
    file = io.BytesIO()
    FigureCanvasAgg(picture).print_png(file)
    return file.getvalue()


if __name__ == "__main__":
    main()
