r"""What an answer comes to in the end: the number, letter or few words that it boils down to.

In: text. Out: a normalised final answer, so that "The answer is **(B)**." and "B" are one, and
`\boxed{1,200}` and "1200.0 km"; None where a text boils down to nothing that can be compared, such
as an essay. Thoughts that local reasoning models leave before an answer are no part of it. Of a
long text both ends are read; the work is linear.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["as_number", "final_answer", "spoken"]

_READ: Final = 4_000  # characters of either end
_LONGEST: Final = 80  # characters: more than that is said twice in the same words by nobody
_MOST_WORDS: Final = 6
_SHORT: Final = 300  # characters in which a number is likely to be what was asked for
_MARKS: Final = ("####", "answer is", "answer:", 'answer":', "answer to this question is")
_SENTENCE: Final = re.compile(r"\.(?=\s|\"|$)|\\n")
_NUMBER: Final = re.compile(r"-?\.?[0-9][0-9,.]*")
_WORD: Final = re.compile(r"[^\W\d_]+")
_OPTION: Final = re.compile(r"(?:option |choice )?(?:([a-z])|\(([a-z])\).*|([a-z])[).:](?:\s.*)?)")
_FRACTION: Final = re.compile(r"\\[dt]?frac ?\{([^{}]{1,40})\}\{([^{}]{1,40})\}")
_NOISE: Final = re.compile(r"\\(?:text|mathrm|left|right)\b|\\[,;! ]|[*`_$\\{}]")
_NAMED: Final = re.compile(r"[a-z] ?= ?")  # x = 5
_THOUGHT: Final = "</think>"
_DASHES: Final = str.maketrans("−–’‘“”", "--''\"\"")  # noqa: RUF001


def final_answer(text: str) -> str | None:
    """Return the final answer of a text, normalised; None where it has none to compare."""
    text = spoken(text)
    if len(text) > 2 * _READ:
        text = f"{text[:_READ]}\n{text[-_READ:]}"
    found = (find(text) for find in (_boxed, _marked, _whole, _last_number))
    return next((answer for piece in found if piece and (answer := _normal(piece))), None)


def spoken(text: str) -> str:
    """Return a text without the thoughts that local reasoning models leave before it.

    Templates of DeepSeek-R1 and Qwen3 may open the block themselves: its end then stands alone on
    a line. A block that never ends leaves nothing.
    """
    opened = text.lstrip().startswith("<think>")
    if opened:
        return text.partition(_THOUGHT)[2].strip()
    if f"\n{_THOUGHT}\n" in text and "<think>" not in text:
        return text.partition(f"\n{_THOUGHT}\n")[2].strip()
    return text


def as_number(text: str) -> float | None:
    """Return the only number of a text, whatever its unit; None where there are none or several."""
    found = _NUMBER.findall(text[:_LONGEST])
    if len(found) != 1:
        return None
    try:
        return float(found[0].rstrip(".,").replace(",", ""))
    except ValueError:  # 1.2.3
        return None


def _boxed(text: str) -> str | None:
    r"""Return what is in the last `\boxed{…}`."""
    start = text.rfind("\\boxed{") + len("\\boxed{")
    if start < len("\\boxed{"):
        return None
    depth = 1
    for at, sign in enumerate(text[start : start + _LONGEST], start):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if not depth:
            return text[start:at]
    return None


def _marked(text: str) -> str | None:
    """Return what follows the last "the answer is", up to the end of the sentence."""
    text = text.casefold()
    start = max(at + len(mark) if (at := text.rfind(mark)) >= 0 else -1 for mark in _MARKS)
    if start < 0:
        return None
    line = text[start : start + _READ].lstrip(" \t\n*:").partition("\n")[0]
    return _SENTENCE.split(line, maxsplit=1)[0]


def _whole(text: str) -> str | None:
    """Return all of a text that is a name, a date, a letter: a sentence has many wordings."""
    text = text.strip()
    return text if len(text) <= _LONGEST and len(text.split()) <= _MOST_WORDS // 2 else None


def _last_number(text: str) -> str | None:
    """Return the last number of the last line, of texts that are short or compute."""
    line = text.rstrip()[-_READ:].rpartition("\n")[2]
    numbers = _NUMBER.findall(line[-_SHORT:])
    return numbers[-1] if numbers and (len(text) <= _SHORT or "=" in text) else None


def _normal(piece: str) -> str | None:
    piece = _FRACTION.sub(r"\1/\2", piece.casefold().translate(_DASHES)[: 2 * _LONGEST])
    piece = _NOISE.sub("", piece).strip(" \t\n\"'.,;:!=")
    piece = piece[named.end() :] if (named := _NAMED.match(piece)) else piece
    if option := _OPTION.fullmatch(piece):
        return next(letter for letter in option.groups() if letter)
    words = piece.split()
    if len(piece) > _LONGEST or len(words) > _MOST_WORDS:
        return None
    number = as_number(piece)
    if number is not None and _is_plain_number(piece):
        return f"{number:.10g}"
    return " ".join(words).removeprefix("the ").removeprefix("a ").removeprefix("an ") or None


def _is_plain_number(piece: str) -> bool:
    """Tell whether but a few words, such as units, are around a number: 2x is none."""
    words = _WORD.findall(piece)
    single = any(len(word) == 1 for word in words)
    return len(words) <= 4 and not single and not any(sign in piece for sign in "^/+*<>()[]")
