"""How a Pi camera is set up for a stack: its streams, and everything that has to be set not to wander."""

from __future__ import annotations

from typing import Any

from focusd.camera_config import Picamera2Config
from focusd.errors import CameraError

# Luma and half-resolution colour, as the fusion keeps them: half the memory of RGB and nothing is converted.
_FORMAT = "YUV420"
# What `Planes` are; the default of picamera2's still configuration.
_COLOUR_SPACE = "sYCC"
# picamera2 wants a picture beside the raw samples; nobody looks at it, so that it is small.
_BESIDE_RAW_PX = (640, 480)
# As wide as picamera2's own for stills, so that the exposure alone makes the frame time.
_FRAME_US = (100, 1_000_000_000)


def configure(camera: Any, config: Picamera2Config) -> None:
    """Configure the streams of an open camera: a picture of the size configured, or raw of that size.

    Raises
    ------
    CameraError
        The camera gives something else.
    """
    size = main_size = (config.frame_size.width, config.frame_size.height)
    # Unless told, picamera2 holds buffers for a raw stream and for a last frame that nobody asks for.
    raw = None
    if config.files == "dng":
        raw = {"size": size}
        main_size = (min(size[0], _BESIDE_RAW_PX[0]), min(size[1], _BESIDE_RAW_PX[1]))
    camera.configure(
        camera.create_still_configuration(
            main={"size": main_size, "format": _FORMAT},
            raw=raw,
            queue=False,
            buffer_count=config.buffer_count,
        )
    )
    got = camera.camera_configuration()
    if raw is not None:
        _check_raw(got["raw"], size)
    # libcamera's own type, whose text has the name in it.
    main, colour_space = got["main"], str(got["colour_space"])
    if (tuple(main["size"]), main["format"]) != (main_size, _FORMAT) or _COLOUR_SPACE not in colour_space:
        raise CameraError(
            f"the camera gives {main['size']} {main['format']} {colour_space} instead of {main_size} "
            f"{_FORMAT} {_COLOUR_SPACE}; set camera.frame_size to a size it has",
            size_px=tuple(main["size"]),
            format=main["format"],
            colour_space=colour_space,
        )


def controls(camera: Any, config: Picamera2Config) -> dict[str, Any]:
    """Return everything that has to be set for nothing to wander.

    Raises
    ------
    CameraError
        The camera has no control for something that was configured.
    """
    has = camera.camera_controls
    needed: dict[str, Any] = {
        "ExposureTime": round(config.exposure_s * 1e6),
        "AnalogueGain": config.gain,
        "FrameDurationLimits": _FRAME_US,
    }
    if config.lens_position is not None:
        needed |= {"AfMode": 0, "LensPosition": config.lens_position}
    absent = [name for name in needed if name not in has]
    if absent:
        raise CameraError(
            f"the camera has no {', '.join(absent)}: leave lens_position out for a module without a "
            "focus drive; a camera whose exposure cannot be set cannot be used",
            absent=absent,
        )
    # A monochrome sensor has no white balance.
    spare = {"AeEnable": False, "AwbEnable": False, "ColourGains": config.colour_gains}
    return {name: value for name, value in spare.items() if name in has} | needed


def _check_raw(stream: dict[str, Any] | None, size: tuple[int, int]) -> None:
    if stream is None:
        raise CameraError('the camera has no raw stream: set camera.files to "yuv420"')
    given = tuple(stream["size"])
    if given != size:
        raise CameraError(
            f"the sensor gives raw frames of {given[0]} x {given[1]} px instead of {size[0]} x {size[1]}: "
            "set camera.frame_size to one of its modes (`rpicam-hello --list-cameras`)",
            size_px=given,
        )
