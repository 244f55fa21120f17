"""One stack from an MQTT message to a picture, on a machine with no broker and no hardware.

The daemon runs as a process of its own, as it would on a Pi; what is here is its user: it publishes the start
request, follows the topics, and afterwards holds the result against the scene's truth.
"""

from __future__ import annotations

import argparse
import json
import queue
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from tqdm import tqdm

from focusd.config import broker_address
from focusd.errors import FocusdError, LinkError
from focusd_sim.broker import Broker, free_port
from focusd_sim.review import Review, review

REQUEST = {"z_plan": {"range": 2540, "step": 20}, "transaction": "demo"}
_SPEED = 10.0
_PATIENCE_S = 600.0
_SILENT_S = 90.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demo's options."""
    parser.add_argument("--config", type=Path, default=Path("config/sim.toml"), metavar="FILE")
    parser.add_argument("--data", type=Path, default=Path("demo-data"), metavar="DIR")
    parser.add_argument("--broker", metavar="URL", help="use this broker instead of an embedded one")
    parser.add_argument("--speed", type=float, default=_SPEED, metavar="X", help="rig seconds a real second")
    parser.add_argument("--scene", default="wasp", metavar="NAME")
    parser.add_argument("--keep-running", action="store_true", help="leave daemon and broker running")


def run(args: argparse.Namespace) -> int:
    """Run the demo. Returns the exit code."""
    began_s = time.monotonic()
    signal.signal(signal.SIGTERM, _leave)
    with ExitStack() as stack:
        url = args.broker
        if url is None:
            url = stack.enter_context(Broker(free_port())).url
        client = stack.enter_context(_Client(url))
        args.data.mkdir(parents=True, exist_ok=True)
        log = stack.enter_context((args.data / "daemon.log").open("w"))
        daemon = stack.enter_context(_daemon(args, url, log))
        stack.callback(_end, daemon)
        rig = client.wait_for("info", daemon)["name"]
        client.wait_for("state", daemon)
        print(f"focusd is online as focusd/{rig} at {url}, {args.speed:g} times as fast as life.")
        _show_commands(url, rig)
        client.publish(f"focusd/{rig}/request/job/start", json.dumps(REQUEST))
        started = client.wait_for("response/job/start", daemon)
        if started["status"] != "ok":
            raise FocusdError(f"the daemon refused: {started['error']}")
        job = _follow(client, daemon, started["data"])
        total_s = time.monotonic() - began_s
        folder = args.data / "runs" / job["id"]
        if job["status"] == "done":
            print("Comparing with the scene's truth ...")
            _report(review(args.config, args.scene, args.data, folder), folder, total_s)
        else:
            print(f"The job ended {job['status']}: {job['error']['message']}; see {log.name}")
            if not args.keep_running:
                return 1
        if args.keep_running:
            print("\nStill running; the lines above work in another terminal. Ctrl-C ends it.", flush=True)
            _wait_for_interrupt(daemon)
    return 0


class _Client:
    """A user of the rig: 3.1.1, which every broker speaks."""

    def __init__(self, url: str) -> None:
        self._messages: queue.Queue[tuple[str, bytes]] = queue.Queue(10_000)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe("focusd/#", 1)
        self._client.on_message = lambda _c, _d, message: self._messages.put(
            (message.topic.split("/", 2)[2], bytes(message.payload))
        )
        self._address = broker_address(url)

    def __enter__(self) -> _Client:
        host, port, _ = self._address
        try:
            self._client.connect(host, port)
        except OSError as error:
            raise LinkError(f"no broker at {host}:{port}: {error.strerror}") from error
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: str) -> None:
        self._client.publish(topic, payload, qos=1)

    def receive(self, timeout_s: float) -> tuple[str, bytes] | None:
        try:
            return self._messages.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def wait_for(self, name: str, daemon: subprocess.Popen[bytes]) -> dict[str, Any]:
        deadline_s = time.monotonic() + _SILENT_S
        while time.monotonic() < deadline_s:
            _check_alive(daemon)
            message = self.receive(0.5)
            if message is not None and message[0] == name:
                return dict(json.loads(message[1]))
        raise LinkError(f"nothing was published on {name} within {_SILENT_S:g} s")


