"""Runs whose frames are laid on each other, where something goes wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from focusd import cli
from focusd.checkpoint import Saver, read_state
from focusd.config import PreviewConfig
from focusd.easel import Easel, FrameOdd, FrameSpoiled
from focusd.job import JobSettings, JobStatus
from focusd.register.registration import Registration
from focusd.rig import Exposure, Frame, Shot
from focusd.transforms import read_transforms
from focusd_sim.catalogue import scene_named
from focusd_sim.scene import Scene

Make = Callable[..., Any]
Change = Callable[[Any], Any]
STACK = {"range": 380, "step": 20}
DRIFT = {"optics": {"drift_px_per_mm": [14.0, 10.0]}}
EXPOSURE = Exposure(0, 0.0, 0.1, 0.1, datetime(2026, 11, 21, tzinfo=UTC))
OPTICS = {"na": 0.25, "magnification": 10.0, "pixel_um": 3.45, "pupil_um": 1e6}


@pytest.fixture(scope="module")
def large() -> Scene:
    """Large enough to be aligned."""
    return scene_named("slope", seed=1, shape=(240, 320))


def black(image: Any) -> Any:
    return np.zeros_like(image)


def smaller(image: Any) -> Any:
    return image[:-16]


def dim(image: Any) -> Any:
    return image // 2


def foreign(image: Any) -> Any:
    return np.ascontiguousarray(image[::-1, ::-1])


def smeared(image: Any) -> Any:
    return cv2.blur(image, (15, 1))


def spoil(rig: Any, monkeypatch: pytest.MonkeyPatch, changes: dict[int, Change | None]) -> None:
    """Change the pictures of some exposures; None: the file is cut short."""
    camera = rig.sim.rig.camera
    real = camera.collect

    def collect(exposure: Exposure) -> Frame | None:
        frame: Frame | None = real(exposure)
        if frame is None or exposure.index not in changes or frame.encoded is None:
            return frame
        change = changes[exposure.index]
        if change is None:
            return replace(frame, encoded=frame.encoded[:20])
        image = cv2.imdecode(np.frombuffer(frame.encoded, np.uint8), cv2.IMREAD_COLOR)
        _, data = cv2.imencode(".jpg", change(image), [cv2.IMWRITE_JPEG_QUALITY, 95])
        return replace(frame, encoded=data.tobytes())

    monkeypatch.setattr(camera, "collect", collect)


def told(rig: Any, kind: type) -> list[Any]:
    return [report for report in rig.posted if isinstance(report, kind)]


def fused_again(run: Path, out: Path, *words: str) -> Any:
    assert cli.main(["fuse", str(run), "-o", str(out), *words]) == 0
    return tifffile.imread(out)


@pytest.mark.parametrize("at", [8, 19], ids=["in the middle", "the last"])
@pytest.mark.parametrize("odd", ["off", "skip", "fuse"])
def test_a_frame_of_another_size_is_the_only_one_left_out(
    studio: Make, large: Scene, monkeypatch: pytest.MonkeyPatch, at: int, odd: Any
) -> None:
    rig = studio(large, sim=DRIFT, stack={"retries": 0})
    spoil(rig, monkeypatch, {at: smaller})
    job = rig.run_job(settings=JobSettings(align="auto", odd_frames=odd), **STACK)
    assert job.status is JobStatus.DONE, job.error
    assert [report.stop_index for report in told(rig, FrameSpoiled)] == [at]
    assert job.result["missing"] == [at]
    record = json.loads((rig.folder(job) / "run.json").read_text())
    assert record["fused"] == 19


def test_a_frame_of_another_size_that_is_taken_again_costs_no_other(
    studio: Make, large: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its second try comes while another frame is held back. When it comes is up to the fuse thread, so that
    # three may fail in a row.
    rig = studio(large, sim=DRIFT, stack={"retries": 2, "give_up_after": 20})
    spoil(rig, monkeypatch, {8: black, 10: smaller, 11: smaller})
    job = rig.run_job(settings=JobSettings(align="auto", odd_frames="skip"), **STACK)
    assert job.status is JobStatus.DONE, job.error
    record = json.loads((rig.folder(job) / "run.json").read_text())
    assert record["fused"] == 20 - len(job.result["missing"])


def test_a_frame_that_is_black_again_is_not_fused(
    studio: Make, large: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = studio(large, stack={"retries": 3})
    spoil(rig, monkeypatch, dict.fromkeys(range(60), black))
    job = rig.run_job(settings=JobSettings(odd_frames="skip"), **STACK)
    assert job.status is JobStatus.FAILED
    assert not (rig.folder(job) / "final.tif").exists()


def test_odd_frames_are_found_after_the_first_was_taken_again(
    studio: Make, large: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = studio(large)
    # The first file is cut short, and so is taken again after the second.
    spoil(rig, monkeypatch, {0: None, 12: dim})
    job = rig.run_job(settings=JobSettings(odd_frames="skip"), **STACK)
    assert job.status is JobStatus.DONE, job.error
    assert [report.reason for report in told(rig, FrameOdd)] == ["exposure"]


@pytest.mark.parametrize("at", [8, 18, 19])
@pytest.mark.parametrize("retries", [0, 20])
def test_an_odd_frame_ends_the_stack_at_once(
    studio: Make, large: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: int, retries: int
) -> None:
    rig = studio(large, stack={"retries": retries})
    spoil(rig, monkeypatch, {at: black})
    job = rig.run_job(settings=JobSettings(odd_frames="stop", keep_frames="source"), **STACK)
    assert (job.status, job.code) == (JobStatus.FAILED, "odd_frame")
    assert job.retaken == 0
    run = rig.folder(job)
    # Stops that were taken and are not in the picture are missing.
    record = json.loads((run / "run.json").read_text())
    assert at in job.result["missing"]
    assert job.done <= record["fused"] + len(job.result["missing"]) <= 20
    np.testing.assert_array_equal(
        fused_again(run, tmp_path / "again.tif"), tifffile.imread(run / "final.tif")
    )


TROUBLE: dict[str, dict[int, Change | None]] = {
    "none": {},
    "odd": {8: black, 14: smeared},
    "cut short": {0: None, 8: None},
    "foreign": {8: foreign, 15: foreign},
    "the last odd": {19: black},
    "the last cut short": {19: None},
    "the last two": {18: smeared, 19: None},
}


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize(
    "settings",
    [
        JobSettings(align="auto", odd_frames="skip"),
        JobSettings(align="auto", odd_frames="off"),
        JobSettings(align="similarity", gain=True, odd_frames="fuse", border="mark"),
        JobSettings(align="translation", gain=True, odd_frames="skip", shots_per_step=2),
        JobSettings(gain=True, odd_frames="skip"),
    ],
    ids=["auto", "not looked for", "similarity", "two shots", "gain"],
)
def test_a_kept_run_is_fused_again_to_the_same_bits_whatever_happened(
    studio: Make,
    large: Scene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: JobSettings,
    trouble: str,
) -> None:
    rig = studio(large, sim={**DRIFT, "sensor": {"flicker": 0.03}}, optics=OPTICS)
    changes = TROUBLE[trouble]
    if settings.shots_per_step == 2:
        changes = {2 * at + 1: change for at, change in changes.items()}
    spoil(rig, monkeypatch, changes)
    job = rig.run_job(settings=replace(settings, keep_frames="source"), **STACK)
    assert job.status is JobStatus.DONE, job.error
    run = rig.folder(job)
    np.testing.assert_array_equal(
        fused_again(run, tmp_path / "again.tif"), tifffile.imread(run / "final.tif")
    )


@pytest.mark.parametrize("by", ["align", "transforms", "two shots"])
def test_what_was_saved_is_cropped_as_the_picture_is(
    studio: Make, large: Scene, tmp_path: Path, by: str
) -> None:
    settings = JobSettings(align="translation", shots_per_step=2 if by == "two shots" else 1)
    table = None
    if by == "transforms":
        rig = studio(large, sim=DRIFT)
        job = rig.run_job(settings=settings, **STACK)
        table = read_transforms(rig.folder(job) / "transforms.json")
        settings = JobSettings()
    registration: Registration[Any] = Registration(settings.correction, table=table)
    easel = Easel(lambda _: None, PreviewConfig(), lambda: 1 << 20, registration=registration)
    rng = np.random.default_rng(1)
    field = cv2.GaussianBlur(rng.integers(0, 255, (300, 400), np.uint8), (0, 0), 2)
    field = ((field - field.min()) * (255 / np.ptp(field))).astype(np.uint8)
    for stop in range(8):
        for number in range(settings.shots_per_step):
            # A shot in between lies further off.
            x = stop + 12 * (number == 1 and stop == 4)
            image = np.ascontiguousarray(field[20 : 20 + 240, 20 - x : 20 - x + 320])
            if table is not None:
                image = np.ascontiguousarray(field[:240, :320])
            easel.take(
                Shot(stop, number, 20.0 * stop, 20.0 * stop, None), Frame(f"{stop}-{number}", EXPOSURE, image)
            )
    saver = Saver(tmp_path / "state", 0.0)
    saver.save(easel.fusion.state(), easel.about(), lambda: None)
    for name, which in (("whole", easel), ("back", None)):
        folder = tmp_path / name
        folder.mkdir()
        if which is None:
            which = Easel.of_saved(
                read_state(tmp_path / "state"), lambda _: None, PreviewConfig(), lambda: 1 << 20
            )
        assert which.print(folder).result is not None
    for name in ("final.tif", "depth.tif"):
        np.testing.assert_array_equal(
            tifffile.imread(tmp_path / "whole" / name), tifffile.imread(tmp_path / "back" / name)
        )
    assert tifffile.imread(tmp_path / "whole" / "final.tif").shape[1] < 320
    assert (tmp_path / "whole" / "transforms.json").read_text() == (
        tmp_path / "back" / "transforms.json"
    ).read_text()


def laid_as(rig: Any, first: Any, **over: Any) -> Any:
    return rig.run_job(
        settings=JobSettings(transforms=first.run_id, keep_frames="source"),
        **{"bottom": first.plan.low_um, "top": first.plan.high_um, "step": 20, **over},
    )


def test_a_kept_run_that_was_laid_as_another_is_fused_again_to_the_same_bits(
    studio: Make, large: Scene, tmp_path: Path
) -> None:
    rig = studio(large, sim=DRIFT)
    first = rig.run_job(settings=JobSettings(align="auto"), **STACK)
    second = laid_as(rig, first)
    assert second.status is JobStatus.DONE, second.error
    run = rig.folder(second)
    final = tifffile.imread(run / "final.tif")
    assert final.shape[1] < 320
    np.testing.assert_array_equal(fused_again(run, tmp_path / "again.tif"), final)
    # Also when the other run is gone.
    rig.folder(first).rename(tmp_path / "elsewhere")
    np.testing.assert_array_equal(fused_again(run, tmp_path / "later.tif"), final)


def test_stops_that_the_other_run_has_not_are_left_out_and_not_taken_again(
    studio: Make, large: Scene
) -> None:
    rig = studio(large, sim=DRIFT)
    first = rig.run_job(settings=JobSettings(align="auto"), **STACK)
    second = laid_as(rig, first, top=first.plan.high_um + 100)
    assert second.status is JobStatus.DONE, second.error
    assert second.result["missing"] == [20, 21, 22, 23, 24]
    assert second.retaken == 0


def test_a_run_cannot_be_laid_as_one_of_another_size(studio: Make, large: Scene) -> None:
    rig = studio(large, sim=DRIFT)
    first = rig.run_job(settings=JobSettings(align="auto"), **STACK)
    path = rig.folder(first) / "transforms.json"
    path.write_text(path.read_text().replace('"rows": 240', '"rows": 480'))
    second = laid_as(rig, first)
    assert (second.status, second.code) == (JobStatus.FAILED, "transforms_invalid")
    assert "480" in str(second.error)
    # Heard at the first frame.
    assert second.done < 4


def test_where_frames_lie_can_be_saved_from_a_run_that_was_aligned(
    studio: Make, large: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = studio(large, sim=DRIFT)
    job = rig.run_job(settings=JobSettings(align="auto", keep_frames="source"), **STACK)
    run, lie = rig.folder(job), tmp_path / "lie.json"
    fused_again(run, tmp_path / "again.tif", "--save-transforms", str(lie))
    saved, own = (json.loads(path.read_text()) for path in (lie, run / "transforms.json"))
    assert [row["transform"] for row in saved["frames"]] == [row["transform"] for row in own["frames"]]
    words = [
        "fuse",
        str(run),
        "-o",
        str(tmp_path / "b.tif"),
        "--save-transforms",
        str(run / "transforms.json"),
    ]
    assert cli.main(words) == 2
    assert "the run's own" in capsys.readouterr().err
