"""The MQTT client: v5 where the broker speaks it, 3.1.1 where not, and nothing lost that matters."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from focusd.config import MqttConfig, broker_address
from focusd.errors import LinkError
from focusd.link.payloads import MAX_PAYLOAD_BYTES

_QUEUED_EVENTS = 200
_KEEPALIVE_S = 30
_HANG_UPS = 2
# A 3.1.1 broker may also misread a v5 CONNECT and wait for bytes that never come.
_ANSWER_S = 3.0
# Retained messages are replayed at once after subscribing.
_REPLAY_S = 5.0
# Room for the topic and the v5 properties beside an image.
PACKET_OVERHEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Message:
    """A message from the broker, as it came."""

    topic: str
    payload: bytes
    retained: bool = False
    reply_topic: str | None = None
    correlation: bytes | None = None
    expiry_s: int | None = None
    received_s: float = 0.0
    since_connect_s: float = 0.0
    version: int = 5

    @property
    def is_live(self) -> bool:
        """Whether it was published now, rather than replayed to a new connection."""
        return not self.retained or self.since_connect_s > _REPLAY_S


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted us; `version` is 5 or 4 (3.1.1)."""

    version: int
    largest_packet_bytes: int | None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The broker is away or refused us; the client keeps trying."""

    reason: str


LinkEvent = Message | Connected | Disconnected


@dataclass(frozen=True, slots=True, eq=False)
class _Parcel:
    """Something to publish."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    lasting: bool
    content_type: str | None
    correlation: bytes | None


