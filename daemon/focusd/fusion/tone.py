"""From a camera's integers to float planes and back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from focusd.fusion.arrays import Float, Image

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

    def planes(self, image: Image) -> list[Float]:
        """Luma, then for a colour image blue minus luma and red minus luma.

        Parameters
        ----------
        image : ndarray
            uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR; not modified.

        Returns
        -------
        list of ndarray
            One or three float32 planes, (rows, cols), in 8-bit levels.
        """
        if image.ndim == 2:
            return [self._scaled(image)]
        blue, green, red = (self._scaled(channel) for channel in cv2.split(image))
        luma = np.empty_like(blue)
        cv2.addWeighted(blue, _BLUE, red, _RED, 0, dst=luma)
        cv2.scaleAdd(green, _GREEN, luma, dst=luma)
        return [luma, np.subtract(blue, luma, out=blue), np.subtract(red, luma, out=red)]

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

    def _scaled(self, channel: Image) -> Float:
        plane = channel.astype(np.float32)
        if self.bits != 8:
            plane *= np.float32(1.0 / self.unit)
        return plane

    def _rounded(self, plane: Float) -> Image:
        if self.bits != 8:
            plane *= np.float32(self.unit)
        np.rint(plane, out=plane)
        np.clip(plane, 0, np.iinfo(self.dtype).max, out=plane)
        return plane.astype(self.dtype)
