"""The graded prompts: how many are wanted in, a fair selection of them out."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Literal

from examples.demo.code_grading import Code
from examples.demo.grading import Check

Kind = Literal["facts", "arithmetic", "extraction", "summary", "code"]


@dataclass(frozen=True)
class Prompt:
    """A prompt with its kind and the rule that grades a reply to it."""

    kind: Kind
    text: str
    check: Check | Code


def grade(prompt: Prompt, reply: str, *, run_code: bool = False) -> bool:
    """Whether a reply is right; code is run only if `run_code`, and judged by shape otherwise."""
    if run_code and isinstance(prompt.check, Code):
        return prompt.check.works(reply)
    return prompt.check(reply)


def select(prompts: Sequence[Prompt], count: int | None, seed: int = 0) -> list[Prompt]:
    """Takes prompts evenly over the kinds and, within a kind, evenly from easy to hard.

    Args:
        prompts: All of them, easy ones first within each kind.
        count: How many to take; None or too many takes all.
        seed: Of the order. Kinds take turns and difficulty is shuffled, so that a run that is
            stopped early has still seen a bit of everything.
    """
    kinds = list(dict.fromkeys(prompt.kind for prompt in prompts))
    pools = [[prompt for prompt in prompts if prompt.kind == kind] for kind in kinds]
    rng = random.Random(seed)
    chosen = []
    for pool, share in zip(pools, _shares([len(pool) for pool in pools], count), strict=True):
        picked = evenly(pool, share)
        rng.shuffle(picked)
        chosen.append(picked)
    return [prompt for prompt in chain.from_iterable(zip_longest(*chosen)) if prompt]


def evenly(items: Sequence[Prompt], count: int) -> list[Prompt]:
    """`count` of the items at even distances, from the middle of each stretch."""
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def _shares(sizes: Sequence[int], count: int | None) -> list[int]:
    """Deals `count` out to the pools one by one, none beyond its size."""
    shares = [0] * len(sizes)
    left = sum(sizes) if count is None else min(count, sum(sizes))
    while left:
        for i, size in enumerate(sizes):
            if left and shares[i] < size:
                shares[i] += 1
                left -= 1
    return shares
