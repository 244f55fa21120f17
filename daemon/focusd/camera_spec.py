"""What a camera's configuration says beforehand: the time of its exposures and the form of its frames."""

from __future__ import annotations

from dataclasses import dataclass

from focusd.camera_config import CameraConfig, DslrConfig, Gphoto2Config, Picamera2Config
from focusd.job import JobSettings
from focusd.needs import FrameForm


@dataclass(frozen=True, slots=True)
class ShotTiming:
    """One stack's timing on a release line: the request's where it says, else the configuration's; s."""

    press_s: float
    gap_s: float
    post_s: float
    lockup_s: float

    @classmethod
    def of(cls, config: DslrConfig, settings: JobSettings) -> ShotTiming:
        """Return the timing of a job with these settings."""
        gap_s, post_s = shot_waits_s(config, settings)
        return cls(
            press_s=_either(settings.shutter_on_s, config.shutter_on_s),
            gap_s=gap_s,
            post_s=post_s,
            lockup_s=_either(settings.mirror_lockup_s, config.mirror_lockup_s),
        )


def _either(asked: float | None, configured: float) -> float:
    return configured if asked is None else asked


def shot_waits_s(config: DslrConfig | Gphoto2Config, settings: JobSettings) -> tuple[float, float]:
    """Return the waits between two exposures and after each, s, as the request says, else the configuration.

    Parameters
    ----------
    config : DslrConfig or Gphoto2Config
        The camera's.
    settings : JobSettings
        The job's; what it says of presses and of mirror lock-up concerns release lines alone.
    """
    return (
        _either(settings.shutter_gap_s, config.shutter_gap_s),
        _either(settings.post_shot_s, config.post_shot_s),
    )


def stop_s(config: CameraConfig, settings: JobSettings) -> float:
    """Time that the exposures of one stop take, s; what overlaps with settling, as a download, not counted.

    Parameters
    ----------
    config : CameraConfig
        The camera's.
    settings : JobSettings
        The job's.
    """
    shots = settings.shots_per_step
    if isinstance(config, Picamera2Config):
        # On average one and a half frames pass before the one that is taken.
        return shots * 2.5 * config.exposure_s
    if isinstance(config, Gphoto2Config):
        gap_s, post_s = shot_waits_s(config, settings)
        return shots * (config.release_lag_s + (config.exposure_s or 0.0) + post_s) + (shots - 1) * gap_s
    timing = ShotTiming.of(config, settings)
    half_s = config.half_press_s if config.focus_pin is not None else 0.0
    mirror_s = timing.press_s + timing.lockup_s if timing.lockup_s else 0.0
    open_s = max(timing.press_s, config.release_lag_s + config.exposure_s)
    return shots * (half_s + mirror_s + open_s + timing.post_s) + (shots - 1) * timing.gap_s


def frame_form(config: CameraConfig) -> FrameForm | None:
    """Form of the frames that will be fused; None where it is not known, or where none come to be fused."""
    size = config.frame_size
    if isinstance(config, Picamera2Config):
        return FrameForm(config.frame_size.height, config.frame_size.width, "4:2:0")
    if size is None or (isinstance(config, DslrConfig) and config.frames == "none"):
        return None
    return FrameForm(size.height, size.width, config.frame_colour, config.frame_bits, encoded=True)
