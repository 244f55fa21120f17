"""A sheet with its blurs made beforehand, drawn at any focus in a few milliseconds.

Every pixel needs its own blur radius. A layer keeps copies of its sheet blurred by discs of geometric radii;
drawing looks up, for each pixel, the mixture of the two nearest copies whose variance is that of the disc
wanted. The fine copies are interleaved row by row (row ``y`` of copy ``k`` is row ``y * copies + k`` of one
tall image), so that a single bilinear `cv2.remap` picks and mixes them. The coarse ones, from 8 px up, are
kept and picked at a quarter of the size, where such a blur loses nothing. Only tiles that can show something
are touched. Blurring is done on the encoded values, as stored, not on linear light.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd_sim.lens import Lens
from focusd_sim.sheet import Sheet

# Radii in px. Below sqrt(2) blurs of equal variance are alike, so a mixture of 0 and 1 serves in between.
_FINE_PX = (0.0, 1.0, 2**0.5, 2.0, 2**1.5, 4.0, 2**2.5, 8.0)
_COARSE_PX = tuple(8.0 * 2 ** (k / 2) for k in range(11))
_SHRINK = 4
_TILE = 128
# Variance, px**2, that shrinking by area and growing linearly add to a coarse copy.
_RESIZE_VARIANCE = (_SHRINK**2 - 1) / 12 + _SHRINK**2 / 6


class Layer:
    """One sheet, ready to be drawn out of focus.

    Parameters
    ----------
    sheet : Sheet
        The layer in perfect focus.
    lens : Lens
        Gives the blur disc.
    reach_um : float
        The largest defocus that will be asked for; beyond it the blur stays as there.
    """

    def __init__(self, sheet: Sheet, lens: Lens, reach_um: float) -> None:
        self.sheet = sheet
        self._lens = lens
        rows, cols = sheet.height_um.shape
        most_px = lens.disc_radius_px(reach_um)
        # One copy beyond the largest radius wanted, and two at least, to mix between.
        count = max(2, sum(1 for radius_px in _COARSE_PX if radius_px < most_px) + 1)
        self._coarse_px = _COARSE_PX[:count]
        self._floor_um = math.floor(float(sheet.height_um.min()))
        self._index = np.rint(sheet.height_um - self._floor_um).astype(np.uint16)
        self._span = int(self._index.max()) + 1
        self._box = _box_of(sheet.bgra[..., 3], int(_FINE_PX[-1]) + 2)
        self._fine = _interleave([blurred(self._cropped(), radius_px) for radius_px in _FINE_PX])
        small = np.asarray(
            cv2.resize(sheet.bgra, _shrunk(rows, cols), interpolation=cv2.INTER_AREA), np.uint8
        )
        self._coarse = _interleave(
            [
                blurred(small, math.sqrt(radius_px**2 - 4 * _RESIZE_VARIANCE) / _SHRINK)
                for radius_px in self._coarse_px
            ]
        )
        small_um = cv2.resize(sheet.height_um, _shrunk(rows, cols), interpolation=cv2.INTER_AREA)
        self._coarse_index = np.clip(np.rint(small_um - self._floor_um), 0, self._span - 1).astype(np.uint16)
        self._tiles = [
            (slice(r, min(r + _TILE, rows)), slice(c, min(c + _TILE, cols)))
            for r in range(0, rows, _TILE)
            for c in range(0, cols, _TILE)
        ]
        self._ranges = [(int(self._index[t].min()), int(self._index[t].max())) for t in self._tiles]
        self._row = np.arange(_TILE, dtype=np.float32)[:, None] * np.float32(len(_FINE_PX))

    def draw(self, canvas: NDArray[np.uint8], focus_um: float) -> None:
        """Draw the layer over `canvas`, in place.

        Parameters
        ----------
        canvas : ndarray of uint8, (rows, cols, 4)
            What lies behind; BGR and an unused channel.
        focus_um : float
            z of the focal plane, um.
        """
        levels = self._levels(focus_um)
        last_fine = len(_FINE_PX) - 1
        coarse = self._draw_coarse(levels, last_fine, (canvas.shape[1], canvas.shape[0]))
        for tile, (low, high) in zip(self._tiles, self._ranges, strict=True):
            part = levels[low : high + 1]
            if part.min() >= last_fine:
                source = coarse[tile]
            else:
                source = self._draw_fine(tile, levels, part.max() > last_fine, coarse[tile])
            _over(canvas[tile], source)

    def _cropped(self) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self.sheet.bgra[self._box])

    def _levels(self, focus_um: float) -> NDArray[np.float32]:
        """Position in the list of copies (fine, then coarse) for every whole um of this layer's heights."""
        defocus_um = np.arange(self._span, dtype=np.float64) + (self._floor_um - focus_um)
        variance = (self._lens.disc_radius_px(1.0) * defocus_um) ** 2
        known = np.array(_FINE_PX + self._coarse_px[1:]) ** 2
        return np.interp(variance, known, np.arange(len(known))).astype(np.float32)

    def _draw_coarse(
        self, levels: NDArray[np.float32], last_fine: int, size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Draw the whole layer from the coarse copies, at full size; right where the blur is 8 px or more."""
        count = len(self._coarse_px)
        wanted = np.clip(levels - last_fine, 0, count - 1)[self._coarse_index]
        rows, cols = wanted.shape
        wanted += np.arange(rows, dtype=np.float32)[:, None] * np.float32(count)
        small = cv2.remap(self._coarse, _columns(rows, cols), wanted, cv2.INTER_LINEAR)
        return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), np.uint8)

    def _draw_fine(
        self,
        tile: tuple[slice, slice],
        levels: NDArray[np.float32],
        mixed: bool,
        coarse: NDArray[np.uint8],
    ) -> NDArray[np.uint8]:
        """One tile from the fine copies, and from `coarse` where those end."""
        top, left = self._box[0].start, self._box[1].start
        rows = slice(max(tile[0].start, top), min(tile[0].stop, self._box[0].stop))
        cols = slice(max(tile[1].start, left), min(tile[1].stop, self._box[1].stop))
        drawn = np.zeros(coarse.shape, np.uint8)
        level = levels.take(self._index[tile])
        if rows.start < rows.stop and cols.start < cols.stop:
            copies = len(_FINE_PX)
            inside = (
                slice(rows.start - tile[0].start, rows.stop - tile[0].start),
                slice(cols.start - tile[1].start, cols.stop - tile[1].start),
            )
            pick = np.minimum(level[inside], np.float32(copies - 1))
            pick += self._row[: pick.shape[0]]
            source = self._fine[
                (rows.start - top) * copies : (rows.stop - top) * copies,
                cols.start - left : cols.stop - left,
            ]
            drawn[inside] = cv2.remap(source, _columns(*pick.shape), pick, cv2.INTER_LINEAR)
        if mixed:
            cv2.copyTo(coarse, (level > len(_FINE_PX) - 1).view(np.uint8), drawn)
        return drawn


def blurred(image: NDArray[np.uint8], radius_px: float) -> NDArray[np.uint8]:
    """`image` convolved with a uniform disc.

    Parameters
    ----------
    image : ndarray of uint8, (rows, cols, channels)
    radius_px : float
        Radius of the disc, 0 or more. What a grid cannot draw (below 1.5 px) is replaced by the three-tap
        kernel of the same variance, ``radius_px**2 / 4`` along each axis.
    """
    if radius_px == 0:
        return image
    if radius_px < 1.5:
        side = radius_px**2 / 8
        taps = np.array([side, 1 - 2 * side, side], np.float32)
        done = cv2.sepFilter2D(image, -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
    else:
        done = cv2.filter2D(image, -1, disc_kernel(radius_px), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(done, np.uint8)


def disc_kernel(radius_px: float) -> NDArray[np.float32]:
    """Sample a uniform disc on the pixel grid by area, with variance ``radius_px**2 / 4`` along each axis.

    Parameters
    ----------
    radius_px : float
        1.5 or more.
    """
    fine = 8
    # Sampling by area adds 1/12 px**2, a third of a px**2 in radius**2.
    drawn_px = math.sqrt(radius_px**2 - 1 / 3)
    half = math.ceil(drawn_px - 0.5)
    side = (2 * half + 1) * fine
    at = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / fine - np.float32(half + 0.5)
    inside = (at[:, None] ** 2 + at[None, :] ** 2 <= drawn_px**2).astype(np.float32)
    kernel = inside.reshape(2 * half + 1, fine, 2 * half + 1, fine).sum(axis=(1, 3))
    return np.asarray(kernel / kernel.sum(), np.float32)


def _over(canvas: NDArray[np.uint8], source: NDArray[np.uint8]) -> None:
    """Composite premultiplied `source` over `canvas`, both BGRA, in place (Porter & Duff 1984)."""
    alpha = np.ascontiguousarray(source[..., 3])
    least, most, _, _ = cv2.minMaxLoc(alpha)
    if most == 0:
        return
    if least == 255:
        canvas[...] = source
        return
    clear = cv2.cvtColor(cv2.bitwise_not(alpha), cv2.COLOR_GRAY2BGRA)
    behind = cv2.multiply(canvas, clear, scale=1 / 255)
    canvas[...] = cv2.add(behind, source)


def _interleave(copies: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    rows, cols, channels = copies[0].shape
    return np.stack(copies, axis=1).reshape(rows * len(copies), cols, channels)


def _columns(rows: int, cols: int) -> NDArray[np.float32]:
    return np.tile(np.arange(cols, dtype=np.float32), (rows, 1))


def _shrunk(rows: int, cols: int) -> tuple[int, int]:
    return max(2, round(cols / _SHRINK)), max(2, round(rows / _SHRINK))


def _box_of(alpha: NDArray[np.uint8], margin: int) -> tuple[slice, slice]:
    """Bounding box of what is not clear, with a margin for the fine blurs."""
    rows = np.flatnonzero(alpha.any(axis=1))
    cols = np.flatnonzero(alpha.any(axis=0))
    if rows.size == 0:
        return slice(0, 1), slice(0, 1)
    top, bottom = max(0, int(rows[0]) - margin), min(alpha.shape[0], int(rows[-1]) + 1 + margin)
    left, right = max(0, int(cols[0]) - margin), min(alpha.shape[1], int(cols[-1]) + 1 + margin)
    return slice(top, bottom), slice(left, right)
