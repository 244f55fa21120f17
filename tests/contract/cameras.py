"""The cameras that the contract is asked of: simulated ones, whose truth is known, and the one of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from focusd import app
from focusd.camera_config import CameraConfig, DslrConfig, Gphoto2Config, Picamera2Config
from focusd.clock import SystemClock
from focusd.config import Config, parse_config
from focusd.drivers.pins import Factory
from focusd.halt import Halt
from focusd.rig import Frame
from focusd.runner import Signals
from focusd_sim.clock import VirtualClock
from focusd_sim.config import SimConfig
from focusd_sim.exposure_control import NEUTRAL_GAINS
from focusd_sim.rig import SimulatedRig, build

from .camera_subject import Opening, Subject, grey_of, places

ROWS, COLS = 48, 80

_RAIL = {
    "step_pin": 17,
    "direction_pin": 27,
    "enable_pin": 22,
    "lead_um": 1000,
    "low_um": -1000,
    "high_um": 1000,
    "start_um_s": 500,
    "cruise_um_s": 1000,
    "accel_um_s2": 6000,
    "backlash_um": 0,
    "prerun_um": 0,
    "at_start": "zero",
}
_STILL = {
    "centre_um": 5000,
    "carriage": {
        "start_um": 5000,
        "backlash_um": 0,
        "sag_um_s": 0,
        "creep": 0,
        "vibration_lateral_um": 0,
        "vibration_axial_um": 0,
    },
    # A little noise: no two files of a camera are the same, byte for byte.
    "sensor": {"read_noise": 1, "shot_noise": 0, "vignetting": 0, "flicker": 0},
}
_DSLR = {
    "kind": "dslr",
    "release_pin": 24,
    "focus_pin": 25,
    "exposure_s": 0.3,
    "wake_s": 0.2,
    "frame_timeout_s": 5.0,
}
_LONG = {"exposure_s": 2.0, "light_s": 2.0}
_PICAM = {
    "kind": "picamera2",
    "frame_size": {"width": COLS, "height": ROWS},
    "colour_gains": NEUTRAL_GAINS,
    "frame_timeout_s": 2.0,
}
_CARD_TROUBLES = frozenset({"hung", "lost", "late", "double", "torn"})


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a simulated camera is made, and what can go wrong with it."""

    camera: dict[str, Any]
    body: dict[str, Any] = field(default_factory=dict)
    troubles: frozenset[str] = _CARD_TROUBLES

    @property
    def abilities(self) -> frozenset[str]:
        """What tests of it may need; see `camera_checks.needs`."""
        return (
            abilities_of(TypeAdapter(CameraConfig).validate_python(self.camera)) | self.troubles | {"truth"}
        )


SIMULATED: dict[str, Recipe] = {
    "dslr_inbox": Recipe(_DSLR),
    # A second file of an exposure cannot be told from the next one's where it says no time, or only seconds.
    "dslr_without_time": Recipe(
        {**_DSLR, "exposure_s": 2.0}, {**_LONG, "time": "none"}, _CARD_TROUBLES - {"double"}
    ),
    "dslr_raw_and_jpeg": Recipe(_DSLR, {"time": "seconds", "files": "both"}, _CARD_TROUBLES - {"double"}),
    "dslr_flash_contact": Recipe({**_DSLR, "exposure_s": 2.0, "feedback_pin": 26}, _LONG),
    "dslr_mirror_up": Recipe({**_DSLR, "mirror_lockup_s": 0.5}, {"mirror_lockup": True}),
    "dslr_bulb": Recipe({**_DSLR, "bulb": True}, {"bulb": True, "light_s": 0.24}),
    "dslr_release_only": Recipe({**_DSLR, "frames": "none"}, troubles=frozenset({"hung"})),
    "picamera2_yuv420": Recipe(_PICAM, troubles=frozenset({"hung", "lost"})),
    "picamera2_dng": Recipe({**_PICAM, "files": "dng"}, troubles=frozenset({"hung", "lost"})),
}
"""Simulated cameras by name."""


