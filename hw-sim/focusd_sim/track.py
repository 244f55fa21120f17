"""What the carriage did: its state at every change, from which any instant of the recent past is computed.

Between two changes everything has a closed form: the seat of the carriage drifts at a constant speed, the
settling lag and the vibration decay. So nothing is simulated in time steps.
"""

from __future__ import annotations

import cmath
import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from focusd.errors import RailError

_FORGET_EVERY = 4096
# The extremes of a decaying oscillation lie in its first period; 32 samples miss 0.5 % of a peak.
_PERIODS = 1.25
_SAMPLES_PER_PERIOD = 32


@dataclass(frozen=True, slots=True)
class Wave:
    """How the carriage rings and settles.

    Parameters
    ----------
    frequency_hz : float
        Of the oscillation; 0 switches it off.
    tau_s : float
        Decay time of the oscillation's amplitude.
    axial_share : float
        Axial over lateral amplitude of the ringing that steps excite.
    lag_tau_s : float
        Decay time of the settling creep.
    """

    frequency_hz: float = 0.0
    tau_s: float = 0.12
    axial_share: float = 0.0
    lag_tau_s: float = 0.15

    @property
    def pole(self) -> complex:
        """Complex frequency, 1/s."""
        return complex(-1 / self.tau_s, 2 * math.pi * self.frequency_hz)


class State(NamedTuple):
    """The carriage just after a change; lengths in um. A tuple because one is made at every step.

    `step` is what steps excite (lateral and, by `Wave.axial_share`, axial), `bump` what other things excite
    (lateral only): complex amplitudes whose imaginary part is the displacement.
    """

    seat_um: float
    lag_um: float = 0.0
    step: complex = 0j
    bump: complex = 0j
    drift_um_s: float = 0.0
    drift_to_um: float = 0.0
    shaft: int = 0


@dataclass(frozen=True, slots=True)
class Motion:
    """How the carriage moved over an interval.

    Attributes
    ----------
    position_um : float
        Mean over the interval, along the rail.
    start_um, end_um : float
        At its ends.
    peak_to_peak_um : float
        Axial excursion.
    smear_um : float
        Lateral excursion, peak to peak.
    step_edges : int
        Rising edges on STEP within it, whatever became of them.
    max_speed_um_s : float
        Fastest axial motion: steps over the time they took, or vibration.
    shaft : int
        Shaft's angle at the end, in units of 1/256 full step.
    """

    position_um: float
    start_um: float
    end_um: float
    peak_to_peak_um: float
    smear_um: float
    step_edges: int
    max_speed_um_s: float
    shaft: int


