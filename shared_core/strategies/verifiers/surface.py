"""What can be seen of a draft without any model: lengths, numbers, calculations, words of doubt.

In: a question and an answer, as text. Out: a vector of `FEATURES`. Linear in the text, of which
only both ends are read; about half a millisecond for 200 tokens. Where it makes sense a figure is a
share or a logarithm, so that it means much the same in another format, or of a larger model.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared_core.strategies.verifiers.arithmetic import Calculation, calculations

__all__ = ["FEATURES", "draft_features"]

_READ: Final = 4_000  # characters of either end
_NUMBER: Final = re.compile(r"\d[\d,]*(?:\.\d+)?", re.ASCII)  # without its sign
_LARGEST_DIGITS: Final = 15  # a longer number is no quantity
_WORD: Final = re.compile(r"[^\W\d_]+")
_SENTENCE: Final = re.compile(r"[.!?]\s|\n")
_STEP: Final = re.compile(r"(?:^|\n)[ \t]{0,4}(?:[-*•]|\d{1,2}[.)]|step\b)", re.IGNORECASE)
_MARK: Final = re.compile(
    r"####|\"answer\"\s{0,4}:|\\boxed\{|\b(?:answer|result|solution)\b[^\n\d:]{0,12}(?:is|:)|=>",
    re.IGNORECASE,
)
_CHOICE: Final = re.compile(r"\(?\b([A-J])\b\)?")
_OPTION: Final = re.compile(r"(?:^|\n)\s{0,4}\(?[A-J][.)]")
_SIGNED: Final = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?", re.ASCII)
_SHORT: Final = 120  # characters after a mark in which the final answer is looked for
_CONSTANTS: Final = frozenset((0.0, 1.0, 2.0, 7.0, 10.0, 12.0, 24.0, 30.0, 60.0, 100.0, 365.0))
_SPELT: Final = {
    **{"zero": 0.0, "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0, "six": 6.0},
    **{"seven": 7.0, "eight": 8.0, "nine": 9.0, "ten": 10.0, "eleven": 11.0, "twelve": 12.0},
    **{"dozen": 12.0, "twenty": 20.0, "thirty": 30.0, "fifty": 50.0, "hundred": 100.0},
    **{"half": 2.0, "twice": 2.0, "double": 2.0, "pair": 2.0, "couple": 2.0, "third": 3.0},
    **{"thrice": 3.0, "triple": 3.0, "quarter": 4.0, "week": 7.0},
}
_LISTED: Final = {
    "relations": """each every per more less than times half twice third quarter percent remaining
        left rest total altogether fewer average ratio between if after before until only then
        double other another both additional instead""",
    "asks_rest": "left remaining remain rest change difference still",
    "doubts": """assume assuming assumption probably perhaps maybe might seems approximately roughly
        about likely possibly closest estimate suppose guess unclear unless appears""",
    "turns": """however wait actually but mistake error incorrect although recheck correction sorry
        instead apologize reconsider contradiction""",
    "failures": "cannot unable impossible insufficient none unknown not ambiguous determine",
    "links": "so therefore thus hence since because first next then finally now",
}
_KINDS: Final = {kind: frozenset(words.split()) for kind, words in _LISTED.items()}

FEATURES: Final = (
    *("q_words", "q_numbers", "q_largest", "q_sentences", "q_relations", "q_asks_rest"),
    *("q_options", "q_symbols", "q_fractions"),
    *("words", "sentences", "lines", "steps", "words_per_sentence", "words_per_q_word"),
    *("numbers", "numbers_per_word", "numbers_per_q_number", "distinct_numbers"),
    *("q_numbers_used", "q_numbers_calculated", "new_numbers"),
    *("calculations", "calculations_per_q_number", "wrong", "wrong_share", "calculated_anything"),
    *("operands_unknown", "results_unused", "fractional", "negative", "largest", "largest_to_q"),
    *("doubts", "turns", "failures", "links"),
    *("distinct_words", "q_words_used", "compressed", "symbols", "cut"),
    *("marks", "after_mark", "final_number", "final_choice", "final_words"),
    *("final_size", "final_whole", "final_to_q", "final_is_last", "final_is_result"),
    *("final_in_q", "final_repeated", "final_negative", "final_round", "marks_differ"),
)
"""Names of what is measured, in order."""


def draft_features(question: str, answer: str) -> npt.NDArray[np.float64]:
    """Return the vector of `FEATURES` of an answer to a question."""
    asked, said = _ends(question), _ends(answer).replace("\\n", "\n")
    q_words, words = _words(asked), _words(said)
    q_numbers = [*_numbers(asked), *(_SPELT[word] for word in q_words if word in _SPELT)]
    numbers, found = _numbers(said), calculations(said)
    measured = {
        **_of_question(asked, q_words, q_numbers),
        **_of_text(said, words, q_words),
        **_of_numbers(numbers, len(words), q_numbers),
        **_of_calculations(found, q_numbers),
        **_of_final(said, numbers, found, q_numbers),
    }
    return np.array([measured[name] for name in FEATURES])


def _of_question(text: str, words: Sequence[str], numbers: Sequence[float]) -> dict[str, float]:
    return {
        "q_words": math.log1p(len(words)),
        "q_numbers": math.log1p(len(numbers)),
        "q_largest": _size(max(numbers, default=0.0)),
        "q_sentences": math.log1p(len(_SENTENCE.findall(text))),
        "q_relations": math.log1p(_count(words, "relations")),
        "q_asks_rest": math.log1p(_count(words, "asks_rest")),
        "q_options": float(len(_OPTION.findall(text)) >= 3),
        "q_symbols": math.log1p(text.count("$") + text.count("\\") + text.count("^")),
        "q_fractions": math.log1p(
            text.count("%") + text.count("/") + sum(n != int(n) for n in numbers)
        ),
    }


def _of_text(text: str, words: Sequence[str], q_words: Sequence[str]) -> dict[str, float]:
    n, sentences = len(words), len(_SENTENCE.findall(text)) + 1
    distinct = set(words)
    raw = text.encode("utf-8", "replace")
    return {
        "words": math.log1p(n),
        "sentences": math.log1p(sentences),
        "lines": math.log1p(text.count("\n")),
        "steps": math.log1p(len(_STEP.findall(text))),
        "words_per_sentence": math.log1p(n / sentences),
        "words_per_q_word": math.log1p(n) - math.log1p(len(q_words)),
        "doubts": math.log1p(_count(words, "doubts")),
        "turns": math.log1p(_count(words, "turns")),
        "failures": math.log1p(_count(words, "failures")),
        "links": math.log1p(_count(words, "links")),
        # Of words as many as there are, the distinct ones grow about with the power 0.75.
        "distinct_words": math.log1p(len(distinct)) - 0.75 * math.log1p(n),
        "q_words_used": _share(len(distinct.intersection(q_words)), len(set(q_words))),
        "compressed": len(zlib.compress(raw, 1)) / (len(raw) + 50),
        "symbols": _share(text.count("\\") + text.count("$") + text.count("^"), n),
        "cut": float(not text.rstrip().endswith((*'.!?)}]`"$%*', *"0123456789"))),
    }


def _of_numbers(
    numbers: Sequence[float], words: int, q_numbers: Sequence[float]
) -> dict[str, float]:
    n, distinct, asked = len(numbers), set(numbers), set(q_numbers)
    return {
        "numbers": math.log1p(n),
        "numbers_per_word": _share(n, n + words),
        "numbers_per_q_number": math.log1p(n) - math.log1p(len(q_numbers)),
        "distinct_numbers": _share(len(distinct), n),
        "q_numbers_used": _share(len(asked & distinct), len(asked)),
        "new_numbers": math.log1p(len(distinct - asked - _CONSTANTS)),
        "fractional": _share(sum(number != number // 1 for number in distinct), len(distinct)),
        "largest": _size(max(numbers, default=0.0)),
        "largest_to_q": _size(max(numbers, default=0.0)) - _size(max(q_numbers, default=0.0)),
    }


def _of_calculations(found: Sequence[Calculation], q_numbers: Sequence[float]) -> dict[str, float]:
    n, wrong = len(found), sum(not one.right for one in found)
    known, unknown, used = {*q_numbers, *_CONSTANTS}, 0, set[float]()
    for one in found:
        unknown += sum(operand not in known for operand in one.operands)
        used.update(one.operands)
        known.update((one.stated, round(one.value, 2)))
    results = {one.stated for one in found[:-1]}
    asked = set(q_numbers)
    return {
        "calculations": math.log1p(n),
        "calculations_per_q_number": math.log1p(n) - math.log1p(len(q_numbers)),
        "calculated_anything": float(n > 0),
        "wrong": math.log1p(wrong),
        "wrong_share": _share(wrong, n),
        "q_numbers_calculated": _share(len(asked & used), len(asked)),
        "operands_unknown": _share(unknown, sum(len(one.operands) for one in found)),
        "results_unused": _share(len(results - used), len(results)),
        "negative": float(any(one.stated < 0 for one in found)),
    }


def _of_final(
    text: str,
    numbers: Sequence[float],
    found: Sequence[Calculation],
    q_numbers: Sequence[float],
) -> dict[str, float]:
    marks = [mark.end() for mark in _MARK.finditer(text)]
    finals = [_final(text[end : end + _SHORT]) for end in (marks[:1] + marks[-1:])]
    said = finals[-1] if finals else _final(text[-_SHORT:], last=True)
    number = said if isinstance(said, float) else None
    value = abs(number) if number is not None else 0.0
    stated = {abs(one.stated) for one in found}
    largest = max(q_numbers, default=0.0)
    return {
        "marks": math.log1p(len(marks)),
        "after_mark": math.log1p(len(text) - marks[-1]) if marks else 0.0,
        "marks_differ": float(len(finals) == 2 and finals[0] != finals[1]),
        "final_number": float(number is not None),
        "final_choice": float(isinstance(said, str) and len(said) == 1),
        "final_words": float(isinstance(said, str) and len(said) > 1),
        "final_size": _size(value),
        "final_whole": float(number is not None and value == value // 1),
        "final_round": float(number is not None and value % 10 == 0),
        "final_negative": float(number is not None and number < 0),
        "final_to_q": (_size(value) - _size(largest)) if number is not None else 0.0,
        "final_is_last": float(bool(found) and value == abs(found[-1].stated)),
        "final_is_result": float(value in stated),
        "final_in_q": float(number is not None and value in q_numbers),
        "final_repeated": math.log1p(sum(one == value for one in numbers)) if number else 0.0,
    }


def _final(text: str, *, last: bool = False) -> float | str:
    """Return the number, the letter of a choice or the words that a text begins (or ends) with."""
    line = text.strip(" \n\t\"'*:{([`$").partition("\n")[0] if not last else text
    found = list(_SIGNED.finditer(line))
    choice = _CHOICE.match(line)
    if choice:
        return choice[1]
    if not found:
        return "words" if line.strip() else ""
    match = found[-1] if last else found[0]
    digits = match[0].replace("$", "")
    return math.copysign(_as_number(digits.lstrip("-")), -1.0 if digits[0] == "-" else 1.0)


def _ends(text: str) -> str:
    return text if len(text) <= 2 * _READ else f"{text[:_READ]} {text[-_READ:]}"


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _numbers(text: str) -> list[float]:
    found = [_as_number(digits) for digits in _NUMBER.findall(text)]
    return [number for number in found if number == number]  # not NaN


def _count(words: Sequence[str], kind: str) -> int:
    return sum(map(_KINDS[kind].__contains__, words))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _size(value: float) -> float:
    """Return the order of magnitude of a number that is not negative; 0 where it is no number."""
    return math.log10(1.0 + value) if value < math.inf else 0.0


def as_rows(pairs: Sequence[tuple[str, str]]) -> npt.NDArray[Any]:
    """Return one row of `FEATURES` per question and answer."""
    rows = [draft_features(question, answer) for question, answer in pairs]
    return np.array(rows).reshape(len(pairs), len(FEATURES))


def _as_number(digits: str) -> float:
    """Return the number that a match is; NaN where it is too long to be a quantity."""
    return float(digits.replace(",", "")) if len(digits) <= _LARGEST_DIGITS else math.nan
