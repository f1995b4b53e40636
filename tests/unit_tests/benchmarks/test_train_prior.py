"""Training the shipped prior: no evaluation prompt gets in, and what is learned carries over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from examples.benchmarks.overlap import overlapping
from examples.benchmarks.train_prior import (
    SOURCES,
    figures,
    held_out,
    inverse_frequency,
    load,
    term_matrix,
    write,
)
from shared_core.prediction.prior import MOST, Prior
from shared_core.prediction.terms import BUCKETS

LONG = "a train leaves the station at noon and meets another one at four in the afternoon"


def test_prompts_overlap_when_half_of_the_shorter_one_is_in_the_other() -> None:
    others = [f"Question: {LONG}. When?", "Short one"]
    prompts = [LONG.upper(), f"{LONG} {LONG[::-1] * 9}", "short ONE!", "short", LONG[:30], ""]
    assert overlapping(prompts, others) == [True, True, True, False, False, False]


def outcomes(dataset: str, rng: np.random.Generator) -> pd.DataFrame:
    """The weak model fails where the prompt says "tricky"."""
    rows = []
    for place in range(60):
        tricky = bool(place % 2)
        noise = " ".join(rng.choice(["oak", "elm", "fir", "yew", "ash"], 6))
        prompt = f"{'tricky' if tricky else 'simple'} {place} {noise}"
        for model, score in (("weak", 0.0 if tricky else 1.0), ("strong", 1.0)):
            rows.append((dataset, prompt, model, score))
    return pd.DataFrame(rows, columns=["dataset", "prompt", "model", "score"])


def test_what_is_learned_orders_prompts_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ("mmlu_pro", "cruxeval", "ulab_math", "gsm8k")
    tables = {source: outcomes(name, rng) for source, name in zip(SOURCES, names, strict=True)}
    leaked = tables["train_ulab_llmrouter"].prompt[0]
    tables["eval_some"] = pd.DataFrame({"prompt": [leaked]})
    for name, table in tables.items():
        (tmp_path / name).mkdir()
        table.to_parquet(tmp_path / name / "data.parquet")

    sets = load(tmp_path)
    assert leaked not in [text for one in sets for text in one.texts]
    idf = inverse_frequency(sets)
    terms = {one.name: term_matrix(one.texts, idf) for one in sets}
    found = figures(sets, held_out(sets, terms, 0), lambda one: one.gains)["mean"]
    assert abs(found["surface"] - 0.5) < 0.15
    assert found["family_left_out"] > 0.7  # at best .75: half of the prompts hold all the gap
    assert found["prompts_left_out"] > 0.7


def test_what_is_written_can_be_loaded(tmp_path: Path) -> None:
    write(tmp_path, np.full(BUCKETS, 2.0), np.ones(BUCKETS), {"sources": {}})
    assert Prior.load(tmp_path).shift("word") == MOST
