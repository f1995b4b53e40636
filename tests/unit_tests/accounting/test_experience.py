"""What past calls teach: lengths, times, caches, energy."""

from __future__ import annotations

import copy
import pickle
import random
import sys
import threading
import tracemalloc

import pytest

from shared_core.accounting.experience import Experience
from shared_core.types import Energy, Usage
from tests.fakes.timing import Clock


def usage(output: int, *, read: int = 100, cached: int = 0, free: bool = False) -> Usage:
    return Usage(read, output, cached, free=free)


def written(experience: Experience, ratio: float, calls: int, seed: int = 0) -> None:
    """Calls whose answers are so many times as long as predicted, give or take."""
    rng = random.Random(seed)
    for _ in range(calls):
        predicted = rng.randint(50, 500)
        length = round(predicted * ratio * rng.uniform(0.5, 1.5))
        experience.note("a", usage(length), None, predicted=predicted)


# --- length ---


@pytest.mark.parametrize("ratio", [0.2, 1, 3])
def test_the_correction_converges_to_the_truth(ratio: float) -> None:
    experience = Experience()
    written(experience, ratio, 1000)
    assert experience.output_tokens("a", 1000) == pytest.approx(1000 * ratio, rel=0.1)


def test_few_calls_move_it_little_and_more_calls_more() -> None:
    experience, corrected = Experience(), []
    for _ in range(20):
        corrected.append(experience.output_tokens("a", 100))
        experience.note("a", usage(1000), None, predicted=100)
    assert corrected[0] == 100
    assert 240 < corrected[1] < 260
    assert corrected == sorted(corrected)
    assert corrected[-1] < 1000


def test_it_forgets() -> None:
    experience = Experience()
    written(experience, 3, 1000)
    written(experience, 0.5, 500)
    assert experience.output_tokens("a", 1000) == pytest.approx(500, rel=0.1)


@pytest.mark.parametrize("predicted", [None, 0])
def test_without_a_prediction_there_is_nothing_to_correct(predicted: int | None) -> None:
    experience = Experience()
    experience.note("a", usage(1000), None, predicted=predicted)
    assert experience.output_tokens("a", 100) == 100
    assert experience.output_tokens("b", 100) == 100


def test_an_answer_is_never_expected_to_be_nothing() -> None:
    experience = Experience()
    for _ in range(500):
        experience.note("a", usage(0), None, predicted=100)
    assert experience.output_tokens("a", 3) == 1


def test_candidates_do_not_learn_from_each_other_nor_from_a_cache() -> None:
    experience = Experience()
    for _ in range(50):
        experience.note("a", usage(1000), 1.0, predicted=100, energy=Energy(1, 1, 1, "m"))
        experience.note("b", usage(1000, free=True), 1.0, predicted=100)
    for name in "bc":
        assert experience.output_tokens(name, 100) == 100
        assert experience.seconds(name, 100) is None
        assert experience.energy_rates(name) is None


# --- time ---


def timed(calls: int, clock: Clock | None = None) -> Experience:
    """Answers that take 0.5 s and 0.01 s a token."""
    experience, rng = Experience(clock or Clock()), random.Random(1)
    for _ in range(calls):
        tokens = rng.randint(10, 400)
        experience.note("a", usage(tokens), 0.5 + 0.01 * tokens)
    return experience


@pytest.mark.parametrize(("calls", "known"), [(0, False), (4, False), (5, True), (500, True)])
def test_time_is_predicted_from_the_fifth_call_on(calls: int, known: bool) -> None:
    seconds = timed(calls).seconds("a", 200)
    assert (seconds is not None) is known
    assert seconds is None or seconds == pytest.approx(2.5)


def test_times_grow_stale() -> None:
    clock = Clock()
    experience = timed(10, clock)
    clock.now += 599
    assert experience.seconds("a", 100) == pytest.approx(1.5)
    clock.now += 2
    assert experience.seconds("a", 100) is None
    experience.note("a", usage(100), 9.0)
    assert experience.seconds("a", 100) is not None


