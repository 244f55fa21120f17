"""The Pi's own camera through picamera2, with everything that could wander locked for the stack."""

from __future__ import annotations

import threading
from typing import Any

from focusd.camera_spec import stop_s
from focusd.clock import Clock
from focusd.config import Picamera2Config
from focusd.errors import CameraError, ExposureTimeout, FrameLost, Stopped
from focusd.job import JobSettings
from focusd.rig import Exposure, Frame

# picamera2's RGB888 is B, G, R in memory: OpenCV's order (picamera2 manual, 4.2.2.2).
_FORMAT = "RGB888"
# Sensors quantise exposure to lines and gain to register steps.
_EXPOSURE_TOLERANCE = 0.02
_GAIN_TOLERANCE = 0.05
_POLL_S = 0.05
_LOCK_FRAMES = 30


def open_picamera2(index: int) -> Any:
    """Open camera number `index` of the machine.

    Raises
    ------
    CameraError
        picamera2 is not installed, or there is no such camera.
    """
    try:
        from picamera2 import Picamera2
    except ImportError as error:
        raise CameraError(
            "picamera2 is not installed here: apt install python3-picamera2, and make the venv with "
            "--system-site-packages"
        ) from error
    try:
        return Picamera2(index)
    except (RuntimeError, IndexError) as error:
        raise CameraError(
            f"camera {index} cannot be opened: {error}; see `rpicam-hello --list-cameras`"
        ) from error


class PiCamera:
    """A Pi camera whose every frame began after the carriage came to rest.

    Frames run all the time, so the next buffer to arrive may show the move; the one taken is the first whose
    exposure began after `expose` was called, by the sensor's own time stamp less the exposure time
    (`Picamera2.capture_request`'s ``flush``), and that is checked again on its metadata.

    Parameters
    ----------
    config : Picamera2Config
        Size, exposure, gain, white balance and focus.
    camera : Picamera2
        Open and not configured.
    clock : Clock
        The rig's; the time stamps must be on it (CLOCK_MONOTONIC).
    stop : threading.Event
        The emergency stop; wakes every wait.
    """

    def __init__(self, config: Picamera2Config, camera: Any, clock: Clock, stop: threading.Event) -> None:
        self._config = config
        self._camera = camera
        self._clock = clock
        self._stop = stop
        self._index = 0
        self._frame: Frame | None = None
        self._running = False

    def begin(self, settings: JobSettings) -> None:
        """Start the camera and wait until the lock has taken hold; see `Camera.begin`."""
        del settings
        self._index = 0
        self._frame = None
        if not self._running:
            size = (self._config.frame_size.width, self._config.frame_size.height)
            self._camera.configure(
                self._camera.create_still_configuration(
                    main={"size": size, "format": _FORMAT}, buffer_count=self._config.buffer_count
                )
            )
            got = self._camera.camera_configuration()["main"]
            if (tuple(got["size"]), got["format"]) != (size, _FORMAT):
                raise CameraError(
                    f"the camera gives {got['size']} {got['format']} instead of {size} {_FORMAT}; set "
                    "camera.frame_size to a size it has"
                )
            self._camera.set_controls(self._controls())
            self._camera.start()
            self._running = True
        for _ in range(_LOCK_FRAMES):
            request = self._next(0.0)
            metadata = request.get_metadata()
            request.release()
            if not self._unlocked(metadata):
                return
        raise CameraError(f"after {_LOCK_FRAMES} frames the camera still shows {self._unlocked(metadata)}")

    def expose(self) -> Exposure:
        """Take the first frame begun from now on; see `Camera.expose`."""
        opened_s, at = self._clock.now_s(), self._clock.wall()
        request = self._next(opened_s)
        try:
            metadata = request.get_metadata()
            unlocked = self._unlocked(metadata)
            if unlocked:
                raise FrameLost(f"frame {self._index}: {unlocked}: the exposure lock did not hold")
            image = request.make_array("main")
        finally:
            request.release()
        exposure_s = metadata["ExposureTime"] * 1e-6
        began_s = metadata["SensorTimestamp"] * 1e-9 - exposure_s
        if began_s < opened_s - 1e-6:
            raise FrameLost(
                f"frame {self._index} began {opened_s - began_s:.4f} s before it was asked for: it may show "
                "the move; is the sensor's clock the machine's?"
            )
        exposure = Exposure(self._index, opened_s, self._clock.now_s(), exposure_s, at)
        self._frame = Frame(f"frame {self._index}", exposure, image=image)
        self._index += 1
        return exposure

    def collect(self, exposure: Exposure) -> Frame | None:
        """Return the frame of the last exposure; see `Camera.collect`."""
        frame, self._frame = self._frame, None
        if frame is None or frame.exposure is not exposure:
            raise FrameLost(f"frame {exposure.index} was already collected")
        return frame

    def has_frame(self) -> bool:
        """Whether `collect` would return at once: always, after an exposure."""
        return True

    def end(self) -> None:
        """Stop the camera; its buffers are free."""
        self._frame = None
        if self._running:
            self._running = False
            self._camera.stop()

    def close(self) -> None:
        """Stop and give the camera back."""
        self.end()
        self._camera.close()

    def stop_s(self, settings: JobSettings) -> float:
        """Time that the exposures of one stop take, s."""
        return stop_s(self._config, settings)

    def _controls(self) -> dict[str, Any]:
        config = self._config
        exposure_us = round(config.exposure_s * 1e6)
        controls: dict[str, Any] = {
            "AeEnable": False,
            "AwbEnable": False,
            "ExposureTime": exposure_us,
            "AnalogueGain": config.gain,
            "ColourGains": config.colour_gains,
            "FrameDurationLimits": (exposure_us, max(exposure_us, 33_333)),
        }
        if config.lens_position is not None:
            controls |= {"AfMode": 0, "LensPosition": config.lens_position}
        return {name: value for name, value in controls.items() if name in self._camera.camera_controls}

    def _unlocked(self, metadata: dict[str, Any]) -> str:
        """Say what differs from the lock; empty when nothing does."""
        exposure_s = metadata["ExposureTime"] * 1e-6
        if abs(exposure_s / self._config.exposure_s - 1) > _EXPOSURE_TOLERANCE:
            return f"an exposure of {exposure_s:g} s where {self._config.exposure_s:g} s was set"
        gain = metadata.get("AnalogueGain", self._config.gain)
        if abs(gain / self._config.gain - 1) > _GAIN_TOLERANCE:
            return f"a gain of {gain:g} where {self._config.gain:g} was set"
        return ""

    def _next(self, after_s: float) -> Any:
        """Wait for the next request whose exposure began at `after_s` or later."""
        deadline_s = self._clock.now_s() + self._config.frame_timeout_s
        job = self._camera.capture_request(wait=False, flush=round(after_s * 1e9))
        while True:
            self._clock.sleep(0.0, self._stop)  # a sign of life: picamera2 does the waiting
            try:
                return self._camera.wait(job, timeout=_POLL_S)
            except TimeoutError as error:
                if self._stop.is_set():
                    self._camera.cancel_all_and_flush()
                    raise Stopped("the emergency stop was pressed while waiting for a frame") from error
                if self._clock.now_s() >= deadline_s:
                    self._camera.cancel_all_and_flush()
                    raise ExposureTimeout(
                        f"the camera gave no frame within {self._config.frame_timeout_s:g} s; check its "
                        "cable, or raise camera.frame_timeout_s",
                        timeout_s=self._config.frame_timeout_s,
                    ) from error
