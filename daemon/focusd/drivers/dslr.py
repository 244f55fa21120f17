"""A camera on its release socket: two lines that press half and whole, through optocouplers."""

from __future__ import annotations

import threading

from gpiozero import DigitalOutputDevice
from gpiozero.pins import Factory

from focusd.camera_config import DslrConfig
from focusd.camera_spec import ShotTiming, stop_s
from focusd.clock import Clock
from focusd.drivers.inbox import Inbox
from focusd.errors import Stopped
from focusd.job import JobSettings
from focusd.rig import Exposure, Frame


class Dslr:
    """A camera released by wire; its frames come through an `Inbox`, or not at all.

    Parameters
    ----------
    config : DslrConfig
        Pins and times.
    factory : gpiozero.pins.Factory
        Where pins come from.
    inbox : Inbox or None
        Where frames arrive; None for ``frames = "none"``.
    clock : Clock
        The rig's.
    stop : threading.Event
        The emergency stop; wakes every wait, and the lines are let go at once.
    """

    def __init__(
        self, config: DslrConfig, factory: Factory, inbox: Inbox | None, clock: Clock, stop: threading.Event
    ) -> None:
        self._config = config
        self._inbox = inbox
        self._clock = clock
        self._stop = stop
        self._index = 0
        self._timing = ShotTiming.of(config, JobSettings())
        self._free_at_s = 0.0
        active_high = config.active == "high"
        self._release = DigitalOutputDevice(
            config.release_pin, active_high=active_high, initial_value=False, pin_factory=factory
        )
        self._focus = (
            None
            if config.focus_pin is None
            else DigitalOutputDevice(
                config.focus_pin, active_high=active_high, initial_value=False, pin_factory=factory
            )
        )

    def begin(self, settings: JobSettings) -> None:
        """Wake the camera and forget the frames of earlier stacks; see `Camera.begin`."""
        self._index = 0
        self._timing = ShotTiming.of(self._config, settings)
        if self._inbox is not None:
            self._inbox.forget_present()
        if self._config.wake_s and self._focus is not None:
            self._focus.on()
            self._wait(self._config.wake_s)
            self._focus.off()

    def expose(self) -> Exposure:
        """Press half, (mirror,) press whole, wait for the shutter to close; see `Camera.expose`."""
        clock, config, timing = self._clock, self._config, self._timing
        if self._inbox is not None:
            # Whatever came since the last frame is late or doubled: it must not pass for this exposure's.
            self._inbox.discard_late()
        self._wait(max(0.0, self._free_at_s - clock.now_s()))
        if self._focus is not None and config.half_press_s:
            self._focus.on()
            self._wait(config.half_press_s)
        if timing.lockup_s:
            self._press(timing.press_s)
            self._wait(timing.lockup_s)
        opened_s, at = clock.now_s(), clock.wall()
        self._press(timing.press_s)
        closes_s = opened_s + config.release_lag_s + config.exposure_s
        self._wait(max(0.0, closes_s - clock.now_s()) + timing.post_s)
        if self._focus is not None:
            self._focus.off()
        self._free_at_s = clock.now_s() + timing.gap_s
        exposure = Exposure(self._index, opened_s, clock.now_s(), config.exposure_s, at)
        self._index += 1
        return exposure

    def collect(self, exposure: Exposure) -> Frame | None:
        """Wait for the file of the last exposure; see `Camera.collect`."""
        if self._inbox is None:
            return None
        name, data = self._inbox.take(self._config.frame_timeout_s)
        return Frame(name, exposure, encoded=data)

    def has_frame(self) -> bool:
        """Whether `collect` would return at once."""
        return self._inbox is None or self._inbox.is_ready()

    def end(self) -> None:
        """Let both lines go."""
        self._release.off()
        if self._focus is not None:
            self._focus.off()

    def close(self) -> None:
        """Let both lines go and give the pins back."""
        self.end()
        self._release.close()
        if self._focus is not None:
            self._focus.close()

    def stop_s(self, settings: JobSettings) -> float:
        """Time that the exposures of one stop take, s."""
        return stop_s(self._config, settings)

    def _press(self, seconds: float) -> None:
        self._release.on()
        self._wait(seconds)
        self._release.off()

    def _wait(self, seconds: float) -> None:
        if not self._clock.sleep(seconds, self._stop):
            self.end()
            raise Stopped(
                "the emergency stop was pressed during an exposure; the camera's lines are released"
            )
