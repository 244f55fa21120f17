"""The Laplacian pyramid: an image as bands of detail over a small blurred base.

References
----------
.. [1] Burt P.J., Adelson E.H., The Laplacian pyramid as a compact image code, IEEE Trans. Commun. 31(4),
   1983, 532-540. doi:10.1109/TCOM.1983.1095851
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from focusd.fusion.arrays import Float, Image, Scratch

# More levels than five change nothing that is seen and blur the base's choice.
MAX_LEVELS = 5


@dataclass(frozen=True, slots=True)
class Grid:
    """Sizes of a pyramid's levels.

    The image is padded below and to the right so that every level is exactly half the one before.

    Parameters
    ----------
    rows, cols : int
        Size of the image, pixels, 1 or more.
    levels : int
        Number of bands; 0 for an image one pixel wide or high.
    """

    rows: int
    cols: int
    levels: int

    @classmethod
    def of(cls, rows: int, cols: int) -> Grid:
        """Grid of an image of this size; fewer levels for a small one."""
        return cls(rows, cols, min(MAX_LEVELS, min(rows, cols).bit_length() - 1))

    def shape(self, level: int) -> tuple[int, int]:
        """(rows, cols) of `level`, padding included."""
        size = 1 << self.levels
        padded = (-(-self.rows // size) * size, -(-self.cols // size) * size)
        return padded[0] >> level, padded[1] >> level

    def pad(self, image: Image) -> Image:
        """`image` mirrored out to ``shape(0)``; itself when it fits."""
        rows, cols = self.shape(0)
        if (rows, cols) == (self.rows, self.cols):
            return image
        return cv2.copyMakeBorder(image, 0, rows - self.rows, 0, cols - self.cols, cv2.BORDER_REFLECT_101)

    def cropped_shape(self, level: int) -> tuple[int, int]:
        """(rows, cols) of `level` that the image itself covers."""
        return -(-self.rows >> level), -(-self.cols >> level)


def shrink(plane: Float, out: Float) -> Float:
    """Halve a plane with the 5-tap binomial of the pyramid."""
    cv2.pyrDown(plane, dst=out, dstsize=out.shape[::-1])
    return out


def grow(plane: Float, out: Float) -> Float:
    """Double a plane, the inverse step of `shrink`."""
    cv2.pyrUp(plane, dst=out, dstsize=out.shape[::-1])
    return out


def decompose(plane: Float, grid: Grid, scratch: Scratch) -> tuple[list[Float], list[Float]]:
    """Split a plane into bands.

    Parameters
    ----------
    plane : ndarray
        float32, ``grid.shape(0)``; not modified.
    grid : Grid
        Sizes of the levels.
    scratch : Scratch
        Where the levels live; they are valid until the next call.

    Returns
    -------
    blurred : list of ndarray
        ``levels + 1`` planes, the first is `plane`, the last the base.
    bands : list of ndarray
        ``levels`` planes; ``blurred[l] = bands[l] + grow(blurred[l + 1])``.
    """
    blurred, bands = [plane], []
    for level in range(grid.levels):
        shape = grid.shape(level)
        coarse = shrink(blurred[level], scratch.plane("blurred", level + 1, grid.shape(level + 1)))
        band = grow(coarse, scratch.plane("band", level, shape))
        np.subtract(blurred[level], band, out=band)
        blurred.append(coarse)
        bands.append(band)
    return blurred, bands


@dataclass(slots=True)
class Envelope:
    """Smallest and largest luma any frame had, per level: what a fused pixel may not leave.

    Level 0 is kept by blocks of 4x4 pixels (fewer when the pyramid is flat), to save memory.
    """

    low: list[Float]
    high: list[Float]

    # Fused luma may pass the frames' range by this much, in 8-bit levels: half the noise of a quiet camera.
    TOLERANCE = 2.0

    @classmethod
    def of(cls, blurred: Sequence[Float], scratch: Scratch) -> Envelope:
        """Envelope of one frame's Gaussian pyramid."""
        low, high = _block_range(blurred[0], len(blurred) - 1, scratch)
        return cls(
            [low, *(level.copy() for level in blurred[1:])],
            [high, *(level.copy() for level in blurred[1:])],
        )

    def include(self, blurred: Sequence[Float], scratch: Scratch) -> None:
        """Widen by another frame."""
        low, high = _block_range(blurred[0], len(blurred) - 1, scratch)
        for kept, new in zip(self.low, [low, *blurred[1:]], strict=True):
            np.minimum(kept, new, out=kept)
        for kept, new in zip(self.high, [high, *blurred[1:]], strict=True):
            np.maximum(kept, new, out=kept)

    def merge(self, other: Envelope) -> None:
        """Widen by another envelope."""
        for kept, new in zip(self.low, other.low, strict=True):
            np.minimum(kept, new, out=kept)
        for kept, new in zip(self.high, other.high, strict=True):
            np.maximum(kept, new, out=kept)

    def clamp(self, plane: Float, level: int, tolerance: float = TOLERANCE) -> None:
        """Bring `plane` (of that level) inside the envelope of its 3x3 neighbours, in place."""
        window = np.ones((3, 3), np.uint8)
        low, high = cv2.erode(self.low[level], window), cv2.dilate(self.high[level], window)
        if low.shape != plane.shape:
            size = plane.shape[::-1]
            low = cv2.resize(low, size, interpolation=cv2.INTER_NEAREST)
            high = cv2.resize(high, size, interpolation=cv2.INTER_NEAREST)
        np.maximum(plane, low - np.float32(tolerance), out=plane)
        np.minimum(plane, high + np.float32(tolerance), out=plane)

    @property
    def nbytes(self) -> int:
        """Memory held, bytes."""
        return sum(plane.nbytes for plane in (*self.low, *self.high))


def _block_range(plane: Float, levels: int, scratch: Scratch) -> tuple[Float, Float]:
    """Minimum and maximum of each block of ``2 ** min(levels, 2)`` pixels a side."""
    halvings = min(levels, 2)
    side = 1 << halvings
    low = high = plane
    for step in range(halvings):
        shape = (low.shape[0] // 2, low.shape[1])
        lower, higher = scratch.plane("low", step, shape), scratch.plane("high", step, shape)
        cv2.min(low[::2], low[1::2], dst=lower)
        cv2.max(high[::2], high[1::2], dst=higher)
        low, high = lower, higher
    # The anchor puts each block's own columns under the kernel at the block's first column.
    window = np.ones((1, side), np.uint8)
    lowest = np.asarray(cv2.erode(low, window, anchor=(0, 0)), np.float32)
    highest = np.asarray(cv2.dilate(high, window, anchor=(0, 0)), np.float32)
    return lowest[:, ::side].copy(), highest[:, ::side].copy()
