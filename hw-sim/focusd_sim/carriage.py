"""Screw, nut and carriage: from the shaft's angle to where the camera truly is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from focusd_sim.driver import UNITS_PER_STEP
from focusd_sim.track import Motion, State, Track, Wave


@dataclass(frozen=True, slots=True)
class Screw:
    """The mechanics; 0 switches an effect off.

    Parameters
    ----------
    lead_um : float
        Travel per turn, um.
    direction : int
        +1 if DIR high moves towards the far end, else -1.
    backlash_um : float
        Play of the nut, um. Zero of the shaft's scale is the flank that pushes towards the far end: arriving
        from below the carriage is at the nut, arriving from above it is `backlash_um` beyond.
    periodic_um : float
        Amplitude of the error that repeats once a turn, um.
    near_um, far_um : float
        Hard ends of travel.
    start_um : float
        Where it stands when power comes on.
    sag_um_s : float
        Speed at which gravity takes up the play towards the near end while the motor is off, um/s.
    creep : float
        Share of every step that is made up only slowly after it.
    lateral_um : float
        Amplitude of the vibration that a full step excites, um.
    full_steps_per_turn : float
        Of the motor, gear included.
    """

    lead_um: float = 1000.0
    direction: int = 1
    backlash_um: float = 0.0
    periodic_um: float = 0.0
    near_um: float = -500.0
    far_um: float = 30000.0
    start_um: float = 0.0
    sag_um_s: float = 0.0
    creep: float = 0.0
    lateral_um: float = 0.0
    full_steps_per_turn: float = 200


class Carriage:
    """The carriage on its screw.

    Parameters
    ----------
    screw : Screw
        The mechanics.
    wave : Wave
        How it rings and settles.
    """

    def __init__(self, screw: Screw, wave: Wave) -> None:
        self._screw = screw
        self._um_per_unit = screw.direction * screw.lead_um / (screw.full_steps_per_turn * UNITS_PER_STEP)
        self._phase_per_unit = 2 * math.pi / (screw.full_steps_per_turn * UNITS_PER_STEP)
        self._kick_per_unit = screw.lateral_um / UNITS_PER_STEP if wave.frequency_hz else 0.0
        self._rings = wave.frequency_hz > 0
        self._shaft = 0
        self._track = Track(State(screw.start_um), wave)

    @property
    def limits(self) -> tuple[int, int]:
        """Shaft angles at which the carriage meets its hard ends, in units, lower first."""
        screw = self._screw
        ends = (
            (screw.near_um - screw.backlash_um - screw.start_um) / self._um_per_unit,
            (screw.far_um - screw.start_um) / self._um_per_unit,
        )
        return math.ceil(min(ends)), math.floor(max(ends))

    def seat_um(self, t_s: float) -> float:
        """Where the carriage sits at `t_s` (not before the last change), without vibration and lag."""
        return self._track.now(t_s).seat_um

    def shaft_um(self, shaft: int) -> float:
        """Travel that an angle of the shaft stands for, on the carriage's scale."""
        return self._screw.start_um + shaft * self._um_per_unit

    def edge(self, t_s: float) -> None:
        """Note a rising edge on STEP."""
        self._track.edge(t_s)

    def follow(self, shaft: int, t_s: float) -> None:
        """Move with the shaft, which now stands at `shaft` units."""
        screw = self._screw
        before = self._track.now(t_s)
        turned = shaft - self._shaft
        self._shaft = shaft
        nut_um = screw.start_um + shaft * self._um_per_unit
        if screw.periodic_um:
            nut_um += screw.periodic_um * math.sin(shaft * self._phase_per_unit)
        seat_um = min(max(before.seat_um, nut_um), nut_um + screw.backlash_um)
        seat_um = min(max(seat_um, screw.near_um), screw.far_um)
        self._track.append(
            State(
                seat_um,
                before.lag_um + screw.creep * (seat_um - before.seat_um),
                before.step + turned * self._kick_per_unit,
                before.bump,
                before.drift_um_s,
                nut_um if before.drift_um_s else 0.0,
                shaft,
            ),
            t_s,
        )

    def release(self, t_s: float) -> None:
        """Lose the motor's hold: gravity begins to take up the play."""
        self._drift(-self._screw.sag_um_s, t_s)

    def hold(self, t_s: float) -> None:
        """Be held by the motor again."""
        self._drift(0.0, t_s)

    def bump(self, lateral_um: float, t_s: float) -> None:
        """Be shaken sideways with an amplitude of `lateral_um`, as by a camera's mirror."""
        if not self._rings:
            return
        now = self._track.now(t_s)
        self._track.append(
            State(
                now.seat_um,
                now.lag_um,
                now.step,
                now.bump + lateral_um,
                now.drift_um_s,
                now.drift_to_um,
                now.shaft,
            ),
            t_s,
        )

    def position_um(self, t_s: float) -> float:
        """Return the true position along the rail at `t_s`, um."""
        return self._track.position_um(t_s)

    def lateral_um(self, t_s: float) -> float:
        """Sideways displacement by vibration at `t_s`, um."""
        return self._track.lateral_um(t_s)

    def speed_um_s(self, t_s: float) -> float:
        """Axial speed at `t_s`, um/s, never negative."""
        return self._track.speed_um_s(t_s)

    def motion_during(self, t0_s: float, t1_s: float) -> Motion:
        """Sum up the motion from `t0_s` to `t1_s`."""
        return self._track.motion_during(t0_s, t1_s)

    def _drift(self, speed_um_s: float, t_s: float) -> None:
        now = self._track.now(t_s)
        if speed_um_s == now.drift_um_s:
            return
        nut_um = self._nut_um()
        self._track.append(
            State(now.seat_um, now.lag_um, now.step, now.bump, speed_um_s, nut_um, now.shaft), t_s
        )

    def _nut_um(self) -> float:
        nut_um = self.shaft_um(self._shaft)
        return nut_um + self._screw.periodic_um * math.sin(self._shaft * self._phase_per_unit)
