"""Sharpness as the share of Fourier coefficients that stand out: exactly, block by block, and without FFT.

References
----------
.. [1] De K., Masilamani V., Image sharpness measure for blurred images in frequency domain, Procedia
   Engineering 64, 2013, 149-158. doi:10.1016/j.proeng.2013.09.086
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.errors import FusionError
from focusd.focus.tiles import Plane, brightness

BLOCK_PX = 32
"""Side of a block when nobody says another."""
# A coefficient counts above this share of the largest: reference 1, step 4 of its algorithm.
_SHARE_OF_LARGEST = 1e-3
_LOWPASS = np.array([1, 4, 6, 4, 1], np.float32) / np.float32(16)
# Where the kernel above halves the amplitude, as a share of the Nyquist frequency: cos(w / 2) ** 4 = 1 / 2.
_CUT = float(2 / np.pi * np.arccos(0.5**0.25))
# Along a block's side, for the measure by bands.
_CELLS = 4
_DARKEST, _SMALLEST_POWER = np.float32(1e-3), np.float32(1e-30)

_Row = NDArray[np.float64]
Each = Callable[[Callable[[_Row], Plane], Iterable[_Row]], Iterable[Plane]]
"""`map`, or an executor's: applies a function to each element, in order."""


def frequency_share(
    frame: NDArray[Any], block_px: int = BLOCK_PX, stride_px: int | None = None, *, each: Each = map
) -> Plane:
    """Share of the Fourier coefficients of each block that exceed a thousandth of the block's largest.

    Parameters
    ----------
    frame : ndarray
        uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR.
    block_px : int
        Side of a block, 4 to the frame's shorter side. A block as large as the frame is reference 1 as it
        stands.
    stride_px : int, optional
        From one block to the next, 1 to `block_px`; by default blocks do not overlap.
    each : callable, optional
        Works on the rows of blocks; `map` of a thread pool does several at a time, with the same result.

    Returns
    -------
    ndarray
        float32, (block rows, block columns), 0 (all black) to 1; what is left over at the right and below is
        left out.

    Raises
    ------
    FusionError
        A block or stride outside its range.
    """
    _check_block(frame, block_px)
    stride = block_px if stride_px is None else stride_px
    if not 1 <= stride <= block_px:
        raise FusionError(f"stride_px is {stride} px: it must be from 1 to the block's side, {block_px}")
    plane = brightness(frame).astype(np.float64)
    blocks = np.lib.stride_tricks.sliding_window_view(plane, (block_px, block_px))[::stride, ::stride]
    return np.stack(list(each(_share_above, blocks)))


