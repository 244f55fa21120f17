"""What is to be compared: from the command line, from a TOML file, or from both."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from focusd.compare.alignments import ALIGNMENTS
from focusd.compare.methods import METHODS
from focusd.compare.recipe import Method, Recipe, did_you_mean, recipes_of
from focusd.errors import RequestError

MOST_RECIPES = 24
"""More pictures than these fill neither a page nor a memory well."""


def read_experiment(path: Path) -> list[Recipe]:
    """Read a file of tables ``[[recipe]]``: ``method``, ``align``, and values of its knobs.

    Each value may be a list: every combination is tried.

    Raises
    ------
    RequestError
        A file that cannot be read, or something in it that is not known; named.
    """
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror}); check the name") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: is not TOML: {error}") from error
    for name in tables:
        if name != "recipe":
            raise RequestError(f"{path}: {name!r} is not known{did_you_mean(name, ['recipe'])}")
    found: list[Recipe] = []
    recipes = tables.get("recipe")
    if not isinstance(recipes, list) or not all(isinstance(table, dict) for table in recipes):
        raise RequestError(f"{path}: it names no recipe; give one or more tables [[recipe]] with a method")
    for number, table in enumerate(recipes, 1):
        try:
            found += _of_table(dict(table))
        except RequestError as error:
            raise RequestError(f"{path}: recipe {number}: {error}") from error
    return bounded(found)


def recipes_asked(
    methods: Sequence[str], settings: Sequence[str], aligns: Sequence[str] = ("off",)
) -> list[Recipe]:
    """Return every combination of what a command line asks for.

    Parameters
    ----------
    methods : sequence of str
        Names; all there are when empty.
    settings : sequence of str
        ``KNOB=VALUE,VALUE`` for each method that has the knob, or ``METHOD.KNOB=VALUE,VALUE``.
    aligns : sequence of str
        Names of alignments.

    Raises
    ------
    RequestError
        A name that is not known, or a value that cannot be.
    """
    chosen = [_method(name) for name in methods] or list(METHODS.values())
    grids: dict[str, dict[str, list[str]]] = {method.name: {} for method in chosen}
    for setting in settings:
        name, equals, values = setting.partition("=")
        if not equals or not name or not values:
            raise RequestError(f"--set {setting}: it must be KNOB=VALUE or KNOB=VALUE,VALUE")
        owner, _, knob = name.rpartition(".")
        owners = [method for method in chosen if owner in ("", method.name)]
        having = [method for method in owners if any(each.name == knob for each in method.knobs)]
        if not having:
            known = [each.name for method in owners for each in method.knobs]
            raise RequestError(f"--set {setting}: no method compared has {name!r}{did_you_mean(knob, known)}")
        for method in having:
            grids[method.name][knob] = values.split(",")
    found = []
    for method in chosen:
        found += recipes_of(method, grids[method.name], _aligns(aligns))
    return bounded(found)


def bounded(recipes: Sequence[Recipe]) -> list[Recipe]:
    """Return recipes without repeats.

    Raises
    ------
    RequestError
        More than 24.
    """
    once = list(dict.fromkeys(recipes))
    if len(once) > MOST_RECIPES:
        raise RequestError(
            f"{len(once)} combinations to compare: at most {MOST_RECIPES} go on a page; vary fewer things"
        )
    return once


def _of_table(table: dict[str, Any]) -> list[Recipe]:
    name = table.pop("method", None)
    if not isinstance(name, str):
        raise RequestError(f"method is {name!r}: it must be one of {', '.join(METHODS)}")
    method, aligns = _method(name), _listed(table.pop("align", "off"))
    grid: Mapping[str, list[Any]] = {knob: _listed(values) for knob, values in table.items()}
    for knob, values in grid.items():
        if not values:
            raise RequestError(f"{knob} has no values; name one or leave it out")
    return recipes_of(method, grid, _aligns(aligns))


def _method(name: str) -> Method:
    if name not in METHODS:
        raise RequestError(f"method {name!r} is not known{did_you_mean(name, METHODS)}")
    return METHODS[name]


def _aligns(names: Sequence[object]) -> list[str]:
    for name in names:
        if name not in ALIGNMENTS:
            raise RequestError(f"align {name!r} is not known{did_you_mean(str(name), ALIGNMENTS)}")
    return [str(name) for name in names] or ["off"]


def _listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]
