"""Rig time: it moves only while somebody sleeps, and what falls due happens at its own instant."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from focusd_sim.clock import PacedClock, VirtualClock

START = datetime(2026, 5, 1, 12, tzinfo=UTC)


@given(st.lists(st.floats(0, 10), max_size=20), st.floats(0, 10))
def test_actions_run_in_order_at_their_time_and_only_if_due(times: list[float], until_s: float) -> None:
    clock, ran = VirtualClock(), []
    for when_s in times:
        clock.call_at(when_s, lambda when_s=when_s: ran.append((when_s, clock.now_s())))  # type: ignore[misc]
    assert clock.sleep(until_s)
    assert ran == [(when_s, when_s) for when_s in sorted(times) if when_s <= until_s]
    assert clock.now_s() == until_s


def test_equal_times_keep_the_order_they_were_asked_in() -> None:
    clock, ran = VirtualClock(), []
    for i in range(5):
        clock.call_at(1.0, lambda i=i: ran.append(i))  # type: ignore[misc]
    clock.sleep(1.0)
    assert ran == [0, 1, 2, 3, 4]


def test_an_action_may_ask_for_another_within_the_same_sleep() -> None:
    clock, ran = VirtualClock(), []

    def tick() -> None:
        ran.append(clock.now_s())
        clock.call_at(clock.now_s() + 1, tick)

    clock.call_at(1.0, tick)
    clock.sleep(3.5)
    assert ran == [1.0, 2.0, 3.0]


def test_what_is_past_runs_in_the_next_sleep_without_turning_time_back() -> None:
    clock, ran = VirtualClock(), []
    clock.sleep(5.0)
    clock.call_at(1.0, lambda: ran.append(clock.now_s()))
    clock.sleep(0.0)
    assert ran == [5.0]


def test_stop_wakes_the_sleeper_where_it_was_set() -> None:
    clock, stop = VirtualClock(), threading.Event()
    clock.call_at(2.0, stop.set)
    assert not clock.sleep(10.0, stop)
    assert clock.now_s() == 2.0
    assert not clock.sleep(10.0, stop)
    assert clock.now_s() == 2.0


def test_the_time_of_day_moves_with_rig_time_and_can_jump() -> None:
    clock = VirtualClock(START)
    clock.sleep(60.0)
    assert clock.wall() == START + timedelta(seconds=60)
    clock.jump_wall(3600)
    assert clock.wall() == START + timedelta(seconds=3660)
    assert clock.now_s() == 60.0


def test_paced_time_does_what_virtual_time_does() -> None:
    clock, ran = PacedClock(speed=1000.0, start=START), []
    clock.call_at(1.0, lambda: ran.append(clock.now_s()))
    assert clock.sleep(2.0)
    assert (ran, clock.now_s(), clock.wall()) == ([1.0], 2.0, START + timedelta(seconds=2))


def test_a_stop_set_by_another_thread_ends_a_paced_sleep_early() -> None:
    clock, stop = PacedClock(speed=1.0, start=START), threading.Event()
    timer = threading.Timer(0.02, stop.set)
    timer.start()
    assert not clock.sleep(30.0, stop)
    timer.join()
    assert clock.now_s() < 15.0
