"""What survives a power cut, and what is said when it does not."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from focusd.errors import JournalError
from focusd.job import (
    Captured,
    Ended,
    Finished,
    Job,
    JobEvent,
    JobSettings,
    JobStatus,
    Paused,
    Resumed,
    Started,
    StopDone,
    advance,
)
from focusd.journal import RUN_ID, Journal, Runs, read_journal, replayed, write_json
from focusd.plan import StackPlan, ZPlan

NOON = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)


def written(path: Path, lines: int) -> Path:
    with closing(Journal(path)) as journal:
        for index in range(lines):
            journal.append("stopdone", NOON, index=index)
    return path


def indices(path: Path) -> list[int]:
    return [line["index"] for line in read_journal(path)]


def test_a_line_says_what_and_when(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "j")) as journal:
        journal.append("ended", NOON, error="Ende, \u00fc\n", code=None)
    text = (tmp_path / "j").read_text(encoding="ascii")
    assert text.endswith("}\n")
    assert text.count("\n") == 1
    assert [*read_journal(tmp_path / "j")] == [
        {"kind": "ended", "at": "2026-11-20T12:00:00.250+00:00", "error": "Ende, \u00fc\n", "code": None}
    ]


def test_an_empty_journal_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "j").touch()
    assert [*read_journal(tmp_path / "j")] == []


def test_a_line_torn_anywhere_is_dropped_and_no_other(tmp_path: Path) -> None:
    whole = written(tmp_path / "j", 3).read_bytes()
    start_of_last = whole.rindex(b"\n", 0, -1) + 1
    for length in range(start_of_last, len(whole) - 1):
        (tmp_path / "torn").write_bytes(whole[:length])
        assert indices(tmp_path / "torn") == [0, 1]


@pytest.mark.parametrize("tail", [b"\0\0\0\0", b"\xff\xfe", b"{", b'{"kind": "x\xc3'])
def test_rubbish_after_the_last_line_is_dropped(tmp_path: Path, tail: bytes) -> None:
    path = written(tmp_path / "j", 2)
    path.write_bytes(path.read_bytes() + tail)
    assert indices(path) == [0, 1]


@pytest.mark.parametrize("damage", [b"{", b"\xff", b"\0\0", b"not json"])
def test_a_damaged_earlier_line_is_an_error_that_names_it(tmp_path: Path, damage: bytes) -> None:
    lines = written(tmp_path / "j", 3).read_bytes().splitlines()
    (tmp_path / "j").write_bytes(b"\n".join([lines[0], damage, lines[2], b""]))
    with pytest.raises(JournalError, match="line 2 is damaged"):
        indices(tmp_path / "j")


def test_a_damaged_last_line_that_was_finished_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "j", 2)
    path.write_bytes(path.read_bytes() + b"rubbish\n")
    with pytest.raises(JournalError, match="line 3"):
        indices(path)


def test_a_journal_taken_up_after_a_power_cut_stays_readable(tmp_path: Path) -> None:
    path = written(tmp_path / "j", 2)
    path.write_bytes(path.read_bytes() + b'{"kind": "stopdo')
    with closing(Journal(path)) as journal:
        journal.append("stopdone", NOON, index=2)
    assert indices(path) == [0, 1, 2]


def test_lines_reach_the_disk_in_batches_or_at_once(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with closing(Journal(path)) as journal:
        for index in range(16):
            journal.append("stopdone", NOON, index=index)
        assert indices(path) == list(range(16))
        journal.append("stopdone", NOON, index=16)
        journal.append("done", NOON, index=17, sync=True)
        assert indices(path) == list(range(18))


def test_closing_twice_is_safe_and_keeps_all(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append("a", NOON, index=0)
    journal.close()
    journal.close()
    assert indices(tmp_path / "j") == [0]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="nowhere"):
        Journal(tmp_path / "nowhere" / "j")


def test_a_journal_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="nowhere"):
        indices(tmp_path / "nowhere")


# A job made again.

PLAN = StackPlan((0.0, 20.0, 40.0), 20.0, 25.0)
RUNNING: list[JobEvent] = [
    Started(StackPlan((5.0, 25.0), 20.0)),
    StopDone(0, eta_s=4.5),
    Paused(),
    Resumed(),
    StopDone(1, missing=True),
]
ENDS: list[list[JobEvent]] = [
    [],
    [Captured()],
    [Captured(), Finished({"width": 3, "missing": [1]})],
    [Ended(JobStatus.FAILED, "why", "camera", {"width": 3})],
    [Ended(JobStatus.INTERRUPTED, "why", "interrupted")],
]


@pytest.mark.parametrize(
    "z_plan",
    [
        ZPlan(range=60.0, step=20.0),
        ZPlan(marks=True, go_up=False),
        ZPlan(relative=(0.0, 3.0)),
        ZPlan(absolute=(1.0,)),
    ],
)
@pytest.mark.parametrize("end", ENDS)
def test_a_journal_gives_the_job_again_at_every_moment(
    tmp_path: Path, z_plan: ZPlan, end: list[JobEvent]
) -> None:
    job = Job("r", z_plan, PLAN, JobSettings(settle_s=2.0, hold="off"), "moth", {"metadata": {"a": [1]}})
    with closing(Journal(tmp_path / "j")) as journal:
        journal.accept(job, NOON)
        assert replayed("r", read_journal(tmp_path / "j")) == job
        for event in [*RUNNING, *end]:
            journal.append("recovering", NOON)
            journal.enter(event, NOON, sync=True)
            job = advance(job, event)
            assert replayed("r", read_journal(tmp_path / "j")) == job


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{"kind": "started", "plan": {"positions_um": [1.0]}}],
        [{"kind": "accepted"}],
        [{"at": "now"}],
        [3],
        [{"kind": "accepted", "z_plan": {}, "plan": {}, "settings": {}, "job_id": None, "request": {}}],
    ],
)
def test_what_is_no_job_s_journal_is_an_error(lines: list[Any]) -> None:
    with pytest.raises(JournalError, match="run r: the journal"):
        replayed("r", lines)


def test_events_that_cannot_follow_are_an_error(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "j")) as journal:
        journal.accept(Job("r", ZPlan(range=60.0, step=20.0), PLAN), NOON)
        journal.enter(StopDone(0), NOON)
    with pytest.raises(JournalError, match="StopDone cannot follow"):
        replayed("r", read_journal(tmp_path / "j"))


# Run ids and folders.


def test_what_a_crash_left_behind_is_found_oldest_first(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    names = [runs.new_id(NOON) for _ in range(5)]
    for name in reversed(names):
        runs.open(name)
    for name in names[1:]:
        (tmp_path / name / "journal.jsonl").touch()
    for name in names[3:]:
        (tmp_path / name / "run.json").touch()
    (tmp_path / names[4] / "fusion.state").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "journal.jsonl").touch()
    # The first never got as far as a journal; the fourth is whole.
    assert [path.name for path in runs.left_behind("fusion.state")] == [names[1], names[2], names[4]]
    assert [path.name for path in runs.left_behind()] == names[1:3]


def test_run_ids_are_made_of_time_and_a_number_that_goes_on(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "data" / "runs")
    assert runs.new_id(NOON) == "20261120-120000-0001"
    assert runs.new_id(NOON) == "20261120-120000-0002"
    assert runs.new_id(NOON - timedelta(days=9000)) == "20020331-120000-0003"  # a Pi that lost its clock


def test_the_number_goes_on_after_a_restart_whatever_else_lies_there(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    for _ in range(3):
        runs.open(runs.new_id(NOON))
    (tmp_path / "20261120-120000-9999.bak").mkdir()
    (tmp_path / "notes").mkdir()
    assert Runs(tmp_path).new_id(NOON) == "20261120-120000-0004"


def test_the_number_wraps_and_stays_a_run_id(tmp_path: Path) -> None:
    (tmp_path / "20261120-120000-9999").mkdir()
    run_id = Runs(tmp_path).new_id(NOON)
    assert run_id == "20261120-120000-0001"
    assert RUN_ID.match(run_id)


def test_a_run_s_folder_is_made_once(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    run_id = runs.new_id(NOON)
    assert runs.open(run_id) == tmp_path / run_id
    assert (tmp_path / run_id).is_dir()
    with pytest.raises(JournalError, match=run_id):
        runs.open(run_id)


@pytest.mark.parametrize("name", ["", "..", "../20261120-120000-0001", "20261120-120000-0001/x", "mine"])
def test_nothing_but_a_run_id_becomes_a_folder(tmp_path: Path, name: str) -> None:
    runs = Runs(tmp_path / "runs")
    with pytest.raises(JournalError, match="not a run id"):
        runs.open(name)
    assert [*(tmp_path / "runs").iterdir()] == []


def test_a_place_that_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(JournalError, match="--data"):
        Runs(tmp_path / "runs")


# Whole files.


def test_json_is_replaced_whole_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for value in ({"a": 1}, {"b": [1.5, None, "\u00b5m"]}):
        write_json(path, value)
        assert json.loads(path.read_text(encoding="utf-8")) == value
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_leaves_no_litter(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    with pytest.raises(JournalError, match=r"run\.json"):
        write_json(tmp_path / "run.json", {"a": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("value", [{"a": object()}, {"a": {1, 2}}])
def test_what_is_no_json_leaves_the_old_file(tmp_path: Path, value: Any) -> None:
    write_json(tmp_path / "run.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "run.json", value)
    assert json.loads((tmp_path / "run.json").read_text()) == {"a": 1}
