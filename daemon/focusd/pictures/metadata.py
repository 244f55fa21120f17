"""What a picture carries beside its pixels: the colour profile (ICC) and the camera's notes (EXIF).

Taken from one frame of a stack and put into the files made of it. Damaged or oversized metadata is left out:
it must never cost a picture.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from focusd.pictures import exif, jpeg
from focusd.pictures.containers import PNG
from focusd.pictures.kinds import is_raw
from focusd.pictures.tags import LONG, UNDEFINED, Tag, byte_order, directory, first_directory, read_directory

LARGEST_ICC_BYTES = 255 * 65519
"""What a JPEG can hold, 255 segments (ICC.1:2022, annex B.4): 16.7 MB. A camera's has some kilobytes."""

_ICC_NAME = b"ICC_PROFILE\0"
_ICC_CHUNK_BYTES = 65519
_APP0, _APP1, _APP2 = 0xE0, 0xE1, 0xE2

_ICC = 34675


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a picture carries beside its pixels.

    Parameters
    ----------
    icc : bytes, optional
        An ICC profile for RGB or grey (ICC.1:2022, section 7.2).
    exif : bytes, optional
        An EXIF block from its byte-order mark on, without the thumbnail's directory. Its orientation is the
        frame's own: pictures stay in the coordinates of the sensor.
    """

    icc: bytes | None = None
    exif: bytes | None = None

    def as_json(self) -> dict[str, str]:
        """Return it as JSON has it."""
        parts = {"icc": self.icc, "exif": self.exif}
        return {name: b64encode(part).decode() for name, part in parts.items() if part is not None}

    @classmethod
    def of_json(cls, parts: Mapping[str, str]) -> Metadata:
        """Inverse of `as_json`.

        Raises
        ------
        ValueError
            Not base64.
        """
        return cls(
            **{name: b64decode(parts[name], validate=True) for name in ("icc", "exif") if name in parts}
        )

    def about(self, description: str, software: str = "focusd") -> Metadata:
        """Return a copy that says what the picture is and what made it.

        Parameters
        ----------
        description : str
            For EXIF's ImageDescription; see `stack_text`.
        software : str
            For EXIF's Software.
        """
        return replace(self, exif=exif.described(self.exif, description, software))


def stack_text(positions_um: Sequence[float]) -> str:
    """Say in one line how many frames a stack has, how far apart, and from where to where.

    Parameters
    ----------
    positions_um : sequence of float
        Ascending; one or more.
    """
    low_um, high_um = positions_um[0], positions_um[-1]
    gaps_um = [upper - lower for lower, upper in pairwise(positions_um)]
    even = not gaps_um or max(gaps_um) - min(gaps_um) <= 1e-3 * max(gaps_um)
    step = f"step {(high_um - low_um) / max(1, len(gaps_um)):g} um" if even else "uneven steps"
    return f"focus stack of {len(positions_um)} frames, {step}, z {low_um:g} to {high_um:g} um"


def read(data: bytes) -> Metadata:
    """Metadata of a JPEG, PNG, TIFF or raw file; empty for anything else.

    A raw file's colour profile is left out: it tells of the sensor's samples, and what is developed is sRGB.

    Parameters
    ----------
    data : bytes
        The whole file.
    """
    notes = icc = None
    try:
        if data.startswith(jpeg.START):
            notes, icc = _of_jpeg(data)
        elif data.startswith(PNG):
            notes, icc = _of_png(data)
        else:
            notes, icc = _of_tiff(exif.block_of(data))
            icc = None if is_raw(data, "") else icc
    except (ValueError, struct.error, zlib.error):
        return Metadata()
    return Metadata(icc if icc and _usable(icc) else None, exif.without_thumbnail(notes) if notes else None)


def into_jpeg(data: bytes, metadata: Metadata) -> bytes:
    """Put metadata into a JPEG that has none; behind its JFIF segment, if it has one."""
    made = bytearray()
    if metadata.exif is not None:
        made += _segment(_APP1, exif.JPEG_NAME + metadata.exif)
    if metadata.icc is not None:
        total = -(-len(metadata.icc) // _ICC_CHUNK_BYTES)
        for number in range(total):
            part = metadata.icc[number * _ICC_CHUNK_BYTES : (number + 1) * _ICC_CHUNK_BYTES]
            made += _segment(_APP2, _ICC_NAME + bytes((number + 1, total)) + part)
    marker, _, end = next(jpeg.segments(data), (0, 0, 0))
    at = end if marker == _APP0 else 2
    return data[:at] + made + data[at:]


def into_png(data: bytes, metadata: Metadata) -> bytes:
    """Put metadata into a PNG that has none; behind its header, before everything else."""
    made = b""
    if metadata.icc is not None:
        made += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc))
    if metadata.exif is not None:
        made += _chunk(b"eXIf", metadata.exif)
    at = len(PNG) + 25
    return data[:at] + made + data[at:]


def into_tiff(path: Path, metadata: Metadata) -> None:
    """Put metadata into a TIFF file, in place; call it before the file has its final name.

    The maker's note stays behind: its offsets hold in the frame's own block only.

    Parameters
    ----------
    path : Path
        A TIFF of less than 4 GB (a larger one, BigTIFF, is left as it is).
    metadata : Metadata
        What to put in; in place of what is there.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    with path.open("r+b") as file:
        head = file.read(8)
        try:
            order = byte_order(head)
        except ValueError:
            return
        (first,) = struct.unpack(order + "I", head[4:])
        file.seek(first)
        (count,) = struct.unpack(order + "H", file.read(2))
        file.seek(first + 2)
        entries = [struct.unpack(order + "HHI4s", file.read(12)) for _ in range(count)]
        tags = {code: Tag(code, kind, number, field, b"") for code, kind, number, field in entries}
        file.seek(0, 2)
        file.write(bytes(file.tell() % 2))
        at = file.tell()
        changes, inner = exif.movable(metadata.exif, order) if metadata.exif is not None else ([], [])
        if inner:
            data, where = directory(inner, order, at)
            file.write(data)
            at += len(data)
            changes.append(Tag(exif.DIRECTORY, LONG, 1, struct.pack(order + "I", where), b""))
        if metadata.icc is not None:
            changes.append(Tag(_ICC, UNDEFINED, len(metadata.icc), b"", metadata.icc))
        merged = tags | {tag.code: tag for tag in changes}
        data, where = directory(merged.values(), order, at)
        file.write(data)
        file.seek(4)
        file.write(struct.pack(order + "I", where))


