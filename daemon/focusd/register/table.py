"""Transforms as data: saved with a stack, and laid on another that was shot from the same places."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from focusd.errors import FusionError
from focusd.register.transform import Transform, TransformInvalid

VERSION = 1
_KIND = "focusd transforms"
_MOST_BYTES = 16 * 2**20
_MOST_ROWS = 10_000
_LONGEST_NAME = 255
_MOST_SIDE_PX = 100_000
_MOST_CHANNELS = 4
_TABLE = {"kind", "version", "rows", "cols", "model", "frames"}
_ROW = {"number", "name", "z_um", "transform", "residual_px", "gain"}


class TransformTableInvalid(FusionError, ValueError):
    """A table that cannot be used."""

    code = "transforms_invalid"


@dataclass(frozen=True, slots=True)
class TransformRow:
    """One frame's.

    Parameters
    ----------
    number : int
        Of the frame in its stack, 0 or more.
    name : str
        Of its file, or empty.
    position_um : float
        Its z, um.
    transform : Transform
        Where it lies.
    residual_px : float
        What the transform left unexplained, px.
    gain : tuple of float, optional
        What its brightness was multiplied by: one for all channels, or one each.
    """

    number: int
    name: str
    position_um: float
    transform: Transform
    residual_px: float = 0.0
    gain: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class TransformTable:
    """A stack's.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols) of its frames, px.
    rows : tuple of TransformRow
        One for each frame, no number twice.
    model : str
        What was corrected.

    Raises
    ------
    TransformTableInvalid
        Sizes, numbers or gains out of range.
    """

    shape: tuple[int, int]
    rows: tuple[TransformRow, ...]
    model: str = ""

    def __post_init__(self) -> None:
        if not all(1 <= side <= _MOST_SIDE_PX for side in self.shape):
            raise _invalid(
                f"frames of {self.shape[1]} x {self.shape[0]} px", f"1 to {_MOST_SIDE_PX} px a side"
            )
        if not 1 <= len(self.rows) <= _MOST_ROWS:
            raise _invalid(f"{len(self.rows)} frames", f"1 to {_MOST_ROWS}")
        numbers = [row.number for row in self.rows]
        if len(set(numbers)) < len(numbers) or min(numbers) < 0:
            raise _invalid("a frame's number twice, or below 0", "each once, from 0")
        for row in self.rows:
            figures = (row.position_um, row.residual_px, *(row.gain or (1.0,)))
            if not all(math.isfinite(figure) for figure in figures):
                raise _invalid(f"frame {row.number} with a figure that is not finite", "finite figures")
            if row.gain is not None and (not 1 <= len(row.gain) <= _MOST_CHANNELS or min(row.gain) <= 0):
                raise _invalid(f"frame {row.number} with gains {row.gain}", "1 to 4 of them above 0")
            if len(row.name) > _LONGEST_NAME:
                raise _invalid(f"a name of {len(row.name)} characters", f"at most {_LONGEST_NAME}")

    def of(self, number: int, shape: tuple[int, ...]) -> TransformRow:
        """Return the row of a frame by its number.

        Raises
        ------
        TransformTableInvalid
            No such row, or a frame of another size.
        """
        self.require_size(shape)
        for row in self.rows:
            if row.number == number:
                return row
        raise _invalid(f"no frame {number}", f"frames {self.rows[0].number} to {self.rows[-1].number}")

    def at(self, position_um: float, shape: tuple[int, ...], within_um: float) -> TransformRow:
        """Return the row nearest to a position.

        Raises
        ------
        TransformTableInvalid
            None within `within_um`, or a frame of another size.
        """
        self.require_size(shape)
        row = min(self.rows, key=lambda row: abs(row.position_um - position_um))
        if not abs(row.position_um - position_um) <= within_um:
            raise _invalid(
                f"no frame within {within_um:g} um of {position_um:g} um",
                f"the nearest at {row.position_um:g} um",
            )
        return row

    def as_json(self) -> dict[str, Any]:
        """Return it as a document."""
        frames = [
            {
                "number": row.number,
                "name": row.name,
                "z_um": row.position_um,
                "transform": row.transform.as_json(),
                "residual_px": row.residual_px,
                "gain": None if row.gain is None else list(row.gain),
            }
            for row in self.rows
        ]
        size = {"rows": self.shape[0], "cols": self.shape[1]}
        return {"kind": _KIND, "version": VERSION, **size, "model": self.model, "frames": frames}

    def dumps(self) -> str:
        """Return it as JSON."""
        return json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n"

    @classmethod
    def loads(cls, text: str | bytes) -> TransformTable:
        """Read what `dumps` wrote.

        Raises
        ------
        TransformTableInvalid
            Anything else.
        """
        if len(text) > _MOST_BYTES:
            raise _invalid(f"{len(text)} bytes", f"at most {_MOST_BYTES}")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _invalid("no JSON", "what focusd saved") from error
        return cls.of_json(document)

    @classmethod
    def of_json(cls, document: object) -> TransformTable:
        """Read what `as_json` made.

        Raises
        ------
        TransformTableInvalid
            Anything else.
        """
        table = _object(document, _TABLE, "the table")
        if table["kind"] != _KIND or table["version"] != VERSION or isinstance(table["version"], bool):
            raise _invalid(
                f"kind {table['kind']!r:.40} of version {table['version']!r:.20}",
                f"{_KIND!r}, version {VERSION}",
            )
        frames = table["frames"]
        if not isinstance(frames, list) or len(frames) > _MOST_ROWS:
            raise _invalid("frames that are no list, or too many", f"at most {_MOST_ROWS}")
        shape = (_whole(table["rows"], "rows"), _whole(table["cols"], "cols"))
        return cls(shape, tuple(_row(frame) for frame in frames), _text(table["model"], "model"))

    def require_size(self, shape: tuple[int, ...]) -> None:
        """Refuse frames of another size.

        Raises
        ------
        TransformTableInvalid
            Another one.
        """
        if tuple(shape[:2]) != self.shape:
            raise _invalid(
                f"transforms of {self.shape[1]} x {self.shape[0]} px", f"frames of {shape[1]} x {shape[0]} px"
            )


def _row(document: object) -> TransformRow:
    row = _object(document, _ROW, "a frame")
    gain = row["gain"]
    if gain is not None and (not isinstance(gain, list) or len(gain) > _MOST_CHANNELS):
        raise _invalid(f"a gain of {gain!r:.40}", "a list of at most 4 figures, or null")
    try:
        transform = Transform.of_json(row["transform"])
    except TransformInvalid as error:
        raise TransformTableInvalid(f"transforms: {error}") from error
    return TransformRow(
        _whole(row["number"], "number"),
        _text(row["name"], "name"),
        _figure(row["z_um"], "z_um"),
        transform,
        _figure(row["residual_px"], "residual_px"),
        None if gain is None else tuple(_figure(value, "gain") for value in gain),
    )


def _object(document: object, keys: set[str], what: str) -> dict[str, Any]:
    if not isinstance(document, dict) or set(document) != keys:
        have = sorted(document) if isinstance(document, dict) else type(document).__name__
        raise _invalid(f"{what} with {have!s:.120}", ", ".join(sorted(keys)))
    return document


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _invalid(f"{name} {value!r:.40}", "a whole number")
    return value


def _figure(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _invalid(f"{name} {value!r:.40}", "a number")
    try:
        return float(value)
    except OverflowError as error:
        raise _invalid(f"{name} beyond all floats", "a finite number") from error


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        raise _invalid(f"{name} {value!r:.40}", f"text of at most {_LONGEST_NAME} characters")
    return value


def _invalid(found: str, wanted: str) -> TransformTableInvalid:
    return TransformTableInvalid(f"transforms: there is {found}: there must be {wanted}; save them again")
