"""JPEG bytes of a picture, within a limit if there is one."""

from __future__ import annotations

from typing import cast

import cv2

from focusd.errors import FocusdError
from focusd.pictures import turbojpeg
from focusd.pictures.metadata import Metadata, into_jpeg
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_8_bits, to_bgr

# Below this a JPEG is lowered in size rather than in quality: blocks show.
_LOWEST_QUALITY = 40
_QUALITY_STEP = 10


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
