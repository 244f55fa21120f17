"""What comes out of a Pi camera: a buffer's planes or its DNG, and what its metadata say of the exposure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focusd.camera_config import Picamera2Config
from focusd.errors import CameraError, FrameLost
from focusd.pictures.planes import Planes

# Of what was set: sensors quantise exposure to lines and gain to register steps.
_SET_TOLERANCE = {"exposure_s": 0.02, "gain": 0.05, "colour_gains": 0.02, "lens_position": 0.02}
# From frame to frame nothing may change; metadata are rounded to microseconds and to 32-bit floats.
_DRIFT = 0.002
_UNITS = {"exposure_s": " s", "lens_position": " dioptres"}


def planes_of(array: NDArray[np.uint8], width: int, height: int) -> Planes:
    """Cut a YUV420 buffer into its planes.

    Parameters
    ----------
    array : ndarray of uint8, (height * 3 / 2, stride)
        As ``make_array`` returns it: luma, then blue and red at half stride, the padding of each row left in.
    width, height : int
        Of the picture, px, even.

    Returns
    -------
    Planes
        Without padding: views of `array` where there is none, else copies.

    Raises
    ------
    FrameLost
        An array of another shape.
    """
    stride = array.shape[-1]
    if array.shape != (height * 3 // 2, stride) or stride < width or stride % 2:
        raise FrameLost(
            f"the camera's buffer is {array.shape}: {width} x {height} px in YUV420 take {height * 3 // 2} "
            f"rows of at least {width} bytes"
        )
    flat, luma_bytes = array.reshape(-1), height * stride
    chroma = flat[luma_bytes:].reshape(2, height // 2, stride // 2)[:, :, : width // 2]
    luma = flat[:luma_bytes].reshape(height, stride)[:, :width]
    return Planes(*(np.ascontiguousarray(plane) for plane in (luma, chroma[0], chroma[1])))


def dng_of(request: Any) -> bytes:
    """DNG file of a picamera2 request that has a raw stream (``save_dng``).

    Raises
    ------
    CameraError
        picamera2 or its PiDNG cannot make one.
    """
    file = BytesIO()
    try:
        request.save_dng(file)
    except (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise CameraError(
            f'picamera2 made no DNG: {error!r}; use picamera2 0.3.17 or later, or camera.files = "yuv420"'
        ) from error
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a frame was taken with, by its metadata; None where the camera does not say.

    Parameters
    ----------
    exposure_s : float
        Exposure time, s.
    gain, digital_gain : float
        Of the sensor, and of the image processor after it.
    colour_gains : tuple of float
        White balance: red and blue.
    lens_position : float
        Focus of the module's own lens, dioptres.
    """

    exposure_s: float
    gain: float
    digital_gain: float | None = None
    colour_gains: tuple[float, float] | None = None
    lens_position: float | None = None

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Taken:
        """Read it off a frame's metadata.

        Raises
        ------
        FrameLost
            Exposure or gain is not there: no lock can be checked.
        """
        absent = [name for name in ("ExposureTime", "AnalogueGain") if name not in metadata]
        if absent:
            raise FrameLost(
                f"a frame without {' and '.join(absent)} in its metadata: whether the exposure is locked "
                "cannot be told; this camera cannot be used"
            )
        colour = metadata.get("ColourGains")
        return cls(
            metadata["ExposureTime"] * 1e-6,
            metadata["AnalogueGain"],
            metadata.get("DigitalGain"),
            None if colour is None else (colour[0], colour[1]),
            metadata.get("LensPosition"),
        )

    @classmethod
    def wanted(cls, config: Picamera2Config) -> Taken:
        """Return what the configuration sets."""
        return cls(
            config.exposure_s,
            config.gain,
            colour_gains=config.colour_gains,
            lens_position=config.lens_position,
        )

    def unlike_set(self, wanted: Taken) -> str:
        """Say what is not as it was set, quantisation aside; empty when nothing."""
        return self._unlike(wanted, _SET_TOLERANCE, "what was set is")

    def unlike_first(self, first: Taken) -> str:
        """Say what is not as in the first frame of the stack; empty when nothing."""
        return self._unlike(first, {}, "the stack began with")

    def _unlike(self, other: Taken, tolerances: Mapping[str, float], verb: str) -> str:
        for field in fields(self):
            mine, its = getattr(self, field.name), getattr(other, field.name)
            if mine is None or its is None:
                continue
            tolerance, unit = tolerances.get(field.name, _DRIFT), _UNITS.get(field.name, "")
            pairs = zip(np.atleast_1d(mine), np.atleast_1d(its), strict=True)
            if not all(math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-6) for a, b in pairs):
                name = field.name.removesuffix("_s").replace("_", " ")
                return f"{name} {_text(mine)}{unit} where {verb} {_text(its)}{unit}"
        return ""


def began_s(metadata: Mapping[str, Any], exposure_s: float) -> float:
    """Return when the exposure of a frame's first row began, on CLOCK_MONOTONIC, s; no row began earlier.

    libcamera describes SensorTimestamp as the moment the first row is exposed, on CLOCK_BOOTTIME
    (control_ids_core.yaml). A Pi gives another moment, on another clock: its pipelines pass on the buffer's
    time stamp (vc4.cpp, pisp.cpp), which the receiver's driver takes from ktime_get_ns (CLOCK_MONOTONIC) at
    the frame start interrupt, when the sensor sends its first row (Linux, bcm2835-unicam.c `unicam_isr`,
    rp1-cfe's cfe.c `cfe_sof_isr`). A row is sent once it has been exposed, so the exposure has to be taken
    off, as picamera2 does (`wait_for_timestamp_`; its issue 821 says so).

    Raises
    ------
    FrameLost
        No time stamp: a frame from before the move could not be told.
    """
    if "SensorTimestamp" not in metadata:
        raise FrameLost("a frame without SensorTimestamp: whether it shows the move cannot be told")
    return float(metadata["SensorTimestamp"] * 1e-9 - exposure_s)


def _text(value: float | tuple[float, float]) -> str:
    return " and ".join(f"{number:g}" for number in np.atleast_1d(value))
