"""Runs the examinations under the Python that has the genuine picamera2 and libcamera's virtual camera."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
_TREE = _HERE.parents[2]
_LIBCAMERA = Path("/opt/libcamera-virtual")
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
_VENV = _CACHE / "focusd-hardware/picamera2-0.3.38"
_LONGEST_S = 100

Found = dict[str, Any]
Examine = Callable[[str], Found]


def _missing() -> str | None:
    if platform.machine() != "x86_64":
        return "libcamera's virtual camera is built for x86_64"
    if not (_LIBCAMERA / "lib").is_dir():
        return f"no {_LIBCAMERA}: run .ci/libcamera as root"
    if not (_VENV / "made").exists():
        return f"no picamera2 in {_VENV}: run .ci/libcamera (it needs Python 3.11)"
    return None


def run_inside(
    module: list[str], folder: Path, longest_s: float, more: tuple[Path, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a module with its arguments under that Python, in a folder, with `more` to import from."""
    path = [_LIBCAMERA / "lib/python3.11/site-packages", _TREE / "daemon", _TREE / "hw-sim", _HERE, *more]
    return subprocess.run(
        [_VENV / "bin/python", "-m", *module],
        cwd=folder,
        env={
            **{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
            "LD_LIBRARY_PATH": str(_LIBCAMERA / "lib"),
            "LIBCAMERA_LOG_LEVELS": "*:ERROR",
            "LIBCAMERA_VIRTUAL_FAULT": str(folder / "fault"),
            "PYTHONPATH": os.pathsep.join(map(str, path)),
        },
        capture_output=True,
        text=True,
        timeout=longest_s,
        check=False,
    )


@pytest.fixture(scope="session")
def virtual_camera() -> None:
    """Skip where there is no genuine picamera2, or no virtual camera for it."""
    missing = _missing()
    if missing:
        pytest.skip(missing)


@pytest.fixture(scope="session")
def examine(virtual_camera: None, tmp_path_factory: pytest.TempPathFactory) -> Examine:
    """Return what runs one of `inside.examine`'s examinations, once, and hands back what it found."""

    @cache
    def run(name: str) -> Found:
        done = run_inside(["inside.examine", name], tmp_path_factory.mktemp(name), _LONGEST_S)
        assert done.returncode == 0, done.stderr[-4000:]
        found: Found = json.loads(done.stdout.splitlines()[-1])
        return found

    return run
