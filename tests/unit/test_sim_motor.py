"""Driver chip and motor: what the data sheet and the torque curve allow, and what is lost beyond."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd.errors import ConfigError
from focusd_sim.driver import CHIPS, UNITS_PER_STEP, StepDriver
from focusd_sim.motor import Motor, Torque

FAR = 10**9
FREE = Torque()


def motor(torque: Torque = FREE, limits: tuple[int, int] = (-FAR, FAR)) -> Motor:
    return Motor(torque, limits, lambda shaft, t_s: None)


class Wired:
    """A driver and its motor, energised at 0 s and pulsed one step at a time."""

    def __init__(self, chip: str = "A4988", microsteps: int = 1, torque: Torque = FREE, **options: bool):
        self.motor = motor(torque)
        self.driver = StepDriver(CHIPS[chip], self.motor, microsteps=microsteps, **options)
        self.driver.direction(True, 0.0)
        self.driver.enable(options.get("enable_active_low", True) is False, 0.0)
        self.t_s = 0.01

    def pulse(self, high_s: float = 5e-6, low_s: float = 5e-3) -> None:
        self.driver.step(True, self.t_s)
        self.driver.step(False, self.t_s + high_s)
        self.t_s += high_s + low_s

    @property
    def full_steps(self) -> float:
        self.driver.flush(self.t_s)
        return self.motor.shaft / UNITS_PER_STEP

    @property
    def violations(self) -> dict[str, int]:
        return self.driver.pulses.violations


@pytest.mark.parametrize("chip", CHIPS)
def test_a_rising_edge_advances_one_microstep(chip: str) -> None:
    for microsteps in CHIPS[chip].microsteps:
        rig = Wired(chip, microsteps)
        for _ in range(2 * microsteps):
            rig.pulse()
        assert rig.full_steps == 2
        assert rig.motor.degrees == pytest.approx(3.6)
        assert not rig.violations


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize(("factor", "made"), [(0.9, 0), (1.0, 5), (1.5, 5)])
def test_a_pulse_shorter_than_the_data_sheet_allows_is_lost(chip: str, factor: float, made: int) -> None:
    rig = Wired(chip, 8)
    for _ in range(5):
        rig.pulse(high_s=CHIPS[chip].step_high_s * factor)
    assert rig.full_steps * 8 == made
    assert rig.violations.get("step_high", 0) == 5 - made


@pytest.mark.parametrize("chip", CHIPS)
def test_a_pause_shorter_than_the_data_sheet_allows_is_lost(chip: str) -> None:
    rig = Wired(chip, 8)
    for _ in range(4):
        rig.pulse(low_s=CHIPS[chip].step_low_s * 0.9)
    assert rig.full_steps * 8 == 1
    assert rig.violations == {"step_low": 3}


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize(("factor", "made"), [(0.9, 1), (1.01, 0)])
def test_direction_must_stand_before_the_step(chip: str, factor: float, made: int) -> None:
    rig = Wired(chip, 8)
    rig.pulse()
    rig.driver.direction(False, rig.t_s)
    rig.t_s += CHIPS[chip].setup_s * factor
    rig.pulse()
    assert rig.full_steps * 8 == made
    assert rig.violations.get("dir_setup", 0) == made


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize(("factor", "made"), [(0.9, 0), (1.1, 1)])
def test_direction_must_stand_after_the_step(chip: str, factor: float, made: int) -> None:
    rig = Wired(chip, 8)
    rig.driver.step(True, rig.t_s)
    rig.driver.direction(False, rig.t_s + CHIPS[chip].hold_s * factor)
    rig.driver.step(False, rig.t_s + 1e-4)
    rig.t_s += 1e-3
    assert rig.full_steps * 8 == made
    assert rig.violations.get("dir_hold", 0) == 1 - made


@pytest.mark.parametrize("chip", CHIPS)
def test_the_chip_needs_time_after_enable(chip: str) -> None:
    rig = Wired(chip, 8)
    rig.t_s = CHIPS[chip].enable_setup_s * 0.9
    rig.pulse()
    assert (rig.full_steps, rig.violations) == (0, {"enable_setup": 1})


def test_timing_can_be_switched_off() -> None:
    rig = Wired("A4988", 1, timing=False)
    for _ in range(5):
        rig.pulse(high_s=0.0)
    assert (rig.full_steps, rig.violations) == (5, {})


def test_direction_turns_the_motor_round() -> None:
    rig = Wired()
    for _ in range(3):
        rig.pulse()
    rig.driver.direction(False, rig.t_s)
    rig.t_s += 1e-3
    for _ in range(5):
        rig.pulse()
    assert rig.full_steps == -2


@pytest.mark.parametrize("level", [False, True])
def test_the_enable_line_can_be_wired_inverted(level: bool) -> None:
    rig = Wired(enable_active_low=not level)
    rig.pulse()
    rig.driver.enable(not level, rig.t_s)
    rig.t_s += 0.1
    rig.pulse()
    assert (rig.full_steps, rig.driver.pulses.ignored) == (1, 1)


def test_steps_while_released_do_not_turn_the_shaft() -> None:
    rig = Wired("DRV8825")
    rig.pulse()
    rig.driver.enable(True, rig.t_s)
    for _ in range(7):
        rig.pulse()
    rig.driver.enable(False, rig.t_s)
    rig.t_s += 0.1
    rig.pulse()
    assert (rig.full_steps, rig.driver.pulses.ignored) == (2, 7)


def test_a_chip_that_counts_while_released_jerks_the_shaft_when_enabled() -> None:
    rig = Wired("A4988")
    rig.driver.enable(True, rig.t_s)
    rig.pulse()
    assert rig.full_steps == 0
    rig.driver.enable(False, rig.t_s)
    assert rig.full_steps == 1


def test_ms_pins_choose_the_microsteps() -> None:
    rig = Wired("DRV8825")
    for code, microsteps in CHIPS["DRV8825"].ms.items():
        before = rig.full_steps
        rig.driver.resolution(code, rig.t_s)
        rig.t_s += 1e-3
        rig.pulse()
        assert rig.full_steps - before == 1 / microsteps


def test_microsteps_the_chip_lacks_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"32.*A4988"):
        StepDriver(CHIPS["A4988"], motor(), microsteps=32)


@given(st.lists(st.booleans(), max_size=60), st.sampled_from([1, 2, 16]))
def test_without_limits_the_shaft_is_the_sum_of_the_steps(ways: list[bool], microsteps: int) -> None:
    rig = Wired("A4988", microsteps)
    for way in ways:
        rig.driver.direction(way, rig.t_s)
        rig.t_s += 1e-3
        rig.pulse()
    assert rig.full_steps * microsteps == sum(1 if way else -1 for way in ways)


TORQUE = Torque(pull_in_hz=500, pull_out_hz=2000, acceleration_hz_s=10000)


def run(axis: Motor, rates_hz: list[float], t_s: float = 1.0) -> float:
    """Step at these rates, then rest; returns the time."""
    axis.energise(t_s)
    for rate_hz in rates_hz:
        t_s += 1 / rate_hz
        axis.step(UNITS_PER_STEP, t_s)
    axis.settle(t_s + 1)
    return t_s + 1


def ramp(top_hz: float, acceleration_hz_s: float, start_hz: float = 400) -> list[float]:
    up = [start_hz]
    while up[-1] < top_hz:
        up.append(min(top_hz, (up[-1] ** 2 + 2 * acceleration_hz_s) ** 0.5))
    return [*up, *[top_hz] * 100, *reversed(up)]


@pytest.mark.parametrize(("rate_hz", "lost"), [(490, False), (600, True)])
def test_starting_above_the_pull_in_rate_loses_steps(rate_hz: float, lost: bool) -> None:
    axis = motor(TORQUE)
    run(axis, [rate_hz] * 200)
    assert (axis.slipped_steps > 0) is lost
    assert (axis.shaft != 200 * UNITS_PER_STEP) is lost
    assert axis.slipped_steps % 4 == 0


@pytest.mark.parametrize(("acceleration_hz_s", "lost"), [(9900, False), (15000, True)])
def test_ramping_harder_than_the_motor_can_loses_steps(acceleration_hz_s: float, lost: bool) -> None:
    axis = motor(TORQUE)
    run(axis, ramp(1500, acceleration_hz_s))
    assert (axis.slipped_steps > 0) is lost


@pytest.mark.parametrize(("top_hz", "lost"), [(1900, False), (2100, True)])
def test_running_above_the_pull_out_rate_loses_steps(top_hz: float, lost: bool) -> None:
    axis = motor(TORQUE)
    run(axis, ramp(top_hz, 9000))
    assert (axis.slipped_steps > 0) is lost


def test_an_abrupt_stop_from_speed_runs_on() -> None:
    axis = motor(TORQUE)
    steps = ramp(1500, 9000)
    fast = steps[: steps.index(1500) + 50]
    run(axis, fast)
    assert axis.overruns == 1
    assert axis.shaft == (len(fast) + 4) * UNITS_PER_STEP


def test_with_no_limits_anything_goes() -> None:
    axis = motor()
    run(axis, [20000] * 300)
    assert (axis.shaft, axis.slipped_steps) == (300 * UNITS_PER_STEP, 0)


def test_one_hasty_step_is_caught_up() -> None:
    axis = motor(TORQUE)
    run(axis, [100] * 10 + [5000] + [100] * 10)
    assert (axis.shaft, axis.slipped_steps) == (21 * UNITS_PER_STEP, 0)


def test_a_stalled_motor_stands_still_and_is_off_by_fours_afterwards() -> None:
    axis = motor()
    t_s = run(axis, [100] * 10)
    axis.stall(True)
    t_s = run(axis, [100] * 21, t_s)
    assert axis.shaft == 10 * UNITS_PER_STEP
    axis.stall(False)
    run(axis, [100], t_s)
    assert axis.slipped_steps > 0
    assert (32 * UNITS_PER_STEP - axis.shaft) == axis.slipped_steps * UNITS_PER_STEP


def test_a_released_rotor_falls_into_the_nearest_detent_and_comes_back() -> None:
    axis = motor()
    axis.energise(0.0)
    axis.step(UNITS_PER_STEP + UNITS_PER_STEP // 4, 1.0)
    axis.release(2.0)
    assert axis.shaft == UNITS_PER_STEP
    axis.energise(3.0)
    assert axis.shaft == UNITS_PER_STEP * 5 // 4


@pytest.mark.parametrize(("drift_hz", "steps"), [(0.0, 0), (2.0, 7), (-2.0, -7)])
def test_a_released_rotor_drifts(drift_hz: float, steps: int) -> None:
    axis = motor(Torque(drift_hz=drift_hz))
    axis.release(1.0)
    axis.settle(4.6)
    assert axis.shaft == steps * UNITS_PER_STEP


def test_a_held_rotor_does_not_drift() -> None:
    axis = motor(Torque(drift_hz=2.0))
    axis.energise(1.0)
    axis.settle(10.0)
    assert axis.shaft == 0


def test_a_hard_end_holds_the_shaft_and_counts() -> None:
    limit = 10 * UNITS_PER_STEP
    axis = motor(limits=(-limit, limit))
    shafts = []
    axis.energise(0.0)
    for i in range(100):
        axis.step(UNITS_PER_STEP, 1 + i * 0.01)
        shafts.append(axis.shaft)
    assert max(shafts) == limit
    assert axis.crashes > 0
    assert axis.slipped_steps >= 84
    for t_s in itertools.islice(itertools.count(3.0, 0.01), 100):
        axis.step(-UNITS_PER_STEP, t_s)
    assert axis.shaft < -limit + 4 * UNITS_PER_STEP
