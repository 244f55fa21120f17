"""The files of a stack: found, put in order, and decoded by several threads, to be used in turn."""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from focusd.errors import FocusdError, FrameLost
from focusd.pictures import y4m
from focusd.pictures.images import SUFFIXES, read_frame
from focusd.pictures.kinds import RAW_SUFFIXES
from focusd.pictures.planes import Planes
from focusd.pictures.raw import RawRendering
from focusd.pictures.samples import Image

_SUFFIXES = SUFFIXES | {y4m.SUFFIX}
# malloc.h of glibc.
_ARENA_MAX = -8

Use = Callable[[int, Path, Image | Planes], None]
"""Takes a frame's number from 0, its file and its samples, which it must not keep."""

Spoiled = Callable[[int, Path, FrameLost], None]
"""Takes a frame's number from 0, its file and why it cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a stack.

    Parameters
    ----------
    path : Path
        Where it is.
    position_um : float
        Where the frame was taken; its number times a step where nobody knows better.
    stop : int
        The stop it was taken at, from 0; else its number.
    shot : int
        Of those at its stop, from 0.
    is_replaced : bool
        It was of no use, and another was taken in its place: never fused, but a run that looked for odd
        frames had it beside its neighbours.
    """

    path: Path
    position_um: float
    stop: int
    shot: int = 0
    is_replaced: bool = False


def find_sources(inputs: Sequence[Path], outputs: Sequence[Path] = ()) -> list[Path]:
    """Image files behind `inputs`, each once, in natural order of their names (2 before 10).

    Parameters
    ----------
    inputs : sequence of Path
        Files, taken whatever their name, and folders, of which the image files are taken, or, where there
        are none, the raw ones.
    outputs : sequence of Path
        Files that are never sources, though they may lie in one of the folders.

    Raises
    ------
    FocusdError
        A path that does not exist.
    """
    own = {path.resolve() for path in outputs}
    found: dict[Path, Path] = {}
    for path in inputs:
        if path.is_dir():
            listed = [entry for entry in _images_in(path) if entry.resolve() not in own]
        elif path.exists():
            listed = [path]
        else:
            raise FocusdError(f"{path}: no such file or folder; check the name")
        for entry in listed:
            found.setdefault(entry.resolve(), entry)
    return sorted(found.values(), key=_natural)


def each_in_turn(
    paths: Sequence[Path],
    use: Use,
    *,
    jobs: int = 1,
    spoiled: Spoiled | None = None,
    rendering: RawRendering | None = None,
) -> None:
    """Decode every file and hand it to `use`, one at a time and in order.

    Each of several threads decodes a frame of its own while another one's is used, so no more than `jobs`
    decoded frames are alive. 4:2:0 frames of one size go into the same memory again and again.

    Parameters
    ----------
    paths : sequence of Path
        In the order of use.
    use : callable
        Called from any of the threads, never by two at once.
    jobs : int
        Threads, 1 or more; 1 works in the caller's own and takes the least memory.
    spoiled : callable, optional
        Called in place of `use`, and in turn, for a file that cannot be decoded; the others follow.
    rendering : RawRendering, optional
        How raw files are developed; learnt from the first, if nothing was learnt before.

    Raises
    ------
    FrameLost
        Without `spoiled`: the first file, in order, that cannot be decoded, named. Files before it have been
        used.
    Exception
        Whatever `use` raises; no further frame is used.
    """
    turns, rendering = _Turns(len(paths)), rendering or RawRendering()
    _learn(paths, rendering)
    if jobs <= 1:
        _work(paths, use, turns, spoiled, rendering)
    else:
        _share_heap()
        work, count = partial(_work, paths, use, turns, spoiled, rendering), min(jobs, len(paths))
        threads = [threading.Thread(target=work, name=f"frames-{number}") for number in range(count)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            # After Ctrl-C the threads still work: each ends its frame, at most, and is waited for.
            turns.close()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
    if turns.failure is not None:
        raise turns.failure


class _Turns:
    """Numbers handed out to threads, and the right to go on given back in their order."""

    def __init__(self, count: int) -> None:
        self.failure: Exception | None = None
        self._count = count
        self._taken = self._done = 0
        self._changed = threading.Condition()

    def take(self) -> int | None:
        """Return the next number; None when there is none, or no more is wanted."""
        with self._changed:
            if self._taken >= self._count:
                return None
            self._taken += 1
            return self._taken - 1

    def wait(self, number: int) -> bool:
        """Wait until all lower numbers are done; False if that will not be."""
        with self._changed:
            self._changed.wait_for(lambda: self._done == number or self._count == 0)
            return self._count > 0

    def done(self) -> None:
        """Pass the turn on."""
        with self._changed:
            self._done += 1
            self._changed.notify_all()

    def close(self, failure: Exception | None = None) -> None:
        """Let nobody begin anything any more; the first failure is kept."""
        with self._changed:
            self.failure = self.failure or failure
            self._count = 0
            self._changed.notify_all()


def _work(
    paths: Sequence[Path], use: Use, turns: _Turns, spoiled: Spoiled | None, rendering: RawRendering
) -> None:
    """Decode frames and use them in their turn, until there are no more."""
    memory: Planes | None = None
    while (number := turns.take()) is not None:
        path = paths[number]
        frame: Image | Planes | None = None
        failure: Exception | None = None
        try:
            frame = _read(path, memory, rendering)
        except MemoryError:
            failure = FocusdError(f"{path}: no memory left to decode it; use --jobs 1 or smaller frames")
        except Exception as error:  # noqa: BLE001 - told in its turn: an earlier file may be at fault too
            failure = error
        if not turns.wait(number):
            return
        try:
            if frame is not None:
                use(number, path, frame)
            elif isinstance(failure, FrameLost) and spoiled is not None:
                spoiled(number, path, failure)
                failure = None
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits for this one
            failure = error
        if failure is not None:
            turns.close(failure)
            return
        turns.done()
        memory = frame if isinstance(frame, Planes) else None


@cache
def _share_heap() -> None:
    """Make all threads use one heap, where the C library is glibc.

    By itself it gives each thread another (mallopt(3), M_ARENA_MAX), and none gives back what it once took:
    20 MB more at 12 MP, and no faster.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def _read(path: Path, memory: Planes | None, rendering: RawRendering) -> Image | Planes:
    """Read a frame as a run decodes it."""
    if path.suffix.lower() == y4m.SUFFIX:
        return y4m.read(path, memory)
    return read_frame(path, memory, rendering)


def _learn(paths: Sequence[Path], rendering: RawRendering) -> None:
    """Learn how raw files are developed from the first that can be opened, as a run does."""
    for path in paths:
        if path.suffix.lower() in {*RAW_SUFFIXES, ".tif", ".tiff"}:
            try:
                rendering.learn(path.read_bytes(), str(path))
            except (FrameLost, OSError):
                continue  # told when its turn comes
            return


def _images_in(folder: Path) -> list[Path]:
    """List a folder's images; raw files where there is nothing else, for cameras write them in pairs."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    for suffixes in (_SUFFIXES, RAW_SUFFIXES):
        if found := [path for path in files if path.suffix.lower() in suffixes]:
            return found
    return []


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key: runs of digits compare as numbers, the rest as text without case."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]
