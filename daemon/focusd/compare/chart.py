"""Small line charts as SVG, drawn into the page itself: no library, no network, sharp at any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 40
_MOST_LABELS = 6
COLOURS = (
    *("#2563a8", "#c2571a", "#2f7d4f", "#8a3f9c", "#a33244"),
    *("#5c6670", "#1798a6", "#b08a00", "#e07aa8", "#6b4a2b"),
)
"""Told apart with any eyes, and on paper; taken in turn."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart.

    Parameters
    ----------
    name : str
        Beside its last point; empty for none.
    points : tuple of (float, float)
        Along x and y, in the order they are joined.
    """

    name: str
    points: tuple[tuple[float, float], ...]


def draw(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    x_names: Sequence[str] = (),
    size_px: tuple[int, int] = (362, 220),
) -> str:
    """Draw lines with their points marked.

    Parameters
    ----------
    lines : sequence of Line
        Points that are not finite are left out.
    x_label, y_label : str
        What the axes show, with its unit.
    x_names : sequence of str
        Names of x = 0, 1, 2 and so on, in place of numbers.
    size_px : tuple of int
        (width, height).

    Returns
    -------
    str
        A ``figure`` of an ``svg`` and its legend; empty where there is no point.
    """
    shown = [Line(line.name, tuple(at for at in line.points if all(map(isfinite, at)))) for line in lines]
    places = [at for line in shown for at in line.points]
    if not places:
        return ""
    width, height = size_px
    x_ticks = _name_ticks(len(x_names)) if x_names else _ticks(*_ends([x for x, _ in places]))
    y_ticks = _ticks(*_ends([y for _, y in places]))
    x_low, x_high = (-0.5, len(x_names) - 0.5) if x_names else (x_ticks[0], x_ticks[-1])
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def x_px(x: float) -> float:
        return _LEFT + (x - x_low) / (x_high - x_low) * (width - _LEFT - _RIGHT)

    def y_px(y: float) -> float:
        return height - _BOTTOM - (y - y_low) / (y_high - y_low) * (height - _TOP - _BOTTOM)

    parts = [
        f'<svg class="chart" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">'
    ]
    for y in y_ticks:
        at = y_px(y)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{y:.6g}</text>'
        )
    for x in x_ticks:
        text = x_names[int(x)] if x_names else f"{x:.6g}"
        parts.append(
            f'<text x="{x_px(x):.1f}" y="{height - _BOTTOM + 16}" text-anchor="middle">{escape(text)}</text>'
        )
    parts.append(
        f'<text class="axis" x="{(_LEFT + width - _RIGHT) / 2:.0f}" y="{height - 5}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
        f'<text class="axis" transform="translate(12 {(_TOP + height - _BOTTOM) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    for line, colour in zip(shown, _in_turn(len(shown)), strict=True):
        marks = [(x_px(x), y_px(y)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in marks)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"><title>{escape(line.name)} '
            f"{at[0]:.6g}: {at[1]:.6g}</title></circle>"
            for (x, y), at in zip(marks, line.points, strict=True)
        ]
    return f'<figure style="width:{width}px">{"".join(parts)}</svg>{_legend(shown)}</figure>'


def _legend(lines: Sequence[Line]) -> str:
    if not any(line.name for line in lines):
        return ""
    keys = [
        f'<span><i style="background:{colour}"></i>{escape(line.name)}</span>'
        for line, colour in zip(lines, _in_turn(len(lines)), strict=True)
    ]
    return f'<div class="legend">{"".join(keys)}</div>'


def _in_turn(count: int) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest value, apart from each other."""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from below `low` to above `high`, three to seven of them."""
    rough = (high - low) / 4
    power = 10.0 ** floor(log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough)
    first, last = floor(low / step), ceil(high / step)
    return [number * step for number in range(first, last + 1)]


def _name_ticks(count: int) -> list[float]:
    every = max(1, ceil((count - 1) / (_MOST_LABELS - 1))) if count > 1 else 1
    return [float(number) for number in range(0, count, every)]
