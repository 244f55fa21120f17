"""JPEG and PNG, written atomically."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy.typing as npt

from focusd.atomic import write_bytes
from focusd.errors import FocusdError
from focusd.images import encode_jpeg


def write_jpeg(
    path: Path | str, image: npt.NDArray[Any], *, quality: int = 95, white: int | None = None
) -> None:
    """Write an image as an 8-bit JPEG; parameters as in `focusd.images.encode_jpeg`.

    Raises
    ------
    FocusdError
        A quality outside its range, or a file that cannot be written.
    """
    write_bytes(path, encode_jpeg(image, quality=quality, white=white))


def write_png(path: Path | str, image: npt.NDArray[Any]) -> None:
    """Write an image as PNG, its type kept.

    Parameters
    ----------
    path : Path
        Where; replaced if there.
    image : ndarray
        uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR.

    Raises
    ------
    FocusdError
        An image PNG cannot hold, or a file that cannot be written.
    """
    done, data = cv2.imencode(".png", image)
    if not done:
        raise FocusdError(f"{path}: {image.dtype}, shape {image.shape} cannot be encoded as PNG")
    write_bytes(path, data.tobytes())