class Link:
    """Connects to a broker and keeps connecting.

    paho's thread only enqueues: callbacks that publish have deadlocked it (paho #177, #354, #527). All
    publishing is the main thread's.

    Parameters
    ----------
    config : MqttConfig
        Broker, user, certificates.
    password : str or None
        From systemd's credentials.
    subscriptions : list of str
        Topic filters.
    will : tuple of (str, bytes)
        Retained last will, QoS 1.
    post : callable
        Takes `LinkEvent`; called on paho's thread; must only enqueue.
    client_id : str
        MQTT client id.
    """

    def __init__(
        self,
        config: MqttConfig,
        password: str | None,
        subscriptions: list[str],
        will: tuple[str, bytes],
        post: Callable[[LinkEvent], None],
        client_id: str,
    ) -> None:
        self._config = config
        self._password = password
        self._subscriptions = subscriptions
        self._will = will
        self._post = post
        self._client_id = client_id
        self._version = MQTTProtocolVersion.MQTTv5
        self._connected = False
        self._connected_s = 0.0
        self._closing = False
        self._hang_ups = 0
        self._answered = False
        self._speaks_v5 = False
        self._largest_bytes: int | None = None
        self._patience = threading.Timer(_ANSWER_S, lambda: None)
        self._client = self._new_client()
        # What is published while the broker is away: retained topics keep their last value, events queue.
        self._latest: dict[str, _Parcel] = {}
        self._queued: deque[_Parcel] = deque()
        # Set by the main thread once it has sent what was kept, so that nothing new overtakes it.
        self._flushed = False
        self._fallback: threading.Thread | None = None

    def open(self) -> None:
        """Start connecting, in the background; a broker that is away is no error.

        Raises
        ------
        LinkError
            TLS material that cannot be used.
        """
        self._start(self._client)

    def close(self, farewell: tuple[str, bytes], timeout_s: float = 2.0) -> None:
        """Publish `farewell` (retained), wait until it is out, and disconnect."""
        self._closing = True
        self._patience.cancel()
        if self._connected:
            info = self._client.publish(farewell[0], farewell[1], qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):  # the broker left meanwhile
                info.wait_for_publish(timeout_s)
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return self._connected

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
        """Publish, or keep for later; called by the main thread.

        While the broker is away retained topics keep their last value and QoS 1 messages queue within a
        bound; when it is reached the oldest that is not `lasting` goes first.
        """
        parcel = _Parcel(topic, payload, qos, retain, lasting, content_type, correlation)
        if retain:
            self._latest[topic] = parcel
        if self._connected and self._flushed:
            self._send(parcel)
        elif qos and not retain:
            self._keep(parcel)

    def flush(self, largest_packet_bytes: int | None) -> None:
        """Publish again what a new connection must know; called by the main thread after `Connected`.

        What is larger than the broker takes is left out: it would cut us off, again and again.
        """
        self._flushed = True
        for parcel in [*self._latest.values(), *self._queued]:
            size = len(parcel.payload) + PACKET_OVERHEAD_BYTES
            if largest_packet_bytes is None or size <= largest_packet_bytes:
                self._send(parcel)
        self._queued.clear()

    def _keep(self, parcel: _Parcel) -> None:
        if len(self._queued) >= _QUEUED_EVENTS:
            fleeting = next((kept for kept in self._queued if not kept.lasting), self._queued[0])
            self._queued.remove(fleeting)
        self._queued.append(parcel)

    def _send(self, parcel: _Parcel) -> None:
        properties = None
        if self._version == MQTTProtocolVersion.MQTTv5 and (parcel.content_type or parcel.correlation):
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            if parcel.content_type:
                properties.ContentType = parcel.content_type
            if parcel.correlation:
                properties.CorrelationData = parcel.correlation
        self._client.publish(
            parcel.topic, parcel.payload, qos=parcel.qos, retain=parcel.retain, properties=properties
        )

    def _new_client(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, self._client_id, protocol=self._version)
        client.will_set(self._will[0], self._will[1], qos=1, retain=True)
        client.reconnect_delay_set(1, 30)
        client.max_queued_messages_set(_QUEUED_EVENTS)
        if self._config.username is not None:
            client.username_pw_set(self._config.username, self._password)
        if broker_address(self._config.broker)[2]:
            config = self._config
            try:
                client.tls_set(
                    ca_certs=str(config.ca_file) if config.ca_file else None,
                    certfile=str(config.cert_file) if config.cert_file else None,
                    keyfile=str(config.key_file) if config.key_file else None,
                    tls_version=ssl.PROTOCOL_TLS_CLIENT,
                )
            except (OSError, ssl.SSLError, ValueError) as error:
                raise LinkError(
                    f"TLS to {config.broker}: {error}; check mqtt.ca_file and cert_file"
                ) from error
        if self._version == MQTTProtocolVersion.MQTTv5:
            client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        client.on_message = self._on_message
        return client

    def _start(self, client: paho.Client) -> None:
        host, port, _ = broker_address(self._config.broker)
        client.connect_async(host, port, keepalive=_KEEPALIVE_S)
        client.loop_start()

    # On paho's thread: enqueue only.

    def _on_connect(
        self,
        client: paho.Client,
        _data: Any,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if client is not self._client:
            return
        self._patience.cancel()
        self._answered = True
        if reason.is_failure:
            if self._version == MQTTProtocolVersion.MQTTv5 and str(reason) == "Unsupported protocol version":
                self._fall_back()
            self._post(Disconnected(f"the broker refused: {reason}"))
            return
        self._hang_ups = 0
        if self._version == MQTTProtocolVersion.MQTTv5:
            self._speaks_v5 = True
            # Retain-as-published tells a replayed request from a fresh one.
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            client.subscribe([(topic, options) for topic in self._subscriptions])
        else:
            client.subscribe([(topic, 1) for topic in self._subscriptions])
        self._connected_s = time.monotonic()
        self._largest_bytes = getattr(properties, "MaximumPacketSize", None)

    def _on_subscribe(
        self,
        client: paho.Client,
        _data: Any,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        """Count as connected only now: a rig that cannot hear `stop` must not look as if it were online."""
        if client is not self._client:
            return
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._post(
                Disconnected(
                    f"the broker refuses our subscription to {', '.join(self._subscriptions)} "
                    f"({refused[0]}): check its access list"
                )
            )
            return
        self._flushed = False
        self._connected = True
        self._post(Connected(int(self._version), self._largest_bytes))

    def _on_disconnect(
        self,
        client: paho.Client,
        _data: Any,
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if client is not self._client:
            return
        was_connected, self._connected = self._connected, False
        if self._closing:
            return
        answered, self._answered = self._answered, False
        if not was_connected and not answered and not self._speaks_v5:
            # Some 3.1.1 brokers answer a v5 CONNECT by hanging up; once may be a broker that is restarting.
            self._hang_ups += 1
            if self._hang_ups >= _HANG_UPS:
                self._fall_back()
        self._post(Disconnected(str(reason)))

    def _on_socket_open(self, client: paho.Client, _data: Any, _socket: Any) -> None:
        """Give the broker a few seconds to answer our CONNECT."""

        def check() -> None:
            if client is self._client and not self._answered:
                self._fall_back()

        self._patience.cancel()
        self._patience = threading.Timer(_ANSWER_S, check)
        self._patience.daemon = True
        self._patience.start()

    def _on_connect_fail(self, client: paho.Client, _data: Any) -> None:
        if client is self._client:
            self._post(Disconnected(f"no broker at {self._config.broker}"))

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if client is not self._client:
            return
        properties, now_s = message.properties, time.monotonic()
        self._post(
            Message(
                message.topic,
                # One byte more than is read, so that its reader sees that it is too large.
                bytes(message.payload[: MAX_PAYLOAD_BYTES + 1]),
                bool(message.retain),
                getattr(properties, "ResponseTopic", None),
                getattr(properties, "CorrelationData", None),
                getattr(properties, "MessageExpiryInterval", None),
                now_s,
                now_s - self._connected_s,
                int(self._version),
            )
        )

    def _fall_back(self) -> None:
        """Start over with 3.1.1, from another thread: paho cannot stop its loop from inside it."""
        if self._fallback is not None or self._closing or self._speaks_v5:
            return
        self._version = MQTTProtocolVersion.MQTTv311
        old, self._client = self._client, self._new_client()

        def change() -> None:
            old.disconnect()
            old.loop_stop()
            self._start(self._client)

        self._fallback = threading.Thread(target=change, name="mqtt-3.1.1", daemon=True)
        self._fallback.start()
