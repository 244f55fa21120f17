"""How a position is reached: the legs, worked out before any is made."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.errors import OutOfTravel
from focusd.rail_spec import SIGN, Direction, Homing, RailSpec, Reach, run_in_after

SPEC = RailSpec(
    um_per_step=Fraction(5),
    low_um=0.0,
    high_um=25_000.0,
    start_um_s=500.0,
    cruise_um_s=3000.0,
    accel_um_s2=6000.0,
    backlash_um=30.0,
    prerun_um=20.0,
)
UP, DOWN = Reach("up", 10), Reach("down", 10)


@pytest.mark.parametrize(
    ("um_per_step", "position_um", "steps"),
    [
        (Fraction(5), 12_345.0, 2469),
        (Fraction(5), -7.0, -1),
        (Fraction(1000, 600), 1e7, 6_000_000),
        (Fraction(1000, 200 * 256), 25_000.0, 1_280_000),
        (Fraction(1, 10), 0.3, 3),
        (Fraction(1, 10), 1_000_000.7, 10_000_007),
    ],
)
def test_a_position_is_a_whole_step_whatever_the_distance(
    um_per_step: Fraction, position_um: float, steps: int
) -> None:
    assert replace(SPEC, um_per_step=um_per_step).steps_at(position_um) == steps


@pytest.mark.parametrize(
    ("backlash_um", "prerun_um", "steps"), [(30, 20, 10), (0, 0, 0), (1, 0, 1), (0, 5, 1), (0.1, 5, 2)]
)
def test_a_run_up_is_rounded_up(backlash_um: float, prerun_um: float, steps: int) -> None:
    assert SPEC.reach(backlash_um=backlash_um, prerun_um=prerun_um) == Reach("up", steps)


def test_a_job_s_own_reach_wins_over_the_rail_s() -> None:
    assert SPEC.reach() == UP
    assert SPEC.reach("down") == DOWN
    assert SPEC.reach("down", backlash_um=0.0) == Reach("down", 4)
    assert replace(SPEC, approach="down").reach(prerun_um=0.0) == Reach("down", 6)


@pytest.mark.parametrize(
    ("at", "run_in", "target_um", "reach", "legs"),
    [
        (100, 50, 1000, UP, [100]),  # onward, play taken up
        (100, 10, 1000, UP, [100]),
        (100, 0, 1000, UP, [100]),  # the way there is longer than the run-up
        (100, 0, 550, UP, [10]),  # just long enough
        (100, 0, 545, UP, [-1, 10]),  # one step too short: back off first
        (100, 3, 545, UP, [9]),  # 3 + 9 together take it up
        (100, 3, 535, UP, [7]),
        (100, 1, 540, UP, [-2, 10]),
        (100, -50, 545, UP, [-1, 10]),  # run in on the wrong side counts for nothing
        (100, 50, 500, UP, []),  # there already
        (100, 0, 500, UP, [-10, 10]),  # there, but not from the right side
        (100, 50, 495, UP, [-11, 10]),
        (100, 50, 0, Reach("up", 0), [-100]),
        (100, -50, 450, DOWN, [-10]),
        (100, 50, 450, DOWN, [-10]),
        (100, 50, 455, DOWN, [1, -10]),
        (100, 50, 500, DOWN, [10, -10]),
        (100, -50, 500, DOWN, []),
        (100, -50, 550, DOWN, [20, -10]),
    ],
)
def test_legs(at: int, run_in: int, target_um: float, reach: Reach, legs: list[int]) -> None:
    assert SPEC.legs(at, run_in, target_um, reach) == legs


@pytest.mark.parametrize(
    ("at", "target_um", "reach", "message"),
    [
        (100, -5, UP, "outside the rail's limits 0 to 25000"),
        (100, 25_005, UP, "outside the rail's limits"),
        (100, 45, UP, "must be reached from -5 um"),
        (4990, 24_955, DOWN, "must be reached from 25005 um"),
    ],
)
def test_what_is_out_of_travel(at: int, target_um: float, reach: Reach, message: str) -> None:
    with pytest.raises(OutOfTravel, match=message) as raised:
        SPEC.legs(at, 0, target_um, reach)
    assert raised.value.values["position_um"] == target_um


def test_the_limits_themselves_are_inside() -> None:
    assert SPEC.legs(4000, 0, 25_000, UP) == [1000]
    assert SPEC.legs(100, 0, 50, UP) == [-100, 10]
    assert SPEC.legs(100, 0, 0, DOWN) == [-100]


@settings(deadline=None, max_examples=100)
@given(
    at=st.integers(0, 4000),
    run_in=st.integers(-100, 100),
    targets_um=st.lists(st.integers(200, 3800).map(lambda n: 5.0 * n), max_size=8),
    side=st.sampled_from(["up", "down"]),
    run_up=st.integers(0, 40),
)
def test_every_leg_ends_there_with_the_play_taken_up(
    at: int, run_in: int, targets_um: list[float], side: Direction, run_up: int
) -> None:
    reach = Reach(side, run_up)
    route = SPEC.rehearse(targets_um, reach, at, run_in)
    assert len(route) == len(targets_um)
    for legs, target_um in zip(route, targets_um, strict=True):
        assert legs == SPEC.legs(at, run_in, target_um, reach)
        assert 0 not in legs
        for leg in legs:
            at, run_in = at + leg, run_in_after(run_in, leg)
        assert at == SPEC.steps_at(target_um)
        assert max(0, run_in * SIGN[side]) >= run_up


def test_a_rehearsal_finds_the_last_position_that_cannot_be_reached() -> None:
    with pytest.raises(OutOfTravel, match="25001"):
        SPEC.rehearse([5000.0, 6000.0, 25_001.0], UP, 0)


@pytest.mark.parametrize(
    ("run_in", "steps", "after"),
    [(0, 5, 5), (5, 5, 10), (5, -3, -3), (-5, 3, 3), (-5, -3, -8), (5, 0, 5), (0, 0, 0)],
)
def test_run_in_counts_from_the_last_reversal(run_in: int, steps: int, after: int) -> None:
    assert run_in_after(run_in, steps) == after


def test_the_ramp_is_in_steps_and_a_slow_search_starts_slowly() -> None:
    ramp = SPEC.ramp()
    assert (ramp.start_hz, ramp.cruise_hz, ramp.accel_hz_s) == (100.0, 600.0, 1200.0)
    slow = SPEC.ramp(250.0)
    assert (slow.start_hz, slow.cruise_hz) == (50.0, 50.0)


def homing(go_to_um: float | None) -> Homing:
    return Homing(
        direction="down",
        position_um=100.0,
        go_to_um=go_to_um,
        fast_um_s=2000.0,
        slow_um_s=250.0,
        back_off_um=500.0,
        max_travel_um=30_000.0,
    )


def test_where_homing_will_end() -> None:
    assert SPEC.home_reference_um is None
    assert replace(SPEC, homing=homing(5000.0)).home_reference_um == 5000.0
    assert replace(SPEC, homing=homing(0.0)).home_reference_um == 0.0
    without_play = replace(SPEC, homing=homing(None), backlash_um=0.0)
    assert without_play.home_reference_um == 100.0
