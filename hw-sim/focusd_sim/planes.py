"""Pictures in libcamera's pixel formats, laid out in memory as picamera2 hands them out."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.errors import ConfigError

RGB_FORMATS = ("RGB888", "BGR888", "XRGB8888", "XBGR8888")
FORMATS = (*RGB_FORMATS, "YUV420")

# Kr and Kb of the luma (ITU-R BT.601-7 section 2.5.1, BT.709-6 section 3.2), and whether the range is full.
_COLOUR_SPACES = {
    "sYCC": (0.299, 0.114, True),
    "SMPTE170M": (0.299, 0.114, False),
    "Rec709": (0.2126, 0.0722, False),
}
COLOUR_SPACES = tuple(_COLOUR_SPACES)


def stride_of(pixel_format: str, width: int, align: int) -> int:
    """Bytes from one row to the next, a multiple of `align`."""
    row = width * {"YUV420": 1, "SRGGB16": 2, "RGB888": 3, "BGR888": 3}.get(pixel_format, 4)
    return -(-row // align) * align


def laid_out(bgr: NDArray[np.uint8], pixel_format: str, stride: int, colour_space: str) -> NDArray[np.uint8]:
    """Convert a picture to what picamera2's ``make_array`` returns.

    libcamera names formats by the little-endian word, so its RGB888 is B, G, R in memory.

    Parameters
    ----------
    bgr : ndarray of uint8, (rows, cols, 3)
        Rows and cols even.
    pixel_format : str
        One of `FORMATS`.
    stride : int
        Bytes a row, of the luma plane for YUV420.
    colour_space : str
        One of `COLOUR_SPACES`; for YUV420.

    Returns
    -------
    ndarray of uint8
        (rows, cols, 3) or (rows, cols, 4) without padding; for YUV420 (rows * 3 / 2, stride) with its
        padding: luma, then both chroma planes at half stride, as in I420.

    Raises
    ------
    ConfigError
        For another format.
    """
    if pixel_format == "RGB888":
        return bgr.copy()
    if pixel_format == "BGR888":
        return np.ascontiguousarray(bgr[:, :, ::-1])
    if pixel_format in ("XRGB8888", "XBGR8888"):
        colours = bgr if pixel_format == "XRGB8888" else bgr[:, :, ::-1]
        opaque = np.full((*bgr.shape[:2], 1), 255, np.uint8)
        return np.concatenate([colours, opaque], axis=2)
    if pixel_format == "YUV420":
        return _i420(bgr, stride, colour_space)
    raise ConfigError(f"pixel format {pixel_format!r} is not simulated: take one of {', '.join(FORMATS)}")


def _i420(bgr: NDArray[np.uint8], stride: int, colour_space: str) -> NDArray[np.uint8]:
    rows, cols = bgr.shape[:2]
    kr, kb, full = _COLOUR_SPACES[colour_space]
    luma_scale, chroma_scale, black = (1.0, 1.0, 0.0) if full else (219 / 255, 224 / 255, 16.0)
    luma = np.array([kb, 1 - kr - kb, kr])
    blue = (np.array([1.0, 0.0, 0.0]) - luma) * (0.5 / (1 - kb))
    red = (np.array([0.0, 0.0, 1.0]) - luma) * (0.5 / (1 - kr))
    matrix = np.zeros((3, 4))
    matrix[0, :3], matrix[0, 3] = luma * luma_scale, black
    matrix[1, :3], matrix[1, 3] = blue * chroma_scale, 128
    matrix[2, :3], matrix[2, 3] = red * chroma_scale, 128
    yuv = np.asarray(cv2.transform(bgr, matrix), np.uint8)
    out: NDArray[np.uint8] = np.zeros((rows * 3 // 2, stride), np.uint8)  # padding reads as black green
    out[:rows, :cols] = yuv[:, :, 0]
    half = (cols // 2, rows // 2)
    chroma = out[rows:].reshape(2, rows // 2, stride // 2)
    for plane in (0, 1):
        chroma[plane, :, : cols // 2] = cv2.resize(yuv[:, :, plane + 1], half, interpolation=cv2.INTER_AREA)
    return out
