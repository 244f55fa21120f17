"""Where to look: where several ways of making a picture differ most, and the sharpest frame there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from focusd.compare.metrics import luma_of
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_bgr

# Differences are looked for on a grid of this many pixels.
_GRID_PX = 8


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture.

    Parameters
    ----------
    left, top, cols, rows : int
        Where, px.
    spread : float
        Mean over it of the largest difference between two pictures, 8-bit levels of luma.
    is_centre : bool
        It is there for being the middle of the picture.
    """

    left: int
    top: int
    cols: int
    rows: int
    spread: float
    is_centre: bool = False

    def of(self, picture: Image | Planes) -> Image | Planes:
        """Cut it out of a picture; a view of its samples."""
        if not isinstance(picture, Planes):
            return picture[self.top : self.top + self.rows, self.left : self.left + self.cols]
        rows, cols = (slice(at // 2, (at + side + 1) // 2) for at, side in self._sides)
        luma = picture.luma[self.top : self.top + self.rows, self.left : self.left + self.cols]
        return Planes(luma, picture.blue[rows, cols], picture.red[rows, cols])

    @property
    def _sides(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (self.top, self.rows), (self.left, self.cols)


class Witness:
    """Keeps, for each crop, the samples of the frame that has most detail in it.

    Parameters
    ----------
    crops : sequence of Crop
        Where to look.
    """

    def __init__(self, crops: Sequence[Crop]) -> None:
        self._crops = tuple(crops)
        self._energies = [-1.0] * len(self._crops)
        self._found: list[tuple[int, Image]] = [(-1, np.empty((0, 0), np.uint8))] * len(self._crops)

    def add(self, number: int, frame: Image | Planes) -> None:
        """Look at a frame."""
        for at, crop in enumerate(self._crops):
            part = crop.of(frame)
            luma = luma_of(part).astype(np.float32)
            x, y = cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1)
            energy = cv2.norm(x) ** 2 + cv2.norm(y) ** 2
            if energy > self._energies[at]:
                self._energies[at] = energy
                self._found[at] = (number, to_bgr(part).copy())

    def found(self) -> list[tuple[int, Image]]:
        """For each crop the number of the frame, from 0, and its samples there, grey or BGR."""
        return list(self._found)


def choose(
    pictures: Sequence[Image | Planes],
    count: int,
    size_px: tuple[int, int],
    *,
    unit: float = 1.0,
    margin_px: int = 0,
) -> list[Crop]:
    """Choose parts that do not overlap, where pictures differ most; the middle of the picture comes last.

    Parameters
    ----------
    pictures : sequence of ndarray or Planes
        All of one size and type, one or more; a single one is looked at where it has most detail.
    count : int
        Parts, the middle included, 1 or more. There may be fewer in a small picture.
    size_px : tuple of int
        (cols, rows) of each; less in a picture that is smaller.
    unit : float
        8-bit levels in one unit of the samples.
    margin_px : int
        Width of the border to keep out of.

    Returns
    -------
    list of Crop
        The one with the largest difference first. Their corners are at even places, so that 4:2:0 pictures
        can be cut there.
    """
    shape = pictures[0].shape[:2]
    # Even, so that corners are: rather wider, else narrower, in a picture too small for either none.
    even = (margin_px + margin_px % 2, margin_px - margin_px % 2, 0)
    margin_px = next(margin for margin in even if margin == 0 or min(shape) > 2 * margin + 1)
    cols, rows = (
        min(wanted, side - 2 * margin_px) for wanted, side in zip(size_px, shape[::-1], strict=True)
    )
    spread = _spread(pictures)
    # Mean over each grid cell; then over the crop that begins there.
    small = cv2.resize(
        spread,
        (max(1, shape[1] // _GRID_PX), max(1, shape[0] // _GRID_PX)),
        interpolation=cv2.INTER_AREA,
    ).astype(np.float32)
    across, down = (max(1, side // _GRID_PX) for side in (cols, rows))
    mean = cv2.blur(small, (across, down), anchor=(0, 0), borderType=cv2.BORDER_REPLICATE) * unit
    left = np.minimum(np.arange(small.shape[1]) * _GRID_PX, shape[1] - cols - margin_px)
    top = np.minimum(np.arange(small.shape[0]) * _GRID_PX, shape[0] - rows - margin_px)
    left, top = (np.maximum(at, margin_px) // 2 * 2 for at in (left, top))
    centre = [((shape[1] - cols) // 4) * 2, ((shape[0] - rows) // 4) * 2]
    at = tuple(min(c // _GRID_PX, limit - 1) for c, limit in zip(centre[::-1], mean.shape, strict=True))
    middle = Crop(centre[0], centre[1], cols, rows, float(mean[at]), is_centre=True)
    chosen: list[Crop] = []
    free = ~(_near(top, middle.top, rows)[:, None] & _near(left, middle.left, cols)[None])
    while len(chosen) < count - 1 and free.any():
        row, col = np.unravel_index(int(np.where(free, mean, -1).argmax()), mean.shape)
        crop = Crop(int(left[col]), int(top[row]), cols, rows, float(mean[row, col]))
        chosen.append(crop)
        free &= ~(_near(top, crop.top, rows)[:, None] & _near(left, crop.left, cols)[None])
    return [*chosen, middle]


def _near(places: npt.NDArray[np.int64], place: int, side: int) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(places - place) < side)


def _spread(pictures: Sequence[Image | Planes]) -> Image:
    lumas = [luma_of(picture) for picture in pictures]
    if len(lumas) == 1:
        window = np.ones((3, 3), np.uint8)
        return np.asarray(cv2.morphologyEx(lumas[0], cv2.MORPH_GRADIENT, window))
    low, high = lumas[0].copy(), lumas[0].copy()
    for luma in lumas[1:]:
        np.minimum(low, luma, out=low)
        np.maximum(high, luma, out=high)
    return np.asarray(cv2.subtract(high, low))
