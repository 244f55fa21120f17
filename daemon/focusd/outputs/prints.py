"""The files a stack leaves: the picture at full depth, a JPEG of it, and the depth map."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.fusion import FusionResult
from focusd.outputs.flat import write_jpeg
from focusd.outputs.tiff import write_depth_tiff, write_image_tiff

JPEG_QUALITY = 95
_SPECK_PX = 9


def write_prints(folder: Path, result: FusionResult) -> dict[str, Any]:
    """Write ``final.tif``, ``final.jpg`` and ``depth.tif``.

    Parameters
    ----------
    folder : Path
        Where; it must exist.
    result : FusionResult
        What the fusion gave.

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
    write_image_tiff(final, result.image, description="focus stack")
    write_jpeg(folder / "final.jpg", result.image, quality=JPEG_QUALITY)
    write_depth_tiff(folder / "depth.tif", result.depth_um)
    with final.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    rows, columns = result.image.shape[:2]
    known = result.depth_um[np.isfinite(result.depth_um)]
    return {
        "url": None,
        "sha256": digest,
        "bytes": final.stat().st_size,
        "width": columns,
        "height": rows,
        "depth": {
            "min_um": float(known.min()) if known.size else None,
            "max_um": float(known.max()) if known.size else None,
            "known_percent": round(100 * known.size / result.depth_um.size, 2),
        },
    }


def depth_picture(depth_um: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Colour a depth map for the eye: low is dark blue, high is yellow, unknown is grey.

    Parameters
    ----------
    depth_um : ndarray
        float32, (rows, columns), um; NaN where unknown.

    Returns
    -------
    ndarray
        uint8, (rows, columns, 3) BGR. The colours span the 1st to the 99th percentile; single specks, which
        noise makes on empty ground, are not shown, and a 5x5 median smooths the rest.
    """
    known = cv2.medianBlur(np.isfinite(depth_um).astype(np.uint8), _SPECK_PX).astype(bool)
    known &= np.isfinite(depth_um)
    low, high = np.percentile(depth_um[known], (1, 99)) if known.any() else (0.0, 1.0)
    span = max(float(high - low), 1e-6)
    levels = np.clip((np.nan_to_num(depth_um) - low) / span * 255, 0, 255).astype(np.uint8)
    coloured = np.asarray(cv2.applyColorMap(cv2.medianBlur(levels, 5), cv2.COLORMAP_VIRIDIS), np.uint8)
    coloured[~known] = 96
    return coloured
