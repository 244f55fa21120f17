"""What a TMC2209 is to do, as the values of its registers. Pure.

Source: Trinamic TMC2209 data sheet, rev. 1.09, sections 5 (registers), 8 and 9 (current), 11 (StallGuard4).
What is not set by `TmcSettings` has the value that a chip with unprogrammed OTP memory wakes up with
(section 5.1.1), or that Klipper gives it, which many motors have been run with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from focusd.errors import ConfigError
from focusd.tmc_datagram import Register

MOST_MA = 2000.0
"""RMS current of a coil that the chip stands."""

READABLE = (Register.GCONF, Register.CHOPCONF, Register.PWMCONF)
"""The registers of `TmcSettings.registers` that can be read back."""

_CLOCK_HZ = 12e6  # its own oscillator, typical; a few per cent off
_FINEST = 256  # TSTEP is the time of a 256th of a full step
_SCALES = 32
_ROUNDING = 1 + 1e-9  # a current that is a whole step must not fall to the next
_FULL_SCALE_V = {False: 0.325, True: 0.180}  # by CHOPCONF.vsense
_INNER_OHM = 0.02  # of the chip, in series with the sense resistor

# The stall output is on above this part of the homing speed. Above 15/16 the threshold's own hysteresis and
# the oscillator's error would keep it off; the data sheet asks for 80 to 120 % in any case (11.2).
_STALL_FROM = 0.8

# GCONF: no scaling by VREF (bit 0 is 0), UART instead of PDN, microsteps from MRES, steps filtered.
_GCONF = 1 << 6 | 1 << 7 | 1 << 8
_SPREADCYCLE = 1 << 2
# CHOPCONF: off time 3, hysteresis start 5 and end 0, blanking 2: bits 0-3, 4-6, 7-10, 15-16.
_CHOPCONF = 3 | 5 << 4 | 0 << 7 | 2 << 15
_VSENSE = 1 << 17
_INTERPOLATE = 1 << 28
# PWMCONF: limit 12, regulation 8, automatic gradient and scale, 35 kHz, gradient 14, offset 36.
_PWMCONF = 12 << 28 | 8 << 24 | 1 << 19 | 1 << 18 | 1 << 16 | 14 << 8 | 36
# Two or more chips on a line disturb each other below 2 (4.1.2).
_SEND_DELAY = 2 << 8
_HOLD_DELAY = 8 << 16
_POWER_DOWN = 20


@dataclass(frozen=True, slots=True)
class Stall:
    """When the chip is to call a motor stalled: DIAG goes high when ``SG_RESULT <= 2 * threshold``.

    Parameters
    ----------
    threshold : int
        SGTHRS, 0 to 255; higher is more sensitive. To find it: run at the homing speed, load the motor more
        and more, and take half of what SG_RESULT is just before the motor gives way (11.2).
    speed_hz : float
        Full steps a second that homing runs at, 1 to 5000. Below 0.8 of it the output is off, so a run-up
        does not look like a stall; and a slow second approach notices none.

    Notes
    -----
    Coarse homing only. It works in StealthChop alone, on the motor's back EMF: below about one turn a second
    many motors give too little of it (11.5). SG_RESULT comes once a full step, and a motor that has lost its
    field falls back by whole cycles of four full steps: no end is found more finely than that. Speed,
    current, temperature and supply all move the threshold. DIAG is high on a driver error too.
    """

    threshold: int
    speed_hz: float

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 255:
            raise ConfigError(
                f"stall_threshold {self.threshold}: 0 to 255", stall_threshold=self.threshold, limit=255
            )
        if not 1 <= self.speed_hz <= 5000:
            raise ConfigError(
                f"stall homing at {self.speed_hz:g} full steps/s: 1 to 5000; set home.fast_um_s for one to a "
                "few turns of the motor a second",
                speed_hz=self.speed_hz,
            )

    @property
    def longest_step(self) -> int:
        """TCOOLTHRS: the longest 256th of a full step at which the output is on, in cycles of the clock."""
        return math.ceil(_CLOCK_HZ / (_FINEST * _STALL_FROM * self.speed_hz))


@dataclass(frozen=True, slots=True)
class TmcSettings:
    """Current, steps and chopper of a TMC2209.

    Parameters
    ----------
    run_ma, hold_ma : float
        RMS current of a coil while the motor moves and while it stands, mA; hold not above run. The chip has
        32 steps of current and gets the next lower one, see `run_actual_ma`; the data sheet advises 16 or
        more of them for `run_ma`, below which microsteps grow uneven. The fall from run to hold begins some
        0.5 s after the last step.
    microsteps : int
        1, 2, 4, 8, 16, 32, 64, 128 or 256 a full step.
    interpolate : bool
        Smooth each microstep into 256ths. It costs no resolution, but the motor lags by up to one microstep.
    stealthchop : bool
        Silent regulation by voltage; otherwise SpreadCycle. It measures the motor while this stands at run
        current for 0.13 s after the motor is first switched on.
    sense_ohm : float
        The module's sense resistors, above 0.01 to 1 ohm; 0.11 on most.
    stall : Stall, optional
        Stall detection on DIAG; needs `stealthchop`.

    Raises
    ------
    ConfigError
        A value out of its range.
    """

    run_ma: float
    hold_ma: float
    microsteps: int = 16
    interpolate: bool = True
    stealthchop: bool = True
    sense_ohm: float = 0.11
    stall: Stall | None = None

    def __post_init__(self) -> None:
        if self.microsteps not in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            raise ConfigError(
                f"microsteps {self.microsteps}: a TMC2209 has 1, 2, 4, 8, 16, 32, 64, 128 or 256",
                microsteps=self.microsteps,
            )
        if not 0.01 < self.sense_ohm <= 1:
            raise ConfigError(
                f"sense_ohm {self.sense_ohm:g}: above 0.01, to 1 ohm; it is printed on the two large "
                "resistors of the module (R110 is 0.11)",
                sense_ohm=self.sense_ohm,
            )
        if self.stall is not None and not self.stealthchop:
            raise ConfigError(
                "stall_threshold without stealthchop: StallGuard4 works in StealthChop only; set "
                "stealthchop = true, or home by a switch"
            )
        self._check_currents()

    def _check_currents(self) -> None:
        if not 0 < self.hold_ma <= self.run_ma:
            raise ConfigError(
                f"hold_ma {self.hold_ma:g}: above 0, and not above run_ma {self.run_ma:g} mA",
                hold_ma=self.hold_ma,
                run_ma=self.run_ma,
            )
        most_ma = min(MOST_MA, self._full_scale_ma(vsense=False))
        if self.run_ma > most_ma * _ROUNDING:
            raise ConfigError(
                f"run_ma {self.run_ma:g}: at most {most_ma:.0f} mA with sense_ohm {self.sense_ohm:g}; "
                f"smaller resistors allow more, up to the chip's {MOST_MA:g}",
                run_ma=self.run_ma,
                limit_ma=most_ma,
            )
        for name, current_ma in (("run_ma", self.run_ma), ("hold_ma", self.hold_ma)):
            if self._scale(current_ma, self.full_scale_ma) < 0:
                raise ConfigError(
                    f"{name} {current_ma:g}: at least {self.step_ma:.2f} mA, one of {_SCALES} steps with "
                    f"sense_ohm {self.sense_ohm:g} and run_ma {self.run_ma:g}; larger resistors allow less",
                    limit_ma=self.step_ma,
                    **{name: current_ma},
                )

    @property
    def vsense(self) -> bool:
        """Whether the finer of the two current ranges is enough, give or take less than a step."""
        return self._scale(self.run_ma, self._full_scale_ma(vsense=True)) < _SCALES

    @property
    def full_scale_ma(self) -> float:
        """Most of the current range that is used, mA RMS."""
        return self._full_scale_ma(vsense=self.vsense)

    @property
    def step_ma(self) -> float:
        """One step of current, mA RMS."""
        return self.full_scale_ma / _SCALES

    @property
    def run_scale(self) -> int:
        """IRUN, 0 to 31."""
        return self._scale(self.run_ma, self.full_scale_ma)

    @property
    def hold_scale(self) -> int:
        """IHOLD, 0 to 31."""
        return self._scale(self.hold_ma, self.full_scale_ma)

    @property
    def run_actual_ma(self) -> float:
        """What the chip makes of `run_ma`: not above it, and less than a step below."""
        return (self.run_scale + 1) * self.step_ma

    @property
    def hold_actual_ma(self) -> float:
        """What the chip makes of `hold_ma`: not above it, and less than a step below."""
        return (self.hold_scale + 1) * self.step_ma

    def registers(self) -> dict[Register, int]:
        """Return what to write, in this order: the current is right before the chopper starts."""
        fineness = _FINEST.bit_length() - self.microsteps.bit_length()
        return {
            Register.SLAVECONF: _SEND_DELAY,
            Register.GCONF: _GCONF | (0 if self.stealthchop else _SPREADCYCLE),
            Register.VACTUAL: 0,  # steps come from the STEP pin
            Register.TPWMTHRS: 0,  # one chopper at every speed
            Register.COOLCONF: 0,  # the current does not follow the load
            Register.SGTHRS: 0 if self.stall is None else self.stall.threshold,
            Register.TCOOLTHRS: 0 if self.stall is None else self.stall.longest_step,
            Register.TPOWERDOWN: _POWER_DOWN,
            Register.IHOLD_IRUN: self.hold_scale | self.run_scale << 8 | _HOLD_DELAY,
            Register.PWMCONF: _PWMCONF,
            Register.CHOPCONF: _CHOPCONF
            | (_VSENSE if self.vsense else 0)
            | fineness << 24
            | (_INTERPOLATE if self.interpolate else 0),
        }

    def _full_scale_ma(self, *, vsense: bool) -> float:
        return 1e3 * _FULL_SCALE_V[vsense] / (self.sense_ohm + _INNER_OHM) / math.sqrt(2)

    @staticmethod
    def _scale(current_ma: float, full_scale_ma: float) -> int:
        return math.floor(_SCALES * current_ma / full_scale_ma * _ROUNDING) - 1
