"""Cooldown: who rests, for how long, and who tries again, on a clock of our own."""

from __future__ import annotations

import math
import pickle
import threading
from typing import Any

import pytest

from shared_core import ConfigurationError, Cooldown
from shared_core.execution.health import Health
from tests.fakes.timing import Clock

LOST = ConnectionError("lost")


def health(clock: Clock, chance: float = 0.0, **cooldown: Any) -> Health:
    return Health(Cooldown(**{"failures": 2, "seconds": 10, **cooldown}), clock, lambda: chance)


def fail(well: Health, times: int = 1, told: float | None = None) -> None:
    for _ in range(times):
        well.failed("a", LOST, told)


def test_it_rests_after_so_many_failures_in_a_row() -> None:
    well = health(Clock())
    fail(well)
    assert well.rest_of("a") is None
    fail(well)
    rest = well.rest_of("a")
    assert rest is not None
    assert rest.reason == "rests for 10 s more after 2 failures (ConnectionError)"
    assert well.rest_of("b") is None


def test_an_answer_in_between_begins_the_count_again() -> None:
    well = health(Clock())
    fail(well)
    well.succeeded("a")
    fail(well)
    assert well.rest_of("a") is None


def test_one_trial_after_the_rest_and_the_others_see_it_rest_on() -> None:
    clock = Clock()
    well = health(clock)
    fail(well, 2)
    clock.now += 10.1
    assert well.rest_of("a") is None
    assert well.enter("a") == 0
    rest = well.rest_of("a")
    assert rest is not None
    assert rest.reason.startswith("is being tried again after 2 failures")
    well.succeeded("a")
    assert well.rest_of("a") is None


def test_each_failed_trial_doubles_the_rest_up_to_the_longest() -> None:
    clock = Clock()
    well = health(clock, longest=35)
    fail(well, 2)
    rests = []
    for _ in range(4):
        rest = well.rest_of("a")
        assert rest is not None
        rests.append(rest.seconds)
        clock.now += rest.seconds
        well.enter("a")
        fail(well)
    assert rests == pytest.approx([10, 20, 35, 35])


def test_calls_under_way_when_the_rest_began_add_nothing() -> None:
    well = health(Clock())
    fail(well, 50)
    rest = well.rest_of("a")
    assert rest is not None
    assert rest.seconds == 10


def test_a_trial_that_never_ends_does_not_shut_the_candidate_out() -> None:
    clock = Clock()
    well = health(clock)
    fail(well, 2)
    clock.now += 10
    well.enter("a")
    clock.now += 25
    assert well.rest_of("a") is None


def test_rests_are_spread_by_chance() -> None:
    spread = {h.rest_of("a").seconds for h in map(_failed_twice, (0.0, 0.5, 1.0))}  # type: ignore[union-attr]
    assert spread == {10.0, 11.25, 12.5}


def _failed_twice(chance: float) -> Health:
    well = health(Clock(), chance)
    fail(well, 2)
    return well


def test_what_the_server_asked_for_is_kept_even_after_an_answer_and_the_later_wins() -> None:
    clock = Clock()
    well = health(clock)
    fail(well, told=30)
    fail(well, told=5)
    well.succeeded("a")  # a call that had been under way
    assert well.enter("a") == 30
    assert well.rest_of("a").reason == "asked to be left alone for 30 s more ()"  # type: ignore[union-attr]
    clock.now += 30
    assert well.enter("a") == 0
    assert well.rest_of("a") is None


def test_a_rest_of_our_own_making_holds_nobody_back() -> None:
    well = health(Clock())
    fail(well, 2)
    assert well.enter("a") == 0


def test_with_0_failures_nobody_rests_unless_told_to() -> None:
    well = health(Clock(), failures=0)
    fail(well, 100)
    assert well.rest_of("a") is None
    fail(well, told=7)
    assert well.enter("a") == 7


def test_many_threads_after_a_rest_make_one_trial() -> None:
    clock = Clock()
    well = health(clock)
    fail(well, 2)
    clock.now += 11
    seen: list[bool] = []
    barrier = threading.Barrier(16)

    def call() -> None:
        barrier.wait()
        for _ in range(200):
            if well.rest_of("a") is None:
                well.enter("a")
                seen.append(True)

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(seen) <= 16  # those who had looked before the trial began, and nobody later


def test_another_process_finds_out_for_itself() -> None:
    well = Health(Cooldown(failures=1))
    fail(well)
    assert well.rest_of("a") is not None
    copied = pickle.loads(pickle.dumps(well))  # noqa: S301
    assert copied.rest_of("a") is None
    assert copied.cooldown == well.cooldown


@pytest.mark.parametrize("wrong", [5, None, {"failures": 3}, Cooldown])
def test_a_cooldown_is_a_cooldown(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"cooldown must be a Cooldown\(\.\.\.\), not"):
        Health(wrong)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "5", True, None])
@pytest.mark.parametrize("label", ["failures", "seconds", "longest", "patience"])
def test_wrong_settings_are_refused(label: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"cooldown: {label} must be a number from 0 up"):
        Cooldown(**{label: value})
