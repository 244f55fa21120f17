"""One test frame, judged before a stack is begun: black, blown out, or nothing sharp in it. Pure.

Sharpness is a ratio, so that neither contrast nor brightness counts: the squared slopes of a tile seen finely
over those seen through a blur of eight pixels. An edge that is itself blurred has about as much of both; the
ratio is given back as the blur such an edge has. What noise alone can make is left out first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np

from focusd.errors import FocusdError
from focusd.fusion.arrays import Float, Image
from focusd.fusion.noise import estimate_sigma
from focusd.fusion.tone import BRIGHTEST, Source, Tone
from focusd.pictures.kinds import is_raw
from focusd.pictures.planes import Planes
from focusd.pictures.samples import white_of

FindingCode = Literal["black", "blown", "featureless", "unsharp"]

BLACK_LEVEL = 16.0
"""A frame whose brightest thousandth stays below this is black, 8-bit levels."""
BLOWN_SHARE = 0.5
"""A frame is blown out from this share of it at white; a white ground may lie just below white."""
BLUR_PX = 5.0
"""Blur of the sharpest parts, as an edge's standard deviation, from which nothing counts as sharp, px."""

# Frames below this have too few tiles to speak of.
_LEAST_SIDE_PX = 64
_SMALL_PX, _SMALL_TILE_PX, _TILE_PX = 256, 16, 32
# The whole frame need not be converted at once; a multiple of the coarse grid and of the tiles.
_STRIP_ROWS = 512
_FINE, _COARSE = 2, 8
# Frames whose tiles are at least this many each way lose the outermost, where filters see a mirror.
_FEWEST_TILES = 5
_BRIGHT_PERCENTILE = 99.9
# The sharpest thousandths speak for the frame: at the middle of a stack little is in focus.
_SHARP_SHARE = 0.002
# Mean squared slope of unit white noise of the half-size frame: as it is, and on the eighth-size grid.
_FINE_NOISE, _COARSE_NOISE = 0.0992, 0.00621
# Squared slopes from this many times the noise's on are detail ...
_ABOVE_NOISE = 10.0
# ... from this on, whatever the noise (levels squared): less is the step from one 8-bit level to the next ...
_LEAST_DETAIL = 1.0
# ... and from this on at the latest: a frame full of fine texture looks like noise.
_CERTAIN_DETAIL = 40.0
# Blur beyond this is not told apart.
_WIDEST_PX = 50.0
# Before slopes are taken, pixels of either grid.
_SMOOTH_PX = 0.8
# Variances that the two grids and filters add to an edge's own, px squared: box, Gaussian, difference.
_FINE_VARIANCE, _COARSE_VARIANCE = 4.1, 67.5
# A 16-bit frame of which nothing else is known holds at least this many bits.
_LEAST_BITS = 10
_RAW_WHITE = 65535


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a test frame shows and that would spoil the stack.

    Parameters
    ----------
    code : {'black', 'blown', 'featureless', 'unsharp'}
        What.
    measured, limit : float
        In `unit`.
    unit : str
        Of both.
    message : str
        For a person: what was measured, the limit, and what to do.
    """

    code: FindingCode
    measured: float
    limit: float
    unit: str
    message: str

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "measured": round(self.measured, 4)}


class PreflightFailed(FocusdError):
    """A test frame that shows that a stack would be spoiled."""

    code = "preflight"

    @classmethod
    def of(cls, findings: Sequence[Finding]) -> PreflightFailed:
        """Error that says all `findings`, of which there is at least one."""
        said = "; ".join(finding.message for finding in findings)
        return cls(
            f'pre-flight, by one test frame: {said}. To begin all the same send "force": true',
            findings=[finding.as_json() for finding in findings],
        )


@dataclass(frozen=True, slots=True)
class Look:
    """What a test frame shows.

    Parameters
    ----------
    brightest : float
        Level that all but the brightest thousandth stay below, of means over 8x8 px; 8-bit levels.
    blown_share : float
        Share of the pixels at white, 0 to 1.
    detail : float or None
        Slopes in the sharpest thousandths, in multiples of what noise alone may have: above 1 there is
        detail. None for a frame too small to tell.
    blur_px : float or None
        Blur of the sharpest thousandths: that of a straight edge, as a standard deviation, px. Thin lines,
        dots and texture look sharper by this measure, up to four times. Infinite where nothing is sharper
        than its surroundings, None where there is no detail.
    """

    brightest: float
    blown_share: float
    detail: float | None
    blur_px: float | None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with it; nothing, if all is well. Without light, focus is not judged."""
        if self.brightest < BLACK_LEVEL:
            return (_black(self.brightest),)
        if self.blown_share >= BLOWN_SHARE:
            return (_blown(self.blown_share),)
        if self.detail is not None and self.detail < 1.0:
            return (_featureless(self.detail),)
        if self.blur_px is not None and self.blur_px > BLUR_PX:
            return (_unsharp(self.blur_px),)
        return ()


