"""What ``focusd compare`` can be asked."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from focusd.compare.alignments import ALIGNMENTS
from focusd.compare.cache import DEFAULT_LIMIT_BYTES
from focusd.compare.experiment import bounded, read_experiment, recipes_asked
from focusd.compare.methods import METHODS
from focusd.compare.recipe import Recipe
from focusd.errors import RequestError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``focusd compare``."""
    parser.add_argument(
        "stacks", nargs="+", type=Path, metavar="STACK", help="folder of a stack's frames, or of a run"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for the page, index.html, with figures.json and whole pictures beside it",
    )
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="NAME",
        help=f"one of {', '.join(METHODS)}; may be given again (default: all)",
    )
    parser.add_argument(
        "--align",
        action="append",
        default=[],
        metavar="NAME",
        help=f"one of {', '.join(ALIGNMENTS)}; may be given again (default: off)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KNOB=VALUE,VALUE",
        help="every combination of these values, of each method that has the knob, or of one: "
        + "; ".join(
            f"{method.name}.{knob.name} ({', '.join(map(str, knob.choices)) or knob.default})"
            for method in METHODS.values()
            for knob in method.knobs
        ),
    )
    parser.add_argument(
        "--experiment",
        type=Path,
        metavar="FILE",
        help="TOML: tables [[recipe]] with method, align and knobs, each one value or a list",
    )
    parser.add_argument(
        "--truth",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="the true picture of the stack; given as often as there are stacks",
    )
    parser.add_argument(
        "--crops", type=int, default=4, metavar="N", help="parts shown at 100 %% (default: %(default)s)"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(2, len(os.sched_getaffinity(0))),
        metavar="N",
        help="frames decoded side by side (default: %(default)s)",
    )
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="JSON lines: add the times measured now, and draw all that are there",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help=f"where results are kept, {DEFAULT_LIMIT_BYTES / 1e9:.0f} GB at most, and used again while "
        "nothing that they depend on is changed (default: focusd/compare in $XDG_CACHE_HOME or ~/.cache)",
    )
    parser.add_argument("--no-cache", action="store_true", help="keep nothing, use nothing that was kept")


def cache_folder(args: argparse.Namespace) -> Path | None:
    """Return where results are kept; None for nowhere.

    Raises
    ------
    RequestError
        Nowhere is named, and there is no home folder.
    """
    if args.no_cache or args.cache is not None:
        return None if args.no_cache else Path(args.cache)
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(given) if given else Path.home() / ".cache") / "focusd" / "compare"
    except RuntimeError as error:
        raise RequestError("no home folder to keep results in; give --cache DIR or --no-cache") from error


def recipes_wanted(args: argparse.Namespace) -> list[Recipe]:
    """Return what a request wants compared.

    Raises
    ------
    RequestError
        What makes no sense in it.
    """
    for name, value, least in (("--crops", args.crops, 1), ("--jobs", args.jobs, 1)):
        if value < least:
            raise RequestError(f"{name} {value}: it must be {least} or more")
    if args.truth and len(args.truth) != len(args.stacks):
        raise RequestError(
            f"{len(args.truth)} --truth for {len(args.stacks)} stacks: give one for each, in their order"
        )
    found = [] if args.experiment is None else read_experiment(args.experiment)
    if args.experiment is None or args.method:
        found += recipes_asked(args.method, args.settings, args.align or ["off"])
    elif args.settings or args.align:
        raise RequestError("--set and --align go with --method; those of an experiment stand in its file")
    return bounded(found)
