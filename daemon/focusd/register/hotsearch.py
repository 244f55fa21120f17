"""Hot and dead pixels of a sensor, learnt while the picture moves over them.

Such a pixel stands out of its surround in every frame, whatever lies over it; a detail of the picture does so
only while it lies there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.pictures.defects import Mask
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image
from focusd.register.hotpixel import MOST, SPOT_PX, HotPixels, Places

# The surround is the middle of 25 samples: a spot of 3 x 3, which one pixel becomes where a camera fills in
# colour, is seen whole.
_SURROUND_PX = 5
# What a sample must stand out by to count in full: of the spread in its frame, and of white.
_SPREADS = 4.0
_LEAST_SHARE = 0.02
# How often it must: mean over the frames, 1 where it counts in full in each. Details of the suite's scenes
# reach 0.65 where they drift, and 0.8 where nothing moves.
_OFTEN = 0.85
# At the edge of the frame there is not enough around a sample to tell, and cameras leave marks there.
_EDGE_PX = 3
# Samples beside it that stand out this often are spoilt with it; what is larger then is a line or dust.
_BESIDE = 0.45
_LARGEST_PX = 3
# Share of the frames in which the picture may lie within `SPOT_PX` of one place, at the most.
_STILL = 0.6
# More of them than this are something else.
_MOST_SHARE = 0.005
# Sums of 127 a frame at most fit 16 bits.
_FULL = 127
_MOST_SUMMED = 256
_GRID = 17


class HotSearch:
    """Learns which pixels are hot or dead.

    Keeps how often each sample stood out, and which way: 2 bytes a sample, whatever the number of frames.
    """

    def __init__(self) -> None:
        self._sums: list[npt.NDArray[np.int16]] = []
        self._summed = 0
        self._seen = 0
        self._every = 1

    @property
    def nbytes(self) -> int:
        """Memory of the sums, bytes."""
        return sum(each.nbytes for each in self._sums)

    def look(self, frame: Image | Planes) -> None:
        """Take in a frame as the camera gave it, of the first one's size and kind; it is not changed."""
        self._seen += 1
        if (self._seen - 1) % self._every:
            return
        planes = (frame.luma, frame.blue, frame.red) if isinstance(frame, Planes) else (frame,)
        marks = [_standing_out(plane) for plane in planes]
        if [total.shape for total in self._sums] != [mark.shape for mark in marks]:
            self.__init__()  # type: ignore[misc]
            self._seen = 1
            self._sums = [mark.astype(np.int16) for mark in marks]
        else:
            for total, mark in zip(self._sums, marks, strict=True):
                cv2.add(total, mark, dst=total, dtype=cv2.CV_16S)
        self._summed += 1
        if self._summed == _MOST_SUMMED:
            for total in self._sums:
                np.right_shift(total, 1, out=total)
            self._summed //= 2
            self._every *= 2

    def found(self, matrices: Sequence[npt.NDArray[np.float64]]) -> HotPixels:
        """Return those found so far.

        Parameters
        ----------
        matrices : sequence of ndarray
            (2, 3) each, for half the size: carry the reference's (x, y) to those of frames along the way.
        """
        if not self._sums or len(matrices) < 2:
            return HotPixels()
        rows, cols = self._sums[0].shape[:2]
        masks = []
        for total in self._sums:
            # Matrices are those of the half size: a sample of luma is half a pixel there, one of colour one.
            half_px = 0.5 if total.shape[0] == rows else 1.0
            still = _still(matrices, (rows / 2, cols / 2), SPOT_PX * half_px) > _STILL
            mask = np.zeros((total.shape[0], total.shape[1]), bool)
            for layer in cv2.split(total):
                mask |= _alone(np.asarray(layer, np.int16), self._summed)
            down, right = np.nonzero(mask)
            mask[down, right] = ~still[down * _GRID // mask.shape[0], right * _GRID // mask.shape[1]]
            masks.append(mask)
        pixels = _listed(masks[0])
        # A pixel that is off spoils the colour it has a share in.
        colours = {(x // 2, y // 2) for x, y in pixels}.union(*(_listed(mask) for mask in masks[1:]))
        if max(len(pixels), len(colours)) > min(MOST, _MOST_SHARE * rows * cols):
            return HotPixels()
        return HotPixels(pixels, tuple(sorted(colours)))


def _standing_out(plane: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """How far each sample stands out of its surround: 127 at the limit for this frame, and no more."""
    around = cv2.medianBlur(plane, _SURROUND_PX)
    # The middle departure of a sixteenth of the samples tells the spread of most.
    spread = 1.4826 * float(np.median(cv2.absdiff(plane[::4, ::4], around[::4, ::4])))
    white = 255 if plane.dtype == np.uint8 else int(plane.max())
    limit = max(_SPREADS * spread, _LEAST_SHARE * white, 1.0)
    return np.asarray(
        cv2.addWeighted(plane, _FULL / limit, around, -_FULL / limit, 0, dtype=cv2.CV_8S), np.int8
    )


def _alone(total: npt.NDArray[np.int16], summed: int) -> Mask:
    """Give the samples that stood out in nearly all frames, few together."""
    found = np.zeros(total.shape, bool)
    full = _FULL * summed
    for often in (total, -total):
        sure = often >= _OFTEN * full
        sure[:_EDGE_PX] = sure[-_EDGE_PX:] = sure[:, :_EDGE_PX] = sure[:, -_EDGE_PX:] = False
        if not sure.any():
            continue
        count, labels, stats, _ = cv2.connectedComponentsWithStats((often >= _BESIDE * full).astype(np.uint8))
        good = np.zeros(count, bool)
        good[labels[sure]] = True
        size = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1)
        found |= (good & (size <= _LARGEST_PX))[labels]
    return found


def _still(
    matrices: Sequence[npt.NDArray[np.float64]], size: tuple[float, float], reach_px: float
) -> npt.NDArray[np.float64]:
    """Share of the frames that show about the same place of the picture, on a grid over the sensor."""
    y, x = (np.mgrid[:_GRID, :_GRID] + 0.5) / _GRID * np.reshape(size, (2, 1, 1))
    sensor = np.stack([x, y], axis=-1).reshape(-1, 2)
    back = (cv2.invertAffineTransform(np.asarray(each, np.float64)) for each in matrices)
    # (frames, places, 2): what of the picture lay there.
    lay = np.stack([sensor @ each[:, :2].T + each[:, 2] for each in back])
    shares = [(np.linalg.norm(lay - one, axis=2) <= reach_px).mean(axis=0) for one in lay]
    return np.asarray(np.max(shares, axis=0), np.float64).reshape(_GRID, _GRID)


def _listed(mask: Mask) -> Places:
    return tuple((int(x), int(y)) for y, x in np.argwhere(mask))
