"""Four coils: the driver, edge by edge, and where it truly turns a rotor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.drivers.phases import Phases
from focusd.errors import ConfigError, Stopped
from focusd.halt import Halt
from focusd.rail import Rail, Until
from focusd.rail_spec import RailSpec
from focusd.ramp import Ramp
from focusd_sim.bench import Bench, Lines
from focusd_sim.clock import VirtualClock
from focusd_sim.coils import HALF_STEP, SHORTEST_FIELD_S
from focusd_sim.config import BenchConfig, CarriageConfig, MotorConfig
from focusd_sim.pins import SimFactory

COILS = (17, 18, 27, 22)
RAMP = Ramp(100.0, 500.0, 2000.0)
# Kiatronics' data sheet of the 28BYJ-48: 600 and 1000 half steps/s.
MOTOR = MotorConfig(pull_in_hz=300, pull_out_hz=500)
CARRIAGE = CarriageConfig(backlash_um=0, sag_um_s=0, creep=0, vibration_hz=0, near_um=-1e5, far_um=1e5)

both_ways = pytest.mark.parametrize("half_steps", [True, False], ids=["half", "full"])


class Rig:
    """A driver, a motor behind it, and probes on the four lines between them."""

    def __init__(self, half_steps: bool = True, invert: bool = False) -> None:
        self.clock = VirtualClock()
        # The inputs of a ULN2003 go to ground through its resistors.
        self.factory = SimFactory(self.clock, dict.fromkeys(COILS, "down"))
        config = BenchConfig(motor=MOTOR, carriage=CARRIAGE)
        self.bench = Bench(config, self.clock, self.factory, Lines(coils=COILS))
        self.patterns: list[tuple[int, ...]] = []
        self.times_s: list[float] = []
        self.write_s = 0.0
        for line in COILS:
            self.factory.watch(line, self._probe)
        self.motor = Phases(COILS, half_steps, invert, self.factory, self.clock)
        self.units = HALF_STEP if half_steps else 2 * HALF_STEP

    def _probe(self, _line: int, _level: bool, t_s: float) -> None:
        self.patterns.append(self.pattern)
        self.times_s.append(t_s)
        self.clock.sleep(self.write_s)

    @property
    def pattern(self) -> tuple[int, ...]:
        return tuple(int(self.factory.level(line)) for line in COILS)

    def shaft(self) -> int:
        """Where the rotor truly is, once the field has had its time to build up."""
        self.clock.sleep(0.1)
        assert (self.bench.lost_steps, self.bench.violations) == (0, {})
        return self.bench.motor.shaft


def field_eighths(pattern: Sequence[int]) -> int:
    """Direction of the sum of four fields at right angles, in eighths of a turn."""
    x, y = pattern[0] - pattern[2], pattern[1] - pattern[3]
    assert (x, y) != (0, 0), f"no field in {pattern}"
    return round(math.atan2(y, x) / (math.pi / 4))


def turned(patterns: Sequence[Sequence[int]]) -> list[int]:
    places = [field_eighths(pattern) for pattern in patterns]
    return [(after - before + 4) % 8 - 4 for before, after in pairwise(places)]


class Asked:
    """A switch that is asked before each step, and does what a test says when it is asked."""

    line, active_high = 4, True

    def __init__(self, answer: Callable[[int], bool]) -> None:
        self.times = 0
        self._answer = answer

    @property
    def is_pressed(self) -> bool:
        self.times += 1
        return self._answer(self.times)

    def close(self) -> None:
        raise AssertionError("a motor has no switch to close")


@both_ways
@pytest.mark.parametrize("write_s", [0.0, 2e-5, 3e-3], ids=["at once", "20 us a line", "3 ms a line"])
@settings(deadline=None, max_examples=40)
@given(runs=st.lists(st.integers(-40, 40) | st.sampled_from(["release", "energise"]), max_size=8))
def test_the_rotor_is_where_the_steps_sum_up_to(
    half_steps: bool, write_s: float, runs: list[int | str]
) -> None:
    rig = Rig(half_steps)
    rig.write_s = write_s
    rig.motor.energise()
    first = rig.shaft()
    total = 0
    for run in runs:
        if isinstance(run, int):
            assert rig.motor.run(run, RAMP, Halt()) == run
            total += run
        else:
            getattr(rig.motor, run)()
            rig.clock.sleep(1.0)
    rig.motor.energise()
    assert rig.shaft() == first + total * rig.units


@both_ways
@pytest.mark.parametrize("invert", [False, True])
@settings(deadline=None, max_examples=40)
@given(runs=st.lists(st.integers(-20, 20), max_size=6))
def test_the_field_turns_by_half_steps_the_right_way_and_is_never_gone(
    half_steps: bool, invert: bool, runs: list[int]
) -> None:
    rig = Rig(half_steps, invert)
    rig.motor.energise()
    for run in runs:
        rig.patterns[:] = [rig.pattern]
        rig.motor.run(run, RAMP, Halt())
        way = 1 if (run > 0) != invert else -1
        assert turned(rig.patterns) == [way] * abs(run) * (1 if half_steps else 2)
        assert {sum(pattern) for pattern in rig.patterns} <= {1, 2}, "never two opposite coils"
        assert half_steps or sum(rig.pattern) == 2, "full steps rest where the motor is strongest"


def test_forward_is_from_in1_to_in4() -> None:
    rig = Rig(half_steps=False)
    rig.motor.energise()
    rested = [rig.pattern]
    for _ in range(4):
        rig.motor.run(1, RAMP, Halt())
        rested.append(rig.pattern)
    assert rested == [(1, 1, 0, 0), (0, 1, 1, 0), (0, 0, 1, 1), (1, 0, 0, 1), (1, 1, 0, 0)]


@pytest.mark.parametrize(("invert", "steps", "sign"), [(False, 9, 1), (True, 9, -1), (True, -9, 1)])
def test_direction(invert: bool, steps: int, sign: int) -> None:
    rig = Rig(invert=invert)
    rig.motor.energise()
    first = rig.shaft()
    assert rig.motor.run(steps, RAMP, Halt()) == steps
    assert rig.shaft() - first == sign * 9 * HALF_STEP


@pytest.mark.parametrize("steps", range(8))
def test_the_place_in_the_cycle_outlives_a_release(steps: int) -> None:
    rig = Rig()
    rig.motor.run(steps, RAMP, Halt())
    rig.motor.energise()
    held, shaft = rig.pattern, rig.shaft()
    rig.motor.release()
    assert rig.pattern == (0, 0, 0, 0)
    assert not rig.bench.motor.energised
    rig.motor.release()
    rig.motor.energise()
    assert (rig.pattern, rig.shaft()) == (held, shaft)
    assert rig.bench.motor.energised


@pytest.mark.parametrize("process_dies", [False, True])
def test_the_coils_are_off_from_taking_the_pins_to_giving_them_back(process_dies: bool) -> None:
    rig = Rig()
    assert rig.patterns == [], "not even for a moment"
    rig.motor.run(5, RAMP, Halt())
    assert rig.bench.driver.enabled
    if process_dies:
        rig.factory.reset()
    else:
        rig.motor.close()
    assert rig.pattern == (0, 0, 0, 0)
    assert not rig.bench.driver.enabled
    assert not rig.bench.motor.energised
    Phases(COILS, True, False, rig.factory, rig.clock).close()


def test_lines_that_a_dead_process_left_high_go_low() -> None:
    clock = VirtualClock()
    factory = SimFactory(clock, dict.fromkeys(COILS, "up"))
    bench = Bench(BenchConfig(motor=MOTOR), clock, factory, Lines(coils=COILS))
    motor = Phases(COILS, True, False, factory, clock)
    assert [factory.level(line) for line in COILS] == [False] * 4
    assert not bench.motor.energised
    motor.run(1, RAMP, Halt())
    levels: list[bool] = []
    for line in COILS:
        factory.watch(line, lambda _line, level, _t_s: levels.append(level))
    motor.close()
    assert levels == [False] + [True] * 4, "all off before the first line is given back to its pull"


def test_no_steps_is_no_edge() -> None:
    rig = Rig()
    assert rig.motor.run(0, RAMP, Halt()) == 0
    assert rig.patterns == []


def test_steps_follow_the_ramp() -> None:
    rig = Rig()
    rig.motor.energise()
    rig.times_s[:] = [rig.clock.now_s()]
    rig.motor.run(-300, RAMP, Halt())
    intervals_s = [b - a for a, b in pairwise(rig.times_s)]
    assert intervals_s == pytest.approx([RAMP.interval_s(k, 300 - k) for k in range(300)])
    assert rig.motor.worst_late_s == pytest.approx(0.0, abs=1e-9)


def test_a_late_step_is_known_and_nothing_is_caught_up() -> None:
    rig = Rig()
    busy = Asked(lambda times: times == 151 and not rig.clock.sleep(0.1))
    rig.motor.energise()
    rig.times_s.clear()
    assert rig.motor.run(300, RAMP, Halt(), (Until(busy),)) == 300
    intervals_s = [b - a for a, b in pairwise(rig.times_s)]
    assert intervals_s[149] == pytest.approx(0.1 + 1 / 500)
    assert intervals_s[150:170] == pytest.approx([RAMP.interval_s(k, 149) for k in range(20)])
    assert min(intervals_s) >= 1 / 500 - 1e-9
    assert rig.motor.worst_late_s == pytest.approx(0.1)


@both_ways
@pytest.mark.parametrize("after", [0, 1, 7, 99])
def test_a_stop_comes_before_the_next_step(half_steps: bool, after: int) -> None:
    rig = Rig(half_steps)
    stop = Halt()
    rig.motor.energise()
    first = rig.shaft()
    times_s = [RAMP.interval_s(k, 100 - k) for k in range(100)]
    rig.clock.call_at(rig.clock.now_s() + sum(times_s[:after]) + times_s[after] / 2, stop.set)
    assert rig.motor.run(-100, RAMP, stop) == -after
    assert rig.motor.run(100, RAMP, stop) == 0
    assert rig.shaft() == first - after * rig.units


@pytest.mark.parametrize("after", [0, 1, 20])
def test_until_is_asked_before_each_step(after: int) -> None:
    rig = Rig()
    rig.motor.energise()
    first = rig.shaft()
    switch = Asked(lambda times: times > after)
    assert rig.motor.run(50, RAMP, Halt(), (Until(switch),)) == after
    assert rig.shaft() == first + after * HALF_STEP


def test_a_rail_moves_by_it() -> None:
    rig = Rig()
    # 1 mm lead, 200 full steps a turn: 2.5 um a half step.
    spec = RailSpec(
        um_per_step=Fraction(5, 2), low_um=0, high_um=9e3, start_um_s=500, cruise_um_s=1e3, accel_um_s2=4e3
    )
    stop = Halt()
    rail = Rail(rig.motor, spec, stop)
    rail.energise()
    rail.zero()
    rig.shaft()
    zero_um = rig.bench.position_um()
    for position_um in (1000.0, 2.5, 777.5, 0.0):
        rail.move_to(position_um)
        rig.shaft()
        assert rig.bench.position_um() - zero_um == pytest.approx(position_um)
    rig.clock.call_at(rig.clock.now_s() + 0.2, stop.set)
    with pytest.raises(Stopped):
        rail.move_to(1000.0)
    assert rig.pattern == (0, 0, 0, 0)


# The simulated coils themselves.


class Board:
    """Four switches worked by hand."""

    def __init__(self, on: Sequence[int] = ()) -> None:
        self.clock = VirtualClock()
        self.factory = SimFactory(self.clock)
        self.bench = Bench(
            BenchConfig(motor=MOTOR, carriage=CARRIAGE), self.clock, self.factory, Lines(coils=COILS)
        )
        self.set(*on)

    def set(self, *on: int, for_s: float = 0.01) -> int:
        """Switch exactly these coils on, new ones first; return the rotor's angle in half steps."""
        for coil in sorted(range(4), key=lambda coil: coil not in on):
            self.factory.drive(COILS[coil], coil in on)
        self.clock.sleep(for_s)
        self.bench.position_um()
        half_steps, rest = divmod(self.bench.motor.shaft, HALF_STEP)
        assert rest == 0
        return half_steps


