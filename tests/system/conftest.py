"""A real broker, a real daemon process on the simulated rig, and a client."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

CONFIG = Path(__file__).parents[2] / "config" / "sim.toml"
PATIENCE_S = 30.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def find(command: str) -> str:
    """Return the path of a program, or skip with the reason."""
    path = shutil.which(command, path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
    if path is None:
        pytest.skip(f"{command} is not installed here (apt install mosquitto mosquitto-clients)")
    return path


@dataclass
class Mosquitto:
    """A mosquitto of our own on loopback, which can be stopped and started again."""

    program: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = self.folder / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        log = (self.folder / "mosquitto.log").open("ab")
        self.process = subprocess.Popen([self.program, "-c", str(config)], stdout=log, stderr=log)
        log.close()
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("mosquitto did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(find("mosquitto"), tmp_path, free_port())
    broker.start()
    yield broker
    broker.stop()


class Client:
    """An MQTT client that remembers what it saw; topics without their ``focusd/<rig>/``."""

    def __init__(self, url: str, rig: str = "sim", version: int = MQTTProtocolVersion.MQTTv5) -> None:
        self.root = f"focusd/{rig}"
        self.seen: list[tuple[str, Any, paho.MQTTMessage]] = []
        self._queue: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion(version))
        self._client.on_message = lambda _c, _d, message: self._queue.put(message)
        self._client.on_connect = self._subscribe
        self._version = version
        port = int(url.rsplit(":", 1)[1])
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._number = 0

    def _subscribe(self, client: paho.Client, *_: Any) -> None:
        if self._version == MQTTProtocolVersion.MQTTv5:
            client.subscribe([(f"{self.root}/#", SubscribeOptions(qos=1, retainAsPublished=True))])
        else:
            client.subscribe(f"{self.root}/#", 1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, name: str, payload: Any = None, *, retain: bool = False, **properties: Any) -> None:
        body = payload if isinstance(payload, bytes | str | None) else json.dumps(payload)
        props = None
        if properties:
            props = Properties(PacketTypes.PUBLISH)
            for key, value in properties.items():
                setattr(props, key, value)
        info = self._client.publish(f"{self.root}/{name}", body, qos=1, retain=retain, properties=props)
        info.wait_for_publish(PATIENCE_S)

    def wait(
        self, name: str, accept: Callable[[Any], bool] = lambda _value: True, *, since: int | None = None
    ) -> Any:
        """Wait for a message on a topic that `accept` likes; everything seen on the way is kept.

        With `since`, a length that `seen` had, what came from then on counts too.
        """
        for topic, value, _ in self.seen[since:] if since is not None else []:
            if topic == name and accept(value):
                return value
        deadline_s = time.monotonic() + PATIENCE_S
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                message = self._queue.get(timeout=left_s)
            except queue.Empty:
                break
            topic = message.topic.removeprefix(self.root + "/")
            value: Any = bytes(message.payload)
            if not topic.startswith("image/") and not topic.startswith("request/"):
                value = json.loads(value) if value else None
            self.seen.append((topic, value, message))
            if topic == name and accept(value):
                return value
        last = [f"{topic} {str(value)[:160]}" for topic, value, _ in self.seen[-8:]]
        raise AssertionError(f"nothing acceptable on {name}; last seen: " + "\n".join(last))

    def ask(self, command: str, payload: Any = None, **properties: Any) -> dict[str, Any]:
        """Send a request and wait for its response."""
        self._number += 1
        transaction = f"t{self._number}"
        self.publish(f"request/{command}", {**(payload or {}), "transaction": transaction}, **properties)
        answer = self.wait(f"response/{command}", lambda value: value["transaction"] == transaction)
        return dict(answer)

    def values(self, name: str) -> list[Any]:
        return [value for topic, value, _ in self.seen if topic == name]


@dataclass
class Daemon:
    """A daemon process on the simulated rig."""

    process: subprocess.Popen[bytes]
    data: Path
    log: Path

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start ``focusd-sim run`` against a broker; options over `config/sim.toml` as a nested dict."""
    started: list[Daemon] = []

    def start(
        url: str, *, speed: float = 2000.0, environment: dict[str, str] | None = None, **over: Any
    ) -> Daemon:
        table = tomllib.loads(CONFIG.read_text())
        table["sim"]["scene"] = "slope"
        for section, values in over.items():
            # A camera of another kind replaces the configured one whole.
            kept = {} if "kind" in values else table.get(section, {})
            table[section] = {**kept, **values}
        config = tmp_path / f"rig{len(started)}.toml"
        config.write_text(to_toml(table))
        data = tmp_path / "data"
        log = tmp_path / f"daemon{len(started)}.log"
        command = [sys.executable, "-m", "focusd_sim", "run", "--config", str(config)]
        command += ["--broker", url, "--data", str(data), "--speed", str(speed)]
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=file, cwd=tmp_path, env={**os.environ, **(environment or {})}
            )
        started.append(Daemon(process, data, log))
        return started[-1]

    yield start
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait(10)


@pytest.fixture
def client(mosquitto: Mosquitto) -> Iterator[Client]:
    made = Client(mosquitto.url)
    yield made
    made.close()


@pytest.fixture
def rig(mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon]) -> Daemon:
    """Start a daemon that is online and idle."""
    daemon = start_daemon(mosquitto.url)
    client.wait("availability", lambda value: value == {"state": "online"})
    client.wait("state")
    return daemon


def to_toml(table: dict[str, Any], prefix: str = "") -> str:
    """Write the little TOML these tests need: scalars first, then tables."""
    lines = [f"{k} = {_value(v)}" for k, v in table.items() if not isinstance(v, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += [f"[{prefix}{key}]", to_toml(value, f"{prefix}{key}.")]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    return json.dumps(value)
