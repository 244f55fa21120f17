"""How much brighter one frame's blocks are than another's, and whether a lamp did it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from focusd.register.sketch import Levels, Mask, Sketch

# Blocks below this level tell little: noise, and the black that a camera adds.
_DARK = 10.0
_FEWEST = 64
# Standard deviation of normal values, in multiples of their median distance from the middle.
_SIGMA = 1.4826
# Spread that rounding leaves even where nothing changes, and how far a lamp stands out of the spread.
_LEAST_SPREAD = 5e-4
_STANDS_OUT = 2.0
_SECTORS = 4
_ROUNDS = 5
# Tukey's biweight is blind beyond this many standard deviations.
_REACH = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Logarithms of a frame's block means, in the reference's coordinates.

    Parameters
    ----------
    levels : ndarray
        float32, (rows, cols, channels).
    usable : ndarray
        bool, (rows, cols): lit, not clipped, and seen by the frame.
    """

    levels: Levels
    usable: Mask

    @classmethod
    def of(cls, sketch: Sketch, matrix: npt.NDArray[np.float64] | None = None) -> Blocks:
        """Take them from a sketch whose frame lies as `matrix`, (2, 3), says."""
        means = sketch.levels
        usable = ~sketch.clipped & (means.min(axis=2) >= np.float32(_DARK))
        if matrix is not None and not np.array_equal(matrix, np.eye(2, 3)):
            side = sketch.block_px
            linear, shift = matrix[:, :2], matrix[:, 2]
            # From the middles of blocks to those of pixels, there and back.
            inner = (linear.sum(axis=1) * (side / 2 - 0.5) + shift + 0.5) / side - 0.5
            turn = np.column_stack([linear, inner])
            size = means.shape[1::-1]
            whole = cv2.warpAffine(
                usable.astype(np.float32), turn, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            )
            moved = cv2.warpAffine(
                means,
                turn,
                size,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            means = np.asarray(moved, np.float32).reshape(sketch.levels.shape)
            usable = whole > np.float32(0.99)
        return cls(np.log(np.maximum(means, np.float32(1))), usable)

    def lifted(self, by: npt.NDArray[np.float64]) -> Blocks:
        """Return them brighter by these logarithms, one a channel."""
        return Blocks(self.levels + by.astype(np.float32), self.usable)

    def with_share(self, other: Blocks, share: float) -> Blocks:
        """Return a mean of which `other` has `share`; where only one is usable, that one."""
        mixed = self.levels + np.float32(share) * (other.levels - self.levels)
        only_other = (other.usable & ~self.usable)[..., None]
        only_self = (self.usable & ~other.usable)[..., None]
        return Blocks(
            np.where(only_other, other.levels, np.where(only_self, self.levels, mixed)),
            self.usable | other.usable,
        )


def stands_out(before: Blocks, after: Blocks) -> bool:
    """Whether brightness, or colour, changed over the whole picture more than its parts differ in it."""
    both = before.usable & after.usable
    if both.sum() < _FEWEST:
        return False
    change = (after.levels - before.levels)[both]
    # Colours in focus change together: what they do beside green is tighter than what green does.
    if change.shape[1] == 3:
        change = np.column_stack([change[:, 1], change[:, 0] - change[:, 1], change[:, 2] - change[:, 1]])
    middle = np.median(change, axis=0)
    spread = _SIGMA * np.median(np.abs(change - middle), axis=0)
    return bool((np.abs(middle) > _STANDS_OUT * np.maximum(spread, _LEAST_SPREAD)).any())


def change_between(before: Blocks, after: Blocks) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Logarithm of how much brighter `after` is, by channel, and its standard deviation.

    The middle is Tukey's biweight mean; its doubt is how the parts of the picture differ in theirs. Both are
    0 and infinite where too few blocks can be compared.
    """
    both = before.usable & after.usable
    channels = before.levels.shape[2]
    found, doubt = np.zeros(channels), np.full(channels, np.inf)
    if both.sum() < _FEWEST:
        return found, doubt
    rows, cols = np.nonzero(both)
    sector = (rows * _SECTORS // both.shape[0]) * _SECTORS + cols * _SECTORS // both.shape[1]
    for channel in range(channels):
        change = (after.levels[..., channel] - before.levels[..., channel])[both].astype(np.float64)
        middle = float(np.median(change))
        spread = max(_SIGMA * float(np.median(np.abs(change - middle))), _LEAST_SPREAD)
        for _ in range(_ROUNDS):
            weight = np.clip(1 - ((change - middle) / (_REACH * spread)) ** 2, 0, None) ** 2
            middle = float((weight * change).sum() / weight.sum())
        heft = np.bincount(sector, weight, _SECTORS**2)
        apart = np.bincount(sector, weight * (change - middle), _SECTORS**2)
        parts = np.count_nonzero(heft)
        found[channel] = middle
        if parts > 1:
            doubt[channel] = np.sqrt((apart**2).sum() * parts / (parts - 1)) / heft.sum()
    return found, doubt
