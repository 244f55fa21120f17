"""What all frames of an aligned stack cover, and pictures cut to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from focusd.errors import FusionError
from focusd.pictures.planes import Planes
from focusd.register.transform import Matrix, Transform, corners_of

# Half a pixel at the edge is the edge pixel itself going on.
_EDGE_PX = 0.5
_ROUNDING_PX = 1e-6
# Corners kept of what is covered; more, and they are so close that a rectangle within will do.
_MOST_CORNERS = 64
# Heights tried for the rectangle's top and bottom.
_HEIGHTS = 257


class NothingCovered(FusionError):
    """No pixel lies in all frames."""

    code = "nothing_covered"


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Part of a picture, px; `bottom` and `right` are excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.top, self.bottom)

    @property
    def cols(self) -> slice:
        """Its columns."""
        return slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.bottom - self.top, self.right - self.left

    def as_json(self) -> dict[str, int]:
        """Return the four figures by name."""
        return {"top": self.top, "bottom": self.bottom, "left": self.left, "right": self.right}


class Coverage:
    """What all frames cover, of the reference; memory does not grow with their number.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols) of the frames.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = (shape[0], shape[1])
        # A convex polygon, (n, 2) as (x, y).
        self._corners: Matrix = corners_of(shape)

    def add(self, transform: Transform) -> None:
        """Narrow it to what one more frame covers."""
        if transform.is_identity:
            return
        outline = corners_of(self._shape) + _EDGE_PX * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        frame = transform.inverse().at(outline)
        for start, end in zip(frame, np.roll(frame, -1, axis=0), strict=True):
            self._corners = _clipped(self._corners, start, end)
        if len(self._corners) > _MOST_CORNERS:
            # Every other corner: a convex polygon within.
            self._corners = self._corners[::2]

    def rectangle(self, even: bool = False) -> Rectangle:
        """Return the largest rectangle of whole pixels in it.

        Parameters
        ----------
        even : bool
            Whether top and left must be even, so that planes of half the size can be cut alike.

        Raises
        ------
        NothingCovered
            The frames have nothing in common.
        """
        if len(self._corners) < 3:
            raise self._nothing()
        first = np.ceil(self._corners[:, 1].min() - _ROUNDING_PX)
        last = np.floor(self._corners[:, 1].max() + _ROUNDING_PX)
        heights = np.unique(np.rint(np.linspace(first, max(first, last), _HEIGHTS)))
        if even:
            heights = np.unique(np.concatenate([heights, heights + heights % 2]))
        spans = [_across(self._corners, height) for height in heights]
        left, right = np.array([span[0] for span in spans]), np.array([span[1] for span in spans])
        # In a convex polygon what fits at top and bottom fits between.
        lefts = np.ceil(np.maximum.outer(left, left) - _ROUNDING_PX)
        rights = np.floor(np.minimum.outer(right, right) + _ROUNDING_PX)
        tops, bottoms = heights[:, None], heights[None, :]
        lefts = lefts + (lefts % 2 if even else 0)
        area = np.maximum(rights - lefts + 1, 0) * np.maximum(bottoms - tops + 1, 0)
        if even:
            area = area * (tops % 2 == 0)
        at = np.unravel_index(int(np.argmax(area)), area.shape)
        if area[at] <= 0:
            raise self._nothing()
        top, bottom = int(heights[at[0]]), int(heights[at[1]])
        return Rectangle(
            max(0, top),
            min(self._shape[0], bottom + 1),
            max(0, int(lefts[at])),
            min(self._shape[1], int(rights[at]) + 1),
        )

    def mask(self) -> npt.NDArray[np.uint8]:
        """uint8, (rows, cols): 255 where all frames are."""
        inside = np.full(self._shape, 255, np.uint8)
        y, x = np.arange(self._shape[0])[:, None], np.arange(self._shape[1])[None]
        if len(self._corners) < 3:
            inside[:] = 0
            return inside
        for start, end in zip(self._corners, np.roll(self._corners, -1, axis=0), strict=True):
            along = end - start
            inside[along[0] * (y - start[1]) - along[1] * (x - start[0]) < -_ROUNDING_PX] = 0
        return inside

    def _nothing(self) -> NothingCovered:
        return NothingCovered(
            f"no part of a picture of {self._shape[1]} x {self._shape[0]} px lies in all frames of the "
            "stack; leave out the frame that strays, or align with another model"
        )


@overload
def crop(picture: Planes, rectangle: Rectangle) -> Planes: ...
@overload
def crop(picture: npt.NDArray[Any], rectangle: Rectangle) -> npt.NDArray[Any]: ...
def crop(picture: Planes | npt.NDArray[Any], rectangle: Rectangle) -> Planes | npt.NDArray[Any]:
    """Cut a picture, or a map of its size, to a rectangle.

    Parameters
    ----------
    picture : Planes or ndarray
        Planes, or (rows, cols, ...). Planes need an even top and left.
    rectangle : Rectangle
        Of `Coverage`.

    Returns
    -------
    Planes or ndarray
        The picture itself where the rectangle is all of it, else a view.
    """
    if rectangle.shape == picture.shape[:2]:
        return picture
    if not isinstance(picture, Planes):
        return picture[rectangle.rows, rectangle.cols]
    if rectangle.top % 2 or rectangle.left % 2:
        raise FusionError(
            f"planes cannot be cut at row {rectangle.top}, column {rectangle.left}: both must be even; "
            "ask for an even rectangle"
        )
    rows = slice(rectangle.top // 2, (rectangle.bottom + 1) // 2)
    cols = slice(rectangle.left // 2, (rectangle.right + 1) // 2)
    return Planes(
        picture.luma[rectangle.rows, rectangle.cols], picture.blue[rows, cols], picture.red[rows, cols]
    )


def _clipped(corners: Matrix, start: Matrix, end: Matrix) -> Matrix:
    """Cut off what of a convex polygon lies outside a line that runs clockwise (Sutherland and Hodgman)."""
    along = end - start
    inward = along[0] * (corners[:, 1] - start[1]) - along[1] * (corners[:, 0] - start[0])
    kept: list[Matrix] = []
    for n in range(len(corners)):
        here, there = inward[n - 1], inward[n]
        if (here >= 0) != (there >= 0):
            share = here / (here - there)
            kept.append(corners[n - 1] + share * (corners[n] - corners[n - 1]))
        if there >= 0:
            kept.append(corners[n])
    return np.array(kept).reshape(-1, 2)


def _across(corners: Matrix, height: float) -> tuple[float, float]:
    """Where a convex polygon begins and ends at a height."""
    start, end = corners, np.roll(corners, -1, axis=0)
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    hit = (low <= height + _ROUNDING_PX) & (high >= height - _ROUNDING_PX)
    start, end = start[hit], end[hit]
    rise = end[:, 1] - start[:, 1]
    flat = np.abs(rise) < _ROUNDING_PX
    share = np.clip((height - start[:, 1]) / np.where(flat, 1, rise), 0, 1)
    at = np.where(flat, start[:, 0], start[:, 0] + share * (end[:, 0] - start[:, 0]))
    both = np.concatenate([at, end[flat, 0]])
    return (float(both.min()), float(both.max())) if len(both) else (0.0, -1.0)
