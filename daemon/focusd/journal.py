"""The durable record of a run: a folder, an append-only journal in it, and ``run.json``."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from focusd.atomic import write_bytes
from focusd.errors import FocusdError, JournalError

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


def _drop_torn_line(path: Path) -> None:
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)


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
