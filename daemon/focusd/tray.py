"""What one thread hands to another that works for it: two things at a time, which is all that may wait."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from focusd.errors import FocusdError, Stopped

_PLACES = 2
_WAIT_S = 0.1

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Tray(Generic[Item]):
    """A queue of two for the fuse thread.

    Who waits at it never waits for ever, nor misses the emergency stop.

    Parameters
    ----------
    stop : threading.Event
        The emergency stop.
    """

    def __init__(self, stop: threading.Event) -> None:
        self.beat: Callable[[], None] = lambda: None
        """Called while a caller has to wait, as a sign of life."""
        self._stop = stop
        self._places: queue.Queue[Item | None] = queue.Queue(_PLACES)
        self._closed = threading.Event()

    # The side of those who hand in.

    def put(self, item: Item, alarm: Callable[[], None] | None = None) -> None:
        """Hand in; blocks while the tray is full.

        Raises
        ------
        Stopped
            The emergency stop was pressed meanwhile and there is no `alarm` to call instead.
        FocusdError
            The fuse thread is gone.
        """
        while True:
            self.beat()
            try:
                return self._places.put(item, timeout=_WAIT_S)
            except queue.Full:
                self._check("while the fusion was behind", alarm)

    def wait(
        self,
        reply: queue.SimpleQueue[Answer | FocusdError],
        when: str,
        alarm: Callable[[], None] | None = None,
    ) -> Answer:
        """Wait for an answer; raise it if it is an error, and what `put` raises."""
        while True:
            self.beat()
            try:
                answer = reply.get(timeout=_WAIT_S)
            except queue.Empty:
                self._check(when, alarm)
                continue
            if isinstance(answer, FocusdError):
                raise answer
            return answer

    def close(self) -> None:
        """Hand in that nothing more will come."""
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._places.put(None, timeout=_WAIT_S)
                return

    def _check(self, when: str, alarm: Callable[[], None] | None) -> None:
        if self._closed.is_set():
            raise FocusdError(f"the fuse thread ended {when}; the daemon is about to end as well")
        if self._stop.is_set():
            if alarm is None:
                raise Stopped(f"the emergency stop was pressed {when}")
            alarm()

    # The side of the thread that works.

    def take(self, timeout_s: float) -> Item | None:
        """Take the next; None says that nothing more will come.

        Raises
        ------
        queue.Empty
            Nothing within `timeout_s`.
        """
        return self._places.get(timeout=timeout_s)

    def abandon(self) -> None:
        """Say that nobody takes any more."""
        self._closed.set()
