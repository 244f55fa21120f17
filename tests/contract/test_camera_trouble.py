"""What every camera must do when something goes wrong with a frame, and when the emergency stop is pressed.

See `test_camera` for which cameras are asked, and how a real one is: nothing goes wrong with that when asked
to, so that it is asked about the stop alone.
"""

from __future__ import annotations

from contextlib import suppress

import pytest

from focusd.camera_config import DslrConfig
from focusd.errors import CameraError, ExposureTimeout, FrameLost, Stopped

from .camera_checks import (
    PLAIN,
    assert_released,
    assert_stopped,
    assert_works,
    move,
    needs,
    truth_of,
    try_to_shoot,
)
from .camera_subject import Subject

pytestmark = pytest.mark.timeout(600)  # a real camera takes real time


@needs("truth", "frames")
def test_what_goes_wrong_with_a_frame_spoils_no_other(
    camera: Subject, trouble: str, frames_before: int, waited: float
) -> None:
    """The next exposures show where they were made, whenever the troubled frame comes, if ever."""
    truth = truth_of(camera)
    camera.camera.begin(PLAIN)
    assert_works(camera, frames_before)
    place = move(camera)
    with truth.trouble(trouble):
        try_to_shoot(camera, place)
    camera.clock.sleep(waited * max(0.0, truth.late_s - camera.config.frame_timeout_s))
    for _ in range(4):
        began_s = camera.clock.now_s()
        assert_works(camera)
        assert camera.clock.now_s() - began_s <= 2 * camera.deadline_s + truth.late_s


@needs("hung")
def test_a_camera_that_does_nothing_is_found_out(camera: Subject) -> None:
    truth = truth_of(camera)
    camera.camera.begin(PLAIN)
    openings = truth.openings
    with truth.trouble("hung"):
        for _ in range(2):
            if camera.has_frames or (isinstance(camera.config, DslrConfig) and camera.config.feedback_pin):
                with pytest.raises((ExposureTimeout, FrameLost)):
                    camera.shoot()
            else:
                camera.shoot()
            assert_released(camera)
    assert camera.streams or truth.openings == openings
    assert_works(camera)


@needs("hung")
def test_a_stack_of_a_camera_that_does_nothing_begins_or_fails_in_time(camera: Subject) -> None:
    with truth_of(camera).trouble("hung"):
        began_s = camera.clock.now_s()
        with suppress(CameraError):
            camera.camera.begin(PLAIN)
        assert camera.clock.now_s() - began_s <= camera.deadline_s
        assert_released(camera)
        camera.camera.end()
        assert_released(camera)
    camera.camera.begin(PLAIN)
    assert_works(camera)


# The emergency stop.


def test_a_stop_ends_an_exposure(camera: Subject, frames_before: int, share: float) -> None:
    """The shutter may open all the same; what comes of it is nobody else's."""
    if camera.streams and camera.truth is None:
        pytest.skip("a frame may come before the stop")
    camera.camera.begin(PLAIN)
    assert_works(camera, frames_before)
    camera.clock.sleep(1.0)
    move(camera)
    with camera.lasting():
        delay_s = share * camera.camera.stop_s(PLAIN)
        pressed_s = camera.clock.now_s() + delay_s
        camera.after(delay_s, camera.stop.set)
        with pytest.raises(Stopped):
            camera.camera.expose()
        assert_stopped(camera, pressed_s)
    camera.stop.clear()
    camera.camera.begin(PLAIN)
    assert_works(camera, 3)


@needs("truth", "frame_later", "lost")
def test_a_stop_ends_the_wait_for_a_frame(camera: Subject, frames_before: int) -> None:
    camera.camera.begin(PLAIN)
    assert_works(camera, frames_before)
    with truth_of(camera).trouble("lost"):
        exposure = camera.camera.expose()
        pressed_s = camera.clock.now_s() + 0.3
        camera.after(0.3, camera.stop.set)
        with pytest.raises(Stopped):
            camera.camera.collect(exposure)
        assert_stopped(camera, pressed_s)
    camera.stop.clear()
    camera.camera.begin(PLAIN)
    assert_works(camera, 3)


def test_nothing_is_exposed_while_the_stop_is_pressed(camera: Subject) -> None:
    for number in range(5):
        camera.camera.begin(PLAIN)
        # At any phase of a camera whose frames run all the time.
        camera.clock.sleep(0.007 * number)
        openings = camera.truth.openings if camera.truth is not None else 0
        pressed_s = camera.clock.now_s()
        camera.stop.set()
        with pytest.raises(Stopped):
            camera.camera.expose()
        assert_stopped(camera, pressed_s)
        assert camera.streams or camera.truth is None or camera.truth.openings == openings
        camera.stop.clear()
    camera.camera.begin(PLAIN)
    assert_works(camera)
