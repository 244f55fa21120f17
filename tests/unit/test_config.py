"""The configuration file: what ships is good, and every fault is named at once."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from focusd.app import rail_spec
from focusd.camera_config import DslrConfig, Picamera2Config
from focusd.cli import load
from focusd.config import (
    Config,
    broker_address,
    load_config,
    parse_config,
    read_toml,
)
from focusd.errors import ConfigError, RequestError
from focusd.link.payloads import preset_faults, read_payload

SHIPPED = sorted((Path(__file__).parents[2] / "config").glob("*.toml"))

GOOD: dict[str, Any] = {
    "rail": {
        "step_pin": 17,
        "direction_pin": 27,
        "enable_pin": 22,
        "low_um": 0,
        "high_um": 25_000,
        "home": {"pin": 23, "go_to_um": 5000},
    },
    "camera": {"kind": "dslr", "release_pin": 24, "focus_pin": 25},
}
LIGHTS = {"left": {"pin": 5}, "right": {"pin": 6}}


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The good table with ``"rail.home.pin": value`` put in, or taken out where the value is `...`."""
    table = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *parents, last = path.split(".")
        here = table
        for parent in parents:
            here = here.setdefault(parent, {})
        if value is ...:
            del here[last]
        else:
            here[last] = value
    return table


