"""Boots the machines and hands what came of each to the tests."""

from __future__ import annotations

import json
import lzma
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from . import stage, trace
from .machine import Machine

_LONGEST_S = 240.0
_NEEDED = (
    "/lib/systemd/systemd",
    "/lib/systemd/systemd-udevd",
    "/usr/sbin/mosquitto",
    "/usr/bin/mosquitto_pub",
)
STACK = {"z_plan": {"range": 380, "step": 20}}
HOUR = {"z_plan": {"range": 2380, "step": 20}, "settle_s": 29.1}
HOUR_STOPS = 120
# 4800 steps up, 4814 down and 14 up again (backlash and pre-run), 372 up.
MOVES_UM = (24500, 500, 2360)
_WAKE = [["online"], ["home"], ["move", *MOVES_UM]]
_EXAMINATION = [
    ["stack", STACK],
    ["mark"],
    ["end", "TERM"],
    ["end", "KILL"],
    ["end", "watchdog"],
    ["home"],
    ["end", "stop", STACK],
]
_QUICK = [["online"], ["home"], ["stack", {**STACK, "settle_s": 0.3}], ["mark"], ["end", "TERM"]]


@dataclass(frozen=True, slots=True)
class Act:
    """One act of the examiner: from when to when (ns of CLOCK_MONOTONIC), and what it says of it."""

    name: str
    arguments: list[Any]
    began_ns: int
    ended_ns: int
    said: Any


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one boot."""

    table: dict[str, Any]
    virtual: bool
    trace: trace.Trace
    acts: list[Act]
    truth: dict[str, Any]
    journal: str
    took_s: float

    def act(self, *wanted: Any) -> Act:
        """Return the first act of a name, with these arguments if any are given."""
        name, *arguments = wanted
        for act in self.acts:
            if act.name == name and act.arguments[: len(arguments)] == arguments:
                return act
        raise KeyError(wanted)

    def during(self, act: Act) -> trace.Trace:
        """Return the trace of an act."""
        return self.trace.between(act.began_ns, act.ended_ns)


@dataclass(frozen=True, slots=True)
class _Plan:
    table: dict[str, Any]
    acts: list[list[Any]]
    virtual: bool


def _plans() -> dict[str, _Plan]:
    """Return the boots, the longest first."""
    lgpio = stage.configuration(gpio="lgpio")
    # The drop-in for RPi.GPIO has no lines that a compiled loop could write.
    rpigpio = stage.configuration(gpio="rpigpio", rail={"pulses": "pins"})
    quick = stage.configuration(gpio="lgpio", camera={"exposure_s": 0.1})
    return {
        "real": _Plan(quick, _QUICK, virtual=False),
        "lgpio": _Plan(lgpio, [*_WAKE, ["stack", HOUR], *_EXAMINATION], virtual=True),
        "rpigpio": _Plan(rpigpio, [*_WAKE, *_EXAMINATION], virtual=True),
        "again": _Plan(lgpio, [*_WAKE, ["stack", HOUR]], virtual=True),
        "contract": _Plan(lgpio, [["online"], ["contract"]], virtual=True),
    }


def refuse(reason: str) -> NoReturn:
    """Skip with the reason; in CI (FOCUSD_NO_SKIP set) fail with it."""
    if os.environ.get("FOCUSD_NO_SKIP"):
        pytest.fail(f"skipped where it may not: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the kernel, built by ``.ci/hardware`` or taken from FOCUSD_HARDWARE."""
    if platform.machine() != "x86_64":
        refuse(f"user-mode Linux runs on x86_64, this machine is {platform.machine()}")
    for path in _NEEDED:
        if not Path(path).exists():
            refuse(f"{path} is not here (apt install systemd udev mosquitto mosquitto-clients)")
    packed = Path(os.environ.get("FOCUSD_HARDWARE", "/nonexistent")) / "linux-gpio-sim.xz"
    if packed.exists():
        program = tmp_path_factory.mktemp("kernel") / "linux"
        program.write_bytes(lzma.decompress(packed.read_bytes()))
        program.chmod(0o755)
        return program
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    built = caches / "focusd-hardware" / "linux-gpio-sim"
    if not built.exists():
        refuse("no kernel: .ci/hardware builds one, or set FOCUSD_HARDWARE to a folder that has it")
    return built


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel installed in it."""
    folder = tmp_path_factory.mktemp("package")
    stage.install(folder / "stage", folder / "wheel")
    return folder / "stage"


@pytest.fixture(scope="session")
def runs(
    kernel: Path, package: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Run]]]:
    """Boot every machine; the one in real time mostly sleeps, the others keep a processor busy each."""
    with ThreadPoolExecutor(3) as pool:
        yield {
            name: pool.submit(_boot, kernel, package, tmp_path_factory.mktemp(name), plan)
            for name, plan in _plans().items()
        }


def _boot(kernel: Path, package: Path, folder: Path, plan: _Plan, attempts: int = 2) -> Run:
    """Boot one machine, wait until it has switched itself off, and read what it wrote.

    In real time user-mode Linux stood still twice in some twenty boots, unexplained: a machine
    that never comes to its end is booted once more, and said to have been.
    """
    out = folder / "out"
    out.mkdir(parents=True)
    shutil.copytree(package, folder / "stage", symlinks=True, copy_function=os.link)
    stage.furnish(folder / "stage", plan.table, plan.acts)
    began_s = time.monotonic()
    process = Machine(kernel, folder / "stage", out, plan.virtual).start()
    try:
        process.wait(_LONGEST_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    took_s = time.monotonic() - began_s
    told = out / "facts.json"
    if not told.exists() and not plan.virtual and attempts > 1:
        print(f"{folder}: the machine stood still after {took_s:.0f} s; once more")
        return _boot(kernel, package, folder / "again", plan, attempts - 1)
    facts = json.loads(told.read_text()) if told.exists() else {"error": "the examiner never came to an end"}
    if facts["error"] is not None:
        logs = [out / name for name in ("console.txt", "plant.log", "examiner.log", "journal.txt")]
        ends = [f"== {log.name}\n{log.read_text(errors='replace')[-6000:]}" for log in logs if log.exists()]
        pytest.fail("\n".join([f"{facts['error']} after {took_s:.0f} s in {folder}", *ends]), pytrace=False)
    return Run(
        plan.table,
        plan.virtual,
        trace.read(out / "writes.txt"),
        [Act(*act) for act in facts["acts"]],
        json.loads((out / "truth.json").read_text()),
        (out / "journal.txt").read_text(),
        took_s,
    )