class Track:
    """The carriage's states over the last `keep_s` seconds.

    Parameters
    ----------
    first : State
        Since ever.
    wave : Wave
        How it rings and settles.
    keep_s : float
        How long the past is kept.
    """

    def __init__(self, first: State, wave: Wave, keep_s: float = 120.0) -> None:
        self._wave = wave
        self._pole = wave.pole
        self._keep_s = keep_s
        self._times = [-math.inf]
        self._states = [first]
        self._edges: list[float] = []

    def append(self, state: State, t_s: float) -> None:
        """Note `state` from `t_s` on; a time before the last one counts as the last one."""
        self._times.append(max(t_s, self._times[-1]))
        self._states.append(state)
        if len(self._times) % _FORGET_EVERY == 0:
            self._forget(t_s - self._keep_s)

    def edge(self, t_s: float) -> None:
        """Note a rising edge on STEP."""
        self._edges.append(t_s)
        if len(self._edges) % _FORGET_EVERY == 0:
            del self._edges[: bisect_left(self._edges, t_s - self._keep_s)]

    def now(self, t_s: float) -> State:
        """Return the last state, moved on to `t_s`: seat, lag and amplitudes as they are then."""
        return self._at(len(self._times) - 1, t_s)

    def position_um(self, t_s: float) -> float:
        """Where the carriage truly is at `t_s`, along the rail."""
        state = self._at(self._index(t_s), t_s)
        return self._axial_um(state)

    def lateral_um(self, t_s: float) -> float:
        """Sideways displacement at `t_s`."""
        state = self._at(self._index(t_s), t_s)
        return (state.step + state.bump).imag

    def speed_um_s(self, t_s: float) -> float:
        """Axial speed at `t_s`, never negative: that of the steps around it, or of the vibration."""
        i = self._index(t_s)
        state = self._at(i, t_s)
        ringing = abs(state.step) * self._wave.axial_share * abs(self._pole)
        speed = 0.0
        for j in (i, i + 1):
            if 0 < j < len(self._times):
                gap_s = self._times[j] - self._times[j - 1]
                # A step's speed holds for as long as the step took.
                if gap_s > 0 and (j == i + 1 or t_s - self._times[j] <= gap_s):
                    speed = max(speed, abs(self._moved_um(j)) / gap_s)
        return max(speed, abs(state.drift_um_s), ringing)

    def motion_during(self, t0_s: float, t1_s: float) -> Motion:
        """Sum up the interval from `t0_s` to `t1_s` (at or after `t0_s`).

        Raises
        ------
        RailError
            If the interval began before what is kept.
        """
        first, last = self._index(t0_s), self._index(t1_s)
        window_s = max(t1_s - t0_s, 1e-9)
        integral, speed = 0.0, 0.0
        axial = [self._axial_um(self._at(first, t0_s)), self._axial_um(self._at(last, t1_s))]
        lateral: list[float] = []
        for i in range(first, last + 1):
            begin_s = t0_s if i == first else self._times[i]
            end_s = t1_s if i == last else self._times[i + 1]
            state = self._at(i, begin_s)
            integral += self._integral(state, end_s - begin_s)
            low, high, wide = self._extremes(state, end_s - begin_s)
            axial += (low, high)
            lateral += wide
            ringing = abs(state.step) * self._wave.axial_share * abs(self._pole)
            speed = max(speed, abs(state.drift_um_s), ringing)
            if i > first:
                gap_s = min(self._times[i] - self._times[i - 1], window_s)
                speed = max(speed, abs(self._moved_um(i)) / max(gap_s, 1e-6))
        return Motion(
            position_um=integral / window_s if t1_s > t0_s else axial[0],
            start_um=axial[0],
            end_um=axial[1],
            peak_to_peak_um=max(axial) - min(axial),
            smear_um=max(lateral) - min(lateral),
            step_edges=bisect_right(self._edges, t1_s) - bisect_left(self._edges, t0_s),
            max_speed_um_s=speed,
            shaft=self._states[last].shaft,
        )

    def _moved_um(self, i: int) -> float:
        return self._states[i].seat_um - self._states[i - 1].seat_um

    def _axial_um(self, state: State) -> float:
        return state.seat_um - state.lag_um + self._wave.axial_share * state.step.imag

    def _index(self, t_s: float) -> int:
        i = bisect_right(self._times, t_s) - 1
        if i < 0:
            raise RailError(
                f"the simulated rail's past at {t_s:.3f} s is forgotten: it is kept for {self._keep_s:g} s; "
                "ask sooner after the exposure",
                t_s=t_s,
            )
        return i

    def _at(self, i: int, t_s: float) -> State:
        state, since_s = self._states[i], t_s - self._times[i]
        if since_s == 0 or (since_s == math.inf and not state.drift_um_s):
            return state
        seat_um = state.seat_um
        if state.drift_um_s:
            way_um = min(abs(state.drift_um_s) * since_s, abs(state.drift_to_um - seat_um))
            seat_um += math.copysign(way_um, state.drift_um_s)
        turn = cmath.exp(self._pole * since_s) if state.step or state.bump else 0j
        lag_um = state.lag_um and state.lag_um * math.exp(-since_s / self._wave.lag_tau_s)
        return State(
            seat_um,
            lag_um,
            state.step * turn,
            state.bump * turn,
            state.drift_um_s,
            state.drift_to_um,
            state.shaft,
        )

    def _integral(self, state: State, span_s: float) -> float:
        """Integral of the axial position over `span_s` from `state`, um s."""
        total = state.seat_um * span_s
        if state.drift_um_s:
            way_um = abs(state.drift_to_um - state.seat_um)
            moving_s = min(span_s, way_um / abs(state.drift_um_s))
            total += state.drift_um_s * moving_s * (moving_s / 2 + span_s - moving_s)
        if state.lag_um:
            tau_s = self._wave.lag_tau_s
            total -= state.lag_um * tau_s * -math.expm1(-span_s / tau_s)
        if state.step and self._wave.axial_share:
            ringing = state.step * (cmath.exp(self._pole * span_s) - 1) / self._pole
            total += self._wave.axial_share * ringing.imag
        return total

    def _extremes(self, state: State, span_s: float) -> tuple[float, float, list[float]]:
        """Least and greatest axial position, and lateral displacements, over `span_s` from `state`."""
        if not (state.step or state.bump) or span_s <= 0:
            here = self._axial_um(state)
            there = here - state.lag_um * math.expm1(-span_s / self._wave.lag_tau_s)
            return min(here, there), max(here, there), [(state.step + state.bump).imag]
        period_s = 1 / self._wave.frequency_hz
        watch_s = min(span_s, _PERIODS * period_s)
        count = max(2, math.ceil(watch_s / period_s * _SAMPLES_PER_PERIOD) + 1)
        t_s = np.linspace(0.0, watch_s, count)
        turn = np.exp(self._pole * t_s)
        lateral = np.imag((state.step + state.bump) * turn)
        settled = -state.lag_um * np.expm1(-t_s / self._wave.lag_tau_s)
        ringing = self._wave.axial_share * np.imag(state.step * (turn - 1))
        axial = self._axial_um(state) + settled + ringing
        return float(axial.min()), float(axial.max()), [float(lateral.min()), float(lateral.max())]

    def _forget(self, before_s: float) -> None:
        """Drop what ended before `before_s`, but for the state that reigned then."""
        gone = bisect_right(self._times, before_s) - 1
        if gone > 0:
            del self._times[:gone]
            del self._states[:gone]
