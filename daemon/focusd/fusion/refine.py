"""A second pass over the frames of a fused stack: each pixel in exact focus, where its depth is sure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from focusd.errors import FrameMismatch, FusionError
from focusd.fusion.arrays import Float, Image
from focusd.fusion.focus_fit import FocusFit
from focusd.fusion.refinable import Agreement, Strip, shares_of, strips_of
from focusd.fusion.relief import Relief
from focusd.pictures.planes import Planes
from focusd.pictures.samples import white_of

# Chosen on the suite (decision 0010): the window of the fit without noise and with much; the noise, 8-bit
# levels, that is half way.
_NARROW_STEPS, _WIDE_STEPS = 0.45, 0.70
_HALF_WAY_SIGMA = 0.8
# 8-bit levels that a value may leave the first pass's 5x5 range by.
_TOLERANCE = 2.0


@dataclass(frozen=True, slots=True)
class _Layer:
    """One plane of the image, with the sums of each strip."""

    plane: Image
    strips: list[Strip]
    sums: list[Float]


class Refinement:
    """The second pass.

    Hand every frame of the stack to `add`, in any order, as it was fused, then take `image`. The first pass's
    image stays where depth is not sure or not smooth, and where the fit would change it more than half a
    step's blur may: there frames have moved against each other.

    Parameters
    ----------
    relief : Relief
        From the first pass.
    image : ndarray or Planes
        From the first pass; uint8 or uint16, not modified.
    positions_um : sequence of float
        Where the frames were taken, um, one for each frame that will come.
    sigma : float
        Noise of the frames, standard deviation in 8-bit levels: `focusd.fusion.Fusion.sigma`.

    Raises
    ------
    FrameMismatch
        An image of another size than the relief's.
    FusionError
        No position.

    Notes
    -----
    Memory: 4 bytes a pixel and channel and 3 a pixel, in the strips of 64 rows that hold a pixel to refine:
    at most 7 B/px for grey, 9.75 for 4:2:0, 15 for BGR, beside the image and the relief.
    """

    def __init__(
        self, relief: Relief, image: Image | Planes, positions_um: Sequence[float], sigma: float
    ) -> None:
        if image.shape[:2] != (relief.rows, relief.cols):
            raise FrameMismatch(
                f"an image of {image.shape[1]}x{image.shape[0]} px with a relief of "
                f"{relief.cols}x{relief.rows}: both must be of one stack"
            )
        if not len(positions_um):
            raise FusionError("a stack without positions cannot be refined: give each frame's")
        self._image = image
        self._positions_um = np.sort(np.asarray(positions_um, np.float64))
        self._awaited = Counter(float(z) for z in positions_um)
        trust = 1.0 / (1.0 + (sigma / _HALF_WAY_SIGMA) ** 2)
        window_steps = _WIDE_STEPS - (_WIDE_STEPS - _NARROW_STEPS) * trust
        self._fit = FocusFit.of(self._positions_um, relief.step_um, window_steps)
        # Depth without the noise of single pixels.
        smooth_um = np.asarray(cv2.medianBlur(relief.raw_um, 5), np.float32)
        shares = shares_of(relief, smooth_um, trust)
        planes = _planes(image)
        strips = {
            shape: strips_of(shape, smooth_um, shares, self._fit)
            for shape in {plane.shape[:2] for plane in planes}
        }
        self._layers = [
            _Layer(plane, here, [np.zeros(plane[strip.rows].shape, np.float32) for strip in here])
            for plane in planes
            for here in [strips[plane.shape[:2]]]
        ]

    @property
    def nbytes(self) -> int:
        """Memory held beside image and relief, bytes, without the table of the fit."""
        sums = sum(rows.nbytes for layer in self._layers for rows in layer.sums)
        shared = {id(strip): strip for layer in self._layers for strip in layer.strips}
        return sums + sum(strip.depth.nbytes + strip.share.nbytes for strip in shared.values())

    @property
    def refined_percent(self) -> float:
        """Share of the image's pixels that the frames change, 0 to 100."""
        touched = sum(int(np.count_nonzero(strip.share)) for strip in self._layers[0].strips)
        rows, cols = self._image.shape[:2]
        return 100.0 * touched / float(rows * cols)

    def add(self, frame: Image | Planes, position_um: float) -> None:
        """Take in one frame.

        Parameters
        ----------
        frame : ndarray or Planes
            Of the image's kind, type and size; not modified and not kept.
        position_um : float
            Where it was taken; one of the positions given, as often as it was given.

        Raises
        ------
        FrameMismatch
            Another kind, type or size.
        FusionError
            A position that is not awaited (any more).
        """
        if _form(frame) != _form(self._image):
            raise FrameMismatch(
                f"a frame of {_form(frame)} for an image of {_form(self._image)}: give the stack's own"
            )
        position_um = float(position_um)
        if not self._awaited[position_um]:
            raise FusionError(
                f"a frame at {position_um:g} um is not awaited: add each frame of the stack once, at the "
                "position it was fused with"
            )
        self._awaited[position_um] -= 1
        weights = self._fit.weights[int(np.searchsorted(self._positions_um, position_um))]
        used = np.flatnonzero(weights)
        if not len(used):
            return
        first, last = int(used[0]), int(used[-1])
        for layer, plane in zip(self._layers, _planes(frame), strict=True):
            for strip, sums in zip(layer.strips, layer.sums, strict=True):
                if strip.highest >= first and strip.lowest <= last:
                    weight = weights[strip.depth]
                    sums += plane[strip.rows] * (weight[..., None] if plane.ndim == 3 else weight)

    def image(self) -> Image | Planes:
        """Refined image, a fresh one of the first pass's kind and type.

        Raises
        ------
        FusionError
            Frames are missing.
        """
        missing = sum(self._awaited.values())
        if missing:
            raise FusionError(
                f"{missing} frames of {len(self._positions_um)} have not come a second time: add all of them"
            )
        made = [layer.plane.copy() for layer in self._layers]
        white = 255 if isinstance(self._image, Planes) else white_of(self._image)
        tolerance = np.float32(_TOLERANCE * white / 255)
        first = self._layers[0]
        agreement = Agreement(first.plane, first.strips, first.sums, white / 255)
        for layer, plane in zip(self._layers, made, strict=True):
            for strip, sums in zip(layer.strips, layer.sums, strict=True):
                share = strip.share * np.float32(1 / 255) * agreement.of(strip.rows, plane.shape)
                rows = plane[strip.rows].astype(np.float32)
                rows += (sums - rows) * (share[..., None] if plane.ndim == 3 else share)
                low, high = _range(layer.plane, strip.rows)
                np.clip(np.rint(rows), np.maximum(low - tolerance, 0), high + tolerance, out=rows)
                plane[strip.rows] = np.minimum(rows, white)
        return Planes(*made) if isinstance(self._image, Planes) else made[0]


def _range(plane: Image, rows: slice) -> tuple[Float, Float]:
    """Smallest and largest value within 5x5 of each pixel of some rows."""
    top, bottom = max(0, rows.start - 2), min(len(plane), rows.stop + 2)
    window = np.ones((5, 5), np.uint8)
    core = slice(rows.start - top, rows.stop - top)
    part = plane[top:bottom]
    return cv2.erode(part, window)[core].astype(np.float32), cv2.dilate(part, window)[core].astype(np.float32)


def _form(image: Image | Planes) -> str:
    if isinstance(image, Planes):
        return f"{image.shape[1]}x{image.shape[0]} px 4:2:0"
    return f"{image.shape[1]}x{image.shape[0]} px {image.dtype} {'grey' if image.ndim == 2 else 'BGR'}"


def _planes(image: Image | Planes) -> list[Image]:
    return [image.luma, image.blue, image.red] if isinstance(image, Planes) else [image]
