"""``focusd calibrate scale``: travel per step, from a ruler on a slope."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from focusd.calibrate.station import Finding, Station
from focusd.focus.curves import peaks
from focusd.focus.ruler import Period, Plane3, period_of, plane_through, um_per_step
from focusd.focus.tiles import Numbers, Plane, Tiles
from focusd.outputs import plots

log = logging.getLogger(__name__)

_TILES_A_SIDE = 20
_TILE_PX = (8, 64)
# A tile with less than this share of the strong ones' detail was never in focus: what peaks is blur.
_FAINT = 0.2


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """How to go about it.

    Parameters
    ----------
    spacing, count : int
        Motor steps between two frames, and frames.
    settle_s : float
        Wait after each move.
    pitch_um : float
        Of the ruler, along it.
    angle_deg : float
        Between the ruler and a plane across the rail's axis.
    expected_px : float or None
        Period of the ruler in the picture, where the optics are known.
    lead_um : float
        As configured.
    """

    spacing: int
    count: int
    settle_s: float
    pitch_um: float
    angle_deg: float
    expected_px: float | None
    lead_um: float


@dataclass(slots=True, eq=False)
class _Composite:
    """The ruler sharp all over: each tile from the frame that shows most in it."""

    picture: Plane
    energy: Numbers
    row: Numbers
    col: Numbers

    @classmethod
    def of(cls, frame: Plane, tiles: Tiles) -> _Composite:
        return cls(_even(frame), tiles.energy.copy(), tiles.row.copy(), tiles.col.copy())

    def add(self, frame: Plane, tiles: Tiles, side_px: int) -> None:
        better = tiles.energy > self.energy
        for mine, new in ((self.energy, tiles.energy), (self.row, tiles.row), (self.col, tiles.col)):
            mine[better] = new[better]
        where = np.kron(better, np.ones((side_px, side_px), np.bool_))
        rows, cols = where.shape
        self.picture[:rows, :cols][where] = _even(frame)[:rows, :cols][where]


def route(station: Station, plan: ScalePlan) -> None:
    """Check the whole way against the limits; see `Station.check`."""
    reach, at = station.spec.reach(), station.frame_steps(plan.spacing, plan.count)
    ends = (station.spec.um_at(int(end)) for end in (at[0], at[-1]))
    station.check((end, reach) for end in (*ends, station.centre_um))


def measure(station: Station, plan: ScalePlan) -> Finding:
    """Photograph the ruler on the way along the rail, from the approach side.

    Raises
    ------
    CalibrationFailed
        No slope, or no ruler, is to be seen.
    RailError, CameraError, Stopped
        As the rig says.
    """
    at = station.frame_steps(plan.spacing, plan.count)
    order = at if station.spec.approach == "up" else at[::-1]
    energies: dict[float, Numbers] = {}
    composite: _Composite | None = None
    for steps in order:
        shot = station.photograph_at(station.spec.um_at(int(steps)), plan.settle_s)
        least, most = _TILE_PX
        side_px = int(np.clip(min(shot.frame.shape) // _TILES_A_SIDE, least, most))
        tiles = Tiles.of(shot.frame, side_px)
        energies[steps] = tiles.energy.ravel()
        if composite is None:
            composite = _Composite.of(shot.frame, tiles)
        else:
            composite.add(shot.frame, tiles, side_px)
    assert composite is not None  # noqa: S101  # a plan has positions
    curves = np.array([energies[steps] for steps in at])
    sharp_at = peaks(at, curves)
    top = curves.max(axis=0)
    sharp_at[top < _FAINT * np.quantile(top, 0.9)] = np.nan
    row, col = composite.row.ravel(), composite.col.ravel()
    plane = plane_through(row, col, sharp_at, np.sqrt(composite.energy.ravel()))
    period = period_of(composite.picture, plane.uphill, plan.expected_px)
    return _finding(plan, plane, period, row, col, sharp_at, float(station.spec.um_per_step))


def _finding(
    plan: ScalePlan,
    plane: Plane3,
    period: Period,
    row: Numbers,
    col: Numbers,
    sharp_at: Numbers,
    configured_um: float,
) -> Finding:
    found_um = um_per_step(plane, period, plan.pitch_um, plan.angle_deg)
    lead_um = plan.lead_um * found_um / configured_um
    error = plane.slope_error
    # A degree of the slope, which the operator set by eye or by a block.
    tilt = math.radians(1) / math.tan(math.radians(plan.angle_deg))
    numbers = {
        "um_per_step": found_um,
        "steps_per_mm": 1000 / found_um,
        "lead_um": lead_um,
        "relative_uncertainty": error,
        "relative_error_per_degree_of_slope": tilt,
        "configured_lead_um": plan.lead_um,
        "configured_um_per_step": configured_um,
        "pitch_um": plan.pitch_um,
        "angle_deg": plan.angle_deg,
        "period_px": period.px,
        "skew_deg": period.skew_deg,
        "steps_per_px": plane.steepness,
        "parts": plane.used,
    }
    summary = (
        f"{1000 / found_um:.2f} steps/mm ({found_um:.4f} um a step) +- {100 * error:.1f} %: lead "
        f"{lead_um:.1f} um where {plan.lead_um:g} um is configured",
        f"the ruler shows a period of {period.px:.2f} px; focus moves {1 / plane.steepness:.3f} px a step; "
        f"seen by {plane.used} parts of the picture",
        f"a degree of error in the slope's {plan.angle_deg:g} degrees would be {100 * tilt:.1f} %",
    )
    uphill = plane.uphill
    along_px = row * uphill[0] + col * uphill[1]
    middle = along_px[np.isfinite(sharp_at)].mean()
    line = plane.at + plane.steepness * along_px
    draw = partial(_draw, along_px - middle, sharp_at, line, 1000 / found_um)
    return Finding(summary, {"rail": {"lead_um": round(lead_um, 1)}}, numbers, draw)


def _even(frame: Plane) -> Plane:
    """Return a frame of mean brightness 1: a lamp's flicker shall not show as a pattern of tiles."""
    return np.asarray(frame / max(float(frame.mean()), 1e-3), np.float32)


def _draw(along_px: Numbers, sharp_at: Numbers, line: Numbers, steps_per_mm: float, path: Path) -> None:
    known = np.isfinite(sharp_at)
    plots.scale(path, along_px[known], sharp_at[known], line[known], steps_per_mm)
