"""A cascade: who drafts, what is accepted, what becomes of the rest, in all four drivers."""

from __future__ import annotations

import math
import pickle
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from shared_core import (
    AllCandidatesFailedError,
    BudgetExceededError,
    Cascade,
    ConfigurationError,
    Judge,
    Router,
)
from shared_core.decision.candidates import prepare_candidates
from shared_core.execution import drivers
from shared_core.execution.run import Run
from shared_core.strategies.verifiers.base import FunctionVerifier
from shared_core.types import Ask, Decision, Draft, Prompt, Reply, Turn, Verdict, Verification
from tests.fakes.core import FakeTransport, candidate, estimate, prompt
from tests.fakes.driving import Driver, every_driver, streamed, streaming, whole

QUALITIES = {"small": 0.6, "middle": 0.8, "large": 0.95}
LOST = ConnectionError("lost")


def right(draft: Draft) -> bool:
    return True


def wrong(draft: Draft) -> bool:
    return False


def unknown(draft: Draft) -> None:
    return None


def of(*names: str) -> Callable[[Draft], bool]:
    """A verifier that likes the drafts of these."""
    return lambda draft: draft.reply.candidate in names


def decided(names: Sequence[str] = ("small", "large"), **known: Any) -> Decision:
    """Candidates that are given weakest first, the first one chosen."""
    return Decision(
        *("id", names[0], "because", False),
        tuple(estimate(name, QUALITIES[name], output_tokens=40) for name in names),
        **{"fallbacks": tuple(names[1:]), "allowed": tuple(names), "delta": 0.05, **known},
    )


THREE = decided(("small", "middle", "large"))


def started(cascade: Cascade, decision: Decision = decided(), asked: Prompt = prompt()) -> Run:  # noqa: B008 - frozen
    return Run(cascade.steps(asked, decision), decision)


def says(**script: Any) -> FakeTransport:
    return FakeTransport({name: [said] for name, said in script.items()})


def asked(transport: FakeTransport) -> list[tuple[str, bool]]:
    return [(ask.candidate, ask.visible) for ask in transport.asked]


def drafted(transport: FakeTransport) -> list[str]:
    return [ask.candidate for ask in transport.asked if not ask.visible]


# --- accepting and escalating ---


@every_driver
def test_a_good_draft_is_the_answer(driver: Driver) -> None:
    transport = says(small="draft", large="never")
    assert driver(started(Cascade(right)), transport) == "draft"
    assert asked(transport) == [("small", False)]
    (verdict,) = transport.verdicts
    assert (verdict.verifier, verdict.candidate) == ("right", "small")
    assert verdict.probability == pytest.approx(0.993, abs=0.001)  # of 0.6 before


@every_driver
def test_a_bad_draft_is_never_seen(driver: Driver) -> None:
    transport = says(small="draft", large="answer")
    assert driver(started(Cascade(wrong)), transport) == "answer"
    assert asked(transport) == [("small", False), ("large", True)]


@every_driver
@pytest.mark.parametrize(("what", "answer"), [("escalate", "answer"), ("accept", "draft")])
def test_of_what_nobody_can_tell_the_user_says_what_becomes(
    driver: Driver, what: Any, answer: str
) -> None:
    transport = says(small="draft", large="answer")
    assert driver(started(Cascade(unknown, unverified=what)), transport) == answer
    assert [v.probability for v in transport.verdicts] == [None]


@every_driver
@pytest.mark.parametrize("likes", ["small", "middle", "large"])
def test_three_candidates_are_climbed_one_by_one(driver: Driver, likes: str) -> None:
    transport = says(small="small", middle="middle", large="large")
    assert driver(started(Cascade(of(likes)), THREE), transport) == likes
    climbed = list(QUALITIES)[: list(QUALITIES).index(likes) + 1]
    assert [name for name, _ in asked(transport)] == climbed
    assert drafted(transport) == [name for name in climbed if name != "large"]


