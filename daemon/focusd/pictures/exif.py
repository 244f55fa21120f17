"""EXIF blocks (Exif 2.32, section 4.5): facts put in, the thumbnail taken out, moved; when it was taken."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import datetime

from focusd.pictures.jpeg import START, segments
from focusd.pictures.tags import (
    LONG,
    Tag,
    byte_order,
    detached,
    directory,
    extended,
    first_directory,
    read_directory,
    text_tag,
)

LARGEST_BYTES = 65527
"""What one JPEG segment holds beside its name (section 4.5.2)."""

DIRECTORY = 34665
"""The tag that points to EXIF's own directory."""

JPEG_NAME = b"Exif\0\0"
"""What the JPEG segment of a block begins with (section 4.7.2)."""

_APP1 = 0xE1
_DESCRIPTION, _SOFTWARE = 270, 305
# DateTimeOriginal and SubSecTimeOriginal (section 4.6.5, tables 7 and 8).
_TAKEN, _TAKEN_FRACTION = 36867, 37521
# Raw files that are TIFFs but for their mark: Olympus' ORF, Panasonic's RW2.
_MARKS = {b"IIRO": b"II*\0", b"IIRS": b"II*\0", b"MMOR": b"MM\0*", b"IIU\0": b"II*\0"}
# Description, make, model, orientation, software, date, artist, copyright: what a TIFF frame's own directory
# says of the picture rather than of its pixels' layout.
_OF_PICTURE = frozenset({270, 271, 272, 274, 305, 306, 315, 33432})
# Maker's note and interoperability: full of offsets, which cannot be moved to another file.
_FIXED = frozenset({37500, 40965})
_THUMBNAIL, _THUMBNAIL_BYTES = 513, 514


def described(exif: bytes | None, description: str, software: str) -> bytes:
    """Set ImageDescription and Software; a new block for None, or for one that would be too long."""
    changes = (text_tag(_DESCRIPTION, description), text_tag(_SOFTWARE, software))
    for made in (extended(exif, changes), _rebuilt(exif, changes)) if exif is not None else ():
        if len(made) <= LARGEST_BYTES:
            return made
    return block(changes, (), "<")


def without_thumbnail(exif: bytes) -> bytes | None:
    """Cut the directory of the thumbnail, which shows a single frame; None if the block is damaged."""
    try:
        tags, second = read_directory(exif, first_directory(exif))
        made = extended(_cut_thumbnail(exif, second), ()) if second else exif
        if DIRECTORY in tags:
            read_directory(made, _pointed(tags[DIRECTORY], exif))
    except ValueError:
        return None
    if len(made) > LARGEST_BYTES:
        made = _rebuilt(exif, ())
    return made if len(made) <= LARGEST_BYTES else None


def _cut_thumbnail(exif: bytes, second: int) -> bytes:
    """Drop the thumbnail's bytes if they are the block's last."""
    try:
        tags, _ = read_directory(exif, second)
    except ValueError:
        return exif
    order = byte_order(exif)
    begin, size = (
        int.from_bytes(tags[code].value, "little" if order == "<" else "big") if code in tags else 0
        for code in (_THUMBNAIL, _THUMBNAIL_BYTES)
    )
    last = begin + size >= len(exif) - 3
    return exif[:begin] if last and exif[begin : begin + 2] == START else exif


def _pointed(tag: Tag, data: bytes) -> int:
    return int(struct.unpack(byte_order(data) + "I", tag.field)[0])


def movable(data: bytes, order: str) -> tuple[list[Tag], list[Tag]]:
    """Tags of the picture, and of its EXIF directory, that can be put into another file.

    Parameters
    ----------
    data : bytes
        An EXIF block or a TIFF file.
    order : str
        The other file's byte order, "<" or ">".

    Raises
    ------
    ValueError
        A damaged block.
    """
    old = byte_order(data)
    tags, _ = read_directory(data, first_directory(data))
    outer = [detached(tag, old, order) for tag in tags.values() if tag.code in _OF_PICTURE]
    inner: list[Tag] = []
    if DIRECTORY in tags:
        try:
            found, _ = read_directory(data, _pointed(tags[DIRECTORY], data))
        except ValueError:
            return outer, []
        inner = [detached(tag, old, order) for tag in found.values() if tag.code not in _FIXED]
    return outer, inner


def _rebuilt(exif: bytes, changes: tuple[Tag, ...]) -> bytes:
    """Return a block anew, without what cannot be moved: for one that is too long."""
    order = byte_order(exif)
    outer, inner = movable(exif, order)
    merged = {tag.code: tag for tag in outer} | {tag.code: tag for tag in changes}
    return block(merged.values(), inner, order)


def block(outer: Iterable[Tag], inner: Iterable[Tag], order: str) -> bytes:
    """Lay out an EXIF block of new tags."""
    kept, listed = list(outer), list(inner)
    data = b""
    if listed:
        data, where = directory(listed, order, 8)
        kept.append(Tag(DIRECTORY, LONG, 1, struct.pack(order + "I", where), b""))
    more, first = directory(kept, order, 8 + len(data))
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first) + data + more


def taken_at(data: bytes) -> datetime | None:
    """When the camera says it took a picture: DateTimeOriginal with SubSecTimeOriginal.

    Some tags are looked at and no pixel, so that a file of any size takes some microseconds.

    Parameters
    ----------
    data : bytes
        The whole file: JPEG, TIFF, or a raw that is a TIFF (CR2, NEF, PEF, ARW, DNG, ORF, RW2, and others)
        or has a JPEG or a TIFF in it (RAF, CR3).

    Returns
    -------
    datetime or None
        The camera's own clock, without a zone; whole seconds where it says no more. None when the file does
        not say, or is no such file, or is damaged there.
    """
    try:
        return _taken(block_of(data))
    except (ValueError, struct.error, OverflowError):
        return None


def block_of(data: bytes) -> bytes:
    """EXIF block of a JPEG or a raw file; any other file as it is.

    Parameters
    ----------
    data : bytes
        The whole file. A TIFF is a block itself, as are most raws; RAF has a JPEG in it, CR3 a block with the
        inner directory alone.

    Raises
    ------
    struct.error
        A RAF cut short.
    """
    if data.startswith(b"FUJIFILMCCD-RAW"):
        # Offset and length of a JPEG that has the block.
        at, length = struct.unpack_from(">II", data, 84)
        data = data[at : at + length]
    if data.startswith(START):
        for marker, begin, end in segments(data):
            if marker == _APP1 and data.startswith(JPEG_NAME, begin):
                return data[begin + len(JPEG_NAME) : end]
        return b""
    if data[4:12] == b"ftypcrx ":
        # The box of Canon's CR3 that holds the EXIF directory as a TIFF; boxes of metadata come first.
        at = data.find(b"CMT2", 0, 65536)
        return b"" if at < 4 else data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]
    return _MARKS[data[:4]] + data[4:] if data[:4] in _MARKS else data


def _taken(block: bytes) -> datetime | None:
    tags, _ = read_directory(block, first_directory(block))
    if DIRECTORY in tags:
        tags |= read_directory(block, _pointed(tags[DIRECTORY], block))[0]
    if _TAKEN not in tags:
        return None
    text = tags[_TAKEN].value.rstrip(b"\0 ").decode("ascii")
    fraction = tags[_TAKEN_FRACTION].value.strip(b"\0 ") if _TAKEN_FRACTION in tags else b""
    moment = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
    # As digits behind the point: "5" is half a second, "05" a twentieth of one.
    return moment.replace(microsecond=int(fraction[:6].ljust(6, b"0"))) if fraction.isdigit() else moment
