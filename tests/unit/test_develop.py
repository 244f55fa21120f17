"""What a crash left open is ended, developed where it can be, and never keeps the daemon from starting."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from focusd import develop
from focusd import easel as easel_module
from focusd.checkpoint import STATE_NAME, Saver, read_state, write_state
from focusd.config import PreviewConfig
from focusd.darkroom import Darkroom
from focusd.easel import FrameFused
from focusd.errors import FocusdError
from focusd.fusion import Fusion
from focusd.fusion.state import FusionState
from focusd.job import Captured, Finished, Job, JobStatus, Started, StopDone
from focusd.journal import Journal, Runs, read_journal
from focusd.orders import JobChanged, Trouble
from focusd.plan import StackPlan, ZPlan
from focusd.rig import Exposure, Frame, Shot
from focusd.worker import Worker
from focusd_sim.clock import VirtualClock

RUN_ID = "20261120-120000-0001"
PRINTS = {
    "final.tif", "final.jpg", "depth.tif", "depth16.tif", "depth.png", "origin.tif", "confidence.tif",
    "reason.tif",
}  # fmt: skip
PLAN = StackPlan(tuple(20.0 * index for index in range(6)), 20.0, 20.0)
ANSWER_S = 10.0


def images(count: int) -> list[Any]:
    rng = np.random.default_rng(4)
    return [rng.integers(0, 255, (40, 48, 3)).astype(np.uint8) for _ in range(count)]


def frame(index: int) -> Frame:
    exposure = Exposure(index, 0.0, 0.1, 0.1, VirtualClock().wall())
    return Frame(str(index), exposure, images(index + 1)[index])


def shot(index: int) -> Shot:
    position_um = PLAN.positions_um[index]
    return Shot(index, 0, position_um, position_um)


def fused(count: int) -> Fusion:
    fusion = Fusion()
    for image, position_um in zip(images(count), PLAN.positions_um, strict=False):
        fusion.add(image, position_um)
    return fusion


class Desk:
    """The daemon's two sides of a recovery, without a rig."""

    def __init__(self, folder: Path) -> None:
        self.runs = Runs(folder / "runs")
        self.posted: list[Any] = []
        self.stop = threading.Event()
        self.darkroom = Darkroom(self.posted.append, PreviewConfig(), 900_000, self.stop)
        self.worker = Worker("fuse", self.darkroom.work, self.posted.append)
        self.worker.start()

    def crashed(self, *, taken: int = 5, saved: int | None = 3, run_id: str = RUN_ID) -> Path:
        """Leave a run as a power cut would: `taken` stops in the journal, `saved` in the state."""
        folder = self.runs.open(run_id)
        job = Job(run_id, ZPlan(range=100.0, step=20.0), PLAN, job_id="moth", request={"z_plan": {}})
        clock = VirtualClock()
        with closing(Journal(folder / "journal.jsonl")) as journal:
            journal.accept(job, clock.wall())
            if taken:
                journal.enter(Started(PLAN), clock.wall())
            for index in range(taken):
                journal.enter(StopDone(index, missing=index == 1), clock.wall())
        if saved is not None:
            about = {"stops": [n for n in range(saved) if n != 1], "spoiled": [[0, 0]]}
            write_state(folder / STATE_NAME, fused(saved).state(), about)
        return folder

    def recover(self, **over: Any) -> None:
        develop.recover(self.runs, self.darkroom, VirtualClock(), self.posted.append, **over)

    @property
    def jobs(self) -> list[Job]:
        return [report.job for report in self.posted if isinstance(report, JobChanged)]

    @property
    def troubles(self) -> list[str]:
        return [report.message for report in self.posted if isinstance(report, Trouble)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.darkroom.close()
    assert made.worker.join(ANSWER_S)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_saved_becomes_the_picture(desk: Desk) -> None:
    folder = desk.crashed()
    (folder / f".{STATE_NAME}.12-34.part").write_bytes(b"torn")
    desk.recover()
    assert names(folder) >= PRINTS | {"journal.jsonl", "run.json"}
    assert not any(name.lstrip(".").startswith(STATE_NAME) for name in names(folder))
    np.testing.assert_array_equal(tifffile.imread(folder / "final.tif")[..., ::-1], fused(3).result().image)
    (job,) = desk.jobs
    assert (job.status, job.code, job.done, job.job_id) == (JobStatus.INTERRUPTED, "interrupted", 5, "moth")
    assert job.result is not None
    assert (job.result["width"], job.result["missing"]) == (48, [0, 1, 3, 4])
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["fused"], record["result"]) == ("interrupted", 3, job.result)
    kinds = [line["kind"] for line in read_journal(folder / "journal.jsonl")]
    assert kinds == ["accepted", "started", *["stopdone"] * 5, "recovering", "ended"]
    assert desk.troubles == []