def abilities_of(config: CameraConfig) -> frozenset[str]:
    """Return what tests of a camera may need and its configuration tells of."""
    abilities = {"on_demand", "frame_later", "frames"}
    if isinstance(config, Picamera2Config):
        abilities -= {"on_demand", "frame_later"}
    elif isinstance(config, Gphoto2Config) and config.exposure_s is None:
        abilities -= {"frame_later"}
    elif isinstance(config, DslrConfig) and config.frames == "none":
        abilities -= {"frame_later", "frames"}
    return frozenset(abilities)


class Greys:
    """A scene that is nothing but one grey, which tells where the carriage is: a level for each um."""

    lens = SimpleNamespace(magnification=1.0, pixel_um=1.0)
    all_in_focus: NDArray[np.uint8] = np.full((ROWS, COLS, 3), 128, np.uint8)

    def render(self, focus_um: float, **_: Any) -> NDArray[np.uint8]:
        return np.full((ROWS, COLS, 3), round(128 + focus_um), np.uint8)


class SimulatedTruth:
    """The truth of a camera that `focusd_sim` made."""

    late_s = 7.0
    within = 2.0
    within_s = 1e-9

    def __init__(self, sim: SimulatedRig, config: CameraConfig) -> None:
        self._sim = sim
        self._lines: dict[int, bool] = {}
        if isinstance(config, DslrConfig):
            lines = (config.release_pin, config.focus_pin)
            self._lines = {line: config.active == "low" for line in lines if line is not None}
        self._places = places()

    @property
    def place(self) -> float:
        return 128 + self._sim.bench.position_um() - self._sim.centre_um

    @property
    def openings(self) -> int:
        return self._sim.truth.next_index

    @property
    def is_released(self) -> bool:
        return all(self._sim.factory.level(line) == off for line, off in self._lines.items())

    @property
    def is_at_rest(self) -> bool:
        return self.is_released

    def move(self) -> None:
        self._sim.rig.rail.move_to(next(self._places))

    def shown(self, frame: Frame) -> float:
        return grey_of(frame)

    def opening(self, frame: Frame | None) -> Opening:
        last = self._sim.truth.exposures[-1]
        return Opening(last.t_open_s, last.t_close_s, 128 + last.focus_um)

    @contextmanager
    def trouble(self, kind: str) -> Iterator[None]:
        names = {"hung": "hang_camera", "lost": "lose_frame", "late": "late_frame"}
        names |= {"double": "double_frame", "torn": "corrupt_file"}
        self._sim.faults.set(names[kind], True)
        try:
            yield
        finally:
            self._sim.faults.set(names[kind], False)


def simulated(name: str, folder: str) -> Subject:
    """Build the camera of a name by the simulator's own composition root."""
    recipe = SIMULATED[name]
    body = {"exposure_s": 0.3, "light_s": 0.3, "late_s": SimulatedTruth.late_s, **recipe.body}
    picam = {"light_us": 20_000}
    sim_table = {**_STILL, "dslr": body, "picam": picam}
    table = {"rail": _RAIL, "camera": recipe.camera, "data": {"dir": folder}, "sim": sim_table}
    config = parse_config(table, name)
    clock, signals = VirtualClock(), Signals()
    sim = build(config, SimConfig.from_table(config.sim), clock, signals, scene=Greys())
    sim.rig.rail.zero()
    truth = SimulatedTruth(sim, config.camera)
    return Subject(sim.rig.camera, config.camera, clock, signals.stop, truth, give_back=sim.rig.rail.close)


def real(config: Config, factory: Factory) -> Subject:
    """Open the camera of a file on this machine, as the daemon does."""
    clock, stop = SystemClock(), Halt()
    return Subject(app.build_camera(config, factory, clock, stop), config.camera, clock, stop, slack_s=1.0)
