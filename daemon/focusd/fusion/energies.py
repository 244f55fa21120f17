"""How much each pixel of a frame counts, measured with OpenCV calls: the plain kernel's middle part."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from focusd.fusion.arrays import Float
from focusd.fusion.pyramid import Grid
from focusd.fusion.rule import DETAIL_UNIT, SHARP_LEVELS, Rule, Window
from focusd.fusion.strips import Fixed, Room, strips

# Units of a band's magnitude in one 8-bit level, and the most that is told apart: 128 levels, so that filters
# may take it for signed numbers, where they are three times as fast.
MAGNITUDE_UNIT, MOST = 256, 32767
_SCALE = DETAIL_UNIT / MAGNITUDE_UNIT
_FULL = 65535
_BOX_PX = 3


class Energies:
    """The energies of one frame, and what they are found with; the planes live from frame to frame.

    Parameters
    ----------
    grid : Grid
        Of luma.
    rule : Rule
        How frames are weighted.
    room : Room
        Buffers, shared with the rest of the kernel.

    Attributes
    ----------
    planes : list of ndarray
        uint16, by level: magnitudes in units of `MAGNITUDE_UNIT` until `weigh`, then energies in units of
        `DETAIL_UNIT`.
    sharp : list of ndarray
        uint16, by level, units of `DETAIL_UNIT`; neighbours of one size share one plane. After `weigh` the
        first is the frame's sharpness.
    """

    def __init__(self, grid: Grid, rule: Rule, room: Room) -> None:
        self._rule, self._room = rule, room
        shapes = [grid.shape(rule.grid_level(level)) for level in range(grid.levels)]
        self.planes: list[Fixed] = [np.empty(shape, np.uint16) for shape in shapes]
        self.sharp: list[Fixed] = []
        for shape in shapes[:SHARP_LEVELS]:
            same = self.sharp and self.sharp[-1].shape == shape
            self.sharp.append(self.sharp[-1] if same else np.empty(shape, np.uint16))
        # From level 2 on. The finest level's evidence is its sharpness, the next one's is handed on at once.
        self._evidence: list[Fixed] = [np.empty(shape, np.uint16) for shape in shapes[2:]]

    @property
    def nbytes(self) -> int:
        """Memory held, bytes, without the buffers."""
        each = {id(plane): plane.nbytes for plane in [*self.planes, *self.sharp, *self._evidence]}
        return sum(each.values())

    def weigh(self, gain: float) -> None:
        """Turn the magnitudes of luma's bands into energies, `gain` times what they are."""
        rule, energies = self._rule, self.planes
        for level, energy in enumerate(energies):
            if level > 2:
                _halve(self._evidence[level - 3], self._evidence[level - 2])
            self._concentrate(level)
            if level > 0:
                finer = self.on_grid(energies[level - 1], energy.shape)
                cv2.addWeighted(energy, 1, finer, rule.from_finer, 0, dst=energy)
        for planes, share in ((energies, rule.from_coarser), (self.sharp, 1.0)):
            for finer, coarser in reversed(list(pairwise(planes))):
                if finer is not coarser:
                    self._carry_down(coarser, share, finer)
        if gain != 1.0:
            for plane in (*energies, *self.sharp[:1]):
                cv2.addWeighted(plane, gain, plane, 0, 0, dst=plane)

    def on_grid(self, finer: Fixed, shape: Sequence[int]) -> Fixed:
        """Blur a plane to the next grid unless it has this shape already; valid until the next call."""
        if finer.shape == tuple(shape):
            return finer
        shrunk: Fixed = self._room.of("whole", np.uint16, *shape)
        cv2.pyrDown(finer, dst=shrunk)
        return shrunk

    def _carry_down(self, coarser: Fixed, share: float, finer: Fixed) -> None:
        """Add a share of the coarser level's plane."""
        if finer.shape == coarser.shape:
            cv2.addWeighted(finer, 1, coarser, share, 0, dst=finer)
            return
        for first, last in strips(finer.shape, np.uint16):
            at = self._room.lines(np.uint16, (last - first) // 2, coarser.shape[1])
            grown = self._room.grown(at.fill(coarser, first // 2, last // 2))
            cv2.addWeighted(finer[first:last], 1, grown, share, 0, dst=finer[first:last])

    def _concentrate(self, level: int) -> None:
        """Turn a level's magnitudes into energies, in place: narrow windows where in focus, else wide."""
        plane, window, noise = self.planes[level], self._rule.windows[level], self._rule.noise
        # Everything in units of energy; evidence in those of the finest level's noise.
        full = (self._rule.evidence + self._rule.evidence_span) * noise[0] * DETAIL_UNIT
        span = self._rule.evidence_span * noise[0] * DETAIL_UNIT
        rows, cols = plane.shape
        kept = plane[:0]
        for first, last in strips(plane.shape, np.float32):
            top, bottom = first - len(kept), min(rows, last + window.reach)
            lines = self._room.of("lines", np.uint16, bottom - top, cols)
            lines[: len(kept)], lines[len(kept) :] = kept, plane[first:bottom]
            inside = slice(first - top, last - top)
            narrow, wide = self._windows(window, lines, inside)
            own = self._boxed(lines)[inside] if window.boxed else narrow
            kept = lines[max(0, last - window.reach - top) : last - top].copy()
            share = self._share(level, own, first, last)
            if level < len(self.sharp):
                self._show(level, own, first, last)
            # The wide window's share, as span times 0 to 1.
            np.subtract(np.float32(full), share, out=share)
            cv2.threshold(share, span, 0, cv2.THRESH_TRUNC, dst=share)
            cv2.threshold(share, 0, 0, cv2.THRESH_TOZERO, dst=share)
            cv2.addWeighted(wide, _SCALE / span, narrow, -1 / span, 0.5 / span, dst=wide)
            cv2.accumulateProduct(share, wide, narrow)
            np.copyto(plane[first:last], narrow, casting="unsafe")

    def _windows(self, window: Window, lines: Fixed, inside: slice) -> tuple[Float, Float]:
        """Means of magnitudes close by, in units of energy and half of one more, and further around."""
        narrow = self._room.of("narrow", np.float32, *lines.shape)
        wide = self._room.of("wide", np.float32, *lines.shape)
        middle, beside, away = window.near
        taps = np.array((away, beside, middle, beside, away) if away else (beside, middle, beside))
        # The half rounds what is cut off later.
        cv2.sepFilter2D(lines.view(np.int16), cv2.CV_32F, taps, taps * _SCALE, dst=narrow, delta=0.5)
        wide_px = 2 * window.reach + 1
        cv2.boxFilter(lines, cv2.CV_32F, (wide_px, wide_px), dst=wide)
        return narrow[inside], wide[inside]

    def _boxed(self, lines: Fixed) -> Float:
        """Mean of magnitudes of 3x3 pixels, in units of energy and half of one more."""
        box: Float = self._room.of("box", np.float32, *lines.shape)
        cv2.boxFilter(lines, cv2.CV_32F, (_BOX_PX, _BOX_PX), dst=box)
        cv2.addWeighted(box, _SCALE, box, 0, 0.5, dst=box)
        return box

    def _share(self, level: int, own: Float, first: int, last: int) -> Float:
        """How far detail stands out of the noise, in units of energy and the finest level's noise."""
        share: Float = self._room.of("share", np.float32, *own.shape)
        if level == 0:
            np.copyto(share, own)
        elif level == 1:
            np.copyto(share, self._finest(own.shape, first, last))
            self._hand_up(own, first, last, share)
        else:
            np.copyto(share, self._evidence[level - 2][first:last])
        return share

    def _finest(self, shape: Sequence[int], first: int, last: int) -> Fixed:
        """Bring the finest level's evidence, which is its sharpness, to rows of the next level's grid."""
        finest = self.sharp[0]
        if finest.shape == self.planes[1].shape:
            return finest[first:last]
        seen: Fixed = self._room.of("seen", np.uint16, *shape)
        _halve(finest[2 * first : 2 * last], seen)
        return seen

    def _hand_up(self, own: Float, first: int, last: int, share: Float) -> None:
        """Take the stronger evidence of two levels, and bring it to the grid of the third."""
        rule = self._rule
        ratio = rule.noise[0] / rule.noise[1]
        scaled = self._room.of("scaled", np.float32, *own.shape)
        np.multiply(own, np.float32(ratio), out=scaled)
        cv2.max(share, scaled, dst=share)
        if not self._evidence:
            return
        seen = self._room.of("seen", np.uint16, *own.shape)
        cv2.threshold(share, _FULL, 0, cv2.THRESH_TRUNC, dst=share)
        np.copyto(seen, share, casting="unsafe")
        _halve(seen, self._evidence[0][first // 2 : last // 2])

    def _show(self, level: int, own: Float, first: int, last: int) -> None:
        """Put a level's rows where sharpness is added up."""
        kept = self.sharp[level][first:last]
        if level > 0 and self.sharp[level] is self.sharp[level - 1]:
            more = self._room.of("seen", np.uint16, *own.shape)
            np.copyto(more, own, casting="unsafe")
            cv2.add(kept, more, dst=kept)
        else:
            np.copyto(kept, own, casting="unsafe")


def _halve(finer: Fixed, coarser: Fixed) -> None:
    """Mean of 2x2 samples."""
    cv2.resize(finer, coarser.shape[::-1], dst=coarser, interpolation=cv2.INTER_AREA)
