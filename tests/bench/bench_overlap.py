"""What fusing costs a run: total time with fusing over total time with the frames thrown away.

Twenty stops of the wasp at life speed, twice each in turn; the goal is a ratio of at most 1.05. Takes about
three minutes. Run it by ``make bench`` or ``python tests/bench/bench_overlap.py``.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from focusd_sim.broker import Broker, free_port

CONFIG = Path(__file__).parents[2] / "config" / "sim.toml"
STOPS = 20
PAIRS = 2


def total_s(url: str, data: Path, *options: str) -> float:
    """Run one stack and return its real time, from acceptance to the last file."""
    seen: dict[str, dict[str, Any]] = {}
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _d, message: seen.update({message.topic: json.loads(message.payload)})
    host, port = "127.0.0.1", int(url.rsplit(":", 1)[1])
    client.connect(host, port)
    command = [sys.executable, "-m", "focusd_sim", "run", "--config", str(CONFIG), "--broker", url]
    with (data / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [*command, "--data", str(data), "--speed", "1", *options], stdout=log, stderr=log
        )
        client.subscribe([(f"focusd/sim/{name}", 1) for name in ("state", "job", "response/#")])
        while seen.get("focusd/sim/state", {}).get("state") != "idle":
            client.loop(0.2)
        request = json.dumps({"z_plan": {"range": 20.0 * (STOPS - 1), "step": 20}})
        client.publish("focusd/sim/request/job/start", request, qos=1)
        while "focusd/sim/response/job/start" not in seen:
            client.loop(0.2)
        run_id = seen["focusd/sim/response/job/start"]["data"]["id"]
        while True:
            job = seen.get("focusd/sim/job", {})
            if job.get("id") == run_id and job["status"] in ("done", "failed"):
                break
            client.loop(0.2)
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
    client.disconnect()
    (record,) = (data / "runs").glob("*/run.json")
    found = json.loads(record.read_text())
    assert found["status"] == "done", found["error"]
    return float(found["times"]["wall_s"])


def main() -> None:
    """Print the ratio."""
    fused, discarded = [], []
    for _ in range(PAIRS):
        for times, options in ((fused, ()), (discarded, ("--discard-frames",))):
            # A broker of its own each: nothing retained from the run before.
            with Broker(free_port()) as broker, tempfile.TemporaryDirectory() as folder:
                times.append(total_s(broker.url, Path(folder), *options))
    ratios = [a / b for a, b in zip(fused, discarded, strict=True)]
    print(
        f"{STOPS} stops at life speed: fusing {statistics.median(fused):.1f} s, discarding "
        f"{statistics.median(discarded):.1f} s, ratio {statistics.median(ratios):.3f} (goal: at most 1.05)"
    )


if __name__ == "__main__":
    main()
