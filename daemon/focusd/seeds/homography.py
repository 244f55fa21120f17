"""Homographies: points and frames through them, how sure they are, and which no camera could have made."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image

Matrix = NDArray[np.float64]
Rectangle = tuple[int, int, int, int]
"""(top, bottom, left, right), the second of each excluded."""


def warp(frame: Image | Planes, matrix: Matrix) -> Image | Planes:
    """Lay a frame on the first by a (3, 3) matrix of `Fit`; bilinear, the border going on outside.

    Parameters
    ----------
    frame : ndarray or Planes
        uint8 or uint16; not modified, but returned as it is where the matrix moves nothing.
    matrix : ndarray
        float64, (3, 3).
    """
    if np.allclose(matrix, np.eye(3), rtol=0, atol=1e-9):
        return frame
    if not isinstance(frame, Planes):
        return _warped(frame, matrix)
    # A colour sample lies in the middle of four luma samples.
    to_full = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    half = np.linalg.inv(to_full) @ matrix @ to_full
    return Planes(_warped(frame.luma, matrix), _warped(frame.blue, half), _warped(frame.red, half))


def mapped(matrix: Matrix, points: Matrix) -> Matrix:
    """Take points, (n, 2) as (x, y), through a (3, 3) matrix."""
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(homogeneous[:, :2] / homogeneous[:, 2:])


def narrowed(common: Rectangle, matrix: Matrix, shape: tuple[int, int]) -> Rectangle:
    """Return the part of a rectangle that one more frame, laid on the first by `matrix`, covers too."""
    rows, cols = shape
    along = np.linspace(0, 1, 33)
    # Sides stay nearly straight, so their points furthest inwards bound a rectangle that is covered.
    left, right = (
        mapped(matrix, np.column_stack([np.full(33, x), along * (rows - 1)]))[:, 0] for x in (0.0, cols - 1.0)
    )
    top, bottom = (
        mapped(matrix, np.column_stack([along * (cols - 1), np.full(33, y)]))[:, 1] for y in (0.0, rows - 1.0)
    )
    return (
        max(common[0], int(np.ceil(top.max() - 1e-6))),
        min(common[1], int(np.floor(bottom.min() + 1e-6)) + 1),
        max(common[2], int(np.ceil(left.max() - 1e-6))),
        min(common[3], int(np.floor(right.min() + 1e-6)) + 1),
    )


def distortion(matrix: Matrix, shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """Tell what a homography does to a picture of (rows, cols).

    Returns
    -------
    tuple of float
        Smallest and largest stretch at the middle, the smallest below 0 for a mirror image; tilt, the
        change of scale from the middle to a corner; shift of the middle, px.
    """
    rows, cols = shape
    middle = np.array([[(cols - 1) / 2, (rows - 1) / 2]])
    step = np.array([[0.5, 0.0], [0.0, 0.5]])
    linear = mapped(matrix, middle + step) - mapped(matrix, middle - step)
    stretch = np.linalg.svd(linear, compute_uv=False)
    tilt = float(np.abs(matrix[2, :2]) @ np.array([cols / 2, rows / 2]))
    shift_px = float(np.linalg.norm(mapped(matrix, middle) - middle))
    sign = 1.0 if np.linalg.det(linear) > 0 else -1.0
    return sign * float(stretch[1]), float(stretch[0]), tilt, shift_px


def corner_error_px(matrix: Matrix, own: Matrix, there: Matrix, shape: tuple[int, int]) -> float:
    """Estimate the standard error of a fitted homography at the corner where it is largest, px.

    To first order: the residuals' spread carried through the normal equations of the eight numbers.

    Parameters
    ----------
    matrix : ndarray
        float64, (3, 3), fitted to the points.
    own, there : ndarray
        float64, (n, 2) as (x, y), n above 4; what it takes to what.
    shape : tuple of int
        (rows, cols) of the frame.

    Returns
    -------
    float
        Infinite where the points do not determine the fit.
    """
    rows, cols = shape
    unit = max(rows, cols) / 2
    scale = np.array([[unit, 0, (cols - 1) / 2], [0, unit, (rows - 1) / 2], [0, 0, 1]])
    # Coordinates of about one, so that the normal equations tell a bad layout from large numbers.
    small = np.linalg.inv(scale) @ matrix @ scale
    small /= small[2, 2]
    residual = (there - mapped(matrix, own)).ravel() / unit
    jacobian = _jacobian(small, mapped(np.linalg.inv(scale), own))
    normal = jacobian.T @ jacobian
    if np.linalg.cond(normal) > 1e12:
        return float("inf")
    variance = float(residual @ residual) / max(1, len(residual) - 8)
    corners = np.array([[x, y] for x in (0.0, cols - 1.0) for y in (0.0, rows - 1.0)])
    at_corners = _jacobian(small, mapped(np.linalg.inv(scale), corners))
    spread = np.einsum("ij,jk,ik->i", at_corners, np.linalg.inv(normal), at_corners) * variance
    return float(unit * np.sqrt(spread.reshape(4, 2).sum(axis=1).max()))


def _jacobian(matrix: Matrix, points: Matrix) -> Matrix:
    """Return the derivatives of mapped points by the matrix's first eight numbers, (2 n, 8)."""
    ones = np.column_stack([points, np.ones(len(points))])
    depth = ones @ matrix[2]
    x, y = mapped(matrix, points).T
    part = ones / depth[:, None]
    zero = np.zeros_like(part)
    across = np.hstack([part, zero, -part[:, :2] * x[:, None]])
    down = np.hstack([zero, part, -part[:, :2] * y[:, None]])
    return np.stack([across, down], axis=1).reshape(-1, 8)


def _warped(plane: Image, matrix: Matrix) -> Image:
    size = (plane.shape[1], plane.shape[0])
    warped: Image = cv2.warpPerspective(
        plane, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return warped
