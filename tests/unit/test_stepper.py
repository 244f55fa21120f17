"""The stepper driver, edge by edge, against what the driver chips' data sheets ask."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import pytest

from focusd.drivers import native
from focusd.drivers.pulses import TIMINGS
from focusd.drivers.stepper import Stepper
from focusd.drivers.switch import Switch
from focusd.halt import Halt
from focusd.rail import Until
from focusd.rail_config import ChipRailConfig
from focusd.ramp import Ramp
from focusd_sim.board import sim_board
from focusd_sim.clock import VirtualClock
from focusd_sim.pins import SimFactory

STEP, DIR, EN, SWITCH = 17, 27, 22, 23
RAMP = Ramp(100.0, 800.0, 4000.0)

# Least times of the data sheets, s: STEP high and low, DIR set-up and hold around a rising STEP edge, and
# from EN to the first step where the chip sleeps (A4988 p. 6; DRV8825 7.6; TMC2209 13.1).
SHEETS = {
    "a4988": (1e-6, 1e-6, 200e-9, 0.0),
    "drv8825": (1.9e-6, 1.9e-6, 650e-9, 650e-9),
    "tmc2209": (107e-9, 107e-9, 20e-9, 0.0),
}


ENGINE: list[str] = ["pins"]


@pytest.fixture(autouse=True, params=["pins", "native"])
def engine(request: pytest.FixtureRequest) -> str:
    """Who times the steps: each test is asked of both."""
    if request.param == "native" and not native.LIBRARY.is_file():
        pytest.skip("built without a compiler, so there is no C loop")
    ENGINE[0] = request.param
    return request.param


class Scope:
    """Three probes on the driver's lines."""

    def __init__(self, board_pulls: dict[int, Literal["up", "down"]] | None = None) -> None:
        self.clock = VirtualClock()
        self.factory = SimFactory(self.clock, board_pulls)
        self.edges: list[tuple[int, bool, float]] = []
        for line in (STEP, DIR, EN):
            self.factory.watch(line, lambda *edge: self.edges.append(edge))

    def times_s(self, line: int, level: bool) -> list[float]:
        return [t_s for number, is_high, t_s in self.edges if (number, is_high) == (line, level)]

    def stepper(self, **changes: Any) -> Stepper:
        least = {"microsteps": 8} if changes.get("driver") == "tmc2209" else {}
        pins = {"step_pin": STEP, "direction_pin": DIR, "enable_pin": EN}
        config = ChipRailConfig(**pins, high_um=25_000.0, **least, **changes)
        board = sim_board(self.factory, self.clock) if ENGINE[0] == "native" else None
        return Stepper(config, self.factory, self.clock, board)


def hold_up(scope: Scope, step: int, late_s: float) -> None:
    """Have a busy machine delay what follows step number `step`, counted from 1, at cruise rate."""
    timing = TIMINGS["a4988"]

    def busy(_line: int, level: bool, _t_s: float) -> None:
        if not level and len(scope.times_s(STEP, False)) == step:
            scope.clock.sleep(late_s + 1 / 800 - timing.high_s - timing.low_s)

    scope.factory.watch(STEP, busy)


def run(motor: Stepper, steps: int, ramp: Ramp = RAMP) -> int:
    motor.energise()
    return motor.run(steps, ramp, Halt())


@pytest.mark.parametrize(("active", "off"), [("low", True), ("high", False)])
def test_the_motor_is_off_from_taking_the_pins_to_giving_them_back(
    active: Literal["low", "high"], off: bool
) -> None:
    scope = Scope({EN: "up" if off else "down"})
    motor = scope.stepper(enable_active=active)
    assert scope.factory.level(EN) is off
    assert scope.times_s(EN, not off) == [], "not even for a moment"
    run(motor, 3)
    assert scope.factory.level(EN) is not off
    motor.release()
    motor.release()
    assert scope.factory.level(EN) is off
    motor.energise()
    motor.close()
    assert scope.factory.level(EN) is off
    assert scope.edges[-1][:2] == (EN, off), "no other line moves once the motor may be off"


def test_enable_is_given_back_last() -> None:
    """A line let go may make an edge; on STEP that is a step, if the board switches the motor on."""
    scope = Scope({STEP: "up", DIR: "up", EN: "down"})
    motor = scope.stepper()
    scope.edges.clear()
    motor.close()
    assert [line for line, _, _ in scope.edges][-1] == EN
    assert {line for line, _, _ in scope.edges} == {STEP, DIR, EN}


@pytest.mark.parametrize("chip", TIMINGS)
@pytest.mark.parametrize("moves", [(40,), (-40,), (1, -1, 1), (-7, 7, -7, 30)])
def test_the_data_sheet_is_kept_at_every_edge(chip: str, moves: tuple[int, ...]) -> None:
    high_s, low_s, set_up_s, wake_s = SHEETS[chip]
    scope = Scope()
    motor = scope.stepper(driver=chip)
    for steps in moves:
        assert run(motor, steps) == steps
    rising, falling = scope.times_s(STEP, True), scope.times_s(STEP, False)
    assert len(rising) == len(falling) == sum(map(abs, moves))
    assert all(down - up >= high_s for up, down in zip(rising, falling, strict=True))
    assert all(up - down >= low_s for down, up in zip(falling, rising[1:], strict=False))
    turns = scope.times_s(DIR, True) + scope.times_s(DIR, False)
    assert all(abs(up - turn) >= set_up_s for up in rising for turn in turns)
    (on_s,) = scope.times_s(EN, False)
    assert rising[0] - on_s >= wake_s


