"""``focusd calibrate backlash``: the play of the screw, from focus found on the way up and down."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from focusd.calibrate.station import Finding, Station
from focusd.errors import CalibrationFailed
from focusd.focus.curves import peaks, shift
from focusd.focus.tiles import Numbers, Tiles
from focusd.outputs import plots
from focusd.rail_spec import SIGN, Reach

log = logging.getLogger(__name__)

_TILES_A_SIDE = 12
_LEAST_TILE_PX = 12
_LEAST_TILES = 3
# A play larger than this share of the run-in may not have been taken up by it.
_MOST_OF_RUN_IN = 0.8
# A play that is known no better than this share of it, nor than a step, is not known.
_MOST_ERROR = 0.25


@dataclass(frozen=True, slots=True)
class BacklashPlan:
    """How to go about it; whole motor steps, and s.

    Parameters
    ----------
    spacing, count : int
        Steps between two frames, and frames each way.
    run_in : int
        Steps run in each direction before the first frame, to take up the play.
    settle_s : float
        Wait after each move.
    passes : int
        Times up and down.
    """

    spacing: int
    count: int
    run_in: int
    settle_s: float
    passes: int


def route(station: Station, plan: BacklashPlan) -> None:
    """Check the whole way against the limits; see `Station.check`."""
    at = station.frame_steps(plan.spacing, plan.count)
    ends = (at[0] - plan.run_in, at[-1] + plan.run_in)
    station.check((station.spec.um_at(int(end)), Reach("up", 0)) for end in ends)
    station.check([(station.centre_um, station.spec.reach())])


def measure(station: Station, plan: BacklashPlan) -> Finding:
    """Photograph a way through focus upwards and downwards, with no compensation.

    Raises
    ------
    CalibrationFailed
        Focus was not found both ways, or the run-in was too short for the play.
    RailError, CameraError, Stopped
        As the rig says.
    """
    at = station.frame_steps(plan.spacing, plan.count)
    up, down = [], []
    for number in range(plan.passes):
        log.info("pass %d of %d", number + 1, plan.passes)
        up.append(_sweep(station, plan, at, "up"))
        down.append(_sweep(station, plan, at, "down"))
    step_um = float(station.spec.um_per_step)
    passes = [_plays(at, *pair) * step_um for pair in zip(up, down, strict=True)]
    plays_um = np.concatenate(passes)
    if len(plays_um) < _LEAST_TILES:
        raise CalibrationFailed(
            f"only {len(plays_um)} parts of the picture went through focus both ways, {_LEAST_TILES} at "
            "least are needed: set --at-um to where the subject is in focus, or raise --range-um above the "
            "play and the depth of field",
            parts=len(plays_um),
        )
    play_um = float(np.median(plays_um))
    if abs(play_um) > _MOST_OF_RUN_IN * plan.run_in * step_um:
        raise CalibrationFailed(
            f"the play looks like {play_um:.1f} um, too much for a run-in of {plan.run_in * step_um:g} um: "
            f"say --run-in-um {math.ceil(3 * abs(play_um)):d}",
            play_um=play_um,
        )
    middles = [float(np.median(part)) for part in passes if part.size]
    scatter_um = 1.4826 * float(np.median(np.abs(plays_um - play_um)))
    # Of a median: pi/2 times the variance of a mean.
    error_um = math.hypot(
        scatter_um * math.sqrt(math.pi / 2 / len(plays_um)),
        float(np.std(middles, ddof=1)) / math.sqrt(len(middles)) if len(middles) > 1 else 0.0,
    )
    if error_um > max(_MOST_ERROR * abs(play_um), step_um):
        raise CalibrationFailed(
            f"the parts of the picture disagree: {play_um:.1f} um +- {error_um:.1f} um; set --at-um to where "
            "the subject is in focus, give more light, or wait longer (--settle-s)",
            play_um=play_um,
            uncertainty_um=error_um,
        )
    numbers = {
        "backlash_um": play_um,
        "uncertainty_um": error_um,
        "um_per_step": step_um,
        "by_pass_um": middles,
        "parts_um": plays_um.tolist(),
        "position_um": (at * step_um).tolist(),
    }
    summary = (
        f"backlash {play_um:.2f} um +- {error_um:.2f} um, from {len(plays_um)} parts of the picture and "
        f"{plan.passes} times up and down",
        "prerun_um is run on top of it: keep it at the uncertainty or more",
    )
    proposed = {"rail": {"backlash_um": max(0.0, round(play_um, 1))}}
    draw = partial(_draw, at * step_um, up[0], down[0], plays_um, play_um)
    return Finding(summary, proposed, numbers, draw)


def _sweep(station: Station, plan: BacklashPlan, at: Numbers, side: Literal["up", "down"]) -> Numbers:
    """Detail of each tile on the way in one direction: (positions ascending, tiles)."""
    reach, way = Reach(side, 0), at if side == "up" else at[::-1]
    station.go(station.spec.um_at(int(way[0]) - SIGN[side] * plan.run_in), reach)
    energies = []
    for steps in way:
        shot = station.photograph_at(station.spec.um_at(int(steps)), plan.settle_s, reach)
        shorter = min(shot.frame.shape)
        tile_px = max(min(_LEAST_TILE_PX, shorter), shorter // _TILES_A_SIDE)
        energies.append(Tiles.of(shot.frame, tile_px).energy.ravel())
    return np.array(energies if side == "up" else energies[::-1])


def _plays(at: Numbers, up: Numbers, down: Numbers) -> Numbers:
    """Play seen by each tile, steps; without those that do not show it."""
    # From above the carriage stands higher by the play: it reaches a focus at a lower step.
    guess = peaks(at, up) - peaks(at, down)
    found = [shift(at, up[:, i], down[:, i], float(guess[i])) for i in np.flatnonzero(np.isfinite(guess))]
    plays = np.array(found, np.float64)
    return plays[np.isfinite(plays)]


def _draw(at_um: Numbers, up: Numbers, down: Numbers, plays_um: Numbers, play_um: float, path: Path) -> None:
    # The tile with the strongest detail stands for all.
    known = np.isfinite(peaks(at_um, up)) & np.isfinite(peaks(at_um, down))
    best = int(np.where(known, up.max(axis=0), -1).argmax())
    top = up[:, best].max()
    plots.backlash(path, at_um, up[:, best] / top, down[:, best] / top, plays_um, play_um)
