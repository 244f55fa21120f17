"""The rail on an honest motor: one that knows where shaft and carriage truly are, and has play."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.errors import EndstopHit, EndstopNotFound, NotHomed, OutOfTravel, PlanError, RailError, Stopped
from focusd.halt import Halt
from focusd.rail import Rail, Until
from focusd.rail_spec import SIGN, Direction, Homing, RailSpec, Reach
from focusd.ramp import Ramp

SPEC = RailSpec(
    um_per_step=Fraction(5),
    low_um=-100.0,
    high_um=10_000.0,
    start_um_s=500.0,
    cruise_um_s=3000.0,
    accel_um_s2=6000.0,
    backlash_um=30.0,
    prerun_um=20.0,
    jog_max_um=1000.0,
)
HOMING = Homing(
    direction="down",
    position_um=0.0,
    go_to_um=None,
    fast_um_s=2000.0,
    slow_um_s=250.0,
    back_off_um=500.0,
    max_travel_um=12_000.0,
)


class Screw:
    """Motor, screw and carriage: the shaft drags the carriage through the play.

    In the shaft's frame the carriage follows upward without offset and downward `play` steps behind.
    """

    def __init__(self, stop: Halt, shaft: int = 0, play: int = 6) -> None:
        self.stop = stop
        self.shaft = shaft
        self.carriage = shaft + play // 2
        self.play = play
        self.powered = True
        self.releases = 0
        self.total = 0
        self.stop_after: int | None = None
        self.fail_after: int | None = None
        self.ramps: list[Ramp] = []
        self.ended_by: Until | None = None
        self.closed = False

    @property
    def worst_late_s(self) -> float:
        return 0.0

    def energise(self) -> None:
        self.powered = True

    def release(self) -> None:
        self.powered = False
        self.releases += 1

    def close(self) -> None:
        self.release()
        self.closed = True

    def turn(self, steps: int) -> None:
        self.shaft += steps
        self.carriage = min(max(self.carriage, self.shaft), self.shaft + self.play)

    def run(self, steps: int, ramp: Ramp, stop: Halt, until: Sequence[Until] = ()) -> int:
        assert self.powered, "no step without current"
        self.ramps.append(ramp)
        if not until and self.stop_after is None and self.fail_after is None and not stop.is_set():
            self.turn(steps)
            self.total += abs(steps)
            return steps
        sign = 1 if steps > 0 else -1
        self.ended_by = None
        for made in range(abs(steps)):
            if stop.is_set():
                return sign * made
            self.ended_by = next((end for end in until if end.reached), None)
            if self.ended_by is not None:
                return sign * made
            if self.fail_after == self.total:
                raise RailError("a pin could not be written")
            self.turn(sign)
            self.total += 1
            if self.stop_after == self.total:
                self.stop.set()
        return steps


class LimitSwitch:
    """Pressed while the carriage is on its side of `at`; lets go `hysteresis` steps later."""

    def __init__(self, screw: Screw, side: Direction, at: int, hysteresis: int = 2) -> None:
        self.screw, self.sign, self.at, self.hysteresis = screw, SIGN[side], at, hysteresis
        self.stuck: bool | None = None
        self.pressed = False
        self.closed = False

    @property
    def is_pressed(self) -> bool:
        past = (self.screw.carriage - self.at) * self.sign
        self.pressed = past >= (-self.hysteresis if self.pressed else 0)
        return self.pressed if self.stuck is None else self.stuck

    def close(self) -> None:
        self.closed = True


def rail_of(spec: RailSpec = SPEC, shaft: int = 0, play: int = 6) -> tuple[Rail, Screw, Halt]:
    stop = Halt()
    screw = Screw(stop, shaft, play)
    return Rail(screw, spec, stop), screw, stop


def homing_rail(
    homing: Homing = HOMING, spec: RailSpec = SPEC, start: int = 800, at: int = 40
) -> tuple[Rail, Screw, LimitSwitch, Halt]:
    """A rail whose switch trips with the carriage at `at` steps of the shaft's frame."""
    stop = Halt()
    screw = Screw(stop, start)
    switch = LimitSwitch(screw, homing.direction, at)
    return Rail(screw, replace(spec, homing=homing), stop, switch), screw, switch, stop


# Moves.


