"""Odd inputs are routed at once and arrive as they were; odd arguments are refused in words."""

from __future__ import annotations

import math
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
)

from llamaindex_router import Candidate, Cooldown, Policy, RouterLLM, call_scope, cleared
from shared_core import ConfigurationError, NoCandidateError, RouterError, UnknownCandidateError
from tests.fakes.core import FixedPredictor
from tests.fakes.timing import fastest
from tests.integration_tests.llamaindex.forms import FORMS, TOOL, Form
from tests.integration_tests.llamaindex.scripted import router

# After `scripted`, which skips this module where LlamaIndex is too old for the scripted LLMs.
from llama_index.core.base.llms.types import (  # isort: skip
    CitableBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from tests.contracts.llamaindex import CHAT, chat  # isort: skip
from tests.fakes.llms import ScriptedLLM, ScriptedTextLLM  # isort: skip

CALL = ToolCallBlock(tool_call_id="c1", tool_name="weather", tool_kwargs={"city": "Lisbon"})
PICTURE = ImageBlock(image=b"iVBORw0KGgo=", image_mimetype="image/png")
SOUND = AudioBlock(audio=b"UklGRg==", format="wav")


def said(content: Any, role: str = "user", **kwargs: Any) -> ChatMessage:
    if isinstance(content, list):
        return ChatMessage(role=role, blocks=content, additional_kwargs=kwargs)
    return ChatMessage(role=role, content=content, additional_kwargs=kwargs)


def turns(number: int) -> list[ChatMessage]:
    """A conversation of users, calls, and results, in turn."""
    pattern = [said("a"), said([CALL], "assistant"), said("b", "tool", tool_call_id="c1")]
    return [pattern[place % 3] for place in range(number)]


ROUTED: dict[str, list[ChatMessage]] = {
    "empty text": [said("")],
    "no text": [said(None)],
    "whitespace": [said(" \n\t\u00a0\u3000")],
    "1 MB": [said("word " * 200_000)],
    "1 MB in one word": [said("a" * 1_000_000)],
    "1 MB of another script": [said("слово " * 170_000)],
    "NULs": [said("a\0b\0" * 1000)],
    "lone surrogates": [said("\ud800 and \udfff" * 1000)],
    "right to left": [said("\u202e\u05e9\u05dc\u05d5\u05dd\u202c \u0645\u0631\u062d")],
    "zero width": [said("\u200b\u200d\ufeff" * 1000)],
    "no message": [],
    "no blocks": [said([])],
    "10,000 messages": turns(10_000),
    "10,000 blocks": [said([TextBlock(text="a")] * 10_000)],
    "system alone": [said("Be brief.", "system")],
    "a tool's result alone": [said("4", "tool", tool_call_id="c1")],
    "assistant first": [said("Hello.", "assistant"), said("a")],
    "image": [said([PICTURE])],
    "audio": [said([SOUND])],
    "mixed blocks": [said([TextBlock(text="a"), PICTURE, TextBlock(text="b"), SOUND])],
    "a document": [said([TextBlock(text="a"), DocumentBlock(data=b"JVBERi0=", title="d")])],
    "blocks within a block": [
        said([CitableBlock(title="t", source="s", content=[TextBlock(text="a"), PICTURE])])
    ],
    **{f"the role {role.value}": [said("a"), said("b", role.value)] for role in MessageRole},
}
"""By what is odd about it; every candidate can read it."""

each_input = pytest.mark.parametrize("given", ROUTED.values(), ids=ROUTED.keys())


class Silent(ScriptedLLM):
    """Keeps what it gets and answers a word to everything, to nothing at all too."""

    context_window: int = 10_000_000

    def _next(self, method: str, native: Any, messages: Any, *args: Any) -> Any:
        self.bound.append(list(messages))
        return super()._next(method, native, [ChatMessage(content="Hello")], *args)


@each_input
@pytest.mark.parametrize("method", CHAT)
def test_26_the_chosen_llm_receives_the_very_messages(
    method: str, given: list[ChatMessage]
) -> None:
    small = Silent(model="small")
    response = chat(method, RouterLLM({"small": small}), given)
    assert response.additional_kwargs["router"]["candidate"] == "small"
    assert small.bound == [given]


@each_input
def test_26_a_decision_takes_no_time(given: list[ChatMessage]) -> None:
    llm = router(Silent(), Silent())
    assert fastest(lambda: llm.explain(given)) < 0.05


def test_26_the_time_of_a_decision_grows_no_faster_than_the_conversation() -> None:
    llm, short, long = router(Silent(), Silent()), turns(2_000), turns(20_000)
    ratio = fastest(lambda: llm.explain(long)) / fastest(lambda: llm.explain(short))
    assert ratio < 30  # 10 if it is linear, 100 if it is quadratic


@pytest.mark.parametrize(
    ("capability", "words", "block"),
    [
        ("image_inputs", "images", PICTURE),
        ("audio_inputs", "audio", SOUND),
        ("pdf_inputs", "PDF files", DocumentBlock(data=b"JVBERi0=", title="d")),
        ("image_inputs", "images", CitableBlock(title="t", source="s", content=[PICTURE])),
    ],
    ids=["image", "audio", "document", "image within a block"],
)
def test_26_what_nobody_can_read_is_refused_in_words(
    capability: str, words: str, block: Any
) -> None:
    blind = ScriptedLLM(model="small")
    llm = RouterLLM([Candidate("small", blind, capabilities={capability: False})])
    for call in (llm.explain, llm.chat):
        with pytest.raises(NoCandidateError, match=f"small: cannot read {words}"):
            call([said([TextBlock(text="See:"), block])])
    assert blind.calls == []


def test_26_texts_within_a_block_are_read() -> None:
    inner = CitableBlock(title="t", source="s", content=[TextBlock(text="word " * 5000)])
    with pytest.raises(NoCandidateError, match="its window holds 4096"):
        router().explain([said([inner])])


@pytest.mark.parametrize("message", [said([ThinkingBlock(content="Hm.")], "assistant"), None, ""])
@pytest.mark.parametrize("method", ["chat_with_tools", "stream_chat_with_tools"])
def test_26_a_question_of_which_nothing_is_left_is_none(method: str, message: Any) -> None:
    small = Silent(model="small")
    history = [said("a")]
    made = getattr(RouterLLM({"small": small}), method)([TOOL], message, history)
    if method.startswith("stream"):
        list(made)
    assert [got.content for got in small.bound[-1] if isinstance(got, ChatMessage)][:1] == ["a"]


# --- arguments; most are in `test_refusals`, and in the unit tests of what takes them ---


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: router(policy=Policy), "policy must be a Policy"),
        (lambda: router(policy=None), "policy must be a Policy"),
        (lambda: router(cooldown=5), r"cooldown must be a Cooldown\(...\), not 5"),
        (lambda: router(cooldown=Cooldown), "cooldown must be a Cooldown"),
        (lambda: Candidate("a", ScriptedLLM(), local="no"), "'a': local must be True, False"),
        (lambda: RouterLLM({"": ScriptedLLM()}), "name must be a non-empty string"),
        (lambda: RouterLLM({"a": None}), "'a': model must be a LlamaIndex LLM"),
        (lambda: RouterLLM({"a": ScriptedTextLLM}), "'a': model must be a LlamaIndex LLM"),
        (lambda: RouterLLM(7), "candidates must be a list of Candidate"),
    ],
)
def test_wrong_arguments_say_what_to_change(make: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make()


each_form = pytest.mark.parametrize("form", FORMS)


@pytest.mark.parametrize("wrong", [None, 7, "local", cleared("pii"), [None]])
@each_form
def test_constraints_that_are_none_refuse_the_call(form: Form, wrong: Any) -> None:
    small = ScriptedLLM(model="small")
    with pytest.raises(ConfigurationError, match="subject_to must be a list of constraints"):
        form(router(small), subject_to=wrong)
    assert small.calls == []


@each_form
def test_constraints_may_come_from_a_generator(form: Form) -> None:
    with pytest.raises(NoCandidateError, match="small: is not cleared for pii"):
        form(router(), subject_to=(cleared(tag) for tag in ["pii"]))


@each_form
def test_a_constraint_that_raises_lets_nobody_answer(form: Form) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("in the constraint")

    small, large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
    with pytest.raises(ZeroDivisionError, match="in the constraint"):
        form(router(small, large), subject_to=[broken])
    assert small.calls == large.calls == []


@each_form
def test_a_constraint_without_a_verdict_lets_nobody_answer(form: Form) -> None:
    small, large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
    with pytest.raises(ConfigurationError, match=r"constraint <lambda> must return .*, not 0"):
        form(router(small, large), subject_to=[lambda *_: 0])
    assert small.calls == large.calls == []


@each_form
def test_a_predictor_without_a_number_lets_nobody_answer(form: Form) -> None:
    small = ScriptedLLM(model="small")
    llm = router(small, predictor=FixedPredictor({"small": math.nan, "large": 0.9}))
    with pytest.raises(RouterError, match="predictor 'fixed' gave 'small' the quality nan"):
        form(llm)
    assert small.calls == []


@pytest.mark.parametrize("name", ["", 7, "Small"])
@each_form
def test_a_name_that_nobody_has_is_told(form: Form, name: Any) -> None:
    small = ScriptedLLM(model="small")
    with pytest.raises(UnknownCandidateError, match=f"{name!r}; there are: small, large"):
        form(router(small), model=name)
    assert small.calls == []


@each_form
def test_a_pin_that_nobody_has_is_told(form: Form) -> None:
    with (
        call_scope(pin="huge"),
        pytest.raises(UnknownCandidateError, match="'huge'; there are: small, large"),
    ):
        form(router())
