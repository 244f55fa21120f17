"""Time, injected: nothing below ``app`` reads the machine's clock itself."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The rig's time. The rig's own thread (the job thread) is the only one that sleeps on it."""

    def now_s(self) -> float:
        """Monotonic rig time in seconds; its zero means nothing."""
        ...

    def wall(self) -> datetime:
        """Return the time of day, UTC, timezone-aware."""
        ...

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Sleep, or until `stop` is set.

        Parameters
        ----------
        seconds : float
            Rig time to let pass; zero or less returns at once.
        stop : threading.Event, optional
            Wakes the sleeper early.

        Returns
        -------
        bool
            True when the whole time passed, False when `stop` was set (before or during the sleep).
        """
        ...


class SystemClock:
    """The machine's own clocks: monotonic for the rig, real time for people."""

    def now_s(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def wall(self) -> datetime:
        """Return the time of day, UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Sleep, or until `stop` is set; see `Clock.sleep`."""
        if stop is None:
            if seconds > 0:
                time.sleep(seconds)
            return True
        return not stop.wait(max(0.0, seconds))
