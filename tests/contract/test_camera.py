"""What every camera must do, simulated or real; where there is a truth, it is asked.

Always asked: simulated DSLRs with and without an inbox, a time in their files and a flash contact, and the
simulated Pi camera. ``make test-hardware`` asks the same of the genuine picamera2 and libgphoto2, on virtual
cameras of theirs. A real one is asked with ``pytest tests/contract -k "camera and real" --rig FILE``, its
daemon stopped, on the machine that has it.

What this does to a real camera, in some minutes: it exposes some seventy times, wherever the carriage stands;
with an inbox the tool that brings the files must be running. One frame each of a few stacks is never
collected. Nothing moves. What takes a fault, or a carriage that is elsewhere in each picture, is left out.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from focusd.errors import FrameLost
from focusd.job import JobSettings
from focusd.pictures.planes import Planes

from .camera_checks import (
    AT_ONCE_S,
    PLAIN,
    POLL_S,
    assert_between,
    assert_shows,
    assert_works,
    move,
    needs,
    truth_of,
)
from .camera_subject import Subject, picture_of

pytestmark = pytest.mark.timeout(600)  # a real camera takes real time

# Getting ready, and letting go.


def test_it_may_be_begun_and_ended_in_any_order(camera: Subject) -> None:
    device = camera.camera
    device.end()
    device.end()
    device.begin(PLAIN)
    device.end()
    device.end()
    device.begin(PLAIN)
    device.begin(PLAIN)
    assert_works(camera)
    device.begin(PLAIN)
    assert_works(camera)
    for _ in range(2):
        device.end()
        assert camera.truth is None or camera.truth.is_at_rest


def test_closing_twice_is_closing_once(camera: Subject) -> None:
    camera.camera.begin(PLAIN)
    camera.close()
    camera.camera.close()
    camera.camera.end()  # which is safe at any time


@pytest.mark.parametrize("begun", [False, True])
def test_it_may_be_closed_in_the_middle_of_a_stack(camera: Subject, begun: bool) -> None:
    if begun:
        camera.camera.begin(PLAIN)
        camera.camera.expose()
    camera.close()
    openings = camera.truth.openings if camera.truth is not None else 0
    camera.clock.sleep(0.5)
    if camera.truth is not None:
        assert camera.truth.is_at_rest
        assert camera.truth.openings == openings


@needs("truth", "on_demand")
def test_nothing_is_exposed_but_when_it_is_asked_for(camera: Subject) -> None:
    truth = truth_of(camera)
    for taken in range(3):
        camera.camera.begin(PLAIN)
        camera.clock.sleep(0.5)
        assert truth.openings == taken
        camera.camera.expose()
        assert truth.openings == taken + 1
        camera.clock.sleep(0.5)
        camera.camera.end()
        camera.clock.sleep(0.5)
        assert truth.openings == taken + 1
        assert truth.is_at_rest


# One exposure.


def test_exposures_are_counted_from_0_in_each_stack(camera: Subject) -> None:
    for _ in range(2):
        camera.camera.begin(PLAIN)
        assert [camera.shoot()[0].index for _ in range(3)] == [0, 1, 2]
        camera.camera.end()


def test_the_shutter_was_open_between_the_times_that_are_told(camera: Subject) -> None:
    camera.camera.begin(PLAIN)
    for _ in range(3):
        asked_s, asked_at = camera.clock.now_s(), camera.clock.wall()
        exposure = camera.camera.expose()
        came_s, came_at = camera.clock.now_s(), camera.clock.wall()
        assert asked_s <= exposure.opened_s < exposure.closed_s <= came_s
        assert came_s - asked_s <= camera.deadline_s
        assert exposure.at.tzinfo is UTC
        assert asked_at <= exposure.at <= came_at
        if exposure.exposure_s is not None:
            assert 0 < exposure.exposure_s <= exposure.closed_s - exposure.opened_s + 1e-9
        assert_between(camera, exposure, camera.camera.collect(exposure))


@needs("truth")
def test_a_frame_shows_where_the_carriage_was_when_it_was_exposed(camera: Subject) -> None:
    camera.camera.begin(PLAIN)
    for _ in range(11):
        place = move(camera)
        exposure = camera.camera.expose()
        # The shutter has closed: the carriage may move on while the frame is under way.
        move(camera)
        assert_shows(camera, exposure, camera.camera.collect(exposure), place)


def test_a_frame_is_there_once_it_is_said_to_be(camera: Subject) -> None:
    camera.camera.begin(PLAIN)
    for _ in range(3):
        place = move(camera)
        exposure = camera.camera.expose()
        deadline_s = camera.clock.now_s() + camera.config.frame_timeout_s / 2
        there = False
        while not there and camera.clock.now_s() < deadline_s:
            asked_s = camera.clock.now_s()
            there = camera.camera.has_frame()
            assert camera.clock.now_s() - asked_s <= AT_ONCE_S + camera.slack_s
            camera.clock.sleep(0.0 if there else 0.02)
        asked_s = camera.clock.now_s()
        frame = camera.camera.collect(exposure)
        if there:
            assert camera.clock.now_s() - asked_s <= AT_ONCE_S + camera.slack_s
        assert_shows(camera, exposure, frame, place)


@needs("frames")
def test_a_frame_is_handed_over_once(camera: Subject) -> None:
    camera.camera.begin(PLAIN)
    exposure, frame = camera.shoot()
    assert frame is not None
    began_s = camera.clock.now_s()
    with pytest.raises(FrameLost):
        camera.camera.collect(exposure)
    assert camera.clock.now_s() - began_s <= camera.deadline_s
    assert_works(camera)


@needs("frames")
def test_frames_are_all_of_one_form(camera: Subject) -> None:
    forms: set[Any] = set()
    for _ in range(2):
        camera.camera.begin(PLAIN)
        for _ in range(3):
            move(camera)
            _, frame = camera.shoot()
            assert frame is not None and frame.name
            assert (frame.image is None) is not (frame.encoded is None), "either a picture or a file"
            picture = picture_of(frame)
            planes = (picture.luma, picture.blue, picture.red) if isinstance(picture, Planes) else (picture,)
            forms.add((type(picture), *((plane.shape, plane.dtype) for plane in planes)))
        camera.camera.end()
    assert len(forms) == 1


# What is foreseen.


def test_an_estimate_is_no_less_than_the_exposures_and_grows_with_them(camera: Subject) -> None:
    estimates_s = []
    for shots in (1, 2, 5):
        settings = replace(PLAIN, shots_per_step=shots)
        estimates_s.append(camera.camera.stop_s(settings))
        camera.camera.begin(settings)
        open_s = sum(camera.shoot()[0].exposure_s or 0.0 for _ in range(shots))
        assert estimates_s[-1] >= open_s
        camera.camera.end()
    assert estimates_s == sorted(set(estimates_s))


@needs("on_demand")
def test_the_exposures_of_a_stop_take_no_longer_than_estimated(camera: Subject) -> None:
    """Where frames run all the time their rate is the sensor's, which no configuration tells."""
    settings = replace(PLAIN, shots_per_step=4)
    camera.camera.begin(settings)
    took_s = 0.0
    for _ in range(4):
        began_s = camera.clock.now_s()
        exposure = camera.camera.expose()
        took_s += camera.clock.now_s() - began_s
        camera.camera.collect(exposure)
    assert took_s <= 1.2 * camera.camera.stop_s(settings) + camera.slack_s


