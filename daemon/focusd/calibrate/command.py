"""The command: options, plan, the rig's thread, and what is written."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

from focusd.atomic import write_bytes
from focusd.calibrate import backlash, scale, settle
from focusd.calibrate.station import Finding, Station
from focusd.clock import Clock
from focusd.config import Config
from focusd.errors import ConfigError, PlanError
from focusd.interrupts import worked
from focusd.optics import Optics
from focusd.outputs.plots import NoPlots
from focusd.rig import Rig
from focusd.runner import Signals

log = logging.getLogger(__name__)

# Frames to a depth of field: a curve through focus is then drawn well.
_BACKLASH_FRAMES, _SCALE_FRAMES = 8, 5
_BACKLASH_DEPTHS, _SCALE_DEPTHS = 4.0, 8.0
_MOST_FRAMES = 400

Measure = Callable[[Station], Finding]
Check = Callable[[Station], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``calibrate`` but ``--config``."""
    parser.add_argument("what", choices=("settle", "backlash", "scale"), help="what to measure")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to leave the results; calibrate-<what> here by default"
    )
    parser.add_argument(
        "--here-um",
        type=_number,
        metavar="UM",
        help="the rail's present place, instead of homing: you have looked",
    )
    parser.add_argument(
        "--at-um",
        type=_number,
        metavar="UM",
        help="where the subject is in focus; default: where homing ends, or --here-um",
    )
    shared = parser.add_argument_group("backlash and scale")
    shared.add_argument(
        "--range-um", type=_positive, metavar="UM", help="way photographed along, about --at-um"
    )
    shared.add_argument("--spacing-um", type=_positive, metavar="UM", help="between two frames")
    shared.add_argument(
        "--settle-s", type=_positive, metavar="S", help="wait after a move, over the config's"
    )
    first = parser.add_argument_group("settle")
    first.add_argument("--step-um", type=_positive, metavar="UM", help="the move; default: a stack's step")
    first.add_argument(
        "--rest-s", type=_positive, metavar="S", default=3.0, help="after this all is still (3)"
    )
    first.add_argument("--longest-s", type=_positive, metavar="S", help="longest wait looked at (the same)")
    first.add_argument("--shots", type=_count, metavar="N", default=32, help="frames for the fit (32)")
    second = parser.add_argument_group("backlash")
    second.add_argument("--run-in-um", type=_positive, metavar="UM", help="run before each way (300 or more)")
    second.add_argument("--passes", type=_count, metavar="N", default=2, help="times up and down (2)")
    third = parser.add_argument_group("scale")
    third.add_argument("--pitch-um", type=_positive, metavar="UM", help="from line to line of the ruler")
    third.add_argument("--angle-deg", type=_positive, metavar="DEG", default=45.0, help="of the slope (45)")


def run(
    args: argparse.Namespace, config: Config, build: Callable[[], Rig], clock: Clock, signals: Signals
) -> int:
    """Calibrate a rig and leave the results in a folder.

    The rig is worked by a thread of its own, so that an interrupt (or SIGTERM) stops a move in the middle;
    whatever ends it, the motor is switched off and the pins are given back.

    Parameters
    ----------
    args : argparse.Namespace
        From a parser made with `add_arguments`.
    config : Config
        The rig's; it is not written to.
    build : callable
        Takes the hardware.
    clock : Clock
        The rig's.
    signals : Signals
        Whose stop ends everything.

    Returns
    -------
    int
        0.

    Raises
    ------
    PlanError, OutOfTravel
        The options do not fit the rig; nothing moved.
    FocusdError
        As the rig and the measurement say.
    """
    check, measure = _work(args, config)
    # Absolute, and the place to work in: lgpio makes a pipe in the working directory.
    folder = (args.out or Path(f"calibrate-{args.what}")).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
    except OSError as error:
        raise ConfigError(f"folder {folder}: {error.strerror}; choose another with --out") from error

    def work(rig: Rig) -> Finding:
        rig.rail.watch_button(signals.stop.set)
        return calibrated(rig, clock, signals, config, args, check, measure)

    finding = worked(build, work, signals.stop, "interrupted: the motor is off, and nothing was written")
    lines = [*finding.summary, *write(folder, args.what, finding, clock)]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def calibrated(
    rig: Rig,
    clock: Clock,
    signals: Signals,
    config: Config,
    args: argparse.Namespace,
    check: Check,
    measure: Measure,
) -> Finding:
    """Check the way, find the position, measure, and leave the rig safe."""
    station = Station(rig, clock, signals.stop, _centre_um(args, config))
    try:
        check(station)
        station.begin(args.here_um)
        return measure(station)
    finally:
        station.end()


def write(folder: Path, what: str, finding: Finding, clock: Clock) -> list[str]:
    """Leave numbers, proposal and plot in a folder; return a line on each.

    Raises
    ------
    FocusdError
        A file that cannot be written.
    """
    at = clock.wall().isoformat(timespec="seconds")
    numbers = {"calibration": what, "at": at, **finding.numbers, "proposed": finding.proposed}
    write_bytes(folder / "result.json", (json.dumps(numbers, indent=2) + "\n").encode())
    lines = [f"# focusd calibrate {what}, {at}. Put these over what the configuration says."]
    for section, values in finding.proposed.items():
        lines += ["", f"[{section}]", *(f"{key} = {value!r}" for key, value in values.items())]
    write_bytes(folder / "proposed.toml", ("\n".join(lines) + "\n").encode())
    said = [f"{folder / 'proposed.toml'}: what to change", f"{folder / 'result.json'}: all numbers"]
    try:
        finding.draw(folder / "plot.png")
    except NoPlots as error:
        return [*said, str(error)]
    return [*said, f"{folder / 'plot.png'}: the plot"]


