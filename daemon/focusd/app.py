"""The composition root: the only place that picks drivers."""

from __future__ import annotations

import ctypes
import logging
import os
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from focusd.camera_config import DslrConfig, Gphoto2Config, Picamera2Config
from focusd.clock import BeatingClock, Clock, SystemClock
from focusd.config import Config
from focusd.errors import ConfigError
from focusd.flat_stand import Stand
from focusd.halt import Halt
from focusd.rail import Motor, Rail
from focusd.rail_config import AnyRailConfig, ChipRailConfig, HomeConfig, PhaseRailConfig, RailConfig
from focusd.rail_spec import Homing, RailSpec
from focusd.rig import Camera, Lights, Rig
from focusd.runner import Signals
from focusd.service import Service

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from focusd.drivers.native import Board
    from focusd.drivers.pins import Factory


def rail_spec(config: RailConfig) -> RailSpec:
    """Return the rail of a configuration, as the core's value."""
    return RailSpec(
        um_per_step=config.um_per_step,
        low_um=config.low_um,
        high_um=config.high_um,
        start_um_s=config.start_um_s,
        cruise_um_s=config.cruise_um_s,
        accel_um_s2=config.accel_um_s2,
        backlash_um=config.backlash_um,
        prerun_um=config.prerun_um,
        approach=config.approach,
        jog_max_um=config.jog_max_um,
        homing=None if config.home is None else _homing(config, config.home),
    )


def build_rail(
    config: AnyRailConfig, factory: Factory, clock: Clock, stop: Halt, board: Board | None = None
) -> Rail:
    """Take the rail's pins from `factory`; the motor is off.

    Parameters
    ----------
    config : AnyRailConfig
        The rail's.
    factory : gpiozero.pins.Factory
        Where pins come from.
    clock : Clock
        The rig's.
    stop : Halt
        The emergency stop.
    board : Board, optional
        The same lines for the C loop; without it Python times the steps.
    """
    from focusd.drivers.switch import Switch

    home, button = config.home, config.stop_button
    motor = _motor(config, factory, clock, board)
    return Rail(
        motor,
        rail_spec(config),
        stop,
        None if home is None else Switch(home.pin, home.active, home.pull, factory),
        None if button is None else Switch(button.pin, button.active, button.pull, factory),
    )


def _motor(config: AnyRailConfig, factory: Factory, clock: Clock, board: Board | None) -> Motor:
    if isinstance(config, PhaseRailConfig):
        from focusd.drivers.phases import Phases

        return Phases(
            config.coil_pins,
            half_steps=config.half_steps,
            invert=config.invert_direction,
            factory=factory,
            clock=clock,
        )
    from focusd.drivers.stepper import Stepper

    stepper, settings = Stepper(config, factory, clock, board), config.tmc_settings
    if config.tmc2209 is None or settings is None:
        return stepper
    from focusd.drivers.serial_wire import open_serial
    from focusd.drivers.tmc_stepper import TmcStepper

    try:
        wire = open_serial(config.tmc2209.port)
    except BaseException:
        stepper.close()
        raise
    return TmcStepper(stepper, wire, config.tmc2209.address, settings)


def build_dslr(config: DslrConfig, data: Path, factory: Factory, clock: Clock, stop: Halt) -> Camera:
    """Take the release lines from `factory` and watch the inbox."""
    from focusd.drivers.dslr import Dslr
    from focusd.drivers.inbox import Inbox

    inbox = None
    if config.frames == "inbox":
        inbox = Inbox(inbox_folder(config, data), clock, stop, config.files)
    return Dslr(config, factory, inbox, clock, stop)


def inbox_folder(config: DslrConfig, data: Path) -> Path:
    """Return the folder that the camera's frames arrive in."""
    return data / "inbox" if config.inbox is None else config.inbox


def build_rig(config: Config, clock: Clock, signals: Signals) -> Rig:
    """Build the rig of a real machine."""
    from focusd.drivers.pins import open_pins

    factory = open_pins(config.gpio)
    board = _board(config, factory)
    rail = build_rail(config.rail, factory, clock, signals.stop, board)
    try:
        stand = _stand(config, factory, clock, signals.stop)
    except BaseException:
        rail.close()
        raise
    return Rig(rail, stand.camera, stand.lights)


def build_stand(config: Config, clock: Clock, signals: Signals) -> Stand:
    """Take the camera and the lights; the rail is left alone."""
    from focusd.drivers.pins import open_pins

    _go_to(config.data.dir)
    return _stand(config, open_pins(config.gpio), clock, signals.stop)


def _stand(config: Config, factory: Factory, clock: Clock, stop: Halt) -> Stand:
    camera = build_camera(config, factory, clock, stop)
    try:
        return Stand(camera, build_lights(config, factory))
    except BaseException:
        camera.close()
        raise


