"""Runs whose frames drift, flicker, or do not belong there: laid on each other while the rail moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from focusd import cli
from focusd.easel import FrameOdd
from focusd.errors import FocusdError
from focusd.job import JobSettings, JobStatus
from focusd.rig import Exposure, Frame
from focusd_sim.catalogue import scene_named
from focusd_sim.scene import Scene

Make = Callable[..., Any]
STACK = {"range": 380, "step": 20}
DRIFT = {"optics": {"drift_px_per_mm": [14.0, 10.0]}}
PI_CAMERA = {
    "kind": "picamera2",
    "frame_size": {"width": 320, "height": 240},
    "exposure_s": 0.01,
    "colour_gains": [1.8, 1.6],
}


@pytest.fixture(scope="module")
def large() -> Scene:
    """Large enough to be aligned."""
    return scene_named("slope", seed=1, shape=(240, 320))


def record_of(rig: Any, job: Any) -> dict[str, Any]:
    return dict(json.loads((rig.folder(job) / "run.json").read_text()))


def spoil(rig: Any, monkeypatch: pytest.MonkeyPatch, at_exposure: int, change: Callable[[Any], Any]) -> None:
    """Change the picture of one exposure."""
    camera = rig.sim.rig.camera
    real = camera.collect

    def collect(exposure: Exposure) -> Frame | None:
        frame = real(exposure)
        if frame is None or exposure.index != at_exposure or frame.encoded is None:
            return frame
        image = cv2.imdecode(np.frombuffer(frame.encoded, np.uint8), cv2.IMREAD_COLOR)
        _, data = cv2.imencode(".jpg", change(image), [cv2.IMWRITE_JPEG_QUALITY, 95])
        return replace(frame, encoded=data.tobytes())

    monkeypatch.setattr(camera, "collect", collect)


def test_a_drifting_run_is_aligned_and_cropped(studio: Make, large: Scene) -> None:
    rig = studio(large, sim=DRIFT)
    job = rig.run_job(settings=JobSettings(align="auto"), **STACK)
    assert job.status is JobStatus.DONE, job.error
    run = rig.folder(job)
    final = tifffile.imread(run / "final.tif")
    assert final.shape[0] <= 240 - 2 and final.shape[1] <= 320 - 2
    assert (job.result["width"], job.result["height"]) == (final.shape[1], final.shape[0])
    assert tifffile.imread(run / "depth.tif").shape == final.shape[:2]
    table = json.loads((run / "transforms.json").read_text())
    assert [row["number"] for row in table["frames"]] == list(range(20))
    laid = record_of(rig, job)["laid"]
    assert laid["align"] == "auto"
    assert any("corrected" in words for words in laid["said"])
    # As far as the simulator moved the picture over 19 steps of 20 um.
    (_, _, x), (_, _, y) = table["frames"][-1]["transform"]
    assert np.hypot(x, y) == pytest.approx(0.38 * np.hypot(14, 10), abs=0.5)


def test_what_is_not_covered_may_be_marked(studio: Make, large: Scene) -> None:
    rig = studio(large, sim=DRIFT)
    job = rig.run_job(settings=JobSettings(align="translation", border="mark"), **STACK)
    assert job.status is JobStatus.DONE, job.error
    run = rig.folder(job)
    assert tifffile.imread(run / "final.tif").shape[:2] == (240, 320)
    mask = cv2.imread(str(run / "covered.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (240, 320)
    assert 0.9 < (mask == 255).mean() < 1


@pytest.mark.parametrize("camera", [{}, PI_CAMERA], ids=["dslr", "picamera2"])
def test_a_kept_run_that_was_aligned_is_fused_again_to_the_same_bits(
    studio: Make, large: Scene, tmp_path: Path, camera: dict[str, Any]
) -> None:
    over = {"camera": camera} if camera else {}
    rig = studio(large, sim=DRIFT, **over)
    job = rig.run_job(
        settings=JobSettings(align="auto", gain=True, odd_frames="skip", keep_frames="source"), **STACK
    )
    assert job.status is JobStatus.DONE, job.error
    run, again = rig.folder(job), tmp_path / "again.tif"
    assert cli.main(["fuse", str(run), "-o", str(again)]) == 0
    np.testing.assert_array_equal(tifffile.imread(again), tifffile.imread(run / "final.tif"))


def test_an_odd_frame_is_taken_again(studio: Make, large: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = studio(large)
    spoil(rig, monkeypatch, 8, lambda image: np.zeros_like(image))
    job = rig.run_job(settings=JobSettings(odd_frames="skip"), **STACK)
    assert job.status is JobStatus.DONE, job.error
    odd = [report for report in rig.posted if isinstance(report, FrameOdd)]
    assert [(report.stop_index, report.reason, report.is_fused) for report in odd] == [(8, "black", False)]
    assert job.retaken == 1
    assert job.result["missing"] == []
    assert record_of(rig, job)["laid"]["odd"][0]["stop"] == 8


def test_an_odd_frame_may_be_fused_all_the_same(
    studio: Make, large: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = studio(large)
    spoil(rig, monkeypatch, 8, lambda image: np.zeros_like(image))
    job = rig.run_job(settings=JobSettings(odd_frames="fuse"), **STACK)
    assert job.status is JobStatus.DONE, job.error
    assert [report.is_fused for report in rig.posted if isinstance(report, FrameOdd)] == [True]
    assert (job.retaken, record_of(rig, job)["fused"]) == (0, 20)


def test_an_odd_frame_may_end_the_stack(studio: Make, large: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = studio(large, stack={"retries": 0, "preflight": False})
    spoil(rig, monkeypatch, 8, lambda image: np.zeros_like(image))
    job = rig.run_job(settings=JobSettings(odd_frames="stop"), **STACK)
    assert job.status is JobStatus.FAILED
    assert job.code == "odd_frame"
    assert "stop 8" in str(job.error)
    assert job.done < 20
    # What there was by then is a picture all the same.
    assert (rig.folder(job) / "final.tif").is_file()


def test_a_run_is_laid_as_another_lay(studio: Make, large: Scene) -> None:
    rig = studio(large, sim=DRIFT)
    first = rig.run_job(settings=JobSettings(align="auto"), **STACK)
    second = rig.run_job(
        settings=JobSettings(transforms=first.run_id),
        bottom=first.plan.low_um,
        top=first.plan.high_um,
        step=20,
    )
    assert second.status is JobStatus.DONE, second.error
    tables = [json.loads((rig.folder(job) / "transforms.json").read_text()) for job in (first, second)]
    assert [row["transform"] for row in tables[0]["frames"]] == [
        row["transform"] for row in tables[1]["frames"]
    ]
    assert first.result["width"] == second.result["width"]


def test_a_run_without_transforms_moves_nothing(studio: Make, large: Scene) -> None:
    rig = studio(large)
    with pytest.raises(FocusdError, match=r"transforms\.json"):
        rig.photographer._registration(
            replace(rig.run_job(**STACK), settings=JobSettings(transforms="20200101-000000-0000"))
        )


def test_flicker_is_evened_out(studio: Make, large: Scene) -> None:
    rig = studio(large, sim={"sensor": {"flicker": 0.05}})
    job = rig.run_job(settings=JobSettings(gain=True), **STACK)
    assert job.status is JobStatus.DONE, job.error
    laid = record_of(rig, job)["laid"]
    assert laid["flickers"]
    assert any("flicker of up to" in words for words in laid["said"])
    # Nothing was laid, so nothing is cut.
    assert job.result["width"] == 320
    assert not (rig.folder(job) / "transforms.json").exists()
