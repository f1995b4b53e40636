"""Which training prompts are, in whole or for the better part, evaluation prompts.

Run `python -m examples.benchmarks.overlap --data FOLDER`: for every `train_*/data.parquet` in the
folder, how many of its prompts overlap with a prompt of any `eval_*/data.parquet`. Two prompts
overlap if at least half of the runs of eight words of the shorter one occur in the other; one of
fewer than eight words has to be the same.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pandas as pd

WORDS: Final = 8
SHARE: Final = 0.5
_WORD: Final = re.compile(r"\w+")


def runs(text: str) -> set[int]:
    """Return the hash of each run of eight words; of all words if there are fewer."""
    words = _WORD.findall(text.lower())
    last = max(1, len(words) - WORDS + 1)
    return {hash(tuple(words[start : start + WORDS])) for start in range(last)}


def overlapping(prompts: Sequence[str], others: Iterable[str]) -> list[bool]:
    """Return for each prompt whether it overlaps with one of the others."""
    found_in: dict[int, list[int]] = defaultdict(list)
    sizes: list[int] = []
    for place, other in enumerate(others):
        theirs = runs(other)
        sizes.append(len(theirs))
        for run in theirs:
            found_in[run].append(place)
    return [_overlaps(runs(prompt), found_in, sizes) for prompt in prompts]


def _overlaps(ours: set[int], found_in: dict[int, list[int]], sizes: list[int]) -> bool:
    shared = Counter(place for run in ours if run in found_in for place in found_in[run])
    return any(n >= SHARE * min(len(ours), sizes[place]) for place, n in shared.items())


def prompts_of(data: Path, pattern: str) -> dict[str, list[str]]:
    """Return the distinct prompts of each set whose folder matches the pattern."""
    return {
        path.parent.name: pd.read_parquet(path, columns=["prompt"])
        .prompt.astype(str)
        .unique()
        .tolist()
        for path in sorted(data.glob(f"{pattern}/data.parquet"))
    }


def main() -> None:
    """Print one line per training set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    data = parser.parse_args().data
    others = [prompt for prompts in prompts_of(data, "eval_*").values() for prompt in prompts]
    for name, prompts in prompts_of(data, "train_*").items():
        print(f"{name}: {sum(overlapping(prompts, others))} of {len(prompts)} prompts overlap")


if __name__ == "__main__":
    main()
