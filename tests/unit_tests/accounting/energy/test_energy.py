"""Energy is a range with its method; what was learned from measured calls comes back as rates."""

from __future__ import annotations

import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_core.accounting.energy.rates import EnergyRates, RunningFit, declared
from shared_core.types import Energy, Usage

METHOD = "measured (NVML)"


def measured(wh: float, spread: float = 0.0) -> Energy:
    return Energy(wh * (1 - spread), wh, wh * (1 + spread), METHOD)


def ends(energy: Energy) -> tuple[float, float, float]:
    return energy.low, energy.mid, energy.high


def test_rates_count_both_kinds_of_tokens_and_the_call() -> None:
    rates = EnergyRates((1, 2, 3), (10, 20, 30), "m", per_call=(0.1, 0.2, 0.3))
    energy = rates.of(Usage(2_000_000, 500_000))
    assert ends(energy) == pytest.approx((7.1, 14.2, 21.3))
    assert energy.method == "m"


def test_declared_rates_are_taken_as_exact() -> None:
    energy = declared((1.0, 4.0)).of(Usage(1_000, 500))
    assert ends(energy) == pytest.approx((0.003,) * 3)
    assert energy.method == "declared"


def test_no_model_ran_no_energy_went() -> None:
    rates = EnergyRates((1, 2, 3), (10, 20, 30), "m", per_call=(1, 1, 1))
    assert ends(rates.of(Usage(1_000, 1_000, free=True))) == (0, 0, 0)


@given(read=st.floats(0, 50), written=st.floats(0, 500), seed=st.integers(0, 10_000))
def test_rates_that_hold_are_found(read: float, written: float, seed: int) -> None:
    rng, fit = random.Random(seed), RunningFit()
    for _ in range(20):
        used = Usage(rng.randint(1, 8_000), rng.randint(1, 2_000))
        fit.add(used, measured((used.input_tokens * read + used.output_tokens * written) / 1e6))
    rates = fit.rates()
    assert rates is not None
    assert rates.input[1] == pytest.approx(read, rel=1e-4, abs=1e-4)
    assert rates.output[1] == pytest.approx(written, rel=1e-4, abs=1e-4)


@given(
    calls=st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0, 10)), max_size=30
    )
)
def test_no_rate_is_ever_negative_and_every_range_is_in_order(
    calls: list[tuple[int, int, float]],
) -> None:
    fit = RunningFit()
    for read, written, wh in calls:
        fit.add(Usage(read, written), measured(wh, 0.05))
    rates = fit.rates()
    told = [1 for read, written, _ in calls if read + written]
    assert (rates is None) == (len(told) < 3)
    if rates:
        assert 0 <= rates.input[0] <= rates.input[1] <= rates.input[2]
        assert 0 <= rates.output[0] <= rates.output[1] <= rates.output[2]


def least_squares(calls: list[tuple[int, int, float]], a: float, b: float) -> float:
    return sum((wh - a * read - b * written) ** 2 for read, written, wh in calls)


def test_no_other_rates_fit_the_calls_better() -> None:
    """Wh that falls with input would give a negative rate: the best at zero is taken instead."""
    rng = random.Random(3)
    for slope in (-0.3, 0.0, 0.4):
        calls = [
            (x := rng.randint(100, 1_000), y := rng.randint(100, 1_000), slope * x + y)
            for _ in range(12)
        ]
        calls = [(x, y, max(0.0, wh + rng.uniform(-80, 80))) for x, y, wh in calls]
        fit = RunningFit()
        for x, y, wh in calls:
            fit.add(Usage(x, y), measured(wh))
        rates = fit.rates()
        assert rates is not None
        a, b = rates.input[1] / 1e6, rates.output[1] / 1e6
        best = least_squares(calls, a, b)
        for _ in range(200):
            near = max(0.0, a + rng.uniform(-0.1, 0.1)), max(0.0, b + rng.uniform(-0.1, 0.1))
            assert best <= least_squares(calls, *near) * (1 + 1e-9)


def test_calls_of_one_proportion_share_one_rate() -> None:
    fit = RunningFit()
    for size in (100, 200, 300, 400):
        fit.add(Usage(size, 3 * size), measured(size * 4e-6))
    rates = fit.rates()
    assert rates is not None
    assert rates.input[1] == pytest.approx(rates.output[1])
    assert rates.of(Usage(100, 300)).mid == pytest.approx(400e-6)