@pytest.mark.parametrize("chip", ["a4988", "drv8825", "tmc2209"])
def test_a_chip_has_time_to_wake(chip: str) -> None:
    """A4988: 1 ms from sleep for the charge pump; DRV8825: 1.7 ms."""
    scope = Scope()
    scope.stepper(driver=chip).energise()
    assert scope.clock.now_s() >= {"a4988": 1e-3, "drv8825": 1.7e-3, "tmc2209": 0.0}[chip]
    assert list(TIMINGS) == ["a4988", "drv8825", "tmc2209"]


def test_current_that_is_on_costs_no_time() -> None:
    scope = Scope()
    motor = scope.stepper()
    motor.energise()
    before_s = scope.clock.now_s()
    motor.energise()
    assert scope.clock.now_s() == before_s
    assert len(scope.times_s(EN, False)) == 1


@pytest.mark.parametrize(
    ("invert", "steps", "level"), [(False, 3, True), (False, -3, False), (True, 3, False), (True, -3, True)]
)
def test_direction(invert: bool, steps: int, level: bool) -> None:
    scope = Scope()
    run(scope.stepper(invert_direction=invert), steps)
    assert scope.factory.level(DIR) is level


def test_the_pulses_follow_the_ramp() -> None:
    scope = Scope()
    motor = scope.stepper()
    motor.energise()
    began_s = scope.clock.now_s()
    motor.run(-400, RAMP, Halt())
    steps_s = scope.times_s(STEP, True)
    intervals_s = [b - a for a, b in pairwise([began_s, *steps_s])]
    assert intervals_s == pytest.approx([RAMP.interval_s(k, 400 - k) for k in range(400)])
    assert steps_s[-1] - began_s == pytest.approx(RAMP.duration_s(400))
    assert motor.worst_late_s == pytest.approx(0.0, abs=1e-9)


def test_no_steps_is_no_edge() -> None:
    scope = Scope()
    motor = scope.stepper()
    before = [*scope.edges]
    assert motor.run(0, RAMP, Halt()) == 0
    assert scope.edges == before


def test_after_a_gap_the_ramp_begins_again_and_nothing_is_caught_up() -> None:
    """The motor has come to rest in the gap; cruise speed at once would lose steps."""
    scope = Scope()
    motor = scope.stepper()
    hold_up(scope, 250, 0.1)
    motor.energise()
    assert motor.run(500, RAMP, Halt()) == 500
    steps_s = scope.times_s(STEP, True)
    intervals_s = [b - a for a, b in pairwise(steps_s)]
    assert intervals_s[248] == pytest.approx(1 / 800)
    assert intervals_s[249] == pytest.approx(0.1 + 1 / 800)
    assert intervals_s[250:300] == pytest.approx([RAMP.interval_s(k, 249) for k in range(50)])
    assert min(intervals_s) >= 1 / 800 - 1e-9, "late, never bunched"
    assert motor.worst_late_s == pytest.approx(0.1)


def test_a_little_late_is_late_for_good() -> None:
    """Half an interval of lateness is no rest, but it is not made up for either."""
    scope = Scope()
    motor = scope.stepper()
    hold_up(scope, 250, 0.5 / 800)
    motor.energise()
    motor.run(500, RAMP, Halt())
    intervals_s = [b - a for a, b in pairwise(scope.times_s(STEP, True))]
    assert intervals_s[249] == pytest.approx(1.5 / 800)
    assert intervals_s[250] == pytest.approx(1 / 800)


@pytest.mark.parametrize("after", [0, 1, 7, 99])
def test_a_stop_comes_before_the_next_step(after: int) -> None:
    scope = Scope()
    motor = scope.stepper()
    stop = Halt()
    motor.energise()
    times_s = [RAMP.interval_s(k, 100 - k) for k in range(100)]
    # In the middle of the wait before that step.
    scope.clock.call_at(scope.clock.now_s() + sum(times_s[:after]) + times_s[after] / 2, stop.set)
    assert motor.run(-100, RAMP, stop) == -after
    assert len(scope.times_s(STEP, True)) == after
    assert motor.run(100, RAMP, stop) == 0
    assert scope.factory.level(STEP) is False


@pytest.mark.parametrize("active", ["low", "high"])
@pytest.mark.parametrize("pressed", [True, False])
@pytest.mark.parametrize("after", [0, 1, 20])
def test_a_switch_is_asked_before_each_step(
    after: int, pressed: bool, active: Literal["low", "high"]
) -> None:
    scope = Scope()
    motor = scope.stepper()
    motor.energise()
    switch = Switch(SWITCH, active, "up", scope.factory)
    wanted = pressed == (active == "high")
    scope.factory.drive(SWITCH, wanted if after == 0 else not wanted)

    def trip(_line: int, level: bool, _t_s: float) -> None:
        if not level and len(scope.times_s(STEP, False)) == after:
            scope.factory.drive(SWITCH, wanted)

    scope.factory.watch(STEP, trip)
    made = motor.run(-50, RAMP, Halt(), [Until(switch, pressed)])
    assert -made == after == len(scope.times_s(STEP, True))


@pytest.mark.parametrize("pull", ["up", "down", "none"])
@pytest.mark.parametrize("active", ["low", "high"])
def test_the_end_stop_reads_its_level(
    pull: Literal["up", "down", "none"], active: Literal["low", "high"]
) -> None:
    factory = SimFactory(VirtualClock())
    factory.drive(SWITCH, active == "low")
    switch = Switch(SWITCH, active, pull, factory)
    for pressed in (False, True, False):
        factory.drive(SWITCH, pressed == (active == "high"))
        assert switch.is_pressed is pressed
    factory.drive(SWITCH, None)
    if pull != "none":
        assert switch.is_pressed is ((pull == "up") == (active == "high")), "a broken wire reads the pull"
    switch.close()
    Switch(SWITCH, active, pull, factory).close()
