"""The tag directories of TIFF 6.0 (section 2), of which EXIF is made too: read, extended, moved.

A block is extended by a new directory at its end, and nothing already in it moves: a maker's note, whose
inner offsets only its maker knows, stays right.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

# Bytes of one value by type, 1 to 13; and of the numbers within it, which a change of byte order turns.
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_NUMBER_BYTES = {**_VALUE_BYTES, 5: 4, 10: 4}
ASCII, SHORT, LONG, UNDEFINED = 2, 3, 4, 7
# A directory of a sane file has some tens of entries.
_MOST_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a directory.

    Parameters
    ----------
    code : int
        Which tag.
    kind : int
        Type of its values, 1 (BYTE) to 13 (IFD).
    count : int
        Number of values.
    field : bytes
        The four bytes of the entry itself: the value when it fits, else its offset.
    value : bytes
        The values, in the block's byte order.
    """

    code: int
    kind: int
    count: int
    field: bytes
    value: bytes


def text_tag(code: int, text: str) -> Tag:
    """Make a tag of text; what is not ASCII becomes a question mark."""
    value = text.encode("ascii", "replace") + b"\0"
    return Tag(code, ASCII, len(value), b"", value)


def byte_order(block: bytes) -> str:
    """Read "<" or ">" off a block's first four bytes.

    Raises
    ------
    ValueError
        Neither of the two beginnings.
    """
    orders = {b"II*\0": "<", b"MM\0*": ">"}
    if block[:4] not in orders or len(block) < 8:
        raise ValueError("no TIFF header")
    return orders[block[:4]]


def first_directory(block: bytes) -> int:
    """Offset of a block's first directory."""
    return int(struct.unpack_from(byte_order(block) + "I", block, 4)[0])


def read_directory(block: bytes, at: int) -> tuple[dict[int, Tag], int]:
    """Read the directory at an offset.

    Entries of unknown type and those whose value lies outside the block are left out.

    Parameters
    ----------
    block : bytes
        A TIFF file or an EXIF block, from its byte-order mark.
    at : int
        The directory's offset.

    Returns
    -------
    tags : dict
        By code.
    following : int
        Offset of the next directory; 0 if there is none.

    Raises
    ------
    ValueError
        No directory there.
    """
    order = byte_order(block)
    try:
        count = struct.unpack_from(order + "H", block, at)[0]
        if at < 8 or not 1 <= count <= _MOST_ENTRIES:
            raise ValueError(f"no directory at byte {at}")
        entries = [struct.unpack_from(order + "HHI4s", block, at + 2 + 12 * n) for n in range(count)]
    except struct.error as error:
        raise ValueError(f"no whole directory at byte {at}") from error
    end = at + 2 + 12 * count
    following = int(struct.unpack_from(order + "I", block, end)[0]) if end + 4 <= len(block) else 0
    tags = {}
    for code, kind, number, field in entries:
        size = _VALUE_BYTES.get(kind, 0) * number
        begin = struct.unpack(order + "I", field)[0]
        value = field[:size] if size <= 4 else block[begin : begin + size]
        if size and len(value) == size:
            tags[code] = Tag(code, kind, number, field, value)
    return tags, following


def directory(tags: Iterable[Tag], order: str, at: int) -> tuple[bytes, int]:
    """Lay out a directory, the values of new tags before it.

    Parameters
    ----------
    tags : iterable of Tag
        A tag with an empty `field` is new: its value is laid out. Others keep theirs.
    order : str
        "<" or ">".
    at : int
        Offset the bytes will have; even.

    Returns
    -------
    data : bytes
        To be put at `at`.
    where : int
        Offset of the directory itself. No other one follows it.
    """
    values, entries = bytearray(), []
    for tag in sorted(tags, key=lambda tag: tag.code):
        field = tag.field
        if not field:
            field = tag.value.ljust(4, b"\0")
            if len(tag.value) > 4:
                field = struct.pack(order + "I", at + len(values))
                values += tag.value + bytes(len(tag.value) % 2)
        entries.append(struct.pack(order + "HHI4s", tag.code, tag.kind, tag.count, field))
    listed = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    return bytes(values) + listed, at + len(values)


def extended(block: bytes, changes: Iterable[Tag]) -> bytes:
    """Extend a block's first directory by new tags or new values; directories that followed it are dropped.

    Raises
    ------
    ValueError
        A damaged block.
    """
    tags, _ = read_directory(block, first_directory(block))
    tags |= {tag.code: tag for tag in changes}
    order, even = byte_order(block), block + bytes(len(block) % 2)
    data, where = directory(tags.values(), order, len(even))
    return even[:4] + struct.pack(order + "I", where) + even[8:] + data


def detached(tag: Tag, old: str, new: str) -> Tag:
    """Take a tag out of its block, for one of byte order `new`."""
    size = _NUMBER_BYTES[tag.kind]
    value = tag.value
    if old != new and size > 1:
        value = b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))
    return Tag(tag.code, tag.kind, tag.count, b"", value)
