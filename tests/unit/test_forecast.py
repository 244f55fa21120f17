"""`focusd plan`, as its user types it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from focusd import draft
from focusd.app import rail_spec
from focusd.camera_spec import stop_s
from focusd.cli import main
from focusd.config import load_config
from focusd.draft import Drafter
from focusd.estimate import Estimator
from focusd.link.payloads import JobPlan, parse
from focusd.orders import RigState
from focusd.room import Room
from focusd.service import pace_of

RIG = """
[rail]
step_pin = 17
direction_pin = 27
enable_pin = 22
high_um = 25_000
%s
[camera]
kind = "dslr"
release_pin = 24
%s
[presets.moth]
z_plan = { range = 300, step = 30 }
settle_s = 2.5
[presets.listed]
z_plan = { absolute = [100, 200, 400] }
[stack]
range_um = 120
step_um = 7
[data]
dir = "%s"
"""
HOME = "[rail.home]\npin = 23\ngo_to_um = 5000\n"
SIZED = "frame_size = { width = 4000, height = 3000 }"


class Desk:
    """A user at a command line."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file, self.capsys = folder / "rig.toml", capsys
        self.rig()

    def rig(self, home: str = HOME, camera: str = SIZED) -> None:
        self.file.write_text(RIG % (home, camera, self.file.parent / "data"))

    def type(self, *words: str) -> tuple[int, str, str]:
        code = main(["plan", "--config", str(self.file), *words])
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def facts(self, *words: str) -> dict[str, Any]:
        code, out, err = self.type(*words, "--json")
        assert (code, err) == (0, "")
        facts: dict[str, Any] = json.loads(out)
        return facts


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(draft, "read_room", lambda folder: Room(8 * 10**9, 5 * 10**10))
    return Desk(tmp_path, capsys)


def test_the_json_is_the_request_s_answer(desk: Desk) -> None:
    request = {"z_plan": {"range": 2540, "step": 20}, "settle_s": 1.5, "transaction": "t"}
    config = load_config(desk.file)
    estimator = Estimator(rail_spec(config.rail), pace_of(config), lambda s: stop_s(config.camera, s))
    drafter = Drafter(config, estimator, lambda: Room(8 * 10**9, 5 * 10**10))
    rig = RigState(position_um=5000.0, position_valid=True)
    asked = drafter.draft(parse(JobPlan, request), rig)
    assert desk.facts(json.dumps(request)) == asked.facts
    assert asked.facts["stops"] == 128


def test_the_table_says_all_of_it_for_people(desk: Desk) -> None:
    code, out, err = desk.type("--range", "2540", "--step", "21")
    assert (code, err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    facts = desk.facts("--range", "2540", "--step", "21")
    assert rows["from"] == "5000 um"
    assert rows["stops"] == "122"
    assert rows["step"] == "20.9917 um (asked for: 21 um); a motor step is 5 um"
    assert (rows["first"], rows["last"]) == ("3730 um", "6270 um")
    minutes, seconds = divmod(round(facts["time_s"]), 60)
    assert rows["time"].startswith(f"0:{minutes:02}:{seconds:02} h:min:s")
    assert rows["memory"] == f"{facts['memory_bytes'] / 1e6:.0f} MB; free: 8000 MB"
    assert rows["disk"] == f"{facts['disk_bytes'] / 1e6:.0f} MB; free: 50.0 GB"
    assert rows["checkpoint"] == f"{facts['checkpoint_bytes'] / 1e6:.0f} MB"


def test_hours_are_shown_as_such(desk: Desk) -> None:
    _, out, _ = desk.type('{"z_plan": {"range": 100, "step": 50}, "settle_s": 3600}')
    assert "4:00:0" in out, "three stops and the test frame"


def test_a_request_can_come_in_any_way_a_user_has_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    request = '{"z_plan": {"range": 300, "step": 30}, "settle_s": 2.5}'
    Path("job.json").write_text(request)
    Path("10x").write_text("moth\n")
    ways: list[tuple[str, ...]] = [
        (request,),
        ("job.json",),
        (str(Path("job.json").absolute()),),
        ("moth",),
        ('"moth"',),
        ("./10x",),
        ("--preset", "moth"),
        ("-",),
        ('{"settle_s": 2.5}', "--range", "300", "--step", "30"),
        ('{"z_plan": {"top": 9, "bottom": 1, "step": 30}, "settle_s": 2.5}', "--range", "300"),
    ]
    for way in ways:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(request.encode())))
        facts = desk.facts(*way)
        assert (facts["stops"], facts["step_um"], facts["from_um"]) == (11, 30.0, 5000.0), way
        assert facts["time_s"] == pytest.approx(desk.facts(request)["time_s"]), way


def test_nothing_at_all_is_the_default_job(desk: Desk) -> None:
    facts = desk.facts()
    assert (facts["last_um"] - facts["first_um"], facts["requested_step_um"]) == (120.0, 7.0)
    assert desk.facts("--step", "12")["requested_step_um"] == 12.0
    assert desk.facts("--preset", "moth", "--step", "50")["requested_step_um"] == 50.0


