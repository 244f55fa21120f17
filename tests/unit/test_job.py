"""A job's life: every step that is allowed, every other one refused, and the journal tells it again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from focusd.errors import FocusdError
from focusd.job import (
    Captured,
    Ended,
    Finished,
    Job,
    JobEvent,
    JobStatus,
    Paused,
    Resumed,
    Started,
    StopDone,
    advance,
)
from focusd.journal import Journal, read_journal
from focusd.plan import StackPlan, ZPlan

S = JobStatus
PLAN = StackPlan((0.0, 10.0, 20.0), 10.0, 10.0)
QUEUED = Job("20260101-000000-0001", ZPlan(range=20, step=10), PLAN, job_id="mine")
EVENTS: list[JobEvent] = [
    Started(StackPlan((5.0, 15.0), 10.0, 10.0)),
    StopDone(0, False, 1.5),
    Paused(),
    Resumed(),
    Captured(),
    Finished({"width": 3}),
    Ended(S.CANCELLED, "by the client", "cancelled", {"width": 2}),
    Ended(S.FAILED, "no frames", "camera"),
    Ended(S.INTERRUPTED, "the daemon ended", "interrupted"),
]
# (status, event) -> status; every pair that is not here must raise.
ALLOWED = {
    (S.QUEUED, "Started"): S.RUNNING,
    (S.RUNNING, "StopDone"): S.RUNNING,
    (S.PAUSED, "StopDone"): S.PAUSED,
    (S.RUNNING, "Paused"): S.PAUSED,
    (S.PAUSED, "Resumed"): S.RUNNING,
    (S.RUNNING, "Captured"): S.FINISHING,
    (S.FINISHING, "Finished"): S.DONE,
}
OPEN = (S.QUEUED, S.RUNNING, S.PAUSED, S.FINISHING)


def after(status: JobStatus, event: JobEvent) -> JobStatus | None:
    """What the table says; None where the event cannot follow."""
    if isinstance(event, Ended):
        return event.status if status in OPEN else None
    return ALLOWED.get((status, type(event).__name__))


@pytest.mark.parametrize("status", list(S))
@pytest.mark.parametrize("event", EVENTS, ids=lambda e: getattr(e, "status", type(e).__name__))
def test_every_pair_of_status_and_event(status: JobStatus, event: JobEvent) -> None:
    job = replace(QUEUED, status=status)
    expected = after(status, event)
    if expected is not None:
        assert advance(job, event).status == expected
        return
    with pytest.raises(FocusdError, match=f"is {status.value}: {type(event).__name__} cannot follow"):
        advance(job, event)


def test_over_is_over() -> None:
    assert {status for status in S if status.is_over} == set(S) - set(OPEN)


def test_what_each_event_leaves_behind() -> None:
    job = advance(QUEUED, EVENTS[0])
    assert job.plan.positions_um == (5.0, 15.0)
    job = advance(job, StopDone(0, False, 9.0))
    job = advance(job, StopDone(1, True, 4.0))
    assert (job.done, job.missing, job.eta_s) == (2, (1,), 4.0)
    assert advance(job, Paused()).eta_s is None
    failed = advance(job, Ended(S.FAILED, "no frames", "camera", {"width": 2}))
    assert (failed.error, failed.code, failed.result) == ("no frames", "camera", {"width": 2})
    done = advance(advance(job, Captured()), Finished({"width": 3}))
    assert (done.result, done.eta_s, done.error, done.missing) == ({"width": 3}, 0.0, None, (1,))
    assert QUEUED.status == S.QUEUED, "a job is a value: no step may change the one before"


# The journal keeps events as {"kind": name, **fields}: what a reader needs to make them again.
BUILD: dict[str, Callable[..., JobEvent]] = {
    "started": lambda plan: Started(StackPlan(**{**plan, "positions_um": tuple(plan["positions_um"])})),
    "stopdone": StopDone,
    "paused": Paused,
    "resumed": Resumed,
    "captured": Captured,
    "finished": Finished,
    "ended": lambda status, **rest: Ended(JobStatus(status), **rest),
}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_replaying_the_journal_gives_the_same_job(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    job, events = QUEUED, list[JobEvent]()
    for _ in range(data.draw(st.integers(0, 12))):
        possible = [event for event in EVENTS if after(job.status, event) is not None]
        if not possible:
            break
        event = data.draw(st.sampled_from(possible))
        if isinstance(event, StopDone):
            event = StopDone(job.done, data.draw(st.booleans()), data.draw(st.floats(0, 1e6)))
        job = advance(job, event)
        events.append(event)
    with closing(Journal(path)) as journal:
        for event in events:
            journal.append(type(event).__name__.lower(), datetime(2026, 1, 1, tzinfo=UTC), **asdict(event))
    again = QUEUED
    for line in read_journal(path):
        fields: dict[str, Any] = {k: v for k, v in line.items() if k not in ("kind", "at")}
        again = advance(again, BUILD[line["kind"]](**fields))
    assert again == job