def test_a_state_of_before_shots_had_numbers_is_understood(desk: Desk) -> None:
    state = desk.crashed() / STATE_NAME
    write_state(state, fused(3).state(), {"stops": [0, 2], "spoiled": [0], "metadata": {}})
    desk.recover()
    result = desk.jobs[-1].result
    assert result is not None and result["missing"] == [0, 1, 3, 4]
    assert desk.troubles == []


def test_it_is_done_once(desk: Desk) -> None:
    folder = desk.crashed()
    desk.recover()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    desk.posted.clear()
    desk.recover()
    assert desk.posted == []
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("taken", [0, 5])
def test_a_run_with_nothing_saved_is_ended(desk: Desk, taken: int) -> None:
    folder = desk.crashed(taken=taken, saved=None)
    desk.recover()
    (job,) = desk.jobs
    assert (job.status, job.result) == (JobStatus.INTERRUPTED, None)
    assert names(folder) == {"journal.jsonl", "run.json"}


@pytest.mark.parametrize("damage", [b"", b"focusd-state", b"\0" * 200])
def test_a_damaged_state_is_kept_aside(desk: Desk, damage: bytes) -> None:
    folder = desk.crashed()
    (folder / STATE_NAME).write_bytes(damage)
    desk.recover()
    assert names(folder) == {"fusion.state.damaged", "journal.jsonl", "run.json"}
    assert (folder / "fusion.state.damaged").read_bytes() == damage
    assert "fusion.state.damaged" in desk.troubles[0]
    assert desk.jobs[0].result is None


def test_a_whole_state_of_another_engine_is_kept_aside(desk: Desk) -> None:
    folder = desk.crashed()
    about = {"stops": [], "spoiled": [], "metadata": {}}
    write_state(folder / STATE_NAME, FusionState({"version": 0}, {}), about)
    desk.recover()
    assert "cannot go on from it" in desk.troubles[0]
    assert (folder / "fusion.state.damaged").exists()
    assert desk.jobs[0].status is JobStatus.INTERRUPTED


def test_a_damaged_journal_is_told_and_left(desk: Desk) -> None:
    broken = desk.crashed()
    (broken / "journal.jsonl").write_bytes(b"rubbish\n" + (broken / "journal.jsonl").read_bytes())
    good = desk.crashed(run_id="20261120-120000-0002")
    desk.recover()
    assert "line 1 is damaged" in desk.troubles[0]
    assert (broken / STATE_NAME).exists()
    assert [job.run_id for job in desk.jobs] == [good.name]


def test_a_state_that_brings_the_daemon_down_does_so_twice_at_most(desk: Desk) -> None:
    folder = desk.crashed()
    with closing(Journal(folder / "journal.jsonl")) as journal:
        for _ in range(2):
            journal.append("recovering", VirtualClock().wall())
    desk.recover()
    assert f"focusd develop {folder}" in (desk.jobs[0].error or "")
    assert desk.jobs[0].result is None
    assert names(folder) == {STATE_NAME, "journal.jsonl", "run.json"}


def test_a_full_disk_leaves_the_state(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any, **_options: Any) -> Any:
        raise FocusdError("the disk is full")

    monkeypatch.setattr(easel_module, "write_prints", full)
    folder = desk.crashed()
    desk.recover()
    assert "focusd develop" in (desk.jobs[0].error or "")
    assert desk.troubles == ["the disk is full"]
    assert (folder / STATE_NAME).exists()


def test_a_state_left_by_a_finished_job_is_cleared(desk: Desk) -> None:
    folder = desk.crashed(taken=6)
    with closing(Journal(folder / "journal.jsonl")) as journal:
        journal.enter(Captured(), VirtualClock().wall())
        journal.enter(Finished({"width": 48}), VirtualClock().wall())
    desk.recover()  # the power went between the journal's last line and the record
    assert desk.jobs[0].status is JobStatus.DONE
    assert names(folder) == {"journal.jsonl", "run.json"}
    write_state(folder / STATE_NAME, fused(1).state())
    desk.recover()  # and between the record and the clearing
    assert len(desk.jobs) == 1
    assert names(folder) == {"journal.jsonl", "run.json"}


def test_the_oldest_comes_first_and_quitting_ends_it(desk: Desk) -> None:
    for number in (2, 1, 3):
        desk.crashed(run_id=f"20261120-120000-000{number}")
    desk.recover(is_quitting=lambda: len(desk.jobs) == 2)
    assert [job.run_id[-1] for job in desk.jobs] == ["1", "2"]


