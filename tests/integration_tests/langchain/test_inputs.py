"""Odd inputs are routed at once and arrive as they were; odd arguments are refused in words."""

from __future__ import annotations

import math
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue

from langchain_router import Candidate, ChatRouter, Cooldown, Policy, cleared, deadline_s
from shared_core import (
    ConfigurationError,
    NoCandidateError,
    RouterError,
    UnknownCandidateError,
    call_scope,
)
from tests.fakes.chat_models import ScriptedChat
from tests.fakes.core import FixedPredictor
from tests.fakes.timing import fastest
from tests.integration_tests.langchain.forms import FORMS, Form, router

CALL = {"name": "weather", "args": {"city": "Lisbon"}, "id": "c1"}


def turns(number: int) -> list[BaseMessage]:
    """A conversation of humans, calls, and results, in turn."""
    pattern = [
        HumanMessage("a"),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("b", tool_call_id="c1"),
    ]
    return [pattern[place % 3] for place in range(number)]


ROUTED: dict[str, Any] = {
    "empty text": "",
    "whitespace": " \n\t\u00a0\u3000",
    "1 MB": "word " * 200_000,
    "1 MB in one word": "a" * 1_000_000,
    "1 MB of another script": "слово " * 170_000,
    "NULs": "a\0b\0" * 1000,
    "lone surrogates": "\ud800 and \udfff" * 1000,
    "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd\u202c \u0645\u0631\u062d\u0628\u0627",
    "zero width": "\u200b\u200d\ufeff" * 1000,
    "no message": [],
    "no blocks": [HumanMessage([])],
    "10,000 messages": turns(10_000),
    "10,000 blocks": [HumanMessage([{"type": "text", "text": "a"}] * 10_000)],
    "system alone": [SystemMessage("Be brief.")],
    "a role that nobody knows": [ChatMessage("Hm.", role="critic"), HumanMessage("Well?")],
    "a function's result": [HumanMessage("a"), FunctionMessage("4", name="f")],
    "a tool's result alone": [ToolMessage("4", tool_call_id="c1")],
    "something to remove": [RemoveMessage(id="m1"), HumanMessage("a")],
    "assistant first": [AIMessage("Hello."), HumanMessage("a")],
    "image": [
        HumanMessage([{"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}])
    ],
    "image by URL": [
        HumanMessage([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}])
    ],
    "audio": [HumanMessage([{"type": "audio", "base64": "UklGRg==", "mime_type": "audio/wav"}])],
    "mixed blocks": [
        HumanMessage(["a", {"type": "text", "text": "b"}, {"type": "image", "url": "x"}, "c"])
    ],
    "unknown blocks": [HumanMessage([{"type": "hologram", "data": [1, {"a": None}]}])],
    "a text that is none": [HumanMessage([{"type": "text", "text": None}])],
    "a text that is a number": [HumanMessage([{"type": "text", "text": 7}])],
    "results within": [
        HumanMessage(
            [{"type": "tool_result", "content": content} for content in ("a", ["b"], 7, {})]
        )
    ],
    "media of no kind": [HumanMessage([{"type": "media"}])],
    "a prompt value": ChatPromptValue(messages=[HumanMessage("a")]),
    "a text as prompt value": StringPromptValue(text="a"),
}
"""By what is odd about it; every candidate can read it."""

each_input = pytest.mark.parametrize("given", ROUTED.values(), ids=ROUTED.keys())


def messages_of(given: Any) -> list[BaseMessage]:
    if isinstance(given, str):
        return [HumanMessage(given)]
    return given if isinstance(given, list) else given.to_messages()


class Silent(ScriptedChat):
    """Keeps what it gets and answers a word to everything, to nothing at all too."""

    def _next(self, method: str, messages: list[BaseMessage], *args: Any) -> Any:
        self.bound.append(list(messages))
        return super()._next(method, [HumanMessage("Hello")], *args)


@each_input
@pytest.mark.parametrize("form", FORMS)
def test_26_the_chosen_model_receives_the_very_messages(form: Form, given: Any) -> None:
    small = Silent(model_name="small")
    llm = ChatRouter({"small": small})
    assert form(llm, given).response_metadata["router"]["candidate"] == "small"
    assert small.bound == [messages_of(given)]


@each_input
def test_26_a_decision_takes_no_time(given: Any) -> None:
    llm = router()
    assert fastest(lambda: llm.explain(given)) < 0.05


def test_26_the_time_of_a_decision_grows_no_faster_than_the_conversation() -> None:
    llm, short, long = router(), turns(2_000), turns(20_000)
    ratio = fastest(lambda: llm.explain(long)) / fastest(lambda: llm.explain(short))
    assert ratio < 30  # 10 if it is linear, 100 if it is quadratic


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ([{"type": "text", "text": None}, "b"], "b"),
        ([{"type": "text", "text": 7}, {"type": "hologram"}], "7"),
        (["a", {"type": "refusal", "refusal": "No."}], "aNo."),
        (["a", {"type": "tool_use"}], "a"),
        (["a", {"type": "tool_use", "id": 7, "name": None, "input": 7}], "a"),
    ],
)
def test_26_odd_blocks_of_an_unknown_writer_are_read_as_text(answer: Any, read: str) -> None:
    small = Silent(model_name="small")
    ChatRouter({"small": small}).invoke([HumanMessage("a"), AIMessage(answer), HumanMessage("b")])
    first, found, last = small.bound[0]
    assert (first.content, found.content, last.content) == ("a", read, "b")


