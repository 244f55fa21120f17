"""The configuration file: TOML in, frozen models out, every error listed at once."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from focusd.errors import ConfigError
from focusd.job import FusionMode, Preference
from focusd.optics import Optics
from focusd.schema import Strict, complaints
from focusd.slab_plan import LARGEST_SLAB, SlabPlan

Pin = Annotated[int, Field(ge=0, le=27, description="BCM number")]
PositiveFloat = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0, le=3600)]
# Absolute from the start: the daemon changes its working directory.
FilePath = Annotated[
    Path, BeforeValidator(lambda v: Path(v).expanduser().absolute() if isinstance(v, str) else v)
]
RIG_NAME = r"^[a-z0-9_-]{1,32}$"


class RigConfig(Strict):
    """``[rig]``: who this rig is."""

    name: str = Field("focusd", pattern=RIG_NAME, description="in every topic: focusd/<name>/...")


class MqttConfig(Strict):
    """``[mqtt]``: the broker. Passwords come by systemd's LoadCredential, never from this file."""

    broker: str = Field("mqtt://localhost:1883", description="mqtt[s]://host[:port]")
    username: str | None = None
    password_credential: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None
    image_limit_bytes: int = Field(900_000, ge=10_000, le=200_000_000)
    queue_limit: int = Field(4, ge=0, le=100, description="jobs waiting behind the running one")

    @field_validator("broker")
    @classmethod
    def _address(cls, value: str) -> str:
        broker_address(value)
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together: give both or neither")
        return self


def broker_address(url: str) -> tuple[str, int, bool]:
    """Split ``mqtt[s]://host[:port]``.

    Returns
    -------
    tuple of (str, int, bool)
        Host, port (1883, or 8883 with TLS, by default) and whether TLS is used.

    Raises
    ------
    ValueError
        Not such an address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"broker is '{url}': write mqtt://host:port, or mqtts://host:port for TLS")
    if parts.username or parts.password:
        raise ValueError("broker: user and password do not belong in the address; see mqtt.username")
    tls = parts.scheme == "mqtts"
    return parts.hostname, parts.port or (8883 if tls else 1883), tls


class DataConfig(Strict):
    """``[data]``: where runs are kept."""

    dir: FilePath = Path("/var/lib/focusd")
    checkpoint_s: float = Field(
        180.0, ge=0, le=86_400, description="least time between two saved states of a stack; 0: none is saved"
    )


class HomeConfig(Strict):
    """``[rail.home]``: the end stop that gives the rail its position."""

    pin: Pin
    active: Literal["low", "high"] = "low"
    pull: Literal["up", "down", "none"] = "up"
    direction: Literal["down", "up"] = "down"
    position_um: float = Field(0.0, description="rail position where the switch trips")
    go_to_um: float | None = Field(None, description="where to go after homing; stay when absent")
    fast_um_s: PositiveFloat = 2000.0
    slow_um_s: PositiveFloat = 250.0
    back_off_um: PositiveFloat = 500.0
    max_travel_um: PositiveFloat = 60_000.0


class RailConfig(Strict):
    """``[rail]``: motor, screw and limits."""

    step_pin: Pin
    direction_pin: Pin
    enable_pin: Pin
    enable_active: Literal["low", "high"] = "low"
    invert_direction: bool = False
    driver: Literal["a4988", "drv8825", "tmc2209"] = "a4988"
    pulses: Literal["pins"] = Field("pins", description="who times the pulses: gpiozero pins, by Python")
    full_steps_per_turn: int = Field(200, ge=4, le=1000)
    microsteps: Literal[1, 2, 4, 8, 16, 32, 64, 128, 256] = 1
    lead_um: PositiveFloat = Field(1000.0, description="travel a turn; M8x1: 1000")
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

    @model_validator(mode="after")
    def _check(self) -> Self:
        home = self.home
        faults = []
        if self.low_um >= self.high_um:
            faults.append(f"low_um {self.low_um:g} must be below high_um {self.high_um:g}")
        if self.start_um_s > self.cruise_um_s:
            faults.append(
                f"start_um_s {self.start_um_s:g} must not be above cruise_um_s {self.cruise_um_s:g}"
            )
        if self.at_start == "home" and home is None:
            faults.append('at_start is "home" but there is no [rail.home]: add the end stop')
        if self.at_start == "zero" and not self.low_um <= 0 <= self.high_um:
            faults.append(f'at_start is "zero" but 0 is outside {self.low_um:g} to {self.high_um:g} um')
        if home is not None and home.go_to_um is not None:
            faults += self._homing_faults(home, home.go_to_um)
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _homing_faults(self, home: HomeConfig, go_to_um: float) -> list[str]:
        """Say why the place to go to after homing cannot be reached from the switch, if it cannot."""
        if not self.low_um <= go_to_um <= self.high_um:
            return [f"home.go_to_um {go_to_um:g} is outside {self.low_um:g} to {self.high_um:g} um"]
        away = 1 if home.direction == "down" else -1
        run_up_um = self.backlash_um + self.prerun_um
        if away * (go_to_um - home.position_um) < 2 * run_up_um:
            return [
                f"home.go_to_um {go_to_um:g} is too near the switch at {home.position_um:g} um: keep "
                f"{2 * run_up_um:g} um away (twice backlash_um + prerun_um), on the side it backs off to"
            ]
        return []


class FrameSizeConfig(Strict):
    """Size of a frame, for foreseeing a job's memory and disk."""

    width: int = Field(ge=1, le=100_000)
    height: int = Field(ge=1, le=100_000)


