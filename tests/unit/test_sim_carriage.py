"""Screw and carriage: play, screw error, ends, sag, creep and vibration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.errors import RailError
from focusd_sim.carriage import Carriage, Screw
from focusd_sim.driver import UNITS_PER_STEP
from focusd_sim.endstop import EndStop, Switch
from focusd_sim.track import State, Track, Wave

TURN = 200 * UNITS_PER_STEP
RINGING = Wave(frequency_hz=25, tau_s=0.12, axial_share=0.125)
moves = st.lists(st.integers(-400, 400), max_size=40)


def follow(carriage: Carriage, steps: list[int]) -> tuple[list[float], list[float]]:
    """Positions of the carriage and of the nut after each move of whole steps, um."""
    shaft, positions, nuts = 0, [], []
    for i, count in enumerate(steps):
        shaft += count
        carriage.follow(shaft * UNITS_PER_STEP, float(i))
        positions.append(carriage.position_um(float(i)))
        nuts.append(carriage.shaft_um(shaft * UNITS_PER_STEP))
    return positions, nuts


@given(moves, st.sampled_from([1, -1]))
def test_with_everything_off_a_step_is_five_micrometres(steps: list[int], direction: int) -> None:
    carriage = Carriage(Screw(direction=direction, near_um=-1e6, far_um=1e6, start_um=100), Wave())
    positions, _ = follow(carriage, steps)
    assert positions == pytest.approx([100 + direction * 5 * s for s in itertools.accumulate(steps)])


@given(moves, st.floats(0, 200))
def test_play_is_a_hysteresis_no_wider_than_itself(steps: list[int], backlash_um: float) -> None:
    carriage = Carriage(Screw(backlash_um=backlash_um, near_um=-1e6, far_um=1e6), Wave())
    positions, nuts = follow(carriage, steps)
    before = 0.0
    for position, nut, count in zip(positions, nuts, steps, strict=True):
        assert nut - 1e-6 <= position <= nut + backlash_um + 1e-6
        # It never moves against the screw, and stands still inside the play.
        assert (position - before) * count >= -1e-6
        before = position


def test_play_is_taken_up_before_the_carriage_turns_back() -> None:
    carriage = Carriage(Screw(backlash_um=30), Wave())
    positions, _ = follow(carriage, [10, -4, -2, -1, 7, 1])
    assert positions == pytest.approx([50, 50, 50, 45, 50, 55])


def test_screw_error_repeats_once_a_turn() -> None:
    carriage = Carriage(Screw(periodic_um=8), Wave())
    errors = []
    for i in range(9):
        carriage.follow(i * TURN // 4, float(i))
        errors.append(carriage.position_um(float(i)) - 250 * i)
    assert errors == pytest.approx([0, 8, 0, -8, 0, 8, 0, -8, 0], abs=1e-6)


@pytest.mark.parametrize("direction", [1, -1])
def test_limits_are_where_the_carriage_meets_its_ends(direction: int) -> None:
    screw = Screw(direction=direction, backlash_um=40, near_um=-100, far_um=300, start_um=50)
    carriage = Carriage(screw, Wave())
    ends = []
    for i, shaft in enumerate(carriage.limits):
        carriage.follow(shaft, float(i))
        ends.append(carriage.position_um(float(i)))
    assert sorted(ends) == pytest.approx([-100, 300], abs=0.03)


@pytest.mark.parametrize(("sag_um_s", "expected"), [(0.0, 30.0), (2.0, 20.0)])
def test_gravity_takes_up_the_play_while_released(sag_um_s: float, expected: float) -> None:
    carriage = Carriage(Screw(backlash_um=30, sag_um_s=sag_um_s), Wave())
    follow(carriage, [6, -6])
    carriage.release(2.0)
    assert carriage.position_um(7.0) == pytest.approx(expected)
    assert carriage.motion_during(2.0, 7.0).position_um == pytest.approx((30 + expected) / 2)
    assert carriage.speed_um_s(7.0) == sag_um_s
    carriage.hold(7.0)
    assert carriage.position_um(60.0) == pytest.approx(expected)


def test_gravity_stops_at_the_flank() -> None:
    carriage = Carriage(Screw(backlash_um=30, sag_um_s=2.0), Wave())
    follow(carriage, [6, -6])
    carriage.release(2.0)
    assert carriage.position_um(1000.0) == pytest.approx(0.0)
    assert carriage.motion_during(2.0, 32.0).position_um == pytest.approx(7.5)


def test_a_move_settles_slowly() -> None:
    carriage = Carriage(Screw(creep=0.05), Wave(lag_tau_s=0.2))
    carriage.follow(20 * UNITS_PER_STEP, 1.0)
    assert [carriage.position_um(1.0 + t) for t in (0.0, 0.2, 5.0)] == pytest.approx(
        [95, 100 - 5 / math.e, 100]
    )
    mean_um = carriage.motion_during(1.0, 1.2).position_um
    assert mean_um == pytest.approx(100 - 5 * (1 - 1 / math.e))


def test_vibration_rings_at_its_frequency_and_decays() -> None:
    carriage = Carriage(Screw(lateral_um=4.0), RINGING)
    carriage.follow(UNITS_PER_STEP, 1.0)
    quarter_s = 0.01
    swings = [carriage.lateral_um(1.0 + quarter_s * (1 + 2 * i)) for i in range(6)]
    expected = [4 * (-1) ** i * math.exp(-quarter_s * (1 + 2 * i) / 0.12) for i in range(6)]
    assert swings == pytest.approx(expected)
    axial_um = carriage.position_um(1.0 + quarter_s) - 5.0
    assert axial_um == pytest.approx(expected[0] / 8)
    assert carriage.lateral_um(3.0) == pytest.approx(0, abs=1e-6)


@given(st.lists(st.floats(0.0005, 0.05), min_size=1, max_size=30))
def test_vibration_only_decays_after_the_last_step(gaps_s: list[float]) -> None:
    carriage, t_s = Carriage(Screw(lateral_um=4.0), RINGING), 0.0
    for i, gap_s in enumerate(gaps_s):
        t_s += gap_s
        carriage.follow((i + 1) * UNITS_PER_STEP, t_s)
    smears = [carriage.motion_during(t_s + s, t_s + s + 0.08).smear_um for s in (0.0, 0.12, 0.24, 0.48)]
    for before, after in itertools.pairwise(smears):
        assert after <= before * math.exp(-1) * 1.02


def test_switching_vibration_off_leaves_a_still_carriage() -> None:
    carriage = Carriage(Screw(lateral_um=4.0), Wave(frequency_hz=0))
    carriage.follow(UNITS_PER_STEP, 1.0)
    carriage.bump(3.0, 1.0)
    assert carriage.motion_during(1.0, 1.5).smear_um == 0


def test_a_bump_shakes_sideways_only() -> None:
    carriage = Carriage(Screw(), RINGING)
    carriage.bump(3.0, 1.0)
    motion = carriage.motion_during(1.0, 2.0)
    assert motion.smear_um == pytest.approx(3 * (math.exp(-1 / 12) + math.exp(-3 / 12)), rel=0.02)
    assert motion.peak_to_peak_um == 0


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(0.001, 0.1), st.integers(-4, 4)), min_size=1, max_size=15))
def test_the_summed_up_motion_is_that_of_a_fine_sampling(steps: list[tuple[float, int]]) -> None:
    wave = Wave(25, 0.12, 0.125, 0.15)
    carriage = Carriage(Screw(backlash_um=12, periodic_um=3, creep=0.05, lateral_um=4), wave)
    t_s, shaft = 1.0, 0
    for gap_s, count in steps:
        t_s += gap_s
        shaft += count
        carriage.follow(shaft * UNITS_PER_STEP, t_s)
    times = np.arange(1.02, t_s + 0.15, 2e-4)
    axial = np.array([carriage.position_um(t) for t in times])
    lateral = np.array([carriage.lateral_um(t) for t in times])
    motion = carriage.motion_during(float(times[0]), float(times[-1]))
    assert motion.position_um == pytest.approx(axial.mean(), abs=0.25)
    assert motion.peak_to_peak_um == pytest.approx(np.ptp(axial), abs=0.15 + 0.01 * np.ptp(axial))
    assert motion.smear_um == pytest.approx(np.ptp(lateral), abs=0.05 + 0.02 * np.ptp(lateral))
    assert (motion.start_um, motion.end_um) == (axial[0], axial[-1])


def test_speed_is_the_steps_over_their_time() -> None:
    carriage = Carriage(Screw(), Wave())
    for i in range(1, 11):
        carriage.follow(i * UNITS_PER_STEP, 1 + i * 0.01)
    assert carriage.speed_um_s(1.055) == pytest.approx(500)
    assert carriage.motion_during(1.035, 1.065).max_speed_um_s == pytest.approx(500)
    assert carriage.speed_um_s(2.0) == 0
    assert carriage.motion_during(2.0, 2.1).max_speed_um_s == 0


def test_edges_are_counted_within_the_interval() -> None:
    carriage = Carriage(Screw(), Wave())
    for t_s in (1.0, 2.0, 3.0):
        carriage.edge(t_s)
    assert [carriage.motion_during(*span).step_edges for span in ((0, 0.9), (1, 2), (2.1, 9))] == [0, 2, 1]


def test_the_past_is_kept_for_a_while_and_then_refused() -> None:
    track = Track(State(0.0), Wave(), keep_s=1.0)
    for i in range(10_000):
        track.append(State(float(i)), i * 0.001)
        track.edge(i * 0.001)
    assert track.position_um(9.5) == pytest.approx(9500, abs=1)
    assert len(track._times) < 6000
    assert len(track._edges) < 6000
    with pytest.raises(RailError, match="forgotten"):
        track.position_um(1.0)


@pytest.mark.parametrize("side", ["near", "far"])
@pytest.mark.parametrize("active_high", [True, False])
def test_the_end_stop_closes_at_its_place_and_opens_behind_it(side: str, active_high: bool) -> None:
    levels: list[bool] = []
    inward = 1.0 if side == "near" else -1.0
    switch = Switch(100.0, 15.0, side, active_high)  # type: ignore[arg-type]
    endstop = EndStop(switch, levels.append, 100.0 + inward * 50)
    for away_um in (0.1, -0.1, 14.0, 16.0, 1.0, -5.0):
        endstop.update(100.0 + inward * away_um)
    expected = [False, True, False, True]
    assert [level == active_high for level in levels] == expected


def test_a_stuck_end_stop_stays_as_it_is_until_freed() -> None:
    levels: list[bool] = []
    endstop = EndStop(Switch(active_high=True), levels.append, 50.0)
    endstop.stick(True)
    endstop.update(-10.0)
    assert levels == [False]
    endstop.stick(False)
    assert levels == [False, True]
