"""libjpeg-turbo's own library by ctypes: JPEG to planes and back without the detour over BGR.

OpenCV carries the same decoder but hands out BGR only and keeps its warnings to itself. Where the library
(Debian's ``libturbojpeg0``, 2.0 or later) is absent, `available` says so and everything goes through OpenCV.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_ulong, c_void_p
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from focusd.errors import FocusdError, FrameLost
from focusd.pictures.planes import Planes

# One name serves the TurboJPEG API 1.x to 3.x.
_LIBRARY = "libturbojpeg.so.0"

# turbojpeg.h: TJSAMP, TJPF, TJCS, TJFLAG and TJERR, the same numbers in 2.x and 3.x.
_SAMPLED_420, _GREY_ONLY = 2, 3
_PIXELS_BGR, _PIXELS_GREY = 1, 6
_RGB, _YCBCR, _GREY = 0, 1, 2
_ACCURATE_DCT, _STOP_ON_WARNING, _LIMIT_SCANS = 4096, 8192, 32768
_WARNING = 0

_Pixels = npt.NDArray[Any]
_HANDLE, _FILE, _PLANES, _INTS = c_void_p, (c_char_p, c_ulong), POINTER(c_void_p), POINTER(c_int)
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "tjInitCompress": (c_void_p, ()),
    "tjInitDecompress": (c_void_p, ()),
    "tjDestroy": (c_int, (_HANDLE,)),
    "tjFree": (None, (c_void_p,)),
    "tjGetErrorCode": (c_int, (_HANDLE,)),
    "tjGetErrorStr2": (c_char_p, (_HANDLE,)),
    "tjDecompressHeader3": (c_int, (_HANDLE, *_FILE, *[_INTS] * 4)),
    "tjDecompress2": (c_int, (_HANDLE, *_FILE, c_void_p, *[c_int] * 5)),
    "tjDecompressToYUVPlanes": (c_int, (_HANDLE, *_FILE, _PLANES, c_int, _INTS, c_int, c_int)),
    "tjCompressFromYUVPlanes": (
        c_int,
        (_HANDLE, _PLANES, c_int, _INTS, c_int, c_int, _PLANES, POINTER(c_ulong), c_int, c_int),
    ),
}


@dataclass(frozen=True, slots=True)
class _Header:
    rows: int
    cols: int
    sampling: int
    colours: int


def available() -> bool:
    """Whether the library is there and new enough."""
    return _library() is not None


def version() -> str | None:
    """Return the generation of the library's interface, "2.x" or "3.x"; None without the library."""
    library = _library()
    if library is None:
        return None
    return "3.x" if hasattr(library, "tj3Init") else "2.x"


