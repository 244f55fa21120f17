"""The ``[rail]`` table: motor, screw, limits and switches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from focusd.errors import ConfigError
from focusd.plan import exact
from focusd.schema import Strict
from focusd.tmc_settings import Stall, TmcSettings

Pin = Annotated[int, Field(ge=0, le=27, description="BCM number")]
PositiveFloat = Annotated[float, Field(gt=0)]
Pull = Literal["up", "down", "none"]
Level = Literal["low", "high"]

MS_LEVELS: dict[str, dict[int, tuple[int, ...]]] = {
    # Allegro A4988, table 1; TI DRV8825, table 1; Trinamic TMC2209, pin table MS1, MS2.
    "a4988": {1: (0, 0, 0), 2: (1, 0, 0), 4: (0, 1, 0), 8: (1, 1, 0), 16: (1, 1, 1)},
    "drv8825": {1: (0, 0, 0), 2: (1, 0, 0), 4: (0, 1, 0), 8: (1, 1, 0), 16: (0, 0, 1), 32: (1, 0, 1)},
    "tmc2209": {8: (0, 0), 16: (1, 1), 32: (1, 0), 64: (0, 1)},
}
"""Levels of MS1, MS2 (and MS3) for a number of microsteps, by chip."""


def _ratio(text: object) -> object:
    """Refuse a gear that is no ratio above 0; kept as it was written, so that it stays exact."""
    try:
        if Fraction(str(text)) > 0:
            return str(text)
    except (ValueError, ZeroDivisionError):
        pass  # said below
    raise ValueError(f"gear is '{text}': write motor turns per turn of the screw, as 5.18 or \"25792/405\"")


_PI_PORTS = {"/dev/serial0", "/dev/ttyAMA0", "/dev/ttyS0"}
Gear = Annotated[str, BeforeValidator(_ratio)]


class HomeConfig(Strict):
    """``[rail.home]``: the end stop that gives the rail its position."""

    pin: Pin
    active: Level = "low"
    pull: Pull = "up"
    by: Literal["switch", "stall"] = Field(
        "switch", description="stall: the pin is DIAG of a TMC2209, which finds a hard end coarsely"
    )
    direction: Literal["down", "up"] = "down"
    position_um: float = Field(0.0, description="rail position where the switch trips")
    go_to_um: float | None = Field(None, description="where to go after homing; stay when absent")
    fast_um_s: PositiveFloat | None = Field(None, description="cruise_um_s, but 2000 at most, when absent")
    slow_um_s: PositiveFloat | None = Field(
        None, description="start_um_s at most; an eighth of fast_um_s when absent"
    )
    back_off_um: PositiveFloat = 500.0
    agree_um: PositiveFloat | None = Field(
        None, description="between the switch's first and second trip; a tenth of back_off_um when absent"
    )
    max_travel_um: PositiveFloat = 60_000.0


class ButtonConfig(Strict):
    """``[rail.stop_button]``: an emergency stop at the rig. Nothing moves while it is pressed."""

    pin: Pin
    active: Level = Field(
        "high", description="high with pull up: a contact that opens, so a cut wire stops too"
    )
    pull: Pull = "up"


class TmcConfig(Strict):
    """``[rail.tmc2209]``: the chip's serial line; without it the chip is used as it is strapped."""

    port: str = Field("/dev/serial0", pattern=r"^/dev/[A-Za-z0-9/._-]{1,64}$")
    address: int = Field(0, ge=0, le=3, description="as MS1 and MS2 are strapped")
    run_ma: float = Field(gt=0, le=2000, description="current of a coil while moving, RMS")
    hold_ma: float | None = Field(
        None,
        gt=0,
        le=2000,
        description="while standing; run_ma when absent, so that nothing moves as it falls",
    )
    sense_ohm: float = Field(0.11, description="printed on the module's two large resistors: R110 is 0.11")
    interpolate: bool = True
    stealthchop: bool = True
    stall_threshold: int | None = Field(
        None, ge=0, le=255, description='SGTHRS; needed for home.by = "stall"'
    )


