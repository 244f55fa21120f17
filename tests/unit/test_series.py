"""Stacks at a steady interval: when each is due, what is skipped, and how a series ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from focusd.errors import PlanError
from focusd.job import JobStatus
from focusd.plan import StackPlan, ZPlan
from focusd.series import Place, Series, TimePlan

IDS = tuple(f"20261120-101500-{n:04d}" for n in range(1, 6))
PLAN = ZPlan(range=40, step=20).resolve(5000.0)
DONE, FAILED = JobStatus.DONE, JobStatus.FAILED


def begun(interval_s: float = 60.0, loops: int = 5, first_s: float = 100.0) -> Series:
    return Series(TimePlan(interval_s, loops), IDS[:1], "mine").begun(PLAN, first_s)


# What is asked.


def test_an_interval_shorter_than_a_stack_is_refused_with_both_figures() -> None:
    TimePlan(60, 3).require(60.0)
    with pytest.raises(
        PlanError, match=r"a stack takes 60\.1 s, .* time_plan.interval is 60 s: make it 67 s"
    ) as raised:
        TimePlan(60, 3).require(60.1)
    assert raised.value.values == {"stack_s": 60.1, "interval_s": 60}


@pytest.mark.parametrize(
    ("loops", "stack_s", "warns"), [(2, 54.0, False), (2, 54.1, True), (2, 60.0, True), (1, 60.0, False)]
)
def test_an_interval_that_is_nearly_full_is_warned_of(loops: int, stack_s: float, warns: bool) -> None:
    assert (TimePlan(60, loops).warning(stack_s) is not None) is warns


def test_what_all_stacks_take() -> None:
    assert TimePlan(60, 5).time_s(20.0) == 260.0
    assert TimePlan(60, 1).time_s(20.0) == 20.0
    # 30 of the 100 bytes of each are gone again before the next one begins.
    assert TimePlan(60, 5).disk_bytes(100, 30) == 5 * 70 + 30
    assert TimePlan(60, 1).disk_bytes(100, 30) == 100


# When they are due.


def test_every_stack_is_due_by_the_first_one_s_beginning() -> None:
    series = begun()
    assert [series.due_s(loop) for loop in range(1, 7)] == [100.0, 160.0, 220.0, 280.0, 340.0, None]
    assert Series(TimePlan(60, 5), IDS[:1]).due_s(1) is None, "it has not begun"
    later = series.onward().begun(StackPlan((1.0,)), 999.0)
    assert (later.first_s, later.plan) == (100.0, PLAN), "the first one's beginning and stops stay"


@pytest.mark.parametrize(
    ("now_s", "loop", "skipped"),
    [
        (110.0, 2, 0),
        (160.0, 2, 0),
        (161.0, 2, 0),  # a stack may begin a second late
        (161.1, 3, 1),
        (220.0, 3, 1),
        (221.5, 4, 2),
        (340.5, 5, 3),
        (341.5, 6, 4),
        (9e9, 6, 4),
    ],
)
def test_a_stack_whose_time_has_passed_is_skipped(now_s: float, loop: int, skipped: int) -> None:
    series = begun().onward().caught_up(now_s)
    assert (series.loop, series.skipped) == (loop, skipped)
    assert series.is_complete is (loop > 5)


def test_a_short_interval_leaves_less_grace() -> None:
    assert begun(interval_s=2.0).onward().caught_up(102.19).skipped == 0
    assert begun(interval_s=2.0).onward().caught_up(102.21).skipped == 1


@settings(deadline=None)
@given(
    interval_s=st.floats(1, 1e5),
    loops=st.integers(1, 1000),
    stacks_s=st.lists(st.floats(0, 3e5), max_size=40),
)
def test_the_next_stack_begins_in_its_own_time_whatever_the_stacks_take(
    interval_s: float, loops: int, stacks_s: list[float]
) -> None:
    series, now_s = begun(interval_s, loops, 0.0), 0.0
    for stack_s in stacks_s:
        now_s += stack_s
        series = series.counted(DONE).onward().caught_up(now_s)
        if series.is_complete:
            break
        due_s = series.due_s(series.loop)
        assert due_s is not None
        assert now_s - due_s <= min(1.0, interval_s / 10) + 1e-6, "it is not long past"
        assert due_s - now_s <= interval_s + 1e-6, "nor is a time left out that could be kept"
        now_s = max(now_s, due_s)
    assert series.done + series.skipped == min(series.loop, loops + 1) - 1
    assert series.loop <= loops + 1


# How it ends.


@pytest.mark.parametrize(
    ("ends", "by"),
    [
        ([DONE, DONE], None),
        ([FAILED], None),
        ([FAILED, DONE, FAILED], None),
        ([FAILED, FAILED], FAILED),
        ([DONE, FAILED, FAILED], FAILED),
        ([DONE, JobStatus.CANCELLED], JobStatus.CANCELLED),
        ([JobStatus.INTERRUPTED], JobStatus.INTERRUPTED),
    ],
)
def test_one_failed_stack_is_borne_and_two_in_a_row_are_not(
    ends: list[JobStatus], by: JobStatus | None
) -> None:
    series = begun()
    for status in ends:
        series = series.counted(status)
    assert series.ends_by(ends[-1]) is by


def test_a_first_stack_that_never_began_ends_the_series() -> None:
    assert Series(TimePlan(60, 5), IDS[:1]).counted(FAILED).ends_by(FAILED) is FAILED


def test_where_a_run_stands_in_it() -> None:
    assert begun().onward().place == Place(IDS[0], 2, 5)


@pytest.mark.parametrize(
    ("run_id", "job_id", "named"),
    [
        (None, None, True),
        (IDS[0], None, True),
        (IDS[1], None, True),
        (IDS[2], None, False),
        (None, "mine", True),
        (None, "other", False),
        (IDS[0], "mine", True),
        (IDS[0], "other", False),
    ],
)
def test_it_answers_to_any_of_its_runs_and_to_the_client_s_name(
    run_id: str | None, job_id: str | None, named: bool
) -> None:
    assert Series(TimePlan(60, 5), IDS[:2], "mine").is_named(run_id, job_id) is named


# Where it stops, and how it could go on.

Z_PLANS: list[dict[str, Any]] = [
    {"range": 100.0, "step": 7.0},
    {"range": 100.0, "step": 7.0, "go_up": False},
    {"range": 100.0, "step": 7.0, "grid_um": 5.0},
    {"top": 30.0, "bottom": 10.5, "step": 1.3},
    {"relative": (5.0, -3.0, 0.1)},
    {"absolute": (5.0, 300.0, 0.1), "go_up": False},
    {"absolute": (5.0,)},
]


@pytest.mark.parametrize("form", Z_PLANS, ids=str)
def test_later_stacks_stop_where_the_first_one_did(form: dict[str, Any]) -> None:
    plan = ZPlan(**form).resolve(4000.0)
    series = Series(TimePlan(60, 5), IDS[:1]).begun(plan, 0.0)
    assert series.z_plan().resolve(77.0).positions_um == plan.positions_um


@settings(deadline=None)
@given(
    here_steps=st.integers(0, 100_000),
    um_per_step=st.sampled_from([5.0, 0.3125, 1.25, 0.1]),
    range_um=st.integers(1, 5000),
    step_um=st.integers(5, 900).map(lambda tenths: tenths / 10),
    go_up=st.booleans(),
)
def test_the_rest_of_it_stops_at_the_same_places(
    here_steps: int, um_per_step: float, range_um: int, step_um: float, go_up: bool
) -> None:
    asked = ZPlan(range=float(range_um), step=step_um, go_up=go_up)
    assume(range_um / step_um < 500)
    plan = asked.resolve(here_steps * um_per_step)
    rest = Series(TimePlan(60, 5), IDS[:1]).begun(plan, 0.0).rest_of({}, again=True)
    assert rest is not None
    again = ZPlan(**rest["z_plan"]).resolve(0.0)
    assert again.positions_um == pytest.approx(plan.positions_um, abs=1e-6)


def test_the_rest_is_a_request() -> None:
    request = {
        "preset": "moth",
        "settle_s": 2.0,
        "transaction": "a",
        "job_id": "mine",
        "expires_at": "2026-01-31T12:00:00Z",
        "z_plan": {"range": 40, "step": 20},
        "time_plan": {"interval": 60, "loops": 5},
    }
    series = begun().onward().onward()
    assert series.rest_of(request, again=True) == {
        "preset": "moth",
        "settle_s": 2.0,
        "z_plan": {"absolute": [4980.0, 5000.0, 5020.0], "go_up": True},
        "time_plan": {"interval": 60.0, "loops": 3},
    }
    listed = Series(TimePlan(60, 2), IDS[:1]).begun(StackPlan((9.0, 3.0)), 0.0)
    rest = listed.rest_of(request, again=False)
    assert rest is not None
    assert rest["z_plan"] == {"absolute": [9.0, 3.0], "go_up": False}
    assert rest["time_plan"]["loops"] == 1
    longest = ZPlan(range=8000.0, step=1.0).resolve(10_000.123_456_7)
    assert Series(TimePlan(60, 2), IDS[:1]).begun(longest, 0.0).rest_of({}, again=True) is None, "too long"
    assert listed.onward().rest_of(request, again=False) is None, "nothing is left"
    assert Series(TimePlan(60, 2), IDS[:1]).rest_of(request, again=True) is None, "its stops are not known"