@pytest.mark.parametrize(
    "um_per_step", [Fraction(5), Fraction(1000, 600), Fraction(1000, 200 * 256), Fraction(1270, 3200)]
)
@pytest.mark.parametrize("approach", ["up", "down"])
def test_ten_thousand_moves_never_drift(um_per_step: Fraction, approach: Direction) -> None:
    play = int(Fraction(30) / um_per_step)
    rail, screw, _ = rail_of(replace(SPEC, um_per_step=um_per_step, approach=approach), play=play)
    rail.zero()
    random = np.random.default_rng(20260101)
    ahead = 0 if approach == "up" else play
    for position_um in random.uniform(0, 9900, 10_000).tolist():
        rail.move_to(position_um)
        assert screw.shaft == rail.position_steps == round(Fraction(str(position_um)) / um_per_step)
        assert screw.carriage == screw.shaft + ahead, "the play must be taken up on the approach side"
    assert rail.position_um == pytest.approx(position_um, abs=float(um_per_step) / 2)


@settings(deadline=None, max_examples=60)
@given(
    moves=st.lists(
        st.one_of(
            st.tuples(st.just("to"), st.floats(0, 9000)),
            st.tuples(st.just("jog"), st.floats(-900, 900)),
        ),
        max_size=12,
    ),
    side=st.sampled_from(["up", "down"]),
    play=st.integers(0, 6),
)
def test_jogs_in_between_never_spoil_the_approach(
    moves: list[tuple[str, float]], side: Direction, play: int
) -> None:
    rail, screw, _ = rail_of(play=play)
    rail.zero()
    reach = Reach(side, 10)
    for kind, value_um in moves:
        if kind == "jog":
            before = screw.shaft
            try:
                rail.jog(value_um)
            except OutOfTravel:
                assert screw.shaft == before
        else:
            rail.move_to(value_um, reach)
            assert screw.carriage == screw.shaft + (0 if side == "up" else play)
            assert screw.shaft == SPEC.steps_at(value_um)
        assert rail.position_steps == screw.shaft


@pytest.mark.parametrize("position_um", [-101.0, 10_001.0, -60.0])
def test_limits_hold_before_the_first_step(position_um: float) -> None:
    rail, screw, _ = rail_of()
    rail.zero()
    with pytest.raises(OutOfTravel):
        rail.move_to(position_um)
    assert (screw.total, screw.powered) == (0, False)
    assert rail.trusted, "a refusal is no doubt"


def test_an_untrusted_rail_does_not_move_to_a_position() -> None:
    rail, screw, _ = rail_of()
    assert not rail.trusted
    with pytest.raises(NotHomed, match="`home`"):
        rail.move_to(10.0)
    assert (screw.total, screw.powered) == (0, False)


def test_the_motor_is_off_from_the_start_and_after_the_end() -> None:
    rail, screw, switch, _ = homing_rail()
    assert not screw.powered
    rail.energise()
    assert screw.powered
    rail.close()
    assert screw.closed
    assert switch.closed
    assert not screw.powered


# Jogs.


def test_a_jog_needs_no_trust_and_gives_none() -> None:
    rail, screw, _ = rail_of()
    rail.jog(-1000.0)
    assert screw.shaft == -200
    assert not rail.trusted


def test_a_jog_is_bounded() -> None:
    rail, screw, _ = rail_of()
    for by_um in (1000.5, -1000.5):
        with pytest.raises(PlanError, match="1000 um at most"):
            rail.jog(by_um)
    assert screw.total == 0


def test_a_jog_on_a_trusted_rail_stays_inside() -> None:
    rail, screw, _ = rail_of()
    rail.zero()
    with pytest.raises(OutOfTravel):
        rail.jog(-105.0)
    assert screw.total == 0
    rail.jog(-100.0)
    assert rail.position_um == -100.0


# Doubt.


@settings(deadline=None, max_examples=60)
@given(after=st.integers(1, 250))
def test_a_stop_in_any_step_makes_no_further_one(after: int) -> None:
    rail, screw, stop = rail_of(shaft=100)
    rail.zero()
    screw.stop_after = after
    with pytest.raises(Stopped, match="send `home`"):
        rail.move_to(1200.0)  # 240 steps
        rail.move_to(1000.0)  # 50 back and 10 up
    assert screw.total == after
    assert not screw.powered
    assert not rail.trusted
    assert rail.position_steps == screw.shaft - 100, "what is shown is the best there is"
    stop.clear()
    with pytest.raises(NotHomed):
        rail.move_to(0.0)


