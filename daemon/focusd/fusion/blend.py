"""The default rule: power-weighted sums of Laplacian bands, clamped to what the frames showed."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from focusd.fusion.arrays import Float, Image, Scratch
from focusd.fusion.noise import KAPPA, estimate_sigma
from focusd.fusion.pyramid import Envelope, Grid, decompose, grow
from focusd.fusion.selection import Selection
from focusd.fusion.tone import Tone
from focusd.fusion.weights import band_weight, base_weight, focus_energies


class PyramidBlend:
    """Weighted sums of every band of every plane, and of the weights.

    Parameters
    ----------
    image : ndarray
        The first frame, uint8 or uint16, (rows, cols) or (rows, cols, 3).
    position_um : float
        Where it was taken.
    tone : Tone
        Scale of the stack's values.
    sigma : float or None
        Noise of the frames, 8-bit levels; estimated from the first frame when None.
    """

    def __init__(self, image: Image, position_um: float, tone: Tone, sigma: float | None) -> None:
        self._grid = Grid.of(image.shape[0], image.shape[1])
        self._tone = tone
        self._scratch = Scratch()
        self._planes = 1 if image.ndim == 2 else 3
        shapes = [self._grid.shape(level) for level in range(self._grid.levels + 1)]
        self._sums = [[np.zeros(shape, np.float32) for shape in shapes] for _ in range(self._planes)]
        self._weights = [np.zeros(shape, np.float32) for shape in shapes]
        self._response = np.zeros(self._grid.shape(min(1, self._grid.levels)), np.float32)
        self._envelope: Envelope | None = None
        self._selection: Selection | None = None
        self._sigma = sigma
        self.add(image, position_um)

    @property
    def sigma(self) -> float:
        """Noise the weights reckon with, 8-bit levels."""
        return cast("float", self._sigma)

    @property
    def selection(self) -> Selection:
        """Best response per pixel, at half resolution."""
        return cast("Selection", self._selection)

    @property
    def floor(self) -> float:
        """Response a noisy flat area does not pass in a long stack: four times its mean in one frame."""
        return 4.0 * KAPPA[0] * self.sigma

    @property
    def response(self) -> Float:
        """Response of the last frame, at half resolution."""
        return self._response

    @property
    def nbytes(self) -> int:
        """Memory held by the state, bytes."""
        sums = sum(level.nbytes for plane in self._sums for level in plane)
        weights = sum(level.nbytes for level in self._weights)
        envelope = self._envelope.nbytes if self._envelope is not None else 0
        return sums + weights + envelope + self.selection.nbytes + self._response.nbytes

    def add(self, image: Image, position_um: float) -> None:
        """Add one frame to the sums."""
        grid, scratch = self._grid, self._scratch
        planes = self._tone.planes(grid.pad(image), scratch)
        luma = next(planes)
        blurred, bands = decompose(luma, grid, scratch)
        if self._sigma is None:
            self._sigma = estimate_sigma(luma, bands)
        energies = focus_energies(bands, self._sigma, grid, scratch)
        weights = [
            band_weight(energy, level, self._sigma, grid.shape(level), scratch)
            for level, energy in enumerate(energies)
        ]
        weights.append(base_weight(energies, grid.shape(grid.levels)))
        for kept, weight in zip(self._weights, weights, strict=True):
            kept += weight
        self._accumulate(0, bands, blurred[-1], weights)
        if self._envelope is None:
            self._envelope = Envelope.of(blurred, scratch)
        else:
            self._envelope.include(blurred, scratch)
        for number, plane in enumerate(planes, 1):
            coarse, bands = decompose(plane, grid, scratch)
            self._accumulate(number, bands, coarse[-1], weights)
        if energies:
            np.copyto(self._response, energies[0])
        if self._selection is None:
            self._selection = Selection.of(self._response, position_um)
        else:
            self._selection.add(self._response, position_um)

    def _accumulate(self, number: int, bands: list[Float], base: Float, weights: list[Float]) -> None:
        for kept, band, weight in zip(self._sums[number], [*bands, base], weights, strict=True):
            cv2.accumulateProduct(band, weight, kept)

    def merge(self, other: PyramidBlend) -> None:
        """Add the sums of another blend of the same sizes."""
        for kept_plane, new_plane in zip(self._sums, other._sums, strict=True):
            for kept, new in zip(kept_plane, new_plane, strict=True):
                kept += new
        for kept, new in zip(self._weights, other._weights, strict=True):
            kept += new
        cast("Envelope", self._envelope).merge(cast("Envelope", other._envelope))
        self.selection.merge(other.selection)
        self._sigma = min(self.sigma, other.sigma)

    def image(self, level: int = 0) -> Image:
        """Fused image so far.

        Parameters
        ----------
        level : int
            0 for full size; each level more halves it.
        """
        grid = self._grid
        level = min(level, grid.levels)
        rows, cols = grid.cropped_shape(level)
        planes = []
        for number, sums in enumerate(self._sums):
            envelope = self._envelope if number == 0 else None
            plane = sums[-1] / self._weights[-1]
            if envelope is not None and grid.levels > 0:
                envelope.clamp(plane, grid.levels, tolerance=0.0)
            for finer in range(grid.levels - 1, level - 1, -1):
                plane = grow(plane, np.empty(grid.shape(finer), np.float32))
                plane += sums[finer] / self._weights[finer]
                if envelope is not None:
                    envelope.clamp(plane, finer)
            planes.append(np.ascontiguousarray(plane[:rows, :cols]))
        return self._tone.image(planes)

    def preview(self, max_side_px: int) -> Image:
        """Fused image from the coarser levels alone, its longer side at most `max_side_px` if they allow."""
        level = 0
        while level < self._grid.levels and max(self._grid.cropped_shape(level)) > max_side_px:
            level += 1
        return self.image(level)
