"""What a camera's configuration says beforehand: the time of its exposures and the form of its frames."""

from __future__ import annotations

from dataclasses import dataclass

from focusd.camera_config import CameraConfig, DslrConfig, Gphoto2Config, Picamera2Config
from focusd.job import JobSettings
from focusd.needs import Colour, FrameForm


@dataclass(frozen=True, slots=True)
class ShotTiming:
    """One stack's timing on a release line: the request's where it says, else the configuration's; s.

    Parameters
    ----------
    half_s : float
        Focus pressed alone; 0 without a focus line.
    press_s, lockup_s : float
        The press for the mirror, and the pause after it; without lock-up the latter is 0.
    hold_s, exposure_s : float
        The press for the shutter, and how long that is open; the same with `bulb`.
    lag_s : float
        Longest time from press to shutter.
    post_s, gap_s : float
        Waits before the rail may move, and before the next shot.
    min_interval_s : float
        From one press for the shutter to the next, at least.
    bulb : bool
        The shutter is open while the release is pressed.
    """

    half_s: float
    press_s: float
    lockup_s: float
    hold_s: float
    exposure_s: float
    lag_s: float
    post_s: float
    gap_s: float
    min_interval_s: float
    bulb: bool

    @classmethod
    def of(cls, config: DslrConfig, settings: JobSettings) -> ShotTiming:
        """Return the timing of a job with these settings."""
        gap_s, post_s = shot_waits_s(config, settings)
        exposure_s = _either(settings.shutter_on_s, config.exposure_s) if config.bulb else config.exposure_s
        press_s = config.shutter_on_s if config.bulb else _either(settings.shutter_on_s, config.shutter_on_s)
        return cls(
            half_s=config.half_press_s if config.focus_pin is not None else 0.0,
            press_s=press_s,
            lockup_s=_either(settings.mirror_lockup_s, config.mirror_lockup_s),
            hold_s=exposure_s if config.bulb else press_s,
            exposure_s=exposure_s,
            lag_s=config.release_lag_s,
            post_s=post_s,
            gap_s=gap_s,
            min_interval_s=config.min_interval_s,
            bulb=config.bulb,
        )

    @property
    def lead_s(self) -> float:
        """Time from the first press to the one for the shutter."""
        return self.half_s + (self.press_s + self.lockup_s if self.lockup_s else 0.0)

    def shots_s(self, shots: int) -> float:
        """Time that so many shots take, from the first press to when the rail may move; 1 or more."""
        one_s = self.lead_s + max(self.hold_s, self.lag_s + self.exposure_s) + self.post_s
        return one_s + (shots - 1) * max(one_s + self.gap_s, self.min_interval_s)


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
    return ShotTiming.of(config, settings).shots_s(shots)


def frame_form(config: CameraConfig) -> FrameForm | None:
    """Form of the frames that will be fused; None where it is not known, or where none come to be fused."""
    size = config.frame_size
    if isinstance(config, Picamera2Config):
        if config.files == "dng":
            return FrameForm(config.frame_size.height, config.frame_size.width, "4:4:4", 16, encoded=True)
        return FrameForm(config.frame_size.height, config.frame_size.width, "4:2:0")
    if size is None or (isinstance(config, DslrConfig) and config.frames == "none"):
        return None
    if config.files == "raw":
        # Developed to 16 bits and, but for a sensor without colours, to colour in each pixel.
        colour: Colour = "grey" if config.frame_colour == "grey" else "4:4:4"
        return FrameForm(size.height, size.width, colour, 16, encoded=True)
    return FrameForm(size.height, size.width, config.frame_colour, config.frame_bits, encoded=True)
