"""The wheel as a user gets it: built from the sources, installed by pip, loaded by a Python of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from focusd.drivers import native

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "daemon", "hw-sim")
KERNEL = "focusd/fusion/_kernel.so"
PULSES = "focusd/drivers/_pulses.so"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the sources, with a library in it that must not get into a wheel."""
    copy = tmp_path_factory.mktemp("wheel") / "focusd"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "_kernel*", "_pulses*")
            )
        else:
            shutil.copy(source, copy / name)
    for library in (KERNEL, PULSES):
        (copy / "daemon" / library).write_bytes(b"of an editable install")
    return copy


def build(tree, folder, **environment):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    inherited = {name: value for name, value in os.environ.items() if name not in ("CC", "FOCUSD_KERNEL")}
    subprocess.run(command, cwd=tree, env={**inherited, **environment}, check=True, timeout=240)
    (wheel,) = folder.iterdir()
    return wheel


def packed(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.endswith((".so", ".c"))}


def installed(wheel, folder):
    """Install with pip alone, no index, and say which libraries the package then loads."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "-q",
        "--disable-pip-version-check",
        "install",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*pip, "--target", str(folder), str(wheel)], check=True, timeout=240)
    code = """
from focusd.drivers import native
from focusd.errors import ConfigError
from focusd.fusion import compiled
print(compiled.LIBRARY, compiled.library() is not None, native.LIBRARY)
try:
    print(native.library().focusd_pulses_version())
except ConfigError as error:
    print("pins" if 'rail.pulses = "pins"' in str(error) else error)
"""
    environment = {name: value for name, value in os.environ.items() if name != "FOCUSD_KERNEL"}
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": str(folder)},
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return said.stdout.split()


# Two builds of the kernel take ten seconds, and a Pi a minute.
@pytest.mark.timeout(600)
def test_with_a_compiler_the_wheel_holds_the_kernel(tree, tmp_path):
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler here (apt install gcc libc6-dev)")
    wheel = build(tree, tmp_path / "dist", FOCUSD_KERNEL="compiled")
    assert wheel.name.startswith("focusd-")
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    held = packed(wheel)
    assert set(held) == {KERNEL, PULSES}
    assert b"of an editable install" not in held.values()
    site = tmp_path / "site"
    assert installed(wheel, site) == [str(site / KERNEL), "True", str(site / PULSES), str(native._VERSION)]
    again = build(tree, tmp_path / "again", FOCUSD_KERNEL="compiled")
    assert again.read_bytes() == wheel.read_bytes()


def test_without_one_the_wheel_is_for_any_machine(tree, tmp_path):
    wheel = build(tree, tmp_path / "dist", PATH=str(tmp_path))
    assert wheel.name.endswith("-py3-none-any.whl")
    assert packed(wheel) == {}
    site = tmp_path / "site"
    assert installed(wheel, site) == [str(site / KERNEL), "False", str(site / PULSES), "pins"]
