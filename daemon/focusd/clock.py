"""Time, injected: nothing below ``app`` reads the machine's clock itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
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


class BeatingClock:
    """A clock whose sleeper gives a sign of life at least once a rig second.

    Parameters
    ----------
    clock : Clock
        The clock behind it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.beat: Callable[[], None] = lambda: None

    def now_s(self) -> float:
        """Monotonic rig seconds."""
        return self._clock.now_s()

    def wall(self) -> datetime:
        """Return the time of day, UTC."""
        return self._clock.wall()

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Sleep, or until `stop` is set; see `Clock.sleep`."""
        while seconds > 1.0:
            self.beat()
            before_s = self._clock.now_s()
            if not self._clock.sleep(1.0, stop):
                return False
            seconds -= max(1.0, self._clock.now_s() - before_s)
        self.beat()
        return self._clock.sleep(seconds, stop)
