"""How close a picture is to the truth, and how close it could be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.errors import FrameMismatch

Image = NDArray[np.uint8] | NDArray[np.uint16]


def psnr(a: Image, b: Image) -> float:
    """Peak signal-to-noise ratio of the luma, dB; infinite when equal.

    Parameters
    ----------
    a, b : ndarray of uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR
        Same shape and type; the peak is the type's largest value.

    Raises
    ------
    FrameMismatch
        When shape or type differ.
    """
    _check_alike(a, b)
    return _psnr_of(_luma(a), _luma(b), np.iinfo(a.dtype).max)


def colour_psnr(a: Image, b: Image) -> float:
    """Peak signal-to-noise ratio over all channels, dB; infinite when equal. See `psnr`."""
    _check_alike(a, b)
    return _psnr_of(a.astype(np.float32), b.astype(np.float32), np.iinfo(a.dtype).max)


def ssim(a: Image, b: Image) -> float:
    """Mean structural similarity of the luma, -1 to 1; 1 when equal.

    Parameters
    ----------
    a, b : ndarray of uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR
        Same shape and type, at least 11 x 11.

    Raises
    ------
    FrameMismatch
        When shape or type differ, or the picture is smaller than the window.

    References
    ----------
    .. [1] Wang, Bovik, Sheikh & Simoncelli 2004, doi:10.1109/TIP.2003.819861: Gaussian window 11 x 11,
       sigma 1.5, K1 0.01, K2 0.03; averaged where the window fits.
    """
    _check_alike(a, b)
    if min(a.shape[:2]) < 11:
        raise FrameMismatch(f"ssim of {a.shape[1]} x {a.shape[0]} px: its window needs 11 x 11 px or more")
    peak = float(np.iinfo(a.dtype).max)
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    # Centred first: the variance is a small difference of large squares.
    x, y = _luma(a) - np.float32(peak / 2), _luma(b) - np.float32(peak / 2)
    mean_x, mean_y = _windowed(x), _windowed(y)
    var_x = _windowed(x * x) - mean_x * mean_x
    var_y = _windowed(y * y) - mean_y * mean_y
    covariance = _windowed(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + peak / 2, mean_y + peak / 2
    likeness = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x * mean_x + mean_y * mean_y + c1) * (var_x + var_y + c2)
    )
    return float(likeness[5:-5, 5:-5].mean(dtype=np.float64))


def oracle(
    render: Callable[[int], NDArray[np.uint8]],
    heights: NDArray[np.float32],
    positions_um: Sequence[float],
) -> NDArray[np.uint8]:
    """Compose for each pixel the frame whose focus is nearest the true height.

    Frames are drawn one at a time and forgotten.

    Parameters
    ----------
    render : callable
        Gives frame `i` of the stack, (rows, cols, 3) BGR.
    heights : ndarray of float32, (rows, cols)
        True height, um; a pixel with NaN (never in reach) takes the height of the nearest pixel that has one.
    positions_um : sequence of float
        Focus of each frame, um on the same axis, in any order.

    Raises
    ------
    FrameMismatch
        When there is no position, no finite height, or a frame of another size.
    """
    at = np.asarray(positions_um, np.float64)
    finite = np.isfinite(heights)
    if at.size == 0 or not finite.any():
        raise FrameMismatch(
            f"oracle of {at.size} positions and {int(finite.sum())} known heights: it needs one of each"
        )
    order = np.argsort(at)
    edges = (at[order][1:] + at[order][:-1]) / 2
    nearest = order[np.searchsorted(edges, nearest_known(heights))]
    out: NDArray[np.uint8] | None = None
    for index in np.unique(nearest):
        frame = render(int(index))
        if frame.shape[:2] != heights.shape:
            raise FrameMismatch(
                f"frame {index} is {frame.shape[1]} x {frame.shape[0]} px, the height map "
                f"{heights.shape[1]} x {heights.shape[0]}: render the scene the heights belong to"
            )
        out = np.zeros_like(frame) if out is None else out
        cv2.copyTo(frame, (nearest == index).astype(np.uint8), out)
    assert out is not None  # noqa: S101  # `nearest` is never empty
    return out


def nearest_known(heights: NDArray[np.float32]) -> NDArray[np.float32]:
    """`heights` with each NaN replaced by the value of the nearest pixel that has one."""
    unknown = np.isnan(heights)
    if not unknown.any():
        return heights
    _, labels = cv2.distanceTransformWithLabels(
        unknown.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros(int(labels.max()) + 1, np.float32)
    by_label[labels[~unknown]] = heights[~unknown]
    return np.asarray(by_label[labels], np.float32)


def _check_alike(a: Image, b: Image) -> None:
    if a.shape != b.shape or a.dtype != b.dtype:
        raise FrameMismatch(
            f"cannot compare {a.shape} {a.dtype} with {b.shape} {b.dtype}: give pictures of one size and type"
        )


def _psnr_of(a: NDArray[np.float32], b: NDArray[np.float32], peak: float) -> float:
    error = float(np.square(a - b).mean(dtype=np.float64))
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def _luma(image: Image) -> NDArray[np.float32]:
    """Rec. 601 luma in the picture's own levels, unrounded."""
    if image.ndim == 2:
        return image.astype(np.float32)
    return np.asarray(cv2.transform(image.astype(np.float32), np.array([[0.114, 0.587, 0.299]], np.float32)))


def _windowed(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(plane, (11, 11), 1.5), np.float32)
