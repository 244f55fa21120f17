"""Round shadows of dust, found in what stays on the sensor while the picture moves over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Map = npt.NDArray[np.float32]

# Light lost that a spot must have, and what it must have of the spread around it.
_LEAST_LOSS = 0.06
_STANDS_OUT = 3.0
_AROUND_PX = 61
SLOW_PX = 25
"""Changes slower than this, in samples of the map, are not looked at."""
# Radii that are tried, in samples of the map; beyond the rim the surround is looked at.
_RADII = tuple(np.arange(0.75, 4.01, 0.25))
_RIM = (1.25, 2.75)
_REACH = int(_RADII[-1] + _RIM[1]) + 2
_SECTORS = 8
# A shadow is darker than its surround on all sides by this share of its depth, a line is not.
_ROUND = 0.25
_EXPLAINED = 0.4
_ROUNDS = 3
_MOST = 500
# Bright spots there may be beside dark ones.
_FALSE_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Spot:
    """A shadow on the sensor.

    Parameters
    ----------
    x, y : float
        Of its middle, px of the full frame, (0, 0) in the middle of the first.
    radius_px : float
        Where half of the loss is left.
    loss : float
        Share of the light it takes, 0 to 1.
    """

    x: float
    y: float
    radius_px: float
    loss: float


def find_spots(
    stayed: Map, moved: Map, matrices: Sequence[npt.NDArray[np.float64]], rounds: int = _ROUNDS
) -> list[Spot]:
    """Find round shadows that stay on the sensor while the picture moves over it.

    The mean of the frames as they came has the shadows sharp and the picture smeared along its way, the mean
    of the aligned frames the other way round. The picture is taken from the second, smeared, and taken off
    the first; then the shadows found are smeared and taken off the second, and so on.

    Parameters
    ----------
    stayed, moved : ndarray
        float32, (rows, cols): the two means, of logarithms of light at half the frame's size, freed of all
        slow changes.
    matrices : sequence of ndarray
        (2, 3) each, for half the size: carry the reference's coordinates to those of frames along the way.
    rounds : int
        1 or more.

    Returns
    -------
    list of Spot
        Coordinates and radii are those of the full frame.
    """
    spots: list[Spot] = []
    left = stayed
    for _ in range(rounds):
        left = _left(stayed, moved, matrices, spots)
        spots = _believed(_spots_in(left), _spots_in(-left))
    return spots


def _believed(dark: list[tuple[float, Spot]], bright: list[tuple[float, Spot]]) -> list[Spot]:
    """Take the clearest of the dark spots, as far down as bright ones are few beside them.

    Dust takes light and gives none: what looks like a bright spot is the picture, and so are as many dark
    ones.
    """
    marks = np.sort([mark for mark, _ in dark])[::-1]
    against = np.sort([mark for mark, _ in bright])
    # At each mark: dark ones at or above it, bright ones at or above it.
    false = len(against) - np.searchsorted(against, marks, side="left")
    good = np.nonzero(false + 1 <= _FALSE_SHARE * np.arange(1, len(marks) + 1))[0]
    if not good.size:
        return []
    least = marks[good[-1]]
    return [spot for mark, spot in dark if mark >= least]


def shadow(spots: Sequence[Spot], shape: tuple[int, int], scale: float = 1.0) -> Map:
    """Draw the logarithm of the light that spots leave, on a map `scale` times the frame's size."""
    made = np.zeros(shape, np.float32)
    for spot in spots:
        col, row = (spot.x + 0.5) * scale - 0.5, (spot.y + 0.5) * scale - 0.5
        radius = spot.radius_px * scale
        top, left = max(0, int(row - radius - 2)), max(0, int(col - radius - 2))
        part = made[top : int(row + radius) + 3, left : int(col + radius) + 3]
        y, x = np.mgrid[: part.shape[0], : part.shape[1]]
        part += np.float32(np.log(1 - spot.loss)) * np.clip(
            radius + 0.5 - np.hypot(y + top - row, x + left - col), 0, 1
        ).astype(np.float32)
    return made


def divide(plane: npt.NDArray[Any], spot: Spot, scale: float, grey: int) -> None:
    """Divide a plane of `scale` times the frame's size by the light that a spot leaves, about `grey`."""
    col, row = (spot.x + 0.5) * scale - 0.5, (spot.y + 0.5) * scale - 0.5
    reach = math.ceil(spot.radius_px * scale) + 2
    top, left = max(0, int(row) - reach), max(0, int(col) - reach)
    part = plane[top : int(row) + reach + 1, left : int(col) + reach + 1]
    if not part.size:
        return
    here = Spot(col - left, row - top, spot.radius_px * scale, spot.loss)
    gain = np.exp(-shadow([here], (part.shape[0], part.shape[1])))
    if part.ndim == 3:
        gain = gain[..., None]
    most = np.iinfo(part.dtype).max
    part[...] = np.clip(np.rint((part - np.float32(grey)) * gain + np.float32(grey)), 0, most)