class DslrConfig(Strict):
    """``[camera] kind = "dslr"``: a camera on focus and release lines, its frames from a folder."""

    kind: Literal["dslr"] = "dslr"
    release_pin: Pin
    focus_pin: Pin | None = None
    active: Literal["high", "low"] = Field("high", description="level that presses (optocouplers: high)")
    frames: Literal["inbox", "none"] = "inbox"
    inbox: FilePath | None = Field(None, description="folder the frames arrive in; DIR/inbox when absent")
    exposure_s: Seconds = Field(0.01, description="what the camera is set to; the rail waits this long")
    release_lag_s: Seconds = Field(0.1, description="longest time from press to shutter")
    half_press_s: Seconds = Field(0.1, description="focus pressed alone before release")
    shutter_on_s: Seconds = Field(0.2, description="length of the release press")
    shutter_gap_s: Seconds = Field(0.5, description="pause between two presses")
    post_shot_s: Seconds = Field(0.1, description="wait after exposure before the rail may move")
    mirror_lockup_s: Seconds = Field(0.0, description="pause between mirror and shutter; 0: no lock-up")
    wake_s: Seconds = Field(0.0, description="half-press this long before the first shot, to wake the camera")
    frame_timeout_s: Seconds = Field(30.0, description="longest wait for a frame's file")
    frame_size: FrameSizeConfig | None = None
    frame_colour: Literal["grey", "4:2:0", "4:4:4"] = Field(
        "4:2:0", description="of the files that arrive; for foreseeing memory and disk, as frame_bits"
    )
    frame_bits: Literal[8, 16] = 8

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.wake_s and self.focus_pin is None:
            raise ValueError("wake_s needs a focus_pin: waking is a half press")
        return self


class Picamera2Config(Strict):
    """``[camera] kind = "picamera2"``: the Pi's own camera, everything locked for the stack."""

    kind: Literal["picamera2"] = "picamera2"
    index: int = Field(0, ge=0, le=3)
    frame_size: FrameSizeConfig
    exposure_s: PositiveFloat = Field(0.02, le=200)
    gain: float = Field(1.0, ge=1, le=64)
    colour_gains: Annotated[tuple[float, float], Field(strict=False)] = (1.0, 1.0)
    lens_position: float | None = Field(None, ge=0, le=32, description="dioptres, for a module with focus")
    buffer_count: int = Field(2, ge=1, le=8)
    frame_timeout_s: Seconds = Field(10.0, description="longest wait for a frame")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.frame_timeout_s < 3 * self.exposure_s + 1:
            raise ValueError(
                f"frame_timeout_s {self.frame_timeout_s:g} is too short for exposures of {self.exposure_s:g} "
                "s: set at least three of them and a second"
            )
        return self


CameraConfig = Annotated[DslrConfig | Picamera2Config, Field(discriminator="kind")]


