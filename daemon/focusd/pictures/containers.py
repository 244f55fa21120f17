"""PNG and TIFF files: is the file whole, how large and of what kind is the picture in it."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import cast

import tifffile

from focusd.errors import FrameLost

LARGEST_PX = 500_000_000
"""Pixels a file may claim: a header is believed before its pixels are there. Cameras end at 400 million."""

PNG = b"\x89PNG\r\n\x1a\n"
TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_ORIENTATION = 274


def header_size(data: bytes, name: str) -> tuple[int, int] | None:
    """Rows and columns from the header of a PNG or TIFF; None for another file.

    Raises
    ------
    FrameLost
        A damaged header.
    """
    try:
        if data.startswith(PNG):
            cols, rows = struct.unpack_from(">II", data, 16)
            return int(rows), int(cols)
        if data.startswith(TIFF):
            # Closed by hand: the reader's own cycles would keep the whole file alive.
            with BytesIO(data) as file, tifffile.TiffFile(file) as tiff:
                page = cast("tifffile.TiffPage", tiff.pages[0])
                return int(page.imagelength), int(page.imagewidth)
    except (struct.error, tifffile.TiffFileError, IndexError, TypeError, ValueError) as error:
        raise FrameLost(f"{name}: the header is damaged ({error}); copy the file again", name=name) from error
    return None


def check_png(data: bytes, name: str) -> int:
    """Refuse a PNG whose chunks do not reach IEND, or too large; return its colour type."""
    at = len(PNG)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if kind == b"IEND" and 33 <= at <= len(data):
            cols, rows = struct.unpack_from(">II", data, 16)
            check_area(rows, cols, name)
            return data[25]
    raise FrameLost(
        f"{name}: the PNG is cut short after {len(data)} bytes; copy it again",
        name=name,
        size_bytes=len(data),
    )


def check_tiff(data: bytes, name: str) -> tuple[bool, bytes]:
    """Refuse a TIFF that is cut short or holds several pages; return whether it is grey, and it upright.

    OpenCV obeys a TIFF's orientation tag whatever it is told, so the tag is overwritten.
    """
    try:
        with BytesIO(data) as file, tifffile.TiffFile(file) as tiff:
            pages = len(tiff.pages)
            page = cast("tifffile.TiffPage", tiff.pages[0])
            parts = zip(page.dataoffsets, page.databytecounts, strict=True)
            end = max((offset + count for offset, count in parts), default=len(data) + 1)
            grey = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
            rows, cols = int(page.imagelength), int(page.imagewidth)
            turned = page.tags.get(_ORIENTATION)
            # Values are read when they are asked for: not after the file is closed.
            is_turned = turned is not None and turned.value != 1 and turned.dtype == tifffile.DATATYPE.SHORT
            at = turned.valueoffset if turned is not None else 0
            order = tiff.byteorder
    except (tifffile.TiffFileError, struct.error, IndexError, TypeError, ValueError) as error:
        raise FrameLost(
            f"{name}: the TIFF's header is damaged ({error}); copy it again", name=name
        ) from error
    if pages != 1:
        raise FrameLost(f"{name}: the TIFF holds {pages} pages; save each as a file of its own", name=name)
    if end > len(data):
        raise FrameLost(
            f"{name}: the TIFF is cut short at {len(data)} of {end} bytes; copy it again",
            name=name,
            size_bytes=len(data),
        )
    check_area(rows, cols, name)
    if not is_turned:
        return bool(grey), data
    upright = bytearray(data)
    struct.pack_into(f"{order}H", upright, at, 1)
    return bool(grey), bytes(upright)


def check_area(rows: int, cols: int, name: str) -> None:
    """Refuse a picture of more than `LARGEST_PX`."""
    if rows * cols > LARGEST_PX:
        raise FrameLost(
            f"{name}: {cols} x {rows} px is more than the {LARGEST_PX} px a frame may have; the file is "
            "damaged, or no camera's: leave it out",
            name=name,
        )
