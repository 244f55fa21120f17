"""Pictures that show how a fusion chose: each frame's sharpness, and the frame chosen at each pixel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from focusd.fusion.relief import Relief
from focusd.fusion.selection import UNITS_PER_LEVEL, Response
from focusd.outputs.flat import write_png

# Response shown as white, 8-bit levels: what the default rule takes for the largest.
_BRIGHTEST = 100.0


def write_sharpness(path: Path, response: Response, shape: tuple[int, int]) -> None:
    """Write a frame's sharpness as a grey PNG of the frame's size.

    Parameters
    ----------
    path : Path
        Where; replaced if there.
    response : ndarray
        uint16, the frame's size or half of it, padded; see `focusd.fusion.Fusion.sharpness`.
    shape : tuple of int
        (rows, cols) of the frame.

    Raises
    ------
    FocusdError
        A file that cannot be written.
    """
    linear = response * np.float32(1.0 / (_BRIGHTEST * UNITS_PER_LEVEL))
    # The root shows weak detail, which a linear scale hides.
    shown = np.rint(255 * np.sqrt(np.minimum(linear, 1))).astype(np.uint8)
    if shown.shape[0] < shape[0] or shown.shape[1] < shape[1]:
        shown = np.asarray(cv2.resize(shown, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST), np.uint8)
    write_png(path, np.ascontiguousarray(shown[: shape[0], : shape[1]]))


def write_selection(path: Path, relief: Relief, frames: int) -> None:
    """Write the origin of each pixel as a PNG in colours: blue for the first of `frames`, red for the last.

    Raises
    ------
    FocusdError
        A file that cannot be written.
    """
    shade = (relief.origin.astype(np.float32) * (255.0 / max(1, frames - 1))).round().astype(np.uint8)
    write_png(path, cv2.applyColorMap(relief.full_size(shade), cv2.COLORMAP_TURBO))
