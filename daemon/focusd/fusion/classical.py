"""Two older rules, kept to compare with: pick the sharpest pixel, or average by sharpness.

Both measure sharpness as the absolute Laplacian of the Gaussian-blurred luma.

References
----------
.. [1] Marr D., Hildreth E., Theory of edge detection, Proc. R. Soc. Lond. B 207, 1980, 187-217.
   doi:10.1098/rspb.1980.0020
"""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from focusd.fusion.arrays import Float, Image
from focusd.fusion.noise import estimate_sigma
from focusd.fusion.selection import Selection, fixed
from focusd.fusion.tone import BRIGHTEST, DARKEST, Tone

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
    gain : float
        How often the first frame's sharpness counts.
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
        gain: float,
        *,
        gaussian_px: int,
        laplacian_px: int,
        average: bool,
    ) -> None:
        self._tone = tone
        self._kernels = (gaussian_px, laplacian_px)
        luma = self._luma(image)
        self.sigma = estimate_sigma(tone.sources(image)[0]) if sigma is None else sigma
        noise = np.random.default_rng(0).standard_normal((64, 64), dtype=np.float32)
        self.noise = self.sigma * float(absolute_laplacian(noise, *self._kernels).mean())
        sharpness = absolute_laplacian(luma, *self._kernels) * np.float32(gain)
        self.response = fixed(sharpness)
        self.selection = Selection.of(self.response, position_um)
        # Rounded down, and no more than white: only the ends matter.
        self._darkest = np.minimum(luma, 255).astype(np.uint8)
        self._brightest = self._darkest.copy()
        self._picked: Image | None = None if average else image.copy()
        self._sum: Float | None = None
        self._weight: Float | None = None
        if average:
            self._weight = sharpness + np.float32(_SMALLEST_RESPONSE)
            self._sum = self._spread(self._weight, image) * image.astype(np.float32)

    def add(self, image: Image, position_um: float, gain: float) -> None:
        """Choose or average one more frame; its sharpness counts `gain` times."""
        luma = self._luma(image)
        sharpness = absolute_laplacian(luma, *self._kernels) * np.float32(gain)
        self.response = fixed(sharpness)
        won = self.selection.add(self.response, position_um)
        levels = np.minimum(luma, 255).astype(np.uint8)
        np.minimum(self._darkest, levels, out=self._darkest)
        np.maximum(self._brightest, levels, out=self._brightest)
        if self._picked is not None:
            cv2.copyTo(image, won, self._picked)
        elif self._sum is not None and self._weight is not None:
            weight = sharpness + np.float32(_SMALLEST_RESPONSE)
            self._weight += weight
            self._sum += self._spread(weight, image) * image.astype(np.float32)

    def clipped(self) -> npt.NDArray[np.bool_]:
        """Where luma is black or white in all frames."""
        return np.asarray((self._darkest >= BRIGHTEST) | (self._brightest <= DARKEST))

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
        self.noise = min(self.noise, other.noise)
        np.minimum(self._darkest, other._darkest, out=self._darkest)
        np.maximum(self._brightest, other._brightest, out=self._brightest)

    def copy(self) -> ClassicalBlend:
        """Return a copy that shares nothing."""
        return deepcopy(self)

    @property
    def nbytes(self) -> int:
        """Memory held by the state, bytes."""
        kept = (self._picked, self._sum, self._weight, self.response, self._darkest, self._brightest)
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

    def _luma(self, image: Image) -> Float:
        return self._tone.sources(image)[0].rows(0, image.shape[0])

    @staticmethod
    def _spread(weight: Float, image: Image) -> Float:
        return weight if image.ndim == 2 else weight[..., np.newaxis]
