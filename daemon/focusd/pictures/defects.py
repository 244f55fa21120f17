"""Samples that tell nothing, and what is put in their place: the middle of what lies around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.pictures.grain import Samples

Mask = npt.NDArray[np.bool_]

_REACH_PX = 3
_NEIGHBOURS = 8
# The middle of 25 samples: a spot of 3 x 3, as one pixel becomes by the filling in of colour, is seen whole.
_SURROUND_PX = 5


@dataclass(frozen=True, slots=True, eq=False)
class Defects:
    """Where a plane has nothing to tell.

    Parameters
    ----------
    at : tuple of ndarray of int32, (n,)
        Row and column of each.
    near : tuple of ndarray of int32, (n, 8)
        Rows and columns of the nearest good samples.
    """

    at: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
    near: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]

    @classmethod
    def of(cls, bad: Mask) -> Defects:
        """Return the defects of a plane.

        Parameters
        ----------
        bad : ndarray of bool, (rows, cols)
            True where there is one. One without a good sample within 3 px stays as it is.
        """
        rows, cols = np.nonzero(bad)
        span = range(-_REACH_PX, _REACH_PX + 1)
        steps = sorted(
            ((row, col) for row in span for col in span if (row, col) != (0, 0)),
            key=lambda step: step[0] ** 2 + step[1] ** 2,
        )
        down, right = np.array(steps).T
        near_rows, near_cols = rows[:, None] + down, cols[:, None] + right
        inside = (near_rows >= 0) & (near_rows < bad.shape[0]) & (near_cols >= 0) & (near_cols < bad.shape[1])
        near_rows = np.clip(near_rows, 0, bad.shape[0] - 1)
        near_cols = np.clip(near_cols, 0, bad.shape[1] - 1)
        good = inside & ~bad[near_rows, near_cols]
        # The good ones first, nearest first; where they are few, they stand more than once.
        order = np.argsort(~good, axis=1, kind="stable")[:, :_NEIGHBOURS]
        count = np.minimum(good.sum(axis=1), _NEIGHBOURS)
        turn = np.arange(_NEIGHBOURS)[None, :] % np.maximum(count, 1)[:, None]
        chosen = np.take_along_axis(order, turn, axis=1)
        near_rows = np.take_along_axis(near_rows, chosen, axis=1)
        near_cols = np.take_along_axis(near_cols, chosen, axis=1)
        near_rows[count == 0] = rows[count == 0, None]
        near_cols[count == 0] = cols[count == 0, None]
        return cls(
            (rows.astype(np.int32), cols.astype(np.int32)),
            (near_rows.astype(np.int32), near_cols.astype(np.int32)),
        )

    @property
    def count(self) -> int:
        """How many."""
        return len(self.at[0])

    def mend(self, plane: npt.NDArray[Any]) -> None:
        """Put the middle of the neighbours in the place of each; in place.

        Parameters
        ----------
        plane : ndarray
            uint8 or uint16, (rows, cols) or (rows, cols, 3).
        """
        if not self.count:
            return
        near = np.sort(plane[self.near], axis=1)
        middle = _NEIGHBOURS // 2
        plane[self.at] = (near[:, middle - 1].astype(np.uint32) + near[:, middle] + 1) // 2


def hot(dark: Samples, noise: float) -> Mask:
    """Find what stands out of a dark frame.

    Parameters
    ----------
    dark : ndarray of uint16, (rows, cols)
        The mean of dark frames.
    noise : float
        How far from its surround a sample may be, levels, either way.
    """
    around = cv2.medianBlur(dark, _SURROUND_PX)
    return np.asarray(cv2.absdiff(dark, around) > noise)