@pytest.mark.parametrize("way", [1, -1])
def test_a_rotor_goes_where_the_field_points_by_the_shorter_way(way: int) -> None:
    board = Board(on=(0,))
    cycle = [(0,), (0, 1), (1,), (1, 2), (2,), (2, 3), (3,), (3, 0)]
    angles = [board.set(*cycle[way * k % 8]) for k in range(18)]
    assert angles == [way * k for k in range(18)]
    assert (board.bench.lost_steps, board.bench.violations) == (0, {})
    assert board.bench.driver.pulses.total == 17


def test_more_than_a_full_step_at_once_is_a_jump() -> None:
    board = Board(on=(0,))
    assert board.set(1) == 2
    assert board.bench.violations == {}
    assert board.set(3, 0) == -1, "three half steps back are nearer than five on"
    assert abs(board.set(1, 2) - -1) == 4, "either way, and to a place where the field holds it"
    assert board.bench.violations == {"jump": 2}


def test_opposite_coils_hold_nothing() -> None:
    board = Board(on=(0,))
    assert board.set(0, 2) == 0
    assert not board.bench.motor.energised
    assert not board.bench.driver.enabled
    assert board.set(0, 1, 2) == 2, "the third alone counts"
    board.set(0, 1, 2, 3)
    assert not board.bench.motor.energised
    assert board.bench.violations == {"opposite": 2}


