"""What a camera's configuration says beforehand, held against what the drivers say."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from focusd.camera_config import DslrConfig, Picamera2Config
from focusd.camera_spec import frame_form, stop_s
from focusd.drivers.dslr import Dslr
from focusd.drivers.picam import PiCamera
from focusd.job import JobSettings
from focusd.needs import FrameForm
from focusd_sim.clock import VirtualClock
from focusd_sim.pins import SimFactory

SIZE: Any = {"width": 640, "height": 480}
SETTINGS = [
    JobSettings(),
    JobSettings(shots_per_step=3),
    JobSettings(shots_per_step=2, shutter_on_s=1.5, shutter_gap_s=0.7, post_shot_s=0.0),
    JobSettings(mirror_lockup_s=2.0),
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("changes", [{}, {"focus_pin": 25}, {"exposure_s": 3.0, "mirror_lockup_s": 1.0}])
def test_a_release_line_takes_as_long_as_foreseen(changes: dict[str, Any], settings: JobSettings) -> None:
    config = DslrConfig(release_pin=24, frames="none", **changes)
    clock = VirtualClock()
    camera = Dslr(config, SimFactory(clock), None, clock, threading.Event())
    camera.begin(settings)
    began_s = clock.now_s()
    for _ in range(settings.shots_per_step):
        camera.expose()
    camera.close()
    assert stop_s(config, settings) == pytest.approx(clock.now_s() - began_s)
    assert stop_s(config, settings) == camera.stop_s(settings)


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_pi_camera_takes_as_long_as_its_driver_says(settings: JobSettings) -> None:
    config = Picamera2Config(frame_size=SIZE, exposure_s=0.5)
    camera = PiCamera(config, None, VirtualClock(), threading.Event())
    assert stop_s(config, settings) == camera.stop_s(settings)


@pytest.mark.parametrize(
    ("config", "form"),
    [
        (Picamera2Config(frame_size=SIZE), FrameForm(480, 640, "4:2:0")),
        (DslrConfig(release_pin=1), None),
        (DslrConfig(release_pin=1, frame_size=SIZE), FrameForm(480, 640, "4:2:0", encoded=True)),
        (
            DslrConfig(release_pin=1, frame_size=SIZE, frame_colour="grey", frame_bits=16),
            FrameForm(480, 640, "grey", 16, encoded=True),
        ),
        (
            DslrConfig(release_pin=1, frame_size=SIZE, files="raw"),
            FrameForm(480, 640, "4:4:4", 16, encoded=True),
        ),
        (
            DslrConfig(release_pin=1, frame_size=SIZE, files="raw", frame_colour="grey"),
            FrameForm(480, 640, "grey", 16, encoded=True),
        ),
        # Nothing comes to be fused.
        (DslrConfig(release_pin=1, frame_size=SIZE, frames="none"), None),
    ],
)
def test_the_form_of_frames(config: DslrConfig | Picamera2Config, form: FrameForm | None) -> None:
    assert frame_form(config) == form
