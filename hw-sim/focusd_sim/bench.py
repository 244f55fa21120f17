"""The bench: driver, motor, screw, carriage and end stop together, fed by edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from focusd.clock import Clock
from focusd.errors import ConfigError
from focusd_sim.carriage import Carriage
from focusd_sim.coils import Coils
from focusd_sim.config import BenchConfig
from focusd_sim.driver import StepDriver
from focusd_sim.endstop import EndStop
from focusd_sim.faults import Faults
from focusd_sim.motor import Motor
from focusd_sim.pins import SimFactory
from focusd_sim.track import Motion

Input = Callable[[bool, float], None]

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
    """BCM lines of the rail: STEP and DIR of a driver chip, or four coils.

    Parameters
    ----------
    step, direction : int, optional
        STEP and DIR.
    enable : int, optional
        EN; without it the motor is always on.
    endstop : int, optional
        Input the end stop drives; without it none is fitted.
    ms : tuple of int
        MS1, MS2 (, MS3); empty if they are strapped.
    coils : tuple of int, optional
        IN1 to IN4 of a ULN2003, in place of STEP, DIR, EN and MS.

    Raises
    ------
    ConfigError
        Neither STEP and DIR nor coils, or of both.
    """

    step: int | None = None
    direction: int | None = None
    enable: int | None = None
    endstop: int | None = None
    ms: tuple[int, ...] = ()
    coils: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        chip = {self.step, self.direction}
        right = None not in chip if self.coils is None else {*chip, self.enable, *self.ms} == {None}
        if not right:
            raise ConfigError(f"no motor has such lines: {self}; give step and direction, or the four coils")


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
        self._inputs: dict[int, Input] = {}
        self.driver: StepDriver | Coils = (
            self._connect_chip(config, now_s)
            if lines.coils is None
            else self._connect_coils(lines.coils, now_s)
        )
        self.endstop: EndStop | None = None
        self._fit_endstop(config)
        self._grip(now_s)
        if faults is not None:
            faults.on("stall_motor", self.motor.stall)
            if self.endstop is not None:
                faults.on("stick_endstop", self.endstop.stick)

    def edge(self, line: int, level: bool, t_s: float) -> None:
        """Take a change of `line` to `level` at `t_s`, wherever it comes from. Other lines are ignored."""
        take = self._inputs.get(line)
        if take is not None:
            take(level, t_s)

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
        """STEP pulses lost to the data sheet's timing, or fields that hold no rotor, by kind, so far."""
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

    def _connect_chip(self, config: BenchConfig, now_s: float) -> StepDriver:
        lines, motor, level = self._lines, config.motor, self._factory.level
        driver = StepDriver(
            motor.chip_data,
            self.motor,
            microsteps=motor.microsteps,
            enable_active_low=motor.enable_active_low,
            timing=motor.timing,
        )

        def step(high: bool, t_s: float) -> None:
            if high:
                self.carriage.edge(t_s)
            driver.step(high, t_s)

        def enable(high: bool, t_s: float) -> None:
            driver.enable(high, t_s)
            self._grip(t_s)

        def resolution(_high: bool, t_s: float) -> None:
            driver.resolution(tuple(level(pin) for pin in lines.ms), t_s)

        driver.direction(lines.direction is not None and level(lines.direction), now_s)
        if lines.ms:
            resolution(True, now_s)
        on = not motor.enable_active_low if lines.enable is None else level(lines.enable)
        driver.enable(on, now_s)
        self._watch(
            (lines.step, step),
            (lines.direction, driver.direction),
            (lines.enable, enable),
            *((pin, resolution) for pin in lines.ms),
        )
        return driver

    def _connect_coils(self, pins: tuple[int, ...], now_s: float) -> Coils:
        coils = Coils(self.motor)

        def switch(coil: int, high: bool, t_s: float) -> None:
            if coils.switch(coil, high, t_s):
                self.carriage.edge(t_s)
            self._grip(t_s)

        for coil, pin in enumerate(pins):
            coils.switch(coil, self._factory.level(pin), now_s)
        self._watch(*((pin, partial(switch, coil)) for coil, pin in enumerate(pins)))
        return coils

    def _watch(self, *inputs: tuple[int | None, Input]) -> None:
        wired = [(line, take) for line, take in inputs if line is not None]
        lines = [line for line, _ in wired] + ([] if self._lines.endstop is None else [self._lines.endstop])
        if len({*lines}) != len(lines):
            raise ConfigError(f"one line is wired twice: {self._lines}; give each its own")
        self._inputs = dict(wired)
        for line in self._inputs:
            self._factory.watch(line, self.edge)
