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
        self._taken: set[str] = set()
        self._growing: dict[str, _Seen] = {}

    def forget_present(self) -> int:
        """Treat every file now in the folder as old. Returns how many there are."""
        self._taken = {path.name for path in self._images()}
        self._growing = {}
        return len(self._taken)

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
                del self._growing[complete.name]
                self._taken.add(complete.name)
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
        return [path for path in self.folder.iterdir() if path.suffix.lower() in _SUFFIXES]

    def _complete(self) -> Path | None:
        """Look once: the oldest new file that has stopped growing."""
        now_s = self._clock.now_s()
        ready: list[tuple[int, str, Path]] = []
        for path in self._images():
            if path.name in self._taken:
                continue
            try:
                status = path.stat()
            except FileNotFoundError:  # renamed or removed since it was listed
                self._growing.pop(path.name, None)
                continue
            before = self._growing.get(path.name)
            if before is None or (before.size, before.mtime_ns) != (status.st_size, status.st_mtime_ns):
                self._growing[path.name] = _Seen(status.st_size, status.st_mtime_ns, now_s)
            elif status.st_size > 0 and now_s - before.since_s >= _STABLE_S:
                ready.append((status.st_mtime_ns, path.name, path))
        return min(ready)[2] if ready else None

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
