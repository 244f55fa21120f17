"""Where a second pass may change a picture, and how far: see `focusd.fusion.refine`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from focusd.fusion.arrays import Float, Image
from focusd.fusion.focus_fit import FocusFit
from focusd.fusion.relief import Reason, Relief

# All were chosen on the suite and the real stacks (decision 0010).
# Depth counts as smooth where it stays within this over 5x5 grid pixels.
_SMOOTH_STEPS = 2.0
# Share of the fit in the result, without noise and with much.
_MOST_SHARE, _LEAST_SHARE = 1.0, 0.55
# With noise, a pixel of less than the first confidence keeps the first pass's mean of many frames.
_LEAST_SURE, _SURE = 0.95, 0.985
# The fit corrects half a step's blur, a small part of the contrast around. Where it would change more than
# the first share it is believed less, beyond the second not at all: frames moved, or depth is wrong there.
_LIKELY, _UNLIKELY = 0.1, 0.3
# Contrast is measured in blocks of this side, a multiple of two.
_BLOCK_PX = 8
_STRIP_ROWS = 64


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows in which there is something to refine, at the size of one kind of plane.

    Parameters
    ----------
    rows : slice
        Of the plane.
    depth : ndarray
        uint16, (rows, cols); column of the fit's weights.
    share : ndarray
        uint8, (rows, cols); of the fit in the result, 0 to 255.
    lowest, highest : int
        Range of `depth` where `share` is above 0.
    """

    rows: slice
    depth: npt.NDArray[np.uint16]
    share: npt.NDArray[np.uint8]
    lowest: int
    highest: int


def shares_of(relief: Relief, smooth_um: Float, trust: float) -> Float:
    """Share of the fit in the result, float32, 0 to 1, on the grid; `trust` is 1 without noise, 0 with much.

    It falls to 0 over two pixels towards those whose depth is not sure, or not smooth: where something
    crosses, frames near the depth of the one also show the blur of the other.
    """
    window = np.ones((5, 5), np.uint8)
    ranges_um = cv2.dilate(smooth_um, window) - cv2.erode(smooth_um, window)
    sure = relief.reason == Reason.OK
    sure &= ranges_um < _SMOOTH_STEPS * relief.step_um
    sure &= cv2.blur(sure.astype(np.float32), (5, 5)) > 0.5
    held = cv2.erode(sure.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.float32)
    clear = np.clip((relief.confidence - _LEAST_SURE) / (_SURE - _LEAST_SURE), 0, 1).astype(np.float32)
    most = _LEAST_SHARE + (_MOST_SHARE - _LEAST_SHARE) * trust
    shares = cv2.blur(held, (3, 3)) * (trust + (1 - trust) * cv2.blur(clear, (3, 3))) * most
    return np.asarray(shares, np.float32)


def strips_of(shape: tuple[int, ...], smooth_um: Float, shares: Float, fit: FocusFit) -> list[Strip]:
    """Rows of a plane of this shape with something to refine; the grid is as large, or half as large."""
    found = []
    for first in range(0, shape[0], _STRIP_ROWS):
        rows = slice(first, min(shape[0], first + _STRIP_ROWS))
        share = np.rint(_enlarged(shares, rows, shape) * np.float32(255)).astype(np.uint8)
        if share.any():
            depth = fit.columns_of(_enlarged(smooth_um, rows, shape))
            needed = depth[share > 0]
            found.append(Strip(rows, depth, share, int(needed.min()), int(needed.max())))
    return found


class Agreement:
    """How well the fit agrees with the first pass, block by block.

    Parameters
    ----------
    plane : ndarray
        The first pass's luma, or all its channels; (rows, cols) or (rows, cols, 3).
    strips, sums : sequence
        Of the same plane.
    unit : float
        Its units in one 8-bit level.
    """

    def __init__(self, plane: Image, strips: Sequence[Strip], sums: Sequence[Float], unit: float) -> None:
        rows, cols = (-(-side // _BLOCK_PX) for side in plane.shape[:2])
        change, count, contrast, known = (np.zeros((rows, cols), np.float32) for _ in range(4))
        for strip, fitted in zip(strips, sums, strict=True):
            first_pass = plane[strip.rows] * np.float32(1 / unit)
            refined = (strip.share > 0).astype(np.float32)
            blocks = slice(strip.rows.start // _BLOCK_PX, -(-strip.rows.stop // _BLOCK_PX))
            change[blocks] = _blocks(_power(fitted * np.float32(1 / unit) - first_pass) * refined)
            count[blocks] = _blocks(refined)
            contrast[blocks] = _blocks(_power(first_pass)) - _power(_blocks(first_pass))
            known[blocks] = 1
        least = np.float32(1e-3)
        changes = cv2.blur(change, (3, 3)) / np.maximum(cv2.blur(count, (3, 3)), least)
        contrasts = cv2.blur(contrast, (3, 3)) / np.maximum(cv2.blur(known, (3, 3)), least)
        # A running sum beside large values may end a little below zero. One level on top, for ground without
        # any contrast.
        ratio = np.sqrt(np.maximum(changes, 0) / (np.maximum(contrasts, 0) + 1))
        self._blocks = np.clip((_UNLIKELY - ratio) / (_UNLIKELY - _LIKELY), 0, 1).astype(np.float32)
        self._rows = plane.shape[0]

    def of(self, rows: slice, shape: tuple[int, ...]) -> Float:
        """Share of the fit to be kept in rows of a plane of `shape`, as large or half as large; 0 to 1."""
        side = _BLOCK_PX if shape[0] == self._rows else _BLOCK_PX // 2
        top, bottom = max(0, rows.start // side - 1), min(len(self._blocks), -(-rows.stop // side) + 1)
        part = self._blocks[top:bottom]
        large = cv2.resize(part, (side * part.shape[1], side * len(part)), interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(large[rows.start - side * top : rows.stop - side * top, : shape[1]])


def _power(plane: Float) -> Float:
    """Square, averaged over the channels."""
    square = np.square(plane)
    return np.asarray(square if square.ndim == 2 else square.mean(axis=2), np.float32)


def _blocks(plane: Float) -> Float:
    """Mean of each block; the last ones of a side that is no multiple of it are filled by reflection."""
    bottom, right = (-side % _BLOCK_PX for side in plane.shape[:2])
    padded = cv2.copyMakeBorder(plane, 0, bottom, 0, right, cv2.BORDER_REFLECT)
    size = (padded.shape[1] // _BLOCK_PX, padded.shape[0] // _BLOCK_PX)
    return np.asarray(cv2.resize(padded, size, interpolation=cv2.INTER_AREA), np.float32)


def _enlarged(grid: Float, rows: slice, shape: tuple[int, ...]) -> Float:
    """Rows of a grid's plane at a plane's size: the grid's own, or twice that less an odd last line."""
    if grid.shape == shape[:2]:
        return grid[rows]
    top, bottom = max(0, rows.start // 2 - 1), min(len(grid), (rows.stop + 1) // 2 + 1)
    size = (2 * grid.shape[1], 2 * (bottom - top))
    large = cv2.resize(grid[top:bottom], size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(large[rows.start - 2 * top : rows.stop - 2 * top, : shape[1]])
