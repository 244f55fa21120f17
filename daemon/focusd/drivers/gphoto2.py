"""A camera on USB, released and read by libgphoto2."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from focusd.camera_config import SUFFIXES, Gphoto2Config
from focusd.camera_spec import shot_waits_s, stop_s
from focusd.clock import Clock
from focusd.drivers.tether import CardFile, Event, Tether
from focusd.errors import CameraError, ExposureTimeout, FrameLost, Stopped
from focusd.job import JobSettings
from focusd.rig import Exposure, Frame

_POLL_S = 0.02
# Late files and changed properties that wait before an exposure; more than this is a camera gone mad.
_MOST_WAITING = 200
_LONGEST_NAME = 64


class Gphoto2:
    """A camera that libgphoto2 knows; its frames are fetched as bytes, whatever the camera calls its files.

    The session is open from `begin` to `end`, so that the camera is the photographer's own between stacks. A
    session in which something failed is closed, and the next exposure opens another: only a camera that
    does not answer then ends the stack.

    Parameters
    ----------
    config : Gphoto2Config
        Which camera, its settings and its times.
    library : module
        `gphoto2`, see `load_gphoto2`.
    clock : Clock
        The rig's.
    stop : threading.Event
        The emergency stop; wakes every wait. A call of the library that blocks (a download; on many Nikons
        the release, until the exposure is over) ends first.
    """

    def __init__(self, config: Gphoto2Config, library: Any, clock: Clock, stop: threading.Event) -> None:
        self._config = config
        self._library = library
        self._clock = clock
        self._stop = stop
        self._suffixes = SUFFIXES[config.files]
        self._tether: Tether | None = None
        self._files: list[CardFile] = []
        self._full = False
        self._index = 0
        self._name: str | None = None
        self._gap_s, self._post_s = shot_waits_s(config, JobSettings())
        self._free_at_s = 0.0
        # Until then a file may come of an exposure that was given up.
        self._owed_until_s = 0.0

    def begin(self, settings: JobSettings) -> None:
        """Open a session, set what the configuration sets and read it back; see `Camera.begin`."""
        self._index = 0
        self._gap_s, self._post_s = shot_waits_s(self._config, settings)
        self._name = None
        self.end()
        self._connect()

    def expose(self) -> Exposure:
        """Release the shutter and wait until it has closed; see `Camera.expose`.

        Raises
        ------
        CameraError
            The camera refuses or is full, in a new session as well; or it is gone.
        FrameLost
            The camera went away during the exposure; the next one opens a new session.
        """
        try:
            return self._expose()
        except (ExposureTimeout, FrameLost):
            raise
        except CameraError:
            # A camera that counts itself full, or whose session has gone stale, is often well in a new one.
            self.end()
            return self._expose()

    def collect(self, exposure: Exposure) -> Frame | None:
        """Wait for the file of the last exposure and fetch it; see `Camera.collect`."""
        tether = self._tether
        if tether is None:
            raise FrameLost(f"frame {exposure.index}: its session with the camera is over")
        try:
            self._wait_for_file(tether, exposure.index)
            self._owed_until_s = 0.0
            if not self._files:
                raise FrameLost(f"frame {exposure.index}: the card of camera {tether.name} is full")
            file = self._files.pop(0)
            data = tether.read(file)
        except CameraError as error:
            self.end()
            if isinstance(error, FrameLost):
                raise
            raise FrameLost(f"frame {exposure.index}: {error}", **error.values) from error
        self._free_card(tether, file)
        return Frame(_plain(file.name, exposure.index), exposure, encoded=data)

    def has_frame(self) -> bool:
        """Whether `collect` would return at once: never; it downloads, best while the carriage settles."""
        return False

    def end(self) -> None:
        """Close the session; the camera is free for others."""
        self._files.clear()
        self._full = False
        tether, self._tether = self._tether, None
        if tether is not None:
            tether.close()

    def close(self) -> None:
        """Close the session."""
        self.end()

    def stop_s(self, settings: JobSettings) -> float:
        """Time that the exposures of one stop take, s."""
        return stop_s(self._config, settings)

    def _connect(self) -> Tether:
        try:
            tether = Tether(self._library, self._config.model, self._config.port)
        except CameraError as error:
            if self._name is None:
                raise
            facts = {**error.values, "camera": self._name}
            raise CameraError(f"camera {self._name} has gone: {error}", **facts) from error
        self._name = tether.name
        try:
            for name, value in self._config.settings.items():
                self._clock.sleep(0.0, self._stop)  # a sign of life: the camera may take its time over each
                tether.set(name, value)
        except BaseException:
            tether.close()
            raise
        self._tether = tether
        return tether

    def _expose(self) -> Exposure:
        config, clock = self._config, self._clock
        tether = self._tether or self._connect()
        self._watch(tether, self._free_at_s, lambda: False)
        # What was given up may still come, and must not be taken for the next.
        self._watch(tether, self._owed_until_s, lambda: bool(self._files))
        self._discard_waiting(tether)
        opened_s, at = clock.now_s(), clock.wall()
        self._release(tether)
        self._owed_until_s = clock.now_s() + (config.exposure_s or 0.0) + config.frame_timeout_s
        try:
            if config.exposure_s is None:
                self._wait_for_file(tether, self._index)
            else:
                # Counted from the camera's answer: it may have been busy first. A file says that all is over.
                closes_s = clock.now_s() + config.release_lag_s + config.exposure_s
                self._watch(tether, closes_s, lambda: bool(self._files) or self._full)
            self._watch(tether, clock.now_s() + self._post_s, lambda: False)
        except FrameLost:
            self.end()
            raise
        except CameraError as error:
            self.end()
            raise FrameLost(f"frame {self._index}: {error}", **error.values) from error
        if self._full and not self._files:
            self._owed_until_s = 0.0
            raise CameraError(
                f"the card of camera {tether.name} is full: change it, or set camera.delete_after_download"
            )
        self._free_at_s = clock.now_s() + self._gap_s
        exposure = Exposure(self._index, opened_s, clock.now_s(), config.exposure_s, at)
        self._index += 1
        return exposure

    def _release(self, tether: Tether) -> None:
        """Release the shutter, again and again while the camera is busy."""
        deadline_s = self._clock.now_s() + self._config.frame_timeout_s
        while not tether.trigger():
            if self._clock.now_s() >= deadline_s:
                raise ExposureTimeout(
                    f"camera {tether.name} was busy for {self._config.frame_timeout_s:g} s; is it focusing, "
                    "or its card slow? Switch its autofocus off, or raise camera.frame_timeout_s",
                    timeout_s=self._config.frame_timeout_s,
                )
            self._watch(tether, self._clock.now_s() + _POLL_S, lambda: False)

    def _wait_for_file(self, tether: Tether, index: int) -> None:
        """Wait until a file of the wanted kind is announced, or the card is full."""
        timeout_s = self._config.frame_timeout_s
        self._watch(tether, self._clock.now_s() + timeout_s, lambda: bool(self._files) or self._full)
        if not self._files and not self._full:
            # As long again: the camera may be late rather than the frame lost.
            self._owed_until_s = self._clock.now_s() + timeout_s
            kind = self._config.files
            raise FrameLost(
                f"frame {index}: camera {tether.name} announced no {kind} file within {timeout_s:g} s; check "
                "its card and its image format (camera.files), or raise camera.frame_timeout_s",
                timeout_s=timeout_s,
            )

    def _watch(self, tether: Tether, until_s: float, enough: Callable[[], bool]) -> None:
        """Hear the camera until a time, or until it is enough."""
        while not enough():
            event = tether.next_event()
            left_s = until_s - self._clock.now_s()
            if event is not None:
                self._note(event)
            # No pause between two events, but the emergency stop is heard, and a sign of life given.
            if not self._clock.sleep(0.0 if event else min(_POLL_S, max(left_s, 0.0)), self._stop):
                raise Stopped("the emergency stop was pressed while waiting for the camera")
            if left_s <= 0:
                return

    def _note(self, event: Event) -> None:
        self._full = self._full or event.kind == "full"
        file = event.file
        if file is not None and PurePosixPath(file.name).suffix.lower() in self._suffixes:
            self._files.append(file)

    def _discard_waiting(self, tether: Tether) -> None:
        """Hear out the camera: what it announces now is late or doubled and must not be the next frame."""
        for _ in range(_MOST_WAITING):
            if tether.next_event() is None:
                break
        self._files.clear()
        self._full = False

    def _free_card(self, tether: Tether, file: CardFile) -> None:
        if not self._config.delete_after_download:
            return
        try:
            tether.delete(file)
        except CameraError:
            # The frame is here; a card that fills up will be named when it is full.
            self.end()


def _plain(name: str, index: int) -> str:
    """Return a camera's file name as it may stand in a record and a message."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-_LONGEST_NAME:].lstrip(".") or f"frame {index}"
