"""Dust on the sensor: what is known of it, and how its shadows are taken out of frames; hot pixels with it.

A shadow takes a share of the light, so what it leaves is divided by what is left: the picture below it comes
back, where filling it in would only hide it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.errors import FrameMismatch, FusionError
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image
from focusd.register.drift import Drift
from focusd.register.hotpixel import HotPixels
from focusd.register.hotsearch import HotSearch
from focusd.register.spot import SLOW_PX, Map, Spot, divide, find_spots

__all__ = ["Drift", "DustInvalid", "DustMap", "DustSearch", "HotPixels", "Spot"]

_MARK = "focusd dust"
_MOST_SPOTS = 10_000
_LARGEST_RADIUS_PX = 100.0
_LARGEST_LOSS = 0.9
# Fewer frames tell too little apart.
_FEWEST_FRAMES = 8
_MOST_MATRICES = 24
_DARK = 3.0
_LARGEST_CHANGE = 1.0


class DustInvalid(FusionError, ValueError):
    """A map of dust that no sensor can have."""

    code = "dust_invalid"


@dataclass(frozen=True, slots=True)
class DustMap:
    """Where dust lies on a sensor.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols) of the frames, px.
    spots : tuple of Spot
        Its shadows.
    frames : int
        How many frames it was learnt from.
    hot : HotPixels
        Single pixels that are hot or dead.
    """

    shape: tuple[int, int]
    spots: tuple[Spot, ...]
    frames: int
    hot: HotPixels = field(default_factory=HotPixels)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to be taken out."""
        return not (self.spots or self.hot.pixels or self.hot.colours)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return {
            "is": _MARK,
            "size": [self.shape[1], self.shape[0]],
            "frames": self.frames,
            "spots": [[round(each, 3) for each in (s.x, s.y, s.radius_px, s.loss)] for s in self.spots],
            "hot": self.hot.as_json(),
        }

    @classmethod
    def of_json(cls, found: object) -> DustMap:
        """Read what `as_json` made.

        Raises
        ------
        DustInvalid
            Anything else, or numbers out of range.
        """
        try:
            if not isinstance(found, dict) or found["is"] != _MARK:
                raise ValueError("it is something else")
            cols, rows = (_whole(each) for each in found["size"])
            spots = tuple(_spot(each, rows, cols) for each in found["spots"][: _MOST_SPOTS + 1])
            if len(spots) > _MOST_SPOTS or min(rows, cols) < 1:
                raise ValueError(f"it has more than {_MOST_SPOTS} spots, or no size")
            hot = HotPixels.of_json(found["hot"], (rows, cols))
            return cls((rows, cols), spots, _whole(found["frames"]), hot)
        except (KeyError, TypeError, ValueError) as error:
            raise DustInvalid(f"a map of dust cannot be used ({error}); learn it again") from error

    def moved(self, drift: Drift) -> DustMap:
        """Return it with those spots and pixels alone that the picture moved across.

        Where it did not, the shadow lies on the same detail in every frame: it is in the picture once, and
        taking it out would only add what is wrong with its measure.
        """
        spots = tuple(spot for spot in self.spots if drift.at(spot.x, spot.y) > 2 * spot.radius_px)
        return DustMap(self.shape, spots, self.frames, self.hot.moved(drift))

    def clean(self, frame: Image | Planes) -> None:
        """Take the shadows out of a frame, and mend its hot pixels, in place; else nothing is touched.

        Raises
        ------
        FrameMismatch
            The frame is of another size.
        """
        rows, cols = frame.shape[:2]
        if (rows, cols) != self.shape:
            raise FrameMismatch(
                f"the frame is {cols} x {rows} px, the map of its dust {self.shape[1]} x {self.shape[0]} px: "
                "learn the dust at this size"
            )
        self.hot.mend(frame)
        for spot in self.spots:
            if isinstance(frame, Planes):
                divide(frame.luma, spot, 1.0, 0)
                divide(frame.blue, spot, 0.5, 128)
                divide(frame.red, spot, 0.5, 128)
            else:
                divide(frame, spot, 1.0, 0)


