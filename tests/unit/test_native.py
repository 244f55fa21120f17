"""The C loop: what it does beyond what Python's does (see test_stepper, which asks both the same)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd.clock import SystemClock
from focusd.drivers import native
from focusd.drivers.native import NOW, READ, SLEEP, WRITE, Board, NativePulses
from focusd.drivers.pulses import TIMINGS
from focusd.errors import ConfigError, RailError
from focusd.halt import Halt
from focusd.rail import Until
from focusd.ramp import Ramp
from focusd_sim.clock import VirtualClock

pytestmark = pytest.mark.skipif(
    not native.LIBRARY.is_file(), reason="built without a compiler, so there is no C loop"
)
STEP, SWITCH = 17, 23
RAMP = Ramp(100.0, 800.0, 4000.0)
Read = Callable[[int, int], int]


class Lines:
    """Lines in virtual time that note each write."""

    def __init__(self, read: Read = lambda _handle, _line: 1) -> None:
        self.clock = VirtualClock()
        self.edges: list[tuple[int, int, float]] = []
        self.answer = 0
        self.board = Board(WRITE(self._write), READ(read), NOW(self._now_ns), SLEEP(self._sleep_until), 5)
        self.pulses = NativePulses(self.board, STEP, TIMINGS["a4988"], self.clock)

    @property
    def steps_s(self) -> list[float]:
        return [t_s for line, level, t_s in self.edges if (line, level) == (STEP, 1)]

    def _now_ns(self) -> int:
        return round(self.clock.now_s() * 1e9)

    def _sleep_until(self, at_ns: int) -> None:
        self.clock.sleep(max(0, at_ns - self._now_ns()) / 1e9)

    def _write(self, handle: int, line: int, level: int) -> int:
        assert handle == 5
        self.edges.append((line, level, self.clock.now_s()))
        return self.answer


def switch(active_high: bool = False) -> Any:
    return SimpleNamespace(line=SWITCH, active_high=active_high)


@given(
    count=st.integers(1, 400),
    start_hz=st.floats(20, 900),
    faster=st.floats(1, 20),
    accel_hz_s=st.floats(100, 1e5),
)
def test_every_interval_is_the_ramps(count: int, start_hz: float, faster: float, accel_hz_s: float) -> None:
    lines = Lines()
    ramp = Ramp(start_hz, start_hz * faster, accel_hz_s)
    assert lines.pulses.run(count, ramp, Halt(), ()) == count
    wanted_s = [ramp.interval_s(k, count - k) for k in range(count)]
    # Nanoseconds, and a little for the sum of many sleeps.
    assert [b - a for a, b in pairwise([0.0, *lines.steps_s])] == pytest.approx(wanted_s, abs=3e-9)
    assert lines.pulses.worst_late_s < 1e-8
    assert [level for _, level, _ in lines.edges] == [1, 0] * count


def test_a_spike_ends_nothing() -> None:
    """A motor's cables make spikes in a switch's: two readings of three are no press."""
    readings = 0

    def spiky(_handle: int, _line: int) -> int:
        nonlocal readings
        readings += 1
        return int(readings % 7 not in (5, 6))

    lines = Lines(spiky)
    assert lines.pulses.run(100, RAMP, Halt(), [Until(switch())]) == 100
    assert readings > 100


@pytest.mark.parametrize("line", ["step", "switch"])
def test_a_line_that_fails_is_a_named_error(line: str) -> None:
    lines = Lines((lambda _handle, _line: -24) if line == "switch" else lambda _handle, _line: 1)
    lines.answer = -11 if line == "step" else 0
    with pytest.raises(RailError, match="after 0 of 7 steps") as raised:
        lines.pulses.run(7, RAMP, Halt(), [Until(switch())])
    assert raised.value.values == {"steps": 7, "made": 0, "error": -11 if line == "step" else -24}


def test_a_very_long_move_comes_to_rest_once_a_minute() -> None:
    """So that the thread can show a sign of life; no step is lost or doubled by it."""
    lines = Lines()
    slow = Ramp(1.0, 2.0, 0.5)
    assert lines.pulses.run(130, slow, Halt(), ()) == 130
    gaps_s = np.diff(lines.steps_s)
    assert len(lines.steps_s) == 130
    assert gaps_s[[30, 90]] == pytest.approx(0.5)
    # Step 60 ends one ramp and step 61 begins another, at the start rate.
    assert gaps_s[[58, 59, 118, 119]] == pytest.approx(1.0, rel=0.3)


def test_a_stop_from_another_thread_ends_a_move_in_real_time() -> None:
    """The loop holds no lock of Python's, so that another thread can run and be heard."""
    loop = native.library()
    edges_s: list[float] = []

    def write(_handle: int, _line: int, _level: int) -> int:
        edges_s.append(time.monotonic())
        return 0

    board = Board(
        WRITE(write),
        READ(lambda _handle, _line: 1),
        NOW(("focusd_now_ns", loop)),
        SLEEP(("focusd_sleep_until", loop)),
    )
    pulses = NativePulses(board, STEP, TIMINGS["a4988"], SystemClock())
    halt, stopped_s = Halt(), 0.0

    def press() -> None:
        nonlocal stopped_s
        time.sleep(0.05)  # in the middle of a real move
        stopped_s = time.monotonic()
        halt.set()

    presser = threading.Thread(target=press)
    presser.start()
    made = pulses.run(100_000, Ramp(500.0, 500.0, 1.0), halt, ())
    ended_s = time.monotonic()
    presser.join()
    assert 0 < made < 1000
    assert len(edges_s) == 2 * made
    assert ended_s - stopped_s < 1.0
    assert edges_s[-1] - stopped_s < 1.0


def test_without_the_library_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    native.library.cache_clear()
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "_pulses.so")
    try:
        with pytest.raises(ConfigError, match=r'rail.pulses = "pins"'):
            native.library()
    finally:
        native.library.cache_clear()
