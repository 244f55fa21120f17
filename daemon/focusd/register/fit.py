"""The map that lays one outline on another: least squares over tiles, from coarse to fine.

At each step every tile says how it would have to move (the optical flow of Lucas and Kanade, its slopes taken
from both pictures so that neither is favoured), and one model is fitted to all of them. A tile counts by how
sharp its detail is over how much the two differ there: what is in focus in both decides. Tiles that pull
elsewhere than the rest (dust on the sensor, things that moved, parallax) lose their say.

References
----------
.. [1] Baker S., Matthews I., Lucas-Kanade 20 years on: a unifying framework, Int. J. Computer Vision 56(3),
   2004, 221-255. doi:10.1023/B:VISI.0000011205.11775.fd
.. [2] Malis E., Improving vision-based control using efficient second-order minimization techniques, IEEE
   ICRA 2004, 1843-1848. doi:10.1109/ROBOT.2004.1308092
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from focusd.register.outline import Float, Outline, enlarged, shrunk
from focusd.register.tiles import Numbers, Tiles
from focusd.register.transform import Matrix, Transform, TransformInvalid, corners_of

Model = Literal["translation", "similarity", "affine"]

_TILE_PX = 32
_SMALLEST_TILE_PX = 12
_MOST_STEPS = 12
# Done when no corner moves further, px of the outline.
_STILL_PX = 0.03
_STILL_COARSE_PX = 0.05
# Nor does a step matter that is small against how sure the place is.
_STILL_SIGMAS = 0.3
# A finer level that leads further away than this from a coarser one has gone astray.
_ASTRAY_SIGMAS = 6.0
_ASTRAY_PX = 3.0
# Frames of strangers reach 0.03 to 0.13; neighbours of real stacks have 0.3 to 1.
_LEAST_LIKENESS = 0.2
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


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Where a frame lies on another.

    Parameters
    ----------
    transform : Transform
        Of the frames' own pixels.
    sigma_px : float
        Standard error of the corner that is least sure, px of the frame.
    residual_px : float
        Rms of what tiles still pull, weighted as in the fit, px of the frame.
    likeness : float
        Correlation of the outlines, -1 to 1.
    """

    transform: Transform
    sigma_px: float
    residual_px: float
    likeness: float


def fit(reference: Outline, frame: Outline, start: Transform, model: Model) -> Fit:
    """Lay `frame` on `reference`.

    Raises
    ------
    NoFit
        Too little in common, no convergence, or detail that does not tell the model's parameters apart.
    """
    best: Fit | None = None
    transform, trouble = start, "there is no detail in them"
    for level in range(len(reference.levels) - 1, -1, -1):
        try:
            found = _at_level(reference, frame, level, transform, model)
        except (NoFit, TransformInvalid) as error:
            trouble = str(error)
            continue
        # What is blurred is laid by its coarse detail: the fine has nothing to say, or wanders off.
        if best is None or (
            found.sigma_px <= best.sigma_px
            and found.transform.away_px(transform, reference.shape)
            <= _ASTRAY_SIGMAS * best.sigma_px + _ASTRAY_PX * reference.pixel_px(level)
        ):
            best, transform = found, found.transform
    if best is None:
        raise NoFit(trouble)
    return best


def _at_level(reference: Outline, frame: Outline, level: int, start: Transform, model: Model) -> Fit:
    pixel_px = reference.pixel_px(level)
    step = _Step(reference.levels[level], frame.levels[level], model)
    matrix = shrunk(start, pixel_px)
    for _ in range(_MOST_STEPS):
        matrix, moved_px = step.from_(matrix)
        if moved_px < max(_STILL_PX if level == 0 else _STILL_COARSE_PX, _STILL_SIGMAS * step.sigma_px):
            break
    else:
        raise NoFit(f"the fit still moves by {moved_px * pixel_px:.2g} px after {_MOST_STEPS} steps")
    if step.likeness < _LEAST_LIKENESS:
        raise NoFit(
            f"its detail is like its neighbour's by {step.likeness:.2f} at best: at least "
            f"{_LEAST_LIKENESS} is believed"
        )
    return Fit(
        enlarged(matrix, pixel_px), step.sigma_px * pixel_px, step.residual_px * pixel_px, step.likeness
    )


