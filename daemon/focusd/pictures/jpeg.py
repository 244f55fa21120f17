"""What a JPEG file says of itself, read without decoding it (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from focusd.errors import FrameLost

START = b"\xff\xd8"
START_OF_SCAN = 0xDA

# SOF0 to SOF15 without DHT, JPG and DAC (table B.1).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline, extended and progressive with Huffman coding.
_HUFFMAN = frozenset({0xC0, 0xC1, 0xC2})
_PROGRESSIVE = 0xC2
_COEFFICIENTS = 64
# In a scan 0xFF is followed by a stuffed 0 or a restart number; all else is the marker of what comes next.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
# What may follow a scan: DHT, DAC, SOS, DQT, DNL, DRI, COM and APPn.
_BETWEEN_SCANS = frozenset({0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_END = 0xD9


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """A JPEG's frame header (section B.2.2).

    Parameters
    ----------
    rows, cols : int
        Size, px.
    sampling : tuple of (int, int)
        Each component's horizontal and vertical sampling factor, 1 to 4.
    components : bytes
        Each component's identifier.
    huffman : bool
        Baseline, extended or progressive with Huffman coding, 8 bits a sample: what cameras write.
    progressive : bool
        Sent in several scans, each refining the ones before.
    """

    rows: int
    cols: int
    sampling: tuple[tuple[int, int], ...]
    components: bytes
    huffman: bool
    progressive: bool

    @property
    def is_420(self) -> bool:
        """Whether two of three components have half the resolution both ways."""
        return self.huffman and self.sampling == ((2, 2), (1, 1), (1, 1))

    @property
    def least_bytes(self) -> int:
        """Bytes below which a file cannot hold the picture; 0 if that is not known.

        A block of 8 x 8 samples takes at least one bit, the shortest Huffman code (sections F.1.2, G.1.2).
        """
        across, down = (max(factors) for factors in zip(*self.sampling, strict=True))
        if not self.huffman or not across or not down:
            return 0
        blocks = sum(h * v for h, v in self.sampling)
        least: int = self.rows * self.cols * blocks // (8 * 64 * across * down)
        return least


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of each segment's content up to the first scan.

    An end may lie behind the data's own: the caller looks.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = struct.unpack_from(">H", data, at + 2)[0]
        yield marker, at + 4, at + 2 + length
        if marker == START_OF_SCAN:
            return
        at += 2 + length


def frame_header(data: bytes) -> FrameHeader | None:
    """Read the frame header; None if there is none, or none that makes sense."""
    for marker, begin, end in segments(data):
        if marker not in _FRAMES:
            continue
        if min(end, len(data)) < begin + 6:
            return None
        bits, rows, cols, count = struct.unpack_from(">BHHB", data, begin)
        factors = data[begin + 7 : begin + 6 + 3 * count : 3]
        if rows == 0 or cols == 0 or not count or len(factors) != count:
            return None
        sampling = tuple((factor >> 4, factor & 15) for factor in factors)
        components = data[begin + 6 : begin + 6 + 3 * count : 3]
        huffman = bits == 8 and marker in _HUFFMAN
        return FrameHeader(rows, cols, sampling, components, huffman, marker == _PROGRESSIVE)
    return None


def check(data: bytes, name: str) -> FrameHeader | None:
    """Refuse a JPEG that is cut short or of which a part was overwritten.

    The decoder fills what is missing with grey and only warns. A thumbnail's own end marker does not count:
    it lies in a segment before the scan.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        What to call it in an error.

    Returns
    -------
    FrameHeader or None
        As `frame_header`.

    Raises
    ------
    FrameLost
        No end-of-image marker, a marker where none may be, or a size that so few bytes cannot hold.
    """
    header = frame_header(data)
    scans: list[int] = []
    at = len(data)
    for marker, begin, end in segments(data):
        if marker == START_OF_SCAN:
            scans.append(begin)
            at = end
    while found := _MARKER.search(data, at):
        marker = data[found.start() + 1]
        if marker == _END:
            if header is not None and header.huffman:
                _check_whole(data, header, scans, name)
            return header
        if marker not in _BETWEEN_SCANS:
            raise FrameLost(
                f"{name}: the JPEG is damaged: marker 0x{marker:02x} at byte {found.start()}, in the middle "
                "of the picture; copy it again",
                name=name,
            )
        if marker == START_OF_SCAN:
            scans.append(found.end() + 2)
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    raise FrameLost(
        f"{name}: the JPEG is cut short at {len(data)} bytes; wait until it is written or copy it again",
        name=name,
        size_bytes=len(data),
    )


def _check_whole(data: bytes, header: FrameHeader, scans: list[int], name: str) -> None:
    """Refuse a size that so few bytes cannot hold, and a picture of which whole scans are missing."""
    if len(data) < header.least_bytes:
        raise FrameLost(
            f"{name}: the JPEG is damaged: its header says {header.cols} x {header.rows} px, which "
            f"{len(data)} bytes cannot hold; copy it again",
            name=name,
        )
    # Coefficients that have come down to their last bit, by component (sections B.2.3 and G.1.1.1).
    done: dict[int, set[int]] = {component: set() for component in header.components}
    for begin in scans:
        count = data[begin] if begin < len(data) else 0
        listed = data[begin + 1 : begin + 1 + 2 * count : 2]
        first, last, bits = data[begin + 1 + 2 * count : begin + 4 + 2 * count].ljust(3, b"\0")
        if not header.progressive:
            first, last, bits = 0, _COEFFICIENTS - 1, 0
        for component in listed:
            if component in done and bits & 15 == 0:
                done[component].update(range(first, last + 1))
    if any(len(coefficients) < _COEFFICIENTS for coefficients in done.values()):
        raise FrameLost(
            f"{name}: the JPEG is damaged: a part of its {len(scans)} scans is missing; copy it again",
            name=name,
        )