# One stack after another.


def test_the_settings_of_a_stack_are_forgotten_with_it(camera: Subject) -> None:
    def pace_s(settings: JobSettings) -> float:
        camera.camera.begin(settings)
        began_s = camera.clock.now_s()
        camera.shoot()
        camera.shoot()
        took_s = camera.clock.now_s() - began_s
        camera.camera.end()
        camera.clock.sleep(1.5)  # which the next one need not wait
        return took_s

    slow = replace(PLAIN, shutter_on_s=0.7, shutter_gap_s=1.5, post_shot_s=0.9)
    before_s, slow_s, after_s = pace_s(PLAIN), pace_s(slow), pace_s(PLAIN)
    assert slow_s > before_s + 1.0 or camera.streams
    assert after_s == pytest.approx(before_s, abs=POLL_S + camera.slack_s)


def test_a_frame_that_nobody_collected_is_nobody_elses(
    camera: Subject, ended: bool, frames_before: int, pause_s: float
) -> None:
    """As when a job is cancelled: what it left on its way comes at the beginning of the next one."""
    camera.camera.begin(PLAIN)
    assert_works(camera, frames_before)
    move(camera)
    camera.camera.expose()
    if ended:
        camera.camera.end()
        camera.clock.sleep(pause_s)
        camera.camera.begin(PLAIN)
    camera.clock.sleep(pause_s)
    assert_works(camera, 3)


def test_there_is_no_frame_after_the_end(camera: Subject) -> None:
    camera.camera.begin(PLAIN)
    exposure = camera.camera.expose()
    camera.camera.end()
    began_s = camera.clock.now_s()
    if camera.has_frames:
        with pytest.raises(FrameLost):
            camera.camera.collect(exposure)
    else:
        assert camera.camera.collect(exposure) is None
    assert camera.clock.now_s() - began_s <= camera.deadline_s
    camera.camera.begin(PLAIN)
    assert_works(camera)
