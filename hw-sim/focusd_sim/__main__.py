"""``focusd-sim``: the daemon on the simulated rig, and the demo."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from focusd import __version__, flat_command, preview
from focusd.calibrate import command as calibrate
from focusd.cli import EXIT_USAGE, add_overrides, overridden
from focusd.cli import load as load_daemon
from focusd.clock import BeatingClock
from focusd.config import Config, broker_address, read_toml
from focusd.errors import ConfigError, FocusdError
from focusd.flat_stand import Stand
from focusd.runner import Signals
from focusd.service import Service
from focusd_sim import demo
from focusd_sim.cable import Cable
from focusd_sim.catalogue import NAMES, scene_of
from focusd_sim.clock import PacedClock, VirtualClock
from focusd_sim.config import SimConfig
from focusd_sim.faults import Kind
from focusd_sim.rig import build

_FULL_DISK_BYTES = 4096


def load(args: argparse.Namespace) -> tuple[Config, SimConfig]:
    """Read a configuration file with a ``[sim]`` table; the command line goes over both."""
    config = load_daemon(overridden(read_toml(args.config), args), str(args.config))
    over = {"speed": args.speed, "scene": args.scene}
    table = {**config.sim, **{key: value for key, value in over.items() if value is not None}}
    return config, SimConfig.from_table(table)


def run(config: Config, sim: SimConfig, *, discard_frames: bool = False) -> int:
    """Run the daemon on the simulated rig until a signal. Returns the exit code."""
    clock = PacedClock(sim.speed)
    beating = BeatingClock(clock)
    signals = Signals()
    outside: dict[Kind, Callable[[bool], None]] = {"fill_disk": _fill_disk, "kill_process": _kill_process}
    with ExitStack() as stack:
        through = None
        host, port, tls = broker_address(config.mqtt.broker)
        if not tls:  # a certificate names its host, so a TLS link is not led through the cable
            cable = stack.enter_context(Cable(host, port))
            outside["drop_broker"] = cable.pull
            through = cable.url
        simulated = build(config, sim, clock, signals, rig_clock=beating, outside=outside)
        service = Service(
            config,
            simulated.rig,
            beating,
            signals,
            lambda: True,
            broker=through,
            extras={"sim/fault": simulated.switch_fault},
            discard_frames=discard_frames,
        )
        return service.run()


def _fill_disk(begins: bool) -> None:
    """Let no file grow beyond a few kB, as on a full disk, until it ends."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FULL_DISK_BYTES if begins else most, most))


def _kill_process(_begins: bool) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _run(args: argparse.Namespace) -> int:
    config, sim = load(args)
    return run(config, sim, discard_frames=args.discard_frames)


def _calibrate(args: argparse.Namespace) -> int:
    config, sim = load(args)
    # Nobody watches: as fast as it goes.
    clock = VirtualClock() if args.speed is None else PacedClock(args.speed)
    signals = Signals()
    return calibrate.run(args, config, lambda: build(config, sim, clock, signals).rig, clock, signals)


def _stand(config: Config, sim: SimConfig, clock: VirtualClock, signals: Signals) -> Stand:
    """Take camera and lights of the simulated rig, where homing would leave its carriage."""
    rig = build(config, sim, clock, signals).rig
    if rig.rail.spec.homing is not None:
        rig.rail.home()
        rig.rail.release()
    return Stand(rig.camera, rig.lights)


def _preview(args: argparse.Namespace) -> int:
    config, sim = load(args)
    clock, signals = VirtualClock(), Signals()
    return preview.run(args, config, lambda: _stand(config, sim, clock, signals), clock, signals)


def _flat(args: argparse.Namespace) -> int:
    config, sim = load(args)
    clock, signals = VirtualClock(), Signals()
    return flat_command.run(args, config, lambda: _stand(config, sim, clock, signals), clock, signals)


def _check(args: argparse.Namespace) -> int:
    _, sim = load(args)
    scene_of(sim)
    sys.stdout.write(f"{args.config}: good\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    parser = argparse.ArgumentParser(prog="focusd-sim", description="focusd on a rig that is not there.")
    parser.add_argument("--version", action="version", version=f"focusd-sim {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    runner = commands.add_parser("run", help="the daemon on the simulated rig, until SIGTERM")
    runner.add_argument("--config", type=Path, required=True, metavar="FILE")
    add_overrides(runner)
    add_sim_options(runner)
    runner.add_argument(
        "--discard-frames", action="store_true", help="do not fuse: to measure what fusing costs a run"
    )
    runner.set_defaults(command=_run)
    check = commands.add_parser("check", help="print every error of a file, its [sim] table included")
    check.add_argument("config", type=Path, metavar="FILE")
    check.set_defaults(command=_check, broker=None, rig=None, data=None, speed=None, scene=None)
    measure = commands.add_parser("calibrate", help="what `focusd calibrate` does, on the simulated rig")
    measure.add_argument("--config", type=Path, required=True, metavar="FILE")
    add_overrides(measure)
    add_sim_options(measure)
    calibrate.add_arguments(measure)
    measure.set_defaults(command=_calibrate)
    for name, words, command in (
        ("preview", preview.add_arguments, _preview),
        ("flat", flat_command.add_arguments, _flat),
    ):
        still = commands.add_parser(name, help=f"what `focusd {name}` does, on the simulated rig")
        still.add_argument("--config", type=Path, required=True, metavar="FILE")
        add_overrides(still)
        add_sim_options(still)
        words(still)
        still.set_defaults(command=command)
    show = commands.add_parser("demo", help="one stack from a message to a picture, with its own broker")
    demo.add_arguments(show)
    show.set_defaults(command=demo.run)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        code = int(args.command(args))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        code = EXIT_USAGE
    except FocusdError as error:
        sys.stderr.write(f"focusd-sim: {error}\n")
        code = 1
    sys.exit(code)


def add_sim_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that go over the ``[sim]`` table."""
    parser.add_argument("--speed", type=_positive, metavar="X", help="rig seconds a real second")
    parser.add_argument("--scene", metavar="NAME", help=f"what stands before the lens: {', '.join(NAMES)}")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text}: it must be above 0 and at most 1000000")
    return value


if __name__ == "__main__":
    main()
