"""The rails that the contract is asked of: simulated ones, whose truth is known, and the one of a file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from focusd.app import build_rail
from focusd.clock import Clock, SystemClock
from focusd.config import Config, parse_config
from focusd.drivers.pins import Factory
from focusd.halt import Halt
from focusd.rail import Rail
from focusd.rail_config import AnyRailConfig, ChipRailConfig
from focusd.rail_spec import SIGN
from focusd.runner import Signals
from focusd_sim.clock import VirtualClock
from focusd_sim.config import SimConfig
from focusd_sim.rig import SimulatedRig, build
from focusd_sim.scene import Scene

LONGEST_SPAN_UM = 1000.0
LONGEST_SPAN_S = 0.5
"""A move goes no further than the rail at its fastest does in this time."""

_CAMERA = {"kind": "dslr", "release_pin": 24, "frames": "none"}
_CHIP = {
    "rail": {
        "step_pin": 17,
        "direction_pin": 27,
        "enable_pin": 22,
        "lead_um": 1000,
        "low_um": 0,
        "high_um": 9998,  # not a whole number of steps
        "start_um_s": 500,
        "cruise_um_s": 3000,
        "accel_um_s2": 6000,
        "backlash_um": 30,
        "prerun_um": 20,
        "home": {"pin": 23, "position_um": 0, "go_to_um": 1000, "back_off_um": 200},
        "stop_button": {"pin": 5},
    },
    "sim": {"carriage": {"start_um": 1500, "far_um": 12_000}},
}
# Half steps of 0.123 um; less play than the printed microscope's, for the sake of time.
_COILS = {
    "rail": {
        "driver": "uln2003",
        "coil_pins": [17, 27, 22, 10],
        "lead_um": 500,
        "low_um": 0,
        "high_um": 1000,
        "start_um_s": 20,
        "cruise_um_s": 60,
        "accel_um_s2": 200,
        "backlash_um": 4,
        "prerun_um": 2,
        "jog_max_um": 100,
        "home": {"pin": 23, "position_um": 0, "go_to_um": 50, "back_off_um": 20, "max_travel_um": 500},
        "stop_button": {"pin": 5},
    },
    "sim": {
        "motor": {"full_steps_per_turn": 2037.886, "pull_in_hz": 300, "pull_out_hz": 500},
        "carriage": {
            "lead_um": 500,
            "start_um": 80,
            "near_um": -20,
            "far_um": 1200,
            "backlash_um": 4,
            "endstop_hysteresis_um": 3,
            "vibration_lateral_um": 0.3,
            "vibration_axial_um": 0.02,
        },
    },
}
SIMULATED: dict[str, dict[str, Any]] = {
    "pins": {**_CHIP, "rail": {**_CHIP["rail"], "pulses": "pins"}},
    "native": {**_CHIP, "rail": {**_CHIP["rail"], "pulses": "native"}},
    "uln2003": _COILS,
}
"""Tables of the simulated rails, by name: whoever times the steps, and coils in place of a chip."""


class Truth:
    """What is truly the case with a simulated rail, and every edge on its motor's lines."""

    def __init__(self, sim: SimulatedRig, config: AnyRailConfig) -> None:
        self.sim = sim
        self._bench = sim.bench
        self._chip = isinstance(config, ChipRailConfig)
        self._um_per_step = config.um_per_step
        self.edges: list[tuple[int, bool, float]] = []
        if isinstance(config, ChipRailConfig):
            lines: tuple[int, ...] = (config.step_pin, config.direction_pin, config.enable_pin)
            self._steps = (config.step_pin,)
        else:
            lines = self._steps = config.coil_pins
        # Lines that switch current, and their level without.
        self._current = dict.fromkeys(lines, False)
        if isinstance(config, ChipRailConfig):
            self._current = {config.enable_pin: config.enable_active == "low"}
        for line in lines:
            sim.factory.watch(line, lambda *edge: self.edges.append(edge))

    @property
    def shaft_um(self) -> float:
        """Angle of the shaft, as um of the lead, once it has followed the last step."""
        self.sim.clock.sleep(0.001)
        return self._bench.shaft_um()

    @property
    def detent_um(self) -> float:
        """How far the shaft may turn when the current goes: half a full step, where steps are finer."""
        return 0.0 if self._chip else float(self._um_per_step)

    @property
    def carriage_um(self) -> float:
        """Where the carriage is."""
        return self._bench.position_um()

    @property
    def is_off(self) -> bool:
        """Whether the lines say that no current flows, and none does."""
        level = self.sim.factory.level
        lines_off = all(level(pin) == off for pin, off in self._current.items())
        return lines_off and not self._bench.motor.energised

    @property
    def last_step_s(self) -> float:
        """When a line last rose that makes a step."""
        return max((t_s for line, level, t_s in self.edges if level and line in self._steps), default=0.0)

    @property
    def off_since_s(self) -> float:
        """When the last line changed that switches current."""
        return max(t_s for line, _, t_s in self.edges if line in self._current)

    @property
    def faults(self) -> dict[str, Any]:
        """What must be empty or 0 after whatever was asked of the rail."""
        bench = self._bench
        return {
            "lost_steps": bench.lost_steps,
            "steps_without_current": bench.ignored_steps,
            "crashes": bench.crashes,
            **bench.violations,
        }


