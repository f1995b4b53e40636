"""Which replies say the same."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from shared_core import ConfigurationError
from shared_core.strategies.comparing import key_of, require_same
from shared_core.types import Reply


class Person(BaseModel):
    name: str
    age: float


@dataclasses.dataclass
class Point:
    x: float
    tags: set[str]


def says(text: str) -> Reply:
    return Reply("small", text=text)


def gives(parsed: Any, text: str = "") -> Reply:
    return Reply("small", text=text, parsed=parsed)


def calls(*made: tuple[str, dict[str, Any]]) -> Reply:
    return Reply("small", text="I look it up.", tool_calls=made)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (says("So 3 + 4 = 7.\nThe answer is **7**."), says("\\boxed{7.0}")),
        (says("(B)"), says("The answer is B.")),
        (gives({"a": 1, "b": [2]}), gives({"b": [2.0], "a": 1.0}, text="{}")),
        (gives(Person(name="Ann ", age=3)), gives({"age": 3, "name": "Ann"})),
        (gives(Point(1.0, {"b", "a"})), gives({"x": 1, "tags": {"a", "b"}})),
        (calls(("find", {"a": 1, "b": 2})), calls(("find", {"b": 2, "a": 1}))),
        (calls(("find", {}), ("add", {"n": 1})), calls(("add", {"n": 1}), ("find", {}))),
    ],
)
def test_replies_that_say_the_same_have_equal_keys(one: Reply, other: Reply) -> None:
    assert key_of(one) is not None
    assert key_of(one) == key_of(other)
    assert hash(key_of(one)) == hash(key_of(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (says("The answer is 7."), says("The answer is 8.")),
        (gives({"a": 1}), gives({"a": 2})),
        (gives({"a": True}), gives({"a": 1})),
        (gives({"a": "1"}), gives({"a": 1})),
        (gives([1, 2]), gives([2, 1])),
        (calls(("find", {"a": 1})), calls(("find", {"a": 2}))),
        (calls(("find", {})), calls(("seek", {}))),
        (calls(("find", {})), says("I look it up.")),
        (gives(7), says("7")),
    ],
)
def test_replies_that_say_something_else_have_not(one: Reply, other: Reply) -> None:
    assert key_of(one) is not None
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize(
    "reply",
    [
        says(""),
        says("It was a bright cold day in April, and the clocks were striking thirteen. " * 9),
        Reply("small", error=ConnectionError("lost")),
        Reply("small", text="The answer is 7.", parse_error=ValueError("no JSON")),
    ],
)
def test_what_cannot_be_compared_has_no_key(reply: Reply) -> None:
    assert key_of(reply) is None


def test_a_value_that_holds_itself_is_compared_as_far_as_anybody_looks() -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert key_of(gives(endless)) == key_of(gives(endless))


def test_a_function_of_the_user_compares_texts() -> None:
    def length(a: str, b: str) -> bool:
        return len(a) == len(b)

    keys = [key_of(says(text), length) for text in ("an essay", "a poem!!", "prose")]
    assert keys[0] == keys[1]
    assert hash(keys[0]) == hash(keys[1])
    assert keys[0] != keys[2]
    assert len({*keys}) == 2
    assert key_of(says(" "), length) is None
    assert keys[0] != "an essay"


def test_it_is_given_json_where_there_is_no_text() -> None:
    seen: list[str] = []

    def same(a: str, b: str) -> bool:
        seen.extend((a, b))
        return True

    assert key_of(gives({"b": 1, "a": 2}), same) == key_of(gives([1]), same)
    assert seen == ['{"a": 2, "b": 1}', "[1]"]


def test_where_it_raises_nothing_is_the_same() -> None:
    def same(a: str, b: str) -> bool:
        raise RuntimeError("no")

    assert key_of(says("a"), same) == key_of(says("a"), same)
    assert key_of(says("a"), same) != key_of(says("b"), same)


def test_what_is_no_function_is_refused() -> None:
    require_same("vote", None)
    with pytest.raises(ConfigurationError, match=r"vote: same must be a function of two texts"):
        require_same("vote", "exact")


class Opaque(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    value: complex | object


def test_what_is_no_json_is_compared_by_its_fields() -> None:
    assert key_of(gives(Opaque(value=range(2)))) == key_of(gives(Opaque(value=range(2))))
    assert key_of(gives(Opaque(value=range(2)))) != key_of(gives(Opaque(value=range(3))))


@pytest.mark.parametrize(
    "thoughts", ["<think>\n6 * 7 = 40?\n</think>\n\n", "6 * 7 = 40?\n</think>\n"]
)
def test_thoughts_are_no_part_of_an_answer(thoughts: str) -> None:
    assert key_of(says(f"{thoughts}42")) == key_of(says("42"))
    assert key_of(says("<think>\n6 * 7 = 40")) is None
