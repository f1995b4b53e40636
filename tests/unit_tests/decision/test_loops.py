"""Tool loops: which step it is, what trouble does to estimates, who takes the next step."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shared_core import ConfigurationError, NoCandidateError, Policy, Router, max_steps
from shared_core.decision.candidates import prepare_candidates
from shared_core.decision.loops import Course, Result, call_text, loop_of, next_in_loop
from shared_core.types import Candidate, Decision, Step
from tests.fakes.core import FixedPredictor, candidate, estimate, prompt

NAMES = ("small", "medium", "large")
TOOLS = ({"type": "function", "function": {"name": "look"}},)


def router(
    qualities: tuple[float, ...] = (0.85, 0.87, 0.89), *candidates: Candidate, **settings: Any
) -> Router:
    """Three candidates, of which the policy takes `small` unless told otherwise."""
    listed = candidates or tuple(
        candidate(name, price=(price, price)) for name, price in zip(NAMES, (1, 5, 25), strict=True)
    )
    predictor = FixedPredictor(dict(zip(NAMES, qualities, strict=True)))
    prepared = prepare_candidates(listed, lambda c: (c.model, {}))
    return Router(prepared, predictor=predictor, **settings)


def fine(author: str | None, call: str) -> Step:
    return Step(author, (call,), results=(f"result of {call}",))


def bad(author: str | None, call: str) -> Step:
    return Step(author, (call,), failed=1, results=(f"Error: {call}",))


def broken(author: str | None) -> Step:
    return Step(author, malformed=True)


def decide(*loop: Step, routed: Router | None = None, **view: Any) -> Decision:
    author = loop[-1].author if loop else None
    view = {"in_tool_loop": bool(loop), "author": author, "tools": TOOLS, **view}
    return (routed or router()).decide(prompt(loop=loop, **view))


def test_the_steps_of_a_loop_have_the_results_that_follow_them() -> None:
    said = [
        Result("of an earlier loop", False),
        Step("small", ("look {}", "look {1}")),
        Result("sunny", False),
        Result("Error: no", True),
        Step("large", ("look {2}",)),
    ]
    first, second = loop_of(said)
    assert (first.failed, first.results) == (1, ("sunny", "Error: no"))
    assert second == Step("large", ("look {2}",))


def test_a_call_is_the_same_text_in_whatever_order_its_arguments_are() -> None:
    assert call_text("look", {"a": 1, "b": [2]}) == call_text("look", {"b": [2], "a": 1})
    assert call_text("look", {"a": 1}) != call_text("look", {"a": 2}) != call_text("see", {"a": 2})
    assert call_text("look", {1: 2, "a": {3}})
    itself: dict[str, Any] = {}
    itself["a"] = itself
    assert call_text("look", itself).startswith("look ")


def test_a_decision_says_which_step_it_is() -> None:
    assert decide().phase == "planning"
    assert decide(tools=()).phase is None
    assert decide(fine("small", "a")).phase == "reading a tool's result"
    assert decide(bad("small", "a")).phase == "after an error"
    assert decide(broken("small")).phase == "after an error"
    assert decide(fine("small", "a"), fine("small", "b"), fine("small", "a")).phase == "stall"
    assert "step of an agent: stall" in str(decide(fine("small", "a"), fine("small", "a")))


def test_the_candidate_that_called_the_tool_goes_on_through_one_error() -> None:
    one = decide(fine("small", "a"), bad("small", "b"))
    assert one.candidate == "small"
    assert one.reason == "small called the tool and reads its result"
    assert decide(bad("small", "a"), fine("small", "b"), bad("small", "c")).candidate == "small"


@pytest.mark.parametrize(
    ("loop", "reason"),
    [
        ([bad("small", "a"), bad("small", "b")], "small's last 2 calls failed"),
        ([fine("small", "a"), broken("small")], "small's last call could not be parsed"),
        (
            [fine("small", "a"), fine("small", "a")],
            "small's last call was made before, with the same result",
        ),
    ],
)
def test_trouble_has_a_stronger_one_take_over(loop: list[Step], reason: str) -> None:
    decision = decide(*loop)
    assert decision.candidate == "medium"
    assert decision.reason == f"{reason}; medium takes over"
    assert decision.fallbacks[0] == "large"
    assert f"medium: {decision.reason}" in str(decision)


def test_polling_is_no_stall() -> None:
    loop = [Step("small", ("status",), results=(f"{share} %",)) for share in (10, 50, 90)]
    assert decide(*loop).candidate == "small"


def test_of_calls_side_by_side_most_have_to_fail() -> None:
    def step(number: int, failed: int) -> Step:
        calls = tuple(f"look {number} {place}" for place in range(3))
        return Step("small", calls, failed=failed, results=("x", "y", str(number)))

    assert decide(step(1, 1), step(2, 1), step(3, 1)).candidate == "small"
    assert decide(step(1, 2), step(2, 3)).candidate == "medium"


def test_failed_steps_lower_the_estimates_that_the_decision_shows() -> None:
    # As a Beta prior worth 4 answers: (4 x 0.85 + good) / (4 + good + bad).
    shown = {e.candidate: e.quality for e in decide(bad("small", "a")).estimates}
    assert shown == pytest.approx({"small": 3.4 / 5, "medium": 0.87, "large": 0.89})
    loop = [fine("small", "a"), bad("small", "b"), bad("small", "c")]
    assert decide(*loop).estimates[0].quality == pytest.approx(4.4 / 7)
    # A call that went through raises nothing.
    many = [fine("small", str(number)) for number in range(9)]
    assert decide(*many).estimates[0].quality == 0.85
    assert decide(*many, bad("small", "x")).estimates[0].quality == 0.85
    assert decide(bad("small", "a")).estimates[0].quality_low < 0.85


def test_trouble_at_equal_estimates_goes_to_the_next_stronger_one() -> None:
    equal = router((0.8, 0.8, 0.8), *map(candidate, NAMES))
    assert decide(bad("small", "a"), bad("small", "b"), routed=equal).candidate == "medium"
    loop = [bad("medium", "a"), bad("medium", "b")]
    assert decide(*loop, routed=equal).candidate == "large"
    # δ is 1, so that estimates do not matter at all, and no price is known.
    careless = router((0.8, 0.8, 0.8), *map(candidate, NAMES), policy=Policy(quality=1e-9))
    assert decide(*loop, routed=careless).candidate == "large"


def test_trouble_that_a_stronger_one_is_not_worth() -> None:
    thrifty = router(policy=Policy(quality=0.5))
    decision = decide(bad("small", "a"), bad("small", "b"), routed=thrifty)
    assert decision.candidate == "small"
    assert decision.reason == (
        "small's last 2 calls failed; small goes on: nobody stronger is worth it by the policy"
    )
    # Evidence grows until it is.
    loop = [bad("small", str(number)) for number in range(6)]
    assert decide(*loop, routed=thrifty).candidate == "medium"
    decision = decide(bad("large", "a"), bad("large", "b"))
    assert decision.candidate == "large"
    assert decision.reason.endswith("large goes on: nobody stronger may answer")


@pytest.mark.parametrize(("cached", "takes"), [(0.1, "small"), (0.3, "medium")])
def test_a_prompt_cache_that_would_be_lost_counts(cached: float, takes: str) -> None:
    """The stronger one is cheaper by its price alone, and not once a cache is at the weaker's."""
    loop = (bad("small", "a"), bad("small", "b"))
    costs = {"small": cached, "medium": 0.2}
    allowed = [
        (candidate(name), estimate(name, 0.7, cost_usd=cost)) for name, cost in costs.items()
    ]
    view = prompt(loop=loop, in_tool_loop=True, author="small")
    order, _ = next_in_loop(Policy(), allowed, 0.05, view, Course(loop, lambda: "small"))
    assert order[0][0].name == takes


