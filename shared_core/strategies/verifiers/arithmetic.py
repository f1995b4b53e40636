r"""Sums that an answer writes down, computed again.

In: text. Out: its equations, what they come to, and whether that is what they say. `3 * 4 = 12`,
`9 x $2 = $18`, `\frac{6}{2} \times 5 = 15`, `(1,200 - 300) / 3 = 300`, `20% of 50 = 10` and the
`<<9*2=18>>` of GSM8K are read, chains such as `2 + 3 = 5 = 4 + 1` pair by pair. What might be meant
otherwise (variables, powers, units in the middle, times of day, remainders) is not counted at all:
a wrong sum should be wrong.

The work is bounded: 20,000 characters, 200 equations, 60 tokens to each side of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from shared_core.strategies.verifiers.base import looked, weighed
from shared_core.strategies.verifiers.expressions import Side, Token, compute, tokens
from shared_core.types import Draft, Verdict, Verification

__all__ = ["Arithmetic", "Calculation", "calculations"]

_READ: Final = 20_000  # characters: half from the beginning, half from the end
_MOST_EQUATIONS: Final = 200
_MOST_TOKENS: Final = 60  # on one side of an equation
_EQUAL: Final = ("=", "≈", r"\approx")
_MATH: Final = frozenset("+-*/()%") | {"number", "frac"}
_FUNCTIONS: Final = frozenset(
    (
        *("log", "ln", "lg", "exp", "sin", "cos", "tan", "sqrt", "root", "square", "cube"),
        *("max", "min", "gcd", "lcm", "det", "mod", "modulo", "base"),
    )
)
_SCALES: Final = frozenset(
    (
        *("dozen", "dozens", "score", "pair", "pairs", "half", "remainder"),
        *("hundred", "thousand", "million", "billion", "trillion"),
    )
)
_JOINING: Final = frozenset(
    ("and", "or", "if", "then", "so", "when", "with", "where", "while", "since", "because", "but")
)


class Calculation(NamedTuple):
    """One equation between a calculation and what the text says it comes to.

    Attributes:
        operands: The numbers of the calculation.
        value: What it comes to.
        stated: What the text says.
        right: They agree, but for rounding.
    """

    operands: tuple[float, ...]
    value: float
    stated: float
    right: bool


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Computes the sums of an answer again.

    A wrong one is strong evidence against the answer, a text full of right ones is weak evidence
    for it: the sums may be right and the idea wrong.
    """

    name: str = "arithmetic"

    def verify(self, draft: Draft) -> Verification:
        """See `Verifier.verify`."""
        return looked(self.name, self._look, draft)

    def _look(self, draft: Draft) -> Verdict:
        found = calculations(draft.reply.text)
        if not found:
            return Verdict(self.name, None, "no sums")
        right = sum(one.right for one in found)
        chance = weighed(draft.prior, _evidence(right, len(found) - right))
        return Verdict(self.name, chance, f"{right} of {len(found)} sums are right")


def _evidence(right: int, wrong: int) -> float:
    """Return how probable sums make an answer, by themselves.

    Rounded from 19,980 answers of 30 models to MMLU-Pro and to the hardest level of MATH (TIGER-Lab
    and ZeroEval, Apache-2.0; those left out that count as right but end otherwise than most right
    ones), within strata of one model and like difficulty: a single slip in ten
    halves the odds at most, more than that multiplies them by 0.2 to 0.6, several right by 1.3 or
    so. They are the middle of a wide range: answers to GSM8K, say, deserve more.
    """
    if not wrong:
        return 0.54 if right == 1 else 0.57
    share = wrong / (right + wrong)
    return 0.4 if share <= 0.1 else 0.3 - 0.1 * share


def calculations(text: str) -> list[Calculation]:
    """Return the calculations of a text, in order."""
    if len(text) > _READ:
        text = f"{text[: _READ // 2]}\n{text[-_READ // 2 :]}"
    lines = [line for line in text.splitlines() if any(sign in line for sign in _EQUAL)]
    found = tokens("\n".join(lines), _MOST_EQUATIONS)
    signs = [i for i, token in enumerate(found) if token.kind in "=≈"][:_MOST_EQUATIONS]
    made = [_calculation(found, sign) for sign in signs]
    return [one for one in made if one is not None]


