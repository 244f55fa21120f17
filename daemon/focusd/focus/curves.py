"""Curves of sharpness through focus: where each has its peak, and how far two of them are apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from focusd.focus.tiles import Numbers

# A tile without at least this ratio between its sharpest and its dullest frame says nothing of focus.
_LEAST_CONTRAST = 1.6
_ROUNDS = 12


def peaks(positions: Numbers, energies: Numbers) -> Numbers:
    """Find where each curve is highest.

    The centre of gravity of what stands above three fifths of the way from the curve's floor to its top,
    around the top; both flanks must be on the curve.

    Parameters
    ----------
    positions : ndarray of float64, (n,)
        Ascending, evenly spaced, any unit.
    energies : ndarray of float64, (n, curves)
        Sharpness at each.

    Returns
    -------
    ndarray of float64, (curves,)
        NaN for a curve with too little contrast, or whose top is not wholly within the positions.
    """
    floor, top = energies.min(axis=0), energies.max(axis=0)
    level = floor + 0.6 * (top - floor)
    found = np.full(energies.shape[1], np.nan)
    for i in np.flatnonzero(top > _LEAST_CONTRAST * np.maximum(floor, 1e-12)):
        above = energies[:, i] - level[i]
        best = int(above.argmax())
        below = np.flatnonzero(above <= 0)
        left, right = below[below < best], below[below > best]
        if not left.size or not right.size:
            continue
        found[i] = _centre(positions, above, int(left[-1]), int(right[0]))
    return found


def shift(positions: Numbers, reference: Numbers, moved: Numbers, first_guess: float) -> float:
    """How far `moved` runs ahead of `reference`: ``moved(p)`` is like ``reference(p + shift)``.

    The two are laid over one another by least squares, with a factor and an offset of their own, so that
    neither light nor noise counts.

    Parameters
    ----------
    positions : ndarray of float64, (n,)
        Ascending, evenly spaced, any unit.
    reference, moved : ndarray of float64, (n,)
        Sharpness at each.
    first_guess : float
        From the peaks; must be right to about half the width of the peak.

    Returns
    -------
    float
        In the unit of `positions`; NaN when fewer than five positions are common to both, or when the fit
        does not settle.
    """
    spacing = float(positions[1] - positions[0])
    found = first_guess
    for _ in range(_ROUNDS):
        at = positions + found
        common = (at >= positions[0]) & (at <= positions[-1])
        if np.count_nonzero(common) < 5:
            return float("nan")
        value, slope = interpolated(reference, (at[common] - positions[0]) / spacing)
        basis = np.column_stack([value, np.ones_like(value), slope / spacing])
        (factor, _, lever), *_ = np.linalg.lstsq(basis, moved[common], rcond=None)
        if not factor > 0:
            return float("nan")
        change = float(np.clip(lever / factor, -2 * spacing, 2 * spacing))
        found += change
        if abs(change) < 1e-4 * spacing:
            return found
    return float("nan")


def interpolated(samples: Numbers, at: Numbers) -> tuple[Numbers, Numbers]:
    """Value and slope of a curve between its samples, by cubic convolution.

    Parameters
    ----------
    samples : ndarray of float64, (n,)
    at : ndarray of float64
        From 0 to n - 1.

    References
    ----------
    .. [1] Keys R., Cubic convolution interpolation for digital image processing, IEEE Trans. ASSP 29(6),
       1981, 1153-1160. doi:10.1109/TASSP.1981.1163711
    """
    last = len(samples) - 1
    cell = np.clip(np.floor(at).astype(np.intp), 0, last - 1)
    t = at - cell
    padded = np.concatenate(
        [
            [3 * (samples[0] - samples[1]) + samples[2]],
            samples,
            [3 * (samples[-1] - samples[-2]) + samples[-3]],
        ]
    )
    a, b, c, d = (padded[cell + k] for k in range(4))
    cubic, square, linear = (3 * (b - c) + d - a) / 2, (2 * a - 5 * b + 4 * c - d) / 2, (c - a) / 2
    value = ((cubic * t + square) * t + linear) * t + b
    return value, (3 * cubic * t + 2 * square) * t + linear


def _centre(positions: Numbers, above: Numbers, left: int, right: int) -> float:
    """Centre of gravity of a curve between the two places where it crosses 0, samples joined by lines."""
    inner: NDArray[np.float64] = np.arange(left + 1, right, dtype=np.float64)
    starts = left + above[left] / (above[left] - above[left + 1])
    ends = right - above[right] / (above[right] - above[right - 1])
    at = np.concatenate([[starts], inner, [ends]])
    height = np.concatenate([[0.0], above[left + 1 : right], [0.0]])
    width = np.diff(at)
    # Area and moment of each trapezoid.
    area = width * (height[1:] + height[:-1]) / 2
    moment = area * at[:-1] + width**2 * (height[:-1] + 2 * height[1:]) / 6
    centre = moment.sum() / area.sum()
    return float(positions[0] + centre * (positions[1] - positions[0]))
