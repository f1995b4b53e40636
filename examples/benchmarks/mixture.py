"""Mixtures on stored outcomes: what candidates have in common, and what agreement settles.

Run `python -m examples.benchmarks.mixture --data FOLDER`; needs the extra `[train]`. It reads
scores of ZeroEval's and MMLU-Pro's models, and stored answers to MMLU-Pro and to hard mathematics:
training sets all, for what is read off here became constants.

Overlaps: of each data set, the mean over all pairs of models. How probably one of three is right is
predicted from their accuracies, by the common overlap and by overlaps from a sample of other
prompts, and compared with how often one of them is.

Agreement: `MixtureOfAgents` is given stored answers of three models, whose quality is their
accuracy on the set, as proposals. It says what they settle; no answer of an aggregator is stored,
so of the other prompts it is only told how often one of the proposals is right.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from examples.benchmarks import _page, _tables
from shared_core import Decision, Estimate, MixtureOfAgents, Prompt
from shared_core.decision.overlaps import overlaps
from shared_core.strategies.team import Team
from shared_core.types import COMMON_OVERLAP, CalibrationSample, Reply, Turn, Verdict

Floats = np.ndarray[Any, Any]

SCORES = {
    "train_zeroeval_crux_math_zebra": ("math_level5", "cruxeval_o", "zebralogic"),
    "train_mmlu_pro_nonmmlu": ("mmlu_pro_cot",),
}
ANSWERS = ("train_answers_mmlu_pro", "train_answers_math")
SAMPLES = (50, 200)
SIZE = 3
ABLE = (0.25, 0.95)  # accuracies of models that propose
ALIKE = 0.25  # at most so much between the best and the weakest of three
PROMPT = Prompt((Turn("user", "?"),), 1)


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the JSON file and the tables."""
    parser = _page.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--teams", type=int, default=100, help="draws of three models")
    options = parser.parse_args(arguments)
    command = (
        f"python -m examples.benchmarks.mixture --data FOLDER --seed {options.seed} "
        f"--teams {options.teams}"
    )
    shared = {name: in_common(options, of, name) for of, names in SCORES.items() for name in names}
    settled = {name: settles(options, name) for name in ANSWERS}
    found = {"command": command, "overlaps": shared, "agreement": settled}
    drawn = {"mixture_overlaps": draw_overlaps(shared), "mixture_agreement": draw(settled)}
    _page.publish(options.out, "mixture", found, drawn)


def in_common(options: argparse.Namespace, of: str, name: str) -> dict[str, float]:
    """Return what the models of a data set have in common, and how well that predicts."""
    table = _tables.read(options.data, of, (name,))
    scores = (table.scores >= 0.5).astype(float)
    every = overlaps(sampled(scores, table.models), table.models)
    found = {
        "models": len(table.models),
        "prompts": len(scores),
        "overlap": float(np.mean(list(every.values()))),
        "plain": float(np.corrcoef(scores.T)[np.triu_indices(len(table.models), 1)].mean()),
    }
    able = [n for n, mean in enumerate(scores.mean(axis=0)) if ABLE[0] < mean < ABLE[1]]
    draws = np.random.default_rng(options.seed)
    errors: dict[str, list[float]] = {}
    for _ in range(options.teams):
        columns = draws.choice(able, SIZE, replace=False)
        mixed = scores[draws.permutation(len(scores))][:, columns]
        known, asked = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
        names = [table.models[column] for column in columns]
        quality = dict(zip(names, asked.mean(axis=0).tolist(), strict=True))
        true = float(asked.max(axis=1).mean())
        errors.setdefault("common", []).append(covers(quality, {}) - true)
        for size in SAMPLES:
            of_sample = overlaps(sampled(known[:size], names), names)
            errors.setdefault(f"from_{size}", []).append(covers(quality, of_sample) - true)
    return found | {
        f"rms_{how}": float(np.sqrt(np.mean(np.square(e)))) for how, e in errors.items()
    }


def sampled(scores: Floats, names: Sequence[str]) -> CalibrationSample:
    """Return a sample of which only the scores are looked at."""
    return CalibrationSample(tuple(names), scores, np.ones(len(scores)), scores, scores)


def covers(quality: Mapping[str, float], shared: Mapping[tuple[str, str], float]) -> float:
    """Return how probably one of them is right."""
    return Team(decided(quality, shared)).covers(list(quality))


