"""JSON in what a model wrote, and the blocks that it is written in."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shared_core.strategies.verifiers.blocks import Block, blocks
from shared_core.strategies.verifiers.json_text import decoded, first_value, held_value
from tests.fakes.verifying import ODD_TEXTS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (' {"a": [1, 2.5, null]} ', {"a": [1, 2.5, None]}),
        ("7", 7),
        ('"x"', "x"),
        ("9" * 10_000, float("inf")),  # Python itself refuses so long a whole number
    ],
)
def test_a_text_that_is_json(text: str, value: Any) -> None:
    assert decoded(text) == (value,)


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", '{"a": 1} and so on', "Paris", "[1,]"])
def test_a_text_that_is_none(text: str) -> None:
    assert decoded(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        'Sure!\n```json\n{"a": 1}\n```\nAnything else?',
        'Sure!\n```\n{"a": 1}\n```',
        'Here {it} is: {"a": 1}, as you asked.',
    ],
)
def test_json_is_found_whole_in_a_block_and_in_prose(text: str) -> None:
    assert held_value(text) == ({"a": 1},)


def test_the_first_object_that_can_be_read_counts() -> None:
    assert first_value('{no} [1] {"a": 1} {"b": 2}') == ({"a": 1},)
    assert first_value("no object, [1] but an array") == ()
    assert first_value("{" * 30 + '{"a": 1}') == ()  # a few places are tried


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_any_text_is_read_in_bounded_time(text: str) -> None:
    started = time.thread_time()
    assert len(held_value(text)) in (0, 1)
    assert len(blocks(text)) <= 50
    assert time.thread_time() - started < 0.2


def test_blocks_have_a_language_and_lose_their_indentation() -> None:
    text = "a\n```Python\nx = 1\n```\n- b\n  ```\n  y\n    z\n  ```\n```js\nopen"
    assert blocks(text) == [Block("python", "x = 1"), Block("", "y\n  z")]
