"""What is left of a stack when at each pixel all layers but the sharpest are suppressed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from focusd.fusion.arrays import Float, Image, Index

Overlap = tuple[slice, slice]
"""Rows (or columns) of the first frame that a frame covers, and the frame's own that cover them."""


class Layers:
    """The sharpest layer at each pixel; of equal ones the first.

    Parameters
    ----------
    like : ndarray
        A frame, uint8 or uint16, (rows, cols) or (rows, cols, 3): shape and type of all.
    """

    def __init__(self, like: Image) -> None:
        shape = like.shape[:2]
        self.picked: Image = np.zeros_like(like)
        """The picture."""
        self.origin: Index = np.zeros(shape, np.int16)
        """Number of the layer, in the order they came."""
        self.total: Float = np.zeros(shape, np.float32)
        """Sum of the responses of all layers."""
        self.last: Float = np.zeros(shape, np.float32)
        """Response of the layer that came last, in the first one's place; 0 where it has none."""
        # Below every response, so that the first layer wins everywhere.
        self._best: Float = np.full(shape, -1, np.float32)
        self._count = 0

    @property
    def nbytes(self) -> int:
        """Memory held, bytes."""
        return sum(p.nbytes for p in (self.picked, self.origin, self.total, self.last, self._best))

    def add(self, image: Image, response: Float, rows: Overlap, cols: Overlap) -> None:
        """Add a layer: float32 responses, 0 or more, of a frame that covers these rows and columns."""
        to, of = (rows[0], cols[0]), (rows[1], cols[1])
        self.last[...] = 0
        self.last[to] = response[of]
        won: npt.NDArray[np.bool_] = response[of] > self._best[to]
        self.total[to] += response[of]
        np.copyto(self._best[to], response[of], where=won)
        np.copyto(self.origin[to], np.int16(self._count), where=won)
        np.copyto(self.picked[to], image[of], where=won if image.ndim == 2 else won[..., np.newaxis])
        self._count += 1
