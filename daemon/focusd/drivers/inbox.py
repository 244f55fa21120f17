"""A folder that photographs arrive in, from any tethering tool, FTP server or card reader."""

from __future__ import annotations

import threading
from pathlib import Path

from focusd.camera_config import FileKind
from focusd.clock import Clock
from focusd.drivers.arrivals import MAX_FRAME_BYTES as MAX_FRAME_BYTES
from focusd.drivers.arrivals import Arrivals
from focusd.drivers.exposure_ledger import ExposureLedger
from focusd.errors import CameraError, FrameLost, Stopped
from focusd.pictures.exif import taken_at

_POLL_S = 0.05
_MOST_TOLD = 3


class Inbox:
    """New and complete image files of a folder, each once, each for the exposure it is of.

    `Arrivals` says when a file is complete, `ExposureLedger` whose it is. For each exposure: `discard_late`,
    `opened`, `take`.

    Parameters
    ----------
    folder : Path
        Made if absent.
    clock : Clock
        The rig's.
    stop : threading.Event
        The emergency stop; wakes every wait.
    kind : {'jpeg', 'tiff', 'png', 'raw'} or None
        The files that count, where a camera writes several of one exposure. None: those of the kind that
        comes first in each stack; of a raw and another of the same name, the other.
    """

    def __init__(
        self, folder: Path, clock: Clock, stop: threading.Event, kind: FileKind | None = None
    ) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CameraError(f"inbox {folder}: {error.strerror}; choose another camera.inbox") from error
        self.folder = folder
        self._clock = clock
        self._stop = stop
        self._arrivals = Arrivals(folder, clock, kind)
        self._ledger = ExposureLedger()
        self._ready: tuple[str, bytes] | None = None

    def forget_present(self) -> int:
        """Treat every file now in the folder as old, unless it is written anew; return their number."""
        self._ready = None
        self._ledger.begin()
        return self._arrivals.forget_present()

    def discard_late(self, late_s: float = 0.0) -> None:
        """Get ready for an exposure: what is there or on its way is not its frame.

        Waits where a file that is owed by an exposure that was given up could not be told from the next
        one's: some seconds at most where files say when they were taken, see `ExposureLedger`.

        Parameters
        ----------
        late_s : float
            How long such a file may still come after it was given up, s.

        Raises
        ------
        Stopped
            The emergency stop was pressed.
        """
        self._ready = None
        # After an emergency stop, or a press that the flash contact knew nothing of.
        self._ledger.abandon()
        self._arrivals.disown()
        while True:
            self._next()
            left_s = self._ledger.quiet_for_s(self._clock.now_s(), late_s)
            if left_s <= 0:
                break
            self._sleep(min(left_s, _POLL_S))
            self._arrivals.disown(listing=False)
        self._ledger.forgive()

    def opened(self, opened_s: float) -> None:
        """Note that the shutter is released, at this rig time in s; `take` waits for this exposure's file."""
        self._ledger.open(opened_s)

    def is_ready(self) -> bool:
        """Whether `take` would return at once."""
        if self._ready is None:
            self._ready = self._next()
        return self._ready is not None

    def take(self, timeout_s: float) -> tuple[str, bytes]:
        """Wait for the complete file of the last exposure; for the next complete one, if none was noted.

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
            None arrived in time; says what did.
        Stopped
            The emergency stop was pressed.
        """
        deadline_s = self._clock.now_s() + timeout_s
        while (taken := self._ready or self._next()) is None:
            if self._clock.now_s() >= deadline_s:
                self._ledger.give_up(self._clock.now_s())
                raise FrameLost(
                    f"no frame arrived in {self.folder} within {timeout_s:g} s; check the camera, its card "
                    f"and the tethering tool, or raise camera.frame_timeout_s{self._told()}",
                    timeout_s=timeout_s,
                )
            self._sleep(_POLL_S)
        self._ready = None
        self._arrivals.troubles.clear()
        return taken

    def close(self) -> None:
        """Give the kernel's watch back."""
        self._arrivals.close()

    def _next(self) -> tuple[str, bytes] | None:
        """Look once: the awaited exposure's file, if it is there; others are dealt with."""
        while (arrival := self._arrivals.next()) is not None:
            name, data, taken = arrival.name, arrival.data, taken_at(arrival.data)
            if arrival.late or not self._ledger.awaits:
                self._ledger.settle(taken, data)
                continue
            why = self._ledger.judge(taken, data)
            if why is None:
                self._arrivals.fix_kind(name)
                return name, data
            self._arrivals.troubles[name] = why
        return None

    def _told(self) -> str:
        """Return what there was instead of a frame, for an error's message."""
        told = [f"{name} {why}" for name, why in self._arrivals.troubles.items()][-_MOST_TOLD:]
        self._arrivals.troubles.clear()
        return f" ({'; '.join(told)})" if told else ""

    def _sleep(self, seconds: float) -> None:
        if not self._clock.sleep(seconds, self._stop):
            raise Stopped("the emergency stop was pressed while waiting for a frame")