def test_no_more_drafts_are_made_than_allowed() -> None:
    transport = says(small="small", middle="middle", large="large")
    assert whole(started(Cascade(wrong, max_drafts=1), THREE), transport) == "large"
    assert asked(transport) == [("small", False), ("large", True)]


def test_a_rung_that_costs_too_much_is_skipped() -> None:
    costs = {"small": 0.01, "middle": 0.9, "large": 1.0}
    decision = replace(
        THREE, estimates=tuple(replace(e, cost_usd=costs[e.candidate]) for e in THREE.estimates)
    )
    transport = says(small="small", middle="middle", large="large")
    assert whole(started(Cascade(wrong), decision), transport) == "large"
    assert drafted(transport) == ["small"]


def test_the_users_own_bar_decides() -> None:
    for accept, answer in ((0.5, "draft"), (0.9, "answer")):
        transport = says(small="draft", large="answer")
        run = started(Cascade(lambda draft: 0.6, accept=accept))
        assert whole(run, transport) == answer


@streaming
def test_the_last_one_streams(driver: Driver) -> None:
    transport = FakeTransport({"small": ["dra", "ft"], "large": ["ans", "wer"]})
    assert driver(started(Cascade(wrong)), transport) == "answer"
    run = started(Cascade(wrong))
    assert [*map(str, _chunks(run, transport))] == ["ans", "wer"]
    assert run.was_shown


def _chunks(run: Run, transport: FakeTransport) -> list[Any]:
    return list(drivers.stream(run, transport))


# --- who answers without a draft ---


@pytest.mark.parametrize(
    "decision", [decided(("small",)), decided(allowed=("small",), fallbacks=("large",))]
)
@every_driver
def test_where_one_alone_may_answer_nobody_drafts(driver: Driver, decision: Decision) -> None:
    transport = says(small="answer")
    assert driver(started(Cascade(wrong), decision), transport) == "answer"
    assert asked(transport) == [("small", True)]


LOOP = prompt(in_tool_loop=True)


def test_who_called_the_tool_drafts_first() -> None:
    transport = says(small="small", middle="middle", large="large")
    decision = replace(THREE, candidate="middle", fallbacks=("small", "large"))
    run = started(Cascade(right), decision, replace(LOOP, author="middle"))
    assert whole(run, transport) == "middle"
    assert asked(transport) == [("middle", False)]


@pytest.mark.parametrize("phase", ["after an error", "stall"])
def test_who_takes_over_in_trouble_drafts_first(phase: Any) -> None:
    transport = says(small="small", middle="middle", large="large")
    decision = replace(THREE, candidate="middle", fallbacks=("small", "large"), phase=phase)
    run = started(Cascade(right), decision, replace(LOOP, author="small"))
    assert whole(run, transport) == "middle"
    assert asked(transport) == [("middle", False)]


@pytest.mark.parametrize("verify", [wrong, unknown])
@every_driver
def test_where_the_best_called_the_tool_it_reads_the_result(driver: Driver, verify: Any) -> None:
    transport = says(small="never", large="answer")
    decision = replace(decided(), candidate="large", fallbacks=("small",))
    run = started(Cascade(verify), decision, replace(LOOP, author="large"))
    assert driver(run, transport) == "answer"
    assert asked(transport) == [("large", True)]


# --- failures ---


@every_driver
def test_a_draft_that_fails_leaves_the_rest_to_climb(driver: Driver) -> None:
    transport = says(small=LOST, middle="middle", large="large")
    assert driver(started(Cascade(of("middle")), THREE), transport) == "middle"
    assert asked(transport) == [("small", False), ("middle", False)]


@every_driver
def test_a_drafts_error_that_no_other_could_mend_is_raised(driver: Driver) -> None:
    wrong_key = PermissionError("wrong key")
    transport = says(small=wrong_key, large="never")
    with pytest.raises(PermissionError) as caught:
        driver(started(Cascade(right)), transport)
    assert caught.value is wrong_key
    assert asked(transport) == [("small", False)]


