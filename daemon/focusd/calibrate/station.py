"""The rig at work for a calibration: go there, wait, photograph; and what comes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from focusd.clock import Clock
from focusd.errors import CameraError, ExposureTimeout, FrameLost, NotHomed, Stopped
from focusd.focus.tiles import Numbers, Plane, brightness
from focusd.halt import Halt
from focusd.job import JobSettings
from focusd.pictures.images import decode_image
from focusd.pictures.planes import Planes
from focusd.pictures.raw import RawRendering
from focusd.rail_spec import Reach
from focusd.rig import Exposure, Rig

log = logging.getLogger(__name__)

_TRIES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One photograph.

    Parameters
    ----------
    frame : ndarray of float32, (rows, cols)
        Brightness, levels of 255.
    asked_s : float
        Rig time at which the camera was asked for it.
    exposure : Exposure
        When the shutter was open, as far as the camera tells.
    """

    frame: Plane
    asked_s: float
    exposure: Exposure


@dataclass(frozen=True, slots=True)
class Finding:
    """What a calibration found.

    Parameters
    ----------
    summary : tuple of str
        For a person, one line each.
    proposed : dict of str to dict
        Section of the configuration, key and value: what to change.
    numbers : dict
        Everything measured, of JSON's own types.
    draw : callable
        Draws the plot into a PNG file.
    """

    summary: tuple[str, ...]
    proposed: dict[str, dict[str, float]]
    numbers: dict[str, Any]
    draw: Callable[[Path], None]


class Station:
    """A rig that is moved and photographed with step by step. Used by one thread.

    Parameters
    ----------
    rig : Rig
        Its motor stays on between the moves.
    clock : Clock
        The rig's.
    stop : Halt
        Ends every wait and every move.
    centre_um : float
        Rail position that the subject is in focus at.
    """

    def __init__(self, rig: Rig, clock: Clock, stop: Halt, centre_um: float) -> None:
        self.centre_um = centre_um
        self.spec = rig.rail.spec
        self._rig = rig
        self._clock = clock
        self._stop = stop
        self._shots = 0
        self._rendering = RawRendering()

    def frame_steps(self, spacing: int, count: int) -> Numbers:
        """Return the steps of `count` frames about the centre, `spacing` steps apart, ascending."""
        first = self.spec.steps_at(self.centre_um) - spacing * (count - 1) // 2
        return first + spacing * np.arange(count, dtype=np.float64)

    def check(self, route: Iterable[tuple[float, Reach]]) -> None:
        """Refuse a route that leaves the rail's limits; moves nothing.

        Raises
        ------
        OutOfTravel
            A position of it, or the run-up before one, is outside the limits.
        """
        for position_um, reach in route:
            # From nowhere known the whole run-up is needed: the worst case.
            self.spec.legs(self.spec.steps_at(position_um), 0, position_um, reach)

    def begin(self, here_um: float | None) -> None:
        """Find the rail's position, go to the centre and wake the camera.

        Parameters
        ----------
        here_um : float or None
            What the operator says of the present place; None to home.

        Raises
        ------
        NotHomed
            Neither an end stop nor the operator's word. Nothing moved.
        RailError, CameraError
            As homing and the camera say.
        """
        rail = self._rig.rail
        if here_um is not None:
            rail.zero(here_um)
        elif self.spec.homing is not None:
            log.info("homing")
            rail.home()
        else:
            raise NotHomed(
                "the rail's position is not known and it has no end stop: drive it to where the subject is "
                "in focus, and say by --here-um which position that is"
            )
        self.go(self.centre_um)
        self._rig.camera.begin(JobSettings())
        lights = self._rig.lights
        if lights is not None:
            self.wait_until(self._clock.now_s() + max(lights.begin(), lights.turn_on(None)))

    def end(self) -> None:
        """Motor off, camera's lines let go."""
        self._rig.make_safe()

    def go(self, position_um: float, reach: Reach | None = None) -> float:
        """Move, and return the rig time of arrival, s; see `Rail.move_to`."""
        self._rig.rail.move_to(position_um, reach)
        return self._clock.now_s()

    def wait_until(self, time_s: float) -> None:
        """Let rig time pass.

        Raises
        ------
        Stopped
            The emergency stop was pressed.
        """
        if not self._clock.sleep(time_s - self._clock.now_s(), self._stop):
            self._rig.rail.distrust()
            raise Stopped("stopped while waiting: the motor is off")

    def photograph_at(self, position_um: float, wait_s: float, reach: Reach | None = None) -> Shot:
        """Go to a position, wait and photograph; again on the spot if the frame is lost.

        Raises
        ------
        CameraError
            No frame in three tries, or the camera's frames do not come to this machine.
        """
        arrived_s = self.go(position_um, reach)
        for tries in range(1, _TRIES + 1):
            self.wait_until(arrived_s + wait_s)
            try:
                return self._photograph()
            except (FrameLost, ExposureTimeout) as error:
                log.warning("%s (try %d of %d)", error, tries, _TRIES)
        raise CameraError(f"{_TRIES} frames in a row are missing: check the camera, then calibrate again")

    def photograph_once(self, position_um: float, wait_s: float) -> Shot | None:
        """As `photograph_at`, but None for a lost frame: a second try would not be soon after the move."""
        arrived_s = self.go(position_um)
        self.wait_until(arrived_s + wait_s)
        try:
            return self._photograph()
        except (FrameLost, ExposureTimeout) as error:
            log.warning("%s; left out", error)
            return None

    def _photograph(self) -> Shot:
        camera = self._rig.camera
        asked_s = self._clock.now_s()
        exposure = camera.expose()
        frame = camera.collect(exposure)
        if frame is None:
            raise CameraError(
                'camera.frames is "none": a calibration looks at the frames; let them come into an inbox'
            )
        image = frame.image
        if image is None:
            image = decode_image(frame.encoded or b"", frame.name, self._rendering)
        elif isinstance(image, Planes):
            image = image.luma
        self._shots += 1
        log.info("frame %d: %s at %g um", self._shots, frame.name, self._rig.rail.position_um)
        return Shot(brightness(image), asked_s, exposure)
