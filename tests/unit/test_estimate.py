"""What a job will take, held against a rail that really goes the way and prints that are really written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from focusd.errors import OutOfTravel
from focusd.estimate import Estimator, Pace, disk_bytes, kept_bytes
from focusd.fusion import Fusion
from focusd.halt import Halt
from focusd.job import JobSettings, KeepFrames
from focusd.needs import Colour, FrameForm, fusion_needs
from focusd.negatives import Negatives
from focusd.outputs.prints import write_prints
from focusd.pictures.encoding import encode_jpeg
from focusd.pictures.samples import to_planes
from focusd.plan import StackPlan, ZPlan
from focusd.rail import Rail, Until
from focusd.rail_spec import RailSpec
from focusd.ramp import Ramp
from focusd.rig import Exposure, Frame, Shot

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

    def run(self, steps: int, ramp: Ramp, stop: Halt, until: Sequence[Until] = ()) -> int:
        self.time_s += ramp.duration_s(abs(steps))
        return steps

    @property
    def ended_by(self) -> None:
        return None


def moving_s(plan: StackPlan, settings: JobSettings) -> float:
    """How long a rail moves that goes the way."""
    motor = Stopwatch()
    rail = Rail(motor, SPEC, Halt())
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
    assert (estimate.memory_bytes, estimate.disk_bytes, estimate.checkpoint_bytes) == (None, None, None)


def test_memory_does_not_grow_with_the_stack_and_disk_hardly() -> None:
    frame = FrameForm(1000, 1000, encoded=True)
    estimator = Estimator(SPEC, PACE, stop_s, frame)
    few = estimator.of(StackPlan((1000.0,)), JobSettings(), 0.0)
    many = estimator.of(StackPlan(tuple(1000.0 + 5 * i for i in range(500))), JobSettings(), 0.0)
    needs = fusion_needs(frame)
    assert few.memory_bytes == many.memory_bytes == needs.memory_bytes
    assert few.checkpoint_bytes == many.checkpoint_bytes == needs.checkpoint_bytes
    assert few.disk_bytes is not None
    assert many.disk_bytes is not None
    assert 0 < (many.disk_bytes - few.disk_bytes) / 499 < 4096


def test_without_checkpoints_none_is_on_disk() -> None:
    frame = FrameForm(1000, 1000)
    with_them = Estimator(SPEC, PACE, stop_s, frame).of(PLAN, JobSettings(), 0.0)
    without = Estimator(SPEC, PACE, stop_s, frame, checkpoints=False).of(PLAN, JobSettings(), 0.0)
    assert without.checkpoint_bytes == 0
    assert with_them.disk_bytes is not None
    assert without.disk_bytes == with_them.disk_bytes - 2 * fusion_needs(frame).checkpoint_bytes
    assert without.memory_bytes == with_them.memory_bytes


@pytest.mark.parametrize("colour", get_args(Colour))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_run_s_prints_stay_within_what_is_foreseen(
    tmp_path: Path, colour: Colour, dtype: type[np.uint8 | np.uint16]
) -> None:
    """Noise, which no packing makes smaller, of a picture large enough that headers do not matter."""
    random = np.random.default_rng(3)
    shape = (200, 300) if colour == "grey" else (200, 300, 3)
    fusion = Fusion()
    for position_um in range(3):
        noise = random.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
        fusion.add(to_planes(noise) if colour == "4:2:0" and dtype is np.uint8 else noise, float(position_um))
    write_prints(tmp_path, fusion.image(), fusion.relief(), white=fusion.white)
    assert len([*tmp_path.iterdir()]) == 8
    written = sum(path.stat().st_size for path in tmp_path.iterdir())
    frame = FrameForm(200, 300, colour, 8 if dtype is np.uint8 else 16)
    assert 0 < written <= disk_bytes(frame, 3, 0)


def test_kept_frames_are_counted_with_every_shot_light_and_second_try() -> None:
    frame = FrameForm(1000, 1000)
    assert kept_bytes(frame, JobSettings(), 10) == kept_bytes(frame, JobSettings(keep_frames="off"), 10) == 0
    one = kept_bytes(frame, JobSettings(keep_frames="source"), 1)
    assert 1_500_000 < one < 1_600_000
    several = JobSettings(keep_frames="source", shots_per_step=2, lights=("left", "right"))
    assert kept_bytes(frame, several, 10, retries=5) == 45 * one
    assert kept_bytes(frame, JobSettings(keep_frames="jpeg"), 1) < 0.52 * one


def test_an_estimate_counts_kept_frames() -> None:
    frame, pace = FrameForm(1000, 1000), Pace(retries=7)
    plain = Estimator(SPEC, pace, stop_s, frame).of(PLAN, JobSettings(), 0.0)
    kept = Estimator(SPEC, pace, stop_s, frame).of(PLAN, JobSettings(keep_frames="source"), 0.0)
    assert plain.disk_bytes is not None
    assert kept.disk_bytes is not None
    assert kept.disk_bytes - plain.disk_bytes == (len(PLAN) + 7) * (
        kept_bytes(frame, JobSettings(keep_frames="source"), 1)
    )


@pytest.mark.parametrize("kind", ["source", "jpeg"])
@pytest.mark.parametrize("what", ["planes", "camera jpeg", "grey", "colour", "deep", "deep file"])
def test_kept_frames_stay_within_what_is_foreseen(tmp_path: Path, kind: KeepFrames, what: str) -> None:
    """Noise, which does not pack; where a JPEG is made, as much as a frame at high gain has."""
    random = np.random.default_rng(3)
    deep = random.integers(0, 65535, (200, 300, 3), np.uint16)
    noisy = np.clip(random.normal(90, 10, (200, 300, 3)), 0, 255).astype(np.uint8)
    exposure = Exposure(0, 0.0, 0.1, 0.1, datetime(2026, 11, 21, tzinfo=UTC))
    frame = {
        "planes": Frame("f", exposure, image=to_planes(noisy)),
        "camera jpeg": Frame("f.jpg", exposure, encoded=encode_jpeg(to_planes(noisy), quality=98)),
        "grey": Frame("f", exposure, image=deep[..., 0].astype(np.uint8)),
        "colour": Frame("f", exposure, image=deep.astype(np.uint8)),
        "deep": Frame("f", exposure, image=deep),
        "deep file": Frame("f.tif", exposure, encoded=b"II*\0" + deep.tobytes()),
    }[what]
    colour: Colour = {"planes": "4:2:0", "camera jpeg": "4:2:0", "grey": "grey"}.get(what, "4:4:4")  # type: ignore[assignment]
    form = FrameForm(200, 300, colour, 16 if "deep" in what else 8, frame.encoded is not None)
    with closing(Negatives(tmp_path, kind)) as negatives:
        for stop in range(3):
            negatives.keep(Shot(stop, 0, 20.0 * stop, 20.0 * stop), frame)
    written = sum(path.stat().st_size for path in (tmp_path / "frames").iterdir())
    foreseen = kept_bytes(form, JobSettings(keep_frames=kind), 3)
    assert 0.4 * foreseen < written <= foreseen
