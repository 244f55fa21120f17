"""How a picture's samples are held: 8 or 16 bits, BGR or planes, and the ways between them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.pictures.planes import Planes

Image = npt.NDArray[Any]
"""uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR."""

# Rows turned at once: the float and chroma rows in between stay in the processor's cache.
_STRIP_ROWS = 128


def white_of(image: Image) -> int:
    """Value a display should show as white: 255, or for uint16 the next ``2 ** n - 1`` from 255 to 65535.

    A 12-bit camera's frames end at 4095 in a 16-bit file, and 8 bits stored in 16 end at 255. Several
    pictures of one stack should share the largest: `focusd.fusion.Fusion.white`.
    """
    if image.dtype == np.uint8:
        return 255
    return (1 << max(8, int(image.max()).bit_length())) - 1


def to_8_bits(image: Image, white: int | None = None) -> Image:
    """`image` as uint8.

    Parameters
    ----------
    image : ndarray
        uint8 (returned as it is) or uint16.
    white : int, optional
        The uint16 value that becomes 255, 255 to 65535; larger ones are clipped. Default `white_of`.
    """
    if image.dtype == np.uint8:
        return image
    unit = np.float32(255.0 / (white or white_of(image)))
    small: Image = np.empty(image.shape, np.uint8)
    for top in range(0, len(image), _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        small[rows] = np.minimum(np.rint(image[rows].astype(np.float32) * unit), 255)
    return small


def to_16_bits(image: Image) -> Image:
    """`image` as uint16: 8 bits spread over the whole range (255 becomes 65535), 16 bits as they are."""
    if image.dtype == np.uint16:
        return image
    return np.multiply(image, np.uint16(257), dtype=np.uint16)


def to_bgr(picture: Image | Planes) -> Image:
    """`picture` as BGR; an array is returned as it is.

    The colour planes are enlarged by weights of 3/4 and 1/4, as libjpeg does: at most a level or two from
    what a JPEG decoder gives.

    Parameters
    ----------
    picture : ndarray or Planes
        The picture.

    Returns
    -------
    ndarray
        For planes uint8, (rows, cols, 3).
    """
    if not isinstance(picture, Planes):
        return picture
    rows, cols = picture.shape
    image: Image = np.empty((rows, cols, 3), np.uint8)
    for top in range(0, rows, _STRIP_ROWS):
        bottom = min(rows, top + _STRIP_ROWS)
        # One row of colour more on each side, where there is one, so that strips meet without a seam.
        first, last = max(0, top // 2 - 1), min(len(picture.blue), (bottom + 1) // 2 + 1)
        cut = slice(top - 2 * first, bottom - 2 * first)
        red, blue = (
            cv2.resize(plane[first:last], None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)[cut, :cols]
            for plane in (picture.red, picture.blue)
        )
        strip = cv2.merge([picture.luma[top:bottom], red, blue])
        # Named YCrCb in OpenCV: full range, Rec. 601; its "YUV" is another scale.
        image[top:bottom] = cv2.cvtColor(strip, cv2.COLOR_YCrCb2BGR)
    return image


def to_planes(image: Image) -> Planes:
    """Planes of a BGR image: full range, Rec. 601, colour as the mean of 2x2 pixels.

    Parameters
    ----------
    image : ndarray
        uint8, (rows, cols, 3) BGR.
    """
    rows, cols = image.shape[:2]
    luma = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    # An odd last row or column stands for two.
    even = image
    if rows % 2 or cols % 2:
        even = cv2.copyMakeBorder(image, 0, rows % 2, 0, cols % 2, cv2.BORDER_REPLICATE)
    half = ((cols + 1) // 2, (rows + 1) // 2)
    colour = cv2.cvtColor(cv2.resize(even, half, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2YCrCb)
    return Planes(luma, cv2.extractChannel(colour, 2), cv2.extractChannel(colour, 1))
