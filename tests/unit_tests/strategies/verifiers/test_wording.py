"""Wordings that right answers seldom have, and forms that were asked for."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from shared_core.strategies.verifiers.forms import Form, asked_form
from shared_core.strategies.verifiers.wording import Wording
from shared_core.types import Reply, Verdict
from tests.fakes.verifying import ODD_TEXTS, draft, verdict


def looked(answer: str | Reply, asked: str = "Hello", prior: float = 0.8) -> Verdict:
    return verdict(Wording(), draft(answer, asked, prior=prior))


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I cannot answer that.",  # noqa: RUF001
        "As an AI language model, I have no opinion.",
        "I don't know.",
        "Unfortunately I do not have access to the internet.",
    ],
)
def test_a_refusal_is_improbable(answer: str) -> None:
    said = looked(answer)
    assert (said.probability, said.note) == (0.05, "it refuses")


@pytest.mark.parametrize("answer", ["", "  \n\t", "\u200a"])
def test_an_empty_answer_is_improbable(answer: str) -> None:
    assert looked(answer).note == "it is empty"
    assert looked(answer).probability == 0.05


def test_an_answer_may_have_no_text() -> None:
    called = Reply("small", tool_calls=(("weather", {}),))
    assert looked(called).probability is None
    assert looked(Reply("small", parsed={"a": 1})).probability is None


@pytest.mark.parametrize(
    "loop", ["and so on ", "The cat sat.\n", "x", "1, 2, a\n" * 3, "It is a long sentence. " * 10]
)
def test_a_loop_is_improbable(loop: str) -> None:
    said = looked("It is so: " + loop * (2_500 // len(loop)))
    assert (said.probability, said.note) == (0.05, "it goes round in a loop")


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        ("| " + "-" * 500, "Hello"),  # a table's rule
        ("It is 12." + "</s>" * 300, "Hello"),  # some servers send what a batch is padded with
        ("It is 12." + "<|endoftext|>" * 300, "Hello"),
        ("and so on. " * 5, "Hello"),
        ("yes " * 500, "Repeat yes, as often as you can."),
        ("yes " * 500, "Say yes 500 times"),
        ("".join(f"{n}. item\n" for n in range(300)), "Hello"),
        ("Paris.", "Hello"),
        ("I cannot find a mistake in it: 12 is right.", "Hello"),
        ("Sorry to hear that. Rest well.", "Hello"),
        ("Dear Ann,\n\nI'm sorry, but I can't help you move.", "Write to Ann"),
        ('Say "I don\'t know" and smile.', "What do I say?"),
    ],
)
def test_nothing_is_wrong_and_that_proves_nothing(answer: str, asked: str) -> None:
    said = looked(answer, asked)
    assert said.probability is None
    assert said.note == "nothing is wrong with the wording"


@pytest.mark.parametrize(
    "answer",
    [
        "The text is too short. I cannot provide an answer. "
        + "But this is known: "
        + ", ".join(map(str, range(200))),
        "I'm not entirely sure, but B.",
        "It is hard to say. 12.",
        "None of the options fit; (C).",
    ],
)
def test_a_hedge_is_modest_evidence_against(answer: str) -> None:
    said = looked(answer)
    assert said.note == "it is unsure"
    assert said.probability == pytest.approx(0.632, abs=1e-3)


@pytest.mark.parametrize(
    ("asked", "form"),
    [
        ("What is it? Answer with a single word.", Form(single="word")),
        ("Say it in one word", Form(single="word")),
        ("Reply with only the number.", Form(single="number")),
        ("Give the result, number only.", Form()),
        ("Answer with one integer, please", Form(single="number")),
        ("Respond with just the letter of the right option", Form(single="letter")),
        ("List three reasons", Form(items=3)),
        ("Name 5 rivers of Asia", Form(items=5)),
        ("List 3 pros and then list 4 cons", Form()),
        ("Write at most 50 words", Form(words=50)),
        ("Sum it up in two sentences", Form(sentences=2)),
        ("in 40 words or less", Form(words=40)),
        ("Return your answer as valid JSON", Form(json=True)),
        ("Write 50 short stories under ten words", Form(items=50)),
        ("Say in one sentence what each of them does", Form()),
        ("Each of them can provide 3 large salads", Form()),
        ("def f(x): # Given a list of two strings, output one integer.", Form()),
        ("What is JSON?", Form()),
        ("How many words are in this sentence?", Form()),
        ("Explain at length", Form()),
        ("", Form()),
    ],
)
def test_the_form_that_a_prompt_asks_for(asked: str, form: Form) -> None:
    assert asked_form(asked) == form


@pytest.mark.parametrize(
    ("asked", "fits", "breaks"),
    [
        ("Answer with a single word.", "Paris.", "It is Paris, of course."),
        ("Reply with only the number.", "42 km", "There are 42 of them, I think."),
        ("Reply with only the number.", "forty-two", "There are some of them."),
        ("Answer with only the letter.", "(B)", "B, because it is blue"),
        ("List three reasons.", "1. a\n2. b\n3. c", "1. a\n2. b"),
        ("List three reasons.", "a, b and c", "- a\n- b"),
        (
            "Use at most 5 words.",
            "It is a city.",
            "It is a very large city in the north of France.",
        ),
        ("Explain in one sentence.", "So it is. Yes.", "It is. It was. It will be. So."),
        ("Answer in JSON.", '{"a": 1}', "It is one."),
    ],
)
def test_a_broken_form_is_evidence_against(asked: str, fits: str, breaks: str) -> None:
    assert looked(fits, asked).probability is None
    said = looked(breaks, asked)
    assert said.probability == pytest.approx(0.5)
    assert "as" in said.note or said.note.startswith("not one")


def test_structured_output_has_a_form_of_its_own() -> None:
    asked = draft("It is Paris, of course.", "Answer in one word.", schema={"type": "object"})
    assert verdict(Wording(), asked).probability is None


def test_a_failure_never_makes_an_answer_more_probable() -> None:
    assert looked("I don't know.", prior=0.01).probability == 0.01


def test_a_glance_sees_what_no_end_can_mend() -> None:
    growing = replace(draft("I don't know"), whole=False)
    assert Wording().glance(growing) is None  # it may go on
    assert Wording().glance(draft("no, " * 500)) == (0.05, 0.0)
    assert Wording().glance(draft("")) is None
    assert Wording().glance(draft("The capital of", "Answer in one word.")) is None


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_any_text_is_read_in_bounded_time(text: str) -> None:
    started = time.thread_time()
    said = looked(text, text)
    assert said.probability is None or 0 <= said.probability <= 1
    assert looked(text, "List three things in one sentence, as JSON").note
    assert time.thread_time() - started < 0.2
