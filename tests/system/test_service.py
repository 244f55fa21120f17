"""The daemon inside the test's process, so that its pins can be looked at after it has ended."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from focusd.clock import BeatingClock
from focusd.config import parse_config, read_toml
from focusd.easel import Easel
from focusd.runner import Runner, Signals
from focusd.service import Service
from focusd_sim.clock import PacedClock
from focusd_sim.config import SimConfig
from focusd_sim.rig import SimulatedRig, build

from .conftest import CONFIG, Client, Mosquitto

EN = 22
STACK = {"z_plan": {"range": 380, "step": 20}}
Script = Callable[[Client], None]


@pytest.fixture
def handlers() -> Iterator[None]:
    """Give the test's own signal handlers back."""
    saved = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in saved.items():
        signal.signal(number, handler)


def serve(mosquitto: Mosquitto, folder: Path, script: Script, speed: float) -> tuple[int, SimulatedRig]:
    """Run a daemon on this thread while `script` uses it from another; return exit code and rig."""
    table = read_toml(CONFIG)
    table["sim"]["scene"] = "slope"
    table["mqtt"]["broker"] = mosquitto.url
    table["data"]["dir"] = str(folder / "data")
    table["rail"]["hold"] = "always"
    config = parse_config(table, "test")
    clock, signals = PacedClock(speed), Signals()
    beating = BeatingClock(clock)
    sim = build(config, SimConfig.from_table(config.sim), clock, signals, rig_clock=beating)
    service = Service(config, sim.rig, beating, signals, lambda: True)
    failures: list[BaseException] = []

    def play() -> None:
        client = Client(mosquitto.url)
        try:
            client.wait("state", lambda state: state["state"] == "idle")
            script(client)
        except BaseException as error:  # noqa: BLE001  # raised again on the test's own thread
            failures.append(error)
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            client.close()

    user = threading.Thread(target=play)
    user.start()
    code = service.run()
    user.join(30)
    if failures:
        raise failures[0]
    return code, sim


def running(job: dict[str, Any]) -> bool:
    return job["status"] == "running" and job["progress"]["done"] >= 2


def test_sigterm_leaves_the_motor_off(mosquitto: Mosquitto, tmp_path: Path, handlers: None) -> None:
    levels: list[bool] = []

    def script(client: Client) -> None:
        client.ask("job/start", STACK)
        client.wait("job", running)
        os.kill(os.getpid(), signal.SIGTERM)

    code, sim = serve(mosquitto, tmp_path, script, speed=20)
    levels.append(sim.factory.level(EN))
    assert code == 0
    assert levels == [True]
    assert not [t for t in threading.enumerate() if t.name in ("job", "fuse")]


@pytest.mark.parametrize(("owner", "method", "thread"), [(Easel, "take", "fuse"), (Runner, "run", "job")])
def test_a_thread_that_dies_ends_the_daemon_with_the_motor_off(
    mosquitto: Mosquitto,
    tmp_path: Path,
    handlers: None,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
    thread: str,
) -> None:
    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr(owner, method, broken)
    said: list[str] = []

    def script(client: Client) -> None:
        client.ask("job/start", STACK)
        said.append(client.wait("log", lambda log: log["level"] == "critical")["message"])
        client.wait("availability", lambda value: value == {"state": "offline"})

    code, sim = serve(mosquitto, tmp_path, script, speed=200)
    assert code == 1
    assert f"the {thread} thread died" in said[0]
    assert "nobody foresaw this" in said[0]
    assert sim.factory.level(EN) is True


def test_hold_always_lasts_until_the_daemon_ends(
    mosquitto: Mosquitto, tmp_path: Path, handlers: None
) -> None:
    held: list[dict[str, Any]] = []

    def script(client: Client) -> None:
        client.ask("job/start", {"z_plan": {"range": 40, "step": 20}})
        held.append(client.wait("job", lambda job: job["status"] == "done"))
        os.kill(os.getpid(), signal.SIGTERM)

    code, sim = serve(mosquitto, tmp_path, script, speed=2000)
    assert (code, held[0]["progress"]["done"]) == (0, 3)
    assert sim.factory.level(EN) is True
