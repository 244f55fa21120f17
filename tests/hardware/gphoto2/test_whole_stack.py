"""A whole stack: the simulated rail, and a genuine libgphoto2 camera that photographs what hw-sim draws."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from focusd.config import parse_config
from focusd.fusion.fusion import Fusion
from focusd.job import JobEvent, JobSettings, StopDone
from focusd.pictures.images import decode_image
from focusd.plan import ZPlan
from focusd.rig import Frame, Rig, Shot
from focusd.runner import Runner, Signals, StopRecord
from focusd.service import pace_of
from focusd_sim.catalogue import scene_named
from focusd_sim.clock import VirtualClock
from focusd_sim.config import SimConfig
from focusd_sim.rig import build
from focusd_sim.score import psnr
from focusd_sim.sensor import Sensor
from focusd_sim.truth import ExposureTruth
from focusd_sim.view import View

from .conftest import Card, Stand

LAG_S, EXPOSURE_S = 0.05, 0.02
TABLE: dict[str, Any] = {
    "rail": {
        "step_pin": 17,
        "direction_pin": 27,
        "enable_pin": 22,
        "lead_um": 1000,
        "low_um": 0,
        "high_um": 25000,
        "start_um_s": 500,
        "cruise_um_s": 3000,
        "accel_um_s2": 6000,
        "backlash_um": 30,
        "prerun_um": 20,
        "home": {"pin": 23, "position_um": 0, "go_to_um": 5000},
    },
    # Its place on the rig is taken by the camera under test.
    "camera": {"kind": "dslr", "release_pin": 24, "frames": "none"},
    "stack": {"settle_s": 1.0},
    "sim": {"scene": "slope", "centre_um": 5000, "sensor": {"vignetting": 0.0, "flicker": 0.0}},
}


class Album:
    """Takes a stack's frames, and nothing amiss with any."""

    def __init__(self) -> None:
        self.frames: list[tuple[Shot, Frame]] = []

    def deliver(self, shot: Shot, frame: Frame) -> None:
        self.frames.append((shot, frame))

    def spoiled(self, *, settled: bool = False) -> tuple[Shot, ...]:
        return ()

    def inspect(self, frame: Frame) -> None:
        raise AssertionError(f"{frame.name}: no test frame was asked for")


class Lens:
    """The genuine library, whose camera photographs the simulated scene in rig time."""

    def __init__(self, library: Any, clock: VirtualClock, view: View, card: Card) -> None:
        self._library = library
        self._clock, self._view, self._card = clock, view, card
        self.taken: dict[bytes, ExposureTruth] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def Camera(self) -> Any:
        camera = self._library.Camera()
        names = (
            "set_abilities", "set_port_info", "init", "exit", "wait_for_event", "file_get", "file_get_info"
        )  # fmt: skip
        genuine = {name: getattr(camera, name) for name in names}

        def trigger_capture() -> None:
            opens_s = self._clock.now_s() + LAG_S
            self._clock.call_at(opens_s + EXPOSURE_S, lambda: close(opens_s))

        def close(opened_s: float) -> None:
            """The shutter closes: now the picture is there, and libgphoto2 is told to take it."""
            exposure = self._view.expose(opened_s, opened_s + EXPOSURE_S)
            self.taken[self._card.show(self._view.picture(exposure))] = exposure
            camera.trigger_capture()

        return SimpleNamespace(**genuine, trigger_capture=trigger_capture)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("exposure_s", "stops", "repeated"),
    # 26 exposures fill the virtual card; where the rail waits for the file, the 27th is made again.
    [(EXPOSURE_S, 20, 0), (None, 30, 1)],
    ids=["known exposure", "over a full card"],
)
def test_every_stop_gets_the_picture_taken_there(
    stand: Stand, tmp_path: Path, exposure_s: float | None, stops: int, repeated: int
) -> None:
    config = parse_config({**TABLE, "data": {"dir": str(tmp_path / "data")}}, "test")
    sim = SimConfig.from_table(config.sim)
    clock, signals, scene = VirtualClock(), Signals(), scene_named("slope", seed=1)
    simulated = build(config, sim, clock, signals, scene=scene)
    sensor = Sensor(**sim.sensor.model_dump())
    view = View(scene, sensor, sim.optics, simulated.bench, simulated.truth, centre_um=5000, seed=1)
    lens = Lens(stand.library, clock, view, stand.card)
    camera = stand.camera(lens, clock, exposure_s=exposure_s, release_lag_s=0.3, frame_timeout_s=60.0)
    rig = Rig(simulated.rig.rail, camera)
    album = Album()
    events: list[JobEvent] = []
    records: list[StopRecord] = []

    rig.rail.home()
    step_um = 380 / (stops - 1)
    plan = ZPlan(range=380, step=step_um).resolve(5000)
    runner = Runner(rig, clock, signals, pace_of(config))
    runner.run(plan, JobSettings(), album, events.append, records)
    rig.close()

    frames = album.frames
    assert len(frames) == len(plan) == stops
    assert len([event for event in events if isinstance(event, StopDone) and not event.missing]) == stops
    assert len(lens.taken) == stops + repeated
    exposures = [lens.taken[frame.encoded or b""] for _, frame in frames]
    for (shot, frame), exposure in zip(frames, exposures, strict=True):
        assert exposure.shaft_um == pytest.approx(shot.position_um, abs=0.01)
        assert shot.position_um == pytest.approx(shot.planned_um, abs=2.5)
        assert exposure.step_edges == 0 and exposure.smear_px < 0.25
        assert frame.exposure.opened_s <= exposure.t_open_s
        assert exposure.t_close_s <= frame.exposure.closed_s
    assert np.all(np.diff([exposure.t_open_s for exposure in exposures]) > 0)

    fusion = Fusion()
    for shot, frame in frames:
        assert frame.encoded is not None
        fusion.add(decode_image(frame.encoded, frame.name), shot.position_um)
    result = fusion.result()
    image = result.image
    assert isinstance(image, np.ndarray)
    assert psnr(image, scene.all_in_focus) > 30
    error_um = result.depth_um - (scene.height_um + 5000)
    assert abs(np.nanmedian(error_um)) < 2.0
    assert np.nanmedian(np.abs(error_um)) < 0.25 * step_um
