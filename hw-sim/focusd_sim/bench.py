"""The bench: driver, motor, screw, carriage and end stop together, fed by edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from focusd.clock import Clock
from focusd.errors import ConfigError
from focusd_sim.carriage import Carriage
from focusd_sim.config import BenchConfig
from focusd_sim.driver import StepDriver
from focusd_sim.endstop import EndStop
from focusd_sim.faults import Faults
from focusd_sim.motor import Motor
from focusd_sim.pins import SimFactory
from focusd_sim.track import Motion

__all__ = ["Bench", "Lines", "Motion", "Optics", "Scene", "Sensor"]


class Optics(Protocol):
    """What is read of a scene's lens."""

    @property
    def magnification(self) -> float:
        """Image size over object size."""
        ...

    @property
    def pixel_um(self) -> float:
        """Pixel pitch on the sensor, um."""
        ...


class Scene(Protocol):
    """What stands before the lens."""

    @property
    def lens(self) -> Optics:
        """The lens it is seen through."""
        ...

    @property
    def all_in_focus(self) -> NDArray[np.uint8]:
        """Truth, uint8 BGR (rows, cols, 3); its size is the sensor's."""
        ...

    def render(
        self,
        focus_um: float,
        *,
        smear_px: float = 0.0,
        magnification: float = 1.0,
        shift_px: tuple[float, float] = (0.0, 0.0),
    ) -> NDArray[np.uint8]:
        """Return the ideal image, uint8 BGR (rows, cols, 3), with the focal plane at `focus_um`."""
        ...


class Sensor(Protocol):
    """What the photographic chain adds."""

    def expose(
        self,
        ideal: NDArray[np.uint8],
        *,
        exposure: float = 1.0,
        colour_gains: Any = (1.0, 1.0, 1.0),
        frame: int,
        seed: int,
    ) -> NDArray[np.uint8]:
        """Return `ideal` as the camera gives it, uint8 BGR (rows, cols, 3)."""
        ...


@dataclass(frozen=True, slots=True)
class Lines:
    """BCM lines of the rail.

    Parameters
    ----------
    step, direction : int
        STEP and DIR.
    enable : int, optional
        EN; without it the motor is always on.
    endstop : int, optional
        Input the end stop drives; without it none is fitted.
    ms : tuple of int
        MS1, MS2 (, MS3); empty if they are strapped.
    """

    step: int
    direction: int
    enable: int | None = None
    endstop: int | None = None
    ms: tuple[int, ...] = ()


