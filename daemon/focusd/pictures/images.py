"""Image files in and JPEG bytes out, with nothing guessed: a damaged file is an error, never a grey half."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import cv2
import numpy as np

from focusd.errors import FocusdError, FrameLost
from focusd.pictures import jpeg, turbojpeg
from focusd.pictures.containers import PNG, TIFF, check_area, check_png, check_tiff, header_size
from focusd.pictures.metadata import Metadata, into_jpeg
from focusd.pictures.planes import Planes
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
"""What `read_image` reads, lower case."""

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


def read_frame(path: Path | str, out: Planes | None = None) -> Image | Planes:
    """Read a JPEG, PNG or TIFF file; see `decode_frame`.

    Raises
    ------
    FrameLost
        A file that cannot be read or decoded, named.
    """
    return decode_frame(_read(Path(path)), str(path), out)


def decode_frame(data: bytes, name: str, out: Planes | None = None) -> Image | Planes:
    """Decode a frame to what its file holds: a JPEG of half-resolution colour (4:2:0) stays planes.

    With libturbojpeg its planes come out as they are; without, they are made of the decoded BGR, which takes
    longer and blurs colour a little, so that a stack is fused the same way on every machine.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        What to call it in an error.
    out : Planes, optional
        May be filled and returned, when the frame is planes of that size; spares fresh memory.

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
        return decode_image(data, name)
    header = _check_jpeg(data, name)
    if header is None or not header.is_420:
        return _decode_jpeg(data, name)
    if min(header.rows, header.cols) < 2:  # planes of half the size are not worth having
        return _decode_jpeg(data, name)
    return turbojpeg.decode_planes(data, name, out) or to_planes(_decode_jpeg(data, name))


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
        Empty, of another format, cut short, damaged, too large, or of another sample type.
    """
    if data.startswith(jpeg.START):
        _check_jpeg(data, name)
        return _decode_jpeg(data, name)
    if data.startswith(PNG):
        # Colour types 0 and 4 are grey without and with alpha (PNG specification, third edition, 11.2.1).
        return _decode(data, name, grey=check_png(data, name) in (0, 4))
    if data.startswith(TIFF):
        grey, upright = check_tiff(data, name)
        return _decode(upright, name, grey=grey)
    what = "is empty" if not data else "is no JPEG, PNG or TIFF"
    raise FrameLost(f"{name}: the file {what}; copy it again or leave it out", name=name)


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
    header = jpeg.frame_header(data) if data.startswith(jpeg.START) else None
    size = (header.rows, header.cols) if header is not None else header_size(data, str(path))
    if size is None:
        raise FrameLost(f"{path}: no image size found in it; it must be a JPEG, PNG or TIFF", name=str(path))
    return size


def encode_jpeg(
    image: Image | Planes,
    *,
    quality: int = 90,
    limit_bytes: int | None = None,
    white: int | None = None,
    metadata: Metadata | None = None,
) -> bytes:
    """Encode as JPEG; planes straight, where libturbojpeg is there.

    Parameters
    ----------
    image : ndarray or Planes
        uint8 or uint16, (rows, cols) or (rows, cols, 3) BGR; or planes.
    quality : int
        1 to 100; where it starts from when there is a limit.
    limit_bytes : int, optional
        Largest result, metadata included. Quality is lowered to 40 first, then the size.
    white : int, optional
        See `to_8_bits`.
    metadata : Metadata, optional
        Colour profile and EXIF to put in.

    Raises
    ------
    FocusdError
        A quality outside its range, or a limit no picture of one pixel fits.
    """
    if not 1 <= quality <= 100:
        raise FocusdError(f"JPEG quality is {quality}: it must be from 1 to 100")
    small = image if isinstance(image, Planes) else to_8_bits(image, white)
    data = _jpeg(small, quality, metadata)
    while limit_bytes is not None and len(data) > limit_bytes:
        if quality > _LOWEST_QUALITY:
            quality = max(_LOWEST_QUALITY, quality - _QUALITY_STEP)
        else:
            small = to_bgr(small)
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
        data = _jpeg(small, quality, metadata)
    return data


def _jpeg(image: Image | Planes, quality: int, metadata: Metadata | None) -> bytes:
    data = turbojpeg.encode_planes(image, quality) if isinstance(image, Planes) else None
    if data is None:
        done, encoded = cv2.imencode(".jpg", to_bgr(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            raise FocusdError(f"an image of shape {image.shape} cannot be encoded as JPEG")
        data = encoded.tobytes()
    return into_jpeg(data, metadata) if metadata is not None else data


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
