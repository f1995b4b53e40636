"""A value against a JSON schema: only a definite "no" counts."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_core.strategies.verifiers.schema import misfit

TREE: dict[str, Any] = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/tree"}},
    "$defs": {},
}
TREE["$defs"]["tree"] = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}
TREE["$defs"]["node"] = {"type": "object", "properties": TREE["properties"]}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"a": 1}, {}),
        ({"a": 1}, {"type": "object", "required": ["a"]}),
        ({"a": 1, "b": 2}, {"properties": {"a": {"type": "integer"}}}),
        (2.0, {"type": "integer"}),
        (2, {"type": "number"}),
        (None, {"type": ["string", "null"]}),
        ([1, 2], {"type": "array", "items": {"type": "integer"}}),
        ((1, 2), {"type": "array"}),
        ("b", {"enum": ["a", "b"]}),
        ("a", {"const": "a"}),
        ({"value": 1, "next": {"value": 2, "next": None}}, TREE),
        ("x", {"type": "colour"}),
        ("x", {"type": 7, "required": 3, "properties": 4, "enum": 5, "items": 6, "anyOf": 8}),
        ({}, {"required": [[], None, {}]}),
        ("x", {"$ref": "#/nowhere"}),
        ("x", {"$ref": "https://example.org/schema"}),
        ("x", {"$ref": "#"}),
        ("x", "no schema"),
        ("x", {"anyOf": []}),
    ],
)
def test_what_fits_or_cannot_be_told(value: Any, schema: Any) -> None:
    assert misfit(value, schema) is None


@pytest.mark.parametrize(
    ("value", "schema", "why"),
    [
        ({}, {"required": ["a"]}, "missing"),
        ({"a": "1"}, {"properties": {"a": {"type": "integer"}}}, "another type"),
        (True, {"type": "integer"}, "another type"),
        (True, {"type": "number"}, "another type"),
        (2.5, {"type": "integer"}, "another type"),
        (float("nan"), {"type": "integer"}, "another type"),
        ("[1]", {"type": "array"}, "another type"),
        (None, {"type": "string"}, "another type"),
        ([1, "2"], {"items": {"type": "integer"}}, "another type"),
        ("c", {"enum": ["a", "b"]}, "none of those"),
        ("b", {"const": "a"}, "none of those"),
        ({"a": 1, "b": 2}, {"properties": {"a": {}}, "additionalProperties": False}, "not in"),
        (7, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "alternative"),
        (7, {"allOf": [{"type": "integer"}, {"type": "string"}]}, "another type"),
        ({"value": 1, "next": {"value": "2"}}, TREE, "alternative"),
    ],
)
def test_what_does_not_fit_is_said_without_the_value(value: Any, schema: Any, why: str) -> None:
    said = misfit(value, schema)
    assert said is not None
    assert why in said


def test_work_is_bounded() -> None:
    wide = {"anyOf": [{"$ref": "#"}] * 20}
    looped: list[Any] = []
    looped.append(looped)
    started = time.thread_time()
    assert misfit("x", wide) is None
    assert misfit(looped, {"items": {"$ref": "#"}}) is None
    assert misfit(["x"] * 1_000_000, {"items": {"type": "string"}}) is None
    assert time.thread_time() - started < 0.5


KEYWORDS = st.sampled_from(
    ["type", "enum", "required", "properties", "items", "anyOf", "allOf", "$ref", "const", "a"]
)
WORDS = st.sampled_from(["object", "array", "integer", "null", "#", "#/items", "a", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=3),
    max_leaves=10,
)


@given(JSON, JSON)
def test_no_value_and_no_schema_breaks_it(value: Any, schema: Any) -> None:
    said = misfit(value, schema)
    assert said is None or "schema" in said or "missing" in said
