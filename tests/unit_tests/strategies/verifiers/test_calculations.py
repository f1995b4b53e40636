"""Calculations in a text are done again, and nothing else is taken for one."""

from __future__ import annotations

import random
import time

import pytest

from shared_core.strategies.verifiers.calculations import calculations

ODD = ("0123456789+-*/=()., x%{}\n", "1+", "(", "=1", "5x", "of is ** \\frac \ud800\0²9^", "")


@pytest.mark.parametrize(
    ("text", "stated", "right"),
    [
        ("8 x $5 = $<<8*5=40>>40.", [40.0], [True]),
        ("20 + 30 = 50 minutes. 180 / 60 = 4 hours", [50.0, 4.0], [True, False]),
        ("20% of 50 = 10", [10.0], [True]),
        ("(43.50 / 180) * 100 = 24.17%", [24.17], [True]),
        ("\\frac{200}{36} = 5.56", [5.56], [True]),
        ("5 apples + 3 apples is 8 apples", [8.0], [True]),
        ("20 (batter) + 30 (baking) = 50", [50.0], [True]),
        ("2 + 3 = 1 + 4 = 6", [5.0, 6.0], [True, False]),
        ("1,000 * 2 = 2,000", [2000.0], [True]),
        ("3^2 + 4^2 = 25", [25.0], [True]),
        ("-3 + 5 = 2 and 5 * -3 = -15", [2.0, -15.0], [True, True]),
        ("7 - 2(1 + 1) = 3", [3.0], [True]),
        ("5 / 0 = 0", [], []),
    ],
)
def test_reads_calculations(text: str, stated: list[float], right: list[bool]) -> None:
    """The right side is read, and compared with what the left side comes to."""
    found = list(calculations(text))
    assert [one.stated for one in found] == stated
    assert [one.right for one in found] == right


@pytest.mark.parametrize(
    "text",
    [
        "2x + 3 = 13",
        "x = 5",
        "The total is 40",
        "a + b = c",
        "f(3) + 2 = 7",
        "sqrt{9} + 1 = 4",
        "from 3 to 4, so 5",
        "9 ** 9 ** 9 ** 9 = 1",
        "9^9^9^9 = 1",
        "(" * 5000 + "1+1=3",
    ],
)
def test_leaves_the_rest_alone(text: str) -> None:
    """What is not surely arithmetic is not called wrong."""
    assert not [one for one in calculations(text) if not one.right]


def test_names_operands() -> None:
    """The numbers of the left side are told."""
    (found,) = calculations("so 3 * (4 + 5) = 27")
    assert found.operands == (3.0, 4.0, 5.0)
    assert found.value == 27.0


@pytest.mark.parametrize("alphabet", ODD)
def test_never_raises_and_stays_linear(alphabet: str) -> None:
    """Odd text of any size is read, ten times as much in about ten times the time."""
    rng = random.Random(3)
    for length in (0, 1, 3, 10, 100):
        for _ in range(100):
            list(calculations("".join(rng.choices(alphabet, k=length)) if alphabet else ""))
    seconds = []
    for length in (20_000, 200_000):
        text = (alphabet * length)[:length]
        start = time.process_time()
        list(calculations(text))
        seconds.append(time.process_time() - start)
    assert seconds[1] < 40 * seconds[0] + 0.1
