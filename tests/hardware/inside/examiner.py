"""Puts the daemon through its acts on the machine under test, by mosquitto_pub, systemctl and kill.

It judges nothing: it writes when each act began and ended and what was answered (`facts.json`), and the
levels of EN after every end of the daemon. The verdict is reached outside, from the trace.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCRIPT = Path("/etc/focusd/acts.json")
EN = 22
ROOT = "focusd/bench1"
PATIENCE_S = 60.0
JOB_PATIENCE_S = 3 * 3600.0
_POLL_S = 0.01
_SAMPLE_S = 0.02
_OVER = ("done", "cancelled", "failed", "interrupted")
Accept = Callable[[Any], bool]


class Ear:
    """Everything the daemon says, by a mosquitto_sub of our own."""

    def __init__(self) -> None:
        topics = ("response/#", "availability", "state", "job", "event", "log")
        command = ["mosquitto_sub", "-q", "1", "-F", "%t %p"]
        for topic in topics:
            command += ["-t", f"{ROOT}/{topic}"]
        self.heard: list[tuple[str, Any]] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            topic, _, payload = line.partition(" ")
            with self._changed:
                self.heard.append((topic.removeprefix(ROOT + "/"), json.loads(payload)))
                self._changed.notify_all()

    def wait(self, topic: str, accept: Accept, since: int, patience_s: float = PATIENCE_S) -> Any:
        """Wait for a message; those from number `since` on count. Raises TimeoutError."""
        deadline_s = time.monotonic() + patience_s
        with self._changed:
            while True:
                for name, value in self.heard[since:]:
                    if name == topic and accept(value):
                        return value
                since = len(self.heard)
                if not self._changed.wait(deadline_s - time.monotonic()):
                    raise TimeoutError(f"nothing acceptable on {topic}; last: {self.heard[-5:]}")


class Examiner:
    """The acts, each a method; what it returns becomes a fact."""

    def __init__(self) -> None:
        self._ear = Ear()
        self._number = 0
        self._chip = next(Path("/sys/devices/platform").glob("gpio-sim.*/gpiochip*"))

    def online(self) -> dict[str, Any]:
        """Wait for the daemon that systemd starts with the machine."""
        self._ear.wait("availability", lambda value: value["state"] == "online", 0)
        return {"user": self._user(), "device": _stat("/dev/gpiochip0")}

    def home(self) -> dict[str, Any]:
        """Home the rail."""
        return self._ask("home", {})

    def move(self, *to_um: float) -> list[dict[str, Any]]:
        """Go to several positions in turn."""
        return [self._ask("move", {"to_um": each}) for each in to_um]

    def stack(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a job to its end."""
        since = len(self._ear.heard)
        answer = self._ask("job/start", request)
        if answer["status"] != "ok":
            return {"answer": answer}
        run = answer["data"]["id"]
        job = self._ear.wait(
            "job", lambda value: value["id"] == run and value["status"] in _OVER, since, JOB_PATIENCE_S
        )
        self._ear.wait("state", lambda value: value["state"] == "idle", since)
        final = Path(f"/var/lib/focusd/runs/{run}/final.tif")
        return {"answer": answer, "job": job, "final_bytes": final.stat().st_size if final.exists() else None}

    def mark(self) -> dict[str, Any]:
        """Have the plant note what is true so far."""
        subprocess.run(["systemctl", "kill", "--signal=USR1", "plant.service"], check=True)
        time.sleep(2.5)
        return {}

    def end(self, how: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """End the daemon while its motor is on: by ``stop``, ``TERM``, ``KILL`` or ``watchdog``."""
        since = len(self._ear.heard)
        command, payload = ("move", {"by_um": 4000}) if request is None else ("job/start", request)
        self._publish(command, payload)
        self._until(lambda: not self._level(EN), "EN low")
        time.sleep(0.3)
        pid = _main_pid()
        before = self._level(EN)
        began_ns = time.monotonic_ns()
        if how == "stop":
            subprocess.run(["systemctl", "--no-block", "stop", "focusd.service"], check=True)
        else:
            os.kill(pid, signal.SIGSTOP if how == "watchdog" else signal.Signals[f"SIG{how}"])
        self._until(lambda: not _exists(pid), "the daemon's end")
        ended_ns = time.monotonic_ns()
        samples = self._sample(9.0)
        restarted = how in ("KILL", "watchdog")
        claimed = None
        if restarted:
            self._ear.wait("availability", lambda value: value["state"] == "offline", since)
            offline = next(
                i for i, (name, v) in enumerate(self._ear.heard) if i >= since and v == {"state": "offline"}
            )
            self._ear.wait("availability", lambda value: value["state"] == "online", offline)
        else:
            claimed = _claimed()
            subprocess.run(["systemctl", "start", "focusd.service"], check=True)
        return {
            "began_ns": began_ns,
            "ended_ns": ended_ns,
            "en_before": before,
            "en_after": samples,
            "claimed": claimed,
            "result": _shown("Result"),
            "restarts": int(_shown("NRestarts")),
            "pids": [pid, _main_pid()],
        }

    def burst(self, sender: str, burners: int) -> dict[str, Any]:
        """Give a train of pulses without the daemon, while `burners` programs take all the time they get."""
        subprocess.run(["systemctl", "stop", "focusd.service"], check=True)
        # For the daemon its unit does this.
        subprocess.run(["mount", "--bind", "/etc/focusd/cpuinfo", "/proc/cpuinfo"], check=True)
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(burners)]
        try:
            # lgpio makes a pipe in the working directory.
            subprocess.run([sys.executable, "/opt/hardware/burst.py", sender], check=True, cwd="/run")
        finally:
            for each in busy:
                each.kill()
                each.wait()
        return {}

    def contract(self) -> dict[str, Any]:
        """Ask the contract of every rail of this one, with the daemon stopped."""
        subprocess.run(["systemctl", "stop", "focusd.service"], check=True)
        subprocess.run(["mount", "--bind", "/etc/focusd/cpuinfo", "/proc/cpuinfo"], check=True)
        command = [sys.executable, "-m", "pytest", "/opt/contract", "--rig", "/etc/focusd/focusd.toml"]
        command += ["-k", "real", "-rA", "-p", "no:cacheprovider", "--import-mode=importlib"]
        asked = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/run")
        return {"code": asked.returncode, "said": asked.stdout[-8000:] + asked.stderr[-2000:]}

    def _ask(self, command: str, payload: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        transaction = f"a{self._number}"
        since = len(self._ear.heard)
        self._publish(command, {**payload, "transaction": transaction})
        answer = self._ear.wait(
            f"response/{command}", lambda value: value.get("transaction") == transaction, since
        )
        return dict(answer)

    def _publish(self, command: str, payload: dict[str, Any]) -> None:
        message = ["-t", f"{ROOT}/request/{command}", "-m", json.dumps(payload)]
        subprocess.run(["mosquitto_pub", "-q", "1", *message], check=True, timeout=PATIENCE_S)

    def _level(self, line: int) -> bool:
        return (self._chip / f"sim_gpio{line}" / "value").read_text().strip() == "1"

    def _sample(self, seconds: float) -> list[tuple[int, bool]]:
        samples = []
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            samples.append((time.monotonic_ns(), self._level(EN)))
            time.sleep(_SAMPLE_S)
        return samples

    def _until(self, reached: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not reached():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"waited {PATIENCE_S:g} s for {what}")
            time.sleep(_POLL_S)

    def _user(self) -> str:
        return _run("ps", "-o", "user=", "-p", str(_main_pid())).strip()


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _shown(name: str) -> str:
    return _run("systemctl", "show", "--value", f"--property={name}", "focusd.service").strip()


def _main_pid() -> int:
    return int(_shown("MainPID"))


def _exists(pid: int) -> bool:
    """Whether a process is there and not yet a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _stat(path: str) -> str:
    return _run("stat", "--format=%U %G %a", path).strip()


def _claimed() -> list[str]:
    """Return the lines that some program holds."""
    return [line for line in Path("/sys/kernel/debug/gpio").read_text().splitlines() if "|" in line]


def main() -> None:
    """Play the acts; the first argument is where the facts go."""
    out = Path(sys.argv[1])
    journal = out / "journal.txt"
    # Followed from the start: where the machine never comes to its end, this is what there is.
    with journal.open("w") as file:
        following = subprocess.Popen(["journalctl", "--follow", "--output=short-monotonic"], stdout=file)
    facts: dict[str, Any] = {"acts": [], "error": None}
    try:
        examiner = Examiner()
        for name, *arguments in json.loads(SCRIPT.read_text()):
            began_ns = time.monotonic_ns()
            said = getattr(examiner, name)(*arguments)
            print(f"{time.monotonic():.3f} {name}", flush=True)
            facts["acts"].append([name, arguments, began_ns, time.monotonic_ns(), said])
    except Exception:  # noqa: BLE001  # whatever it is, it is told outside
        facts["error"] = traceback.format_exc()
    try:
        subprocess.run(["systemctl", "stop", "focusd.service"], check=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        facts["error"] = (facts["error"] or "") + "focusd.service did not stop"
    if facts["error"] is not None:
        # Python's fault handler then writes where every thread of the daemon is into the journal.
        subprocess.run(["systemctl", "kill", "--signal=ABRT", "focusd.service"], check=False)
        time.sleep(2.0)
    subprocess.run(["systemctl", "stop", "plant.service"], check=False)
    (out / "facts.json").write_text(json.dumps(facts))
    following.terminate()
    following.wait()
    journal.write_text(_run("journalctl", "--no-pager", "--output=short-monotonic", "--boot"))


if __name__ == "__main__":
    main()
