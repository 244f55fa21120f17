"""Strips of rows for the plain kernel: where they come from, and room to work on them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.fusion.tone import Source

Fixed = npt.NDArray[np.uint16]

# Bytes of a strip in the widest type it is worked on in: half as many cost a tenth more in calls, twice as
# many leave the cache and take more memory.
STRIP_BYTES = 1 << 20


def strips(shape: tuple[int, int], dtype: type[np.generic]) -> Iterator[tuple[int, int]]:
    """First and last row of each strip of a plane; a multiple of four rows, but for the last.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the plane.
    dtype : type
        Widest type that it is worked on in.
    """
    step = max(8, STRIP_BYTES // np.dtype(dtype).itemsize // shape[1] // 4 * 4)
    for first in range(0, shape[0], step):
        yield first, min(first + step, shape[0])


@dataclass(frozen=True, slots=True)
class Level:
    """A level of a plane: fixed point, or for level 0 the frame's own samples."""

    source: Source
    shape: tuple[int, int]

    def samples(self, first: int, last: int) -> npt.NDArray[Any]:
        """Rows `first` to `last` (excluded), mirrored out to `shape`."""
        data = self.source.data
        rows, cols = data.shape[:2]
        part = data[first : min(last, rows)]
        if last <= rows and cols == self.shape[1]:
            return part
        wanted = [_mirrored(row, rows) for row in range(first, last)]
        top, bottom = min(wanted), max(wanted) + 1
        right = self.shape[1] - cols
        wide = cv2.copyMakeBorder(data[top:bottom], 0, 0, 0, right, cv2.BORDER_REFLECT_101)
        padded: npt.NDArray[Any] = wide[np.array(wanted) - top]
        return padded


def _mirrored(row: int, rows: int) -> int:
    while not 0 <= row < rows:
        row = -row if row < 0 else 2 * (rows - 1) - row
    return row


@dataclass(frozen=True, slots=True)
class Lines:
    """Room to interpolate between the rows and then the columns of a coarser plane.

    `framed` has one more sample on each side of `inner`; `even` and `odd` rows are still as narrow.
    """

    framed: npt.NDArray[Any]
    inner: npt.NDArray[Any]
    above: npt.NDArray[Any]
    here: npt.NDArray[Any]
    below: npt.NDArray[Any]
    even: npt.NDArray[Any]
    odd: npt.NDArray[Any]
    before: npt.NDArray[Any]
    middle: npt.NDArray[Any]
    after: npt.NDArray[Any]

    def fill(self, plane: npt.NDArray[Any], first: int, last: int, mirrored: int = 2) -> Lines:
        """Take rows `first` to `last` of a plane and those beside them, and do as `frame` does."""
        out = self.framed
        top, bottom = max(0, first - 1), min(len(plane), last + 1)
        np.copyto(out[top - first + 1 : bottom - first + 1, 1:-1], plane[top:bottom])
        return self.frame(top == first, bottom == last, mirrored)

    def frame(self, is_top: bool, is_bottom: bool, mirrored: int = 2) -> Lines:
        """Add one more sample on each side.

        As `cv2.pyrUp` has them: mirrored before the first (repeated if `mirrored` is 1), repeated after the
        last.
        """
        out = self.framed
        rows, cols = self.inner.shape
        if is_top:
            out[0] = out[min(mirrored, rows)]
        if is_bottom:
            out[-1] = out[-2]
        out[:, 0] = out[:, min(mirrored, cols)]
        out[:, -1] = out[:, -2]
        return self


class Room:
    """Buffers by name, of unknown content; each grows to the largest ever asked for.

    Whoever asks for a name again, of whatever type, takes the buffer from the one before.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, npt.NDArray[np.uint8]] = {}
        self._views: dict[tuple[Any, ...], Any] = {}

    @property
    def nbytes(self) -> int:
        """Memory held, bytes."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

    def clear(self) -> None:
        """Give the memory back."""
        self._buffers, self._views = {}, {}

    def of(self, name: str, dtype: type[np.generic], *shape: int) -> npt.NDArray[Any]:
        """Give the buffer of this name as an array of this type and shape."""
        found: npt.NDArray[Any] | None = self._views.get((name, dtype, shape))
        if found is not None:
            return found
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        flat = self._buffers.get(name)
        if flat is None or flat.nbytes < nbytes:
            self._views.clear()
            flat = self._buffers[name] = np.empty(nbytes, np.uint8)
        view = self._views[(name, dtype, shape)] = flat[:nbytes].view(dtype).reshape(shape)
        return view

    def lines(self, dtype: type[np.generic], rows: int, half: int, before: int = 0, after: int = 0) -> Lines:
        """Room to interpolate between `rows` rows of `half` samples, with more rows `before` and `after`."""
        key = ("lines", dtype, rows, half, before, after)
        found: Lines | None = self._views.get(key)
        if found is not None:
            return found
        framed = self.of("framed", dtype, before + rows + after + 2, half + 2)
        lines = self.of("between", dtype, 2 * rows, half + 2)
        view = self._views[key] = Lines(
            framed=framed,
            inner=framed[1:-1, 1:-1],
            above=framed[before : before + rows],
            here=framed[before + 1 : before + 1 + rows],
            below=framed[before + 2 : before + 2 + rows],
            even=lines[::2],
            odd=lines[1::2],
            before=lines[:, :-2],
            middle=lines[:, 1:-1],
            after=lines[:, 2:],
        )
        return view

    def apart(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Even and odd columns of rows, one after the other: (2, rows, half)."""
        out = self.of("apart", rows.dtype.type, 2, len(rows), rows.shape[1] // 2)
        cv2.split(rows.reshape(len(rows), -1, 2), [out[0], out[1]])
        return out

    def grown(self, at: Lines) -> Fixed:
        """Twice the rows framed in `at`, as `cv2.pyrUp` has them."""
        rows, half = at.middle.shape
        sides = self.of("halves", np.uint16, 2, rows, half)
        left, right = sides[0], sides[1]
        cv2.addWeighted(at.above, 0.5, at.below, 0.5, 0, dst=at.even)
        cv2.addWeighted(at.even, 0.25, at.here, 0.75, 0, dst=at.even)
        cv2.addWeighted(at.here, 0.5, at.below, 0.5, 0, dst=at.odd)
        cv2.addWeighted(at.before, 0.5, at.after, 0.5, 0, dst=left)
        cv2.addWeighted(left, 0.25, at.middle, 0.75, 0, dst=left)
        cv2.addWeighted(at.middle, 0.5, at.after, 0.5, 0, dst=right)
        grown = self.of("whole", np.uint16, rows, half, 2)
        cv2.merge([left, right], dst=grown)
        return grown.reshape(rows, 2 * half)
