"""What the rig shows of itself: the contract's topics, fields, QoS and retain flags."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from focusd.board import PROTOCOL_VERSION, Board, listed
from focusd.config import parse_config
from focusd.easel import Picture
from focusd.errors import NotHomed, OutOfTravel, RequestError
from focusd.job import Job, JobStatus
from focusd.link.payloads import REQUESTS, UNSUPPORTED
from focusd.orders import Answered, RigState, Ticket
from focusd.plan import StackPlan, ZPlan
from focusd.series import Series, TimePlan

TABLE: dict[str, Any] = {
    "rig": {"name": "bench1"},
    "rail": {"step_pin": 17, "direction_pin": 27, "enable_pin": 22, "high_um": 25_000},
    "camera": {"kind": "dslr", "release_pin": 24},
    "presets": {"wing": {}, "moth": {"z_plan": {"range": 300, "step": 30}}},
}
JOB = Job(
    "20261120-101500-0001",
    ZPlan(range=20, step=10),
    StackPlan((0.0, 10.0, 20.0), 10.0, 10.0),
    job_id="mine",
    status=JobStatus.RUNNING,
    done=1,
    eta_s=12.345,
)


@dataclass(frozen=True)
class Sent:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    content_type: str | None
    correlation: bytes | None

    @property
    def json(self) -> Any:
        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is no JSON")

        return json.loads(self.payload, parse_constant=refuse)


@dataclass
class Outbox:
    """Keeps what is published."""

    sent: list[Sent] = field(default_factory=list)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        lasting: bool = False,
        content_type: str | None = None,
        correlation: bytes | None = None,
    ) -> None:
        self.sent.append(Sent(topic, payload, qos, retain, content_type, correlation))

    def only(self, name: str) -> Sent:
        (sent,) = [s for s in self.sent if s.topic == f"focusd/bench1/{name}"]
        return sent


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def board(outbox: Outbox) -> Board:
    return Board(parse_config(TABLE, "rig.toml"), outbox)


def test_the_announcement(board: Board, outbox: Outbox) -> None:
    board.announce()
    assert outbox.only("availability").json == {"state": "online"}
    info = outbox.only("info").json
    assert (info["name"], info["protocol"]) == ("bench1", PROTOCOL_VERSION)
    assert set(info["capabilities"]) == set(REQUESTS) == set(info["schemas"])
    assert not set(info["capabilities"]) & set(UNSUPPORTED)
    assert list(info["presets"]) == ["moth", "wing"]
    assert info["presets"]["moth"] == {"z_plan": {"range": 300, "step": 30}}
    assert all(schema["additionalProperties"] is False for schema in info["schemas"].values())
    assert all((sent.qos, sent.retain) == (1, True) for sent in outbox.sent)
    # AWS IoT, the smallest broker of the contract's table, takes 128 KB.
    assert len(outbox.only("info").payload) < 128_000


def test_state(board: Board, outbox: Outbox) -> None:
    rig = RigState("error", 12.5, False, "rail: it hit the end", {"near": 3.0}, True, 0.001)
    board.show_rig(rig, {"step_um": 5.0})
    sent = outbox.only("state")
    assert sent.json == {
        "state": "error",
        "position_um": 12.5,
        "position_valid": False,
        "fault": "rail: it hit the end",
        "settings": {"step_um": 5.0},
        "marks_um": {"near": 3.0},
    }
    assert (sent.qos, sent.retain) == (1, True)


def test_a_running_job(board: Board, outbox: Outbox) -> None:
    board.show_job(JOB)
    sent = outbox.only("job")
    assert sent.json == {
        "id": "20261120-101500-0001",
        "job_id": "mine",
        "status": "running",
        "progress": {"done": 1, "total": 3, "percent": 33.3},
        "eta_s": 12.3,
        "result": None,
        "error": None,
        "series": None,
    }
    assert (sent.qos, sent.retain) == (1, True)


def test_a_stack_of_a_series_and_when_the_next_begins(board: Board, outbox: Outbox) -> None:
    series = Series(TimePlan(60.0, 5), ("20261120-101500-0001",), loop=3, done=1, skipped=1)
    board.show_job(JOB, series, datetime(2026, 11, 20, 10, 17, 0, 250_000, tzinfo=UTC))
    assert outbox.sent[0].json["series"] == {
        "id": "20261120-101500-0001",
        "loop": 3,
        "loops": 5,
        "done": 1,
        "failed": 0,
        "skipped": 1,
        "next_at": "2026-11-20T10:17:00+00:00",
    }
    board.show_job(replace(JOB, status=JobStatus.QUEUED), series.held(paused=True), None)
    assert outbox.sent[1].json["status"] == "paused"
    assert outbox.sent[1].json["series"]["next_at"] is None
    board.show_job(JOB, replace(series, loop=6), None)
    assert outbox.sent[2].json["series"]["loop"] == 5, "when it is over there is no sixth"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"settle_s": 2.5}, {"settle_s": 2.5}),
        ({"metadata": {"since": date(2026, 1, 31)}}, {"metadata": {"since": "2026-01-31"}}),
        ({"z_plan": {"relative": list(range(200))}}, None),
    ],
)
def test_presets_as_they_are_listed(fields: dict[str, Any], shown: dict[str, Any] | None) -> None:
    assert listed({"moth": fields}) == {"moth": shown}


def test_with_as_many_presets_as_there_may_be_info_goes_through_the_smallest_broker(outbox: Outbox) -> None:
    presets = {f"preset-{n}-{'x' * 50}": {"metadata": {"about": "x" * 470}} for n in range(100)}
    Board(parse_config({**TABLE, "presets": presets}, "rig.toml"), outbox).announce()
    assert None not in outbox.only("info").json["presets"].values()
    assert len(outbox.only("info").payload) < 120_000


def test_a_failed_job_and_none(board: Board, outbox: Outbox) -> None:
    board.show_job(replace(JOB, status=JobStatus.FAILED, error="no frames", code="camera", eta_s=None))
    assert outbox.sent[0].json["error"] == {"code": "camera", "message": "no frames"}
    board.show_job(None)
    assert outbox.sent[1].json == {"id": None, "job_id": None, "status": None}


@pytest.mark.parametrize("job", [None, JOB, replace(JOB, eta_s=None, missing=(0,))])
def test_metrics_are_flat_numbers(board: Board, outbox: Outbox, job: Job | None) -> None:
    board.show_numbers(RigState(position_um=7.5, worst_late_s=0.0012), job, 4, 2)
    sent = outbox.only("metrics")
    numbers = sent.json
    assert all(type(value) in (int, float) for value in numbers.values())
    assert (numbers["position_um"], numbers["worst_step_late_ms"], numbers["queued"]) == (7.5, 1.2, 2)
    if job is not None:
        assert (numbers["done"], numbers["fused"], numbers["missing"]) == (1, 4, len(job.missing))
    assert (sent.qos, sent.retain) == (0, False)


@pytest.mark.parametrize(("kind", "retain"), [("preview", False), ("final", True), ("depth", True)])
def test_pictures_are_raw_and_outside_qos_1(board: Board, outbox: Outbox, kind: str, retain: bool) -> None:
    board.show_picture(Picture(kind, b"\xff\xd8..."))
    sent = outbox.only(f"image/{kind}")
    assert (sent.payload, sent.content_type) == (b"\xff\xd8...", "image/jpeg")
    assert (sent.qos, sent.retain) == (0, retain)


def test_events_and_words(board: Board, outbox: Outbox) -> None:
    board.event("job_done", job_id="mine", error=None)
    board.say("warning", "stop 3: lost")
    event, words = outbox.only("event"), outbox.only("log")
    assert event.json == {"event_type": "job_done", "job_id": "mine", "error": None}
    assert (event.qos, event.retain) == (1, False)
    assert words.json == {"level": "warning", "message": "stop 3: lost"}
    assert (words.qos, words.retain) == (0, False)


def test_an_answer(board: Board, outbox: Outbox) -> None:
    board.answer(Answered(Ticket("job/start", "a1"), {"id": "x"}))
    (sent,) = outbox.sent
    assert sent.topic == "focusd/bench1/response/job/start"
    assert sent.json == {"status": "ok", "data": {"id": "x"}, "transaction": "a1"}
    assert (sent.qos, sent.retain, sent.correlation) == (1, False, None)


def test_a_v5_client_is_answered_twice_over(board: Board, outbox: Outbox) -> None:
    board.answer(Answered(Ticket("home", None, "me/answers", b"\x01\x02"), {}))
    own, theirs = outbox.sent
    assert (own.topic, theirs.topic) == ("focusd/bench1/response/home", "me/answers")
    assert own.payload == theirs.payload
    assert (theirs.qos, theirs.retain, theirs.correlation) == (1, False, b"\x01\x02")


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (RequestError("no", code="busy", waiting=4), "info"),
        (OutOfTravel("too far", position_um=3.0), "info"),
        (NotHomed("lost"), "warning"),
    ],
)
def test_a_refusal_has_a_word_and_its_values(
    board: Board, outbox: Outbox, error: RequestError, level: str
) -> None:
    board.answer(Answered(Ticket("move", "t"), error=error))
    assert outbox.only("response/move").json == {
        "status": "error",
        "code": error.code,
        "error": str(error),
        "data": error.values,
        "transaction": "t",
    }
    said = outbox.only("log").json
    assert said["level"] == level
    assert re.fullmatch(rf"move refused \({error.code}\): .*", said["message"])


@pytest.mark.parametrize("topic", ["a/+/b", "#", "focusd/bench1/request/stop", "focusd/bench1/set", "a\0b"])
def test_an_unsafe_response_topic_is_not_answered_on(board: Board, outbox: Outbox, topic: str) -> None:
    """A wildcard cannot be published on, and an answer on a request's topic would be a request."""
    board.answer(Answered(Ticket("identify", "t", reply_topic=topic), {}))
    assert outbox.only("response/identify").json["status"] == "ok"
    assert len(outbox.sent) == 1
