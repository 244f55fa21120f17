"""A picture or a depth map in the format that its file's name asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from focusd.outputs.flat import write_jpeg, write_png
from focusd.outputs.tiff import in_16_bits, write_depth_tiff, write_image_tiff
from focusd.pictures.metadata import Metadata
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_8_bits, to_16_bits, to_bgr

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})
TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
DEPTH_SUFFIXES = TIFF_SUFFIXES | {".png"}


def write_picture(
    path: Path,
    image: Image | Planes,
    *,
    white: int,
    bits: Literal[8, 16] | None = None,
    metadata: Metadata | None = None,
) -> str:
    """Write a picture.

    Parameters
    ----------
    path : Path
        Ends in .jpg, .jpeg, .png, .tif or .tiff.
    image : ndarray or Planes
        uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR; or planes.
    white : int
        The uint16 value that becomes 255 where 8 bits are written; see
        `focusd.pictures.samples.to_8_bits`.
    bits : {8, 16}, optional
        Of a sample in a PNG or TIFF; the picture's own by default. 16 of 8 bits are a multiple of 257: they
        hold no more than the 8 did.
    metadata : Metadata, optional
        Colour profile and EXIF to put in.

    Returns
    -------
    str
        One line on what was written.

    Raises
    ------
    FocusdError
        A file that cannot be written.
    """
    has_16_bits = not isinstance(image, Planes) and image.dtype == np.uint16
    # A camera's 12 bits in a 16-bit file would come out black if 65535 were white.
    made_white = f", {white} made white" if has_16_bits else ""
    if path.suffix.lower() in JPEG_SUFFIXES:
        write_jpeg(path, image, white=white, metadata=metadata)
        return f"{path}: 8 bits{made_white}"
    pixels = to_bgr(image)
    if bits == 8:
        pixels = to_8_bits(pixels, white)
    elif bits == 16:
        pixels = to_16_bits(pixels)
    if path.suffix.lower() == ".png":
        write_png(path, pixels, metadata=metadata)
    else:
        write_image_tiff(path, pixels, description="focus stack", metadata=metadata)
    note = made_white if bits == 8 else ", 255 made 65535" if bits == 16 and not has_16_bits else ""
    return f"{path}: {'grey' if pixels.ndim == 2 else 'colour'}, {8 * pixels.itemsize} bits{note}"


def write_depth(path: Path, depth_um: npt.NDArray[np.float32]) -> str:
    """Write a depth map.

    Parameters
    ----------
    path : Path
        .tif or .tiff: 32-bit float, um, NaN where unknown; .png: 16 bits, 0 where unknown, the scale in the
        line returned.
    depth_um : ndarray
        float32, (rows, cols), um, NaN where unknown.

    Returns
    -------
    str
        One line on what was written.

    Raises
    ------
    FocusdError
        A file that cannot be written.
    """
    if path.suffix.lower() != ".png":
        write_depth_tiff(path, depth_um)
        return f"{path}: depth in um, float32, NaN where unknown"
    values, unit_um, offset_um = in_16_bits(depth_um)
    write_png(path, values)
    return f"{path}: depth = {offset_um + unit_um:.6g} um + (value - 1) x {unit_um:.6g} um, 0 where unknown"
