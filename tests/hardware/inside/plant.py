"""The rig around the daemon: what it does to its lines moves the simulator's carriage and fires its camera.

Outside the daemon and unknown to it: it reads every write from the kernel's tracer, pulls the end stop's
line, and drops the camera's pictures into the inbox. On SIGUSR1 it notes what is truly the case; on SIGTERM
it does so for the last time, writes all that (`truth.json`) and what it saw (`writes.txt`), and ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lines import Lines, Tracer, Write

from focusd.camera_config import DslrConfig
from focusd.config import load_config
from focusd.notify import notify
from focusd_sim.bench import Bench
from focusd_sim.bench import Lines as Wiring
from focusd_sim.catalogue import scene_of
from focusd_sim.clock import VirtualClock
from focusd_sim.config import SimConfig
from focusd_sim.dslr import Dslr, DslrLines
from focusd_sim.faults import Faults
from focusd_sim.sensor import Sensor
from focusd_sim.truth import Truth
from focusd_sim.view import View

CONFIG = Path("/etc/focusd/focusd.toml")
_IDLE_S = 60.0


class PlantClock(VirtualClock):
    """The machine's monotonic time, as far as the trace has been read."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = time.monotonic()

    def advance(self, to_s: float) -> None:
        """Let time pass up to `to_s`, running what falls due."""
        self.sleep(to_s - self.now_s())

    @property
    def next_due_s(self) -> float | None:
        """When something falls due next, if anything does."""
        return self._due[0][0] if self._due else None


class Board:
    """The lines as the physics sees them.

    Parameters
    ----------
    lines : Lines
        The kernel's.
    clock : PlantClock
        Of every edge.
    pulls : dict of int to bool
        Resistors on the board: lines and whether each is pulled up.
    """

    def __init__(self, lines: Lines, clock: PlantClock, pulls: dict[int, bool]) -> None:
        self._lines = lines
        self._clock = clock
        self._observers: dict[int, list[Callable[[int, bool, float], None]]] = {}
        self._driven: dict[int, bool] = {}
        self._levels = dict(pulls)
        self.drives: list[tuple[int, int, int]] = []
        for line, up in pulls.items():
            lines.pull(line, up)

    def level(self, line: int) -> bool:
        """Level of a line."""
        if line not in self._levels:
            self._levels[line] = self._lines.level(line)
        return self._levels[line]

    def watch(self, line: int, observer: Callable[[int, bool, float], None]) -> None:
        """Tell `observer` of every change of `line`."""
        self._observers.setdefault(line, []).append(observer)

    def drive(self, line: int, level: bool) -> None:
        """Drive a line from outside, as a switch does."""
        self._driven[line] = level
        self._lines.pull(line, level)
        self.drives.append((time.monotonic_ns(), line, int(level)))

    def take(self, write: Write) -> None:
        """Take what the daemon did to a line."""
        if write.level is not None:
            self._change(write.line, write.level, write.t_ns * 1e-9)
        elif write.line in self._driven:
            # Claiming an input with a pull of its own replaces gpio-sim's: on a board the switch wins.
            self._lines.pull(write.line, self._driven[write.line])

    def _change(self, line: int, level: bool, t_s: float) -> None:
        if self.level(line) == level:
            return
        self._levels[line] = level
        for observer in self._observers.get(line, ()):
            observer(line, level, t_s)


class Plant:
    """Bench, camera and the loop that feeds them.

    Parameters
    ----------
    config : Config
        The daemon's own; its ``[sim]`` table says what the physics is.
    """

    def __init__(self, config_file: Path) -> None:
        config = load_config(config_file)
        sim = SimConfig.from_table(config.sim)
        rail, camera = config.rail, config.camera
        assert rail.home is not None
        assert isinstance(camera, DslrConfig)
        self._lines = Lines()
        self._tracer = Tracer(self._lines.base)
        self._clock = PlantClock()
        pulls = {
            rail.enable_pin: rail.enable_active == "low",
            rail.step_pin: False,
            rail.direction_pin: False,
        }
        pulls |= {line: camera.active == "low" for line in (camera.release_pin, camera.focus_pin) if line}
        self._board = Board(self._lines, self._clock, pulls)
        faults = Faults(self._clock, sim.seed)
        wiring = Wiring(rail.step_pin, rail.direction_pin, rail.enable_pin, rail.home.pin)
        self._bench = Bench(sim, self._clock, self._board, wiring, faults)
        self._truth = Truth(self._bench)
        sensor = Sensor(**sim.sensor.model_dump())
        view = View(
            scene_of(sim),
            sensor,
            sim.optics,
            self._bench,
            self._truth,
            centre_um=sim.centre_um,
            seed=sim.seed,
        )
        if camera.frames == "inbox":
            body = DslrLines(camera.release_pin, camera.focus_pin)
            Dslr(sim.dslr, self._clock, self._board, body, self._bench, view, _inbox(camera), faults)
        self._writes: list[Write] = []
        self._marks: list[dict[str, Any]] = []
        self._mark = self._ended = False

    def run(self) -> None:
        """Feed the physics until SIGTERM."""
        for signum in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(signum, self._on_signal)
        # A signal alone does not end a wait: Python goes on with what is left of it.
        woken, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker)
        self._tracer.heed(woken)
        notify("READY=1")
        while not self._ended:
            due_s = self._clock.next_due_s
            self._tracer.wait(_IDLE_S if due_s is None else due_s - time.monotonic())
            self._read()
            if self._mark:
                os.read(woken, 64)
                self._mark = False
                self._note()
        self._read()
        self._note()

    def report(self, folder: Path) -> None:
        """Write what was seen and what was true."""
        writes = [f"{w.t_ns} {w.line} {'in' if w.level is None else int(w.level)}\n" for w in self._writes]
        (folder / "writes.txt").write_text("".join(writes))
        truth = {"marks": self._marks, "endstop": self._board.drives}
        (folder / "truth.json").write_text(json.dumps(truth))

    def _note(self) -> None:
        self._marks.append({**self._truth.as_json(), "position_um": self._bench.position_um()})

    def _read(self) -> None:
        """Take everything up to now."""
        while True:
            now_s = time.monotonic()
            writes = list(self._tracer.read())
            for write in writes:
                # The clock is ahead of a write only by what the previous read took.
                self._clock.advance(max(write.t_ns * 1e-9, self._clock.now_s()))
                self._board.take(write)
            self._writes += writes
            if not writes:
                self._clock.advance(now_s)
                return

    def _on_signal(self, signum: int, _frame: object) -> None:
        self._mark = self._mark or signum == signal.SIGUSR1
        self._ended = self._ended or signum == signal.SIGTERM


def _inbox(camera: DslrConfig) -> Path:
    assert camera.inbox is not None
    return camera.inbox


def main() -> None:
    """Run until SIGTERM; the first argument is where the report goes."""
    plant = Plant(CONFIG)
    plant.run()
    plant.report(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
