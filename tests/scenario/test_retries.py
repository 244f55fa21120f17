"""A frame that is lost or spoiled is taken again, at its place and from the right side, within a budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import tifffile

from focusd.job import JobSettings, JobStatus, Retaken
from focusd.journal import read_journal
from focusd.rig import Exposure, Frame

Make = Callable[..., Any]
STACK = {"range": 380, "step": 20}
STOPS = 20


def faults(kind: str, *at_exposures: int) -> dict[str, Any]:
    return {"sim": {"faults": [{"kind": kind, "at_exposure": number} for number in at_exposures]}}


def record_of(rig: Any, job: Any) -> dict[str, Any]:
    return json.loads((rig.folder(job) / "run.json").read_text())


def retaken(rig: Any, job: Any) -> list[int]:
    lines = read_journal(rig.folder(job) / "journal.jsonl")
    return [line["index"] for line in lines if line["kind"] == "retaken"]


def assert_frames_are_where_the_record_says(record: dict[str, Any]) -> None:
    truth = {e["frame_file"]: e for e in record["truth"]["exposures"] if e["frame_file"]}
    for stop in record["stops"]:
        for shot in stop["shots"]:
            if shot["frame"] is not None:
                exposure = truth[shot["frame"]]
                assert exposure["shaft_um"] == pytest.approx(stop["position_um"], abs=0.01)
                assert exposure["step_edges"] == 0
                assert exposure["smear_px"] < 0.25


@pytest.mark.parametrize("at", [0, 7, STOPS - 1])
@pytest.mark.parametrize("kind", ["lose_frame", "corrupt_file"])
def test_a_frame_is_taken_again(studio: Make, kind: str, at: int) -> None:
    rig = studio(**faults(kind, at))
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE
    assert job.done == STOPS
    assert job.retaken == 1
    assert retaken(rig, job) == [at]
    assert job.result is not None
    assert job.result["missing"] == []
    record = record_of(rig, job)
    assert record["fused"] == STOPS
    assert [len(stop["shots"]) for stop in record["stops"]] == [1 + (n == at) for n in range(STOPS)]
    assert_frames_are_where_the_record_says(record)


def test_the_picture_is_the_one_of_a_stack_without_trouble(studio: Make) -> None:
    """Noise aside: a second exposure of a stop is another picture of the same."""
    good, mended = studio(), studio(**faults("lose_frame", 7))
    pictures = []
    for rig in (good, mended):
        job = rig.run_job(**STACK)
        pictures.append(tifffile.imread(rig.folder(job) / "final.tif").astype(float))
    assert np.abs(pictures[0] - pictures[1]).mean() < 1.0


def test_the_budget_is_the_job_s(studio: Make) -> None:
    """Stops 2 and 5 are mended; stop 9 is one too many."""
    rig = studio(**faults("lose_frame", 2, 6, 11), stack={"retries": 2})
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE
    assert retaken(rig, job) == [2, 5]
    assert job.missing == (9,)


def test_a_frame_has_three_tries(studio: Make) -> None:
    rig = studio(**faults("lose_frame", 4, 5, 6))
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE
    assert retaken(rig, job) == [4, 4]
    assert job.missing == (4,)
    assert len(record_of(rig, job)["stops"][4]["shots"]) == 3


def test_only_the_shot_that_is_missing_is_taken_again(studio: Make) -> None:
    rig = studio(**faults("lose_frame", 8))
    job = rig.run_job(settings=JobSettings(shots_per_step=3), **STACK)
    assert job.status is JobStatus.DONE
    assert job.missing == ()
    record = record_of(rig, job)
    assert [len(stop["shots"]) for stop in record["stops"]] == [3 + (n == 2) for n in range(STOPS)]
    assert record["fused"] == 3 * STOPS
    assert_frames_are_where_the_record_says(record)


def test_a_cancelled_job_goes_back_for_nothing(studio: Make) -> None:
    rig = studio(**faults("lose_frame", 3))
    rig.clock.call_at(24.0, rig.signals.cancel.set)
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.CANCELLED
    assert retaken(rig, job) == []


def spoil(rig: Any, monkeypatch: pytest.MonkeyPatch, *at_frames: int) -> None:
    """Overwrite the middle of files, counted as they come: they arrive whole, and cannot be decoded."""
    camera, number = rig.sim.rig.camera, count()
    real = camera.collect

    def collect(exposure: Exposure) -> Frame | None:
        frame = real(exposure)
        assert frame is not None and frame.encoded is not None
        if next(number) not in at_frames:
            return frame
        data = bytearray(frame.encoded)
        data[len(data) // 2 : len(data) // 2 + 8] = b"\xff\x02" * 4
        return replace(frame, encoded=bytes(data))

    monkeypatch.setattr(camera, "collect", collect)


def test_second_tries_of_a_spoiled_frame_are_not_frames_in_a_row(
    studio: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both last stops are spoiled, and the first of them is spoiled again: two in a row, and not three."""
    rig = studio()
    spoil(rig, monkeypatch, STOPS - 2, STOPS - 1, STOPS)
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE, job.error
    assert (job.retaken, job.result["missing"] if job.result else None) == (3, [])


def test_a_camera_that_gives_nothing_usable_still_ends_the_job(
    studio: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = studio(stack={"retries": 100, "preflight": False})
    spoil(rig, monkeypatch, *range(1000))
    job = rig.run_job(**STACK)
    assert (job.status, job.code) == (JobStatus.FAILED, "camera")
    assert len(rig.sim.truth.exposures) <= 4 * 3


def test_a_cancel_on_the_way_back_leaves_the_stop_named_as_missing(
    studio: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = studio(**faults("lose_frame", 3))
    report = rig.photographer._report

    def cancel_then(session: Any, event: Any) -> None:
        report(session, event)
        if isinstance(event, Retaken):
            rig.signals.cancel.set()

    monkeypatch.setattr(rig.photographer, "_report", cancel_then)
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.CANCELLED
    assert (job.done, job.missing) == (4, (3,))
    assert job.result is not None and job.result["missing"] == [3]


def test_the_motor_rests_in_a_pause_after_a_frame_was_taken_again(studio: Make) -> None:
    rig = studio(**faults("lose_frame", 3))
    rig.clock.call_at(23.0, rig.signals.pause.set)
    rig.clock.call_at(200.0, rig.signals.pause.clear)
    levels: list[bool] = []
    rig.clock.call_at(190.0, lambda: levels.append(rig.sim.factory.level(22)))
    job = rig.run_job(settings=JobSettings(hold="off"), **STACK)
    assert (job.status, job.retaken) == (JobStatus.DONE, 1)
    assert levels == [True], "EN is active low"