@dataclass
class Subject:
    """A rail under examination; the truth with it where it is simulated."""

    rail: Rail
    config: AnyRailConfig
    clock: Clock
    stop: Halt
    truth: Truth | None = None
    closed: bool = False
    _timers: list[threading.Timer] = field(default_factory=list)

    @property
    def run_up_um(self) -> float:
        """Detour before a position that is reached from the wrong side."""
        spec = self.rail.spec
        return float(spec.reach().run_up_steps * spec.um_per_step)

    @property
    def step_um(self) -> float:
        """Travel of a motor step."""
        return float(self.rail.spec.um_per_step)

    @property
    def span_um(self) -> float:
        """How far it may move to and fro."""
        return min(LONGEST_SPAN_UM, LONGEST_SPAN_S * self.rail.spec.cruise_um_s)

    def find(self) -> None:
        """Make the rail trusted: home it where it has an end stop, else call 0 where it stood at first."""
        if self.rail.spec.homing is None:
            self._go_back()
            self.rail.zero()
        else:
            self.rail.home()

    def settle(self) -> tuple[float, float, float]:
        """Find the rail and go to where it may move to and fro; the ends of that way and its middle, um."""
        self.find()
        spec, room_um = self.rail.spec, self.span_um / 2 + 2 * self.run_up_um
        low_um, high_um = spec.low_um, spec.high_um
        if spec.homing is not None:
            # Clear of the switch, which may lie inside the limits.
            clear_um = spec.homing.position_um - SIGN[spec.homing.direction] * spec.homing.back_off_um
            if spec.homing.direction == "down":
                low_um = max(low_um, clear_um)
            else:
                high_um = min(high_um, clear_um)
        assert high_um - low_um >= 2 * room_um, f"the contract needs {2 * room_um:g} um between the limits"
        middle_um = min(max(self.rail.position_um, low_um + room_um), high_um - room_um)
        self.rail.move_to(middle_um)
        return middle_um - self.span_um / 2, middle_um, middle_um + self.span_um / 2

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen in rig time while the rail is at work."""
        if isinstance(self.clock, VirtualClock):
            self.clock.call_at(self.clock.now_s() + seconds, action)
        else:
            self._timers.append(threading.Timer(seconds, action))
            self._timers[-1].start()

    def close(self) -> None:
        """Motor off, pins given back; once is enough."""
        for timer in self._timers:
            timer.cancel()
        if self.closed:
            return
        self.closed = True
        try:
            self.stop.clear()
            if self.rail.spec.homing is None:
                self._go_back()
        finally:
            self.rail.close()

    def _go_back(self) -> None:
        """Jog to where a rail without an end stop stood at first, or test by test it would wander off."""
        if self.rail.position_steps == 0:
            return
        self.rail.distrust()  # so that only the distance counts, not the limits
        jog_um = self.rail.spec.jog_max_um
        while self.rail.position_steps:
            self.rail.jog(min(max(-self.rail.position_um, -jog_um), jog_um))


def simulated(name: str, folder: str, scene: Scene) -> Subject:
    """Build the rail of a name by the simulator's own composition root."""
    table = {"camera": _CAMERA, "data": {"dir": folder}, **SIMULATED[name]}
    config = parse_config(table, name)
    clock, signals = VirtualClock(), Signals()
    sim = build(config, SimConfig.from_table(config.sim), clock, signals, scene=scene)
    return Subject(sim.rig.rail, config.rail, clock, signals.stop, Truth(sim, config.rail))


def real(config: Config, factory: Factory) -> Subject:
    """Build the rail of a file on this machine's pins, as the daemon does."""
    clock, stop, board = SystemClock(), Halt(), None
    if config.pulses == "native":
        from focusd.drivers.native import lgpio_board

        board = lgpio_board(factory)
    return Subject(build_rail(config.rail, factory, clock, stop, board), config.rail, clock, stop)
