"""A series under way: what the job thread is given to do, and what is told of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from focusd.agenda import Agenda
from focusd.app import rail_spec
from focusd.board import Board
from focusd.config import parse_config
from focusd.draft import Drafter
from focusd.errors import RequestError
from focusd.estimate import Estimator, Pace
from focusd.job import Captured, Ended, Finished, Job, JobEvent, JobStatus, Paused, Started, advance
from focusd.journal import Runs
from focusd.link.payloads import JobRef, JobStart, parse
from focusd.orders import AllStop, Order, RigState, RunJob, Wait
from focusd.room import Room
from focusd.series import Place
from focusd.signals import Signals
from focusd_sim.clock import VirtualClock

TABLE: dict[str, Any] = {
    "rig": {"name": "bench1"},
    "rail": {"step_pin": 17, "direction_pin": 27, "enable_pin": 22, "high_um": 25_000},
    "camera": {"kind": "dslr", "release_pin": 24, "frame_size": {"width": 100, "height": 100}},
}
READY = RigState(position_um=5000.0, position_valid=True)
EVERY_MINUTE = {
    "z_plan": {"range": 40, "step": 20},
    "time_plan": {"interval": 60, "loops": 4},
    "job_id": "ours",
}
ROOMY = Room(10**12, 10**12)


@dataclass
class Studio:
    """An agenda with nobody behind it; the test is the job thread."""

    agenda: Agenda
    signals: Signals
    clock: VirtualClock
    orders: list[Order]
    sent: list[tuple[str, Any]]
    room: list[Room]
    ran: list[RunJob] = field(default_factory=list)

    def start(self, **fields: Any) -> dict[str, Any]:
        whole = {**EVERY_MINUTE, **fields}
        return self.agenda.start(parse(JobStart, whole), whole, READY)

    def refer(self, command: str, **named: Any) -> dict[str, Any]:
        return self.agenda.refer(f"job/{command}", parse(JobRef, named))

    def begin(self) -> Job:
        """Begin the order that is out, which must be a stack."""
        (order,) = self.orders
        assert isinstance(order, RunJob), order
        self.ran.append(order)
        return self.tell(order.job, Started(order.job.z_plan.resolve(5000.0)))

    def tell(self, job: Job, *events: JobEvent) -> Job:
        for event in events:
            job = advance(job, event)
            self.agenda.follow(job)
        return job

    def done(self, rig: RigState = READY) -> None:
        self.orders.pop(0)
        self.agenda.order_done(rig)

    def stack(self, takes_s: float = 20.0, end: JobEvent | None = None) -> str:
        """Photograph the stack that is out, well, or so that it ends by `end`; return its run id."""
        job = self.begin()
        self.clock.sleep(takes_s)
        ends = (Captured(), Finished({"width": 5})) if end is None else (end,)
        self.tell(job, *ends)
        self.done()
        return job.run_id

    def wait(self) -> float:
        """Carry out the wait that is out; return the rig time at which it ended."""
        (order,) = self.orders
        assert isinstance(order, Wait), order
        self.clock.sleep(order.until_s - self.clock.now_s())
        self.done()
        return self.clock.now_s()

    def published(self, name: str) -> list[Any]:
        return [value for topic, value in self.sent if topic == f"focusd/bench1/{name}"]

    def events(self, kind: str = "series_") -> list[dict[str, Any]]:
        return [event for event in self.published("event") if event["event_type"].startswith(kind)]

    @property
    def job(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.published("job")[-1]
        return shown


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    config = parse_config(TABLE, "rig.toml")
    orders: list[Order] = []
    sent: list[tuple[str, Any]] = []
    room = [ROOMY]

    class Outbox:
        def publish(self, topic: str, payload: bytes, **_how: Any) -> None:
            sent.append((topic, json.loads(payload)))

    signals, clock = Signals(), VirtualClock()
    estimator = Estimator(rail_spec(config.rail), Pace(), lambda _settings: 0.5)
    drafter = Drafter(config, estimator, lambda: room[0])
    runs = Runs(tmp_path / "runs")
    agenda = Agenda(Board(config, Outbox()), orders.append, signals, drafter, runs, clock, 4)
    return Studio(agenda, signals, clock, orders, sent, room)


FAILS = Ended(JobStatus.FAILED, "no frames", "camera")


def test_stacks_begin_an_interval_apart_however_long_they_take(studio: Studio) -> None:
    answer = studio.start()
    assert answer["series"]["time_s"] == 180 + answer["series"]["stack_s"]
    began_s, ids = [], []
    for takes_s in (20.0, 59.0, 0.5, 3.0):
        began_s.append(studio.clock.now_s())
        ids.append(studio.stack(takes_s))
        if len(ids) < 4:
            studio.wait()
    assert began_s == [0.0, 60.0, 120.0, 180.0]
    assert (studio.orders, studio.agenda.is_busy) == ([], False)
    assert len(set(ids)) == 4
    assert ids[0] == answer["id"]
    places = [order.place for order in studio.ran]
    assert places == [Place(ids[0], loop, 4) for loop in (1, 2, 3, 4)]
    assert studio.events() == [
        {
            "event_type": "series_done",
            "id": ids[0],
            "job_id": "ours",
            "loops": 4,
            "done": 4,
            "failed": 0,
            "skipped": 0,
            "error": None,
            "go_on": None,
        }
    ]
    assert [e["id"] for e in studio.events("job_done")] == ids
    assert [e["id"] for e in studio.events("job_queued")] == ids


def test_homing_before_the_first_stack_does_not_take_from_its_interval(studio: Studio) -> None:
    studio.start()
    studio.clock.sleep(30.0)
    studio.stack(55.0)
    assert studio.wait() == 90.0
    assert not studio.events()


def test_all_stacks_stop_where_the_first_one_did(studio: Studio) -> None:
    studio.start()
    studio.stack()
    studio.wait()
    (order,) = studio.orders
    assert isinstance(order, RunJob)
    first = studio.ran[0].job
    assert first.z_plan.range == 40.0
    assert order.job.z_plan.resolve(5020.0).positions_um == (4980.0, 5000.0, 5020.0)
    assert (order.job.settings, order.job.request) == (first.settings, first.request)
    assert order.job.job_id == "ours"


def test_the_job_topic_tells_the_stack_and_when_the_next_begins(studio: Studio) -> None:
    began = studio.clock.wall()

    def at(seconds: float) -> str:
        return (began + timedelta(seconds=seconds)).isoformat(timespec="seconds")

    first = studio.start()["id"]
    fresh = {"id": first, "loop": 1, "loops": 4, "done": 0, "failed": 0, "skipped": 0, "next_at": None}
    assert (studio.job["status"], studio.job["series"]) == ("queued", fresh)
    job = studio.begin()
    assert (studio.job["status"], studio.job["series"]) == ("running", {**fresh, "next_at": at(60)})
    studio.clock.jump_wall(3600.0)
    studio.tell(job, Captured(), Finished({}))
    assert studio.job["status"] == "done"
    studio.done()
    assert studio.job["id"] != first
    assert studio.job["status"] == "queued"
    # The time of day was set meanwhile; the interval is what it was.
    assert studio.job["series"] == {**fresh, "loop": 2, "done": 1, "next_at": at(3660)}
    assert studio.wait() == 60.0
    for _ in range(2):
        studio.stack()
        studio.wait()
    assert studio.job["series"]["next_at"] is None, "the last one"
    studio.stack()
    assert (studio.job["status"], studio.job["series"]["done"]) == ("done", 3)
    assert [value["status"] for value in studio.published("job")].count("done") == 4


def test_a_job_that_is_none_of_a_series_says_so(studio: Studio) -> None:
    studio.start(time_plan=None)
    assert studio.job["series"] is None
    (order,) = studio.orders
    assert isinstance(order, RunJob)
    assert order.place is None


# Late.


def test_a_stack_that_takes_too_long_has_the_next_begin_at_the_next_multiple(studio: Studio) -> None:
    first = studio.start()["id"]
    studio.stack(130.0)
    assert studio.events() == [
        {"event_type": "series_late", "id": first, "job_id": "ours", "skipped": 2, "first": 2, "last": 3}
    ]
    assert studio.wait() == 180.0
    assert studio.job["series"]["skipped"] == 2
    studio.stack()
    assert studio.ran[-1].place == Place(first, 4, 4)
    end = studio.events()[-1]
    assert (end["event_type"], end["done"], end["skipped"]) == ("series_done", 2, 2)


def test_stacks_that_would_come_after_the_last_one_s_time_are_not_made_up_for(studio: Studio) -> None:
    studio.start()
    studio.stack(1000.0)
    assert studio.orders == []
    assert [event["event_type"] for event in studio.events()] == ["series_late", "series_done"]
    assert len(studio.events("job_queued")) == 1, "none was promised"
    assert not studio.agenda.is_busy


def test_a_hair_s_breadth_is_not_late(studio: Studio) -> None:
    studio.start()
    studio.stack(60.4)
    assert isinstance(studio.orders[0], RunJob)
    assert not studio.events()


# Failing.


def test_a_failed_stack_does_not_end_the_series(studio: Studio) -> None:
    studio.start()
    for end in (FAILS, None, FAILS):
        studio.stack(20.0, end)
        studio.wait()
    studio.stack()
    end = studio.events()[-1]
    assert (end["event_type"], end["done"], end["failed"]) == ("series_done", 2, 2)


def test_two_failed_stacks_in_a_row_do_and_it_is_said_how_to_go_on(studio: Studio) -> None:
    first = studio.start()["id"]
    studio.stack()
    studio.wait()
    studio.stack(20.0, FAILS)
    studio.wait()
    studio.stack(20.0, FAILS)
    assert studio.orders == []
    end = studio.events()[-1]
    assert (end["event_type"], end["id"], end["failed"]) == ("series_failed", first, 2)
    assert end["error"] == "2 stacks in a row failed, the last one so: no frames"
    assert end["go_on"] == {
        "z_plan": {"absolute": [4980.0, 5000.0, 5020.0], "go_up": True},
        "time_plan": {"interval": 60.0, "loops": 2},
    }
    assert (studio.job["status"], studio.job["series"]["next_at"]) == ("failed", None)
    parse(JobStart, end["go_on"])


def test_a_first_stack_whose_test_frame_is_refused_ends_it(studio: Studio) -> None:
    """The stacks after it have no test frame: all of them would be as black."""
    first = studio.start()["id"]
    studio.stack(5.0, Ended(JobStatus.FAILED, "black", "preflight"))
    assert studio.orders == []
    end = studio.events()[-1]
    assert (end["event_type"], end["id"], end["failed"]) == ("series_failed", first, 1)
    assert end["error"] == "the stack ended so: black"
    assert end["go_on"]["time_plan"] == {"interval": 60.0, "loops": 4}, "all of it is left"


def test_a_first_stack_that_cannot_begin_ends_it(studio: Studio) -> None:
    studio.start()
    (order,) = studio.orders
    assert isinstance(order, RunJob)
    studio.tell(order.job, Ended(JobStatus.FAILED, "not homed", "not_homed"))
    studio.done()
    end = studio.events()[-1]
    assert (end["event_type"], end["go_on"]) == ("series_failed", None)
    assert studio.orders == []


def test_a_stack_there_is_no_room_for_counts_as_failed(studio: Studio) -> None:
    studio.start()
    studio.stack()
    studio.room[0] = Room(10**12, 1000)
    studio.wait()
    assert isinstance(studio.orders[0], Wait), "the next one may fit again"
    assert studio.events("job_failed")
    studio.room[0] = ROOMY
    studio.wait()
    studio.stack()
    studio.room[0] = Room(10**12, 1000)
    assert studio.wait() == 180.0
    end = studio.events()[-1]
    assert (end["event_type"], end["done"], end["failed"]) == ("series_done", 2, 2)
    assert not studio.agenda.is_busy


def test_two_stacks_without_room_end_it(studio: Studio) -> None:
    studio.start()
    studio.stack()
    studio.room[0] = Room(10**12, 1000)
    studio.wait()
    studio.wait()
    end = studio.events()[-1]
    assert (end["event_type"], end["go_on"]["time_plan"]["loops"]) == ("series_failed", 2)
    assert "of disk" in end["error"]
    assert (studio.job["status"], studio.agenda.is_busy) == ("failed", False)


def test_a_series_is_refused_where_all_of_it_does_not_fit(studio: Studio) -> None:
    one = studio.start(time_plan=None)
    studio.stack()
    free = 2 * one["disk_bytes"] + 10**9
    studio.room[0] = Room(10**12, free)
    studio.start(job_id=None, time_plan=None)
    studio.stack()
    with pytest.raises(Exception, match="the disk is for 10000 stacks: fewer loops need less") as raised:
        studio.start(job_id=None, time_plan={"interval": 60, "loops": 10_000})
    assert raised.value.values["loops"] == 10_000  # type: ignore[attr-defined]  # a NoRoom
    assert studio.orders == []


# Ended by somebody.


@pytest.mark.parametrize("by", ["nothing", "series", "run", "earlier run", "job_id"])
def test_a_cancel_between_two_stacks_ends_all_of_it(studio: Studio, by: str) -> None:
    first = studio.start()["id"]
    studio.stack()
    studio.wait()
    second = studio.stack()
    coming = studio.job["id"]
    ways = {"series": first, "run": coming, "earlier run": second}
    named = {"id": ways[by]} if by in ways else {"job_id": "ours"} if by == "job_id" else {}
    assert studio.refer("cancel", **named) == {"id": coming, "job_id": "ours", "series": first}
    assert studio.signals.cancel.is_set(), "which ends the wait"
    assert (studio.job["id"], studio.job["status"]) == (coming, "cancelled")
    assert studio.job["series"]["next_at"] is None
    end = studio.events()[-1]
    assert (end["event_type"], end["done"]) == ("series_cancelled", 2)
    assert end["go_on"]["time_plan"]["loops"] == 2
    assert not studio.agenda.is_busy, "whoever asks now comes after the wait, which is over in a moment"
    studio.done()
    assert (studio.orders, studio.agenda.is_busy) == ([], False)
    with pytest.raises(RequestError, match="no such job"):
        studio.refer("cancel")


def test_a_cancel_in_a_stack_ends_that_and_the_series(studio: Studio) -> None:
    studio.start()
    studio.stack()
    studio.wait()
    job = studio.begin()
    studio.refer("cancel")
    assert studio.signals.cancel.is_set()
    assert studio.job["series"]["next_at"] is None
    studio.refer("cancel")  # again, while it has not been heard
    studio.tell(job, Ended(JobStatus.CANCELLED, "enough", "cancelled"))
    studio.done()
    assert studio.orders == []
    kinds = [event["event_type"] for event in studio.events()]
    assert kinds == ["series_cancelled"], "once"
    assert studio.events()[0]["go_on"]["time_plan"]["loops"] == 3, "the stack that was cut short included"
    assert studio.job["status"] == "cancelled"


def test_a_cancel_while_a_picture_is_finished_lets_it_be_finished(studio: Studio) -> None:
    studio.start()
    job = studio.tell(studio.begin(), Captured())
    studio.refer("cancel")
    studio.tell(job, Finished({}))
    studio.done()
    assert (studio.orders, studio.job["status"]) == ([], "done")


def test_another_name_is_not_meant(studio: Studio) -> None:
    studio.start()
    studio.stack()
    for named in ({"id": "20000101-000000-0001"}, {"job_id": "theirs"}):
        with pytest.raises(RequestError, match="no such job"):
            studio.refer("cancel", **named)
    assert isinstance(studio.orders[0], Wait)
    assert not studio.signals.cancel.is_set()


def test_the_next_job_s_signals_are_clear(studio: Studio) -> None:
    studio.start()
    studio.stack()
    studio.start(job_id="after", time_plan=None)
    studio.refer("cancel", job_id="ours")
    studio.done()
    job = studio.begin()
    assert (job.job_id, studio.signals.cancel.is_set()) == ("after", False)
    assert studio.job["series"] is None


@pytest.mark.parametrize(("status", "code"), [("cancelled", "stopped"), ("interrupted", "interrupted")])
@pytest.mark.parametrize("in_a_stack", [False, True])
def test_a_stop_and_the_daemon_s_end_end_it(studio: Studio, status: str, code: str, in_a_stack: bool) -> None:
    studio.start()
    studio.stack()
    job = None
    if in_a_stack:
        studio.wait()
        job = studio.begin()
    studio.agenda.drop(JobStatus(status), "it was pressed", code)
    (end,) = studio.events()
    assert (end["event_type"], end["error"]) == (f"series_{status}", "it was pressed")
    assert end["go_on"]["time_plan"]["loops"] == 3
    studio.agenda.give(AllStop(None))
    if job is not None:
        studio.tell(job, Ended(JobStatus(status), "it was pressed", code))  # type: ignore[arg-type]
    studio.done()
    studio.done()
    assert (studio.orders, studio.agenda.is_busy) == ([], False)
    assert len(studio.events()) == 1
    assert (studio.job["status"], studio.job["error"]["code"]) == (status, code)
    said = studio.published("log")[0]["message"]
    assert "at stack 2 of 4: it was pressed; `go_on` in its event is the request that takes the rest" in said


def test_a_doubted_rail_ends_it(studio: Studio) -> None:
    studio.start()
    job = studio.begin()
    studio.tell(job, Ended(JobStatus.FAILED, "it hit the end", "endstop_hit"))
    studio.done(RigState(state="error", doubted=True))
    assert studio.orders == []
    assert [event["event_type"] for event in studio.events()] == ["series_cancelled"]
    assert "position was lost" in studio.events()[0]["error"]


# Paused.


def test_between_two_stacks_it_can_be_paused(studio: Studio) -> None:
    studio.start()
    studio.stack()
    assert studio.refer("pause")["job_id"] == "ours"
    assert studio.signals.pause.is_set()
    assert (studio.job["status"], studio.job["series"]["next_at"]) == ("paused", None)
    studio.refer("resume")
    assert not studio.signals.pause.is_set()
    assert studio.job["status"] == "queued"
    assert studio.wait() == 60.0
    assert not studio.events()
    studio.stack()


def test_a_stack_s_time_that_passes_in_a_pause_is_skipped(studio: Studio) -> None:
    studio.start()
    studio.stack()
    studio.refer("pause")
    studio.clock.sleep(110.0)  # the job thread waits on: it is 130 s
    studio.refer("resume")
    studio.done()
    (late,) = studio.events()
    assert (late["event_type"], late["skipped"]) == ("series_late", 2)
    assert studio.wait() == 180.0
    studio.stack()
    assert studio.ran[-1].place == Place(studio.ran[0].job.run_id, 4, 4)


def test_a_pause_past_the_last_stack_s_time_ends_it(studio: Studio) -> None:
    studio.start()
    studio.stack()
    coming = studio.job["id"]
    studio.refer("pause")
    studio.clock.sleep(1000.0)
    studio.refer("resume")
    studio.done()
    assert (studio.orders, studio.agenda.is_busy) == ([], False)
    assert (studio.job["id"], studio.job["status"]) == (coming, "cancelled")
    end = studio.events()[-1]
    assert (end["event_type"], end["done"], end["skipped"]) == ("series_done", 1, 3)


def test_a_pause_that_a_stack_does_not_hear_any_more_holds_the_next_one(studio: Studio) -> None:
    studio.start()
    job = studio.tell(studio.begin(), Captured())
    studio.refer("pause")
    studio.tell(job, Finished({}))
    studio.done()
    assert isinstance(studio.orders[0], Wait)
    assert studio.signals.pause.is_set()
    assert studio.job["status"] == "paused"
    studio.refer("resume")
    studio.wait()
    studio.stack()


def test_a_pause_in_a_stack_is_the_stack_s(studio: Studio) -> None:
    studio.start()
    job = studio.begin()
    studio.refer("pause")
    studio.tell(job, Paused())
    assert studio.job["status"] == "paused"
    studio.refer("resume")
    assert not studio.signals.pause.is_set()


# Beside other jobs.


def test_jobs_sent_meanwhile_wait_until_the_series_has_ended(studio: Studio) -> None:
    studio.start(time_plan={"interval": 60, "loops": 2})
    studio.start(job_id="after", time_plan=None)
    studio.stack()
    assert isinstance(studio.orders[0], Wait)
    answer = studio.start(job_id="last", time_plan=None)
    assert answer["ahead"] == 2
    studio.wait()
    studio.stack()
    studio.stack()
    studio.stack()
    assert [order.job.job_id for order in studio.ran] == ["ours", "ours", "after", "last"]


def test_a_series_waits_like_any_job_and_is_cancelled_like_one(studio: Studio) -> None:
    studio.start(job_id="before", time_plan=None)
    waiting = studio.start()["id"]
    studio.begin()
    assert studio.refer("cancel", id=waiting) == {"id": waiting, "job_id": "ours"}
    assert not studio.signals.cancel.is_set()
    studio.done()
    assert studio.orders == []


def test_series_follow_each_other(studio: Studio) -> None:
    studio.start(time_plan={"interval": 60, "loops": 2})
    second = studio.start(job_id="second", time_plan={"interval": 30, "loops": 2})["id"]
    studio.stack()
    studio.wait()
    studio.stack(10.0)
    assert studio.stack(10.0) == second
    assert studio.wait() == 100.0


def test_a_series_started_twice_is_one(studio: Studio) -> None:
    same = {"id": studio.start()["id"], "job_id": "ours", "duplicate": True}
    assert studio.start() == {**same, "status": "queued"}
    studio.stack()
    assert studio.start() == {**same, "status": "queued"}, (
        "by the first run's name, though it is the second's"
    )
    studio.wait()
    studio.begin()
    assert studio.start() == {**same, "status": "running"}
    assert len(studio.orders) == 1
