"""How much each pixel of a frame counts: its local detail, raised to a high power.

A high power makes the weighted mean a choice where one frame is clearly the sharpest, and a mean of all
frames where none is. Sums commute, so the order of frames does not matter and partial fusions can be merged.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from focusd.fusion.arrays import Float, Scratch
from focusd.fusion.noise import KAPPA
from focusd.fusion.pyramid import Grid, grow, shrink

# Share of the finer level's energy a level takes over, and of the coarser level's.
_FROM_FINER = 0.6
_FROM_COARSER = 0.25
# Detail this many times the noise is taken for focus, at first in part.
_EVIDENCE = 1.5
_EVIDENCE_SPAN = 0.3
# Energies above this are all the same: keeps the 30th power inside float32.
_CAP = 100.0
# Squared energies are divided by this before the power, so that weights span 1e-34 to 1e32 and their
# sums stay inside float32 for ten thousand frames.
_SQUARE_UNIT = 90.0
_HALF_POWER = 15
# 2x2 block mean, then sigma 0.5: the cheap form of the triangular 5x5 window at half resolution.
_HALF_SIGMA = 0.5


def focus_energies(bands: Sequence[Float], sigma: float, grid: Grid, scratch: Scratch) -> list[Float]:
    """Local detail of each level of one frame.

    Parameters
    ----------
    bands : sequence of ndarray
        The luma bands, finest first, 8-bit levels.
    sigma : float
        Noise of the frames, standard deviation in 8-bit levels, above 0 to 16.
    grid : Grid
        Sizes of the levels.
    scratch : Scratch
        Where the energies live until the next call.

    Returns
    -------
    list of ndarray
        One plane a band, 8-bit levels. The first has the size of level 1 (half resolution), each other
        that of its own level.
    """
    energies: list[Float] = []
    evidence: Float | None = None
    for level, band in enumerate(bands):
        noise = KAPPA[level] * sigma
        shape = grid.shape(max(level, 1))
        narrow = scratch.plane("narrow", level, shape)
        wide = scratch.plane("wide", level, shape)
        # The weight's place is free until the energies are done.
        magnitude = np.abs(band, out=scratch.plane("weight", level, band.shape))
        if level == 0:
            half = scratch.plane("half", 0, shape)
            cv2.resize(magnitude, shape[::-1], dst=half, interpolation=cv2.INTER_AREA)
            cv2.GaussianBlur(half, (3, 3), _HALF_SIGMA, dst=narrow)
            cv2.blur(half, (5, 5), dst=wide)
        else:
            cv2.blur(magnitude, (9, 9), dst=wide)
            # Twice a box is a triangle, which marks the place of an edge better than one wide box.
            cv2.blur(magnitude, (3, 3), dst=narrow)
            cv2.blur(narrow, (3, 3), dst=magnitude)
            narrow = magnitude
        seen = scratch.plane("evidence", level, shape)
        if level == 0 or evidence is None:
            np.multiply(narrow, np.float32(1.0 / noise), out=seen)
        elif level == 1:
            np.maximum(evidence, narrow * np.float32(1.0 / noise), out=seen)
        else:
            cv2.resize(evidence, shape[::-1], dst=seen, interpolation=cv2.INTER_AREA)
        evidence = seen
        share = (seen - np.float32(_EVIDENCE)) * np.float32(1.0 / _EVIDENCE_SPAN)
        np.clip(share, 0.0, 1.0, out=share)
        # Where fine detail is seen a narrow window places it; elsewhere a wide one gathers what there is.
        narrow -= wide
        narrow *= share
        wide += narrow
        if level > 0:
            finer = energies[-1]
            if level > 1:
                finer = shrink(finer, scratch.plane("finer", level, shape))
            cv2.scaleAdd(finer, _FROM_FINER, wide, dst=wide)
        energies.append(wide)
    for level in range(len(energies) - 2, -1, -1):
        coarser = energies[level + 1]
        if level > 0:
            coarser = grow(coarser, scratch.plane("coarser", level, energies[level].shape))
        cv2.scaleAdd(coarser, _FROM_COARSER, energies[level], dst=energies[level])
    return energies


def band_weight(energy: Float, level: int, sigma: float, shape: tuple[int, int], scratch: Scratch) -> Float:
    """Weight of one band of one frame.

    Parameters
    ----------
    energy : ndarray
        From `focus_energies`.
    level : int
        Its level, 0 the finest.
    sigma : float
        Noise of the frames, 8-bit levels.
    shape : tuple of int
        (rows, cols) of the band.
    scratch : Scratch
        Where the weight lives until the next call.

    Returns
    -------
    ndarray
        float32, `shape`, 1e-34 to 1e32, never 0.
    """
    weight = scratch.plane("weight", level, shape)
    if energy.shape != shape:
        # Before the power: a power that is interpolated smears its peaks.
        cv2.resize(energy, shape[::-1], dst=weight, interpolation=cv2.INTER_LINEAR)
        cv2.threshold(weight, _CAP, 0, cv2.THRESH_TRUNC, dst=weight)
    else:
        cv2.threshold(energy, _CAP, 0, cv2.THRESH_TRUNC, dst=weight)
    floor = max(4.0 * KAPPA[level] * sigma, 0.7)
    np.multiply(weight, weight, out=weight)
    weight += np.float32(floor * floor)
    weight *= np.float32(1.0 / _SQUARE_UNIT)
    cv2.pow(weight, _HALF_POWER, dst=weight)
    return weight


def base_weight(energies: Sequence[Float], shape: tuple[int, int]) -> Float:
    """Weight of the base: the energy of the coarsest band, to a gentler power.

    Parameters
    ----------
    energies : sequence of ndarray
        From `focus_energies`.
    shape : tuple of int
        (rows, cols) of the base.

    Returns
    -------
    ndarray
        float32, `shape`, above 0; all ones when there is no band.
    """
    if not energies:
        return np.ones(shape, np.float32)
    coarsest = energies[-1]
    if coarsest.shape != shape:
        coarsest = shrink(coarsest, np.empty(shape, np.float32))
    weight = (coarsest + np.float32(0.3)) * np.float32(1.0 / 16.0)
    cv2.pow(weight, 8, dst=weight)
    return weight
