"""The hardware together, as the runner sees it: a rail, a camera, and what a frame is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from focusd.job import JobSettings
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image
from focusd.rail import Rail


@dataclass(frozen=True, slots=True)
class Exposure:
    """One opening of the shutter.

    Parameters
    ----------
    index : int
        Counted by the camera from 0 in each stack.
    opened_s, closed_s : float
        Rig time (monotonic) between which the shutter was open for certain: it opened no earlier than the
        first and had closed by the second.
    exposure_s : float or None
        Length of the exposure itself, where known.
    at : datetime
        Time of day, UTC.
    """

    index: int
    opened_s: float
    closed_s: float
    exposure_s: float | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Frame:
    """A photograph and where it was taken.

    Parameters
    ----------
    name : str
        For messages and the record.
    exposure : Exposure
        When it was taken.
    image : ndarray, Planes or None
        uint8 or uint16, (rows, columns) or (rows, columns, 3) BGR; or luma and half-resolution colour; None
        while still encoded.
    encoded : bytes or None
        The file's bytes, decoded later on another thread than the rig's.
    """

    name: str
    exposure: Exposure
    image: Image | Planes | None = None
    encoded: bytes | None = None


@dataclass(frozen=True, slots=True)
class Shot:
    """Which picture of a stack a frame is.

    Parameters
    ----------
    stop_index : int
        Of the plan, from 0.
    number : int
        Among the exposures of its stop, from 0. A shot that is taken again keeps its number.
    planned_um, position_um : float
        Where the stop should be, and where the rail's steps put it.
    light : str or None
        The light it was taken by; None where lights do not take turns.
    """

    stop_index: int
    number: int
    planned_um: float
    position_um: float
    light: str | None = None


class Lights(Protocol):
    """Lamps on pins. Used by the job thread only."""

    def begin(self) -> float:
        """Switch on what burns for a whole job; return the longest warm-up among it, s."""
        ...

    def turn_on(self, name: str | None) -> float:
        """Switch on what burns for a shot: one light alone, or all of them (None); return the warm-up, s."""
        ...

    def turn_off(self) -> None:
        """Switch off what burns for a shot."""
        ...

    def end(self) -> None:
        """All off. Safe to call at any time, more than once."""
        ...

    def close(self) -> None:
        """All off, and give the pins back."""
        ...


class Camera(Protocol):
    """Takes photographs. Used by the job thread only; every wait wakes on the emergency stop."""

    def begin(self, settings: JobSettings) -> None:
        """Get ready for a stack: wake up, lock exposure, forget earlier frames.

        Raises
        ------
        CameraError
            The camera does not answer.
        """
        ...

    def expose(self) -> Exposure:
        """Open the shutter; return when it has closed and the carriage may move again.

        Raises
        ------
        ExposureTimeout
            No exposure within the camera's deadline.
        Stopped
            The emergency stop was pressed meanwhile.
        """
        ...

    def collect(self, exposure: Exposure) -> Frame | None:
        """Wait for the frame of the last exposure, while the carriage may already be moving.

        Returns
        -------
        Frame or None
            None from a camera whose frames do not come to this machine.

        Raises
        ------
        FrameLost
            No usable frame within the camera's deadline.
        Stopped
            The emergency stop was pressed meanwhile.
        """
        ...

    def has_frame(self) -> bool:
        """Whether `collect` would return at once; if so it is called before the carriage moves on."""
        ...

    def end(self) -> None:
        """Finish a stack: let go of every line and buffer. Safe to call at any time, more than once."""
        ...

    def close(self) -> None:
        """Give the hardware back."""
        ...

    def stop_s(self, settings: JobSettings) -> float:
        """Return the time that the exposures of one stop take, s; for estimates."""
        ...


@dataclass(frozen=True, slots=True)
class Rig:
    """The hardware of one instrument; owned by the job thread, exclusively.

    Parameters
    ----------
    rail, camera
        The parts.
    lights : Lights, optional
        Where there are any.
    witness : callable, optional
        Asked once after each stack for what an observer outside the daemon saw (the simulator's truth);
        goes into the run's record as it is.
    """

    rail: Rail
    camera: Camera
    lights: Lights | None = None
    witness: Callable[[], dict[str, Any]] | None = None

    def make_safe(self) -> None:
        """Motor off, camera lines released, lights off. Safe to call at any time, more than once."""
        try:
            self.rail.release()
        finally:
            try:
                self.camera.end()
            finally:
                if self.lights is not None:
                    self.lights.end()

    def close(self) -> None:
        """Make safe and give the hardware back."""
        try:
            self.make_safe()
        finally:
            try:
                self.rail.close()
            finally:
                try:
                    self.camera.close()
                finally:
                    if self.lights is not None:
                        self.lights.close()
