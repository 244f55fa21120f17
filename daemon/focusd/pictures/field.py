"""What an empty field and the dark say of a camera and its light: checked, and made into maps.

``(frame - dark) * mean(flat - dark) / (flat - dark)`` is the flat-field correction of microscopy (Murphy
2001, Fundamentals of Light Microscopy and Electronic Imaging, p. 291, which advises means of 9 to 16 frames).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.pictures.average import Average, FlatUnusable, Form
from focusd.pictures.defects import Defects, Mask, hot
from focusd.pictures.grain import SIGNIFICANT, Samples, textured_share, without_grain

GAIN_PLACES = 13
"""Places of a gain behind the point: beside 8 bits of a sample its 16 fit a float's 24, and all is exact."""

DARK_PLACES = 6
"""Places of an 8-bit level of the dark behind the point."""

CAST_PLACES = 15
"""Places of a colour cast behind the point; it is a share of the luma."""

_UNITY = 1 << GAIN_PLACES
_LARGEST_GAIN = 65535 / _UNITY
_GREY = np.float32(128 * 257)
_STRIP_ROWS = 128
# Shares of pixels, and of white.
_MOST_CLIPPED, _MOST_LOST, _MOST_HOT, _MOST_TEXTURED = 0.001, 0.01, 0.005, 0.05
_LEAST_FLAT, _MOST_DARK, _LEAST_HOT, _LEAST_TEXTURE = 0.1, 0.25, 0.01, 0.02
_MOST_FLICKER = 0.05
_LEAST_CAST = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """The maps of a camera and its light.

    Parameters
    ----------
    form : Form
        Of the frames.
    white : int
        Level of a frame that is white, as far as flat and dark tell.
    gains : tuple of ndarray of uint16
        In 2 ** -13: of the image, (rows, cols) or (rows, cols, 3); for planes also of both colour planes.
    dark : ndarray of uint16 or None
        What is taken off the image first: 64ths of a level of 8 bits, whole levels of 16.
    casts : tuple of ndarray of int16
        For planes of a flat whose colour is uneven: the colour of blue and of red that goes with a luma of 1,
        less that of the whole, in 2 ** -15; else empty.
    defects : tuple of Defects
        Of the image, or of each plane.
    """

    form: Form
    white: int
    gains: tuple[Samples, ...]
    dark: Samples | None
    casts: tuple[npt.NDArray[np.int16], ...]
    defects: tuple[Defects, ...]


def field_of(flat: Average | None, dark: Average | None) -> Field:
    """Make the maps; see `focusd.pictures.shading.Shading.of`."""
    first = flat or dark
    if first is None:
        raise FlatUnusable("neither a flat nor a dark frame: take one by `focusd flat`")
    form = first.form
    if flat is not None and dark is not None:
        form.require(dark.form, "the flat")
    masks = [np.zeros(shape, np.bool_) for shape in form.shapes]
    dark_planes: list[Samples] | None = None
    if dark is not None:
        # A 16-bit camera's white cannot be told from the dark alone.
        _require_dark(dark, 65535 if flat is None else flat.white)
        masks = _hot_masks(dark, dark.white if flat is None else flat.white)
        dark_planes = _smooth(dark, masks)
    casts: tuple[npt.NDArray[np.int16], ...] = ()
    if flat is not None:
        _require_lit(flat)
        gains, casts, lost = _gains(flat, dark_planes, masks)
        masks = [mask | each for mask, each in zip(masks, lost, strict=True)]
    else:
        whole = (*form.shapes[0], 3) if form.colour == "BGR" else form.shapes[0]
        shapes = [whole, form.shapes[1]] if form.colour == "4:2:0" else [whole]
        gains = tuple(np.full(shape, _UNITY, np.uint16) for shape in shapes)
    if form.colour == "BGR":
        # Colour was filled in from the neighbours: what is wrong in one channel is doubtful in all.
        masks = [masks[0] | masks[1] | masks[2]]
    return Field(
        form,
        255 if form.bits == 8 else max(each.white for each in (flat, dark) if each is not None),
        gains,
        None if dark_planes is None else _offset(form, dark_planes),
        casts,
        tuple(Defects.of(mask) for mask in masks),
    )


def doubts(flat: Average) -> list[str]:
    """Say what makes a flat doubtful, though it can be used; one line each."""
    found = []
    plane = 1 if flat.form.colour == "BGR" else 0
    share = textured_share(flat.planes[plane], flat.noise_left(plane), _LEAST_TEXTURE)
    if share > _MOST_TEXTURED:
        found.append(
            f"{share:.0%} of the flat has fine detail, an empty field out of focus at most "
            f"{_MOST_TEXTURED:.0%}: what it shows will be taken out of every picture. Take the specimen "
            "away, or focus far from it"
        )
    if flat.flicker > _MOST_FLICKER:
        found.append(
            f"the light changed by {flat.flicker:.0%} from frame to frame, steady is at most "
            f"{_MOST_FLICKER:.0%}: let the lamp warm up, or expose for whole periods of the mains"
        )
    return found


