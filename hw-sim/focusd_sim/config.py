"""The ``[sim]`` table of a configuration file: every effect of the simulated rig and its switch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from focusd.config import read_toml
from focusd.errors import ConfigError
from focusd.schema import complaints
from focusd_sim.carriage import Screw
from focusd_sim.driver import CHIPS, Chip
from focusd_sim.endstop import Switch
from focusd_sim.faults import Kind, Script
from focusd_sim.motor import Torque
from focusd_sim.track import Wave

NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MotorConfig(_Table):
    """Step driver and motor. Rates are full steps/s; 0 lifts a limit."""

    chip: Literal["A4988", "DRV8825", "TMC2209"] = "A4988"
    microsteps: int = 1
    full_steps_per_turn: Positive = 200  # of the screw: a gear's ratio is in it, and need not be whole
    enable_active_low: bool = True
    timing: bool = True
    pull_in_hz: NotNegative = 800.0
    pull_out_hz: NotNegative = 2500.0
    acceleration_hz_s: NotNegative = 20000.0
    drift_hz: float = 0.0

    @model_validator(mode="after")
    def _chip_has_microsteps(self) -> MotorConfig:
        offered = self.chip_data.microsteps
        if self.microsteps not in offered:
            raise ValueError(f"microsteps is {self.microsteps}: {self.chip} makes {sorted(offered)}")
        return self

    @property
    def chip_data(self) -> Chip:
        """Data sheet of the chip."""
        return CHIPS[self.chip]

    @property
    def torque(self) -> Torque:
        """What the motor can do."""
        return Torque(self.pull_in_hz, self.pull_out_hz, self.acceleration_hz_s, self.drift_hz)


class CarriageConfig(_Table):
    """Screw, carriage and end stop; lengths in um along the rail."""

    lead_um: Positive = 1000.0
    direction: Literal[1, -1] = 1
    backlash_um: Annotated[float, Field(ge=0, le=200)] = 30.0
    periodic_um: Annotated[float, Field(ge=0, le=50)] = 0.0
    near_um: float = -500.0
    far_um: float = 30000.0
    start_um: float = 3000.0
    sag_um_s: NotNegative = 0.5
    creep: Fraction = 0.01
    creep_tau_s: Positive = 0.15
    vibration_hz: NotNegative = 25.0
    vibration_tau_s: Positive = 0.12
    vibration_lateral_um: NotNegative = 7.0
    vibration_axial_um: NotNegative = 0.5
    endstop: Literal["near", "far", "none"] = "near"
    endstop_um: float = 0.0
    endstop_hysteresis_um: NotNegative = 15.0
    endstop_active_high: bool = False

    @model_validator(mode="after")
    def _order(self) -> CarriageConfig:
        if not self.near_um < self.far_um:
            raise ValueError(f"near_um is {self.near_um} um: it must be below far_um, {self.far_um} um")
        for name in ("start_um", *(("endstop_um",) if self.endstop != "none" else ())):
            if not self.near_um <= getattr(self, name) <= self.far_um:
                raise ValueError(
                    f"{name} is {getattr(self, name)} um: it must lie from {self.near_um} to {self.far_um} um"
                )
        if self.vibration_axial_um and not self.vibration_lateral_um:
            raise ValueError("vibration_axial_um needs vibration_lateral_um above 0: it is a share of it")
        return self

    def screw(self, full_steps_per_turn: float) -> Screw:
        """Mechanics for a motor of so many steps a turn."""
        return Screw(
            lead_um=self.lead_um,
            direction=self.direction,
            backlash_um=self.backlash_um,
            periodic_um=self.periodic_um,
            near_um=self.near_um,
            far_um=self.far_um,
            start_um=self.start_um,
            sag_um_s=self.sag_um_s,
            creep=self.creep,
            lateral_um=self.vibration_lateral_um,
            full_steps_per_turn=full_steps_per_turn,
        )

    @property
    def wave(self) -> Wave:
        """How the carriage rings and settles."""
        lateral_um = self.vibration_lateral_um
        share = self.vibration_axial_um / lateral_um if lateral_um else 0.0
        return Wave(self.vibration_hz, self.vibration_tau_s, share, self.creep_tau_s)

    @property
    def switch(self) -> Switch | None:
        """The end stop, if there is one."""
        if self.endstop == "none":
            return None
        return Switch(self.endstop_um, self.endstop_hysteresis_um, self.endstop, self.endstop_active_high)


class BenchConfig(_Table):
    """Everything mechanical: driver, motor, screw, carriage, end stop."""

    motor: MotorConfig = MotorConfig()
    carriage: CarriageConfig = CarriageConfig()


class SensorConfig(_Table):
    """What the photographic chain adds; 0 switches an effect off."""

    read_noise: NotNegative = 1.0
    shot_noise: NotNegative = 1.5
    vignetting: Fraction = 0.1
    flicker: Fraction = 0.005
    dust: Annotated[int, Field(ge=0, le=1000)] = 0
    hot_pixels: Annotated[int, Field(ge=0, le=100_000)] = 0


class OpticsConfig(_Table):
    """How the picture changes along the rail."""

    breathing_per_mm: float = 0.0
    drift_px_per_mm: tuple[float, float] = (0.0, 0.0)


LampSide = Literal["ring", "left", "right"]


class LampConfig(_Table):
    """A lamp on one of the daemon's ``[lights]``; a brightness of 1 exposes well by itself."""

    brightness: NotNegative = 1.0
    side: LampSide = "ring"
    warm_up_s: NotNegative = 0.0