def test_once_the_trouble_is_over_the_policy_chooses_anew_and_once() -> None:
    trouble = [bad("small", "a"), bad("small", "b")]
    assert decide(*trouble).candidate == "medium"
    assert decide(*trouble, fine("medium", "c")).candidate == "medium"
    calm = [*trouble, fine("medium", "c"), fine("medium", "d")]
    down = decide(*calm)
    assert down.candidate == "small"
    assert down.reason.startswith("2 calm steps since the trouble; small has the lowest estimated")
    assert down.estimates[0].quality == 0.85
    # It did: small goes on through the next single error.
    assert decide(*calm, fine("small", "e"), bad("small", "f")).candidate == "small"
    # It did not (a constraint, say): the other one keeps the loop from then on.
    assert decide(*calm, fine("medium", "e"), fine("medium", "f")).candidate == "medium"


def test_an_error_in_between_is_no_calm() -> None:
    loop = [bad("small", "a"), bad("small", "b"), fine("medium", "c"), bad("medium", "d")]
    assert decide(*loop, fine("medium", "e")).candidate == "medium"
    assert decide(*loop, fine("medium", "e"), fine("medium", "f")).candidate == "small"


def test_the_stand_in_in_trouble_is_relieved_too() -> None:
    loop = [bad("small", "a"), bad("small", "b"), bad("medium", "c"), bad("medium", "d")]
    decision = decide(*loop)
    assert decision.candidate == "large"
    assert decision.reason == "medium's last 2 calls failed; large takes over"