class DustSearch:
    """Learns where dust and hot pixels lie, from frames over whose sensor the picture moves.

    Keeps two means of the frames at half size, of 4 bytes a sample each, 2 bytes a pixel of the frame; and
    for hot pixels 2 bytes a sample: 3 a pixel of 4:2:0, 6 of BGR.
    """

    def __init__(self) -> None:
        self._shape: tuple[int, int] | None = None
        self._stayed: Map | None = None
        self._moved: Map | None = None
        self._hot = HotSearch()
        self._frames = 0
        self._matrices: list[npt.NDArray[np.float64]] = []
        self._every = 1

    @property
    def nbytes(self) -> int:
        """Memory of what it keeps, bytes."""
        means = 0 if self._stayed is None or self._moved is None else 2 * self._stayed.nbytes
        return means + self._hot.nbytes

    def look(self, frame: Image | Planes, matrix: npt.NDArray[np.float64] | None = None) -> None:
        """Take in a frame as the camera gave it; it is not changed.

        Parameters
        ----------
        frame : ndarray or Planes
            All of one size.
        matrix : ndarray, optional
            float64, (2, 3): carries the reference's pixel coordinates (x, y) to the frame's. Identity where
            not given.
        """
        shape = frame.shape[0], frame.shape[1]
        light = _light(frame)
        matrix = np.eye(2, 3) if matrix is None else matrix
        linear, shift = matrix[:, :2], matrix[:, 2]
        halved = np.column_stack([linear, (shift + linear.sum(axis=1) / 2 - 0.5) / 2])
        if self._stayed is None or self._moved is None or shape != self._shape:
            self.__init__()  # type: ignore[misc]
            self._shape = shape
            self._stayed, self._moved = np.zeros_like(light), np.zeros_like(light)
        laid = cv2.warpAffine(
            light,
            halved,
            light.shape[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        cv2.accumulate(light, self._stayed)
        cv2.accumulate(laid, self._moved)
        if self._frames % self._every == 0:
            self._matrices.append(halved)
            if len(self._matrices) > _MOST_MATRICES:
                self._matrices, self._every = self._matrices[::2], 2 * self._every
        self._frames += 1
        self._hot.look(frame)

    def found(self) -> DustMap:
        """Return the dust found so far: none from fewer than 8 frames, or where nothing moved."""
        if self._shape is None or self._stayed is None or self._moved is None:
            return DustMap((0, 0), (), 0)
        still = all(np.array_equal(each, self._matrices[0]) for each in self._matrices)
        if self._frames < _FEWEST_FRAMES or still:
            return DustMap(self._shape, (), self._frames)
        share = np.float32(1 / self._frames)
        spots = find_spots(self._stayed * share, self._moved * share, self._matrices)
        # A small shadow looks like a dead pixel, and would be taken out twice.
        around = [(spot.x, spot.y, spot.radius_px + 2) for spot in spots]
        hot = self._hot.found(self._matrices).outside(around)
        return DustMap(self._shape, tuple(spots), self._frames, hot)


def _light(frame: Image | Planes) -> Map:
    """Logarithm of the luma at half size, freed of slow changes: float32, (rows, cols)."""
    plane = frame.luma if isinstance(frame, Planes) else frame
    rows, cols = max(1, plane.shape[0] // 2), max(1, plane.shape[1] // 2)
    small = cv2.resize(plane[: 2 * rows, : 2 * cols], (cols, rows), interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    if small.dtype == np.uint8:
        table = np.log(np.arange(256, dtype=np.float32) + np.float32(_DARK))
        light = np.asarray(cv2.LUT(small, table), np.float32)
    else:
        light = np.asarray(cv2.log(small.astype(np.float32) + np.float32(256 * _DARK)), np.float32)
    light -= cv2.blur(light, (SLOW_PX, SLOW_PX))
    return np.clip(light, -_LARGEST_CHANGE, _LARGEST_CHANGE, out=light)


def _spot(found: object, rows: int, cols: int) -> Spot:
    if not isinstance(found, list) or len(found) != 4:
        raise ValueError(f"a spot is {str(found)[:40]!r}, not 4 numbers")
    if any(isinstance(each, bool) or not isinstance(each, (int, float)) for each in found):
        raise ValueError(f"a spot is {str(found)[:40]!r}, not 4 numbers")
    x, y, radius_px, loss = found
    # Compared before they are made floats: a whole number may be too large for one.
    if not (-1 <= x <= cols and -1 <= y <= rows and 0 < radius_px <= _LARGEST_RADIUS_PX):
        raise ValueError(f"a spot lies at {x}, {y} with a radius of {radius_px} px")
    if not 0 < loss <= _LARGEST_LOSS:
        raise ValueError(f"a spot takes {loss} of the light")
    return Spot(float(x), float(y), float(radius_px), float(loss))


def _whole(found: object) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= 1_000_000:
        raise ValueError(f"{str(found)[:40]!r} is not a whole number in range")
    return found
