"""Installs focusd in a bookworm and a trixie at once, each in a root of its own, and then once more."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from .root import Forbidden, Outcome, Root, Unavailable, fresh

ROOT = Path(__file__).parents[2]
SUITES = ("bookworm", "trixie")
CHECKOUT = "/home/pi/focusd"
PIP = ("/opt/focusd/bin/python", "-m", "pip")
SCRIPT = f"{CHECKOUT}/systemd/install.sh"
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "daemon", "hw-sim", "config", "systemd")


@dataclass(frozen=True, slots=True)
class Installed:
    """A root, and what was said in it, in this order.

    Parameters
    ----------
    root : Root
        As the last run left it.
    as_user, offline : Outcome
        Of `systemd/install.sh` by a user, and without a network.
    first : Outcome
        As documented.
    checked : Outcome
        Of ``pip check`` after it.
    numpy : str
        Where NumPy then was.
    second, third : Outcome
        With every extra, of a wheel, over an install that was tampered with; and the same again.
    frozen : tuple of str
        What ``pip freeze`` said before and after the third.
    """

    root: Root
    as_user: Outcome
    offline: Outcome
    first: Outcome
    checked: Outcome
    numpy: str
    second: Outcome
    third: Outcome
    frozen: tuple[str, str]


@pytest.fixture(scope="session")
def installs() -> Iterator[dict[str, Future[Installed]]]:
    """Install everywhere at once: apt unpacks in one root while pip compiles in the other."""
    with ExitStack() as roots, ThreadPoolExecutor(len(SUITES)) as pool:
        yield {suite: pool.submit(_install, suite, roots) for suite in SUITES}


@pytest.fixture(params=SUITES)
def installed(request: pytest.FixtureRequest, installs: dict[str, Future[Installed]]) -> Installed:
    """Return what came of one; skips with the reason.

    In CI (FOCUSD_NO_SKIP set) it fails with it, but where the machine does not let anyone enter a root.
    """
    try:
        return installs[request.param].result()
    except Forbidden as reason:
        pytest.skip(str(reason))
    except Unavailable as reason:
        if os.environ.get("FOCUSD_NO_SKIP"):
            pytest.fail(f"skipped where it may not: {reason}", pytrace=False)
        pytest.skip(str(reason))


@pytest.fixture
def root(installed: Installed) -> Root:
    """Return the root in which focusd is installed."""
    return installed.root


def _install(suite: str, roots: ExitStack) -> Installed:
    root = roots.enter_context(fresh(suite))
    _copy_sources(root.path / CHECKOUT.lstrip("/"))
    as_user = root.run("setpriv", "--reuid", "daemon", "--clear-groups", SCRIPT)
    offline = root.run(SCRIPT, network=False)
    first = root.run(SCRIPT)
    assert first.code == 0, first.said
    checked = root.run(*PIP, "check")
    numpy = root.python("import numpy; print(numpy.__file__)")
    wheel = _pack(root)
    _tamper(root)
    command = (SCRIPT, "--extras", "tmc,gphoto2,raw,plots", wheel)
    second = root.run(*command)
    had = root.run(*PIP, "freeze").said
    third = root.run(*command)
    has = root.run(*PIP, "freeze").said
    return Installed(root, as_user, offline, first, checked, numpy, second, third, (had, has))


def _copy_sources(target: Path) -> None:
    target.mkdir(parents=True)
    for name in _SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "_*.so"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, target)


def _pack(root: Root) -> str:
    """Make a wheel of what is installed, which spares compiling it once more; return where it lies."""
    (info,) = (root.path / "opt/focusd/lib").glob("python3.*/site-packages/focusd-*.dist-info")
    site, of_pip = info.parent, {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
    rows = csv.reader((info / "RECORD").read_text().splitlines())
    names = [name for name, *_ in rows if not name.startswith("..") and not name.endswith(".pyc")]
    names = [name for name in names if Path(name).parent.name != info.name or Path(name).name not in of_pip]
    (tag,) = re.findall(r"^Tag: (.+)$", (info / "WHEEL").read_text(), re.MULTILINE)
    wheel = f"/root/{info.stem}-{tag}.whl"
    with ZipFile(root.path / wheel.lstrip("/"), "w") as archive:
        for name in names:
            archive.write(site / name, name)
        record = f"{info.name}/RECORD"
        archive.writestr(record, "".join(f"{name},,\n" for name in (*names, record)))
    return wheel


def _tamper(root: Root) -> None:
    """Edit the configuration and the unit, and leave a NumPy of pip's own, as an install by hand does."""
    path = root.path / "etc/focusd/focusd.toml"
    path.write_text("# mine\n" + path.read_text())
    (root.path / "etc/systemd/system/focusd.service").write_text("# mine\n[Unit]\nDescription=mine\n")
    (site,) = (root.path / "opt/focusd/lib").glob("python3.*/site-packages")
    files = {
        "numpy/__init__.py": '__version__ = "9.9"\n',
        "numpy-9.9.dist-info/METADATA": "Metadata-Version: 2.1\nName: numpy\nVersion: 9.9\n",
        "numpy-9.9.dist-info/INSTALLER": "pip\n",
    }
    record = "numpy-9.9.dist-info/RECORD"
    files[record] = "".join(f"{name},,\n" for name in (*files, record))
    for name, text in files.items():
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(text)
    assert root.python("import numpy; print(numpy.__version__)") == "9.9"
