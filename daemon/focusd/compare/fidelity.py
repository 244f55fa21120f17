"""How near a picture is to the truth, where the truth is known.

References
----------
.. [1] Wang Z., Bovik A. C., Sheikh H. R., Simoncelli E. P., Image quality assessment: from error visibility
   to structural similarity, IEEE Trans. Image Processing 13(4), 2004, 600-612. doi:10.1109/TIP.2003.819861
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from focusd.compare.metrics import luma_of
from focusd.errors import FrameMismatch
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_8_bits, to_bgr

_WINDOW_PX, _SIGMA_PX = 11, 1.5
_REACH = _WINDOW_PX // 2
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_STRIP_ROWS = 128

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Distance to the truth, in 8 bits.

    Parameters
    ----------
    psnr_db, colour_psnr_db : float
        Peak signal-to-noise ratio of the luma and of all channels; infinite when equal.
    ssim : float
        Structural similarity of the luma [1], -1 to 1, averaged where its window fits.
    """

    psnr_db: float
    colour_psnr_db: float
    ssim: float


def fidelity(
    picture: Image | Planes,
    truth: Image | Planes,
    *,
    whites: tuple[int, int] = (255, 255),
    margin_px: int = 0,
) -> Fidelity:
    """Compare a picture with the truth.

    Parameters
    ----------
    picture, truth : ndarray or Planes
        Of one size.
    whites : tuple of int
        The value that is white in each.
    margin_px : int
        Width of the border that is left out.

    Raises
    ------
    FrameMismatch
        Different sizes, or fewer than 11 px a side inside the margin.
    """
    ours, theirs = (
        to_8_bits(to_bgr(each), white) for each, white in zip((picture, truth), whites, strict=True)
    )
    if ours.shape[:2] != theirs.shape[:2]:
        raise FrameMismatch(
            f"the truth is {theirs.shape[1]} x {theirs.shape[0]} px, the picture {ours.shape[1]} x "
            f"{ours.shape[0]} px: they must be alike; give the truth of this stack"
        )
    if ours.ndim != theirs.ndim:
        ours, theirs = luma_of(ours), luma_of(theirs)
    inner = tuple(slice(margin_px, side - margin_px) for side in ours.shape[:2])
    ours, theirs = ours[inner], theirs[inner]
    if min(ours.shape[:2]) < _WINDOW_PX:
        raise FrameMismatch(
            f"pictures of {ours.shape[1]} x {ours.shape[0]} px inside their margins: SSIM needs "
            f"{_WINDOW_PX} px a side"
        )
    colour = _psnr_db(ours, theirs)
    ours, theirs = luma_of(ours), luma_of(theirs)
    return Fidelity(_psnr_db(ours, theirs), colour, _ssim(ours, theirs))


def _psnr_db(ours: Image, theirs: Image) -> float:
    squares = cv2.norm(ours, theirs, cv2.NORM_L2) ** 2
    return math.inf if squares == 0 else 10 * math.log10(255.0**2 * ours.size / squares)


def _ssim(ours: Image, theirs: Image) -> float:
    total, count = 0.0, 0
    rows = ours.shape[0]
    for top in range(_REACH, rows - _REACH, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, rows - _REACH)
        strip = slice(top - _REACH, bottom + _REACH)
        likeness = _likeness(ours[strip].astype(np.float32), theirs[strip].astype(np.float32))
        inside = likeness[_REACH:-_REACH, _REACH:-_REACH]
        total += float(inside.sum(dtype=np.float64))
        count += inside.size
    return total / count


def _likeness(x: Plane, y: Plane) -> Plane:
    # Centred first: the variance is a small difference of large squares.
    centre = np.float32(127.5)
    x, y = x - centre, y - centre
    mean_x, mean_y = _windowed(x), _windowed(y)
    var_x, var_y = _windowed(x * x) - mean_x * mean_x, _windowed(y * y) - mean_y * mean_y
    covariance = _windowed(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + centre, mean_y + centre
    likeness = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    likeness /= (mean_x * mean_x + mean_y * mean_y + _C1) * (var_x + var_y + _C2)
    return np.asarray(likeness, np.float32)


def _windowed(plane: Plane) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (_WINDOW_PX, _WINDOW_PX), _SIGMA_PX), np.float32)