def _work(args: argparse.Namespace, config: Config) -> tuple[Check, Measure]:
    """Make the plan of what is asked."""
    match args.what:
        case "settle":
            plan = _settle_plan(args, config)
            return lambda s: settle.route(s, plan), lambda s: settle.measure(s, plan)
        case "backlash":
            back = _backlash_plan(args, config)
            return lambda s: backlash.route(s, back), lambda s: backlash.measure(s, back)
        case _:
            ruler = _scale_plan(args, config)
            return lambda s: scale.route(s, ruler), lambda s: scale.measure(s, ruler)


def _settle_plan(args: argparse.Namespace, config: Config) -> settle.SettlePlan:
    step_um = args.step_um or config.stack.step_um
    if step_um is None and config.optics is not None:
        step_um = config.optics.as_optics().step_um(config.stack.overlap)
    if step_um is None:
        raise PlanError("settle: how long is a usual move? Say --step-um, or set stack.step_um or [optics]")
    per_step = config.rail.um_per_step
    longest_s = min(args.longest_s or args.rest_s, args.rest_s)
    return settle.SettlePlan(
        step_um=float(max(1, round(step_um / per_step)) * per_step),
        rest_s=args.rest_s,
        longest_s=longest_s,
        shots=args.shots,
    )


def _backlash_plan(args: argparse.Namespace, config: Config) -> backlash.BacklashPlan:
    rail = config.rail
    # The curve of the way down lies lower by the play: leave room for it.
    room_um = 2 * rail.backlash_um
    spacing, count = _frames(args, config, _BACKLASH_DEPTHS, _BACKLASH_FRAMES, room_um)
    # Ample, but as far as the limits let it.
    centre_um, half_um = _centre_um(args, config), spacing * (count - 1) * float(rail.um_per_step) / 2
    room_um = min(centre_um - rail.low_um, rail.high_um - centre_um) - half_um - float(rail.um_per_step)
    usual_um = 3 * rail.backlash_um + rail.prerun_um
    run_in_um = args.run_in_um or max(usual_um, min(300.0, room_um))
    return backlash.BacklashPlan(
        spacing=spacing,
        count=count,
        run_in=math.ceil(run_in_um / rail.um_per_step),
        settle_s=args.settle_s or config.stack.settle_s,
        passes=args.passes,
    )


def _scale_plan(args: argparse.Namespace, config: Config) -> scale.ScalePlan:
    if args.pitch_um is None:
        raise PlanError("scale: say --pitch-um, the distance from line to line of the ruler")
    if not args.angle_deg < 85:
        raise PlanError(
            f"scale: --angle-deg is {args.angle_deg:g}: the ruler's slope, above 0 and below 85 degrees",
            angle_deg=args.angle_deg,
        )
    spacing, count = _frames(args, config, _SCALE_DEPTHS, _SCALE_FRAMES, 0.0)
    optics = _optics(config)
    expected_px = None
    if optics is not None:
        object_pixel_um = optics.pixel_um / optics.magnification
        expected_px = args.pitch_um * math.cos(math.radians(args.angle_deg)) / object_pixel_um
    return scale.ScalePlan(
        spacing=spacing,
        count=count,
        settle_s=args.settle_s or config.stack.settle_s,
        pitch_um=args.pitch_um,
        angle_deg=args.angle_deg,
        expected_px=expected_px,
        lead_um=config.rail.lead_um,
    )


def _frames(
    args: argparse.Namespace, config: Config, depths: float, per_depth: int, room_um: float
) -> tuple[int, int]:
    """Whole steps between two frames, and how many frames."""
    optics = _optics(config)
    depth_um = None if optics is None else optics.depth_of_field_um
    if (args.range_um is None or args.spacing_um is None) and depth_um is None:
        raise PlanError(
            f"{args.what}: without [optics] say --range-um (several depths of field) and --spacing-um (a "
            f"{per_depth}th of one)"
        )
    range_um = args.range_um or depths * (depth_um or 0.0) + room_um
    spacing_um = args.spacing_um or (depth_um or 0.0) / per_depth
    spacing = max(1, int(spacing_um / config.rail.um_per_step))
    count = int(range_um / float(spacing * config.rail.um_per_step)) + 1
    if not 8 <= count <= _MOST_FRAMES:
        raise PlanError(
            f"{args.what}: {count} frames, {spacing * config.rail.um_per_step} um apart, over {range_um:g} "
            f"um: 8 to {_MOST_FRAMES} are of use; change --range-um or --spacing-um",
            frames=count,
        )
    return spacing, count


def _centre_um(args: argparse.Namespace, config: Config) -> float:
    if args.at_um is not None:
        return float(args.at_um)
    home = config.rail.home
    if args.here_um is not None:
        return float(args.here_um)
    if home is None:
        return 0.0
    if home.go_to_um is None:
        raise PlanError(
            "where is the subject in focus? Say --at-um, or set rail.home.go_to_um, or drive there "
            "and say --here-um"
        )
    return home.go_to_um


def _optics(config: Config) -> Optics | None:
    return None if config.optics is None else config.optics.as_optics()


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text}: a finite number is needed")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text}: it must be above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text}: from 1 to 1000")
    return value
