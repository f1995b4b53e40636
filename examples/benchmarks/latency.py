"""How long a decision takes, before any model is asked: the fallback and a learned predictor.

Run `OMP_NUM_THREADS=1 python -m examples.benchmarks.latency` (extra `[train]`: the learned
predictor is fitted on a made-up table of this text's words, or on `--table FILE`). Timed is
`Router.decide` with its prediction, constraints and trade-off, prompt by prompt, all distinct;
the ways take turns, so that whatever else the machine does falls on all of them. Processor time,
not the clock: another process does not count. Batch: `predictor.qualities` of many short prompts.
"""

from __future__ import annotations

import platform
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from examples.benchmarks import _page
from examples.benchmarks.baselines import as_outcomes
from shared_core import Candidate, Policy, Prompt, Router
from shared_core.decision.candidates import prepare_candidates
from shared_core.lab.fit import fit
from shared_core.lab.table import Outcomes, read_table
from shared_core.prediction.base import Predictor
from shared_core.prediction.fallback import FallbackPredictor
from shared_core.prediction.surface import difficulty, quality_logit, surface_features
from shared_core.tokens import estimate_tokens
from shared_core.types import Turn

LENGTHS = {"short": 20, "8k tokens": 8_000}
GOALS_MS = {"short": 0.25, "8k tokens": 40.0}
GOAL_A_SECOND = 500
WARM_UP = 20
WORDS = tuple(sorted(set(re.findall("[a-z]+", __doc__.lower()))))

Floats = np.ndarray[Any, Any]


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON file and the table."""
    parser = _page.parser(__doc__)
    parser.add_argument("--table", type=Path, help="table of outcomes; without it one is made up")
    parser.add_argument("--rounds", type=int, default=1000, help="decisions timed a row")
    parser.add_argument("--prompts", type=int, default=500, help="of the made-up table")
    parser.add_argument("--models", type=int, default=5, help="of the made-up table")
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    table = read_table(options.table) if options.table else made_up(rng, options)
    predictors: dict[str, Predictor] = {"fallback": FallbackPredictor(), "learned": fit(table)}
    source = f" --table {options.table.name}" if options.table else ""
    results = {
        "command": f"OMP_NUM_THREADS=1 python -m examples.benchmarks.latency --rounds "
        f"{options.rounds} --seed {options.seed}{source}",
        "python": platform.python_version(),
        "candidates": len(table.models),
        "unit": "milliseconds of processor time; low and high: 95 % bootstrap interval",
        "decision": decisions(predictors, table.models, rng, options.rounds),
        "batch": batch(predictors["learned"], rng),
    }
    _page.publish(options.out, "latency", results, {"latency": draw(results)})


def text_of(rng: random.Random, tokens: int) -> str:
    """Return so many tokens of words and numbers, as `estimate_tokens` counts."""
    words: list[str] = []
    size = 0
    while size < 4 * tokens:
        words.append(rng.choice(WORDS) if rng.random() < 0.9 else str(rng.randrange(10_000)))
        size += len(words[-1]) + 1
    return " ".join(words)[: 4 * tokens]


def made_up(rng: random.Random, options: Any) -> Outcomes:
    """Return a table in which longer prompts are harder and later models abler."""
    texts = [text_of(rng, rng.choice((10, 20, 50, 200))) for _ in range(options.prompts)]
    logits = [
        [
            quality_logit(difficulty(surface_features(text)), place / options.models)
            for place in range(options.models)
        ]
        for text in texts
    ]
    chance = 1 / (1 + np.exp(-np.array(logits)))
    drawn = np.random.default_rng(options.seed).random(chance.shape) < chance
    return as_outcomes(texts, drawn.astype(float))


def decisions(
    predictors: dict[str, Predictor], models: tuple[str, ...], rng: random.Random, rounds: int
) -> dict[str, Any]:
    """Return the time of one decision, by predictor and length of the prompt."""
    given = [Candidate(name, None, price=(0.1 * (i + 1), 1.0)) for i, name in enumerate(models)]
    candidates = prepare_candidates(given, lambda c: (c.model, {}))
    routers = {
        name: Router(candidates, policy=Policy(quality=0.95), predictor=predictor)
        for name, predictor in predictors.items()
    }
    found: dict[str, Any] = {name: {} for name in routers}
    for length, tokens in LENGTHS.items():
        times: dict[str, list[float]] = {name: [] for name in routers}
        count = WARM_UP + max(1, rounds if tokens < 1000 else rounds // 5)
        for _ in range(count):
            text = text_of(rng, tokens)
            prompt = Prompt(turns=(Turn("user", text),), tokens=estimate_tokens(text))
            for name, router in routers.items():
                times[name].append(milliseconds(lambda r=router, p=prompt: r.decide(p)))
        for name, taken in times.items():
            found[name][length] = row(np.array(taken[WARM_UP:])) | {"goal_ms": GOALS_MS[length]}
    return found


def milliseconds(work: Callable[[], Any]) -> float:
    """Return the processor time of some work."""
    started = time.thread_time()
    work()
    return (time.thread_time() - started) * 1000


def row(taken: Floats) -> dict[str, Any]:
    """Return median and 99th percentile, each with its bootstrap interval."""
    draws = np.random.default_rng(0).choice(taken, (500, len(taken)))
    found: dict[str, Any] = {"decisions": len(taken)}
    for name, share in (("p50_ms", 50), ("p99_ms", 99)):
        low, high = np.percentile(np.percentile(draws, share, axis=1), [2.5, 97.5])
        value = float(np.percentile(taken, share))
        found[name] = {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}
    return found


def batch(predictor: Any, rng: random.Random) -> dict[str, Any]:
    """Return prompts a second, median of ten batches."""
    rates = []
    for _ in range(10):
        texts = [text_of(rng, LENGTHS["short"]) for _ in range(200)]
        spent = milliseconds(lambda t=texts: predictor.qualities(t))
        rates.append(len(texts) / max(spent, 1e-6) * 1000)
    low, value, high = np.percentile(rates, [2.5, 50, 97.5])
    figure = {"value": round(value), "low": round(low), "high": round(high)}
    return {"prompts_per_second": figure, "batches": len(rates), "goal": GOAL_A_SECOND}


def draw(results: dict[str, Any]) -> str:
    """Return the times as a Markdown table."""
    rows = [
        [
            f"{name}, {length}",
            str(one["decisions"]),
            _page.shown(one["p50_ms"]),
            _page.shown(one["p99_ms"]),
            f"{one['goal_ms']:g} ms",
        ]
        for name, by_length in results["decision"].items()
        for length, one in by_length.items()
    ]
    rate = results["batch"]["prompts_per_second"]
    several = f"{results['batch']['batches']} batches"
    goal = f"{results['batch']['goal']:,} a second"
    rows.append(
        ["learned, batch of short prompts", several, _page.shown(rate, 0) + " a second", "-", goal]
    )
    return _page.markdown(["decision", "timed", "p50, ms (95 %)", "p99, ms (95 %)", "goal"], rows)


if __name__ == "__main__":
    main()