class RailConfig(Strict, ABC):
    """What every rail has; see `ChipRailConfig` and `PhaseRailConfig`."""

    full_steps_per_turn: int = Field(200, ge=4, le=1000, description="of the motor")
    gear: Gear = Field("1", description="turns of the motor per turn of the screw")
    lead_um: PositiveFloat = Field(1000.0, description="travel a turn of the screw; M8x1: 1000")
    invert_direction: bool = False
    low_um: float = Field(0.0, description="soft limit")
    high_um: float = Field(description="soft limit")
    start_um_s: PositiveFloat = Field(500.0, description="speed the motor starts and stops at")
    cruise_um_s: PositiveFloat = 2000.0
    accel_um_s2: PositiveFloat = 5000.0
    backlash_um: float = Field(0.0, ge=0, le=2000)
    prerun_um: float = Field(0.0, ge=0, le=5000)
    approach: Literal["up", "down"] = "up"
    hold: Literal["always", "job", "off"] = "job"
    at_start: Literal["require", "home", "zero"] = Field(
        "require", description="what a job does on a rail whose position is not trusted"
    )
    jog_max_um: PositiveFloat = 5000.0
    home: HomeConfig | None = None
    stop_button: ButtonConfig | None = None

    @property
    @abstractmethod
    def steps_per_full_step(self) -> int:
        """Steps that the motor makes out of a full one."""

    @property
    def um_per_step(self) -> Fraction:
        """Travel of one step, exact."""
        steps = self.full_steps_per_turn * self.steps_per_full_step * Fraction(self.gear)
        return exact(self.lead_um) / steps

    @property
    def full_step_um(self) -> float:
        """Travel of a full step of the motor."""
        return float(self.steps_per_full_step * self.um_per_step)

    @property
    def homing_um_s(self) -> tuple[float, float]:
        """Speeds of the fast and of the slow search for the end stop."""
        fast_um_s = min(2000.0, self.cruise_um_s)
        if self.home is None:
            return fast_um_s, fast_um_s / 8
        fast_um_s = self.home.fast_um_s or fast_um_s
        return fast_um_s, self.home.slow_um_s or min(fast_um_s / 8, self.start_um_s)

    @property
    @abstractmethod
    def most_hz(self) -> float:
        """Steps a second that this kind of rail can be given."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        faults = [*self._range_faults(), *self._rate_faults()]
        if self.home is not None and self.home.go_to_um is not None:
            faults += self._homing_faults(self.home, self.home.go_to_um)
        if self.home is not None and self.home.back_off_um <= self.backlash_um:
            faults.append(
                f"home.back_off_um {self.home.back_off_um:g} must be above backlash_um {self.backlash_um:g}: "
                "the switch is let go only once the play is taken up"
            )
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _range_faults(self) -> list[str]:
        faults = []
        if self.low_um >= self.high_um:
            faults.append(f"low_um {self.low_um:g} must be below high_um {self.high_um:g}")
        if self.at_start == "home" and self.home is None:
            faults.append('at_start is "home" but there is no [rail.home]: add the end stop')
        if self.at_start == "zero" and not self.low_um <= 0 <= self.high_um:
            faults.append(f'at_start is "zero" but 0 is outside {self.low_um:g} to {self.high_um:g} um')
        return faults

    def _rate_faults(self) -> list[str]:
        faults = []
        if self.start_um_s > self.cruise_um_s:
            faults.append(
                f"start_um_s {self.start_um_s:g} must not be above cruise_um_s {self.cruise_um_s:g}"
            )
        fast_um_s, slow_um_s = self.homing_um_s
        speeds = {"cruise_um_s": self.cruise_um_s, "home.fast_um_s": fast_um_s, "home.slow_um_s": slow_um_s}
        if slow_um_s > min(fast_um_s, self.start_um_s):
            faults.append(
                f"home.slow_um_s {slow_um_s:g} must not be above home.fast_um_s {fast_um_s:g}, nor "
                f"start_um_s {self.start_um_s:g}: the motor must stop at once where the switch trips"
            )
        step_um = float(self.um_per_step)
        for name, speed_um_s in speeds.items():
            if speed_um_s / step_um > self.most_hz:
                faults.append(
                    f"{name} {speed_um_s:g} um/s is {speed_um_s / step_um:.0f} steps/s of {step_um:g} um: at "
                    f"most {self.most_hz:g}; lower it to {self.most_hz * step_um:g}, or take fewer microsteps"
                )
        return faults

    def _homing_faults(self, home: HomeConfig, go_to_um: float) -> list[str]:
        """Say why the place to go to after homing cannot be reached from the switch, if it cannot."""
        if not self.low_um <= go_to_um <= self.high_um:
            return [f"home.go_to_um {go_to_um:g} is outside {self.low_um:g} to {self.high_um:g} um"]
        away = 1 if home.direction == "down" else -1
        run_up_um = self.backlash_um + self.prerun_um
        beyond_um = go_to_um + away * run_up_um
        if self.approach == home.direction and not self.low_um <= beyond_um <= self.high_um:
            return [
                f"home.go_to_um {go_to_um:g} is reached from {beyond_um:g} um (approach "
                f'"{self.approach}"), outside {self.low_um:g} to {self.high_um:g} um'
            ]
        if away * (go_to_um - home.position_um) < 2 * run_up_um:
            return [
                f"home.go_to_um {go_to_um:g} is too near the switch at {home.position_um:g} um: keep "
                f"{2 * run_up_um:g} um away (twice backlash_um + prerun_um), on the side it backs off to"
            ]
        return []


class ChipRailConfig(RailConfig):
    """A rail behind a driver chip with STEP, DIR and EN."""

    tag: ClassVar[str] = "chip"
    driver: Literal["a4988", "drv8825", "tmc2209"] = "a4988"
    step_pin: Pin
    direction_pin: Pin
    enable_pin: Pin
    enable_active: Level = "low"
    microstep_pins: Annotated[tuple[Pin, ...], Field(strict=False, max_length=3)] = Field(
        (), description="MS1, MS2 (, MS3), where they are wired to the Pi instead of strapped"
    )
    microsteps: Literal[1, 2, 4, 8, 16, 32, 64, 128, 256] = 1
    pulses: Literal["native", "pins"] | None = Field(
        None, description="who times the steps: a loop in C (the default with lgpio), or Python"
    )
    tmc2209: TmcConfig | None = None

    @property
    def steps_per_full_step(self) -> int:
        """Microsteps."""
        return self.microsteps

    @property
    def most_hz(self) -> float:
        """Steps a second: a sleep between two edges cannot be much shorter than 25 us."""
        return 20_000.0

    @property
    def tmc_settings(self) -> TmcSettings | None:
        """What the chip is set to over its serial line, if it has one.

        Raises
        ------
        ConfigError
            Currents that its resistors do not allow, or a speed at which no stall is noticed.
        """
        tmc = self.tmc2209
        if tmc is None:
            return None
        stall = None
        if tmc.stall_threshold is not None:
            stall = Stall(tmc.stall_threshold, self.homing_um_s[0] / self.full_step_um)
        return TmcSettings(
            run_ma=tmc.run_ma,
            hold_ma=tmc.run_ma if tmc.hold_ma is None else tmc.hold_ma,
            microsteps=self.microsteps,
            interpolate=tmc.interpolate,
            stealthchop=tmc.stealthchop,
            sense_ohm=tmc.sense_ohm,
            stall=stall,
        )

    @model_validator(mode="after")
    def _check_chip(self) -> Self:
        offered = MS_LEVELS[self.driver]
        faults = []
        if self.tmc2209 is not None:
            faults += self._wire_faults()
        elif self.microsteps not in offered:
            shown = ", ".join(map(str, offered))
            faults.append(f"microsteps {self.microsteps}: a {self.driver} is strapped for one of {shown}")
        pins = len(next(iter(offered.values())))
        if self.microstep_pins and len(self.microstep_pins) != pins:
            faults.append(f"microstep_pins: a {self.driver} has {pins} of them, MS1 first")
        if self.home is not None and self.home.by == "stall":
            faults += self._stall_faults(self.home)
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _wire_faults(self) -> list[str]:
        faults = []
        if self.driver != "tmc2209":
            faults.append(f'[rail.tmc2209] is for driver = "tmc2209", not "{self.driver}"')
        if self.microstep_pins:
            faults.append("microstep_pins: with [rail.tmc2209] they are the chip's address; strap them")
        pins = {self.step_pin, self.direction_pin, self.enable_pin}
        if self.tmc2209 is not None and self.tmc2209.port in _PI_PORTS and pins & {14, 15}:
            faults.append(
                f"tmc2209.port {self.tmc2209.port} is on pins 14 and 15: give the others to the motor"
            )
        try:
            _ = self.tmc_settings
        except ConfigError as error:
            faults.append(f"tmc2209.{error}")
        return faults

    def _stall_faults(self, home: HomeConfig) -> list[str]:
        if self.tmc2209 is None or self.tmc2209.stall_threshold is None:
            return ['home.by is "stall": it needs [rail.tmc2209] with a stall_threshold']
        if home.active != "high" or home.pull == "up":
            return [
                'home.by is "stall": DIAG is high while it stalls: set home.active = "high", pull = "down"'
            ]
        reached_um_s = (self.start_um_s**2 + 2 * self.accel_um_s2 * home.back_off_um) ** 0.5
        if reached_um_s < 0.8 * self.homing_um_s[0]:
            return [
                f'home.by is "stall", noticed from {0.8 * self.homing_um_s[0]:g} um/s on: within '
                f"home.back_off_um {home.back_off_um:g} um only {reached_um_s:.0f} um/s are reached; back "
                "off further, or lower home.fast_um_s"
            ]
        # One cycle of the field is four full steps: no stall is told more finely than that.
        coarse_um = 4 * self.full_step_um
        near_um = self.low_um if home.direction == "down" else -self.high_um
        end_um = home.position_um if home.direction == "down" else -home.position_um
        if near_um < end_um + coarse_um:
            return [
                f'home.by is "stall", which is {coarse_um:g} um coarse: keep the soft limit at least that '
                f"far from home.position_um {home.position_um:g} um"
            ]
        return []


class PhaseRailConfig(RailConfig):
    """A rail whose four coils are switched one by one: 28BYJ-48 on a ULN2003."""

    tag: ClassVar[str] = "phases"
    driver: Literal["uln2003"]
    coil_pins: Annotated[tuple[Pin, Pin, Pin, Pin], Field(strict=False)]
    half_steps: bool = True
    full_steps_per_turn: int = Field(32, ge=4, le=1000, description="of the motor, before its gear")
    gear: Gear = Field("25792/405", description="turns of the motor per turn of the screw")
    start_um_s: PositiveFloat = Field(20.0, description="speed the motor starts and stops at")
    cruise_um_s: PositiveFloat = 80.0
    accel_um_s2: PositiveFloat = 200.0

    @property
    def steps_per_full_step(self) -> int:
        """Two in half steps."""
        return 2 if self.half_steps else 1

    @property
    def most_hz(self) -> float:
        """Steps a second: a 28BYJ-48 starts at 600 half steps/s without a load (Kiatronics data sheet)."""
        return 600.0 if self.half_steps else 300.0

    @model_validator(mode="after")
    def _check_stall(self) -> Self:
        if self.home is not None and self.home.by == "stall":
            raise ValueError('home.by is "stall": only a TMC2209 notices one')
        return self


def _kind(value: Any) -> str:
    driver = value.get("driver") if isinstance(value, dict) else getattr(value, "driver", None)
    return "phases" if driver == "uln2003" else "chip"


AnyRailConfig = Annotated[
    Annotated[ChipRailConfig, Tag("chip")] | Annotated[PhaseRailConfig, Tag("phases")], Discriminator(_kind)
]
