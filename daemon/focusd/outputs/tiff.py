"""TIFF: the image at its full depth, depth in micrometres, and maps of small numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from focusd.atomic import replacing
from focusd.errors import FocusdError
from focusd.pictures.metadata import Metadata, into_tiff

# What GDAL, rasterio, QGIS and xarray read: a value's scale, offset and unit, and which value means nothing.
_GDAL_METADATA, _GDAL_NODATA = 42112, 42113
_ASCII = 2
_LARGEST = 65535

DEPTH_DESCRIPTION = "depth along the optical axis; unit: um; float32; NaN where unknown"


def write_image_tiff(
    path: Path | str, image: npt.NDArray[Any], *, description: str = "", metadata: Metadata | None = None
) -> None:
    """Write an image losslessly (deflate), atomically.

    Parameters
    ----------
    path : Path
        Where; replaced if there.
    image : ndarray
        uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR; RGB on disk, as TIFF wants.
    description : str
        For the ImageDescription tag.
    metadata : Metadata, optional
        Colour profile and EXIF to put in.

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
        if metadata is not None:
            file.flush()
            into_tiff(Path(file.name), metadata)


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
    _write_map(path, np.ascontiguousarray(depth_um, np.float32), description)


def in_16_bits(depth_um: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint16], float, float]:
    """Depth as integers: 0 is unknown, 1 to 65535 span the depths there are.

    Parameters
    ----------
    depth_um : ndarray
        float32, (rows, cols), um, NaN where unknown.

    Returns
    -------
    values : ndarray
        uint16, (rows, cols).
    scale, offset : float
        ``depth_um = offset + scale * value``; um a unit, and um.
    """
    known = np.isfinite(depth_um)
    low, high = (float(np.nanmin(depth_um)), float(np.nanmax(depth_um))) if known.any() else (0.0, 0.0)
    scale = (high - low) / (_LARGEST - 1) or 1.0
    offset = low - scale
    values = np.zeros(depth_um.shape, np.uint16)
    # By strips: the whole map in 64 bits would take eight times the picture's own memory.
    step = max(1, (1 << 20) // depth_um.shape[1])
    for top in range(0, depth_um.shape[0], step):
        rows = slice(top, top + step)
        level = np.rint((depth_um[rows][known[rows]].astype(np.float64) - offset) / scale)
        values[rows][known[rows]] = np.clip(level, 1, _LARGEST)
    return values, scale, offset


def write_depth16_tiff(path: Path | str, depth_um: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Write a depth map as 16-bit integers (deflate), atomically, with scale and offset in its tags.

    ``depth_um = offset + scale * value``; 0 is unknown, 1 to 65535 span the depths there are. TIFF itself
    has no tag for this, so it is said twice: in GDAL's own tags (42112 and 42113, which GDAL, QGIS and
    rasterio read) and in ImageJ's form of ImageDescription (a straight-line calibration, for ImageJ and
    Fiji).

    Parameters
    ----------
    path : Path
        Where; replaced if there.
    depth_um : ndarray
        float32, (rows, cols), um, NaN where unknown.

    Returns
    -------
    scale, offset : float
        um a unit, and um.

    Raises
    ------
    FocusdError
        Another shape, or a file that cannot be written.
    """
    if depth_um.ndim != 2:
        raise FocusdError(f"{path}: a depth map of shape {depth_um.shape}: it must be (rows, cols)")
    values, scale, offset = in_16_bits(depth_um)
    gdal = (
        f'<GDALMetadata><Item name="SCALE" sample="0" role="scale">{scale!r}</Item>'
        f'<Item name="OFFSET" sample="0" role="offset">{offset!r}</Item>'
        '<Item name="UNITTYPE" sample="0" role="unittype">um</Item></GDALMetadata>'
    )
    description = (
        f"ImageJ=1.53\ncf=0\nc0={offset!r}\nc1={scale!r}\nvunit=um\n"
        "about=depth along the optical axis, um = c0 + c1 x value; 0 is unknown\n"
    )
    tags = [(_GDAL_METADATA, _ASCII, None, gdal, True), (_GDAL_NODATA, _ASCII, None, "0", True)]
    _write_map(path, values, description, extratags=tags)
    return scale, offset


def write_index_tiff(
    path: Path | str,
    values: npt.NDArray[Any],
    *,
    description: str,
    colours: Sequence[tuple[int, int, int]] | None = None,
) -> None:
    """Write a map of small whole numbers (deflate), atomically.

    Parameters
    ----------
    path : Path
        Where; replaced if there.
    values : ndarray
        uint8 or uint16, (rows, cols).
    description : str
        What the numbers mean; for the ImageDescription tag.
    colours : sequence of tuple, optional
        (red, green, blue), 0 to 255, of the values from 0 up, for viewers; uint8 maps only. The numbers on
        disk stay what they are.

    Raises
    ------
    FocusdError
        Another type or shape, or a file that cannot be written.
    """
    if (
        values.ndim != 2
        or values.dtype not in (np.uint8, np.uint16)
        or (colours and values.dtype != np.uint8)
    ):
        raise FocusdError(
            f"{path}: a map of {values.dtype}, shape {values.shape}: it must be (rows, cols), uint8 or, "
            "without colours, uint16"
        )
    palette: dict[str, Any] = {}
    if colours:
        table = np.zeros((3, 256), np.uint16)
        table[:, : len(colours)] = np.array(colours, np.uint16).T * 257
        palette = {"photometric": "palette", "colormap": table}
    _write_map(path, np.ascontiguousarray(values), description, **palette)


def _write_map(path: Path | str, values: npt.NDArray[Any], description: str, **options: Any) -> None:
    with replacing(path) as file:
        tifffile.imwrite(
            file,
            values,
            **{"photometric": "minisblack", **options},
            compression="zlib",
            rowsperstrip=_strip_rows(values),
            description=description.encode() or None,
            metadata=None,
            software="focusd",
        )


def _strip_rows(image: npt.NDArray[Any]) -> int:
    """Rows in about 256 kB: what readers like to hold at once."""
    return max(1, 262144 // max(1, int(image[0].nbytes)))
