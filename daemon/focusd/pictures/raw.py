"""Raw files of cameras, developed by LibRaw: every file of a stack by the measure of its first.

A stack is fused from differences between frames, so nothing may be adjusted to a single one. LibRaw by
itself stretches each picture to its own brightest pixels, and a camera may find another white balance for
each; here brightness, white balance, matrix and curve are fixed. What stays each file's own is its black
level, which cameras measure on covered pixels: it is where no light is, in that frame.

rawpy, which brings LibRaw, is an extra (``focusd[raw]``) and loaded when the first raw file comes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import numpy as np

from focusd.errors import FrameLost
from focusd.pictures.containers import check_area
from focusd.pictures.kinds import is_raw
from focusd.pictures.samples import Image

# A curve as of sRGB (IEC 61966-2-1), as LibRaw writes it: power and slope at black.
_GAMMA = (2.4, 12.92)
_WHITE = 65535
# No camera packs this many pixels into a byte: a black frame, compressed, has more.
_MOST_PX_PER_BYTE = 64
# Rows turned at once.
_STRIP_ROWS = 128


@dataclass(frozen=True, slots=True)
class Development:
    """What brings a raw file's numbers to a picture, the same for a whole stack.

    Parameters
    ----------
    white_balance : tuple of float
        Factors of red, green, blue and the second green; above 0.
    range_levels : int
        From black to white, in the file's own levels, 1 to 65535.
    """

    white_balance: tuple[float, float, float, float]
    range_levels: int


class RawRendering:
    """How the raw files of one stack are developed: learnt from the first, then kept. For many threads.

    Make one for each stack and give it to every decoding. Where several threads decode, `learn` the first
    frame before they start; otherwise whichever comes first is learnt from.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._development: Development | None = None

    @property
    def development(self) -> Development | None:
        """What was learnt; None before the first raw file."""
        return self._development

    def learn(self, data: bytes, name: str) -> None:
        """Learn from a stack's first file; nothing happens if it is no raw, or something was learnt before.

        Parameters
        ----------
        data : bytes
            The whole file.
        name : str
            Its name, with its ending.

        Raises
        ------
        FrameLost
            As `decode`.
        """
        if self._development is None and is_raw(data, name):
            with _opened(data, name) as raw:
                self._for(raw)

    def _for(self, raw: Any) -> Development:
        """Return what was learnt, if need be from this file."""
        if self._development is None:
            found = _development_of(raw)
            with self._lock:
                self._development = self._development or found
        return self._development


def decode(data: bytes, name: str, rendering: RawRendering | None = None) -> Image:
    """Develop a raw file.

    The camera's orientation is ignored, as for every other file: frames stay in the coordinates of the
    sensor. A line of LibRaw's about damage may go to the standard error output beside the error.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        What to call it in an error.
    rendering : RawRendering, optional
        The stack's. Without it the file stands for itself.

    Returns
    -------
    ndarray of uint16
        (rows, cols, 3) BGR in sRGB, white at 65535; (rows, cols) of a sensor without colours.

    Raises
    ------
    FrameLost
        rawpy is not installed; the file is damaged, too large, or of a kind that LibRaw does not know.

    Notes
    -----
    Colours between the filters are filled in by PPG (Patterned Pixel Grouping): on two of the simulator's
    scenes 0.2 and 0.3 dB behind AHD, LibRaw's own choice, at 0.6 of its time (12 MP in 0.34 s against 0.56 s
    on two x86 cores). At work it takes 17 bytes a pixel beside the file, the picture's six among them.
    """
    with _opened(data, name) as raw:
        import rawpy

        development = (rendering or RawRendering())._for(raw)
        picture = raw.postprocess(
            demosaic_algorithm=rawpy.DemosaicAlgorithm.PPG,
            user_wb=list(development.white_balance),
            user_sat=development.range_levels,
            adjust_maximum_thr=0.0,
            no_auto_bright=True,
            gamma=_GAMMA,
            output_color=rawpy.ColorSpace.sRGB,
            output_bps=16,
            user_flip=0,
        )
    image: Image = np.asarray(picture)
    if image.ndim == 2 or image.shape[2] == 1:
        return image.reshape(image.shape[:2])
    for top in range(0, len(image), _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        image[rows] = cv2.cvtColor(image[rows], cv2.COLOR_RGB2BGR)
    return image


def image_size(data: bytes, name: str) -> tuple[int, int]:
    """Return rows and columns of the picture that `decode` makes, by the file's header.

    Raises
    ------
    FrameLost
        As `decode`.
    """
    with _opened(data, name) as raw:
        return int(raw.sizes.height), int(raw.sizes.width)


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Any]:
    """Open a file; what LibRaw then says against it comes out as FrameLost."""
    try:
        import rawpy
    except ImportError as error:
        raise FrameLost(
            f"{name}: a raw file, and rawpy is not installed here: pip install focusd[raw], or set the "
            "camera to JPEG",
            name=name,
        ) from error
    try:
        with rawpy.RawPy() as raw:
            raw.open_buffer(BytesIO(data))
            _check_size(raw.sizes.raw_height, raw.sizes.raw_width, len(data), name)
            yield raw
    except (rawpy.LibRawError, OSError) as error:
        said = error.args[0] if error.args else error
        reason = said.decode() if isinstance(said, bytes) else said
        version = ".".join(str(number) for number in rawpy.libraw_version)
        raise FrameLost(
            f"{name}: cannot be developed ({reason}): it is cut short, damaged, or of a kind that LibRaw "
            f"{version} does not know; copy it again, or use a newer rawpy",
            name=name,
        ) from error


def _check_size(rows: int, cols: int, file_bytes: int, name: str) -> None:
    """Refuse a size before memory is taken for it; rawpy 0.21 has taken it, within LibRaw's limit of 2 GB."""
    check_area(rows, cols, name)
    if rows * cols > _MOST_PX_PER_BYTE * file_bytes:
        raise FrameLost(
            f"{name}: the raw file is damaged: its header says {cols} x {rows} px, which {file_bytes} bytes "
            "cannot hold; copy it again",
            name=name,
        )


def _development_of(raw: Any) -> Development:
    """Read a file's own: white balance as shot, else of daylight, else none."""
    red, green, blue, second = next(
        (factors for factors in (raw.camera_whitebalance, raw.daylight_whitebalance) if min(factors[:3]) > 0),
        (1.0, 1.0, 1.0, 0.0),
    )
    # The second green is 0 where it is the same as the first.
    balance = (float(red), float(green), float(blue), float(second if second > 0 else green))
    # LibRaw counts white from what all channels' black has in common.
    return Development(balance, max(1, int(raw.white_level) - min(raw.black_level_per_channel)))
