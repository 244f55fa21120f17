"""A job that asks for slabs: their files appear while the stack runs, and the run's record names them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from focusd.fusion import Fusion
from focusd.job import JobSettings, JobStatus
from focusd.journal import read_journal, replayed
from focusd.orders import Trouble
from focusd.pictures.images import read_image
from focusd.runner import Cancelled

Make = Callable[..., Any]
STACK = {"range": 180, "step": 20}
SETTINGS = JobSettings(slab=4, slab_overlap=1)


def record_of(folder: Path) -> Any:
    return json.loads((folder / "run.json").read_text())


def test_slabs_are_written_while_the_stack_runs(studio: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = studio()
    collect, seen = rig.sim.rig.camera.collect, []

    def look(exposure: Any) -> Any:
        names = sorted(path.name for path in rig.runs.folder.glob("*/slabs/*.tif"))
        seen.append(len(names))
        return collect(exposure)

    monkeypatch.setattr(rig.sim.rig.camera, "collect", look)
    job = rig.run_job(settings=SETTINGS, **STACK)
    folder = rig.folder(job)
    assert job.status is JobStatus.DONE
    # The fuse thread is two frames behind at most.
    assert seen[0] == 0
    assert seen[9] >= 1
    slabs = record_of(folder)["slabs"]
    assert [(slab["first_stop"], slab["last_stop"]) for slab in slabs] == [(0, 3), (3, 6), (6, 9)]
    assert [slab["file"] for slab in slabs] == sorted(path.name for path in (folder / "slabs").iterdir())
    lines = list(read_journal(folder / "journal.jsonl"))
    noted = [
        {k: v for k, v in line.items() if k not in ("kind", "at")} for line in lines if line["kind"] == "slab"
    ]
    assert noted == slabs
    assert replayed(job.run_id, lines).status is JobStatus.DONE


def test_a_slab_tells_its_own_stops_and_the_picture_is_the_same_with_slabs_and_without(studio: Make) -> None:
    stops = {"absolute": tuple(4910.0 + 20 * number for number in range(10))}
    rig = studio()
    plain = rig.folder(rig.run_job(**stops))
    another = studio()  # from the same place, with the same noise
    cut = another.folder(another.run_job(settings=SETTINGS, **stops))
    assert plain != cut
    assert record_of(plain)["slabs"] == []
    assert not (plain / "slabs").exists()
    picture = read_image(cut / "final.tif")
    assert np.array_equal(picture, read_image(plain / "final.tif"))
    slab = record_of(cut)["slabs"][1]
    assert (slab["low_um"], slab["high_um"], slab["frames"]) == (4970.0, 5030.0, 4)
    with tifffile.TiffFile(cut / "slabs" / slab["file"]) as file:
        said = file.pages[0].tags["ImageDescription"].value
        assert file.pages[0].shape == picture.shape
    assert said == "focus stack of 4 frames, step 20 um, z 4970 to 5030 um"


def test_a_cancelled_job_leaves_its_part_slab(studio: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = studio()
    move_to, moves = rig.sim.rig.rail.move_to, []

    def count(*args: Any, **more: Any) -> Any:
        moves.append(args)
        if len(moves) == 7:
            rig.signals.cancel.set()
        return move_to(*args, **more)

    monkeypatch.setattr(rig.sim.rig.rail, "move_to", count)
    job = rig.run_job(settings=SETTINGS, **STACK)
    assert (job.status, job.code) == (JobStatus.CANCELLED, Cancelled.code)
    record = record_of(rig.folder(job))
    slabs = record["slabs"]
    assert [slab["first_stop"] for slab in slabs] == [0, 3]
    assert slabs[-1]["last_stop"] == record["fused"] - 1
    assert slabs[-1]["frames"] == record["fused"] - 3


def test_slabs_that_cannot_be_written_cost_the_job_nothing(
    studio: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = studio()
    open_run = rig.runs.open

    def blocked(run_id: str) -> Path:
        folder: Path = open_run(run_id)
        (folder / "slabs").write_text("in the way")
        return folder

    monkeypatch.setattr(rig.runs, "open", blocked)
    job = rig.run_job(settings=SETTINGS, **STACK)
    assert job.status is JobStatus.DONE
    assert job.result["missing"] == []
    assert (rig.folder(job) / "final.tif").exists()
    troubles = [report.message for report in rig.posted if isinstance(report, Trouble)]
    assert len(troubles) == 1
    assert troubles[0].startswith("no more slabs of this stack are written")
    assert record_of(rig.folder(job))["slabs"] == []


def test_slabs_share_the_noise_of_the_whole(studio: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float | None] = []
    sibling = Fusion.sibling

    def noted(fusion: Fusion) -> Fusion:
        made.append(fusion.sigma)
        return sibling(fusion)

    monkeypatch.setattr(Fusion, "sibling", noted)
    job = studio().run_job(settings=SETTINGS, **STACK)
    assert job.status is JobStatus.DONE
    assert len(made) >= 3
    assert len(set(made)) == 1
    assert made[0] is not None