class OpticsConfig(Strict):
    """``[optics]``, and ``optics`` of a request: the lens, from which a step can be worked out."""

    magnification: Annotated[float, Field(ge=1e-4, le=1000)]
    na: Annotated[float, Field(ge=1e-4, lt=2)] | None = None
    f_number: Annotated[float, Field(ge=0.1, le=1000)] | None = None
    pixel_um: Annotated[float, Field(ge=0.01, le=1000)]
    wavelength_um: Annotated[float, Field(ge=0.1, le=20)] = 0.55
    refractive_index: Annotated[float, Field(ge=1, le=2)] = 1.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.na is None) == (self.f_number is None):
            raise ValueError("give exactly one of na and f_number")
        self.as_optics()
        return self

    def as_optics(self) -> Optics:
        """As the core's value."""
        if self.na is not None:
            return Optics(
                self.magnification, self.na, self.pixel_um, self.wavelength_um, self.refractive_index
            )
        assert self.f_number is not None  # noqa: S101  # _check saw to it
        return Optics.from_f_number(
            self.magnification, self.f_number, self.pixel_um, self.wavelength_um, self.refractive_index
        )


class StackConfig(Strict):
    """``[stack]``: what a job does where its request is silent."""

    range_um: PositiveFloat | None = None
    step_um: PositiveFloat | None = None
    overlap: float = Field(0.5, ge=0, lt=1)
    settle_s: Seconds = 1.0
    pre_delay_s: Seconds = 0.0
    return_to: Literal["none", "start", "end", "centre"] = Field(
        "none", description="where the rail goes after the last stop"
    )
    give_up_after: int = Field(3, ge=1, le=1000, description="frames missing in a row that end a job")
    slab: int = Field(0, ge=0, le=LARGEST_SLAB, description="stops fused by themselves as well; 0: none")
    slab_overlap: int = Field(0, ge=0, lt=LARGEST_SLAB, description="stops a slab shares with the next")
    prefer: Preference = Field("none", description="end that wins where two depths answer about alike")
    fusion_mode: FusionMode = Field("default", description="the best picture, or fast: a little less, sooner")
    default_preset: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.slab:
            SlabPlan(self.slab, self.slab_overlap)
        return self


class PreviewConfig(Strict):
    """``[preview]``: the live picture."""

    max_side_px: int = Field(800, ge=16, le=4096)
    interval_s: float = Field(2.0, ge=0.1, le=3600)


class Config(Strict):
    """The whole file."""

    rig: RigConfig = RigConfig()
    mqtt: MqttConfig = MqttConfig()
    data: DataConfig = DataConfig()
    gpio: Literal["lgpio", "rpigpio"] = Field("lgpio", description="gpiozero's pin factory")
    rail: RailConfig
    camera: CameraConfig
    optics: OpticsConfig | None = None
    stack: StackConfig = StackConfig()
    preview: PreviewConfig = PreviewConfig()
    presets: dict[str, dict[str, Any]] = Field({}, max_length=100)
    sim: dict[str, Any] = Field({}, description="read by focusd-sim alone: the physics behind the pins")

    @model_validator(mode="after")
    def _check(self) -> Self:
        doubled = doubled_pins(self.model_dump())
        if doubled:
            raise ValueError("; ".join(doubled))
        default = self.stack.default_preset
        if default is not None and default not in self.presets:
            raise ValueError(f"stack.default_preset '{default}' is not in [presets]")
        return self


def doubled_pins(table: dict[str, Any]) -> list[str]:
    """Say which pins of a configuration's table are used twice; any key that ends in ``pin`` names one."""
    seen: dict[int, str] = {}
    faults = []

    def walk(value: Any, where: str) -> None:
        for key, inner in value.items():
            name = f"{where}{key}"
            if isinstance(inner, dict):
                walk(inner, f"{name}.")
            elif (key == "pin" or key.endswith("_pin")) and isinstance(inner, int):
                if inner in seen:
                    faults.append(f"pin {inner} is used twice: {seen[inner]} and {name}")
                seen.setdefault(inner, name)

    for section in ("rail", "camera"):
        if isinstance(table.get(section), dict):
            walk(table[section], f"{section}.")
    return faults


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        Not there, not readable, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def parse_config(table: dict[str, Any], name: str) -> Config:
    """Validate a table.

    Parameters
    ----------
    table : dict
        As read from TOML.
    name : str
        The file's name, for the error.

    Raises
    ------
    ConfigError
        Every fault, one a line; also as ``values["faults"]``.
    """
    try:
        return Config.model_validate(table)
    except ValidationError as error:
        faults = complaints(error, Config)
        # Checks across sections wait in vain while a section is faulty: make this one all the same.
        faults += [fault for fault in doubled_pins(table) if not any(fault in other for other in faults)]
        raise ConfigError("\n".join(f"{name}: {fault}" for fault in faults), faults=faults) from error


def load_config(path: Path) -> Config:
    """Read and validate a file; see `read_toml` and `parse_config`."""
    return parse_config(read_toml(path), str(path))
