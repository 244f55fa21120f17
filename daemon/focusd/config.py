"""The configuration file: TOML in, frozen models out, every error listed at once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from focusd.camera_config import CameraConfig, frames_come
from focusd.errors import ConfigError
from focusd.job import FusionMode, KeepFrames, Preference
from focusd.optics import Optics
from focusd.rail_config import AnyRailConfig, ChipRailConfig, Pin, PositiveFloat
from focusd.register.aligner import Mode
from focusd.register.correction import Border, OddPolicy
from focusd.schema import FilePath, Seconds, Strict, complaints
from focusd.slab_plan import LARGEST_SLAB, SlabPlan

LIGHT_NAME = r"^[a-z0-9_-]{1,32}$"
LightName = Annotated[str, Field(pattern=LIGHT_NAME)]
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


class OpticsConfig(Strict):
    """``[optics]``, and ``optics`` of a request: the lens, from which a step can be worked out."""

    magnification: Annotated[float, Field(ge=1e-4, le=1000)]
    na: Annotated[float, Field(ge=1e-4, lt=2)] | None = None
    f_number: Annotated[float, Field(ge=0.1, le=1000)] | None = None
    pixel_um: Annotated[float, Field(ge=0.01, le=1000)]
    wavelength_um: Annotated[float, Field(ge=0.1, le=20)] = 0.55
    refractive_index: Annotated[float, Field(ge=1, le=2)] = 1.0
    pupil_um: Annotated[float, Field(gt=0, le=1e7)] | None = Field(
        None, description="entrance pupil to the plane in focus; where the camera moves as a whole"
    )

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
    align: Mode = Field("off", description="what of the frames' place may be corrected; auto finds out")
    gain: bool = Field(False, description="even flicker of the lamp out")
    odd_frames: OddPolicy = Field(
        "fuse",
        description="a frame unlike its neighbours: fuse it, skip it (or take it again), or stop",
    )
    border: Border = Field("crop", description="what not all frames cover: cut off, or told by a mask")
    keep_frames: KeepFrames = Field(
        "off", description="frames kept in the run's folder: as they came, or as JPEG"
    )
    lights: tuple[LightName, ...] = Field(
        (), strict=False, max_length=16, description="lights that take turns at each stop"
    )
    retries: int = Field(10, ge=0, le=1000, description="frames of a job that may be taken again in all")
    preflight: bool = Field(True, description="look at a test frame before each stack")
    default_preset: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.slab:
            SlabPlan(self.slab, self.slab_overlap)
        return self


class LightConfig(Strict):
    """``[lights.NAME]``: a lamp on a pin, through whatever switches its current."""

    pin: Pin
    active: Literal["high", "low"] = Field("high", description="level that lights it")
    on: Literal["job", "shot"] = Field("shot", description="burns for the whole job, or for exposures only")
    warm_up_s: Seconds = Field(0.0, description="from switching on to steady light")


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
    rail: AnyRailConfig
    camera: CameraConfig
    optics: OpticsConfig | None = None
    stack: StackConfig = StackConfig()
    preview: PreviewConfig = PreviewConfig()
    lights: dict[LightName, LightConfig] = Field({}, max_length=16)
    presets: dict[str, dict[str, Any]] = Field({}, max_length=100)
    sim: dict[str, Any] = Field({}, description="read by focusd-sim alone: the physics behind the pins")

    @model_validator(mode="after")
    def _check(self) -> Self:
        doubled = doubled_pins(self.model_dump())
        if doubled:
            raise ValueError("; ".join(doubled))
        if self.gpio == "rpigpio" and self.pulses == "native":
            raise ValueError('rail.pulses "native" needs gpio "lgpio"; with "rpigpio" Python times the steps')
        stack = self.stack
        faults = [f"stack.{fault}" for fault in self.frame_faults(stack.lights, stack.keep_frames)]
        for name, fields in self.presets.items():
            turns, keep_frames = fields.get("lights", stack.lights), fields.get("keep_frames")
            # A preset's own types are looked at elsewhere.
            if isinstance(turns, list | tuple) and all(isinstance(light, str) for light in turns):
                found = self.frame_faults(turns, keep_frames or stack.keep_frames)
                faults += [f"presets.{name}.{fault}" for fault in found if f"stack.{fault}" not in faults]
        if faults:
            raise ValueError("; ".join(faults))
        default = self.stack.default_preset
        if default is not None and default not in self.presets:
            raise ValueError(f"stack.default_preset '{default}' is not in [presets]")
        return self

    @property
    def frames_come(self) -> bool:
        """Whether the camera's frames come to this machine."""
        return frames_come(self.camera)

    def frame_faults(self, turns: Sequence[str], keep_frames: object) -> list[str]:
        """Say what no job can have: lights that cannot take turns, frames kept that never come.

        Parameters
        ----------
        turns : sequence of str
            The lights' names.
        keep_frames : object
            "off", or how.
        """
        lights = light_faults(turns, self.lights)
        faults = [f"lights: {lights}"] if lights else []
        if not self.frames_come and keep_frames != "off":
            faults.append(
                f'keep_frames: "{keep_frames}", and camera.frames is "none": they stay on its card, nothing '
                'is kept here; set "off", or let them come into an inbox'
            )
        return faults

    @property
    def pulses(self) -> Literal["native", "pins"]:
        """Who times the steps."""
        if not isinstance(self.rail, ChipRailConfig):
            return "pins"
        return self.rail.pulses or ("native" if self.gpio == "lgpio" else "pins")


def light_faults(turns: Sequence[str], lights: Mapping[str, LightConfig]) -> str:
    """Say what is wrong with lights that are to take turns; empty when nothing is.

    Parameters
    ----------
    turns : sequence of str
        Their names.
    lights : mapping
        The rig's.
    """
    unknown = [name for name in turns if name not in lights]
    if unknown:
        return f"there is no light {', '.join(unknown)}; there are: {', '.join(sorted(lights)) or 'none'}"
    if len(set(turns)) < len(turns):
        return f"a light is named twice: {', '.join(turns)}"
    steady = [name for name in turns if lights[name].on == "job"]
    if steady:
        return f'{", ".join(steady)} burns for the whole job and takes no turns: set on = "shot"'
    return ""


def doubled_pins(table: dict[str, Any]) -> list[str]:
    """Say which pins are used twice; a key that ends in ``pin`` names one, in ``_pins`` a list of them."""
    seen: dict[object, str] = {}
    faults = []

    def walk(value: Any, where: str) -> None:
        for key, inner in value.items():
            name = f"{where}{key}"
            if isinstance(inner, dict):
                walk(inner, f"{name}.")
            elif key == "pin" or key.endswith(("_pin", "_pins")):
                for pin in inner if isinstance(inner, list | tuple) else [inner]:
                    if isinstance(pin, int) and pin in seen:
                        faults.append(f"pin {pin} is used twice: {seen[pin]} and {name}")
                    seen.setdefault(pin, name)

    for section in ("rail", "camera", "lights"):
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