def build_camera(config: Config, factory: Factory, clock: Clock, stop: Halt) -> Camera:
    """Open the configured camera; a DSLR's lines come from `factory`.

    Raises
    ------
    ConfigError
        Its frames are to be raw files, and nothing here can develop them.
    """
    _check_raw(config)
    match config.camera:
        case DslrConfig() as dslr:
            return build_dslr(dslr, config.data.dir, factory, clock, stop)
        case Picamera2Config() as picamera2:
            from focusd.drivers.picam import PiCamera, open_picamera2

            return PiCamera(picamera2, open_picamera2(picamera2.index), clock, stop)
        case Gphoto2Config() as tethered:
            from focusd.drivers.gphoto2 import Gphoto2
            from focusd.drivers.tether import load_gphoto2

            return Gphoto2(tethered, load_gphoto2(), clock, stop)


def _check_raw(config: Config) -> None:
    """Look for rawpy before the first frame asks for it."""
    files = config.camera.files
    if config.frames_come and files in ("raw", "dng") and find_spec("rawpy") is None:
        raise ConfigError(
            f'camera.files "{files}" needs rawpy, which is not installed here: pip install focusd[raw], or '
            "choose other files"
        )


def build_lights(config: Config, factory: Factory) -> Lights | None:
    """Take the lights' pins from `factory`, all off; None where there are none."""
    if not config.lights:
        return None
    from focusd.drivers.lights import Lights as PinLights

    return PinLights(config.lights, factory)


def _board(config: Config, factory: Factory) -> Board | None:
    """Return the lines for the C loop; None where Python times the steps."""
    from focusd.drivers.native import lgpio_board

    if config.pulses == "pins":
        return None
    try:
        return lgpio_board(factory)
    except ConfigError as error:
        if not isinstance(config.rail, ChipRailConfig) or config.rail.pulses is not None:
            raise
        log.warning('%s; until then as with rail.pulses = "pins"', error)
        return None


def run(config: Config) -> int:
    """Run the daemon on this machine's hardware until a signal. Returns the exit code."""
    _go_to(config.data.dir)
    clock = BeatingClock(SystemClock())
    signals = Signals()
    rig = build_rig(config, clock, signals)
    try:
        service = Service(config, rig, clock, signals, clock_is_synced)
    except BaseException:
        rig.close()
        raise
    return service.run()


def release(config: Config) -> None:
    """Switch off what a daemon that was killed may have left on: the motor first, then shutter and lights.

    One that cannot be had keeps none of the others on.
    """
    from focusd.drivers.pins import open_pins

    _go_to(config.data.dir)
    rail, clock = config.rail, SystemClock()
    if isinstance(rail, ChipRailConfig):
        rail = rail.model_copy(update={"tmc2209": None})  # EN is enough; the serial line may be what failed
    factory = open_pins(config.gpio)

    def let_go() -> None:
        if isinstance(config.camera, DslrConfig):
            from focusd.drivers.dslr import Dslr

            Dslr(config.camera, factory, None, clock, Halt()).close()

    def darken() -> None:
        lights = build_lights(config, factory)
        if lights is not None:
            lights.close()

    with ExitStack() as then:
        then.callback(darken)
        then.callback(let_go)
        build_rail(rail, factory, clock, Halt()).close()


def clock_is_synced() -> bool:
    """Whether the kernel's clock is disciplined by a time server: adjtimex(2) without STA_UNSYNC.

    Notes
    -----
    A Pi has no clock of its own while it is off; until the first answer of a time server its time of day is
    that of the last shutdown.
    """
    # struct timex is 208 bytes on 64-bit and 128 on 32-bit Linux; `modes` (first) 0 only reads.
    timex = ctypes.create_string_buffer(256)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    unsynchronised = 5  # TIME_ERROR
    return bool(0 <= state < unsynchronised)


def _go_to(folder: Path) -> None:
    """Work where we may write: lgpio makes a pipe in the working directory when it is imported."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
    except OSError as error:
        raise ConfigError(
            f"data folder {folder}: {error.strerror}; choose another with --data or [data] dir"
        ) from error


def _homing(config: RailConfig, home: HomeConfig) -> Homing:
    fast_um_s, slow_um_s = config.homing_um_s
    # Two stalls at the same end may be two cycles of the field apart, of four full steps.
    agree_um = 8 * config.full_step_um if home.by == "stall" else home.back_off_um / 10
    return Homing(
        direction=home.direction,
        position_um=home.position_um,
        go_to_um=home.go_to_um,
        fast_um_s=fast_um_s,
        slow_um_s=slow_um_s,
        back_off_um=home.back_off_um,
        max_travel_um=home.max_travel_um,
        agree_um=home.agree_um or agree_um,
        by_stall=home.by == "stall",
    )