def test_a_stop_before_the_move_makes_no_step() -> None:
    rail, screw, stop = rail_of()
    rail.zero()
    stop.set()
    with pytest.raises(Stopped):
        rail.move_to(500.0)
    assert (screw.total, screw.powered, rail.trusted) == (0, False, False)


def test_a_motor_that_fails_is_switched_off_and_not_believed() -> None:
    rail, screw, _ = rail_of()
    rail.zero()
    screw.fail_after = 7
    with pytest.raises(RailError, match="pin"):
        rail.move_to(500.0)
    assert (screw.powered, rail.trusted) == (False, False)


def test_after_a_doubt_the_play_is_taken_up_anew() -> None:
    """With the current off the shaft may have been turned by hand; where the play lies is not known."""
    rail, screw, _ = rail_of()
    rail.zero()
    rail.move_to(2000.0)
    rail.distrust()
    screw.turn(-20)
    rail.zero()
    here = screw.shaft
    rail.move_to(5.0)
    assert screw.shaft == here + 1
    assert screw.carriage == screw.shaft


def test_zero_makes_here_the_origin() -> None:
    rail, screw, _ = rail_of(shaft=77)
    rail.jog(500.0)
    rail.zero()
    assert (rail.position_um, rail.trusted) == (0.0, True)
    rail.move_to(1000.0)
    assert screw.shaft == 77 + 100 + 200


# The end stop.


@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("approach", ["up", "down"])
@pytest.mark.parametrize("start", [41, 43, 300, 1500])
@pytest.mark.parametrize("slow_um_s", [250.0, 2000.0], ids=["slowly", "as fast"])
def test_after_homing_the_carriage_is_where_the_rail_says(
    direction: Direction, approach: Direction, start: int, slow_um_s: float
) -> None:
    down = direction == "down"
    at, trips_um = (40, 1000.0) if down else (2000, 9000.0)
    homing = replace(HOMING, direction=direction, position_um=trips_um, slow_um_s=slow_um_s)
    begin = start if down else at - start
    rail, screw, _, _ = homing_rail(homing, replace(SPEC, approach=approach), begin, at)
    rail.home()
    assert rail.trusted
    for position_um in (3000.0, 1500.0, 8000.0):
        rail.move_to(position_um)
        assert (screw.carriage - at) * 5 == position_um - trips_um


def test_the_switch_is_met_slowly_the_second_time() -> None:
    rail, screw, _, _ = homing_rail()
    rail.home()
    assert [ramp.cruise_hz for ramp in screw.ramps if ramp.cruise_hz < 600] == [400.0, 100.0, 50.0], (
        "back off at the speed it can stop from"
    )


@pytest.mark.parametrize("start", [-60, 0, 36, 37])
def test_homing_from_on_the_switch_leaves_it_first(start: int) -> None:
    rail, screw, switch, _ = homing_rail(start=start)
    assert switch.is_pressed
    rail.home()
    assert screw.carriage == 40
    rail.move_to(500.0)
    assert screw.carriage == 40 + 100


@pytest.mark.parametrize(
    ("go_to_um", "backlash_um"), [(5000.0, 30.0), (5000.0, 0.0), (None, 0.0), (None, 30.0)]
)
def test_homing_ends_where_the_plan_was_told_it_would(go_to_um: float | None, backlash_um: float) -> None:
    rail, _, _, _ = homing_rail(replace(HOMING, go_to_um=go_to_um), replace(SPEC, backlash_um=backlash_um))
    rail.home()
    assert rail.position_um == rail.spec.home_reference_um


def test_a_stuck_switch_is_named_and_the_motor_off() -> None:
    rail, screw, switch, _ = homing_rail()
    switch.stuck = True
    with pytest.raises(RailError, match="still pressed after backing off 2000 um"):
        rail.home()
    assert (screw.powered, rail.trusted) == (False, False)
    assert screw.total == 400


