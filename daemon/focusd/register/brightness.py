"""Multiplying a frame's samples by a factor for each colour, whatever way they are held.

Levels are rounded up or down by chance, in proportion to what is left over: rounded to the nearest, a picture
of 8 bits would lose some levels, and plain areas would err by up to half of one. The chance is a fixed
pattern, so the same bits come out every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, white_of

# From the last sixteenth of the levels on a sample may not lie below a ramp that ends at white.
_SHOULDER = 16
_STRIP_ROWS = 128
# Y, Cb, Cr of ITU-T T.871 to B, G, R.
_TO_BGR = np.array([[1, 1.772, 0], [1, -0.344136, -0.714136], [1, 0, 1.402]])
_OF_BGR = np.linalg.inv(_TO_BGR)
# Chance, and what colour adds to luma, are kept in parts of a level, colour around the middle of 8 bits.
_PARTS = 16
_MIDDLE = 128
_SPARE_PX = 64
# How much of a pixel's luma its tint goes by: a blown pixel has lost its tint, so none is given to it.
_TENT = np.minimum(np.arange(256), (255 - np.arange(256)) * (_SHOULDER - 1)).astype(np.uint8)

Plane = npt.NDArray[Any]


def multiply_image(frame: Image, gains: Sequence[float], out: Image | None, white: int | None) -> Image:
    """Multiply grey by one factor, or BGR by three; white stays white.

    Parameters
    ----------
    frame : ndarray
        uint8 or uint16, (rows, cols) or (rows, cols, 3).
    gains : sequence of float
        One for each channel.
    out : ndarray or None
        Filled and returned, if it can be written to; may be `frame`.
    white : int or None
        Level of a uint16 frame that stands for white; from the frame itself where not given.
    """
    image: Image = np.empty(frame.shape, frame.dtype)
    if out is not None and out.flags.writeable:
        image = out
    top = 255 if frame.dtype == np.uint8 else white or white_of(frame)
    for rows in _strips(len(frame)):
        part, result = frame[rows], image[rows]
        ramp = _ramp(part, top) if min(gains) < 1 else None
        if frame.dtype == np.uint8:
            chance = _chance(frame.shape[1], gains[0])[: len(part)]
            for channel, gain in enumerate(gains):
                plane = part if part.ndim == 2 else cv2.extractChannel(part, channel)
                made = _lifted(plane, gain, 0, chance)
                if part.ndim == 2:
                    result[...] = made
                else:
                    cv2.insertChannel(made, result, channel)
        else:
            # A sample above white was there before, and may stay.
            most = np.maximum(part, np.uint16(top))
            factors = np.array(gains, np.float32)
            np.minimum(np.rint(part * factors), most, out=result, casting="unsafe")
        if ramp is not None:
            np.maximum(result, ramp, out=result)
    return image


def multiply_planes(frame: Planes, gains: Sequence[float], out: Planes | None) -> Planes:
    """Multiply blue, green and red of a frame that is held as planes; white stays white.

    Parameters
    ----------
    frame : Planes
        Not changed unless it is `out`.
    gains : sequence of float
        Blue, green and red.
    out : Planes or None
        Filled and returned, if it can be written to; may be `frame`.
    """
    planes = frame.luma, frame.blue, frame.red
    room = out
    if room is None or not all(p.flags.writeable for p in (room.luma, room.blue, room.red)):
        room = Planes(*(np.empty(plane.shape, np.uint8) for plane in planes))
    turn = _OF_BGR @ np.diag(gains) @ _TO_BGR
    rows, cols = frame.shape
    for strip in _strips(rows):
        half = slice(strip.start // 2, (strip.stop + 1) // 2)
        luma, blue, red = frame.luma[strip], frame.blue[half], frame.red[half]
        chance = _chance(cols, gains[0])[: len(luma)]
        ramp = _ramp(luma, 255) if turn[0, 0] < 1 else None
        alike = len(set(gains)) == 1
        tent = luma[:0] if alike else cv2.LUT(_halved(luma), _TENT)
        # Each colour takes its part in the luma, and the luma in each colour.
        cast = None if alike else _Addend.of(blue, turn[0, 1], red, turn[0, 2], 128).enlarged(luma.shape)
        for_blue = None if alike else _Addend.of(tent, turn[1, 0], red, turn[1, 2], 0)
        for_red = None if alike else _Addend.of(tent, turn[2, 0], blue, turn[2, 1], 0)
        made = _lifted(luma, turn[0, 0], 0, chance, cast)
        new_blue = _lifted(blue, turn[1, 1], 128, chance, for_blue)
        room.red[half] = _lifted(red, turn[2, 2], 128, chance, for_red)
        room.blue[half] = new_blue
        room.luma[strip] = made if ramp is None else cv2.max(made, ramp)
    return room


@dataclass(frozen=True, slots=True, eq=False)
class _Addend:
    """What is to be added to a plane: in parts of a level, around `_MIDDLE`."""

    plane: Plane
    parts: int

    @classmethod
    def of(cls, one: Plane, share: float, colour: Plane, colour_share: float, zero: int) -> _Addend:
        """Mix a plane counted from `zero` with a colour difference."""
        reach = abs(share) * max(zero, 255 - zero) + abs(colour_share) * 128
        parts = next((each for each in (_PARTS, 4) if reach * each < _MIDDLE - _PARTS), 1)
        level = _MIDDLE - parts * (share * zero + colour_share * 128)
        return cls(cv2.addWeighted(one, parts * share, colour, parts * colour_share, level), parts)

    def enlarged(self, shape: tuple[int, ...]) -> _Addend:
        """Return it at twice the size, cut to `shape`."""
        wide = cv2.resize(self.plane, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        return _Addend(wide[: shape[0], : shape[1]], self.parts)


def _lifted(plane: Plane, gain: float, zero: int, chance: Plane, more: _Addend | None = None) -> Plane:
    """Multiply a plane about `zero`, add, and round by chance."""
    parts, middle = _PARTS, 0
    few = chance[: plane.shape[0], : plane.shape[1]]
    if more is not None:
        parts, middle = more.parts, _MIDDLE
        few = cv2.add(more.plane, few if parts == _PARTS else few // np.uint8(_PARTS // parts))
    # Chance lies between 0 and almost 1: half of that is taken off, for what follows rounds to the nearest.
    level = zero - zero * gain - (middle + (parts - 1) / 2) / parts
    return np.asarray(cv2.addWeighted(plane, gain, few, 1 / parts, level))


def _halved(plane: Plane) -> Plane:
    """Mean of 2x2; an odd last row or column stands for two."""
    rows, cols = plane.shape
    if rows % 2 or cols % 2:
        plane = cv2.copyMakeBorder(plane, 0, rows % 2, 0, cols % 2, cv2.BORDER_REPLICATE)
    half = ((cols + 1) // 2, (rows + 1) // 2)
    return np.asarray(cv2.resize(plane, half, interpolation=cv2.INTER_AREA))


def _strips(rows: int) -> list[slice]:
    return [slice(top, min(rows, top + _STRIP_ROWS)) for top in range(0, rows, _STRIP_ROWS)]


def _ramp(part: Plane, white: int) -> Plane | None:
    """Give what a strip's samples may not fall below; None if none is bright."""
    if int(part.max()) <= white - white // _SHOULDER:
        return None
    return np.asarray(cv2.addWeighted(part, _SHOULDER, part, 0, -(_SHOULDER - 1) * white))


def _chance(cols: int, seed: float) -> Plane:
    """Give a strip of chance, uint8, 0 to `_PART` - 1; not the same for every gain."""
    left = int(seed * 1e6) % _SPARE_PX
    return _pattern(cols + _SPARE_PX)[:, left : left + cols]


@lru_cache(maxsize=2)
def _pattern(cols: int) -> Plane:
    return np.random.default_rng(0).integers(0, _PARTS, (_STRIP_ROWS, cols), np.uint8)
