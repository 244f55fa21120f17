"""A four-phase unipolar motor whose coils are switched one by one: a 28BYJ-48 behind a ULN2003."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from gpiozero import DigitalOutputDevice
from gpiozero.pins import Factory

from focusd.clock import Clock
from focusd.drivers.pacer import Pacer
from focusd.halt import Halt
from focusd.rail import Until
from focusd.ramp import Ramp

_PATTERNS = tuple(
    frozenset(coils) for coils in ((0,), (0, 1), (1,), (1, 2), (2,), (2, 3), (3,), (3, 0))
)  # coils that are on at each of the eight places of a cycle; from one place to the next one coil changes


class Phases:
    """Four coils on four GPIO lines; a coil is on while its line is high.

    Half steps go through all eight places of a cycle, full steps rest where two coils are on. Each line is
    set by itself, so a full step passes the place between for some microseconds: the old coil goes off
    before the new one comes on. The other way round two opposite coils would be on, which cancel each other.
    Either way the field is never gone, nor ever points backwards.

    A ULN2003 has no enable input: the motor is off only while all four lines are low. They should be among
    BCM 9 to 27, which a Pi pulls down when power comes on. Of a process that was killed Raspberry Pi OS
    leaves the outputs as they were, until this driver starts again, or with ``dtparam=strict_gpiod`` in
    config.txt turns them into inputs (github.com/raspberrypi/linux/pull/6117).

    Parameters
    ----------
    coil_pins : sequence of int
        BCM numbers in the order IN1, IN2, IN3, IN4, which is the order of positive steps.
    half_steps : bool
        Whether a step is half a full one.
    invert : bool
        Whether positive steps take the order IN4 to IN1.
    factory : gpiozero.pins.Factory
        Where pins come from.
    clock : Clock
        The rig's.

    Notes
    -----
    The 5 V 28BYJ-48 starts and stops at up to 600 half steps/s without a load and follows up to 1000 (data
    sheet by Kiatronics: "idle in-traction" and "idle out-traction frequency"). Its rotor makes 32 full steps
    a turn; gears of 32/9, 22/11, 26/9 and 31/10 make that 25792/405 * 32 = 2037.886 a turn of the shaft.
    """

    def __init__(
        self, coil_pins: Sequence[int], half_steps: bool, invert: bool, factory: Factory, clock: Clock
    ) -> None:
        self._coils = [
            DigitalOutputDevice(pin, initial_value=False, pin_factory=factory) for pin in coil_pins
        ]
        self._places = 1 if half_steps else 2
        self._forward = -1 if invert else 1
        self._place = 1
        self._on = False
        self._clock = clock
        self._pacer = Pacer(clock)

    @property
    def ended_by(self) -> Until | None:
        """What ended the last run early, if not the emergency stop."""
        return self._pacer.ended_by

    @property
    def worst_late_s(self) -> float:
        """The latest any step has been behind its time so far, s."""
        return self._pacer.worst_late_s

    def energise(self) -> None:
        """Switch on the coils of the place where the motor was released; does nothing when they are on."""
        if self._on:
            return
        self._on = True
        for coil in _PATTERNS[self._place]:
            self._coils[coil].on()

    def release(self) -> None:
        """Switch all coils off; a line that fails keeps none of the others on."""
        self._on = False
        with ExitStack() as every:
            for coil in self._coils:
                every.callback(coil.off)

    def run(self, steps: int, ramp: Ramp, stop: Halt, until: Sequence[Until] = ()) -> int:
        """Make steps, energised first if need be; see `focusd.rail.Motor.run`."""
        if steps == 0:
            return 0
        sign = 1 if steps > 0 else -1
        self.energise()
        return sign * self._pacer.run(abs(steps), ramp, stop, until, lambda: self._step(sign * self._forward))

    def close(self) -> None:
        """Release and give the pins back."""
        with ExitStack() as every:
            for coil in self._coils:
                every.callback(coil.close)
            self.release()

    def _step(self, way: int) -> float:
        for _ in range(self._places):
            before = _PATTERNS[self._place]
            self._place = (self._place + way) % len(_PATTERNS)
            after = _PATTERNS[self._place]
            for coil in before ^ after:
                self._coils[coil].value = coil in after
        return self._clock.now_s()