@pytest.mark.parametrize("named", [True, False], ids=["named", "nameless"])
def test_a_loop_does_not_go_to_and_fro(named: bool) -> None:
    """Small fails at whatever it does; the stand-in at nothing: ever longer until it comes down."""
    routed, loop, authors = router(), list[Step](), list[str]()
    for number in range(60):
        author = decide(*loop, routed=routed).candidate
        authors.append(author)
        make = bad if author == "small" else fine
        loop.append(make(author if named else None, str(number)))
    changes = [n for n in range(1, 60) if authors[n] != authors[n - 1]]
    assert authors[:6] == ["small"] * 2 + ["medium"] * 2 + ["small"] * 2
    lengths = [b - a for a, b in zip([0, *changes], [*changes, 60], strict=True)]
    assert lengths[:9] == [2, 2, 2, 4, 2, 8, 2, 16, 2]


def test_steps_of_nobody_knows_whom_count_as_the_policys_choice() -> None:
    assert decide(bad(None, "a")).candidate == "small"
    assert decide(bad(None, "a")).reason == "small goes on"
    trouble = [bad(None, "a"), bad(None, "b")]
    decision = decide(*trouble)
    assert decision.candidate == "medium"
    assert decision.reason == "the last 2 calls of this loop failed; medium takes over"
    after = decide(*trouble, fine(None, "c"))
    assert (after.candidate, after.reason) == ("medium", "medium has taken over from small")
    assert decide(*trouble, fine(None, "c"), fine(None, "d")).candidate == "small"


def test_every_step_is_routed_anew_where_that_is_wished() -> None:
    free = router(policy=Policy(stay_in_tool_loop=False))
    assert decide(fine("large", "a"), routed=free).candidate == "small"
    assert decide(bad("small", "a"), routed=free).candidate == "medium"  # by its estimate alone


def test_who_is_pinned_stays_whatever_the_trouble() -> None:
    loop = (bad("small", "a"), bad("small", "b"))
    view = prompt(loop=loop, in_tool_loop=True, author="small")
    decision = router().decide(view, force="small")
    assert (decision.candidate, decision.reason) == ("small", "small was asked for by name")


def test_a_call_that_nobody_answered_is_seen() -> None:
    decision = decide(fine("small", "a"), broken("small"), in_tool_loop=False)
    assert decision.candidate == "medium"


def test_explain_says_what_the_policy_alone_would_do() -> None:
    view = prompt(loop=(fine("large", "a"),), in_tool_loop=True, author="large", tools=TOOLS)
    said = str(router().explain(view, detail=True))
    assert "large called the tool and reads its result" in said
    assert "small would answer by the policy alone" in said


def test_max_steps_ends_a_loop_with_a_reason() -> None:
    limited = router(policy=Policy(subject_to=[max_steps(3)]))
    loop = [fine("small", str(number)) for number in range(3)]
    assert decide(*loop[:2], routed=limited).candidate == "small"
    with pytest.raises(NoCandidateError, match="the tool loop has had 3 steps, and at most 3"):
        decide(*loop, routed=limited)


@pytest.mark.parametrize("wrong", [0, -1, True, 2.5, "3"])
def test_max_steps_takes_whole_numbers(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"max_steps\(\) takes a whole number"):
        max_steps(wrong)


def test_a_long_loop_is_replayed_in_linear_time() -> None:
    def seconds(steps: int) -> float:
        loop = [fine("small", str(number)) for number in range(steps)]
        started = time.perf_counter()
        Course(loop, lambda: "small")
        return time.perf_counter() - started

    few = min(seconds(1_000) for _ in range(3))
    assert min(seconds(20_000) for _ in range(3)) < max(0.5, 100 * few)
