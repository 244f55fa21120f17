"""What every rail must do, simulated or real; where there is a truth, it is asked.

The simulated rails are always asked: pulses timed by Python, by the C loop, and four coils. A real one is
asked with ``pytest tests/contract --rig FILE -k "rail and real"``, its daemon stopped, where it is connected
(``pytest --rig=FILE`` runs everything else as well).

What this does to a real rail, in one to three minutes: it homes it some thirty times where it has an end
stop, and goes where ``go_to_um`` says; else the place where it stands is 0, and it is brought back there.
From there it goes up by at most 1 mm (less on a slow rail) and four run-ups (``backlash_um +
prerun_um``), clear of the end stop and always inside the limits; where they leave no room above, it goes
down as far. So leave that much free on either side of a rail without an end stop. It stops abruptly at
full speed. What takes a hand, at a button or a switch, is skipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from focusd.errors import EndstopHit, NotHomed, OutOfTravel, PlanError, RailError, Stopped

from .rigs import Subject

pytestmark = pytest.mark.timeout(900)  # a real rail takes real time

EMERGENCY_S = 0.020
"""From a stop to the last step, and to no current."""

FOUND_STEPS = 1.5
"""Accuracy of homing: the switch trips somewhere within a step, and the play counts as whole ones."""


def needs_truth(rig: Subject, why: str) -> Any:
    if rig.truth is None:
        pytest.skip(f"a real rail: {why}")
    return rig.truth


def edges(rig: Subject) -> int:
    """Edges on the motor's lines so far; on a real rail only its own count is known."""
    return rig.rail.position_steps if rig.truth is None else len(rig.truth.edges)


# At rest.


def test_it_is_off_and_untrusted_at_start(rig: Subject) -> None:
    assert not rig.rail.trusted
    if rig.truth is not None:
        assert rig.truth.is_off


def test_it_refuses_to_go_anywhere_before_it_is_trusted(rig: Subject) -> None:
    before = edges(rig)
    with pytest.raises(NotHomed, match="home"):
        rig.rail.move_to(rig.rail.position_um)
    assert edges(rig) == before
    assert not rig.rail.trusted


def test_releasing_twice_is_releasing_once(rig: Subject) -> None:
    rig.settle()
    rig.rail.energise()
    if rig.truth is not None:
        assert not rig.truth.is_off
    rig.rail.release()
    before = edges(rig)
    rig.rail.release()
    assert edges(rig) == before
    assert rig.rail.trusted, "standing without current is no doubt"
    if rig.truth is not None:
        assert rig.truth.is_off


def test_once_closed_its_lines_are_at_rest(rig: Subject) -> None:
    rig.settle()
    rig.rail.energise()
    rig.close()
    if rig.truth is not None:
        assert rig.truth.is_off
        before = len(rig.truth.edges)
        rig.clock.sleep(1.0)
        assert len(rig.truth.edges) == before


# Going places.


def test_homing_makes_it_trusted_at_the_same_place_again(rig: Subject) -> None:
    if rig.rail.spec.homing is None:
        pytest.skip("this rail has no end stop")
    found_um = []
    for _ in range(2):
        rig.rail.home()
        assert rig.rail.trusted
        assert rig.rail.position_um == pytest.approx(rig.rail.spec.home_reference_um, abs=rig.step_um / 2)
        if rig.truth is not None:
            found_um.append(rig.truth.shaft_um)
    if rig.truth is not None:
        assert found_um == pytest.approx([rig.rail.position_um] * 2, abs=FOUND_STEPS * rig.step_um)
        assert np.ptp(found_um) <= rig.step_um


def test_it_goes_to_within_half_a_step_from_either_side(rig: Subject) -> None:
    low_um, middle_um, high_um = rig.settle()
    shaft_um, carriage_um = [], []
    for start_um in (low_um, high_um):
        rig.rail.move_to(start_um)
        rig.rail.move_to(middle_um)
        assert rig.rail.position_um == pytest.approx(middle_um, abs=rig.step_um / 2)
        if rig.truth is not None:
            shaft_um.append(rig.truth.shaft_um - rig.rail.position_um)
            rig.clock.sleep(3.0)  # until it has come to rest
            carriage_um.append(rig.truth.carriage_um)
    if rig.truth is not None:
        assert np.ptp(shaft_um) < 1e-6
        assert np.ptp(carriage_um) < 0.1, "the play is taken up on the same side"
        assert abs(shaft_um[0]) <= FOUND_STEPS * rig.step_um


