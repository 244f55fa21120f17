"""The pyramid rule's inner loops as OpenCV calls, for machines where nothing could be compiled.

Works on strips of rows in buffers made once. Planes between the passes are uint16 in fixed point, as in
``kernel.c``, and sums are kept in its order, the even columns of a row before the odd ones: so interpolating
takes a few sums of whole rows, a third of the time of `cv2.pyrUp`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.fusion.arrays import Float
from focusd.fusion.energies import MAGNITUDE_UNIT, MOST, Energies
from focusd.fusion.rule import DETAIL_UNIT, Rule
from focusd.fusion.strips import Fixed, Level, Room, strips
from focusd.fusion.sums import Sums
from focusd.fusion.tone import Source

# Rows a strip borrows from its neighbours, for two steps of the 5-tap binomial.
_BLUR_HALO = 4
_BASE_POWER = 8


class PlainKernel:
    """Adds frames to sums. Every plane it works in is allocated once.

    Parameters
    ----------
    sums : Sums
        Of one stack; changed by `add`.
    rule : Rule
        How frames are weighted.
    """

    name = "plain"

    def __init__(self, sums: Sums, rule: Rule) -> None:
        self._sums, self._rule = sums, rule
        self._blurred: list[list[Fixed]] = []
        self._energies: Energies | None = None
        self._room = Room()

    @property
    def nbytes(self) -> int:
        """Working memory, bytes."""
        blurred = sum(plane.nbytes for each in self._blurred for plane in each)
        return blurred + (self._energies.nbytes if self._energies else 0) + self._room.nbytes

    def release(self) -> None:
        """Give the working memory back; the next `add` takes it again."""
        self._blurred, self._energies = [], None
        self._room.clear()

    def add(self, sources: list[Source], gain: float = 1.0) -> Fixed:
        """Add one frame, given as its planes; its energies count `gain` times.

        Returns
        -------
        ndarray
            uint16: the frame's sharpness on the half grid, 1/512 of an 8-bit level; until the next call.
        """
        sums = self._sums
        if self._energies is None:
            self._blurred = [[np.empty(shape, np.uint16) for shape in each.shapes[1:]] for each in sums.grids]
            self._energies = Energies(sums.grids[0], self._rule, self._room)
        energies = self._energies
        shown = [self._levels(number, source) for number, source in enumerate(sources)]
        for number, levels in enumerate(shown):
            self._split(number, levels, energies)
        energies.weigh(gain)
        for level, energy in enumerate(energies.planes):
            self._gather(level, energy, shown)
        self._add_base([levels[-1] for levels in shown], energies)
        return energies.sharp[0] if energies.sharp else np.zeros(sums.grids[0].shapes[0], np.uint16)

    def _levels(self, number: int, source: Source) -> list[Level]:
        grid, scale = self._sums.grids[number], 1.0 / self._sums.tone.fixed
        own = [Level(Source(plane, (scale,), 0.0), plane.shape) for plane in self._blurred[number]]
        return [Level(source, grid.shapes[0]), *own]

    def _fixed(self, plane: Level, first: int, last: int) -> Fixed:
        """Rows of a plane in fixed point."""
        part, source = plane.samples(first, last), plane.source
        fixed = self._sums.tone.fixed
        if part.ndim == 2:
            factor = round(source.weights[0] * fixed)
            if factor == 1:
                return part
            rows = self._room.of("fixed", np.uint16, *part.shape)
            np.multiply(part, np.uint16(factor), out=rows)
            return rows
        rows = self._room.of("fixed", np.uint16, *part.shape[:2])
        np.copyto(rows, self._mixed(part, source, fixed, 0.5), casting="unsafe")
        return rows

    def _mixed(self, part: npt.NDArray[Any], source: Source, unit: float, more: float) -> Float:
        """Mix a plane from BGR samples, in `unit` to a level."""
        samples = self._room.of("samples", np.float32, *part.shape)
        np.copyto(samples, part)
        plane: Float = self._room.of("plane", np.float32, *part.shape[:2])
        turn = np.array([[*source.weights, source.centre]]) * unit
        turn[0, 3] += more
        cv2.transform(samples, turn.astype(np.float32), dst=plane)
        return plane

    # The first pass: blurred levels, magnitudes of luma's bands, and the range of luma.

    def _split(self, number: int, levels: list[Level], energies: Energies) -> None:
        for level, plane in enumerate(levels[:-1]):
            coarse = self._blurred[number][level]
            for first, last in strips(plane.shape, np.uint16):
                top, bottom = max(0, first - _BLUR_HALO), min(plane.shape[0], last + _BLUR_HALO)
                rows = self._fixed(plane, top, bottom)
                at = self._room.lines(
                    np.uint16, (last - first) // 2, coarse.shape[1], (first - top) // 2, (bottom - last) // 2
                )
                cv2.pyrDown(rows, dst=at.inner)
                blurred = coarse[first // 2 : last // 2]
                np.copyto(blurred, at.here[:, 1:-1])
                if number == 0:
                    at.frame(first == top, last == bottom)
                    self._widen(level + 1, first // 2, blurred, blurred, 1 / self._sums.tone.fixed)
                    target = energies.planes[level]
                    shift = int(target.shape[0] < plane.shape[0])
                    rows = rows[first - top : last - top]
                    self._measure(rows, self._room.grown(at), target[first >> shift : last >> shift])

    def _measure(self, rows: Fixed, coarser: Fixed, out: Fixed) -> None:
        """Magnitude of a strip of a band: what rows have beyond the coarser level's, which are used up."""
        if out.shape == rows.shape:
            cv2.absdiff(rows, coarser, dst=out)
        else:
            cv2.absdiff(rows, coarser, dst=coarser)
            cv2.resize(coarser, out.shape[::-1], dst=out, interpolation=cv2.INTER_AREA)
        if self._sums.tone.fixed != MAGNITUDE_UNIT:
            cv2.addWeighted(out, MAGNITUDE_UNIT / self._sums.tone.fixed, out, 0, 0, dst=out)
        cv2.threshold(out, MOST, 0, cv2.THRESH_TRUNC, dst=out)

    def _widen(
        self, level: int, first: int, least: npt.NDArray[Any], most: npt.NDArray[Any], unit: float
    ) -> None:
        """Widen the range of luma by rows from `first` on, of values in `unit` levels."""
        low = self._sums.low[level][first : first + len(least)]
        high = self._sums.high[level][first : first + len(most)]
        scale = unit / self._sums.range_unit
        smallest = self._ranged(least, scale)
        cv2.min(low, smallest, dst=low)
        largest = smallest if most is least else self._ranged(most, scale)
        cv2.max(high, largest, dst=high)

    def _ranged(self, values: npt.NDArray[Any], scale: float) -> npt.NDArray[Any]:
        """Values in units of the range, rounded."""
        dtype = self._sums.tone.dtype.type
        if scale == 1.0 and values.dtype == dtype:
            return values
        rounded = self._room.of("range", dtype, *values.shape)
        if dtype is np.uint8:
            return cv2.convertScaleAbs(values, dst=rounded, alpha=scale)
        return cv2.addWeighted(values, scale, values, 0, 0, dst=rounded, dtype=cv2.CV_16U)

    def _widen_blocks(self, first: int, sides: npt.NDArray[Any], unit: float) -> None:
        """Widen the range of blocks of 2x2 by rows of luma from `first` on, even and odd columns apart."""
        _, rows, half = sides.shape
        pairs = self._room.of("pairs", sides.dtype.type, rows, half)
        least, most = self._room.of("blocks", sides.dtype.type, 2, rows // 2, half)
        for choose, blocks in ((cv2.min, least), (cv2.max, most)):
            choose(sides[0], sides[1], dst=pairs)
            choose(pairs[::2], pairs[1::2], dst=blocks)
        self._widen(0, first // 2, least, most, unit)

    # The second pass: bands times weights.

    def _gather(self, level: int, energy: Fixed, shown: list[list[Level]]) -> None:
        sums = self._sums
        for first, last in strips(sums.grids[0].shapes[level], np.float32):
            weights = self._weights(level, energy, first, last)
            cv2.accumulate(weights, sums.weights[level][first:last])
            for number, levels in enumerate(shown):
                own = level - (sums.step if number else 0)
                if own >= 0:
                    band = self._band(number, own, levels[own], first, last)
                    cv2.accumulateProduct(weights, band, sums.bands[number][own][first:last])

    def _weights(self, level: int, energy: Fixed, first: int, last: int) -> Float:
        """Rows of a level's weights, columns apart."""
        rule = self._rule
        cols = self._sums.grids[0].shapes[level][1]
        half = cols // 2
        weights: Float = self._room.of("whole", np.float32, last - first, cols)
        if rule.windows[level].halved:
            # Three quarters of the nearer and a quarter of the farther sample, times 4/3.
            unit = DETAIL_UNIT * 16 / 9
            first, last = first // 2, last // 2
            at = self._room.lines(np.float32, last - first, half).fill(energy, first, last, 1)
            cv2.scaleAdd(at.above, 1 / 3, at.here, dst=at.even)
            cv2.scaleAdd(at.below, 1 / 3, at.here, dst=at.odd)
            cv2.scaleAdd(at.before, 1 / 3, at.middle, dst=weights[:, :half])
            cv2.scaleAdd(at.after, 1 / 3, at.middle, dst=weights[:, half:])
            most = energy[max(0, first - 1) : last + 1].max()
        else:
            unit = float(DETAIL_UNIT)
            even, odd = self._room.apart(energy[first:last])
            np.copyto(weights[:, :half], even)
            np.copyto(weights[:, half:], odd)
            most = energy[first:last].max()
        if most > rule.cap * DETAIL_UNIT:
            cv2.threshold(weights, rule.cap * unit, 0, cv2.THRESH_TRUNC, dst=weights)
        cv2.multiply(weights, weights, dst=weights, scale=1 / (unit * unit * rule.square_unit))
        np.add(weights, np.float32(rule.floors[level] ** 2 / rule.square_unit), out=weights)
        cv2.pow(weights, rule.half_powers[level], dst=weights)
        return weights

    def _band(self, number: int, level: int, plane: Level, first: int, last: int) -> Float:
        """Rows of a band in levels, columns apart; the finest luma widens the range on its way."""
        coarse = self._blurred[number][level]
        half = coarse.shape[1]
        part, unit = plane.samples(first, last), plane.source.weights[0]
        if part.ndim == 3:
            part, unit = self._mixed(part, plane.source, 1.0, 0.0), 1.0
        sides = self._room.apart(part)
        if number == 0 and level == 0:
            self._widen_blocks(first, sides, unit)
        at = self._room.lines(np.float32, (last - first) // 2, half).fill(coarse, first // 2, last // 2)
        band: Float = self._room.of("halves", np.float32, last - first, 2 * half)
        # Eight times the rows between the coarser level's, then columns, as `Room.grown` has them.
        cv2.add(at.above, at.below, dst=at.even)
        cv2.scaleAdd(at.here, 6, at.even, dst=at.even)
        cv2.addWeighted(at.here, 4, at.below, 4, 0, dst=at.odd)
        # What is taken away, such that adding the samples as a share of a mean brings it to levels.
        share = -1 / (64 * self._sums.tone.fixed * (1.0 if unit == 1.0 else 1.0 - unit))
        left, right = band[:, :half], band[:, half:]
        cv2.add(at.before, at.after, dst=left)
        cv2.addWeighted(left, share, at.middle, 6 * share, 0, dst=left)
        cv2.addWeighted(at.middle, 4 * share, at.after, 4 * share, 0, dst=right)
        for samples, side in zip(sides, (left, right), strict=True):
            if unit == 1.0:
                cv2.accumulate(samples, side)
            else:
                cv2.accumulateWeighted(samples, side, unit)
        return band

    def _add_base(self, bases: list[Level], energies: Energies) -> None:
        sums, rule = self._sums, self._rule
        weights: Float = np.ones(sums.weights[-1].shape, np.float32)
        if energies.planes:
            energy = energies.on_grid(energies.planes[-1], weights.shape) / np.float32(DETAIL_UNIT)
            np.power((energy + rule.base_offset) * rule.base_unit, _BASE_POWER, out=weights)
        sums.weights[-1][...] += weights
        for number, base in enumerate(bases):
            fixed = self._fixed(base, 0, base.shape[0])
            sums.bands[number][-1][...] += weights * (fixed / np.float32(sums.tone.fixed))
