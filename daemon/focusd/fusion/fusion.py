"""`Fusion`: add frames in any order, merge partial fusions, ask for the result at any time."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from copy import deepcopy
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, Protocol, cast, get_args

import cv2
import numpy as np

from focusd.errors import FrameMismatch, FusionError
from focusd.fusion.arrays import Float, Image, Index
from focusd.fusion.blend import PyramidBlend
from focusd.fusion.classical import ClassicalBlend
from focusd.fusion.depth import locate, rank
from focusd.fusion.noise import LARGEST_SIGMA
from focusd.fusion.selection import Selection
from focusd.fusion.tone import Tone

Method = Literal["pyramid", "laplacian", "average"]

# Frames remembered to know a repeat by; 40 times the longest stack seen.
_REMEMBERED_FRAMES = 4096
# Parts whose noise differs by more than this were weighted too differently to be added.
_LARGEST_SIGMA_RATIO = 1.5


@dataclass(frozen=True, slots=True)
class FusionResult:
    """A fused image and where each of its pixels lies.

    Parameters
    ----------
    image : ndarray
        The frames' own type and shape.
    depth_um : ndarray
        float32, (rows, cols), on the scale of the positions given to `Fusion.add`; sub-step where the best
        frame's two neighbours arrived in z order, else whole-step; NaN where confidence is 0.
    confidence : ndarray
        float32, (rows, cols), 0 to 1; see `focusd.fusion.depth.locate`. 0 everywhere for a single frame.
    origin : ndarray
        int16, (rows, cols): the sharpest frame there, counted from 0 in ascending z.
    """

    image: Image
    depth_um: Float
    confidence: Float
    origin: Index


class _Blend(Protocol):
    """What the three methods have in common."""

    @property
    def sigma(self) -> float: ...
    @property
    def floor(self) -> float: ...
    @property
    def response(self) -> Float: ...
    @property
    def selection(self) -> Selection: ...
    @property
    def nbytes(self) -> int: ...
    def add(self, image: Image, position_um: float) -> None: ...
    def merge(self, other: Any) -> None: ...
    def image(self) -> Image: ...
    def preview(self, max_side_px: int) -> Image: ...


class Fusion:
    """A focus stack being fused, in memory that does not grow with the number of frames.

    Not safe for use by two threads at once.

    Parameters
    ----------
    method : {"pyramid", "laplacian", "average"}
        Power-weighted Laplacian pyramid; sharpest pixel; sharpness-weighted mean.
    gaussian_px, laplacian_px : int
        Kernel sides of `laplacian` and `average`, odd, 1 to 31. Default 5.
    sigma : float, optional
        Noise of the frames, standard deviation in 8-bit levels, above 0 to 16. Measured on the first frame
        when not given. Parts that shall merge as if fused in one must share it: make them with `sibling`.
    bits : int, optional
        Bits a uint16 frame's values use, 8 to 16. Taken from the first frame's brightest pixel when not
        given. Always 8 for uint8.

    Raises
    ------
    FusionError
        An unknown method, or a kernel, sigma or bit count outside its range.
    """

    def __init__(
        self,
        *,
        method: Method = "pyramid",
        gaussian_px: int = 5,
        laplacian_px: int = 5,
        sigma: float | None = None,
        bits: int | None = None,
    ) -> None:
        if method not in get_args(Method):
            raise FusionError(f"fusion method is {method!r}: it must be one of {', '.join(get_args(Method))}")
        for name, side_px in (("gaussian_px", gaussian_px), ("laplacian_px", laplacian_px)):
            if not (1 <= side_px <= 31 and side_px % 2 == 1):
                raise FusionError(f"{name} is {side_px} px: it must be odd and from 1 to 31")
        if sigma is not None and not 0 < sigma <= LARGEST_SIGMA:
            raise FusionError(f"sigma is {sigma} levels: it must be above 0 and at most {LARGEST_SIGMA}")
        if bits is not None and not 8 <= bits <= 16:
            raise FusionError(f"bits is {bits}: it must be from 8 to 16")
        self._method: Method = method
        self._kernels_px = (gaussian_px, laplacian_px)
        self._sigma = sigma
        self._bits = bits
        self._tone: Tone | None = None
        self._shape: tuple[int, ...] = ()
        self._blend: _Blend | None = None
        self._frames = 0
        self._brightest = 0
        self._seen: OrderedDict[tuple[float, int], None] = OrderedDict()

    @property
    def frames(self) -> int:
        """Frames fused; repeats are not counted."""
        return self._frames

    @property
    def nbytes(self) -> int:
        """Memory of the state, bytes; the same for any number of frames (but for a short table)."""
        return self._blend.nbytes if self._blend is not None else 0

    @property
    def method(self) -> Method:
        """How frames are fused."""
        return self._method

    @property
    def sigma(self) -> float | None:
        """Noise of the frames, 8-bit levels; None before the first frame unless given."""
        return self._blend.sigma if self._blend is not None else self._sigma

    @property
    def white(self) -> int:
        """Largest value an image of this stack may hold: 255, or for uint16 the next ``2 ** n - 1``.

        A 12-bit camera's frames end at 4095 in a 16-bit file; this is what a display should show as white.
        """
        return (1 << max(8, self._brightest.bit_length())) - 1

    def sibling(self) -> Fusion:
        """Return an empty fusion with the same settings, noise and bits: its part will merge exactly."""
        return Fusion(
            method=self._method,
            gaussian_px=self._kernels_px[0],
            laplacian_px=self._kernels_px[1],
            sigma=self.sigma,
            bits=self._tone.bits if self._tone is not None else self._bits,
        )

    def add(self, image: Image, position_um: float) -> None:
        """Fuse one more frame.

        A frame with the position and content (CRC-32) of one of the last 4096 changes nothing; an older
        repeat is fused again, which tilts the mean of flat areas a little towards it.

        Parameters
        ----------
        image : ndarray
            uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR; not modified and not kept.
        position_um : float
            Where it was taken, um, any zero. Frames in z order, up or down, give sub-step depth.

        Raises
        ------
        FrameMismatch
            Another size, number of channels or type than the first frame's.
        FusionError
            Not an image, or a position that is not finite.
        """
        self._check(image, position_um)
        image = np.ascontiguousarray(image)
        key = (float(position_um), zlib.crc32(image.data))
        if key in self._seen:
            return
        if self._blend is None:
            self._start(image, float(position_um))
        else:
            self._blend.add(image, float(position_um))
        self._remember(key)
        self._frames += 1
        self._brightest = max(self._brightest, int(image.max()))

    def merge(self, other: Fusion) -> None:
        """Take in all of another fusion's frames; `other` is unchanged.

        Parameters
        ----------
        other : Fusion
            Of the same method, kernels, frame size, type and bits, with about the same noise and no frame
            in common.

        Raises
        ------
        FrameMismatch
            Frames of another size or type.
        FusionError
            Other settings, noise too different, or a frame present in both.
        """
        if (other._method, other._kernels_px) != (self._method, self._kernels_px):
            raise FusionError(
                f"cannot merge a fusion by {other._method} {other._kernels_px} px into one by "
                f"{self._method} {self._kernels_px} px: use the same settings for both"
            )
        if other is self or not self._seen.keys().isdisjoint(other._seen.keys()):
            raise FusionError(
                "cannot merge: both parts hold the same frame; fuse each frame in one part only"
            )
        if other._blend is None:
            return
        if self._blend is None:
            # A start from zero would need the frames; a copy of the sums is the same thing.
            self._blend = deepcopy(other._blend)
            self._tone, self._shape = other._tone, other._shape
        else:
            self._check_parts(other)
            self._blend.merge(other._blend)
        self._frames += other._frames
        self._brightest = max(self._brightest, other._brightest)
        for key in other._seen:
            self._remember(key)

    def result(self) -> FusionResult:
        """Fused image and depth so far; the state is unchanged.

        Raises
        ------
        FusionError
            Before the first frame.
        """
        blend = self._filled()
        depth_um, confidence = locate(blend.selection, blend.floor)
        return FusionResult(
            image=self._within_white(blend.image()),
            depth_um=self._full_size(depth_um),
            confidence=self._full_size(confidence),
            origin=self._full_size(rank(blend.selection)),
        )

    def preview(self, max_side_px: int) -> Image:
        """Fused image so far, small and cheap, from the coarser levels alone.

        Parameters
        ----------
        max_side_px : int
            Limit of the longer side, 1 or more. The image has the largest size the levels offer within it
            (halves of the full size, five times at most); below 1/32 of the full size it is larger.

        Raises
        ------
        FusionError
            Before the first frame, or for a limit below 1.
        """
        if max_side_px < 1:
            raise FusionError(f"max_side_px is {max_side_px}: it must be 1 or more")
        return self._within_white(self._filled().preview(max_side_px))

    def sharpness(self) -> Float:
        """Response of the frame added last.

        Returns
        -------
        ndarray
            float32, (rows, cols), 0 or more, about 8-bit levels.

        Raises
        ------
        FusionError
            Before the first frame.
        """
        response: Float = self._full_size(self._filled().response)
        return response

    def _check(self, image: Image, position_um: float) -> None:
        """Refuse what cannot be fused, before anything is changed."""
        if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16):
            kind = getattr(image, "dtype", type(image).__name__)
            raise FusionError(f"a frame of type {kind}: it must be an array of uint8 or uint16")
        if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or image.size == 0:
            raise FusionError(
                f"a frame of shape {image.shape}: it must be (rows, cols) grey or (rows, cols, 3) BGR"
            )
        if not isfinite(position_um):
            raise FusionError(f"a frame at position {position_um} um: the position must be finite")
        if self._tone is not None and (image.shape != self._shape or image.dtype != self._tone.dtype):
            raise FrameMismatch(
                f"a frame of {_describe(image.shape, image.dtype)} in a stack of "
                f"{_describe(self._shape, self._tone.dtype)}: all frames must be alike"
            )

    def _check_parts(self, other: Fusion) -> None:
        mine, theirs = cast("Tone", self._tone), cast("Tone", other._tone)
        if other._shape != self._shape or theirs.dtype != mine.dtype:
            raise FrameMismatch(
                f"cannot merge frames of {_describe(other._shape, theirs.dtype)} into frames of "
                f"{_describe(self._shape, mine.dtype)}: all must be alike"
            )
        low, high = sorted((self._filled().sigma, other._filled().sigma))
        if theirs.bits != mine.bits or high > _LARGEST_SIGMA_RATIO * low:
            raise FusionError(
                f"cannot merge parts weighted for noise {other._filled().sigma:.2f} levels, {theirs.bits} "
                f"bits and {self._filled().sigma:.2f} levels, {mine.bits} bits: make the parts with sibling()"
            )

    def _start(self, image: Image, position_um: float) -> None:
        tone = Tone.of(image)
        if self._bits is not None and image.dtype == np.uint16:
            tone = Tone(self._bits, tone.dtype)
        if self._method == "pyramid":
            self._blend = PyramidBlend(image, position_um, tone, self._sigma)
        else:
            self._blend = ClassicalBlend(
                image,
                position_um,
                tone,
                self._sigma,
                gaussian_px=self._kernels_px[0],
                laplacian_px=self._kernels_px[1],
                average=self._method == "average",
            )
        self._tone, self._shape = tone, image.shape

    def _filled(self) -> _Blend:
        if self._blend is None:
            raise FusionError("no frame has been fused yet: add one first")
        return self._blend

    def _within_white(self, image: Image) -> Image:
        if image.dtype == np.uint16:
            np.minimum(image, np.uint16(self.white), out=image)
        return image

    def _remember(self, key: tuple[float, int]) -> None:
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED_FRAMES:
            self._seen.popitem(last=False)

    def _full_size(self, plane: Any) -> Any:
        """Bring a plane of the selection's size to the image's."""
        rows, cols = self._shape[:2]
        if plane.shape == (rows, cols):
            return plane.copy()
        size = (2 * plane.shape[1], 2 * plane.shape[0])
        return np.ascontiguousarray(cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST)[:rows, :cols])


def _describe(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    kind = "grey" if len(shape) == 2 else "colour"
    return f"{shape[1]}x{shape[0]} px {dtype} {kind}"