def _require_lit(flat: Average) -> None:
    if flat.clipped > _MOST_CLIPPED:
        raise FlatUnusable(
            f"{flat.clipped:.1%} of the flat is white, at most {_MOST_CLIPPED:.1%} may be: expose less, to "
            "about two thirds of white",
            clipped=flat.clipped,
        )
    # Every seventh is enough for the middle.
    middle = max(float(np.median(plane[::7, ::7])) for plane in flat.planes[: _brightness_planes(flat.form)])
    if middle < _LEAST_FLAT * flat.white:
        raise FlatUnusable(
            f"the flat is {middle / flat.white:.0%} of white in its middle, at least {_LEAST_FLAT:.0%} is "
            "needed: switch the light on or expose longer, to about two thirds of white",
            level=middle / flat.white,
        )


def _require_dark(dark: Average, white: int) -> None:
    planes = dark.planes[: _brightness_planes(dark.form)]
    level = max(float(np.median(plane[::7, ::7])) for plane in planes) / white
    if level > _MOST_DARK:
        raise FlatUnusable(
            f"the dark frame is {level:.0%} of white in its middle, at most {_MOST_DARK:.0%} may be: switch "
            "the light off and cover the lens",
            level=level,
        )


def _brightness_planes(form: Form) -> int:
    return 3 if form.colour == "BGR" else 1


def _hot_masks(dark: Average, white: int) -> list[Mask]:
    masks = []
    for number, plane in enumerate(dark.planes):
        noise = dark.noise_left(number)
        limit = max(_LEAST_HOT * white, SIGNIFICANT * (noise[0] if noise else 0.0))
        masks.append(hot(plane, limit))
    share = max(float(mask.mean()) for mask in masks)
    if share > _MOST_HOT:
        raise FlatUnusable(
            f"{share:.1%} of the dark frame stands out as hot pixels do, at most {_MOST_HOT:.1%} may: see "
            "that no light comes in, and expose as for the stack",
            hot=share,
        )
    return masks


def _smooth(average: Average, bad: list[Mask]) -> list[Samples]:
    """Without what is bad, and without noise."""
    planes = []
    for number, (plane, mask) in enumerate(zip(average.planes, bad, strict=True)):
        whole = plane.copy()
        Defects.of(mask).mend(whole)
        planes.append(without_grain(whole, average.noise_left(number)))
    return planes


def _gains(
    flat: Average, dark: list[Samples] | None, bad: list[Mask]
) -> tuple[tuple[Samples, ...], tuple[npt.NDArray[np.int16], ...], list[Mask]]:
    """Gains, colour casts, and where there is too little light to tell."""
    planes = _smooth(flat, bad)
    bright = _brightness_planes(flat.form)
    unlit = [None] * len(planes) if dark is None else dark
    means = [
        float(plane.mean()) - (0.0 if less is None else float(less.mean()))
        for plane, less in zip(planes, unlit, strict=True)
    ]
    made, lost = zip(*map(_gain, planes[:bright], unlit[:bright], means[:bright]), strict=True)
    if flat.form.colour != "4:2:0":
        return ((made[0] if bright == 1 else np.dstack(made)),), (), list(lost)
    half = halved(planes[0] if unlit[0] is None else cv2.subtract(planes[0], unlit[0]))
    gain_half, lost_half = _gain(half, None, means[0])
    casts = []
    for plane in planes[1:]:
        colour = plane.astype(np.float32) - _GREY
        mean = float(colour.mean(dtype=np.float64))
        uneven = colour / np.maximum(half, 1) - np.float32(mean / means[0])
        uneven[lost_half] = 0
        casts.append(np.clip(np.rint(uneven * 2**CAST_PLACES), -32768, 32767).astype(np.int16))
    # A level and a half at white over a hundredth of the picture: less is lost in the rounding of colour.
    limit = 1.5 * 2**CAST_PLACES / 255
    seen = max(float(np.mean(np.abs(cast.astype(np.int32)) > limit)) for cast in casts)
    kept = tuple(casts) if seen > _LEAST_CAST else ()
    return (made[0], gain_half), kept, [lost[0], lost_half, lost_half]


def _gain(plane: Samples, dark: Samples | None, mean: float) -> tuple[Samples, Mask]:
    """Gain at each sample, and where there is too little light to tell."""
    gain, lost = np.empty(plane.shape, np.uint16), np.empty(plane.shape, np.bool_)
    # By strips: fractions take four times the memory.
    for top in range(0, len(plane), _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        lit = plane[rows].astype(np.int32)
        if dark is not None:
            lit -= dark[rows]
        lost[rows] = lit * _LARGEST_GAIN <= mean
        gain[rows] = np.rint(_UNITY * mean / np.where(lost[rows], mean, lit))
    share = float(lost.mean())
    if share > _MOST_LOST:
        raise FlatUnusable(
            f"{share:.1%} of the flat has less than an eighth of its mean light, at most {_MOST_LOST:.0%} "
            "may: light the whole field",
            lost=share,
        )
    return gain, lost


def _offset(form: Form, dark: list[Samples]) -> Samples | None:
    """Return what to take off a frame; None where that is nothing."""
    whole = dark[0] if form.colour != "BGR" else np.dstack(dark)
    least = 1
    if form.bits == 8:
        whole = ((whole.astype(np.uint32) * 2**DARK_PLACES + 128) // 257).astype(np.uint16)
        least = 2**DARK_PLACES // 4
    return whole if int(whole.max()) >= least else None


def halved(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Mean of 2 x 2; an odd last row or column stands for two."""
    rows, cols = plane.shape
    if rows % 2 or cols % 2:
        plane = cv2.copyMakeBorder(plane, 0, rows % 2, 0, cols % 2, cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(plane, ((cols + 1) // 2, (rows + 1) // 2), interpolation=cv2.INTER_AREA))
