"""How much fine detail each tile of a frame shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Numbers = NDArray[np.float64]

# Detail finer than this is mostly noise, px.
_FINEST_SIGMA_PX = 0.8


def brightness(image: NDArray[Any]) -> Plane:
    """Return the brightness of a frame, float32 (rows, cols), in levels of 255.

    Parameters
    ----------
    image : ndarray
        uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    scale = np.float32(255 / np.iinfo(image.dtype).max)
    return np.asarray(grey.astype(np.float32) * scale, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """A frame's detail, tile by tile.

    Parameters
    ----------
    energy : ndarray of float64, (tile rows, tile columns)
        Mean squared gradient over the squared mean brightness of the frame, so that a lamp's flicker does
        not count.
    row, col : ndarray of float64, (tile rows, tile columns)
        Where in the frame a tile's detail has its centre, px.
    """

    energy: Numbers
    row: Numbers
    col: Numbers

    @classmethod
    def of(cls, frame: Plane, side_px: int) -> Tiles:
        """Measure a frame in square tiles; what is left over at the right and below is left out.

        Parameters
        ----------
        frame : ndarray of float32, (rows, cols)
            Brightness, see `brightness`.
        side_px : int
            Side of a tile, px, at least 4 and at most the frame's shorter side.
        """
        smooth = cv2.GaussianBlur(frame, (0, 0), _FINEST_SIGMA_PX)
        slopes = [cv2.Sobel(smooth, cv2.CV_32F, dx, dy, ksize=1, scale=0.5) for dx, dy in ((1, 0), (0, 1))]
        detail = np.square(slopes[0]) + np.square(slopes[1])
        rows, cols = (size // side_px for size in frame.shape)
        inside = detail[: rows * side_px, : cols * side_px].astype(np.float64)
        boxes = inside.reshape(rows, side_px, cols, side_px)
        total = boxes.sum(axis=(1, 3))
        along = np.arange(side_px)
        share = np.maximum(total, 1e-12)
        row = np.einsum("iajb,a->ij", boxes, along) / share + np.arange(rows)[:, None] * side_px
        col = np.einsum("iajb,b->ij", boxes, along) / share + np.arange(cols)[None, :] * side_px
        light = max(float(frame.mean()), 1e-3)
        return cls(total / (side_px**2 * light**2), row, col)
