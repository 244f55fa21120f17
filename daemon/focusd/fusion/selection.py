"""Which frame answered most at each pixel, and what its neighbours in z answered there.

A three-point fit of depth needs the best response, the one just below it and the one just above; telling a
clear peak from two needs the best of all others. So nothing grows with the number of frames but a short table
of positions.

The update rule, for a frame ``r`` above all others (below likewise, with ``lowest`` and the sides swapped)::

    was = origin is the highest frame;  won = r > best        (>= for a frame below all others)
    second = max(second, min(r, best))   where not was
    second = max(second, below)          where was and won
    above  = r where was;  above = UNKNOWN where won;  below = highest where won
    best   = max(best, r);  origin = frame where won;  highest = r
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from focusd.errors import FusionError
from focusd.fusion.arrays import Float, Index, Mask

Response = npt.NDArray[np.uint16]
"""uint16, (rows, cols); sharpness, unit 1/512 of an 8-bit level, 0 to 65534."""
UNITS_PER_LEVEL = 512
"""Steps of a `Response` in one 8-bit level."""
UNKNOWN = 65535
"""Stands for a neighbour that has not been seen."""
# Frame numbers are int16.
MAX_FRAMES = 32767
# Rows are updated in strips of this many pixels, which bounds what they need beside the planes.
_STRIP_PX = 131072
_PLANES = ("best", "below", "above", "second", "origin", "lowest", "highest")


def fixed(levels: Float) -> Response:
    """Give responses in 8-bit levels (float32, 0 or more) as `Response`: rounded, at most 127.99 levels."""
    scaled = levels * np.float32(UNITS_PER_LEVEL) + np.float32(0.5)
    np.minimum(scaled, np.float32(UNKNOWN - 1), out=scaled)
    return scaled.astype(np.uint16)


@dataclass(slots=True)
class Selection:
    """Best response per pixel over frames at known positions; 14 bytes a pixel.

    A frame beyond all others, above or below, extends the run and becomes a neighbour of the frame it
    follows. A frame that arrives late, inside the run, can still win pixels, but these have no neighbours
    and so no sub-step depth.

    `second` is exact for frames in z order and for merged runs that do not overlap. A late frame beside the
    best one in z (a stop shot again) is left out of it, so that it is not taken for another peak.
    """

    best: Response
    below: Response
    """Response of the frame next lower in z to the best one, or `UNKNOWN`."""
    above: Response
    second: Response
    """Best response of all frames but the best one and its two neighbours; 0 without any."""
    origin: Index
    """Number of the best frame, by arrival."""
    lowest: Response
    """Response of the frame lowest in z; `highest` likewise."""
    highest: Response
    positions_um: list[float]
    """By frame number."""
    below_um: list[float] = field(default_factory=lambda: [np.nan])
    """Position of each frame's lower neighbour, NaN without one."""
    above_um: list[float] = field(default_factory=lambda: [np.nan])
    lowest_frame: int = 0
    highest_frame: int = 0

    @classmethod
    def of(cls, response: Response | Float, position_um: float) -> Selection:
        """Start from a single frame.

        Parameters
        ----------
        response : ndarray
            (rows, cols); `Response`, or float32 in 8-bit levels, 0 or more. Copied.
        position_um : float
            Where the frame was taken.
        """
        response = _in_units(response)
        unknown = np.full_like(response, UNKNOWN)
        return cls(
            best=response.copy(),
            below=unknown,
            above=unknown.copy(),
            second=np.zeros_like(response),
            origin=np.zeros(response.shape, np.int16),
            lowest=response.copy(),
            highest=response.copy(),
            positions_um=[position_um],
        )

    def add(self, response: Response | Float, position_um: float) -> Mask:
        """Take in one more frame.

        Equal responses go to the lower position, so that the order of frames does not matter.

        Parameters
        ----------
        response : ndarray
            As for `of`; not kept.
        position_um : float
            Where the frame was taken.

        Returns
        -------
        ndarray
            uint8 mask of the pixels this frame won.

        Raises
        ------
        FusionError
            After 32767 frames.
        """
        frame = len(self.positions_um)
        if frame >= MAX_FRAMES:
            raise FusionError(
                f"frame {frame + 1}: a fusion holds {MAX_FRAMES} frames at most; start a new one",
                frames=frame,
            )
        response = _in_units(response)
        highest_um = self.positions_um[self.highest_frame]
        lowest_um = self.positions_um[self.lowest_frame]
        self.positions_um.append(position_um)
        self.below_um.append(np.nan)
        self.above_um.append(np.nan)
        if position_um > highest_um:
            extension = _Extension(self, frame, self.highest_frame, upward=True)
            self.above_um[self.highest_frame], self.below_um[frame] = position_um, highest_um
            self.highest_frame = frame
        elif position_um < lowest_um:
            extension = _Extension(self, frame, self.lowest_frame, upward=False)
            self.below_um[self.lowest_frame], self.above_um[frame] = position_um, lowest_um
            self.lowest_frame = frame
        else:
            return self._add_late(response, frame)
        return extension.run(response)

    def _add_late(self, response: Response, frame: int) -> Mask:
        """Take in a frame inside the run; rare, so plain."""
        z = np.array(self.positions_um)
        others = z[:frame]
        # The stops on either side of the late one, and any at its own place: no rivals to it.
        near = (others >= others[others <= z[frame]].max()) & (others <= others[others >= z[frame]].min())
        at_stop = others == z[frame]
        if at_stop.any():
            left, right = others[others < z[frame]], others[others > z[frame]]
            near |= (others >= left.max(initial=z[frame])) & (others <= z[frame])
            near |= (others <= right.min(initial=z[frame])) & (others >= z[frame])
        won = np.empty(response.shape, np.uint8)
        for rows in _strips(response.shape):
            new, best, origin = response[rows], self.best[rows], self.origin[rows]
            wins = (new > best) | ((new == best) & (z[origin] > z[frame]))
            rival = np.where(near[origin], 0, np.minimum(new, best)).astype(np.uint16)
            np.maximum(self.second[rows], rival, out=self.second[rows])
            np.copyto(best, new, where=wins)
            for side in (self.below, self.above):
                np.copyto(side[rows], UNKNOWN, where=wins)
            np.copyto(origin, frame, where=wins)
            won[rows] = wins.view(np.uint8) * np.uint8(255)
        return won

    def merge(self, other: Selection) -> Mask:
        """Take in another run of frames; neighbours are joined where one run lies wholly above the other.

        Returns
        -------
        ndarray
            uint8 mask of the pixels `other` won.
        """
        count = len(self.positions_um)
        if count + len(other.positions_um) > MAX_FRAMES:
            raise FusionError(
                f"{count} and {len(other.positions_um)} frames to merge: a fusion holds {MAX_FRAMES} at most"
            )
        other = other.copy()
        other.origin += np.int16(count)
        other.lowest_frame += count
        other.highest_frame += count
        self.positions_um += other.positions_um
        self.below_um += other.below_um
        self.above_um += other.above_um
        z = self.positions_um
        if z[self.highest_frame] < z[other.lowest_frame]:
            _join(self, other, z, self.below_um, self.above_um)
        elif z[other.highest_frame] < z[self.lowest_frame]:
            _join(other, self, z, self.below_um, self.above_um)
        places = _Places.of(self)
        won = np.empty(self.best.shape, np.uint8)
        for rows in _strips(self.best.shape):
            mine, theirs = self._cut(rows), other._cut(rows)
            position = places.here
            wins = (theirs.best > mine.best) | (
                (theirs.best == mine.best) & (position[theirs.origin] < position[mine.origin])
            )
            rival = np.where(wins, places.rivals(mine, theirs.origin), places.rivals(theirs, mine.origin))
            for name in ("best", "below", "above", "second", "origin"):
                np.copyto(getattr(mine, name), getattr(theirs, name), where=wins)
            np.maximum(mine.second, rival, out=mine.second)
            won[rows] = wins.view(np.uint8) * np.uint8(255)
        if z[other.lowest_frame] < z[self.lowest_frame]:
            self.lowest, self.lowest_frame = other.lowest, other.lowest_frame
        if z[other.highest_frame] > z[self.highest_frame]:
            self.highest, self.highest_frame = other.highest, other.highest_frame
        return won

    def copy(self) -> Selection:
        """Return a copy that shares nothing."""
        return replace(
            self,
            **{name: getattr(self, name).copy() for name in _PLANES},
            positions_um=list(self.positions_um),
            below_um=list(self.below_um),
            above_um=list(self.above_um),
        )

    def planes(self) -> dict[str, npt.NDArray[Any]]:
        """Every array by its name."""
        return {name: getattr(self, name) for name in _PLANES}

    def facts(self) -> dict[str, Any]:
        """Return what it holds beside its planes, as JSON has it."""
        return {
            "positions_um": list(self.positions_um),
            "below_um": [None if isnan(z) else z for z in self.below_um],
            "above_um": [None if isnan(z) else z for z in self.above_um],
            "lowest_frame": self.lowest_frame,
            "highest_frame": self.highest_frame,
        }

    @classmethod
    def of_state(cls, facts: Mapping[str, Any], planes: Mapping[str, npt.NDArray[Any]]) -> Selection:
        """Inverse of `facts` and `planes`, whose arrays it takes over.

        Raises
        ------
        KeyError
            One is missing.
        ValueError
            They do not fit together.
        """
        taken = {name: planes[name] for name in _PLANES}
        shapes = {plane.shape for plane in taken.values()}
        kinds = {name: np.dtype(np.int16 if name == "origin" else np.uint16) for name in _PLANES}
        if len(shapes) != 1 or any(taken[name].dtype != kind for name, kind in kinds.items()):
            raise ValueError(f"the selection's planes differ: {sorted(map(str, shapes))}")
        positions_um = [float(z) for z in facts["positions_um"]]
        sides = [
            [np.nan if z is None else float(z) for z in facts[name]] for name in ("below_um", "above_um")
        ]
        ends = int(facts["lowest_frame"]), int(facts["highest_frame"])
        count = len(positions_um)
        origin = taken["origin"]
        inside = (
            int(origin.min()) >= 0 and int(origin.max()) < count and all(0 <= end < count for end in ends)
        )
        if not inside or any(len(side) != count for side in sides):
            raise ValueError(f"the selection has {count} positions, and numbers beyond them")
        return cls(
            **taken,
            positions_um=positions_um,
            below_um=sides[0],
            above_um=sides[1],
            lowest_frame=ends[0],
            highest_frame=ends[1],
        )

    @property
    def nbytes(self) -> int:
        """Memory held by the planes, bytes; the same for any number of frames."""
        return sum(int(getattr(self, name).nbytes) for name in _PLANES)

    def _cut(self, rows: slice) -> Selection:
        """View of some rows."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _PLANES})


class _Extension:
    """One frame beyond all others: the update rule at the head of this file, strip by strip.

    OpenCV's masked copies are thirty times as fast as NumPy's.
    """

    def __init__(self, selection: Selection, frame: int, end: int, *, upward: bool) -> None:
        self._end = end
        self._frame = frame
        self._planes = selection
        self._compare = cv2.CMP_GT if upward else cv2.CMP_GE
        # Names as for a frame above; below, the two sides change places.
        self._inner, self._outer = (
            (selection.below, selection.above) if upward else (selection.above, selection.below)
        )
        self._last = selection.highest if upward else selection.lowest
        inner_um = selection.below_um if upward else selection.above_um
        self._has_inner = not np.isnan(inner_um[end])

    def run(self, response: Response) -> Mask:
        """Update all planes; returns the mask of the pixels won."""
        won = np.empty(response.shape, np.uint8)
        strips = list(_strips(response.shape))
        shape = response[strips[0]].shape
        rival, mask = np.empty(shape, np.uint16), np.empty(shape, np.uint8)
        unknown, number = np.full(shape, UNKNOWN, np.uint16), np.full(shape, self._frame, np.int16)
        for rows in strips:
            count = response[rows].shape[0]
            self._update(rows, response[rows], won[rows], rival[:count], mask[:count])
            cv2.copyTo(unknown[:count], won[rows], self._outer[rows])
            cv2.copyTo(number[:count], won[rows], self._planes.origin[rows])
        return won

    def _update(self, rows: slice, new: Response, won: Mask, rival: Response, mask: Mask) -> None:
        best, second, origin = self._planes.best[rows], self._planes.second[rows], self._planes.origin[rows]
        cv2.compare(new, best, self._compare, dst=won)
        # Not cv2.compare: it takes a single pixel for a scalar.
        np.not_equal(origin, np.int16(self._end), out=mask.view(np.bool_))
        cv2.min(new, best, dst=rival)
        cv2.max(rival, second, dst=rival)
        cv2.copyTo(rival, mask, second)
        mask ^= 1
        cv2.copyTo(new, mask, self._outer[rows])
        if self._has_inner:
            cv2.bitwise_and(mask, won, dst=mask)
            cv2.max(second, self._inner[rows], dst=rival)
            cv2.copyTo(rival, mask, second)
        cv2.copyTo(self._last[rows], won, self._inner[rows])
        cv2.max(best, new, dst=best)
        np.copyto(self._last[rows], new)


@dataclass(frozen=True, slots=True)
class _Places:
    """Positions of frames and of their neighbours, um, by frame number; the frame's own for a missing one."""

    here: npt.NDArray[np.float64]
    below: npt.NDArray[np.float64]
    above: npt.NDArray[np.float64]

    @classmethod
    def of(cls, selection: Selection) -> _Places:
        here, below, above = (
            np.array(table) for table in (selection.positions_um, selection.below_um, selection.above_um)
        )
        return cls(here, np.where(np.isnan(below), here, below), np.where(np.isnan(above), here, above))

    def rivals(self, loser: Selection, winner: Index) -> Response:
        """Best response of `loser`'s frames that are no neighbours of the `winner` frames, 0 without any."""
        low, high = self.below[winner], self.above[winner]

        def outside(response: Response, at_um: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
            counts = (response != UNKNOWN) & ((at_um < low) | (at_um > high))
            return np.where(counts, response, np.uint16(0))

        found = outside(loser.best, self.here[loser.origin])
        found = np.maximum(found, outside(loser.below, self.below[loser.origin]))
        found = np.maximum(found, outside(loser.above, self.above[loser.origin]))
        return cast("Response", np.maximum(found, loser.second))


def _in_units(response: Response | Float) -> Response:
    return response if response.dtype == np.uint16 else fixed(response)  # type: ignore[arg-type, return-value]


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    rows = max(1, _STRIP_PX // shape[1])
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def _join(lower: Selection, upper: Selection, z: list[float], below: list[float], above: list[float]) -> None:
    """Make the highest frame of one run and the lowest of the next each other's neighbours."""
    np.copyto(lower.above, upper.lowest, where=lower.origin == lower.highest_frame)
    np.copyto(upper.below, lower.highest, where=upper.origin == upper.lowest_frame)
    above[lower.highest_frame] = z[upper.lowest_frame]
    below[upper.lowest_frame] = z[lower.highest_frame]
