"""The Pi camera's controls: what is advertised, when it takes hold, what wanders while it is not locked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from focusd_sim.config import PicamConfig

Limits = tuple[Any, Any, Any]

# White balance gains (red, blue) that make the scene's white white.
NEUTRAL_GAINS = (1.8, 1.6)
# Of the wander from frame to frame, how much is carried over.
_MEMORY = 0.9


def advertised(config: PicamConfig) -> dict[str, Limits]:
    """Return the controls as `Picamera2.camera_controls` lists them: name to (minimum, maximum, default)."""
    controls: dict[str, Limits] = {
        "AeEnable": (False, True, True),
        "AnalogueGain": (1.0, 16.0, 1.0),
        "AwbEnable": (False, True, True),
        "ColourGains": (0.0, 32.0, None),
        "ExposureTime": (13, 2_000_000, 10_000),
        "FrameDurationLimits": (config.frame_us, 1_000_000_000, config.frame_us),
        "NoiseReductionMode": (0, 4, 0),
    }
    if config.lens_um_per_dioptre:
        controls |= {"AfMode": (0, 2, 0), "LensPosition": (0.0, 32.0, 1.0)}
    return controls


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a frame is taken with. An automatic exposure, gain or balance is None when it is free."""

    exposure_us: int | None = None
    gain: float | None = None
    colour_gains: tuple[float, float] | None = None
    ae: bool = True
    awb: bool = True
    duration_us: tuple[int, int] = (0, 1_000_000_000)
    lens_position: float = 1.0


@dataclass(frozen=True, slots=True)
class Shot:
    """What one frame was taken with.

    Attributes
    ----------
    exposure_us : int
        Exposure time.
    gain : float
        Analogue gain.
    colour_gains : tuple of float
        For red and blue.
    duration_us : int
        From the start of this frame to that of the next.
    lens_position : float
        Dioptres.
    """

    exposure_us: int
    gain: float
    colour_gains: tuple[float, float]
    duration_us: int
    lens_position: float


class ExposureControl:
    """Applies controls after their delay, and lets what is automatic wander.

    Parameters
    ----------
    config : PicamConfig
        Delay and wander.
    seed : int
        Of the wander.
    """

    def __init__(self, config: PicamConfig, seed: int) -> None:
        self._config = config
        self._settings = Settings()
        self._queue: list[tuple[int, dict[str, Any]]] = []
        self._last = Shot(config.light_us, 1.0, NEUTRAL_GAINS, config.frame_us, 1.0)
        self._random = np.random.default_rng(seed)
        self._wander = (0.0, 0.0, 0.0)

    def ask(self, controls: Mapping[str, Any], from_frame: int) -> None:
        """Apply `controls` to frames from `from_frame` on."""
        self._queue.append((from_frame, dict(controls)))

    def shot(self, frame: int) -> Shot:
        """Settle with what frame number `frame` is taken. Ask once a frame, in order."""
        due = [controls for first, controls in self._queue if first <= frame]
        self._queue = [(first, controls) for first, controls in self._queue if first > frame]
        for controls in due:
            self._settings = _applied(self._settings, controls)
        settings, config = self._settings, self._config
        fresh = self._random.normal(size=3) * (1 - _MEMORY**2) ** 0.5
        light, red, blue = (_MEMORY * old + float(new) for old, new in zip(self._wander, fresh, strict=True))
        self._wander = (light, red, blue)
        exposure_us = self._last.exposure_us
        if settings.exposure_us is not None:
            exposure_us = settings.exposure_us
        elif settings.ae:
            exposure_us = round(config.light_us * float(np.exp(config.ae_wander * light)))
        gains = self._last.colour_gains
        if settings.colour_gains is not None:
            gains = settings.colour_gains
        elif settings.awb:
            gains = (
                NEUTRAL_GAINS[0] * float(np.exp(config.awb_wander * red)),
                NEUTRAL_GAINS[1] * float(np.exp(config.awb_wander * blue)),
            )
        gain = settings.gain if settings.gain is not None else (1.0 if settings.ae else self._last.gain)
        # The longest frame bounds the exposure in it, as it does in libcamera.
        exposure_us = min(exposure_us, settings.duration_us[1] - config.readout_us)
        shortest_us = max(settings.duration_us[0], config.frame_us, exposure_us + config.readout_us)
        self._last = Shot(exposure_us, gain, gains, shortest_us, settings.lens_position)
        return self._last


def _applied(settings: Settings, controls: Mapping[str, Any]) -> Settings:
    """Take `controls` into `settings`, the switches before the values, as libcamera does."""
    # A value freed while its automatic is off stays what the last frame had.
    if "AeEnable" in controls:
        settings = replace(settings, ae=bool(controls["AeEnable"]), exposure_us=None, gain=None)
    if "AwbEnable" in controls:
        settings = replace(settings, awb=bool(controls["AwbEnable"]), colour_gains=None)
    if "ExposureTime" in controls:
        # 0 hands it back to the automatic.
        settings = replace(settings, exposure_us=int(controls["ExposureTime"]) or None)
    if "AnalogueGain" in controls:
        settings = replace(settings, gain=float(controls["AnalogueGain"]) or None)
    if "ColourGains" in controls:
        red, blue = controls["ColourGains"]
        settings = replace(settings, colour_gains=(float(red), float(blue)), awb=False)
    if "FrameDurationLimits" in controls:
        low_us, high_us = controls["FrameDurationLimits"]
        settings = replace(settings, duration_us=(int(low_us), int(high_us)))
    if "LensPosition" in controls:
        settings = replace(settings, lens_position=float(controls["LensPosition"]))
    return settings
