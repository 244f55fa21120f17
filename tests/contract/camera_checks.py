"""What the cameras' contract has in common: who is asked what, and what is asserted again and again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pytest

from focusd.errors import CameraError, ExposureTimeout, FrameLost
from focusd.job import JobSettings
from focusd.rig import Exposure, Frame

from .camera_subject import Subject, Truth

PLAIN = JobSettings()
POLL_S = 0.1
"""A stop is heard, and a deadline kept, to within this."""
AT_ONCE_S = 1e-9
TROUBLES = ("hung", "lost", "late", "double", "torn")
VARIANTS: dict[str, tuple[Any, ...]] = {
    "frames_before": (0, 2),
    "ended": (False, True),
    "pause_s": (0.0, 0.23, 1.0),
    "waited": (0.0, 0.6, 1.1),
    "share": (0.02, 0.3, 0.6, 0.9),
}
"""Values of the tests' arguments; where time is real, those of `BRIEF`."""
BRIEF: dict[str, tuple[Any, ...]] = {
    "frames_before": (2,),
    "ended": (False, True),
    "pause_s": (0.23,),
    "waited": (0.0, 1.1),
    "share": (0.3,),
}

Test = TypeVar("Test", bound=Callable[..., None])


def needs(*abilities: str) -> Callable[[Test], Test]:
    """Have a test asked only of cameras that can do what it needs.

    ``truth``: what is true is known, and the carriage moves. ``frames``: they come here. ``on_demand``:
    nothing is exposed unless asked for. ``frame_later``: an exposure is over before its frame is there. And
    any trouble that can be made. A camera in ``real_time`` is asked fewer variants.
    """

    def keep(test: Test) -> Test:
        test.needs = frozenset(abilities)  # type: ignore[attr-defined]
        return test

    return keep


def ask(metafunc: pytest.Metafunc, cameras: Mapping[str, frozenset[str]]) -> None:
    """Have a test asked of those cameras, given with what they can, in every variant that it has."""
    if "camera" not in metafunc.fixturenames:
        return
    needed: frozenset[str] = getattr(metafunc.function, "needs", frozenset())
    arguments = [name for name in ("trouble", *VARIANTS) if name in metafunc.fixturenames]
    rows = []
    for camera, able in cameras.items():
        if needed <= able:
            values = {**(BRIEF if "real_time" in able else VARIANTS), "trouble": sorted(able & {*TROUBLES})}
            variants = itertools.product(*(values[name] for name in arguments))
            rows += [pytest.param(camera, *each, id="-".join(map(str, (camera, *each)))) for each in variants]
    metafunc.parametrize(["camera", *arguments], rows, indirect=["camera"])


def truth_of(camera: Subject) -> Truth:
    assert camera.truth is not None, "the test should say that it needs the truth"
    return camera.truth


def move(camera: Subject) -> float:
    """Go elsewhere, where that is possible; return the place."""
    if camera.truth is None:
        return 0.0
    camera.truth.move()
    return camera.truth.place


def try_to_shoot(camera: Subject, place: float) -> None:
    """Take a photograph, which may get lost; but nothing else, and in time."""
    lost: tuple[type[CameraError], ...] = (ExposureTimeout, FrameLost)
    began_s = camera.clock.now_s()
    try:
        exposure = camera.camera.expose()
    except lost:
        assert camera.clock.now_s() - began_s <= camera.deadline_s
        assert_released(camera)
        return
    exposed_s = camera.clock.now_s()
    assert exposed_s - began_s <= camera.deadline_s
    assert_released(camera)
    try:
        frame = camera.camera.collect(exposure)
    except FrameLost as error:
        assert str(error)
    else:
        assert_shows(camera, exposure, frame, place)
    assert camera.clock.now_s() - exposed_s <= camera.deadline_s
    assert_released(camera)


def assert_released(camera: Subject) -> None:
    assert camera.truth is None or camera.truth.is_released, "a line is left pressed"


def assert_shows(camera: Subject, exposure: Exposure, frame: Frame | None, place: float) -> None:
    """The frame is of that exposure, and the exposure was there; the carriage may be elsewhere by now."""
    truth = camera.truth
    assert (frame is not None) is camera.has_frames
    if truth is not None:
        opening = truth.opening(frame)
        assert opening.place == pytest.approx(place, abs=truth.within)
        assert_between(camera, exposure, frame)
    if frame is not None:
        assert frame.exposure == exposure
        if truth is not None:
            assert truth.shown(frame) == pytest.approx(place, abs=truth.within)


def assert_between(camera: Subject, exposure: Exposure, frame: Frame | None) -> None:
    """The shutter was truly open between the times that are told."""
    if camera.truth is not None:
        opening = camera.truth.opening(frame)
        assert exposure.opened_s <= opening.opened_s + camera.truth.within_s
        assert opening.closed_s <= exposure.closed_s + camera.truth.within_s


def assert_works(camera: Subject, times: int = 1) -> None:
    """So many photographs, each from somewhere else, and nothing older."""
    for _ in range(times):
        place = move(camera)
        exposure, frame = camera.shoot()
        assert_shows(camera, exposure, frame, place)
        assert_released(camera)


def assert_stopped(camera: Subject, pressed_s: float) -> None:
    """The stop was obeyed at once, and what is ended now is at rest."""
    assert camera.clock.now_s() <= pressed_s + POLL_S + camera.slack_s
    assert_released(camera)
    camera.camera.end()
    assert camera.truth is None or camera.truth.is_at_rest
