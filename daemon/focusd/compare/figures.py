"""The figures of a page: one table a stack, and a chart for each knob that took several values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite, isnan, nan
from typing import TypeGuard

from focusd.compare.chart import Line, draw
from focusd.compare.dish import Dish
from focusd.compare.recipe import Value


@dataclass(frozen=True, slots=True)
class Column:
    """A figure that each picture has.

    Parameters
    ----------
    key : str
        For programs; ends in the unit.
    name, unit : str
        For people.
    value : callable
        Takes it from a dish; NaN where there is none.
    form : str
        How it is written.
    better : {1, -1, 0}
        1 where more is better, 0 where neither is.
    is_quality : bool
        It says something of the picture, not of its cost.
    """

    key: str
    name: str
    unit: str
    value: Callable[[Dish], float]
    form: str
    better: int
    is_quality: bool = True


def _near(attribute: str) -> Callable[[Dish], float]:
    return lambda dish: getattr(dish.fidelity, attribute) if dish.fidelity is not None else nan


COLUMNS = (
    Column("frames", "Frames", "used", lambda dish: dish.frames, ".0f", 0),
    Column("edges", "Edges kept", "Q_AB/F, 0 to 1", lambda dish: dish.scores.edges, ".4f", 1),
    Column(
        "sharpness_percent",
        "Sharpness",
        "median tile, %",
        lambda dish: 100 * dish.scores.recovered,
        ".1f",
        0,
    ),
    Column(
        "least_sharpness_percent",
        "Sharpness",
        "worst tenth, %",
        lambda dish: 100 * dish.scores.recovered_least,
        ".1f",
        0,
    ),
    Column(
        "overshoot_percent", "Overshoot", "% of pixels", lambda dish: 100 * dish.scores.overshoot, ".3f", -1
    ),
    Column("psnr_db", "PSNR", "luma, dB", _near("psnr_db"), ".2f", 1),
    Column("colour_psnr_db", "PSNR", "colour, dB", _near("colour_psnr_db"), ".2f", 1),
    Column("ssim", "SSIM", "luma, -1 to 1", _near("ssim"), ".4f", 1),
    Column(
        "align_wall_s",
        "Align",
        "wall s",
        lambda dish: nan if dish.aligning is None else dish.aligning.wall_s,
        ".2f",
        -1,
        False,
    ),
    Column("fuse_wall_s", "Fuse", "wall s", lambda dish: dish.cost.wall_s, ".2f", -1, False),
    Column("fuse_cpu_s", "Fuse", "CPU s", lambda dish: dish.cost.cpu_s, ".2f", -1, False),
    Column("cpu_ms_mp", "CPU, all", "ms / MP / frame", lambda dish: dish.cpu_ms_mp, ".1f", -1, False),
    Column(
        "peak_mb",
        "Peak memory",
        "MB",
        lambda dish: nan if dish.cost.peak_bytes is None else dish.cost.peak_bytes / 1e6,
        ".0f",
        -1,
        False,
    ),
)
"""All figures, in the order they are shown; one that nothing has is left out."""


def facts(dish: Dish) -> dict[str, float]:
    """Return the figures of a dish that there are, by their keys."""
    found = {column.key: column.value(dish) for column in COLUMNS}
    return {key: value for key, value in found.items() if isfinite(value)}


def table(dishes: Sequence[Dish], links: Sequence[str]) -> str:
    """Return the figures of pictures as a table, the best of each kind marked.

    Parameters
    ----------
    dishes : sequence of Dish
        One a row.
    links : sequence of str
        Where each whole picture is.
    """
    rows = [[column.value(dish) for column in COLUMNS] for dish in dishes]
    used = [at for at in range(len(COLUMNS)) if any(not isnan(row[at]) for row in rows)]
    best = {at: _best([row[at] for row in rows], COLUMNS[at]) for at in used}
    head = "".join(
        f"<th>{escape(COLUMNS[at].name)}<small>{escape(COLUMNS[at].unit)}</small></th>" for at in used
    )
    body = []
    for dish, row, link in zip(dishes, rows, links, strict=True):
        name = f'<a href="{escape(link)}">{escape(dish.recipe.label)}</a>'
        cells = "".join(_cell(COLUMNS[at], row[at], dish, best[at]) for at in used)
        body.append(f"<tr><td>{name}</td>{cells}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr><th>Recipe</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def sweeps(dishes: Sequence[Dish]) -> list[str]:
    """Return a chart of each figure of quality for each knob that took two numbers or more, if it changes."""
    charts = []
    for (method, knob), groups in _series(dishes).items():
        for column in COLUMNS:
            if not column.is_quality or column.key == "frames":
                continue
            lines = [
                Line(name, tuple((value, column.value(dish)) for value, dish in points))
                for name, points in groups.items()
            ]
            if len({y for line in lines for _, y in line.points if isfinite(y)}) > 1:
                label = f"{column.name}, {column.unit}"
                charts.append(draw(lines, x_label=f"{method}: {knob}", y_label=label))
    return charts


def _series(dishes: Sequence[Dish]) -> dict[tuple[str, str], dict[str, list[tuple[float, Dish]]]]:
    """Group dishes by method and knob, then into lines along which all the rest is equal."""
    found: dict[tuple[str, str], dict[str, list[tuple[float, Dish]]]] = {}
    for method in dict.fromkeys(dish.recipe.method for dish in dishes):
        same = [dish for dish in dishes if dish.recipe.method == method]
        settings = [{"align": dish.recipe.align, **dict(dish.recipe.settings)} for dish in same]
        varied = [name for name in settings[0] if len({each[name] for each in settings}) > 1]
        for knob in varied:
            lines: defaultdict[str, list[tuple[float, Dish]]] = defaultdict(list)
            for dish, each in zip(same, settings, strict=True):
                value = each[knob]
                if _is_number(value):
                    others = ", ".join(f"{name} {each[name]}" for name in varied if name != knob)
                    lines[others].append((value, dish))
            drawn = {
                name: sorted(points, key=lambda point: point[0])
                for name, points in lines.items()
                if len(points) > 1
            }
            if drawn:
                found[method, knob] = drawn
    return found


def _is_number(value: Value) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(column: Column, value: float, dish: Dish, best: set[str]) -> str:
    text = _written(value, column.form)
    marks = ["best"] if text in best else []
    if not column.is_quality and not dish.is_fresh:
        marks.append("old")
    return f'<td class="{" ".join(marks)}">{text}</td>'


def _best(values: Sequence[float], column: Column) -> set[str]:
    """Return the best as it is written; nothing where all are alike, or where there is no best."""
    known = [value for value in values if not isnan(value)]
    written = {_written(value, column.form) for value in known}
    if not column.better or len(written) < 2:
        return set()
    return {_written(max(known) if column.better > 0 else min(known), column.form)}


def _written(value: float, form: str) -> str:
    if isnan(value):
        return "&ndash;"
    return f"{value:{form}}" if isfinite(value) else "&infin;"