def test_a_hundred_moves_lead_back_to_the_very_step(rig: Subject) -> None:
    low_um, middle_um, high_um = rig.settle()
    steps = rig.rail.position_steps
    shaft_um = rig.truth.shaft_um if rig.truth is not None else 0.0
    for position_um in np.random.default_rng(7).uniform(low_um, high_um, 100).tolist():
        rig.rail.move_to(position_um)
        assert rig.rail.position_um == pytest.approx(position_um, abs=rig.step_um / 2 + 1e-9)
        if rig.config.hold == "off" or rig.truth is not None:
            rig.rail.release()
            rig.rail.energise()
        if rig.truth is not None:
            moved_um = (rig.rail.position_steps - steps) * rig.step_um
            assert rig.truth.shaft_um - shaft_um == pytest.approx(moved_um, abs=0.1 * rig.step_um)
    rig.rail.move_to(middle_um)
    assert rig.rail.position_steps == steps
    if rig.truth is not None:
        assert rig.truth.shaft_um == pytest.approx(shaft_um, abs=1e-6)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_jog_goes_by_what_it_says(rig: Subject, trusted: bool) -> None:
    rig.settle()
    if not trusted:
        rig.rail.distrust()
    # Some steps, so that what a switch or a detent does within one is not taken for them.
    by_um = min(rig.span_um / 2, rig.rail.spec.jog_max_um)
    rig.rail.energise()
    steps, before_um = rig.rail.position_steps, rig.truth.shaft_um if rig.truth is not None else 0.0
    for way in (1, -1, -1, 1):
        rig.rail.jog(way * by_um)
        steps += way * rig.rail.spec.steps_at(by_um)
        assert rig.rail.position_steps == steps
        assert rig.rail.trusted is trusted
    if rig.truth is not None:
        assert rig.truth.shaft_um == pytest.approx(before_um, abs=1e-6)


@pytest.mark.parametrize("by", ["target", "below", "run-up", "jog", "long jog"])
def test_limits_hold_before_the_first_edge(rig: Subject, by: str) -> None:
    rig.settle()
    spec = rig.rail.spec
    # The approach side's own limit: to stand there it would have to come from outside.
    outside_um = spec.low_um if spec.approach == "up" else spec.high_um
    before, steps = edges(rig), rig.rail.position_steps
    with pytest.raises((OutOfTravel, PlanError)):
        if by == "target":
            rig.rail.move_to(spec.high_um + 1)
        elif by == "below":
            rig.rail.move_to(spec.low_um - 1)
        elif by == "run-up":
            if not rig.run_up_um:
                pytest.skip("this rail makes no run-up")
            rig.rail.move_to(outside_um)
        elif by == "jog":
            rig.rail.jog(spec.high_um - rig.rail.position_um + 1)
        else:
            rig.rail.jog(spec.jog_max_um + 1)
    assert edges(rig) == before, "not even the current was switched"
    assert rig.rail.position_steps == steps
    assert rig.rail.trusted, "a refusal is no doubt"


def test_a_limit_that_is_no_whole_step_is_not_overstepped(rig: Subject) -> None:
    truth = needs_truth(rig, "its limits may be far")
    rig.settle()
    high_um = rig.rail.spec.high_um
    rig.rail.move_to(high_um)
    assert high_um - rig.step_um < rig.rail.position_um <= high_um
    shaft_um = truth.shaft_um
    rig.rail.jog(-rig.step_um)
    rig.rail.jog(high_um - rig.rail.position_um)
    assert rig.rail.position_um <= high_um
    assert truth.shaft_um == pytest.approx(shaft_um, abs=1e-6)


# Stopping.


