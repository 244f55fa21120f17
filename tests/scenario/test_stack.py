"""A whole stack in virtual time, judged by the simulator's truth and never by what the daemon believes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from focusd.job import JobStatus
from focusd.journal import read_journal

Make = Callable[..., Any]


def test_one_stack_from_start_to_files(studio: Make) -> None:
    rig = studio()
    job = rig.run_job(range=380, step=20)
    assert job.status is JobStatus.DONE, job.error
    assert (job.done, job.missing) == (20, ())
    folder = rig.folder(job)
    names = {path.name for path in folder.iterdir()}
    assert names == {"final.tif", "final.jpg", "depth.tif", "journal.jsonl", "run.json"}
    record = json.loads((folder / "run.json").read_text())
    assert len(record["stops"]) == len(record["truth"]["exposures"]) == 20
    kinds = [line["kind"] for line in read_journal(folder / "journal.jsonl")]
    assert kinds == ["accepted", "started", *["stopdone"] * 20, "captured", "finished"]
