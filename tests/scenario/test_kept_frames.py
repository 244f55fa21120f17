"""Runs whose frames are kept, fused once more: the same bits as the run's own picture and depth."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from focusd import cli, negatives
from focusd.frame_index import read_index
from focusd.fusion import Fusion
from focusd.fusion.prefer import Prefer
from focusd.job import JobSettings, JobStatus, KeepFrames
from focusd.pictures.images import read_frame
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_bgr
from focusd.rig import Exposure, Frame
from focusd.room import Room
from focusd.sources import find_sources

Make = Callable[..., Any]
STACK = {"range": 380, "step": 20}
PI_CAMERA = {
    "kind": "picamera2",
    "frame_size": {"width": 160, "height": 120},
    "exposure_s": 0.01,
    "colour_gains": [1.8, 1.6],
}
MAPS = ("depth.tif", "depth16.tif", "origin.tif", "confidence.tif", "reason.tif")


def faults(*kinds: tuple[str, int]) -> dict[str, Any]:
    return {"faults": [{"kind": kind, "at_exposure": at} for kind, at in kinds]}


def fused_again(run: Path, tmp_path: Path, *words: str) -> tuple[np.ndarray[Any, Any], Path]:
    out, maps = tmp_path / "again.tif", tmp_path / "maps"
    assert cli.main(["fuse", str(run), "-o", str(out), "--maps", str(maps), *words]) == 0
    return tifffile.imread(out), maps


def assert_same_bits(run: Path, tmp_path: Path, *words: str) -> None:
    image, maps = fused_again(run, tmp_path, *words)
    np.testing.assert_array_equal(image, tifffile.imread(run / "final.tif"))
    for name in MAPS:
        np.testing.assert_array_equal(tifffile.imread(maps / name), tifffile.imread(run / name))


def spoil(rig: Any, monkeypatch: pytest.MonkeyPatch, at_exposure: int) -> None:
    """Overwrite the middle of a camera's file: it arrives whole, and cannot be decoded."""
    camera = rig.sim.rig.camera
    real = camera.collect

    def collect(exposure: Exposure) -> Frame | None:
        frame = real(exposure)
        if frame is None or exposure.index != at_exposure or frame.encoded is None:
            return frame
        data = bytearray(frame.encoded)
        data[len(data) // 2 : len(data) // 2 + 8] = b"\xff\x02" * 4
        return replace(frame, encoded=bytes(data))

    monkeypatch.setattr(camera, "collect", collect)


def test_a_dslr_s_run_with_a_lost_and_a_spoiled_frame(
    studio: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second tries: one frame is missing, and one is kept though nobody can use it."""
    rig = studio(sim=faults(("lose_frame", 7)), stack={"retries": 0, "preflight": False})
    spoil(rig, monkeypatch, 12)
    job = rig.run_job(settings=JobSettings(keep_frames="source"), **STACK)
    assert job.status is JobStatus.DONE, job.error
    assert job.result is not None and job.result["missing"] == [7, 12]
    run = rig.folder(job)
    assert [kept.shot.stop_index for kept in read_index(run)] == [n for n in range(20) if n != 7]
    assert_same_bits(run, tmp_path)
    assert_same_bits(run, tmp_path, "--jobs", "1")


def test_frames_taken_again_are_fused_in_the_order_they_came(
    studio: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = studio(sim=faults(("lose_frame", 5)), stack={"preflight": False})
    spoil(rig, monkeypatch, 9)
    job = rig.run_job(settings=JobSettings(keep_frames="source"), **STACK)
    assert job.status is JobStatus.DONE, job.error
    assert (job.missing, job.retaken) == ((), 2)
    run = rig.folder(job)
    assert sorted(kept.shot.stop_index for kept in read_index(run)) == [*range(20)]
    assert [kept.retaken for kept in read_index(run) if kept.retaken] == [1]
    assert_same_bits(run, tmp_path)


@pytest.mark.parametrize("settings", [{}, {"prefer": "front", "fusion_mode": "fast", "shots_per_step": 2}])
def test_a_pi_camera_s_run(studio: Make, tmp_path: Path, settings: dict[str, Any]) -> None:
    rig = studio(camera=PI_CAMERA)
    job = rig.run_job(settings=JobSettings(keep_frames="source", **settings), **STACK)
    assert job.status is JobStatus.DONE, job.error
    run = rig.folder(job)
    files = sorted((run / "frames").glob("*.y4m"))
    assert len(files) == 20 * settings.get("shots_per_step", 1)
    assert_same_bits(run, tmp_path)


@pytest.mark.parametrize("kind", ["source", "jpeg"])
def test_a_run_of_raw_files(studio: Make, tmp_path: Path, kind: KeepFrames) -> None:
    """They are kept as they came, either way, and developed by what the run learnt from the first one."""
    pytest.importorskip("rawpy")
    rig = studio(sim={"dslr": {"files": "raw"}}, stack={"preflight": False})
    job = rig.run_job(settings=JobSettings(keep_frames=kind), range=100, step=20)
    assert job.status is JobStatus.DONE, job.error
    run = rig.folder(job)
    assert [kept.file for kept in read_index(run)] == [f"{stop:04d}-00.dng" for stop in range(6)]
    assert tifffile.imread(run / "final.tif").dtype == np.uint16
    assert_same_bits(run, tmp_path)


def test_a_pi_camera_s_frames_as_jpeg_lose_little(studio: Make, tmp_path: Path) -> None:
    rig = studio(camera=PI_CAMERA)
    job = rig.run_job(settings=JobSettings(keep_frames="jpeg"), **STACK)
    assert job.status is JobStatus.DONE, job.error
    run = rig.folder(job)
    files = sorted((run / "frames").glob("*.jpg"))
    assert len(files) == 20
    assert isinstance(read_frame(files[0]), Planes)
    image, _ = fused_again(run, tmp_path)
    error = image.astype(float) - tifffile.imread(run / "final.tif")
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 38


def test_each_frame_is_on_the_disk_before_the_next_exposure(
    studio: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = studio(stack={"preflight": False})
    opened = len(rig.sim.truth.exposures)
    behind: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "frames.jsonl":
            behind.append(rig.sim.truth.next_index - opened)

    monkeypatch.setattr(os, "fsync", fsync)
    rig.run_job(settings=JobSettings(keep_frames="source"), **STACK)
    # As the n-th line is synced, n exposures have been made, and no more; the last sync is the close's.
    assert behind[:20] == [*range(1, 21)]


def test_a_disk_that_fills_ends_the_job_and_not_the_picture(
    studio: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = studio(stack={"preflight": False})
    calls: list[int] = []

    def room(folder: Path) -> Room:
        calls.append(1)
        return Room(disk_bytes=10**12 if len(calls) <= 10 else 200_000_100)

    monkeypatch.setattr(negatives, "read_room", room)
    job = rig.run_job(settings=JobSettings(keep_frames="source"), **STACK)
    assert (job.status, job.code) == (JobStatus.FAILED, "journal")
    assert "0010-00.jpg" in (job.error or "") and "200 MB are free" in (job.error or "")
    assert rig.sim.factory.level(22) is True  # the motor is off
    assert rig.state.position_valid
    run = rig.folder(job)
    assert (run / "final.tif").exists()
    assert len(read_index(run)) == 10
    # The picture of what there was can be made again too.
    assert cli.main(["fuse", str(run)]) == 0
    np.testing.assert_array_equal(tifffile.imread(run / "fused.tif"), tifffile.imread(run / "final.tif"))


def test_a_run_cut_off_by_a_crash_is_fused_by_its_journal(studio: Make, tmp_path: Path) -> None:
    """No record, and a torn last line in the index: all but the last frame, and the settings as they were."""
    rig = studio()
    job = rig.run_job(settings=JobSettings(keep_frames="source", prefer="back"), **STACK)
    run = rig.folder(job)
    (run / "run.json").unlink()
    index = run / "frames" / "frames.jsonl"
    index.write_bytes(index.read_bytes()[:-20])
    fusion = Fusion(prefer=Prefer.over("back", job.plan.positions_um))
    for kept in read_index(run):
        fusion.add(read_frame(run / "frames" / kept.file), kept.shot.position_um)
    assert fusion.frames == 19
    image, _ = fused_again(run, tmp_path)
    np.testing.assert_array_equal(image[..., ::-1], to_bgr(fusion.image()))


@pytest.mark.parametrize("kind", [None, "off"])
def test_frames_are_kept_on_request_only(studio: Make, kind: KeepFrames | None) -> None:
    rig = studio()
    job = rig.run_job(settings=JobSettings(keep_frames=kind), range=40, step=20)
    assert not (rig.folder(job) / "frames").exists()
    assert cli.main(["fuse", str(rig.folder(job))]) == 1


def test_a_release_only_run_is_fused_from_the_card(
    studio: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The simulated camera's card is the folder of an inbox, where nobody waits for its files."""
    rig = studio(camera={"frames": "none"}, sim={"dslr": {"time": "fraction"}})
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE, job.error
    rig.clock.sleep(5.0)  # until the camera has written the last one
    run, card = rig.folder(job), find_sources([tmp_path / "inbox"])
    stops = json.loads((run / "run.json").read_text())["stops"]
    fusion = Fusion()
    for path, stop in zip(card, stops, strict=True):
        fusion.add(read_frame(path), stop["position_um"])
    assert cli.main(["fuse", str(run), str(tmp_path / "inbox")]) == 0
    np.testing.assert_array_equal(tifffile.imread(run / "fused.tif")[..., ::-1], to_bgr(fusion.image()))
    card[4].unlink()
    assert cli.main(["fuse", str(run), str(tmp_path / "inbox")]) == 0
    assert "19 files for 20 shots, matched by their times" in (said := capsys.readouterr().err)
    assert "no file of stop 4\n" in said
