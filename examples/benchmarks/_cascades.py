"""What a cascade costs and what it recovers, on stored answers of two models.

In: for each prompt the scores and costs of a weak and a strong model, and how probable a verifier
makes it that the weak one's answer is right. Out: points of the curve, and figures of it.

Every prompt is drafted, and every draft and check is charged. The horizontal axis is the cost: 0
where the weak model alone answers, 1 where the strong one alone does. What checks cost moves a
cascade to the right of 0, and at 1 it has not yet asked the strong model about every prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from examples.benchmarks import _tables
from shared_core.lab.answers import Rows, rows_of_answers
from shared_core.lab.judged import JudgedAnswers
from shared_core.tokens import estimate_tokens

Floats = np.ndarray[Any, Any]

LEVELS = (0.5, 0.8)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two models' answers to the same n prompts.

    Attributes:
        name: Of the pair.
        rows: The weak model's answers as numbers.
        weak: Its scores, n.
        strong: The strong model's, n.
        weak_usd: What its answers cost, n.
        strong_usd: What the strong model's cost, n.
        expected_usd: What the strong model's are expected to cost once there is a draft, n.
        draft_tokens: Of the weak model's answers, n.
        read_usd: What it costs to read question and answer once, n; 0 without a reader.
    """

    name: str
    rows: Rows
    weak: Floats
    strong: Floats
    weak_usd: Floats
    strong_usd: Floats
    expected_usd: Floats
    draft_tokens: Floats
    read_usd: Floats


def pair(
    folder: Path,
    name: str,
    models: tuple[str, str],
    listed: tuple[str, tuple[str, str]],
    readings: Path | None = None,
    *,
    growing: bool = False,
) -> Pair:
    """Read a pair's answers.

    Args:
        folder: Of the data sets.
        name: Of the set of answers.
        models: Weak and strong, as the set calls them.
        listed: The set of `models.csv` that has their prices, and how it calls them.
        readings: Folder of `SET.npz` (prompt_id, model, features); None: without a reader.
        growing: Shares of the weak model's answers are looked at too.
    """
    vectors = read_vectors(readings, name) if readings else None
    table = answers(folder, name)
    both = [table[table.model == model].set_index("prompt_id") for model in models]
    ids = both[0].index.intersection(both[1].index)
    if vectors is not None:  # a reader may have read some prompts only
        ids = ids[[(one, models[0]) in vectors for one in ids]]
    weak, strong = (one.loc[ids] for one in both)
    asked = tokens(weak.prompt)
    written = tokens(weak.answer)
    (weak_in, weak_out), (strong_in, strong_out) = _tables.prices(folder, *listed)
    expected = (written + written.mean()) / 2
    read_usd = (asked + written) * (cheapest(folder) if readings else 0.0) / 1e6
    return Pair(
        name=f"{models[0]} to {models[1]}",
        rows=as_rows(weak.reset_index(), vectors, growing=growing),
        weak=weak.score.to_numpy(float),
        strong=strong.score.to_numpy(float),
        weak_usd=(asked * weak_in + written * weak_out) / 1e6,
        strong_usd=(asked * strong_in + tokens(strong.answer) * strong_out) / 1e6,
        expected_usd=(asked * strong_in + expected * strong_out) / 1e6,
        draft_tokens=written,
        read_usd=read_usd,
    )


def answers(folder: Path, name: str) -> pd.DataFrame:
    """Return a set of answers without prompts that RouteLLM flags as contaminated."""
    table = pd.read_parquet(folder / name / "data.parquet")
    if "contaminated_per_routellm" in table:
        table = table[~table.contaminated_per_routellm.astype(bool)]
    return table.astype({"prompt_id": str, "model": str})


