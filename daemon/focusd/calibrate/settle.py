"""``focusd calibrate settle``: how long to wait after a move until a frame is no more smeared."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from focusd.calibrate.station import Finding, Shot, Station
from focusd.errors import CalibrationFailed
from focusd.focus.decay import Decay, envelope, uncertainty_s
from focusd.focus.smear import Smear, sharpest, smear_of
from focusd.focus.tiles import Numbers, Plane
from focusd.outputs import plots
from focusd.rail_spec import SIGN

log = logging.getLogger(__name__)

LIMIT_PX = 0.25
"""Smear that counts as none, px."""

_CROP_PX = 512
_COARSE = 9
# Times that the waits looked at closely are chosen anew, and how far they go beyond the last smear.
_LOOKS, _BEYOND = 4, 1.4
# By how much the rest before a move differs from move to move.
_UNEVEN = 0.1
# Light above this is taken for clipped, levels of 255, and how much of it is let pass.
_WHITE, _MOST_WHITE = 252.0, 0.05
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class SettlePlan:
    """How to go about it.

    Parameters
    ----------
    step_um : float
        The move that is measured after: a stack's usual step.
    rest_s : float
        Wait after which the carriage surely stands still.
    longest_s : float
        Longest wait looked at, at most `rest_s`.
    shots : int
        Frames taken where it matters, besides some for finding out where that is.
    """

    step_um: float
    rest_s: float
    longest_s: float
    shots: int


class _Frames:
    """Frames taken after the same move, each with its wait; cut to the sharpest part."""

    def __init__(self, station: Station, plan: SettlePlan) -> None:
        self._station, self._plan = station, plan
        self._before_um = station.centre_um - SIGN[station.spec.approach] * plan.step_um
        self._moves = 0
        self._crop: tuple[slice, slice] | None = None
        self.at_rest: list[Plane] = []
        self.waits_s: list[float] = []
        self.frames: list[Plane] = []
        self.shots: list[Shot] = []

    def take_at_rest(self) -> None:
        self._take(self._plan.rest_s, self.at_rest)

    def take(self, wait_s: float) -> None:
        shot = self._take(wait_s, self.frames)
        if shot is not None:
            self.waits_s.append(wait_s)
            self.shots.append(shot)

    def _take(self, wait_s: float, into: list[Plane]) -> Shot | None:
        station, plan = self._station, self._plan
        # The way back must have died away as well. Unevenly, so that a camera whose frames run free does not
        # fall into step with the moves.
        self._moves += 1
        rest_s = plan.rest_s * (1 + _UNEVEN * ((self._moves * math.sqrt(2)) % 1.0))
        station.wait_until(station.go(self._before_um) + rest_s)
        shot = station.photograph_once(station.centre_um, wait_s)
        if shot is not None:
            if self._crop is None:
                self._crop = sharpest(shot.frame, _CROP_PX)
            frame = shot.frame[self._crop]
            _check_light(frame)
            into.append(frame)
        return shot


def _check_light(frame: Plane) -> None:
    clipped = float(np.mean(frame > _WHITE))
    if clipped > _MOST_WHITE:
        raise CalibrationFailed(
            f"{100 * clipped:.0f} % of the sharpest part is overexposed, {100 * _MOST_WHITE:g} % at most: "
            "clipped light does not show smear; expose less",
            clipped=clipped,
        )


def route(station: Station, plan: SettlePlan) -> None:
    """Check the whole way against the limits; see `Station.check`."""
    reach, spec = station.spec.reach(), station.spec
    before_um = station.centre_um - SIGN[spec.approach] * plan.step_um
    station.check([(station.centre_um, reach), (before_um, reach)])


def measure(station: Station, plan: SettlePlan) -> Finding:
    """Photograph after the same move again and again, with one wait and another.

    Raises
    ------
    CalibrationFailed
        Too little detail to tell, or no rest within `SettlePlan.rest_s`.
    RailError, CameraError, Stopped
        As the rig says.
    """
    taken = _Frames(station, plan)
    for _ in range(2):
        taken.take_at_rest()
    first_s = plan.longest_s / 2 ** (_COARSE - 2)
    for wait_s in (0.0, *(first_s * 2**k for k in range(_COARSE - 1))):
        taken.take(wait_s)
    for _ in range(2):
        taken.take_at_rest()
    for k in range(plan.shots):
        if k % max(1, plan.shots // _LOOKS) == 0:
            window_s = _interesting_s(taken, plan)
            taken.take_at_rest()
        # Evenly, and out of step with any vibration.
        taken.take(window_s * ((k * _GOLDEN) % 1.0))
    return _judge(taken, plan)


def _smear(taken: _Frames) -> Smear:
    if len(taken.at_rest) < 2 or len(taken.frames) < 4:
        raise CalibrationFailed(
            f"only {len(taken.frames)} frames arrived, and {len(taken.at_rest)} at rest: check the camera"
        )
    return smear_of(taken.frames, taken.at_rest)


def _interesting_s(taken: _Frames, plan: SettlePlan) -> float:
    """Wait beyond which there is nothing to be seen, by what was taken so far."""
    waits_s, smear = np.array(taken.waits_s), _smear(taken)
    decay = envelope(waits_s, smear.square_px2, smear.sigma_px2, plan.rest_s / 2)
    smeared = waits_s[smear.square_px2 > LIMIT_PX**2 + 3 * smear.sigma_px2]
    last_s = float(smeared.max(initial=0.0))
    window_s = max(_BEYOND * decay.below_after_s(LIMIT_PX), _BEYOND * last_s, plan.longest_s / 16)
    log.info("looking closely at waits up to %.2f s", min(plan.longest_s, window_s))
    return min(plan.longest_s, window_s)


def _judge(taken: _Frames, plan: SettlePlan) -> Finding:
    waits_s, smear = np.array(taken.waits_s), _smear(taken)
    blind_px = math.sqrt(3 * float(np.median(smear.sigma_px2)))
    if blind_px > 3 * LIMIT_PX:
        raise CalibrationFailed(
            f"smear below {blind_px:.2f} px cannot be told in these frames: focus on finer, stronger "
            "texture, or give more light",
            blind_px=blind_px,
        )
    measured = waits_s, smear.square_px2, smear.sigma_px2, plan.rest_s / 2
    decay = envelope(*measured)
    if float(decay.at(np.array(plan.rest_s))) > LIMIT_PX / 4 and decay.amplitude_px > LIMIT_PX:
        raise CalibrationFailed(
            f"after {plan.rest_s:g} s the carriage still moves: say --rest-s {2 * plan.rest_s:g}",
            rest_s=plan.rest_s,
        )
    settle_s, error_s = decay.below_after_s(LIMIT_PX), uncertainty_s(*measured, LIMIT_PX)
    return _finding(taken, smear, decay, settle_s, error_s, plan)


def _finding(
    taken: _Frames, smear: Smear, decay: Decay, settle_s: float, error_s: float, plan: SettlePlan
) -> Finding:
    proposed_s = math.ceil((settle_s + error_s) * 100 - 1e-6) / 100
    waits_s = np.array(taken.waits_s)
    earliest_s = float(np.median([shot.exposure.opened_s - shot.asked_s for shot in taken.shots]))
    latest_s = float(
        np.median([s.exposure.closed_s - (s.exposure.exposure_s or 0.0) - s.asked_s for s in taken.shots])
    )
    numbers = {
        "settle_s": settle_s,
        "uncertainty_s": error_s,
        "limit_px": LIMIT_PX,
        "step_um": plan.step_um,
        "rest_s": plan.rest_s,
        "opens_after_wait_s": {"earliest": earliest_s, "latest": latest_s},
        "amplitude_px": decay.amplitude_px,
        "tau_s": decay.tau_s,
        "smear_angle_deg": smear.angle_deg,
        "wait_s": waits_s.tolist(),
        "smear_square_px2": smear.square_px2.tolist(),
        "smear_square_sigma_px2": smear.sigma_px2.tolist(),
    }
    summary = (
        f"settle_s {settle_s:.3f} s +- {error_s:.3f} s: wait from the end of a {plan.step_um:g} um move "
        f"until the camera is asked, after which smear stays below {LIMIT_PX:g} px",
        f"the camera opens its shutter {earliest_s:.3f} s after that at the earliest, {latest_s:.3f} s at "
        "the latest; the wait above is what remains on top of it",
        f"asked at once, the smear would be {decay.amplitude_px:.2f} px at worst"
        + (f"; it dies away to 1/e in {decay.tau_s:.3f} s" if settle_s else ""),
    )
    draw = partial(_draw, waits_s, smear, decay, settle_s)
    return Finding(summary, {"stack": {"settle_s": proposed_s}}, numbers, draw)


def _draw(waits_s: Numbers, smear: Smear, decay: Decay, settle_s: float, path: Path) -> None:
    at_s = np.linspace(0, float(waits_s.max()), 200)
    sigma_px = smear.sigma_px2 / (2 * np.maximum(smear.length_px, np.sqrt(smear.sigma_px2)))
    plots.settle(path, waits_s, smear.length_px, sigma_px, (at_s, decay.at(at_s)), LIMIT_PX, settle_s)