def test_a_field_too_short_turns_nothing() -> None:
    board = Board(on=(0,))
    board.set(2, for_s=SHORTEST_FIELD_S / 2)
    board.set(3, for_s=SHORTEST_FIELD_S / 2)
    assert board.set(0) == 0
    assert board.bench.violations == {}
    assert board.set(1, for_s=SHORTEST_FIELD_S) == 2


def test_what_is_on_before_the_daemon_is_seen() -> None:
    clock = VirtualClock()
    factory = SimFactory(clock, {COILS[1]: "up"})
    bench = Bench(BenchConfig(motor=MOTOR, carriage=CARRIAGE), clock, factory, Lines(coils=COILS))
    clock.sleep(0.01)
    bench.position_um()
    assert bench.motor.energised
    assert bench.motor.shaft == 2 * HALF_STEP


def test_a_carriage_sags_only_while_the_coils_are_off() -> None:
    clock = VirtualClock()
    carriage = CARRIAGE.model_copy(update={"backlash_um": 30.0, "sag_um_s": 5.0})
    factory = SimFactory(clock)
    bench = Bench(BenchConfig(motor=MOTOR, carriage=carriage), clock, factory, Lines(coils=COILS))
    motor = Phases(COILS, True, False, factory, clock)
    motor.run(-41, RAMP, Halt())
    clock.sleep(1.0)
    held_um = bench.position_um()
    clock.sleep(1.0)
    assert bench.position_um() == held_um
    motor.release()
    released_um = bench.position_um()
    clock.sleep(2.0)
    assert bench.position_um() == pytest.approx(released_um - 10.0)


