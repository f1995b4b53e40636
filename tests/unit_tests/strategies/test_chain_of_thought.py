"""Chain of thought: how much reasoning is asked for, what is the answer, what is shown."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shared_core import (
    AllCandidatesFailedError,
    ChainOfThought,
    ConfigurationError,
    Router,
)
from shared_core.decision.candidates import prepare_candidates
from shared_core.execution.run import Run
from shared_core.types import Ask, Decision, Prompt, Reply, Turn
from tests.fakes import core
from tests.fakes.core import FakeTransport, FixedPredictor, candidate, estimate
from tests.fakes.driving import Driver, every_driver, streaming, whole

MARKER = "=== ANSWER ==="
LOST = ConnectionError("lost")


def prompt(text: str = "What is 2 + 2?", **view: Any) -> Prompt:
    """A prompt that computes."""
    return core.prompt(text, **view)


def decided(
    quality: float = 0.3, names: Sequence[str] = ("small", "large"), **known: Any
) -> Decision:
    """All candidates are this good, the first one is chosen."""
    estimates = tuple(estimate(name, quality) for name in names)
    view = {"fallbacks": tuple(names[1:]), "allowed": tuple(names), "delta": 0.05, **known}
    return Decision("id", names[0], "because", False, estimates, **view)


def started(
    strategy: ChainOfThought = ChainOfThought(),  # noqa: B008 - frozen
    decision: Decision = decided(),  # noqa: B008
    asked: Prompt = prompt(),  # noqa: B008
) -> Run:
    return Run(strategy.steps(asked, decision), decision)


class Transport(FakeTransport):
    """Answers its script, each ask with the next of a candidate's replies, with a finish reason."""

    def __init__(self, reasons: Sequence[str | None] = (), **script: list[Any]) -> None:
        super().__init__({})
        self._left = {name: iter(replies) for name, replies in script.items()}
        self._reasons = iter(reasons)

    def stream(self, ask: Ask) -> Any:
        said = next(self._left[ask.candidate])
        self.script = {ask.candidate: said if isinstance(said, list) else [said]}
        return super().stream(ask)

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        return replace(super().join(ask, chunks), finish_reason=next(self._reasons, None))


def level_of(strategy: ChainOfThought, quality: float, **known: Any) -> str:
    """The level that a candidate known to reason is asked with."""
    decision = decided(quality, reasoners=frozenset({"small", "large"}), **known)
    run = started(strategy, decision)
    run.resume(run.wishes)  # the note
    (ask,) = run.wishes
    assert isinstance(ask, Ask)
    assert ask.visible
    assert not ask.turns
    return str(ask.params["reasoning"])


# --- how much ---


@pytest.mark.parametrize(
    ("quality", "level"),
    [(0.99, "none"), (0.9, "none"), (0.85, "low"), (0.7, "medium"), (0.1, "high"), (0.0, "high")],
)
def test_the_less_likely_an_answer_is_right_the_more_it_reasons(quality: float, level: str) -> None:
    assert level_of(ChainOfThought(), quality) == level


def test_the_more_may_be_given_up_the_less_it_reasons() -> None:
    levels = [level_of(ChainOfThought(), 0.3, delta=delta) for delta in (0.0, 0.05, 0.2, 1.0)]
    assert levels == ["high", "medium", "low", "none"]


def test_it_keeps_to_the_ends_that_it_is_given() -> None:
    assert level_of(ChainOfThought(easy="low"), 0.99) == "low"
    assert level_of(ChainOfThought(hard="low"), 0.0) == "low"
    assert level_of(ChainOfThought("high", "high"), 0.99) == "high"
    assert level_of(ChainOfThought("none", "none"), 0.0) == "none"


def test_a_short_limit_of_the_callers_leaves_less_room() -> None:
    reasoners = frozenset({"small"})
    for limit, level in (
        *((100, "none"), (1023, "none"), (1024, "low"), (8191, "low")),
        *((8192, "medium"), (None, "medium")),
    ):
        asked = prompt(max_tokens=limit)
        run = started(ChainOfThought(), decided(0.3, reasoners=reasoners), asked)
        run.resume(run.wishes)
        assert [ask.params for ask in run.wishes] == [{"reasoning": level}]  # type: ignore[union-attr]


