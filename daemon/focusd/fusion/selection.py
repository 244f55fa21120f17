"""Which frame answered most at each pixel, and what its neighbours in z answered there.

Three numbers a pixel (the best response, the one just below it and the one just above) are all that a
three-point fit of depth needs, so nothing grows with the number of frames but a short table of positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import cv2
import numpy as np

from focusd.errors import FusionError
from focusd.fusion.arrays import Float, Index, Mask

UNKNOWN = -1.0
"""Stands for a neighbour that has not been seen; responses are 0 or more."""
# Frame numbers are int16.
MAX_FRAMES = 32767


@dataclass(slots=True)
class Selection:
    """Best response per pixel over frames at known positions.

    A frame beyond all others, above or below, extends the run and becomes a neighbour of the frame it
    follows. A frame that arrives late, inside the run, can still win pixels, but these have no neighbours
    and so no sub-step depth.
    """

    best: Float
    below: Float
    """Response of the frame next lower in z to the best one, or `UNKNOWN`."""
    above: Float
    total: Float
    """Sum of all responses."""
    origin: Index
    """Number of the best frame, by arrival."""
    lowest: Float
    """Response of the frame lowest in z; `highest` likewise."""
    highest: Float
    positions_um: list[float]
    """By frame number."""
    below_um: list[float] = field(default_factory=lambda: [np.nan])
    """Position of each frame's lower neighbour, NaN without one."""
    above_um: list[float] = field(default_factory=lambda: [np.nan])
    lowest_frame: int = 0
    highest_frame: int = 0

    @classmethod
    def of(cls, response: Float, position_um: float) -> Selection:
        """Start from a single frame.

        Parameters
        ----------
        response : ndarray
            float32, (rows, cols), 0 or more; copied.
        position_um : float
            Where the frame was taken.
        """
        unknown = np.full_like(response, UNKNOWN)
        return cls(
            best=response.copy(),
            below=unknown,
            above=unknown.copy(),
            total=response.copy(),
            origin=np.zeros(response.shape, np.int16),
            lowest=response.copy(),
            highest=response.copy(),
            positions_um=[position_um],
        )

    def add(self, response: Float, position_um: float) -> Mask:
        """Take in one more frame.

        Equal responses go to the lower position, so that the order of frames does not matter.

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
        highest_um = self.positions_um[self.highest_frame]
        lowest_um = self.positions_um[self.lowest_frame]
        self.positions_um.append(position_um)
        self.below_um.append(np.nan)
        self.above_um.append(np.nan)
        self.total += response
        if position_um > highest_um:
            cv2.copyTo(response, self._won_by(self.highest_frame), self.above)
            won = _compare(response, self.best, cv2.CMP_GT)
            cv2.copyTo(self.highest, won, self.below)
            self.above[won != 0] = UNKNOWN
            self.above_um[self.highest_frame] = position_um
            self.below_um[frame] = highest_um
            np.copyto(self.highest, response)
            self.highest_frame = frame
        elif position_um < lowest_um:
            cv2.copyTo(response, self._won_by(self.lowest_frame), self.below)
            won = _compare(response, self.best, cv2.CMP_GE)
            cv2.copyTo(self.lowest, won, self.above)
            self.below[won != 0] = UNKNOWN
            self.below_um[self.lowest_frame] = position_um
            self.above_um[frame] = lowest_um
            np.copyto(self.lowest, response)
            self.lowest_frame = frame
        else:
            won = _compare(response, self.best, cv2.CMP_GT)
            tied = (response == self.best) & (np.array(self.positions_um)[self.origin] > position_um)
            won[tied] = 255
            self.below[won != 0] = UNKNOWN
            self.above[won != 0] = UNKNOWN
        cv2.copyTo(response, won, self.best)
        self.origin[won != 0] = frame
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
        position = np.array(z)
        won = _compare(other.best, self.best, cv2.CMP_GT)
        tied = (other.best == self.best) & (position[other.origin] < position[self.origin])
        won[tied] = 255
        for name in ("best", "below", "above", "origin"):
            cv2.copyTo(getattr(other, name), won, getattr(self, name))
        self.total += other.total
        if z[other.lowest_frame] < z[self.lowest_frame]:
            self.lowest, self.lowest_frame = other.lowest, other.lowest_frame
        if z[other.highest_frame] > z[self.highest_frame]:
            self.highest, self.highest_frame = other.highest, other.highest_frame
        return won

    def copy(self) -> Selection:
        """Return a copy that shares nothing."""
        return Selection(
            self.best.copy(),
            self.below.copy(),
            self.above.copy(),
            self.total.copy(),
            self.origin.copy(),
            self.lowest.copy(),
            self.highest.copy(),
            list(self.positions_um),
            list(self.below_um),
            list(self.above_um),
            self.lowest_frame,
            self.highest_frame,
        )

    @property
    def nbytes(self) -> int:
        """Memory held by the planes, bytes; the same for any number of frames."""
        planes = (self.best, self.below, self.above, self.total, self.lowest, self.highest)
        return sum(plane.nbytes for plane in planes) + self.origin.nbytes

    def _won_by(self, frame: int) -> Mask:
        mask: Mask = np.equal(self.origin, np.int16(frame)).view(np.uint8)
        return mask


def _compare(one: Float, other: Float, how: int) -> Mask:
    """255 where `one` stands to `other` as asked."""
    return cast("Mask", cv2.compare(one, other, how))


def _join(lower: Selection, upper: Selection, z: list[float], below: list[float], above: list[float]) -> None:
    """Make the highest frame of one run and the lowest of the next each other's neighbours."""
    cv2.copyTo(upper.lowest, lower._won_by(lower.highest_frame), lower.above)
    cv2.copyTo(lower.highest, upper._won_by(upper.lowest_frame), upper.below)
    above[lower.highest_frame] = z[upper.lowest_frame]
    below[upper.lowest_frame] = z[lower.highest_frame]
