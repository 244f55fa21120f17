"""What was computed before, kept by what it was computed from."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.atomic import replacing
from focusd.errors import FocusdError

Arrays = Mapping[str, npt.NDArray[Any]]

DEFAULT_LIMIT_BYTES = 2_000_000_000
_MAGIC = b"focusd compare 1\n"
_DIGEST_BYTES = 32
_SUFFIX = ".entry"
_PACKAGE = Path(__file__).parents[1]
# Compiled kernels are code as well.
_CODE_SUFFIXES = frozenset({".py", ".so", ".c", ".h"})


@dataclass(frozen=True, slots=True)
class Entry:
    """What one step of the work gave.

    Parameters
    ----------
    facts : dict
        What JSON can hold.
    arrays : mapping of str to ndarray
        The rest.
    """

    facts: dict[str, Any]
    arrays: Arrays


class Cache:
    """A folder of entries, the ones used longest ago dropped when they take too much.

    An entry that is not as it was written is dropped and computed again. A folder that cannot be written
    stops no work: `fault` says so.

    Parameters
    ----------
    folder : Path or None
        Where; None keeps nothing.
    limit_bytes : int
        Most that the entries may take.
    """

    def __init__(self, folder: Path | None, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.fault: str | None = None
        self._folder = folder
        self._limit_bytes = limit_bytes

    def load(self, key: str) -> Entry | None:
        """Return what is kept under a key; None when there is nothing that can be trusted."""
        if self._folder is None:
            return None
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            entry = _unpack(data)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            path.unlink(missing_ok=True)
            return None
        # When it was last of use: what is older goes first.
        os.utime(path)
        return entry

    def save(self, key: str, facts: Mapping[str, Any], arrays: Arrays | None = None) -> None:
        """Keep something under a key."""
        if self._folder is None or self.fault is not None:
            return
        body = _pack(facts, arrays or {})
        if len(body) > self._limit_bytes:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room(len(body))
            with replacing(self._path(key)) as file:
                file.write(body)
        except (FocusdError, OSError) as error:
            self.fault = f"the cache cannot be written, all goes on without: {error}"

    def _make_room(self, wanted_bytes: int) -> None:
        assert self._folder is not None  # noqa: S101  # `save` has looked
        entries = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            entries.append((state.st_mtime_ns, state.st_size, path))
        held = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if held + wanted_bytes <= self._limit_bytes:
                return
            path.unlink(missing_ok=True)
            held -= size

    def _path(self, key: str) -> Path:
        assert self._folder is not None  # noqa: S101  # the callers have looked
        return self._folder / f"{key}{_SUFFIX}"


def key_of(stage: str, code: tuple[str, ...], *parts: object) -> str:
    """Name what a step's result depends on.

    Parameters
    ----------
    stage : str
        Name of the step.
    code : tuple of str
        Modules and packages of focusd that it runs.
    *parts
        Whatever else goes in, as JSON can hold it.
    """
    what = [stage, code_mark(code), np.__version__, cv2.__version__, parts]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def mark_of(path: Path) -> str:
    """Digest of a file's bytes.

    Raises
    ------
    FocusdError
        A file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FocusdError(f"{path}: cannot be read ({error.strerror}); check the file") from error


@cache
def code_mark(names: tuple[str, ...]) -> str:
    """Digest of the code in modules and packages of focusd, compiled parts included."""
    digest = hashlib.sha256()
    for name in names:
        place = _PACKAGE / name
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        for path in inside:
            if path.suffix in _CODE_SUFFIXES:
                digest.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _pack(facts: Mapping[str, Any], arrays: Arrays) -> bytes:
    stream = io.BytesIO()
    text = np.frombuffer(json.dumps(dict(facts)).encode(), np.uint8)
    named: dict[str, Any] = {f"array_{name}": array for name, array in arrays.items()}
    np.savez(stream, facts=text, **named)
    body = stream.getvalue()
    return _MAGIC + hashlib.sha256(body).digest() + body


def _unpack(data: bytes) -> Entry:
    head, body = data[: len(_MAGIC) + _DIGEST_BYTES], data[len(_MAGIC) + _DIGEST_BYTES :]
    if head != _MAGIC + hashlib.sha256(body).digest():
        raise ValueError("not as it was written")
    with np.load(io.BytesIO(body), allow_pickle=False) as kept:
        facts = json.loads(kept["facts"].tobytes())
        arrays = {name.removeprefix("array_"): kept[name] for name in kept.files if name != "facts"}
    return Entry(dict(facts), arrays)