def _follow(client: _Client, daemon: subprocess.Popen[bytes], facts: dict[str, Any]) -> dict[str, Any]:
    """Show the job's progress until it is over; return its last state."""
    deadline_s = time.monotonic() + _PATIENCE_S
    bar = tqdm(
        total=facts["stops"],
        unit="stop",
        mininterval=0.5 if sys.stderr.isatty() else 5.0,
        bar_format="{l_bar}{bar:24}| stop {n_fmt}/{total_fmt} {postfix} [{elapsed}, {remaining} left]",
    )
    position_um, fused = 0.0, 0
    with bar:
        while time.monotonic() < deadline_s:
            _check_alive(daemon)
            message = client.receive(0.5)
            if message is None:
                continue
            name, payload = message
            if name == "state":
                position_um = json.loads(payload)["position_um"]
            elif name == "metrics":
                fused = json.loads(payload).get("fused", fused)
            elif name == "job":
                job = json.loads(payload)
                if job["id"] != facts["id"]:
                    continue
                bar.n = job["progress"]["done"]
                bar.set_postfix_str(f"at {position_um:.0f} um, {fused} fused", refresh=False)
                bar.update(0)
                if job["status"] not in ("queued", "running", "paused", "finishing"):
                    bar.refresh()
                    return dict(job)
    raise FocusdError(f"the job did not end within {_PATIENCE_S:g} s")


def _show_commands(url: str, rig: str) -> None:
    host, port, _ = broker_address(url)
    where = f"-h {host} -p {port}"
    quoted = json.dumps({key: value for key, value in REQUEST.items() if key != "transaction"})
    print("The same by hand (the demo's own small broker speaks MQTT 3.1.1):")
    topics = " ".join(f"-t 'focusd/{rig}/{name}'" for name in ("job", "event", "response/#"))
    print(f"  mosquitto_sub {where} -v {topics}")
    print(f"  mosquitto_pub {where} -q 1 -t focusd/{rig}/request/job/start -m '{quoted}'")


def _report(found: Review, folder: Path, total_s: float) -> None:
    print(f"  fused image   {folder / 'final.tif'} (and final.jpg)")
    print(f"  depth map     {folder / 'depth.tif'}")
    print(f"  the record    {folder / 'run.json'}")
    print(f"  before/after  {found.picture}")
    print(
        f"Capture took {found.capture_s:.0f} s of the rig's time; {found.wall_s:.0f} s on this machine, "
        f"{total_s:.0f} s with start-up."
    )
    print(
        f"Against the truth: one frame {found.frame_psnr_db:.1f} dB, the stack {found.psnr_db:.1f} dB, "
        f"SSIM {found.ssim:.3f}."
    )
    print(
        f"Depth: median error {found.depth_error_um:.1f} um ({found.depth_error_um / found.step_um:.2f} "
        f"step) where it is known, {found.depth_known_percent:.0f} % of the specimen."
    )


def _daemon(args: argparse.Namespace, url: str, log: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "focusd_sim", "run", "--config", str(args.config), "--broker", url]
    command += ["--data", str(args.data), "--speed", str(args.speed), "--scene", args.scene]
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _check_alive(daemon: subprocess.Popen[bytes]) -> None:
    code = daemon.poll()
    if code is not None:
        raise FocusdError(f"the daemon ended with exit code {code}; see daemon.log in the data folder")


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(60)
    except subprocess.TimeoutExpired:
        daemon.kill()


def _leave(*_: object) -> None:
    """Unwind, so that daemon and broker end with the demo; a second signal must not cut that short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _wait_for_interrupt(daemon: subprocess.Popen[bytes]) -> None:
    try:
        daemon.wait()
    except KeyboardInterrupt:
        print("\nEnding.")
