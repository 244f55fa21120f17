"""What fusing frames of a given size takes: memory, and the bytes of a saved state and of kept frames. Pure.

All constants about it stand here; tests hold them against the real fusion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

from focusd.fusion import Method
from focusd.job import KeepFrames
from focusd.pictures.planes import Planes
from focusd.register.correction import Correction

Colour = Literal["grey", "4:2:0", "4:4:4"]
"""What the pixels of a frame hold: brightness; colour at half its resolution; colour at full (BGR)."""

BASE_BYTES = 75_000_000
"""The program itself, its libraries and threads, before the first frame."""

# Bytes a pixel. The pyramid's image part holds sums, weights and the range the frames showed; beside it are
# the planes that depth is found from.
_PYRAMID_IMAGE = {"grey": 11.9, "4:2:0": 14.6, "4:4:4": 22.6}
# The range of 16-bit frames has 16 bits.
_PYRAMID_RANGE = 1.2
_PYRAMID_DEPTH = 3.5
# The plain path takes a little more than the compiled one.
_PYRAMID_WORKING = {"grey": 3.2, "4:2:0": 3.6, "4:4:4": 6.3}
# The picture, or after it the depth map at full size.
_PYRAMID_RESULT = 4.0
# Of the two classical methods, which work in floating point: state, working buffers, result.
_CLASSICAL: dict[str, dict[str, tuple[float, float, float]]] = {
    "laplacian": {"grey": (20.0, 15.0, 14.0), "colour": (24.0, 28.0, 18.0)},
    "average": {"grey": (26.0, 20.0, 14.0), "colour": (34.0, 45.0, 16.0)},
    "log-nms": {"grey": (16.0, 27.0, 12.0), "colour": (20.0, 44.0, 10.0)},
}
# Beside a frame held back and one warped: the smaller pictures that a frame is looked at by, that its place
# is searched by, and that dust is learnt by; outlines and block means that are kept.
_LOOKING_BYTES_PER_PIXEL, _SEARCHING_BYTES_PER_PIXEL, _DUST_BYTES_PER_PIXEL = 4.5, 3.0, 2.0
_HOT_BYTES_PER_SAMPLE, _OUTLINES_BYTES = 2.0, 12_000_000
# Depth is worked out in bands of rows, which take this on top of the result.
_BANDS_BYTES = 10_000_000
# Strips that rows are worked on in, whatever the frame's size.
_STRIPS_BYTES = 2_000_000
# Sides are padded to a multiple of this, so that levels halve exactly.
_PADDING_PX = 64
_SAMPLES_PER_PIXEL = {"grey": 1.0, "4:2:0": 1.5, "4:4:4": 3.0}
# A JPEG of quality 98 stays below; a 16-bit frame comes as TIFF or PNG and may not shrink at all.
_ENCODED_SHARE = {8: 0.5, 16: 1.0}

# A lossless file of samples that do not pack, with its header.
_LOSSLESS_SHARE, _FILE_HEADER_BYTES = 1.01, 4096

AnyMethod = Method | Literal["log-nms"]

FRAMES_WAITING = 3
"""Frames behind the one being fused, at most: two in the tray, one in the hand that fills it."""


@dataclass(frozen=True, slots=True)
class FrameForm:
    """Size and kind of the frames of a stack.

    Parameters
    ----------
    rows, cols : int
        Pixels, 1 or more.
    colour : {'grey', '4:2:0', '4:4:4'}
        What a pixel holds once decoded.
    bits : {8, 16}
        Of a sample in memory.
    encoded : bool
        Frames come as files and wait undecoded.
    """

    rows: int
    cols: int
    colour: Colour = "4:2:0"
    bits: Literal[8, 16] = 8
    encoded: bool = False

    @classmethod
    def of(cls, image: npt.NDArray[Any] | Planes, *, encoded: bool = False) -> FrameForm:
        """Form of a frame at hand.

        Parameters
        ----------
        image : ndarray or Planes
            uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR; or a 4:2:0 frame.
        encoded : bool
            It came as a file.
        """
        rows, cols = image.shape[:2]
        if isinstance(image, Planes):
            return cls(rows, cols, "4:2:0", 8, encoded)
        colour: Colour = "grey" if image.ndim == 2 else "4:4:4"
        return cls(rows, cols, colour, 8 if image.dtype.itemsize == 1 else 16, encoded)

    @property
    def pixels(self) -> int:
        """Pixels in a frame."""
        return self.rows * self.cols

    @property
    def nbytes(self) -> int:
        """Memory of a decoded frame, bytes."""
        return _whole(self.pixels * _SAMPLES_PER_PIXEL[self.colour] * self.bits / 8)

    @property
    def waiting_nbytes(self) -> int:
        """Memory of a frame that waits, bytes: for an encoded one, what its file has at most."""
        return _whole(self.nbytes * _ENCODED_SHARE[self.bits]) if self.encoded else self.nbytes

    def kept_nbytes(self, kind: KeepFrames) -> int:
        """Disk that a kept frame takes, bytes; an upper bound.

        A file of the camera's has half its samples' bytes at most if it has 8 bits (JPEG), and all of them if
        it has 16 (TIFF, raw). Planes as JPEG of quality 95 have half of theirs, 0.75 bytes a pixel: a third
        of that in practice, and more only with noise of more than 12 levels.

        Parameters
        ----------
        kind : {'off', 'source', 'jpeg'}
            How frames are kept.
        """
        if kind == "off":
            return 0
        if self.encoded:
            share = _ENCODED_SHARE[self.bits]
        elif kind == "jpeg" and self.colour == "4:2:0":
            share = _ENCODED_SHARE[8]
        else:
            share = _LOSSLESS_SHARE
        return _whole(self.nbytes * share) + _FILE_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Needs:
    """Memory that fusing a stack takes, bytes; the same for any number of frames.

    Parameters
    ----------
    state_bytes : int
        What is kept from frame to frame; also the size of a checkpoint.
    working_bytes : int
        Buffers of one frame's fusing.
    frames_bytes : int
        The frame being fused and those behind it.
    result_bytes : int
        Picture and depth at the end, when no frame waits any more.
    base_bytes : int
        The program itself.
    slabs_bytes : int
        Fusions of slabs that run beside, and the picture of one while it is written.
    """

    state_bytes: int
    working_bytes: int
    frames_bytes: int
    result_bytes: int
    base_bytes: int = BASE_BYTES
    slabs_bytes: int = 0

    @property
    def memory_bytes(self) -> int:
        """Peak memory of the process, bytes."""
        return (
            self.base_bytes
            + self.state_bytes
            + self.working_bytes
            + self.slabs_bytes
            + max(self.frames_bytes, self.result_bytes)
        )

    @property
    def checkpoint_bytes(self) -> int:
        """Size of a saved state on disk, bytes."""
        return self.state_bytes


def fusion_needs(
    frame: FrameForm, method: AnyMethod = "pyramid", waiting: int = FRAMES_WAITING, slabs: int = 0
) -> Needs:
    """Foresee the memory of a fusion: an upper bound, of state and working buffers within a fifth.

    Parameters
    ----------
    frame : FrameForm
        What is fused.
    method : {'pyramid', 'laplacian', 'average', 'log-nms'}
        How.
    waiting : int
        Frames in memory behind the one being fused, 0 or more.
    slabs : int
        Slabs that are fused at the same time, 0 or more: `focusd.slab_plan.SlabPlan.open_at_once`.
    """
    sample_bytes = frame.bits // 8
    if method == "pyramid":
        state = _PYRAMID_IMAGE[frame.colour] + _PYRAMID_RANGE * (sample_bytes - 1) + _PYRAMID_DEPTH
        working = _PYRAMID_WORKING[frame.colour]
        result = _PYRAMID_RESULT * sample_bytes
    else:
        kinds = _CLASSICAL[method]
        state, working, result = kinds["grey" if frame.colour == "grey" else "colour"]
    padded = _padded(frame.rows) * _padded(frame.cols)
    # A frame that came as a file is in memory twice while it is decoded.
    frames = frame.nbytes + waiting * frame.waiting_nbytes + (frame.waiting_nbytes if frame.encoded else 0)
    result_bytes = _whole(padded * result) + _BANDS_BYTES
    state_bytes, working_bytes = _whole(padded * state), _whole(padded * working) + _STRIPS_BYTES
    slabs_bytes = slabs * (state_bytes + working_bytes) + (result_bytes if slabs else 0)
    return Needs(state_bytes, working_bytes, frames, result_bytes, slabs_bytes=slabs_bytes)


def correction_bytes(frame: FrameForm, correction: Correction, *, is_laid: bool = False) -> int:
    """Foresee the memory that laying frames on each other takes beside fusing them: an upper bound.

    Parameters
    ----------
    frame : FrameForm
        What is laid.
    correction : Correction
        How.
    is_laid : bool
        By another stack's transforms.
    """
    if not (correction.is_any or is_laid):
        return 0
    held = (is_laid or correction.align != "off") + (correction.odd in ("skip", "stop"))
    dust = _DUST_BYTES_PER_PIXEL + _HOT_BYTES_PER_SAMPLE * _SAMPLES_PER_PIXEL[frame.colour]
    per_pixel = _LOOKING_BYTES_PER_PIXEL + dust * correction.dust
    per_pixel += _SEARCHING_BYTES_PER_PIXEL * (correction.align != "off")
    return _OUTLINES_BYTES + held * frame.nbytes + _whole(frame.pixels * per_pixel)


def _padded(side_px: int) -> int:
    return -(-side_px // _PADDING_PX) * _PADDING_PX


def _whole(number: float) -> int:
    return -int(-number // 1)
