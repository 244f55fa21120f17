"""What the kernel tells of a folder as it happens: inotify(7), by libc."""

from __future__ import annotations

import ctypes
import os
import struct
import weakref
from dataclasses import dataclass
from pathlib import Path

_CLOSE_WRITE, _MOVED_TO, _CREATE = 0x008, 0x080, 0x100
_DELETE_SELF, _MOVE_SELF, _UNMOUNT, _IGNORED = 0x400, 0x800, 0x2000, 0x8000
_ONLY_FOLDER = 0x0100_0000
_WATCHED = _CLOSE_WRITE | _MOVED_TO | _CREATE | _DELETE_SELF | _MOVE_SELF | _ONLY_FOLDER
_LOST = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED
# struct inotify_event: watch, mask, cookie, length of the name that follows, padded with zeros.
_EVENT = struct.Struct("iIII")
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Notice:
    """A file that came or was written.

    Parameters
    ----------
    name : str
        In the folder.
    done : bool
        Its writer closed it, or it was moved here; else it was only just made.
    """

    name: str
    done: bool


class Notices:
    """What happened to the files of a folder since it was last asked. Never waits.

    It may be silent without anything being wrong: on a network mount the kernel knows only of what this
    machine writes, and a user's watches are counted. So nothing may depend on it; it makes things quick.

    Parameters
    ----------
    folder : Path
        Which; when it goes and comes again it is watched again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._finalizer: weakref.finalize[[int], Notices] | None = None
        self._fd: int | None = None
        self._watch()

    @property
    def works(self) -> bool:
        """Whether the kernel was willing."""
        return self._fd is not None

    def read(self) -> list[Notice]:
        """Return what happened since the last call, oldest first."""
        if self._fd is None and not self._watch():
            return []
        notices: list[Notice] = []
        while self._fd is not None:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                break
            at = 0
            while at < len(data):
                _, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size + length
                name = os.fsdecode(data[at - length : at].rstrip(b"\0"))
                if mask & _LOST:
                    self.close()
                elif name:
                    notices.append(Notice(name, bool(mask & (_CLOSE_WRITE | _MOVED_TO))))
        return notices

    def close(self) -> None:
        """Hear no more until the next `read`."""
        self._fd = None
        if self._finalizer is not None:
            self._finalizer()

    def _watch(self) -> bool:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if fd < 0:
                return False
            if libc.inotify_add_watch(fd, os.fsencode(self._folder), _WATCHED) < 0:
                os.close(fd)
                return False
        except (AttributeError, OSError):
            return False  # a libc or a kernel without it
        self._fd = fd
        self._finalizer = weakref.finalize(self, os.close, fd)
        return True
