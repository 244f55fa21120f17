"""The composition root: what it switches off, and what it looks for before anything is switched on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from gpiozero import DigitalOutputDevice
from gpiozero.exc import GPIOPinInUse

from focusd import app
from focusd.config import Config, parse_config
from focusd.drivers import pins
from focusd.errors import ConfigError
from focusd.halt import Halt
from focusd_sim.clock import VirtualClock
from focusd_sim.pins import SimFactory

EN, RELEASE, FOCUS, LAMP = 22, 24, 25, 5
TABLE: dict[str, Any] = {
    "rail": {"step_pin": 17, "direction_pin": 27, "enable_pin": EN, "high_um": 25_000},
    "camera": {"kind": "dslr", "release_pin": RELEASE, "focus_pin": FOCUS, "feedback_pin": 16},
    "lights": {"lamp": {"pin": LAMP}},
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)  # `release` goes to the data folder, and the test comes back
    return parse_config({**TABLE, "data": {"dir": str(tmp_path)}}, "rig.toml")


class Bench:
    """Lines that a killed daemon has left on; `edges` are (line, level)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.factory = SimFactory(VirtualClock(), {EN: "down", RELEASE: "up", FOCUS: "up", LAMP: "up"})
        self.edges: list[tuple[int, bool]] = []
        for line in (EN, RELEASE, FOCUS, LAMP):
            self.factory.watch(line, lambda line, level, _t_s: self.edges.append((line, level)))
        monkeypatch.setattr(pins, "open_pins", lambda _gpio: self.factory)


def test_release_switches_everything_off_the_motor_first(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(monkeypatch)
    app.release(config)
    off = [(EN, True), (RELEASE, False), (FOCUS, False), (LAMP, False)]
    assert [edge for edge in bench.edges if edge in off] == off


@pytest.mark.parametrize(("taken", "still"), [(17, [RELEASE, FOCUS, LAMP]), (16, [RELEASE, FOCUS, LAMP])])
def test_a_line_that_cannot_be_had_keeps_nothing_else_on(
    config: Config, monkeypatch: pytest.MonkeyPatch, taken: int, still: list[int]
) -> None:
    bench = Bench(monkeypatch)
    holder = DigitalOutputDevice(taken, pin_factory=bench.factory)
    with pytest.raises(GPIOPinInUse):
        app.release(config)
    assert [line for line, level in bench.edges if line != EN and not level] == still
    holder.close()


@pytest.mark.parametrize(
    "camera",
    [
        {"kind": "dslr", "release_pin": RELEASE, "files": "raw"},
        {"kind": "gphoto2", "files": "raw"},
        {"kind": "picamera2", "files": "dng", "frame_size": {"width": 160, "height": 120}},
    ],
)
def test_raw_files_without_rawpy_are_noticed_before_the_first_frame(
    config: Config, monkeypatch: pytest.MonkeyPatch, camera: dict[str, Any]
) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    bench = Bench(monkeypatch)
    raw = parse_config({**TABLE, "camera": camera, "data": {"dir": str(config.data.dir)}}, "rig.toml")
    with pytest.raises(ConfigError, match="needs rawpy, which is not installed here: pip install focusd"):
        app.build_camera(raw, bench.factory, VirtualClock(), Halt())


def test_raw_files_that_stay_in_the_camera_need_no_rawpy(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    camera = {"kind": "dslr", "release_pin": RELEASE, "files": "raw", "frames": "none"}
    raw = parse_config({**TABLE, "camera": camera, "data": {"dir": str(config.data.dir)}}, "rig.toml")
    app.build_camera(raw, Bench(monkeypatch).factory, VirtualClock(), Halt()).close()
