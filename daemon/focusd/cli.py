"""The command line."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from focusd import __version__, about, develop, flat_command, forecast, preview
from focusd.calibrate import command as calibrate
from focusd.compare import command as compare
from focusd.config import Config, load_config, parse_config, read_toml
from focusd.errors import ConfigError, FocusdError, RequestError
from focusd.fuse import command as fuse
from focusd.link.payloads import preset_faults
from focusd.signals import Signals

EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 failed, 2 wrong usage, request or configuration."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.version:
        print("\n".join(about.describe()) if args.verbose else f"focusd {__version__}")
        return 0
    if args.command is None:
        parser.error("a COMMAND is required: see focusd --help")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        return int(args.command(args))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except FocusdError as error:
        print(f"focusd: {error}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, RequestError) else 1


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the options that go over the configuration file."""
    parser.add_argument("--broker", metavar="URL", help="mqtt[s]://host:port, over [mqtt] broker")
    parser.add_argument("--rig", metavar="NAME", help="over [rig] name")
    parser.add_argument("--data", metavar="DIR", type=Path, help="over [data] dir")


def overridden(table: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return a configuration table with the command line's options put over it."""
    table = dict(table)
    for section, key, value in (
        ("mqtt", "broker", args.broker),
        ("rig", "name", args.rig),
        ("data", "dir", None if args.data is None else str(args.data.absolute())),
    ):
        if value is not None:
            table[section] = {**table.get(section, {}), key: value}
    return table


def load(table: dict[str, Any], name: str) -> Config:
    """Validate a configuration's table with its presets.

    Raises
    ------
    ConfigError
        Every fault, one a line.
    """
    presets = table.get("presets", {})
    faults = preset_faults(presets) if isinstance(presets, dict) else []
    lines = [f"{name}: {fault}" for fault in faults]
    try:
        config = parse_config(table, name)
    except ConfigError as error:
        raise ConfigError("\n".join([str(error), *lines]), faults=error.values.get("faults", [])) from error
    if lines:
        raise ConfigError("\n".join(lines), faults=faults)
    return config


def _run(args: argparse.Namespace) -> int:
    from focusd import app

    return app.run(load(overridden(read_toml(args.config), args), str(args.config)))


def _release(args: argparse.Namespace) -> int:
    from focusd import app

    app.release(load_config(args.config))
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    from focusd import app
    from focusd.clock import SystemClock

    config = load(read_toml(args.config), str(args.config))
    clock, signals = SystemClock(), Signals()
    return calibrate.run(args, config, lambda: app.build_rig(config, clock, signals), clock, signals)


def _flat(args: argparse.Namespace) -> int:
    from focusd import app
    from focusd.clock import SystemClock

    config = load(overridden(read_toml(args.config), args), str(args.config))
    clock, signals = SystemClock(), Signals()
    return flat_command.run(args, config, lambda: app.build_stand(config, clock, signals), clock, signals)


def _preview(args: argparse.Namespace) -> int:
    from focusd import app
    from focusd.clock import SystemClock

    config = load(overridden(read_toml(args.config), args), str(args.config))
    clock, signals = SystemClock(), Signals()
    return preview.run(args, config, lambda: app.build_stand(config, clock, signals), clock, signals)


def _check(args: argparse.Namespace) -> int:
    config = load(read_toml(args.file), str(args.file))
    print(f"{args.file}: good" + ("; its [sim] table is for `focusd-sim check`" if config.sim else ""))
    return 0


def _plan(args: argparse.Namespace) -> int:
    return forecast.run(load(overridden(read_toml(args.config), args), str(args.config)), args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="focusd", description="Headless focus stacking: one MQTT message in, one sharp image out."
    )
    parser.add_argument("--version", action="store_true", help="print the version and end")
    parser.add_argument(
        "--verbose", action="store_true", help="with --version: libraries, the way frames are fused, its time"
    )
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(metavar="COMMAND")
    run = commands.add_parser("run", help="the daemon: obey MQTT requests until SIGTERM")
    run.add_argument("--config", type=Path, required=True, metavar="FILE")
    add_overrides(run)
    run.set_defaults(command=_run)
    release = commands.add_parser("release", help="motor, shutter and lights off, whoever left them on")
    release.add_argument("--config", type=Path, required=True, metavar="FILE")
    release.set_defaults(command=_release)
    check = commands.add_parser("check", help="print every error of a configuration file")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(command=_check)
    plan = commands.add_parser("plan", help="what a job would take: stops, time, memory, disk; moves nothing")
    plan.add_argument("--config", type=Path, required=True, metavar="FILE")
    plan.add_argument("--data", metavar="DIR", type=Path, help="over [data] dir")
    forecast.add_arguments(plan)
    plan.set_defaults(command=_plan, broker=None, rig=None)
    measure = commands.add_parser(
        "calibrate", help="measure settling, backlash or travel per step on the rig; the daemon must not run"
    )
    measure.add_argument("--config", type=Path, required=True, metavar="FILE")
    calibrate.add_arguments(measure)
    measure.set_defaults(command=_calibrate)
    look = commands.add_parser(
        "preview", help="one frame, its histogram and figures; nothing moves, the daemon must not run"
    )
    look.add_argument("--config", type=Path, required=True, metavar="FILE")
    preview.add_arguments(look)
    look.set_defaults(command=_preview, broker=None, rig=None, data=None)
    flat = commands.add_parser(
        "flat", help="flat field and dark frame of a preset; nothing moves, the daemon must not run"
    )
    flat.add_argument("--config", type=Path, required=True, metavar="FILE")
    flat.add_argument("--data", metavar="DIR", type=Path, help="over [data] dir")
    flat_command.add_arguments(flat)
    flat.set_defaults(command=_flat, broker=None, rig=None)
    fuse_parser = commands.add_parser("fuse", help="fuse image files into one")
    fuse.add_arguments(fuse_parser)
    fuse_parser.set_defaults(command=fuse.run)
    compare_parser = commands.add_parser(
        "compare", help="fuse a stack in several ways and write a page of crops and figures"
    )
    compare.add_arguments(compare_parser)
    compare_parser.set_defaults(command=compare.run)
    develop_parser = commands.add_parser(
        "develop", help="the picture of a stack that was cut short, from its saved state"
    )
    develop.add_arguments(develop_parser)
    develop_parser.set_defaults(command=develop.run)
    return parser
