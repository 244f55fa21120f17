"""Pictures inside a page: as data, so that one file is all there is."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from focusd.compare.crops import Crop
from focusd.errors import FocusdError
from focusd.pictures.encoding import encode_jpeg
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_8_bits, to_bgr

_SMALL_QUALITY = 85
# BGR, of shares of 0, 1 and 2 (as the ramp in the style sheet), and where there is none.
_ENDS = ((155, 88, 33), (252, 252, 252), (30, 64, 178))
_UNKNOWN = (200, 194, 188)


def exact(picture: Image | Planes, white: int, quality: int | None = None) -> str:
    """Return a picture as a data URI at its own size: as PNG, or as JPEG of a quality from 1 to 100."""
    if quality is not None:
        return _uri("jpeg", encode_jpeg(picture, quality=quality, white=white))
    return _png(to_8_bits(to_bgr(picture), white))


def small(picture: Image | Planes, white: int, cols: int) -> tuple[str, float]:
    """Return a picture as a data URI no wider than `cols`, and its scale."""
    image = to_8_bits(to_bgr(picture), white)
    scale = min(1.0, cols / image.shape[1])
    if scale < 1:
        size = (cols, max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return _uri("jpeg", encode_jpeg(image, quality=_SMALL_QUALITY)), scale


def tile_map(tiles: npt.NDArray[np.float64], cols: int) -> str:
    """Return a map of shares as a data URI: blue below 1, white at 1, red up to 2 and above, else grey.

    Parameters
    ----------
    tiles : ndarray
        (rows, columns) of tiles, NaN where unknown.
    cols : int
        Width, px, of the map.
    """
    share = np.nan_to_num(np.clip(tiles, 0, 2))
    mixed = [np.interp(share, (0, 1, 2), [end[at] for end in _ENDS]) for at in range(3)]
    coloured = np.ascontiguousarray(np.rint(np.dstack(mixed)).astype(np.uint8))
    coloured[np.isnan(tiles)] = _UNKNOWN
    size = (cols, max(1, round(cols * tiles.shape[0] / tiles.shape[1])))
    return _png(cv2.resize(coloured, size, interpolation=cv2.INTER_NEAREST))


def marks(crops: Sequence[Crop], scale: float, size_px: tuple[int, int]) -> str:
    """Return the outlines of crops, numbered from 1, as an SVG to be laid over a picture of that scale."""
    parts = [f'<svg width="{size_px[0]}" height="{size_px[1]}">']
    for number, crop in enumerate(crops, 1):
        x, y, width, height = (
            round(value * scale, 1) for value in (crop.left, crop.top, crop.cols, crop.rows)
        )
        box = f'x="{x}" y="{y}" width="{width}" height="{height}"'
        parts.append(
            f'<rect class="under" {box}/><rect {box}/><text x="{x + 5}" y="{y + 15}">{number}</text>'
        )
    return "".join([*parts, "</svg>"])


def _png(image: Image) -> str:
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:
        raise FocusdError(f"a picture of {image.shape} cannot be written as PNG; reinstall OpenCV")
    return _uri("png", data.tobytes())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