@every_driver
@pytest.mark.parametrize("error", [LOST, BudgetExceededError("1 USD", {"USD": 0.0}, None)])
def test_where_the_last_one_fails_the_draft_answers(driver: Driver, error: Exception) -> None:
    def retryable(error: Exception) -> bool:
        return isinstance(error, (ConnectionError, BudgetExceededError))

    transport = FakeTransport({"small": ["dra", "ft"], "large": [error]}, retryable)
    assert driver(started(Cascade(wrong)), transport) == "draft"
    assert asked(transport) == [("small", False), ("large", True)]


@every_driver
def test_of_several_drafts_the_best_one_answers(driver: Driver) -> None:
    transport = says(small="small", middle="middle", large=LOST)
    chances = {"small": 0.4, "middle": 0.3}
    cascade = Cascade(lambda draft: chances[draft.reply.candidate], accept=0.99)
    assert driver(started(cascade, THREE), transport) == "middle"  # 0.3 of 0.8 is more


def test_a_draft_is_better_than_the_answer_of_a_much_weaker_one() -> None:
    costs = {"small": 0.9, "middle": 0.1, "large": 1.0}
    decision = replace(
        THREE, estimates=tuple(replace(e, cost_usd=costs[e.candidate]) for e in THREE.estimates)
    )
    transport = says(small="never", middle="draft", large=LOST)
    cascade = Cascade(lambda draft: 0.5, accept=0.9)
    assert whole(started(cascade, decision), transport) == "draft"
    assert asked(transport) == [("middle", False), ("large", True)]


@every_driver
def test_everything_failed_names_everyone(driver: Driver) -> None:
    transport = says(small=LOST, middle=LOST, large=LOST)
    with pytest.raises(AllCandidatesFailedError) as caught:
        driver(started(Cascade(right), THREE), transport)
    assert [name for name, _ in caught.value.errors] == ["small", "middle", "large"]
    assert caught.value.__cause__ is LOST


def test_where_no_budget_has_room_its_own_error_is_raised() -> None:
    full = BudgetExceededError("1 USD", {"USD": 0.0}, None)
    transport = FakeTransport({"small": [full], "large": [full]}, lambda error: True)
    with pytest.raises(BudgetExceededError) as caught:
        whole(started(Cascade(right)), transport)
    assert caught.value is full


def test_no_more_failures_are_mended_than_allowed() -> None:
    transport = says(small=LOST, middle="middle", large="large")
    with pytest.raises(ConnectionError):
        whole(started(Cascade(right), replace(THREE, fallbacks=())), transport)
    assert asked(transport) == [("small", False)]


# --- structured output ---


class Parsing(FakeTransport):
    """Parses what it can."""

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        reply = super().join(ask, chunks)
        if reply.text == "prose":
            return replace(reply, parse_error=ValueError("no JSON"))
        return replace(reply, parsed=None if reply.text == "nothing" else reply.text)


@every_driver
@pytest.mark.parametrize(
    ("said", "note"), [("prose", "ValueError"), ("nothing", "it gave none of what was asked for")]
)
def test_a_draft_that_does_not_parse_is_not_even_looked_at(
    driver: Driver, said: str, note: str
) -> None:
    transport = Parsing({"small": [said], "large": ["{}"]})
    run = started(Cascade(right), decided(), prompt(schema={"type": "object"}))
    assert driver(run, transport) == "{}"
    assert [(v.verifier, v.probability, v.note) for v in transport.verdicts] == [
        ("parser", 0.0, note)
    ]


def test_a_draft_that_does_not_parse_never_answers() -> None:
    transport = Parsing({"small": ["prose"], "large": [LOST]})
    with pytest.raises(ConnectionError):
        whole(started(Cascade(right), decided(), prompt(schema={})), transport)


