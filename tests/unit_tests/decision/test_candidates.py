"""From what the user wrote to completed candidates, and what they cannot do."""

from __future__ import annotations

import math
from typing import Any

import pytest

from shared_core import Candidate, ConfigurationError
from shared_core.decision.candidates import prepare_candidates
from shared_core.decision.capabilities import missing_capability
from tests.fakes.core import candidate, prompt


def nothing_known(candidate: Candidate) -> tuple[Any, dict[str, Any]]:
    return candidate.model, {}


def test_strength_is_the_place_in_the_list() -> None:
    prepared = prepare_candidates([candidate("a"), candidate("b"), candidate("c")], nothing_known)
    assert [c.strength for c in prepared] == [1 / 4, 2 / 4, 3 / 4]


def test_a_mapping_names_models() -> None:
    prepared = prepare_candidates({"a": "A", "b": Candidate("b", "B", local=True)}, nothing_known)
    assert [(c.name, c.model, c.local) for c in prepared] == [("a", "A", None), ("b", "B", True)]


def test_declared_strengths_sort() -> None:
    prepared = prepare_candidates(
        [candidate("a", strength=0.9), candidate("b"), candidate("c", strength=0)], nothing_known
    )
    assert [(c.name, c.strength) for c in prepared] == [("c", 0), ("b", 2 / 4), ("a", 0.9)]


def test_declared_capabilities_override_the_models_own() -> None:
    given = [candidate("a", capabilities={"tool_calling": False}, context_window=100)]
    (prepared,) = prepare_candidates(
        given,
        lambda c: (c.model, {"tool_calling": True, "image_inputs": True, "max_input_tokens": 5}),
    )
    assert prepared.capabilities == {"tool_calling": False, "image_inputs": True}
    assert prepared.context_window == 100


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "candidates is empty"),
        ({}, "candidates is empty"),
        ([candidate("a"), candidate("a")], "two candidates are named 'a'"),
        (["gpt"], "holds a str: wrap it"),
        ("gpt", "must be a list"),
        (None, "must be a list"),
    ],
)
def test_wrong_lists(given: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        prepare_candidates(given, nothing_known)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"strength": math.nan}, "strength must be a finite number"),
        ({"strength": 1.1}, "between 0 and 1"),
        ({"strength": True}, "finite number"),
        ({"price": (-1, 2)}, "must not be negative"),
        ({"price": 3}, "pair"),
        ({"price": (1, math.inf)}, "finite"),
        ({"energy": (1,)}, "Wh per million"),
        ({"context_window": 0}, "at least 1"),
        ({"context_window": "4k"}, "finite number"),
        ({"capabilities": {"tool_caling": True}}, "did you mean 'tool_calling'"),
        ({"capabilities": ["tools"]}, "mapping"),
        ({"tags": "pii"}, "sequence of strings"),
        ({"tags": 7}, "sequence of strings"),
        ({"tags": ("pii", None)}, "sequence of strings"),
        ({"price": (math.nan, 1)}, "finite"),
        ({"strength": -0.1}, "between 0 and 1"),
        ({"local": "no"}, "local must be True, False or None"),
    ],
)
def test_wrong_values_name_the_candidate(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"candidate 'a'.*{says}"):
        candidate("a", **wrong)


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_wrong_names(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="non-empty string"):
        Candidate(name, "model")


def test_a_model_is_never_printed() -> None:
    assert "SECRET" not in repr(Candidate("a", "SECRET"))


@pytest.mark.parametrize(
    ("known", "asked", "says"),
    [
        ({"tool_calling": False}, {"tools": ({"type": "function"},)}, "cannot call tools"),
        ({"tool_choice": False}, {"must_call": True}, "cannot be made to call"),
        ({"image_inputs": False}, {"modalities": frozenset({"image"})}, "cannot read images"),
        ({"pdf_inputs": False}, {"modalities": frozenset({"pdf"})}, "cannot read PDF"),
        ({"structured_output": False, "tool_calling": False}, {"schema": {}}, "structured output"),
        (
            {"structured_output": False},
            {"schema": {}, "schema_method": "json_schema"},
            "structured output .json_schema",
        ),
        (
            {"tool_calling": False},
            {"schema": {}, "schema_method": "function_calling"},
            "structured output .function_calling",
        ),
    ],
)
def test_a_stated_no_is_a_refusal(known: dict[str, Any], asked: dict[str, Any], says: str) -> None:
    view = prompt(**asked)
    assert says.split(" .")[0] in str(missing_capability(candidate("a", capabilities=known), view))
    assert missing_capability(candidate("a"), view) is None
    yes = dict.fromkeys(known, True)
    assert missing_capability(candidate("a", capabilities=yes), view) is None


def test_either_way_to_structured_output_will_do() -> None:
    one_way = candidate("a", capabilities={"structured_output": True, "tool_calling": False})
    assert missing_capability(one_way, prompt(schema={})) is None


def test_the_window() -> None:
    small = candidate("a", context_window=10)
    assert missing_capability(small, prompt(tokens=10)) is None
    assert missing_capability(small, prompt(tokens=11)) == (
        "about 11 input tokens, and its window holds 10"
    )
