"""Lamps on their lines: which burn when, and none when they should not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd import rig
from focusd.config import LightConfig
from focusd.drivers.lights import Lights
from focusd.errors import ConfigError
from focusd_sim.clock import VirtualClock
from focusd_sim.pins import SimFactory

TABLES: dict[str, dict[str, Any]] = {
    "left": {"pin": 5, "warm_up_s": 0.5},
    "right": {"pin": 6, "active": "low", "warm_up_s": 2.0},
    "ring": {"pin": 13, "on": "job", "warm_up_s": 30.0},
    "base": {"pin": 19, "on": "job", "active": "low", "warm_up_s": 3.0},
}


class Stand:
    """Four lamps, and every change of any of them."""

    def __init__(self, tables: dict[str, dict[str, Any]] = TABLES) -> None:
        self.configs = {name: LightConfig(**table) for name, table in tables.items()}
        self.factory = SimFactory(
            VirtualClock(),
            {light.pin: "down" if light.active == "high" else "up" for light in self.configs.values()},
        )
        self.edges: list[tuple[str, bool]] = []
        for name, light in self.configs.items():
            self.factory.watch(light.pin, self._note(name, light.active == "high"))
        self.lights = Lights(self.configs, self.factory)

    def _note(self, name: str, lit_level: bool) -> Any:
        return lambda _line, level, _t_s: self.edges.append((name, level is lit_level))

    @property
    def burning(self) -> set[str]:
        return {
            name
            for name, light in self.configs.items()
            if self.factory.level(light.pin) is (light.active == "high")
        }


def test_no_lamp_flashes_when_its_line_is_taken_or_given_back() -> None:
    stand = Stand()
    lights: rig.Lights = stand.lights
    lights.close()
    lights.close()
    assert stand.edges == []


def test_those_of_a_job_burn_from_its_beginning_to_its_end() -> None:
    stand = Stand()
    assert stand.lights.begin() == 30.0
    assert stand.burning == {"ring", "base"}
    stand.lights.turn_on(None)
    stand.lights.turn_off()
    assert stand.burning == {"ring", "base"}
    stand.lights.end()
    assert stand.burning == set()


def test_without_turns_all_of_a_shot_burn_together() -> None:
    stand = Stand()
    assert stand.lights.turn_on(None) == 2.0
    assert stand.burning == {"left", "right"}
    stand.lights.turn_off()
    assert stand.burning == set()


def test_in_turn_one_burns_alone_and_never_two() -> None:
    stand = Stand()
    assert stand.lights.turn_on("left") == 0.5
    assert stand.lights.turn_on("right") == 2.0
    assert stand.burning == {"right"}
    assert stand.edges == [("left", True), ("left", False), ("right", True)], "out before the next is lit"
    stand.lights.turn_on("right")
    assert len(stand.edges) == 3, "one that burns does not flicker"


def test_a_lone_rig_of_shot_lights_waits_for_nothing_at_first() -> None:
    stand = Stand({"left": TABLES["left"]})
    assert stand.lights.begin() == 0.0
    assert stand.burning == set()


@pytest.mark.parametrize("name", ["top", "ring"])
def test_a_light_that_takes_no_turns_is_refused(name: str) -> None:
    stand = Stand()
    with pytest.raises(ConfigError, match="takes turns; there are: left, right"):
        stand.lights.turn_on(name)


def test_a_line_that_fails_keeps_no_other_lamp_on() -> None:
    stand = Stand()
    stand.lights.begin()
    stand.lights.turn_on(None)
    stand.factory.pin(5).function = "input"
    with pytest.raises(Exception, match="GPIO5"):
        stand.lights.end()
    assert stand.burning == set()


def test_a_line_that_cannot_be_had_gives_the_others_back() -> None:
    stand = Stand()
    stand.lights.close()
    doubled = {**stand.configs, "twin": LightConfig(pin=5)}
    with pytest.raises(Exception, match="GPIO5"):
        Lights(doubled, stand.factory)
    assert stand.edges == []
    Lights(stand.configs, stand.factory).close()


_STEPS = st.lists(st.sampled_from(["begin", "left", "right", "all", "off", "end"]), max_size=20)


@given(_STEPS)
def test_whatever_is_asked_the_end_is_dark(steps: list[str]) -> None:
    stand = Stand()
    for step in steps:
        match step:
            case "begin":
                stand.lights.begin()
            case "all":
                stand.lights.turn_on(None)
            case "off":
                stand.lights.turn_off()
                assert stand.burning <= {"ring", "base"}
            case "end":
                stand.lights.end()
                assert stand.burning == set()
            case name:
                stand.lights.turn_on(name)
                assert stand.burning & {"left", "right"} == {name}
    stand.lights.end()
    assert stand.burning == set()
