"""Frames through the inbox: lost, doubled, corrupt, late or out of order, none is ever another stop's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focusd.job import Job, JobStatus
from focusd.journal import read_journal
from focusd.orders import AllStop, Ticket
from focusd_sim.faults import Script

Make = Callable[..., Any]
STACK = {"range": 220, "step": 20}
STOPS = 12
KINDS = ("lose_frame", "double_frame", "corrupt_file", "late_frame")
QUICK = {"frame_timeout_s": 4.0}


def fault(kind: str, *at_exposures: int) -> list[dict[str, Any]]:
    return [{"kind": kind, "at_exposure": number} for number in at_exposures]


def record_of(rig: Any, job: Job) -> dict[str, Any]:
    return dict(json.loads((rig.folder(job) / "run.json").read_text()))


def named(rig: Any, job: Job) -> list[tuple[int, str]]:
    """Stop and file of each frame that was taken."""
    stops = record_of(rig, job)["stops"]
    return [(s["index"], shot["frame"]) for s in stops for shot in s["shots"] if shot["frame"]]


def assert_no_frame_is_another_stop_s(rig: Any, job: Job) -> None:
    truth = {exposure.frame_file: exposure for exposure in rig.sim.truth.exposures if exposure.frame_file}
    began_s: list[float] = []
    for stop in record_of(rig, job)["stops"]:
        for shot in stop["shots"]:
            if shot["frame"] is not None:
                exposure = truth[shot["frame"]]
                assert exposure.shaft_um == pytest.approx(stop["position_um"], abs=0.01), shot["frame"]
                assert exposure.step_edges == 0
                began_s.append(exposure.t_open_s - shot["opened_s"])
    # A shutter that fires twice does so within 0.12 s, and either picture will do.
    assert np.ptp(began_s) < 0.13, "nor another try's at the same stop"
    names = [name for _, name in named(rig, job)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("time", ["none", "seconds", "fraction"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_of_each_trouble(studio: Make, kind: str, time: str) -> None:
    rig = studio(camera=QUICK, sim={"dslr": {"time": time, "late_s": 5.0}, "faults": fault(kind, 0, 4, 9)})
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE, job.error
    assert job.missing == ()
    assert record_of(rig, job)["fused"] == STOPS
    assert_no_frame_is_another_stop_s(rig, job)


@pytest.mark.parametrize("late_s", np.arange(0.5, 16.1, 1.3).tolist())
@pytest.mark.parametrize("time", ["seconds", "fraction"])
def test_a_frame_that_comes_during_any_later_exposure(studio: Make, time: str, late_s: float) -> None:
    """Swept over: before it is given up, on the way back, while its stop is taken again, stops later."""
    rig = studio(
        camera=QUICK, sim={"dslr": {"time": time, "late_s": late_s}, "faults": fault("late_frame", 5)}
    )
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE, job.error
    assert job.missing == ()
    assert_no_frame_is_another_stop_s(rig, job)
    retaken = sum(line["kind"] == "retaken" for line in read_journal(rig.folder(job) / "journal.jsonl"))
    assert retaken == (late_s > 4.0 - 0.3)


@pytest.mark.parametrize("late_s", [0.5, 3.0, 4.5, 6.0, 7.0])
def test_files_without_a_time_are_told_by_counting(studio: Make, late_s: float) -> None:
    """As long as they are at most two timeouts late; see `ExposureLedger` for what cannot be told."""
    camera = {"time": "none", "late_s": late_s}
    rig = studio(camera=QUICK, sim={"dslr": camera, "faults": fault("late_frame", 0, 5, 8)})
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE, job.error
    assert_no_frame_is_another_stop_s(rig, job)


@pytest.mark.parametrize("seed", range(6))
def test_everything_at_once(studio: Make, seed: int) -> None:
    chances = [{"kind": kind, "chance": 0.08} for kind in KINDS]
    camera = {"late_s": 4.0 + seed, "clock_fast_ppm": 50.0}
    rig = studio(
        camera=QUICK, stack={"retries": 100}, sim={"dslr": camera, "faults": chances, "seed": seed + 1}
    )
    for _ in range(2):
        job = rig.run_job(range=480, step=20)
        assert job.status is JobStatus.DONE, job.error
        assert_no_frame_is_another_stop_s(rig, job)
        assert len(named(rig, job)) + len(job.missing) >= 25


def test_names_in_any_order(studio: Make, tmp_path: Path) -> None:
    """A camera's numbers begin again after 9999."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "DSC_9994.JPG").touch()
    rig = studio()
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE, job.error
    assert_no_frame_is_another_stop_s(rig, job)
    names = [name for _, name in named(rig, job)]
    assert names != sorted(names)


def test_an_earlier_stack_s_frame_that_comes_in_the_next_one(studio: Make) -> None:
    """Stopped right after an exposure, whose file comes when the next stack is under way."""
    rig = studio(camera=QUICK, sim={"dslr": {"late_s": 22.0}})
    first = rig.run_job(**STACK)
    last = len(rig.sim.truth.exposures) + 3
    rig.sim.faults.script([Script("late_frame", at_exposure=last)])

    def let_go(_line: int, level: bool, _t_s: float) -> None:
        if (
            not level
            and rig.sim.truth.next_index == last + 1
            and not rig.sim.truth.exposures[last].frame_file
        ):
            rig.signals.stop.set()

    rig.sim.factory.watch(rig.config.camera.release_pin, let_go)
    stopped = rig.run_job(**STACK)
    assert stopped.status is JobStatus.CANCELLED
    rig.sim.factory.watch(rig.config.camera.release_pin, lambda *_: None)
    rig.carry_out(AllStop(Ticket("stop")))
    second = rig.run_job(**STACK)
    assert second.status is JobStatus.DONE, second.error
    late = rig.sim.truth.exposures[last]
    assert late.frame_file not in [name for _, name in named(rig, second)]
    for job in (first, second):
        assert job.missing == ()
        assert_no_frame_is_another_stop_s(rig, job)


@pytest.mark.parametrize(("files", "suffix"), [("raw", ".DNG"), ("jpeg", ".JPG"), (None, ".JPG")])
def test_a_pair_of_files_is_one_frame(studio: Make, files: str | None, suffix: str) -> None:
    pytest.importorskip("rawpy")
    rig = studio(camera={} if files is None else {"files": files}, sim={"dslr": {"files": "both"}})
    job = rig.run_job(range=60, step=20)
    assert job.status is JobStatus.DONE, job.error
    assert job.missing == ()
    assert [name[-4:] for _, name in named(rig, job)] == [suffix] * 4