def judge(frame: Image | Planes, white: int | None = None) -> tuple[Finding, ...]:
    """Judge a test frame; see `look_at` and `Look.findings`."""
    return look_at(frame, white).findings


def look_at(frame: Image | Planes, white: int | None = None) -> Look:
    """Measure a test frame. Takes about as long as decoding it.

    Parameters
    ----------
    frame : ndarray or Planes
        uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR; or planes.
    white : int, optional
        Largest value a uint16 frame's camera gives, ``2 ** n - 1``. By default as the frame shows, at least
        1023.
    """
    if not isinstance(frame, Planes) and frame.dtype == np.uint16:
        bits = (white or max(white_of(frame), (1 << _LEAST_BITS) - 1)).bit_length()
    else:
        bits = 8
    luma = Tone.of(frame, bits).sources(frame)[0]
    rows, cols = luma.data.shape[:2]
    halves, blown = [], 0
    for top in range(0, rows, _STRIP_ROWS):
        strip = luma.rows(top, min(rows, top + _STRIP_ROWS))
        blown += int(np.count_nonzero(strip >= BRIGHTEST))
        halves.append(_smaller(strip, _FINE))
    half = np.vstack(halves)
    eighth = _smaller(half, _COARSE // _FINE)
    detail, blur_px = _sharpness(half, eighth)
    return Look(
        brightest=float(np.percentile(eighth, _BRIGHT_PERCENTILE)),
        blown_share=blown / (rows * cols),
        detail=detail,
        blur_px=blur_px,
    )


def white_of_file(data: bytes | None, name: str) -> int | None:
    """White of a frame's decoded file where it is known: raw files are developed to all of 16 bits.

    Parameters
    ----------
    data : bytes or None
        The whole file; None for a frame that came as samples.
    name : str
        Its name.
    """
    return _RAW_WHITE if data is not None and is_raw(data, name) else None


def _smaller(plane: Float, by: int) -> Float:
    """Means over squares; what is left over at the right and below shares in the last."""
    rows, cols = (max(1, size // by) for size in plane.shape)
    return np.asarray(cv2.resize(plane, (cols, rows), interpolation=cv2.INTER_AREA), np.float32)


def _sharpness(half: Float, eighth: Float) -> tuple[float | None, float | None]:
    """Detail and blur of a frame, as `Look` has them, from its luma at two sizes."""
    shorter_px = _FINE * min(half.shape)
    if shorter_px < _LEAST_SIDE_PX:
        return None, None
    tile_px = _TILE_PX if shorter_px >= _SMALL_PX else _SMALL_TILE_PX
    fine = _slopes(half, tile_px // _FINE)
    # Per pixel of the fine grid; noise of the coarse one is that of the means.
    coarse = _slopes(eighth, tile_px // _COARSE) * (_FINE / _COARSE) ** 2
    tiles = tuple(slice(0, min(sizes)) for sizes in zip(fine.shape, coarse.shape, strict=True))
    fine, coarse = fine[tiles], coarse[tiles]
    if min(fine.shape) >= _FEWEST_TILES:
        fine, coarse = fine[1:-1, 1:-1], coarse[1:-1, 1:-1]
    noise = estimate_sigma(Source(half, (1.0,), 0.0)) ** 2
    fine_noise = _FINE_NOISE * noise
    threshold = min(_CERTAIN_DETAIL, max(_LEAST_DETAIL, _ABOVE_NOISE * fine_noise))
    rank = max(1, round(_SHARP_SHARE * fine.size))
    detail = math.sqrt(_ranked(fine, rank) / threshold)
    if detail < 1.0:
        return detail, None
    # A blurred edge is as wide as several tiles: those beside it speak for its slope too.
    broad = np.maximum(coarse - _COARSE_NOISE * (_FINE / _COARSE) ** 2 * noise, 1e-9)
    broad = np.maximum(broad, cv2.blur(broad, (3, 3)))
    ratio = np.where(fine > threshold, (fine - fine_noise) / broad, 0.0)
    return detail, _edge_blur_px(_ranked(ratio, rank))


def _slopes(plane: Float, side_px: int) -> Float:
    """Mean squared slope of each whole tile, levels squared per pixel of `plane` squared."""
    rows, cols = (size // side_px for size in plane.shape)
    smooth = cv2.GaussianBlur(plane[: rows * side_px, : cols * side_px], (0, 0), _SMOOTH_PX)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, dx, dy, ksize=1, scale=0.5) for dx, dy in ((1, 0), (0, 1)))
    cv2.multiply(across, across, dst=across)
    cv2.accumulateSquare(down, across)
    return np.asarray(cv2.resize(across, (cols, rows), interpolation=cv2.INTER_AREA), np.float32)


def _ranked(values: Float, rank: int) -> float:
    """Return the `rank`-th largest."""
    flat = values.ravel()
    return float(np.partition(flat, flat.size - rank)[flat.size - rank])


def _edge_blur_px(ratio: float) -> float:
    """Blur of a straight edge whose squared slopes, fine over coarse, have this ratio, px.

    A step blurred by a Gaussian of variance v has squared slopes that sum to a constant over sqrt(v), and
    variances add.
    """
    if ratio <= 1.0:
        return math.inf
    square = ratio**2
    return math.sqrt(max(0.0, (_COARSE_VARIANCE - square * _FINE_VARIANCE) / (square - 1.0)))


def _black(brightest: float) -> Finding:
    message = (
        f"black: its brightest thousandth is at {brightest:.1f} levels of 255, at least {BLACK_LEVEL:g} are "
        "needed; take off the lens cap, switch on the light, see that the shutter fires, or expose longer"
    )
    return Finding("black", brightest, BLACK_LEVEL, "levels of 255", message)


def _blown(share: float) -> Finding:
    message = (
        f"blown out: {share:.0%} of it is at white, less than {BLOWN_SHARE:.0%} is needed; expose shorter, "
        "lower the gain or dim the light"
    )
    return Finding("blown", share, BLOWN_SHARE, "share of the pixels", message)


def _featureless(detail: float) -> Finding:
    message = (
        f"nothing in it: its strongest detail is {detail:.2f} times what noise alone may have, more than 1 "
        "is needed; see that the subject is lit and before the lens, and in focus mid-range"
    )
    return Finding("featureless", detail, 1.0, "times what noise may have", message)


def _unsharp(blur_px: float) -> Finding:
    # Beyond this the measure tells nothing any more, and JSON has no infinity.
    shown = min(blur_px, _WIDEST_PX)
    about = f"{'more than ' if shown < blur_px else ''}{shown:.1f} px"
    message = (
        f"nothing sharp: its sharpest parts are blurred over {about}, {BLUR_PX:g} px at most is "
        "sharp; move the rail, or the range, until the subject is in focus at the middle of the range"
    )
    return Finding("unsharp", shown, BLUR_PX, "px", message)
