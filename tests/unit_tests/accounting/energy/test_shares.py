"""No joule is lost or counted twice, however calls overlap; a meter that fails leaves None."""

from __future__ import annotations

import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_core.accounting.energy.shares import Shares
from shared_core.types import Energy


class FakeMeter:
    """A counter that the test moves."""

    method = "measured (RAPL)"
    spread = (0.9, 1.1)

    def __init__(self) -> None:
        self.now = 1e6
        self.fault: Exception | None = None

    def joules(self) -> float:
        if self.fault:
            raise self.fault
        return self.now


class Ticking(FakeMeter):
    """A counter that moves at every reading, and knows when it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.readings: list[float] = []

    def joules(self) -> float:
        self.now += random.uniform(0, 5)
        self.readings.append(self.now)
        return self.now


def joules(energy: Energy | None) -> float:
    assert energy is not None
    return energy.mid * 3600


def test_energy_is_split_among_those_that_run() -> None:
    meter = FakeMeter()
    shares = Shares(meter)
    first = shares.begin()
    meter.now += 10  # the first alone
    second = shares.begin()
    meter.now += 6  # both
    assert joules(shares.end(first)) == pytest.approx(10 + 3)
    meter.now += 4  # the second alone
    assert joules(shares.end(second)) == pytest.approx(3 + 4)


def test_energy_while_nobody_runs_is_nobodys() -> None:
    meter = FakeMeter()
    shares = Shares(meter)
    for _ in range(2):
        meter.now += 1_000
        token = shares.begin()
        meter.now += 7
        assert joules(shares.end(token)) == pytest.approx(7)


def test_the_range_and_the_method_are_the_meters() -> None:
    meter = FakeMeter()
    shares = Shares(meter)
    token = shares.begin()
    meter.now += 3_600
    energy = shares.end(token)
    assert energy is not None
    assert (energy.low, energy.mid, energy.high) == pytest.approx((0.9, 1.0, 1.1))
    assert energy.method == "measured (RAPL)"


@given(events=st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1e4)), max_size=60))
def test_shares_add_up_to_what_was_counted_while_anyone_ran(
    events: list[tuple[int, float]],
) -> None:
    """Five callers, each of whom begins or ends at its events."""
    meter = FakeMeter()
    shares = Shares(meter)
    running: dict[int, int] = {}
    counted = given_out = 0.0
    for caller, step in [*events, *((caller, 1.0) for caller in range(5))]:
        meter.now += step
        counted += step if running else 0.0
        if caller in running:
            given_out += joules(shares.end(running.pop(caller)))
        else:
            running[caller] = shares.begin()
    for token in running.values():
        given_out += joules(shares.end(token))
    assert given_out == pytest.approx(counted, rel=1e-6, abs=1e-4)


def test_threads_lose_no_joule() -> None:
    meter = Ticking()
    shares = Shares(meter)
    outer = shares.begin()  # someone runs throughout
    parts: list[float] = []

    def call() -> None:
        parts.extend(joules(shares.end(shares.begin())) for _ in range(200))

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    parts.append(joules(shares.end(outer)))
    assert len(parts) == 6 * 200 + 1
    assert sum(parts) == pytest.approx(meter.readings[-1] - meter.readings[0], rel=1e-6)


@pytest.fixture
def failing() -> tuple[FakeMeter, Shares, int]:
    """A meter that has just failed while a call was running, and has said so."""
    meter = FakeMeter()
    shares = Shares(meter)
    token = shares.begin()
    meter.fault = OSError("gone")
    with pytest.warns(RuntimeWarning, match=r"energy is unknown.*OSError: gone"):
        ended = shares.end(token)
    assert ended is None
    return meter, shares, token


def test_a_meter_that_fails_is_told_of_once(failing: tuple[FakeMeter, Shares, int]) -> None:
    _, shares, _ = failing
    assert shares.end(shares.begin()) is None  # a second warning would raise


def test_calls_after_the_meter_has_recovered_are_measured(
    failing: tuple[FakeMeter, Shares, int],
) -> None:
    meter, shares, _ = failing
    blind = shares.begin()  # the meter cannot be read as it begins
    meter.fault = None
    meter.now += 50
    sighted = shares.begin()
    meter.now += 8
    assert shares.end(blind) is None
    meter.now += 2
    assert joules(shares.end(sighted)) == pytest.approx(8 / 2 + 2)


def test_a_call_that_ran_while_the_meter_failed_is_unknown_even_if_it_ends_well() -> None:
    meter = FakeMeter()
    shares = Shares(meter)
    long = shares.begin()
    meter.fault = RuntimeError("busy")
    with pytest.warns(RuntimeWarning, match="busy"):
        shares.begin()
    meter.fault = None
    assert shares.end(long) is None


@pytest.mark.parametrize("reading", [float("nan"), float("inf")])
def test_a_reading_that_is_no_number_is_a_failure(reading: float) -> None:
    meter = FakeMeter()
    shares = Shares(meter)
    token = shares.begin()
    meter.now = reading
    with pytest.warns(RuntimeWarning, match="it reads"):
        assert shares.end(token) is None


def test_a_call_ends_once() -> None:
    shares = Shares(FakeMeter())
    token = shares.begin()
    assert shares.end(token) is not None
    assert shares.end(token) is None
