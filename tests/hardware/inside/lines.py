"""A Raspberry Pi's lines, made by the kernel's simulator, and the tracer that sees what is written."""

from __future__ import annotations

import os
import re
import select
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ring import PAGE_BYTES, Record, records

CONFIGFS = Path("/sys/kernel/config/gpio-sim")
TRACING = Path("/sys/kernel/tracing")
# As on a Pi 4B: gpiozero and rpi-lgpio look for this chip.
LABEL, COUNT = "pinctrl-bcm2711", 54
_BUFFER_KB = 16384


class Lines:
    """The lines of a chip made by gpio-sim (Documentation/admin-guide/gpio/gpio-sim.rst); needs root."""

    def __init__(self) -> None:
        chip = CONFIGFS / "rpi"
        bank = chip / "bank0"
        bank.mkdir(parents=True)
        (bank / "num_lines").write_text(str(COUNT))
        (bank / "label").write_text(LABEL)
        for number in range(COUNT):
            line = bank / f"line{number}"
            line.mkdir()
            (line / "name").write_text(f"GPIO{number}")
        (chip / "live").write_text("1")
        device = (chip / "dev_name").read_text().strip()
        name = (bank / "chip_name").read_text().strip()
        self._folder = Path("/sys/devices/platform") / device / name
        found = re.search(rf"{name}: GPIOs (\d+)-", Path("/sys/kernel/debug/gpio").read_text())
        if found is None:
            raise RuntimeError(f"{name} is not in /sys/kernel/debug/gpio")
        self.base = int(found[1])
        # The node gets its group from the rule under test.
        subprocess.run(["udevadm", "settle"], check=True)

    def level(self, line: int) -> bool:
        """Level of a line now."""
        return (self._folder / f"sim_gpio{line}" / "value").read_text().strip() == "1"

    def pull(self, line: int, up: bool) -> None:
        """Pull a line up or down, as a resistor or a switch on the board does."""
        (self._folder / f"sim_gpio{line}" / "pull").write_text("pull-up" if up else "pull-down")


@dataclass(frozen=True, slots=True)
class Write:
    """What a program did to a line: wrote a level, or claimed it as an input."""

    t_ns: int
    line: int
    level: bool | None


class Tracer:
    """Everything that is written to any line, from now on, on CLOCK_MONOTONIC.

    Parameters
    ----------
    base : int
        The kernel's number of line 0.
    """

    def __init__(self, base: int) -> None:
        self._base = base
        (TRACING / "trace_clock").write_text("mono")
        (TRACING / "buffer_size_kb").write_text(str(_BUFFER_KB))
        # A reader wakes at the first event, not when the buffer is half full.
        (TRACING / "buffer_percent").write_text("0")
        events = TRACING / "events" / "gpio"
        self._value = _number(events / "gpio_value")
        self._direction = _number(events / "gpio_direction")
        (events / "gpio_value" / "filter").write_text("get==0")
        # What a program asks of its inputs leaves no mark but this.
        (events / "gpio_direction" / "filter").write_text("in==1")
        (events / "enable").write_text("1")
        self._pipe = os.open(TRACING / "per_cpu/cpu0/trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)

    def heed(self, pipe: int) -> None:
        """End `wait` for what comes through `pipe`, too."""
        self._poll.register(pipe, select.POLLIN)

    def wait(self, seconds: float) -> None:
        """Wait for something to read, or for `seconds`."""
        self._poll.poll(max(1, round(seconds * 1000)))

    def read(self) -> Iterator[Write]:
        """Everything so far that was not read yet."""
        kinds = frozenset({self._value, self._direction})
        while True:
            try:
                page = os.read(self._pipe, PAGE_BYTES)
            except BlockingIOError:
                return
            for record in records(page, kinds):
                yield self._write(record)

    def _write(self, record: Record) -> Write:
        level = bool(record.second) if record.event == self._value else None
        return Write(record.t_ns, record.line - self._base, level)


def _number(event: Path) -> int:
    """Return the number of a kind of event; a kernel without perf has no file ``id``."""
    found = re.search(r"^ID: (\d+)$", (event / "format").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
