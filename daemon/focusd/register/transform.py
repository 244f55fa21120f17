"""Where a frame's pixels lie: a plane map from the first frame's coordinates to its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from focusd.errors import FusionError

Matrix = npt.NDArray[np.float64]

# No rig turns, stretches or shifts a frame further than this and means it.
_LARGEST_STRETCH = 2.0
_LARGEST_SHIFT_PX = 1e5


class TransformInvalid(FusionError, ValueError):
    """A map that no frame can have."""

    code = "transform_invalid"


@dataclass(frozen=True, slots=True, eq=False)
class Transform:
    """A map of the reference's pixel coordinates to a frame's.

    Coordinates are (x, y), x along axis 1, with (0, 0) in the middle of the first pixel.

    Parameters
    ----------
    matrix : ndarray
        float64, (2, 3): ``frame = matrix[:, :2] @ reference + matrix[:, 2]``. Kept read-only.

    Raises
    ------
    TransformInvalid
        Another shape, a figure that is not finite, a stretch beyond 2 or below 1/2, a mirror image, or a
        shift beyond 100 000 px.
    """

    matrix: Matrix

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, np.float64)
        if matrix.shape != (2, 3) or not np.isfinite(matrix).all():
            raise TransformInvalid(
                f"a transform is {matrix.tolist()}: it must be 2 rows of 3 finite numbers; estimate it again"
            )
        stretch = np.linalg.svd(matrix[:, :2], compute_uv=False)
        mirrored = np.linalg.det(matrix[:, :2]) <= 0
        if mirrored or stretch[0] > _LARGEST_STRETCH or stretch[1] < 1 / _LARGEST_STRETCH:
            raise TransformInvalid(
                f"a transform stretches by {stretch[1]:.3g} to {stretch[0]:.3g}"
                f"{' and mirrors' if mirrored else ''}: at most {_LARGEST_STRETCH:g} and at least "
                f"{1 / _LARGEST_STRETCH:g} is believed; estimate it again"
            )
        if np.abs(matrix[:, 2]).max() > _LARGEST_SHIFT_PX:
            raise TransformInvalid(
                f"a transform shifts by {matrix[:, 2].tolist()} px: at most {_LARGEST_SHIFT_PX:g} px is "
                "believed; estimate it again"
            )
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def identity(cls) -> Transform:
        """Return the map of the reference itself."""
        return cls(np.eye(2, 3))

    @classmethod
    def similarity(
        cls,
        shape: tuple[int, ...],
        *,
        scale: float = 1.0,
        turn_rad: float = 0.0,
        shift_px: tuple[float, float] = (0.0, 0.0),
    ) -> Transform:
        """Scale and turn about the middle of a picture, then shift.

        Parameters
        ----------
        shape : tuple of int
            (rows, cols) of the picture.
        scale : float
            Above 1, the frame shows things larger than the reference.
        turn_rad : float
            From x towards y.
        shift_px : tuple of float
            Along (x, y).
        """
        cosine, sine = scale * math.cos(turn_rad), scale * math.sin(turn_rad)
        return cls.about(shape, np.array([[cosine, -sine], [sine, cosine]]), np.array(shift_px))

    @classmethod
    def about(cls, shape: tuple[int, ...], linear: Matrix, shift_px: Matrix) -> Transform:
        """Apply `linear`, (2, 2), about the middle of a picture of `shape`, then shift by (x, y)."""
        middle = middle_of(shape)
        return cls(np.column_stack([linear, middle - linear @ middle + shift_px]))

    @classmethod
    def of_json(cls, rows: object) -> Transform:
        """Read what `as_json` made.

        Raises
        ------
        TransformInvalid
            Anything but two lists of three finite numbers that make a transform.
        """
        if (
            not isinstance(rows, list)
            or len(rows) != 2
            or any(not isinstance(row, list) or len(row) != 3 for row in rows)
            or any(isinstance(v, bool) or not isinstance(v, (int, float)) for row in rows for v in row)
        ):
            raise TransformInvalid(
                f"a transform is {str(rows)[:80]!r}: it must be 2 lists of 3 numbers; save it again"
            )
        # A number too large for a float is not finite either.
        return cls(np.array([[_finite(value) for value in row] for row in rows]))

    def as_json(self) -> list[list[float]]:
        """Return the matrix as nested lists; every bit survives the way through JSON."""
        return [[float(value) for value in row] for row in self.matrix]

    @property
    def is_identity(self) -> bool:
        """Whether the frame lies on the reference exactly."""
        return bool((self.matrix == np.eye(2, 3)).all())

    @property
    def is_shift(self) -> bool:
        """Whether the frame is shifted alone: neither turned nor scaled."""
        return bool((self.matrix[:, :2] == np.eye(2)).all())

    @property
    def scale(self) -> float:
        """How much larger the frame shows things; the mean of both directions."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix[:, :2]))))

    @property
    def turn_rad(self) -> float:
        """How far the frame is turned, from x towards y."""
        (a, b), (c, d) = self.matrix[:, :2]
        return math.atan2(c - b, a + d)

    def shift_px(self, shape: tuple[int, ...]) -> tuple[float, float]:
        """Shift of a picture's middle along (x, y), px."""
        middle = middle_of(shape)
        x, y = self.at(middle[None])[0] - middle
        return float(x), float(y)

    def at(self, points: Matrix) -> Matrix:
        """Map points of the reference, (n, 2) as (x, y), to the frame."""
        return np.asarray(points @ self.matrix[:, :2].T + self.matrix[:, 2])

    def compose(self, first: Transform) -> Transform:
        """Return the map that does `first`, then this one: ``self.at(first.at(points))``."""
        linear = self.matrix[:, :2] @ first.matrix[:, :2]
        shift = self.matrix[:, :2] @ first.matrix[:, 2] + self.matrix[:, 2]
        return Transform(np.column_stack([linear, shift]))

    def inverse(self) -> Transform:
        """Return the map from the frame to the reference."""
        linear = np.linalg.inv(self.matrix[:, :2])
        return Transform(np.column_stack([linear, -linear @ self.matrix[:, 2]]))

    def corner_shift_px(self, shape: tuple[int, ...]) -> float:
        """How far the corner that moves most moves, in a picture of `shape`, px."""
        corners = corners_of(shape)
        return float(np.linalg.norm(self.at(corners) - corners, axis=1).max())

    def away_px(self, other: Transform, shape: tuple[int, ...]) -> float:
        """Largest distance between where the two put a corner, px."""
        corners = corners_of(shape)
        return float(np.linalg.norm(self.at(corners) - other.at(corners), axis=1).max())

    def half(self) -> Transform:
        """Return the same map for planes of half the size, each sample in the middle of its four."""
        linear, shift = self.matrix[:, :2], self.matrix[:, 2]
        return Transform(np.column_stack([linear, (shift + linear.sum(axis=1) / 2 - 0.5) / 2]))


def middle_of(shape: Sequence[int]) -> Matrix:
    """Middle of a picture of (rows, cols), as (x, y)."""
    return np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])


def corners_of(shape: Sequence[int]) -> Matrix:
    """Middles of the corner pixels of a picture of (rows, cols), (4, 2) as (x, y), clockwise on screen."""
    right, bottom = shape[1] - 1.0, shape[0] - 1.0
    return np.array([[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]])


def _finite(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
