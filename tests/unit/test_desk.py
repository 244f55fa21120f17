"""The front desk: every request gets exactly one response, and a refused one changes nothing."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from focusd.app import rail_spec
from focusd.board import Board
from focusd.config import parse_config
from focusd.desk import Desk
from focusd.draft import Drafter
from focusd.easel import FrameFused, FrameSpoiled, Picture
from focusd.errors import NotHomed, RequestError
from focusd.estimate import Estimator, Pace
from focusd.job import Captured, Ended, Finished, JobStatus, Paused, Resumed, Started, StopDone, advance
from focusd.journal import Runs
from focusd.link.mqtt import Message
from focusd.link.payloads import REQUESTS, UNSUPPORTED
from focusd.orders import (
    AllStop,
    Answered,
    Home,
    JobChanged,
    Jog,
    MarkEnd,
    MoveTo,
    Order,
    OrderDone,
    RigState,
    RunJob,
    Wait,
    Zero,
)
from focusd.room import Room
from focusd.runner import Signals
from focusd_sim.clock import VirtualClock

TABLE: dict[str, Any] = {
    "rig": {"name": "bench1"},
    "rail": {"step_pin": 17, "direction_pin": 27, "enable_pin": 22, "high_um": 25_000},
    "camera": {"kind": "dslr", "release_pin": 24},
    "presets": {"moth": {"z_plan": {"range": 100, "step": 50}}},
}
READY = RigState(position_um=5000.0, position_valid=True)
STACK = {"z_plan": {"range": 40, "step": 20}}


class WatchedEvent(threading.Event):
    """Tells when it is set, among everything else that happens."""

    def __init__(self, happened: list[str]) -> None:
        super().__init__()
        self._happened = happened

    def set(self) -> None:
        self._happened.append("signal")
        super().set()


@dataclass
class Hall:
    """A desk with nobody behind it: what it publishes and orders is kept, in order."""

    desk: Desk
    signals: Signals
    clock: VirtualClock
    drafter: Drafter
    orders: list[Order]
    sent: list[tuple[str, Any, dict[str, Any]]]
    happened: list[str]
    synced: list[bool]
    room: list[Room]

    def send(self, command: str, payload: Any = b"", **more: Any) -> list[dict[str, Any]]:
        """Send a request; return what is answered at once on its response topic."""
        topic = "focusd/bench1/set" if command == "set" else f"focusd/bench1/request/{command}"
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        before = len(self.sent)
        self.desk.receive(Message(topic, raw, **more))
        mine = f"focusd/bench1/response/{command}"
        return [value for topic, value, _ in self.sent[before:] if topic == mine]

    def ask(self, command: str, payload: Any = b"", **more: Any) -> dict[str, Any]:
        (answer,) = self.send(command, payload, **more)
        return answer

    def published(self, name: str) -> list[Any]:
        return [value for topic, value, _ in self.sent if topic == f"focusd/bench1/{name}"]

    def events(self) -> list[str]:
        return [event["event_type"] for event in self.published("event")]

    def finish(self, **data: Any) -> None:
        """Do as the job thread does when it has carried out the oldest order."""
        order = self.orders.pop(0)
        if not isinstance(order, RunJob):
            self.desk.hear(Answered(order.ticket, data))
        self.desk.hear(OrderDone())

    def run(self, until: JobStatus = JobStatus.RUNNING) -> RunJob:
        """Begin the oldest order, a job, as the job thread does."""
        order = self.orders[0]
        assert isinstance(order, RunJob)
        self.desk.hear(JobChanged(advance(order.job, Started(order.job.plan))))
        return order

    def standing(self) -> Any:
        """Everything that a refused request must leave alone."""
        retained = {topic: value for topic, value, how in self.sent if how["retain"]}
        signals = [s.is_set() for s in (self.signals.stop, self.signals.cancel, self.signals.pause)]
        return (
            [*self.orders],
            retained,
            signals,
            self.desk.is_busy,
            self.drafter.effective_settings(),
            self.events(),
        )


def hall(tmp_path: Path, table: dict[str, Any] | None = None, rig: RigState = READY) -> Hall:
    config = parse_config({**TABLE, **(table or {})}, "rig.toml")
    happened: list[str] = []
    orders: list[Order] = []
    sent: list[tuple[str, Any, dict[str, Any]]] = []
    synced = [True]
    room = [Room(10**12, 10**12)]

    class Outbox:
        def publish(self, topic: str, payload: bytes, **how: Any) -> None:
            happened.append(topic)
            value = payload if how.get("content_type") else json.loads(payload)
            sent.append((topic, value, {"retain": False, **how}))

    def submit(order: Order) -> None:
        happened.append(type(order).__name__)
        orders.append(order)

    def extra(fields: dict[str, Any]) -> dict[str, Any]:
        if fields != {"on": True}:
            raise RequestError("sim/fault takes on")
        return {"switched": True}

    signals = Signals(stop=WatchedEvent(happened))
    clock = VirtualClock()
    estimator = Estimator(rail_spec(config.rail), Pace(), lambda _settings: 0.5)
    drafter = Drafter(config, estimator, lambda: room[0])
    desk = Desk(
        config,
        Board(config, Outbox()),
        submit,
        signals,
        drafter,
        Runs(tmp_path / "runs"),
        clock,
        lambda: synced[0],
        {"sim/fault": extra},
    )
    desk.hear(rig)
    return Hall(desk, signals, clock, drafter, orders, sent, happened, synced, room)


@pytest.fixture
def at(tmp_path: Path) -> Hall:
    return hall(tmp_path)


# Every command, well asked.

ORDERS: list[tuple[str, dict[str, Any], type[Any], dict[str, Any]]] = [
    ("home", {}, Home, {}),
    ("zero", {}, Zero, {}),
    ("mark", {"end": "near"}, MarkEnd, {"end": "near"}),
    ("mark", {"end": "far"}, MarkEnd, {"end": "far"}),
    ("move", {"to_um": 5000}, MoveTo, {"to_um": 5000.0}),
    ("move", {"to_um": 0}, MoveTo, {"to_um": 0.0}),
    ("move", {"by_um": -2.5}, Jog, {"by_um": -2.5}),
    ("stop", {}, AllStop, {}),
]
AT_ONCE: list[tuple[str, Any]] = [
    ("identify", {}),
    ("plan", STACK),
    ("plan", b"moth"),
    ("set", {"step_um": 5}),
    ("job/start", STACK),
    ("job/start", b"moth"),
    ("job/start", b'"moth"'),
    ("sim/fault", {"on": True}),
]
NEED_A_JOB = ("job/cancel", "job/pause", "job/resume")


def test_these_are_all_the_commands() -> None:
    asked = {name for name, *_ in ORDERS} | {name for name, _ in AT_ONCE} | {*NEED_A_JOB, *UNSUPPORTED}
    jobs = "job/start job/pause job/resume job/cancel"
    contract = f"{jobs} stop home zero mark move autofocus plan doctor identify set".split()
    assert asked - {"sim/fault"} == set(contract) == {*REQUESTS, *UNSUPPORTED}


@pytest.mark.parametrize(("command", "fields", "kind", "values"), ORDERS)
def test_an_order_is_answered_once_when_it_is_done(
    at: Hall, command: str, fields: dict[str, Any], kind: type[Any], values: dict[str, Any]
) -> None:
    assert at.send(command, {**fields, "transaction": "a1"}) == []
    (order,) = at.orders
    assert type(order) is kind
    assert {name: getattr(order, name) for name in values} == values
    assert at.desk.is_busy
    at.finish(position_um=1.0)
    assert at.published(f"response/{command}") == [
        {"status": "ok", "data": {"position_um": 1.0}, "transaction": "a1"}
    ]
    assert not at.desk.is_busy


@pytest.mark.parametrize(("command", "payload"), AT_ONCE)
def test_what_is_answered_at_once(at: Hall, command: str, payload: Any) -> None:
    if isinstance(payload, dict):
        payload = {**payload, "transaction": "a1"}
    answer = at.ask(command, payload)
    assert answer["status"] == "ok"
    assert answer["transaction"] == ("a1" if isinstance(payload, dict) else None)


@pytest.mark.parametrize("command", NEED_A_JOB)
def test_what_needs_a_job_is_refused_without_one(at: Hall, command: str) -> None:
    assert at.ask(command, {"transaction": "a1"})["code"] == "no_job"


@pytest.mark.parametrize("command", UNSUPPORTED)
def test_what_is_not_built_yet_says_so(at: Hall, command: str) -> None:
    before = at.standing()
    assert at.ask(command, {"transaction": "a1"}) == {
        "status": "error",
        "code": "unsupported",
        "error": f"'{command}' is not built yet; see info.capabilities",
        "data": {},
        "transaction": "a1",
    }
    assert at.standing() == before


def test_a_failed_order_is_answered_with_its_word(at: Hall) -> None:
    at.send("move", {"to_um": 5000, "transaction": "m"})
    order = at.orders[0]
    assert isinstance(order, MoveTo)
    at.desk.hear(Answered(order.ticket, error=NotHomed("lost")))
    (answer,) = at.published("response/move")
    assert (answer["status"], answer["code"], answer["transaction"]) == ("error", "not_homed", "m")


def test_identify_moves_nothing(at: Hall) -> None:
    before = at.standing()
    assert at.ask("identify")["data"]["name"] == "bench1"
    assert at.standing() == before


def test_a_dry_run_says_what_a_start_would_and_does_nothing(at: Hall) -> None:
    before = at.standing()
    foreseen = at.ask("plan", STACK)["data"]
    assert (foreseen["stops"], foreseen["requested_step_um"], foreseen["step_um"]) == (3, 20.0, 20.0)
    assert at.standing() == before
    started = at.ask("job/start", STACK)["data"]
    assert {k: started[k] for k in foreseen} == foreseen


def test_settings_show_in_the_state(at: Hall) -> None:
    answer = at.ask("set", {"step_um": 5, "settle_s": 2})
    assert answer["data"]["step_um"] == 5.0
    assert at.published("state")[-1]["settings"] == answer["data"]


# Every command, badly asked.

GARBAGE: list[tuple[bytes, str]] = [
    (b"{", "bad_request"),
    (b"[]", "bad_request"),
    (b"null", "bad_request"),
    (b"17", "bad_request"),
    (b"\xff\xff", "bad_request"),
    (b'{"nonsense": 1}', "bad_request"),
    (b'{"transaction": 5}', "bad_request"),
    (b'{"a": 1, "a": 2}', "bad_request"),
    (b'{"metadata": NaN}', "bad_request"),
    (b"x" * 70_000, "too_large"),
    (b"[" * 5000, "too_deep"),
    (b'{"expires_at": "2025-12-31T23:59:59Z"%s}', "expired"),
    (b'{"expires_at": "soon"%s}', "bad_request"),
    (b'{"expires_at": "2030-01-01T00:00:00"%s}', "bad_request"),
]
NEEDED = {"mark": b', "end": "near"', "move": b', "by_um": 5', "job/start": b', "preset": "moth"'}
REFUSING = sorted(set(REQUESTS) - {"stop"})


@pytest.mark.parametrize(("payload", "code"), GARBAGE, ids=lambda v: v[:24] if isinstance(v, bytes) else v)
@pytest.mark.parametrize("command", REFUSING)
def test_a_bad_request_is_refused_once_and_changes_nothing(
    at: Hall, command: str, payload: bytes, code: str
) -> None:
    before = at.standing()
    needed = NEEDED.get("job/start" if command == "plan" else command, b"")
    answer = at.ask(command, payload.replace(b"%s", needed))
    assert (answer["status"], answer["code"]) == ("error", code)
    assert answer["error"]
    assert at.standing() == before


@pytest.mark.parametrize("command", [*REFUSING, *UNSUPPORTED, "sim/fault"])
def test_a_retained_request_is_never_carried_out(at: Hall, command: str) -> None:
    before = at.standing()
    needed = NEEDED.get(command, b"")
    answer = at.ask(command, b'{"transaction": "a1"%s}' % needed, retained=True)
    assert (answer["code"], answer["transaction"]) == ("retained", "a1")
    assert at.standing() == before


@pytest.mark.parametrize(
    ("command", "payload"), [(name, fields) for name, fields, *_ in ORDERS[:-1]] + AT_ONCE
)
def test_a_message_that_came_too_late_is_not_carried_out(at: Hall, command: str, payload: Any) -> None:
    before = at.standing()
    answer = at.ask(command, payload, expiry_s=5, received_s=time.monotonic() - 6)
    assert answer["code"] == "expired"
    assert at.standing() == before


def test_a_message_in_time_is_carried_out(at: Hall) -> None:
    at.send("home", expiry_s=500, received_s=time.monotonic())
    assert [type(order) for order in at.orders] == [Home]


@pytest.mark.parametrize("command", REFUSING)
def test_without_a_clock_nothing_can_be_known_to_be_fresh(at: Hall, command: str) -> None:
    at.synced[0] = False
    before = at.standing()
    needed = NEEDED.get("job/start" if command == "plan" else command, b"")
    answer = at.ask(command, b'{"expires_at": "2030-01-01T00:00:00Z"%s}' % needed)
    assert answer["code"] == "clock_unsynced"
    assert at.standing() == before


def test_expiry_is_by_the_rig_s_clock(at: Hall) -> None:
    moment = (at.clock.wall() + timedelta(seconds=10)).isoformat()
    assert at.ask("identify", {"expires_at": moment})["status"] == "ok"
    at.clock.sleep(10.0)
    assert at.ask("identify", {"expires_at": moment})["code"] == "expired"


@pytest.mark.parametrize(
    ("command", "payload", "code"),
    [
        ("job/start", {"z_plan": {"absolute": [99_999]}}, "out_of_travel"),
        ("job/start", {"z_plan": {"range": 20_000, "step": 1}}, "bad_plan"),
        ("job/start", {"z_plan": {"range": 40}}, "bad_plan"),
        ("job/start", b"", "bad_plan"),
        ("job/start", b"gnat", "unknown_preset"),
        ("job/start", {**STACK, "time_plan": {"loops": 2}}, "bad_request"),
        ("job/start", {**STACK, "time_plan": {"interval": 3600, "loops": 0}}, "bad_request"),
        ("job/start", {**STACK, "time_plan": {"interval": 0, "loops": 2}}, "bad_request"),
        ("job/start", {**STACK, "time_plan": {"interval": 2, "loops": 2}}, "bad_plan"),
        ("plan", {**STACK, "time_plan": {"interval": 2, "loops": 2}}, "bad_plan"),
        ("job/start", {**STACK, "lights": ["left"]}, "bad_plan"),
        ("plan", b"gnat", "unknown_preset"),
        ("set", {"preset": "gnat"}, "unknown_preset"),
        ("home", b"moth", "bad_request"),
        ("sim/fault", b"moth", "bad_request"),
        ("sim/fault", {"off": 1}, "bad_request"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    at: Hall, command: str, payload: Any, code: str
) -> None:
    before = at.standing()
    assert at.ask(command, payload)["code"] == code
    assert at.standing() == before


@pytest.mark.parametrize("command", ["jop/start", "homing", "job", "Home", "job/start2"])
def test_an_unknown_command_is_refused_not_ignored(at: Hall, command: str) -> None:
    before = at.standing()
    answer = at.ask(command, {"transaction": "a1"})
    assert (answer["code"], answer["transaction"]) == ("unknown_command", "a1")
    assert at.standing() == before


def test_an_unknown_command_meets_its_neighbour(at: Hall) -> None:
    assert "did you mean 'job/start'?" in at.ask("jop/start")["error"]


@pytest.mark.parametrize("topic", ["focusd/bench2/request/home", "focusd/bench1/state", "x", ""])
def test_what_is_not_ours_is_left_alone(at: Hall, topic: str) -> None:
    before = len(at.sent)
    at.desk.receive(Message(topic, b"{}"))
    assert (len(at.sent), at.orders) == (before, [])


def test_on_a_lost_rail_a_job_is_refused(tmp_path: Path) -> None:
    at = hall(tmp_path, rig=RigState())
    assert at.ask("job/start", STACK)["code"] == "not_homed"
    assert at.orders == []


def test_a_v5_client_is_answered_where_it_listens(at: Hall) -> None:
    at.send("identify", {"transaction": "a1"}, reply_topic="me/1", correlation=b"\x07")
    at.send("home", {"transaction": "a2"}, reply_topic="me/2", correlation=b"\x08")
    at.finish()
    at.send("home", b"{", reply_topic="me/3", correlation=b"\x09")
    told = {
        topic: (value["transaction"], how["correlation"])
        for topic, value, how in at.sent
        if topic[:2] == "me"
    }
    assert told == {"me/1": ("a1", b"\x07"), "me/2": ("a2", b"\x08"), "me/3": (None, b"\x09")}


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    command=st.sampled_from([*REQUESTS, *UNSUPPORTED]),
    payload=st.binary(max_size=60)
    | st.dictionaries(st.text(max_size=6), st.none() | st.floats()).map(json.dumps).map(str.encode),
)
def test_whatever_is_sent_is_answered_once_and_the_desk_lives(
    command: str, payload: bytes, tmp_path: Path
) -> None:
    at = hall(tmp_path)
    at.send(command, payload)
    while at.orders and not isinstance(at.orders[0], RunJob):
        at.finish()
    assert len(at.published(f"response/{command}")) == 1


# The emergency stop.


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"STOP!",
        b"{",
        b"\xff",
        b"x" * 70_000,
        b"[" * 9000,
        b'{"nonsense": NaN}',
        b'{"expires_at": "2000-01-01T00:00:00Z"}',
    ],
)
def test_stop_is_heard_whatever_is_in_it(at: Hall, payload: bytes) -> None:
    for _ in range(2):
        at.send("job/start", STACK)
    at.synced[0] = False
    before = len(at.happened)
    assert at.send("stop", payload) == []
    assert at.happened[before] == "signal", "first the signal, everything else after it"
    assert "AllStop" in at.happened
    assert at.signals.stop.is_set()
    at.finish()
    at.finish(motor="off")
    (answer,) = at.published("response/stop")
    assert answer["status"] == "ok"
    assert "stopped" in at.events()


def test_the_rigs_own_button_does_what_stop_does(at: Hall) -> None:
    at.send("job/start", {**STACK, "job_id": "one"})
    at.send("job/start", {**STACK, "job_id": "two"})
    at.run()
    at.desk.stop_by_button()
    assert at.signals.stop.is_set()
    assert [type(order) for order in at.orders] == [RunJob, AllStop]
    assert at.published("event")[-1] == {"event_type": "stopped", "by": "button"}
    assert "job_cancelled" in at.events()
    assert at.published("response/stop") == [], "nobody asked"


def test_stop_ends_the_jobs_that_wait_and_no_order_comes_between(at: Hall) -> None:
    at.send("job/start", {**STACK, "job_id": "one"})
    at.send("job/start", {**STACK, "job_id": "two"})
    at.run()
    at.send("stop")
    assert [type(order) for order in at.orders] == [RunJob, AllStop]
    cancelled = [e for e in at.published("event") if e["event_type"] == "job_cancelled"]
    assert [event["job_id"] for event in cancelled] == ["two"]
    assert at.ask("move", {"by_um": 5})["code"] == "busy"


def test_the_rig_is_busy_until_the_stop_itself_is_done(at: Hall) -> None:
    """Two orders are out: the one that was stopped, and the stop. One report of an end is not two."""
    at.send("home")
    at.send("stop")
    at.finish()
    assert at.desk.is_busy
    assert at.ask("zero")["code"] == "busy"
    at.finish()
    assert not at.desk.is_busy


def test_a_job_after_a_stop_keeps_its_signals(at: Hall) -> None:
    """The end of an earlier order must not start the next job over the one that runs."""
    at.send("home")
    at.send("stop")
    at.finish()
    at.send("job/start", {**STACK, "job_id": "one"})
    at.finish()
    order = at.run()
    at.send("job/pause")
    at.send("job/start", {**STACK, "job_id": "two"})
    assert at.orders == [order]
    assert at.signals.pause.is_set()


# Jobs.


def test_a_job_goes_to_the_rig_and_its_life_is_told(at: Hall) -> None:
    answer = at.ask("job/start", {**STACK, "job_id": "mine", "metadata": {"who": "me"}})
    (order,) = at.orders
    assert isinstance(order, RunJob)
    job = order.job
    assert (job.run_id, job.job_id) == (answer["data"]["id"], "mine")
    assert job.request["metadata"] == {"who": "me"}
    assert at.published("job")[-1]["status"] == "queued"
    for event in (Started(job.plan), Paused(), Resumed(), StopDone(0), StopDone(1, True), Captured()):
        job = advance(job, event)
        at.desk.hear(JobChanged(job))
        assert at.published("job")[-1]["status"] == job.status.value
    job = advance(job, Finished({"width": 5, "missing": [1]}))
    at.desk.hear(JobChanged(job))
    at.desk.hear(OrderDone())
    assert at.events() == [
        "job_queued",
        "job_started",
        "job_paused",
        "job_resumed",
        "frame_missing",
        "job_finishing",
        "job_done",
    ]
    assert at.published("event")[4]["stop"] == 1
    assert all(e["job_id"] == "mine" and e["id"] == job.run_id for e in at.published("event"))
    assert at.published("job")[-1]["result"] == {"width": 5, "missing": [1]}
    assert not at.desk.is_busy


def test_a_failed_job_says_why(at: Hall) -> None:
    at.send("job/start", STACK)
    order = at.run()
    failed = advance(
        advance(order.job, Started(order.job.plan)), Ended(JobStatus.FAILED, "no frames", "camera")
    )
    at.desk.hear(JobChanged(failed))
    assert at.events()[-1] == "job_failed"
    assert at.published("event")[-1]["error"] == "no frames"
    assert at.published("job")[-1]["error"] == {"code": "camera", "message": "no frames"}


def test_a_job_id_starts_one_job_however_often_it_comes(at: Hall) -> None:
    first = at.ask("job/start", {**STACK, "job_id": "mine", "transaction": "a"})
    before = at.standing()
    again = at.ask("job/start", {**STACK, "job_id": "mine", "transaction": "b"})
    assert (again["status"], again["transaction"]) == ("ok", "b")
    same = {"id": first["data"]["id"], "job_id": "mine"}
    assert again["data"] == {**same, "duplicate": True, "status": "queued"}
    assert at.standing() == before
    at.finish()
    assert at.ask("job/start", {**STACK, "job_id": "mine"})["data"]["duplicate"]
    assert at.orders == []


def test_a_refused_start_does_not_use_up_its_job_id(at: Hall) -> None:
    assert at.ask("job/start", {"z_plan": {"absolute": [99_999]}, "job_id": "mine"})["status"] == "error"
    assert "duplicate" not in at.ask("job/start", {**STACK, "job_id": "mine"})["data"]


def test_starts_without_a_job_id_are_different_jobs(at: Hall) -> None:
    ids = {at.ask("job/start", STACK)["data"]["id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("limit", [0, 1, 4])
def test_the_queue_is_bounded(tmp_path: Path, limit: int) -> None:
    at = hall(tmp_path, {"mqtt": {"queue_limit": limit}})
    answers = [at.ask("job/start", STACK) for _ in range(limit + 1)]
    assert [answer["data"]["ahead"] for answer in answers] == list(range(limit + 1))
    before = at.standing()
    assert at.ask("job/start", {**STACK, "job_id": "late"})["code"] == "busy"
    assert at.standing() == before
    assert len(at.orders) == 1, "one at a time goes to the rig"
    at.finish()
    assert at.ask("job/start", {**STACK, "job_id": "late"})["status"] == "ok"


def test_waiting_jobs_run_in_order(at: Hall) -> None:
    ids = [at.ask("job/start", STACK)["data"]["id"] for _ in range(3)]
    ran = []
    while at.orders:
        order = at.orders[0]
        assert isinstance(order, RunJob)
        ran.append(order.job.run_id)
        at.finish()
    assert ran == ids
    assert not at.desk.is_busy


@pytest.mark.parametrize("command", ["home", "zero", "mark", "move"])
def test_the_rig_is_not_moved_under_a_job(at: Hall, command: str) -> None:
    at.send("job/start", STACK)
    before = at.standing()
    payload = {"mark": {"end": "near"}, "move": {"by_um": 5}}.get(command, {})
    assert at.ask(command, payload)["code"] == "busy"
    assert at.standing() == before


@pytest.mark.parametrize("by", ["id", "job_id"])
def test_a_waiting_job_is_cancelled_by_name(at: Hall, by: str) -> None:
    at.send("job/start", {**STACK, "job_id": "one"})
    at.run()
    ids = [at.ask("job/start", {**STACK, "job_id": name})["data"]["id"] for name in ("two", "three")]
    answer = at.ask("job/cancel", {by: ids[0] if by == "id" else "two"})
    assert answer["data"] == {"id": ids[0], "job_id": "two"}
    assert not at.signals.cancel.is_set(), "the running job goes on"
    assert at.published("event")[-1] == {
        "event_type": "job_cancelled",
        "id": ids[0],
        "job_id": "two",
        "error": "cancelled before it began",
    }
    assert at.published("job")[-1]["job_id"] == "one"
    at.finish()
    (order,) = at.orders
    assert isinstance(order, RunJob)
    assert order.job.run_id == ids[1]


@pytest.mark.parametrize("named", [{}, {"job_id": "mine"}])
def test_the_running_job_is_cancelled_paused_and_resumed(at: Hall, named: dict[str, Any]) -> None:
    at.send("job/start", {**STACK, "job_id": "mine"})
    at.run()
    for command, paused in (("job/pause", True), ("job/resume", False), ("job/pause", True)):
        assert at.ask(command, named)["status"] == "ok"
        assert at.signals.pause.is_set() is paused
    assert at.ask("job/cancel", named)["data"]["job_id"] == "mine"
    assert at.signals.cancel.is_set()
    assert not at.signals.stop.is_set()


@pytest.mark.parametrize("named", [{}, {"job_id": "mine"}])
def test_a_job_can_be_cancelled_while_the_rig_is_still_homing_for_it(at: Hall, named: dict[str, Any]) -> None:
    at.send("job/start", {**STACK, "job_id": "mine"})
    at.desk.hear(replace(READY, state="homing", position_valid=False))
    assert at.ask("job/cancel", named)["status"] == "ok"
    assert at.signals.cancel.is_set()


@pytest.mark.parametrize("named", [{"job_id": "other"}, {"id": "20000101-000000-0001"}])
@pytest.mark.parametrize("command", NEED_A_JOB)
def test_another_job_is_not_meant(at: Hall, command: str, named: dict[str, Any]) -> None:
    at.send("job/start", {**STACK, "job_id": "mine"})
    at.run()
    before = at.standing()
    assert at.ask(command, named)["code"] == "no_job"
    assert at.standing() == before


def test_a_job_that_is_over_cannot_be_cancelled(at: Hall) -> None:
    at.send("job/start", STACK)
    order = at.run()
    running = advance(order.job, Started(order.job.plan))
    at.desk.hear(JobChanged(advance(running, Ended(JobStatus.FAILED, "x", "x"))))
    at.finish()
    assert at.ask("job/cancel")["code"] == "no_job"


def test_a_cancel_does_not_reach_the_next_job(at: Hall) -> None:
    at.send("job/start", STACK)
    at.run()
    at.send("job/start", STACK)
    at.send("job/cancel")
    at.send("job/pause")
    at.finish()
    assert not at.signals.cancel.is_set()
    assert not at.signals.pause.is_set()


def test_the_end_of_the_daemon_interrupts_what_waits(at: Hall) -> None:
    at.send("job/start", STACK)
    at.run()
    at.send("job/start", {**STACK, "job_id": "two"})
    at.desk.interrupt("the daemon ended")
    assert at.events()[-1] == "job_interrupted"
    at.finish()
    assert at.orders == []


# Series; test_lapse has what becomes of them.

EVERY_HOUR = {**STACK, "time_plan": {"interval": 3600, "loops": 3}, "job_id": "mine"}


def done(order: Order) -> list[JobChanged]:
    """What the job thread says of a stack that ends well."""
    assert isinstance(order, RunJob)
    job, said = order.job, []
    for event in (Started(order.job.plan), Captured(), Finished({})):
        job = advance(job, event)
        said.append(JobChanged(job))
    return said


def test_a_dry_run_of_a_series_says_what_all_of_it_takes(at: Hall) -> None:
    before = at.standing()
    foreseen = at.ask("plan", EVERY_HOUR)["data"]
    assert (foreseen["series"]["loops"], foreseen["series"]["interval"]) == (3, 3600.0)
    assert foreseen["series"]["time_s"] == 7200 + foreseen["series"]["stack_s"]
    assert at.standing() == before
    started = at.ask("job/start", EVERY_HOUR)["data"]
    assert {k: started[k] for k in foreseen} == foreseen


def test_a_series_has_the_rig_until_it_ends(at: Hall) -> None:
    first = at.ask("job/start", EVERY_HOUR)["data"]["id"]
    for report in done(at.orders[0]):
        at.desk.hear(report)
    at.finish()
    assert [type(order) for order in at.orders] == [Wait]
    refused = at.ask("home")
    assert (refused["code"], f"series {first}, between two stacks" in refused["error"]) == ("busy", True)
    assert at.ask("job/pause")["data"]["series"] == first
    assert at.ask("job/resume")["data"]["series"] == first
    assert at.ask("job/cancel", {"id": first})["data"]["series"] == first
    assert at.events()[-1] == "series_cancelled"
    assert at.send("home") == []
    assert [type(order) for order in at.orders] == [Wait, Home]
    assert at.ask("home")["code"] == "busy"
    at.orders.pop(0)
    at.desk.hear(OrderDone())
    assert at.ask("home")["code"] == "busy"
    at.finish()
    assert not at.desk.is_busy


def test_the_emergency_stop_ends_a_series_that_waits(at: Hall) -> None:
    at.send("job/start", EVERY_HOUR)
    for report in done(at.orders[0]):
        at.desk.hear(report)
    at.finish()
    before = len(at.happened)
    at.send("stop")
    assert at.happened[before] == "signal"
    assert [type(order) for order in at.orders] == [Wait, AllStop]
    at.desk.hear(OrderDone())
    at.desk.hear(replace(READY, position_valid=False, doubted=True))
    at.orders.pop(0)
    at.finish(motor="off")
    assert (at.orders, at.desk.is_busy) == ([], False)
    assert at.events().count("series_cancelled") == 1


# What the other threads report.


def test_everything_retained_is_announced(at: Hall) -> None:
    at.sent.clear()
    at.desk.announce()
    assert {topic for topic, _, how in at.sent if how["retain"]} == {
        f"focusd/bench1/{name}" for name in ("availability", "info", "state", "job")
    }


def test_reports_become_messages(at: Hall) -> None:
    at.desk.hear(replace(READY, state="moving"))
    assert at.published("state")[-1]["state"] == "moving"
    at.desk.hear(Picture("preview", b"jpeg"))
    assert at.published("image/preview") == [b"jpeg"]
    at.desk.hear(FrameSpoiled(7, "DSC_0007.JPG", "its size differs"))
    assert at.published("event")[-1]["stop"] == 7
    at.send("job/start", STACK)
    at.run()
    at.desk.hear(FrameFused(0, 1))
    at.desk.publish_metrics()
    assert at.published("metrics")[-1]["fused"] == 1


def test_a_job_id_does_not_serve_twice(at: Hall) -> None:
    """The same request again is a redelivery; another one under the old id would silently not be run."""
    at.send("job/start", {**STACK, "job_id": "mine"})
    answer = at.ask("job/start", {"z_plan": {"range": 10, "step": 5}, "job_id": "mine"})
    assert (answer["status"], answer["code"]) == ("error", "job_id_used")


# What does not fit.

SIZED = {"camera": {**TABLE["camera"], "frame_size": {"width": 4000, "height": 3000}}}


def test_a_job_that_does_not_fit_is_refused_with_the_figures_and_changes_nothing(tmp_path: Path) -> None:
    at = hall(tmp_path, SIZED)
    needed = at.ask("plan", STACK)["data"]["memory_bytes"]
    at.room[0] = Room(180_000_000, 10**12)
    before = at.standing()
    answer = at.ask("job/start", {**STACK, "job_id": "mine"})
    assert (answer["status"], answer["code"]) == ("error", "no_room")
    assert answer["data"] == {"memory_bytes": needed, "memory_free_bytes": 180_000_000}
    assert f"needs {needed / 1e6:.0f} MB of memory, 180 MB are free" in answer["error"]
    assert at.standing() == before
    # The dry run says so, and is no refusal.
    foreseen = at.ask("plan", STACK)
    assert foreseen["status"] == "ok"
    assert foreseen["data"]["warnings"] == [answer["error"].split("the job ")[1].split(": use")[0]]
    # Its name is still to be had.
    at.room[0] = Room(10**12, 10**12)
    assert "duplicate" not in at.ask("job/start", {**STACK, "job_id": "mine"})["data"]


def test_a_job_that_no_longer_fits_when_its_turn_comes_ends_before_anything_moves(tmp_path: Path) -> None:
    at = hall(tmp_path, SIZED)
    for name in ("first", "second", "third"):
        at.ask("job/start", {**STACK, "job_id": name})
    running = at.run().job
    at.room[0] = Room(10**12, 1000)
    ended = advance(
        advance(running, Started(running.plan)), Ended(JobStatus.CANCELLED, "enough", "cancelled")
    )
    at.desk.hear(JobChanged(ended))
    at.finish()
    assert at.orders == []
    assert not at.desk.is_busy
    assert at.events().count("job_failed") == 2
    assert (at.published("job")[-1]["status"], at.published("job")[-1]["job_id"]) == ("failed", "third")
    assert "of disk, 0 MB are free" in at.published("event")[-1]["error"]
    at.room[0] = Room(10**12, 10**12)
    at.ask("job/start", {**STACK, "job_id": "fourth"})
    (order,) = at.orders
    assert isinstance(order, RunJob)
    assert order.job.job_id == "fourth"
