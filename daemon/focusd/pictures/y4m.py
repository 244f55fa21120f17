"""YUV4MPEG2: a text header and raw planes, which ffmpeg, mpv, VLC and the encoders open.

As mjpegtools' ``yuv4mpeg(5)`` has it; XCOLORRANGE is ffmpeg's word for the range of the samples. One frame a
file, 4:2:0, 8 bits, full range, colour centred between the luma samples (C420jpeg): just what `Planes` holds,
so nothing is lost on the way to a file and back. Nothing is packed: writing takes what the disk takes.
"""

from __future__ import annotations

import os
import re
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from focusd.errors import FrameLost
from focusd.pictures.containers import check_area
from focusd.pictures.planes import Planes

SUFFIX = ".y4m"

_HEADER = re.compile(rb"YUV4MPEG2((?: [!-~]+)*)\n")
_FRAME = b"FRAME\n"
_LARGEST_HEADER_BYTES = 256
# Of a still picture every rate is as good; square samples, no interlacing.
_FIXED = "F1:1 Ip A1:1 C420jpeg XCOLORRANGE=FULL"


def header(rows: int, cols: int) -> bytes:
    """Return what a file of one such frame begins with, up to its first sample."""
    return f"YUV4MPEG2 W{cols} H{rows} {_FIXED}\n".encode() + _FRAME


def write(file: BinaryIO, planes: Planes) -> None:
    """Write a frame.

    Parameters
    ----------
    file : BinaryIO
        Open for writing, empty.
    planes : Planes
        The frame.

    Raises
    ------
    OSError
        The disk would not take it.
    """
    file.write(header(*planes.shape))
    for plane in (planes.luma, planes.blue, planes.red):
        file.write(np.ascontiguousarray(plane).data)


def read(path: Path, out: Planes | None = None) -> Planes:
    """Read a file of one frame, straight into its planes.

    Parameters
    ----------
    path : Path
        The file.
    out : Planes, optional
        Filled and returned if it has the picture's size; spares fresh memory. Its content is undefined after
        an error.

    Raises
    ------
    FrameLost
        It cannot be read, is no such file or one of another format, is cut short, has more than one frame, or
        claims more pixels than a frame may have.
    """
    try:
        with path.open("rb") as file:
            rows, cols = _size(file, path)
            check_area(rows, cols, str(path))
            # Before memory is asked for: a header may claim anything.
            wanted = file.tell() + rows * cols + 2 * ((rows + 1) // 2) * ((cols + 1) // 2)
            found = os.fstat(file.fileno()).st_size
            if found != wanted:
                raise _lost(path, f"has {found} bytes: one frame of {cols} x {rows} px takes {wanted}")
            planes = _planes(rows, cols, out)
            for plane in (planes.luma, planes.blue, planes.red):
                _fill(file, plane, path)
            return planes
    except OSError as error:
        raise _lost(path, f"cannot be read ({error.strerror})") from error


def _size(file: BufferedReader, path: Path) -> tuple[int, int]:
    """Read up to the first sample; rows and columns."""
    match = _HEADER.fullmatch(file.readline(_LARGEST_HEADER_BYTES))
    if match is None:
        raise _lost(path, "is no YUV4MPEG2 file")
    words = match[1].decode("ascii").split()
    sides = {word[0]: word[1:] for word in words if word[0] in "WH"}
    if not all(re.fullmatch("[1-9][0-9]{0,8}", sides.get(letter, "")) for letter in "WH"):
        raise _lost(path, "has no size in its header")
    fixed = _FIXED.split()
    odd = [word for word in words if word.startswith(("C", "I", "XCOLORRANGE")) and word not in fixed]
    lacking = [word for word in ("C420jpeg", "XCOLORRANGE=FULL") if word not in words]
    if odd or lacking:
        said = f"{', '.join(odd)} in its header" if odd else f"no {' '.join(lacking)} in its header"
        raise _lost(path, f"has {said}, and only 4:2:0 of full range, as JPEG has it, can be read")
    if file.read(len(_FRAME)) != _FRAME:
        raise _lost(path, "has no frame behind its header")
    return int(sides["H"]), int(sides["W"])


def _planes(rows: int, cols: int, out: Planes | None) -> Planes:
    if out is not None and out.shape == (rows, cols):
        parts = (out.luma, out.blue, out.red)
        if all(part.flags.c_contiguous and part.flags.writeable for part in parts):
            return out
    half = ((rows + 1) // 2, (cols + 1) // 2)
    return Planes(np.empty((rows, cols), np.uint8), np.empty(half, np.uint8), np.empty(half, np.uint8))


def _fill(file: BufferedReader, plane: npt.NDArray[np.uint8], path: Path) -> None:
    if file.readinto(plane.reshape(-1).data) != plane.nbytes:
        raise _lost(path, "grew shorter while it was read")


def _lost(path: Path, what: str) -> FrameLost:
    return FrameLost(f"{path}: the file {what}; copy it again or leave it out", name=str(path))
