"""DNG files (Adobe's specification 1.4) as a camera with a Bayer filter writes them: 16 bits, uncompressed.

The sensor's red, green and blue are those of sRGB (IEC 61966-2-1) but for their sensitivity, so that what a
developer should make of a file is known: the linear picture it was made from.
"""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from focusd.pictures import exif
from focusd.pictures.tags import LONG, Tag, directory, extended, text_tag

FORMAT = "SRGGB16"
"""libcamera's name of such samples."""

BLACK, WHITE = 4096, 65535
"""Levels of no light and of the most the sensor can tell; black as Raspberry Pi's sensors have it."""

# XYZ to linear sRGB.
_FROM_XYZ = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
_ENCODED = np.arange(256) / 255
_LINEAR = np.where(_ENCODED <= 0.04045, _ENCODED / 12.92, ((_ENCODED + 0.055) / 1.055) ** 2.4)

_BYTE, _TEXT, _SHORT, _LONG, _RATIONAL, _SRATIONAL = 1, 2, 3, 4, 5, 10
_D65 = 21
_PARTS = 10_000
_TAKEN, _TAKEN_FRACTION = 36867, 37521


def linear(bgr: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Light of a picture in sRGB, 0 to 1, in the same shape."""
    return np.asarray(_LINEAR.astype(np.float32)[bgr])


def written(
    light: npt.NDArray[np.floating[Any]],
    *,
    sensor_gains: tuple[float, float] = (1.8, 1.6),
    as_shot_gains: tuple[float, float] | None = None,
    black: int = BLACK,
    white: int = WHITE,
    taken: datetime | None = None,
    orientation: int = 1,
    make: str = "focusd",
    model: str = "focusd_sim",
) -> bytes:
    """Write a DNG.

    Parameters
    ----------
    light : ndarray of float, (rows, cols, 3)
        Linear sRGB in the order blue, green, red; 1 is white, and more clips.
    sensor_gains : tuple of float
        What the sensor's red and blue have to be multiplied by for white to be white; 1 or more.
    as_shot_gains : tuple of float, optional
        White balance that the file states, red and blue; default `sensor_gains`, which is right.
    black, white : int
        Levels of the samples, 0 to 65535.
    taken : datetime, optional
        For EXIF's DateTimeOriginal and SubSecTimeOriginal, to a thousandth of a second.
    orientation : int
        The TIFF tag, 1 to 8.
    make, model : str
        The camera's.
    """
    sensitivity = 1 / np.array([sensor_gains[0], 1.0, sensor_gains[1]])
    red, blue = as_shot_gains or sensor_gains
    rows, cols = light.shape[:2]
    sites = np.empty((rows, cols), np.float32)
    for top, left, colour in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        sites[top::2, left::2] = light[top::2, left::2, 2 - colour] * sensitivity[colour]
    samples = np.clip(np.rint(black + sites * (white - black)), 0, white).astype(np.uint16)
    matrix = sensitivity[:, None] * _FROM_XYZ
    tags = [
        (271, _TEXT, len(make) + 1, make, True),
        (272, _TEXT, len(model) + 1, model, True),
        (274, _SHORT, 1, orientation, True),
        (33421, _SHORT, 2, (2, 2), True),  # CFARepeatPatternDim
        (33422, _BYTE, 4, bytes((0, 1, 1, 2)), True),  # CFAPattern: red, green, green, blue
        (50706, _BYTE, 4, bytes((1, 4, 0, 0)), True),  # DNGVersion
        (50707, _BYTE, 4, bytes((1, 1, 0, 0)), True),  # DNGBackwardVersion
        (50708, _TEXT, len(model) + 1, model, True),  # UniqueCameraModel
        (50714, _LONG, 1, black, True),  # BlackLevel
        (50717, _LONG, 1, white, True),  # WhiteLevel
        (50721, _SRATIONAL, 9, _rational(matrix), True),  # ColorMatrix1
        (50728, _RATIONAL, 3, _rational(np.array([1 / red, 1.0, 1 / blue])), True),  # AsShotNeutral
        (50778, _SHORT, 1, _D65, True),  # CalibrationIlluminant1
    ]
    file = BytesIO()
    tifffile.imwrite(file, samples, photometric="cfa", byteorder="<", metadata=None, extratags=tags)
    return _dated(file.getvalue(), taken) if taken is not None else file.getvalue()


def _rational(values: npt.NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(part for value in values.flat for part in (round(float(value) * _PARTS), _PARTS))


def _dated(block: bytes, taken: datetime) -> bytes:
    """Add an EXIF directory with the time."""
    block += bytes(len(block) % 2)
    times = (
        text_tag(_TAKEN, f"{taken:%Y:%m:%d %H:%M:%S}"),
        text_tag(_TAKEN_FRACTION, f"{taken.microsecond // 1000:03d}"),
    )
    inner, where = directory(times, "<", len(block))
    return extended(block + inner, [Tag(exif.DIRECTORY, LONG, 1, b"", where.to_bytes(4, "little"))])
