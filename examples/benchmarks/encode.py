"""Make the vectors that `routellm --encodings` reads, by an encoder of the package.

Run `python -m examples.benchmarks.encode --data FOLDER --encoder NAME --as MODEL --out VECTORS`
(extra `[local]`): NAME as for `router-llm train --encoder`; MODEL is how files and tables call it,
and "smollm2" stands in the results as the prefill. It writes MODEL_mmlu.npz and MODEL_gsm8k.npz
(arrays prompt_id and encoding) and prints the processor's time for a prompt.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from shared_core.prediction.encoders import Encoder, encoded, encoder_from

PIECE = 32  # prompts encoded at once


def main(arguments: list[str] | None = None) -> None:
    """Encode the prompts of both benchmarks, as many as asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--encoder", required=True, help="sentence-transformers:… or prefill:…")
    parser.add_argument("--as", dest="model", required=True, help="what to call it")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--most", type=int, default=4000, help="prompts of a benchmark at most")
    options = parser.parse_args(arguments)
    encoder = encoder_from(options.encoder)
    table = pd.read_parquet(options.data / "eval_routellm" / "data.parquet")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("mmlu", "gsm8k"):
        chosen = prompts(table, name, options.most)
        vectors, seconds = timed(encoder, chosen.prompt.tolist())
        ids = chosen.prompt_id.astype(str).to_numpy("U")
        np.savez(options.out / f"{options.model}_{name}.npz", prompt_id=ids, encoding=vectors)
        print(f"{name}: {len(chosen)} prompts, {1000 * seconds / len(chosen):.0f} ms each")


def prompts(table: pd.DataFrame, name: str, most: int) -> pd.DataFrame:
    """Return the uncontaminated prompts of a benchmark, or so many drawn at random."""
    rows = table[(table.dataset == f"routellm_{name}") & ~table.contaminated_per_routellm]
    rows = rows.drop_duplicates("prompt_id").sort_values("prompt_id")
    return rows if len(rows) <= most else rows.sample(most, random_state=0)


def timed(encoder: Encoder, texts: list[str]) -> tuple[np.ndarray, float]:
    """Return a row per text, and the processor's seconds."""
    start = time.process_time()
    pieces = [encoded(encoder, texts[at : at + PIECE]) for at in range(0, len(texts), PIECE)]
    return np.concatenate(pieces), time.process_time() - start


if __name__ == "__main__":
    main()