def test_three_calls_are_the_fewest_and_are_named() -> None:
    fit = RunningFit()
    for calls in range(3):
        assert fit.rates() is None, calls
        fit.add(Usage(10 + calls, 5), measured(0.1))
    rates = fit.rates()
    assert rates is not None
    assert rates.method == "measured (NVML), learned from 3+ calls"


@pytest.mark.parametrize(
    ("used", "energy"),
    [
        (Usage(10, 10, free=True), measured(0.1)),
        (Usage(0, 0), measured(0.1)),
        (Usage(10, 10), measured(float("nan"))),
        (Usage(10, 10), measured(float("inf"))),
        (Usage(10, 10), measured(-0.1)),
    ],
)
def test_what_tells_nothing_of_tokens_is_left_out(used: Usage, energy: Energy) -> None:
    fit = RunningFit()
    for _ in range(5):
        fit.add(used, energy)
    assert fit.rates() is None


def test_the_range_holds_the_meters_own_and_what_the_rates_leave_unexplained() -> None:
    exact, noisy = RunningFit(), RunningFit()
    rng = random.Random(5)
    for _ in range(300):
        used = Usage(rng.randint(1, 1_000), rng.randint(1, 1_000))
        wh = (used.input_tokens + 5 * used.output_tokens) / 1e6
        exact.add(used, measured(wh, 0.05))
        noisy.add(used, measured(wh * rng.choice((0.7, 1.3)), 0.05))
    sure, unsure = exact.rates(), noisy.rates()
    assert sure is not None
    assert unsure is not None
    assert sure.output[0] / sure.output[1] == pytest.approx(0.95)
    assert sure.output[2] / sure.output[1] == pytest.approx(1.05)
    assert unsure.output[2] / unsure.output[1] == pytest.approx(1.05 * 1.29, rel=0.03)
    assert unsure.output[0] / unsure.output[1] == pytest.approx(0.95 * 0.71, rel=0.03)


def test_a_cold_start_is_no_guide_to_later_calls() -> None:
    """The first call loaded the model, and one later did again; calls are of very unlike sizes."""
    fit, rng = RunningFit(), random.Random(9)
    for call in range(40):
        used = Usage(rng.randint(50, 8_000), rng.choice((16, 64, 256)))
        wh = (used.input_tokens * 1.0 + used.output_tokens * 800.0) / 1e6
        fit.add(used, measured(wh * 30 if call in (0, 25) else wh * rng.uniform(0.9, 1.1)))
        if call == 12:
            early = fit.rates()
    late = fit.rates()
    assert early is not None
    assert late is not None
    assert early.output[1] == pytest.approx(800, rel=0.1)
    assert late.output[1] == pytest.approx(800, rel=0.1)
    assert late.output[2] < 1_000


def test_old_calls_are_forgotten() -> None:
    fit, rng = RunningFit(), random.Random(7)
    for rate in (1.0, 3.0):
        for _ in range(1_000):
            used = Usage(rng.randint(1, 1_000), rng.randint(1, 1_000))
            fit.add(used, measured(rate * (used.input_tokens + used.output_tokens) / 1e6))
    rates = fit.rates()
    assert rates is not None
    assert rates.output[1] == pytest.approx(3.0, rel=0.02)


def test_energy_added_up_over_many_calls_names_few_methods() -> None:
    fit, total = RunningFit(), Energy(0, 0, 0, METHOD)
    for size in range(1, 500):
        fit.add(Usage(size, 7), measured(size * 1e-6))
        if rates := fit.rates():
            total += rates.of(Usage(10, 10))
    assert total.method.count("learned from") == 5
    assert total.method.endswith("measured (NVML), learned from 300+ calls")


def test_threads_lose_no_call() -> None:
    """The calls are all alike, so that their order does not matter."""
    fit, alone = RunningFit(), RunningFit()

    def add(to: RunningFit) -> None:
        for _ in range(500):
            to.add(Usage(100, 0), measured(100e-6))

    threads = [threading.Thread(target=add, args=(fit,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(6):
        add(alone)
    assert fit._calls == alone._calls == 3_000
    assert fit.rates() == alone.rates()
