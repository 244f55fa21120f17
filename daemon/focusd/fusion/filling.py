"""Holes of a depth map, filled from near pixels of like brightness.

Each hole takes the depth of the known pixel with the least sum of distance and difference of luma, found by
jump flooding. A mean of several would invent depths between foreground and ground.

References
----------
.. [1] Rong G., Tan T.-S., Jump flooding in GPU with applications to Voronoi diagram and distance transform,
   Symposium on Interactive 3D Graphics, 2006, 109-116. doi:10.1145/1111411.1111431
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from focusd.fusion.arrays import Float

# One pixel away counts as much as this many levels of luma.
_LEVELS_PER_PX = 4.0
# The luma's own detail is not an edge of the subject.
_SMOOTH_PX = 5
# Planes larger than this are filled at half their size: holes need no finer depth, and it saves memory.
_LARGEST_PX = 1_000_000


def fill(
    depth: Float,
    known: npt.NDArray[np.bool_],
    sources: npt.NDArray[np.bool_],
    guide: npt.NDArray[np.uint8],
) -> Float:
    """Fill the holes of a depth map.

    Parameters
    ----------
    depth : ndarray
        float32, (rows, cols), any unit.
    known : ndarray
        bool, (rows, cols): where `depth` holds. Nothing is changed there.
    sources : ndarray
        bool, (rows, cols): depths good enough to be copied elsewhere. Single ones are not trusted.
    guide : ndarray
        uint8, (rows, cols): luma.

    Returns
    -------
    ndarray
        float32, (rows, cols); a plain copy of `depth` when there is no source.
    """
    filled = depth.copy()
    crowd = cv2.medianBlur(sources.view(np.uint8), _SMOOTH_PX).view(np.bool_) & sources
    sources = crowd if crowd.any() else sources
    if known.all() or not sources.any():
        return filled
    stride = 2 if depth.size > _LARGEST_PX else 1
    smooth = np.asarray(cv2.medianBlur(guide, _SMOOTH_PX), np.float32)[::stride, ::stride]
    small = sources[::stride, ::stride]
    if not small.any():
        stride, smooth, small = 1, np.asarray(guide, np.float32), sources
    source = _nearest(small, np.ascontiguousarray(smooth))
    taken = depth[::stride, ::stride].ravel()[source]
    if stride > 1:
        taken = np.repeat(np.repeat(taken, stride, axis=0), stride, axis=1)[
            : depth.shape[0], : depth.shape[1]
        ]
    np.copyto(filled, taken, where=~known)
    return filled


def _nearest(known: npt.NDArray[np.bool_], guide: Float) -> npt.NDArray[np.int32]:
    """Flat index of the known pixel to copy, for every pixel."""
    rows, cols = known.shape
    flat = guide.ravel()
    source = np.where(known, np.arange(rows * cols, dtype=np.int32).reshape(rows, cols), np.int32(-1))
    cost = np.where(known, np.float32(0), np.float32(np.inf))
    for jump in _jumps(max(rows, cols)):
        for down in (-jump, 0, jump):
            for right in (-jump, 0, jump):
                if down == right == 0:
                    continue
                to_rows, from_rows = _overlap(down, rows)
                to_cols, from_cols = _overlap(right, cols)
                offered = source[from_rows, from_cols].copy()
                here, price = source[to_rows, to_cols], cost[to_rows, to_cols]
                row, col = np.divmod(offered, np.int32(cols))
                row -= np.arange(to_rows.start, to_rows.stop, dtype=np.int32)[:, np.newaxis]
                col -= np.arange(to_cols.start, to_cols.stop, dtype=np.int32)
                new = np.hypot(row.astype(np.float32), col.astype(np.float32))
                new += np.abs(flat[offered] - guide[to_rows, to_cols]) / np.float32(_LEVELS_PER_PX)
                better = (offered >= 0) & (new < price)
                np.copyto(here, offered, where=better)
                np.copyto(price, new, where=better)
    return source


def _jumps(side: int) -> Iterator[int]:
    """Powers of two from half the picture down to 1, then 2 and 1 again, which mends the last errors."""
    jump = 1 << max(0, (side - 1).bit_length() - 1)
    while jump:
        yield jump
        jump //= 2
    yield from (2, 1)


def _overlap(shift: int, side: int) -> tuple[slice, slice]:
    """Rows (or columns) that receive, and those `shift` further back that give."""
    shift = max(-side, min(side, shift))
    return slice(max(0, shift), side + min(0, shift)), slice(max(0, -shift), side - max(0, shift))
