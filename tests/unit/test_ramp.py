"""The speed of steps: within the motor's means at every step, and symmetrical."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.errors import ConfigError
from focusd.ramp import Ramp


def rates_hz(ramp: Ramp, steps: int) -> list[float]:
    return [ramp.rate_hz(k, steps - k) for k in range(steps)]


ramps = st.builds(
    lambda start, factor, accel: Ramp(start, start * factor, accel),
    st.floats(1, 2000),
    st.floats(1, 20),
    st.floats(1, 1e6),
)


@settings(deadline=None, max_examples=80)
@given(ramp=ramps, steps=st.integers(1, 400))
def test_a_move_is_within_the_motor_s_means(ramp: Ramp, steps: int) -> None:
    rates = rates_hz(ramp, steps)
    assert rates[0] == rates[-1] == ramp.start_hz
    assert max(rates) <= ramp.cruise_hz
    assert rates == rates[::-1]
    for before, after in pairwise(rates):
        # One step at constant acceleration: v'^2 = v^2 + 2a.
        assert abs(after**2 - before**2) <= 2 * ramp.accel_hz_s * (1 + 1e-9) + 1e-6


def test_a_long_move_reaches_cruise_where_the_formula_says() -> None:
    ramp = Ramp(100.0, 500.0, 1200.0)
    steps_up = (500**2 - 100**2) / (2 * 1200)  # 100
    rates = rates_hz(ramp, 1000)
    assert rates.index(500.0) == steps_up
    assert rates[500] == 500.0


def test_a_motor_that_stood_still_begins_again() -> None:
    ramp = Ramp(100.0, 500.0, 1000.0)
    assert ramp.rate_hz(0, 800) == 100.0 < ramp.rate_hz(1, 799) < ramp.rate_hz(50, 750)


def test_duration_is_the_sum_of_the_intervals_and_that_of_a_trapezoid() -> None:
    ramp = Ramp(100.0, 1000.0, 5000.0)
    assert ramp.duration_s(0) == 0.0
    assert ramp.duration_s(1) == pytest.approx(1 / 100)
    assert ramp.duration_s(700) == pytest.approx(sum(1 / rate for rate in rates_hz(ramp, 700)))
    # (v - u) / a twice, and the rest at cruise.
    ramp_s, ramp_steps = (1000 - 100) / 5000, (1000**2 - 100**2) / (2 * 5000)
    assert ramp.duration_s(20_000) == pytest.approx(2 * ramp_s + (20_000 - 2 * ramp_steps) / 1000, rel=2e-3)


@pytest.mark.parametrize(
    ("start_hz", "cruise_hz", "accel_hz_s"),
    [
        (0, 10, 1),
        (-1, 10, 1),
        (11, 10, 1),
        (math.nan, 10, 1),
        (1, math.nan, 1),
        (1, 10, 0),
        (1, 10, math.nan),
    ],
)
def test_what_is_no_ramp(start_hz: float, cruise_hz: float, accel_hz_s: float) -> None:
    with pytest.raises(ConfigError, match="Hz"):
        Ramp(start_hz, cruise_hz, accel_hz_s)


@given(
    start=st.floats(1, 1000),
    faster=st.floats(1, 50),
    accel=st.floats(10, 1e5),
    steps=st.integers(0, 3000),
)
def test_a_duration_is_the_sum_of_its_intervals(
    start: float, faster: float, accel: float, steps: int
) -> None:
    ramp = Ramp(start, start * faster, accel)
    assert ramp.duration_s(steps) == pytest.approx(
        sum(ramp.interval_s(k, steps - k) for k in range(steps)), rel=2e-3
    )


def test_a_duration_costs_the_same_for_any_length() -> None:
    """It is worked out on the thread that hears stop."""
    assert Ramp(100, 50_000, 1000).duration_s(10**9) == pytest.approx(10**9 / 50_000, rel=0.01)
