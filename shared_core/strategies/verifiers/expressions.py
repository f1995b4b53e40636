"""Sums in a text, read and computed without evaluating any of it.

In: text. Out: tokens, which one pattern without nested repeats cuts it into, LaTeX and typographic
signs read as plain ones; and what a sequence of tokens comes to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["Side", "Token", "compute", "tokens"]

_MOST_DIGITS: Final = 15  # a float holds no more
_NAMED: Final = re.compile(r"\\(?:text|mathrm|textbf|mbox) ?\{([^{}\\]{0,60})\}")
_BULLET: Final = re.compile(r"^ {0,12}[-*+] ", re.MULTILINE)
_TOKEN: Final = re.compile(
    r"(?P<space>[ \t]+)|(?P<number>\.?[0-9][0-9.,]*)|(?P<word>[^\W\d_]+)"
    r"|(?P<command>\\\\?[a-zA-Z]+|\\.)|(?P<sign>\*\*|==|.)",
    re.DOTALL,
)
_SIGNS: Final = {
    **dict.fromkeys(("+",), "+"),
    **dict.fromkeys(("-", "−", "–"), "-"),  # noqa: RUF001
    **dict.fromkeys(("*", "×", "·", "∗", r"\times", r"\cdot", r"\ast"), "*"),  # noqa: RUF001
    **dict.fromkeys(("/", "÷", "∕", r"\div"), "/"),  # noqa: RUF001
    **dict.fromkeys(("(", "{", r"\left("), "("),
    **dict.fromkeys((")", "}"), ")"),
    **dict.fromkeys(("=", "=="), "="),
    **dict.fromkeys(("≈", r"\approx"), "≈"),
    **dict.fromkeys(("%", r"\%"), "%"),
    **dict.fromkeys((r"\frac", r"\dfrac", r"\tfrac"), "frac"),
}
_UNSEEN: Final = frozenset(
    (
        *("$", "€", "£", r"\$", "**", "&", "`", r"\boxed", r"\displaystyle"),
        *(r"\left", r"\right", r"\,", r"\;", r"\!", r"\ ", r"\quad"),
    )
)
_ENDS: Final = frozenset("\n\r.,;:?!\"'<>") | {r"\\", r"\(", r"\)", r"\[", r"\]"}
_AMBIGUOUS: Final = ("x", "of", ":", "!")
_TIMES: Final = (("x", "number"), ("x", ")"), ("of", "%"))


class Token(NamedTuple):
    """A piece of text. `glued`: nothing, not even a space, is between it and the one before."""

    kind: str
    glued: bool = True
    value: float = 0.0
    decimals: int = 0
    text: str = ""


_KNOWN: Final = {
    (piece, glued): (Token(kind, glued, text=piece),)
    for piece, kind in (*_SIGNS.items(), *dict.fromkeys(_ENDS, "end").items())
    for glued in (True, False)
}


class Side(NamedTuple):
    """What one side of an equation comes to."""

    value: float
    decimals: int
    operations: int


# --- text to tokens ---


def tokens(text: str, most_equations: int) -> list[Token]:
    """Return the tokens of a text, up to the sign of equality after that many."""
    text = _BULLET.sub("", _NAMED.sub(r" \1 ", text))
    found: list[Token] = []
    glued, equal = False, 0
    for match in _TOKEN.finditer(text):
        piece, kind = match[0], match.lastgroup
        if kind == "space":
            glued = False
        elif (piece := _single(piece)) not in _UNSEEN:
            found += _KNOWN.get((piece, glued)) or _read(kind, piece, glued)
            glued, equal = True, equal + (_SIGNS.get(piece) in ("=", "≈"))
        if equal > most_equations:
            break
    return _in_place(found)


def _single(piece: str) -> str:
    """Undo what JSON does to LaTeX and to ends of lines."""
    if piece[:2] == r"\\" and len(piece) > 2:
        return piece[1:]
    return "\n" if piece[:2] == r"\n" and piece[:3] not in (r"\ne", r"\no", r"\nu") else piece


def _read(kind: str | None, piece: str, glued: bool) -> tuple[Token, ...]:
    if kind == "number":
        return _number(piece, glued)
    return (Token("word" if kind == "word" else "odd", glued, text=piece.casefold()),)


def _number(piece: str, glued: bool) -> tuple[Token, ...]:
    digits = piece.rstrip(".,")
    whole, _, fraction = digits.partition(".")
    groups = whole.split(",")
    grouped = all(len(group) == 3 for group in groups[1:]) and len(groups[0]) <= 3
    plain = fraction.isdigit() or not fraction
    if (len(groups) > 1 and not grouped) or not plain or len(digits) > _MOST_DIGITS:
        return (Token("odd", glued),)
    value = float(digits.replace(",", ""))
    number = Token("number", glued, value, len(fraction))
    return (number,) if digits == piece else (number, Token("end"))


def _in_place(found: list[Token]) -> list[Token]:
    """Read signs whose meaning depends on their neighbours: 3 x 4, 5% of 20, 3:30, 4!."""
    for i in [i for i, token in enumerate(found) if token.text in _AMBIGUOUS]:
        sides = [found[at].kind if 0 <= at < len(found) else "" for at in (i - 1, i + 1)]
        token = found[i]
        if (token.text, sides[0]) in _TIMES and sides[1] in ("number", "("):
            found[i] = token._replace(kind="*")
        elif sides[0] == "number" and (token.text != ":" or _is_time(found[i + 1 : i + 2])):
            found[i] = token._replace(kind="odd")
    return found


def _is_time(after: Sequence[Token]) -> bool:
    return any(token.kind == "number" and token.glued for token in after)


# --- tokens to numbers ---


class _OddError(Exception):
    """The tokens make no expression."""


def compute(tokens: Sequence[Token], percent: float = 1.0) -> Side | None:
    """Return what an expression comes to, a percent sign counting as given; None if it is none."""
    reader = _Reader(tokens, percent)
    try:
        value = reader.sum()
    except (_OddError, ZeroDivisionError, OverflowError):
        return None
    if reader.at < len(tokens) or not abs(value) < 1e15:
        return None
    decimals = max((token.decimals for token in tokens), default=0)
    return Side(value, decimals, reader.operations)


class _Reader:
    """Computes tokens from left to right, products before sums."""

    def __init__(self, tokens: Sequence[Token], percent: float) -> None:
        self.tokens, self.percent = tokens, percent
        self.at = self.operations = 0

    def next_kind(self) -> str:
        return self.tokens[self.at].kind if self.at < len(self.tokens) else ""

    def took(self, *kinds: str) -> str:
        kind = self.next_kind()
        if kind not in kinds:
            return ""
        self.at += 1
        return kind

    def sum(self) -> float:
        value = self.product()
        while sign := self.took("+", "-"):
            self.operations += 1
            value += self.product() if sign == "+" else -self.product()
        return value

    def product(self) -> float:
        value = self.factor()
        while sign := self.took("*", "/") or self._beside():
            self.operations += 1
            value = value / self.factor() if sign == "/" else value * self.factor()
        return value

    def _beside(self) -> str:
        """`2(3 + 4)` is a product."""
        return "beside" if self.next_kind() == "(" and self.tokens[self.at].glued else ""

    def factor(self) -> float:
        if self.took("-"):
            return -self.factor()
        if self.took("frac"):
            self.operations += 1
            return self.group() / self.group()
        value = self.group() if self.next_kind() == "(" else self.number()
        return value * self.percent if self.took("%") else value

    def group(self) -> float:
        if not self.took("("):
            raise _OddError
        value = self.sum()
        if not self.took(")"):
            raise _OddError
        return value

    def number(self) -> float:
        if not self.took("number"):
            raise _OddError
        return self.tokens[self.at - 1].value