def decided(
    quality: Mapping[str, float], shared: Mapping[tuple[str, str], float] | None = None
) -> Decision:
    """Return a decision on models of these qualities."""
    names = sorted(quality, key=quality.__getitem__)
    estimates = tuple(Estimate(name, q, q, q) for name, q in quality.items())
    others = {"allowed": tuple(names), "fallbacks": tuple(names[:-1]), "overlaps": shared or {}}
    return Decision("id", names[-1], "stored", False, estimates, **others)  # type: ignore[arg-type]


def settles(options: argparse.Namespace, name: str) -> dict[str, float]:
    """Return how often proposals agree, how good that is, and what is left."""
    rows = pd.read_parquet(options.data / name / "data.parquet")
    key = {"index": "prompt_id", "columns": "model"}
    scores, texts = rows.pivot(values="score", **key), rows.pivot(values="answer", **key)
    mean = scores.mean().sort_values()
    able = [model for model, value in mean.items() if ABLE[0] < value < ABLE[1]]
    draws, each = np.random.default_rng(options.seed), []
    while len(each) < options.teams:
        team = sorted(draws.choice(able, SIZE, replace=False), key=mean.__getitem__)
        if sum(abs(mean[a] - mean[b]) for a, b in pairwise(team)) <= ALIKE:
            answered = scores[team].dropna()
            quality = mean[team].to_dict()
            each.append(of_team(texts.loc[answered.index, team], answered, quality))
    names = ("prompts", "settled", "right", "best_there", "best_else", "any_else", "best")
    return {
        "models": len(able),
        **dict(zip(names, np.nanmean(each, axis=0).tolist(), strict=True)),
    }


def of_team(
    texts: pd.DataFrame, scores: pd.DataFrame, quality: Mapping[str, float]
) -> tuple[float, ...]:
    """Return the same of one team."""
    decision, best = decided(quality), max(quality, key=quality.__getitem__)
    said = [agreed(decision, dict(zip(texts, row, strict=True))) for row in texts.to_numpy()]
    there = np.array([model is not None for model in said])
    right = [float(scores.iloc[n][model]) for n, model in enumerate(said) if model is not None]
    alone, any_of = scores[best].to_numpy(), scores.max(axis=1).to_numpy()
    return (
        float(len(scores)),
        float(there.mean()),
        float(np.mean(right)),
        *(float(part.mean()) for part in (alone[there], alone[~there], any_of[~there], alone)),
    )


def agreed(decision: Decision, texts: Mapping[str, Any]) -> str | None:
    """Return whose proposal a mixture takes as it is; None where it would ask an aggregator."""
    steps = MixtureOfAgents(tuple(texts), skip=None).steps(PROMPT, decision)
    proposed = [Reply(ask.candidate, text=str(texts[ask.candidate])) for ask in next(steps)]  # type: ignore[union-attr]
    (wish,) = steps.send(tuple(proposed))
    if not isinstance(wish, Verdict):
        return None
    try:
        steps.send((wish,))
    except StopIteration as answered:
        return answered.value.candidate
    return None


def draw_overlaps(found: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table of what models have in common."""
    titles = ["data set", "models", "overlap", "plain correlation"]
    titles += ["error, common overlap", *(f"from {size} prompts" for size in SAMPLES)]
    rms = ["rms_common", *(f"rms_from_{size}" for size in SAMPLES)]
    rows = [
        [name, str(one["models"]), f"{one['overlap']:.2f}", f"{one['plain']:.2f}"]
        + [f"{one[key]:.3f}" for key in rms]
        for name, one in found.items()
    ]
    mean = float(np.mean([one["overlap"] for one in found.values()]))
    rows.append(["mean", "-", f"{mean:.2f} ({COMMON_OVERLAP} is taken)", *["-"] * 4])
    return _page.markdown(titles, rows)


def draw(found: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table of what agreement settles."""
    titles = ["answers", "prompts of a team", "agree on", "right there", "the best of them there"]
    titles += ["elsewhere: the best of them", "one of them"]
    keys = ("settled", "right", "best_there", "best_else", "any_else")
    rows = [
        [name, f"{one['prompts']:.0f}", *(f"{100 * one[key]:.1f} %" for key in keys)]
        for name, one in found.items()
    ]
    return _page.markdown(titles, rows)


if __name__ == "__main__":
    main()
