"""A camera's flash contact (hot shoe, PC socket), which tells that the shutter really opened, and when.

An X contact makes when the first curtain has arrived. It breaks when the second one sets off, or some
milliseconds after it made: that is the camera's choice, so an early break says nothing about the exposure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gpiozero import InputDevice
from gpiozero.pins import Factory

from focusd.camera_spec import ShotTiming
from focusd.clock import Clock
from focusd.errors import ExposureTimeout

# A contact that makes again this soon after it broke has bounced.
_BOUNCE_S = 0.02
# A time stamp older than this is on another clock than the rig's: kernels before 5.7 used the time of day.
_STALE_S = 5.0
_MOST_KEPT = 16
# The contact is listened to so much longer than the shutter should take to open, and to close, s.
_MARGIN_S = 0.5
# Cameras round: 30 s are 32 s.
_NOMINAL = 0.1
# A curtain sets off at most this long before it arrives; the contact may tell of either.
_CURTAIN_S = 0.02
_POLL_S = 0.01


@dataclass(slots=True)
class Closure:
    """The contact made and, once `broken_s` is known, broke again; rig time, s."""

    made_s: float
    broken_s: float | None = None


class SyncContact:
    """A flash contact on an input line.

    Edges are noted on a thread of the pins' library, with the kernel's time stamps where it has them; the
    rest is the job thread's.

    Parameters
    ----------
    line : int
        BCM number.
    active : {'low', 'high'}
        Level while the contact is made.
    pull : {'up', 'down', 'none'}
        The Pi's own resistor.
    factory : gpiozero.pins.Factory
        Where pins come from.
    clock : Clock
        The rig's.
    """

    def __init__(
        self,
        line: int,
        active: Literal["low", "high"],
        pull: Literal["up", "down", "none"],
        factory: Factory,
        clock: Clock,
    ) -> None:
        # As in `switch`: gpiozero wants the active level stated without a pull; the level is compared here.
        pull_up = {"up": True, "down": False, "none": None}[pull]
        self.line = line
        self._active_high = active == "high"
        self._factory = factory
        self._clock = clock
        self._closures: deque[Closure] = deque(maxlen=_MOST_KEPT)
        self._last: Closure | None = None
        self._seen = self._accounted = 0
        self._input = InputDevice(
            line, pull_up=pull_up, active_state=None if pull_up is not None else True, pin_factory=factory
        )
        if self.is_made:
            self._last = Closure(clock.now_s())
        self._input.pin.edges = "both"
        self._input.pin.when_changed = self._on_edge

    @property
    def is_made(self) -> bool:
        """Whether the line is at its active level."""
        return bool(self._input.pin.state) == self._active_high

    @property
    def strays(self) -> int:
        """How often it made since `forget` without anyone having taken it."""
        return self._seen - self._accounted

    def forget(self) -> None:
        """Forget every closure so far."""
        self._closures.clear()
        self._accounted = self._seen

    def take(self, since_s: float) -> Closure | None:
        """Take the first closure made at `since_s` (rig time) or later, if there is one.

        Earlier ones stay strays. Its `broken_s` is filled in when the contact breaks.
        """
        while self._closures:
            closure = self._closures.popleft()
            if closure.made_s >= since_s:
                self._accounted += 1
                return closure
        return None

    def rest(self, timing: ShotTiming, pressed_s: float, wait: Callable[[float], None]) -> None:
        """Wait while it is made, but no longer than an exposure lasts that was pressed for at `pressed_s`."""
        until_s = pressed_s + timing.lag_s + (1 + _NOMINAL) * timing.exposure_s + _MARGIN_S
        while self.is_made and self._clock.now_s() < until_s:
            wait(_POLL_S)

    def follow(
        self, timing: ShotTiming, pressed_s: float, wait: Callable[[float], None]
    ) -> tuple[float, float]:
        """Wait for the exposure of a press, and until it is over.

        Parameters
        ----------
        timing : ShotTiming
            Of the shot.
        pressed_s : float
            When its press began, rig time.
        wait : callable
            Sleeps so many seconds, none if below 0.

        Returns
        -------
        tuple of float
            Rig times: the shutter opened no earlier than the first and had closed by the second.

        Raises
        ------
        ExposureTimeout
            The contact did not make, when nothing can be exposed any more; or it does not break.
        """
        listened_s = timing.lag_s + _MARGIN_S
        deadline_s = pressed_s + listened_s
        while (closure := self.take(pressed_s)) is None:
            now_s = self._clock.now_s()
            if now_s >= deadline_s:
                # The contact may be at fault rather than the camera: nothing moves while it could expose.
                wait(pressed_s + timing.lag_s + timing.exposure_s - now_s)
                raise self._silent(listened_s)
            wait(min(_POLL_S, deadline_s - now_s))
        closed_s = self.outlast(closure, timing, pressed_s, wait)
        return max(pressed_s, closure.made_s - _CURTAIN_S), closed_s

    def outlast(
        self, closure: Closure, timing: ShotTiming, pressed_s: float, wait: Callable[[float], None]
    ) -> float:
        """Wait until the exposure of a closure is over for certain; return when that was.

        Raises
        ------
        ExposureTimeout
            The contact does not break.
        """
        due_s = closure.made_s + timing.exposure_s + _CURTAIN_S
        wait(due_s - self._clock.now_s())
        patience_s = _MARGIN_S + _NOMINAL * timing.exposure_s
        while closure.broken_s is None:
            made_s = self._clock.now_s() - closure.made_s
            if self._clock.now_s() >= due_s + patience_s:
                raise ExposureTimeout(
                    f"the camera's flash contact on pin {self.line} has been made for {made_s:.3g} s and the "
                    f"exposure should take {timing.exposure_s:g} s; set camera.exposure_s to what the camera "
                    "is set to, or check the cable",
                    exposure_s=timing.exposure_s,
                    made_s=made_s,
                )
            wait(_POLL_S)
        # A break before its time is not the exposure's end. Only a bulb's may come early, as it is let go.
        ends_s = pressed_s + timing.hold_s
        if not timing.bulb:
            ends_s = closure.made_s + (1 - _NOMINAL) * timing.exposure_s
        return closure.broken_s + _CURTAIN_S if closure.broken_s >= ends_s else due_s

    def close(self) -> None:
        """Give the pin back."""
        self._input.close()

    def _silent(self, listened_s: float) -> ExposureTimeout:
        strays = f"; it made {self.strays} x when nothing was pressed" if self.strays else ""
        if self.is_made:
            return ExposureTimeout(
                f"the camera's flash contact on pin {self.line} is made all the time{strays}; check its "
                "cable, camera.feedback_active and camera.feedback_pull",
                feedback_pin=self.line,
                strays=self.strays,
            )
        return ExposureTimeout(
            f"the camera's flash contact on pin {self.line} did not make within {listened_s:g} s of the press"
            f"{strays}; is the camera on, awake (camera.wake_s), on manual focus, with room on its card, its "
            "flash cable plugged in and the flash set to the first curtain? A slow one needs more "
            "camera.release_lag_s",
            feedback_pin=self.line,
            listened_s=listened_s,
            strays=self.strays,
        )

    def _on_edge(self, ticks: float, state: int) -> None:
        t_s, last = self._rig_s(ticks), self._last
        if bool(state) != self._active_high:
            if last is None or (last.broken_s is not None and t_s - last.broken_s > _BOUNCE_S):
                # Too short for a library that reads the level late: it made and broke at once.
                last = self._made(t_s)
            last.broken_s = t_s
        elif last is not None and (last.broken_s is None or t_s - last.broken_s <= _BOUNCE_S):
            last.broken_s = None
        else:
            self._made(t_s)

    def _made(self, t_s: float) -> Closure:
        self._last = closure = Closure(t_s)
        self._seen += 1
        self._closures.append(closure)
        return closure

    def _rig_s(self, ticks: float) -> float:
        """Rig time of an edge; gpiozero's ticks are to be compared with its own alone."""
        age_s = float(self._factory.ticks_diff(self._factory.ticks(), ticks))
        return self._clock.now_s() - (age_s if 0 <= age_s <= _STALE_S else 0.0)
