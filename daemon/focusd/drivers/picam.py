"""The Pi's own camera through picamera2, with everything that could wander locked for the stack."""

from __future__ import annotations

import atexit
import logging
import threading
from concurrent.futures import CancelledError
from typing import Any

from focusd.camera_config import Picamera2Config
from focusd.camera_spec import stop_s
from focusd.clock import Clock
from focusd.drivers.picam_frames import Taken, began_s, dng_of, planes_of
from focusd.drivers.picam_setup import configure, controls
from focusd.errors import CameraError, ExposureTimeout, FrameLost, Stopped
from focusd.job import JobSettings
from focusd.rig import Exposure, Frame

log = logging.getLogger(__name__)

_POLL_S = 0.05
_LOCK_FRAMES = 30
_STOP_TIMEOUT_S = 5.0
# Python's float seconds and the sensor's nanoseconds agree to this.
_CLOCK_GRAIN_S = 1e-6


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
    exposure began after `expose` was called (`picam_frames.began_s`; ``capture_request``'s ``flush``), and
    that is checked again on its metadata. Its buffer goes back as soon as its planes are copied, or its raw
    samples written into a DNG.

    A camera that gives no frame in time is stopped and started again before the next exposure. picamera2's
    ``stop`` waits for its event loop for ever, and behind any capture that was given up; here the captures
    are cancelled first and the wait has an end. While a stop has not come through, picamera2 holds its lock:
    nothing is called but the wait. What blocks inside libcamera itself stops every thread of the program, for
    its Python binding keeps the interpreter's lock; against that there is systemd's watchdog alone.

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

    Notes
    -----
    Contiguous memory (CMA) for 4056 x 3040 px, reckoned from the buffers that libcamera makes and not
    measured. Zero 2 W, 3 and 4 (vc4.cpp `allocateBuffers`): four of raw, 12 bits packed, 18.6 MB each, and
    ``buffer_count`` + 1 of YUV420, 18.7 MB each: 112 MB with one, 130 MB with two. Pi 5 (pisp.cpp): eight of
    raw size, 12.3 MB each where compressed and 24.7 MB where not, and ``buffer_count`` + 2: 173 to 272 MB
    with two. One will do where memory is short: frames are dropped while it is away, at the price of a frame
    time or so at each stop. Two is the default; nobody waits for more. With ``files = "dng"`` the raw buffers
    are the same and the picture beside them takes 0.5 MB each: 76 MB, on a Pi 5 100 to 200 MB.

    Shown on the genuine picamera2 with a virtual camera (tests/hardware/picamera2): all of the above but what
    that camera lacks. Untested off hardware are therefore the raw stream and ``save_dng``, which the
    simulator's stand-in alone has; ScalerCrop, which is left as it is; and rows padded in memory, which the
    stand-in has and the virtual camera has not.
    """

    def __init__(self, config: Picamera2Config, camera: Any, clock: Clock, stop: threading.Event) -> None:
        self._config = config
        self._camera = camera
        self._clock = clock
        self._stop = stop
        self._index = 0
        self._frame: Frame | None = None
        self._first: Taken | None = None
        self._running = False
        self._suspect = False
        self._stopping: Any = None

    def begin(self, settings: JobSettings) -> None:
        """Start the camera and wait until the lock has taken hold; see `Camera.begin`."""
        del settings
        self._index = 0
        self._frame = self._first = None
        if not self._running:
            configure(self._camera, self._config)
            self._start()
        elif self._suspect:
            self._restart()
        self._await_lock()

    def expose(self) -> Exposure:
        """Take the first frame begun from now on; see `Camera.expose`."""
        if self._suspect:
            self._restart()
            self._await_lock()
        opened_s, at = self._clock.now_s(), self._clock.wall()
        is_raw = self._config.files == "dng"
        name = f"frame {self._index}" + (".dng" if is_raw else "")
        request = self._next(opened_s)
        try:
            metadata = request.get_metadata()
            taken = Taken.of(metadata)
            unlocked = self._unlocked(taken)
            if unlocked:
                raise FrameLost(f"{name}: {unlocked}: the exposure lock did not hold")
            self._check_time(name, began_s(metadata, taken.exposure_s), opened_s)
            encoded = dng_of(request) if is_raw else None
            array = None if is_raw else request.make_array("main")
        finally:
            request.release()
        size = self._config.frame_size
        exposure = Exposure(self._index, opened_s, self._clock.now_s(), taken.exposure_s, at)
        image = None if array is None else planes_of(array, size.width, size.height)
        self._frame = Frame(name, exposure, image=image, encoded=encoded)
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
        """Stop the camera; its buffers are free. One that will not stop is left alone after 5 s."""
        self._frame = None
        if self._running and not self._halted():
            log.error("the camera does not stop within %g s; the next stack will try again", _STOP_TIMEOUT_S)

    def close(self) -> None:
        """Stop and give the camera back; one that will not stop is left to the end of the process."""
        self.end()
        if self._running:
            # It would wait for the same stop when Python exits.
            atexit.unregister(self._camera.close)
            return
        self._camera.close()

    def stop_s(self, settings: JobSettings) -> float:
        """Time that the exposures of one stop take, s."""
        return stop_s(self._config, settings)

    def _start(self) -> None:
        self._camera.set_controls(controls(self._camera, self._config))
        self._camera.start()
        self._running, self._suspect = True, False

    def _restart(self) -> None:
        """Stop and start a camera that gave no frame.

        Raises
        ------
        ExposureTimeout
            It does not stop.
        """
        if not self._halted():
            raise ExposureTimeout(
                f"the camera gives no frames and does not stop within {_STOP_TIMEOUT_S:g} s; check its "
                "cable, then restart focusd",
                timeout_s=_STOP_TIMEOUT_S,
            )
        log.warning("the camera gave no frame in time: it was stopped and is started again")
        self._start()

    def _halted(self) -> bool:
        """Ask the camera to stop, unless that was done, and wait; whether it has."""
        if self._stopping is None:
            # The event loop takes its jobs in order, and a capture's turn is over when a frame has come.
            self._camera.cancel_all_and_flush()
            self._stopping = self._camera.dispatch_functions([self._camera.stop_], wait=False, immediate=True)
        self._suspect = True
        deadline_s = self._clock.now_s() + _STOP_TIMEOUT_S
        while True:
            self._clock.sleep(0.0)  # a sign of life
            try:
                self._camera.wait(self._stopping, timeout=_POLL_S)
            except TimeoutError:
                if self._clock.now_s() >= deadline_s:
                    return False
            except Exception as error:  # noqa: BLE001  # libcamera's own: whatever it is, it has been stopped
                log.warning("stopping the camera: %s", error)
                break
            else:
                break
        self._stopping, self._running = None, False
        return True

    def _await_lock(self) -> None:
        """Let frames pass until one is taken as set; the rest of the stack must be like the first.

        Raises
        ------
        CameraError
            None of thirty is.
        """
        for _ in range(_LOCK_FRAMES):
            request = self._next(0.0)
            try:
                taken = Taken.of(request.get_metadata())
            finally:
                request.release()
            unlocked = self._unlocked(taken)
            if not unlocked:
                self._first = self._first or taken
                return
        raise CameraError(f"after {_LOCK_FRAMES} frames the camera still shows {unlocked}")

    def _unlocked(self, taken: Taken) -> str:
        """Say what differs from the lock; empty when nothing does."""
        return taken.unlike_set(Taken.wanted(self._config)) or (
            taken.unlike_first(self._first) if self._first is not None else ""
        )

    def _check_time(self, name: str, begin_s: float, opened_s: float) -> None:
        if opened_s - _CLOCK_GRAIN_S <= begin_s <= self._clock.now_s():
            return
        raise FrameLost(
            f"{name} began {begin_s - opened_s:+.4f} s from when it was asked for, and came "
            f"{self._clock.now_s() - opened_s:.4f} s after: it may show the move; is the sensor's clock the "
            "machine's?",
            began_s=begin_s,
            asked_s=opened_s,
        )

    def _next(self, after_s: float) -> Any:
        """Wait for the next request whose exposure began at `after_s` or later.

        Raises
        ------
        ExposureTimeout
            None came in time; the camera is started anew before the next is asked for.
        CameraError
            picamera2 says so.
        Stopped
            The emergency stop was pressed.
        """
        deadline_s = self._clock.now_s() + self._config.frame_timeout_s
        if not self._clock.sleep(0.0, self._stop):
            raise Stopped("the emergency stop was pressed before a frame was asked for")
        job = self._camera.capture_request(wait=False, flush=round(after_s * 1e9))
        while True:
            try:
                return self._camera.wait(job, timeout=_POLL_S)
            except TimeoutError as error:
                # The job is still queued and would swallow a frame: a stop of the camera cancels it.
                # Sleeping is a sign of life as well: picamera2 does the waiting.
                if not self._clock.sleep(0.0, self._stop):
                    self._suspect = True
                    raise Stopped("the emergency stop was pressed while waiting for a frame") from error
                if self._clock.now_s() >= deadline_s:
                    self._suspect = True
                    raise ExposureTimeout(
                        f"the camera gave no frame within {self._config.frame_timeout_s:g} s; check its "
                        "cable, or raise camera.frame_timeout_s",
                        timeout_s=self._config.frame_timeout_s,
                    ) from error
            except (KeyError, RuntimeError, OSError, CancelledError) as error:
                self._suspect = True
                raise CameraError(f"picamera2 gave no frame: {error!r}") from error
