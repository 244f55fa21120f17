"""A fusion's state in one file, and when a running stack writes one.

The file, all numbers little-endian::

    12 bytes   "focusd-state"
     4 bytes   format version, unsigned
     4 bytes   length of the header, unsigned
    16 bytes   BLAKE2b-128 of the eight bytes above and of the header
     n bytes   header: JSON {"facts": {}, "about": {}, "planes": [{name, dtype, shape, bytes, blake2b}]}
               planes, raw, C order, one after the other as listed; the file ends with the last

Not compressed, and why: ``daemon/decisions/0008-checkpoints.md``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from focusd.atomic import replacing
from focusd.errors import FocusdError, Stopped
from focusd.fusion.state import FusionState

STATE_NAME = "fusion.state"
"""The file's name in a run's folder."""
FORMAT_VERSION = 1

_MAGIC = b"focusd-state"
_NUMBERS = struct.Struct("<II")
_DIGEST_BYTES = 16
_LARGEST_HEADER_BYTES = 16 << 20
_MOST_PLANES = 1000
_MOST_DIMENSIONS = 8
_DTYPES = frozenset(
    "|b1 |u1 |i1 <u2 <i2 <f2 <u4 <i4 <f4 <u8 <i8 <f8".split()  # noqa: SIM905  # a table, not code
)
_PIECE_BYTES = 4 << 20
# Synced this often, so that a journal line synced meanwhile waits for one such piece, not for the whole file
# (ext4 writes a transaction's other data first).
_SYNC_BYTES = 16 << 20
_GAP_PER_WRITE = 20
_CARD_BYTES_PER_S = 20e6


class StateError(FocusdError):
    """A saved state that cannot be used."""

    code = "state"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A fusion's state as it was saved.

    Parameters
    ----------
    state : FusionState
        What the fusion knew.
    about : dict
        What the writer added, as JSON.
    """

    state: FusionState
    about: dict[str, Any]


