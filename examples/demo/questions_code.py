"""The prompts that ask for a Python function, each with calls to try and a shape to look for.

The easy ones come first. A shape names what any correct solution has, so it stays loose.
"""

from typing import Any

from examples.demo.code_grading import Case, Code
from examples.demo.prompts import Prompt

ASK = "Reply with the Python code only, without explanation or examples."


def _code(
    signature: str, task: str, *cases: tuple[tuple[Any, ...], Any], shape: tuple[str, ...] = ()
) -> Prompt:
    text = f"Write a Python function {signature} that {task} {ASK}"
    check = Code(signature.partition("(")[0], tuple(Case(*case) for case in cases), shape)
    return Prompt("code", text, check)


CODE = (
    _code(
        "is_even(n)",
        "returns True if the integer n is even, else False.",
        ((4,), True),
        ((7,), False),
        ((0,), True),
        shape=("% &",),
    ),
    _code(
        "area(width, height)",
        "returns the area of a rectangle.",
        ((3, 4), 12),
        ((5, 0), 0),
        shape=("*",),
    ),
    _code(
        "reverse(text)",
        "returns the string backwards.",
        (("abc",), "cba"),
        (("",), ""),
        shape=("index reversed loop recursion",),
    ),
    _code(
        "count_vowels(text)",
        "returns how many of the letters a, e, i, o, u are in text, in either case.",
        (("Apple",), 2),
        (("rhythm",), 0),
        (("AEIOU",), 5),
        shape=("loop map count",),
    ),
    _code(
        "factorial(n)",
        "returns n factorial for an integer n >= 0.",
        ((0,), 1),
        ((1,), 1),
        ((6,), 720),
        shape=("loop recursion factorial prod reduce", "* factorial prod reduce"),
    ),
    _code(
        "is_palindrome(text)",
        "returns True if text reads the same backwards, ignoring upper and lower case.",
        (("Level",), True),
        (("abca",), False),
        (("",), True),
        shape=("compare", "lower upper casefold"),
    ),
    _code(
        "average(numbers)",
        "returns the mean of a list of numbers, and 0 for an empty list.",
        (([1, 2, 3],), 2),
        (([],), 0),
        shape=("branch", "sum loop mean fmean"),
    ),
    _code(
        "gcd(a, b)",
        "returns the greatest common divisor of two positive integers.",
        ((12, 18), 6),
        ((7, 5), 1),
        ((9, 3), 3),
        shape=("loop recursion gcd", "% - gcd"),
    ),
    _code(
        "fizzbuzz(n)",
        "returns 'Fizz' if n is divisible by 3, 'Buzz' if by 5, 'FizzBuzz' if by both, and "
        "otherwise n as a string.",
        ((9,), "Fizz"),
        ((10,), "Buzz"),
        ((30,), "FizzBuzz"),
        ((7,), "7"),
        shape=("branch", "%", "str repr format"),
    ),
    _code(
        "is_prime(n)",
        "returns True if the integer n is a prime number, also for n < 2, which are not.",
        ((1,), False),
        ((2,), True),
        ((25,), False),
        ((29,), True),
        shape=("loop", "%", "branch compare"),
    ),
    _code(
        "second_largest(numbers)",
        "returns the second largest distinct number of a list, or None if there is none.",
        (([4, 9, 9, 1],), 4),
        (([5, 5],), None),
        (([3, 8],), 3),
        shape=("branch", "set loop"),
    ),
    _code(
        "merge(a, b)",
        "merges two sorted lists of numbers into one sorted list, which it returns.",
        (([1, 4], [2, 3]), [1, 2, 3, 4]),
        (([], [5]), [5]),
        (([1, 1], [1]), [1, 1, 1]),
        shape=("loop sorted sort merge recursion",),
    ),
)