class DslrConfig(_Table):
    """The DSLR behind the release line; times in s."""

    exposure_s: Positive = 0.02
    light_s: Positive = 0.02
    release_lag_s: NotNegative = 0.06
    min_press_s: NotNegative = 0.03
    half_press_s: NotNegative = 0.0
    active_high: bool = True
    bulb: bool = False
    sync_active_high: bool = False
    sync_s: Positive | None = None  # the flash contact stays made so long; None: until the shutter closes
    sync_bounces: Annotated[int, Field(ge=0, le=10)] = 0
    mirror_lockup: bool = False
    mirror_lead_s: NotNegative = 0.04
    mirror_slap_um: NotNegative = 0.2
    buffer_frames: Annotated[int, Field(ge=1)] = 8
    write_s: Positive = 0.25
    partial_s: NotNegative = 0.05
    sleep_after_s: NotNegative = 0.0
    wake_s: NotNegative = 0.5
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    files: Literal["jpeg", "raw", "both"] = "jpeg"
    # What the files say of the time, by a clock that nobody has set, and that goes wrong by some ppm.
    time: Literal["none", "seconds", "fraction"] = "fraction"
    clock_ahead_s: float = 7163.4
    clock_fast_ppm: float = 20.0
    late_s: Positive = 10.0  # how much later than usual a late_frame comes

    @model_validator(mode="after")
    def _partial_within_write(self) -> DslrConfig:
        if self.partial_s >= self.write_s:
            raise ValueError(f"partial_s is {self.partial_s} s: it must be below write_s, {self.write_s} s")
        return self


class PicamConfig(_Table):
    """The stand-in for picamera2; times in us, as libcamera has them, unless the name says otherwise."""

    frame_us: Annotated[int, Field(gt=0)] = 33333
    light_us: Annotated[int, Field(gt=0)] = 10000
    readout_us: Annotated[int, Field(ge=0)] = 500
    latency_us: Annotated[int, Field(ge=0)] = 20000
    control_delay_frames: Annotated[int, Field(ge=0)] = 4
    ae_wander: Fraction = 0.05
    awb_wander: Fraction = 0.05
    stride_align: Annotated[int, Field(gt=0)] = 64
    lens_um_per_dioptre: float = 0.0


class FaultConfig(_Table):
    """One fault and its moment; see `focusd_sim.faults.Script`."""

    kind: Kind
    at_exposure: int | None = None
    at_s: float | None = None
    chance: float | None = None
    for_s: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> FaultConfig:
        self.script()
        return self

    def script(self) -> Script:
        """Return the fault as the simulator plays it."""
        return Script(self.kind, self.at_exposure, self.at_s, self.chance, self.for_s)


class PairConfig(_Table):
    """A sharp picture and its height map, in place of a built-in scene; see `scene_from_files`."""

    image: Path
    height_map: Path
    far_um: float
    near_um: float


class SimConfig(BenchConfig):
    """The whole simulated rig."""

    scene: str = "wasp"
    pair: PairConfig | None = None
    seed: Annotated[int, Field(ge=0)] = 1
    speed: Positive = 1.0
    centre_um: float = 5000.0
    sensor: SensorConfig = SensorConfig()
    optics: OpticsConfig = OpticsConfig()
    dslr: DslrConfig = DslrConfig()
    lamps: dict[str, LampConfig] = {}
    picam: PicamConfig = PicamConfig()
    faults: tuple[FaultConfig, ...] = ()

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> SimConfig:
        """Read the ``[sim]`` table.

        Raises
        ------
        ConfigError
            Naming every error at once, with the nearest key for an unknown one.
        """
        try:
            return cls.model_validate(dict(table))
        except ValidationError as error:
            lines = [f"  sim.{line}" for line in complaints(error, cls)]
            raise ConfigError("the [sim] table cannot be used:\n" + "\n".join(lines), errors=lines) from error

    @classmethod
    def from_toml(cls, path: Path) -> SimConfig:
        """Read the ``[sim]`` table of a TOML file; without one, everything has its default."""
        return cls.from_table(read_toml(path).get("sim", {}))