def frequency_share_by_bands(frame: NDArray[Any], block_px: int = BLOCK_PX) -> Plane:
    """About ``frequency_share(frame, block_px, block_px // 4)``, by convolutions alone.

    The spectrum is cut into bands, three to an octave. A band's mean power comes from its mean square over
    the block; if the band's coefficients have random phases, their amplitudes are Rayleigh-distributed, and
    ``exp(-threshold**2 / power)`` of them exceed the threshold. The largest coefficient is taken to be the
    block's mean. A block whose opposite sides differ has power along the axes of the spectrum besides, which
    no band knows of and the difference of its sides tells.

    Parameters
    ----------
    frame : ndarray
        uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR.
    block_px : int
        Side of the block, a power of two, 8 to 128, at most the frame's shorter side.

    Returns
    -------
    ndarray
        float32, (block rows, block columns), 0 to 1; blocks are a quarter of their side apart.

    Raises
    ------
    FusionError
        A block outside its range.
    """
    _check_block(frame, block_px)
    if block_px & (block_px - 1) or not 8 <= block_px <= 128:
        raise FusionError(f"block_px is {block_px}: it must be 8, 16, 32, 64 or 128 px for bands")
    cell_px = block_px // _CELLS
    rows, cols = (size // cell_px * cell_px for size in frame.shape[:2])
    plane = brightness(frame[:rows, :cols])
    mean = np.maximum(_block_means(_cells(plane, cell_px, cell_px)), _DARKEST)
    # Square of the threshold over the block's number of coefficients, which a band's power is held against.
    threshold = np.square(mean * np.float32(block_px * _SHARE_OF_LARGEST))
    share = _jumps(plane, mean, cell_px)
    for number, level in enumerate(_levels_of(block_px)):
        bands, coarse = _split(plane)
        for band, part in zip(bands, level, strict=True):
            power = _block_means(_cells(np.square(band), cell_px >> number, cell_px >> number))
            power *= np.float32(1 / part.gain)
            share += np.float32(part.share) * np.exp(-threshold / np.maximum(power, _SMALLEST_POWER))
        plane = np.ascontiguousarray(coarse[::2, ::2])
    return np.minimum(share, np.float32(1))


@dataclass(frozen=True, slots=True)
class _Band:
    """What a band lets through: its share of the coefficients, and of white noise's power."""

    share: float
    gain: float


@cache
def _levels_of(block_px: int) -> tuple[tuple[_Band, _Band, _Band], ...]:
    """Bands of each level: fine across and coarse down, the reverse, fine both ways."""
    count = block_px.bit_length() - 2
    turns = (np.arange(4096) + 0.5) / 4096 * np.pi
    passed, levels, edge = np.ones_like(turns), [], 1.0
    for number in range(count):
        low = np.cos(np.mod(turns * 2**number, 2 * np.pi) / 2) ** 4
        coarse = float(np.mean(np.square(passed * low)))
        fine = float(np.mean(np.square(passed * (1 - low))))
        inner = _CUT / 2**number
        mixed = _Band(inner * (edge - inner), coarse * fine)
        levels.append((mixed, mixed, _Band((edge - inner) ** 2, fine * fine)))
        passed, edge = passed * low, inner
    return tuple(levels)


def _share_above(blocks: _Row) -> Plane:
    """Share of each of some blocks, (blocks, side, side)."""
    side = blocks.shape[-1]
    spectrum = np.fft.rfft2(blocks)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    above = power > power.max(axis=(1, 2), keepdims=True) * _SHARE_OF_LARGEST**2
    counts = np.count_nonzero(above, axis=1)
    # Half of a real picture's spectrum is given: each column but those of no frequency and of the highest
    # stands for two.
    times = np.full(counts.shape[1], 2)
    times[0] = 1
    if side % 2 == 0:
        times[-1] = 1
    return np.asarray((counts @ times) / side**2, np.float32)


def _split(plane: Plane) -> tuple[Iterator[Plane], Plane]:
    """Bands of the finest octave, in the order of `_levels_of`, and what is left."""
    one = np.ones(1, np.float32)
    coarse_across = cv2.sepFilter2D(plane, cv2.CV_32F, _LOWPASS, one)
    fine_across = cv2.subtract(plane, coarse_across)
    coarse = cv2.sepFilter2D(coarse_across, cv2.CV_32F, one, _LOWPASS)
    fine_coarse = cv2.sepFilter2D(fine_across, cv2.CV_32F, one, _LOWPASS)
    bands = (fine_coarse, cv2.subtract(coarse_across, coarse), cv2.subtract(fine_across, fine_coarse))
    return (np.asarray(band, np.float32) for band in bands), np.asarray(coarse, np.float32)


def _jumps(plane: Plane, mean: Plane, cell_px: int) -> Plane:
    """Share of the coefficients that a block's opposite sides lift above the threshold by their difference.

    A step of height j between the last column and the first has coefficients ``j / (2 sin(pi k / side))``
    times the block's rows, along one axis; likewise along the other.
    """
    block_px = _CELLS * cell_px
    rows, cols = mean.shape
    share = np.zeros_like(mean)
    lefts, rights = (
        _sums(_cells(np.ascontiguousarray(plane[:, at::cell_px]), cell_px, 1), down=_CELLS) / _CELLS
        for at in (0, cell_px - 1)
    )
    tops, bottoms = (
        _sums(_cells(np.ascontiguousarray(plane[at::cell_px]), 1, cell_px), across=_CELLS) / _CELLS
        for at in (0, cell_px - 1)
    )
    for step in (rights[:, _CELLS - 1 :] - lefts[:, :cols], bottoms[_CELLS - 1 :] - tops[:rows]):
        reach = np.abs(step) * np.float32(0.5 / (block_px * _SHARE_OF_LARGEST)) / mean
        share += np.arcsin(np.minimum(reach, np.float32(1))) * np.float32(2 / (np.pi * block_px))
    return share


def _cells(plane: Plane, down_px: int, across_px: int) -> Plane:
    """Mean of each cell; the sides are multiples of a cell's."""
    if down_px == across_px == 1:
        return plane
    size = (plane.shape[1] // across_px, plane.shape[0] // down_px)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def _block_means(cells: Plane) -> Plane:
    return _sums(_sums(cells, down=_CELLS), across=_CELLS) * np.float32(1 / _CELLS**2)


def _sums(cells: Plane, *, down: int = 1, across: int = 1) -> Plane:
    """Sum of each so many neighbours that lie whole within."""
    rows, cols = cells.shape[0] - down + 1, cells.shape[1] - across + 1
    total = np.zeros((rows, cols), np.float32)
    for row in range(down):
        for col in range(across):
            total += cells[row : row + rows, col : col + cols]
    return total


def _check_block(frame: NDArray[Any], block_px: int) -> None:
    if not 4 <= block_px <= min(frame.shape[:2]):
        raise FusionError(
            f"block_px is {block_px}: it must be 4 to the frame's shorter side ({min(frame.shape[:2])})"
        )