class Bench:
    """The mechanical rig, from edges to the true position.

    Parameters
    ----------
    config : BenchConfig
        Every effect and its switch.
    clock : Clock
        Rig time, for what is asked about now.
    factory : SimFactory
        Whose lines are watched, and which the end stop drives.
    lines : Lines
        Which they are.
    faults : Faults, optional
        May stall the motor and stick the end stop.

    Raises
    ------
    ConfigError
        If the chip has another number of MS pins than `lines`, or a line is wired twice.
    """

    def __init__(
        self,
        config: BenchConfig,
        clock: Clock,
        factory: SimFactory,
        lines: Lines,
        faults: Faults | None = None,
    ) -> None:
        motor, carriage = config.motor, config.carriage
        self._clock = clock
        self._factory = factory
        self._lines = lines
        now_s = clock.now_s()
        self.carriage = Carriage(carriage.screw(motor.full_steps_per_turn), carriage.wave)
        self.motor = Motor(motor.torque, self.carriage.limits, self._moved, motor.full_steps_per_turn)
        self.driver = StepDriver(
            motor.chip_data,
            self.motor,
            microsteps=motor.microsteps,
            enable_active_low=motor.enable_active_low,
            timing=motor.timing,
        )
        self.endstop: EndStop | None = None
        self._fit_endstop(config)
        self.carriage.release(now_s)
        self._connect(motor.enable_active_low, now_s)
        if faults is not None:
            faults.on("stall_motor", self.motor.stall)
            if self.endstop is not None:
                faults.on("stick_endstop", self.endstop.stick)

    def edge(self, line: int, level: bool, t_s: float) -> None:
        """Take a change of `line` to `level` at `t_s`, wherever it comes from. Other lines are ignored."""
        lines = self._lines
        if line == lines.step:
            if level:
                self.carriage.edge(t_s)
            self.driver.step(level, t_s)
        elif line == lines.direction:
            self.driver.direction(level, t_s)
        elif line == lines.enable:
            self.driver.enable(level, t_s)
            self._grip(t_s)
        elif line in lines.ms:
            self.driver.resolution(tuple(self._factory.level(pin) for pin in lines.ms), t_s)

    @property
    def lost_steps(self) -> int:
        """Full steps by which the shaft fell out of step with the field, so far."""
        self._settle()
        return self.motor.slipped_steps

    @property
    def crashes(self) -> int:
        """Steps on which a hard end held the carriage, so far."""
        return self.motor.crashes

    @property
    def violations(self) -> dict[str, int]:
        """STEP pulses lost to the data sheet's timing, by kind, so far."""
        return dict(self.driver.pulses.violations)

    @property
    def ignored_steps(self) -> int:
        """STEP pulses given while the motor was off, so far."""
        return self.driver.pulses.ignored

    def position_um(self, t_s: float | None = None) -> float:
        """Return the true position of the carriage at `t_s` (now, if not given), um along the rail."""
        now_s = self._settle()
        return self.carriage.position_um(now_s if t_s is None else t_s)

    def shaft_um(self) -> float:
        """Motor shaft's true angle now, as um of the lead on the carriage's scale."""
        self._settle()
        return self.carriage.shaft_um(self.motor.shaft)

    def motion_during(self, t0_s: float, t1_s: float) -> Motion:
        """Sum up what the carriage did from `t0_s` to `t1_s`, which is not in the future.

        Raises
        ------
        ValueError
            If the interval is reversed or ends in the future.
        RailError
            If it began longer ago than the past is kept.
        """
        now_s = self._settle()
        if not t0_s <= t1_s <= now_s + 1e-9:
            raise ValueError(
                f"motion from {t0_s} s to {t1_s} s at {now_s} s: give a past interval, earlier first"
            )
        return self.carriage.motion_during(t0_s, t1_s)

    def bump(self, lateral_um: float) -> None:
        """Shake the carriage sideways now, by an amplitude of `lateral_um`."""
        self.carriage.bump(lateral_um, self._settle())

    def _settle(self) -> float:
        now_s = self._clock.now_s()
        self.driver.flush(now_s)
        self.motor.settle(now_s)
        if self.endstop is not None:
            self.endstop.update(self.carriage.seat_um(now_s))
        return now_s

    def _moved(self, shaft: int, t_s: float) -> None:
        self.carriage.follow(shaft, t_s)
        if self.endstop is not None:
            self.endstop.update(self.carriage.seat_um(t_s))

    def _grip(self, t_s: float) -> None:
        (self.carriage.hold if self.driver.enabled else self.carriage.release)(t_s)

    def _fit_endstop(self, config: BenchConfig) -> None:
        switch, line = config.carriage.switch, self._lines.endstop
        if switch is None or line is None:
            return
        self.endstop = EndStop(
            switch, lambda level: self._factory.drive(line, level), self.carriage.seat_um(self._clock.now_s())
        )

    def _connect(self, enable_active_low: bool, now_s: float) -> None:
        lines, factory = self._lines, self._factory
        wired = [lines.step, lines.direction, *lines.ms]
        if lines.enable is not None:
            wired.append(lines.enable)
        if len({*wired, *([] if lines.endstop is None else [lines.endstop])}) != len(wired) + (
            lines.endstop is not None
        ):
            raise ConfigError(f"one line is wired twice: {lines}; give each its own")
        self.driver.direction(factory.level(lines.direction), now_s)
        if lines.ms:
            self.driver.resolution(tuple(factory.level(pin) for pin in lines.ms), now_s)
        on = not enable_active_low if lines.enable is None else factory.level(lines.enable)
        self.driver.enable(on, now_s)
        self._grip(now_s)
        for line in wired:
            factory.watch(line, self.edge)
