"""The picture files that come into a folder: each once, and only when it is all there."""

from __future__ import annotations

import os
import stat
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from focusd.camera_config import FileKind
from focusd.clock import Clock
from focusd.drivers.file_end import has_end
from focusd.drivers.notices import Notices
from focusd.drivers.picture_names import PictureNames
from focusd.errors import CameraError

MAX_FRAME_BYTES = 256 * 2**20
"""A file larger than this is not taken for a photograph; a bound on memory."""

_EVERY_S = 0.05
_STABLE_S = 0.2
# For a file that its writer holds open and whose bytes do not tell whether they are all: an upload stalls.
_OPEN_STABLE_S = 10.0
# Listing takes at most this share of the time: a large folder, or one across a network, is listed seldom.
_SHARE = 0.05
# Of the files that were dealt with, so many are looked at with each listing: one may be written anew.
_CHECKED = 64
# A raw file may come so many pictures after the other one of its name.
_PAIRED = 16

_Status = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that is all there.

    Parameters
    ----------
    name : str
        In the folder.
    data : bytes
        Its content.
    late : bool
        It was on its way when `Arrivals.disown` was called.
    """

    name: str
    data: bytes
    late: bool


@dataclass(slots=True)
class _Candidate:
    """A file that may be on its way.

    `refused` is the status at which it was read and found cut short.
    """

    status: _Status
    since_s: float
    done: bool = False
    open: bool = False
    late: bool = False
    refused: _Status | None = None


class Arrivals:
    """New and complete picture files of a folder.

    A file is complete when its own bytes say so (`has_end`) and its writer has closed it or moved it here, as
    the kernel tells; or when its size and time have not changed for 0.2 s, which holds on network mounts
    too. One whose bytes say that it is cut short is waited for: an upload may stall and be resumed.

    Old pictures cost nothing but the folder's listing.

    Parameters
    ----------
    folder : Path
        Exists.
    clock : Clock
        The rig's.
    kind : {'jpeg', 'tiff', 'png', 'raw'} or None
        The files that count. None: all, until `fix_kind`.
    """

    def __init__(self, folder: Path, clock: Clock, kind: FileKind | None = None) -> None:
        self._folder = folder
        self._clock = clock
        self._names = PictureNames(kind)
        self._notices = Notices(folder)
        # By name: size and time of a file that is dealt with.
        self._dealt: dict[str, _Status] = {}
        self._others: set[str] = set()
        self._candidates: dict[str, _Candidate] = {}
        self._round: deque[str] = deque()
        self._handed: deque[str] = deque(maxlen=_PAIRED)
        self._list_at_s = 0.0
        self.troubles: dict[str, str] = {}
        """By name: why a file that is there is not taken; the reader clears it."""

    def forget_present(self) -> int:
        """Treat every file now in the folder as old, unless it is written anew; return their number."""
        self._notices.read()
        kept = {name: candidate for name, candidate in self._candidates.items() if candidate.open}
        self._names.reset()
        self._dealt, self._others, self._candidates = {}, set(), {}
        count = 0
        for name in self._list():
            if self._names.counts(name) and (status := self._status(name)) is not None:
                count += 1
                if name in kept:  # somebody is still writing it
                    self._candidates[name] = kept[name]
                    kept[name].late = True
                else:
                    self._dealt[name] = status
        self._round.clear()
        self._handed.clear()
        self._list_at_s = self._clock.now_s()
        return count

    def disown(self, *, listing: bool = True) -> None:
        """Whatever is there or on its way belongs to nobody that waits: it will come out marked as late.

        Parameters
        ----------
        listing : bool
            List the folder even if that is not due.
        """
        self._look(listing=listing or self._clock.now_s() >= self._list_at_s)
        for candidate in self._candidates.values():
            candidate.late = True

    def fix_kind(self, name: str) -> None:
        """From now on only files of this one's kind count."""
        self._names.fix(name)

    def next(self) -> Arrival | None:
        """Look once; return the oldest complete new file, once, or None.

        Raises
        ------
        CameraError
            The folder has gone.
        """
        self._look(listing=self._clock.now_s() >= self._list_at_s)
        for name, candidate in sorted(
            self._candidates.items(), key=lambda item: (item[1].status[1], item[0])
        ):
            if not self._names.counts(name):
                self._deal(name, candidate.status)
            elif self._names.has_partner(name, self._candidates):
                continue
            elif self._names.has_partner(name, self._handed):
                self._deal(name, candidate.status)  # a second file of an exposure that is dealt with
            elif (data := self._whole(name, candidate)) is not None:
                self._deal(name, candidate.status)
                self._handed.append(name)
                return Arrival(name, data, candidate.late)
        return None

    def close(self) -> None:
        """Give the kernel's watch back."""
        self._notices.close()

    # Looking.

    def _look(self, *, listing: bool) -> None:
        """Bring the candidates up to date."""
        for notice in self._notices.read():
            if self._names.counts(notice.name):
                self._hear(notice.name, done=notice.done)
        if listing:
            began_s = self._clock.now_s()
            names = self._list()
            for gone in self._dealt.keys() - names:
                del self._dealt[gone]
            self._others &= names
            for name in names.difference(self._dealt, self._others, self._candidates):
                if self._names.counts(name):
                    self._hear(name)
                    continue
                self._others.add(name)
                if self._names.is_other(name):
                    self.troubles[name] = "is not of the kind that counts; see camera.files"
            self._check_dealt()
            now_s = self._clock.now_s()
            self._list_at_s = now_s + max(_EVERY_S, (now_s - began_s) / _SHARE)
        for name in list(self._candidates):
            self._follow(name)

    def _hear(self, name: str, *, done: bool | None = None) -> None:
        """Make a file a candidate if it is new or written anew; `done`: what the kernel says of it."""
        status = self._status(name)
        candidate = self._candidates.get(name)
        if status is None or (candidate is None and self._dealt.get(name) == status):
            return
        if candidate is None:
            candidate = self._candidates[name] = _Candidate(status, self._clock.now_s())
        elif candidate.status != status:
            candidate.status, candidate.since_s = status, self._clock.now_s()
        if done is not None:
            candidate.done, candidate.open = done, not done

    def _follow(self, name: str) -> None:
        candidate, status = self._candidates[name], self._status(name)
        if status is None:
            del self._candidates[name]  # removed or renamed
        elif status != candidate.status:
            candidate.status, candidate.since_s = status, self._clock.now_s()
            candidate.done = False  # somebody goes on writing

    def _check_dealt(self) -> None:
        """See whether files that were dealt with have been written anew: some at a time, the last always."""
        if not self._round:
            self._round.extend(self._dealt)
        names = [self._round.popleft() for _ in range(min(_CHECKED, len(self._round)))]
        newest = next(reversed(self._dealt), None)
        for name in names if newest is None else [newest, *names]:
            if name in self._dealt:
                self._hear(name)

    def _list(self) -> set[str]:
        try:
            with os.scandir(self._folder) as entries:
                return {entry.name for entry in entries}
        except OSError as error:
            raise CameraError(f"inbox {self._folder}: {error.strerror}; is its disk still there?") from error

    def _status(self, name: str) -> _Status | None:
        """Return size and time of a file, or None when it is gone, or none."""
        try:
            status = (self._folder / name).stat()
        except OSError:
            return None
        return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None

    # Deciding.

    def _whole(self, name: str, candidate: _Candidate) -> bytes | None:
        """Return the content of a file if it is complete."""
        rest_s = self._clock.now_s() - candidate.since_s
        status = candidate.status
        if not (candidate.done or rest_s >= _STABLE_S) or status == candidate.refused:
            return None
        if status[0] == 0 or status[0] > MAX_FRAME_BYTES:
            self.troubles[name] = (
                f"is larger than {MAX_FRAME_BYTES} bytes: not taken for a photograph"
                if status[0]
                else "is empty"
            )
            return None
        try:
            with (self._folder / name).open("rb") as file:
                data = file.read(status[0] + 1)
        except OSError as error:
            self.troubles[name] = f"cannot be read: {error.strerror}"
            return None
        if self._status(name) != status or len(data) != status[0]:
            return None  # written while it was read
        end = has_end(data)
        if end is False:
            self.troubles[name] = f"is cut short at {len(data)} bytes"
            candidate.refused = status
        elif end is None and rest_s < (_OPEN_STABLE_S if candidate.open else _STABLE_S):
            return None
        else:
            self.troubles.pop(name, None)
        return None if end is False else data

    def _deal(self, name: str, status: _Status) -> None:
        del self._candidates[name]
        self._dealt.pop(name, None)  # to the end: the newest is looked at most
        self._dealt[name] = status
