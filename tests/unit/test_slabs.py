"""Slabs: which stops they hold, what is written of them, and what they cost."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from focusd.app import rail_spec
from focusd.config import StackConfig, parse_config
from focusd.draft import Draft, Drafter
from focusd.errors import FocusdError, PlanError, RequestError
from focusd.estimate import Estimator, Pace, disk_bytes
from focusd.fusion import Fusion
from focusd.job import JobSettings
from focusd.link.payloads import JobStart, parse, preset_faults
from focusd.needs import FrameForm, fusion_needs
from focusd.orders import RigState
from focusd.pictures.samples import to_bgr, to_planes
from focusd.room import DISK_RESERVE_BYTES, MEMORY_RESERVE_BYTES, NoRoom, Room
from focusd.slab_plan import SlabPlan
from focusd.slabs import Slab, Slabs

ROWS, COLS, STEP_UM = 64, 96, 5.0
AMPLE = Room()

plans = st.integers(2, 60).flatmap(lambda slab: st.builds(SlabPlan, st.just(slab), st.integers(0, slab - 1)))


# The plan.


@given(plans, st.integers(0, 300))
def test_a_stop_is_in_the_slabs_whose_range_holds_it(plan: SlabPlan, stop: int) -> None:
    held = [n for n in range(stop + 1) if plan.first_of(n) <= stop < plan.end_of(n)]
    assert list(plan.holding(stop)) == held
    assert 1 <= len(held) <= plan.open_at_once


@given(plans)
def test_neighbours_share_the_overlap(plan: SlabPlan) -> None:
    assert plan.end_of(3) - plan.first_of(4) == plan.overlap
    assert max(len(list(plan.holding(stop))) for stop in range(3 * plan.slab)) == plan.open_at_once
    long = 1000 * plan.slab
    held = sum(len(list(plan.holding(stop))) for stop in range(long, long + plan.pitch))
    assert plan.fusions_per_frame == pytest.approx(1 + held / plan.pitch)


@given(plans, st.integers(1, 300))
def test_the_last_slab_is_the_first_to_reach_the_end(plan: SlabPlan, stops: int) -> None:
    count = plan.count(stops)
    assert plan.end_of(count - 1) >= stops
    assert count == 1 or plan.end_of(count - 2) < stops


@pytest.mark.parametrize(("slab", "overlap"), [(1, 0), (-3, 0), (10_001, 0), (5, 5), (5, -1)])
def test_numbers_that_make_no_sense_are_refused(slab: int, overlap: int) -> None:
    with pytest.raises(PlanError, match=str(overlap if slab == 5 else slab)):
        SlabPlan(slab, overlap)


# The files.


def frame(number: int) -> npt.NDArray[np.uint8]:
    """One of a tilted, textured plane; sharp in a strip that moves on with the number."""
    texture = np.random.default_rng(3).integers(0, 256, (ROWS, COLS, 3), np.uint8)
    blurred = cv2.GaussianBlur(texture, (0, 0), 3)
    distance = np.abs(np.arange(COLS) / 8 - number)[None, :, None]
    share = np.clip(distance / 2, 0, 1)
    return np.rint(texture * (1 - share) + blurred * share).astype(np.uint8)


def fuse(slabs: Slabs, stops: list[int], planes: bool = False) -> Fusion:
    whole = Fusion()
    for stop in stops:
        image: Any = to_planes(frame(stop)) if planes else frame(stop)
        whole.add(image, stop * STEP_UM)
        slabs.add(stop, image, stop * STEP_UM, whole)
    return whole


def spans(slabs: tuple[Slab, ...]) -> list[tuple[int, int, int]]:
    return [(slab.first_stop, slab.last_stop, slab.frames) for slab in slabs]


@pytest.mark.parametrize("planes", [False, True])
def test_each_slab_is_the_picture_of_its_own_frames(tmp_path: Path, planes: bool) -> None:
    slabs = Slabs(SlabPlan(5, 2), tmp_path / "slabs")
    whole = fuse(slabs, list(range(12)), planes)
    done = slabs.finish()
    assert spans(done) == [(0, 4, 5), (3, 7, 5), (6, 10, 5), (9, 11, 3)]
    assert sorted(path.name for path in (tmp_path / "slabs").iterdir()) == [slab.file for slab in done]
    assert [slab.file for slab in done[:2]] == ["slab-0001.tif", "slab-0002.tif"]
    for slab in done:
        alone = Fusion(sigma=whole.sigma)
        for stop in range(slab.first_stop, slab.last_stop + 1):
            image: Any = to_planes(frame(stop)) if planes else frame(stop)
            alone.add(image, stop * STEP_UM)
        written = tifffile.imread(tmp_path / "slabs" / slab.file)
        assert np.array_equal(written[..., ::-1], to_bgr(alone.image()))


def test_a_slab_says_which_frames_it_is_of(tmp_path: Path) -> None:
    slabs = Slabs(SlabPlan(4), tmp_path)
    fuse(slabs, list(range(8)))
    slabs.finish()
    with tifffile.TiffFile(tmp_path / "slab-0002.tif") as file:
        assert file.pages[0].tags["ImageDescription"].value == (
            "focus stack of 4 frames, step 5 um, z 20 to 35 um"
        )


def test_frames_that_are_only_numbered_are_only_counted(tmp_path: Path) -> None:
    slabs = Slabs(SlabPlan(4), tmp_path, is_measured=False)
    fuse(slabs, list(range(3)))
    slabs.finish()
    with tifffile.TiffFile(tmp_path / "slab-0001.tif") as file:
        assert file.pages[0].tags["ImageDescription"].value == "focus stack of 3 frames"


def test_a_slab_is_written_when_the_first_frame_behind_it_comes(tmp_path: Path) -> None:
    told: list[Slab] = []
    slabs = Slabs(SlabPlan(3), tmp_path, told.append)
    whole = fuse(slabs, [0, 1, 2])
    assert (told, list(tmp_path.iterdir())) == ([], [])
    slabs.add(3, frame(3), 15.0, whole)
    assert told == [Slab("slab-0001.tif", 0, 2, 3, 0.0, 10.0)]
    assert (tmp_path / "slab-0001.tif").exists()
    assert slabs.finished == tuple(told)


def test_a_stack_cut_short_leaves_its_part_slab_and_no_part_of_a_slab_before(tmp_path: Path) -> None:
    slabs = Slabs(SlabPlan(5, 3), tmp_path)
    fuse(slabs, list(range(6)))
    # Stops 4 and 5 would begin a third, 2 to 5 are in the second.
    assert spans(slabs.finish()) == [(0, 4, 5), (2, 5, 4)]
    exact = Slabs(SlabPlan(5, 3), tmp_path / "exact")
    fuse(exact, list(range(7)))
    assert spans(exact.finish()) == [(0, 4, 5), (2, 6, 5)]


def test_lost_frames_and_shots_twice_at_a_stop_leave_slabs_where_they_are(tmp_path: Path) -> None:
    slabs = Slabs(SlabPlan(3), tmp_path)
    whole = fuse(slabs, [0, 2, 6])
    slabs.add(6, frame(7), 31.0, whole)
    assert spans(slabs.finish()) == [(0, 2, 2), (6, 6, 2)]
    assert [slab.file for slab in slabs.finished] == ["slab-0001.tif", "slab-0003.tif"]


def test_a_frame_out_of_turn_spoils_no_slab_that_is_written(tmp_path: Path) -> None:
    slabs = Slabs(SlabPlan(3), tmp_path)
    whole = fuse(slabs, [0, 1, 2, 3])
    before = (tmp_path / "slab-0001.tif").read_bytes()
    slabs.add(1, frame(9), 6.0, whole)
    slabs.finish()
    assert (tmp_path / "slab-0001.tif").read_bytes() == before
    assert spans(slabs.finished) == [(0, 2, 3), (3, 3, 1)]


def test_finishing_twice_writes_once(tmp_path: Path) -> None:
    told: list[Slab] = []
    slabs = Slabs(SlabPlan(3), tmp_path, told.append)
    whole = fuse(slabs, [0, 1])
    assert slabs.finish() == slabs.finish() == tuple(told)
    slabs.add(2, frame(2), 10.0, whole)
    assert slabs.finish() == tuple(told)
    assert len(told) == 1


def test_a_disk_that_takes_none_is_told_once_and_ends_them(tmp_path: Path) -> None:
    (tmp_path / "slabs").write_text("in the way")
    slabs = Slabs(SlabPlan(3), tmp_path / "slabs")
    whole = fuse(slabs, [0, 1, 2])
    with pytest.raises(FocusdError, match=r"no more slabs of this stack are written: .*slabs"):
        slabs.add(3, frame(3), 15.0, whole)
    slabs.add(4, frame(4), 20.0, whole)
    assert slabs.nbytes == 0
    assert slabs.finish() == ()


# What they cost.


@pytest.mark.parametrize(("slab", "overlap"), [(4, 0), (4, 2), (4, 3)])
def test_no_more_fusions_are_open_than_the_plan_says(tmp_path: Path, slab: int, overlap: int) -> None:
    plan = SlabPlan(slab, overlap)
    slabs, whole, most = Slabs(plan, tmp_path), Fusion(), 0
    for stop in range(12):
        whole.add(frame(stop), stop * STEP_UM)
        slabs.add(stop, frame(stop), stop * STEP_UM, whole)
        most = max(most, slabs.nbytes)
    assert most == plan.open_at_once * whole.nbytes


def test_needs_count_slabs_but_not_in_a_checkpoint() -> None:
    form = FrameForm(3008, 4032)
    none, two = fusion_needs(form), fusion_needs(form, slabs=2)
    assert two.checkpoint_bytes == none.checkpoint_bytes
    extra = 2 * (none.state_bytes + none.working_bytes) + none.result_bytes
    assert two.memory_bytes - none.memory_bytes == extra


def test_a_stack_with_slabs_keeps_to_what_is_foreseen(tmp_path: Path) -> None:
    rows, cols = 768, 1024
    frames = [
        np.random.default_rng(number).integers(0, 256, (rows, cols, 3), np.uint8) for number in range(5)
    ]
    plan = SlabPlan(2, 1)
    Fusion().add(frames[0], 0.0)  # what is loaded once is no part of a stack
    tracemalloc.start()
    try:
        slabs, whole = Slabs(plan, tmp_path), Fusion()
        for stop, image in enumerate(frames):
            whole.add(image, float(stop))
            slabs.add(stop, image, float(stop), whole)
        slabs.finish()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    needs = fusion_needs(FrameForm(rows, cols, "4:4:4"), slabs=plan.open_at_once)
    assert peak_bytes <= needs.state_bytes + needs.working_bytes + needs.slabs_bytes


# What may be asked.


def test_a_request_says_how_its_stack_is_cut() -> None:
    settings = parse(JobStart, {"slab": 10, "slab_overlap": 3}).settings()
    assert settings.slab_plan == SlabPlan(10, 3)
    assert JobSettings(slab=10).slab_plan == SlabPlan(10)
    assert JobSettings().slab_plan is None
    assert parse(JobStart, {"slab": 0}).settings().slab_plan is None


@pytest.mark.parametrize(
    "fields", [{"slab": 1}, {"slab": 4, "slab_overlap": 4}, {"slab": -2}, {"slab": 2.5}, {"slab": 10**6}]
)
def test_a_request_that_cannot_be_cut_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="slab"):
        parse(JobStart, fields)
    assert preset_faults({"moth": fields})


@pytest.mark.parametrize("fields", [{"slab": 1}, {"slab": 4, "slab_overlap": 4}, {"slab": -2}])
def test_a_configuration_that_cannot_be_cut_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="slab"):
        StackConfig(**fields)
    assert StackConfig(slab=4, slab_overlap=3).slab_overlap == 3


# What becomes of it.


def drafted(stack: dict[str, Any], fields: dict[str, Any], room: Room = AMPLE) -> tuple[Drafter, Draft]:
    table = {
        "rail": {"step_pin": 17, "direction_pin": 27, "enable_pin": 22, "high_um": 25_000},
        "camera": {"kind": "dslr", "release_pin": 24, "frame_size": {"width": 4000, "height": 3000}},
        "stack": stack,
    }
    config = parse_config(table, "rig.toml")
    desk = Drafter(config, Estimator(rail_spec(config.rail), Pace(), lambda _: 0.5), lambda: room)
    rig = RigState(position_um=4000.0, position_valid=True)
    return desk, desk.draft(parse(JobStart, {"z_plan": {"range": 100, "step": 5}, **fields}), rig)


@pytest.mark.parametrize(
    ("stack", "fields", "plan"),
    [
        ({}, {}, None),
        ({"slab": 6, "slab_overlap": 2}, {}, SlabPlan(6, 2)),
        ({"slab": 6, "slab_overlap": 2}, {"slab": 0}, None),
        ({"slab": 6, "slab_overlap": 2}, {"slab_overlap": 4}, SlabPlan(6, 4)),
        ({"slab": 6, "slab_overlap": 4}, {"slab": 3}, SlabPlan(3, 0)),
        ({}, {"slab": 3, "slab_overlap": 1}, SlabPlan(3, 1)),
    ],
)
def test_a_request_goes_over_the_configuration(
    stack: dict[str, Any], fields: dict[str, Any], plan: SlabPlan | None
) -> None:
    _, job = drafted(stack, fields)
    assert job.settings.slab_plan == plan


def test_an_overlap_larger_than_the_configured_slab_is_refused() -> None:
    with pytest.raises(PlanError, match="slab_overlap is 6"):
        drafted({"slab": 6}, {"slab_overlap": 6})


def test_a_job_whose_slabs_do_not_fit_is_refused() -> None:
    form = FrameForm(3000, 4000, encoded=True)
    plain = fusion_needs(form)
    with_slabs = fusion_needs(form, slabs=2)
    disk = disk_bytes(form, 21, plain.checkpoint_bytes)
    plan = SlabPlan(6, 2)
    cut_disk = disk_bytes(form, 21, plain.checkpoint_bytes, plan.count(21))
    assert cut_disk - disk == plan.count(21) * 3 * form.pixels
    room = Room(plain.memory_bytes + MEMORY_RESERVE_BYTES, cut_disk + DISK_RESERVE_BYTES)
    plain_way = {"odd_frames": "off"}
    desk, job = drafted({}, plain_way, room)
    desk.admit(job)
    desk, job = drafted({}, plain_way | {"slab": 6, "slab_overlap": 2}, room)
    assert (job.estimate.memory_bytes, job.estimate.disk_bytes) == (with_slabs.memory_bytes, cut_disk)
    with pytest.raises(NoRoom, match="of memory"):
        desk.admit(job)
    enough = Room(with_slabs.memory_bytes + MEMORY_RESERVE_BYTES, cut_disk + DISK_RESERVE_BYTES)
    desk, job = drafted({}, plain_way | {"slab": 6, "slab_overlap": 2}, enough)
    desk.admit(job)
