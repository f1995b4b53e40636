"""The form of answer that a prompt asks for, where it says so in plain words.

In: what the user asked last. Out: a `Form`. It is read by short English phrases: who asks in
another language, or less plainly, asks for no form that is known here. Of a long prompt both ends
are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Form", "asked_form"]

_READ: Final = 2_000  # characters of either end
_NAMES: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_COUNT: Final = rf"([0-9]{{1,4}}|{'|'.join(_NAMES)}|a single)"
_REPLY: Final = r"\b(?:answer|reply|respond)(?: with| in| using)?"  # what programs print is theirs
_KIND: Final = r"(word|number|integer|digit|letter)\b"
_SINGLE: Final = (
    re.compile(rf"{_REPLY} (?:only |just |exactly )?(?:one|a single|1)[ -]{_KIND}"),
    re.compile(rf"{_REPLY} (?:only|just) (?:the|a)(?: single| final| correct)? {_KIND}"),
    re.compile(r"\b(?:in|with) (?:only |just |exactly )?(?:one|a single) (word)\b"),
    re.compile(rf"\b(?:one|a single|the) {_KIND} (?:only|alone)\b"),
)
_MOST: Final = (
    re.compile(
        r"\b(?:at most|no more than|max(?:imum)?(?: of)?|up to|under|fewer than|less than|within) "
        rf"{_COUNT} (words|sentences?)\b"
    ),
    re.compile(rf"\b{_COUNT} (words|sentences) or (?:less|fewer)\b"),
    re.compile(rf"\bin (?:only |just |exactly )?{_COUNT} (sentences?)\b"),
)
_ITEMS: Final = re.compile(
    r"(?:^|[.!?:] |\b(?:please|you|and|then) )"
    r"(?:list|name|give me|write|suggest|provide(?: me with)?)"
    rf"(?: exactly| the| a list of)?(?: top)? {_COUNT} ([a-z]{{3,}})",
    re.MULTILINE,
)
_NO_ITEMS: Final = frozenset(("words", "sentence", "sentences", "paragraph", "paragraphs", "times"))
_JSON: Final = re.compile(
    r"\b(?:answer|reply|respond|return|output|format(?:ted)?)\b[^.?\n]{0,60}\bjson\b"
)
_SAME: Final = {"integer": "number", "digit": "number"}


@dataclass(frozen=True, slots=True)
class Form:
    """What form an answer shall have; None where nothing is said.

    Attributes:
        single: One "word", "number" or "letter", and nothing else.
        items: At least so many items of a list.
        words: At most so many.
        sentences: At most so many.
        json: JSON.
    """

    single: str | None = None
    items: int | None = None
    words: int | None = None
    sentences: int | None = None
    json: bool = False


def asked_form(text: str) -> Form:
    """Return the form that a text asks for."""
    if len(text) > 2 * _READ:
        text = f"{text[:_READ]}\n{text[-_READ:]}"
    text = text.casefold()
    single = next((found[1] for rule in _SINGLE if (found := rule.search(text))), None)
    items = _items(text)
    most = {kind.rstrip("s"): _number(n) for rule in _MOST for n, kind in rule.findall(text)}
    most = {} if items or "each" in text else most  # so long is each of several things, not all
    return Form(
        single=_SAME.get(single or "", single),
        items=items,
        words=most.get("word"),
        sentences=most.get("sentence"),
        json=_JSON.search(text) is not None,
    )


def _items(text: str) -> int | None:
    found = [_number(n) for n, what in _ITEMS.findall(text) if what not in _NO_ITEMS]
    return found[0] if len(found) == 1 else None


def _number(name: str) -> int:
    return int(name) if name.isdecimal() else 1 + _NAMES.index(name.replace("a single", "one"))
