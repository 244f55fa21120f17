"""What kind of file a picture is in: raw or not, by its tags, its beginning or its name."""

from __future__ import annotations

from pathlib import PurePath

import numpy as np

from focusd.pictures import jpeg
from focusd.pictures.containers import PNG
from focusd.pictures.tags import Tag, byte_order, first_directory, read_directory

RAW_SUFFIXES = frozenset(
    [
        ".3fr",
        ".arw",
        ".cr2",
        ".cr3",
        ".crw",
        ".dcr",
        ".dng",
        ".erf",
        ".iiq",
        ".kdc",
        ".mef",
        ".mos",
        ".mrw",
        ".nef",
        ".nrw",
        ".orf",
        ".pef",
        ".raf",
        ".raw",
        ".rw2",
        ".sr2",
        ".srf",
        ".srw",
        ".x3f",
    ]
)
"""Endings of raw files' names, lower case."""

# Beginnings of those that are no TIFF: ORF, RW2, RAF, X3F, MRW; and CR3 from its fifth byte on.
_MARKS = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM")
_CR3 = b"ftypcrx "
_PHOTOMETRIC, _SUB_DIRECTORIES = 262, 330
# PhotometricInterpretation of the sensor's own samples: through a colour filter array, or linear.
_OF_SENSOR = frozenset({32803, 34892})


def is_raw(data: bytes, name: str) -> bool:
    """Whether a file is a raw one, by its content or by its name.

    A JPEG or PNG is none, whatever its name; a TIFF is one if a raw's name or tags say so.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Its name.
    """
    if data.startswith((jpeg.START, PNG)):
        return False
    if PurePath(name).suffix.lower() in RAW_SUFFIXES or data.startswith(_MARKS) or data[4:12] == _CR3:
        return True
    return is_raw_tiff(data)


def is_raw_tiff(data: bytes) -> bool:
    """Whether a file is a TIFF with a sensor's own samples in it: DNG, NEF, CR2 and others, by their tags."""
    try:
        order = byte_order(data)
        tags, _ = read_directory(data, first_directory(data))
        # CR2 has a mark of its own, and no tag that says it.
        if data[8:10] == b"CR" or _is_of_sensor(tags, order):
            return True
        inner = tags.get(_SUB_DIRECTORIES)
        where = [] if inner is None else np.frombuffer(inner.value, order + "u4").tolist()
        return any(_is_of_sensor(read_directory(data, at)[0], order) for at in where)
    except ValueError:
        return False


def _is_of_sensor(tags: dict[int, Tag], order: str) -> bool:
    tag = tags.get(_PHOTOMETRIC)
    return tag is not None and int.from_bytes(tag.value, "little" if order == "<" else "big") in _OF_SENSOR
