"""The noise that is left in an average of frames: how much it is, and the average without it.

An average is taken apart by size (a Laplacian pyramid: Burt and Adelson 1983,
doi:10.1109/TCOM.1983.1095851), what does not stand out of the noise is left out at each size, and the rest is
put together again: smooth where the field is smooth, while a grain of dust keeps its edge. Whole numbers
throughout, so that every machine gives the same bits.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.uint16]
"""One plane of an average, (rows, cols)."""

SIGNIFICANT = 5.0
"""Standard deviations that a detail must have to be believed: by chance one sample in two million has."""

WHITE_NOISE = (0.943, 0.230, 0.1007, 0.0485, 0.0238, 0.0124)
"""What white noise of standard deviation 1 has left at each size, finest first."""

_LEAST_SIDE_PX = 16
_MARGIN_PX = 32
_STRIP_ROWS = 128
# An edge's own noise would run through the margin as a streak, so it is the mean of so many samples.
_EDGE_PX = 17
# The middle of the absolute values of normal noise of standard deviation 1.
_MIDDLE = 0.6745


def sizes(shape: tuple[int, int]) -> int:
    """Sizes that a plane of `shape` is taken apart into: 0 to 6, fewer for a small one."""
    count, side = 0, min(shape)
    while count < len(WHITE_NOISE) and side >= _LEAST_SIDE_PX:
        count, side = count + 1, (side + 1) // 2
    return count


def noise_between(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> tuple[float, ...]:
    """Noise of a frame, measured on two of the same thing.

    Parameters
    ----------
    one, other : ndarray
        uint8 or uint16, (rows, cols).

    Returns
    -------
    tuple of float
        Standard deviation of one frame's noise at each size, finest first, in the frames' own levels. A
        frame that went through a JPEG encoder has more noise at the coarser sizes than `WHITE_NOISE` says.
    """
    # Half of what 16 bits differ by fits 16 bits with a sign; 8 bits gain some places behind the point.
    scale = 64.0 if one.dtype == np.uint8 else 0.5
    left = cv2.addWeighted(one, scale, other, -scale, 0, dtype=cv2.CV_16S)
    found = []
    for _ in range(sizes(one.shape)):
        coarse = cv2.pyrDown(left)
        detail = cv2.subtract(left, _grown(coarse, left.shape))
        found.append(float(cv2.meanStdDev(detail)[1].item()) / scale / 2**0.5)
        left = coarse
    return tuple(found)


def noise_within(plane: Samples, least: float) -> tuple[float, ...]:
    """Noise of a single picture, judged by its finest detail, which is taken for noise.

    Parameters
    ----------
    plane : ndarray of uint16, (rows, cols)
        The picture.
    least : float
        Standard deviation that rounding alone gives.
    """
    count = sizes(plane.shape)
    if not count:
        return ()
    finest = np.abs(_apart(plane)[1])
    sigma = max(least, float(np.median(finest)) / _MIDDLE / WHITE_NOISE[0])
    return tuple(sigma * share for share in WHITE_NOISE[:count])


def without_grain(plane: Samples, noise: tuple[float, ...]) -> Samples:
    """Take the noise out of an average.

    Parameters
    ----------
    plane : ndarray of uint16, (rows, cols)
        The average.
    noise : tuple of float
        Standard deviation of its noise at each size, finest first.

    Returns
    -------
    ndarray of uint16, (rows, cols)
    """
    if not noise:
        return plane
    # Beyond the edge the light goes on falling: folded back, its slope would end in a rim of its own.
    reach = min(_MARGIN_PX, min(plane.shape) - 1)
    wide = _continued(_continued(plane, reach).T, reach).T
    return _smoothed(np.ascontiguousarray(wide), noise)[reach:-reach, reach:-reach]


def _continued(plane: Samples, reach: int) -> Samples:
    """Go on beyond first and last row as before them."""
    before, after = (
        2 * cv2.blur(edge, (_EDGE_PX, 1)).astype(np.int32) - folded
        for edge, folded in ((plane[:1], plane[reach:0:-1]), (plane[-1:], plane[-2 : -reach - 2 : -1]))
    )
    return np.vstack(
        [np.clip(before, 0, 65535).astype(np.uint16), plane, np.clip(after, 0, 65535).astype(np.uint16)]
    )


def _smoothed(plane: Samples, noise: tuple[float, ...]) -> Samples:
    if not noise:
        return plane
    small = np.asarray(cv2.pyrDown(plane), np.uint16)
    rebuilt = _grown(_smoothed(small, noise[1:]), plane.shape)
    coarse = _grown(small, plane.shape)
    # By strips: numbers with a sign take twice the memory.
    for top in range(0, len(plane), _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        detail = plane[rows].astype(np.int32) - coarse[rows]
        detail[np.abs(detail) <= SIGNIFICANT * noise[0]] = 0
        detail += rebuilt[rows]
        rebuilt[rows] = np.clip(detail, 0, 65535, out=detail)
    return rebuilt


def textured_share(plane: Samples, noise: tuple[float, ...], least: float) -> float:
    """Share of an average, 0 to 1, that has fine detail: about 0 for an empty field out of focus.

    Parameters
    ----------
    plane : ndarray of uint16, (rows, cols)
        The average.
    noise : tuple of float
        As for `without_grain`.
    least : float
        Detail counts from this share of the level around it on.
    """
    largest = 0.0
    for sigma in noise[:3]:
        coarse, detail = _apart(plane)
        limit = np.maximum(SIGNIFICANT * sigma, np.float32(least) * plane)
        # At the edge, where a slope is folded back on itself, it looks like detail.
        found = (np.abs(detail) > limit)[2:-2, 2:-2]
        largest = max(largest, float(found.mean()) if found.size else 0.0)
        plane = coarse
    return largest


def _apart(plane: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32]]:
    """Half the size, and what that lacks."""
    coarse = np.asarray(cv2.pyrDown(plane))
    return coarse, np.asarray(cv2.subtract(plane, _grown(coarse, plane.shape), dtype=cv2.CV_32S), np.int32)


def _grown(coarse: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    return np.asarray(cv2.pyrUp(coarse, dstsize=(shape[1], shape[0])))