def test_who_does_not_reason_by_itself_is_asked_to_think_step_by_step() -> None:
    run = started()
    run.resume(run.wishes)
    (ask,) = run.wishes
    assert isinstance(ask, Ask)
    ((role, text),) = ask.turns
    assert role == "user"
    assert MARKER in text
    assert "step by step" in text
    assert not ask.visible
    assert not ask.params


@pytest.mark.parametrize(
    "asked",
    [
        prompt(tools=({"type": "function"},)),
        prompt(in_tool_loop=True),
        prompt(schema={"type": "object"}),
        Prompt(
            (Turn("system", "Thought: …\nAction: …\nAction Input: {}"), Turn("user", "2 + 2")), 9
        ),
    ],
)
@every_driver
def test_forms_are_not_broken(driver: Driver, asked: Prompt) -> None:
    transport = Transport(small=[f"thought\n{MARKER}\n42"])
    assert driver(started(asked=asked), transport) == f"thought\n{MARKER}\n42"
    (ask,) = transport.asked
    assert ask.visible
    assert not ask.turns
    assert not ask.params
    native = Transport(small=["42"])
    decision = decided(0.3, reasoners=frozenset({"small"}))
    assert driver(started(decision=decision, asked=asked), native) == "42"
    assert native.asked[0].params == {"reasoning": "medium"}


@pytest.mark.parametrize("quality", [0.85, 0.99])
def test_an_easy_prompt_is_asked_plainly(quality: float) -> None:
    transport = Transport(small=[["4", "2"]])
    assert list(streamed_chunks(started(decision=decided(quality)), transport)) == ["4", "2"]
    assert not transport.asked[0].turns


def test_the_ends_hold_for_thinking_on_request_too() -> None:
    for strategy, quality, thinks in (
        (ChainOfThought(easy="medium"), 0.99, True),
        (ChainOfThought(hard="none"), 0.0, False),
        (ChainOfThought(hard="medium"), 0.0, True),
    ):
        transport = Transport(small=[f"{MARKER}\n42"])
        whole(started(strategy, decided(quality)), transport)
        assert bool(transport.asked[0].turns) is thinks


# --- the answer ---


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f"2 + 2 is 4.\n{MARKER}\n4", "4"),
        (f"{MARKER}\n4", "4"),
        (f"thought\n{MARKER} 4", "4"),
        (f"thought\n**{MARKER}**\n\n4\n\nand 5\n", "4\n\nand 5"),
        (f"thought\n### {MARKER}\n4", "4"),
        (f"a line {MARKER} in passing\n{MARKER}\n4", "4"),
        (f"first\n{MARKER}\n3\nNo, wait.\n{MARKER}\n4", "4"),
        (f"thought\n{MARKER}\n4\n{MARKER}", "4"),
        (f"thought\n{MARKER}\n4\n**{MARKER}**\n{MARKER}\n", "4"),
        (f"<think>it is\n{MARKER}\n3</think>so\n{MARKER}\n4", "4"),
        ("<think>hm</think>\n\nIt is 4.", "It is 4."),
        ("hm\n</think>\n\nIt is 4.", "It is 4."),
        ("It is 4.", "It is 4."),
        ("The tag `</think>` ends it.", "The tag `</think>` ends it."),
        (f"It is, in short, {MARKER} 4.", "4."),
    ],
)
@every_driver
def test_the_answer_is_what_follows_the_marker(driver: Driver, text: str, answer: str) -> None:
    transport = Transport(small=[list(text)])
    assert driver(started(), transport) == answer
    assert len(transport.asked) == 1


def test_code_keeps_the_indentation_of_its_first_line() -> None:
    text = f"So:\n{MARKER}\n\n    if x:\n        return y\n"
    assert whole(started(), Transport(small=[text])) == "    if x:\n        return y"


