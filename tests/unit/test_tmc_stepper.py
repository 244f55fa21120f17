"""A rail behind a TMC2209 with its serial line: pins, pty, genuine pyserial, simulated chip and bench."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter

from focusd.app import build_rail
from focusd.config import parse_config
from focusd.drivers.tmc2209 import ChipFault, ChipReset
from focusd.errors import ConfigError, EndstopNotFound, RailError
from focusd.halt import Halt
from focusd.rail import Rail
from focusd.rail_config import AnyRailConfig
from focusd_sim.bench import Bench, Lines
from focusd_sim.clock import VirtualClock
from focusd_sim.config import BenchConfig
from focusd_sim.one_wire import OneWire, Pty
from focusd_sim.pins import SimFactory
from focusd_sim.tmc2209 import SimTmc2209

STEP, DIR, EN, DIAG = 17, 27, 22, 23
RAIL: dict[str, Any] = {
    "driver": "tmc2209",
    "step_pin": STEP,
    "direction_pin": DIR,
    "enable_pin": EN,
    "microsteps": 16,
    "low_um": 100.0,
    "high_um": 9000.0,
    "start_um_s": 200.0,
    "cruise_um_s": 2000.0,
    "at_start": "home",
    "home": {"pin": DIAG, "by": "stall", "active": "high", "pull": "down", "go_to_um": 500.0},
    "tmc2209": {"address": 2, "run_ma": 600, "stall_threshold": 60},
}


class Rig:
    """One rail, its chip and its mechanics; DIAG follows the chip, which hears what the bench does."""

    def __init__(self, pty: Pty, chip: SimTmc2209, **rail: Any) -> None:
        self.chip = chip
        self.clock = VirtualClock()
        self.factory = SimFactory(self.clock, {EN: "up", DIAG: "down"})
        config = BenchConfig.model_validate(
            {
                "motor": {"chip": "TMC2209", "microsteps": 16},
                "carriage": {"near_um": 0.0, "start_um": 1000.0, "endstop": "none", "backlash_um": 0.0},
            }
        )
        self.bench = Bench(config, self.clock, self.factory, Lines(STEP, DIR, EN))
        self.crashes, self.last_s = 0, 0.0
        self.factory.watch(STEP, self._stepped)
        table = {**RAIL, **rail, "tmc2209": {**RAIL["tmc2209"], "port": pty.path}}
        made: AnyRailConfig = TypeAdapter(AnyRailConfig).validate_python(table)
        self.rail: Rail = build_rail(made, self.factory, self.clock, Halt())

    @property
    def is_on(self) -> bool:
        return not self.factory.level(EN)

    def _stepped(self, _line: int, level: bool, t_s: float) -> None:
        if not level:
            return
        self.chip.speed_hz = 1 / (t_s - self.last_s) / 16 if t_s > self.last_s else 0.0
        self.last_s = t_s
        crashed, self.crashes = self.bench.crashes > self.crashes, self.bench.crashes
        self.chip.stall_value = 20 if crashed else 400
        self.factory.drive(DIAG, self.chip.diag)


@pytest.fixture
def make(pseudo_terminals: None) -> Iterator[Callable[..., Rig]]:
    chip = SimTmc2209(address=2)
    with Pty(OneWire([chip])) as pty:
        made: list[Rig] = []

        def build(**rail: Any) -> Rig:
            made.append(Rig(pty, chip, **rail))
            return made[-1]

        yield build
        for rig in made:
            rig.rail.close()


def test_the_chip_is_set_up_before_the_motor_gets_current(make: Callable[..., Rig]) -> None:
    rig = make()
    assert rig.chip.microsteps == 64, "as it is strapped"
    on_with: list[int] = []
    rig.factory.watch(EN, lambda _line, level, _t: on_with.append(rig.chip.microsteps) if not level else None)
    rig.rail.jog(100.0)
    assert set(on_with) == {16}
    assert rig.chip.current_ma(0.11, standing=False) == pytest.approx(600, rel=0.06)
    assert rig.chip.current_ma(0.11, standing=True) == rig.chip.current_ma(0.11, standing=False)


def test_a_stall_at_the_hard_end_is_home(make: Callable[..., Rig]) -> None:
    rig = make()
    rig.rail.home()
    assert rig.rail.trusted
    # Four full steps of 5 um are as finely as a stall can tell.
    assert rig.bench.position_um() == pytest.approx(500.0, abs=20.0)
    rig.rail.move_to(4000.0)
    rig.rail.move_to(100.0)
    assert rig.bench.position_um() == pytest.approx(100.0, abs=20.0)
    first_um = rig.bench.position_um()
    rig.rail.home()
    rig.rail.move_to(100.0)
    assert rig.bench.position_um() == pytest.approx(first_um, abs=20.0)


def test_no_stall_within_the_travel_is_a_named_error(make: Callable[..., Rig]) -> None:
    rig = make(
        home={
            **RAIL["home"],
            "direction": "up",
            "max_travel_um": 3000.0,
            "position_um": 9500.0,
            "go_to_um": None,
        }
    )
    with pytest.raises(EndstopNotFound, match="3000 um"):
        rig.rail.home()
    assert not rig.is_on


@pytest.mark.parametrize("when", ["before", "in"])
def test_a_reset_ends_the_trust_and_is_mended_by_homing(make: Callable[..., Rig], when: str) -> None:
    """A chip that was reset makes other steps than it was told: not one is asked of it."""
    rig = make()
    rig.rail.home()
    rig.rail.release()
    before_um = rig.bench.shaft_um()
    if when == "before":
        rig.chip.reset()
    else:
        rig.clock.call_at(rig.clock.now_s() + 0.1, rig.chip.reset)
    with pytest.raises(ChipReset, match="motor supply"):
        rig.rail.move_to(1000.0)
    assert (rig.bench.shaft_um() == before_um) == (when == "before")
    assert not rig.is_on
    assert not rig.rail.trusted
    assert rig.chip.microsteps == 64
    rig.rail.home()
    assert rig.rail.trusted
    assert rig.chip.microsteps == 16


def test_a_chip_that_switched_itself_off_is_named(make: Callable[..., Rig]) -> None:
    rig = make()
    rig.rail.jog(10.0)
    rig.chip.conditions = 0b10  # over-temperature shutdown
    with pytest.raises(ChipFault, match="too hot"):
        rig.rail.jog(10.0)
    assert not rig.is_on


def test_heat_is_told_once(make: Callable[..., Rig], caplog: pytest.LogCaptureFixture) -> None:
    rig = make()
    rig.rail.jog(10.0)
    rig.chip.conditions = 0b1  # pre-warning
    with caplog.at_level(logging.WARNING):
        rig.rail.jog(10.0)
        rig.rail.jog(10.0)
    assert [record.message for record in caplog.records if "120 degrees" in record.message] == [
        caplog.records[-1].message
    ]


def test_without_motor_supply_nothing_is_switched_on(make: Callable[..., Rig]) -> None:
    rig = make()
    rig.chip.powered = False
    with pytest.raises(RailError, match="address 2"):
        rig.rail.jog(10.0)
    assert not rig.is_on
    assert rig.bench.ignored_steps == 0
    rig.chip.powered = True
    rig.rail.jog(10.0)
    assert rig.chip.microsteps == 16


def test_a_supply_that_was_gone_for_a_while_is_set_up_anew(make: Callable[..., Rig]) -> None:
    rig = make()
    rig.rail.home()
    rig.chip.powered = False
    with pytest.raises(RailError, match="address 2"):
        rig.rail.move_to(1000.0)
    assert not rig.is_on
    rig.chip.reset()
    rig.chip.powered = True
    microsteps: list[int] = []
    rig.factory.watch(STEP, lambda _line, _level, _t: microsteps.append(rig.chip.microsteps))
    rig.rail.home()
    assert set(microsteps) == {16}


@pytest.mark.parametrize("after", [0, 300, 1700])
def test_a_sensor_that_always_says_stall_is_not_believed(make: Callable[..., Rig], after: int) -> None:
    rig = make()
    made = 0

    def stick(_line: int, level: bool, _t_s: float) -> None:
        nonlocal made
        made += level
        if made > after:
            rig.factory.drive(DIAG, True)

    rig.factory.watch(STEP, stick)
    if after == 0:
        rig.factory.drive(DIAG, True)
    with pytest.raises(RailError, match="a false one"):
        rig.rail.home()
    assert not rig.rail.trusted
    assert not rig.is_on


def test_a_port_that_is_not_there_is_an_error_of_the_configuration() -> None:
    factory = SimFactory(VirtualClock(), {EN: "up"})
    table = {**RAIL, "tmc2209": {**RAIL["tmc2209"], "port": "/dev/no-such-port"}}
    config: AnyRailConfig = TypeAdapter(AnyRailConfig).validate_python(table)
    with pytest.raises(ConfigError, match="enable_uart=1"):
        build_rail(config, factory, VirtualClock(), Halt())
    assert factory.level(EN), "off"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tmc2209": {"run_ma": 5}}, "run_ma 5: at least 30.6"),
        ({"tmc2209": {"run_ma": 500, "hold_ma": 600}}, "hold_ma 600: above 0, and not above run_ma 500"),
        ({"tmc2209": {"run_ma": 500}}, 'by is "stall": it needs [rail.tmc2209] with a stall_threshold'),
        ({"tmc2209": None}, 'by is "stall": it needs [rail.tmc2209]'),
        ({"low_um": 10.0}, 'home.by is "stall", which is 20 um coarse'),
        ({"home": {"pin": 23, "by": "stall"}}, 'set home.active = "high", pull = "down"'),
        ({"accel_um_s2": 500.0, "home": {**RAIL["home"], "back_off_um": 100.0}}, "only 374 um/s are reached"),
        ({"home": {**RAIL["home"], "slow_um_s": 300.0}}, "slow_um_s 300 must not be above"),
        ({"backlash_um": 500.0}, "back_off_um 500 must be above backlash_um 500"),
        ({"step_pin": 14}, "is on pins 14 and 15"),
        ({"driver": "a4988"}, '[rail.tmc2209] is for driver = "tmc2209"'),
        ({"microstep_pins": [5, 6]}, "they are the chip's address"),
    ],
)
def test_what_is_refused_before_anything_is_opened(change: dict[str, Any], says: str) -> None:
    table = {"rail": {**RAIL, **change}, "camera": {"kind": "dslr", "release_pin": 24}}
    with pytest.raises(ConfigError) as raised:
        parse_config(table, "rig.toml")
    assert says in str(raised.value)
