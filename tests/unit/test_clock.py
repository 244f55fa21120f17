"""The daemon's clocks: a set stop wakes the sleeper, and a long sleep shows signs of life."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.clock import BeatingClock, Clock, SystemClock
from focusd_sim.clock import VirtualClock


@pytest.mark.parametrize("make", [SystemClock, VirtualClock, lambda: BeatingClock(VirtualClock())])
def test_every_clock_keeps_the_promise(make: Callable[[], Clock]) -> None:
    clock, stop = make(), threading.Event()
    before_s = clock.now_s()
    assert clock.sleep(0.0)
    assert clock.sleep(-1.0)
    assert clock.sleep(0.001, stop)
    assert clock.now_s() - before_s >= 0.001
    stop.set()
    for seconds in (-1.0, 0.0, 3600.0):
        assert not clock.sleep(seconds, stop)
    assert clock.now_s() - before_s < 3600.0
    assert clock.wall().utcoffset() == timedelta(0)
    assert clock.wall().tzinfo is UTC


@settings(deadline=None, max_examples=50)
@given(seconds=st.floats(0, 40))
def test_a_beating_clock_sleeps_as_long_as_asked_and_beats_every_second(seconds: float) -> None:
    inner = VirtualClock()
    clock, beats_s = BeatingClock(inner), list[float]()
    clock.beat = lambda: beats_s.append(inner.now_s())
    assert clock.sleep(seconds)
    assert inner.now_s() == pytest.approx(seconds)
    gaps_s = [b - a for a, b in zip([0.0, *beats_s], [*beats_s, inner.now_s()], strict=True)]
    assert max(gaps_s) <= 1.0 + 1e-9
    assert beats_s[0] == 0.0


def test_a_stop_in_the_middle_ends_a_long_sleep() -> None:
    inner, stop = VirtualClock(), threading.Event()
    inner.call_at(12.5, stop.set)
    assert not BeatingClock(inner).sleep(100.0, stop)
    assert inner.now_s() < 14.0


class LateClock(VirtualClock):
    """A clock on a machine that wakes its sleepers half a second late."""

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        return super().sleep(seconds + 0.5, stop)


def test_lateness_does_not_add_up() -> None:
    inner = LateClock()
    assert BeatingClock(inner).sleep(10.0)
    assert 10.0 <= inner.now_s() <= 11.5
