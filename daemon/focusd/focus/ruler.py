"""Travel per step from a ruler on a slope: where it is sharp moves along it as the rail moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from focusd.errors import CalibrationFailed
from focusd.focus.tiles import Numbers, Plane

_ROUNDS = 12
# A ruler that lies this much askew of the slope is not measured along it.
_MOST_SKEW_DEG = 8.0
_SKEWS_DEG = np.linspace(-10.0, 10.0, 41)
# Without a period to expect, one from the shortest a picture can show well to a sixth of the picture.
_SHORTEST_PX, _LEAST_PERIODS = 4.0, 6.0
# How far the magnification in the configuration may be off.
_EXPECTED_WITHIN = 0.25
_FINENESS = 8
# Of pure noise the strongest period is up to twice as strong as the next.
_LEAST_CONTRAST = 4.0


@dataclass(frozen=True, slots=True)
class Plane3:
    """Depth over the picture: ``steps = at + along_col * col + along_row * row``.

    Parameters
    ----------
    at, along_row, along_col : float
        Motor steps, and motor steps per px.
    scatter : float
        Median distance of the tiles from the plane, steps.
    slope_error : float
        Relative standard error of `steepness`.
    used : int
        Tiles that the plane goes by.
    """

    at: float
    along_row: float
    along_col: float
    scatter: float
    slope_error: float
    used: int

    @property
    def steepness(self) -> float:
        """Steps per px, along the slope."""
        return math.hypot(self.along_row, self.along_col)

    @property
    def uphill(self) -> tuple[float, float]:
        """Direction in which the depth grows, (row, column), of length 1."""
        return self.along_row / self.steepness, self.along_col / self.steepness


@dataclass(frozen=True, slots=True)
class Period:
    """How often the ruler's lines come in the picture.

    Parameters
    ----------
    px : float
        Along the slope.
    skew_deg : float
        Between the ruler's direction and the slope's, in the picture.
    contrast : float
        Power over that of the next best period that is neither near it nor a part of it.
    """

    px: float
    skew_deg: float
    contrast: float


def plane_through(row: Numbers, col: Numbers, steps: Numbers, weight: Numbers) -> Plane3:
    """Lay a plane through the depths of tiles, heeding outliers little.

    Parameters
    ----------
    row, col : ndarray of float64, (n,)
        Where, px.
    steps : ndarray of float64, (n,)
        Depth of best focus; NaN where it is not known.
    weight : ndarray of float64, (n,)
        Trust, 0 or more.

    Raises
    ------
    CalibrationFailed
        Fewer than eight tiles have a depth, or there is no slope.
    """
    known = np.isfinite(steps) & (weight > 0)
    count = int(np.count_nonzero(known))
    if count < 8:
        raise CalibrationFailed(
            f"only {count} tiles of the picture came into focus and went out again: 8 at least are needed; "
            "raise --range-um, or give the slope more texture and light",
            tiles=count,
        )
    middle = row[known].mean(), col[known].mean()
    basis = np.column_stack([np.ones(count), row[known] - middle[0], col[known] - middle[1]])
    values, trust = steps[known], weight[known] / weight[known].max()
    heed = np.ones(count)
    answer = np.zeros(3)
    scatter = 0.0
    for number in range(_ROUNDS):
        root = np.sqrt(trust * heed)
        answer, *_ = np.linalg.lstsq(basis * root[:, None], values * root, rcond=None)
        off = values - basis @ answer
        scatter = float(np.median(np.abs(off)))
        if number < _ROUNDS // 2:
            # Least absolute distances, which a third of outliers does not pull away.
            heed = 1 / np.maximum(np.abs(off), 0.1 * scatter + 1e-9)
        else:
            # Tukey's biweight at 4.685 standard deviations.
            far = off / max(4.685 * 1.4826 * scatter, 1e-9)
            heed = np.where(np.abs(far) < 1, (1 - far**2) ** 2, 0.0)
    used = trust * heed
    normal = (basis * used[:, None]).T @ basis
    steepness = float(np.hypot(answer[1], answer[2]))
    spread = float((used * (values - basis @ answer) ** 2).sum() / max(used.sum(), 1e-9))
    effective = float(used.sum() ** 2 / max((used**2).sum(), 1e-9))
    error = np.sqrt(np.diag(np.linalg.inv(normal)) * spread * used.sum() / max(effective - 3, 1.0))
    slope_error = float(np.hypot(*error[1:]))
    if steepness < 3 * slope_error:
        raise CalibrationFailed(
            "the whole picture is sharp at one depth: put the ruler on a slope (45 degrees is best)"
        )
    at = float(answer[0] - answer[1] * middle[0] - answer[2] * middle[1])
    return Plane3(
        at, float(answer[1]), float(answer[2]), scatter, slope_error / steepness, int(np.count_nonzero(heed))
    )


def period_of(picture: Plane, uphill: tuple[float, float], expected_px: float | None) -> Period:
    """Find the ruler's period along the slope.

    Parameters
    ----------
    picture : ndarray of float32, (rows, cols)
        Sharp all over.
    uphill : tuple of float
        Direction along the slope, (row, column).
    expected_px : float or None
        The period if the optics are known: tells the ruler's short lines from its long ones.

    Raises
    ------
    CalibrationFailed
        No period stands out, or the ruler does not lie along the slope.
    """
    rows, cols = picture.shape
    window = np.outer(np.hanning(rows), np.hanning(cols))
    ground = float((picture * window).sum() / window.sum())
    seen = (picture - ground) * window
    length_px = abs(uphill[0]) * rows + abs(uphill[1]) * cols
    lowest, highest = _LEAST_PERIODS / length_px, 1 / _SHORTEST_PX
    if expected_px is not None:
        lowest = max(lowest, 1 / (expected_px * (1 + _EXPECTED_WITHIN)))
        highest = min(0.5, (1 + _EXPECTED_WITHIN) / expected_px)
    if not lowest < highest:
        raise CalibrationFailed(
            f"a period of {expected_px or 0:.1f} px cannot be seen in a picture of {cols} x {rows} px: use a "
            "ruler of another pitch, or check [optics]: pixel_um is that of the frames, larger where they "
            "are reduced"
        )
    pitch = 1 / (_FINENESS * length_px)
    rates = np.arange(lowest, highest, pitch)
    best: tuple[float, float, float] | None = None
    for skew_deg in _SKEWS_DEG:
        power = _power(seen, _turned(uphill, math.radians(skew_deg)), rates)
        i = int(power.argmax())
        if best is None or power[i] > best[0]:
            best = float(power[i]), float(skew_deg), float(rates[i])
    assert best is not None  # noqa: S101  # there are skews
    strength, skew_deg, rate = best
    along = _turned(uphill, math.radians(skew_deg))
    contrast = strength / _rival(seen, along, rate, length_px, expected_px is not None)
    if contrast < _LEAST_CONTRAST:
        raise CalibrationFailed(
            "no period stands out of the picture: is it the ruler that is sharp? Its lines must cross the "
            "slope's direction" + ("" if expected_px else "; with [optics] the right one is easier to find")
        )
    if abs(skew_deg) > _MOST_SKEW_DEG:
        raise CalibrationFailed(
            f"the ruler lies {skew_deg:+.0f} degrees askew of the slope: {_MOST_SKEW_DEG:g} at most; turn it",
            skew_deg=skew_deg,
        )
    near = rate + np.linspace(-1.0, 1.0, 201) / length_px
    power = _power(seen, along, near)
    i = int(np.clip(power.argmax(), 1, len(near) - 2))
    left, middle, right = power[i - 1 : i + 2]
    fine = near[i] + (near[1] - near[0]) * (left - right) / (2 * (left - 2 * middle + right))
    return Period(float(1 / (fine * math.cos(math.radians(skew_deg)))), float(skew_deg), contrast)


def _rival(seen: Numbers, along: tuple[float, float], rate: float, length_px: float, expected: bool) -> float:
    """Power that a period has to beat."""
    rates = np.arange(_LEAST_PERIODS / length_px, 1 / _SHORTEST_PX, 1 / (2 * length_px))
    # Lines that are not sine waves show at the multiples of their frequency as well, less strongly.
    ratio = rates / rate
    others = _power(seen, along, rates[np.abs(ratio - np.rint(ratio)) * rate > 2 / length_px])
    # A ruler's longer lines may be stronger than those that are expected: compare with what lies between, of
    # which noise reaches ten medians at most.
    rival = 10 * float(np.median(others)) if expected else float(others.max())
    return max(rival, 1e-12)


def um_per_step(plane: Plane3, period: Period, pitch_um: float, angle_deg: float) -> float:
    """Travel of one motor step, um.

    From line to line of the ruler the depth changes by ``pitch * sin(angle)``, whatever the magnification.

    Parameters
    ----------
    plane : Plane3
        From `plane_through`.
    period : Period
        From `period_of`.
    pitch_um : float
        Of the ruler, along it.
    angle_deg : float
        Between the ruler and a plane across the rail's axis, in (0, 90).
    """
    angle, skew = math.radians(angle_deg), math.radians(period.skew_deg)
    # Askew, the ruler's lines are further apart along the slope. The picture shortens what runs uphill, which
    # turns their normal towards it.
    along_um = pitch_um / math.cos(math.atan(math.tan(skew) / math.cos(angle)))
    return along_um * math.sin(angle) / (plane.steepness * period.px)


def _turned(direction: tuple[float, float], by: float) -> tuple[float, float]:
    row, col = direction
    return row * math.cos(by) + col * math.sin(by), col * math.cos(by) - row * math.sin(by)


def _power(seen: Numbers, along: tuple[float, float], rates: Numbers) -> Numbers:
    """Power of the picture at frequencies along a direction."""
    rows, cols = seen.shape
    down = np.exp(-2j * np.pi * np.outer(rates * along[0], np.arange(rows)))
    across = np.exp(-2j * np.pi * np.outer(rates * along[1], np.arange(cols)))
    amplitude = np.einsum("ri,ij,rj->r", down, seen, across, optimize=True)
    return np.asarray(np.abs(amplitude) ** 2, np.float64)