def _calculation(read: Sequence[Token], sign: int) -> Calculation | None:
    """Return the equation around a sign; None where it cannot be told what it means."""
    left, right = _left(read, sign), _right(read, sign)
    if left is None or right is None:
        return None
    percent = any(token.kind == "%" for token in (*left, *right))
    readings = (1.0, 0.01) if percent else (1.0,)
    sides = [[compute(side, reading) for reading in readings] for side in (left, right)]
    pairs = [
        (a, b)
        for a in sides[0]
        for b in sides[1]
        if a is not None and b is not None and a.operations + b.operations
    ]
    close = [pair for pair in pairs if _close(*pair, rough=read[sign].kind == "≈")]
    if not pairs or (percent and not close):
        return None  # a percent sign has too many readings to call all wrong
    worked, stated = (close or pairs)[0]
    if not worked.operations:  # "7 = 3 + 4"
        left, worked, stated = right, stated, worked
    operands = tuple([token.value for token in left if token.kind == "number"])
    return Calculation(operands, worked.value, stated.value, bool(close))


def _left(read: Sequence[Token], sign: int) -> Sequence[Token] | None:
    end = sign
    while end and sign - end < 2 and _is_unit(read[end - 1]) and not read[end - 1].glued:
        end -= 1
    start, depth = end, 0
    while start and end - start < _MOST_TOKENS and read[start - 1].kind in _MATH:
        depth += {")": 1, "(": -1}.get(read[start - 1].kind, 0)
        if depth < 0:  # "(3 + 4 = 7)"
            break
        start -= 1
    side = read[start:end]
    before = read[start - 1] if start else Token("end")
    labelled = len(side) == 1 and (end < sign or before.kind == "word")  # "all above $5 = 3 * 4"
    if not side or labelled or len(side) == _MOST_TOKENS or not _begins(side[0], before):
        return None
    return side


def _begins(first: Token, before: Token) -> bool:
    """Tell whether an expression can begin here: not after a variable, not in the middle."""
    if first.kind in ("*", "/", "+", "%") or before.kind == "odd":
        return False
    if before.kind == "word":
        return first.kind != "-" and not first.glued and before.text not in _FUNCTIONS
    return before.kind in ("end", "=", "≈", "(")


def _right(read: Sequence[Token], sign: int) -> Sequence[Token] | None:
    start = end = sign + 1
    depth, last = 0, min(len(read), start + _MOST_TOKENS)
    balanced = start
    while end < last and read[end].kind in _MATH:
        depth += {"(": 1, ")": -1}.get(read[end].kind, 0)
        if depth < 0:  # "(3 + 4 = 7)"
            break
        end += 1
        balanced = end if not depth else balanced
    end = balanced  # "= 7 (the total)"
    after = [*read[end : end + 4], Token("end")]
    side = read[start:end]
    return side if side and len(side) < _MOST_TOKENS and _ends(after) else None


def _ends(after: Sequence[Token]) -> bool:
    """Tell whether an expression can end before these tokens: not before a variable or a power."""
    first = after[0]
    if first.kind == "(":
        return after[1].text not in _FUNCTIONS
    if first.kind != "word":
        return first.kind in ("end", "=", "≈", ")")
    if first.text in _JOINING:
        return True
    then = next(token for token in (*after[1:], Token("end")) if token.kind != "word")
    return _is_unit(first) and not first.glued and then.kind not in ("+", "-", "*", "/", "frac")


def _is_unit(token: Token) -> bool:
    name = token.text
    known = name in _SCALES or name in _FUNCTIONS or name in _JOINING
    return token.kind == "word" and len(name) > 1 and not known


def _close(left: Side, right: Side, *, rough: bool) -> bool:
    """Tell whether two sides are equal, but for rounding.

    Where whole numbers come to a whole number nothing is rounded. Otherwise the last written digit
    may be one off (cut or rounded), or half a per cent, since decimals may be rounded themselves.
    """
    gap, size = abs(left.value - right.value), max(abs(left.value), abs(right.value))
    if gap <= 1e-9 * size:
        return True
    decimals = max(left.decimals, right.decimals)
    if not decimals and not rough and left.value == int(left.value):
        return False
    unit = 10.0 ** -(right if left.operations else left).decimals
    return gap < unit or gap <= (0.02 if rough else 0.005) * size
