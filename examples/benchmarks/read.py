"""Make the vectors that the cascade's benchmarks read, by the package's reader.

Run `python -m examples.benchmarks.read --data FOLDER --out VECTORS SET …` (extra `[local]`): SET is
a data set of full answers. It writes VECTORS/SET.npz (arrays prompt_id, model, features, and what
the reader would have seen of the first quarters: features_25, features_50, features_75) and prints
the time for a draft. With `--time RESULTS` it measures too: a draft of 200 tokens, alone, against
the whole model in plain torch, in turns.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from examples.demo.models import SMALL, cache_folder
from shared_core.strategies.verifiers.reader import Reader

SHARES = (0.25, 0.5, 0.75)
TOKENS = 200  # of a draft whose reading is timed
WARM = 5  # drafts that are not counted
MODELS = (
    "Mistral-7B-Instruct-v0.2",
    "Mixtral-8x7B-Instruct-v0.1",
    "Phi-3-mini-4k-instruct",
    "Phi-3.5-mini-instruct",
    "Qwen2-7B-Instruct",
    "Qwen2.5-7B-Instruct",
    "mathstral-7B",
)
"""Under Apache-2.0 or MIT: what ships may learn from their answers."""


def main(arguments: list[str] | None = None) -> None:
    """Read the answers of data sets, as many as asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sets", nargs="*", metavar="SET")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, help="folder to write to")
    parser.add_argument("--prompts", type=int, default=10_000, help="of a set at most")
    parser.add_argument("--clean", action="store_true", help="answers under Apache-2.0 or MIT only")
    parser.add_argument("--time", type=Path, metavar="RESULTS", help="measure, write here")
    parser.add_argument("--model", type=Path, help="GGUF file (default: the demo's small one)")
    options = parser.parse_args(arguments)
    file = options.model or cache_folder() / SMALL.file
    reader = Reader(file)
    if options.time:
        found = timings(reader, drafts(options.data, 35, file), file)
        options.time.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(found, indent=2))
    for name in options.sets:
        table = pd.read_parquet(options.data / name / "data.parquet")
        if options.clean:
            table = table[table.model.isin(MODELS)]
        arrays, seconds = vectors(reader, some(table, options.prompts))
        options.out.mkdir(parents=True, exist_ok=True)
        np.savez(options.out / f"{name}.npz", reader=reader.name, **arrays)
        n = len(arrays["prompt_id"])
        print(f"{name}: {n} drafts, {1000 * seconds / n:.0f} ms of a core each")


def some(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return the answers to all prompts, or to so many of them drawn at random."""
    ids = np.sort(table.prompt_id.unique())
    chosen = np.random.default_rng(0).permutation(ids)[:most]
    return table[table.prompt_id.isin(chosen)]


def vectors(reader: Reader, table: pd.DataFrame) -> tuple[dict[str, np.ndarray], float]:
    """Return the arrays of a file, a row per answer, and the processor's seconds."""
    rows, start = [], time.process_time()
    for _, answers in table.groupby("prompt_id", sort=False):
        for one in answers.itertuples():
            cuts = [one.answer[: int(share * len(one.answer))] for share in SHARES]
            read = reader.read(one.prompt, [*cuts, one.answer])
            rows.append((str(one.prompt_id), str(one.model), *read))
    columns = list(zip(*rows, strict=True))
    names = ["prompt_id", "model", *(f"features_{int(100 * share)}" for share in SHARES)]
    arrays = {name: np.array(column) for name, column in zip(names, columns[:-1], strict=True)}
    return {**arrays, "features": np.array(columns[-1])}, time.process_time() - start


def timings(reader: Reader, texts: list[tuple[str, str]], file: Path) -> dict[str, object]:
    """Return milliseconds for each way of reading the same drafts, in turns."""
    plain = whole_model(file)
    found: dict[str, list[float]] = {"draft": [], "question_and_draft": [], "plain_torch": []}
    for place, (question, draft) in enumerate(texts):
        new = f"{place}. {question}"  # nothing of it has been read before
        start = time.perf_counter()
        reader.read(new, [])
        asked = time.perf_counter()
        reader.read(new, [draft])
        done = time.perf_counter()
        plain(f"Question: {new}\n\nAnswer: {draft}")
        found["draft"].append(done - asked)
        found["question_and_draft"].append(done - start)
        found["plain_torch"].append(time.perf_counter() - done)
    ms = {name: [1000 * one for one in each[WARM:]] for name, each in found.items()}
    spread = {
        name: {
            "value": round(statistics.median(each)),
            "low": round(min(each)),
            "high": round(max(each)),
        }
        for name, each in ms.items()
    }
    return {
        "command": "python -m examples.benchmarks.read --data FOLDER --time RESULTS",
        "reader": reader.name,
        "draft_tokens": TOKENS,
        "drafts": len(texts) - WARM,
        "threads": torch_threads(),
        "ms": spread,
    }


def drafts(folder: Path, count: int, file: Path) -> list[tuple[str, str]]:
    """Return questions with drafts of `TOKENS` tokens."""
    _, tokenizer = loaded(file)
    table = pd.read_parquet(folder / "train_answers_math" / "data.parquet")
    chosen = []
    for one in table.sample(len(table), random_state=0).itertuples():
        ids = tokenizer(one.answer)["input_ids"]
        if len(ids) >= TOKENS:
            chosen.append((one.prompt, tokenizer.decode(ids[:TOKENS])))
        if len(chosen) == count:
            break
    return chosen


def whole_model(file: Path) -> Callable[[str], object]:
    """Return what reads a text with the same model, nothing left off, likelihoods too."""
    torch, (model, tokenizer) = importlib.import_module("torch"), loaded(file)

    def read(text: str) -> object:
        with torch.inference_mode():
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            seen = model(input_ids=ids, output_hidden_states=True)
            return seen.logits.log_softmax(-1).gather(-1, ids[..., None])

    return read


@functools.cache
def loaded(file: Path) -> tuple[Any, Any]:
    """Return the reader's model as transformers loads it, and its tokenizer."""
    torch, transformers = map(importlib.import_module, ("torch", "transformers"))
    named = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(**named, dtype=torch.float32)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(**named)


def torch_threads() -> int:
    """Return how many cores torch computes with."""
    return int(importlib.import_module("torch").get_num_threads())


if __name__ == "__main__":
    main()
