"""Right or wrong, by rule: a reply in, a bool out. No model judges another here.

The rules are deterministic and printed in full below, so that anyone can dispute a grade.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Check(Protocol):
    """Grades a reply as text, without running anything."""

    def __call__(self, reply: str) -> bool:
        """Whether the reply is right."""
        ...


def plain(text: str) -> str:
    """Folds case, whitespace, Markdown emphasis, typographic quotes and dashes away."""
    text = re.sub(r"[*`_#]+", "", text.casefold())
    text = text.translate(str.maketrans("’‘“”–—−", "''\"\"---"))  # noqa: RUF001
    return " ".join(text.split())


def mentions(text: str, fact: str) -> bool:
    """Whether plain text has this fact as whole words; `"two|2"` is either of them."""
    return any(
        re.search(rf"(?<!\w){re.escape(plain(form))}(?!\w)", text) for form in fact.split("|")
    )


class Mentions:
    """Right if short enough, with every fact in it and none of the wrong ones.

    Args:
        *facts: Words that must occur, as whole words; alternatives are separated by `|`.
        never: Words that must not: a list of all candidates is not an answer.
        max_words: The longest reply that counts, in words.
    """

    def __init__(self, *facts: str, never: tuple[str, ...] = (), max_words: int = 30) -> None:
        self.facts = facts
        self.never = never
        self.max_words = max_words

    def __call__(self, reply: str) -> bool:
        """Whether the reply is right."""
        text = plain(reply)
        return (
            len(text.split()) <= self.max_words
            and all(mentions(text, fact) for fact in self.facts)
            and not any(mentions(text, wrong) for wrong in self.never)
        )


@dataclass(frozen=True)
class Number:
    """Right if the last number of the reply is this one: `3 * 14 = 42.` says 42."""

    value: float

    def __call__(self, reply: str) -> bool:
        """Whether the reply is right."""
        found = re.findall(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?", plain(reply))
        return bool(found) and math.isclose(float(found[-1].replace(",", "")), self.value)


@dataclass(frozen=True)
class Json:
    """Right if the reply's first JSON object has exactly these fields, case and spaces aside."""

    fields: Mapping[str, str | int]

    def __call__(self, reply: str) -> bool:
        """Whether the reply is right."""
        start = reply.find("{")
        if start < 0:
            return False
        try:
            found, _ = json.JSONDecoder().raw_decode(reply[start:])
        except json.JSONDecodeError:
            return False
        return _folded(found) == _folded(self.fields)


def _folded(fields: Mapping[str, object]) -> dict[str, str]:
    return {plain(str(key)): plain(str(value)) for key, value in fields.items()}
