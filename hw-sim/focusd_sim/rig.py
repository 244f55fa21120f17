"""The simulator's composition root: the real drivers on simulated pins, and the physics behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from focusd import app
from focusd.camera_config import DslrConfig, Gphoto2Config, Picamera2Config
from focusd.clock import Clock
from focusd.config import Config
from focusd.drivers.picam import PiCamera
from focusd.errors import ConfigError, RequestError
from focusd.rail_config import ChipRailConfig
from focusd.rig import Camera, Rig
from focusd.runner import Signals
from focusd_sim.bench import Bench, Lines
from focusd_sim.board import sim_board
from focusd_sim.catalogue import scene_of
from focusd_sim.clock import VirtualClock
from focusd_sim.config import SimConfig
from focusd_sim.dslr import Dslr, DslrLines
from focusd_sim.faults import Faults, Kind
from focusd_sim.lamps import Lamps
from focusd_sim.picam import SimPicamera2
from focusd_sim.pins import SimFactory
from focusd_sim.scene import Scene
from focusd_sim.sensor import Sensor
from focusd_sim.truth import Truth
from focusd_sim.view import View

OUTSIDE = ("fill_disk", "drop_broker", "kill_process", "jump_clock", "press_button")
"""Faults that strike what is not the rig's physics, and so at once."""


@dataclass(frozen=True, slots=True)
class SimulatedRig:
    """A rig that is not there, and what is truly the case with it.

    Parameters
    ----------
    rig : Rig
        Real rail and camera drivers; goes to the runner or the daemon.
    bench, scene, truth, faults : Bench, Scene, Truth, Faults
        The physics, for tests and the demo.
    factory : SimFactory
        The pins.
    centre_um : float
        Rail position of the scene's middle plane.
    """

    rig: Rig
    bench: Bench
    scene: Scene
    truth: Truth
    faults: Faults
    factory: SimFactory
    clock: VirtualClock
    centre_um: float

    def switch_fault(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Switch a fault live: the command ``sim/fault`` ``{"kind": "lose_frame", "on": true}``.

        Raises
        ------
        RequestError
            Not of that form, or a kind nobody handles.
        """
        kind, on = fields.get("kind"), fields.get("on", True)
        if not isinstance(on, bool) or kind not in self.faults.handled or set(fields) - {"kind", "on"}:
            raise RequestError(
                f'sim/fault takes {{"kind": one of {", ".join(sorted(self.faults.handled))}, "on": true or '
                "false}"
            )
        if kind in OUTSIDE:
            self.faults.set(str(kind), on)
        else:
            # The physics belongs to the thread that owns the rig: let it strike in that thread's next sleep.
            self.clock.call_at(self.clock.now_s(), lambda: self.faults.set(str(kind), on))
        return {"kind": kind, "on": on}


def build(
    config: Config,
    sim: SimConfig,
    clock: VirtualClock,
    signals: Signals,
    *,
    rig_clock: Clock | None = None,
    scene: Scene | None = None,
    outside: Mapping[Kind, Callable[[bool], None]] | None = None,
) -> SimulatedRig:
    """Build the simulated rig of a configuration.

    Parameters
    ----------
    config : Config
        The daemon's: it decides which lines are used.
    sim : SimConfig
        What the physics behind them is.
    clock : VirtualClock
        Rig time.
    signals : Signals
        Whose stop wakes the drivers.
    rig_clock : Clock, optional
        What the drivers see of `clock`; `clock` itself, if not given.
    scene : Scene, optional
        In place of the configured one.
    outside : mapping, optional
        What faults outside the rig do, where whoever builds it can make them happen.
    """
    seen = rig_clock or clock
    rail = config.rail
    factory = SimFactory(clock, _board_pulls(config))
    faults = Faults(clock, sim.seed)
    home = rail.home
    endstop = None if home is None else home.pin
    if isinstance(rail, ChipRailConfig):
        lines = Lines(rail.step_pin, rail.direction_pin, rail.enable_pin, endstop, rail.microstep_pins)
    else:
        lines = Lines(endstop=endstop, coils=rail.coil_pins)
    bench = Bench(sim, clock, factory, lines, faults)
    truth = Truth(bench)
    if scene is None:
        scene = scene_of(sim)
    sensor = Sensor(**sim.sensor.model_dump())
    # Without lights it is day; with them the room is dark.
    lamps = Lamps(config.lights, sim.lamps, factory) if config.lights or sim.lamps else None
    view = View(scene, sensor, sim.optics, bench, truth, centre_um=sim.centre_um, seed=sim.seed, lamps=lamps)
    camera: Camera
    match config.camera:
        case DslrConfig() as dslr:
            inbox = app.inbox_folder(dslr, config.data.dir)
            body = DslrLines(dslr.release_pin, dslr.focus_pin, dslr.feedback_pin)
            Dslr(sim.dslr, clock, factory, body, bench, view, inbox, faults)
            camera = app.build_dslr(dslr, config.data.dir, factory, seen, signals.stop)
        case Picamera2Config() as picamera2:
            stand_in = SimPicamera2(sim.picam, clock, view, faults, sim.seed)
            camera = PiCamera(picamera2, stand_in, seen, signals.stop)
        case Gphoto2Config():
            raise ConfigError(
                'camera.kind "gphoto2" has no simulated body; libgphoto2 has a virtual camera of its own: '
                "see tests/hardware/gphoto2"
            )
    if rail.stop_button is not None:
        pin, active_high = rail.stop_button.pin, rail.stop_button.active == "high"
        faults.on("press_button", lambda begins: factory.drive(pin, active_high if begins else None))
    faults.on("jump_clock", lambda _begins: clock.jump_wall(3600.0))
    for kind, action in (outside or {}).items():
        faults.on(kind, action)
    faults.script(fault.script() for fault in sim.faults)
    exposures_before = 0

    def witness() -> dict[str, Any]:
        nonlocal exposures_before
        since, exposures_before = exposures_before, truth.next_index
        return truth.as_json(since)

    # Python times the steps unless the file says otherwise: the demo needs no compiler.
    native = isinstance(rail, ChipRailConfig) and rail.pulses == "native"
    board = sim_board(factory, seen) if native else None
    real_rig = Rig(
        app.build_rail(rail, factory, seen, signals.stop, board),
        camera,
        app.build_lights(config, factory),
        witness=witness,
    )
    return SimulatedRig(real_rig, bench, scene, truth, faults, factory, clock, sim.centre_um)


def _board_pulls(config: Config) -> dict[int, Literal["up", "down"]]:
    """Return the board's resistors: motor off and shutter let go while no program holds the lines."""
    rail, camera = config.rail, config.camera
    pulls: dict[int, Literal["up", "down"]] = {}
    if isinstance(rail, ChipRailConfig):
        pulls[rail.enable_pin] = "up" if rail.enable_active == "low" else "down"
    else:
        pulls.update(dict.fromkeys(rail.coil_pins, "down"))
    if rail.stop_button is not None:
        # Nobody presses it: a contact that opens holds its line against the pull.
        pulls[rail.stop_button.pin] = "down" if rail.stop_button.active == "high" else "up"
    if isinstance(camera, DslrConfig):
        for line in (camera.release_pin, camera.focus_pin):
            if line is not None:
                pulls[line] = "down" if camera.active == "high" else "up"
        if camera.feedback_pin is not None and camera.feedback_pull == "none":
            # Where the Pi has none of its own, the board holds the line of an open contact.
            pulls[camera.feedback_pin] = "up" if camera.feedback_active == "low" else "down"
    for light in config.lights.values():
        pulls[light.pin] = "down" if light.active == "high" else "up"
    return pulls
