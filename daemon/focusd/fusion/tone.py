"""From a camera's integers to float planes and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from focusd.fusion.arrays import Float, Image, Scratch

# Rec. ITU-R BT.601-7, section 2.5.1.
_BLUE, _GREEN, _RED = 0.114, 0.587, 0.299


@dataclass(frozen=True, slots=True)
class Tone:
    """The scale of a stack's values.

    Parameters
    ----------
    bits : int
        Bits the values use, 8 to 16. A uint16 frame may hold 10, 12 or 16; without this a dark one would
        drown in the noise floor.
    dtype : numpy.dtype
        uint8 or uint16, the frames' own.
    """

    bits: int
    dtype: np.dtype[np.uint8] | np.dtype[np.uint16]

    @classmethod
    def of(cls, image: Image) -> Tone:
        """Tone of a stack, from its first frame."""
        if image.dtype == np.uint8:
            return cls(8, np.dtype(np.uint8))
        return cls(max(8, int(image.max()).bit_length()), np.dtype(np.uint16))

    @property
    def unit(self) -> float:
        """One 8-bit level in the frame's own units."""
        return float((1 << self.bits) - 1) / 255.0

    def planes(self, image: Image, scratch: Scratch) -> Iterator[Float]:
        """Luma, then for a colour image blue minus luma and red minus luma.

        Parameters
        ----------
        image : ndarray
            uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR; not modified.
        scratch : Scratch
            Where the planes live: luma until the next call, each difference until the next one.

        Yields
        ------
        ndarray
            float32, (rows, cols), in 8-bit levels; one or three of them.
        """
        rows, cols = image.shape[:2]
        luma = scratch.plane("luma", 0, (rows, cols))
        if image.ndim == 2:
            self._scale(image, luma)
            yield luma
            return
        other = scratch.plane("difference", 0, (rows, cols))
        channel = np.empty((rows, cols), image.dtype)
        for number, share in enumerate((_BLUE, _GREEN, _RED)):
            cv2.extractChannel(image, number, dst=channel)
            self._scale(channel, other)
            if number == 0:
                np.multiply(other, np.float32(share), out=luma)
            else:
                cv2.scaleAdd(other, share, luma, dst=luma)
        yield luma
        for number in (0, 2):
            cv2.extractChannel(image, number, dst=channel)
            self._scale(channel, other)
            yield np.subtract(other, luma, out=other)

    def image(self, planes: list[Float]) -> Image:
        """Inverse of `planes`, rounded and clipped to the type's range; the planes are used up."""
        if len(planes) == 1:
            return self._rounded(planes[0])
        luma, blue, red = planes
        blue += luma
        red += luma
        green = np.empty_like(luma)
        cv2.addWeighted(blue, -_BLUE / _GREEN, red, -_RED / _GREEN, 0, dst=green)
        cv2.scaleAdd(luma, 1.0 / _GREEN, green, dst=green)
        return cv2.merge([self._rounded(plane) for plane in (blue, green, red)])

    def _scale(self, channel: Image, out: Float) -> None:
        np.copyto(out, channel)
        if self.bits != 8:
            out *= np.float32(1.0 / self.unit)

    def _rounded(self, plane: Float) -> Image:
        if self.bits != 8:
            plane *= np.float32(self.unit)
        np.rint(plane, out=plane)
        np.clip(plane, 0, np.iinfo(self.dtype).max, out=plane)
        return plane.astype(self.dtype)
