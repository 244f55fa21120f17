"""One look at a frame, kept in its stead: how bright and how detailed it is, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, white_of

Levels = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Blocks along the longer side.
_BLOCKS = 48
# Share of full range from which a sample counts as clipped, and the share of a block that may be.
_WHITE = 0.965
_CLIPPED_SHARE = 0.02
# Second differences of every other sample: blind to slopes, and a JPEG's blocks do not fit their spacing.
_ACROSS = np.array([[-1, 0, 2, 0, -1]], np.float32)
_LUMA = np.array([[0.114, 0.587, 0.299]], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """Block means of a frame.

    Parameters
    ----------
    levels : ndarray
        float32, (rows, cols, 1) grey or (rows, cols, 3) BGR: mean level of each block, 0 to 255.
    clipped : ndarray
        bool, (rows, cols): some of the block is white in some colour.
    detail : ndarray
        float32, (4, rows, cols): mean square of the detail along x and y at half size, and at a quarter.
    shape : tuple of int
        (rows, cols) of the frame, px.
    block_px : float
        Side of a block in the frame, px.
    """

    levels: Levels
    clipped: Mask
    detail: Levels
    shape: tuple[int, int]
    block_px: int

    @classmethod
    def of(cls, frame: Image | Planes, white: int | None = None) -> Sketch:
        """Take it from a frame, which is not changed.

        Parameters
        ----------
        frame : ndarray or Planes
            uint8 or uint16.
        white : int, optional
            Level of a uint16 frame that stands for white; from the frame itself where not given.
        """
        luma, colour = _small(frame, white)
        quarter = _halved(luma)
        rows, cols = quarter.shape
        side = max(1, round(max(rows, cols) / _BLOCKS))
        grid = (max(1, rows // side), max(1, cols // side))
        # In floats from here on: rounded to whole levels, means without noise would all err alike.
        levels = _blocks(colour, 2 * side, grid)
        most = float(_WHITE * 255)
        lit = cv2.inRange(colour, (0.0,) * 3, (most,) * 3) if colour.ndim == 3 else colour <= np.float32(most)
        over = np.float32(1) - _blocks(lit, 2 * side, grid) / np.float32(max(1, int(lit.max())))
        detail = [
            _blocks(cv2.multiply(found, found, dtype=cv2.CV_32F), reach, grid)
            for plane, reach in ((luma, 2 * side), (quarter, side))
            for found in (
                cv2.filter2D(plane, _depth(plane), _ACROSS),
                cv2.filter2D(plane, _depth(plane), _ACROSS.T),
            )
        ]
        size = frame.shape[0], frame.shape[1]
        return cls(
            levels.reshape(*grid, -1),
            over > _CLIPPED_SHARE,
            np.stack(detail),
            size,
            4 * side,
        )

    @property
    def luma(self) -> Levels:
        """Brightness of each block, float32, (rows, cols), 0 to 255."""
        if self.levels.shape[2] == 1:
            return self.levels[..., 0]
        return np.asarray(self.levels @ _LUMA[0], np.float32)

    def is_like(self, other: Sketch) -> bool:
        """Whether the two are of frames of one size and kind."""
        return self.shape == other.shape and self.levels.shape == other.levels.shape


def _small(frame: Image | Planes, white: int | None) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Luma and colour (grey or BGR) at half size, 8-bit levels, uint8 or float32."""
    if isinstance(frame, Planes):
        luma = _halved(frame.luma)
        rows, cols = (min(luma.shape[axis], frame.red.shape[axis]) for axis in (0, 1))
        merged = cv2.merge([plane[:rows, :cols] for plane in (luma, frame.red, frame.blue)])
        return luma, np.asarray(cv2.cvtColor(merged, cv2.COLOR_YCrCb2BGR))
    half = _halved(frame)
    if half.dtype != np.uint8:
        half = half.astype(np.float32) * np.float32(255 / (white or white_of(frame)))
    return (half if half.ndim == 2 else cv2.cvtColor(half, cv2.COLOR_BGR2GRAY)), half


def _halved(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Mean of 2x2; an odd last row or column is left out."""
    rows, cols = plane.shape[0] // 2, plane.shape[1] // 2
    if not rows or not cols:
        return plane
    whole = plane[: 2 * rows, : 2 * cols]
    return np.asarray(cv2.resize(whole, (cols, rows), interpolation=cv2.INTER_AREA))


def _blocks(plane: npt.NDArray[Any], side: int, grid: tuple[int, int]) -> Levels:
    """Means of `side` x `side` samples, float32, (*grid) or (*grid, channels)."""
    down, across = grid
    if plane.shape[0] < down * side or plane.shape[1] < across * side:
        # Too small to be halved: one block, whatever is in it.
        small = plane.astype(np.float32, copy=False)
        return np.asarray(cv2.resize(small, grid[::-1], interpolation=cv2.INTER_AREA), np.float32)
    channels = plane.shape[2] if plane.ndim == 3 else 1
    if plane.dtype == np.bool_:
        plane = plane.view(np.uint8)
    lines = plane.reshape(plane.shape[0], -1)[:, : across * side * channels]
    # Down by OpenCV, which does not turn all into floats for it; across what little is left.
    sums = np.empty((down, lines.shape[1]), np.float32)
    for row in range(down):
        cv2.reduce(
            lines[row * side : (row + 1) * side],
            0,
            cv2.REDUCE_SUM,
            dst=sums[row : row + 1],
            dtype=cv2.CV_32F,
        )
    picked = np.tile(np.eye(channels, dtype=np.float32), (side, 1))
    means = sums.reshape(down * across, side * channels) @ picked / np.float32(side**2)
    return np.asarray(means.reshape(grid + plane.shape[2:]), np.float32)


def _depth(plane: npt.NDArray[Any]) -> int:
    return cv2.CV_16S if plane.dtype == np.uint8 else cv2.CV_32F
