"""Calculations that a text writes out, done again: what it says they come to, what they do come to.

One pass over clauses and their tokens, linear in the text; nothing of it is ever evaluated as code.
What cannot be read for certain (variables, roots, functions) is left out rather than called wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

__all__ = ["NUMBER", "Calculation", "as_number", "calculations"]

NUMBER: Final = re.compile(r"\d[\d,]*(?:\.\d+)?", re.ASCII)
"""A number without its sign; commas group digits."""

_CLAUSE: Final = re.compile(r"\.\s|[\n;:?<>]")
_EQUATION: Final = re.compile(r"[=≈]|\\approx|\b(?:is|equals|gives|makes)\b")
_DIGIT: Final = re.compile(r"\d", re.ASCII)
_TOKEN: Final = re.compile(r"\d[\d,]*(?:\.\d+)?|\\?[A-Za-z]+|\*\*|[^\s$]", re.ASCII)
_OPERATORS: Final = {
    **{sign: sign for sign in "+-*/^"},
    **{"×": "*", "÷": "/", "−": "-", "–": "-", "x": "*", "X": "*"},  # noqa: RUF001
    **{"\\times": "*", "\\cdot": "*", "\\div": "/"},
    **{"times": "*", "plus": "+", "minus": "-", "divided": "/", "multiplied": "*"},
}
_EQUAL: Final = frozenset(("=", "≈", "\\approx", "is", "equals", "gives", "makes"))
_SKIPPED: Final = frozenset(("\\", "**", "by", "\\frac", "\\dfrac", "\\left", "\\right"))
_FUNCTIONS: Final = frozenset(
    (
        *("sqrt", "root", "log", "ln", "exp", "sin", "cos", "tan", "max", "min", "gcd", "lcm"),
        *("mod", "binom", "sum", "prod", "int"),
    )
)
_RANK: Final = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 3}
_OPEN, _CLOSE = frozenset("({"), frozenset(")}")
_MOST_ITEMS: Final = 60  # of one side of an equation
_MOST_WORDS: Final = 3  # units between two parts of one side
_LARGEST_DIGITS: Final = 15  # a longer number is no quantity
_POWER: Final = 20  # larger ones are no arithmetic
_BASE: Final = 1e6
_ROUNDED: Final = 2e-3  # of the value

Item = float | str


class Calculation(NamedTuple):
    """One equation between a calculation and what the text says it comes to.

    Attributes:
        operands: The numbers on its left side.
        value: What the left side comes to.
        stated: What the right side says.
        right: They agree, as far as the right side's digits go.
    """

    operands: tuple[float, ...]
    value: float
    stated: float
    right: bool


def as_number(digits: str) -> float:
    """Return the number that a match of `NUMBER` is; NaN where it is too long to be a quantity."""
    return float(digits.replace(",", "")) if len(digits) <= _LARGEST_DIGITS else math.nan


def calculations(text: str) -> Iterator[Calculation]:
    """Yield the calculations of a text, in order."""
    for clause in _CLAUSE.split(text):
        if _DIGIT.search(clause) and _EQUATION.search(clause):
            yield from _of_clause(_TOKEN.findall(clause))


def _of_clause(tokens: Sequence[str]) -> Iterator[Calculation]:
    left, side = _Side(), _Side()
    for token in tokens:
        if token in _EQUAL and (side.calculates or not token.isalpha()):
            yield from _compared(left, side)
            left, side = side, _Side()
        elif not side.take(token):  # another number: what came before has ended
            yield from _compared(left, side)
            left, side = _Side(), _Side()
            side.take(token)
    yield from _compared(left, side)


class _Side:
    """One side of an equation as it is read: numbers, operators, brackets."""

    def __init__(self) -> None:
        self.words = self.decimals = 0
        self.percent = False
        self.forget()

    def forget(self) -> None:
        """Begin again: what stood there belongs to something else."""
        self.items: list[Item] = []
        self.odd = False  # it holds something that is not understood
        self.calculates = False
        self.depth = 0  # brackets that are open
        self.by_letter = False  # the last operator is an x, which may be a variable instead

    def take(self, token: str) -> bool:
        """Take a token in; false where it begins something else."""
        if "0" <= token[0] <= "9":
            if not self._number(token):
                return False
        elif token in _OPERATORS:
            self._operator(token)
        elif token == "%":  # noqa: S105
            self.items.append(token)
            self.percent = True
        elif token in _OPEN or token in _CLOSE:
            self._bracket(token)
        elif token not in _SKIPPED:
            self._other(token)
        if len(self.items) > _MOST_ITEMS:
            self.forget()
            self.odd = True
        return True

    def _number(self, token: str) -> bool:
        if self.items and (isinstance(self.items[-1], float) or self.items[-1] == "%"):
            return False
        if self.words > _MOST_WORDS:
            return False
        self.decimals = len(token.partition(".")[2])
        self.items.append(as_number(token))
        self.words, self.by_letter = 0, False
        return True

    def _operator(self, token: str) -> None:
        if self.words > _MOST_WORDS:
            self.forget()
        self.odd = self.odd or self.by_letter or (token in ("x", "X") and not self.items)
        self.calculates = self.calculates or bool(self.items)
        self.items.append(_OPERATORS[token])
        self.by_letter = token in ("x", "X")
        self.words = 0

    def _bracket(self, token: str) -> None:
        last = self.items[-1] if self.items else ""
        if token in _OPEN:
            if token == "{" and last == "}":  # noqa: S105
                self._operator("/")  # \frac{a}{b}
            self.items.append(token)
            self.depth += 1
        elif self.depth:  # else it was opened before this side began
            self.depth -= 1
            if last in ("(", "{"):
                self.items.pop()  # it held words only
            else:
                self.items.append(token)

    def _other(self, token: str) -> None:
        last = self.items[-1] if self.items else ""
        if token == "of" and (last == "%" or (self.calculates and isinstance(last, float))):  # noqa: S105
            self._operator("*")
        elif token.lstrip("\\") in _FUNCTIONS:
            self.odd = True
        elif len(token) == 1:
            self.odd = self.odd or token not in ",.'\"!"  # noqa: S105
        else:
            self.words += 1
            if self.words > _MOST_WORDS and not isinstance(last, float):
                self.forget()

    @property
    def value(self) -> float | None:
        """What it comes to, None where that cannot be told."""
        if self.odd or not self.items:
            return None
        return _value([*self.items, *([")"] * self.depth)])


def _compared(left: _Side, right: _Side) -> Iterator[Calculation]:
    if not left.calculates or not right.items:
        return
    value, stated = left.value, right.value
    if value is None or stated is None:
        return
    near = max(_ROUNDED * abs(value), 0.51 * 10.0**-right.decimals if right.decimals else 0.0, 1e-9)
    forms = (stated, 100 * stated) if right.percent else (stated,)
    agrees = any(abs(value - form) <= near for form in forms)
    operands = tuple([item for item in left.items if isinstance(item, float)])
    yield Calculation(operands, value, forms[-1], agrees)


def _value(items: Sequence[Item]) -> float | None:
    """Return what a row of numbers, operators and brackets comes to."""
    yard = _Yard()
    if not all(yard.take(item) for item in items) or yard.wants:
        return None
    return yard.result()


class _Yard:
    """Dijkstra's shunting yard: numbers, and operators that wait for their second one."""

    def __init__(self) -> None:
        self.numbers: list[float] = []
        self.waiting: list[str] = []
        self.wants = True  # a number comes next

    def take(self, item: Item) -> bool:
        """Take the next item; false where it cannot stand there."""
        if isinstance(item, float):
            fits, self.wants = self.wants, False
            self.numbers.append(item)
            return fits
        if item in _OPEN:
            if not self.wants:
                self._wait("*")  # 2(3 + 4)
            self.waiting.append("(")
            self.wants = True
            return True
        if self.wants:
            self.numbers.append(0.0)
            self.waiting.append(item)
            return item == "-"  # a sign
        if item in _CLOSE:
            self._reduce(0)
            return bool(self.waiting) and self.waiting.pop() == "("
        if item == "%":
            self.numbers[-1] /= 100
            return True
        self._wait(item)
        self.wants = True
        return True

    def result(self) -> float | None:
        """Return what is left in the end."""
        self._reduce(0)
        whole = not self.waiting and len(self.numbers) == 1 and math.isfinite(self.numbers[0])
        return self.numbers[0] if whole else None

    def _wait(self, sign: str) -> None:
        self._reduce(_RANK[sign])
        self.waiting.append(sign)

    def _reduce(self, rank: int) -> None:
        """Do what is waiting and binds at least as strongly."""
        while self.waiting and self.waiting[-1] != "(" and _RANK[self.waiting[-1]] >= rank:
            second, first = self.numbers.pop(), self.numbers.pop()
            self.numbers.append(_done(first, self.waiting.pop(), second))


def _done(first: float, sign: str, second: float) -> float:
    if sign == "+":
        return first + second
    if sign == "-":
        return first - second
    if sign == "*":
        return first * second
    if sign == "^":
        small = 0 <= second <= _POWER and 0 <= first < _BASE
        return float(first**second) if small else math.nan
    return first / second if second else math.nan