def decode_planes(data: bytes, name: str, out: Planes | None = None) -> Planes | None:
    """Decode a JPEG that holds 4:2:0 planes to just these.

    Safe to call from several threads at once; the interpreter is free meanwhile.

    Parameters
    ----------
    data : bytes
        The whole file; its size already checked, see `focusd.pictures.jpeg.check`.
    name : str
        What to call it in an error.
    out : Planes, optional
        Filled and returned if it has the picture's size: a third of decoding is the system handing out fresh
        memory. Its content is undefined after an error.

    Returns
    -------
    Planes or None
        None without the library, and for a JPEG of another sampling, colour space or precision.

    Raises
    ------
    FrameLost
        The decoder met data it could not make sense of.
    """
    library = _library()
    header = _header(library, data) if library is not None else None
    if header is None or header.colours != _YCBCR or header.sampling != _SAMPLED_420:
        return None
    if out is None or out.shape != (header.rows, header.cols) or not _writable(out):
        half = ((header.rows + 1) // 2, (header.cols + 1) // 2)
        luma = np.empty((header.rows, header.cols), np.uint8)
        out = Planes(luma, np.empty(half, np.uint8), np.empty(half, np.uint8))
    # The library fills an even number of rows and columns of luma, whatever the picture's.
    even = out.luma if not (header.rows % 2 or header.cols % 2) else np.empty(_even(out.shape), np.uint8)
    pointers = (c_void_p * 3)(*(plane.ctypes.data for plane in (even, out.blue, out.red)))

    def decode(handle: c_void_p, flags: int) -> int:
        # Width and height of 0 stand for the picture's own, strides of NULL for rows without gaps.
        code: int = library.tjDecompressToYUVPlanes(handle, data, len(data), pointers, 0, None, 0, flags)
        return code

    _decompress(library, decode, data, name)
    if even is not out.luma:
        np.copyto(out.luma, even[: header.rows, : header.cols])
    return out


def decode_pixels(data: bytes, name: str) -> _Pixels | None:
    """Decode a JPEG of grey or of three colours.

    Parameters
    ----------
    data : bytes
        As for `decode_planes`.
    name : str
        What to call it in an error.

    Returns
    -------
    ndarray or None
        uint8, (rows, cols) or (rows, cols, 3) BGR; None without the library, and for CMYK and other
        precisions.

    Raises
    ------
    FrameLost
        The decoder met data it could not make sense of.
    """
    library = _library()
    header = _header(library, data) if library is not None else None
    if header is None or header.colours not in (_RGB, _YCBCR, _GREY):
        return None
    grey = header.colours == _GREY
    pixels = np.empty((header.rows, header.cols) if grey else (header.rows, header.cols, 3), np.uint8)
    kind = _PIXELS_GREY if grey else _PIXELS_BGR

    def decode(handle: c_void_p, flags: int) -> int:
        where = c_void_p(pixels.ctypes.data)
        size = (header.cols, 0, header.rows)
        code: int = library.tjDecompress2(handle, data, len(data), where, *size, kind, flags)
        return code

    _decompress(library, decode, data, name)
    return pixels


def encode_planes(planes: Planes, quality: int) -> bytes | None:
    """Encode planes as a 4:2:0 JPEG.

    Parameters
    ----------
    planes : Planes
        The picture.
    quality : int
        1 to 100.

    Returns
    -------
    bytes or None
        None without the library.

    Raises
    ------
    FocusdError
        The library refused.
    """
    library = _library()
    if library is None:
        return None
    rows, cols = planes.shape
    # Here too an even number of rows and columns is wanted.
    luma = planes.luma
    if rows % 2 or cols % 2:
        luma = np.pad(luma, ((0, rows % 2), (0, cols % 2)), "edge")
    kept = [np.ascontiguousarray(plane) for plane in (luma, planes.blue, planes.red)]
    pointers = (c_void_p * 3)(*(plane.ctypes.data for plane in kept))
    made, size = c_void_p(), c_ulong()
    with _handle(library, library.tjInitCompress) as handle:
        try:
            target = (byref(made), byref(size))
            # Without the flag the transform is a coarse one below quality 96.
            code = library.tjCompressFromYUVPlanes(
                handle, pointers, cols, None, rows, _SAMPLED_420, *target, quality, _ACCURATE_DCT
            )
            if code:
                raise FocusdError(
                    f"an image of {cols} x {rows} px cannot be encoded as JPEG ({_reason(library, handle)})"
                )
            return ctypes.string_at(made.value or 0, size.value)
        finally:
            library.tjFree(made)


def _decompress(library: Any, decode: Any, data: bytes, name: str) -> None:
    """Run `decode`, a warning being an error: the library fills what is missing with grey."""
    with _handle(library, library.tjInitDecompress) as handle:
        if not decode(handle, _STOP_ON_WARNING | _LIMIT_SCANS):
            return
        reason = _reason(library, handle)
        if library.tjGetErrorCode(handle) == _WARNING and _padded(data, reason):
            # A progressive JPEG is read to its end before its pixels are made: do not stop this time.
            decode(handle, _LIMIT_SCANS)
            reason = _reason(library, handle)
            if library.tjGetErrorCode(handle) == _WARNING and _padded(data, reason):
                return
    raise FrameLost(f"{name}: the JPEG is damaged ({reason}); copy it again", name=name)


def _padded(data: bytes, reason: str) -> bool:
    """Whether the warning is of a camera's filling in front of the end marker, which holds no picture."""
    words = reason.split()
    if "extraneous" not in words or words[-1] != "0xd9":
        return False
    count = next((int(word) for word in words if word.isdecimal()), 0)
    end = data.rfind(b"\xff\xd9")
    filling = data[max(0, end - count) : end]
    return len(set(filling)) == 1


def _header(library: Any, data: bytes) -> _Header | None:
    """Return the frame's size and kind; None if the library does not know it, which OpenCV then judges."""
    cols, rows, sampling, colours = c_int(), c_int(), c_int(), c_int()
    with _handle(library, library.tjInitDecompress) as handle:
        code = library.tjDecompressHeader3(
            handle, data, len(data), byref(cols), byref(rows), byref(sampling), byref(colours)
        )
    if code or cols.value < 1 or rows.value < 1 or sampling.value < 0:
        return None
    return _Header(rows.value, cols.value, sampling.value, colours.value)


def _even(shape: tuple[int, int]) -> tuple[int, int]:
    return shape[0] + shape[0] % 2, shape[1] + shape[1] % 2


def _writable(planes: Planes) -> bool:
    return all(
        plane.flags.c_contiguous and plane.flags.writeable for plane in (planes.luma, planes.blue, planes.red)
    )


def _reason(library: Any, handle: c_void_p) -> str:
    text: bytes = library.tjGetErrorStr2(handle) or b""
    return text.decode("ascii", "replace").strip()


@contextmanager
def _handle(library: Any, make: Any) -> Iterator[c_void_p]:
    """Open a handle for one call: it belongs to one thread, and making it takes microseconds."""
    made = make()
    if not made:
        raise FocusdError(
            "libturbojpeg has no memory left for one more picture; free some or use smaller ones"
        )
    handle = c_void_p(made)
    try:
        yield handle
    finally:
        library.tjDestroy(handle)


@cache
def _library() -> Any:
    """Return the loaded library, or None if it is absent or older than 2.0."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        for function, (result, arguments) in _SIGNATURES.items():
            entry = getattr(library, function)
            entry.restype, entry.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return library
