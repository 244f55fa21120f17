"""How noisy a frame is, learned from the frame itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from focusd.fusion.arrays import Float

KAPPA = (0.753, 0.184, 0.08, 0.039, 0.019)
"""Mean absolute value of each band of unit white Gaussian noise, finest first (dimensionless)."""

# No sensor read out to 8 bits is quieter than its own rounding, 1 / sqrt(12).
SMALLEST_SIGMA = 0.3
# More than this is no longer a picture, and would take the weights out of float32.
LARGEST_SIGMA = 16.0
_BLOCK_PX = 16
_BINS = 8
# Fewer blocks than this say nothing about their quietest tenth.
_FEWEST_BLOCKS = 8
_UNKNOWN_SIGMA = 1.0
# White noise has bands in the ratio of KAPPA; texture has as much or more in the coarser one.
_LEAST_WHITE = 2.0


def estimate_sigma(luma: Float, bands: Sequence[Float]) -> float:
    """Measure the standard deviation of a frame's noise.

    Blocks of 16x16 pixels are sorted by brightness into eight bins; in each bin the quietest tenth is taken
    to be noise alone, if its two finest bands stand to each other as those of noise do. Without the bins a
    black background would speak for the whole frame; without the second test a frame full of texture would
    take the texture for noise.

    Parameters
    ----------
    luma : ndarray
        float32, (rows, cols), 8-bit levels.
    bands : sequence of ndarray
        Its Laplacian bands, finest first.

    Returns
    -------
    float
        In 8-bit levels, 0.3 to 16; 1.0 when the frame is too small or too clipped to tell. Where no bin
        looks like noise, the quietest bin's value, which is an upper bound.
    """
    rows, cols = (side // _BLOCK_PX for side in luma.shape)
    if rows * cols < _FEWEST_BLOCKS:
        return _UNKNOWN_SIGMA
    tiles = _blocks(luma, rows, cols, _BLOCK_PX)
    usable = (tiles.min(axis=(1, 3)) > 0.5) & (tiles.max(axis=(1, 3)) < 254.5)
    if int(usable.sum()) < _FEWEST_BLOCKS:
        return _UNKNOWN_SIGMA
    brightness = tiles.mean(axis=(1, 3))[usable]
    fine = np.abs(_blocks(bands[0], rows, cols, _BLOCK_PX)).mean(axis=(1, 3))[usable]
    coarse = np.abs(_blocks(bands[1], rows, cols, _BLOCK_PX // 2)).mean(axis=(1, 3))[usable]
    bin_of = np.digitize(brightness, np.linspace(brightness.min(), brightness.max(), _BINS + 1)[1:-1])
    found: list[tuple[float, int, bool]] = []
    for number in range(_BINS):
        members = bin_of == number
        count = int(members.sum())
        if count < max(_FEWEST_BLOCKS, 0.03 * fine.size):
            continue
        quiet = float(np.percentile(fine[members], 10))
        tenth = members & (fine <= quiet)
        whiteness = float(coarse[tenth].mean() / max(1e-6, float(fine[tenth].mean())))
        found.append((quiet, count, whiteness < _LEAST_WHITE * KAPPA[1] / KAPPA[0]))
    if not found:
        return _UNKNOWN_SIGMA
    noise = [(quiet, count) for quiet, count, is_noise in found if is_noise]
    if noise:
        level = sum(quiet * count for quiet, count in noise) / sum(count for _, count in noise)
    else:
        level = min(quiet for quiet, _, _ in found)
    # The quietest tenth of noise is a little below its mean; 1.05 makes up for it.
    return min(LARGEST_SIGMA, max(SMALLEST_SIGMA, 1.05 * level / KAPPA[0]))


def _blocks(plane: Float, rows: int, cols: int, side_px: int) -> Float:
    """View a plane's whole blocks as (rows, side, cols, side)."""
    blocks: Float = plane[: rows * side_px, : cols * side_px].reshape(rows, side_px, cols, side_px)
    return blocks
