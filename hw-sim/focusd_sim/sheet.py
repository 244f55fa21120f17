"""A sheet: one occlusion layer of a scene before any blur."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# How far a slab is continued under a step, px.
_UNDER_PX = 24


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """What one depth layer shows in perfect focus, and how high it lies.

    Parameters
    ----------
    bgra : ndarray of uint8, (rows, cols, 4)
        Blue, green, red, each already multiplied by alpha (0 to 255), and alpha.
    height_um : ndarray of float32, (rows, cols)
        z of the surface, um, larger towards the lens; smooth, and finite also where alpha is 0, because the
        layer's blur reaches there.
    """

    bgra: NDArray[np.uint8]
    height_um: NDArray[np.float32]

    @classmethod
    def of(
        cls, colour: NDArray[np.float32], alpha: NDArray[np.float32], height_um: NDArray[np.float32]
    ) -> Sheet:
        """Make a sheet from plain colour.

        Parameters
        ----------
        colour : ndarray of float32, (rows, cols, 3)
            BGR, 0 to 1, not multiplied by alpha.
        alpha : ndarray of float32, (rows, cols)
            Coverage, 0 to 1.
        height_um : ndarray of float32, (rows, cols)
            z in um; used where `alpha` is at least 0.5 (or, in a sheet that reaches that nowhere, above 0)
            and extended smoothly from there.
        """
        known = alpha >= 0.5
        if not known.any():
            known = alpha > 0
        bgra = np.empty((*alpha.shape, 4), np.uint8)
        level = alpha * np.float32(255)
        for channel in range(3):
            bgra[..., channel] = np.clip(colour[..., channel], 0, 1) * level + np.float32(0.5)
        bgra[..., 3] = level + np.float32(0.5)
        return cls(bgra, extend(height_um, known))


def extend(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill what is not known, smoothly, from what is (push-pull over a pyramid).

    Parameters
    ----------
    values : ndarray of float32, (rows, cols)
        Read where `known` only; may be NaN elsewhere.
    known : ndarray of bool, (rows, cols)

    Returns
    -------
    ndarray of float32, (rows, cols)
        `values` where known, a smooth continuation elsewhere; 0 everywhere when nothing is known.

    References
    ----------
    .. [1] Gortler et al., The Lumigraph, SIGGRAPH 1996, section 3.4 (doi:10.1145/237170.237200).
    """
    weight = known.astype(np.float32)
    total = np.where(known, values, np.float32(0)).astype(np.float32)
    return _pull(total, weight)


def slabs(image: NDArray[np.uint8], height_um: NDArray[np.float32], count: int) -> list[Sheet]:
    """Cut a picture with heights into occlusion layers.

    Each slab goes on a little under the one before it, so that slopes show no seam; what hides behind a step
    in height is continued from its surroundings.

    Parameters
    ----------
    image : ndarray of uint8, (rows, cols, 3)
        BGR.
    height_um : ndarray of float32, (rows, cols)
        z, um, finite.
    count : int
        Slabs of equal depth, 1 or more; those without a pixel are left out.

    Returns
    -------
    list of Sheet
        From back to front; the first is opaque everywhere.
    """
    low, high = float(height_um.min()), float(height_um.max())
    step = max(high - low, 1e-3) / count
    colour = image.astype(np.float32) / np.float32(255)
    sheets: list[Sheet] = []
    for slab in range(count):
        bottom = low + slab * step
        own = (height_um >= bottom) & (height_um < bottom + step)
        if slab == count - 1:
            own = height_um >= bottom
        if not own.any():
            continue
        known = (height_um >= bottom) & (height_um < bottom + 1.5 * step) | own
        near = cv2.dilate(known.astype(np.uint8), np.ones((2 * _UNDER_PX + 1,) * 2, np.uint8)) > 0
        alpha = known | (near & (height_um >= bottom)) if sheets else np.ones_like(known)
        filled = np.stack([extend(colour[..., i], known) for i in range(3)], axis=-1)
        bgra = np.zeros((*known.shape, 4), np.uint8)
        bgra[..., :3] = np.clip(np.rint(filled * 255), 0, 255) * alpha[..., None]
        bgra[..., 3] = np.where(alpha, 255, 0)
        sheets.append(Sheet(bgra, extend(height_um, known)))
    return sheets


def _pull(total: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the known where there is one, the coarser level's answer elsewhere."""
    rows, cols = weight.shape
    mean = total / np.maximum(weight, np.float32(1e-6))
    if min(rows, cols) < 2 or float(weight.min()) >= 1:
        return np.asarray(mean, np.float32)
    half = ((cols + 1) // 2, (rows + 1) // 2)
    coarse_weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    coarse_total = cv2.resize(total, half, interpolation=cv2.INTER_AREA)
    # Saturate: a cell a quarter full is already known well enough.
    gain = np.minimum(np.float32(1) / np.maximum(coarse_weight, np.float32(1e-6)), np.float32(4))
    coarse = _pull(np.asarray(coarse_total * gain, np.float32), np.asarray(coarse_weight * gain, np.float32))
    below = cv2.resize(coarse, (cols, rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(below + weight * (mean - below), np.float32)
