"""Whether a picture file has its end, told from its own bytes and without decoding it."""

from __future__ import annotations

import struct

from focusd.errors import FrameLost
from focusd.pictures.containers import PNG, check_png
from focusd.pictures.jpeg import START, START_OF_SCAN, segments
from focusd.pictures.tags import Tag, byte_order, first_directory, read_directory

_JPEG_END = b"\xff\xd9"
# Offsets and lengths: strips, tiles, a JPEG (TIFF 6.0, sections 8, 15 and 22).
_PARTS = ((273, 279), (324, 325), (513, 514))
_SUB_DIRECTORIES = (330, 34665)
# A raw has a handful of pictures in it: previews and thumbnails.
_MOST_DIRECTORIES = 32


def has_end(data: bytes) -> bool | None:
    """Whether a file is all there.

    Parameters
    ----------
    data : bytes
        As much of it as there is.

    Returns
    -------
    bool or None
        For JPEG, PNG, TIFF and raws that are TIFFs (CR2, NEF, PEF, ARW, DNG); None for others, whose bytes do
        not tell. A TIFF that was given its full length before its pixels counts as whole.
    """
    if data.startswith(START):
        return _jpeg_has_end(data)
    if data.startswith(PNG[: len(data)]):
        try:
            check_png(data, "")
        except (FrameLost, IndexError, struct.error):
            return False
        return True
    try:
        byte_order(data)
    except ValueError:
        return None
    return _tiff_has_end(data)


def _jpeg_has_end(data: bytes) -> bool:
    """Look behind the beginning of the scan: a thumbnail's end lies before it."""
    for marker, _, end in segments(data):
        if marker == START_OF_SCAN:
            # In a scan 0xFF is never followed by 0xD9. From the end, where it is: makers append things.
            return data.rfind(_JPEG_END, end) >= 0
    return False


def _tiff_has_end(data: bytes) -> bool:
    """Whether the first directory is there, and all that any directory points to."""
    order, waiting, seen = byte_order(data), [first_directory(data)], set[int]()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        if at + 2 > len(data):
            return False
        # The first one is taken strictly: its entries and the next one's offset (TIFF 6.0, section 2).
        entries = struct.unpack_from(f"{order}H", data, at)[0]
        if len(seen) == 1 and at + 2 + 12 * entries + 4 > len(data):
            return False
        try:
            tags, following = read_directory(data, at)
        except ValueError:
            if len(seen) == 1:
                return False
            continue  # a maker's own way of writing it
        if any(_end_of(tags, pair, order) > len(data) for pair in _PARTS):
            return False
        waiting += [following] if following else []
        waiting += [number for code in _SUB_DIRECTORIES for number in _numbers(tags.get(code), order)]
    return True


def _end_of(tags: dict[int, Tag], pair: tuple[int, int], order: str) -> int:
    offsets, lengths = (_numbers(tags.get(code), order) for code in pair)
    return max((begin + length for begin, length in zip(offsets, lengths, strict=False)), default=0)


def _numbers(tag: Tag | None, order: str) -> list[int]:
    """Return a tag's whole numbers; none for one of another type."""
    letter = {3: "H", 4: "I", 13: "I"}.get(tag.kind) if tag is not None else None
    return list(struct.unpack(f"{order}{tag.count}{letter}", tag.value)) if tag is not None and letter else []
