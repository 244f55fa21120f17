"""Where frames lie, one after the other, and which one leaves the course."""

from __future__ import annotations

from collections import deque

import numpy as np

from focusd.register.oddity import Oddity

# Frames whose steps make the course, and how many it takes to know one.
_REMEMBERED = 12
_KNOWN = 3
# How far beyond the usual a step, or a residual, must be; standard deviations by the median.
_BEYOND = 8.0
_SIGMA = 1.4826
# A step no further off than this is no fault: alignment follows it, px.
_LEAST_SHIFT_PX = 8.0
# Residuals vary with what is in focus: by less than this factor they tell nothing, nor below these px: frames
# far apart, and good ones, had up to 4.5.
_LEAST_FACTOR = 4.0
_LEAST_RESIDUAL_PX = 8.0


class Course:
    """Follows the shifts of a stack's frames and their alignment's residuals.

    It keeps those of the last few frames. A frame that leaves the course is not taken into it; but if the
    next lies where that one lay, the rig was moved for good, and the course goes on from there.
    """

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._strayed: tuple[float, float] | None = None
        self._steps: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._residuals: deque[float] = deque(maxlen=_REMEMBERED)

    def judge(self, shift_px: tuple[float, float], residual_px: float | None = None) -> Oddity | None:
        """Judge the next frame.

        Parameters
        ----------
        shift_px : tuple of float
            Of the picture's middle along (x, y) against the reference, px, as measured.
        residual_px : float, optional
            What the alignment left unexplained, px, 0 or more.

        Returns
        -------
        Oddity or None
            'shifted', with the distance from where the course led or the residual, px; None if it belongs.
        """
        oddity = self._by_residual(residual_px)
        if oddity is None:
            oddity = self._by_shift(shift_px)
        if oddity is not None:
            self._strayed = shift_px
            return oddity
        if self._last is not None and self._strayed is None:
            self._steps.append((shift_px[0] - self._last[0], shift_px[1] - self._last[1]))
        if residual_px is not None:
            self._residuals.append(residual_px)
        self._last, self._strayed = shift_px, None
        return None

    def _by_residual(self, residual_px: float | None) -> Oddity | None:
        if residual_px is None or len(self._residuals) < _KNOWN:
            return None
        known = np.array(self._residuals)
        middle = float(np.median(known))
        spread = _SIGMA * float(np.median(np.abs(known - middle)))
        limit = max(_LEAST_RESIDUAL_PX, _LEAST_FACTOR * middle, middle + _BEYOND * spread)
        return Oddity("shifted", residual_px, limit) if residual_px > limit else None

    def _by_shift(self, shift_px: tuple[float, float]) -> Oddity | None:
        if self._last is None or len(self._steps) < _KNOWN:
            return None
        steps = np.array(self._steps)
        usual = np.median(steps, axis=0)
        spread = _SIGMA * float(np.median(np.linalg.norm(steps - usual, axis=1)))
        limit = max(_LEAST_SHIFT_PX, _BEYOND * spread)
        expected = np.array(self._last) + usual * (2 if self._strayed is not None else 1)
        away = float(np.linalg.norm(np.array(shift_px) - expected))
        if away <= limit:
            return None
        if self._strayed is not None:
            beside = float(np.linalg.norm(np.array(shift_px) - np.array(self._strayed) - usual))
            if beside <= limit:
                return None
        return Oddity("shifted", away, limit)
