"""A folder that photographs arrive in, from any tethering tool, FTP server or card reader."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from focusd.clock import Clock
from focusd.errors import CameraError, FrameLost, Stopped

_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
_POLL_S = 0.05
_STABLE_S = 0.2
MAX_FRAME_BYTES = 256 * 2**20
"""A file larger than this is not taken for a photograph; a bound on memory."""


@dataclass(frozen=True, slots=True)
class _Seen:
    size: int
    mtime_ns: int
    since_s: float


class Inbox:
    """New and complete image files of a folder, each once.

    A file is complete when its size and time have not changed for 0.2 s: tools that write in place are as
    common as those that rename.

    Parameters
    ----------
    folder : Path
        Made if absent.
    clock : Clock
        The rig's.
    stop : threading.Event
        The emergency stop; wakes every wait.
    """

    def __init__(self, folder: Path, clock: Clock, stop: threading.Event) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CameraError(f"inbox {folder}: {error.strerror}; choose another camera.inbox") from error
        self.folder = folder
        self._clock = clock
        self._stop = stop
        # By name: size and time of a file that is dealt with, or None for "whatever becomes of it".
        self._taken: dict[str, tuple[int, int] | None] = {}
        self._growing: dict[str, _Seen] = {}

    def forget_present(self) -> int:
        """Treat every file now in the folder as old, unless it is written anew; return their number."""
        self._taken = {}
        for path in self._images():
            status = _status(path)
            if status is not None:
                self._taken[path.name] = status
        self._growing = {}
        return len(self._taken)

    def discard_late(self) -> None:
        """Never take what is there now and was not taken: it belongs to an exposure that was given up."""
        for path in self._images():
            if self._is_new(path.name, _status(path)):
                self._taken[path.name] = None
                self._growing.pop(path.name, None)

    def is_ready(self) -> bool:
        """Whether `take` would return at once."""
        return self._complete() is not None

    def take(self, timeout_s: float) -> tuple[str, bytes]:
        """Wait for the next complete new file; the oldest, if there are several.

        Parameters
        ----------
        timeout_s : float
            Longest wait, s.

        Returns
        -------
        tuple of (str, bytes)
            Name and content. The file stays where it is.

        Raises
        ------
        FrameLost
            None arrived in time, or it cannot be read.
        Stopped
            The emergency stop was pressed.
        """
        deadline_s = self._clock.now_s() + timeout_s
        while True:
            complete = self._complete()
            if complete is not None:
                seen = self._growing.pop(complete.name)
                self._taken[complete.name] = (seen.size, seen.mtime_ns)
                return complete.name, self._read(complete)
            if self._clock.now_s() >= deadline_s:
                raise FrameLost(
                    f"no frame arrived in {self.folder} within {timeout_s:g} s; check the camera, its card "
                    "and the tethering tool, or raise camera.frame_timeout_s",
                    timeout_s=timeout_s,
                )
            if not self._clock.sleep(_POLL_S, self._stop):
                raise Stopped("the emergency stop was pressed while waiting for a frame")

    def _images(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if path.suffix.lower() in _SUFFIXES]
        except OSError as error:
            raise CameraError(f"inbox {self.folder}: {error.strerror}; is its disk still there?") from error

    def _complete(self) -> Path | None:
        """Look once: the oldest new file that has stopped growing."""
        now_s = self._clock.now_s()
        ready: list[tuple[int, str, Path]] = []
        for path in self._images():
            status = _status(path)
            if status is None or not self._is_new(path.name, status):
                continue
            before = self._growing.get(path.name)
            if before is None or (before.size, before.mtime_ns) != status:
                self._growing[path.name] = _Seen(*status, now_s)
            elif before.size > 0 and now_s - before.since_s >= _STABLE_S:
                ready.append((before.mtime_ns, path.name, path))
        return min(ready)[2] if ready else None

    def _is_new(self, name: str, status: tuple[int, int] | None) -> bool:
        """Whether a file was not dealt with: an unknown name, or one that was written anew since."""
        if name not in self._taken:
            return True
        known = self._taken[name]
        return known is not None and known != status

    def _read(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FRAME_BYTES + 1)
        except OSError as error:
            raise FrameLost(f"frame {path.name}: {error.strerror}") from error
        if len(data) > MAX_FRAME_BYTES:
            raise FrameLost(
                f"frame {path.name} is larger than {MAX_FRAME_BYTES} bytes: not taken for a photograph"
            )
        return data


def _status(path: Path) -> tuple[int, int] | None:
    """Return size and time of a file, or None when it was renamed or removed since it was listed."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