@pytest.mark.parametrize(
    ("capability", "words", "kind"),
    [
        ("image_inputs", "images", "image"),
        ("audio_inputs", "audio", "audio"),
        ("video_inputs", "video", "video"),
        ("pdf_inputs", "PDF files", "file"),
    ],
)
def test_26_what_nobody_can_read_is_refused_in_words(
    capability: str, words: str, kind: str
) -> None:
    blind = ScriptedChat(model_name="small")
    llm = ChatRouter([Candidate("small", blind, capabilities={capability: False})])
    asked = [HumanMessage([{"type": "text", "text": "See:"}, {"type": kind, "url": "x"}])]
    for call in (llm.explain, llm.invoke):
        with pytest.raises(NoCandidateError, match=f"small: cannot read {words}"):
            call(asked)
    assert blind.calls == []


def test_26_what_does_not_fit_is_refused_in_words() -> None:
    llm = router(ScriptedChat(profile={"max_input_tokens": 100}), ScriptedChat())
    assert llm.explain("word " * 200).refusals[0].reason.endswith("its window holds 100")


@pytest.mark.parametrize("given", [7, None, object(), {"q": "a"}, [("critic", "a")], [None]])
def test_26_what_langchain_refuses_is_refused_in_its_words(given: Any) -> None:
    small = ScriptedChat(model_name="small")
    with pytest.raises((ValueError, NotImplementedError)) as bare:
        ScriptedChat().invoke(given)
    for call in (router(small).explain, router(small).invoke):
        with pytest.raises(type(bare.value)) as routed:
            call(given)
        assert str(routed.value) == str(bare.value)
    assert small.calls == []


# --- arguments; most are in `test_arguments`, and in the unit tests of what takes them ---


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: router(policy=Policy), "policy must be a Policy"),
        (lambda: router(policy=None), "policy must be a Policy"),
        (lambda: router(cooldown=5), r"cooldown must be a Cooldown\(...\), not 5"),
        (lambda: router(cooldown=Cooldown), "cooldown must be a Cooldown"),
        (lambda: Cooldown(failures=math.nan), "cooldown: failures must be a number from 0 up"),
        (lambda: deadline_s(0), r"deadline_s\(\) takes a positive number, not 0"),
        (lambda: Candidate("a", ScriptedChat(), local="no"), "'a': local must be True, False"),
        (lambda: Candidate("a", ScriptedChat(), tags=7), "'a': tags must be a sequence"),
        (lambda: ChatRouter({"": ScriptedChat()}), "name must be a non-empty string"),
        (lambda: ChatRouter({7: ScriptedChat()}), "name must be a non-empty string"),
        (lambda: ChatRouter({"a": None}), "'a': model must be a LangChain BaseChatModel"),
        (lambda: ChatRouter(7), "candidates must be a list of Candidate"),
    ],
)
def test_wrong_arguments_say_what_to_change(make: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make()


@pytest.mark.parametrize("wrong", [None, 7, "local", cleared("pii"), [None], [7]])
@pytest.mark.parametrize("form", FORMS)
def test_constraints_that_are_none_refuse_the_call(form: Form, wrong: Any) -> None:
    small = ScriptedChat(model_name="small")
    with pytest.raises(ConfigurationError, match="subject_to must be a list of constraints"):
        form(router(small), "Hello", subject_to=wrong)
    assert small.calls == []


@pytest.mark.parametrize("form", FORMS)
def test_constraints_may_come_from_a_generator(form: Form) -> None:
    rules = (cleared(tag) for tag in ["pii"])
    with pytest.raises(NoCandidateError, match="small: is not cleared for pii"):
        form(router(), "Hello", subject_to=rules)


@pytest.mark.parametrize("form", FORMS)
def test_a_constraint_that_raises_lets_nobody_answer(form: Form) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("in the constraint")

    small, large = ScriptedChat(model_name="small"), ScriptedChat(model_name="large")
    with pytest.raises(ZeroDivisionError, match="in the constraint"):
        form(router(small, large), "Hello", subject_to=[broken])
    assert small.calls == large.calls == []


@pytest.mark.parametrize("form", FORMS)
def test_a_constraint_without_a_verdict_lets_nobody_answer(form: Form) -> None:
    small, large = ScriptedChat(model_name="small"), ScriptedChat(model_name="large")
    with pytest.raises(ConfigurationError, match=r"constraint <lambda> must return .*, not 0"):
        form(router(small, large), "Hello", subject_to=[lambda *_: 0])
    assert small.calls == large.calls == []


@pytest.mark.parametrize("form", FORMS)
def test_a_predictor_without_a_number_lets_nobody_answer(form: Form) -> None:
    small = ScriptedChat(model_name="small")
    llm = router(small, predictor=FixedPredictor({"small": math.nan, "large": 0.9}))
    with pytest.raises(RouterError, match="predictor 'fixed' gave 'small' the quality nan"):
        form(llm, "Hello")
    assert small.calls == []


@pytest.mark.parametrize("name", ["", 7, "Small"])
@pytest.mark.parametrize("form", FORMS)
def test_a_name_that_nobody_has_is_told(form: Form, name: Any) -> None:
    small = ScriptedChat(model_name="small")
    with pytest.raises(UnknownCandidateError, match=f"{name!r}; there are: small, large"):
        form(router(small), "Hello", model=name)
    assert small.calls == []


@pytest.mark.parametrize("form", FORMS)
def test_a_pin_that_nobody_has_is_told(form: Form) -> None:
    with (
        call_scope(pin="huge"),
        pytest.raises(UnknownCandidateError, match="'huge'; there are: small, large"),
    ):
        form(router(), "Hello")
    with pytest.raises(UnknownCandidateError, match="'huge'; there are: small, large"):
        form(router(), "Hello", {"configurable": {"pin": "huge"}})
