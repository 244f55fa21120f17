"""A finished frame, and the job that waits for one, as picamera2 has them."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd_sim.clock import VirtualClock
from focusd_sim.exposure_control import Shot
from focusd_sim.planes import laid_out
from focusd_sim.truth import ExposureTruth

# A wait without a deadline on a camera that gives nothing would last for ever, in no time at all.
_FOR_EVER_S = 3600.0


class Source(Protocol):
    """The camera a request belongs to."""

    @property
    def has_lens(self) -> bool:
        """Whether the lens has a focus drive."""
        ...

    def recycle(self, run: int) -> None:
        """Take a buffer back, unless the camera has been stopped since `run`."""
        ...

    def record(self, request: Request) -> ExposureTruth:
        """Record the exposure of `request` as one that was looked at."""
        ...

    def draw(self, request: Request) -> NDArray[np.uint8]:
        """Draw what `request` shows, BGR."""
        ...

    def negative(self, request: Request) -> bytes:
        """Write the sensor's own samples of `request` as a DNG."""
        ...


@dataclass(slots=True)
class Job:
    """A capture that waits for its frame.

    Parameters
    ----------
    after_ns : int
        Only a frame whose exposure began at this time or later will do; 0 takes any.
    finish : callable
        Turns the request into the result.
    """

    after_ns: int
    finish: Callable[[Request], Any]
    done: threading.Event
    clock: VirtualClock
    result: Any = None
    cancelled: bool = False

    def get_result(self, timeout: float | None = None) -> Any:
        """Wait for the result, in rig time.

        Raises
        ------
        TimeoutError
            Not within `timeout` seconds. The job stays queued, as in picamera2.
        CancelledError
            By `SimPicamera2.cancel_all_and_flush`.
        RuntimeError
            Without a timeout, when no frame has come for an hour.
        """
        if not self.done.is_set():
            self.clock.sleep(_FOR_EVER_S if timeout is None else timeout, self.done)
        if self.cancelled:
            raise CancelledError
        if self.done.is_set():
            return self.result
        if timeout is None:
            raise RuntimeError("no frame in an hour of rig time: the camera is stopped, starved or hung")
        raise TimeoutError


class Request:
    """A finished frame in one of the camera's buffers; drawn when it is looked at."""

    def __init__(self, camera: Source, run: int, opened_s: float, shot: Shot, config: dict[str, Any]) -> None:
        self.config = config
        self.shot = shot
        self.opened_s = opened_s
        self.closed_s = opened_s + shot.exposure_us * 1e-6
        self._camera = camera
        self._run = run
        self._references = 1
        self._truth: ExposureTruth | None = None

    @property
    def began_ns(self) -> int:
        """Start of the exposure as picamera2 reckons it from the metadata, ns of rig time."""
        return round(self.closed_s * 1e9) - 1000 * self.shot.exposure_us

    @property
    def truth(self) -> ExposureTruth:
        """The exposure as it truly was; recorded when first asked for."""
        if self._truth is None:
            self._truth = self._camera.record(self)
        return self._truth

    def acquire(self) -> None:
        """Hold it once more."""
        if self._references == 0:
            raise RuntimeError("CompletedRequest: acquiring lock with ref_count 0")
        self._references += 1

    def release(self) -> None:
        """Let go; the last one gives the buffer back to the camera."""
        self._references -= 1
        if self._references < 0:
            raise RuntimeError("CompletedRequest: lock now has negative ref_count")
        if self._references == 0:
            self._camera.recycle(self._run)

    def get_metadata(self) -> dict[str, Any]:
        """Return what the frame was taken with; SensorTimestamp is the exposure's end, ns of rig time."""
        self._check_held()
        shot = self.shot
        return {
            "SensorTimestamp": round(self.closed_s * 1e9),
            "ExposureTime": shot.exposure_us,
            "AnalogueGain": shot.gain,
            "DigitalGain": 1.0,
            "ColourGains": shot.colour_gains,
            "FrameDuration": shot.duration_us,
            **({"LensPosition": shot.lens_position} if self._camera.has_lens else {}),
        }

    def make_array(self, name: str) -> NDArray[np.uint8]:
        """Return a copy of the stream's picture, laid out as picamera2 does; see `planes.laid_out`."""
        self._check_held()
        stream = self.config.get(name)
        if stream is None:
            raise RuntimeError(f"Stream {name!r} is not defined")
        bgr = self._camera.draw(self)
        if bgr.shape[1::-1] != stream["size"]:
            bgr = np.asarray(cv2.resize(bgr, stream["size"], interpolation=cv2.INTER_AREA), np.uint8)
        return laid_out(bgr, stream["format"], stream["stride"], str(self.config["colour_space"]))

    def save_dng(self, file_output: Any, name: str = "raw") -> None:
        """Write the raw stream's samples as a DNG into an ``io.BytesIO``, or a file of that name."""
        self._check_held()
        if self.config.get(name) is None:
            raise RuntimeError(f"Stream {name!r} is not defined")
        data = self._camera.negative(self)
        if isinstance(file_output, io.BytesIO):
            file_output.write(data)
        else:
            Path(str(file_output)).write_bytes(data)

    def _check_held(self) -> None:
        if self._references <= 0:
            raise RuntimeError("the request was released: its buffer may hold another frame already")
