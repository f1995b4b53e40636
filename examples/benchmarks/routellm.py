"""RouteLLM's protocol on its own three benchmarks: how well a predictor orders prompts.

Run `python -m examples.benchmarks.routellm --data FOLDER` with `eval_routellm/data.parquet` in the
folder (columns dataset, prompt_id, prompt, model, score, contaminated_per_routellm); needs the
extra `[train]`. Two models, weak Mixtral-8x7B and strong GPT-4. Prompts go to the strong one in
the order of its predicted gain; APGR is the area under the share of the gap between the two that
is recovered (random: 0.5), CPT(x) the share of prompts at which x of the gap is recovered first.
Flagged as contaminated by RouteLLM: left out. Intervals: 95 %, bootstrap over prompts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shared_core import Candidate, Prompt, Router
from shared_core.decision.candidates import prepare_candidates
from shared_core.lab.evaluate import cost_quality, with_intervals
from shared_core.tokens import estimate_tokens
from shared_core.types import Turn

RESULTS = Path(__file__).parent / "results" / "routellm.json"
PAGE = Path(__file__).parent / "README.md"
START, END = "<!-- table: routellm -->\n", "<!-- end -->"

Array = np.ndarray[Any, Any]


def pairs(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return one row per prompt: its text and both models' scores."""
    rows = table[(table.dataset == dataset) & ~table.contaminated_per_routellm.astype(bool)]
    scores = rows.pivot_table("score", "prompt_id", "model", observed=True).dropna()
    strong = next(name for name in scores if "gpt-4" in str(name))
    weak = next(name for name in scores if name != strong)
    texts = rows.drop_duplicates("prompt_id").set_index("prompt_id").prompt
    return pd.DataFrame(
        {"text": texts.reindex(scores.index), "weak": scores[weak], "strong": scores[strong]}
    )


def predicted_gains(texts: pd.Series) -> Array:
    """Return predicted quality of strong minus weak, as the router's estimates have it."""
    given = [Candidate("weak", None), Candidate("strong", None)]
    router = Router(prepare_candidates(given, lambda c: (c.model, {})))

    def gain(text: str) -> float:
        weak, strong = router.decide(
            Prompt(turns=(Turn("user", text),), tokens=estimate_tokens(text))
        ).estimates
        return strong.quality - weak.quality

    return np.array([gain(text) for text in texts])


def with_interval(order_by: Array, gain: Array, draws: int, seed: int) -> dict[str, Any]:
    """Return each figure with its bootstrap interval."""
    found = with_intervals(cost_quality, order_by, gain, draws=draws, seed=seed)
    return dict(zip(("apgr", "cpt50", "cpt80"), found, strict=True))


def measure(table: pd.DataFrame, draws: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return each way of ordering, on each benchmark."""
    ways: dict[str, dict[str, Any]] = {}
    for name, dataset in benchmarks(table).items():
        rows = pairs(table, dataset)
        gain = (rows.strong - rows.weak).to_numpy(float)
        orders = {
            "zero_label": predicted_gains(rows.text),
            "prompt_length": rows.text.str.len().to_numpy(float),
            "random": np.zeros(len(rows)),  # what random orders give on average
            "oracle": gain,
        }
        for way, order_by in orders.items():
            found = with_interval(order_by, gain, draws, seed)
            ways.setdefault(way, {})[name] = {**found, "prompts": len(rows)}
    return ways


def benchmarks(table: pd.DataFrame) -> dict[str, str]:
    """Return the table's name of each benchmark under ours."""
    names = {name.lower().replace("-", "_"): name for name in table.dataset.unique()}
    return {
        ours: next(theirs for key, theirs in names.items() if ours in key)
        for ours in ("mmlu", "gsm8k", "mt_bench")
    }


def draw(ways: dict[str, dict[str, Any]]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| benchmark | order | APGR (95 %) | CPT50 | CPT80 |", "|---|---|---|---|---|"]
    for name in next(iter(ways.values())):
        for way, found in ways.items():
            row = found[name]
            apgr = row["apgr"]
            lines.append(
                f"| {name}, {row['prompts']} prompts | {way} | {apgr['value']:.3f} "
                f"({apgr['low']:.3f} to {apgr['high']:.3f}) | {row['cpt50']['value']:.3f} | "
                f"{row['cpt80']['value']:.3f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure, write the JSON file and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap samples")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    table = pd.read_parquet(arguments.data / "eval_routellm" / "data.parquet")
    ways = measure(table, arguments.draws, arguments.seed)
    command = f"python -m examples.benchmarks.routellm --data FOLDER --seed {arguments.seed}"
    RESULTS.write_text(json.dumps({"command": command, **ways}, indent=2) + "\n")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    drawn = f"{before}{START}{draw(ways)}\n{END}{rest.partition(END)[2]}"
    PAGE.write_text(drawn, encoding="utf-8")
    print(draw(ways))


if __name__ == "__main__":
    main()
