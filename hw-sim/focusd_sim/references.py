"""Plain fusion rules, in floats and without regard for time: what focusd's own rule is measured against."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.errors import FrameMismatch, FusionError

LEVELS = 6
"""Bands of the reference pyramid, as in the tables it was first measured for."""

# Energies below this count as this: a weight of no detail at all must stay above 0 after the power.
_LEAST_ENERGY = 0.05
# Energies are divided by this before the power, so that weights of 255 and of 0.05 both fit float32.
_ENERGY_UNIT = 4.0
# A picture's smallest side may not fall below this in the base.
_LEAST_SIDE_PX = 2


def laplacian(image: NDArray[np.uint8], levels: int = LEVELS) -> list[NDArray[np.float32]]:
    """Take a picture apart into bands of detail.

    Parameters
    ----------
    image : ndarray of uint8, (rows, cols, 3)
        BGR.
    levels : int
        Bands wanted, 1 or more; a small picture has fewer.

    Returns
    -------
    list of ndarray of float32
        The bands, finest first, each half the size of the one before (rounded up), and the base last.

    References
    ----------
    .. [1] Burt & Adelson 1983, doi:10.1109/TCOM.1983.1095851.
    """
    plane = image.astype(np.float32)
    bands: list[NDArray[np.float32]] = []
    for _ in range(levels):
        if min(plane.shape[:2]) < 2 * _LEAST_SIDE_PX:
            break
        smaller = np.asarray(cv2.pyrDown(plane), np.float32)
        bands.append(plane - _grown(smaller, plane))
        plane = smaller
    return [*bands, plane]


def collapse(bands: list[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Put a picture together again from the bands of `laplacian`; rounded and clipped to 0 to 255."""
    plane = bands[-1]
    for band in reversed(bands[:-1]):
        plane = _grown(plane, band) + band
    return np.asarray(np.clip(np.rint(plane), 0, 255), np.uint8)


@dataclass(slots=True)
class ReferenceFusion:
    """Laplacian pyramid of float32 BGR, in memory that does not grow with the number of frames.

    A level's energy at a pixel is the mean of the band's absolute value (the luma's share of each channel)
    in a square window. The base follows the energy of the coarsest band.

    Parameters
    ----------
    window_px : int
        Side of the energy window, odd, 1 or more.
    power : float, optional
        Weights are energies to this power, above 0 and at most 16. None: the frame of the largest energy is
        taken, and of equal ones the first.

    Raises
    ------
    FusionError
        A window or power outside its range.
    """

    window_px: int = 7
    power: float | None = None
    _sums: list[NDArray[np.float32]] = field(default_factory=list, init=False, repr=False)
    _weights: list[NDArray[np.float32]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.window_px < 1 or self.window_px % 2 == 0:
            raise FusionError(f"window_px is {self.window_px} px: it must be odd and 1 or more")
        if self.power is not None and not 0 < self.power <= 16:
            raise FusionError(f"power is {self.power}: it must be above 0 and at most 16")

    def add(self, image: NDArray[np.uint8]) -> None:
        """Fuse one more frame.

        Parameters
        ----------
        image : ndarray of uint8, (rows, cols, 3)
            BGR, not modified.

        Raises
        ------
        FrameMismatch
            Another size than the first frame's.
        """
        self.add_bands(laplacian(image))

    def add_bands(self, bands: list[NDArray[np.float32]]) -> None:
        """Fuse one more frame, already taken apart by `laplacian`; see `add`. The bands are not modified."""
        if self._sums and self._sums[0].shape != bands[0].shape:
            raise FrameMismatch(
                f"a frame of {bands[0].shape[1]} x {bands[0].shape[0]} px in a stack of "
                f"{self._sums[0].shape[1]} x {self._sums[0].shape[0]} px: all frames must be alike"
            )
        weights = self._weights_of(bands)
        if not self._sums:
            self._weights = weights
            if self.power is None:
                self._sums = [band.copy() for band in bands]
            else:
                self._sums = [band * w[..., None] for band, w in zip(bands, weights, strict=True)]
            return
        for level, (band, weight) in enumerate(zip(bands, weights, strict=True)):
            if self.power is None:
                better = (weight > self._weights[level]).view(np.uint8)
                cv2.copyTo(band, better, self._sums[level])
                cv2.copyTo(weight, better, self._weights[level])
            else:
                self._sums[level] += band * weight[..., None]
                self._weights[level] += weight

    def image(self) -> NDArray[np.uint8]:
        """Fused picture so far, (rows, cols, 3) BGR.

        Raises
        ------
        FusionError
            Before the first frame.
        """
        if not self._sums:
            raise FusionError("no frame has been fused yet: add one first")
        if self.power is None:
            return collapse(self._sums)
        return collapse([s / w[..., None] for s, w in zip(self._sums, self._weights, strict=True)])

    def _weights_of(self, bands: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        window = (self.window_px, self.window_px)
        luma = np.array([[0.114, 0.587, 0.299]], np.float32)
        energies = [
            np.asarray(cv2.blur(cv2.transform(np.abs(band), luma), window), np.float32) for band in bands[:-1]
        ]
        if energies:
            energies.append(np.asarray(cv2.pyrDown(energies[-1]), np.float32))
        else:
            energies.append(np.ones(bands[-1].shape[:2], np.float32))
        if self.power is None:
            return energies
        return [
            np.asarray((np.maximum(e, _LEAST_ENERGY) / _ENERGY_UNIT) ** np.float32(self.power), np.float32)
            for e in energies
        ]


def float_max() -> ReferenceFusion:
    """Give the yardstick "float max 7x7": the frame of the largest energy in 7x7 at every level."""
    return ReferenceFusion(7)


def narrow_max() -> ReferenceFusion:
    """Give the yardstick of the halo: the frame of the largest energy in 5x5 at every level."""
    return ReferenceFusion(5)


def plain_power() -> ReferenceFusion:
    """Give the yardstick "plain p = 12": means weighted by energies in 7x7 to the 12th power."""
    return ReferenceFusion(7, 12.0)


def _grown(smaller: NDArray[np.float32], like: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.pyrUp(smaller, dstsize=(like.shape[1], like.shape[0])), np.float32)
