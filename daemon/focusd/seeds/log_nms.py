"""The notebook's method: Laplacian of Gaussian, largest layer at each pixel, depth by the sum of responses.

Steps: the frame is shifted onto the first and made as bright; sharpness is the norm over the colour
channels of the Laplacian of Gaussian; at each pixel all layers but the one of the largest response are
suppressed; what is left of the stack, added up, is the picture, and the layer's number the depth. The sum of
a pixel's responses over all layers says how far to trust it; depths below a threshold are dropped, the others
smoothed by a median, holes filled and what is no subject masked out.

References
----------
.. [1] Wolfram Language, 3D reconstruction via focus stacking,
   wolfram.com/language/12/image-computation-for-microscopy/3d-reconstruction-via-focus-stacking.html
"""

from __future__ import annotations

from math import ceil, isfinite
from typing import Literal

import cv2
import numpy as np

from focusd.errors import FrameMismatch, FusionError
from focusd.focus.measures import LOG_SIGMA_PX, log_norm
from focusd.fusion.arrays import Float, Image
from focusd.fusion.noise import estimate_sigma
from focusd.fusion.relief import Relief
from focusd.fusion.selection import Response, fixed
from focusd.fusion.tone import Tone
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_8_bits, to_bgr
from focusd.seeds.equaliser import Equaliser
from focusd.seeds.layers import Layers
from focusd.seeds.surface import Surface
from focusd.seeds.translation import Track, overlap, shared

LEAST_CONFIDENCE = 0.05
"""Sum of a pixel's responses, beyond that of noise alone, that makes its depth count; white is 1."""
# Share of a channel's noise in the luma, where channels are independent: sqrt(0.114² + 0.587² + 0.299²).
_LUMA_NOISE = 0.67
# A response within so many sigmas of the border has seen beyond it.
_BORDER_SIGMAS = 3


