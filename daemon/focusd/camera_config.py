"""The ``[camera]`` table: a DSLR on its release line, a camera on USB, or the Pi's own."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from focusd.pictures.kinds import RAW_SUFFIXES
from focusd.rail_config import Pin, PositiveFloat
from focusd.schema import FilePath, Seconds, Strict

SettingName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
SettingText = Annotated[str, Field(max_length=100)]
SettingValue = bool | int | float | SettingText
FileKind = Literal["jpeg", "tiff", "png", "raw"]

SUFFIXES: dict[FileKind, frozenset[str]] = {
    "jpeg": frozenset({".jpg", ".jpeg"}),
    "tiff": frozenset({".tif", ".tiff"}),
    "png": frozenset({".png"}),
    "raw": RAW_SUFFIXES,
}
"""Endings of a camera's file names, by kind."""


class FrameSizeConfig(Strict):
    """Size of a frame, for foreseeing a job's memory and disk."""

    width: int = Field(ge=1, le=100_000)
    height: int = Field(ge=1, le=100_000)


class FilesConfig(Strict):
    """What the files of a camera are, where a camera makes files."""

    frame_size: FrameSizeConfig | None = None
    frame_colour: Literal["grey", "4:2:0", "4:4:4"] = Field(
        "4:2:0", description="of the files that arrive; for foreseeing memory and disk, as frame_bits"
    )
    frame_bits: Literal[8, 16] = 8


class DslrConfig(FilesConfig):
    """``[camera] kind = "dslr"``: a camera on focus and release lines, its frames from a folder."""

    kind: Literal["dslr"] = "dslr"
    release_pin: Pin
    focus_pin: Pin | None = None
    active: Literal["high", "low"] = Field("high", description="level that presses (optocouplers: high)")
    frames: Literal["inbox", "none"] = "inbox"
    inbox: FilePath | None = Field(None, description="folder the frames arrive in; DIR/inbox when absent")
    files: FileKind | None = Field(
        None,
        description="which of an exposure's files is fused; absent: the kind that comes first, of a raw and "
        "another the other",
    )
    exposure_s: Seconds = Field(0.01, description="what the camera is set to; the rail waits this long")
    bulb: bool = Field(False, description="the camera is set to B: release is pressed for exposure_s")
    release_lag_s: Seconds = Field(0.1, description="longest time from press to shutter")
    half_press_s: Seconds = Field(0.1, description="focus pressed alone before release")
    shutter_on_s: Seconds = Field(0.2, description="length of the release press")
    shutter_gap_s: Seconds = Field(0.5, description="pause between two presses")
    min_interval_s: Seconds = Field(
        0.0, description="from one release to the next, at least: a slow card, a flash that charges"
    )
    post_shot_s: Seconds = Field(0.1, description="wait after exposure before the rail may move")
    mirror_lockup_s: Seconds = Field(0.0, description="pause between mirror and shutter; 0: no lock-up")
    wake_s: Seconds = Field(0.0, description="half-press this long before the first shot, to wake the camera")
    wake_after_s: Seconds = Field(30.0, description="wake it again when it has been left alone so long")
    feedback_pin: Pin | None = Field(
        None, description="hot shoe or PC socket, over an optocoupler: tells that the shutter really opened"
    )
    feedback_active: Literal["low", "high"] = Field("low", description="level while the contact is made")
    feedback_pull: Literal["up", "down", "none"] = Field("up", description="the Pi's own resistor on it")
    frame_timeout_s: Seconds = Field(30.0, description="longest wait for a frame's file")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.wake_s and self.focus_pin is None:
            raise ValueError("wake_s needs a focus_pin: waking is a half press")
        if self.bulb and not self.exposure_s:
            raise ValueError("bulb needs an exposure_s above 0: release is pressed that long")
        return self


class Picamera2Config(Strict):
    """``[camera] kind = "picamera2"``: the Pi's own camera, everything locked for the stack."""

    kind: Literal["picamera2"] = "picamera2"
    index: int = Field(0, ge=0, le=3)
    frame_size: FrameSizeConfig
    files: Literal["yuv420", "dng"] = Field(
        "yuv420", description="the picture as the Pi makes it, or the sensor's own samples (needs rawpy)"
    )
    exposure_s: PositiveFloat = Field(0.02, le=200)
    gain: float = Field(1.0, ge=1, le=64)
    colour_gains: Annotated[tuple[float, float], Field(strict=False)] = (1.0, 1.0)
    lens_position: float | None = Field(None, ge=0, le=32, description="dioptres, for a module with focus")
    buffer_count: int = Field(2, ge=1, le=8, description="finished frames that have room at a time")
    frame_timeout_s: Seconds = Field(10.0, description="longest wait for a frame")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.frame_size.width % 2 or self.frame_size.height % 2:
            raise ValueError(
                f"frame_size {self.frame_size.width} x {self.frame_size.height}: both sides must be even, "
                "colour has half the resolution"
            )
        if self.frame_timeout_s < 3 * self.exposure_s + 1:
            raise ValueError(
                f"frame_timeout_s {self.frame_timeout_s:g} is too short for exposures of {self.exposure_s:g} "
                "s: set at least three of them and a second"
            )
        return self


class Gphoto2Config(FilesConfig):
    """``[camera] kind = "gphoto2"``: a camera released, set and read over USB by libgphoto2."""

    kind: Literal["gphoto2"] = "gphoto2"
    model: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="as libgphoto2 names it; needed where there are several",
    )
    port: str | None = Field(
        None,
        pattern=r"^[a-z]{1,16}:[^\s]{1,80}$",
        description='as "usb:001,004", for two of one model; it changes when the cable is pulled',
    )
    settings: dict[SettingName, SettingValue] = Field(
        {}, max_length=32, description="libgphoto2's names and values, set before each stack and read back"
    )
    files: FileKind = Field(
        "jpeg", description="which of an exposure's files is fused; others stay on the card"
    )
    delete_after_download: bool = Field(False, description="free the card of each frame that was fetched")
    exposure_s: Seconds | None = Field(
        None, description="what the camera is set to; absent: the rail waits until the file is there"
    )
    release_lag_s: Seconds = Field(0.3, description="longest time from release to shutter")
    shutter_gap_s: Seconds = Field(0.0, description="pause between two exposures")
    post_shot_s: Seconds = Field(0.1, description="wait after exposure before the rail may move")
    frame_timeout_s: Seconds = Field(30.0, description="longest wait for the camera, and for a frame's file")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.exposure_s is None:
            if self.frame_timeout_s < 1:
                raise ValueError(f"frame_timeout_s {self.frame_timeout_s:g} is too short: set 1 or more")
        elif self.frame_timeout_s < self.exposure_s + self.release_lag_s + 1:
            raise ValueError(
                f"frame_timeout_s {self.frame_timeout_s:g} is too short for exposures of {self.exposure_s:g} "
                "s: set at least exposure_s + release_lag_s + 1"
            )
        return self


CameraConfig = Annotated[DslrConfig | Picamera2Config | Gphoto2Config, Field(discriminator="kind")]


def frames_come(config: CameraConfig) -> bool:
    """Whether the camera's frames come to this machine."""
    return not (isinstance(config, DslrConfig) and config.frames == "none")
