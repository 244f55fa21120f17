"""What a job will take, held against a rail that really goes the way and a fusion that really runs."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from focusd.errors import OutOfTravel
from focusd.estimate import STATE_BYTES_PER_PIXEL, Estimator, Pace
from focusd.fusion import Fusion
from focusd.job import JobSettings
from focusd.plan import StackPlan, ZPlan
from focusd.rail import Rail
from focusd.rail_spec import RailSpec
from focusd.ramp import Ramp

SPEC = RailSpec(
    um_per_step=Fraction(5),
    low_um=0.0,
    high_um=10_000.0,
    start_um_s=500.0,
    cruise_um_s=3000.0,
    accel_um_s2=6000.0,
    backlash_um=30.0,
    prerun_um=20.0,
)
PACE = Pace(settle_s=1.0, pre_delay_s=2.0)
PLAN = ZPlan(top=1200, bottom=1000, step=20).resolve(0.0)


def stop_s(settings: JobSettings) -> float:
    return 0.25 if settings.shutter_on_s is None else settings.shutter_on_s


class Stopwatch:
    """A motor that adds up how long its runs would take."""

    worst_late_s = 0.0

    def __init__(self) -> None:
        self.time_s = 0.0

    def energise(self) -> None: ...

    def release(self) -> None: ...

    def close(self) -> None: ...

    def run(self, steps: int, ramp: Ramp, stop: threading.Event, until: Callable[[], bool] | None) -> int:
        self.time_s += ramp.duration_s(abs(steps))
        return steps


def moving_s(plan: StackPlan, settings: JobSettings) -> float:
    """How long a rail moves that goes the way."""
    motor = Stopwatch()
    rail = Rail(motor, SPEC, threading.Event())
    rail.zero()
    reach = SPEC.reach(settings.approach, settings.backlash_um, settings.prerun_um)
    for stop in plan:
        rail.move_to(stop.position_um, reach)
    return motor.time_s


@pytest.mark.parametrize(
    "settings",
    [
        JobSettings(),
        JobSettings(approach="down"),
        JobSettings(backlash_um=0.0, prerun_um=0.0),
        JobSettings(settle_s=0.0, pre_delay_s=0.0),
        JobSettings(settle_s=3.0, shots_per_step=4, shutter_on_s=0.5),
    ],
)
@pytest.mark.parametrize("go_up", [True, False])
def test_time_is_moves_waits_and_shots(settings: JobSettings, go_up: bool) -> None:
    plan = ZPlan(top=1200, bottom=1000, step=20, go_up=go_up).resolve(0.0)
    settle_s = 1.0 if settings.settle_s is None else settings.settle_s
    pre_delay_s = 2.0 if settings.pre_delay_s is None else settings.pre_delay_s
    still_s = pre_delay_s + 11 * (settle_s + stop_s(settings))
    estimate = Estimator(SPEC, PACE, stop_s).of(plan, settings, 0.0)
    assert estimate.time_s == pytest.approx(moving_s(plan, settings) + still_s)


def test_a_plan_outside_the_limits_has_no_estimate() -> None:
    with pytest.raises(OutOfTravel):
        Estimator(SPEC, PACE, stop_s).of(StackPlan((5000.0, 10_001.0)), JobSettings(), 0.0)


def test_without_a_frame_size_nothing_is_said_about_memory() -> None:
    estimate = Estimator(SPEC, PACE, stop_s).of(PLAN, JobSettings(), 0.0)
    assert (estimate.memory_bytes, estimate.disk_bytes) == (None, None)


def test_memory_does_not_grow_with_the_stack_and_disk_hardly() -> None:
    estimator = Estimator(SPEC, PACE, stop_s, frame_pixels=1_000_000)
    few = estimator.of(StackPlan((1000.0,)), JobSettings(), 0.0)
    many = estimator.of(StackPlan(tuple(1000.0 + 5 * i for i in range(500))), JobSettings(), 0.0)
    assert few.memory_bytes == many.memory_bytes == 120_000_000
    assert few.disk_bytes is not None
    assert many.disk_bytes is not None
    assert 0 < (many.disk_bytes - few.disk_bytes) / 499 < 4096


def test_the_fusion_keeps_to_what_is_foreseen() -> None:
    """Three frames, because the second and third find buffers that the first does not have."""
    random = np.random.default_rng(7)
    rows, columns = 384, 512
    frames = [random.integers(0, 256, (rows, columns, 3), dtype=np.uint8) for _ in range(3)]
    Fusion().add(frames[0], 0.0)  # what is loaded once is no part of a stack
    tracemalloc.start()
    try:
        fusion = Fusion()
        for position_um, frame in enumerate(frames):
            fusion.add(frame, float(position_um))
        result = fusion.result()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.image.shape == (rows, columns, 3)
    assert peak_bytes / (rows * columns) <= STATE_BYTES_PER_PIXEL
