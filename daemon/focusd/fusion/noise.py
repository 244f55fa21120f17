"""How noisy a frame is, learned from the frame itself."""

from __future__ import annotations

import cv2
import numpy as np

from focusd.fusion.arrays import Float
from focusd.fusion.rule import KAPPA
from focusd.fusion.tone import Source

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
# A sample of strips, evenly spread, tells as much as all of a large frame.
_STRIP_PX = 64
_MARGIN_PX = 8
_MOST_PIXELS = 2_000_000
# Blocks with a value this near to black or white are clipped, and quieter than they were.
_DARKEST, _BRIGHTEST = 0.5, 254.5


def estimate_sigma(luma: Source) -> float:
    """Measure the standard deviation of a frame's noise.

    Blocks of 16x16 pixels are sorted by brightness into eight bins; in each bin the quietest tenth is taken
    to be noise alone, if its two finest bands stand to each other as those of noise do. Without the bins a
    black background would speak for the whole frame; without the second test a frame full of texture would
    take the texture for noise.

    Parameters
    ----------
    luma : Source
        The frame's luma.

    Returns
    -------
    float
        In 8-bit levels, 0.3 to 16; 1.0 when the frame is too small or too clipped to tell. Where no bin
        looks like noise, the quietest bin's value, which is an upper bound. Three digits, so that machines
        that round differently agree.
    """
    strips = [_blocks_of(luma, first) for first in _strips(luma.data.shape[0], luma.data.shape[1])]
    brightness, fine, coarse = np.hstack(strips) if strips else np.empty((3, 0), np.float32)
    if brightness.size < _FEWEST_BLOCKS:
        return _UNKNOWN_SIGMA
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
    sigma = min(LARGEST_SIGMA, max(SMALLEST_SIGMA, 1.05 * level / KAPPA[0]))
    return float(f"{sigma:.3g}")


def _strips(rows: int, cols: int) -> list[int]:
    """First rows of the strips that are looked at."""
    whole = range(0, rows - _BLOCK_PX + 1, _STRIP_PX)
    every = max(1, -(-rows * cols // _MOST_PIXELS))
    return list(whole[::every])


def _blocks_of(luma: Source, first: int) -> Float:
    """Mean, fine detail and coarse detail of each block of a strip that is not clipped, (3, blocks)."""
    rows, cols = luma.data.shape[:2]
    last = min(first + _STRIP_PX, first + (rows - first) // _BLOCK_PX * _BLOCK_PX)
    top, bottom = max(0, first - _MARGIN_PX), min(rows, last + _MARGIN_PX)
    across = cols // _BLOCK_PX
    strip = luma.rows(top, bottom)
    smaller = cv2.pyrDown(strip)
    smallest = cv2.pyrDown(smaller)
    fine = np.abs(strip - cv2.pyrUp(smaller, dstsize=strip.shape[::-1]))
    coarse = np.abs(smaller - cv2.pyrUp(smallest, dstsize=smaller.shape[::-1]))
    tiles = _tiles(strip[first - top : last - top], across, _BLOCK_PX)
    usable = (tiles.min(axis=(1, 3)) > _DARKEST) & (tiles.max(axis=(1, 3)) < _BRIGHTEST)
    half = slice((first - top) // 2, (first - top) // 2 + (last - first) // 2)
    means = (
        tiles.mean(axis=(1, 3)),
        _tiles(fine[first - top : last - top], across, _BLOCK_PX).mean(axis=(1, 3)),
        _tiles(coarse[half], across, _BLOCK_PX // 2).mean(axis=(1, 3)),
    )
    return np.stack([mean[usable] for mean in means])


def _tiles(plane: Float, across: int, side_px: int) -> Float:
    """View a plane's whole blocks as (rows, side, cols, side)."""
    down = len(plane) // side_px
    tiles: Float = plane[: down * side_px, : across * side_px].reshape(down, side_px, across, side_px)
    return tiles
