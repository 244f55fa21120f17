"""`Fusion`: add frames in any order, merge partial fusions, ask for the result at any time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np
import numpy.typing as npt

from focusd.errors import FrameMismatch, FusionError
from focusd.fusion.arrays import Float, Image, Index, Mask
from focusd.fusion.blend import PyramidBlend
from focusd.fusion.classical import ClassicalBlend
from focusd.fusion.fingerprint import fingerprint
from focusd.fusion.noise import LARGEST_SIGMA
from focusd.fusion.prefer import Prefer
from focusd.fusion.relief import Relief
from focusd.fusion.rule import Mode
from focusd.fusion.selection import Response, Selection
from focusd.fusion.state import FusionState
from focusd.fusion.tone import Kind, Tone
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_bgr

Method = Literal["pyramid", "laplacian", "average"]

# Frames remembered to know a repeat by; 40 times the longest stack seen.
_REMEMBERED_FRAMES = 4096
# Parts whose noise differs by more than this were weighted too differently to be added.
_LARGEST_SIGMA_RATIO = 1.5
_STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class FusionResult:
    """A fused image and where each of its pixels lies.

    Parameters
    ----------
    image : ndarray or Planes
        The frames' own kind, type and shape; BGR for planes where the method is not `pyramid`.
    depth_um : ndarray
        float32, (rows, cols), on the scale of the positions given to `Fusion.add`; NaN where unknown.
    confidence : ndarray
        float32, (rows, cols), 0 to 1. 0 everywhere for a single frame.
    reason : ndarray
        uint8, (rows, cols): a `focusd.fusion.relief.Reason`.
    origin : ndarray
        int16, (rows, cols): the sharpest frame there, counted from 0 in ascending z; frames at one position
        in the order they came.
    """

    image: Image | Planes
    depth_um: Float
    confidence: Float
    reason: Mask
    origin: Index


class _Blend(Protocol):
    """What the three methods have in common."""

    @property
    def sigma(self) -> float: ...
    @property
    def noise(self) -> float: ...
    @property
    def response(self) -> Response: ...
    @property
    def selection(self) -> Selection: ...
    @property
    def nbytes(self) -> int: ...
    def add(self, frame: Any, position_um: float, gain: float) -> None: ...
    def merge(self, other: Any) -> None: ...
    def copy(self) -> Any: ...
    def image(self) -> Image | Planes: ...
    def preview(self, max_side_px: int) -> Image: ...
    def clipped(self) -> npt.NDArray[np.bool_]: ...


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
    mode : {"default", "fast"}
        Of `pyramid`: the best picture, or a little less in a little less time.
    prefer : Prefer, optional
        Which end of the stack wins where two depths answer about alike.

    Raises
    ------
    FusionError
        An unknown method or mode, or a kernel, sigma or bit count outside its range.
    """

    def __init__(
        self,
        *,
        method: Method = "pyramid",
        gaussian_px: int = 5,
        laplacian_px: int = 5,
        sigma: float | None = None,
        bits: int | None = None,
        mode: Mode = "default",
        prefer: Prefer | None = None,
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
        if mode not in get_args(Mode):
            raise FusionError(f"fusion mode is {mode!r}: it must be one of {', '.join(get_args(Mode))}")
        self._mode: Mode = mode
        self._prefer = prefer
        self._sigma = sigma
        self._bits = bits
        self._tone: Tone | None = None
        self._shape: tuple[int, int] = (0, 0)
        self._blend: _Blend | None = None
        self._frames = 0
        self._brightest = 0
        self._seen: OrderedDict[tuple[float, str], None] = OrderedDict()

    @property
    def frames(self) -> int:
        """Frames fused; repeats are not counted."""
        return self._frames

    @property
    def nbytes(self) -> int:
        """Memory of the state, bytes; the same for any number of frames (but for a short table)."""
        return self._blend.nbytes if self._blend is not None else 0

    @property
    def positions_um(self) -> tuple[float, ...]:
        """Where the frames were taken, ascending, um."""
        return tuple(sorted(self._blend.selection.positions_um)) if self._blend is not None else ()

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
            mode=self._mode,
            prefer=self._prefer,
            bits=self._tone.bits if self._tone is not None else self._bits,
        )

    def add(self, frame: Image | Planes, position_um: float) -> None:
        """Fuse one more frame.

        A frame with the position and content of one of the last 4096 changes nothing; an older repeat is
        fused again, which tilts the mean of flat areas a little towards it.

        Parameters
        ----------
        frame : ndarray or Planes
            uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR, or 4:2:0; not modified and not kept.
        position_um : float
            Where it was taken, um, any zero. Frames in z order, up or down, give sub-step depth.

        Raises
        ------
        FrameMismatch
            Another size, number of channels or type than the first frame's, or far brighter than it.
        FusionError
            Not an image, or a position that is not finite.
        """
        if self._method != "pyramid" and isinstance(frame, Planes):
            frame = to_bgr(frame)
        self._check(frame, position_um)
        key = (float(position_um), fingerprint(frame))
        if key in self._seen:
            return
        brightest = int(frame.max()) if not isinstance(frame, Planes) and frame.dtype == np.uint16 else 255
        tone = Tone.of(frame, self._bits) if self._tone is None else self._tone
        if brightest > tone.brightest:
            raise FrameMismatch(
                f"a frame with a value of {brightest} in a stack begun at {tone.bits} bits: at most "
                f"{tone.brightest} fits; say how many bits the stack has (`focusd fuse --frame-bits`)"
            )
        if self._blend is None:
            self._start(frame, float(position_um), tone)
        else:
            self._blend.add(frame, float(position_um), self._gain(position_um))
        self._remember(key)
        self._frames += 1
        self._brightest = max(self._brightest, brightest)

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
        mine, theirs = ((each._method, each._kernels_px, each._mode, each._prefer) for each in (self, other))
        if mine != theirs:
            raise FusionError(
                f"cannot merge a fusion by {theirs} into one by {mine}: use the same settings for both"
            )
        if other is self or not self._seen.keys().isdisjoint(other._seen.keys()):
            raise FusionError(
                "cannot merge: both parts hold the same frame; fuse each frame in one part only"
            )
        if other._blend is None:
            return
        if self._blend is None:
            # A start from zero would need the frames; a copy of the sums is the same thing.
            self._blend = other._blend.copy()
            self._tone, self._shape = other._tone, other._shape
        else:
            self._check_parts(other)
            self._blend.merge(other._blend)
        self._frames += other._frames
        self._brightest = max(self._brightest, other._brightest)
        for key in other._seen:
            self._remember(key)

    def image(self) -> Image | Planes:
        """Fused image so far, of the frames' kind; the state is unchanged.

        Raises
        ------
        FusionError
            Before the first frame.
        """
        return self._within_white(self._filled().image())

    def relief(self) -> Relief:
        """Depth, confidence, reason and origin so far, on the grid they are kept on.

        Raises
        ------
        FusionError
            Before the first frame.
        """
        blend = self._filled()
        return Relief.of(blend.selection, blend.noise, shape=self._shape[:2], clipped=blend.clipped())

    def result(self) -> FusionResult:
        """Image and relief at full size. Takes more memory than `image` and `relief` one after the other.

        Raises
        ------
        FusionError
            Before the first frame.
        """
        relief = self.relief()
        return FusionResult(
            image=self.image(),
            depth_um=relief.full_depth_um(),
            confidence=relief.full_size(relief.confidence),
            reason=relief.full_size(relief.reason),
            origin=relief.full_size(relief.origin),
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
        return cast("Image", self._within_white(self._filled().preview(max_side_px)))

    def sharpness(self) -> Response:
        """Response of the frame added last, at the resolution it is kept in.

        Returns
        -------
        ndarray
            uint16, half the image's size or all of it, units of 1/512 of an 8-bit level.

        Raises
        ------
        FusionError
            Before the first frame.
        """
        response = self._filled().response
        rows, cols = self._shape
        if response.shape != self._shape:
            rows, cols = (rows + 1) // 2, (cols + 1) // 2
        return response[:rows, :cols].copy()

    def state(self) -> FusionState:
        """Everything needed to go on elsewhere; its planes are this fusion's own, not copies.

        Raises
        ------
        FusionError
            Before the first frame, or for another method than "pyramid".
        """
        blend, tone = self._filled(), cast("Tone", self._tone)
        if not isinstance(blend, PyramidBlend):
            raise FusionError(f"a fusion by {self._method} cannot be saved; use the pyramid method")
        facts = {
            "version": _STATE_VERSION,
            "method": self._method,
            "mode": self._mode,
            "prefer": None if self._prefer is None else asdict(self._prefer),
            "sigma": blend.sigma,
            "bits": tone.bits,
            "dtype": tone.dtype.name,
            "kind": tone.kind,
            "shape": list(self._shape),
            "frames": self._frames,
            "brightest": self._brightest,
            "seen": [list(key) for key in self._seen],
            **blend.facts(),
        }
        return FusionState(facts, blend.planes())

    @classmethod
    def of_state(cls, state: FusionState) -> Fusion:
        """Go on from a saved state, whose planes become the fusion's.

        Raises
        ------
        FusionError
            A state of another version, or one whose parts do not fit together.
        """
        facts = state.facts
        if facts.get("version") != _STATE_VERSION:
            raise FusionError(
                f"the saved fusion has version {facts.get('version')}, this focusd reads {_STATE_VERSION}: "
                "use the focusd that wrote it"
            )
        try:
            _check_facts(facts)
            prefer = None if facts["prefer"] is None else Prefer(**facts["prefer"])
            fusion = cls(method=facts["method"], mode=facts["mode"], sigma=facts["sigma"], prefer=prefer)
            tone = Tone(int(facts["bits"]), np.dtype(facts["dtype"]), facts["kind"])
            fusion._tone, fusion._shape = tone, tuple(facts["shape"])
            fusion._frames, fusion._brightest = int(facts["frames"]), int(facts["brightest"])
            fusion._seen = OrderedDict(((float(z), str(mark)), None) for z, mark in facts["seen"])
            fusion._blend = PyramidBlend.of_state(state, tone, fusion._shape)
        except (KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
            raise FusionError(f"the saved fusion does not fit together: {error}") from error
        return fusion

    def _check(self, frame: Image | Planes, position_um: float) -> None:
        """Refuse what cannot be fused, before anything is changed."""
        if isinstance(frame, Planes):
            if min(frame.shape) < 2:
                raise FusionError(f"a 4:2:0 frame of {frame.shape}: it must be 2 px a side or more; give BGR")
        elif not isinstance(frame, np.ndarray) or frame.dtype not in (np.uint8, np.uint16):
            kind = getattr(frame, "dtype", type(frame).__name__)
            raise FusionError(f"a frame of type {kind}: it must be an array of uint8 or uint16")
        elif not (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 3)) or frame.size == 0:
            raise FusionError(
                f"a frame of shape {frame.shape}: it must be (rows, cols) grey or (rows, cols, 3) BGR"
            )
        if not isfinite(position_um):
            raise FusionError(f"a frame at position {position_um} um: the position must be finite")
        if self._tone is not None and (Tone.describes(frame), frame.shape[:2]) != (
            (self._tone.kind, self._tone.dtype),
            self._shape,
        ):
            raise FrameMismatch(
                f"a frame of {_describe(frame.shape, *Tone.describes(frame))} in a stack of "
                f"{_describe(self._shape, self._tone.kind, self._tone.dtype)}: all frames must be alike"
            )

    def _check_parts(self, other: Fusion) -> None:
        mine, theirs = cast("Tone", self._tone), cast("Tone", other._tone)
        if (other._shape, theirs.dtype, theirs.kind) != (self._shape, mine.dtype, mine.kind):
            raise FrameMismatch(
                f"cannot merge frames of {_describe(other._shape, theirs.kind, theirs.dtype)} into frames of "
                f"{_describe(self._shape, mine.kind, mine.dtype)}: all must be alike"
            )
        low, high = sorted((self._filled().sigma, other._filled().sigma))
        if theirs.bits != mine.bits or high > _LARGEST_SIGMA_RATIO * low:
            raise FusionError(
                f"cannot merge parts weighted for noise {other._filled().sigma:.2f} levels, {theirs.bits} "
                f"bits and {self._filled().sigma:.2f} levels, {mine.bits} bits: make the parts with sibling()"
            )

    def _start(self, frame: Image | Planes, position_um: float, tone: Tone) -> None:
        gain = self._gain(position_um)
        if self._method == "pyramid":
            self._blend = PyramidBlend.of(frame, position_um, tone, self._mode, self._sigma, gain)
        else:
            self._blend = ClassicalBlend(
                cast("Image", frame),
                position_um,
                tone,
                self._sigma,
                gain,
                gaussian_px=self._kernels_px[0],
                laplacian_px=self._kernels_px[1],
                average=self._method == "average",
            )
        self._tone, self._shape = tone, frame.shape[:2]

    def _gain(self, position_um: float) -> float:
        return 1.0 if self._prefer is None else self._prefer.gain(position_um)

    def _filled(self) -> _Blend:
        if self._blend is None:
            raise FusionError("no frame has been fused yet: add one first")
        return self._blend

    def _within_white(self, image: Image | Planes) -> Image | Planes:
        if not isinstance(image, Planes) and image.dtype == np.uint16:
            np.minimum(image, np.uint16(self.white), out=image)
        return image

    def _remember(self, key: tuple[float, str]) -> None:
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED_FRAMES:
            self._seen.popitem(last=False)


def _check_facts(facts: dict[str, Any]) -> None:
    """Refuse facts of a saved state that no fusion can have; ValueError or TypeError says which."""
    if facts["kind"] not in get_args(Kind):
        raise ValueError(f"kind is {facts['kind']!r}")
    if facts["method"] != "pyramid":
        raise ValueError(f"method is {facts['method']!r}")
    if not 8 <= int(facts["bits"]) <= 16:
        raise ValueError(f"bits is {facts['bits']}")
    if len(facts["shape"]) != 2 or any(type(side) is not int or side < 1 for side in facts["shape"]):
        raise ValueError(f"shape is {facts['shape']}")
    positions_um = [float(z) for z in facts["positions_um"]]
    if not all(isfinite(z) for z in positions_um) or facts["frames"] != len(positions_um):
        raise ValueError(f"{facts['frames']} frames at {len(positions_um)} positions, all of them finite")


def _describe(shape: tuple[int, ...], kind: Kind, dtype: np.dtype[Any]) -> str:
    return f"{shape[1]}x{shape[0]} px {dtype} {kind}"
