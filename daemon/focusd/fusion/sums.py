"""What the pyramid rule keeps of a stack: weighted sums of bands, the weights, and the range of luma."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.fusion.arrays import Float, Image
from focusd.fusion.pyramid import Grid
from focusd.fusion.rule import Rule
from focusd.fusion.tone import BRIGHTEST, DARKEST, Tone
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_bgr

# Rows of the finest level worked on at a time: a strip stays in the cache, and memory stays flat.
STRIP_ROWS = 64


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the frames of one stack.

    Parameters
    ----------
    tone : Tone
        Scale and kind of the frames.
    grids : tuple of Grid
        Of luma and, for colour, of both differences.
    bands : tuple of list of ndarray
        For each plane, for each level (the last is the base): sum of weight times band, float32, levels.
        Rows hold the even columns and then the odd ones, but for the base: filters then read in order.
    weights : list of ndarray
        Luma's; a difference of half the size takes them one level up.
    low, high : list of ndarray
        Smallest and largest luma of any frame, uint8 or uint16, for each level but the finest; level 0 by
        blocks of `block_px`.
    """

    tone: Tone
    grids: tuple[Grid, ...]
    bands: tuple[list[Float], ...]
    weights: list[Float]
    low: list[npt.NDArray[Any]]
    high: list[npt.NDArray[Any]]

    @classmethod
    def of(cls, tone: Tone, rows: int, cols: int) -> Sums:
        """Make sums of nothing, for frames of this size."""
        grid = Grid.of(rows, cols)
        grids: tuple[Grid, ...] = (grid,)
        if tone.kind == "4:4:4":
            grids = (grid, grid, grid)
        elif tone.kind == "4:2:0":
            grids = (grid, grid.halved(), grid.halved())
        bands = tuple([np.zeros(shape, np.float32) for shape in each.shapes] for each in grids)
        weights = [np.zeros(shape, np.float32) for shape in grid.shapes]
        block = grid.block_px
        finest = (grid.shapes[0][0] // block, grid.shapes[0][1] // block)
        shapes = [finest, *grid.shapes[1:]]
        most = np.iinfo(tone.dtype).max
        low = [np.full(shape, most, tone.dtype) for shape in shapes]
        high = [np.zeros(shape, tone.dtype) for shape in shapes]
        return cls(tone, grids, bands, weights, low, high)

    @property
    def step(self) -> int:
        """Levels from luma's grid to the differences'."""
        return 1 if self.tone.kind == "4:2:0" else 0

    @property
    def range_unit(self) -> float:
        """8-bit levels in one unit of `low` and `high`; they have 8 bits where the frames have."""
        return 1.0 if self.tone.dtype == np.uint8 else 1.0 / self.tone.fixed

    def merge(self, other: Sums) -> None:
        """Add another stack's sums, of the same sizes."""
        for kept, new in zip(self.planes().values(), other.planes().values(), strict=True):
            if kept.dtype == np.float32:
                kept += new
        for kept, new in zip(self.low, other.low, strict=True):
            np.minimum(kept, new, out=kept)
        for kept, new in zip(self.high, other.high, strict=True):
            np.maximum(kept, new, out=kept)

    def planes(self) -> dict[str, npt.NDArray[Any]]:
        """Every array by a name."""
        named: dict[str, npt.NDArray[Any]] = {}
        for number, levels in enumerate(self.bands):
            named |= {f"band-{number}-{level}": plane for level, plane in enumerate(levels)}
        for name, each in (("weight", self.weights), ("low", self.low), ("high", self.high)):
            named |= {f"{name}-{level}": plane for level, plane in enumerate(each)}
        return named

    def with_planes(self, planes: Mapping[str, npt.NDArray[Any]]) -> Sums:
        """Return these sums with other arrays, by the names of `planes`.

        Raises
        ------
        KeyError
            One is missing.
        ValueError
            One has another shape or type.
        """
        for name, own in self.planes().items():
            flags = planes[name].flags
            if not (flags.c_contiguous and flags.writeable):
                raise ValueError(f"{name} is not contiguous, or must not be written to")
            if planes[name].shape != own.shape or planes[name].dtype != own.dtype:
                raise ValueError(
                    f"{name} is {planes[name].dtype} {planes[name].shape}, not {own.dtype} {own.shape}"
                )

        def taken(name: str, each: Sequence[Any]) -> list[npt.NDArray[Any]]:
            return [planes[f"{name}-{level}"] for level in range(len(each))]

        return replace(
            self,
            bands=tuple(taken(f"band-{number}", levels) for number, levels in enumerate(self.bands)),
            weights=taken("weight", self.weights),
            low=taken("low", self.low),
            high=taken("high", self.high),
        )

    def clipped(self) -> npt.NDArray[np.bool_]:
        """Where luma is black or white in all frames, on the grid of level 1."""
        level = min(1, self.grids[0].levels)
        always_white = self.low[level] >= BRIGHTEST / self.range_unit
        always_black = self.high[level] <= DARKEST / self.range_unit
        clipped: npt.NDArray[np.bool_] = always_white | always_black
        return clipped

    @property
    def nbytes(self) -> int:
        """Memory held, bytes."""
        return sum(plane.nbytes for plane in self.planes().values())

    def image(self, rule: Rule) -> Image | Planes:
        """Fused image, of the frames' kind.

        Parameters
        ----------
        rule : Rule
            How far luma may leave the frames' range.
        """
        if self.tone.kind != "4:2:0":
            return self.small_image(rule, 0)
        planes = [np.empty(grid.cropped_shape(0), np.uint8) for grid in self.grids]
        for number, plane in enumerate(planes):
            for first, strip in self._strips(number, 0, rule):
                wanted = np.ascontiguousarray(strip[: plane.shape[0] - first, : plane.shape[1]])
                plane[first : first + len(wanted)] = self.tone.rounded(wanted)
        return Planes(*planes)

    def small_image(self, rule: Rule, level: int) -> Image:
        """Fused image, grey or BGR, halved `level` times, from the coarser levels alone."""
        grid = self.grids[0]
        level = min(level, grid.levels)
        if level == 0 and self.tone.kind == "4:2:0":
            return to_bgr(self.image(rule))
        rows, cols = grid.cropped_shape(level)
        shape = (rows, cols) if len(self.grids) == 1 else (rows, cols, 3)
        image = np.empty(shape, self.tone.dtype)
        planes = range(len(self.grids))
        strips = [self._strips(number, level - self._shift(number), rule) for number in planes]
        for parts in zip(*strips, strict=True):
            first = parts[0][0]
            kept = [np.ascontiguousarray(strip[: rows - first, :cols]) for _, strip in parts]
            image[first : first + len(kept[0])] = self.tone.image(kept)
        return image

    def _shift(self, number: int) -> int:
        return self.step if number else 0

    def _strips(self, number: int, level: int, rule: Rule) -> Iterator[tuple[int, Float]]:
        """Yield the first row and the values of each strip of a fused plane, 8-bit levels."""
        grid = self.grids[number]
        plane = self.bands[number][-1] / self.weights[-1]
        for finer in range(grid.levels - 1, level, -1):
            grown = np.empty(grid.shapes[finer], np.float32)
            for first, strip in self._refined(number, finer, plane, rule):
                grown[first : first + len(strip)] = strip
            plane = grown
        if level < grid.levels:
            yield from self._refined(number, level, plane, rule)
            return
        for first in range(0, len(plane), STRIP_ROWS):
            yield first, plane[first : first + STRIP_ROWS].copy()

    def _refined(self, number: int, level: int, coarser: Float, rule: Rule) -> Iterator[tuple[int, Float]]:
        """Yield strips of a level from the whole next coarser one; of luma, inside what the frames showed."""
        rows = self.grids[number].shapes[level][0]
        for first in range(0, rows, STRIP_ROWS):
            last = min(first + STRIP_ROWS, rows)
            strip = grown_rows(coarser, first, last)
            strip += self._mean(number, level, first, last)
            if number == 0:
                self._clamp(strip, level, first, rule.tolerance(level))
            yield first, strip

    def _mean(self, number: int, level: int, first: int, last: int) -> Float:
        """Weighted mean of a band, rows `first` to `last`, columns in order."""
        weights = self.weights[level + self._shift(number)]
        mean: Float = self.bands[number][level][first:last] / weights[first:last]
        return interleaved(mean)

    def _clamp(self, plane: Float, level: int, first: int, tolerance: float) -> None:
        """Bring rows of luma from `first` on inside what the frames showed, in place.

        In the finest level a pixel may be as dark or bright as its own block ever was, or the blocks next to
        it on the side of the block it lies on; in the others, as the same pixel.
        """
        low, high = self.low[level], self.high[level]
        unit = np.float32(self.range_unit)
        if level > 0:
            last = first + len(plane)
            np.maximum(plane, low[first:last] * unit - np.float32(tolerance), out=plane)
            np.minimum(plane, high[first:last] * unit + np.float32(tolerance), out=plane)
            return
        rows = slice(first // 2, (first + len(plane)) // 2)
        lowest, highest = _with_neighbours(low, rows), _with_neighbours(high, rows)
        for row in (0, 1):
            for column in (0, 1):
                part = plane[row::2, column::2]
                least, most = (_four(each, row, column) for each in (lowest, highest))
                np.maximum(part, np.minimum.reduce(least) * unit - np.float32(tolerance), out=part)
                np.minimum(part, np.maximum.reduce(most) * unit + np.float32(tolerance), out=part)


def _with_neighbours(blocks: npt.NDArray[Any], rows: slice) -> npt.NDArray[Any]:
    """Rows of blocks with one more on every side; beyond the edge, the edge again."""
    wanted = np.clip(np.arange(rows.start - 1, rows.stop + 1), 0, len(blocks) - 1)
    return np.pad(blocks[wanted], [(0, 0), (1, 1)], "edge")


def _four(blocks: npt.NDArray[Any], row: int, column: int) -> list[npt.NDArray[Any]]:
    """Return each block with its three neighbours towards one of its corners."""
    rows, cols = blocks.shape[0] - 2, blocks.shape[1] - 2
    return [blocks[y : y + rows, x : x + cols] for y in (row, row + 1) for x in (column, column + 1)]


def interleaved(plane: Float) -> Float:
    """Columns in order, from rows of even columns before odd ones."""
    half = plane.shape[1] // 2
    ordered = np.empty_like(plane)
    ordered[:, ::2], ordered[:, 1::2] = plane[:, :half], plane[:, half:]
    return ordered


def grown_rows(coarse: Float, first: int, last: int) -> Float:
    """Rows `first` (even) to `last` of ``pyrUp(coarse)``, without making the rest."""
    top, bottom = max(0, first // 2 - 2), min(len(coarse), -(-last // 2) + 2)
    grown = cv2.pyrUp(np.ascontiguousarray(coarse[top:bottom]))
    strip: Float = np.ascontiguousarray(grown[first - 2 * top : last - 2 * top], np.float32)
    return strip