def _of_jpeg(data: bytes) -> tuple[bytes | None, bytes | None]:
    notes, parts = None, {}
    for marker, begin, end in jpeg.segments(data):
        content = data[begin:end]
        if marker == _APP1 and content.startswith(exif.JPEG_NAME) and notes is None:
            notes = content[len(exif.JPEG_NAME) :]
        elif marker == _APP2 and content.startswith(_ICC_NAME) and len(content) > 14:
            parts[content[12]] = (content[13], content[14:])
    totals = {total for total, _ in parts.values()}
    whole = len(totals) == 1 and set(parts) == set(range(1, max(totals) + 1))
    return notes, b"".join(parts[number][1] for number in sorted(parts)) if whole else None


def _of_png(data: bytes) -> tuple[bytes | None, bytes | None]:
    notes = icc = None
    for kind, content in _chunks(data):
        if kind == b"iCCP":
            # Name, 0, method, then the profile, which may be a bomb.
            packed = content[content.index(b"\0") + 2 :]
            icc = zlib.decompressobj().decompress(packed, LARGEST_ICC_BYTES + 1)
        elif kind == b"eXIf":
            notes = content
    return notes, icc


def _of_tiff(data: bytes) -> tuple[bytes | None, bytes | None]:
    tags, _ = read_directory(data, first_directory(data))
    order = byte_order(data)
    outer, inner = exif.movable(data, order)
    notes = exif.block(outer, inner, order) if outer or inner else None
    return notes, tags[_ICC].value if _ICC in tags else None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def _usable(icc: bytes) -> bool:
    """Whether a profile is one, and for RGB or grey: CMYK frames come out of the decoder as RGB."""
    return 128 < len(icc) <= LARGEST_ICC_BYTES and icc[36:40] == b"acsp" and icc[16:20] in (b"RGB ", b"GRAY")


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