class _Step:
    """Steps of the fit at one level."""

    def __init__(self, reference: Float, picture: Float, model: Model) -> None:
        self._reference, self._picture = reference, picture
        self._model = model
        self._side_px = int(min(_TILE_PX, max(_SMALLEST_TILE_PX, min(reference.shape) // 8)))
        self._middle = (np.array(reference.shape[::-1]) - 1) / 2
        # Parameters are all of the size of pixels at the border.
        self._unit = float(max(reference.shape)) / 2
        self.sigma_px = self.residual_px = self.likeness = 0.0

    def from_(self, matrix: Matrix) -> tuple[Matrix, float]:
        """Make one step; return where it led and how far the corner moved that moved most, px."""
        start = matrix.copy()
        start[:, 2] = np.rint(start[:, 2] * _PLACES) / _PLACES
        tiles = Tiles.of(self._reference, self._picture, start, self._side_px)
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
        return after, _apart(after, matrix, self._reference.shape)

    def _solve(self, tiles: Tiles, basis: Numbers) -> Numbers:
        """Fit the model to how the tiles pull; keep how sure it is."""
        sharp = np.maximum(np.trace(tiles.slopes, axis1=1, axis2=2), 0)
        base = tiles.shared / (tiles.error + _FLOOR * tiles.error.mean() + _TINY)
        own = _inverses(tiles.slopes, _FLOOR * sharp.mean() / 2 + _TINY)
        flow = np.einsum("nij,njk->nik", tiles.slopes, basis)
        curves = np.einsum("nij,nik->njk", basis, flow)
        pulls = np.einsum("nij,ni->nj", basis, tiles.pull)
        weight = base
        for _ in range(_REWEIGHTS):
            normal = np.einsum("n,njk->jk", weight, curves)
            if np.linalg.cond(normal) > _WORST_CONDITION:
                raise NoFit(f"the detail does not tell the parameters of a {self._model} apart")
            inverse = np.linalg.inv(normal)
            move = -inverse @ (weight @ pulls)
            left = tiles.pull + flow @ move
            force = np.einsum("ni,nij,nj,n->n", left, own, left, base)
            weight = base / (1 + force / (_PULL_RATIO * np.median(force) + _TINY))
        scores = np.einsum("n,nij,ni->nj", weight, basis, left)
        spread = scores.T @ scores * (len(base) / (len(base) - len(move)))
        covariance = inverse @ spread @ inverse
        corners = self._basis(corners_of(self._reference.shape))
        self.sigma_px = float(np.sqrt(np.einsum("nij,jk,nik->n", corners, covariance, corners).max()))
        flows = np.einsum("nij,nj->ni", own, left)
        say = weight * sharp
        self.residual_px = float(np.sqrt((say @ np.square(flows).sum(axis=1)) / (say.sum() + _TINY)))
        return np.asarray(move)

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


def _apart(matrix: Matrix, other: Matrix, shape: tuple[int, ...]) -> float:
    """Largest distance between where the two put a corner, px."""
    corners = corners_of(shape)
    apart = corners @ (matrix - other)[:, :2].T + (matrix - other)[:, 2]
    return float(np.linalg.norm(apart, axis=1).max())


def _inverses(matrices: Numbers, floor: float) -> Numbers:
    """Inverses of symmetric matrices, (n, 2, 2), no eigenvalue of which is taken below `floor`."""
    values, vectors = np.linalg.eigh(matrices)
    return np.asarray(np.einsum("nik,nk,njk->nij", vectors, 1 / np.maximum(values, floor), vectors))
