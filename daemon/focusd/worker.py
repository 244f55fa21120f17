"""A named thread whose death is always heard."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """Posted when a worker ends by an exception nobody foresaw."""

    name: str
    error: BaseException


class Worker:
    """A thread with a heartbeat that posts its exception instead of swallowing it.

    Parameters
    ----------
    name : str
        The thread's.
    body : callable
        What it does, given the worker; it must call `beat` at least every few seconds.
    died : callable
        Called on the worker's own thread with a `WorkerDied`; must only enqueue.
    """

    def __init__(self, name: str, body: Callable[[Worker], None], died: Callable[[WorkerDied], None]) -> None:
        self.name = name
        self._body = body
        self._died = died
        self._beat_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.beat()
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; True when the thread has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def beat(self) -> None:
        """Say that the worker is alive; called by the worker."""
        self._beat_s = time.monotonic()

    def silent_s(self) -> float:
        """Real time since the last beat, s."""
        return time.monotonic() - self._beat_s

    def _run(self) -> None:
        try:
            self._body(self)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the main thread must hear of it
            self._died(WorkerDied(self.name, error))