@pytest.mark.parametrize(("rate_hz", "lost"), [(590, False), (700, True)])
def test_half_steps_too_fast_from_rest_are_lost(rate_hz: float, lost: bool) -> None:
    rig = Rig()
    rig.motor.run(60, Ramp(rate_hz, rate_hz, 1.0), Halt())
    rig.clock.sleep(1.0)
    assert (rig.bench.lost_steps > 0) is lost


def test_edges_within_an_exposure_are_counted() -> None:
    board = Board(on=(0,))
    t0_s = board.clock.now_s()
    board.clock.sleep(0.01)
    board.set(0, 1)
    board.set(1)
    moved = board.bench.motion_during(t0_s, board.clock.now_s())
    assert (moved.step_edges, moved.peak_to_peak_um) == (2, pytest.approx(5.0))
    t1_s = board.clock.now_s()
    board.set()
    assert board.bench.motion_during(t1_s, board.clock.now_s()).step_edges == 0


@pytest.mark.parametrize(
    "wired",
    [{}, {"step": 17}, {"direction": 27}, {"coils": COILS, "step": 5}, {"coils": COILS, "enable": 5}],
)
def test_a_motor_has_step_and_direction_or_four_coils(wired: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="give step and direction, or the four coils"):
        Lines(**wired)


def test_one_line_for_two_coils_is_refused() -> None:
    clock = VirtualClock()
    with pytest.raises(ConfigError, match="twice"):
        Bench(BenchConfig(), clock, SimFactory(clock), Lines(coils=(17, 18, 27, 18)))
    with pytest.raises(ConfigError, match="twice"):
        Bench(BenchConfig(), clock, SimFactory(clock), Lines(coils=COILS, endstop=27))
