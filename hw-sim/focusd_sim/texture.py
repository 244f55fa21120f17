"""Random textures for scenes, all from an explicit generator."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> NDArray[np.float32]:
    """Smooth random field of unit variance and zero mean.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        (rows, cols).
    scale_px : float
        Distance between independent values, px, 1 or more.

    Returns
    -------
    ndarray of float32, (rows, cols)
    """
    rows, cols = shape
    grid = rng.standard_normal((round(rows / scale_px) + 3, round(cols / scale_px) + 3), dtype=np.float32)
    if scale_px <= 1:
        return grid[:rows, :cols]
    field = cv2.resize(grid, None, fx=scale_px, fy=scale_px, interpolation=cv2.INTER_CUBIC)
    field = field[int(scale_px) :, int(scale_px) :][:rows, :cols]
    field = field - np.float32(field.mean())
    return np.asarray(field / np.float32(max(float(field.std()), 1e-6)), np.float32)


def octaves(
    rng: np.random.Generator, shape: tuple[int, int], coarsest_px: float, finest_px: float
) -> NDArray[np.float32]:
    """Sum of `noise` at every octave from `coarsest_px` to `finest_px`, equally strong, of unit variance."""
    count = max(1, int(np.log2(coarsest_px / finest_px)) + 1)
    total = np.zeros(shape, np.float32)
    for octave in range(count):
        total += noise(rng, shape, max(1.0, coarsest_px / 2**octave))
    return np.asarray(total / np.float32(count**0.5), np.float32)


def smoothstep(x: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """0 below `low`, 1 above `high`, and a smooth rise between (a fall, when `low` is above `high`)."""
    t = np.clip((np.asarray(x, np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
