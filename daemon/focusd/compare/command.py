"""``focusd compare``: recipes over stacks, one page to look at."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from focusd import __version__
from focusd.atomic import write_bytes
from focusd.compare import figures, history
from focusd.compare.cache import Cache
from focusd.compare.crops import choose
from focusd.compare.dish import Dish, Failure
from focusd.compare.frames import Stack, find_stack
from focusd.compare.kitchen import Kitchen
from focusd.compare.options import add_arguments, cache_folder, recipes_wanted
from focusd.compare.page import Part, crop_px, render
from focusd.compare.recipe import Picture
from focusd.errors import FocusdError
from focusd.pictures.encoding import encode_jpeg
from focusd.pictures.images import read_image
from focusd.pictures.samples import white_of

__all__ = ["add_arguments", "run"]

OK, FAILED = 0, 1
# What a shell says of a program ended by Ctrl-C: 128 and the signal's number.
INTERRUPTED = 130

_PAGE, _FIGURES, _PICTURES = "index.html", "figures.json", "pictures"
_PICTURE_QUALITY = 95


def run(args: argparse.Namespace) -> int:
    """Compare as asked.

    Parameters
    ----------
    args : argparse.Namespace
        From a parser made with `add_arguments`.

    Returns
    -------
    int
        0 when done; 1 when a recipe failed, which the page and stderr name; 130 after Ctrl-C.

    Raises
    ------
    RequestError
        What makes no sense; nothing was written.
    FocusdError
        A file that cannot be read or written.
    """
    try:
        return _compare(args)
    except OSError as error:
        raise FocusdError(
            f"{error.filename}: {error.strerror}; check the folder and the free space"
        ) from error
    except KeyboardInterrupt:
        _tell("interrupted; what was done is kept in the cache" if not args.no_cache else "interrupted")
        return INTERRUPTED


def _compare(args: argparse.Namespace) -> int:
    recipes = recipes_wanted(args)
    stacks = [find_stack(folder, args.jobs) for folder in args.stacks]
    # What was kept and is unreadable is said before hours of work.
    earlier = _history(args.history)
    args.output.mkdir(parents=True, exist_ok=True)
    cache = Cache(cache_folder(args))
    kitchen = Kitchen(cache, tell=_tell)
    parts = []
    for number, stack in enumerate(stacks):
        truth = args.truth[number] if args.truth else None
        dishes, failures = kitchen.serve(stack, recipes, truth)
        for failure in failures:
            _tell(f"{stack.name}: {failure.recipe.label} was not made: {failure.reason}")
        parts.append(_part(args, kitchen, number, stack, dishes, failures, truth))
    if cache.fault is not None:
        _tell(cache.fault)
    entries = _recorded(args.history, parts, earlier)
    page = render(parts, _facts(), history.charts(entries))
    write_bytes(args.output / _FIGURES, json.dumps(_summary(parts), indent=1).encode())
    write_bytes(args.output / _PAGE, page.encode())
    done = ", ".join(f"{count} {name}" for name, count in sorted(kitchen.computed.items()))
    sys.stdout.write(f"{args.output / _PAGE}: {len(page) / 1e6:.1f} MB; done anew: {done or 'nothing'}\n")
    return FAILED if any(part.failures for part in parts) else OK


def _part(
    args: argparse.Namespace,
    kitchen: Kitchen,
    number: int,
    stack: Stack,
    dishes: Sequence[Dish],
    failures: Sequence[Failure],
    truth: Path | None,
) -> Part:
    """Choose what to show of a stack, and write its whole pictures."""
    if not dishes:
        return Part(stack.name, dishes, failures, [], [], None, [])
    given = None
    if truth is not None:
        image = read_image(truth)
        given = Picture(image, white_of(image))
    side_px = crop_px(len(dishes) + 1 + (given is not None))
    crops = choose(
        [dish.picture.image for dish in dishes],
        args.crops,
        (side_px, side_px),
        unit=255 / dishes[0].picture.white,
        margin_px=max(dish.margin_px for dish in dishes),
    )
    sharpest = kitchen.witness(stack, dishes[0].recipe.align, crops)
    # Numbers keep apart what has the same name.
    folder = Path(_PICTURES) / f"{number + 1}-{stack.name}"
    (args.output / folder).mkdir(parents=True, exist_ok=True)
    links = []
    for at, dish in enumerate(dishes, 1):
        path = folder / f"{at:02d}-{dish.recipe.slug}.jpg"
        picture = dish.picture
        data = encode_jpeg(picture.image, quality=_PICTURE_QUALITY, white=picture.white)
        write_bytes(args.output / path, data)
        links.append(path.as_posix())
    return Part(stack.name, dishes, failures, crops, sharpest, given, links)


def _history(path: Path | None) -> list[history.Entry]:
    if path is None or not path.exists():
        return []
    entries, faults = history.read(path)
    for fault in faults:
        _tell(fault)
    return entries


def _recorded(
    path: Path | None, parts: Sequence[Part], earlier: Sequence[history.Entry]
) -> list[history.Entry]:
    """Add to a history what was measured now, and not by an earlier run."""
    entries = list(earlier)
    for part in parts if path is not None else ():
        measured = {
            f"{dish.recipe.label} {key}": value
            for dish in part.dishes
            if dish.is_fresh
            for key, value in figures.facts(dish).items()
            if key in ("cpu_ms_mp", "peak_mb")
        }
        if path is not None and measured:
            entries.append(history.record(path, f"compare {part.name}", measured))
    return entries


def _facts() -> str:
    versions = ", ".join(f"{name} {version}" for name, version in history.versions().items())
    commit = history.commit()
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by {versions}"
    return f"Made {made}{f', commit {commit}' if commit else ''}, on {history.machine()}."


def _summary(parts: Sequence[Part]) -> dict[str, Any]:
    return {
        "focusd": __version__,
        "machine": history.machine(),
        "stacks": [
            {
                "name": part.name,
                "recipes": [
                    {
                        "method": dish.recipe.method,
                        "align": dish.recipe.align,
                        "settings": dict(dish.recipe.settings),
                        "picture": link,
                        "is_fresh": dish.is_fresh,
                        "figures": figures.facts(dish),
                    }
                    for dish, link in zip(part.dishes, part.links, strict=True)
                ],
                "failed": {failure.recipe.label: failure.reason for failure in part.failures},
            }
            for part in parts
        ],
    }


def _tell(text: str) -> None:
    sys.stderr.write(f"focusd: {text}\n")
