"""From a camera's integers to planes in 8-bit levels and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from focusd.fusion.arrays import Float, Image
from focusd.pictures.planes import Planes

Kind = Literal["grey", "4:2:0", "4:4:4"]

# Rec. ITU-R BT.601-7, section 2.5.1.
_BLUE, _GREEN, _RED = 0.114, 0.587, 0.299
# ITU-T T.871, section 7: blue and red differences are scaled to the range of the samples.
_BLUE_SPAN, _RED_SPAN = 2 * (1 - _BLUE), 2 * (1 - _RED)
# Fixed point of blurred planes: the full range of 8 bits in 16, and the middle of it.
_UINT16_RANGE = 65536
CENTRE = 32768
# Luma at or beyond these has been cut off by the camera, 8-bit levels.
DARKEST, BRIGHTEST = 1.0, 254.0


@dataclass(frozen=True, slots=True)
class Source:
    """One plane of a frame, where it lies.

    Parameters
    ----------
    data : ndarray
        uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR, contiguous; only read.
    weights : tuple of float
        8-bit levels in one unit of the data, for each of its channels, one or three: the plane is their sum.
    centre : float
        What is added to it, 8-bit levels, to make a difference of colours positive.
    """

    data: Image
    weights: tuple[float, ...]
    centre: float

    def rows(self, first: int, last: int) -> Float:
        """Rows `first` to `last` (excluded) as float32, 8-bit levels."""
        part = self.data[first:last].astype(np.float32)
        if len(self.weights) == 1:
            part *= np.float32(self.weights[0])
            return part
        return np.asarray(
            cv2.transform(part, np.array([[*self.weights, self.centre]], np.float32)), np.float32
        )


@dataclass(frozen=True, slots=True)
class Tone:
    """The scale of a stack's values and the kind of its colour.

    Parameters
    ----------
    bits : int
        Bits the values use, 8 to 16. A uint16 frame may hold 10, 12 or 16; without this a dark one would
        drown in the noise floor.
    dtype : numpy.dtype
        uint8 or uint16, the frames' own.
    kind : {"grey", "4:2:0", "4:4:4"}
        One plane; `Planes`; BGR.
    """

    bits: int
    dtype: np.dtype[Any]
    kind: Kind

    @staticmethod
    def describes(frame: Image | Planes) -> tuple[Kind, np.dtype[Any]]:
        """Return the kind and the sample type of a frame."""
        if isinstance(frame, Planes):
            return "4:2:0", np.dtype(np.uint8)
        return ("grey" if frame.ndim == 2 else "4:4:4"), frame.dtype

    @classmethod
    def of(cls, frame: Image | Planes, bits: int | None = None) -> Tone:
        """Tone of a stack, from its first frame; `bits` goes over what a uint16 frame shows."""
        kind, dtype = cls.describes(frame)
        if isinstance(frame, Planes) or dtype == np.uint8:
            return cls(8, dtype, kind)
        return cls(bits or max(8, int(frame.max()).bit_length()), dtype, kind)

    @property
    def unit(self) -> float:
        """One 8-bit level in the frame's own units."""
        return float((1 << self.bits) - 1) / 255.0

    @property
    def fixed(self) -> float:
        """Units of a blurred plane in one 8-bit level.

        Frames in uint16 keep two bits of headroom where there are any: the first may have been a dark one.
        """
        if self.dtype == np.uint8:
            return 256.0
        return self.unit * 2.0 ** max(0, 14 - self.bits)

    @property
    def brightest(self) -> int:
        """Largest value a frame of this stack may hold, in its own units."""
        return min(int(np.iinfo(self.dtype).max), int((_UINT16_RANGE - 1) * self.unit / self.fixed))

    def sources(self, frame: Image | Planes) -> list[Source]:
        """Luma, then for a colour frame half of blue minus luma and half of red minus luma."""
        if isinstance(frame, Planes):
            planes = (frame.luma, frame.blue, frame.red)
            return [Source(np.ascontiguousarray(plane), (1.0,), 0.0) for plane in planes]
        frame = np.ascontiguousarray(frame)
        scale = 1.0 / self.unit
        if frame.ndim == 2:
            return [Source(frame, (scale,), 0.0)]
        luma = np.array((_BLUE, _GREEN, _RED)) * scale
        blue, red = (0.5 * (np.array(own) * scale - luma) for own in ((1, 0, 0), (0, 0, 1)))
        centre = CENTRE / self.fixed
        return [
            Source(frame, tuple(luma), 0.0),
            Source(frame, tuple(blue), centre),
            Source(frame, tuple(red), centre),
        ]

    def image(self, planes: list[Float]) -> Image:
        """Rows of a grey or BGR image from rows of its planes, all of one size; the planes are used up.

        Inverse of `sources` for "grey" and "4:4:4"; for "4:2:0" the differences must have been enlarged.
        """
        if len(planes) == 1:
            return self.rounded(planes[0])
        luma, blue, red = planes
        if self.kind == "4:2:0":
            spans, centre = (_BLUE_SPAN, _RED_SPAN), 128.0
        else:
            spans, centre = (2.0, 2.0), CENTRE / self.fixed
        for plane, span in ((blue, spans[0]), (red, spans[1])):
            plane -= np.float32(centre)
            cv2.scaleAdd(plane, span, luma, dst=plane)
        green = np.empty_like(luma)
        cv2.addWeighted(blue, -_BLUE / _GREEN, red, -_RED / _GREEN, 0, dst=green)
        cv2.scaleAdd(luma, 1.0 / _GREEN, green, dst=green)
        return cv2.merge([self.rounded(plane) for plane in (blue, green, red)])

    def rounded(self, plane: Float) -> Image:
        """Levels as the frames' integers, clipped to their range; the plane is used up."""
        if self.bits != 8:
            plane *= np.float32(self.unit)
        np.rint(plane, out=plane)
        np.clip(plane, 0, np.iinfo(self.dtype).max, out=plane)
        return plane.astype(self.dtype)
