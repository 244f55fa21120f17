"""The durable record of a run: a folder, an append-only journal in it, and ``run.json``.

A journal's lines are the job's events under the lower-case names of their classes, after a first line
``accepted``; `replayed` makes the job of them again. Lines of other kinds (``recovering``) are no events.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from focusd.atomic import write_bytes
from focusd.errors import FocusdError, JournalError
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
    Retaken,
    Started,
    StopDone,
    advance,
)
from focusd.plan import StackPlan, ZPlan

JOURNAL_NAME, RECORD_NAME = "journal.jsonl", "run.json"
RUN_ID = re.compile(r"^\d{8}-\d{6}-\d{4}$")
_SYNC_LINES = 16
_SYNC_S = 5.0


class Runs:
    """The folder that holds one folder a run.

    Parameters
    ----------
    folder : Path
        Usually ``DIR/runs``; made if absent.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(
                f"{folder}: {error.strerror}; choose another folder with --data or [data] dir"
            ) from error
        self.folder = folder
        self._last = max((int(p.name[-4:]) for p in folder.iterdir() if RUN_ID.match(p.name)), default=0)

    def new_id(self, now: datetime) -> str:
        """Return the next run id, e.g. ``20261120-101500-0001``; the number goes on through the days."""
        self._last = self._last % 9999 + 1
        return f"{now:%Y%m%d-%H%M%S}-{self._last:04d}"

    def open(self, run_id: str) -> Path:
        """Make the folder of a run, which must not exist yet.

        Raises
        ------
        JournalError
            Not a run id of ours, or the folder cannot be made.
        """
        if not RUN_ID.match(run_id):
            raise JournalError(f"'{run_id}' is not a run id (YYYYMMDD-HHMMSS-NNNN)")
        folder = self.folder / run_id
        try:
            folder.mkdir()
        except OSError as error:
            raise JournalError(
                f"{folder}: {error.strerror}; is the disk full, read-only, or the clock set back?"
            ) from error
        return folder

    def left_behind(self, *names: str) -> list[Path]:
        """Return the folders of runs without a record, or with a file of one of `names`; oldest first."""
        folders = sorted(path for path in self.folder.iterdir() if RUN_ID.match(path.name))
        return [
            folder
            for folder in folders
            if ((folder / JOURNAL_NAME).exists() and not (folder / RECORD_NAME).exists())
            or any((folder / name).exists() for name in names)
        ]


class Journal:
    """Append-only JSON lines; a line that was synced survives a power cut.

    Lines are synced in batches bounded in number and time (16 lines, 5 s), and at once where `append` is told
    so: SD cards die of small writes.

    Parameters
    ----------
    path : Path
        Made, or appended to, after a last line that a power cut tore has been dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unsynced = 0
        self._synced_s: float | None = None
        self._lock = threading.Lock()
        try:
            if path.exists():
                _drop_torn_line(path)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}") from error

    def append(self, kind: str, now: datetime, *, sync: bool = False, **facts: Any) -> None:
        """Write one line ``{"kind": ..., "at": ..., facts}``.

        Raises
        ------
        JournalError
            The disk would not take it.
        """
        line = json.dumps({"kind": kind, "at": now.isoformat(timespec="milliseconds"), **facts})
        with self._lock:
            try:
                self._file.write(line + "\n")
                self._unsynced += 1
                now_s = now.timestamp()
                if self._synced_s is None:
                    self._synced_s = now_s
                if sync or self._unsynced >= _SYNC_LINES or now_s - self._synced_s >= _SYNC_S:
                    self._sync()
                    self._synced_s = now_s
            except OSError as error:
                raise JournalError(f"{self._path}: {error.strerror}; is the disk full?") from error

    def accept(self, job: Job, now: datetime) -> None:
        """Write the first line, which is on the disk when this returns: what was asked, and how it was read.

        Raises
        ------
        JournalError
            The disk would not take it.
        """
        asked = {"z_plan": asdict(job.z_plan), "plan": asdict(job.plan), "settings": asdict(job.settings)}
        self.append("accepted", now, sync=True, request=job.request, job_id=job.job_id, **asked)

    def enter(self, event: JobEvent, now: datetime, *, sync: bool = False) -> None:
        """Write an event, so that `replayed` gives the job again.

        Raises
        ------
        JournalError
            The disk would not take it.
        """
        self.append(type(event).__name__.lower(), now, sync=sync, **asdict(event))

    def close(self) -> None:
        """Sync and close; safe to call twice.

        Raises
        ------
        JournalError
            The disk would not take the last lines.
        """
        with self._lock:
            if self._file.closed:
                return
            try:
                try:
                    self._sync()
                finally:
                    self._file.close()
            except OSError as error:
                raise JournalError(f"{self._path}: {error.strerror}; is the disk full?") from error

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._unsynced = 0


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Read the lines of a journal; a torn last line is dropped.

    Raises
    ------
    JournalError
        The file cannot be read, or a line before the last is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from error
    last = len(lines) - 1
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            yield json.loads(line)
        except ValueError as error:
            if number == last:  # no newline after it: the power went while it was written
                return
            raise JournalError(f"{path}: line {number + 1} is damaged: {error}") from error


def replayed(run_id: str, lines: Iterable[dict[str, Any]]) -> Job:
    """Make a job again from its journal.

    Parameters
    ----------
    run_id : str
        The run's.
    lines : iterable of dict
        As `read_journal` gives them.

    Raises
    ------
    JournalError
        The lines are no job's journal.
    """
    job: Job | None = None
    try:
        for line in lines:
            if line["kind"] == "accepted":
                job = Job(
                    run_id,
                    ZPlan(**{key: _tuple(value) for key, value in line["z_plan"].items()}),
                    _plan(line["plan"]),
                    JobSettings(**{key: _tuple(value) for key, value in line["settings"].items()}),
                    line["job_id"],
                    line["request"],
                )
            elif (event := _event(line)) is not None and job is not None:
                job = advance(job, event)
    except (LookupError, TypeError, ValueError, AttributeError, FocusdError) as error:
        raise JournalError(f"run {run_id}: the journal cannot be followed: {error!r}") from error
    if job is None:
        raise JournalError(f"run {run_id}: the journal does not say what was asked")
    return job


def _event(line: dict[str, Any]) -> JobEvent | None:
    facts = {key: value for key, value in line.items() if key not in ("kind", "at")}
    match line["kind"]:
        case "started":
            return Started(_plan(facts["plan"]))
        case "stopdone":
            return StopDone(**facts)
        case "retaken":
            return Retaken(**facts)
        case "paused":
            return Paused()
        case "resumed":
            return Resumed()
        case "captured":
            return Captured()
        case "finished":
            return Finished(**facts)
        case "ended":
            return Ended(**{**facts, "status": JobStatus(facts["status"])})
    return None


def _plan(facts: dict[str, Any]) -> StackPlan:
    return StackPlan(**{key: _tuple(value) for key, value in facts.items()})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _drop_torn_line(path: Path) -> None:
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)


def record_of(job: Job, fused: int) -> dict[str, Any]:
    """Return what every run's record says, however the run ended."""
    return {
        "run_id": job.run_id,
        "job_id": job.job_id,
        "status": job.status.value,
        "error": job.error,
        "request": job.request,
        "plan": asdict(job.plan),
        "settings": asdict(job.settings),
        "fused": fused,
        "retaken": job.retaken,
        "result": job.result,
    }


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all.

    Raises
    ------
    JournalError
        The disk would not take it.
    """
    try:
        write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())
    except FocusdError as error:
        raise JournalError(str(error), **error.values) from error