@every_driver
def test_reasoning_is_shown_where_that_is_wanted(driver: Driver) -> None:
    text = f"<think>hm</think>thought\n{MARKER}\n4"
    strategy = ChainOfThought(show_reasoning=True)
    assert driver(started(strategy), Transport(small=[list(text)])) == text


@streaming
def test_what_is_shown_grows(driver: Driver) -> None:
    run = started(ChainOfThought(show_reasoning=True))
    assert list(streamed_chunks(run, Transport(small=[["a", "b"]]))) == ["a", "b"]


@every_driver
def test_a_marker_of_the_callers_is_not_taken_for_ours(driver: Driver) -> None:
    asked = prompt(f"Repeat this:\n{MARKER}\n=== ANSWER 7 ===\n3")
    text = f"They want\n{MARKER}\n=== ANSWER 7 ===\n3\n=== ANSWER 8 ===\n{MARKER}\n3"
    transport = Transport(small=[text])
    assert driver(started(asked=asked), transport) == f"{MARKER}\n3"
    assert "=== ANSWER 8 ===" in transport.asked[0].turns[0].text


@pytest.mark.parametrize(
    "text",
    [
        MARKER * 60_000,
        f"\n{MARKER}" * 60_000,
        f"{MARKER}\n" + " " * 1_000_000,
        (" " * 20 + MARKER) * 30_000,
        "<think>" * 150_000,
        "\n</think>" * 150_000,
        "\n" * 1_000_000,
    ],
)
def test_hostile_answers_are_read_in_linear_time(text: str) -> None:
    begun = time.perf_counter()
    for asked in (prompt(), prompt(text)):
        whole(started(asked=asked), Transport(small=[text, "plainly"]))
    assert time.perf_counter() - begun < 5


# --- what is no answer ---


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("thought and thou", "length"),
        ("thought and thou", "MAX_TOKENS"),
        (f"thought\n{MARKER}\n", "max_tokens"),
        ("<think>thought and thou", "length"),
        ("<think>thought and thou", "stop"),
        ("", "stop"),
        (" \n", None),
    ],
)
@every_driver
def test_without_an_answer_it_is_asked_again_plainly(
    driver: Driver, text: str, reason: str | None
) -> None:
    transport = Transport([reason], small=[text, "4"])
    assert driver(started(), transport) == "4"
    assert [(ask.visible, bool(ask.turns)) for ask in transport.asked] == [
        (False, True),
        (True, False),
    ]


@every_driver
def test_what_was_cut_off_is_better_than_nothing(driver: Driver) -> None:
    transport = Transport(["length"], small=["thought and thou", LOST], large=[LOST])
    assert driver(started(), transport) == "thought and thou"


def test_nothing_follows_what_somebody_has_seen() -> None:
    strategy = ChainOfThought()
    steps = strategy.steps(prompt(), decided(names=("small",)))
    next(steps)
    steps.send(())
    steps.send((Reply("small", text="thought and", finish_reason="length"),))
    steps.send(())
    with pytest.raises(ConnectionError):
        steps.send((Reply("small", error=LOST, shown=True),))


@every_driver
def test_another_answers_where_the_second_time_fails(driver: Driver) -> None:
    transport = Transport(["length"], small=["thought and thou", LOST], large=[f"x\n{MARKER}\n4"])
    assert driver(started(), transport) == "4"


@every_driver
def test_an_answer_that_was_cut_off_is_one(driver: Driver) -> None:
    transport = Transport(["length"], small=[f"thought\n{MARKER}\nfour and tw"])
    assert driver(started(), transport) == "four and tw"


# --- failures ---


@every_driver
def test_a_fallback_takes_over(driver: Driver) -> None:
    transport = Transport(small=[LOST], large=[f"thought\n{MARKER}\n4"])
    assert driver(started(), transport) == "4"
    assert [ask.candidate for ask in transport.asked] == ["small", "large"]


@every_driver
def test_each_is_asked_in_its_own_way(driver: Driver) -> None:
    transport = Transport(small=[LOST], large=["4"])
    decision = decided(0.3, reasoners=frozenset({"large"}))
    assert driver(started(decision=decision), transport) == "4"
    held, native = transport.asked
    assert held.turns
    assert not held.params
    assert not native.turns
    assert native.params == {"reasoning": "medium"}


