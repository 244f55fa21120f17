"""``focusd plan``: what a job would take on a rig, from its configuration alone; nothing is touched."""

from __future__ import annotations

import argparse
import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from focusd.camera_spec import stop_s
from focusd.config import Config
from focusd.draft import Drafter
from focusd.errors import OutOfTravel, RequestError
from focusd.estimate import Estimator
from focusd.link.payloads import MAX_PAYLOAD_BYTES, PRESET_NAME, JobPlan, Settings, parse, read_payload
from focusd.orders import RigState
from focusd.room import megabytes

FITS, REFUSED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``focusd plan`` but ``--config``."""
    parser.add_argument(
        "request",
        nargs="?",
        metavar="REQUEST",
        help="what would be published to job/start: JSON in quotes, a preset's name, a file with one of "
        "them, or - for stdin; nothing: the default job",
    )
    parser.add_argument("--preset", metavar="NAME", help="in place of the request's preset")
    parser.add_argument(
        "--range", type=float, metavar="UM", help="range about the rail's position, in place of the request's"
    )
    parser.add_argument("--step", type=float, metavar="UM", help="in place of the request's step")
    parser.add_argument(
        "--at",
        type=float,
        metavar="UM",
        help="where the rail is; by default where homing ends, or 0 without an end stop",
    )
    parser.add_argument("--json", action="store_true", help="print the data of the plan request's answer")
    parser.add_argument(
        "--list", action="store_true", help="print the presets, one a line, and foresee nothing"
    )


def run(config: Config, args: argparse.Namespace) -> int:
    """Foresee a job and print what it takes.

    Parameters
    ----------
    config : Config
        The rig's.
    args : argparse.Namespace
        From a parser made with `add_arguments`.

    Returns
    -------
    int
        0 for a job that would be accepted; 1 for one that needs more than this machine has.

    Raises
    ------
    RequestError
        A request that is none, or cannot be read.
    PlanError, OutOfTravel
        A plan that cannot be run.
    """
    if args.list:
        sys.stdout.write(presets_text(config, as_json=args.json))
        return FITS
    fields = requested(args.request)
    if args.preset is not None:
        fields["preset"] = args.preset
    if args.range is not None:
        z_plan = fields.get("z_plan")
        kept = z_plan if isinstance(z_plan, dict) else {}
        fields["z_plan"] = {k: kept[k] for k in ("step", "go_up") if k in kept} | {"range": args.range}
    facts = forecast(config, fields, args.at, args.step)
    sys.stdout.write(f"{json.dumps(facts, indent=2)}\n" if args.json else table(facts))
    for warning in facts["warnings"]:
        sys.stderr.write(f"focusd: {warning}\n")
    return FITS if facts["fits"] else REFUSED


def presets_text(config: Config, *, as_json: bool) -> str:
    """Lay out the presets of a configuration: a name and its fields a line, or a JSON object."""
    if as_json:
        return json.dumps(config.presets, indent=2, default=str) + "\n"
    widest = max(map(len, config.presets), default=0)
    rows = sorted(config.presets.items())
    return "".join(f"{name:<{widest}}  {json.dumps(fields, default=str)}\n" for name, fields in rows)


def requested(request: str | None) -> dict[str, Any]:
    """Return the fields of a request as it is given on the command line.

    Parameters
    ----------
    request : str or None
        JSON, a preset's bare name, the name of a file with one of both, ``-`` for stdin, or None: no fields.

    Raises
    ------
    RequestError
        Not readable, or no request.
    """
    if request is None:
        return {}
    text = request.encode()
    if request == "-":
        text = sys.stdin.buffer.read(MAX_PAYLOAD_BYTES + 1)
    elif not (re.fullmatch(PRESET_NAME, request) or request.lstrip().startswith(("{", "[", '"'))):
        try:
            with Path(request).open("rb") as file:
                text = file.read(MAX_PAYLOAD_BYTES + 1)
        except OSError as error:
            raise RequestError(
                f"{request}: {error.strerror}; give a file, JSON in quotes, or a preset's name"
            ) from error
    value = read_payload(text)
    return {"preset": value} if isinstance(value, str) else value


def forecast(
    config: Config, fields: dict[str, Any], at_um: float | None = None, step_um: float | None = None
) -> dict[str, Any]:
    """Work out a job as the ``plan`` request does.

    Parameters
    ----------
    config : Config
        The rig's.
    fields : dict
        Of the request.
    at_um : float, optional
        Where the rail is. Default: where homing ends; 0 without an end stop, as after ``zero``.
    step_um : float, optional
        In place of the step of the request or its preset.

    Returns
    -------
    dict
        The data of the answer.

    Raises
    ------
    RequestError, PlanError, OutOfTravel
        As the request does.
    """
    from focusd.app import rail_spec  # brings the whole daemon: not for `focusd --help`
    from focusd.service import pace_of

    spec = rail_spec(config.rail)
    drafter = Drafter(config, Estimator(spec, pace_of(config), partial(stop_s, config.camera)))
    whole = drafter.with_preset(fields)
    if step_um is not None:
        z_plan = whole.get("z_plan")
        if isinstance(z_plan, dict):
            whole = {**whole, "z_plan": {**z_plan, "step": step_um}}
        else:
            drafter.set(parse(Settings, {"step_um": step_um}))
    homed_um = spec.home_reference_um
    assumed_um = 0.0 if homed_um is None or config.rail.at_start == "zero" else homed_um
    rig = RigState(position_um=assumed_um if at_um is None else at_um, position_valid=True)
    try:
        return drafter.draft(parse(JobPlan, whole), rig).facts
    except OutOfTravel as error:
        if at_um is not None:
            raise
        raise OutOfTravel(
            f"{error} (the rail is taken to be at {assumed_um:g} um: say where it is by --at)", **error.values
        ) from error


def table(facts: dict[str, Any]) -> str:
    """Lay out the facts of a job for people, one line each."""
    asked_um, step_um = facts["requested_step_um"], facts["step_um"]
    step = "as listed" if step_um is None else f"{step_um:.6g} um"
    if asked_um is not None and asked_um != step_um:
        step += f" (asked for: {asked_um:.6g} um)"
    rows = [
        ("from", f"{facts['from_um']:.6g} um"),
        ("stops", str(facts["stops"])),
        ("step", f"{step}; a motor step is {facts['motor_step_um']:.6g} um"),
        ("first", f"{facts['first_um']:.6g} um"),
        ("last", f"{facts['last_um']:.6g} um"),
        ("time", f"{_clock(facts['time_s'])} h:min:s, without waiting for frames"),
        ("memory", _bytes(facts["memory_bytes"], facts["memory_free_bytes"])),
        ("disk", _bytes(facts["disk_bytes"], facts["disk_free_bytes"])),
        ("checkpoint", _bytes(facts["checkpoint_bytes"], None)),
    ]
    series = facts["series"]
    if series is not None:
        spare_s = series["interval"] - series["stack_s"]
        times = f"one every {_clock(series['interval'])} h:min:s"
        rows += [
            ("series", f"{series['loops']} stacks, {times}; a stack leaves {spare_s:.1f} s"),
            ("all time", f"{_clock(series['time_s'])} h:min:s"),
            ("all disk", _bytes(series["disk_bytes"], facts["disk_free_bytes"])),
        ]
    return "".join(f"{name:<12}{value}\n" for name, value in rows)


def _clock(seconds: float) -> str:
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest_s:02}"


def _bytes(needed: int | None, free: int | None) -> str:
    text = "not known before the first frame" if needed is None else megabytes(needed)
    return text if free is None else f"{text}; free: {megabytes(free)}"