def test_an_emergency_stop_meanwhile_is_heard_and_the_picture_made(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = desk.crashed()
    desk.stop.set()
    heard = threading.Event()
    real = Fusion.of_state

    def slow(state: FusionState) -> Fusion:
        assert heard.wait(ANSWER_S)
        return real(state)

    monkeypatch.setattr(Fusion, "of_state", slow)
    desk.recover(alarm=heard.set)
    assert (folder / "final.tif").exists()


# While a stack runs.


def deliver_all(desk: Desk, saver: Saver, folder: Path, count: int = 5) -> None:
    desk.darkroom.begin(lambda: None, saver)
    for index in range(count):
        desk.darkroom.deliver(shot(index), frame(index))
    desk.darkroom.develop(folder, lambda: None)


class After(Saver):
    """Is due after given numbers of frames."""

    def __init__(self, path: Path, frames: set[int]) -> None:
        super().__init__(path, 1.0)
        self._when = frames
        self._asked = 0

    def is_due(self, nbytes: int) -> bool:
        assert nbytes > 0
        self._asked += 1
        return self._asked in self._when


def test_the_state_is_that_of_the_frames_so_far(desk: Desk, tmp_path: Path) -> None:
    deliver_all(desk, After(tmp_path / "s", {2, 4}), tmp_path)
    saved = read_state(tmp_path / "s")
    assert saved.about == {"stops": [0, 1, 2, 3], "spoiled": [], "metadata": {}}
    again, alone = Fusion.of_state(saved.state).result(), fused(4).result()
    for name in ("image", "depth_um", "confidence", "reason", "origin"):
        np.testing.assert_array_equal(getattr(again, name), getattr(alone, name), err_msg=name)


def test_a_stack_that_cannot_be_saved_goes_on_and_says_so_once(desk: Desk, tmp_path: Path) -> None:
    ticks = iter(range(0, 10**9, 10**6))
    deliver_all(desk, Saver(tmp_path / "nowhere" / "s", 1.0, lambda: float(next(ticks))), tmp_path)
    assert len(desk.troubles) == 1
    assert "would now lose the stack" in desk.troubles[0]
    assert [report.frames for report in desk.posted if isinstance(report, FrameFused)] == [1, 2, 3, 4, 5]


def test_an_emergency_stop_abandons_the_saving(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Fusion.state

    def pressed(self: Fusion) -> FusionState:
        desk.stop.set()
        return real(self)

    monkeypatch.setattr(Fusion, "state", pressed)
    desk.darkroom.begin(lambda: None, After(tmp_path / STATE_NAME, {1}))
    desk.darkroom.deliver(shot(0), frame(0))
    assert desk.darkroom.develop(tmp_path, lambda: None).fused == 1
    assert names(tmp_path) >= PRINTS
    assert not any(STATE_NAME in name for name in names(tmp_path))
    assert desk.troubles == []


# By hand.


def by_hand(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    develop.add_arguments(parser)
    return develop.run(parser.parse_args(arguments))


@pytest.mark.parametrize("source", ["run folder", "state file"])
def test_by_hand(desk: Desk, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = desk.crashed()
    assert by_hand(str(folder if source == "run folder" else folder / STATE_NAME)) == develop.OK
    assert "48x40 px from 3 frames" in capsys.readouterr().out
    np.testing.assert_array_equal(tifffile.imread(folder / "final.tif")[..., ::-1], fused(3).result().image)
    assert (folder / STATE_NAME).exists()


def test_by_hand_into_another_folder(desk: Desk, tmp_path: Path) -> None:
    folder = desk.crashed()
    (tmp_path / "out").mkdir()
    assert by_hand(str(folder), "-o", str(tmp_path / "out")) == develop.OK
    assert names(tmp_path / "out") >= PRINTS
    assert not names(folder) & PRINTS


def no_state(folder: Path) -> list[str]:
    (folder / STATE_NAME).unlink()
    return [str(folder)]


def finished(folder: Path) -> list[str]:
    (folder / "final.tif").touch()
    return [str(folder)]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_state, "check the name"),
        (finished, "--output"),
        (lambda folder: [str(folder), "-o", str(folder / "nowhere")], "make it first"),
        (lambda folder: [str(folder / "journal.jsonl")], "not a saved state"),
    ],
)
def test_by_hand_in_vain(
    desk: Desk, spoil: Callable[[Path], list[str]], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = desk.crashed()
    arguments = spoil(folder)
    before = names(folder)
    assert by_hand(*arguments) == develop.FAILED
    assert said in capsys.readouterr().err
    assert names(folder) == before
