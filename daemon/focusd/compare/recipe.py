"""What can be compared: methods of fusing with their knobs, ways of aligning, and a choice of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from typing import Any

from focusd.compare.frames import Frames, Stack
from focusd.errors import RequestError
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image

Value = str | int | float | bool
"""What a knob can be set to."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a method made.

    Parameters
    ----------
    image : ndarray or Planes
        uint8 or uint16, the frames' size.
    white : int
        The value that a display should show as white.
    """

    image: Image | Planes
    white: int = 255


@dataclass(frozen=True, slots=True)
class Knob:
    """A parameter of a method.

    Parameters
    ----------
    name : str
        Its name, with its unit.
    default : str, int, float or bool
        Its value where none is given; its type is the knob's.
    choices : tuple
        All that it can be; empty for any value of the type.
    """

    name: str
    default: Value
    choices: tuple[Value, ...] = ()

    def read(self, value: object) -> Value:
        """Take a value from text or from TOML.

        Raises
        ------
        RequestError
            Another type, or none of the choices.
        """
        read: Value | None = None
        match self.default:
            case bool():
                read = {"true": True, "false": False}.get(str(value).lower())
            case int() | float():
                read = None if isinstance(value, bool) else _number(type(self.default), value)
            case _:
                read = value if isinstance(value, str) else None
        if read is None or (self.choices and read not in self.choices):
            wanted = ", ".join(map(str, self.choices)) or type(self.default).__name__
            raise RequestError(f"{self.name} is {value!r}: it must be {wanted}")
        return read


@dataclass(frozen=True, slots=True)
class Method:
    """A way of fusing.

    Parameters
    ----------
    name : str
        What it is asked for by.
    fuse : callable
        Makes a picture of frames, with a value for each knob; may go through the frames again and again.
    knobs : tuple of Knob
        Its parameters.
    code : tuple of str
        Modules and packages of focusd that it runs beside what reads frames, ``fusion`` say: when one of
        them changes, cached pictures are not used any more.
    """

    name: str
    fuse: Callable[[Frames, Mapping[str, Any]], Picture]
    knobs: tuple[Knob, ...] = ()
    code: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Laid:
    """Where the frames of a stack lie.

    Parameters
    ----------
    facts : tuple
        For each frame what its `Alignment.lay` needs, as JSON can hold it; None for a frame left out.
    margin_px : int
        Width of the border that not all frames cover; it is not judged.
    """

    facts: tuple[Any, ...]
    margin_px: int = 0


@dataclass(frozen=True, slots=True)
class Alignment:
    """A way of laying frames on each other.

    Parameters
    ----------
    name : str
        What it is asked for by.
    find : callable
        Goes through a stack's files and says where each frame lies.
    lay : callable
        Takes a frame and its facts; gives the frame as it lies on the others, of the same size and type.
    code : tuple of str
        As for `Method`.
    """

    name: str
    find: Callable[[Stack], Laid]
    lay: Callable[[Image | Planes, Any], Image | Planes]
    code: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """One thing to be compared: a method, each of its knobs set, and an alignment.

    Parameters
    ----------
    method : str
        Name of a `Method`.
    settings : tuple of (str, value)
        Every knob, in the method's order.
    changed : tuple of str
        Those that are not at their defaults.
    align : str
        Name of an `Alignment`; ``off`` for none.
    """

    method: str
    settings: tuple[tuple[str, Value], ...] = ()
    changed: tuple[str, ...] = ()
    align: str = "off"

    @property
    def label(self) -> str:
        """Name for people: method, alignment, and what is not at its default."""
        parts = [self.method] if self.align == "off" else [self.method, f"align {self.align}"]
        return ", ".join(
            [*parts, *(f"{name} {_shown(value)}" for name, value in self.settings if name in self.changed)]
        )

    @property
    def slug(self) -> str:
        """Name for a file."""
        return "-".join("".join(c if c.isalnum() or c in "._" else " " for c in self.label).split())


def recipes_of(
    method: Method, grid: Mapping[str, Sequence[object]], aligns: Sequence[str] = ("off",)
) -> list[Recipe]:
    """Every combination of a grid of values.

    Parameters
    ----------
    method : Method
        What is varied.
    grid : mapping of str to sequence
        Values of each knob that is not left at its default.
    aligns : sequence of str
        Names of alignments.

    Raises
    ------
    RequestError
        A knob the method does not have, or a value it cannot take.
    """
    known = {knob.name: knob for knob in method.knobs}
    for name in grid:
        if name not in known:
            raise RequestError(f"{method.name} has no {name!r}{did_you_mean(name, known)}")
    values = [
        list(dict.fromkeys(knob.read(value) for value in grid[knob.name]))
        if knob.name in grid
        else [knob.default]
        for knob in method.knobs
    ]
    found = []
    for align, chosen in product(aligns, product(*values)):
        settings = tuple((knob.name, value) for knob, value in zip(method.knobs, chosen, strict=True))
        changed = tuple(
            knob.name for knob, value in zip(method.knobs, chosen, strict=True) if value != knob.default
        )
        found.append(Recipe(method.name, settings, changed, align))
    return found


def did_you_mean(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    """Return the end of a message about a name that is not known."""
    near = get_close_matches(name, list(known), 1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; it must be one of {', '.join(known)}" if known else "; it has nothing to set"


def _number(kind: type, value: object) -> Value | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    if kind is int:
        return int(number) if number.is_integer() else None
    return number


def _shown(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
