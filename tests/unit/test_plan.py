"""Where a stack stops: a table of cases, and what must hold for every plan."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.errors import PlanError
from focusd.plan import MAX_STOPS, StackPlan, Stop, ZPlan, exact

MARKS = {"near": 300.0, "far": 100.0}

# What was asked, and the positions in order of visit, from a rail that stands at 50 um.
CASES: list[tuple[dict[str, Any], list[float]]] = [
    ({"top": 10, "bottom": 0, "step": 5}, [0, 5, 10]),
    ({"top": 10, "bottom": 0, "step": 3}, [0, 2.5, 5, 7.5, 10]),  # useq 0.9.2 misses the top here
    ({"top": 10, "bottom": 0, "step": 10}, [0, 10]),
    ({"top": 10, "bottom": 0, "step": 99}, [0, 10]),
    ({"top": 10, "bottom": 0, "step": 5, "go_up": False}, [10, 5, 0]),
    ({"top": -5.0, "bottom": -15.0, "step": 5}, [-15, -10, -5]),
    ({"top": 0.3, "bottom": 0, "step": 0.1}, [0, 0.1, 0.2, 0.3]),  # 0.3 / 0.1 is not 3 in doubles
    ({"top": 0.7, "bottom": 0, "step": 0.1}, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
    ({"range": 20, "step": 10}, [40, 50, 60]),
    ({"range": 20, "step": 10, "go_up": False}, [60, 50, 40]),
    ({"range": 20, "step": 10, "marks": False}, [40, 50, 60]),
    ({"above": 20, "below": 10, "step": 10}, [40, 50, 60, 70]),
    ({"above": 0, "below": 10, "step": 10}, [40, 50]),
    ({"above": 10, "below": 0, "step": 4}, [50, 50 + 10 / 3, 50 + 20 / 3, 60]),
    ({"marks": True, "step": 100}, [100, 200, 300]),
    ({"marks": True, "step": 100, "go_up": False}, [300, 200, 100]),
    ({"relative": (0, 3, -3)}, [47, 50, 53]),
    ({"relative": (0, 3, -3), "go_up": False}, [53, 50, 47]),
    ({"absolute": (7, 0.5)}, [0.5, 7]),
    ({"absolute": (7,)}, [7]),
]


@pytest.mark.parametrize(("asked", "positions"), CASES)
def test_positions(asked: dict[str, Any], positions: list[float]) -> None:
    plan = ZPlan(**asked).resolve(50.0, MARKS)
    assert list(plan.positions_um) == positions
    assert list(plan) == [Stop(i, p) for i, p in enumerate(positions)]
    assert (plan.low_um, plan.high_um, len(plan)) == (min(positions), max(positions), len(positions))


def test_the_article_s_stack() -> None:
    plan = ZPlan(range=2540, step=20).resolve(5000.0)
    assert (len(plan), plan.step_um, plan.requested_step_um) == (128, 20.0, 20.0)
    assert (plan.positions_um[0], plan.positions_um[-1]) == (3730.0, 6270.0)


def test_the_response_can_state_both_steps() -> None:
    plan = ZPlan(top=10, bottom=0, step=3).resolve(0.0)
    assert (plan.requested_step_um, plan.step_um) == (3.0, 2.5)
    listed = ZPlan(absolute=(1, 2)).resolve(0.0)
    assert (listed.requested_step_um, listed.step_um) == (None, None)


def test_the_optics_step_is_taken_only_where_there_is_none() -> None:
    assert len(ZPlan(range=100).resolve(0.0, optics_step_um=50.0)) == 3
    assert len(ZPlan(range=100, step=25).resolve(0.0, optics_step_um=50.0)) == 5


NOT_ONE_FORM = [
    {},
    {"step": 5},
    {"top": 1, "step": 1},
    {"bottom": 1, "step": 1},
    {"above": 1, "step": 1},
    {"below": 1, "step": 1},
    {"top": 1, "bottom": 0, "range": 3, "step": 1},
    {"range": 3, "relative": (1,)},
    {"relative": (1,), "absolute": (1,)},
    {"marks": True, "range": 3, "step": 1},
    {"marks": False, "step": 1},
]


@pytest.mark.parametrize("asked", NOT_ONE_FORM)
def test_exactly_one_form(asked: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="exactly one of"):
        ZPlan(**asked)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"range": 10, "step": 0}, "above 0"),
        ({"range": 10, "step": -1}, "above 0"),
        ({"range": 10, "step": math.nan}, "not a finite number"),
        ({"range": 10, "step": math.inf}, "not a finite number"),
        ({"range": math.inf, "step": 1}, "not a finite number"),
        ({"range": math.nan, "step": 1}, "not a finite number"),
        ({"relative": (1, math.nan)}, "not a finite number"),
        ({"range": 0, "step": 1}, "no distance"),
        ({"range": -4, "step": 1}, "above 0"),
        ({"top": 0, "bottom": 10, "step": 1}, "swap them"),
        ({"top": 5, "bottom": 5, "step": 1}, "no distance"),
        ({"above": 0, "below": 0, "step": 1}, "no distance"),
        ({"above": -1, "below": 5, "step": 1}, "at least 0"),
        ({"above": 5, "below": -1, "step": 1}, "at least 0"),
        ({"relative": ()}, "empty"),
        ({"absolute": ()}, "empty"),
        ({"relative": (1, 2, 1.0)}, "twice"),
        ({"absolute": (1,), "step": 2}, "no meaning"),
        ({"range": 10}, "no step"),
        ({"range": MAX_STOPS, "step": 1}, f"{MAX_STOPS + 1} stops"),
        ({"range": 1e7, "step": 5e-324}, "at most"),
        ({"absolute": tuple(range(MAX_STOPS + 1))}, "at most"),
    ],
)
def test_refusals(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        ZPlan(**asked).resolve(50.0)


@pytest.mark.parametrize(
    ("marks", "missing"), [({}, "near and far"), ({"near": 1.0}, "far"), ({"far": 1.0}, "near")]
)
def test_a_mark_that_is_not_set_is_named(marks: dict[str, float], missing: str) -> None:
    with pytest.raises(PlanError, match=f"the mark {missing} is not set"):
        ZPlan(marks=True, step=1).resolve(0.0, marks)


def test_the_largest_plan_is_allowed() -> None:
    assert len(ZPlan(range=MAX_STOPS - 1, step=1).resolve(0.0)) == MAX_STOPS


@pytest.mark.parametrize(
    ("asked", "needs_step", "is_relative"),
    [
        ({"top": 1, "bottom": 0}, True, False),
        ({"marks": True}, True, False),
        ({"range": 1}, True, True),
        ({"above": 1, "below": 1}, True, True),
        ({"relative": (1,)}, False, True),
        ({"absolute": (1,)}, False, False),
    ],
)
def test_what_a_form_depends_on(asked: dict[str, Any], needs_step: bool, is_relative: bool) -> None:
    plan = ZPlan(**asked)
    assert (plan.needs_step, plan.is_relative) == (needs_step, is_relative)


def test_a_decimal_number_means_what_was_written() -> None:
    assert exact(0.1) == Fraction(1, 10)
    assert exact(np.float64(0.1)) == Fraction(1, 10)
    assert exact(3) == 3


length = st.floats(0.001, 1e5, allow_nan=False)
place = st.floats(-1e5, 1e5, allow_nan=False)


def spaced(asked: ZPlan, here_um: float) -> StackPlan | None:
    try:
        return asked.resolve(here_um)
    except PlanError as error:
        assert "at most" in str(error)
        return None


@settings(deadline=None, max_examples=80)
@given(here_um=place, reach_um=length, parts=st.floats(0.3, 400), go_up=st.booleans())
def test_laws_of_a_spaced_plan(here_um: float, reach_um: float, parts: float, go_up: bool) -> None:
    step_um = reach_um / parts
    plan = spaced(ZPlan(range=reach_um, step=step_um, go_up=go_up), here_um)
    assert plan is not None
    assert plan.step_um is not None
    upward = plan.positions_um if go_up else plan.positions_um[::-1]
    # Both ends are visited, to the last bit.
    half = exact(reach_um) / 2
    assert upward[0] == float(exact(here_um) - half)
    assert upward[-1] == float(exact(here_um) + half)
    # The step fits, and is no smaller than it must be.
    assert plan.step_um <= step_um
    gaps = len(plan) - 1
    assert gaps == math.ceil(exact(reach_um) / exact(step_um))
    # Equal spacing: no position is further from its exact place than its own rounding.
    for i, position_um in enumerate(upward):
        assert position_um == float(exact(here_um) - half + exact(reach_um) * i / gaps)


@settings(deadline=None, max_examples=60)
@given(bottom=place, reach_um=length, step_um=length)
def test_down_is_up_reversed_and_the_count_is_bounded(bottom: float, reach_um: float, step_um: float) -> None:
    top = bottom + reach_um
    if top <= bottom:
        return
    up = spaced(ZPlan(top=top, bottom=bottom, step=step_um), 0.0)
    down = spaced(ZPlan(top=top, bottom=bottom, step=step_um, go_up=False), 0.0)
    assert (
        (up is None)
        == (down is None)
        == (math.ceil((exact(top) - exact(bottom)) / exact(step_um)) >= MAX_STOPS)
    )
    if up is not None and down is not None:
        assert up.positions_um == down.positions_um[::-1]
        assert up.step_um == down.step_um
        assert (up.positions_um[0], up.positions_um[-1]) == (bottom, top)


@settings(deadline=None, max_examples=60)
@given(offsets=st.lists(place, min_size=1, max_size=40, unique=True), here_um=place, go_up=st.booleans())
def test_lists_are_visited_in_order_of_height(offsets: list[float], here_um: float, go_up: bool) -> None:
    plan = ZPlan(relative=tuple(offsets), go_up=go_up).resolve(here_um)
    wanted = sorted((float(exact(here_um) + exact(o)) for o in offsets), reverse=not go_up)
    assert list(plan.positions_um) == wanted


GRIDS = st.sampled_from([5.0, 0.3125, 500 * 405 / (25792 * 64), 3.0])


@given(
    positions=st.lists(st.integers(-4000, 4000).map(lambda n: n / 8), min_size=1, max_size=40, unique=True),
    grid=GRIDS,
    go_up=st.booleans(),
)
def test_a_grid_takes_each_listed_stop_to_the_nearest_of_its_points(
    positions: list[float], grid: float, go_up: bool
) -> None:
    plan = ZPlan(absolute=tuple(positions), go_up=go_up, grid_um=grid).resolve(0.0)
    steps = [position / grid for position in plan.positions_um]
    assert steps == pytest.approx(np.round(steps), abs=1e-6)
    assert len(set(np.round(steps))) == len(plan)
    assert list(plan.positions_um) == sorted(plan.positions_um, reverse=not go_up)
    for position in positions:
        assert min(abs(position - on) for on in plan.positions_um) <= grid / 2 + 1e-9


@given(
    bottom=st.integers(-4000, 4000).map(lambda n: n / 8),
    length=st.floats(10.1, 900),
    step=st.floats(0.2, 60),
    grid=GRIDS,
)
def test_a_grid_never_makes_a_gap_wider_than_asked_nor_leaves_the_ends(
    bottom: float, length: float, step: float, grid: float
) -> None:
    top = bottom + length
    plan = ZPlan(bottom=bottom, top=top, step=step, grid_um=grid).resolve(0.0)
    steps = np.array(plan.positions_um) / grid
    assert steps == pytest.approx(np.round(steps), abs=1e-6)
    gaps_um = np.diff(plan.positions_um)
    assert gaps_um.min() > grid / 2, "all different"
    assert gaps_um.max() <= max(step, grid) + 1e-9
    assert plan.step_um == pytest.approx(gaps_um.max())
    assert bottom - 1e-9 <= plan.low_um <= bottom + grid
    assert top - grid <= plan.high_um <= top + 1e-9


def test_a_step_finer_than_the_grid_becomes_the_grids() -> None:
    plan = ZPlan(range=100.0, step=3.0, grid_um=5.0).resolve(1000.0)
    assert plan.positions_um == tuple(950.0 + 5 * k for k in range(21))
    assert (plan.step_um, plan.requested_step_um) == (5.0, 3.0)


def test_a_step_between_two_of_the_grids_becomes_the_smaller() -> None:
    plan = ZPlan(range=100.0, step=9.0, grid_um=5.0).resolve(1000.0)
    assert (plan.step_um, len(plan)) == (5.0, 21)


def test_a_way_within_a_motor_step_is_refused() -> None:
    with pytest.raises(PlanError, match="less than a motor step, 5 um"):
        ZPlan(range=4.0, step=1.0, grid_um=5.0).resolve(1000.0)


def test_a_grid_that_takes_all_listed_stops_to_one_point_leaves_one() -> None:
    assert ZPlan(relative=(0.0, 1.0), grid_um=5.0).resolve(10.0).positions_um == (10.0,)
