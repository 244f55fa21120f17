"""How far each frame of a stack is shifted against the first, in whole pixels, by phase correlation.

References
----------
.. [1] Kuglin C.D., Hines D.C., The phase correlation image alignment method, Proc. IEEE Int. Conf. on
   Cybernetics and Society, 1975, 163-165.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.errors import FusionError

Plane = NDArray[np.float32]
Window = tuple[slice, slice]
"""Rows and columns."""

# More pixels than this make the shift no surer.
_MOST_PX = 1_000_000
# Slower changes of brightness than this are light, not detail, px of the reduced frame.
_SLOW_PX = 25
# Finer detail than this may be the sensor's own, which does not move with the picture: the shift is looked
# for with either, and the likelier taken.
_FINEST_PX = (1.5, 2.5)
# Share of the correlation's energy in its peak; what is below is chance.
_LEAST_PEAK = 0.03
# Likeness of two frames once shifted: neighbours of real stacks have 0.1 to 1, strangers of a megapixel below
# 0.03; chance makes strangers of small frames more alike.
_LEAST_LIKENESS, _CHANCE, _MOST_ASKED = 0.05, 40.0, 0.5
# Less common ground than this share of each side is no stack.
_LEAST_COMMON = 0.5


class ShiftRefused(FusionError):
    """A frame whose shift against the one before cannot be told."""

    code = "shift_refused"


class Track:
    """Shifts of frames that come one after the other: each is held against the one before.

    Neighbours in focus share their detail; the first and the last of a stack may share none.
    """

    def __init__(self) -> None:
        self._before: tuple[Plane, ...] = ()
        self._window: Plane = np.empty((0, 0), np.float32)
        self._at = np.zeros(2)

    def follow(self, luma: Plane) -> tuple[int, int]:
        """Take the next frame.

        Parameters
        ----------
        luma : ndarray
            float32, (rows, cols), the same shape each time.

        Returns
        -------
        tuple of int
            (x, y): what the first frame has at (0, 0) this one has there, px. Fractions are kept for the
            next frame.

        Raises
        ------
        ShiftRefused
            Nothing in common with the frame before; the next is held against that one again.
        """
        rows, cols = luma.shape
        reduction = max(1, round((rows * cols / _MOST_PX) ** 0.5))
        size = (max(1, cols // reduction), max(1, rows // reduction))
        small = luma if reduction == 1 else cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
        band = cv2.subtract(small, cv2.blur(small, (_SLOW_PX, _SLOW_PX)))
        here = tuple(np.asarray(cv2.GaussianBlur(band, (0, 0), finest), np.float32) for finest in _FINEST_PX)
        if self._before:
            self._at += self._step(here) * (cols / size[0], rows / size[1])
        elif min(size) > 1:  # OpenCV has no window for a single line
            self._window = np.asarray(cv2.createHanningWindow(size, cv2.CV_32F), np.float32)
        self._before = here
        x, y = np.rint(self._at).astype(int)
        return int(x), int(y)

    def _step(self, here: tuple[Plane, ...]) -> NDArray[np.float64]:
        """Shift against the frame before, (x, y), px of the reduced frame."""
        guesses = {(0, 0)}
        if self._window.size:
            for before, now in zip(self._before, here, strict=True):
                # Windowed here: given the window, OpenCV 5 writes into its inputs.
                found, peak = cv2.phaseCorrelate(before * self._window, now * self._window)
                if np.isfinite(found).all() and peak >= _LEAST_PEAK:
                    guesses.add((round(found[0]), round(found[1])))
        likeness, x, y = max((_likeness(self._before[-1], here[-1], *guess), *guess) for guess in guesses)
        least = min(max(_LEAST_LIKENESS, _CHANCE / here[-1].size ** 0.5), _MOST_ASKED)
        if likeness < least:
            raise ShiftRefused(
                f"the frame is like the one before by {likeness:.3f} however it is shifted: at least "
                f"{least:.3f} is believed; leave it out, or align another way"
            )
        # The fraction by likeness as well: that of phase correlation is off by up to a third of a pixel.
        return np.array(
            [
                x + _vertex(*(_likeness(self._before[-1], here[-1], x + n, y) for n in (-1, 0, 1))),
                y + _vertex(*(_likeness(self._before[-1], here[-1], x, y + n) for n in (-1, 0, 1))),
            ]
        )


def overlap(shift_px: int, side_px: int) -> tuple[slice, slice]:
    """Pixels of the first frame that a frame shifted by so much covers, and those that cover them."""
    first = min(side_px, max(0, -shift_px))
    last = max(first, min(side_px, side_px - shift_px))
    return slice(first, last), slice(first + shift_px, last + shift_px)


def shared(mine: Window, theirs: Window, shape: tuple[int, int]) -> Window:
    """Part of two windows, (rows, columns), that both have; `shape` is the whole frame's.

    Raises
    ------
    ShiftRefused
        Less than half of a side.
    """
    both: list[slice] = []
    for a, b, side in zip(mine, theirs, shape, strict=True):
        first = max(a.start, b.start)
        both.append(slice(first, max(first, min(a.stop, b.stop))))
        left = both[-1].stop - first
        if left < _LEAST_COMMON * side:
            raise ShiftRefused(
                f"the frame is shifted so far that {left} of {side} px are common to all: at least "
                f"{_LEAST_COMMON:.0%} must be; leave it out"
            )
    return both[0], both[1]


def _likeness(before: Plane, now: Plane, x: int, y: int) -> float:
    """Correlation of two frames where they overlap once shifted, -1 to 1; 1 for two without any detail."""
    (rows, own_rows), (cols, own_cols) = overlap(y, now.shape[0]), overlap(x, now.shape[1])
    a, b = before[rows, cols], now[own_rows, own_cols]
    if 2 * a.shape[0] < now.shape[0] or 2 * a.shape[1] < now.shape[1]:
        return -1.0
    a, b = a - a.mean(), b - b.mean()
    power = float(np.sqrt(np.square(a).sum(dtype=np.float64) * np.square(b).sum(dtype=np.float64)))
    return float((a * b).sum(dtype=np.float64)) / power if power > 0 else 1.0


def _vertex(before: float, here: float, after: float) -> float:
    """Where the parabola through three values, one apart, is highest: -1 to 1; 0 where it is nowhere."""
    bend = before - 2 * here + after
    return max(-1.0, min(1.0, 0.5 * (before - after) / bend)) if bend < 0 else 0.0
