"""The power goes in the middle of a stack: what was saved of it becomes a picture at the next start."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from focusd import photographer
from focusd.checkpoint import STATE_NAME, Saver
from focusd.fusion import Fusion
from focusd.job import Job, JobStatus
from focusd.journal import read_journal
from focusd.orders import Trouble
from focusd.pictures.images import read_frame
from focusd.pictures.samples import to_bgr
from focusd.rig import Shot
from focusd.worker import Worker

Make = Callable[..., Any]
STACK = {"range": 380, "step": 20}
SAVED, TAKEN = 8, 14


class PowerCut(BaseException):
    """Nothing of the daemon hears it."""


class SavesOnce(Saver):
    """Is due after frame `SAVED` alone: how long the disk takes is not under test here."""

    def __init__(self, path: Path, interval_s: float) -> None:
        super().__init__(path, interval_s)
        self._asked = 0

    def is_due(self, nbytes: int) -> bool:
        del nbytes
        self._asked += 1
        return self._asked == SAVED


def start(rig: Any) -> None:
    """Let the job thread's work begin and end at once."""
    rig.photographer.close()
    rig.photographer.work(Worker("job", rig.photographer.work, rig.posted.append))
    rig.alive = False


@pytest.fixture(autouse=True)
def saving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographer, "Saver", SavesOnce)


def cut_short(rig: Any) -> Path:
    """Run a stack until the power goes when frame `TAKEN` comes; return its folder.

    The fuse thread is three frames behind at most by then, so the state has been saved.
    """
    deliver = rig.darkroom.deliver

    def cutting(shot: Shot, frame: Any) -> None:
        if shot.stop_index == TAKEN:
            raise PowerCut
        deliver(shot, frame)

    rig.darkroom.deliver = cutting
    with pytest.raises(PowerCut):
        rig.run_job(**STACK)
    rig.sim.rig.close()
    rig.alive = False
    return rig.folder(rig.jobs[-1])


def test_what_was_saved_becomes_the_picture(studio: Make) -> None:
    rig = studio()
    folder = cut_short(rig)
    inbox = rig.config.data.dir / "inbox"
    frames = [read_frame(path) for path in sorted(inbox.iterdir())[:SAVED]]
    assert not (folder / "run.json").exists()

    again = studio()
    start(again)
    job: Job = again.jobs[-1]
    assert (job.run_id, job.status) == (folder.name, JobStatus.INTERRUPTED)
    assert f"{SAVED} of its frames" in (job.error or "")
    assert job.result is not None
    taken = [line["index"] for line in read_journal(folder / "journal.jsonl") if line["kind"] == "stopdone"]
    assert job.done == len(taken) >= TAKEN - 1
    assert job.result["missing"] == [index for index in taken if index >= SAVED]
    alone = Fusion()
    for position_um, frame in zip(job.plan.positions_um, frames, strict=False):
        alone.add(frame, position_um)
    result = alone.result()
    np.testing.assert_array_equal(tifffile.imread(folder / "final.tif")[..., ::-1], to_bgr(result.image))
    np.testing.assert_array_equal(tifffile.imread(folder / "depth.tif"), result.depth_um)
    assert np.isfinite(result.depth_um).any()
    assert json.loads((folder / "run.json").read_text())["fused"] == SAVED
    assert not (folder / STATE_NAME).exists()

    assert not again.state.position_valid
    assert not again.sim.truth.exposures
    assert again.sim.bench.position_um() == studio().sim.bench.position_um()  # nothing moved by itself


def test_a_torn_state_keeps_nothing_from_starting(studio: Make) -> None:
    folder = cut_short(studio())
    with (folder / STATE_NAME).open("r+b") as file:
        file.truncate(5000)
    again = studio()
    start(again)
    assert again.jobs[-1].status is JobStatus.INTERRUPTED
    assert again.jobs[-1].result is None
    assert any("damaged" in report.message for report in again.posted if isinstance(report, Trouble))
    assert (folder / f"{STATE_NAME}.damaged").stat().st_size == 5000
    assert studio().run_job(**STACK).status is JobStatus.DONE


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_job_that_ends_leaves_no_state(studio: Make, cancelled: bool) -> None:
    rig = studio()
    deliver = rig.darkroom.deliver

    def cancelling(shot: Shot, frame: Any) -> None:
        deliver(shot, frame)
        if shot.stop_index == TAKEN:
            assert (rig.folder(rig.jobs[-1]) / STATE_NAME).exists()
            if cancelled:
                rig.signals.cancel.set()

    rig.darkroom.deliver = cancelling
    job = rig.run_job(**STACK)
    assert job.status is (JobStatus.CANCELLED if cancelled else JobStatus.DONE)
    assert not any(STATE_NAME in path.name for path in rig.folder(job).iterdir())


def test_checkpoint_s_0_saves_nothing(studio: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def counted(path: Path, interval_s: float) -> Saver:
        made.append(path)
        return SavesOnce(path, interval_s)

    monkeypatch.setattr(photographer, "Saver", counted)
    assert studio(data={"checkpoint_s": 0.0}).run_job(**STACK).status is JobStatus.DONE
    assert made == []
    assert studio(data={"checkpoint_s": 1.0}).run_job(**STACK).status is JobStatus.DONE
    assert len(made) == 1
