"""Image files in and JPEG bytes out, with nothing guessed: a damaged file is an error, never a grey half."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from focusd.errors import FocusdError, FrameLost

Image = npt.NDArray[Any]
"""uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})
"""What `read_image` reads, lower case."""

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
# Below this a JPEG is lowered in size rather than in quality: blocks show.
_LOWEST_QUALITY = 40
_QUALITY_STEP = 10


def read_image(path: Path | str) -> Image:
    """Read a JPEG, PNG or TIFF file; see `decode_image`.

    Raises
    ------
    FrameLost
        A file that cannot be read or decoded, named.
    """
    return decode_image(_read(Path(path)), str(path))


def decode_image(data: bytes, name: str) -> Image:
    """Decode a JPEG, PNG or TIFF.

    Grey stays grey, alpha is dropped, and a camera's orientation tag is ignored: frames stay in the
    coordinates of the sensor.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        What to call it in an error.

    Returns
    -------
    ndarray
        uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR.

    Raises
    ------
    FrameLost
        Empty, of another format, cut short, damaged, or of another sample type.
    """
    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data, name)
        grey = False
    elif data.startswith(_PNG):
        # Colour types 0 and 4 are grey without and with alpha (PNG specification, third edition, 11.2.1).
        grey = _check_png(data, name) in (0, 4)
    elif data.startswith(_TIFF):
        grey = _check_tiff(data, name)
    else:
        what = "is empty" if not data else "is no JPEG, PNG or TIFF"
        raise FrameLost(f"{name}: the file {what}; copy it again or leave it out", name=name)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise FrameLost(f"{name}: cannot be decoded ({error.err}); copy it again", name=name) from error
    if image is None:
        raise FrameLost(f"{name}: the file is damaged and cannot be decoded; copy it again", name=name)
    if image.dtype not in (np.uint8, np.uint16):
        raise FrameLost(
            f"{name}: samples are {image.dtype}; convert them to 8 or 16 bits unsigned", name=name
        )
    decoded: Image = np.asarray(image)
    if decoded.ndim == 3:
        decoded = decoded[..., 0] if grey else decoded[..., :3]
    return np.ascontiguousarray(decoded)


def image_size(path: Path | str) -> tuple[int, int]:
    """Size of an image file from its header alone.

    Returns
    -------
    rows, cols : int

    Raises
    ------
    FrameLost
        A file that cannot be read, or whose header holds no size.
    """
    data = _read(Path(path))
    try:
        if data.startswith(b"\xff\xd8"):
            for marker, begin, _ in _jpeg_segments(data):
                # SOF0 to SOF15 without DHT, JPG and DAC (ITU-T T.81, table B.1).
                if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                    rows, cols = struct.unpack_from(">HH", data, begin + 1)
                    return int(rows), int(cols)
        elif data.startswith(_PNG):
            cols, rows = struct.unpack_from(">II", data, 16)
            return int(rows), int(cols)
        elif data.startswith(_TIFF):
            with tifffile.TiffFile(BytesIO(data)) as tiff:
                page = cast("tifffile.TiffPage", tiff.pages[0])
                return int(page.imagelength), int(page.imagewidth)
    except (struct.error, tifffile.TiffFileError, IndexError) as error:
        raise FrameLost(f"{path}: the header is damaged ({error}); copy the file again") from error
    raise FrameLost(f"{path}: no image size found in it; it must be a JPEG, PNG or TIFF")


def to_8_bits(image: Image, white: int | None = None) -> Image:
    """`image` as uint8.

    Parameters
    ----------
    image : ndarray
        uint8 (returned as it is) or uint16.
    white : int, optional
        The uint16 value that becomes 255, 255 to 65535; larger ones are clipped. Default 65535.
    """
    if image.dtype == np.uint8:
        return image
    scaled = image.astype(np.float32) * np.float32(255.0 / (white or 65535))
    rounded: Image = np.minimum(np.rint(scaled), 255).astype(np.uint8)
    return rounded


def encode_jpeg(
    image: Image, *, quality: int = 90, limit_bytes: int | None = None, white: int | None = None
) -> bytes:
    """Encode as JPEG.

    Parameters
    ----------
    image : ndarray
        uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR.
    quality : int
        1 to 100; where it starts from when there is a limit.
    limit_bytes : int, optional
        Largest result. Quality is lowered to 40 first, then the size.
    white : int, optional
        See `to_8_bits`.

    Raises
    ------
    FocusdError
        A quality outside its range, or a limit no picture of one pixel fits.
    """
    if not 1 <= quality <= 100:
        raise FocusdError(f"JPEG quality is {quality}: it must be from 1 to 100")
    small = to_8_bits(image, white)
    data = _jpeg(small, quality)
    while limit_bytes is not None and len(data) > limit_bytes:
        if quality > _LOWEST_QUALITY:
            quality = max(_LOWEST_QUALITY, quality - _QUALITY_STEP)
        else:
            rows, cols = small.shape[:2]
            if rows == cols == 1:
                raise FocusdError(
                    f"a JPEG of {limit_bytes} bytes: the smallest takes {len(data)}; raise the limit",
                    limit_bytes=limit_bytes,
                )
            # Bytes go about with the area; a little less than that, never less than half a side at once.
            side = min(0.95, max(0.5, (limit_bytes / len(data)) ** 0.5))
            size = (max(1, int(cols * side)), max(1, int(rows * side)))
            small = cast("Image", cv2.resize(small, size, interpolation=cv2.INTER_AREA))
        data = _jpeg(small, quality)
    return data


def _jpeg(image: Image, quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise FocusdError(f"an image of shape {image.shape} cannot be encoded as JPEG")
    return bytes(data.tobytes())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FrameLost(
            f"{path}: cannot be read ({error.strerror}); check the file", name=str(path)
        ) from error


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of each segment's content up to the first scan (ITU-T T.81, annex B.1)."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = struct.unpack_from(">H", data, at + 2)[0]
        yield marker, at + 4, at + 2 + length
        if marker == 0xDA:
            return
        at += 2 + length


def _check_jpeg(data: bytes, name: str) -> None:
    """Refuse a JPEG without an end-of-image marker after its first scan.

    The decoder fills what is missing with grey and only warns. A thumbnail's own marker does not count: it
    lies in a segment before the scan.
    """
    scan = next((end for marker, _, end in _jpeg_segments(data) if marker == 0xDA), None)
    if scan is None or data.rfind(b"\xff\xd9", scan) < 0:
        raise FrameLost(
            f"{name}: the JPEG is cut short at {len(data)} bytes; wait until it is written or copy it again",
            name=name,
            size_bytes=len(data),
        )


def _check_png(data: bytes, name: str) -> int:
    """Refuse a PNG whose chunks do not reach IEND; return its colour type."""
    at = len(_PNG)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if kind == b"IEND" and at <= len(data):
            return data[25]
    raise FrameLost(
        f"{name}: the PNG is cut short after {len(data)} bytes; copy it again",
        name=name,
        size_bytes=len(data),
    )


def _check_tiff(data: bytes, name: str) -> bool:
    """Refuse a TIFF that is cut short or holds several pages; return whether it is grey."""
    try:
        with tifffile.TiffFile(BytesIO(data)) as tiff:
            pages = len(tiff.pages)
            page = cast("tifffile.TiffPage", tiff.pages[0])
            parts = zip(page.dataoffsets, page.databytecounts, strict=True)
            end = max((offset + count for offset, count in parts), default=len(data) + 1)
            grey = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
    except (tifffile.TiffFileError, struct.error, IndexError, ValueError) as error:
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
    return bool(grey)