def test_a_switch_that_never_trips_ends_the_search() -> None:
    rail, screw, switch, _ = homing_rail()
    switch.stuck = False
    with pytest.raises(EndstopNotFound, match="within 12000 um"):
        rail.home()
    assert (screw.powered, rail.trusted) == (False, False)
    assert screw.total == 2400


def test_a_rail_without_a_switch_cannot_home() -> None:
    rail, screw, _ = rail_of()
    rail.zero()
    with pytest.raises(RailError, match="no end stop"):
        rail.home()
    assert screw.total == 0
    assert rail.trusted, "nothing moved"


@settings(deadline=None, max_examples=40)
@given(after=st.integers(1, 760))
def test_a_stop_anywhere_in_homing(after: int) -> None:
    rail, screw, _, _ = homing_rail(start=600)
    screw.stop_after = after
    with pytest.raises(Stopped):
        rail.home()
    assert (screw.total, screw.powered, rail.trusted) == (after, False, False)


@pytest.mark.parametrize("trusted", [True, False])
def test_an_end_stop_in_a_move_is_a_doubt(trusted: bool) -> None:
    rail, screw, _, _ = homing_rail(spec=replace(SPEC, low_um=-5000.0), start=300)
    if trusted:
        rail.zero()  # which it is not
    with pytest.raises(EndstopHit, match="send `home`"):
        for _ in range(2):
            rail.jog(-1000.0)
    assert screw.carriage == 40
    assert (screw.powered, rail.trusted) == (False, False)


def test_leaving_the_end_stop_is_no_doubt() -> None:
    rail, screw, switch, _ = homing_rail(start=20)
    assert switch.is_pressed
    rail.jog(1000.0)
    assert screw.shaft == 220
    with pytest.raises(EndstopHit):
        switch.stuck = True
        rail.jog(-5.0)
    assert screw.shaft == 220


def test_a_spike_on_a_switch_is_not_believed() -> None:
    readings = iter([True, False, True, True, False, True, True, True])

    class Noisy:
        line, active_high = 23, False

        @property
        def is_pressed(self) -> bool:
            return next(readings)

        def close(self) -> None:
            raise AssertionError("nobody closes it here")

    until = Until(Noisy())
    assert [until.reached for _ in range(3)] == [False, False, True]


class StopButton:
    """A button that is pressed after so many steps."""

    line, active_high = 5, True

    def __init__(self, screw: Screw, after: int) -> None:
        self.screw, self.after = screw, after
        self.heard: Callable[[], None] | None = None

    @property
    def is_pressed(self) -> bool:
        return self.screw.total >= self.after

    def watch(self, when_pressed: Callable[[], None]) -> None:
        self.heard = when_pressed

    def close(self) -> None:
        self.after = -1


def test_a_short_press_while_homing_is_a_stop_and_no_end_stop() -> None:
    """A contact that bounces reads as let go a moment later; the switch was never met."""
    rail, screw, _, stop = homing_rail()
    button = StopButton(screw, 10**9)
    rail._button = button
    run = screw.run

    def bounce(steps: int, ramp: Ramp, stop: Halt, until: Sequence[Until] = ()) -> int:
        button.after = screw.total + 20
        made = run(steps, ramp, stop, until)
        button.after = 10**9
        return made

    screw.run = bounce  # type: ignore[method-assign]
    with pytest.raises(Stopped, match="the stop button"):
        rail.home()
    assert not rail.trusted
    assert not screw.powered
    assert not stop.is_set()


@pytest.mark.parametrize("after", [0, 1, 40])
def test_the_stop_button_ends_a_move_and_the_trust(after: int) -> None:
    stop = Halt()
    screw = Screw(stop)
    button = StopButton(screw, after)
    rail = Rail(screw, SPEC, stop, button=button)
    rail.zero()
    with pytest.raises(Stopped, match="the stop button is pressed"):
        rail.move_to(500.0)
    assert screw.total == after
    assert not screw.powered
    assert not rail.trusted
    with pytest.raises(Stopped, match="the stop button is pressed"):
        rail.jog(5.0)
    assert screw.total == after, "nothing moves while it is pressed"
    button.after = 10**9
    rail.jog(5.0)
    assert screw.total == after + 1
    rail.watch_button(lambda: None)
    assert button.heard is not None
    rail.close()
    assert button.after == -1
