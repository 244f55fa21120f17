"""A stand-in at picamera2's surface: the same calls, the same traps, the simulated scene.

Behaviour as in picamera2 0.3.38 (Picamera2 manual; its ``picamera2.py``, ``request.py``, ``job.py``): frames
run all the time; at most one finished request waits, and it may have begun before the call; ``flush`` takes
the first frame whose exposure began after that time; a job whose caller gave up stays queued and swallows
the next frame until `cancel_all_and_flush`; a stop is a job as well and waits behind it; requests not
released starve the camera. tests/hardware/picamera2 asks the genuine one the same.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focusd_sim import dng
from focusd_sim.clock import VirtualClock
from focusd_sim.config import PicamConfig
from focusd_sim.exposure_control import NEUTRAL_GAINS, ExposureControl, advertised
from focusd_sim.faults import Faults
from focusd_sim.request import Job, Request
from focusd_sim.streams import checked, configuration
from focusd_sim.truth import ExposureTruth
from focusd_sim.view import View

Stream = Mapping[str, Any] | None


@dataclass(slots=True)
class _Call(Job):
    """A job that needs no frame."""

    functions: Sequence[Callable[[], tuple[bool, Any]]] = ()


class SimPicamera2:
    """A simulated Raspberry Pi camera with picamera2's methods. Used by the job thread only.

    Parameters
    ----------
    config : PicamConfig
        Its habits.
    clock : VirtualClock
        Frames run on it.
    view : View
        What it sees.
    faults : Faults
        May hang it or lose a frame.
    seed : int
        Of what wanders.

    Attributes
    ----------
    stop_hangs : bool
        A stop does not come through either while the camera hangs.
    """

    def __init__(
        self, config: PicamConfig, clock: VirtualClock, view: View, faults: Faults, seed: int = 1
    ) -> None:
        self.camera_config: dict[str, Any] = {}
        self.started = False
        self.is_open = True
        self.run = 0
        self.dropped_frames = 0
        self.stop_hangs = False
        self._config = config
        self._clock = clock
        self._view = view
        self._faults = faults
        self._seed = seed
        self._control = ExposureControl(config, seed)
        self._controls = advertised(config)
        self._jobs: list[Job] = []
        self._finished: list[Request] = []
        self._keep = 0
        self._free = 0
        self._frame = 0
        self._reached = -1
        self._hung = False
        faults.on("hang_camera", self._hang)
        faults.claim("lose_frame")

    def __enter__(self) -> SimPicamera2:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def sensor_resolution(self) -> tuple[int, int]:
        """(width, height) of the sensor, px."""
        return self._view.size

    @property
    def camera_properties(self) -> dict[str, Any]:
        """What the sensor is."""
        return {"Model": "focusd_sim", "PixelArraySize": self.sensor_resolution, "ColorFilterArrangement": 0}

    @property
    def camera_controls(self) -> dict[str, tuple[Any, Any, Any]]:
        """Name to (minimum, maximum, default)."""
        return dict(self._controls)

    @property
    def has_lens(self) -> bool:
        """Whether the lens has a focus drive."""
        return "LensPosition" in self._controls

    def create_preview_configuration(
        self, main: Stream = None, raw: Stream = None, **options: Any
    ) -> dict[str, Any]:
        """Make a configuration for watching; see `streams.configuration`."""
        return configuration("preview", self.sensor_resolution, main, options, raw)

    def create_still_configuration(
        self, main: Stream = None, raw: Stream = None, **options: Any
    ) -> dict[str, Any]:
        """Make a configuration for photographs: full size, one buffer."""
        return configuration("still", self.sensor_resolution, main, options, raw)

    def create_video_configuration(
        self, main: Stream = None, raw: Stream = None, **options: Any
    ) -> dict[str, Any]:
        """Make a configuration for film: a fixed rate, video colours."""
        return configuration("video", self.sensor_resolution, main, options, raw)

    def configure(self, camera_config: str | Mapping[str, Any] | None = None) -> None:
        """Take a configuration, or the default one of that name.

        Raises
        ------
        RuntimeError
            While running, or for a format or size the camera cannot give.
        """
        if self.started:
            raise RuntimeError("Camera must be stopped before configuring")
        if camera_config is None or isinstance(camera_config, str):
            camera_config = configuration(camera_config or "preview", self.sensor_resolution, None, {})
        config = self.camera_config = checked(
            camera_config, self._config.stride_align, self.sensor_resolution
        )
        self._keep = 1 if config["queue"] and config["buffer_count"] > 1 else 0
        self._control = ExposureControl(self._config, self._seed)
        self.set_controls(config["controls"])

    def camera_configuration(self) -> dict[str, Any]:
        """Return the configuration as taken, stride included."""
        return self.camera_config

    def stream_configuration(self, name: str = "main") -> dict[str, Any]:
        """Return the configuration of one stream."""
        stream: dict[str, Any] = self.camera_config[name]
        return stream

    def set_controls(self, controls: Mapping[str, Any]) -> None:
        """Ask for controls; they take hold some frames later, or with the first frame if not running.

        Raises
        ------
        RuntimeError
            For a control that is not advertised.
        """
        wanted = dict(controls)
        if "FrameRate" in wanted:
            rate = wanted.pop("FrameRate")
            slow, fast = rate if isinstance(rate, (tuple, list)) else (rate, rate)
            wanted["FrameDurationLimits"] = (int(1_000_000 / fast), int(1_000_000 / slow))
        for name in wanted:
            if name not in self._controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
        for name in ("ExposureTime", "AnalogueGain", "LensPosition"):
            if wanted.get(name):  # 0 means automatic; other values are clamped as libcamera does
                low, high, _ = self._controls[name]
                wanted[name] = min(max(wanted[name], low), high)
        delay = self._config.control_delay_frames if self.started else 0
        self._control.ask(wanted, self._frame + delay)

    def start(self, config: str | Mapping[str, Any] | None = None, show_preview: bool | None = False) -> None:
        """Let frames run; configure first if a configuration is given or none was."""
        del show_preview  # there is nobody to look
        if config is not None or not self.camera_config:
            self.configure(config)
        if self.started:
            return
        self.started = True
        self._free = self.camera_config["buffer_count"]
        run = self.run
        self._clock.call_at(self._clock.now_s(), lambda: self._begin_frame(run))

    def stop(self) -> None:
        """Stop frames, once every job before is done; see `stop_`."""
        if self.started:
            self.dispatch_functions([self.stop_], wait=True, immediate=True)

    def stop_(self) -> tuple[bool, None]:
        """Stop frames; requests still held can be looked at, but their buffers do not come back."""
        if self.started:
            self.started = False
            self.run += 1
            self._finished = []
        return True, None

    def dispatch_functions(
        self,
        functions: Sequence[Callable[[], tuple[bool, Any]]],
        wait: bool | float,
        immediate: bool = False,
    ) -> Any:
        """Have the event loop call `functions`, each of which is done at once, when the jobs before are.

        Without `immediate` it does so when the next frame comes.
        """
        job = _Call(0, lambda request: request, threading.Event(), self._clock, functions=functions)
        self._jobs.append(job)
        if immediate:
            self._serve()
        if not wait:
            return job
        return job.get_result(None if wait is True else wait)

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self.is_open = False
        self.camera_config = {}

    def capture_request(
        self,
        wait: bool | float | None = None,
        signal_function: Callable[[Job], None] | None = None,
        flush: bool | int | None = None,
    ) -> Any:
        """Return the next finished request, or a `Job` for it with ``wait=False``.

        Parameters
        ----------
        wait : bool or float, optional
            True or None waits, False does not, a number waits that many seconds of rig time.
        signal_function : callable, optional
            Called with the job when it is done; then None does not wait either.
        flush : bool or int, optional
            Only a frame begun at this time (ns) or later; True means now.

        Raises
        ------
        TimeoutError
            Not within `wait` seconds.
        """
        if self._view.truth.next_index > self._reached:
            self._reached = self._view.truth.next_index
            self._faults.reach(self._reached)
        after_ns = round(self._clock.now_s() * 1e9) if flush is True else int(flush or 0)
        return self._dispatch(after_ns, lambda request: request, wait, signal_function)

    def capture_metadata(
        self, wait: bool | float | None = None, signal_function: Callable[[Job], None] | None = None
    ) -> Any:
        """Return the metadata of the next finished frame."""

        def finish(request: Request) -> dict[str, Any]:
            metadata = request.get_metadata()
            request.release()
            return metadata

        return self._dispatch(0, finish, wait, signal_function)

    def capture_array(
        self,
        name: str = "main",
        wait: bool | float | None = None,
        signal_function: Callable[[Job], None] | None = None,
    ) -> Any:
        """Return the picture of the next finished frame."""

        def finish(request: Request) -> NDArray[np.uint8]:
            picture = request.make_array(name)
            request.release()
            return picture

        return self._dispatch(0, finish, wait, signal_function)

    @contextlib.contextmanager
    def captured_request(
        self, wait: bool | float | None = None, flush: bool | int | None = None
    ) -> Iterator[Any]:
        """Capture a request and release it afterwards."""
        request = self.capture_request(wait=wait, flush=flush)
        try:
            yield request
        finally:
            request.release()

    def wait(self, job: Job, timeout: float | None = None) -> Any:
        """Wait for a job made with ``wait=False``; see `Job.get_result`."""
        return job.get_result(timeout)

    def cancel_all_and_flush(self) -> None:
        """Forget every queued job."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.cancelled = True
            job.done.set()

    def recycle(self, run: int) -> None:
        """Take a buffer back, unless the camera has been stopped since."""
        if self.started and run == self.run:
            self._free += 1

    def record(self, request: Request) -> ExposureTruth:
        """Record the exposure of `request` as one that was looked at."""
        lens_um = self._config.lens_um_per_dioptre * (request.shot.lens_position - 1.0)
        return self._view.expose(request.opened_s, request.closed_s, lens_um=lens_um)

    def draw(self, request: Request) -> NDArray[np.uint8]:
        """Draw what `request` shows, BGR."""
        red, blue = (
            got / neutral for got, neutral in zip(request.shot.colour_gains, NEUTRAL_GAINS, strict=True)
        )
        return self._view.picture(request.truth, light=self._light(request), colour_gains=(blue, 1.0, red))

    def negative(self, request: Request) -> bytes:
        """Write the sensor's own samples of `request` as a DNG."""
        seen = dng.linear(self._view.picture(request.truth, light=self._light(request)))
        gains = request.shot.colour_gains
        return dng.written(seen, sensor_gains=NEUTRAL_GAINS, as_shot_gains=gains)

    def _light(self, request: Request) -> float:
        return request.shot.exposure_us * request.shot.gain / self._config.light_us

    def _hang(self, begins: bool) -> None:
        self._hung = begins
        if not begins:
            self._serve()

    def _dispatch(
        self,
        after_ns: int,
        finish: Callable[[Request], Any],
        wait: bool | float | None,
        signal_function: Callable[[Job], None] | None,
    ) -> Any:
        if not self.is_open:
            raise RuntimeError("Camera not opened")
        if wait is None:
            wait = signal_function is None
        job = Job(after_ns, finish, threading.Event(), self._clock)
        if signal_function is not None:
            notify, done = signal_function, finish

            def finish_and_signal(request: Request) -> Any:
                job.result = done(request)
                notify(job)
                return job.result

            job.finish = finish_and_signal
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._serve()
        if not wait:
            return job
        return job.get_result(None if wait is True else wait)

    def _serve(self) -> None:
        """Do the jobs in order, as far as there are frames for them; keep at most one of the frames left."""
        while self._jobs:
            job = self._jobs[0]
            if isinstance(job, _Call):
                if self._hung and self.stop_hangs:
                    return
                self._jobs.pop(0)
                for function in job.functions:
                    _, job.result = function()
                job.done.set()
                continue
            if not self._finished:
                return
            request = self._finished.pop(0)
            if job.after_ns and request.began_ns < job.after_ns:
                request.release()
                continue
            self._jobs.pop(0)
            job.result = job.finish(request)
            job.done.set()
        while len(self._finished) > self._keep:
            self._finished.pop(0).release()

    def _begin_frame(self, run: int) -> None:
        """Open the shutter for the next frame; it goes into a buffer if one is free."""
        if run != self.run:
            return
        now_s = self._clock.now_s()
        shot = self._control.shot(self._frame)
        self._frame += 1
        if self._free:
            self._free -= 1
            request = Request(self, run, now_s, shot, self.camera_config)
            ready_s = request.closed_s + (self._config.readout_us + self._config.latency_us) * 1e-6
            self._clock.call_at(ready_s, lambda: self._end_frame(request, run))
        else:
            self.dropped_frames += 1
        self._clock.call_at(now_s + shot.duration_us * 1e-6, lambda: self._begin_frame(run))

    def _end_frame(self, request: Request, run: int) -> None:
        if run != self.run:
            return
        if self._hung or self._faults.take("lose_frame"):
            request.release()
            return
        self._finished.append(request)
        self._serve()
