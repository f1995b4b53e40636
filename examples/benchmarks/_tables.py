"""The data sets as `Outcomes`: only prompts for which every chosen model has a score.

In: a folder with `SET/data.parquet` (columns dataset, prompt_id, prompt, model, score, and where
known output_tokens and cost) and `model_info/models.csv` (prices in USD per million tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from shared_core.lab.table import Outcomes

ASKED = ["dataset", "prompt_id", "model"]  # columns: who was asked what
COVERED = 0.97  # of the prompts: a model that was asked fewer would cost the others theirs


def read(
    folder: Path, name: str, datasets: Sequence[str], models: Sequence[str] | None = None
) -> Outcomes:
    """Read some data sets of a set; the models in the order given, else by name.

    Prompts that RouteLLM flags as contaminated are left out; scores from 1 to 10 become 0 to 1.
    """
    rows = pd.read_parquet(folder / name / "data.parquet")
    rows = rows[rows.dataset.isin(list(datasets))]
    if "contaminated_per_routellm" in rows:
        rows = rows[~rows.contaminated_per_routellm.astype(bool)]
    if models is not None:
        rows = rows[rows.model.isin(list(models))]
    key = ["dataset", "prompt_id"]
    scores = rows.pivot_table("score", key, "model", observed=True).astype(float).dropna()
    if models is not None:
        scores = scores[list(models)]
    if scores.to_numpy().max() > 1:
        scores = (scores - 1) / 9
    texts = rows.drop_duplicates(key).set_index(key).prompt.reindex(scores.index)

    def column(figure: str) -> np.ndarray:
        if figure not in rows or rows[figure].isna().all():
            return np.full(scores.shape, np.nan)
        wide = rows.pivot_table(figure, key, "model", observed=True)
        return wide.reindex(index=scores.index, columns=scores.columns).to_numpy(float)

    return Outcomes(
        prompts=tuple(texts),
        models=tuple(map(str, scores.columns)),
        scores=scores.to_numpy(float),
        output_tokens=column("output_tokens"),
        cost=column("cost"),
        datasets=tuple(map(str, scores.index.get_level_values("dataset"))),
    )


def prompts_by_id(folder: Path, name: str) -> dict[str, str]:
    """Return the texts of a set by their ids."""
    rows = pd.read_parquet(folder / name / "data.parquet", columns=["prompt_id", "prompt"])
    return dict(zip(rows.prompt_id, rows.prompt, strict=True))


def routellm(folder: Path, benchmark: str) -> Outcomes:
    """Return one of RouteLLM's benchmarks: weak model (Mixtral) first, then strong (GPT-4)."""
    names = ("mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview")
    return read(folder, "eval_routellm", [f"routellm_{benchmark}"], names)


def prices(folder: Path, name: str, models: Sequence[str]) -> list[tuple[float, float]]:
    """Return USD per million (input, output) tokens of each model.

    Raises:
        KeyError: A price is unknown.
    """
    found = list_prices(folder, name)
    return [found[m] for m in models]


def list_prices(folder: Path, name: str) -> dict[str, tuple[float, float]]:
    """Return USD per million (input, output) tokens of each model of a set with a list price."""
    listed = pd.read_csv(folder / "model_info" / "models.csv")
    listed = listed[listed["set"] == name].drop_duplicates("model").set_index("model")
    found = listed[["usd_per_m_in", "usd_per_m_out"]].dropna()
    return {str(m): (float(row.iloc[0]), float(row.iloc[1])) for m, row in found.iterrows()}


def priced(folder: Path, name: str, datasets: Sequence[str]) -> list[str]:
    """Return the models of a set that have a list price in all of these data sets."""
    listed = pd.read_csv(folder / "model_info" / "models.csv")
    listed = listed[(listed["set"] == name) & listed.dataset.isin(list(datasets))]
    listed = listed.dropna(subset=["usd_per_m_in", "usd_per_m_out"])
    counts = listed.groupby("model").dataset.nunique()
    return sorted(counts.index[counts == len(datasets)])


def asked_nearly_all(rows: pd.DataFrame, models: Sequence[str]) -> list[str]:
    """Return those models to which nearly all of the prompts were put."""
    counts = rows[rows.model.isin(list(models))].groupby("model", observed=True).prompt_id.nunique()
    return sorted(counts.index[counts >= COVERED * rows.prompt_id.nunique()].astype(str))
