"""A camera on its release socket: two lines that press half and whole, through optocouplers.

One exposure: wait for the camera's turn, press half, with mirror lock-up press once for the mirror and wait,
press, and wait until the shutter has closed. Without a flash contact that is the longest time it can take;
with one, the contact says when the shutter opened, and whether it did at all.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from gpiozero import DigitalOutputDevice
from gpiozero.pins import Factory

from focusd.camera_config import DslrConfig
from focusd.camera_spec import ShotTiming, stop_s
from focusd.clock import Clock
from focusd.drivers.inbox import Inbox
from focusd.drivers.sync_contact import SyncContact
from focusd.errors import CameraError, ExposureTimeout, FrameLost, Stopped
from focusd.job import JobSettings
from focusd.rig import Exposure, Frame

log = logging.getLogger(__name__)

# Cameras let a mirror down again half a minute after it was lifted.
_MIRROR_UP_S = 31.0


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
        self._free_at_s = self._used_s = clock.now_s()
        self._next_release_s = float("-inf")
        self._pressed_s = self._mirror_up_until_s = float("-inf")
        self._awaited: Exposure | None = None
        self._strays_told = 0
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
        self._contact = (
            None
            if config.feedback_pin is None
            else SyncContact(
                config.feedback_pin, config.feedback_active, config.feedback_pull, factory, clock
            )
        )

    def begin(self, settings: JobSettings) -> None:
        """Wake the camera and forget the frames of earlier stacks; see `Camera.begin`."""
        self._index = 0
        self._awaited = None
        self._timing = ShotTiming.of(self._config, settings)
        if self._inbox is not None:
            self._inbox.forget_present()
        if self._contact is not None:
            self._contact.rest(self._timing, self._pressed_s, self._wait)
            if self._contact.is_made:
                raise CameraError(
                    f"the camera's flash contact on pin {self._contact.line} is made although nothing is "
                    "exposed; check the cable, camera.feedback_active and camera.feedback_pull",
                    feedback_pin=self._contact.line,
                )
            # Whoever took photographs by hand between two stacks need not hear of it.
            self._contact.forget()
            self._strays_told = 0
        self._wake()

    def expose(self) -> Exposure:
        """Press half, (mirror,) press whole, wait for the shutter to close; see `Camera.expose`."""
        if self._inbox is not None:
            # Whatever came since the last frame is late or doubled: it must not pass for this exposure's.
            self._inbox.discard_late(self._config.frame_timeout_s)
        self._tell_strays()
        try:
            self._awaited = self._expose()
            return self._awaited
        except ExposureTimeout:
            self._wait(self._timing.post_s)
            raise
        finally:
            self._let_go()
            self._used_s = self._clock.now_s()
            self._free_at_s = max(self._used_s, self._shut_at_s) + self._timing.gap_s

    def collect(self, exposure: Exposure) -> Frame | None:
        """Wait for the file of the last exposure; see `Camera.collect`."""
        if self._inbox is None:
            return None
        if exposure is not self._awaited:
            raise FrameLost(f"frame {exposure.index}: its stack is over, or it was collected before")
        self._awaited = None
        name, data = self._inbox.take(self._config.frame_timeout_s)
        return Frame(name, exposure, encoded=data)

    def has_frame(self) -> bool:
        """Whether `collect` would return at once."""
        return self._inbox is None or self._inbox.is_ready()

    def end(self) -> None:
        """Let both lines go; no frame is awaited any more."""
        self._awaited = None
        self._let_go()

    def close(self) -> None:
        """Let both lines go and give the pins back; once is enough."""
        self.end()
        self._release.close()
        if self._focus is not None:
            self._focus.close()
        if self._contact is not None:
            self._contact.close()
        if self._inbox is not None:
            self._inbox.close()

    def stop_s(self, settings: JobSettings) -> float:
        """Time that the exposures of one stop take, s."""
        return stop_s(self._config, settings)

    # One exposure.

    def _expose(self) -> Exposure:
        clock, timing = self._clock, self._timing
        if clock.now_s() - self._used_s >= self._config.wake_after_s:
            self._wake()
        # Behind a mirror that was lifted for an exposure that was given up, the first press would expose.
        turn_s = max(self._free_at_s, self._next_release_s - timing.lead_s, self._mirror_up_until_s)
        self._wait(turn_s - clock.now_s())
        if self._contact is not None:
            self._contact.rest(timing, clock.now_s(), self._wait)  # it may be exposing by itself
        if self._focus is not None:
            self._focus.on()
            self._wait(timing.half_s)
        if timing.lockup_s:
            self._lift_mirror()
        pressed_s, at = clock.now_s(), clock.wall()
        self._next_release_s = pressed_s + timing.min_interval_s
        self._note_opening(pressed_s)
        self._pressed_s = pressed_s
        self._press(timing.hold_s)
        self._mirror_up_until_s = float("-inf")
        if self._contact is None:
            self._wait(pressed_s + timing.lag_s + timing.exposure_s - clock.now_s())
            self._wait(timing.post_s)
            opened_s, closed_s = pressed_s, clock.now_s()
        else:
            opened_s, closed_s = self._contact.follow(timing, pressed_s, self._wait)
            self._wait(closed_s + timing.post_s - clock.now_s())
        at += timedelta(seconds=opened_s - pressed_s)
        exposure = Exposure(self._index, opened_s, closed_s, timing.exposure_s, at)
        self._index += 1
        return exposure

    def _lift_mirror(self) -> None:
        """Press for the mirror alone, and let it come to rest."""
        timing, contact, pressed_s = self._timing, self._contact, self._clock.now_s()
        self._mirror_up_until_s = pressed_s + _MIRROR_UP_S
        self._press(timing.press_s)
        self._wait(timing.lockup_s)
        closure = None if contact is None else contact.take(pressed_s)
        if contact is None or closure is None:
            return
        # Another press would lift the mirror, and from then on each exposure would come a press late.
        self._note_opening(pressed_s)
        contact.outlast(closure, timing, pressed_s, self._wait)
        self._mirror_up_until_s = float("-inf")
        raise ExposureTimeout(
            "the camera exposed at the press that is to lift its mirror: a press was lost before, or mirror "
            "lock-up is off in the camera; switch it on there, or set camera.mirror_lockup_s to 0",
            mirror_lockup_s=timing.lockup_s,
        )

    def _note_opening(self, pressed_s: float) -> None:
        # By the press even where the contact tells more: a clock is learnt from what is always alike.
        if self._inbox is not None:
            self._inbox.opened(pressed_s)

    def _tell_strays(self) -> None:
        if self._contact is not None and (strays := self._contact.strays) > self._strays_told:
            log.warning(
                "the camera's flash contact made %d x when nothing was pressed: the camera exposes by "
                "itself, or the cable is bad",
                strays - self._strays_told,
            )
            self._strays_told = strays

    @property
    def _shut_at_s(self) -> float:
        """When the shutter of the last press will have closed; a stop does not close it."""
        timing = self._timing
        # What is let go closes a bulb's.
        return self._pressed_s + timing.lag_s + (0.0 if timing.bulb else timing.exposure_s)

    # The lines.

    def _wake(self) -> None:
        if self._config.wake_s and self._focus is not None:
            self._focus.on()
            self._wait(self._config.wake_s)
            self._focus.off()
            self._used_s = self._clock.now_s()

    def _let_go(self) -> None:
        if self._release.closed:
            return
        self._release.off()
        if self._focus is not None:
            self._focus.off()

    def _press(self, seconds: float) -> None:
        self._release.on()
        self._wait(seconds)
        self._release.off()

    def _wait(self, seconds: float) -> None:
        if not self._clock.sleep(seconds, self._stop):
            self._let_go()
            raise Stopped(
                "the emergency stop was pressed during an exposure; the camera's lines are released"
            )
