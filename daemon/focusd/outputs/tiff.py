"""TIFF: the image at its full depth, and depth in micrometres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from focusd.atomic import replacing
from focusd.errors import FocusdError

DEPTH_DESCRIPTION = "depth along the optical axis; unit: um; float32; NaN where unknown"


def write_image_tiff(path: Path | str, image: npt.NDArray[Any], *, description: str = "") -> None:
    """Write an image losslessly (deflate), atomically.

    Parameters
    ----------
    path : Path
        Where; replaced if there.
    image : ndarray
        uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR; RGB on disk, as TIFF wants.
    description : str
        For the ImageDescription tag.

    Raises
    ------
    FocusdError
        Another type or shape, or a file that cannot be written.
    """
    if image.dtype not in (np.uint8, np.uint16) or not (
        image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    ):
        raise FocusdError(
            f"{path}: an image of {image.dtype}, shape {image.shape}: it must be uint8 or uint16, "
            "(rows, cols) or (rows, cols, 3)"
        )
    colour = image.ndim == 3
    pixels = image[..., ::-1] if colour else image
    with replacing(path) as file:
        tifffile.imwrite(
            file,
            np.ascontiguousarray(pixels),
            photometric="rgb" if colour else "minisblack",
            compression="zlib",
            predictor=True,
            rowsperstrip=_strip_rows(image),
            description=description.encode() or None,
            metadata=None,
            software="focusd",
        )


def write_depth_tiff(
    path: Path | str, depth_um: npt.NDArray[np.float32], *, description: str = DEPTH_DESCRIPTION
) -> None:
    """Write a depth map as 32-bit floating point (deflate), atomically.

    Parameters
    ----------
    path : Path
        Where; replaced if there.
    depth_um : ndarray
        float32, (rows, cols), um, NaN where unknown.
    description : str
        For the ImageDescription tag; says the unit by default, and should when given.

    Raises
    ------
    FocusdError
        Another shape, or a file that cannot be written.
    """
    if depth_um.ndim != 2:
        raise FocusdError(f"{path}: a depth map of shape {depth_um.shape}: it must be (rows, cols)")
    depth = np.ascontiguousarray(depth_um, np.float32)
    with replacing(path) as file:
        tifffile.imwrite(
            file,
            depth,
            photometric="minisblack",
            compression="zlib",
            rowsperstrip=_strip_rows(depth),
            description=description.encode() or None,
            metadata=None,
            software="focusd",
        )


def _strip_rows(image: npt.NDArray[Any]) -> int:
    """Rows in about 256 kB: what readers like to hold at once."""
    return max(1, 262144 // max(1, int(image[0].nbytes)))
