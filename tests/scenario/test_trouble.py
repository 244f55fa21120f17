"""What goes wrong on a rig, and what the daemon makes of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from focusd import easel, photographer
from focusd.errors import JournalError
from focusd.job import JobSettings, JobStatus, Paused, Resumed
from focusd.journal import read_journal
from focusd.orders import (
    AllStop,
    Answered,
    Home,
    JobChanged,
    Jog,
    MarkEnd,
    MoveTo,
    OrderDone,
    Ticket,
    Trouble,
    Zero,
)

Make = Callable[..., Any]
STACK = {"range": 380, "step": 20}
PRINTS = {
    "final.tif", "final.jpg", "depth.tif", "depth16.tif", "depth.png", "origin.tif", "confidence.tif",
    "reason.tif",
}  # fmt: skip
EN = 22


def answers(rig: Any) -> list[Answered]:
    return [report for report in rig.posted if isinstance(report, Answered)]


def motor_is_off(rig: Any) -> bool:
    return rig.sim.factory.level(EN) is True


def fault(kind: str, at_exposure: int) -> dict[str, Any]:
    return {"sim": {"faults": [{"kind": kind, "at_exposure": at_exposure}]}}


def test_cancel_keeps_what_there_is(studio: Make) -> None:
    rig = studio()
    rig.clock.call_at(15.0, rig.signals.cancel.set)
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.CANCELLED
    assert 0 < job.done < 20
    assert motor_is_off(rig)
    assert rig.state.position_valid
    folder = rig.folder(job)
    assert {path.name for path in folder.iterdir()} >= PRINTS
    assert job.result is not None
    assert job.result["width"] == 160
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "cancelled"
    assert sum(len(stop["shots"]) for stop in record["stops"]) == job.done


def test_cancel_is_heard_in_the_middle_of_a_long_wait(studio: Make) -> None:
    rig = studio()
    rig.carry_out(Home(Ticket("home")))
    rig.clock.call_at(rig.clock.now_s() + 10.0, rig.signals.cancel.set)
    began_s = rig.clock.now_s()
    rig.run_job(settings=JobSettings(pre_delay_s=1000.0), **STACK)
    assert rig.clock.now_s() - began_s < 11


def test_lost_frame_is_named_and_the_stack_goes_on(studio: Make) -> None:
    rig = studio(**fault("lose_frame", 7), stack={"retries": 0})
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE
    assert job.missing == (7,)
    assert job.result is not None
    assert job.result["missing"] == [7]
    record = json.loads((rig.folder(job) / "run.json").read_text())
    assert "no frame arrived" in record["stops"][7]["shots"][0]["error"]
    assert [stop["shots"][0]["frame"] is None for stop in record["stops"]].count(True) == 1


def test_corrupt_frame_is_named_and_left_out(studio: Make) -> None:
    rig = studio(**fault("corrupt_file", 4), stack={"retries": 0})
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE
    assert job.result is not None
    assert job.result["missing"] == [4]


def test_doubled_frame_does_not_shift_the_others(studio: Make) -> None:
    rig = studio(**fault("double_frame", 5))
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE
    record = json.loads((rig.folder(job) / "run.json").read_text())
    files = {e["frame_file"]: e["position_um"] for e in record["truth"]["exposures"] if e["frame_file"]}
    for stop in record["stops"]:
        assert files[stop["shots"][0]["frame"]] == pytest.approx(stop["position_um"], abs=1.0)


def test_a_camera_that_delivers_nothing_ends_the_job(studio: Make) -> None:
    rig = studio(**fault("hang_camera", 3))
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.FAILED
    assert job.code == "camera"
    assert "3 frames in a row" in (job.error or "")
    assert motor_is_off(rig)
    assert rig.state.state == "idle"  # the rail is not in doubt, the camera is
    assert rig.state.position_valid


def test_stalled_motor_is_found_at_the_next_homing(studio: Make) -> None:
    rig = studio(**fault("stall_motor", 2))
    rig.run_job(**STACK)
    rig.carry_out(Home(Ticket("home")))
    error = answers(rig)[-1].error
    assert error is not None
    assert error.code == "endstop_not_found"
    assert rig.state.state == "error"
    assert not rig.state.position_valid
    assert motor_is_off(rig)


def test_end_stop_that_trips_in_a_move_stops_it(studio: Make) -> None:
    rig = studio()
    rig.carry_out(Zero(Ticket("zero")))  # here is 0, says the operator; but the end stop is near
    rig.carry_out(Jog(Ticket("move"), 4000.0))
    rig.sim.bench.endstop.stick(True)
    rig.sim.factory.drive(23, False)
    rig.carry_out(MoveTo(Ticket("move"), 100.0))
    error = answers(rig)[-1].error
    assert error is not None
    assert error.code == "endstop_hit"
    assert not rig.state.position_valid
    assert motor_is_off(rig)


def test_untrusted_rail_refuses_everything_but_home_zero_and_jog(studio: Make) -> None:
    rig = studio(rail={"at_start": "require"})
    before = rig.sim.bench.shaft_um()
    rig.carry_out(MoveTo(Ticket("move"), 100.0))
    rig.carry_out(MarkEnd(Ticket("mark"), "near"))
    job = rig.run_job(**STACK)
    assert job.code == "not_homed"
    assert [a.error.code for a in answers(rig) if a.error] == ["not_homed", "not_homed"]
    assert rig.sim.bench.shaft_um() == before
    rig.carry_out(Jog(Ticket("move"), 50.0))
    assert rig.sim.bench.shaft_um() == pytest.approx(before + 50.0)
    assert not rig.state.position_valid


def test_at_start_zero_takes_the_present_place(studio: Make) -> None:
    rig = studio(rail={"at_start": "zero", "low_um": -2000, "home": {"go_to_um": None}})
    before = rig.sim.bench.shaft_um()
    job = rig.run_job(relative=(0.0, 50.0, 100.0))
    assert job.status is JobStatus.DONE, job.error
    assert rig.sim.bench.shaft_um() - before == pytest.approx(100.0, abs=STACK["step"])


def test_limits_are_checked_before_the_first_pulse(studio: Make) -> None:
    rig = studio()
    rig.carry_out(Home(Ticket("home")))
    before = rig.sim.bench.shaft_um()
    job = rig.run_job(bottom=24000, top=25500, step=500)
    assert job.code == "out_of_travel"
    assert rig.sim.bench.shaft_um() == before


def test_pause_holds_between_two_stops(studio: Make) -> None:
    rig = studio()
    rig.clock.call_at(15.0, rig.signals.pause.set)
    rig.clock.call_at(60.0, rig.signals.pause.clear)
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE
    kinds = [line["kind"] for line in read_journal(rig.folder(job) / "journal.jsonl")]
    pause = kinds.index(type(Paused()).__name__.lower())
    assert kinds[pause + 1] == type(Resumed()).__name__.lower()
    times = [exposure.t_open_s for exposure in rig.sim.truth.exposures]
    assert max(b - a for a, b in pairwise(times)) > 40


@pytest.mark.parametrize("shots", [1, 3])
def test_shots_per_step(studio: Make, shots: int) -> None:
    rig = studio()
    job = rig.run_job(settings=JobSettings(shots_per_step=shots), range=40, step=20)
    assert job.status is JobStatus.DONE
    record = json.loads((rig.folder(job) / "run.json").read_text())
    assert [len(stop["shots"]) for stop in record["stops"]] == [shots] * 3
    assert job.done == 3


def test_mirror_lockup_presses_twice(studio: Make) -> None:
    rig = studio(sim={"dslr": {"mirror_lockup": True}})
    job = rig.run_job(settings=JobSettings(mirror_lockup_s=1.0), range=40, step=20)
    assert job.status is JobStatus.DONE, job.error
    assert len(rig.sim.truth.exposures) == 3


@pytest.mark.parametrize(
    ("return_to", "where"), [("start", 4950.0), ("end", 5050.0), ("centre", 5000.0), ("none", 5050.0)]
)
def test_return_to(studio: Make, return_to: str, where: float) -> None:
    rig = studio()
    rig.run_job(settings=JobSettings(return_to=return_to), range=100, step=20)  # type: ignore[arg-type]
    assert rig.sim.bench.shaft_um() == pytest.approx(where, abs=0.01)
    assert rig.state.position_um == where


@pytest.mark.parametrize(("hold", "on_after"), [("always", True), ("job", False), ("off", False)])
def test_hold_policy(studio: Make, hold: str, on_after: bool) -> None:
    rig = studio()
    changes: list[float] = []
    rig.sim.factory.watch(EN, lambda _line, _level, t: changes.append(t))
    rig.run_job(settings=JobSettings(hold=hold), range=40, step=20)  # type: ignore[arg-type]
    assert motor_is_off(rig) is not on_after
    for exposure in rig.sim.truth.exposures:
        quiet_from = exposure.t_open_s - 1.0  # settling: never changed between a move and its exposure
        assert not any(quiet_from < t <= exposure.t_close_s for t in changes)


def test_marks_bound_a_stack(studio: Make) -> None:
    rig = studio()
    rig.carry_out(Home(Ticket("home")))
    rig.carry_out(MarkEnd(Ticket("mark"), "near"))
    rig.carry_out(MoveTo(Ticket("move"), 5200.0))
    rig.carry_out(MarkEnd(Ticket("mark"), "far"))
    assert dict(rig.state.marks_um) == {"near": 5000.0, "far": 5200.0}


def test_release_only_camera_records_the_stops(studio: Make) -> None:
    rig = studio(camera={"frames": "none"})
    job = rig.run_job(range=100, step=20)
    record = json.loads((rig.folder(job) / "run.json").read_text())
    assert len(record["truth"]["exposures"]) == len(record["stops"]) == 6
    assert job.status is JobStatus.DONE, job.error
    assert job.result is not None
    assert job.result["sha256"] is None
    assert {path.name for path in rig.folder(job).iterdir()} == {"journal.jsonl", "run.json"}


def test_a_stop_while_the_picture_is_finished_does_not_lose_it(
    studio: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack is whole by then; the motor goes off at once, and the files are written."""
    rig = studio(rail={"hold": "always"})
    off_when_written: list[bool] = []
    real = easel.write_prints

    def pressed(*args: Any, **options: Any) -> Any:
        rig.signals.stop.set()
        for _ in range(200):
            if motor_is_off(rig):
                break
            threading.Event().wait(0.01)
        off_when_written.append(motor_is_off(rig))
        return real(*args, **options)

    monkeypatch.setattr(easel, "write_prints", pressed)
    job = rig.run_job(**STACK)
    assert off_when_written == [True]
    assert job.status is JobStatus.DONE
    assert job.result is not None
    assert (rig.folder(job) / "final.tif").exists()


