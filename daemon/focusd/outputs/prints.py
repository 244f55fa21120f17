"""The files a stack leaves: the picture at full depth, a JPEG of it, and its relief."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from focusd.fusion.relief import Reason, Relief
from focusd.outputs.flat import write_jpeg, write_png
from focusd.outputs.relief_picture import depth_chart, depth_picture
from focusd.outputs.tiff import write_depth16_tiff, write_depth_tiff, write_image_tiff, write_index_tiff
from focusd.pictures.metadata import Metadata
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_bgr

__all__ = ["JPEG_QUALITY", "REASON_COLOURS", "depth_picture", "write_prints"]

JPEG_QUALITY = 95
REASON_COLOURS = {
    Reason.OK: (0, 114, 178),
    Reason.WHOLE_STEP: (86, 180, 233),
    Reason.EDGE: (240, 228, 66),
    Reason.BORDER: (0, 158, 115),
    Reason.UNSURE: (204, 121, 167),
    Reason.TWO_PEAKS: (213, 94, 0),
    Reason.FLAT: (120, 120, 120),
    Reason.SATURATED: (255, 255, 255),
}
"""(red, green, blue) in ``reason.tif``; told apart by colour-blind eyes too (Okabe and Ito's palette)."""


def write_prints(
    folder: Path,
    image: Image | Planes,
    relief: Relief,
    *,
    white: int | None = None,
    metadata: Metadata | None = None,
) -> dict[str, Any]:
    """Write what a stack leaves.

    ``final.tif``, ``final.jpg``; ``depth.tif`` (float32, um), ``depth16.tif`` (scale and offset in its tags),
    ``depth.png`` (colours and a scale), ``origin.tif`` (the sharpest frame, counted from 0 in ascending z),
    ``confidence.tif`` (percent) and ``reason.tif`` (codes). The picture comes first, and one map at a time is
    brought to full size.

    Parameters
    ----------
    folder : Path
        Where; it must exist.
    image : ndarray or Planes
        The fused picture.
    relief : Relief
        Its depth.
    white : int, optional
        The uint16 value that is white in ``final.jpg``; see `focusd.pictures.samples.to_8_bits`.
    metadata : Metadata, optional
        Colour profile and EXIF for the picture.

    Returns
    -------
    dict
        ``job.result`` of the contract but for ``missing``: ``final.tif``'s sha256 and size, the picture's
        width and height, and the range of depth in um.

    Raises
    ------
    FocusdError
        The disk would not take them.
    """
    final = folder / "final.tif"
    write_image_tiff(final, to_bgr(image), description="focus stack", metadata=metadata)
    write_jpeg(folder / "final.jpg", image, quality=JPEG_QUALITY, white=white, metadata=metadata)
    found = write_maps(folder, relief)
    rows, columns = image.shape[:2]
    return {
        "url": None,
        "sha256": _digest(final),
        "bytes": final.stat().st_size,
        "width": columns,
        "height": rows,
        "depth": found,
    }


def write_maps(folder: Path, relief: Relief) -> dict[str, Any]:
    """Write what is known of a picture's depth: all of `write_prints` but the picture.

    Parameters
    ----------
    folder : Path
        Where; it must exist.
    relief : Relief
        What to write.

    Returns
    -------
    dict
        Range of depth, um, and the share of pixels that have one.

    Raises
    ------
    FocusdError
        The disk would not take them.
    """
    write_png(folder / "depth.png", depth_chart(relief.depth_um))
    found = _write_depth(folder, relief.full_depth_um())
    write_index_tiff(
        folder / "origin.tif",
        # Never negative, so the same bits serve.
        relief.full_size(relief.origin).view(np.uint16),
        description="the sharpest frame at each pixel, counted from 0 in ascending z",
    )
    _write_judgement(folder, relief)
    return found


def _write_depth(folder: Path, depth_um: npt.NDArray[np.float32]) -> dict[str, Any]:
    write_depth_tiff(folder / "depth.tif", depth_um)
    write_depth16_tiff(folder / "depth16.tif", depth_um)
    known = int(np.count_nonzero(np.isfinite(depth_um)))
    return {
        "min_um": float(np.nanmin(depth_um)) if known else None,
        "max_um": float(np.nanmax(depth_um)) if known else None,
        "known_percent": round(100 * known / depth_um.size, 2),
    }


def _write_judgement(folder: Path, relief: Relief) -> None:
    percent = np.rint(relief.confidence * np.float32(100)).astype(np.uint8)
    write_index_tiff(
        folder / "confidence.tif",
        relief.full_size(percent),
        description="chance, in percent, that depth is right within a step",
    )
    codes = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in Reason)
    write_index_tiff(
        folder / "reason.tif",
        relief.full_size(relief.reason),
        description=f"why depth is what it is: {codes}; depth is given up to {Reason.UNSURE.value}",
        colours=[REASON_COLOURS[code] for code in Reason],
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
