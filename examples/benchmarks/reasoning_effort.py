"""Does it pay to reason where a prompt is predicted to be hard? `ChainOfThought` on stored scores.

Run `python -m examples.benchmarks.reasoning_effort --data FOLDER` (folder with
`train_livecodebench_to_2024_03`, extra `[train]`): three models answered the same programming
problems at low, medium and high effort. A predictor learns how well each answers at low effort from
nine tenths of the problems and tells it of the last tenth; the strategy then picks the effort of
each. Kept: the mean score (pass@1) over that of always high. Beside it: always low, always medium;
efforts drawn at random in the same shares, of each model; the least of the efforts that score best,
known in hindsight. Over random: how much more is kept, on the same prompts. Each seed draws other
folds; intervals are of prompts drawn anew.

Mended: of the errors at low effort, the share that more effort mends; `ChainOfThought` reckons with
the means over the three models.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from examples.benchmarks import _page, _splits, _tables
from examples.benchmarks.baselines import router
from shared_core import ChainOfThought, Decision, Estimate, Prompt
from shared_core.lab.evaluate import Figure
from shared_core.types import Ask, Turn

SET, DATASET = "train_livecodebench_to_2024_03", "livecodebench_codegen"
EFFORTS = ("low", "medium", "high")
MODELS = {
    "o1": [f"O1-2024-12-17 (N=1) ({effort})" for effort in ("Low", "Med", "High")],
    "o3-mini": [f"O3-Mini-2025-01-31 ({effort})" for effort in ("Low", "Med", "High")],
    "o4-mini": [f"O4-Mini ({effort})" for effort in ("Low", "Medium", "High")],
}
FIGURES = ("kept", "over_random", *(f"{effort}_share" for effort in EFFORTS))
FOLDS = 10
DELTAS = (0.05, 0.02)

Floats = np.ndarray[Any, Any]


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON file and the table."""
    parser = _page.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--seeds", type=int, default=10, help="draws of the folds")
    parser.add_argument("--draws", type=int, default=2000, help="bootstrap samples")
    options = parser.parse_args(arguments)
    _splits.remember_features()
    results = {
        "command": f"python -m examples.benchmarks.reasoning_effort --data FOLDER "
        f"--seed {options.seed} --seeds {options.seeds} --draws {options.draws}",
        **measured(options),
    }
    _page.publish(options.out, "reasoning_effort", results, {"reasoning effort": draw(results)})


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Return what each policy keeps of each model, and of all, and what effort mends."""
    scores, predicted = [], []
    seeds = range(options.seed, options.seed + options.seeds)
    for names in MODELS.values():
        table = _tables.read(options.data, SET, [DATASET], names)
        scores.append(table.scores)
        low = table.subset(slice(None), names[:1])
        predicted.append([_splits.cross_fitted(router, low, FOLDS, seed)[:, 0] for seed in seeds])
    every = np.stack(scores, axis=1)
    guessed = [np.stack(one, axis=1) for one in zip(*predicted, strict=True)]
    groups = {name: slice(at, at + 1) for at, name in enumerate(MODELS)} | {"all": slice(None)}
    found = _splits.over_seeds(mended, [(every,)], options.draws, options.seed)
    return {
        "mended": dict(zip(EFFORTS[1:], found, strict=True)),
        "prompts": len(every),
        "models": {
            name: {
                str(delta): outcome(every[:, group], [g[:, group] for g in guessed], delta, options)
                for delta in DELTAS
            }
            for name, group in groups.items()
        },
    }


def mended(scores: Floats) -> Floats:
    """Return the share of the errors at low effort that medium and high effort mend."""
    low, medium, high = scores.reshape(-1, len(EFFORTS)).mean(axis=0)
    return np.array([medium - low, high - low]) / (1.0 - low)


def outcome(
    scores: Floats, predicted: list[Floats], delta: float, options: argparse.Namespace
) -> dict[str, dict[str, Figure]]:
    """Return what is kept, how much more than at random, and the share of each effort.

    Args:
        scores: n prompts x m models x 3 efforts.
        predicted: At low effort, n x m, one entry a seed.
        delta: δ of the policy.
        options: Of the script.
    """
    ask = np.vectorize(partial(effort, delta=delta))
    seeds = [(scores, ask(one)) for one in predicted]
    found = {}
    for name in POLICIES:
        statistic = partial(kept, name=name)
        figures = _splits.over_seeds(statistic, seeds, options.draws, options.seed)
        found[name] = dict(zip(FIGURES, figures, strict=True))
    return found


def effort(quality: float, delta: float) -> int:
    """Return the place of the effort with which the strategy asks for an answer."""
    estimate = Estimate("it", quality, quality, quality)
    decision = Decision(
        *("", "it", "", False, (estimate,)), delta=delta, reasoners=frozenset({"it"})
    )
    steps = ChainOfThought(easy="low").steps(Prompt((Turn("user", ""),), 1), decision)
    (ask,) = steps.send(next(steps))
    assert isinstance(ask, Ask)
    return EFFORTS.index(ask.params["reasoning"])


def kept(scores: Floats, chosen: Floats, name: str) -> Floats:
    """Return the mean score over that of always high, over random's, and the share of each."""
    weights = POLICIES[name](scores, chosen)
    score, at_random = (
        (one * scores).sum() / scores[..., -1].sum()
        for one in (weights, POLICIES["random"](scores, chosen))
    )
    return np.array([score, score - at_random, *weights.mean(axis=(0, 1))])


ONE = np.eye(len(EFFORTS))


def _same(place: int) -> Any:
    return lambda scores, chosen: np.broadcast_to(ONE[place], scores.shape)


POLICIES: Mapping[str, Any] = {
    "always low": _same(0),
    "always medium": _same(1),
    "always high": _same(2),
    "routed": lambda scores, chosen: ONE[chosen],
    "random": lambda scores, chosen: np.broadcast_to(ONE[chosen].mean(axis=0), scores.shape),
    "oracle": lambda scores, chosen: ONE[scores.argmax(axis=-1)],
}
"""How much of each effort each answer gets, n x m x 3."""


def draw(results: Mapping[str, Any]) -> str:
    """Return the policies as a Markdown table."""
    rows = [
        [model, delta, name, *(_page.shown(one[key]) for key in FIGURES)]
        for model, deltas in results["models"].items()
        for delta, policies in deltas.items()
        for name, one in policies.items()
        if name == "routed" or delta == str(DELTAS[0])
    ]
    titles = ["model", "δ", "effort", "kept of always high", "over random", *EFFORTS]
    return _page.markdown(titles, rows)


if __name__ == "__main__":
    main()
