"""A camera under examination: what is asked of it, and what is truly the case with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from focusd.camera_config import CameraConfig, DslrConfig, Gphoto2Config, Picamera2Config
from focusd.clock import Clock
from focusd.halt import Halt
from focusd.job import JobSettings
from focusd.pictures.images import decode_frame
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image
from focusd.rig import Camera, Exposure, Frame
from focusd_sim.clock import VirtualClock

# A contact is listened to for longer than the exposure should take, by half a second and a tenth.
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Opening:
    """An exposure as it truly was: rig times of its beginning and end, s, and where the carriage was."""

    opened_s: float
    closed_s: float
    place: float


class Truth(Protocol):
    """What is truly the case with a camera.

    Places are numbers that a picture shows: levels of grey, or um. No two within eleven moves are the same.
    """

    late_s: float
    """How long after its exposure a late frame comes, at least; s."""
    within: float
    """How exactly a picture shows its place."""
    within_s: float
    """How exactly the times of an opening are known; s."""

    @property
    def place(self) -> float:
        """What a picture taken here and now would show."""
        ...

    @property
    def openings(self) -> int:
        """How often the shutter opened so far; without a meaning where frames run all the time."""
        ...

    @property
    def is_released(self) -> bool:
        """Whether nothing presses the camera's buttons."""
        ...

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing runs and no session is open; that is asked of cameras that were ended."""
        ...

    def move(self) -> None:
        """Go somewhere else."""
        ...

    def shown(self, frame: Frame) -> float:
        """Return the place that a frame shows."""
        ...

    def opening(self, frame: Frame | None) -> Opening:
        """Return the exposure of a frame; the last one, where there are no frames."""
        ...

    def trouble(self, kind: str) -> AbstractContextManager[None]:
        """Have something go wrong with what is exposed meanwhile.

        ``hung``: the camera does nothing at all. ``lost``: the frame never comes, ``late``: long after its
        time, ``double``: twice, ``torn``: half of it.
        """
        ...


@dataclass
class Subject:
    """A camera under examination; the truth with it where there is one.

    Attributes
    ----------
    slack_s : float
        What a busy machine may add to any time; 0 on virtual time.
    """

    camera: Camera
    config: CameraConfig
    clock: Clock
    stop: Halt
    truth: Truth | None = None
    slack_s: float = 0.0
    give_back: Callable[[], None] = lambda: None
    closed: bool = False
    _timers: list[threading.Timer] = field(default_factory=list)

    @property
    def streams(self) -> bool:
        """Whether frames run all the time, so that nothing is exposed on demand."""
        return isinstance(self.config, Picamera2Config)

    @property
    def has_frames(self) -> bool:
        """Whether its frames come to this machine."""
        return not (isinstance(self.config, DslrConfig) and self.config.frames == "none")

    @property
    def deadline_s(self) -> float:
        """Longest time that an exposure, or the wait for its frame, may take when all was well before."""
        estimate_s = self.camera.stop_s(JobSettings())
        return self.config.frame_timeout_s + estimate_s + _PATIENCE_S + self.slack_s

    def shoot(self) -> tuple[Exposure, Frame | None]:
        """Expose and collect, as the runner does when it stays."""
        exposure = self.camera.expose()
        self.camera.has_frame()
        return exposure, self.camera.collect(exposure)

    def lasting(self) -> AbstractContextManager[None]:
        """Have the next exposure last, where it might be over before anything can happen meanwhile."""
        known = not isinstance(self.config, Gphoto2Config) or self.config.exposure_s is not None
        if self.truth is None or (known and not self.streams):
            return nullcontext()
        return self.truth.trouble("hung")

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen in rig time while the camera is at work."""
        if isinstance(self.clock, VirtualClock):
            self.clock.call_at(self.clock.now_s() + seconds, action)
        else:
            self._timers.append(threading.Timer(seconds, action))
            self._timers[-1].start()

    def close(self) -> None:
        """Give everything back; once is enough."""
        for timer in self._timers:
            timer.cancel()
        if not self.closed:
            self.closed = True
            self.stop.clear()
            self.camera.close()
            self.give_back()


def picture_of(frame: Frame) -> Image | Planes:
    """Return what a frame shows, decoded."""
    if frame.image is not None:
        return frame.image
    assert frame.encoded is not None
    return decode_frame(frame.encoded, frame.name)


def grey_of(frame: Frame) -> float:
    """Return a frame's level, 0 to 255."""
    picture = picture_of(frame)
    samples = picture.luma if isinstance(picture, Planes) else picture
    return float(np.median(samples)) * 255 / np.iinfo(samples.dtype).max


def places() -> Iterator[float]:
    """Yield places, in um or levels from a middle, of which eleven in a row are 20 or more apart."""
    number = 0
    while True:
        number += 1
        yield ((number * 7) % 11 - 5) * 20.0
