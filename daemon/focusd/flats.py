"""Flat fields and dark frames of the presets: where they lie, their files, and the correction made of them.

``DIR/flats/PRESET/flat.tif`` and ``dark.tif``; see `focusd.pictures.average_tiff`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any, Literal

from focusd.errors import FocusdError
from focusd.link.payloads import PRESET_NAME
from focusd.pictures.average import FlatUnusable
from focusd.pictures.average_tiff import facts_of, read_average
from focusd.pictures.shading import Shading

Kind = Literal["flat", "dark"]
KINDS: tuple[Kind, ...] = ("flat", "dark")

FOLDER = "flats"


def path_of(data_dir: Path, preset: str, kind: Kind) -> Path:
    """Return where the flat or dark frame of a preset lies, or would.

    Parameters
    ----------
    data_dir : Path
        ``[data] dir``.
    preset : str
        One of the configuration's.
    kind : {'flat', 'dark'}
        Which.

    Raises
    ------
    FlatUnusable
        A name that no preset can have: it shall not become a path.
    """
    if not re.fullmatch(PRESET_NAME, preset):
        raise FlatUnusable(f"'{preset[:64]}' cannot be a preset: a name is of letters, digits, _ and -")
    return data_dir / FOLDER / preset / f"{kind}.tif"


def shading_for(data_dir: Path, preset: str | None) -> Shading | None:
    """Return the correction of a preset's frames, or None when there is neither a flat nor a dark frame.

    Takes about a second for 12 MP on a PC: for the beginning of a job.

    Parameters
    ----------
    data_dir : Path
        ``[data] dir``.
    preset : str or None
        The job's.

    Raises
    ------
    FlatUnusable, FrameMismatch
        Files that nothing can be corrected by, named.
    """
    if preset is None:
        return None
    paths = [path_of(data_dir, preset, kind) for kind in KINDS]
    flat, dark = (path if path.is_file() else None for path in paths)
    return None if flat is None and dark is None else shading_of(flat, dark)


def shading_of(flat: Path | None, dark: Path | None) -> Shading:
    """Return the correction that two files make; either may be any picture that the camera made.

    Raises
    ------
    FlatUnusable, FrameMismatch
        Files that nothing can be corrected by, named.
    """
    averages = [None if path is None else read_average(path) for path in (flat, dark)]
    try:
        return Shading.of(*averages)
    except FocusdError as error:
        names = " and ".join(str(path) for path in (flat, dark) if path is not None)
        raise type(error)(f"{names}: {error}", **error.values) from error


def record_of(data_dir: Path, preset: str | None) -> dict[str, Any] | None:
    """Return what a run's record says of the correction: of each file its facts and SHA-256."""
    if preset is None:
        return None
    found: dict[str, Any] = {}
    for kind in KINDS:
        path = path_of(data_dir, preset, kind)
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            facts = facts_of(path)
            found[kind] = {"sha256": digest, "at": facts.get("at"), "frames": facts.get("frames")}
    return {"preset": preset, **found} if found else None


def hand_over(data_dir: Path, preset: str | None, folder: Path) -> None:
    """Put a preset's files into a run's folder as well, so that its kept frames can be fused the same way.

    They are linked where the file system can: that takes no room, and a later flat takes their place in
    ``flats`` alone.

    Raises
    ------
    FocusdError
        The folder cannot be written to.
    """
    if preset is None:
        return
    for kind in KINDS:
        path = path_of(data_dir, preset, kind)
        if not path.is_file():
            continue
        copy = folder / path.name
        try:
            copy.unlink(missing_ok=True)
            try:
                os.link(path, copy)
            except OSError:
                shutil.copyfile(path, copy)
        except OSError as error:
            raise FocusdError(
                f"{copy}: cannot be written ({error.strerror}); check the folder and the free space"
            ) from error


def kept(data_dir: Path) -> list[tuple[str, Kind, dict[str, Any]]]:
    """Return preset, kind and facts of every file there is; of a damaged one no facts."""
    found: list[tuple[str, Kind, dict[str, Any]]] = []
    folder = data_dir / FOLDER
    for inner in sorted(folder.iterdir()) if folder.is_dir() else ():
        if re.fullmatch(PRESET_NAME, inner.name):
            for kind in KINDS:
                path = path_of(data_dir, inner.name, kind)
                if path.is_file():
                    found.append((inner.name, kind, facts_of(path)))
    return found


def remove(data_dir: Path, preset: str, kinds: tuple[Kind, ...] = KINDS) -> list[Path]:
    """Remove a preset's files; return those that were there.

    Raises
    ------
    FocusdError
        One cannot be removed.
    """
    paths = [path for kind in kinds if (path := path_of(data_dir, preset, kind)).is_file()]
    for path in paths:
        try:
            path.unlink()
        except OSError as error:
            raise FocusdError(f"{path}: cannot be removed ({error.strerror})") from error
    return paths