def write_state(
    path: Path | str,
    state: FusionState,
    about: dict[str, Any] | None = None,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Write a state whole or not at all, with no copy of it in memory; synced when this returns.

    Parameters
    ----------
    path : Path
        Where; replaced if there. Until then old and new lie on the disk side by side.
    state : FusionState
        Planes of bool, integers of 8 to 64 bits or floats of 16 to 64 bits; at most 1000, of 8 dimensions at
        most.
    about : dict, optional
        Further facts that JSON can hold.
    beat : callable
        Called every few MB; what it raises ends the writing, and `path` is as it was.

    Raises
    ------
    FocusdError
        The disk would not take it, or a plane of another type.
    """
    planes = {name: _little_endian(name, plane) for name, plane in state.planes.items()}
    table = []
    for name, plane in planes.items():
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for piece in _pieces(plane):
            beat()
            digest.update(piece)
        facts = {"name": name, "dtype": plane.dtype.str, "shape": plane.shape, "bytes": plane.nbytes}
        table.append({**facts, "blake2b": digest.hexdigest()})
    header = json.dumps({"facts": state.facts, "about": about or {}, "planes": table}).encode()
    numbers = _NUMBERS.pack(FORMAT_VERSION, len(header))
    if len(header) > _LARGEST_HEADER_BYTES or len(table) > _MOST_PLANES:
        raise StateError(
            f"{path}: a header of {len(header)} bytes with {len(table)} planes: at most "
            f"{_LARGEST_HEADER_BYTES} bytes and {_MOST_PLANES} planes can be saved"
        )
    with replacing(path) as file:
        for head in (_MAGIC, numbers, _header_digest(numbers, header), header):
            file.write(head)
        unsynced = 0
        for plane in planes.values():
            for piece in _pieces(plane):
                beat()
                file.write(piece)
                unsynced += len(piece)
                if unsynced >= _SYNC_BYTES:
                    file.flush()
                    os.fsync(file.fileno())
                    unsynced = 0


def read_state(path: Path | str, beat: Callable[[], None] = lambda: None) -> Checkpoint:
    """Read a state; every byte of it has been checked when this returns.

    Parameters
    ----------
    path : Path
        A file made by `write_state`.
    beat : callable
        Called every few MB.

    Raises
    ------
    StateError
        Not there, not such a file, made by a newer focusd, or damaged. No more memory is taken before that is
        known than the file is long.
    """
    try:
        with Path(path).open("rb", buffering=0) as file:
            return _read(Path(path), file, beat)
    except OSError as error:
        raise StateError(f"{path}: {error.strerror or error}; check the name and the disk") from error


def _read(path: Path, file: BinaryIO, beat: Callable[[], None]) -> Checkpoint:
    size = os.fstat(file.fileno()).st_size
    head = file.read(len(_MAGIC) + _NUMBERS.size + _DIGEST_BYTES)
    if head[: len(_MAGIC)] != _MAGIC:
        raise StateError(f"{path}: not a saved state of focusd; give a run's folder or its {STATE_NAME}")
    if len(head) < len(_MAGIC) + _NUMBERS.size + _DIGEST_BYTES:
        raise _damaged(path, f"it ends after {size} bytes")
    numbers, digest = head[len(_MAGIC) : -_DIGEST_BYTES], head[-_DIGEST_BYTES:]
    version, length = _NUMBERS.unpack(numbers)
    if version > FORMAT_VERSION:
        raise StateError(
            f"{path}: format version {version}, and this focusd reads up to {FORMAT_VERSION}: use the focusd "
            "that wrote it, or a newer one",
            version=version,
        )
    if length > min(_LARGEST_HEADER_BYTES, size - len(head)):
        raise _damaged(path, f"a header of {length} bytes in a file of {size}")
    header = file.read(length)
    if _header_digest(numbers, header) != digest:
        raise _damaged(path, "the header's checksum is wrong")
    try:
        content = json.loads(header)
        facts, about, table = dict(content["facts"]), dict(content["about"]), list(content["planes"])
        rows = [_Row.of(entry) for entry in table]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise _damaged(path, f"the header makes no sense ({error})") from error
    expected = len(head) + length + sum(row.nbytes for row in rows)
    if expected != size or len(rows) > _MOST_PLANES or len({row.name for row in rows}) != len(rows):
        raise _damaged(path, f"it is {size} bytes long and its {len(rows)} planes need {expected}")
    planes = {row.name: _read_plane(path, file, row, beat) for row in rows}
    return Checkpoint(FusionState(facts, planes), about)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table of planes, within bounds."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str

    @classmethod
    def of(cls, entry: dict[str, Any]) -> _Row:
        name, dtype, shape = entry["name"], entry["dtype"], tuple(entry["shape"])
        if not isinstance(name, str) or dtype not in _DTYPES or len(shape) > _MOST_DIMENSIONS:
            raise ValueError(f"plane {name!r} of {dtype!r}, {len(shape)} dimensions")
        if not all(type(side) is int and 0 <= side < 1 << 31 for side in shape):
            raise ValueError(f"plane {name!r} of shape {shape}")
        row = cls(name, dtype, shape, str(entry["blake2b"]))
        if row.nbytes != entry["bytes"]:
            raise ValueError(f"plane {name!r} of {entry['bytes']} bytes, and its shape needs {row.nbytes}")
        return row

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def _read_plane(path: Path, file: BinaryIO, row: _Row, beat: Callable[[], None]) -> npt.NDArray[Any]:
    plane = np.empty(row.shape, row.dtype)
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for piece in _pieces(plane):
        beat()
        filled = 0
        while filled < len(piece):
            count = file.readinto(piece[filled:])  # type: ignore[attr-defined]  # raw files have it
            if not count:
                raise _damaged(path, f"it ends in plane {row.name}")
            filled += count
        digest.update(piece)
    if digest.hexdigest() != row.digest:
        raise _damaged(path, f"the checksum of plane {row.name} is wrong")
    return plane


def _pieces(plane: npt.NDArray[Any]) -> Iterator[memoryview]:
    """Give an array's bytes in C order, a few MB at a time; views into it where it is contiguous."""
    if plane.ndim <= 1 or plane.flags.c_contiguous:
        raw = np.ascontiguousarray(plane).reshape(-1).view(np.uint8).data
        for at in range(0, len(raw), _PIECE_BYTES):
            yield raw[at : at + _PIECE_BYTES]
    else:
        for part in plane:
            yield from _pieces(part)


def _little_endian(name: str, plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    plane = np.asarray(plane)
    dtype = plane.dtype.newbyteorder("<")
    if dtype.str not in _DTYPES or plane.ndim > _MOST_DIMENSIONS:
        raise StateError(f"plane {name} of {plane.dtype}, {plane.ndim} dimensions, cannot be saved")
    return plane.astype(dtype, copy=False)


def _header_digest(numbers: bytes, header: bytes) -> bytes:
    return hashlib.blake2b(numbers + header, digest_size=_DIGEST_BYTES).digest()


def _damaged(path: Path, what: str) -> StateError:
    return StateError(
        f"{path}: damaged: {what}; the picture cannot be had from it: fuse the stack's frames again with "
        "`focusd fuse` where they were kept, or photograph it again",
        path=str(path),
    )


class Saver:
    """Saves a running stack's state now and then, within a twentieth of its time.

    No writing begins before `interval_s`, nor before 20 times what the last one took, have passed since the
    last one ended (for the first: since the stack began, with 20 MB/s assumed). So at no moment has more than
    one part in 21 of the time since the beginning gone into writing, as long as the disk's speed holds.

    Parameters
    ----------
    path : Path
        Where to.
    interval_s : float
        Least time between two, s, above 0.
    timer : callable
        Gives the present time, s, any zero; real time, because disks are real.
    """

    def __init__(self, path: Path, interval_s: float, timer: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._interval_s = interval_s
        self._timer = timer
        self._rested_since_s = timer()
        self._took_s: float | None = None
        self._gave_up = False

    def is_due(self, nbytes: int) -> bool:
        """Whether a state of `nbytes` may be written now."""
        took_s = nbytes / _CARD_BYTES_PER_S if self._took_s is None else self._took_s
        rest_s = max(self._interval_s, _GAP_PER_WRITE * took_s)
        return not self._gave_up and self._timer() - self._rested_since_s >= rest_s

    def save(self, state: FusionState, about: dict[str, Any], beat: Callable[[], None]) -> None:
        """Write now; `beat` as in `write_state`.

        Raises
        ------
        Stopped
            From `beat`; the last file is still there.
        FocusdError
            The disk would not take it. It is not tried again: a stack goes on without.
        """
        began_s = self._timer()
        try:
            self._check_room(state.nbytes)
            write_state(self.path, state, about, beat)
        except Stopped:
            raise
        except FocusdError:
            self._gave_up = True
            raise
        finally:
            self._rested_since_s = self._timer()
            self._took_s = self._rested_since_s - began_s

    def _check_room(self, nbytes: int) -> None:
        """Leave as much again free: the frames to come, the picture and the journal need the disk more."""
        try:
            free = shutil.disk_usage(self.path.parent).free
        except OSError as error:
            raise StateError(f"{self.path.parent}: {error.strerror}") from error
        if free < 2 * nbytes:
            raise StateError(
                f"{self.path}: the state of {nbytes / 1e6:.0f} MB is not saved while only {free / 1e6:.0f} "
                f"MB are free: at least {2 * nbytes / 1e6:.0f} MB must be; make room, or set [data] "
                "checkpoint_s = 0",
                free_bytes=free,
                needed_bytes=2 * nbytes,
            )
