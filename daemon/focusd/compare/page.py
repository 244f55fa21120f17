"""The page: pictures side by side, and what is known of them. One file, which loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from focusd.compare import figures, pixels
from focusd.compare.crops import Crop
from focusd.compare.dish import Dish, Failure
from focusd.compare.metrics import OVERSHOOT_LEVELS, RANGE_PX, TILE_PX
from focusd.compare.recipe import Picture
from focusd.errors import RequestError
from focusd.pictures.samples import Image

LIMIT_BYTES = 60_000_000
"""A page larger than this is slow to open."""

_STYLE = Path(__file__).with_name("page.css")
# Crops as they are; where that is too much, as JPEG.
_QUALITIES = (None, 92, 75)
_ROW_PX, _GAP_PX = 1496, 14
_MOST_IN_ROW, _LARGEST_CROP_PX = 6, 400
_OVERVIEW_PX, _MAP_PX = 560, 216

_GLOSSARY = (
    (
        "Edges kept",
        "Q<sub>AB/F</sub> of Xydeas and Petrovi&#263; (Electronics Letters 36, 2000, 308&ndash;309), over "
        "all frames: how much of the strength and direction of their edges is found in the picture, "
        "strong edges counting more. Frames blur what others show sharp, so that no picture reaches 1; "
        "compare within a stack only. This and the next two look at the frames as the recipe aligns them.",
    ),
    (
        "Sharpness",
        f"Gradient energy of the picture over that of the sharpest frame, in tiles of {TILE_PX} px "
        "that have detail: the median of all tiles, and the value below which a tenth of them lies. Noise "
        "is energy too, so that a picture that averages noise away stays below 100 %; more than 100 % is "
        "energy that no single frame has.",
    ),
    (
        "Overshoot",
        f"Pixels whose luma leaves by more than {OVERSHOOT_LEVELS} of 255 levels what all frames show "
        f"within {RANGE_PX} x {RANGE_PX} px: halos and dark rims.",
    ),
    (
        "PSNR, SSIM",
        "Distance to the true picture, where one is given: peak signal-to-noise ratio in 8 bits, and the "
        "structural similarity of Wang et al. (IEEE Trans. Image Processing 13, 2004, 600&ndash;612).",
    ),
    (
        "Time, memory",
        "Each picture is fused in a process of its own; decoding is included, and in the peak memory the "
        "program itself. CPU time is that of all threads, for each megapixel of each frame. Figures in grey "
        "were measured by an earlier run, whose picture was kept.",
    ),
)


@dataclass(frozen=True, slots=True)
class Part:
    """A stack's part of a page.

    Parameters
    ----------
    name : str
        Of the stack.
    dishes : sequence of Dish
        Its pictures, one or more unless all failed.
    failures : sequence of Failure
        What could not be made.
    crops : sequence of Crop
        Where they are shown at full size.
    sharpest : sequence of (int, ndarray)
        For each crop the frame that is sharpest there: its number from 0, and its samples.
    truth : Picture, optional
        The true picture.
    links : sequence of str
        Where each whole picture lies, from the page.
    """

    name: str
    dishes: Sequence[Dish]
    failures: Sequence[Failure]
    crops: Sequence[Crop]
    sharpest: Sequence[tuple[int, Image]]
    truth: Picture | None
    links: Sequence[str]


def crop_px(count: int) -> int:
    """Side of crops, px, of which so many are shown in rows that fill the page; even."""
    rows = -(-count // _MOST_IN_ROW)
    columns = -(-count // rows)
    side = (_ROW_PX - _GAP_PX * (columns - 1)) // columns
    return min(_LARGEST_CROP_PX, side) // 2 * 2


def render(
    parts: Sequence[Part], facts: str, history: Sequence[str] = (), *, limit_bytes: int = LIMIT_BYTES
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    parts : sequence of Part
        One a stack.
    facts : str
        When, by what and on what it was made.
    history : sequence of str
        Charts of earlier benchmarks, HTML.
    limit_bytes : int
        Largest page; crops are written as JPEG where it would be larger.

    Raises
    ------
    RequestError
        More than fits.
    """
    for quality in _QUALITIES:
        made = _page(parts, facts, history, quality)
        if len(made) <= limit_bytes:
            return made
    raise RequestError(
        f"the page would take {len(made)} bytes: at most {limit_bytes} open well; ask for fewer stacks, "
        "recipes or crops"
    )


def render_benchmarks(history: Sequence[str]) -> str:
    """Return a page of the charts of benchmarks alone."""
    return _document("Benchmarks over time", f'<div class="row">{"".join(history)}</div>')


def _page(parts: Sequence[Part], facts: str, history: Sequence[str], quality: int | None) -> str:
    if quality is not None:
        facts += f" Crops are JPEG of quality {quality}, for the sake of the page's size."
    pieces = [f'<p class="soft">{escape(facts)}</p>', *(_part(part, quality) for part in parts)]
    if history:
        pieces.append(f'<h2>Benchmarks over time</h2><div class="row">{"".join(history)}</div>')
    terms = "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in _GLOSSARY)
    pieces.append(f"<h2>What the figures mean</h2><dl>{terms}</dl>")
    names = ", ".join(part.name for part in parts)
    return _document(f"{names}: ways of fusing compared", "".join(pieces))


