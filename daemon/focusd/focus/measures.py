"""Sharpness of each pixel of a frame, by the measures that focus stacking programs have used.

Each takes a frame as it is, uint8 or uint16, grey or BGR, and gives a float32 map of the same size, larger
where the frame is sharper. Values are in levels of 255 or their squares. Beyond the border the frame goes on
as its mirror image, without the border pixel twice.

References
----------
.. [1] Pertuz S., Puig D., Garcia M.A., Analysis of focus measure operators for shape-from-focus, Pattern
   Recognition 46(5), 2013, 1415-1432. doi:10.1016/j.patcog.2012.11.011
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.errors import FusionError
from focusd.focus.tiles import Plane, brightness

WINDOW_PX = 9
"""Side of the window that responses are averaged in when nobody says another."""
LOG_SIGMA_PX = 1.0
"""Standard deviation of the Gaussian of `log_norm` when nobody says another."""
_LARGEST_WINDOW_PX = 255


def laplacian_variance(frame: NDArray[Any], window_px: int = WINDOW_PX) -> Plane:
    """Variance, over a window, of the five-point Laplacian.

    Parameters
    ----------
    frame : ndarray
        uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR.
    window_px : int
        Side of the window, odd, 3 to 255.

    Returns
    -------
    ndarray
        float32, (rows, cols), levels squared.

    Raises
    ------
    FusionError
        A window outside its range.

    References
    ----------
    .. [1] Pech-Pacheco J.L. et al., Diatom autofocusing in brightfield microscopy: a comparative study, ICPR
       2000, vol. 3, 314-317. doi:10.1109/ICPR.2000.903548
    """
    response = _laplacian(brightness(frame))
    mean = _mean(response, window_px)
    return np.maximum(_mean(np.square(response), window_px) - np.square(mean), np.float32(0))


def laplacian_energy(frame: NDArray[Any], window_px: int = WINDOW_PX) -> Plane:
    """Mean square, over a window, of the five-point Laplacian. Parameters as `laplacian_variance`.

    References
    ----------
    .. [1] Subbarao M., Choi T., Nikzad A., Focusing techniques, Optical Engineering 32(11), 1993, 2824-2836.
       doi:10.1117/12.147706
    """
    return _mean_power(np.square(_laplacian(brightness(frame))), window_px)


def tenengrad(frame: NDArray[Any], window_px: int = WINDOW_PX) -> Plane:
    """Mean square, over a window, of the gradient by 3x3 Sobel kernels. Parameters as `laplacian_variance`.

    References
    ----------
    .. [1] Krotkov E., Focusing, Int. J. Computer Vision 1, 1988, 223-237. doi:10.1007/BF00127822
    """
    plane = brightness(frame)
    across, down = (cv2.Sobel(plane, cv2.CV_32F, dx, dy, ksize=3) for dx, dy in ((1, 0), (0, 1)))
    return _mean_power(np.square(across) + np.square(down), window_px)


def brenner(frame: NDArray[Any], window_px: int = WINDOW_PX) -> Plane:
    """Mean square, over a window, of the difference of pixels two apart, along rows and along columns.

    Brenner took one direction; a map of one is blind to edges along it. Parameters as `laplacian_variance`.

    References
    ----------
    .. [1] Brenner J.F. et al., An automated microscope for cytologic research, J. Histochemistry and
       Cytochemistry 24(1), 1976, 100-111. doi:10.1177/24.1.1254907
    """
    plane = brightness(frame)
    # The kernel (-1, 0, 1): the difference stands at the pixel between the two.
    across, down = (cv2.Sobel(plane, cv2.CV_32F, dx, dy, ksize=1) for dx, dy in ((1, 0), (0, 1)))
    return _mean_power(np.square(across) + np.square(down), window_px)


def log_norm(frame: NDArray[Any], sigma_px: float = LOG_SIGMA_PX) -> Plane:
    """Laplacian of Gaussian of each channel, and of the channels the Euclidean norm.

    Parameters
    ----------
    frame : ndarray
        uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR.
    sigma_px : float
        Standard deviation of the Gaussian, 0.3 to 20.

    Returns
    -------
    ndarray
        float32, (rows, cols), levels; not averaged over any window.

    Raises
    ------
    FusionError
        A sigma outside its range.
    """
    if not 0.3 <= sigma_px <= 20:
        raise FusionError(f"sigma_px is {sigma_px}: it must be from 0.3 to 20 px")
    scale = 255 / np.iinfo(frame.dtype).max
    total = np.zeros(frame.shape[:2], np.float32)
    # One channel after the other, which takes a third of the memory.
    for channel in np.moveaxis(np.atleast_3d(frame), 2, 0):
        smooth = cv2.GaussianBlur(channel.astype(np.float32), (0, 0), sigma_px)
        cv2.accumulateSquare(cv2.Laplacian(smooth, cv2.CV_32F, ksize=1, scale=scale), total)
    return np.sqrt(total, out=total)


def local_maxima(response: Plane) -> Plane:
    """Suppress what is no maximum: 0 where one of the eight neighbours is larger, the response elsewhere.

    Parameters
    ----------
    response : ndarray
        float32, (rows, cols), 0 or more; of `log_norm`, for one.
    """
    largest = cv2.dilate(response, np.ones((3, 3), np.uint8))
    return np.where(response >= largest, response, np.float32(0))


def log_norm_maxima(frame: NDArray[Any], sigma_px: float = LOG_SIGMA_PX, window_px: int = WINDOW_PX) -> Plane:
    """Mean, over a window, of the local maxima of `log_norm`: noise between edges counts less."""
    return _mean_power(local_maxima(log_norm(frame, sigma_px)), window_px)


def _laplacian(plane: Plane) -> Plane:
    return np.asarray(cv2.Laplacian(plane, cv2.CV_32F, ksize=1), np.float32)


def _mean(plane: Plane, window_px: int) -> Plane:
    if not (3 <= window_px <= _LARGEST_WINDOW_PX and window_px % 2 == 1):
        raise FusionError(f"window_px is {window_px}: it must be odd and from 3 to {_LARGEST_WINDOW_PX} px")
    return np.asarray(cv2.boxFilter(plane, cv2.CV_32F, (window_px, window_px)), np.float32)


def _mean_power(plane: Plane, window_px: int) -> Plane:
    # A running sum beside large values may end a little below zero.
    return np.maximum(_mean(plane, window_px), np.float32(0))
