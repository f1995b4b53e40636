"""A prompt's words, and pairs of neighbouring words, as hash buckets.

No vocabulary, no encoder, no language, no numpy: a script without spaces is read by its single
characters and their pairs.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from itertools import pairwise
from typing import Final

__all__ = ["BUCKETS", "bucket", "buckets", "terms", "tokens"]

BUCKETS: Final = 1 << 15
"""Hash buckets for terms. 2^17 ordered held-out prompts no better (docs/decisions/011)."""

_WIDE: Final = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"  # Kana, Han, Hangul: no spaces
_TOKEN: Final = re.compile(rf"[{_WIDE}]|[^\W\d_{_WIDE}]+|\d+|[^\w\s]|_")
_LONGEST_NUMBER: Final = 4  # numbers count by their digits: 7 and 9 are one term, 1234 and 98765


def tokens(text: str) -> list[str]:
    """Split a text into words, numbers and marks."""
    return _TOKEN.findall(text)


def terms(text: str) -> Counter[str]:
    """Return words, numbers (by how many digits they have), marks, and pairs of neighbours."""
    words = [_as_word(token) for token in tokens(text)]
    counted = Counter(words)
    counted.update(map(" ".join, pairwise(words)))
    return counted


def bucket(term: str) -> int:
    """Return the hash bucket of a term, the same on every machine."""
    return zlib.crc32(term.encode("utf-8", "surrogatepass")) % BUCKETS


def buckets(found: list[str]) -> list[int]:
    """Return the bucket of each of `terms`, as often as it occurs, of a text's tokens.

    The checksum of a pair goes on from that of its first word.
    """
    # All words at once: no token holds a line break, and lowering the whole lowers each.
    raw = "\n".join(map(_number, found)).lower().encode("utf-8", "surrogatepass")
    sums = list(map(zlib.crc32, raw.split(b"\n")))
    pairs = map(zlib.crc32, raw.replace(b"\n", b"\n ").split(b"\n")[1:], sums)
    return [checksum % BUCKETS for checksum in (*sums, *pairs)] if found else []


def _as_word(token: str) -> str:
    return _number(token).lower()


def _number(token: str) -> str:
    return "0" * min(len(token), _LONGEST_NUMBER) if token.isdecimal() else token
