"""How good a fused picture is, told from its frames alone: one pass over them, in constant memory.

References
----------
.. [1] Xydeas C. S., Petrovic V., Objective image fusion performance measure, Electronics Letters 36(4), 2000,
   308-309. doi:10.1049/el:20000267
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from focusd.errors import FrameMismatch
from focusd.fusion.noise import estimate_sigma
from focusd.fusion.tone import Source
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image

Plane = npt.NDArray[np.float32]
Table = npt.NDArray[np.float64]

TILE_PX = 64
"""Side of the tiles whose sharpness is compared."""
OVERSHOOT_LEVELS = 4
"""8-bit levels by which a pixel must leave the frames' range to count."""
RANGE_PX = 5
"""Side of the window in which the frames' range is taken."""

# Of [1]: how strength and orientation of edges are believed to count.
_STRENGTH = (0.9994, -15.0, 0.5)
_ORIENTATION = (0.9879, -22.0, 0.8)
_TINY = 1e-6
# A tile has something to be sharp where its sharpest frame has this many times the energy of noise.
_TEXTURED = 4.0
# Gradient energy of white noise of one level: each of Sobel's kernels has squares that add up to 12.
_NOISE_ENERGY = 24.0


@dataclass(frozen=True, slots=True)
class Scores:
    """What the frames say of a picture.

    Parameters
    ----------
    edges : float
        Q_AB/F of [1], over all frames, each edge counting by its strength: near 0 when none of theirs is in
        the picture, 0.975 when all are.
    recovered, recovered_least : float
        Gradient energy of the picture over that of the sharpest frame, tile by tile: median, and the value a
        tenth of the tiles lie below. NaN where no tile has detail.
    overshoot : float
        Share of pixels whose luma leaves by more than 4 levels what all frames show within 5x5, 0 to 1.
    tiles : ndarray
        float64, (tile rows, tile columns): the picture's energy over the sharpest frame's, NaN where there
        is no detail.
    """

    edges: float
    recovered: float
    recovered_least: float
    overshoot: float
    tiles: Table


class _Slope(NamedTuple):
    """Gradient of a strip, 8-bit levels times Sobel's gain of 8 a pixel."""

    x: Plane
    y: Plane
    strength: Plane