class LogNms:
    """A stack fused by the notebook's method; used like `focusd.fusion.Fusion`, but merges with nothing.

    Frames must come in z order, so that neighbours can be aligned. Memory does not grow with their number.

    Parameters
    ----------
    sigma_px : float
        Standard deviation of the Gaussian, 0.3 to 20.
    least_confidence : float
        See `LEAST_CONFIDENCE`; above 0.
    median_px : int
        Side of the median that depth is smoothed by, 3 or 5.
    bits : int, optional
        Bits a uint16 frame's values use, 8 to 16; taken from the first frame's brightest when not given.
    align : bool
        Shift frames onto the first, by whole pixels, and crop what not all cover.
    equalise : bool
        Make frames as bright as the first.

    Raises
    ------
    FusionError
        A figure outside its range.
    """

    method: Literal["log-nms"] = "log-nms"
    sigma = None

    def __init__(
        self,
        *,
        sigma_px: float = LOG_SIGMA_PX,
        least_confidence: float = LEAST_CONFIDENCE,
        median_px: int = 5,
        bits: int | None = None,
        align: bool = True,
        equalise: bool = True,
    ) -> None:
        if not 0.3 <= sigma_px <= 20:
            raise FusionError(f"sigma_px is {sigma_px}: it must be from 0.3 to 20 px")
        if not (isfinite(least_confidence) and least_confidence > 0):
            raise FusionError(f"least_confidence is {least_confidence}: it must be above 0")
        if median_px not in (3, 5):
            raise FusionError(f"median_px is {median_px}: it must be 3 or 5 px")
        if bits is not None and not 8 <= bits <= 16:
            raise FusionError(f"bits is {bits}: it must be from 8 to 16")
        self._sigma_px, self._least, self._median_px = sigma_px, least_confidence, median_px
        self._bits = bits
        self._equaliser = Equaliser() if equalise else None
        self._track = Track() if align else None
        self._positions: list[float] = []
        self._brightest = 0
        self._noise = 0.0
        self._tone: Tone | None = None
        self._common = (slice(0, 0), slice(0, 0))
        self._layers = Layers(np.empty((0, 0), np.uint8))

    @property
    def frames(self) -> int:
        """Frames fused."""
        return len(self._positions)

    @property
    def positions_um(self) -> tuple[float, ...]:
        """Where they were taken, ascending, um."""
        return tuple(sorted(self._positions))

    @property
    def white(self) -> int:
        """Largest value an image of this stack may hold: 255, or for uint16 the next ``2 ** n - 1``."""
        return (1 << max(8, self._brightest.bit_length())) - 1

    @property
    def nbytes(self) -> int:
        """Memory of the state, bytes; the same for any number of frames."""
        return self._layers.nbytes

    def add(self, frame: Image | Planes, position_um: float) -> None:
        """Fuse one more frame.

        Parameters
        ----------
        frame : ndarray or Planes
            uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR, or 4:2:0; not modified and not kept.
        position_um : float
            Where it was taken, um, any zero.

        Raises
        ------
        FrameMismatch
            Another size, number of channels or type than the first frame's.
        FusionError
            A position that is not finite; a frame that cannot be aligned, shares too little with the others,
            or is half as bright or less, or twice as bright or more.
        """
        if not isfinite(position_um):
            raise FusionError(f"position_um is {position_um}: it must be finite")
        image = to_bgr(frame)
        if self._tone is None:
            self._start(image)
        elif image.shape != self._layers.picked.shape or image.dtype != self._layers.picked.dtype:
            raise FrameMismatch(
                f"a frame of {image.dtype} {image.shape} in a stack of {self._layers.picked.dtype} "
                f"{self._layers.picked.shape}: all must be alike"
            )
        tone = self._tone or Tone.of(image, self._bits)
        luma = tone.sources(image)[0].rows(0, len(image))
        x, y = (0, 0) if self._track is None else self._track.follow(luma)
        rows, cols = luma.shape
        here = (overlap(y, rows), overlap(x, cols))
        common = shared(self._common, (here[0][0], here[1][0]), (rows, cols))
        brightest = int(image.max()) if image.dtype == np.uint16 else 255
        if self._equaliser is not None:
            image = self._equaliser.equal(image, luma, (x, y))
        response = log_norm(image, self._sigma_px)
        # `log_norm` takes a type's whole range for 255 levels.
        response *= np.float32(np.iinfo(image.dtype).max / 255 / tone.unit)
        self._layers.add(image, response, *here)
        self._common = common
        self._brightest = max(self._brightest, brightest)
        self._positions.append(float(position_um))

    def image(self) -> Image:
        """Fused image so far, what all frames cover; BGR for planes.

        Raises
        ------
        FusionError
            Before the first frame.
        """
        self._check_begun()
        picked = self._layers.picked[self._common].copy()
        # A frame made brighter may go beyond the bits that the stack has.
        return picked if picked.dtype == np.uint8 else np.minimum(picked, np.uint16(self.white), out=picked)

    def surface(self) -> Surface:
        """Depth cleaned up, um; what all frames cover.

        Raises
        ------
        FusionError
            Before the first frame.
        """
        self._check_begun()
        depth_um = np.array(self._positions, np.float64)[self._layers.origin[self._common]].astype(np.float32)
        image = self._layers.picked[self._common]
        luma = to_8_bits(image, self.white)
        grey = luma if luma.ndim == 2 else np.asarray(cv2.cvtColor(luma, cv2.COLOR_BGR2GRAY), np.uint8)
        sure = self._beyond_noise() > self._least
        rim = ceil(_BORDER_SIGMAS * self._sigma_px)
        for border in (sure[:rim], sure[-rim:], sure[:, :rim], sure[:, -rim:]):
            border[...] = False
        return Surface.of(depth_um, sure, np.ascontiguousarray(grey), self._median_px)

    def relief(self) -> Relief:
        """Depth, confidence, reason and origin so far; `Reason.UNSURE` where depth was filled in.

        Raises
        ------
        FusionError
            Before the first frame.
        """
        self._check_begun()
        origin = self._layers.origin[self._common]
        return self.surface().relief(origin, self._positions, self._beyond_noise() / self._least)

    def sharpness(self) -> Response:
        """Response of the frame added last, in the first frame's place: uint16, 1/512 of an 8-bit level.

        Raises
        ------
        FusionError
            Before the first frame.
        """
        self._check_begun()
        return fixed(self._layers.last)

    def _start(self, image: Image) -> None:
        tone = Tone.of(image, self._bits)
        rows, cols = image.shape[:2]
        sigma = estimate_sigma(tone.sources(image)[0])
        shape = (64, 64) if image.ndim == 2 else (64, 64, 3)
        grain = np.random.default_rng(0).normal(128, 10, shape).clip(0, 255).astype(np.uint8)
        channel = sigma if image.ndim == 2 else sigma / _LUMA_NOISE
        self._noise = channel / 10 * float(log_norm(grain, self._sigma_px).mean())
        self._tone, self._common = tone, (slice(0, rows), slice(0, cols))
        self._layers = Layers(image)

    def _beyond_noise(self) -> Float:
        """Sum of the responses over all layers less what noise alone would give; white is 1."""
        total = self._layers.total[self._common] - np.float32(self.frames * self._noise)
        return np.asarray(total * np.float32(1 / 255), np.float32)

    def _check_begun(self) -> None:
        if not self._positions:
            raise FusionError("nothing was fused yet: add a frame first")
