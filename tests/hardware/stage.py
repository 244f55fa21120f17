"""What the machine under test finds on top of this one: the wheel, the unit, the rule, a user, the rig."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PYTHON = "/usr/bin/python3"
"""The system's own: the unit hides home folders, where another might live."""
_UID = 961
_MASKED = (
    "systemd-timesyncd.service",
    "systemd-networkd-wait-online.service",
    "ifupdown-wait-online.service",
    "NetworkManager-wait-online.service",
    "networking.service",
    "systemd-resolved.service",
    "systemd-update-utmp.service",
)
_PLANT = """[Unit]
Description=the rig around the daemon
After=systemd-udevd.service
Before=focusd.service

[Service]
Type=notify
ExecStart=/opt/focusd/bin/python /opt/hardware/plant.py /out
TimeoutStartSec=300
StandardError=append:/out/plant.log
"""
_EXAMINER = """[Unit]
Description=the acts
After=plant.service mosquitto.service

[Service]
ExecStart=/opt/focusd/bin/python /opt/hardware/examiner.py /out
ExecStopPost=/usr/bin/systemctl poweroff --force --force
StandardOutput=append:/out/examiner.log
StandardError=append:/out/examiner.log
"""
_TARGET = """[Unit]
Description=a rig and its examination
Requires=basic.target
After=basic.target
Wants=plant.service mosquitto.service focusd.service examiner.service
AllowIsolate=yes
"""
# A Pi 4B's revision: gpiozero reads it from /proc/cpuinfo (bound by the unit, because its ProtectProc= mounts
# a /proc of its own), rpi-lgpio from the device tree or this variable.
# And a daemon that hangs shall say where.
_BOARD = """[Service]
BindReadOnlyPaths=/etc/focusd/cpuinfo:/proc/cpuinfo
Environment=RPI_LGPIO_REVISION=c03112 PYTHONFAULTHANDLER=1
"""
_CPUINFO = "processor\t: 0\n\nRevision\t: c03112\nModel\t\t: Raspberry Pi 4 Model B Rev 1.2\n"


def install(folder: Path, work: Path) -> None:
    """Build the wheel and install it, as the README says, into ``folder/opt/focusd``.

    Parameters
    ----------
    folder : Path
        Will be laid over ``/``.
    work : Path
        For the wheel.
    """
    target = folder / "opt" / "focusd"
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(work)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = work.glob("*.whl")
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(target)], check=True)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--python"]
    pip += [str(target / "bin" / "python"), "install", str(wheel), "lgpio>=0.2", "rpi-lgpio>=0.6"]
    pip += ["pytest>=8.3", "pytest-timeout>=2.3"]  # for the contract of the rail
    subprocess.run(pip, check=True)
    for script in (target / "bin").glob("focusd*"):
        # It will run where it is not installed now.
        script.write_text(script.read_text().replace(f"#!{target}/", "#!/opt/focusd/", 1))


def furnish(folder: Path, table: dict[str, Any], acts: list[list[Any]]) -> None:
    """Write everything but the package.

    Parameters
    ----------
    folder : Path
        Will be laid over ``/``.
    table : dict
        The daemon's configuration.
    acts : list
        For `examiner.py`: names of its methods, with arguments.
    """
    shutil.copytree(
        HERE / "inside", folder / "opt" / "hardware", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(
        ROOT / "tests" / "contract",
        folder / "opt" / "contract",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    etc = folder / "etc"
    units = etc / "systemd" / "system"
    for path in (etc / "focusd", etc / "udev" / "rules.d", units / "focusd.service.d"):
        path.mkdir(parents=True)
    shutil.copy(ROOT / "systemd" / "focusd.service", units)
    shutil.copy(ROOT / "systemd" / "60-focusd-gpio.rules", etc / "udev" / "rules.d")
    (units / "focusd.service.d" / "board.conf").write_text(_BOARD)
    (units / "plant.service").write_text(_PLANT)
    (units / "examiner.service").write_text(_EXAMINER)
    (units / "hardware.target").write_text(_TARGET)
    for name in _MASKED:
        (units / name).symlink_to("/dev/null")
    (etc / "fstab").write_text("")
    (etc / "focusd" / "cpuinfo").write_text(_CPUINFO)
    (etc / "focusd" / "focusd.toml").write_text(toml(table))
    (etc / "focusd" / "acts.json").write_text(json.dumps(acts))
    _add_users(etc)


def configuration(**over: dict[str, Any]) -> dict[str, Any]:
    """Return `config/focusd.toml` with some values replaced, and its physics.

    The board has no [sim] table of its own: the plant's carriage and camera are what the file describes.
    """
    table = tomllib.loads((ROOT / "config" / "focusd.toml").read_text())
    table["camera"]["frame_size"] = {"width": 160, "height": 120}
    table["sim"] = {"scene": "slope", "centre_um": 5000.0, "carriage": {"backlash_um": 50.0}}
    for name, values in over.items():
        table[name] = {**table.get(name, {}), **values} if isinstance(values, dict) else values
    exposure_s = table["camera"]["exposure_s"]
    table["sim"]["dslr"] = {"exposure_s": exposure_s, "light_s": exposure_s}
    return table


def toml(table: dict[str, Any], prefix: str = "") -> str:
    """Write a configuration: scalars first, then tables."""
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += [f"[{prefix}{key}]", toml(value, f"{prefix}{key}.")]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    return json.dumps(value)


def _add_users(etc: Path) -> None:
    """Add what ``useradd --system --groups gpio,video focusd`` would; a Pi has the group gpio already."""
    groups = {line.split(":")[0]: line for line in Path("/etc/group").read_text().splitlines()}
    groups.setdefault("gpio", f"gpio:x:{_UID - 1}:")
    groups["focusd"] = f"focusd:x:{_UID}:"
    for name in ("gpio", "video"):
        groups[name] += ("" if groups[name].endswith(":") else ",") + "focusd"
    (etc / "group").write_text("\n".join(groups.values()) + "\n")
    users = Path("/etc/passwd").read_text()
    (etc / "passwd").write_text(users + f"focusd:x:{_UID}:{_UID}::/nonexistent:/usr/sbin/nologin\n")