@pytest.mark.parametrize("length", [0, 1, 777, 100_003])
def test_answers_of_one_length_make_a_flat_line(length: int) -> None:
    experience, rng = Experience(Clock()), random.Random(2)
    for _ in range(300):
        experience.note("a", usage(length), rng.uniform(1, 2))
    near = experience.seconds("a", length)
    assert near == pytest.approx(1.5, abs=0.2)
    assert experience.seconds("a", 2 * length + 5) == pytest.approx(near)


def test_a_line_that_would_fall_is_flat_and_no_time_is_negative() -> None:
    falling, steep = Experience(Clock()), Experience(Clock())
    for tokens in range(10, 200, 10):
        falling.note("a", usage(tokens), 10 - tokens / 100)
        steep.note("a", usage(tokens), max(0.0, tokens - 100.0))
    assert falling.seconds("a", 0) == pytest.approx(falling.seconds("a", 10_000))
    assert steep.seconds("a", 0) == 0


def test_calls_of_unknown_time_do_not_shift_it() -> None:
    experience = timed(20)
    before = experience.seconds("a", 100)
    for _ in range(50):
        experience.note("a", usage(5), None, predicted=100)
    assert experience.seconds("a", 100) == pytest.approx(before)


# --- caches, energy ---


def test_a_cache_is_believed_in_until_it_is_measured() -> None:
    experience = Experience()
    assert experience.cached_share("a", 1023) == 0
    assert experience.cached_share("a", 1024) == 1
    experience.note("a", usage(5, read=4000, cached=1000), 1.0, repeated=2000)
    assert experience.cached_share("a", 5000) == 0.5
    assert experience.cached_share("b", 5000) == 1


def test_the_share_of_a_cache_follows_what_is_measured() -> None:
    experience = Experience()
    for cached in [0] * 300 + [2000] * 300:
        experience.note("a", usage(5, read=4000, cached=cached), 1.0, repeated=2000)
    assert experience.cached_share("a", 5000) > 0.9
    experience.note("a", usage(5, read=9000, cached=9000), 1.0, repeated=2000)
    assert experience.cached_share("a", 5000) <= 1
    before = experience.cached_share("a", 5000)
    experience.note("a", usage(5, read=900, cached=0), 1.0, repeated=500)  # too short to be cached
    assert experience.cached_share("a", 5000) == before


def test_energy_is_learned_where_it_is_measured() -> None:
    experience, rng = Experience(), random.Random(3)
    for _ in range(50):
        read, wrote = rng.randint(10, 1000), rng.randint(10, 1000)
        wh = read * 2e-6 + wrote * 30e-6
        taken = Energy(0.9 * wh, wh, 1.1 * wh, "measured")
        experience.note("a", Usage(read, wrote), 1.0, energy=taken)
    rates = experience.energy_rates("a")
    assert rates is not None
    assert rates.input[1] == pytest.approx(2, rel=0.01)
    assert rates.output[1] == pytest.approx(30, rel=0.01)
    assert "measured, learned from 30+ calls" in rates.method


# --- as a whole ---


def test_memory_does_not_grow_with_calls() -> None:
    experience = Experience()
    written(experience, 2, 10)
    tracemalloc.start()
    try:
        written(experience, 2, 2000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10_000


def test_copies_go_on_learning_together_and_another_process_begins_anew() -> None:
    experience = timed(10)
    assert copy.deepcopy(experience) is experience
    other = pickle.loads(pickle.dumps(experience))  # noqa: S301
    assert other.seconds("a", 100) is None


def test_threads_lose_no_call() -> None:
    experience, switch = Experience(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work() -> None:
        for _ in range(500):
            experience.note("a", usage(200), 1.0, predicted=100, repeated=2000)
            assert 100 <= experience.output_tokens("a", 100) <= 200
            seconds = experience.seconds("a", 100)
            assert seconds is None or seconds == pytest.approx(1, rel=0.2)
            assert experience.cached_share("a", 2000) in (0, 1)

    faults: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=run) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert faults == []
    assert experience._sums["a"].answers == 2000
