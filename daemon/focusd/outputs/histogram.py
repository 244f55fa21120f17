"""The histogram of a frame: its figures, and their drawing, by OpenCV alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.outputs.flat import write_png
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_bgr, white_of

Counts = NDArray[np.float64]
Colour = tuple[int, int, int]
Canvas = NDArray[np.uint8]

_BINS = 256
# A value within this share of black or white has been cut off: a level of 255.
_CLIPPED = 1 / 255

_ROWS, _COLS = 640, 1000
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 30, 60, 230
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _GRID, _FILL, _WARNING = (40, 40, 40), (225, 225, 225), (205, 205, 205), (0, 0, 200)
_COLOURS: dict[str, Colour] = {
    "luma": (110, 110, 110),
    "red": (60, 60, 214),
    "green": (60, 150, 40),
    "blue": (210, 110, 30),
}
# Ends of the axis of shares, powers of ten of a per cent.
_LEAST_POWER, _MOST_POWER = -3, 2
# Blown or black beyond this is written in red.
_NOTED_SHARE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """How often one channel has each value.

    Parameters
    ----------
    name : str
        luma, red, green or blue.
    counts : ndarray of float64, (white + 1,)
        Pixels by value; larger values count as white.
    """

    name: str
    counts: Counts

    @property
    def white(self) -> int:
        """Largest value."""
        return len(self.counts) - 1

    @property
    def mean(self) -> float:
        """Mean value."""
        return float(np.average(np.arange(len(self.counts)), weights=self.counts))

    def percentile(self, per_cent: float) -> int:
        """Smallest value that at least this many per cent of the pixels do not pass."""
        reached = np.cumsum(self.counts) >= self.counts.sum() * per_cent / 100
        return int(reached.argmax())

    @property
    def black_share(self) -> float:
        """Share of the pixels at black, or a level of 255 from it."""
        return float(self.counts[: int(self.white * _CLIPPED) + 1].sum() / self.counts.sum())

    @property
    def blown_share(self) -> float:
        """Share of the pixels at white, or a level of 255 from it."""
        return float(self.counts[-(int(self.white * _CLIPPED) + 1) :].sum() / self.counts.sum())

    def shares(self) -> Counts:
        """Share of the pixels in each of 256 equal parts of the range, (256,)."""
        part = np.arange(len(self.counts)) * _BINS // len(self.counts)
        shares: Counts = np.bincount(part, self.counts, _BINS) / self.counts.sum()
        return shares


def channels_of(frame: Image | Planes, white: int | None = None) -> tuple[Channel, ...]:
    """Count a frame's values.

    Parameters
    ----------
    frame : ndarray or Planes
        uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR; or planes.
    white : int, optional
        Largest value, ``2 ** n - 1``, 255 or more; by default `focusd.pictures.samples.white_of`.

    Returns
    -------
    tuple of Channel
        luma; and for a colour frame red, green, blue.
    """
    if not isinstance(frame, Planes) and frame.ndim == 2:
        return (_channel("luma", frame, 0, white or white_of(frame)),)
    image = to_bgr(frame)
    top = white or white_of(image)
    luma = frame.luma if isinstance(frame, Planes) else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    colours = (_channel(name, image, place, top) for place, name in ((2, "red"), (1, "green"), (0, "blue")))
    return (_channel("luma", luma, 0, top), *colours)


def write_histogram(path: Path, channels: tuple[Channel, ...], title: str) -> None:
    """Draw channels as a PNG: shares by value, on a scale of powers of ten, with what was cut off.

    Parameters
    ----------
    path : Path
        Where; replaced if there.
    channels : tuple of Channel
        Of one frame; the first is drawn filled.
    title : str
        ASCII, at most some 80 characters; written above.

    Raises
    ------
    FocusdError
        A file that cannot be written.
    """
    write_png(path, drawn(channels, title))


def drawn(channels: tuple[Channel, ...], title: str) -> Canvas:
    """Draw channels; see `write_histogram`. Returns uint8, (rows, cols, 3) BGR."""
    canvas: Canvas = np.full((_ROWS, _COLS, 3), 255, np.uint8)
    first, *others = channels
    outline = _outline(first)
    floor = np.array([[outline[-1][0], _ROWS - _BOTTOM], [outline[0][0], _ROWS - _BOTTOM]], np.int32)
    cv2.fillPoly(canvas, [np.vstack([outline, floor])], _FILL)
    _axes(canvas, first.white)
    for channel in (first, *others):
        cv2.polylines(canvas, [_outline(channel)], False, _COLOURS[channel.name], 1, cv2.LINE_AA)
    _write(canvas, title, (_LEFT, 34), 0.6)
    _table(canvas, channels)
    return canvas


def _channel(name: str, image: Image, place: int, white: int) -> Channel:
    size = int(np.iinfo(image.dtype).max) + 1
    counts = cv2.calcHist([image], [place], None, [size], [0, size]).ravel().astype(np.float64)
    whole = np.zeros(white + 1)
    whole[: min(size, white + 1)] = counts[: white + 1]
    whole[-1] += counts[white + 1 :].sum()
    return Channel(name, whole)


def _x(share: float) -> int:
    return round(_LEFT + share * (_COLS - _LEFT - _RIGHT))


def _y(shares: Counts) -> NDArray[np.int32]:
    power = np.log10(np.maximum(100 * shares, 10.0**_LEAST_POWER))
    height = (power - _LEAST_POWER) / (_MOST_POWER - _LEAST_POWER)
    return np.rint(_ROWS - _BOTTOM - height * (_ROWS - _TOP - _BOTTOM)).astype(np.int32)


def _outline(channel: Channel) -> NDArray[np.int32]:
    """Line of a channel in steps, (512, 2)."""
    edges = np.array([_x(place / _BINS) for place in range(_BINS + 1)], np.int32)
    x = np.stack([edges[:-1], edges[1:]], axis=1).ravel()
    return np.stack([x, np.repeat(_y(channel.shares()), 2)], axis=1)


def _axes(canvas: Canvas, white: int) -> None:
    base = _ROWS - _BOTTOM
    for power in range(_LEAST_POWER, _MOST_POWER + 1):
        at = int(_y(np.array([10.0**power / 100]))[0])
        cv2.line(canvas, (_LEFT, at), (_COLS - _RIGHT, at), _GRID)
        _write(canvas, f"{10.0**power:g} %", (_LEFT - 8, at + 5), right=True)
    for quarter in range(5):
        at, value = _x(quarter / 4), round(quarter / 4 * white)
        cv2.line(canvas, (at, base), (at, base + 5), _INK)
        _write(canvas, f"{value}", (at, base + 22), middle=True)
    cv2.rectangle(canvas, (_LEFT, _TOP), (_COLS - _RIGHT, base), _INK)
    _write(canvas, "level", (_x(0.5), base + 44), middle=True)
    _write(canvas, f"share of the pixels in each {_BINS}th of the range", (_LEFT, _TOP - 8))


def _table(canvas: Canvas, channels: tuple[Channel, ...]) -> None:
    """Name the figures of each channel, the cut-off ones in red where they count."""
    columns = (_LEFT, 260, 400, 540, 680, 820, 970)
    top = _ROWS - _BOTTOM + 80
    heads = ("mean", "1st perc.", "median", "99th perc.", "at black", "at white")
    for place, head in zip(columns[1:], heads, strict=True):
        _write(canvas, head, (place, top), right=True)
    for number, channel in enumerate(channels, start=1):
        row = top + 28 * number
        cv2.rectangle(canvas, (_LEFT, row - 11), (_LEFT + 24, row), _COLOURS[channel.name], cv2.FILLED)
        _write(canvas, channel.name, (_LEFT + 34, row))
        figures = [f"{channel.mean:.1f}", *(str(channel.percentile(part)) for part in (1, 50, 99))]
        for place, figure in zip(columns[1:], figures, strict=False):
            _write(canvas, figure, (place, row), right=True)
        for place, share in zip(columns[5:], (channel.black_share, channel.blown_share), strict=True):
            colour = _WARNING if share >= _NOTED_SHARE else _INK
            _write(canvas, f"{100 * share:.2f} %", (place, row), colour=colour, right=True)


def _write(
    canvas: Any,
    text: str,
    at: tuple[int, int],
    scale: float = 0.5,
    *,
    colour: Colour = _INK,
    right: bool = False,
    middle: bool = False,
) -> None:
    """Write from a point on; up to it with `right`, about it with `middle`."""
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, 1)
    back = width if right else width // 2 if middle else 0
    cv2.putText(canvas, text, (at[0] - back, at[1]), _FONT, scale, colour, 1, cv2.LINE_AA)
