"""Self-consistency: who is asked how often, what wins, what becomes of failures, in all drivers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from shared_core import (
    AllCandidatesFailedError,
    BudgetExceededError,
    ConfigurationError,
    Router,
    SelfConsistency,
)
from shared_core.decision.candidates import prepare_candidates
from shared_core.execution.run import Run
from shared_core.types import Ask, Decision, Prompt, Reply
from tests.fakes.core import FakeTransport, FixedPredictor, candidate, estimate, prompt
from tests.fakes.driving import Driver, every_driver, whole

LOST = ConnectionError("lost")
THREE = {"small": 0.6, "middle": 0.7, "large": 0.95}
ESSAY = "It was a bright cold day in April, and the clocks were striking thirteen. " * 9
NO_ROOM = BudgetExceededError("1 USD", {"USD": 0.0}, None)


@dataclass
class Saying(FakeTransport):
    """Answers the n-th ask with the n-th of these, the last one for ever; an exception fails."""

    script: dict[str, list[Any]] = field(default_factory=dict)
    said: Sequence[str | Reply | Exception] = ()

    def stream(self, ask: Ask) -> Generator[Any, None, None]:
        self.asked.append(ask)
        said = self._said(ask)
        if isinstance(said, Exception):
            raise said
        yield said.text if isinstance(said, Reply) else said

    def join(self, ask: Ask, chunks: list[Any]) -> Reply:
        said = self._said(ask)
        reply = said if isinstance(said, Reply) else Reply(ask.candidate, text=str(said))
        return replace(reply, candidate=ask.candidate, native=f"{ask.place}: {reply.text}")

    def _said(self, ask: Ask) -> str | Reply | Exception:
        return self.said[min(ask.place, len(self.said)) - 1]


def decided(
    qualities: dict[str, float] | None = None, chosen: str = "small", **known: Any
) -> Decision:
    found = qualities or {"small": 0.6, "large": 0.9}
    others = tuple(name for name in found if name != chosen)
    estimates = tuple(
        estimate(name, quality, cost_usd=float(place))
        for place, (name, quality) in enumerate(found.items())
    )
    known = {"fallbacks": others, "allowed": tuple(found), "delta": 0.05, **known}
    return Decision("id", chosen, "because", False, estimates, **known)


def started(
    strategy: SelfConsistency,
    decision: Decision | None = None,
    asked: Prompt = prompt(),  # noqa: B008 - frozen
) -> Run:
    decision = decision or decided()
    return Run(strategy.steps(asked, decision), decision)


def answers(*numbers: int) -> list[str]:
    return [f"So it comes to this.\nThe answer is {number}." for number in numbers]


def asked(transport: FakeTransport) -> list[str]:
    return [ask.candidate for ask in transport.asked]


def said(transport: FakeTransport) -> list[str]:
    assert not any(verdict.candidate for verdict in transport.verdicts)  # they judge no draft
    return [verdict.note for verdict in transport.verdicts]


# --- the vote ---


@every_driver
def test_the_first_reply_of_the_majority_is_returned_as_it_came(driver: Driver) -> None:
    transport = Saying(said=answers(7, 8, 8, 7, 8, 8, 8, 8))
    shown = driver(started(SelfConsistency()), transport)
    assert shown == f"2: {answers(8)[0]}"
    assert all(not ask.visible for ask in transport.asked)
    asked_at = [ask.params["temperature"] for ask in transport.asked]
    assert asked_at[:2] == [0.7, 0.6999993]
    assert len(set(asked_at)) == len(asked_at), "a cache would take them for one"
    (verdict,) = transport.verdicts
    assert verdict.verifier == "self-consistency"
    assert not verdict.candidate  # it judges no draft
    assert (
        verdict.note
        == f"{len(transport.asked) - 2} of {len(transport.asked)} say the same ("
        + ("of at most 16)")
    )
    assert verdict.probability is None, "that a vote is settled does not make the answer right"


@every_driver
def test_it_stops_once_the_vote_is_settled(driver: Driver) -> None:
    transport = Saying(said=answers(7))
    driver(started(SelfConsistency(), decided({"small": 0.9})), transport)
    assert len(transport.asked) == 2
    assert said(transport) == ["2 of 2 say the same (of at most 16)"]


@every_driver
def test_at_full_certainty_only_what_is_left_counts(driver: Driver) -> None:
    transport = Saying(said=answers(7))
    driver(started(SelfConsistency(samples=7, certainty=1)), transport)
    assert len(transport.asked) == 4


@every_driver
def test_all_are_drawn_where_nobody_agrees_and_the_first_of_a_tie_wins(driver: Driver) -> None:
    transport = Saying(said=answers(*range(6)))
    assert driver(started(SelfConsistency(samples=6)), transport) == f"1: {answers(0)[0]}"
    assert len(transport.asked) == 6


@pytest.mark.parametrize("numbers", [(7,), (7, 8, 8, 7, 7, 8, 7, 7), (1, 2, 3, 3, 1, 3, 3, 3)])
def test_side_by_side_draws_no_more_than_one_by_one(numbers: tuple[int, ...]) -> None:
    counts = set()
    for at_once in (1, 3, 8):
        transport = Saying(said=answers(*numbers))
        whole(started(SelfConsistency(at_once=at_once)), transport)
        counts.add((len(transport.asked), transport.verdicts[0].note))
    assert len(counts) == 1


@every_driver
def test_one_sample_is_enough_of_one_that_is_nearly_always_right(driver: Driver) -> None:
    transport = Saying(said=answers(7))
    driver(started(SelfConsistency(), decided({"small": 0.99})), transport)
    assert len(transport.asked) == 1


# --- what is compared ---


@every_driver
def test_an_essay_is_answered_with_the_first(driver: Driver) -> None:
    transport = Saying(said=[ESSAY])
    assert driver(started(SelfConsistency()), transport) == f"1: {ESSAY}"
    assert len(transport.asked) == 1
    assert said(transport) == ["its answer cannot be compared"]
    assert transport.verdicts[0].probability is None


@every_driver
def test_one_that_was_cut_off_may_be_alone(driver: Driver) -> None:
    cut = Reply("", text=ESSAY, finish_reason="length")
    transport = Saying(said=[cut, *answers(7)])
    assert driver(started(SelfConsistency()), transport) == f"2: {answers(7)[0]}"
    transport = Saying(said=[cut])
    assert driver(started(SelfConsistency()), transport) == f"1: {ESSAY}"
    assert len(transport.asked) == 2


@every_driver
def test_of_several_voters_one_that_rambles_may_be_alone(driver: Driver) -> None:
    strategy = SelfConsistency(voters="all")
    transport = Saying(said=[ESSAY, *answers(7)])
    assert driver(started(strategy, decided(THREE)), transport) == f"2: {answers(7)[0]}"
    transport = Saying(said=[ESSAY])
    assert driver(started(strategy, decided(THREE)), transport) == f"1: {ESSAY}"
    assert asked(transport) == ["small", "middle"]


@every_driver
def test_an_essay_among_answers_has_no_vote(driver: Driver) -> None:
    transport = Saying(said=[*answers(7), ESSAY, ESSAY, *answers(7)])
    assert driver(started(SelfConsistency(samples=6)), transport).startswith("1: ")
    assert said(transport)[0].endswith("2 say the same (of at most 6)")


@every_driver
def test_structured_output_is_compared_as_json(driver: Driver) -> None:
    wanted = prompt(schema={"title": "Point"})
    values = [{"x": 1}, {"x": 2.0}, {"x": 2}, {"x": 2}, {"x": 2}, {"x": 2}]
    transport = Saying(said=[Reply("", text=f"{v}", parsed=v) for v in values])
    assert driver(started(SelfConsistency(), asked=wanted), transport).startswith("2: ")


@every_driver
def test_what_cannot_be_parsed_has_no_vote(driver: Driver) -> None:
    wanted = prompt(schema={"title": "Point"})
    broken = Reply("", text="{", parse_error=ValueError("no JSON"))
    point = Reply("", text="{}", parsed={"x": 1})
    transport = Saying(said=[broken, point])
    assert driver(started(SelfConsistency(), asked=wanted), transport) == "2: {}"
    transport = Saying(said=[broken])
    assert driver(started(SelfConsistency(), asked=wanted), transport) == "1: {"
    assert asked(transport) == ["small", "small", "large", "large"]
    assert said(transport) == ["none gave what was asked for"]


@every_driver
def test_tool_calls_are_compared_by_name_and_arguments(driver: Driver) -> None:
    calls = [Reply("", text="t", tool_calls=(("find", {"n": n}),)) for n in (1, 2, 2, 2, 2, 2, 2)]
    looped = prompt(tools=({"name": "find"},), in_tool_loop=True, author="small")
    transport = Saying(said=calls)
    assert driver(started(SelfConsistency(), asked=looped), transport).startswith("2: ")


@every_driver
def test_a_function_of_the_user_compares(driver: Driver) -> None:
    strategy = SelfConsistency(same=lambda a, b: a[0] == b[0])
    transport = Saying(said=["a poem", "b poem", "b verse", "b rhyme", "b song", "b tune", "b ode"])
    assert driver(started(strategy), transport) == "2: b poem"


# --- voters ---


@every_driver
def test_all_take_turns_the_cheapest_first_while_the_vote_is_open(driver: Driver) -> None:
    transport = Saying(said=answers(1, 2, 3, 4, 5, 6, 7))
    driver(started(SelfConsistency(samples=7, voters="all"), decided(THREE)), transport)
    assert asked(transport) == ["small", "middle", "large"] * 2 + ["small"]
    transport = Saying(said=answers(1, 2, 1, 1))
    strategy = SelfConsistency(samples=3, voters=("large", "small", "middle"), at_once=1)
    assert strategy.names == ("large", "small", "middle")
    driver(started(strategy, decided(THREE)), transport)
    assert asked(transport)[:2] == ["small", "middle"]


@every_driver
def test_dear_voters_are_not_asked_where_cheap_ones_settle_it(driver: Driver) -> None:
    transport = Saying(said=answers(1))
    many = {"small": 0.8, "middle": 0.85, "large": 0.9}
    driver(started(SelfConsistency(samples=3, voters="all"), decided(many)), transport)
    assert asked(transport) == ["small", "middle"]


@every_driver
def test_a_good_voter_outweighs_poor_ones(driver: Driver) -> None:
    transport = Saying(said=answers(1, 1, 2))
    poor = {"small": 0.2, "middle": 0.2, "large": 0.95}
    shown = driver(started(SelfConsistency(samples=3, voters="all"), decided(poor)), transport)
    assert shown.startswith("3: ")
    assert said(transport) == ["1 of 3 say the same (of at most 3)"]


def test_voters_that_are_not_allowed_do_not_vote() -> None:
    transport = Saying(said=answers(1, 2, 3))
    decision = decided(THREE, allowed=("small", "large"), fallbacks=("large",))
    whole(
        started(SelfConsistency(samples=3, voters=("middle", "large"), certainty=1), decision),
        transport,
    )
    assert asked(transport) == ["large"] * 3
    transport = Saying(said=answers(1, 2, 3))
    whole(started(SelfConsistency(samples=3, voters=("middle",), certainty=1), decision), transport)
    assert asked(transport) == ["small"] * 3


def test_unknown_prices_leave_the_order_of_strength() -> None:
    unpriced = decided({"small": 0.6, "middle": 0.7, "large": 0.8})
    estimates = tuple(replace(e, cost_usd=None, energy_wh=None) for e in unpriced.estimates)
    transport = Saying(said=answers(1, 2, 3))
    decision = replace(unpriced, estimates=estimates)
    whole(started(SelfConsistency(samples=3, voters="all", certainty=1), decision), transport)
    assert asked(transport) == ["small", "middle", "large"]
    dear_first = tuple(replace(e, energy_wh=-float(i)) for i, e in enumerate(estimates))
    transport = Saying(said=answers(1, 2, 3))
    decision = replace(unpriced, estimates=dear_first)
    whole(started(SelfConsistency(samples=3, voters="all", certainty=1), decision), transport)
    assert asked(transport) == ["large", "middle", "small"]


def test_a_router_refuses_voters_it_does_not_have() -> None:
    candidates = prepare_candidates([candidate("small"), candidate("large")], lambda _: (None, {}))
    predictor = FixedPredictor({"small": 0.5, "large": 0.9})
    with pytest.raises(ConfigurationError, match="names no candidate: 'huge'"):
        Router(candidates, predictor=predictor, strategy=SelfConsistency(voters=("huge",)))


# --- failures ---


@every_driver
def test_samples_that_fail_do_not_count(driver: Driver) -> None:
    transport = Saying(said=[*answers(7), LOST, *answers(7)])
    assert driver(started(SelfConsistency(at_once=1)), transport).startswith("1: ")
    assert set(asked(transport)) == {"small"}
    assert "of at most 16" in said(transport)[0]


@every_driver
@pytest.mark.parametrize("nothing", ["", " \n", "<think>so", "<think>so</think>\n"])
def test_who_says_nothing_is_asked_again(driver: Driver, nothing: str) -> None:
    transport = Saying(said=[nothing, *answers(7)])
    assert driver(started(SelfConsistency()), transport) == f"2: {answers(7)[0]}"


@every_driver
def test_where_one_says_nothing_again_and_again_the_others_vote(driver: Driver) -> None:
    transport = Saying(said=["", "", *answers(7)])
    assert driver(started(SelfConsistency()), transport) == f"3: {answers(7)[0]}"
    assert asked(transport)[:3] == ["small", "small", "large"]


@every_driver
def test_who_fails_again_and_again_is_asked_no_more(driver: Driver) -> None:
    transport = Saying(said=[*answers(7), LOST])
    driver(started(SelfConsistency(at_once=1)), transport)
    assert len(transport.asked) == 3
    assert said(transport) == ["1 of 1 say the same (of at most 16)"]


@every_driver
def test_the_next_one_votes_where_the_first_is_not_to_be_had(driver: Driver) -> None:
    transport = Saying(said=[LOST, *answers(7)])
    assert driver(started(SelfConsistency()), transport) == f"2: {answers(7)[0]}"
    assert set(asked(transport)[1:]) == {"large"}


@every_driver
def test_a_voter_that_fails_leaves_the_others(driver: Driver) -> None:
    transport = Saying(said=[ValueError("no"), *answers(7)])
    shown = driver(started(SelfConsistency(voters="all"), decided(THREE)), transport)
    assert shown.startswith("2: ")
    assert asked(transport).count("small") == 1


@every_driver
def test_where_all_fail_the_failures_are_raised(driver: Driver) -> None:
    with pytest.raises(AllCandidatesFailedError) as raised:
        driver(started(SelfConsistency()), Saying(said=[LOST]))
    assert [name for name, _ in raised.value.errors] == ["small", "large"]
    with pytest.raises(ValueError, match="not allowed so"):
        driver(started(SelfConsistency()), Saying(said=[ValueError("not allowed so")]))


@every_driver
def test_where_the_budget_ends_the_majority_so_far_answers(driver: Driver) -> None:
    transport = Saying(said=[*answers(7, 8, 8), NO_ROOM], retryable=lambda error: True)
    assert driver(started(SelfConsistency(at_once=1)), transport).startswith("2: ")
    assert len(transport.asked) == 4
    assert said(transport) == ["2 of 3 say the same (of at most 16)"]


@every_driver
def test_who_a_budget_refuses_beside_others_is_asked_after_them(driver: Driver) -> None:
    transport = Saying(said=[*answers(7, 8), NO_ROOM, *answers(8)], retryable=lambda error: True)
    assert driver(started(SelfConsistency()), transport).startswith("2: ")
    drawn = len(transport.asked) - 1
    assert drawn > 3
    assert said(transport) == [f"{drawn - 1} of {drawn} say the same (of at most 16)"]


@every_driver
def test_without_a_vote_the_budget_is_to_blame(driver: Driver) -> None:
    transport = Saying(said=[NO_ROOM], retryable=lambda error: True)
    with pytest.raises(BudgetExceededError):
        driver(started(SelfConsistency()), transport)
    assert asked(transport) == ["small", "large"]


# --- arguments and words ---


@pytest.mark.parametrize(
    "arguments",
    [
        {"samples": 0},
        {"samples": 2.0},
        {"samples": 41},
        {"samples": True},
        {"at_once": 0},
        {"certainty": 0},
        {"certainty": 1.01},
        {"certainty": float("nan")},
        {"certainty": "high"},
        {"temperature": 0},
        {"same": "exact"},
        {"voters": ()},
        {"voters": "some"},
        {"voters": [1]},
        {"voters": 3},
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(arguments))):
        SelfConsistency(**arguments)


def test_the_plan_says_who_is_asked_and_when_it_stops() -> None:
    plan = SelfConsistency().plan(prompt(), decided({"small": 0.9}))
    assert plan == (
        "up to 16 samples of small, until the majority is settled with a probability of 0.95; "
        "2 equal answers settle it"
    )
    plan = SelfConsistency(voters="all").plan(prompt(), decided(THREE))
    assert plan.startswith("up to 16 samples of small, middle, large, ")
    assert (
        SelfConsistency()
        .plan(prompt(), decided({"a": 0.99}, "a"))
        .endswith("one answer settles it")
    )
