"""Frames made as bright as the first of their stack."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.errors import FusionError
from focusd.pictures.samples import Image

Plane = NDArray[np.float32]

# A lamp that changes by more than this makes another picture.
_GAINS = (0.5, 2.0)
_SAME_GAIN = 5e-4
# Brightness is compared on a picture this much smaller, where it is neither black nor white, 8-bit levels.
_REDUCTION = 8
_CLIPPED = (2.0, 250.0)
# From here on up to white the gain fades.
_NEAR_WHITE = 208


class Equaliser:
    """One gain for each frame, so that the mean of what it shares with the first is the first's.

    Blur moves light about but takes none away, so that the means of two frames of one scene agree.
    """

    def __init__(self) -> None:
        self._first: Plane | None = None

    def equal(self, image: Image, luma: Plane, shift_px: tuple[int, int]) -> Image:
        """Make a frame as bright as the first one given.

        Parameters
        ----------
        image : ndarray
            uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR; not modified.
        luma : ndarray
            float32, (rows, cols), its luma in 8-bit levels.
        shift_px : tuple of int
            (x, y) where the frame has what the first has at (0, 0).

        Returns
        -------
        ndarray
            The frame itself if it needs nothing, else another of its type.

        Raises
        ------
        FusionError
            A frame half as bright or less, or twice as bright or more.
        """
        gain = self._gain(luma, shift_px)
        if not _GAINS[0] < gain < _GAINS[1]:
            raise FusionError(
                f"a frame is {1 / gain:.2f} times as bright as the first: from {_GAINS[0]} to {_GAINS[1]} "
                "can be made up for; leave it out"
            )
        if abs(gain - 1) < _SAME_GAIN:
            return image
        if image.dtype == np.uint8:
            return np.asarray(cv2.LUT(image, _table(gain)))
        bright = np.rint(image.astype(np.float32) * np.float32(gain))
        scaled: Image = np.minimum(bright, np.iinfo(image.dtype).max).astype(image.dtype)
        return scaled

    def _gain(self, luma: Plane, shift_px: tuple[int, int]) -> float:
        rows, cols = luma.shape
        moved = luma
        if shift_px != (0, 0):
            # Outside stays black, and is not compared.
            matrix = np.array([[1, 0, -shift_px[0]], [0, 1, -shift_px[1]]], np.float64)
            moved = np.asarray(
                cv2.warpAffine(luma, matrix, (cols, rows), flags=cv2.INTER_NEAREST), np.float32
            )
        size = (max(1, cols // _REDUCTION), max(1, rows // _REDUCTION))
        small = np.asarray(cv2.resize(moved, size, interpolation=cv2.INTER_AREA), np.float32)
        if self._first is None:
            self._first = small
            return 1.0
        usable = np.ones(small.shape, bool)
        for plane in (small, self._first):
            usable &= (plane > _CLIPPED[0]) & (plane < _CLIPPED[1])
        if not usable.any():
            return 1.0
        return float(self._first[usable].mean(dtype=np.float64) / small[usable].mean(dtype=np.float64))


def _table(gain: float) -> NDArray[np.uint8]:
    """Tell what becomes of each 8-bit value.

    White stays white: made darker, ground that is burnt out would have steps where it begins in each frame.
    """
    values = np.arange(256, dtype=np.float64)
    share = np.clip((values - _NEAR_WHITE) / (255 - _NEAR_WHITE), 0, 1)
    table: NDArray[np.uint8] = np.rint(values * (gain + (1 - gain) * share)).clip(0, 255).astype(np.uint8)
    return table