def test_a_disk_that_was_full_once_does_not_lose_the_picture(
    studio: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = studio()
    calls: list[int] = []
    real = easel.write_prints

    def full_at_first(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return real(*args, **options)

    monkeypatch.setattr(easel, "write_prints", full_at_first)
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.FAILED
    assert "No space left" in (job.error or "")
    assert job.result is not None
    assert job.result["width"] == 160
    assert "final" in [report.kind for report in rig.posted if isinstance(report, easel.Picture)]


def test_an_exposure_whose_frame_was_not_awaited_is_in_the_record(studio: Make) -> None:
    rig = studio()
    rig.clock.call_at(12.0, rig.signals.stop.set)
    job = rig.run_job(**STACK)
    record = json.loads((rig.folder(job) / "run.json").read_text())
    shots = [shot for stop in record["stops"] for shot in stop["shots"]]
    assert job.status is JobStatus.CANCELLED
    assert len(shots) == len(record["truth"]["exposures"])


def test_marks_do_not_outlive_their_frame(studio: Make) -> None:
    rig = studio()
    rig.carry_out(Home(Ticket("home")))
    rig.carry_out(MarkEnd(Ticket("mark"), "near"))
    rig.carry_out(Home(Ticket("home")))
    assert rig.state.marks_um == {"near": 5000.0}
    rig.carry_out(Zero(Ticket("zero")))
    assert rig.state.marks_um == {}


def test_after_a_doubt_no_job_takes_the_place_for_zero(studio: Make) -> None:
    rig = studio(rail={"at_start": "zero", "low_um": -2000, "home": {"go_to_um": None}})
    assert rig.run_job(relative=(0.0, 50.0)).status is JobStatus.DONE
    rig.signals.stop.set()
    rig.carry_out(AllStop(Ticket("stop")))
    before = rig.sim.bench.shaft_um()
    assert rig.run_job(relative=(0.0, 50.0)).code == "not_homed"
    assert rig.sim.bench.shaft_um() == before
    rig.carry_out(Zero(Ticket("zero")))
    assert rig.run_job(relative=(0.0, 50.0)).status is JobStatus.DONE


def test_a_refused_move_leaves_everything_as_it_was(studio: Make) -> None:
    """A carriage on a vertical rail must not sink because somebody asked for too much."""
    rig = studio(rail={"hold": "always"})
    rig.carry_out(Home(Ticket("home")))
    assert not motor_is_off(rig)
    rig.carry_out(MoveTo(Ticket("move"), 99_999.0))
    rig.carry_out(Jog(Ticket("move"), 99_999.0))
    assert [a.error.code for a in answers(rig) if a.error] == ["out_of_travel", "bad_plan"]
    assert not motor_is_off(rig)
    assert rig.state.state == "idle"
    assert rig.state.position_valid


def test_a_record_that_cannot_be_written_is_told(studio: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Any, _value: Any) -> None:
        raise JournalError(f"{path}: No space left on device")

    monkeypatch.setattr(photographer, "write_json", full)
    rig = studio()
    job = rig.run_job(range=40, step=20)
    assert job.status is JobStatus.DONE
    assert (rig.folder(job) / "final.tif").exists()
    (trouble,) = [report for report in rig.posted if isinstance(report, Trouble)]
    assert "No space left" in trouble.message
    assert motor_is_off(rig)
    assert isinstance(rig.posted[-1], OrderDone)


def test_who_hears_that_a_job_is_over_finds_its_files(studio: Make) -> None:
    rig = studio()
    found: list[set[str]] = []
    post = rig.posted.append

    def heard(report: Any) -> None:
        post(report)
        if isinstance(report, JobChanged) and report.job.status.is_over:
            found.append({path.name for path in rig.folder(report.job).iterdir()})

    rig.photographer._post = heard
    rig.run_job(range=40, step=20)
    assert found == [PRINTS | {"journal.jsonl", "run.json"}]


def test_a_scene_of_ones_own(studio: Make, tmp_path: Any) -> None:
    """A step of two heights, from a picture and a grey height map."""
    rng = np.random.default_rng(2)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (96, 128, 3), np.uint8), (0, 0), 1.2)
    heights = np.zeros((96, 128), np.uint8)
    heights[:, 64:] = 255
    cv2.imwrite(str(tmp_path / "p.png"), cv2.normalize(picture, None, 20, 235, cv2.NORM_MINMAX))
    cv2.imwrite(str(tmp_path / "h.png"), heights)
    pair = {"image": str(tmp_path / "p.png"), "height_map": str(tmp_path / "h.png")}
    rig = studio(sim={"scene": "pair", "pair": {**pair, "far_um": -100, "near_um": 100}})
    job = rig.run_job(range=280, step=20)
    assert job.status is JobStatus.DONE, job.error
    depth_um = tifffile.imread(rig.folder(job) / "depth.tif")
    assert np.nanmedian(depth_um[:, :56]) == pytest.approx(4900, abs=10)
    assert np.nanmedian(depth_um[:, 72:]) == pytest.approx(5100, abs=10)
