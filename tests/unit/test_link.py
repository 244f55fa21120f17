"""The MQTT client's own decisions, with paho's callbacks called by hand; no socket is opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from focusd.config import MqttConfig
from focusd.link.mqtt import Connected, Disconnected, Link, LinkEvent, Message

SUCCESS = ReasonCode(PacketTypes.CONNACK, "Success")
GRANTED = ReasonCode(PacketTypes.SUBACK, "Granted QoS 1")
REFUSED = ReasonCode(PacketTypes.SUBACK, "Not authorized")
LOST = ReasonCode(PacketTypes.DISCONNECT, "Unspecified error")


@dataclass
class Wire:
    """A link whose client sends nothing but remembers it."""

    posted: list[LinkEvent] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = MqttConfig(broker="mqtt://127.0.0.1:1")
        self.link = Link(config, None, ["a/#"], ("a/will", b""), self.posted.append, "test")
        self.link._client.publish = self._publish  # type: ignore[assignment, method-assign]
        self.link._client.subscribe = lambda *_: (0, 1)  # type: ignore[assignment, method-assign]

    def _publish(self, topic: str, payload: bytes, **_: Any) -> None:
        self.sent.append((topic, payload))

    def connect(self, answer: ReasonCode = GRANTED, *, flush: bool = True) -> None:
        client = self.link._client
        self.link._on_connect(client, None, None, SUCCESS, None)  # type: ignore[arg-type]
        self.link._on_subscribe(client, None, 1, [answer], None)
        if flush:
            self.link.flush(None)

    def drop(self) -> None:
        self.link._on_disconnect(self.link._client, None, None, LOST, None)  # type: ignore[arg-type]


def test_it_is_connected_when_its_subscription_is_granted() -> None:
    wire = Wire()
    wire.connect()
    assert wire.link.is_connected
    assert wire.posted == [Connected(5, None)]


def test_a_rig_that_cannot_hear_stop_is_not_online() -> None:
    wire = Wire()
    wire.connect(REFUSED, flush=False)
    assert not wire.link.is_connected
    (event,) = wire.posted
    assert isinstance(event, Disconnected)
    assert "refuses our subscription" in event.reason
    wire.link.publish("a/availability", b"online", qos=1, retain=True)
    assert wire.sent == []


def test_two_hang_ups_before_any_answer_mean_3_1_1() -> None:
    wire = Wire()
    wire.drop()
    assert wire.link._version == 5
    wire.drop()
    assert wire.link._version == 4


def test_a_broker_that_spoke_v5_once_is_never_taken_for_an_old_one() -> None:
    wire = Wire()
    wire.connect()
    for _ in range(5):
        wire.drop()
    assert wire.link._version == 5


def test_a_refused_login_is_an_answer() -> None:
    wire = Wire()
    for _ in range(5):
        refused = ReasonCode(PacketTypes.CONNACK, "Bad user name or password")
        wire.link._on_connect(wire.link._client, None, None, refused, None)  # type: ignore[arg-type]
        wire.drop()
    assert wire.link._version == 5


def test_what_was_kept_goes_out_before_what_is_new() -> None:
    wire = Wire()
    wire.link.publish("a/event", b"old", qos=1)
    wire.link.publish("a/state", b"1", qos=1, retain=True)
    wire.link.publish("a/state", b"2", qos=1, retain=True)
    wire.link.publish("a/metrics", b"lost", qos=0)
    wire.connect(flush=False)
    wire.link.publish("a/event", b"new", qos=1)
    assert wire.sent == []
    wire.link.flush(None)
    wire.link.publish("a/event", b"newer", qos=1)
    events = [payload for topic, payload in wire.sent if topic == "a/event"]
    assert events == [b"old", b"new", b"newer"]
    assert ("a/state", b"2") in wire.sent
    assert ("a/state", b"1") not in wire.sent


def test_results_outlast_progress() -> None:
    wire = Wire()
    wire.link.publish("a/event", b"job_done", qos=1, lasting=True)
    for number in range(1000):
        wire.link.publish("a/event", str(number).encode(), qos=1)
    wire.connect()
    assert len(wire.sent) == 200
    assert wire.sent[0] == ("a/event", b"job_done")
    assert wire.sent[-1] == ("a/event", b"999")


def test_what_the_broker_would_cut_us_off_for_is_left_out() -> None:
    wire = Wire()
    wire.link.publish("a/image/final", b"x" * 5000, retain=True)
    wire.link.publish("a/state", b"1", qos=1, retain=True)
    wire.connect(flush=False)
    wire.link.flush(4000)
    assert wire.sent == [("a/state", b"1")]


@pytest.mark.parametrize(
    ("retained", "since_s", "live"), [(False, 0.1, True), (True, 0.1, False), (True, 60.0, True)]
)
def test_a_replay_is_told_from_a_live_message(retained: bool, since_s: float, live: bool) -> None:
    assert Message("t", b"", retained, since_connect_s=since_s).is_live is live