@every_driver
def test_all_fail(driver: Driver) -> None:
    with pytest.raises(AllCandidatesFailedError):
        driver(started(), Transport(small=[LOST], large=[LOST]))


@every_driver
def test_nobody_mends_a_wrong_request(driver: Driver) -> None:
    transport = Transport(small=[ValueError("no")])
    with pytest.raises(ValueError, match="no"):
        driver(started(), transport)
    assert len(transport.asked) == 1


# --- what is written down and said before ---


def test_it_is_written_down_how_it_was_asked() -> None:
    transport = Transport(["length"], small=["thought", "4"])
    whole(started(), transport)
    notes = [(v.candidate, v.probability, v.note) for v in transport.verdicts]
    assert notes == [
        ("", None, "reasoning low: right with probability 0.30 without, step by step"),
        ("", None, "no answer under the marker: asked once more, plainly"),
    ]


def test_the_plan_says_so() -> None:
    strategy = ChainOfThought()
    assert strategy.plan(prompt(), decided(0.3)) == (
        "small answers; reasoning low: right with probability 0.30 without, step by step"
    )
    assert "no reasoning" in strategy.plan(prompt(in_tool_loop=True), decided(0.3))
    assert "reasoning none" in strategy.plan(prompt(), decided(0.99))


def test_the_router_says_who_reasons() -> None:
    levels = {"reasoning_effort_levels": ["low", "high"]}
    stated = [
        candidate("a", capabilities={"reasoning_output": True}),
        candidate("b", capabilities=levels),
        candidate("c", capabilities={**levels, "reasoning_output": False}),
        candidate("d"),
    ]
    router = Router(
        prepare_candidates(stated, lambda one: (one.model, {})),
        predictor=FixedPredictor(dict.fromkeys("abcd", 0.3)),
        strategy=ChainOfThought(),
    )
    assert router.decide(prompt()).reasoners == {"a", "b"}
    assert "reasoning medium" in router.explain(prompt(), "a").plan


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"easy": "minimal"}, "easy"),
        ({"hard": None}, "hard"),
        ({"hard": ["low"]}, "hard"),
        ({"easy": "high", "hard": "low"}, "more reasoning"),
        ({"show_reasoning": "no"}, "show_reasoning"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        ChainOfThought(**wrong)


def test_levels_are_in_order() -> None:
    for easy, hard in itertools.combinations(("none", "low", "medium", "high"), 2):
        ChainOfThought(easy, hard)  # type: ignore[arg-type]


def test_earlier_turns_are_looked_at_for_markers() -> None:
    asked = Prompt((Turn("assistant", MARKER), Turn("user", "2 + 2 again")), 10)
    transport = Transport(small=["x\n=== ANSWER 2 ===\n4"])
    assert whole(started(asked=asked), transport) == "4"


def streamed_chunks(run: Run, transport: Any) -> list[str]:
    from shared_core.execution import drivers

    return list(drivers.stream(run, transport))


@pytest.mark.parametrize(
    ("text", "computes"),
    [
        ("What is 12 times 7?", True),
        ("Solve x = y.", True),
        ("If three cats catch half of the mice, who is left?", True),
        ("Who painted Guernica in 1937?", False),
        ("Summarise this text in one sentence.", False),
        ("often someone", False),
    ],
)
def test_only_what_computes_is_thought_about_unless_it_always_is(text: str, computes: bool) -> None:
    plan = ChainOfThought().plan(prompt(text), decided(0.3))
    assert ("step by step" in plan) is computes
    assert "step by step" in ChainOfThought(easy="low").plan(prompt(text), decided(0.3))


@pytest.mark.parametrize("text", [f"46 + 38 {MARKER} 84", f"so 46 + 38 is {MARKER}84\n"])
def test_a_marker_within_a_line_does_where_there_is_no_other(text: str) -> None:
    assert whole(started(ChainOfThought(easy="low")), FakeTransport({"small": [text]})) == "84"