# --- verifiers ---


@dataclass
class Telling:
    """A verifier that gives one probability, and keeps what it was given before."""

    name: str
    chance: Any
    reach: float | None = None
    given: float | None = None

    def verify(self, draft: Draft) -> Verification:
        self.given = draft.prior
        return Verdict(self.name, self.chance)
        yield ()


@dataclass
class Needing(Telling):
    """The same, of drafts that are asked with something."""

    params: Any = None


@every_driver
def test_each_verifier_starts_where_the_last_one_ended(driver: Driver) -> None:
    one, two, three = Telling("one", 0.7), Telling("two", None), Telling("three", 0.99)
    transport = says(small="draft", large="answer")
    assert driver(started(Cascade([one, two, three])), transport) == "draft"
    assert [one.given, two.given, three.given] == [0.6, 0.7, 0.7]
    assert [(v.verifier, v.probability, v.candidate) for v in transport.verdicts] == [
        ("one", 0.7, "small"),
        ("two", None, "small"),
        ("three", 0.99, "small"),
    ]


def test_who_could_change_nothing_is_not_asked() -> None:
    sure, weak = Telling("sure", 0.999), Telling("weak", 0.5, reach=1.0)
    transport = says(small="draft", large="answer")
    assert whole(started(Cascade([sure, weak])), transport) == "draft"
    assert weak.given is None


@pytest.mark.parametrize(("prior", "answer"), [(0.9, "draft"), (0.1, "answer")])
@pytest.mark.parametrize("unverified", ["escalate", "accept"])
def test_where_none_could_change_anything_the_prediction_stands(
    prior: float, answer: str, unverified: Any
) -> None:
    weak = Telling("weak", 0.5, reach=0.5)
    decision = decided()
    estimates = (estimate("small", prior), decision.estimates[1])
    transport = says(small="draft", large="answer")
    cascade = Cascade(weak, accept=0.5, unverified=unverified)
    assert whole(started(cascade, replace(decision, estimates=estimates)), transport) == answer
    assert weak.given is None


def test_a_hopeless_draft_is_looked_at_no_further() -> None:
    hopeless, later = Telling("hopeless", 0.01), Telling("later", 0.99)
    transport = says(small="draft", large="answer")
    assert whole(started(Cascade([hopeless, later])), transport) == "answer"
    assert later.given is None


class NoGenerator:
    name = "no generator"

    def verify(self, draft: Draft) -> Any:
        return 0.9


class Raising:
    name = "raising"

    def verify(self, draft: Draft) -> Any:
        raise ValueError(draft.reply.text)


class RaisingLater:
    name = "raising later"

    def verify(self, draft: Draft) -> Any:
        yield (Verdict("half way", 0.9),)
        raise ValueError(draft.reply.text)


@every_driver
@pytest.mark.parametrize(
    "verifier",
    [
        NoGenerator(),
        Raising(),
        RaisingLater(),
        *(Telling("odd", odd) for odd in (math.nan, 1.5, True, "0.99", "surely")),
    ],
    ids=lambda one: f"{one.name} {getattr(one, 'chance', '')}",
)
def test_a_verifier_that_fails_cannot_tell(driver: Driver, verifier: Any) -> None:
    transport = says(small="draft", large="answer")
    assert driver(started(Cascade(verifier)), transport) == "answer"
    last = transport.verdicts[-1]
    assert (last.verifier, last.probability) == (verifier.name, None)
    assert "draft" not in last.note
    later = Telling("later", 0.99)
    assert driver(started(Cascade([verifier, later])), transport) == "draft"


async def later(draft: Draft) -> float:
    return 0.9


@every_driver
@pytest.mark.parametrize("said", [math.nan, 2, "surely", "0.9", [], object()], ids=repr)
def test_a_function_that_gives_no_probability_cannot_tell(driver: Driver, said: Any) -> None:
    transport = says(small="draft", large="answer")
    assert driver(started(Cascade(lambda draft: said)), transport) == "answer"
    assert [v.probability for v in transport.verdicts] == [None]


