"""Averages as files: TIFF with a page of 16 bits for each plane, and what is known of them.

The facts are JSON in the first page's ImageDescription, so that they cannot part from the samples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import tifffile

from focusd.atomic import replacing
from focusd.errors import FocusdError, FrameLost
from focusd.pictures.average import Average, FlatUnusable, Form, average_of
from focusd.pictures.containers import check_area
from focusd.pictures.images import read_frame

_MARK = "focusd average"
_STRIP_BYTES = 262_144


def write_average(path: Path, average: Average, about: Mapping[str, Any]) -> None:
    """Write an average and what is known of it, atomically; the folder is made.

    Parameters
    ----------
    path : Path
        Where; replaced if there.
    average : Average
        What.
    about : mapping
        More facts, of JSON's types.

    Raises
    ------
    FocusdError
        It cannot be written.
    """
    facts = {
        "is": _MARK,
        **about,
        "frames": average.frames,
        "size": [average.form.cols, average.form.rows],
        "colour": average.form.colour,
        "bits": average.form.bits,
        "white": average.white,
        "noise": average.noise,
        "clipped": average.clipped,
        "flicker": average.flicker,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FocusdError(f"{path.parent}: cannot be made ({error.strerror}); check the folder") from error
    with replacing(path) as file, tifffile.TiffWriter(file) as tiff:
        for number, plane in enumerate(average.planes):
            tiff.write(
                plane,
                photometric="minisblack",
                compression="zlib",
                predictor=True,
                rowsperstrip=max(1, _STRIP_BYTES // plane[0].nbytes),
                description=None if number else json.dumps(facts),
                metadata=None,
                software="focusd",
            )


def read_average(path: Path) -> Average:
    """Read what `write_average` wrote, or take a camera's own picture for the average.

    Raises
    ------
    FlatUnusable
        The file cannot be read, or is damaged.
    """
    facts = facts_of(path)
    try:
        if not facts:
            return average_of(read_frame(path))
        cols, rows = facts["size"]
        check_area(rows, cols, str(path))
        form = Form(rows, cols, facts["colour"], facts["bits"])
        with tifffile.TiffFile(path) as tiff:
            pages = [cast("tifffile.TiffPage", page) for page in tiff.pages]
            if [page.shape for page in pages] != list(form.shapes):
                raise ValueError("its pages are not of the size it says")
            planes = tuple(np.asarray(page.asarray()) for page in pages)
        if any(plane.dtype != np.uint16 for plane in planes):
            raise ValueError("its pages are not of 16 bits")
        noise = tuple(tuple(float(each) for each in plane) for plane in facts["noise"])
        return Average(
            form,
            planes,
            int(facts["white"]),
            int(facts["frames"]),
            noise,
            float(facts["clipped"]),
            float(facts["flicker"]),
        )
    except (FrameLost, tifffile.TiffFileError, OSError, ValueError, LookupError, TypeError) as error:
        raise FlatUnusable(
            f"{path}: cannot be used ({error}); take it again by `focusd flat`, or remove it", path=str(path)
        ) from error


def facts_of(path: Path) -> dict[str, Any]:
    """Return what `write_average` noted; empty for another file, or a damaged one."""
    try:
        with tifffile.TiffFile(path) as tiff:
            facts = json.loads(cast("tifffile.TiffPage", tiff.pages[0]).description)
    except (tifffile.TiffFileError, OSError, ValueError, LookupError, TypeError):
        return {}
    return facts if isinstance(facts, dict) and facts.get("is") == _MARK else {}
