"""JPEG and PNG, written atomically."""

from __future__ import annotations

from pathlib import Path

import cv2

from focusd.atomic import write_bytes
from focusd.errors import FocusdError
from focusd.pictures.images import Image, encode_jpeg, to_bgr
from focusd.pictures.metadata import Metadata, into_png
from focusd.pictures.planes import Planes


def write_jpeg(
    path: Path | str,
    image: Image | Planes,
    *,
    quality: int = 95,
    white: int | None = None,
    metadata: Metadata | None = None,
) -> None:
    """Write an image as an 8-bit JPEG; parameters as in `focusd.pictures.images.encode_jpeg`.

    Raises
    ------
    FocusdError
        A quality outside its range, or a file that cannot be written.
    """
    write_bytes(path, encode_jpeg(image, quality=quality, white=white, metadata=metadata))


def write_png(path: Path | str, image: Image | Planes, *, metadata: Metadata | None = None) -> None:
    """Write an image as PNG, its type kept.

    Parameters
    ----------
    path : Path
        Where; replaced if there.
    image : ndarray or Planes
        uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR; or planes, written as colour.
    metadata : Metadata, optional
        Colour profile and EXIF to put in.

    Raises
    ------
    FocusdError
        An image PNG cannot hold, or a file that cannot be written.
    """
    pixels = to_bgr(image)
    done, encoded = cv2.imencode(".png", pixels)
    if not done:
        raise FocusdError(f"{path}: {pixels.dtype}, shape {pixels.shape} cannot be encoded as PNG")
    data = encoded.tobytes()
    write_bytes(path, into_png(data, metadata) if metadata is not None else data)