class Judge:
    """Scores pictures by the frames they were made of, which are shown to it one by one.

    Parameters
    ----------
    pictures : sequence of ndarray or Planes
        All of one size and type.
    white : int
        The value that is white, 255 for uint8.
    margin_px : int
        Width of the border that is not judged.

    Raises
    ------
    FrameMismatch
        Pictures of different sizes, or no larger than their margins.
    """

    def __init__(self, pictures: Sequence[Image | Planes], *, white: int = 255, margin_px: int = 0) -> None:
        self._margin_px = margin_px
        self._unit = np.float32(255.0 / white)
        self._pictures = [self._inner(picture) for picture in pictures]
        shapes = {luma.shape for luma in self._pictures}
        if len(shapes) != 1 or min(next(iter(shapes))) < RANGE_PX:
            raise FrameMismatch(
                f"pictures of {sorted(shapes)} px inside margins of {margin_px} px: all must be alike and "
                f"{RANGE_PX} px or more a side"
            )
        self._shape: tuple[int, int] = self._pictures[0].shape[:2]
        rows, cols = (-(-side // TILE_PX) for side in self._shape)
        self._found = np.zeros(len(pictures))
        self._weight = 0.0
        self._energies = np.zeros((len(pictures), rows, cols))
        self._sharpest = np.zeros((rows, cols))
        self._sigma = np.inf
        self._low: npt.NDArray[Any] | None = None
        self._high: npt.NDArray[Any] | None = None

    def add(self, frame: Image | Planes) -> None:
        """Look at one more frame.

        Raises
        ------
        FrameMismatch
            A frame of another size or type than the pictures.
        """
        luma = self._inner(frame)
        if (luma.shape, luma.dtype) != (self._shape, self._pictures[0].dtype):
            raise FrameMismatch(
                f"a frame of {luma.shape} {luma.dtype} beside pictures of {self._shape} "
                f"{self._pictures[0].dtype}: all must be alike"
            )
        is_first = self._low is None
        if self._low is None or self._high is None:
            self._low, self._high = luma.copy(), luma.copy()
        else:
            np.minimum(self._low, luma, out=self._low)
            np.maximum(self._high, luma, out=self._high)
        # The most blurred frame tells noise best.
        self._sigma = min(self._sigma, estimate_sigma(Source(luma, (float(self._unit),), 0.0)))
        # A row of tiles at a time: float planes of a whole frame would take most of the memory.
        for row, top in enumerate(range(0, self._shape[0], TILE_PX)):
            theirs = self._slope(luma, top)
            energy = _tile_sums(theirs)
            np.maximum(self._sharpest[row], energy, out=self._sharpest[row])
            self._weight += float(theirs.strength.sum(dtype=np.float64))
            for number, picture in enumerate(self._pictures):
                ours = self._slope(picture, top)
                kept = _kept(theirs, ours)
                kept *= theirs.strength
                self._found[number] += float(kept.sum(dtype=np.float64))
                if is_first:
                    self._energies[number, row] = _tile_sums(ours)

    def scores(self) -> list[Scores]:
        """Say how each picture did, in their order.

        Raises
        ------
        FrameMismatch
            Before the first frame.
        """
        if self._low is None or self._high is None:
            raise FrameMismatch("no frame has been looked at: add one first")
        down, across = (
            np.diff(np.append(np.arange(0, side, TILE_PX), side)).astype(np.float64) for side in self._shape
        )
        textured = self._sharpest > _TEXTURED * _NOISE_ENERGY * self._sigma**2 * np.outer(down, across)
        window = np.ones((RANGE_PX, RANGE_PX), np.uint8)
        low, high = cv2.erode(self._low, window), cv2.dilate(self._high, window)
        limit = OVERSHOOT_LEVELS / float(self._unit)
        made = []
        for number, luma in enumerate(self._pictures):
            with np.errstate(divide="ignore", invalid="ignore"):
                tiles = np.where(textured, self._energies[number] / self._sharpest, np.nan)
            outside = (cv2.subtract(luma, high) > limit) | (cv2.subtract(low, luma) > limit)
            known = tiles[textured]
            made.append(
                Scores(
                    edges=float(self._found[number] / max(self._weight, _TINY)),
                    recovered=float(np.median(known)) if known.size else float("nan"),
                    recovered_least=float(np.quantile(known, 0.1)) if known.size else float("nan"),
                    overshoot=float(outside.mean()),
                    tiles=tiles,
                )
            )
        return made

    def _inner(self, picture: Image | Planes) -> npt.NDArray[Any]:
        luma, margin = luma_of(picture), self._margin_px
        return luma[margin : luma.shape[0] - margin, margin : luma.shape[1] - margin] if margin else luma

    def _slope(self, luma: npt.NDArray[Any], top: int) -> _Slope:
        """Gradient of a row of tiles, from one more row of pixels on each side where there is one."""
        bottom = min(luma.shape[0], top + TILE_PX)
        first, last = max(0, top - 1), min(luma.shape[0], bottom + 1)
        strip = luma[first:last].astype(np.float32)
        strip *= self._unit
        inner = slice(top - first, bottom - first)
        x = np.ascontiguousarray(cv2.Sobel(strip, cv2.CV_32F, 1, 0)[inner], np.float32)
        y = np.ascontiguousarray(cv2.Sobel(strip, cv2.CV_32F, 0, 1)[inner], np.float32)
        return _Slope(x, y, np.asarray(cv2.magnitude(x, y), np.float32))


def luma_of(picture: Image | Planes) -> npt.NDArray[Any]:
    """Luma of a picture, Rec. 601, its own type."""
    if isinstance(picture, Planes):
        return picture.luma
    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))


def _kept(theirs: _Slope, ours: _Slope) -> Plane:
    """How much of each edge of a frame is in the picture, 0 to 1: [1], equations 2 to 5."""
    strength = np.minimum(theirs.strength, ours.strength)
    strength /= np.maximum(np.maximum(theirs.strength, ours.strength), _TINY)
    # The acute angle between the two, 0 to pi / 2: an edge has no sign.
    along = np.abs(theirs.x * ours.x + theirs.y * ours.y)
    across = np.abs(theirs.x * ours.y - theirs.y * ours.x)
    agreement = np.asarray(cv2.phase(along, across), np.float32)
    agreement *= np.float32(-2 / np.pi)
    agreement += 1
    kept = _sigmoid(strength, *_STRENGTH)
    kept *= _sigmoid(agreement, *_ORIENTATION)
    return kept


def _sigmoid(values: Plane, top: float, steepness: float, middle: float) -> Plane:
    values -= np.float32(middle)
    values *= np.float32(steepness)
    raised = np.asarray(cv2.exp(values), np.float32)
    raised += 1
    return np.divide(np.float32(top), raised, out=raised)


def _tile_sums(slope: _Slope) -> npt.NDArray[np.float64]:
    """Gradient energy of each tile in a row of them; those at the right edge may be narrower."""
    energy = cv2.multiply(slope.strength, slope.strength).sum(axis=0, dtype=np.float64)
    return np.add.reduceat(energy, np.arange(0, energy.size, TILE_PX))
