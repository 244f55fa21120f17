"""``focusd flat``: the flat field and the dark frame of a preset, taken by the configured camera."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from focusd import flats
from focusd.clock import Clock
from focusd.config import Config
from focusd.errors import ConfigError
from focusd.flat_stand import Stand
from focusd.flats import Kind
from focusd.interrupts import worked
from focusd.pictures.average import LEVEL, Average
from focusd.pictures.average_tiff import read_average, write_average
from focusd.pictures.field import doubts
from focusd.pictures.grain import SIGNIFICANT
from focusd.pictures.shading import Shading
from focusd.signals import Signals

_LEAST_FRAMES, _MOST_FRAMES, _FRAMES = 2, 256, 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``flat`` but ``--config``."""
    parser.add_argument("--preset", metavar="NAME", help="whose; one of [presets]")
    parser.add_argument("--dark", action="store_true", help="the dark frame: light off, lens covered")
    parser.add_argument(
        "--frames", type=_frames, metavar="N", default=_FRAMES, help=f"to take the mean of ({_FRAMES})"
    )
    parser.add_argument(
        "--light", metavar="NAME", help="one of [lights]; default: the preset's first, or all"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show what there is, and take nothing")
    what.add_argument(
        "--remove", action="store_true", help="remove the preset's flat and dark; with --dark the dark alone"
    )


def run(
    args: argparse.Namespace,
    config: Config,
    build: Callable[[], Stand],
    clock: Clock,
    signals: Signals,
) -> int:
    """Take, list or remove.

    Parameters
    ----------
    args : argparse.Namespace
        From a parser made with `add_arguments`.
    config : Config
        Names the presets, the camera and the folder.
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
    ConfigError
        No such preset or light.
    FlatUnusable
        The frames are of no use; what was there before is kept.
    FocusdError
        As the camera says.
    """
    if args.list:
        lines = [_line(preset, kind, facts) for preset, kind, facts in flats.kept(config.data.dir)]
        sys.stdout.writelines(f"{line}\n" for line in lines or ["no preset has a flat field or a dark frame"])
        return 0
    if args.remove and args.preset is not None and args.preset not in config.presets:
        # Of a preset that is no longer in the configuration.
        known = {preset for preset, _, _ in flats.kept(config.data.dir)}
    else:
        known = set(config.presets)
    if args.preset is None or args.preset not in known:
        raise ConfigError(
            f"--preset {args.preset}: name one of [presets]: {', '.join(sorted(known)) or 'there is none'}"
        )
    kind: Kind = "dark" if args.dark else "flat"
    if args.remove:
        gone = flats.remove(config.data.dir, args.preset, ("dark",) if args.dark else flats.KINDS)
        sys.stdout.writelines(f"{path}: removed\n" for path in gone)
        return 0
    light = _light(args, config)

    def work(stand: Stand) -> tuple[Average, dict[str, Any]]:
        return stand.take(clock, signals.stop, args.frames, dark=args.dark, light=light)

    average, about = worked(build, work, signals.stop, "interrupted: nothing was written")
    about = {"preset": args.preset, "at": clock.wall().isoformat(timespec="seconds"), **about}
    about |= {"light": light, "camera": config.camera.model_dump(mode="json")}
    sys.stdout.writelines(f"{line}\n" for line in keep(config, args.preset, kind, average, about))
    return 0


def keep(config: Config, preset: str, kind: Kind, average: Average, about: dict[str, Any]) -> list[str]:
    """Check an average, put it where jobs find it, and return a line on each thing found.

    Raises
    ------
    FlatUnusable, FrameMismatch
        It is of no use, by itself or beside the preset's other file; nothing was written.
    """
    data_dir = config.data.dir
    other = flats.path_of(data_dir, preset, "flat" if kind == "dark" else "dark")
    beside = read_average(other) if other.is_file() else None
    shading = Shading.of(beside, average) if kind == "dark" else Shading.of(average, beside)
    lines = [f"warning: {doubt}" for doubt in (doubts(average) if kind == "flat" else [])]
    path = flats.path_of(data_dir, preset, kind)
    write_average(path, average, about)
    noise = average.noise_left(0)
    if noise:
        unit = LEVEL if average.form.bits == 8 else 1
        sigma = noise[0] / unit
        lines.append(
            f"noise of the mean of {average.frames}: {sigma:.2g} levels; detail beyond "
            f"{SIGNIFICANT * sigma:.2g} is corrected, less is taken for noise: four times the frames halve it"
        )
    if kind == "flat":
        lines.append(f"the darkest part is raised {shading.largest_gain:.2f} times")
    if shading.hot_pixels:
        lines.append(f"{shading.hot_pixels} pixels are hot or dead: their neighbours stand in for them")
    return [*lines, f"{path}: the {kind} of preset {preset}, {average.form}"]


def _light(args: argparse.Namespace, config: Config) -> str | None:
    """Name the light that the preset's frames are fused by; None for all."""
    if args.light is not None:
        if args.light not in config.lights:
            there_are = ", ".join(sorted(config.lights)) or "there is none"
            raise ConfigError(f"--light {args.light}: name one of [lights]: {there_are}")
        return str(args.light)
    turns = config.presets[args.preset].get("lights", config.stack.lights)
    return str(turns[0]) if turns else None


def _line(preset: str, kind: Kind, facts: dict[str, Any]) -> str:
    if not facts:
        return f"{preset}: {kind}, damaged: take it again"
    cols, rows = facts["size"]
    exposure_s = facts.get("exposure_s")
    exposed = "" if exposure_s is None else f", exposed {exposure_s:g} s"
    return (
        f"{preset}: {kind} of {facts['at']}, mean of {facts['frames']}, {cols} x {rows} px, "
        f"{facts['colour']}, {facts['bits']} bits{exposed}"
    )


def _frames(text: str) -> int:
    value = int(text)
    if not _LEAST_FRAMES <= value <= _MOST_FRAMES:
        raise argparse.ArgumentTypeError(f"{text}: from {_LEAST_FRAMES} to {_MOST_FRAMES}")
    return value
