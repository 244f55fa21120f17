"""The daemon as its users meet it: a real process, a real mosquitto, real clients."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from focusd_sim.broker import Broker

from .conftest import Client, Daemon, Mosquitto, find, free_port

STACK = {"z_plan": {"range": 380, "step": 20}}
OVER = ("done", "cancelled", "failed", "interrupted")


def is_over(job: dict[str, Any]) -> bool:
    return job["status"] in OVER


def test_one_message_in_one_sharp_image_out(rig: Daemon, client: Client, mosquitto: Mosquitto) -> None:
    program = find("mosquitto_pub")
    command = [program, "-p", str(mosquitto.port), "-t", "focusd/sim/request/job/start"]
    subprocess.run([*command, "-m", '{"z_plan":{"range":380,"step":20},"transaction":"a1"}'], check=True)
    answer = client.wait("response/job/start")
    assert answer["status"] == "ok"
    assert answer["transaction"] == "a1"
    assert answer["data"]["stops"] == 20
    job = client.wait("job", is_over)
    assert job["status"] == "done", job
    assert job["id"] == answer["data"]["id"]
    assert job["progress"] == {"done": 20, "total": 20, "percent": 100.0}
    result = job["result"]
    assert (result["width"], result["height"], result["missing"], result["url"]) == (160, 120, [], None)
    final = rig.data / "runs" / job["id"] / "final.tif"
    assert final.stat().st_size == result["bytes"]
    client.wait("event", lambda event: event["event_type"] == "job_done")
    kinds = [value["event_type"] for value in client.values("event")]
    assert kinds == ["job_queued", "job_started", "job_finishing", "job_done"]
    statuses = [value["status"] for value in client.values("job")]
    assert statuses[-1] == "done"
    assert {"running", "finishing"} <= set(statuses)
    assert len(client.values("image/preview")) >= 1


def test_what_is_retained_greets_a_late_subscriber(rig: Daemon, client: Client, mosquitto: Mosquitto) -> None:
    client.ask("job/start", STACK)
    client.wait("job", is_over)
    late = Client(mosquitto.url)
    try:
        late.wait("image/depth")
        late.wait("state") if not late.values("state") else None
        info = late.values("info")[0]
        assert late.values("availability") == [{"state": "online"}]
        assert late.values("job")[0]["status"] == "done"
        (topic, final, message) = next(entry for entry in late.seen if entry[0] == "image/final")
        assert topic == "image/final"
        assert message.properties.ContentType == "image/jpeg"
        picture = cv2.imdecode(np.frombuffer(final, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (120, 160, 3)
        assert len(final) <= 900_000
        assert "job/start" in info["capabilities"]
        assert not {"autofocus", "doctor"} & set(info["capabilities"])
        assert set(info["schemas"]) == set(info["capabilities"])
        assert not late.values("image/preview")
    finally:
        late.close()


def test_every_command_is_answered(rig: Daemon, client: Client) -> None:
    assert client.ask("identify")["data"]["name"] == "sim"
    assert client.ask("move", {"to_um": 100})["code"] == "not_homed"
    assert client.ask("mark", {"end": "near"})["code"] == "not_homed"
    assert client.ask("move", {"by_um": 200})["status"] == "ok"
    home = client.ask("home")
    assert home["data"] == {"position_um": 5000.0, "position_valid": True}
    assert client.ask("mark", {"end": "near"})["status"] == "ok"
    assert client.ask("move", {"to_um": 5100})["data"]["position_um"] == 5100
    assert client.ask("mark", {"end": "far"})["status"] == "ok"
    plan = client.ask("plan", {"z_plan": {"marks": True, "step": 30}})["data"]
    assert (plan["stops"], plan["requested_step_um"], plan["step_um"]) == (5, 30.0, 25.0)
    assert (plan["first_um"], plan["last_um"]) == (5000.0, 5100.0)
    assert plan["time_s"] > 5
    assert plan["memory_bytes"] > 0
    assert plan["disk_bytes"] > 0
    assert client.ask("zero")["data"] == {"position_um": 0.0, "position_valid": True}
    assert client.ask("job/cancel")["code"] == "no_job"
    assert client.ask("job/pause")["code"] == "no_job"
    assert client.ask("job/resume")["code"] == "no_job"
    assert client.ask("autofocus")["code"] == "unsupported"
    assert client.ask("doctor")["code"] == "unsupported"
    assert client.ask("job/strat")["code"] == "unknown_command"
    client.publish("set", {"step_um": 5, "transaction": "s"})
    assert client.wait("response/set")["data"]["step_um"] == 5
    assert client.values("state")[-1]["settings"]["step_um"] == 5
    stop = client.ask("stop")
    assert stop["data"] == {"motor": "off", "position_valid": False}
    assert client.ask("move", {"to_um": 100})["code"] == "not_homed"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"{", "bad_request"),
        (b"\xff\xfe", "bad_request"),
        (b"[1, 2]", "bad_request"),
        (b'{"z_plan": {"range": 100, "step": 20}, "colour": 1}', "bad_request"),
        (b'{"z_plan": {"range": 100, "top": 5, "step": 20}}', "bad_request"),
        (b'{"z_plan": {"range": NaN, "step": 20}}', "bad_request"),
        (b'{"z_plan": {"range": 1e999, "step": 20}}', "bad_request"),
        (b'{"z_plan": {"range": 100, "step": 0}}', "bad_request"),
        (b'{"z_plan": {"range": 9000000, "step": 0.001}}', "bad_plan"),
        (b'{"z_plan": {"bottom": 24000, "top": 26000, "step": 20}}', "out_of_travel"),
        (b'{"z_plan": {"marks": true, "step": 20}}', "bad_plan"),
        (b'{"time_plan": {"interval": 2, "loops": 2}, "z_plan": {"range": 90, "step": 30}}', "bad_plan"),
        (b'{"z_plan": {"range": 100, "step": 20}, "settle_s": -1}', "bad_request"),
        (b'{"z_plan": {"range": 100, "step": 20}, "expires_at": "2020-01-01T00:00:00Z"}', "expired"),
        (b"nosuchpreset", "unknown_preset"),
        (b"[" * 60_000, "too_deep"),
        (b" " * 70_000, "too_large"),
    ],
)
def test_bad_requests_are_refused_and_change_nothing(
    rig: Daemon, client: Client, payload: bytes, code: str
) -> None:
    before = client.values("state")[-1]
    client.publish("request/job/start", payload)
    answer = client.wait("response/job/start")
    assert (answer["status"], answer["code"]) == ("error", code)
    assert len(answer["error"]) > 10
    assert client.ask("identify")["status"] == "ok"
    assert client.values("state")[-1] == before
    assert all(job["status"] is None for job in client.values("job"))
    assert not (rig.data / "runs").exists() or not list((rig.data / "runs").iterdir())


def test_retained_requests_are_refused(
    mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon]
) -> None:
    client.publish("request/home", {}, retain=True)
    start_daemon(mosquitto.url)
    assert client.wait("response/home")["code"] == "retained"
    client.publish("request/job/start", STACK, retain=True)
    assert client.wait("response/job/start")["code"] == "retained"
    assert client.values("state")[-1]["state"] == "idle"


def test_v5_response_topic_and_correlation(rig: Daemon, client: Client) -> None:
    client.publish("request/identify", {}, ResponseTopic="focusd/sim/mine", CorrelationData=b"\x01\x02")
    client.wait("mine")
    message = client.seen[-1][2]
    assert message.properties.CorrelationData == b"\x01\x02"


def test_job_id_starts_a_job_once(rig: Daemon, client: Client) -> None:
    first = client.ask("job/start", {**STACK, "job_id": "../../etc/passwd"})
    again = client.ask("job/start", {**STACK, "job_id": "../../etc/passwd"})
    assert again["data"]["id"] == first["data"]["id"]
    assert again["data"]["duplicate"] is True
    job = client.wait("job", is_over, since=0)  # it may have ended before the second answer
    assert job["job_id"] == "../../etc/passwd"
    assert [path.name for path in (rig.data / "runs").iterdir()] == [first["data"]["id"]]


def test_queue_and_cancel(mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon]) -> None:
    start_daemon(mosquitto.url, speed=20, mqtt={"queue_limit": 2})
    client.wait("state")
    ids = [client.ask("job/start", STACK)["data"]["id"] for _ in range(3)]
    assert client.ask("job/start", STACK)["code"] == "busy"
    assert client.ask("home")["code"] == "busy"
    assert client.ask("job/cancel", {"id": ids[2]})["data"]["id"] == ids[2]
    client.wait("job", lambda job: job["status"] == "running" and job["progress"]["done"] >= 2)
    client.ask("job/cancel")
    job = client.wait("job", is_over)
    assert (job["id"], job["status"]) == (ids[0], "cancelled")
    assert 0 < job["progress"]["done"] < 20
    assert job["result"]["width"] == 160
    client.wait("job", lambda job: job["id"] == ids[1] and job["status"] == "running")
    since = len(client.seen)
    client.ask("stop")
    job = client.wait("job", is_over, since=since)
    assert (job["id"], job["error"]["code"]) == (ids[1], "stopped")


def test_pause_and_resume(mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon]) -> None:
    start_daemon(mosquitto.url, speed=50)
    client.wait("state")
    client.ask("job/start", STACK)
    client.wait("job", lambda job: job["status"] == "running" and job["progress"]["done"] >= 2)
    client.ask("job/pause")
    client.wait("job", lambda job: job["status"] == "paused")
    client.wait("state", lambda state: state["state"] == "paused")
    client.ask("job/resume")
    assert client.wait("job", is_over)["status"] == "done"


def test_sigterm_ends_cleanly_in_the_middle_of_a_job(
    mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(mosquitto.url, speed=20)
    client.wait("state")
    client.ask("job/start", STACK)
    client.wait("job", lambda job: job["status"] == "running" and job["progress"]["done"] >= 3)
    assert daemon.terminate() == 0
    job = client.wait("job", is_over)
    assert job["status"] == "interrupted"
    assert client.wait("availability") == {"state": "offline"}
    record = json.loads((daemon.data / "runs" / job["id"] / "run.json").read_text())
    assert record["status"] == "interrupted"
    assert (daemon.data / "runs" / job["id"] / "final.tif").exists()
    assert b"Traceback" not in daemon.log.read_bytes()


def test_a_killed_daemon_is_offline_by_its_will(rig: Daemon, client: Client) -> None:
    rig.process.kill()
    assert client.wait("availability") == {"state": "offline"}


def test_broker_away_the_job_goes_on(
    mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(mosquitto.url, speed=30)
    client.wait("state")
    run_id = client.ask("job/start", STACK)["data"]["id"]
    client.wait("job", lambda job: job["status"] == "running" and job["progress"]["done"] >= 3)
    mosquitto.stop()
    record = daemon.data / "runs" / run_id / "run.json"
    client_before = len(client.seen)
    for _ in range(300):
        if record.exists():
            break
        try:
            daemon.process.wait(0.1)
            raise AssertionError("the daemon ended with the broker")
        except subprocess.TimeoutExpired:
            continue
    assert json.loads(record.read_text())["status"] == "done"
    assert len(client.seen) == client_before
    mosquitto.start()  # persistence off: nothing retained survived in the broker
    late = Client(mosquitto.url)
    try:
        assert late.wait("job", is_over)["id"] == run_id
        late.wait("image/final")
        assert late.wait("event", lambda event: event["event_type"] == "job_done")["id"] == run_id
    finally:
        late.close()


def test_the_broker_may_come_later(mosquitto: Mosquitto, start_daemon: Callable[..., Daemon]) -> None:
    mosquitto.stop()
    daemon = start_daemon(mosquitto.url)
    try:
        daemon.process.wait(1.5)
        raise AssertionError("the daemon ended because there was no broker")
    except subprocess.TimeoutExpired:
        mosquitto.start()
    late = Client(mosquitto.url)
    try:
        assert late.wait("availability") == {"state": "online"}
        assert late.ask("home")["status"] == "ok"
    finally:
        late.close()


def test_falls_back_to_3_1_1(start_daemon: Callable[..., Daemon]) -> None:
    """amqtt speaks 3.1.1 only, and waits for ever on a v5 CONNECT with a will."""
    pytest.importorskip("amqtt")
    with Broker(free_port()) as broker:
        client = Client(broker.url, version=MQTTProtocolVersion.MQTTv311)
        daemon = start_daemon(broker.url)
        try:
            client.wait("availability", lambda value: value == {"state": "online"})
            # Clearing a retained request looks like this on 3.1.1: it must not start a motor.
            client.publish("request/job/start", b"")
            assert client.wait("response/job/start")["code"] == "empty"
            client.ask("job/start", {"z_plan": {"range": 100, "step": 20}})
            assert client.wait("job", is_over)["status"] == "done"
            assert daemon.terminate() == 0
        finally:
            client.close()


def test_what_systemd_is_told(
    mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Ready once, alive while it works, stopping when it is told to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        daemon = start_daemon(mosquitto.url, speed=20, environment=environment)
        told = [manager.recv(1000)]
        client.wait("state")
        client.ask("job/start", STACK)
        client.wait("job", lambda job: job["status"] == "running")
        while told.count(b"WATCHDOG=1") < 4:
            told.append(manager.recv(1000))
        daemon.terminate()
        while told[-1] != b"STOPPING=1":
            told.append(manager.recv(1000))
    assert told[0].startswith(b"READY=1\n")
    assert set(told[1:-1]) == {b"WATCHDOG=1"}


def test_faults_can_be_switched_live(
    mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon]
) -> None:
    start_daemon(mosquitto.url, stack={"preflight": False})
    client.wait("state")
    assert client.ask("sim/fault", {"kind": "gremlins"})["code"] == "bad_request"
    assert client.ask("sim/fault", {"kind": "lose_frame"})["status"] == "ok"
    client.ask("job/start", STACK)
    job = client.wait("job", is_over)
    assert job["status"] == "done"
    assert job["result"]["missing"] == []
    assert [e["retaken"] for e in client.values("event") if e["event_type"] == "frame_retaken"] == [1]


def test_the_button_at_the_rig_stops_everything(
    mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon]
) -> None:
    start_daemon(mosquitto.url, speed=20, rail={"stop_button": {"pin": 5}})
    client.wait("state")
    client.ask("job/start", STACK)
    client.wait("job", lambda job: job["progress"]["done"] >= 2)
    client.ask("sim/fault", {"kind": "press_button"})
    assert client.wait("event", lambda event: event["event_type"] == "stopped")["by"] == "button"
    assert client.wait("job", is_over)["status"] == "cancelled"
    assert not client.wait("state", lambda state: state["state"] == "idle")["position_valid"]
    assert client.ask("home")["code"] == "stopped"
    client.ask("sim/fault", {"kind": "press_button", "on": False})
    answer = client.ask("home")
    assert answer["data"] == {"position_um": 5000.0, "position_valid": True}


PI_CAMERA = {
    "kind": "picamera2",
    "frame_size": {"width": 160, "height": 120},
    "exposure_s": 0.01,
    "colour_gains": [1.8, 1.6],
}


@pytest.mark.parametrize("camera", [{}, PI_CAMERA], ids=["dslr", "picamera2"])
def test_a_full_disk_ends_the_job_and_not_the_daemon(
    mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon], camera: dict[str, Any]
) -> None:
    start_daemon(mosquitto.url, stack={"preflight": False}, **({"camera": camera} if camera else {}))
    client.wait("state")
    client.ask("sim/fault", {"kind": "fill_disk"})
    client.ask("job/start", STACK)
    job = client.wait("job", is_over)
    assert job["status"] == "failed", job
    expected = "File too large" if camera else "3 frames in a row are missing"
    assert expected in job["error"]["message"]
    client.wait("state", lambda state: state["state"] == "idle")
    client.ask("sim/fault", {"kind": "fill_disk", "on": False})
    client.ask("job/start", STACK)
    assert client.wait("job", is_over)["status"] == "done"


def test_a_pulled_cable_is_mended(
    mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon]
) -> None:
    fault = {"kind": "drop_broker", "at_exposure": 3, "for_s": 20.0}
    sim = {"scene": "slope", "centre_um": 5000, "faults": [fault]}
    daemon = start_daemon(mosquitto.url, speed=30, sim=sim)
    client.wait("state")
    client.ask("job/start", STACK)
    assert client.wait("availability", lambda value: value == {"state": "offline"})
    since = len(client.seen)
    job = client.wait("job", is_over)
    assert (job["status"], job["progress"]["done"]) == ("done", 20)
    # A job that ended meanwhile is told before the connection is.
    assert client.wait("log", lambda entry: "connected to" in entry["message"], since=since)
    # Hung up on more than once, but by a broker known to speak v5: no falling back.
    said = [line for line in daemon.log.read_text().splitlines() if "connected to" in line]
    assert len(said) >= 2
    assert all(line.endswith("MQTT 5") for line in said)


MINUTELY = {"z_plan": {"range": 60, "step": 20}, "time_plan": {"interval": 60, "loops": 3}}


def test_a_series_of_three_stacks(rig: Daemon, client: Client) -> None:
    foreseen = client.ask("plan", MINUTELY)["data"]["series"]
    assert foreseen["time_s"] == 120 + foreseen["stack_s"]
    first = client.ask("job/start", MINUTELY)["data"]["id"]
    end = client.wait("event", lambda event: event["event_type"].startswith("series_"), since=0)
    assert (end["event_type"], end["id"], end["done"], end["skipped"]) == ("series_done", first, 3, 0)
    shown = {job["id"]: job for job in client.values("job") if job["status"] == "done"}
    assert [job["series"]["loop"] for job in shown.values()] == [1, 2, 3]
    waited = [job for job in client.values("job") if job["status"] == "queued" and job["series"]["next_at"]]
    assert {job["series"]["loop"] for job in waited} >= {2, 3}
    assert all(job["progress"]["done"] == 0 for job in waited)
    folders = sorted((rig.data / "runs").iterdir())
    assert [folder.name for folder in folders] == list(shown)
    assert all((folder / "final.tif").exists() for folder in folders)
    records = [json.loads((folder / "run.json").read_text()) for folder in folders]
    assert [record["series"] for record in records] == [
        {"series": first, "loop": loop, "loops": 3} for loop in (1, 2, 3)
    ]
    opened = [datetime.fromisoformat(record["stops"][0]["shots"][0]["at"]) for record in records]
    apart_s = [(after - before).total_seconds() for before, after in pairwise(opened)]
    # That the first has begun is heard while the simulated time runs on at 2000 times the real one.
    assert apart_s[0] == pytest.approx(60.0, abs=30.0)
    assert apart_s[1] == pytest.approx(60.0, abs=5.0)
    visited = [[stop["planned_um"] for stop in record["stops"]] for record in records]
    assert visited[0] == visited[1] == visited[2]


def test_a_series_cancelled_between_two_stacks(
    mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(mosquitto.url, speed=100)
    client.wait("state")
    request = {**MINUTELY, "time_plan": {"interval": 3600, "loops": 3}, "job_id": "moss"}
    first = client.ask("job/start", request)["data"]["id"]
    waiting = client.wait("job", lambda job: job["status"] == "queued" and job["id"] != first)
    assert waiting["series"]["loop"] == 2
    assert client.ask("home")["code"] == "busy"
    for command, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        since = len(client.seen)
        assert client.ask(f"job/{command}", {"id": first})["data"]["id"] == waiting["id"]
        job = client.wait("job", lambda job, status=status: job["status"] == status, since=since)
        assert job["id"] == waiting["id"]
    assert job["series"]["next_at"] is None
    ends = [event for event in client.values("event") if event["event_type"] == "series_cancelled"]
    assert (ends[0]["id"], ends[0]["done"], ends[0]["go_on"]["time_plan"]["loops"]) == (first, 1, 2)
    assert [folder.name for folder in (daemon.data / "runs").iterdir()] == [first]
    # The rig is free again, and the rest of the series can be had.
    assert client.ask("home")["status"] == "ok"
    assert client.ask("plan", ends[0]["go_on"])["data"]["series"]["loops"] == 2


def test_the_end_of_the_daemon_interrupts_a_series(
    mosquitto: Mosquitto, client: Client, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(mosquitto.url, speed=100)
    client.wait("state")
    first = client.ask("job/start", {**MINUTELY, "time_plan": {"interval": 3600, "loops": 3}})["data"]["id"]
    client.wait("job", lambda job: job["status"] == "queued" and job["id"] != first)
    assert daemon.terminate() == 0
    end = client.wait("event", lambda event: event["event_type"] == "series_interrupted")
    assert (end["id"], end["go_on"]["time_plan"]) == (first, {"interval": 3600.0, "loops": 2})


def test_a_process_killed_in_a_stack(rig: Daemon, client: Client) -> None:
    client.publish("request/sim/fault", {"kind": "kill_process"})
    assert client.wait("availability") == {"state": "offline"}
    assert rig.process.wait(10) == -9


def test_kept_frames_are_fused_again_to_the_same_bits(rig: Daemon, client: Client, tmp_path: Path) -> None:
    assert client.ask("job/start", STACK | {"keep_frames": "source"})["status"] == "ok"
    job = client.wait("job", is_over)
    assert job["status"] == "done", job
    run, again = rig.data / "runs" / job["id"], tmp_path / "again.tif"
    assert len(list((run / "frames").glob("*.jpg"))) == 20
    subprocess.run([sys.executable, "-m", "focusd", "fuse", str(run), "-o", str(again)], check=True)
    np.testing.assert_array_equal(cv2.imread(str(again), -1), cv2.imread(str(run / "final.tif"), -1))


def test_settings_and_an_empty_payload(rig: Daemon, client: Client) -> None:
    client.publish("set", {"range_um": 60, "step_um": 20})
    client.wait("response/set")
    client.publish("request/job/start", b"")
    answer = client.wait("response/job/start")
    assert (answer["status"], answer["data"]["stops"]) == ("ok", 4)
    assert client.wait("job", is_over)["status"] == "done"
