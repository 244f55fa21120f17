"""Virtual time, which jumps, and paced time, which a person can watch.

Rig time moves only inside `VirtualClock.sleep`, called by the one thread that owns the rig. What the
simulated devices have to do meanwhile (open a shutter, write a file) is scheduled with `call_at` and runs
inside that sleep, at its own instant, in order. So a run is deterministic, rig time waits for rendering, and
is never late because of it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
# Real sleeps shorter than this cost more than they last; they are saved up.
_SHORTEST_REAL_SLEEP_S = 0.004


class VirtualClock:
    """Time that jumps to whatever happens next.

    Parameters
    ----------
    start : datetime, optional
        Time of day at rig time 0, UTC; moves with rig time.
    """

    def __init__(self, start: datetime = _EPOCH) -> None:
        self._now_s = 0.0
        self._start = start
        self._jump = timedelta(0)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def now_s(self) -> float:
        """Rig seconds since the start."""
        return self._now_s

    def wall(self) -> datetime:
        """Time of day, UTC."""
        return self._start + timedelta(seconds=self._now_s) + self._jump

    def jump_wall(self, seconds: float) -> None:
        """Make the time of day jump, as a Pi's does when it first meets a time server."""
        self._jump += timedelta(seconds=seconds)

    def call_at(self, when_s: float, action: Callable[[], None]) -> None:
        """Run `action` at rig time `when_s` (at once in the next sleep if that is past)."""
        heapq.heappush(self._due, (when_s, next(self._order), action))

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Let rig time pass, running what falls due; see `focusd.clock.Clock.sleep`."""
        until_s = self._now_s + max(0.0, seconds)
        while not (stop is not None and stop.is_set()):
            if not self._due or self._due[0][0] > until_s:
                return self._advance(until_s, stop)
            when_s, _, action = heapq.heappop(self._due)
            if not self._advance(max(when_s, self._now_s), stop):
                heapq.heappush(self._due, (when_s, next(self._order), action))
                return False
            action()
        return False

    def _advance(self, to_s: float, stop: threading.Event | None) -> bool:
        del stop
        self._now_s = to_s
        return True


class PacedClock(VirtualClock):
    """Virtual time held back to a multiple of real time.

    Parameters
    ----------
    speed : float
        Rig seconds per real second, above 0.
    start : datetime, optional
        Time of day at rig time 0; now, if not given.
    """

    def __init__(self, speed: float = 1.0, start: datetime | None = None) -> None:
        super().__init__(start or datetime.now(UTC))
        self.speed = speed
        self._owed_s = 0.0

    def _advance(self, to_s: float, stop: threading.Event | None) -> bool:
        """Pay the real time owed, then move; woken by `stop`, move only as far as was paid."""
        self._owed_s += (to_s - self._now_s) / self.speed
        if self._owed_s >= _SHORTEST_REAL_SLEEP_S:
            owed_s, began = self._owed_s, time.monotonic()
            self._owed_s = 0.0
            if stop is None:
                time.sleep(owed_s)
            elif stop.wait(owed_s):
                unpaid_s = max(0.0, owed_s - (time.monotonic() - began))
                self._now_s = max(self._now_s, to_s - unpaid_s * self.speed)
                return False
        self._now_s = to_s
        return True