def as_rows(
    table: pd.DataFrame,
    vectors: dict[tuple[str, str], Floats] | None,
    *,
    growing: bool = False,
) -> Rows:
    """Return answers as numbers, with what a reader made of them: those that it has read."""
    if vectors is not None:
        keys = list(zip(table.prompt_id, table.model, strict=True))
        table = table[[key in vectors for key in keys]]
    judged = JudgedAnswers(
        tuple(table.prompt),
        tuple(table.model),
        tuple(table.answer),
        table.score.to_numpy(float),
    )
    rows = rows_of_answers(judged, growing=growing)
    if vectors is None:
        return rows
    keys = [key for key in keys if key in vectors]
    reading = np.array([vectors[key] for key in keys], float)
    return replace(rows, reading=reading)


def read_vectors(folder: Path, name: str) -> dict[tuple[str, str], Floats]:
    """Return what a reader made of a set's answers, by prompt and model."""
    with np.load(folder / f"{name}.npz") as file:
        keys = zip(file["prompt_id"].astype(str), file["model"].astype(str), strict=True)
        return dict(zip(keys, file["features"], strict=True))


def tokens(texts: Sequence[str]) -> Floats:
    """Return the estimated tokens of each text."""
    return np.array([estimate_tokens(text) for text in texts], float)


def cheapest(folder: Path) -> float:
    """Return the lowest list price of an input token, USD per million: of any model."""
    listed = pd.read_csv(folder / "model_info" / "models.csv").usd_per_m_in
    return float(listed[listed > 0].min())


def worth(weak: Floats, strong: Floats | float, expected_usd: Floats) -> Floats:
    """Return how much more probably right the strong model is than a draft, per expected USD.

    Args:
        weak: Log odds that the draft is right.
        strong: Probability that the strong model's answer is.
        expected_usd: What that answer is expected to cost.
    """
    return np.asarray((strong - chance(weak)) / expected_usd)


def chance(logits: Floats) -> Floats:
    """Return probabilities of log odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def curve(
    keep: Floats, gain: Floats, draft: Floats, strong: Floats, weak: Floats
) -> tuple[Floats, Floats]:
    """Return cost and share of the gap recovered, as more and more prompts go to the strong model.

    Args:
        keep: Why a draft should be kept; the least go first, equal ones together.
        gain: Score of the strong model minus that of the weak one.
        draft: USD of drafts and checks.
        strong: USD of the strong model's answers.
        weak: USD of the weak model's, whole and unchecked: what the axis is measured by.
    """
    _, group = np.unique(keep, return_inverse=True)
    spent = np.concatenate([[0.0], np.cumsum(np.bincount(group, strong))]) + draft.sum()
    won = np.concatenate([[0.0], np.cumsum(np.bincount(group, gain))])
    gap, span = won[-1], strong.sum() - weak.sum()
    if gap <= 0 or span <= 0:
        return np.array([0.0, 1.0]), np.full(2, np.nan)
    return (spent - weak.sum()) / span, won / gap


def figures(cost: Floats, won: Floats) -> Floats:
    """Return APGR, CPT(50 %) and CPT(80 %) of a curve.

    The area is that from cost 0 to 1; nothing is recovered before the first point.
    """
    if np.isnan(won).any():
        return np.full(1 + len(LEVELS), np.nan)
    x = np.concatenate([[min(0.0, cost[0])], cost])
    y = np.concatenate([[0.0], won])
    grid = np.unique(np.clip(np.concatenate([x, [0.0, 1.0]]), 0.0, 1.0))
    height = np.interp(grid, x, y)
    area = float(np.sum(np.diff(grid) * (height[1:] + height[:-1]) / 2))
    return np.array([area, *(first(cost, won, level) for level in LEVELS)])


def first(cost: Floats, won: Floats, level: float) -> float:
    """Return the cost at which a share of the gap is recovered first."""
    after = int(np.argmax(won >= level))
    part = (level - won[after - 1]) / (won[after] - won[after - 1])
    return float(cost[after - 1] + part * (cost[after] - cost[after - 1]))
