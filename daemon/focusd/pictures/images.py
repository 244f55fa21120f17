"""Image files in, with nothing guessed: a damaged file is an error, never a grey half."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from focusd.errors import FrameLost
from focusd.pictures import jpeg, raw, turbojpeg
from focusd.pictures.containers import PNG, TIFF, check_area, check_png, check_tiff, header_size
from focusd.pictures.encoding import encode_jpeg
from focusd.pictures.kinds import is_raw
from focusd.pictures.planes import Planes
from focusd.pictures.raw import RawRendering
from focusd.pictures.samples import Image, to_8_bits, to_16_bits, to_bgr, to_planes, white_of

__all__ = [
    "SUFFIXES",
    "Image",
    "decode_frame",
    "decode_image",
    "encode_jpeg",
    "image_size",
    "read_frame",
    "read_image",
    "to_8_bits",
    "to_16_bits",
    "to_bgr",
    "to_planes",
    "white_of",
]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})
"""Files that are read and written, lower case; `focusd.pictures.kinds.RAW_SUFFIXES` are read as well."""


def read_image(path: Path | str) -> Image:
    """Read a JPEG, PNG, TIFF or raw file; see `decode_image`.

    Raises
    ------
    FrameLost
        A file that cannot be read or decoded, named.
    """
    return decode_image(_read(Path(path)), str(path))


def read_frame(
    path: Path | str, out: Planes | None = None, rendering: RawRendering | None = None
) -> Image | Planes:
    """Read a JPEG, PNG, TIFF or raw file; see `decode_frame`.

    Raises
    ------
    FrameLost
        A file that cannot be read or decoded, named.
    """
    return decode_frame(_read(Path(path)), str(path), out, rendering)


def decode_frame(
    data: bytes, name: str, out: Planes | None = None, rendering: RawRendering | None = None
) -> Image | Planes:
    """Decode a frame to what its file holds: a JPEG of half-resolution colour (4:2:0) stays planes.

    With libturbojpeg its planes come out as they are; without, they are made of the decoded BGR, which takes
    longer and blurs colour a little, so that a stack is fused the same way on every machine.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Its name; tells a raw file, and is said in an error.
    out : Planes, optional
        May be filled and returned, when the frame is planes of that size; spares fresh memory.
    rendering : RawRendering, optional
        How the raw files of its stack are developed.

    Returns
    -------
    Planes or ndarray
        Planes for a 4:2:0 JPEG, else as `decode_image`.

    Raises
    ------
    FrameLost
        As `decode_image`.
    """
    if not data.startswith(jpeg.START):
        return decode_image(data, name, rendering)
    header = _check_jpeg(data, name)
    if header is None or not header.is_420:
        return _decode_jpeg(data, name)
    if min(header.rows, header.cols) < 2:  # planes of half the size are not worth having
        return _decode_jpeg(data, name)
    return turbojpeg.decode_planes(data, name, out) or to_planes(_decode_jpeg(data, name))


def decode_image(data: bytes, name: str, rendering: RawRendering | None = None) -> Image:
    """Decode a JPEG, PNG, TIFF or raw file.

    Grey stays grey, alpha is dropped, and a camera's orientation tag is ignored: frames stay in the
    coordinates of the sensor.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Its name; tells a raw file, and is said in an error.
    rendering : RawRendering, optional
        How the raw files of its stack are developed.

    Returns
    -------
    ndarray
        uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR; uint16 for a raw file.

    Raises
    ------
    FrameLost
        Empty, of another format, cut short, damaged, too large, or of another sample type; see also
        `focusd.pictures.raw.decode`.
    """
    if data.startswith(jpeg.START):
        _check_jpeg(data, name)
        return _decode_jpeg(data, name)
    if data.startswith(PNG):
        # Colour types 0 and 4 are grey without and with alpha (PNG specification, third edition, 11.2.1).
        return _decode(data, name, grey=check_png(data, name) in (0, 4))
    if data and is_raw(data, name):
        return raw.decode(data, name, rendering)
    if data.startswith(TIFF):
        grey, upright = check_tiff(data, name)
        return _decode(upright, name, grey=grey)
    what = "is empty" if not data else "is no JPEG, PNG, TIFF or raw file"
    raise FrameLost(f"{name}: the file {what}; copy it again or leave it out", name=name)


def image_size(path: Path | str) -> tuple[int, int]:
    """Size of an image file from its header alone.

    Returns
    -------
    rows, cols : int

    Raises
    ------
    FrameLost
        A file that cannot be read, or whose header holds no size; a raw file without rawpy.
    """
    data = _read(Path(path))
    if data and is_raw(data, str(path)):
        return raw.image_size(data, str(path))
    header = jpeg.frame_header(data) if data.startswith(jpeg.START) else None
    size = (header.rows, header.cols) if header is not None else header_size(data, str(path))
    if size is None:
        raise FrameLost(
            f"{path}: no image size found in it; it must be a JPEG, PNG, TIFF or raw file", name=str(path)
        )
    return size


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FrameLost(
            f"{path}: cannot be read ({error.strerror}); check the file", name=str(path)
        ) from error


def _check_jpeg(data: bytes, name: str) -> jpeg.FrameHeader | None:
    header = jpeg.check(data, name)
    if header is not None:
        check_area(header.rows, header.cols, name)
    return header


def _decode_jpeg(data: bytes, name: str) -> Image:
    """Decode by libturbojpeg, whose warnings can be heard; else, and for CMYK, by OpenCV."""
    pixels = turbojpeg.decode_pixels(data, name)
    return pixels if pixels is not None else _decode(data, name)


def _decode(data: bytes, name: str, *, grey: bool = False) -> Image:
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
