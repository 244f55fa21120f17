"""The mean of some frames of the same thing: an empty field, or the dark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from focusd.errors import FocusdError, FrameMismatch
from focusd.pictures.grain import WHITE_NOISE, Samples, noise_between, noise_within
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_bgr, white_of

Colour = Literal["grey", "BGR", "4:2:0"]

MOST_FRAMES = 1000
"""Frames whose sum 32 bits hold, with room to spare."""

LEVEL = 257
"""What a level of 8 bits counts in an average, which has 16: 255 becomes 65535."""

# Rounding to whole levels, as a standard deviation; noise of half a level and more takes it away in the mean.
_ROUNDING = 12**-0.5
_NEARLY_WHITE = 0.98


class FlatUnusable(FocusdError, ValueError):
    """A flat or dark frame that nothing can be corrected by."""

    code = "flat"


@dataclass(frozen=True, slots=True)
class Form:
    """What frames have in common.

    Parameters
    ----------
    rows, cols : int
        Size, px.
    colour : {'grey', 'BGR', '4:2:0'}
        How colour is held.
    bits : int
        8 or 16 a sample.
    """

    rows: int
    cols: int
    colour: Colour
    bits: int

    @classmethod
    def of(cls, frame: Image | Planes) -> Form:
        """Return the form of a frame."""
        rows, cols = frame.shape[:2]
        if isinstance(frame, Planes):
            return cls(rows, cols, "4:2:0", 8)
        return cls(rows, cols, "grey" if frame.ndim == 2 else "BGR", 8 * frame.dtype.itemsize)

    def __str__(self) -> str:
        return f"{self.cols} x {self.rows} px, {self.colour}, {self.bits} bits"

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, cols) of each plane."""
        whole = (self.rows, self.cols)
        if self.colour == "4:2:0":
            half = ((self.rows + 1) // 2, (self.cols + 1) // 2)
            return whole, half, half
        return (whole,) if self.colour == "grey" else (whole, whole, whole)

    def require(self, other: Form, whose: str) -> None:
        """Refuse another form.

        Raises
        ------
        FrameMismatch
            Naming both.
        """
        if other != self:
            raise FrameMismatch(
                f"the frames are {other}, {whose} is {self}: take it again with the camera set as for the "
                "stack, or remove it"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Average:
    """The mean of frames.

    Parameters
    ----------
    form : Form
        Of the frames.
    planes : tuple of ndarray of uint16, (rows, cols) each
        Grey; blue, green and red; or luma and the two colour differences. 8-bit frames are spread to 16
        bits (`LEVEL`), 16-bit ones keep their levels.
    white : int
        Level of the average that stands for white: 65535 for 8-bit frames.
    frames : int
        How many.
    noise : tuple of tuple of float
        For each plane the noise of one frame by size, in levels of the average; see
        `focusd.pictures.grain.noise_between`. Empty for a single frame: it is judged by the frame itself.
    clipped : float
        Largest share of a frame's pixels that were white in some colour, 0 to 1.
    flicker : float
        Spread of the frames' brightness, as a share of their mean.
    """

    form: Form
    planes: tuple[Samples, ...]
    white: int
    frames: int
    noise: tuple[tuple[float, ...], ...] = ()
    clipped: float = 0.0
    flicker: float = 0.0

    def noise_left(self, plane: int) -> tuple[float, ...]:
        """Return the mean's own noise in a plane by size, in levels of the average."""
        unit = LEVEL if self.form.bits == 8 else 1
        if not self.noise:
            return noise_within(self.planes[plane], unit * _ROUNDING)
        noise = self.noise[plane]
        if not noise:
            return ()
        # As loud as the noise is at the finest size, so far are whole levels rounded away.
        sigma = noise[0] / WHITE_NOISE[0] / unit
        rounding = unit * _ROUNDING * math.exp(-2 * (math.pi * sigma) ** 2)
        return tuple(
            math.hypot(each / self.frames**0.5, rounding * share)
            for each, share in zip(noise, WHITE_NOISE, strict=False)
        )


class Averaging:
    """Takes frames one after the other and gives their mean; memory for one frame and its sums."""

    def __init__(self) -> None:
        self.frames = 0
        self._form: Form | None = None
        self._sums: list[npt.NDArray[np.uint32]] = []
        self._first: list[npt.NDArray[Any]] = []
        self._noise: tuple[tuple[float, ...], ...] = ()
        self._levels: list[float] = []
        self._white = 0
        self._clipped = 0.0

    def add(self, frame: Image | Planes) -> None:
        """Take in a frame; it is not kept but for the first.

        Raises
        ------
        FrameMismatch
            It differs from the first in size or type, or is one too many.
        """
        form = Form.of(frame)
        if self._form is None:
            self._form = form
            self._sums = [np.zeros(shape, np.uint32) for shape in form.shapes]
        self._form.require(form, "the first")
        if self.frames == MOST_FRAMES:
            raise FrameMismatch(f"a mean of more than {MOST_FRAMES} frames: fewer will do")
        planes = planes_of(frame)
        for total, plane in zip(self._sums, planes, strict=True):
            np.add(total, plane, out=total)
        self.frames += 1
        self._white = max(self._white, 255 if form.bits == 8 else white_of(np.asarray(planes[0])))
        self._levels.append(float(planes[0].mean()))
        self._clipped = max(self._clipped, _clipped_share(frame))
        if self.frames == 1:
            self._first = [plane.copy() for plane in planes]
        elif self.frames == 2:
            unit = LEVEL if form.bits == 8 else 1
            self._noise = tuple(
                tuple(unit * sigma for sigma in noise_between(plane, first))
                for plane, first in zip(planes, self._first, strict=True)
            )
            self._first = []

    def result(self) -> Average:
        """Return the mean of what was added.

        Raises
        ------
        FrameMismatch
            Nothing was.
        """
        if self._form is None:
            raise FrameMismatch("the mean of no frames: take at least one")
        unit = LEVEL if self._form.bits == 8 else 1
        half = np.uint32(self.frames // 2)
        planes = tuple(
            ((total * np.uint32(unit) + half) // np.uint32(self.frames)).astype(np.uint16)
            for total in self._sums
        )
        mean = sum(self._levels) / len(self._levels)
        return Average(
            self._form,
            planes,
            self._white if self._form.bits == 16 else 65535,
            self.frames,
            self._noise,
            self._clipped,
            (max(self._levels) - min(self._levels)) / mean if mean else 0.0,
        )


def average_of(frame: Image | Planes) -> Average:
    """Return a single frame as its own average."""
    averaging = Averaging()
    averaging.add(frame)
    return averaging.result()


def planes_of(frame: Image | Planes) -> tuple[npt.NDArray[Any], ...]:
    """Return a frame's planes, as `Average.planes` has them."""
    if isinstance(frame, Planes):
        return frame.luma, frame.blue, frame.red
    return (frame,) if frame.ndim == 2 else tuple(np.asarray(plane) for plane in cv2.split(frame))


def _clipped_share(frame: Image | Planes) -> float:
    """Share of pixels that are white in some colour."""
    image = to_bgr(frame)
    # A raw file's white is anywhere: clipped samples are all alike there, and noise is not.
    over = image >= np.uint8(_NEARLY_WHITE * 255) if image.dtype == np.uint8 else image == image.max()
    return float(np.mean(over if over.ndim == 2 else over.any(axis=2)))