def _document(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE.read_text()}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )


def _part(part: Part, quality: int | None) -> str:
    pieces = [f"<h2>{escape(part.name)}</h2>"]
    pieces += [
        f'<p class="failed"><b>{escape(failure.recipe.label)}</b> was not made: {escape(failure.reason)}</p>'
        for failure in part.failures
    ]
    if not part.dishes:
        return "".join(pieces)
    rows, cols = part.dishes[0].picture.image.shape[:2]
    count = max(dish.frames for dish in part.dishes)
    margin_px = max(dish.margin_px for dish in part.dishes)
    margin = (
        f"; a border of up to {margin_px} px, which not all frames cover, is not judged" if margin_px else ""
    )
    pieces.append(
        f"<p>{count} frames of {cols} x {rows} px ({rows * cols / 1e6:.1f} MP){margin}. The name of a recipe "
        "opens its whole picture.</p>"
    )
    pieces.append(figures.table(part.dishes, part.links))
    pieces.append(_overview(part))
    pieces += [_row(part, number, quality) for number in range(len(part.crops))]
    if charts := figures.sweeps(part.dishes):
        pieces.append(f'<h3>What a setting does</h3><div class="row">{"".join(charts)}</div>')
    return "".join(pieces)


def _overview(part: Part) -> str:
    first = part.dishes[0]
    uri, scale = pixels.small(first.picture.image, first.picture.white, _OVERVIEW_PX)
    rows, cols = (round(side * scale) for side in first.picture.image.shape[:2])
    whole = (
        f'<figure><div class="overview"><img src="{uri}" width="{cols}" height="{rows}" alt="whole picture">'
        f"{pixels.marks(part.crops, scale, (cols, rows))}</div>"
        f"<figcaption><b>{escape(first.recipe.label)}</b><br>the crops below are marked</figcaption></figure>"
    )
    maps = [
        f'<figure class="map" style="width:{_MAP_PX}px">'
        f'<img src="{pixels.tile_map(dish.scores.tiles, _MAP_PX)}" width="{_MAP_PX}" alt="map">'
        f"<figcaption><b>{escape(dish.recipe.label)}</b></figcaption></figure>"
        for dish in part.dishes
    ]
    return (
        '<h3>Where the pictures differ, and how sharp each is</h3><p class="soft">Maps: gradient energy over '
        'the sharpest frame&rsquo;s, tile by tile: 0 %<span class="ramp"></span>200 % and above, white at '
        "100 %; grey where no frame has detail.</p>"
        f'<div class="whole">{whole}<div class="row">{"".join(maps)}</div></div>'
    )


def _row(part: Part, number: int, quality: int | None) -> str:
    crop = part.crops[number]
    frame, samples = part.sharpest[number]
    white = part.dishes[0].picture.white
    shown = [_figure(pixels.exact(samples, white, quality), crop, "sharpest frame", f"number {frame + 1}")]
    if part.truth is not None:
        uri = pixels.exact(crop.of(part.truth.image), part.truth.white, quality)
        shown.append(_figure(uri, crop, "truth", "as given"))
    for dish in part.dishes:
        uri = pixels.exact(crop.of(dish.picture.image), dish.picture.white, quality)
        shown.append(_figure(uri, crop, dish.recipe.label, _share(dish, crop)))
    what = "most different" if len(part.dishes) > 1 else "most detail"
    if crop.is_centre:
        what = "the middle"
    spread = f"; pictures differ by {crop.spread:.1f} levels on average" if len(part.dishes) > 1 else ""
    return (
        f"<h3>Crop {number + 1}: {what}</h3>"
        f'<p class="soft">{crop.cols} x {crop.rows} px at ({crop.left}, {crop.top}), at 100 %{spread}.</p>'
        f'<div class="row">{"".join(shown)}</div>'
    )


def _figure(uri: str, crop: Crop, name: str, note: str) -> str:
    return (
        f'<figure class="crop" style="width:{crop.cols}px"><img src="{uri}" width="{crop.cols}" '
        f'height="{crop.rows}" alt="{escape(name)}"><figcaption><b>{escape(name)}</b><br>{escape(note)}'
        "</figcaption></figure>"
    )


def _share(dish: Dish, crop: Crop) -> str:
    """Say how sharp a picture is in a crop: by the tiles whose middles lie in it."""
    tiles = dish.scores.tiles
    down, across = (dish.margin_px + TILE_PX * (np.arange(count) + 0.5) for count in tiles.shape)
    rows = (down >= crop.top) & (down < crop.top + crop.rows)
    cols = (across >= crop.left) & (across < crop.left + crop.cols)
    inside = tiles[np.ix_(rows, cols)]
    known = inside[~np.isnan(inside)]
    return f"sharpness {100 * np.median(known):.0f} %" if known.size else "no detail to judge"