def assert_stopped(rig: Subject, pressed_s: float) -> None:
    assert not rig.rail.trusted
    if rig.truth is not None:
        assert rig.truth.is_off
        assert rig.truth.last_step_s <= pressed_s + EMERGENCY_S
        assert rig.truth.off_since_s <= pressed_s + EMERGENCY_S


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
def test_a_stop_ends_a_move(rig: Subject, share: float) -> None:
    low_um, _, high_um = rig.settle()
    rig.rail.move_to(low_um)
    steps, start_um = rig.rail.position_steps, rig.truth.shaft_um if rig.truth is not None else 0.0
    whole = rig.rail.spec.steps_at(high_um) - steps
    delay_s = share * rig.rail.spec.ramp().duration_s(whole)
    pressed_s = rig.clock.now_s() + delay_s
    rig.after(delay_s, rig.stop.set)
    with pytest.raises(Stopped, match="home"):
        rig.rail.move_to(high_um)
    assert_stopped(rig, pressed_s)
    made = rig.rail.position_steps - steps
    assert 0 <= made < whole
    if rig.truth is not None:
        assert made == pytest.approx(share * whole, abs=0.15 * whole), "it did move until then"
        slack_um = 0.1 * rig.step_um + rig.truth.detent_um
        assert rig.truth.shaft_um - start_um == pytest.approx(made * rig.step_um, abs=slack_um), "all counted"
    before = rig.rail.position_steps
    with pytest.raises(NotHomed):
        rig.rail.move_to(low_um)
    with pytest.raises(Stopped):
        rig.rail.jog(rig.step_um)
    assert_stopped(rig, rig.clock.now_s())
    assert rig.rail.position_steps == before, "no step while the stop is pressed"
    rig.stop.clear()
    rig.find()
    assert rig.rail.trusted


def test_a_stop_ends_homing(rig: Subject) -> None:
    homing = rig.rail.spec.homing
    if homing is None:
        pytest.skip("this rail has no end stop")
    rig.settle()
    delay_s = 0.5 * abs(rig.rail.position_um - homing.position_um) / homing.fast_um_s
    pressed_s = rig.clock.now_s() + delay_s
    rig.after(delay_s, rig.stop.set)
    with pytest.raises(Stopped):
        rig.rail.home()
    assert_stopped(rig, pressed_s)
    rig.stop.clear()
    rig.rail.home()
    assert rig.rail.trusted


def test_the_stop_button_does_too(rig: Subject) -> None:
    truth = needs_truth(rig, "nobody is there to press its button")
    low_um, _, high_um = rig.settle()
    rig.rail.move_to(low_um)
    pressed_s = rig.clock.now_s() + 0.1
    rig.after(0.1, lambda: truth.sim.faults.set("press_button", True))
    with pytest.raises(Stopped, match="button"):
        rig.rail.move_to(high_um)
    assert_stopped(rig, pressed_s)
    before = len(truth.edges)
    for move in (rig.rail.home, lambda: rig.rail.jog(rig.step_um)):
        with pytest.raises(Stopped, match="release the button"):
            move()
    assert len(truth.edges) == before, "nothing moves while it is held"
    truth.sim.faults.set("press_button", False)
    rig.rail.home()
    assert rig.rail.trusted


def test_an_end_stop_that_trips_at_two_places_is_a_doubt(rig: Subject) -> None:
    """Slowly it must trip where it did fast; else one of them was false, and nobody knows which."""
    truth = needs_truth(rig, "its end stop is honest")
    rig.settle()
    home, endstop = rig.config.home, truth.sim.bench.endstop
    tripped = False

    def look() -> None:
        nonlocal tripped
        tripped |= endstop.pressed
        if tripped and not endstop.pressed and truth.carriage_um > 0.8 * home.back_off_um:
            endstop.stick(True)
            truth.sim.factory.drive(home.pin, home.active == "high")
        else:
            rig.after(0.01, look)

    look()
    with pytest.raises(RailError, match="home"):
        rig.rail.home()
    assert not rig.rail.trusted
    assert truth.is_off


def test_an_end_stop_that_trips_in_a_move_is_a_doubt(rig: Subject) -> None:
    truth = needs_truth(rig, "its end stop is not in the way")
    low_um, _, high_um = rig.settle()
    rig.rail.move_to(high_um)
    home, endstop = rig.config.home, truth.sim.bench.endstop
    endstop.stick(True)
    tripped_s = rig.clock.now_s() + 0.1
    rig.after(0.1, lambda: truth.sim.factory.drive(home.pin, home.active == "high"))
    with pytest.raises(EndstopHit, match="home"):
        rig.rail.move_to(low_um)
    assert_stopped(rig, tripped_s)
    with pytest.raises(NotHomed):
        rig.rail.move_to(high_um)
