"""How far the picture moved over the sensor, in the course of a stack."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class Drift:
    """How far the picture moved over the sensor so far; keeps its extremes at the corners alone.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols) of the frames.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        right, bottom = float(shape[1] - 1), float(shape[0] - 1)
        self._corners = np.array([[0.0, 0.0], [right, 0.0], [0.0, bottom], [right, bottom]])
        self._size = max(right, 1.0), max(bottom, 1.0)
        self._least = np.full((4, 2), np.inf)
        self._most = np.full((4, 2), -np.inf)

    def take(self, matrix: npt.NDArray[np.float64]) -> None:
        """Take in where a frame lies: (2, 3), carries the reference's (x, y) to the frame's."""
        away = self._corners @ matrix[:, :2].T + matrix[:, 2] - self._corners
        self._least, self._most = np.minimum(self._least, away), np.maximum(self._most, away)

    def at(self, x: float, y: float) -> float:
        """Return how far the picture moved at a place of the sensor, px: about, and 0 before any frame."""
        if not np.isfinite(self._least).all():
            return 0.0
        right, down = min(1.0, max(0.0, x / self._size[0])), min(1.0, max(0.0, y / self._size[1]))
        shares = np.array([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down])
        return float(np.linalg.norm(shares @ self._most - shares @ self._least))