def test_a_function_that_gives_a_coroutine_cannot_tell() -> None:
    transport = says(small="draft", large="answer")
    assert whole(started(Cascade(lambda draft: later(draft))), transport) == "answer"
    with pytest.raises(ConfigurationError, match="function of a draft"):
        Cascade(later)


@every_driver
def test_a_function_that_hangs_is_not_waited_for(driver: Driver) -> None:
    over = threading.Event()
    transport = says(small="draft", large="answer")
    hangs = FunctionVerifier(lambda draft: over.wait(30), limit_s=0.05)
    assert driver(started(Cascade(hangs)), transport) == "answer"
    over.set()
    assert "had not answered after 0.05 s" in transport.verdicts[0].note


@dataclass
class Helped:
    """Asks another candidate what it thinks of the draft."""

    name: str = "helped"

    def verify(self, draft: Draft) -> Verification:
        turns = (Turn("user", f"Is this right? {draft.reply.text}"),)
        reply: Reply
        (reply,) = yield (Ask("large", visible=False, turns=turns, purpose="check", replace=True),)
        if reply.error is not None:
            return Verdict(self.name, note=f"its helper raised {type(reply.error).__name__}")
        return Verdict(self.name, 0.99 if reply.text == "yes" else 0.02)


@every_driver
def test_a_helpers_failure_is_not_the_drafts(driver: Driver) -> None:
    transport = FakeTransport({"small": ["draft"], "large": [PermissionError("no")]})
    run = started(Cascade(Helped(), unverified="accept"))
    assert driver(run, transport) == "draft"
    assert [(a.candidate, a.purpose) for a in transport.asked] == [
        ("small", "answer"),
        ("large", "check"),
    ]


@dataclass
class Wishing:
    """Wishes for something again and again."""

    wishes: Any
    name: str = "wishing"

    def verify(self, draft: Draft) -> Any:
        while True:
            yield self.wishes


ASK = Ask("large")


@every_driver
@pytest.mark.parametrize(
    ("wishes", "asked", "note"),
    [
        ((Ask("elsewhere"),), 0, "it asked 'elsewhere', which is not allowed"),
        ((ASK, Ask("elsewhere")), 0, "it asked 'elsewhere', which is not allowed"),
        (ASK, 0, "it yielded a Ask, no tuple of wishes"),
        (None, 0, "it yielded a NoneType, no tuple of wishes"),
        ("ask", 0, "it yielded a str, no tuple of wishes"),
        ((1,), 0, "it wished for a int"),
        ((ASK,), 40, "it asked more than 40 times"),
        ((ASK,) * 41, 0, "it asked more than 40 times"),
        ((), 0, "it came to no verdict in 100 steps"),
        ((Verdict("still looking"),), 0, "it came to no verdict in 100 steps"),
    ],
    ids=lambda one: str(one)[:40],
)
def test_a_verifier_is_held_to_what_it_may_do(
    driver: Driver, wishes: Any, asked: int, note: str
) -> None:
    transport = says(small="draft", large="helper")
    run = started(Cascade(Wishing(wishes), unverified="accept"))
    assert driver(run, transport) == "draft"
    assert transport.verdicts[-1] == Verdict("wishing", None, note, "small")
    assert len(transport.asked) == 1 + asked


@every_driver
def test_a_verifier_may_have_nothing_to_wish_for(driver: Driver) -> None:
    class Idle:
        name = "idle"

        def verify(self, draft: Draft) -> Verification:
            yield ()
            return Verdict(self.name, 0.99)

    assert driver(started(Cascade(Idle())), says(small="draft", large="answer")) == "draft"


