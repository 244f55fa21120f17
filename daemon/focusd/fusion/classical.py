"""Two older rules, kept to compare with: pick the sharpest pixel, or average by sharpness.

Both measure sharpness as the absolute Laplacian of the Gaussian-blurred luma.

References
----------
.. [1] Marr D., Hildreth E., Theory of edge detection, Proc. R. Soc. Lond. B 207, 1980, 187-217.
   doi:10.1098/rspb.1980.0020
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np

from focusd.fusion.arrays import Float, Image, Scratch
from focusd.fusion.noise import estimate_sigma
from focusd.fusion.pyramid import Grid, decompose
from focusd.fusion.selection import Selection
from focusd.fusion.tone import Tone

# Keeps the mean defined where no frame has any detail; far below one level of response.
_SMALLEST_RESPONSE = 1e-3


def absolute_laplacian(luma: Float, gaussian_px: int, laplacian_px: int) -> Float:
    """Sharpness of each pixel.

    Parameters
    ----------
    luma : ndarray
        float32, (rows, cols), 8-bit levels.
    gaussian_px, laplacian_px : int
        Side of the blur kernel and of the Laplacian's aperture, odd, 1 to 31.

    Returns
    -------
    ndarray
        float32, (rows, cols), 0 or more, in 8-bit levels of a centre-weighted second difference: the
        aperture's own gain is divided out.
    """
    blurred = cv2.GaussianBlur(luma, (gaussian_px, gaussian_px), 0)
    # OpenCV's kernel grows fourfold with each size up.
    gain = 1.0 if laplacian_px == 1 else 4.0 ** -(laplacian_px - 2)
    response = cv2.Laplacian(blurred, cv2.CV_32F, ksize=laplacian_px, scale=gain)
    return np.abs(response, out=response)


class ClassicalBlend:
    """Sharpest pixel (`laplacian`) or sharpness-weighted mean (`average`).

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
    gaussian_px, laplacian_px : int
        See `absolute_laplacian`.
    average : bool
        Mean instead of choice.
    """

    def __init__(
        self,
        image: Image,
        position_um: float,
        tone: Tone,
        sigma: float | None,
        *,
        gaussian_px: int,
        laplacian_px: int,
        average: bool,
    ) -> None:
        self._tone = tone
        self._kernels = (gaussian_px, laplacian_px)
        self._scratch = Scratch()
        luma = next(tone.planes(image, self._scratch))
        if sigma is None:
            grid = Grid.of(luma.shape[0], luma.shape[1])
            padded = grid.pad(luma)
            sigma = estimate_sigma(padded, decompose(padded, grid, Scratch())[1])
        self.sigma = sigma
        noise = np.random.default_rng(0).standard_normal((64, 64), dtype=np.float32)
        self.floor = 4.0 * sigma * float(absolute_laplacian(noise, *self._kernels).mean())
        self.response = absolute_laplacian(luma, *self._kernels)
        self.selection = Selection.of(self.response, position_um)
        self._picked: Image | None = None if average else image.copy()
        self._sum: Float | None = None
        self._weight: Float | None = None
        if average:
            self._weight = self.response + np.float32(_SMALLEST_RESPONSE)
            self._sum = self._spread(self._weight, image) * image.astype(np.float32)

    def add(self, image: Image, position_um: float) -> None:
        """Choose or average one more frame."""
        self.response = absolute_laplacian(next(self._tone.planes(image, self._scratch)), *self._kernels)
        won = self.selection.add(self.response, position_um)
        if self._picked is not None:
            cv2.copyTo(image, won, self._picked)
        elif self._sum is not None and self._weight is not None:
            weight = self.response + np.float32(_SMALLEST_RESPONSE)
            self._weight += weight
            self._sum += self._spread(weight, image) * image.astype(np.float32)

    def merge(self, other: ClassicalBlend) -> None:
        """Choose or average between two blends of the same settings."""
        won = self.selection.merge(other.selection)
        if self._picked is not None and other._picked is not None:
            cv2.copyTo(other._picked, won, self._picked)
        if self._sum is not None and other._sum is not None:
            self._sum += other._sum
        if self._weight is not None and other._weight is not None:
            self._weight += other._weight
        self.sigma = min(self.sigma, other.sigma)
        self.floor = min(self.floor, other.floor)

    @property
    def nbytes(self) -> int:
        """Memory held by the state, bytes."""
        kept = (self._picked, self._sum, self._weight, self.response)
        return self.selection.nbytes + sum(plane.nbytes for plane in kept if plane is not None)

    def image(self) -> Image:
        """Fused image so far, full size."""
        if self._picked is not None:
            return self._picked.copy()
        weight, total = cast("Float", self._weight), cast("Float", self._sum)
        fused: Image = np.rint(total / self._spread(weight, total)).astype(self._tone.dtype)
        return fused

    def preview(self, max_side_px: int) -> Image:
        """Fused image, its longer side at most `max_side_px`."""
        image = self.image()
        scale = max_side_px / max(image.shape[:2])
        if scale >= 1:
            return image
        cols, rows = (max(1, round(side * scale)) for side in image.shape[1::-1])
        return cv2.resize(image, (cols, rows), interpolation=cv2.INTER_AREA)

    @staticmethod
    def _spread(weight: Float, image: Image) -> Float:
        return weight if image.ndim == 2 else weight[..., np.newaxis]