def faults(changes: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse_config(changed(changes), "rig.toml")
    lines = str(raised.value).splitlines()
    assert lines == [f"rig.toml: {fault}" for fault in raised.value.values["faults"]]
    found: list[str] = raised.value.values["faults"]
    return found


def test_there_is_something_shipped() -> None:
    assert SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_is_good(path: Path) -> None:
    config = load_config(path)
    assert preset_faults(config.presets) == []
    spec = rail_spec(config.rail)
    if spec.homing is not None:
        # The place to go to after homing can be reached from the end stop, run-up and all.
        spec.rehearse([spec.home_reference_um or 0.0], spec.reach(), spec.steps_at(spec.homing.position_um))


def test_the_least_that_must_be_said() -> None:
    config = parse_config(changed({"rail.home": ...}), "rig.toml")
    assert (config.rig.name, config.mqtt.broker, config.rail.at_start) == (
        "focusd",
        "mqtt://localhost:1883",
        "require",
    )
    assert isinstance(config.camera, DslrConfig)
    assert isinstance(config.rail.low_um, float), "whole numbers in TOML are micrometres all the same"


def test_the_other_camera() -> None:
    camera = {"kind": "picamera2", "frame_size": {"width": 640, "height": 480}, "colour_gains": [1.5, 2.0]}
    config = parse_config(changed({"camera": camera}), "rig.toml")
    assert isinstance(config.camera, Picamera2Config)
    assert config.camera.colour_gains == (1.5, 2.0)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"rail.direction_pin": 17}, "pin 17 is used twice: rail.step_pin and rail.direction_pin"),
        ({"rail.enable_pin": 23}, "pin 23 is used twice: rail.enable_pin and rail.home.pin"),
        ({"camera.release_pin": 23}, "pin 23 is used twice: rail.home.pin and camera.release_pin"),
        ({"camera.focus_pin": 24}, "pin 24 is used twice: camera.release_pin and camera.focus_pin"),
        ({"rail.low_um": 25_000}, "low_um 25000 must be below high_um 25000"),
        ({"rail.start_um_s": 3000}, "start_um_s 3000 must not be above cruise_um_s 2000"),
        ({"rail.home": ..., "rail.at_start": "home"}, "no [rail.home]"),
        ({"rail.low_um": 10, "rail.at_start": "zero"}, "0 is outside 10 to 25000 um"),
        ({"rail.home.go_to_um": 25_001}, "home.go_to_um 25001 is outside 0 to 25000 um"),
        ({"rail.home.go_to_um": -1}, "home.go_to_um -1 is outside"),
        ({"stack.default_preset": "moth"}, "stack.default_preset 'moth' is not in [presets]"),
        ({"stack.lights": ["left"]}, "stack.lights: there is no light left; there are: none"),
        ({"presets": {"moth": {"lights": ["left"]}}}, "presets.moth.lights: there is no light left"),
        (
            {"lights": LIGHTS, "presets": {"moth": {"lights": ["left", "left"]}}},
            "presets.moth.lights: a light is named twice: left, left",
        ),
        (
            {"camera.frames": "none", "stack.keep_frames": "source"},
            'stack.keep_frames: "source", and camera.frames is "none"',
        ),
        (
            {"camera.frames": "none", "presets": {"moth": {"keep_frames": "jpeg"}}},
            'presets.moth.keep_frames: "jpeg", and camera.frames is "none"',
        ),
        ({"mqtt.cert_file": "a.pem"}, "give both or neither"),
        ({"mqtt.key_file": "a.pem"}, "give both or neither"),
        ({"mqtt.broker": "tcp://host"}, "write mqtt://host:port"),
        ({"mqtt.broker": "mqtt://"}, "write mqtt://host:port"),
        ({"mqtt.broker": "mqtt://host/topic"}, "write mqtt://host:port"),
        ({"mqtt.broker": "mqtt://me:secret@host"}, "do not belong in the address"),
        ({"mqtt.broker": "mqtt://host:123456"}, "Port out of range"),
        ({"optics": {"magnification": 3.7, "pixel_um": 4.9}}, "exactly one of na and f_number"),
        (
            {"optics": {"magnification": 3.7, "pixel_um": 4.9, "na": 0.1, "f_number": 2.8}},
            "exactly one of na and f_number",
        ),
        ({"optics": {"magnification": 3.7, "pixel_um": 4.9, "na": 1.1}}, "below the refractive index"),
        ({"rail.step_pin": 28}, "rail.step_pin: Input should be less than or equal to 27, got 28"),
        ({"rail.step_pin": "17"}, "rail.step_pin: Input should be a valid integer, got '17'"),
        ({"rail.step_pin": True}, "rail.step_pin: Input should be a valid integer, got True"),
        ({"rail.step_pin": ...}, "rail.step_pin: Field required"),
        ({"rail.microsteps": 3}, "rail.microsteps: Input should be 1, 2, 4"),
        ({"rail.lead_um": 0}, "rail.lead_um: Input should be greater than 0"),
        ({"rail.backlash_um": -1}, "rail.backlash_um: Input should be greater than or equal to 0"),
        ({"rail.high_um": float("inf")}, "rail.high_um: Input should be a finite number"),
        ({"rail.low_um": float("nan")}, "rail.low_um: Input should be a finite number"),
        ({"rig.name": "Bench 1"}, "rig.name: String should match pattern"),
        ({"rig.name": "a/b"}, "rig.name: String should match pattern"),
        ({"rig.name": "b+"}, "rig.name: String should match pattern"),
        ({"mqtt.password_credential": "../x"}, "mqtt.password_credential: String should match"),
        ({"camera.kind": "webcam"}, "camera"),
        ({"camera.kind": ...}, "camera"),
        ({"camera.frames": "ftp"}, "camera.frames: Input should be 'inbox' or 'none'"),
        ({"stack.overlap": 1}, "stack.overlap: Input should be less than 1"),
        ({"preview.interval_s": 0}, "preview.interval_s"),
        ({"rail": 5}, "rail: "),
    ],
)
def test_what_is_refused(changes: dict[str, Any], fault: str) -> None:
    assert any(fault in line for line in faults(changes))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"rail.backlsh_um": 3}, "rail.backlsh_um: unknown key 'backlsh_um' (did you mean 'backlash_um'?)"),
        ({"rial": {}}, "rial: unknown key 'rial' (did you mean 'rail'?)"),
        ({"rail.home.positon_um": 3}, "unknown key 'positon_um' (did you mean 'position_um'?)"),
        ({"camera.relase_pin": 3}, "unknown key 'relase_pin' (did you mean 'release_pin'?)"),
        ({"camera.lens_positon": 3}, "unknown key 'lens_positon'"),
        ({"stack.xyz": 3}, "unknown key 'xyz'; known here: align, border, default_preset, fusion_mode"),
    ],
)
def test_an_unknown_key_meets_its_neighbour(changes: dict[str, Any], fault: str) -> None:
    lines = faults(changes)
    assert len(lines) == 1
    assert fault in lines[0]


