"""What the machine has left, memory and disk, and the refusal of what does not fit.

Memory is what the kernel says is available without swapping (MemAvailable of ``/proc/meminfo``, proc(5)) or,
where less, what the limits of the process's control groups leave (systemd's MemoryMax and MemoryHigh,
containers): version 2 as in the kernel's ``admin-guide/cgroup-v2.rst``, version 1 as in
``admin-guide/cgroup-v1/memory.rst``. Swap does not count: on a card it is no memory.

The memory this process holds already counts as free, because a new stack begins by giving up the last one's,
and what a stack needs is reckoned with the program itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from focusd.errors import FocusdError

MEMORY_RESERVE_BYTES = 32_000_000
"""Memory that a job must leave: other programs do not stand still."""
DISK_RESERVE_BYTES = 200_000_000
"""Disk that a job must leave: with a full root file system a machine hardly starts."""

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_RESERVES_BYTES = {"memory": MEMORY_RESERVE_BYTES, "disk": DISK_RESERVE_BYTES}
_REMEDIES = {
    "memory": "use smaller frames, end other programs, or raise the unit's MemoryMax",
    "disk": "delete runs that are no longer needed, or choose another [data] dir",
}


class NoRoom(FocusdError):
    """A job that needs more than the machine has. Raised before anything moves where it can be foreseen."""

    code = "no_room"


@dataclass(frozen=True, slots=True)
class Shortage:
    """More is needed than there is.

    Parameters
    ----------
    what : {'memory', 'disk'}
        Of what.
    needed_bytes, free_bytes : int
        What the job needs, and what there is, `reserve_bytes` of which are kept back.
    """

    what: Literal["memory", "disk"]
    needed_bytes: int
    free_bytes: int

    @property
    def reserve_bytes(self) -> int:
        """What a job must leave."""
        return _RESERVES_BYTES[self.what]

    def __str__(self) -> str:
        return (
            f"does not fit: needs {megabytes(self.needed_bytes)} of {self.what}, "
            f"{megabytes(self.free_bytes)} are free, {megabytes(self.reserve_bytes)} of them kept back"
        )


@dataclass(frozen=True, slots=True)
class Room:
    """What the machine has left.

    Parameters
    ----------
    memory_bytes : int or None
        Memory this process may have in all; None where the system does not say.
    disk_bytes : int or None
        Free bytes of the data folder's file system, for a user who is not root; None likewise.
    """

    memory_bytes: int | None = None
    disk_bytes: int | None = None

    def shortages(self, memory_bytes: int | None, disk_bytes: int | None = None) -> tuple[Shortage, ...]:
        """Say what is too little for these needs; None, unknown, is never too much.

        Parameters
        ----------
        memory_bytes, disk_bytes : int or None
            What is needed, the program's own memory included.
        """
        both = (("memory", memory_bytes, self.memory_bytes), ("disk", disk_bytes, self.disk_bytes))
        found: list[Shortage] = []
        for what, needed, free in both:
            if needed is not None and free is not None and needed + _RESERVES_BYTES[what] > free:
                found.append(Shortage(what, needed, free))  # type: ignore[arg-type]  # names of `both`
        return tuple(found)

    def require(self, memory_bytes: int | None, disk_bytes: int | None = None) -> None:
        """Refuse needs that do not fit; see `shortages`.

        Raises
        ------
        NoRoom
            With the figures in its message and its values.
        """
        short = self.shortages(memory_bytes, disk_bytes)
        if short:
            values = {f"{s.what}_bytes": s.needed_bytes for s in short}
            values |= {f"{s.what}_free_bytes": s.free_bytes for s in short}
            raise NoRoom("; ".join(f"the job {s}: {_REMEDIES[s.what]}" for s in short), **values)


def read_room(folder: Path, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> Room:
    """Ask the system what is left now; takes well below a millisecond.

    Parameters
    ----------
    folder : Path
        On the file system in question; need not exist yet.
    proc, cgroups : Path
        Where the kernel shows itself.
    """
    limits = [*_available(proc), *_left_by_cgroups(proc, cgroups)]
    own_bytes = sum(_fields(proc / "self/status", ("RssAnon:", "RssShmem:"))) * 1024
    return Room(max(0, min(limits)) + own_bytes if limits else None, _free_disk(folder))


def megabytes(count: int) -> str:
    """Return a number of bytes for people: ``"310 MB"`` (10^6), ``"24.1 GB"`` from ten of them."""
    return f"{count / 1e9:.1f} GB" if count >= 10_000_000_000 else f"{count / 1e6:.0f} MB"


def _available(proc: Path) -> list[int]:
    return [kilobytes * 1024 for kilobytes in _fields(proc / "meminfo", ("MemAvailable:",))]


def _left_by_cgroups(proc: Path, cgroups: Path) -> Iterator[int]:
    """Bytes that each limit leaves, of the process's own groups and of all around them."""
    for line in _text(proc / "self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        limits: tuple[str, ...]
        if controllers == "":
            root, limits, usage, stats = cgroups, ("memory.max", "memory.high"), "memory.current", ""
        elif "memory" in controllers.split(","):
            root, limits, usage = cgroups / "memory", ("memory.limit_in_bytes",), "memory.usage_in_bytes"
            stats = "total_"
        else:
            continue
        inside = [part for part in path.split("/") if part]
        if ".." in inside:  # the group lies outside of what this container is shown
            inside = []
        for depth in range(len(inside), -1, -1):
            group = root.joinpath(*inside[:depth])
            used = _number(group / usage)
            # Pages of files go when memory is wanted: MemAvailable leaves them out likewise.
            droppable = sum(_fields(group / "memory.stat", (f"{stats}active_file", f"{stats}inactive_file")))
            for limit in map(_number, (group / name for name in limits)):
                if limit is not None and used is not None:
                    yield limit - max(0, used - droppable)


def _free_disk(folder: Path) -> int | None:
    for place in (folder, *folder.parents):
        try:
            stat = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return stat.f_bavail * stat.f_frsize
    return None


def _fields(path: Path, names: tuple[str, ...]) -> list[int]:
    """Numbers of a file's lines ``name number ...`` that have these names."""
    rows = (line.split() for line in _text(path).splitlines())
    return [int(row[1]) for row in rows if len(row) > 1 and row[0] in names and row[1].isdecimal()]


def _number(path: Path) -> int | None:
    """Return the number in a file; None for another word (``max``: no limit), or no file."""
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    """Return a small file's text, empty where there is none: a kernel without it sets no limit by it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