def _left(stayed: Map, moved: Map, matrices: Sequence[npt.NDArray[np.float64]], spots: Sequence[Spot]) -> Map:
    """Give what stays, if these spots do."""
    share, size = np.float32(1 / len(matrices)), stayed.shape[::-1]
    picture = moved
    if spots:
        known = shadow(spots, (stayed.shape[0], stayed.shape[1]), 0.5)
        known -= cv2.blur(known, (SLOW_PX, SLOW_PX))
        inverse = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        picture = moved - share * sum(_warped(known, each, size, inverse) for each in matrices)
    return np.asarray(
        stayed - share * sum(_warped(picture, each, size, cv2.INTER_LINEAR) for each in matrices), np.float32
    )


def _spots_in(left: Map) -> list[tuple[float, Spot]]:
    """Find dark spots, each with a mark of how clear it is."""
    fine = cv2.GaussianBlur(left, (0, 0), 0.8)
    depth = np.asarray(cv2.blur(left, (11, 11)) - fine, np.float32)
    # The spread of what is left of the picture; the spots themselves, being few, hardly count.
    limited = np.minimum(np.abs(depth), np.float32(0.1))
    # Running sums may end a little below 0.
    spread = np.sqrt(np.maximum(cv2.blur(limited * limited, (_AROUND_PX, _AROUND_PX)), 0))
    limit = np.maximum(np.float32(_LEAST_LOSS), np.float32(_STANDS_OUT) * spread)
    peak = (depth == cv2.dilate(depth, np.ones((7, 7), np.uint8))) & (depth > limit)
    rows, cols = np.nonzero(peak)
    order = np.argsort(-depth[rows, cols], kind="stable")[:_MOST]
    wide = cv2.copyMakeBorder(left, _REACH, _REACH, _REACH, _REACH, cv2.BORDER_REFLECT_101)
    spots = []
    for row, col in zip(rows[order], cols[order], strict=True):
        spot = _fitted(np.asarray(wide, np.float32), int(row), int(col))
        if spot is not None:
            spots.append((spot.loss * spot.radius_px / float(spread[row, col]), spot))
    return spots


def _fitted(wide: Map, row: int, col: int) -> Spot | None:
    """Fit a disc in a map that `_REACH` was added to on each side; None where there is no round shadow."""
    part = wide[row : row + 2 * _REACH + 1, col : col + 2 * _REACH + 1].astype(np.float64)
    both = np.stack([part.ravel(), part.ravel() ** 2], axis=1)
    best = max((*_fit(both, 0.0, 0.0, radius), 0.0, 0.0, radius) for radius in _RADII)
    # Middle and radius by turns, each to where the disc explains most.
    for step in (1.0, 0.5, 0.25, 0.25):
        _, _, down, right, wide_px = best
        for near in ((-step, 0.0), (step, 0.0), (0.0, -step), (0.0, step)):
            at = down + near[0], right + near[1]
            for radius in (wide_px - 0.25, wide_px, wide_px + 0.25):
                best = max(best, (*_fit(both, *at, radius), *at, radius))
    explained, depth, down, right, radius = best
    if not _RADII[0] <= radius <= _RADII[-1] or max(abs(down), abs(right)) > _RIM[1]:
        return None
    y, x = np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1].astype(np.float64)
    away = np.hypot(y - down, x - right)
    loss = 1 - float(np.exp(-depth))
    if explained < _EXPLAINED or loss < _LEAST_LOSS:
        return None
    inside = float(part[away <= radius].mean())
    sector = ((np.arctan2(y - down, x - right) + np.pi) / (2 * np.pi) * _SECTORS).astype(int) % _SECTORS
    rim = (away > radius + _RIM[0]) & (away <= radius + _RIM[1])
    sides = [float(part[rim & (sector == each)].mean()) - inside for each in range(_SECTORS)]
    if min(sides) < _ROUND * depth:
        return None
    return Spot(2 * (col + right) + 0.5, 2 * (row + down) + 0.5, 2 * radius, loss)


def _fit(both: npt.NDArray[np.float64], down: float, right: float, radius: float) -> tuple[float, float]:
    """Share of the variance that a dark disc explains, and how dark it is.

    Parameters
    ----------
    both : ndarray
        float64, (samples, 2): the part of the map, and its squares.
    down, right, radius : float
        The disc, from the part's middle.
    """
    patterns, covered, used = _disc(down, right, radius)
    (along, _), (total, squares) = (patterns @ both).tolist()
    spread = squares - total * total / used
    if along >= 0 or spread <= 0 or covered <= 0:
        return 0.0, 0.0
    return along * along / (covered * spread), -along / covered


# All of them lie on a grid of a quarter of a sample, so that few are made for many spots.
@lru_cache(maxsize=4096)
def _disc(down: float, right: float, radius: float) -> tuple[npt.NDArray[np.float64], float, int]:
    """Draw a disc with its surround: free of its mean, and 1 where either is; its power; its samples."""
    y, x = np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1]
    away = np.hypot(y - down, x - right).ravel()
    used = away <= radius + _RIM[1]
    disc = np.clip(radius + 0.5 - away, 0, 1)
    disc = np.where(used, disc - disc[used].mean(), 0)
    return np.stack([disc, used]), float(disc @ disc), int(used.sum())


def _warped(plane: Map, matrix: npt.NDArray[np.float64], size: tuple[int, int], flags: int) -> Map:
    made = cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(made, np.float32)
