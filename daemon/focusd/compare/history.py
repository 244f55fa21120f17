"""How the figures of benchmarks went over time: a file of JSON lines that each run adds one to."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from focusd import __version__
from focusd.compare.chart import Line, draw
from focusd.errors import FocusdError

_LARGEST_BYTES = 64 << 20
_CPUINFO = Path("/proc/cpuinfo")
# By the ends of figures' names; the longer come first.
_UNITS = {"_ms_mp": "ms / MP", "_percent": "%", "_ms": "ms", "_mb": "MB", "_db": "dB", "_s": "s"}
_MODEL = Path("/proc/device-tree/model")


@dataclass(frozen=True, slots=True)
class Entry:
    """What one run of a benchmark found.

    Parameters
    ----------
    when : str
        UTC, ISO 8601.
    bench : str
        Name of the benchmark; figures of one name are comparable.
    figures : dict of str to float
        By name, which ends in the unit (``_s``, ``_ms_mp``, ``_mb``, ``_db``).
    machine : str
        What it ran on: model, processor and number of cores that it could use.
    versions : dict of str to str
        Of focusd, Python, NumPy and OpenCV.
    commit : str or None
        Of the checkout it ran from, where it ran from one.
    """

    when: str
    bench: str
    figures: dict[str, float]
    machine: str
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None


def record(path: Path, bench: str, figures: Mapping[str, float]) -> Entry:
    """Add a run of a benchmark to a history, which is made if there is none.

    Parameters
    ----------
    path : Path
        The file.
    bench : str
        Name of the benchmark.
    figures : mapping of str to float
        Finite, by name.

    Raises
    ------
    FocusdError
        No figures or one that is not finite, or a file that cannot be written.
    """
    wrong = {name: value for name, value in figures.items() if not isfinite(value)}
    if wrong or not figures:
        raise FocusdError(f"history of {bench}: figures {wrong or 'missing'}: each must be a finite number")
    made = Entry(
        datetime.now(UTC).isoformat(timespec="seconds"),
        bench,
        {name: float(value) for name, value in figures.items()},
        machine(),
        versions(),
        commit(),
    )
    line = json.dumps(asdict(made), sort_keys=True).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            # Benchmarks that end together must not write into each other's lines.
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                # A line torn by a power cut must not take this one with it.
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line)
    except OSError as error:
        raise FocusdError(f"{path}: cannot be written ({error.strerror}); check the folder") from error
    return made


def read(path: Path) -> tuple[list[Entry], list[str]]:
    """Read a history.

    Returns
    -------
    list of Entry
        In the order they were added.
    list of str
        What is wrong with lines that were passed over.

    Raises
    ------
    FocusdError
        A file that cannot be read, or one of more than 64 MiB.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            raise FocusdError(
                f"{path}: {size} bytes; a history has {_LARGEST_BYTES} at most: begin a new one"
            )
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise FocusdError(f"{path}: cannot be read ({error.strerror}); check the name") from error
    found, faults = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(_entry(json.loads(line)))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            faults.append(f"{path}: line {number} is no entry of a history and is passed over: {error}")
    return found, faults


def machine() -> str:
    """Say what this runs on."""
    model = ""
    with suppress(OSError):
        if _MODEL.is_file():
            model = _MODEL.read_text().rstrip("\0\n")
        else:
            lines = _CPUINFO.read_text().splitlines()
            model = next(
                (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), ""
            )
    cores = len(os.sched_getaffinity(0))
    return f"{model or platform.processor() or 'unknown processor'}, {platform.machine()}, {cores} cores"


def versions() -> dict[str, str]:
    """Of what decides how fast things are."""
    return {
        "focusd": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }


def commit() -> str | None:
    """Commit of the checkout that this file is in, ``-dirty`` if it is changed; None where there is none."""
    root, git = Path(__file__).parents[3], shutil.which("git")
    if git is None or not (root / "daemon" / "focusd" / "compare").is_dir():
        return None
    asked = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip() or None


def charts(entries: Sequence[Entry]) -> list[str]:
    """Draw how figures went: a chart for each benchmark and unit, a line for each figure and machine.

    Parameters
    ----------
    entries : sequence of Entry
        In the order they were added.

    Returns
    -------
    list of str
        HTML.
    """
    drawn = []
    several = len({entry.machine for entry in entries}) > 1
    for bench in dict.fromkeys(entry.bench for entry in entries):
        runs = [entry for entry in entries if entry.bench == bench]
        units: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for at, entry in enumerate(runs):
            for key, value in entry.figures.items():
                name, unit = _named(key)
                name = f"{name}, {entry.machine}" if several else name
                units.setdefault(unit, {}).setdefault(name, []).append((float(at), value))
        label = f"{bench}, {runs[0].when[:10]} to {runs[-1].when[:10]}"
        names = [entry.commit[:7] if entry.commit else entry.when[:10] for entry in runs]
        for unit, figures in units.items():
            lines = [Line(name, tuple(points)) for name, points in figures.items()]
            drawn.append(draw(lines, x_label=label, y_label=unit, x_names=names))
    return drawn


def _named(key: str) -> tuple[str, str]:
    """Tell a figure's name from its unit."""
    for ending, unit in _UNITS.items():
        if key.endswith(ending):
            return key.removesuffix(ending).replace("_", " "), unit
    return key.replace("_", " "), "no unit"


def _entry(facts: dict[str, Any]) -> Entry:
    figures = {str(name): float(value) for name, value in facts["figures"].items()}
    if not all(map(isfinite, figures.values())):
        raise ValueError("a figure is not finite")
    when = datetime.fromisoformat(facts["when"]).isoformat(timespec="seconds")
    versions = {str(name): str(value) for name, value in dict(facts.get("versions") or {}).items()}
    mark = facts.get("commit")
    return Entry(
        when,
        str(facts["bench"]),
        figures,
        str(facts["machine"]),
        versions,
        None if mark is None else str(mark),
    )