@every_driver
def test_what_a_verifier_asks_is_never_seen(driver: Driver) -> None:
    class Loud:
        name = "loud"

        def verify(self, draft: Draft) -> Verification:
            yield (Ask("large"),)
            return Verdict(self.name, 0.99)

    transport = says(small="draft", large="helper")
    assert driver(started(Cascade(Loud())), transport) == "draft"
    assert [(ask.visible, ask.purpose) for ask in transport.asked] == [
        (False, "answer"),
        (False, "check"),
    ]


@pytest.mark.parametrize("seconds", [-5.0, math.nan, math.inf, "long", None])
def test_a_verifier_writes_down_what_makes_sense(seconds: Any) -> None:
    class Loud:
        name = "loud"

        def verify(self, draft: Draft) -> Verification:
            yield (Verdict("on the way", math.nan, "n" * 10_000, "large", seconds),)
            return Verdict("another", 0.99, "n" * 10_000, "large", seconds)

    transport = says(small="draft", large="never")
    assert whole(started(Cascade(Loud())), transport) == "draft"
    assert [(v.verifier, v.probability, len(v.note) <= 500) for v in transport.verdicts] == [
        ("on the way", None, True),
        ("loud", 0.99, True),
    ]
    assert {(v.candidate, v.seconds) for v in transport.verdicts} == {("small", 0.0)}


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        *((np.bool_(True), True), (np.bool_(False), False)),
        *((np.float32(0.25), 0.25), (np.array(0.25), 0.25), (np.int64(1), 1)),
    ],
    ids=repr,
)
def test_a_number_of_numpy_is_evidence_like_any_other(said: Any, plain: float) -> None:
    verdicts = []
    for one in (said, plain):
        transport = says(small="draft", large="answer")
        whole(started(Cascade(lambda draft, one=one: one)), transport)
        verdicts.append(transport.verdicts[0].probability)
    assert verdicts[0] == pytest.approx(verdicts[1])
    assert verdicts[0] not in (None, plain)


# --- early abort ---


@dataclass
class Glancing:
    """Sees at once whether a growing draft is bad."""

    seen: Callable[[Draft], Any]
    name: str = "glancing"
    inline_glance: bool = True

    def glance(self, draft: Draft) -> Any:
        assert not draft.whole
        return self.seen(draft)

    def verify(self, draft: Draft) -> Verification:
        return Verdict(self.name, 0.99)
        yield ()


def sees_bad(draft: Draft) -> tuple[float, float] | None:
    return (0.02, 0.3) if "bad" in draft.reply.text else None


LONG = ["bad "] * 20 + [AssertionError("it was read on")]


@every_driver
@pytest.mark.parametrize("inline", [True, False])
def test_a_bad_draft_is_broken_off_while_it_grows(driver: Driver, inline: bool) -> None:
    transport = FakeTransport({"small": LONG, "large": ["answer"]})
    cascade = Cascade(Glancing(sees_bad, inline_glance=inline))
    assert driver(started(cascade), transport) == "answer"
    (verdict,) = transport.verdicts
    assert verdict == Verdict("glancing", 0.02, "broken off while it grew", "small")


@every_driver
def test_a_good_draft_grows_to_its_end(driver: Driver) -> None:
    transport = FakeTransport({"small": ["good "] * 40, "large": ["never"]})
    assert driver(started(Cascade(Glancing(sees_bad))), transport) == "good " * 40


@every_driver
@pytest.mark.parametrize(
    "glance",
    [
        lambda draft: 1 / 0,
        lambda draft: (math.nan, 0.1),
        lambda draft: (0.0, math.nan),
        lambda draft: "bad",
        lambda draft: 0.01,
    ],
)
def test_a_glance_that_fails_sees_nothing(driver: Driver, glance: Any) -> None:
    transport = FakeTransport({"small": ["draft "] * 40, "large": ["never"]})
    assert driver(started(Cascade(Glancing(glance))), transport) == "draft " * 40