def test_a_key_of_the_other_camera_is_not_suggested() -> None:
    (line,) = faults({"camera.lens_positon": 3})
    assert "lens_position" not in line


def test_every_fault_is_listed_at_once() -> None:
    lines = faults(
        {
            "rig.nmae": "x",
            "mqtt.queue_limit": -1,
            "mqtt.broker": "http://x",
            "rail.step_pin": 99,
            "rail.driver": "l298",
            "rail.home.slow_um_s": 0,
            "camera.release_pin": "24",
            "preview.max_side_px": 8,
        }
    )
    for named in (
        "rig.nmae",
        "mqtt.queue_limit",
        "rail.step_pin",
        "rail.driver",
        "rail.home.slow_um_s",
        "release_pin",
        "preview.max_side_px",
    ):
        assert sum(named in line for line in lines) == 1, named


def test_presets_are_looked_at() -> None:
    presets: dict[str, dict[str, Any]] = {
        "moth": {"z_plan": {"range": 100, "step": 5}},
        "bad name": {},
        "wing": {"z_plan": {"rnge": 100}, "settle_s": -1},
    }
    lines = preset_faults(presets)
    assert not any("moth" in line for line in lines)
    assert any("bad name" in line for line in lines)
    assert any("presets.wing" in line and "did you mean 'range'" in line for line in lines)
    assert any("presets.wing" in line and "settle_s" in line for line in lines)


@pytest.mark.parametrize("name", ["moth", "10x", "4711", "true", "null", "-", "M8_x-1"])
def test_a_preset_can_be_started_by_its_bare_name_or_may_not_be_called_so(name: str) -> None:
    refused = bool(preset_faults({name: {"z_plan": {"range": 100, "step": 5}}}))
    try:
        named = read_payload(name.encode()) == name
    except RequestError:
        named = False
    assert named != refused


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://pi", ("pi", 1883, False)),
        ("mqtt://pi/", ("pi", 1883, False)),
        ("mqtts://pi", ("pi", 8883, True)),
        ("mqtts://pi:1884", ("pi", 1884, True)),
        ("mqtt://[::1]:1999", ("::1", 1999, False)),
        ("mqtt://192.168.0.2:1", ("192.168.0.2", 1, False)),
    ],
)
def test_broker_addresses(url: str, address: tuple[str, int, bool]) -> None:
    assert broker_address(url) == address


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: No such file"):
        read_toml(tmp_path / "gone.toml")
    for content in (b"a = ", b"\xff", b"a = 1\na = 2"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad\.toml: not TOML"):
            read_toml(tmp_path / "bad.toml")


def test_the_rail_of_a_configuration_is_exact() -> None:
    config = parse_config(changed({"rail.microsteps": 16, "rail.lead_um": 1270.3}), "rig.toml")
    spec = rail_spec(config.rail)
    assert spec.um_per_step * 3200 * 10 == 12703
    assert spec.homing is not None
    assert (spec.homing.go_to_um, spec.home_reference_um) == (5000.0, 5000.0)


def test_a_configuration_goes_into_the_record() -> None:
    config = parse_config(changed({"presets.moth": {"settle_s": 2}}), "rig.toml")
    assert Config.model_validate(config.model_dump()) == config


def test_faults_of_every_kind_are_told_at_once() -> None:
    """Of fields, across fields, across sections and of presets, though each alone would hide the next."""
    table = changed(
        {
            "mqtt.broker": "localhost",
            "rail.low_um": 9000,
            "rail.high_um": 100,
            "rail.start_um_s": 9,
            "rail.cruise_um_s": 3,
            "rail.step_pin": 17,
            "rail.direction_pin": 17,
            "stack.settle": 1,
            "presets.wing": {"stepp": 3},
        }
    )
    with pytest.raises(ConfigError) as raised:
        load(table, "rig.toml")
    told = str(raised.value)
    for words in (
        "mqtt://host:port",
        "low_um 9000 must be below high_um 100",
        "start_um_s 9 must not be above cruise_um_s 3",
        "pin 17 is used twice",
        "did you mean 'settle_s'",
        "presets.wing: stepp: unknown key",
    ):
        assert words in told, words
