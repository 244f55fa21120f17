"""A relief for the eye: depth in colours, with a scale in micrometres."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

Colours = npt.NDArray[np.uint8]
_UNKNOWN_GREY = 96
_PAPER, _INK = 255, 30
_SPECK_PX = 9
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MOST_TICKS = 8
# Larger pictures show no more and take seconds to compress.
_LONGEST_PX = 2048


def depth_picture(depth_um: npt.NDArray[np.float32]) -> Colours:
    """Colour a depth map for the eye: low is dark blue, high is yellow, unknown is grey.

    Parameters
    ----------
    depth_um : ndarray
        float32, (rows, columns), um; NaN where unknown.

    Returns
    -------
    ndarray
        uint8, (rows, columns, 3) BGR. The colours span the 1st to the 99th percentile; single specks, which
        noise makes on empty ground, are not shown, and a 5x5 median smooths the rest.
    """
    known = cv2.medianBlur(np.isfinite(depth_um).astype(np.uint8), _SPECK_PX).astype(bool)
    known &= np.isfinite(depth_um)
    return _coloured(depth_um, known, *_span(depth_um, known))


def depth_chart(depth_um: npt.NDArray[np.float32]) -> Colours:
    """Colour a depth map and put a scale beside it.

    Parameters
    ----------
    depth_um : ndarray
        float32, (rows, columns), um; NaN where unknown.

    Returns
    -------
    ndarray
        uint8, (rows, columns, 3) BGR: at most 2048 px of map on the longer side (every n-th pixel of a larger
        one), and to its right a bar of the colours with round depths in um. Colours and bar span the 1st to
        the 99th percentile; what lies beyond has the colour of the bar's end.
    """
    stride = -(-max(depth_um.shape) // _LONGEST_PX)
    depth_um = np.ascontiguousarray(depth_um[::stride, ::stride])
    known = np.isfinite(depth_um)
    low, high = _span(depth_um, known)
    picture = _coloured(depth_um, known, low, high)
    letter = min(1.0, max(0.4, picture.shape[0] / 900))
    panel = _scale_panel(max(picture.shape[0], 120), low, high, letter, anything=bool(known.any()))
    missing = panel.shape[0] - picture.shape[0]
    if missing:
        picture = np.pad(picture, ((0, missing), (0, 0), (0, 0)), constant_values=_PAPER)
    return np.hstack([picture, panel])


def round_ticks(low: float, high: float, most: int = _MOST_TICKS) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`, at most `most`."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, most - 1)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _span(depth_um: npt.NDArray[np.float32], known: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Depths that the colours' ends stand for."""
    if not known.any():
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(depth_um[known], (1, 99)))
    return low, max(high, low + 1e-6)


def _coloured(
    depth_um: npt.NDArray[np.float32], known: npt.NDArray[np.bool_], low: float, high: float
) -> Colours:
    levels = np.clip((np.nan_to_num(depth_um) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    coloured = np.asarray(cv2.applyColorMap(cv2.medianBlur(levels, 5), cv2.COLORMAP_VIRIDIS), np.uint8)
    coloured[~known] = _UNKNOWN_GREY
    return coloured


def _scale_panel(rows: int, low: float, high: float, letter: float, *, anything: bool) -> Colours:
    """Draw the bar: high at the top, ticks with their depths, and what grey means below."""
    gap = round(24 * letter)
    bar_px, line = round(30 * letter), max(1, round(letter * 1.5))
    ticks = round_ticks(low, high, max(2, min(_MOST_TICKS, rows // (3 * gap)))) if anything else []
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    labels = [f"{tick:.{decimals}f} um" for tick in ticks]
    widest = max(cv2.getTextSize(text, _FONT, letter, line)[0][0] for text in [*labels, "unknown"])
    panel = np.full((rows, 3 * gap + bar_px + widest, 3), _PAPER, np.uint8)
    top, bottom = gap, rows - 3 * gap
    ramp = np.linspace(255, 0, bottom - top).astype(np.uint8)[:, np.newaxis]
    if anything:
        panel[top:bottom, gap : gap + bar_px] = cv2.applyColorMap(
            np.repeat(ramp, bar_px, axis=1), cv2.COLORMAP_VIRIDIS
        )
    text_at = gap + bar_px + gap // 2 + gap // 4
    for tick, label in zip(ticks, labels, strict=True):
        at = round(bottom - 1 - (tick - low) / (high - low) * (bottom - 1 - top))
        cv2.line(panel, (gap + bar_px, at), (gap + bar_px + gap // 2, at), (_INK,) * 3, line)
        _write(panel, label, (text_at, at), letter, line)
    swatch = rows - gap - gap // 2
    panel[swatch - gap // 2 : swatch + gap // 2, gap : gap + bar_px] = _UNKNOWN_GREY
    _write(panel, "unknown", (text_at, swatch), letter, line)
    return panel


def _write(panel: Colours, text: str, left_middle: tuple[int, int], letter: float, line: int) -> None:
    height = cv2.getTextSize(text, _FONT, letter, line)[0][1]
    origin = (left_middle[0], left_middle[1] + height // 2)
    cv2.putText(panel, text, origin, _FONT, letter, (_INK,) * 3, line, cv2.LINE_AA)
