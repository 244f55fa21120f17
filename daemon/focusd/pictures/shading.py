"""Uneven light, dust on the sensor and hot pixels, taken out of frames.

The flat-field correction of `focusd.pictures.field` is exact for samples in proportion to the light.
Cameras' own pictures are encoded: a pure power of the light leaves it exact all the same, since a ratio's
power is the power's ratio; with another curve, sRGB's among them, it is exact where the frame is as bright as
the flat, and near it elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.pictures.average import Average, Form
from focusd.pictures.field import CAST_PLACES, DARK_PLACES, GAIN_PLACES, Field, field_of, halved
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, white_of

# From the last eighth of the levels on a sample may not lie below a ramp that ends at white.
_SHOULDER = 8
_STRIP_ROWS = 64
_GREY = np.uint8(128)

# How much of a pixel's luma its colour cast goes by: a blown pixel has lost its cast, so none is taken off.
_TENT = np.minimum(np.arange(256), (255 - np.arange(256)) * (_SHOULDER - 1)).astype(np.int16)


@dataclass(frozen=True, slots=True, eq=False)
class Shading:
    """What a camera and its light add to every frame, ready to be taken out; see `Shading.of`.

    Parameters
    ----------
    field : Field
        Its maps.
    """

    field: Field

    @classmethod
    def of(cls, flat: Average | None, dark: Average | None = None) -> Shading:
        """Make it of an empty field and of the dark.

        Where the flat is smooth its noise is taken out; what stands out of the noise by five standard
        deviations, as dust does, stays. What stands out of the dark by that and by a hundredth of white is a
        hot pixel, and its neighbours stand in for it: its own noise is larger, and from an encoded sample
        what it adds cannot be subtracted.

        Parameters
        ----------
        flat : Average or None
            Of an empty field out of focus, in the light and with the exposure of the stack.
        dark : Average or None
            With the light off.

        Raises
        ------
        FlatUnusable
            Neither; a flat that is clipped, too dark, or black in places; a dark that is not dark.
        FrameMismatch
            The two are not of one size and type.
        """
        return cls(field_of(flat, dark))

    @property
    def form(self) -> Form:
        """Form of the frames it is for."""
        return self.field.form

    @property
    def nbytes(self) -> int:
        """Memory of the maps, bytes."""
        field = self.field
        maps = (*field.gains, *field.casts, *(() if field.dark is None else (field.dark,)))
        places = sum(each.nbytes for found in field.defects for each in (*found.at, *found.near))
        return int(sum(each.nbytes for each in maps) + places)

    @property
    def hot_pixels(self) -> int:
        """Pixels whose neighbours stand in for them."""
        return self.field.defects[0].count

    @property
    def largest_gain(self) -> float:
        """What the darkest part is raised by."""
        return float(self.field.gains[0].max()) / (1 << GAIN_PLACES)

    def correct(self, frame: Image | Planes, out: Image | Planes | None = None) -> Image | Planes:
        """Take the shading out of a frame.

        The mean level stays, and so does white: where light is taken away, the uppermost thirtieth of the
        levels or so is drawn towards it. The same bits come out every time.

        Parameters
        ----------
        frame : ndarray or Planes
            Of `form`; not changed unless it is `out`.
        out : ndarray or Planes, optional
            Filled and returned; of `form`, and may be `frame`. Spares fresh memory. Memory that cannot be
            written to is left alone.

        Returns
        -------
        ndarray or Planes
            As `frame`.

        Raises
        ------
        FrameMismatch
            The frame is of another size or type.
        """
        self.form.require(Form.of(frame), "the flat or dark frame")
        if out is not None:
            self.form.require(Form.of(out), "the memory for the result")
        defects = self.field.defects
        if isinstance(frame, Planes):
            room = out if isinstance(out, Planes) and _writable(out) else _like(frame)
            self._lift(frame.luma, room.luma)
            self._lift_colour(frame, room)
            for plane, found in zip((room.luma, room.blue, room.red), defects, strict=True):
                found.mend(plane)
            return room
        image: Image = np.empty(frame.shape, frame.dtype)
        if isinstance(out, np.ndarray) and out.flags.writeable and out.flags.c_contiguous:
            image = out
        self._lift(frame, image)
        defects[0].mend(image)
        return image

    def _lift(self, source: npt.NDArray[Any], target: npt.NDArray[Any]) -> None:
        """Correct an image, or a luma plane."""
        gain, dark = self.field.gains[0], self.field.dark
        wide = source.dtype == np.uint16
        # The flat may have shown less than the whole range of a 16-bit camera.
        white = max(self.field.white, white_of(source)) if wide else 255
        knee = white - white // _SHOULDER
        factors = np.empty((_STRIP_ROWS, *gain.shape[1:]), np.float32)
        for top in range(0, len(source), _STRIP_ROWS):
            rows = slice(top, top + _STRIP_ROWS)
            part, result, more = source[rows], target[rows], gain[rows]
            ramp = None
            if int(part.max()) > knee and int(more.min()) < 1 << GAIN_PLACES:
                ramp = cv2.addWeighted(part, _SHOULDER, part, 0, -(_SHOULDER - 1) * white)
            if wide:
                lit = part if dark is None else cv2.subtract(part, dark[rows])
                cv2.multiply(lit, more, dst=result, scale=2.0**-GAIN_PLACES)
                if white < 65535:
                    np.minimum(result, np.uint16(white), out=result)
            elif dark is None:
                # Made anew for each strip: in floats a whole gain would take twice the memory.
                factor = factors[: len(part)]
                np.copyto(factor, more)
                cv2.multiply(part, factor, dst=result, scale=2.0**-GAIN_PLACES, dtype=cv2.CV_8U)
            else:
                # Of the dark there are places behind the point, so of the frame too.
                lit = cv2.subtract(np.left_shift(part, DARK_PLACES, dtype=np.uint16), dark[rows])
                made = cv2.multiply(lit, more, scale=2.0 ** -(GAIN_PLACES + DARK_PLACES))
                np.minimum(made, np.uint16(255), out=result, casting="unsafe")
            if ramp is not None:
                cv2.max(result, ramp, dst=result)

    def _lift_colour(self, source: Planes, target: Planes) -> None:
        """Correct both colour planes; `target` has its luma already."""
        gain, casts = self.field.gains[1], self.field.casts
        factors = np.empty((_STRIP_ROWS, gain.shape[1]), np.float32)
        pairs = ((source.blue, target.blue), (source.red, target.red))
        for top in range(0, len(gain), _STRIP_ROWS):
            rows = slice(top, top + _STRIP_ROWS)
            factor = factors[: len(gain[rows])]
            np.copyto(factor, gain[rows])
            luma = None
            if casts:
                luma = cv2.LUT(halved(target.luma[2 * top : 2 * (top + _STRIP_ROWS)]), _TENT)
            for number, (plane, result) in enumerate(pairs):
                # With its first bit turned over a colour sample is a number with a sign, 0 for grey.
                signed = np.bitwise_xor(plane[rows], _GREY).view(np.int8)
                made = cv2.multiply(signed, factor, scale=2.0**-GAIN_PLACES, dtype=cv2.CV_8S)
                if luma is not None:
                    tint = cv2.multiply(luma, casts[number][rows], scale=2.0**-CAST_PLACES)
                    made = cv2.subtract(made, np.clip(tint, -128, 127).astype(np.int8))
                np.bitwise_xor(np.asarray(made).view(np.uint8), _GREY, out=result[rows])


def _like(frame: Planes) -> Planes:
    return Planes(*(np.empty(plane.shape, np.uint8) for plane in (frame.luma, frame.blue, frame.red)))


def _writable(planes: Planes) -> bool:
    return all(plane.flags.writeable for plane in (planes.luma, planes.blue, planes.red))
