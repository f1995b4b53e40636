"""A prompt's text as numbers that can be learned from: hashed terms and surface measures.

In: text. Out: `Features`: which of `BUCKETS` hash buckets its words and pairs of neighbouring words
fall into and how often, and the `MEASURES` of its surface. All of a text counts up to 200,000
characters, of a longer one both ends: the work is bounded.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from shared_core.prediction.terms import BUCKETS, bucket, buckets, terms, tokens

__all__ = ["BUCKETS", "MEASURES", "Features", "bucket", "features", "fingerprints", "read", "terms"]

_READ: Final = 100_000  # characters of either end: of 10 MB in Han 3 GB would be needed, and 40 s
_OPTION: Final = re.compile(
    r"^[^\S\n]*\(?[A-J][).:]", re.MULTILINE
)  # not \s*: quadratic in blank lines
_SENTENCE_END: Final = re.compile(r"[.?!。？！](?:\s|$)")  # noqa: RUF001
_SYMBOLS: Final = frozenset("=+*^<>|~\\$()[]{};×÷√∑∫≤≥≠±∞π∈→")  # noqa: RUF001

MEASURES: Final = (
    *("characters", "words", "distinct words", "numbers", "distinct numbers", "digits"),
    *("symbols", "lines", "options", "sentences", "words a sentence", "letters a word"),
    *("commas", "question marks", "percent signs", "dollar signs", "backslashes"),
    *("capitals", "longest number", "ends in a question mark"),
)
"""Names of the surface measures. Counts as log(1 + count)."""


@dataclass(frozen=True, slots=True)
class Features:
    """What can be learned from of one prompt.

    Attributes:
        buckets: Hash buckets that occur, int64, k of them.
        counts: 1 + ln(occurrences) of each, float64, k of them.
        measures: One figure per name in `MEASURES`, float64.
    """

    buckets: npt.NDArray[np.int64]
    counts: npt.NDArray[np.float64]
    measures: npt.NDArray[np.float64]


def read(text: str) -> str:
    """Return what counts of a text: all of it, or both ends of a very long one."""
    return text if len(text) <= 2 * _READ else f"{text[:_READ]} {text[-_READ:]}"


def features(text: str) -> Features:
    """Return the features of a text; any string has some."""
    text = read(text)
    found = tokens(text)
    counts = Counter(buckets(found))
    return Features(
        np.fromiter(counts.keys(), np.int64, len(counts)),
        1.0 + np.log(np.fromiter(counts.values(), np.float64, len(counts))),
        np.array(_measures(text, found)),
    )


def fingerprints(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return a number for each text by which it is known again, without the text: n."""
    raw = (text.encode("utf-8", "surrogatepass") for text in texts)
    digests = b"".join([hashlib.blake2b(text, digest_size=8).digest() for text in raw])
    return np.frombuffer(digests, "<i8").astype(np.int64)


def _measures(text: str, found: list[str]) -> list[float]:
    numbers = [token for token in found if token.isdecimal()]
    marks = Counter(token for token in found if len(token) == 1 and not token.isalnum())
    words = [token for token in found if token[0].isalpha()]
    sentences = max(1, len(_SENTENCE_END.findall(text)))
    counts = (
        *(len(text), len(found), len(set(found)), len(numbers), len(set(numbers))),
        *(sum(map(len, numbers)), sum(n for mark, n in marks.items() if mark in _SYMBOLS)),
        *(text.count("\n"), len(_OPTION.findall(text)), sentences, len(words) / sentences),
        sum(map(len, words)) / max(1, len(words)),
        *(marks[","], marks["?"], marks["%"], marks["$"], marks["\\"]),
        *(sum(word[0].isupper() for word in words), max(map(len, numbers), default=0)),
        float(text.rstrip().endswith(("?", "？"))),  # noqa: RUF001
    )
    return [math.log1p(count) for count in counts]
