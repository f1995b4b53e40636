"""Broken structure is a failure, whole structure no proof."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest

from shared_core.strategies.verifiers.structure import Structure
from shared_core.types import Prompt, Reply, Turn, Verdict
from tests.fakes.verifying import ODD_TEXTS, Scripted, draft, verdict

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["place"],
        },
    },
}


def looked(reply: Reply | str, asked: str = "Hello", **view: Any) -> Verdict:
    return verdict(Structure(), draft(reply, asked, prior=0.9, **view))


def calling(*calls: tuple[str, Any]) -> Reply:
    return Reply("small", tool_calls=calls)


def code(source: str) -> str:
    return f"Here you are:\n```python\n{source}\n```\nThat is all."


@pytest.mark.parametrize(
    ("reply", "view"),
    [
        (Reply("small", text="{", parse_error=ValueError("{")), {"schema": SCHEMA}),
        (Reply("small", parsed={"city": "Paris"}), {"schema": SCHEMA}),
        (Reply("small", parsed={"city": "Paris", "people": "many"}), {"schema": SCHEMA}),
        (Reply("small", text='{"city": "Paris", "people": 2.5}'), {"schema": SCHEMA}),
        (Reply("small", text="It is Paris."), {"schema": SCHEMA}),
        (Reply("small", text=""), {"schema": SCHEMA}),
        (calling(("wether", {"place": "Paris"})), {"tools": (WEATHER,)}),
        (calling(("weather", {})), {"tools": (WEATHER,)}),
        (calling(("weather", {"place": 7})), {"tools": (WEATHER,)}),
        (calling(("weather", "Paris")), {"tools": (WEATHER,)}),
        (calling(("weather", {"place": "Paris"})), {}),
        (Reply("small", text="It rains."), {"tools": (WEATHER,), "must_call": True}),
    ],
)
def test_a_definite_failure_is_improbable_whatever_was_believed(
    reply: Reply, view: dict[str, Any]
) -> None:
    assert looked(reply, **view).probability == pytest.approx(0.02)


def test_a_failure_never_makes_an_answer_more_probable() -> None:
    for broken in (code("def f(:"), Reply("small", text="", parse_error=ValueError())):
        assert verdict(Structure(), draft(broken, prior=0.001)).probability == 0.001
    cut = Reply("small", text="It is", finish_reason="length")
    assert verdict(Structure(), draft(cut, prior=0.001)).probability == 0.001


@pytest.mark.parametrize(
    ("reply", "view"),
    [
        (Reply("small", text="Paris."), {}),
        (Reply("small", parsed={"city": "Paris", "people": 2}), {"schema": SCHEMA}),
        (Reply("small", text='Sure: {"city": "Paris", "people": 2}'), {"schema": SCHEMA}),
        (Reply("small", text='```json\n{"city": "", "people": 2}\n```'), {"schema": SCHEMA}),
        (Reply("small", parsed=object()), {"schema": SCHEMA}),  # the user's own class
        (calling(("weather", {"place": "Paris", "days": 2.0})), {"tools": (WEATHER,)}),
        (calling(("search", {})), {"tools": (WEATHER, {"type": "web_search"})}),
        (calling(("search", {})), {"tools": ({"function": {"name": ["search"]}},)}),
        (calling(("City", {})), {"tools": (WEATHER,), "schema": SCHEMA}),
        (calling(("weather", {"place": "Paris"})), {"tools": (WEATHER,), "must_call": True}),
        (Reply("small", finish_reason="stop", text="Paris."), {}),
        (Reply("small", finish_reason="dropped", text="Par"), {}),
    ],
)
def test_what_holds_together_is_unknown_and_said(reply: Reply, view: dict[str, Any]) -> None:
    said = looked(reply, **view)
    assert said.probability is None
    assert said.note


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS"])
def test_an_answer_that_was_cut_off_is_improbable(reason: str) -> None:
    said = looked(Reply("small", text="It is", finish_reason=reason))
    assert (said.probability, said.note) == (0.1, "it is cut off")


@pytest.mark.parametrize(
    "source", ["def f(:\n    pass", "print 'x'", "if x:\npass", "return (", "for i in range(3)"]
)
def test_python_that_does_not_parse_fails(source: str) -> None:
    said = looked(code(source))
    assert (said.probability, said.note) == (0.02, "its Python does not parse")


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.findall('\\d+', '1')",  # an escape that Python would warn of
        "x = 'a\\\\d' \\\n    + r'\\w'",
        "    def f(self):\n        return 1",
        ">>> 1 +\n2",
        "!pip install x",
        "%timeit f(",
        "def f(x):\n    ...\n",
        "x = [1, 2, …",
        "(" * 20_001,
        "-" * 10_000 + "1",
        "x = '\ud800'",
        "x\0 = (",
    ],
)
def test_python_that_parses_or_cannot_be_told_is_unknown(source: str) -> None:
    said = looked(code(source))
    assert said.probability is None
    assert "Error" not in said.note


def test_only_closed_blocks_of_python_are_parsed() -> None:
    assert looked("```js\nfunction f( {\n```").probability is None
    assert looked("```\nnot code (\n```").probability is None
    assert looked("```python\ndef f(").probability is None


def test_broken_code_that_the_user_sent_may_be_quoted() -> None:
    assert looked(code("def f(:"), asked="Why does def f(: not parse?").probability is None


def test_parsing_runs_nothing() -> None:
    source = "raise SystemExit"
    assert ast.parse(source)
    assert looked(code(source)).probability is None


def test_blocks_of_json_are_read_where_json_was_asked_for() -> None:
    asked = "Reply with a JSON object."
    assert looked("```json\n{'a': 1}\n```", asked).probability == 0.02
    assert looked('```json\n{"a": 1}\n```', asked).probability is None
    assert looked("```json\n{'a': 1}\n```", "Show me a typo.").probability is None


def test_short_code_is_parsed_in_passing_and_long_code_in_a_thread() -> None:
    short, long = Scripted(), Scripted()
    short.verdict(Structure(), draft(code("x = 1")))
    long.verdict(Structure(), draft(code("x = 1\n" * 500)))
    assert [check.inline for check in short.checks] == [True, True]
    assert [check.inline for check in long.checks] == [True, False]


@pytest.mark.parametrize(
    ("says", "low", "high"),
    [(True, 0.98, 1), (False, 0, 0.02), (0.5, 0.5, 0.5), (0.8, 0.79, 0.81)],
)
def test_the_users_sandbox_has_the_last_word(says: Any, low: float, high: float) -> None:
    given: list[str] = []

    def run(source: str) -> Any:
        given.append(source)
        return says

    driven = Scripted()
    said = driven.verdict(Structure(run=run, limit_s=3), draft(code("x = 1") + code("y = 2")))
    assert given == ["x = 1\n\ny = 2"]
    assert said.probability is not None
    assert low - 1e-9 <= said.probability <= high
    assert (driven.checks[-1].inline, driven.checks[-1].limit_s) == (False, 3)


def test_a_sandbox_that_fails_or_does_not_know_tells_nothing() -> None:
    def fails(source: str) -> bool:
        raise TimeoutError

    assert verdict(Structure(run=fails), draft(code("x = 1"))).probability is None
    assert verdict(Structure(run=lambda _: None), draft(code("x = 1"))).probability is None


def test_a_sandbox_is_given_no_broken_code_and_no_other_language() -> None:
    def never(source: str) -> bool:
        raise AssertionError(source)

    driven = Scripted()
    driven.verdict(Structure(run=never), draft(code("def f(:")))
    driven.verdict(Structure(run=never), draft("```js\nf()\n```"))
    assert all(check.look.__qualname__.find("_tried") < 0 for check in driven.checks)


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_any_text_is_borne_and_none_of_it_noted(text: str) -> None:
    for view in ({}, {"schema": SCHEMA}, {"tools": (WEATHER,)}):
        said = looked(Reply("small", text=text), text, **view)
        assert said.probability in (None, 0.02)
        assert len(said.note) < 100
    assert looked(code(text)).probability in (None, 0.02)


def test_deep_json_is_borne() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert looked(Reply("small", text=deep), schema={"type": "array"}).probability == 0.02
    looped: dict[str, Any] = {}
    looped["self"] = looped
    schema = {"type": "object", "properties": {"self": {"$ref": "#"}}}
    assert looked(Reply("small", parsed=looped), schema=schema).probability is None


def test_a_prompt_may_have_no_user_turn() -> None:
    asked = draft(json.dumps({"a": 1}))
    bare = Prompt((Turn("system", "Reply in JSON"),), 1)
    assert verdict(Structure(), type(asked)(bare, asked.reply)).probability is None
