"""The index of the frames that a run kept: ``frames/frames.jsonl`` in its folder.

A journal with one line a frame in the order of arrival, each written after the frame's file: what the index
names was whole on the disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from focusd.errors import JournalError
from focusd.journal import read_journal
from focusd.rig import Frame, Shot

FOLDER, INDEX_NAME = "frames", "frames.jsonl"
LINE_KIND = "frame"

_FILE = re.compile(r"[0-9]{4,9}-[0-9]{2,9}(-[0-9]{1,9})?\.[a-z0-9]{1,4}")


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """A line of the index.

    Parameters
    ----------
    file : str
        Its name in ``frames/``.
    shot : Shot
        Which picture of the stack it is.
    retaken : int
        Frames of the same shot that were kept before.
    """

    file: str
    shot: Shot
    retaken: int


def facts_of(file: str, shot: Shot, frame: Frame, retaken: int) -> dict[str, Any]:
    """Return what a frame's line says beside its time of day."""
    exposure = frame.exposure
    return {
        "file": file,
        "stop": shot.stop_index,
        "shot": shot.number,
        "light": shot.light,
        "planned_um": shot.planned_um,
        "position_um": shot.position_um,
        "opened_s": exposure.opened_s,
        "closed_s": exposure.closed_s,
        "exposure_s": exposure.exposure_s,
        "name": frame.name,
        "retaken": retaken,
    }


def read_index(run: Path) -> tuple[KeptFrame, ...]:
    """Return the frames that a run kept, in the order of arrival.

    A shot that was taken again is there once, with its last frame, where that arrived.

    Parameters
    ----------
    run : Path
        The run's folder.

    Raises
    ------
    JournalError
        The index cannot be read, or is damaged before its last line.
    """
    kept: dict[tuple[int, int], KeptFrame] = {}
    for frame in read_lines(run / FOLDER / INDEX_NAME):
        key = frame.shot.stop_index, frame.shot.number
        kept.pop(key, None)
        kept[key] = frame
    return tuple(kept.values())


def read_lines(path: Path) -> list[KeptFrame]:
    """Return every line of an index; as `read_index`, but with the frames that later ones replaced."""
    return [_kept(line, path, number) for number, line in enumerate(read_journal(path), start=1)]


def _kept(line: Mapping[str, Any], path: Path, number: int) -> KeptFrame:
    try:
        file, stop, shot, light = (line[key] for key in ("file", "stop", "shot", "light"))
        planned_um, position_um, retaken = (line[key] for key in ("planned_um", "position_um", "retaken"))
    except (LookupError, TypeError) as error:
        raise JournalError(f"{path}: line {number} lacks {error}: it is no frame's") from error
    # A file of a run may have been written by others: no name in it leads anywhere else.
    if not (isinstance(file, str) and _FILE.fullmatch(file)):
        raise JournalError(f"{path}: line {number} names the file {file!r}, which no frame has")
    whole, real = (stop, shot, retaken), (planned_um, position_um)
    if not (
        all(isinstance(value, int) and value >= 0 for value in whole)
        and all(isinstance(value, int | float) and isfinite(value) for value in real)
        and (light is None or isinstance(light, str))
    ):
        raise JournalError(f"{path}: line {number} has values that no frame has: {whole}, {real}, {light!r}")
    return KeptFrame(
        file,
        Shot(stop, shot, float(planned_um), float(position_um), light),
        retaken,
    )
