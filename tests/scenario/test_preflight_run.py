"""The test frame before a stack: taken in its middle, at rest, judged, and never part of the picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from focusd.job import JobSettings, JobStatus
from focusd.rig import Exposure, Frame

Make = Callable[..., Any]
STACK = {"range": 380, "step": 20}
STOPS = 20
ON = {"stack": {"preflight": True}}
DARK = {"sim": {"dslr": {"exposure_s": 0.02, "light_s": 40.0}}}
BRIGHT = {"sim": {"dslr": {"exposure_s": 0.02, "light_s": 0.0005}, "sensor": {"vignetting": 0.0}}}


def record_of(rig: Any, job: Any) -> dict[str, Any]:
    return json.loads((rig.folder(job) / "run.json").read_text())


def test_one_frame_more_is_taken_in_the_middle_and_at_rest(studio: Make) -> None:
    rig = studio(**ON)
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE
    record = record_of(rig, job)
    assert record["preflight"] == []
    assert record["fused"] == STOPS
    exposures = record["truth"]["exposures"]
    assert len(exposures) == STOPS + 1
    middle_um = record["stops"][STOPS // 2]["position_um"]
    assert exposures[0]["shaft_um"] == pytest.approx(middle_um, abs=0.01)
    assert all(exposure["step_edges"] == 0 and exposure["smear_px"] < 0.25 for exposure in exposures)


@pytest.mark.parametrize(("light", "word"), [(DARK, "black"), (BRIGHT, "blown out")])
def test_a_stack_that_would_be_spoiled_is_refused_before_its_first_stop(
    studio: Make, light: dict[str, Any], word: str
) -> None:
    rig = studio(**ON, **light)
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.FAILED
    assert job.code == "preflight"
    assert word in (job.error or "") and '"force": true' in (job.error or "")
    assert job.done == 0
    assert rig.sim.factory.level(22) is True  # the motor is off
    assert rig.state.state == "idle" and rig.state.position_valid
    assert len(record_of(rig, job)["truth"]["exposures"]) == 1


def test_who_insists_has_the_stack(studio: Make) -> None:
    rig = studio(**ON, **DARK)
    job = rig.run_job(settings=JobSettings(force=True), **STACK)
    assert job.done == STOPS
    assert [finding["code"] for finding in record_of(rig, job)["preflight"]] == ["black"]


def test_a_camera_that_gives_no_test_frame_is_named(studio: Make) -> None:
    rig = studio(**ON, sim={"faults": [{"kind": "hang_camera", "at_exposure": 0}]})
    job = rig.run_job(**STACK)
    assert (job.status, job.code) == (JobStatus.FAILED, "camera")
    assert "no test frame in 3 tries" in (job.error or "")


def test_a_lost_test_frame_is_taken_again(studio: Make) -> None:
    rig = studio(**ON, sim={"faults": [{"kind": "lose_frame", "at_exposure": 0}]})
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE
    assert job.missing == ()


@pytest.mark.parametrize("tries", [1, 3])
def test_a_test_frame_that_cannot_be_decoded_is_taken_again(
    studio: Make, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    rig = studio(**ON)
    camera, looked = rig.sim.rig.camera, count()
    real = camera.collect

    def collect(exposure: Exposure) -> Frame | None:
        frame = real(exposure)
        return replace(frame, encoded=b"\xff\xd8\xff\xd9") if frame and next(looked) < tries else frame

    monkeypatch.setattr(camera, "collect", collect)
    job = rig.run_job(**STACK)
    exposures = len(record_of(rig, job)["truth"]["exposures"])
    if tries == 1:
        assert (job.status, exposures) == (JobStatus.DONE, STOPS + 2)
    else:
        assert (job.status, job.code, exposures) == (JobStatus.FAILED, "camera", 3)
        assert "no test frame in 3 tries that can be used" in (job.error or "")


def test_frames_that_do_not_come_are_not_looked_at(studio: Make) -> None:
    rig = studio(**ON, camera={"frames": "none"})
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE
    assert len(record_of(rig, job)["truth"]["exposures"]) == STOPS