def test_listed_positions_have_no_step(desk: Desk) -> None:
    code, out, _ = desk.type("listed")
    assert code == 0
    assert "step        as listed; a motor step is 5 um" in out


@pytest.mark.parametrize(
    ("home", "from_um"),
    [
        (HOME, 5000.0),
        ('at_start = "home"\n' + HOME, 5000.0),
        ('at_start = "zero"\nlow_um = -500\n' + HOME, 0.0),
        ("low_um = -500", 0.0),
    ],
)
def test_where_the_rail_is_taken_to_be(desk: Desk, home: str, from_um: float) -> None:
    desk.rig(home)
    assert desk.facts()["from_um"] == from_um
    assert desk.facts("--at", "777")["from_um"] == 777.0


def test_without_a_frame_size_memory_is_not_known(desk: Desk) -> None:
    desk.rig(camera="")
    code, out, _ = desk.type()
    assert code == 0
    assert out.count("not known before the first frame") == 3


def test_what_does_not_fit_is_said_and_ends_with_1(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "read_room", lambda folder: Room(180_000_000, 1000))
    code, out, err = desk.type()
    assert code == 1
    assert "stops" in out, "the figures are shown all the same"
    assert "does not fit: needs" in err
    assert "MB of memory, 180 MB are free" in err
    assert "MB of disk, 0 MB are free" in err


def test_the_disk_asked_about_is_the_data_folder_s(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def room(folder: Path) -> Room:
        asked.append(folder)
        return Room()

    monkeypatch.setattr(draft, "read_room", room)
    desk.facts()
    desk.facts("--data", "elsewhere")
    assert asked == [Path("data").absolute(), Path("elsewhere").absolute()]
    assert not any(folder.exists() for folder in asked), "nothing is made"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("gnat",), 2, "there is no preset 'gnat'; there are: listed, moth"),
        (("--preset", "mth"), 2, "did you mean 'moth'"),
        (("gone.json",), 2, "gone.json: No such file or directory; give a file, JSON in quotes"),
        ((".",), 2, ".: Is a directory"),
        (("{",), 2, "the payload is not JSON"),
        (("[1]",), 2, "the payload must be a JSON object"),
        (('{"z_plan": {"range": 100, "stp": 3}}',), 2, "did you mean 'step'"),
        (("--step", "-3"), 2, "step_um"),
        (("listed", "--step", "3"), 2, "z_plan.step has no meaning beside a list"),
        (("--range", "20000", "--step", "1"), 1, "20001 stops"),
        (("--range", "20000", "--step", "100"), 1, "taken to be at 5000 um: say where it is by --at"),
        (("--step", "2"), 1, "is less than the motor's, 5 um"),
        (('{"preset": "moth", "time_plan": {"interval": 9, "loops": 2}}',), 1, "time_plan.interval is 9 s"),
    ],
)
def test_errors_are_named_and_have_their_exit_code(
    desk: Desk, words: tuple[str, ...], code: int, said: str
) -> None:
    given, out, err = desk.type(*words)
    assert (given, out) == (code, "")
    assert err.startswith("focusd: ")
    assert said in err


def test_a_position_that_was_given_is_not_called_an_assumption(desk: Desk) -> None:
    code, _, err = desk.type("--at", "100")
    assert code == 0
    code, _, err = desk.type("--at", "20")
    assert code == 1
    assert "outside the rail's limits" in err
    assert "--at" not in err


def test_a_configuration_with_faults_ends_with_2(desk: Desk) -> None:
    desk.file.write_text("[rial]\n")
    code, out, err = desk.type()
    assert (code, out) == (2, "")
    assert "did you mean 'rail'" in err


def test_a_series_is_foreseen_as_a_whole(desk: Desk) -> None:
    request = json.dumps({"preset": "moth", "time_plan": {"interval": 3600, "loops": 24}})
    code, out, err = desk.type(request)
    assert (code, err) == (0, "")
    rows = {line[:12].strip(): line[12:] for line in out.splitlines()}
    series = desk.facts(request)["series"]
    assert rows["series"].startswith("24 stacks, one every 1:00:00 h:min:s; a stack leaves ")
    assert rows["all time"].startswith("23:00:")
    assert rows["all disk"] == f"{series['disk_bytes'] / 1e6:.0f} MB; free: 50.0 GB"


def test_a_full_interval_is_warned_of_and_is_no_failure(desk: Desk) -> None:
    stack_s = desk.facts('{"preset": "moth", "time_plan": {"interval": 3600, "loops": 2}}')["series"][
        "stack_s"
    ]
    plan = {"preset": "moth", "time_plan": {"interval": stack_s + 0.5, "loops": 2}}
    code, out, err = desk.type(json.dumps(plan))
    assert code == 0
    assert "a stack leaves 0.5 s" in out
    assert "a stack leaves 0.5 s" in err


def test_the_presets_are_listed(desk: Desk) -> None:
    code, out, err = desk.type("--list")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        'listed  {"z_plan": {"absolute": [100, 200, 400]}}',
        'moth    {"z_plan": {"range": 300, "step": 30}, "settle_s": 2.5}',
    ]
    assert list(desk.facts("--list")) == ["moth", "listed"]
