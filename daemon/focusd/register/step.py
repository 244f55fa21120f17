"""One step of a fit: how all tiles together would have a picture move."""

from __future__ import annotations

from typing import Literal

import numpy as np

from focusd.register.outline import Float
from focusd.register.tiles import Ground, Numbers, Tiles
from focusd.register.transform import Matrix, corners_of

Model = Literal["translation", "similarity", "affine"]

_TILE_PX = 32
_SMALLEST_TILE_PX = 12
# A model needs this many tiles for each of its parameters.
_TILES_PER_PARAMETER = 3
# Part of the mean error and slope that every tile is given, so that a plain one does not weigh without end.
_FLOOR = 0.02
# Cauchy's weights: a tile that pulls this much harder than the median has half its say.
_PULL_RATIO = 6.0
_REWEIGHTS = 3
_WORST_CONDITION = 1e6
_TINY = 1e-12
# OpenCV 4 takes places between pixels in 32nds: started from one, its rounding is no error.
_PLACES = 32


class NoFit(Exception):
    """The two cannot be laid on each other; the message says why."""


class Step:
    """Steps of the fit at one level.

    Parameters
    ----------
    reference, picture : ndarray
        float32, (rows, cols): that level of two outlines.
    model : {"translation", "similarity", "affine"}
        What is fitted.
    """

    def __init__(self, reference: Float, picture: Float, model: Model) -> None:
        self._picture, self._shape = picture, reference.shape
        self._model = model
        side_px = int(min(_TILE_PX, max(_SMALLEST_TILE_PX, min(reference.shape) // 8)))
        self._ground = Ground(reference, side_px)
        self._middle = (np.array(reference.shape[::-1]) - 1) / 2
        # Parameters are all of the size of pixels at the border.
        self._unit = float(max(reference.shape)) / 2
        self._corners = self._basis(corners_of(reference.shape))
        self.sigma_px = self.residual_px = self.likeness = 0.0

    def from_(self, matrix: Matrix) -> tuple[Matrix, float]:
        """Make one step; return where it led and how far the corner moved that moved most, px."""
        start = matrix.copy()
        start[:, 2] = np.rint(start[:, 2] * _PLACES) / _PLACES
        tiles = self._ground.against(self._picture, start)
        basis = self._basis(tiles.at)
        if len(tiles.at) < _TILES_PER_PARAMETER * basis.shape[2]:
            raise NoFit(f"the two share {len(tiles.at)} tiles of detail: too few for a {self._model}")
        move = self._solve(tiles, basis)
        self.likeness = tiles.likeness
        change = np.eye(2, 3)
        if self._model == "similarity":
            change[:, :2] += np.array([[move[2], -move[3]], [move[3], move[2]]]) / self._unit
        elif self._model == "affine":
            change[:, :2] += move[2:].reshape(2, 2) / self._unit
        change[:, 2] += move[:2] + (np.eye(2) - change[:, :2]) @ self._middle
        after = np.column_stack([start[:, :2] @ change[:, :2], start[:, :2] @ change[:, 2] + start[:, 2]])
        return after, _apart(after, matrix, self._shape)

    def _solve(self, tiles: Tiles, basis: Numbers) -> Numbers:
        """Fit the model to how the tiles pull; keep how sure it is."""
        count, size = len(basis), basis.shape[2]
        sharp = np.maximum(tiles.slopes[:, 0, 0] + tiles.slopes[:, 1, 1], 0)
        base = tiles.shared / (tiles.error + _FLOOR * tiles.error.mean() + _TINY)
        own = _inverses(tiles.slopes, _FLOOR * sharp.mean() / 2 + _TINY)
        # Sums over x and y written out: two terms are not worth a call that finds out what is to be summed.
        across, down = basis[:, 0], basis[:, 1]
        xx, xy, yy = (tiles.slopes[:, i, j, None] for i, j in ((0, 0), (0, 1), (1, 1)))
        flow_x, flow_y = xx * across + xy * down, xy * across + yy * down
        curves = across[:, :, None] * flow_x[:, None] + down[:, :, None] * flow_y[:, None]
        curves = curves.reshape(count, size * size)
        pull_x, pull_y = tiles.pull.T
        pulls = across * pull_x[:, None] + down * pull_y[:, None]
        weight = base
        for again in range(_REWEIGHTS):
            normal = (weight @ curves).reshape(size, size)
            if not again:
                self._require_told_apart(normal)
            inverse = np.linalg.inv(normal)
            move = -inverse @ (weight @ pulls)
            left_x, left_y = pull_x + flow_x @ move, pull_y + flow_y @ move
            away_x, away_y = own[0] * left_x + own[1] * left_y, own[1] * left_x + own[2] * left_y
            force = (left_x * away_x + left_y * away_y) * base
            weight = base / (1 + force / (_PULL_RATIO * _median(force) + _TINY))
        scores = (across * left_x[:, None] + down * left_y[:, None]) * weight[:, None]
        spread = scores.T @ scores * (count / (count - size))
        covariance = inverse @ spread @ inverse
        self.sigma_px = float(np.sqrt(((self._corners @ covariance) * self._corners).sum(axis=(1, 2)).max()))
        say = weight * sharp
        self.residual_px = float(np.sqrt((say @ (away_x**2 + away_y**2)) / (say.sum() + _TINY)))
        return np.asarray(move)

    def _require_told_apart(self, normal: Numbers) -> None:
        values = np.linalg.eigvalsh(normal)
        if not values[0] * _WORST_CONDITION > values[-1]:
            raise NoFit(f"the detail does not tell the parameters of a {self._model} apart")

    def _basis(self, at: Numbers) -> Numbers:
        """How points move with each parameter, (n, 2, parameters)."""
        x, y = ((at - self._middle) / self._unit).T
        one, none = np.ones_like(x), np.zeros_like(x)
        across, down = [one, none], [none, one]
        if self._model == "similarity":
            across, down = [*across, x, -y], [*down, y, x]
        elif self._model == "affine":
            across, down = [*across, x, y, none, none], [*down, none, none, x, y]
        return np.stack([np.column_stack(across), np.column_stack(down)], axis=1)


def _median(values: Numbers) -> float:
    """Return the upper of the two in the middle; NumPy's own looks for NaN and takes five times as long."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])


def _apart(matrix: Matrix, other: Matrix, shape: tuple[int, ...]) -> float:
    """Largest distance between where the two put a corner, px."""
    corners = corners_of(shape)
    apart = corners @ (matrix - other)[:, :2].T + (matrix - other)[:, 2]
    return float(np.hypot(apart[:, 0], apart[:, 1]).max())


def _inverses(matrices: Numbers, floor: float) -> tuple[Numbers, Numbers, Numbers]:
    """Inverses' xx, xy and yy of symmetric matrices, (n, 2, 2); no eigenvalue is taken below `floor`."""
    middle = (matrices[:, 0, 0] + matrices[:, 1, 1]) / 2
    apart, mixed = (matrices[:, 0, 0] - matrices[:, 1, 1]) / 2, matrices[:, 0, 1]
    reach = np.hypot(apart, mixed)
    small, large = 1 / np.maximum(middle + reach, floor), 1 / np.maximum(middle - reach, floor)
    # Along the one eigenvector `small`, along the other `large`.
    half = (small - large) / 2 / np.maximum(reach, _TINY)
    mean = (small + large) / 2
    return mean + half * apart, half * mixed, mean - half * apart
