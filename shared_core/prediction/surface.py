"""Difficulty of a prompt from its surface, and what follows from it for a model of known strength.

For when nothing has been learned yet: no model, no data, no word lists, only three bounded counts
and a handful of constants. Within one kind of task it orders prompts no better than their length
does; it is meant for telling kinds of task apart, and `prior` adds what words say within a kind.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from typing import Final

# Only both ends of a longer prompt are read, so the work is bounded. A character outside ASCII
# says more and costs more, hence the shorter ends.
_READ_ASCII: Final = 3_000
_READ_OTHER: Final = 1_200
_READ_WIDE: Final = 400
# Kana, Han and Hangul are not split by spaces into words: there, each distinct pair of
# neighbouring characters counts as 2.5 letters of an alphabet.
_WIDE: Final = re.compile("([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]+)")
_LETTERS_PER_PAIR: Final = 2.5
_LONG_WORD: Final = (
    24  # longer "words" (blobs, rows of one character) count by what differs in them
)
_NUMBER: Final = re.compile(r"\d+")
_ONLY_DIGITS: Final = bytes(byte if byte in b"0123456789" else 0x20 for byte in range(256))
_SYMBOLS: Final = b"=+*^<>|~\\$()[]{};"  # operators, LaTeX, brackets
_WIDE_SYMBOLS: Final = "×÷√∑∫≤≥≠±∞π∈→"  # noqa: RUF001

# Each feature is log(1 + count / unit) / log(1 + full / unit), at most 1.
_LETTERS_UNIT: Final = 100
_LETTERS_FULL: Final = 1_000
_NUMBERS_FULL: Final = 12
_SYMBOLS_FULL: Final = 40

# Ratio 1 : .25 : .25 by the mean rank correlation with the errors of the weaker models over the
# licence-clean training sets (MMLU-Pro without MMLU, CRUXEval, MATH 5, ZebraLogic, LLMRouter's
# ten tasks, steps of GSM8K train), families of sets weighted alike; scaled to the sum 1.
DIFFICULTY_WEIGHTS: Final[Mapping[str, float]] = {"length": 0.66, "numbers": 0.17, "symbols": 0.17}

# quality = sigmoid(EASY - SLOPE * difficulty ** BEND * (1 - strength)). Maximum likelihood over
# the same sets, strengths by rank, gives .72 and 5.9 (.92 and 6.0 without the three sets that
# mostly grade the format), leaving one set out .63 to .90 and 5.1 to 7.1. With `prior`'s difficulty
# of prompts left out both move by less than .05, and these figures are likelier than without it.
QUALITY_EASY: Final = 1.0
QUALITY_SLOPE: Final = 6.0
QUALITY_BEND: Final = 1.5
QUALITY_SPREAD: Final = 2.0  # logits either side: 96 to 98 % of set x strength means lie within

# Visible output tokens of a prompt nobody has seen: within a factor of 2 for 41 to 95 % of the
# prompts of CRUXEval, MATH 5, MMLU-Pro and ZebraLogic, of 4 for 85 to 100 %. Medians by difficulty
# did no better on sets left out than one figure.
OUTPUT_TOKENS: Final = 200


def surface_features(text: str) -> dict[str, float]:
    """Measure length, numbers and symbols of a prompt, each between 0 and 1.

    Every distinct word counts once, so spaces and repeated filler add nothing.
    """
    letters = 0.0
    if text.isascii():
        words = set(_ends(text, _READ_ASCII).split())
    else:
        parts = _WIDE.split(_ends(text, _READ_OTHER))
        words = set(" ".join(parts[::2]).split())
        wide = _ends("".join(parts[1::2]), _READ_WIDE)
        letters = _LETTERS_PER_PAIR * len(set(itertools.pairwise(wide)))
    long_words = [word for word in words if len(word) > _LONG_WORD]
    if long_words:
        words.difference_update(long_words)
        shortened = ["".join(dict.fromkeys(word)) for word in long_words]
        letters += sum(map(len, shortened))  # and once more below
        words.update(shortened)
    letters += sum(map(len, words))
    # What is letters only holds neither numbers nor symbols.
    distinct = " ".join([word for word in words if not word.isalpha()])
    raw = distinct.encode("utf-8", "ignore")
    symbols = len(raw) - len(raw.translate(None, _SYMBOLS))
    if len(raw) == len(distinct):
        numbers = len(set(raw.translate(_ONLY_DIGITS).split()))
    else:
        numbers = len(set(_NUMBER.findall(distinct)))
        symbols += sum(map(distinct.count, _WIDE_SYMBOLS))
    return {
        "length": _log_share(letters / _LETTERS_UNIT, _LETTERS_FULL / _LETTERS_UNIT),
        "numbers": _log_share(numbers, _NUMBERS_FULL),
        "symbols": _log_share(symbols, _SYMBOLS_FULL),
    }


def difficulty(features: Mapping[str, float]) -> float:
    """Weigh the features into one figure, from 0 (a greeting) to 1."""
    return min(1.0, sum(weight * features[name] for name, weight in DIFFICULTY_WEIGHTS.items()))


def quality(hardness: float, strength: float) -> tuple[float, float, float]:
    """Chance that an answer is good enough, and the low and high end of what it may be."""
    logit = quality_logit(hardness, strength)
    return (
        _sigmoid(logit),
        _sigmoid(logit - QUALITY_SPREAD),
        _sigmoid(logit + QUALITY_SPREAD),
    )


def quality_logit(hardness: float, strength: float) -> float:
    """Return the log odds that an answer is good enough."""
    return QUALITY_EASY - QUALITY_SLOPE * math.pow(hardness, QUALITY_BEND) * (1.0 - strength)


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


def _ends(text: str, length: int) -> str:
    return text if len(text) <= 2 * length else f"{text[:length]} {text[-length:]}"


def _log_share(count: float, full: float) -> float:
    return min(1.0, math.log1p(count) / math.log1p(full))
