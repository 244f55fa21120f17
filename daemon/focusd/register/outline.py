"""What frames are aligned by: their luma, made small, freed of slow changes of brightness and of noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image
from focusd.register.transform import Matrix, Transform

Float = npt.NDArray[np.float32]

# Where a tenth of a pixel of the frame is found from, and no more: measured, see tests/bench/bench_align.py.
_PIXELS = 3e5
# Above this many, every second pixel will do: a quarter of the pixels costs a quarter of the time.
_HALVED_PIXELS = 4e5
# Changes slower than this are light, not detail, px of the outline.
_SLOW_PX = 15
# Finer detail than this is noise, or cannot be sampled between pixels without bias, px of the outline.
_FINE_PX = 1.5
# Levels of half the size each, down to about this side, px: shifts of that order are found from scratch.
_COARSEST_SIDE_PX = 96
_MOST_LEVELS = 4
# Standard deviation that white noise of 1 keeps in the finest band (fine less slow), and in what the band
# leaves out: sums of squares of the two kernels.
_NOISE_IN_BAND = 0.18
_NOISE_LEFT_OUT = 0.94
_MAD_TO_SIGMA = 1.4826
_DETAIL_OVER_NOISE = 1.5
_FLAT = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """A frame's detail, at about a third of a megapixel, and smaller versions of it.

    Parameters
    ----------
    levels : tuple of ndarray
        float32, (rows, cols): the frame's size over `reduction`, then half of that and so on, so that each
        holds coarser detail. Standard deviation 1, mean about 0.
    shape : tuple of int
        (rows, cols) of the frame.
    reduction : int
        Side, px of the frame, of the square that became one pixel of the first level.
    contrast : float
        Standard deviation of the finest detail before it was made 1, in the frame's own levels.
    noise : float
        What of it would be there without any detail, in the frame's own levels.
    """

    levels: tuple[Float, ...]
    shape: tuple[int, int]
    reduction: int
    contrast: float
    noise: float

    @classmethod
    def of(cls, frame: Image | Planes) -> Outline:
        """Take it from a frame, which is not changed."""
        luma = frame.luma if isinstance(frame, Planes) else frame
        rows, cols = luma.shape[:2]
        least = 2 if rows * cols > _HALVED_PIXELS else 1
        reduction = min(max(least, round((rows * cols / _PIXELS) ** 0.5)), rows, cols)
        small = _reduced(luma, reduction)
        if small.ndim == 3:
            small = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
        grey = np.asarray(small, np.float32)
        level, fine, contrast = _detail(grey)
        noise = _noise(grey, fine)
        levels = [level]
        while len(levels) < _MOST_LEVELS and min(grey.shape) >= 2 * _COARSEST_SIDE_PX:
            # Mean of 2 x 2, so that the middles of pixels stay where `shrunk` says.
            half = (grey.shape[1] // 2, grey.shape[0] // 2)
            whole = grey[: 2 * half[1], : 2 * half[0]]
            grey = np.asarray(cv2.resize(whole, half, interpolation=cv2.INTER_AREA), np.float32)
            levels.append(_detail(grey)[0])
        return cls(tuple(levels), (rows, cols), reduction, contrast, noise)

    @property
    def has_detail(self) -> bool:
        """Whether there is more in it than noise."""
        return self.contrast > max(_FLAT, _DETAIL_OVER_NOISE * self.noise)

    @property
    def nbytes(self) -> int:
        """Memory held, bytes."""
        return sum(level.nbytes for level in self.levels)

    def pixel_px(self, level: int) -> int:
        """Side of a pixel of a level, px of the frame."""
        return self.reduction << level


def shrunk(transform: Transform, pixel_px: int) -> Matrix:
    """Return a map of frames as one, (2, 3), of pictures whose pixels are `pixel_px` of theirs."""
    linear, shift = transform.matrix[:, :2], transform.matrix[:, 2]
    off = (pixel_px - 1) / 2
    return np.column_stack([linear, (shift + (linear.sum(axis=1) - 1) * off) / pixel_px])


def enlarged(matrix: Matrix, pixel_px: int) -> Transform:
    """Undo `shrunk`."""
    linear, shift = matrix[:, :2], matrix[:, 2]
    off = (pixel_px - 1) / 2
    return Transform(np.column_stack([linear, shift * pixel_px - (linear.sum(axis=1) - 1) * off]))


def _reduced(picture: npt.NDArray[Any], by: int) -> npt.NDArray[Any]:
    """Return means of `by` x `by` pixels; what is over at the right and below is left out."""
    rows, cols = picture.shape[0] // by, picture.shape[1] // by
    picture = picture[: rows * by, : cols * by]
    # OpenCV is quick for two alone: the same at once, by three as by six, takes ten times as long.
    while by % 2 == 0:
        by //= 2
        picture = np.asarray(cv2.resize(picture, (cols * by, rows * by), interpolation=cv2.INTER_AREA))
    if by % 3 == 0 and picture.ndim == 2:
        by //= 3
        picture = _third(picture)
    if by > 1:
        picture = np.asarray(cv2.resize(picture, (cols, rows), interpolation=cv2.INTER_AREA))
    return picture


def _third(picture: npt.NDArray[Any]) -> Float:
    """Return means of 3 x 3 pixels."""
    rows, cols = picture.shape[0] // 3, picture.shape[1] // 3
    lines = picture.reshape(rows, 3, 3 * cols)
    # OpenCV drops an axis of length 1 on its way back.
    sums = np.asarray(cv2.add(lines[:, 0], lines[:, 1], dtype=cv2.CV_32F), np.float32).reshape(rows, -1)
    cv2.accumulate(lines[:, 2], sums)
    means = cv2.transform(sums.reshape(rows, cols, 3), np.full((1, 3), 1 / 9, np.float32))
    return np.asarray(means, np.float32).reshape(rows, cols)


def _detail(grey: Float) -> tuple[Float, Float, float]:
    """Leave out slow and finest; return what is left with deviation 1, grey without the finest, deviation."""
    fine = np.asarray(cv2.GaussianBlur(grey, (0, 0), _FINE_PX), np.float32)
    band = np.asarray(cv2.subtract(fine, cv2.blur(grey, (_SLOW_PX, _SLOW_PX))), np.float32)
    # By a product: OpenCV's own deviation takes as long as the blur.
    power = float(np.dot(band.ravel(), band.ravel())) / band.size
    contrast = max(0.0, power - float(band.mean(dtype=np.float64)) ** 2) ** 0.5
    band *= np.float32(1 / max(contrast, _FLAT))
    return band, fine, contrast


def _noise(grey: Float, fine: Float) -> float:
    """Return what noise adds to the detail's deviation."""
    # It shows in what is finer than the band; every seventh pixel will do.
    rest = grey[::7, ::7] - fine[::7, ::7]
    return _MAD_TO_SIGMA * float(np.median(np.abs(rest))) / _NOISE_LEFT_OUT * _NOISE_IN_BAND
