"""A simulated rail and scene in the machine's own time, looked at through the genuine picamera2."""

from __future__ import annotations

import heapq
import threading
import time
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import focusd_sim.rig as rig_module
from focusd.camera_config import Picamera2Config
from focusd.config import parse_config
from focusd.drivers.picam import PiCamera
from focusd.rig import Frame
from focusd.runner import Signals
from focusd_sim.bench import Bench
from focusd_sim.catalogue import scene_named
from focusd_sim.clock import VirtualClock
from focusd_sim.config import SimConfig
from focusd_sim.planes import laid_out
from focusd_sim.rig import SimulatedRig
from focusd_sim.truth import ExposureTruth
from focusd_sim.view import View

from .virtual import VirtualPicamera2

WIDTH, HEIGHT = 640, 480


class MonotonicClock(VirtualClock):
    """CLOCK_MONOTONIC, which libcamera's time stamps are on; does what falls due in the sleeper's thread."""

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        until_s = time.monotonic() + max(0.0, seconds)
        while not (stop is not None and stop.is_set()):
            due_s = min(until_s, self._due[0][0]) if self._due else until_s
            if stop is None:
                time.sleep(max(0.0, due_s - time.monotonic()))
            elif stop.wait(max(0.0, due_s - time.monotonic())):
                return False
            while self._due and self._due[0][0] <= time.monotonic():
                heapq.heappop(self._due)[2]()
            if time.monotonic() >= until_s:
                return True
        return False


class SharedBench(Bench):
    """The physics, stepped by one thread and looked at by another."""

    def __init__(self, *args: Any) -> None:
        self._both = threading.RLock()
        super().__init__(*args)

    def edge(self, line: int, level: bool, t_s: float) -> None:
        with self._both:
            super().edge(line, level, self._clock.now_s())

    def motion_during(self, t0_s: float, t1_s: float) -> Any:
        with self._both:
            return super().motion_during(t0_s, t1_s)


@dataclass
class Studio:
    """The rig, and which exposure each drawn buffer shows."""

    sim: SimulatedRig
    view: View
    camera: VirtualPicamera2
    clock: MonotonicClock
    signals: Signals
    config: Picamera2Config
    shown: dict[int, ExposureTruth] = field(default_factory=dict)

    @property
    def driver(self) -> PiCamera:
        driver = self.sim.rig.camera
        assert isinstance(driver, PiCamera)
        return driver

    def draw(self, metadata: dict[str, Any], stream: dict[str, Any]) -> NDArray[np.uint8]:
        """Draw what the carriage saw while the frame was exposed."""
        closed_s = metadata["SensorTimestamp"] * 1e-9
        truth = self.view.expose(closed_s - metadata["ExposureTime"] * 1e-6, closed_s)
        rows = laid_out(self.view.picture(truth), "YUV420", stream["stride"], "sYCC")
        self.shown[zlib.crc32(rows[:HEIGHT, :WIDTH].tobytes())] = truth
        return rows

    def truth_of(self, frame: Frame) -> ExposureTruth:
        """Return the exposure that a frame shows."""
        return self.shown[zlib.crc32(np.ascontiguousarray(frame.image.luma))]  # type: ignore[union-attr]

    def photograph(self) -> Frame:
        frame = self.driver.collect(self.driver.expose())
        assert frame is not None
        return frame


def open_studio(camera: dict[str, Any] | None = None, **virtual: Any) -> Studio:
    """Build `focusd_sim`'s rig with the genuine picamera2 where its stand-in would be."""
    config = parse_config(
        {
            "rail": {
                "step_pin": 17,
                "direction_pin": 27,
                "enable_pin": 22,
                "lead_um": 1000,
                "low_um": -4000,
                "high_um": 4000,
                "start_um_s": 500,
                "cruise_um_s": 1000,
                "accel_um_s2": 6000,
                "backlash_um": 0,
                "at_start": "zero",
            },
            "camera": {
                "kind": "picamera2",
                "frame_size": {"width": WIDTH, "height": HEIGHT},
                "exposure_s": 0.02,
                "frame_timeout_s": 1.5,
                **(camera or {}),
            },
        },
        "virtual",
    )
    sim = SimConfig.from_table({"centre_um": 5000, "carriage": {"start_um": 5000, "backlash_um": 0}})
    clock, signals, made = MonotonicClock(), Signals(), []

    def genuine(_config: Any, _clock: Any, view: View, _faults: Any, _seed: int) -> VirtualPicamera2:
        made.append((VirtualPicamera2(lambda *frame: studio.draw(*frame), **virtual), view))
        return made[0][0]

    rig_module.SimPicamera2 = genuine  # type: ignore[misc,assignment]
    rig_module.Bench = SharedBench  # type: ignore[misc]
    rig = rig_module.build(config, sim, clock, signals, scene=scene_named("slope", shape=(HEIGHT, WIDTH)))
    assert isinstance(config.camera, Picamera2Config)
    studio = Studio(rig, made[0][1], made[0][0], clock, signals, config.camera)
    rig.rig.rail.zero()
    return studio