@pytest.mark.parametrize(
    ("settings", "view"),
    [({"abort": False}, {}), ({}, {"schema": {}}), ({}, {"tools": ({"name": "f"},)})],
)
def test_what_does_not_grow_in_a_telling_way_is_not_watched(settings: Any, view: Any) -> None:
    transport = Parsing({"small": ["bad "] * 20, "large": ["answer"]})
    run = started(Cascade(Glancing(sees_bad), **settings), decided(), prompt(**view))
    assert whole(run, transport) == "bad " * 20
    assert transport.asked[0].watch is None


@every_driver
def test_a_draft_that_was_broken_off_never_answers(driver: Driver) -> None:
    transport = FakeTransport({"small": LONG, "large": [LOST]})
    with pytest.raises(ConnectionError):
        driver(started(Cascade(Glancing(sees_bad))), transport)


# --- what is asked for, what is refused, what is said ---


def test_drafts_are_asked_with_what_verifiers_need() -> None:
    verifier = Telling("one", 0.99)
    verifier.params = {"logprobs": True}  # type: ignore[attr-defined]
    transport = says(small="draft", large="answer")
    whole(started(Cascade([verifier, wrong])), transport)
    assert [dict(ask.params) for ask in transport.asked][:1] == [{"logprobs": True}]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accept": 1.5}, "accept must be from 0 to 1"),
        ({"accept": math.nan}, "accept must be from 0 to 1"),
        ({"accept": True}, "accept must be from 0 to 1"),
        ({"unverified": "pass"}, "unverified is one of"),
        ({"max_drafts": 0}, "max_drafts must be 1 or more"),
        ({"max_drafts": True}, "max_drafts must be 1 or more"),
        ({"verify": []}, "verify names nobody"),
        ({"verify": "right"}, "function of a draft"),
        ({"verify": 7}, "function of a draft"),
        ({"verify": Telling}, "Telling is a class"),
        ({"verify": Telling(7, 0.5)}, "a verifier has a name"),
        ({"verify": Needing("n", 0.5, params={"logprobs"})}, "params of n must be a mapping"),
        ({"verify": Telling("n", 0.5, reach="far")}, "reach of n must be a number"),  # type: ignore[arg-type]
        ({"abort": "no"}, "abort must be True or False"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Cascade(**{"verify": right, **settings})


@pytest.mark.parametrize(
    ("decision", "plan"),
    [
        (decided(("small",)), "small answers without a draft: nobody else may"),
        (
            decided(),
            "small drafts; looked at by right; accepted from a probability of 0.93, else large "
            "answers",
        ),
    ],
)
def test_it_says_what_it_would_do(decision: Decision, plan: str) -> None:
    assert Cascade(right).plan(prompt(), decision) == plan


def test_it_says_that_no_draft_would_pay() -> None:
    costs = {"small": 2.0, "large": 1.0}
    estimates = tuple(replace(e, cost_usd=costs[e.candidate]) for e in decided().estimates)
    plan = Cascade(right).plan(prompt(), replace(decided(), estimates=estimates))
    assert plan == "large answers without a draft: none would pay"
    transport = says(small="never", large="answer")
    assert streamed(started(Cascade(wrong), replace(decided(), estimates=estimates)), transport)
    assert asked(transport) == [("large", True)]


def test_it_can_be_copied_and_compared_whatever_it_was_given() -> None:
    listed, passed = Cascade([right, wrong]), Cascade(one for one in (right, wrong))
    assert listed == passed == replace(passed, max_drafts=3)
    assert len({listed, passed}) == 1
    assert Cascade() == pickle.loads(pickle.dumps(Cascade()))  # noqa: S301


def test_a_judge_that_is_no_candidate_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="the strategy names no candidate: 'lrge'"):
        Router(
            prepare_candidates([candidate("small")], lambda _: (None, {})),
            strategy=Cascade(verify=Judge("lrge")),
        )
