"""Whether an S-curve would let the carriage come to rest sooner than the trapezoid of speed does.

    nice python tests/bench/bench_ramp.py

The real stepper driver moves the simulated carriage of ``config/sim.toml``, by whole steps and by sixteenths,
while the carriage's frequency goes from 15 to 60 Hz. For each move: how long it takes, how far the carriage
swings after its last step, how long until every exposure of 20 ms is smeared by less than a quarter of a
pixel, and both times together beside the trapezoid's. Then the same with the start rate and the acceleration
that suit each best. Takes a minute and a half.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from focusd.config import load_config
from focusd.drivers.stepper import Stepper
from focusd.halt import Halt
from focusd.ramp import Ramp
from focusd_sim.bench import Bench, Lines
from focusd_sim.clock import VirtualClock
from focusd_sim.config import SimConfig
from focusd_sim.pins import SimFactory

CONFIG = Path(__file__).parents[2] / "config" / "sim.toml"
MOVES_UM = (20.0, 100.0, 1000.0, 5000.0)
FREQUENCIES_HZ = np.arange(15.0, 60.1, 2.5)
EXPOSURE_S = 0.02
SMEAR_PX = 0.25
STARTS_UM_S = (500.0, 50.0)
TUNED_STARTS_UM_S = (500.0, 200.0, 100.0, 50.0, 20.0)
TUNED_ACCELS_UM_S2 = (3e3, 6e3, 12e3, 24e3, 48e3)

FULL = load_config(CONFIG)
SIM = SimConfig.from_toml(CONFIG)
SMEAR_UM = SMEAR_PX * FULL.optics.pixel_um / FULL.optics.magnification


class SCurve:
    """A move of known length whose acceleration has no jumps: its rate rises and falls by two parabolas each.

    Parameters
    ----------
    steps : int
        Length of the move, from 1.
    start_hz, peak_hz : float
        Rates at its ends and in its middle.
    rise_s : float
        Time from one to the other, with an acceleration of ``2 * (peak_hz - start_hz) / rise_s`` half way.
    """

    def __init__(self, steps: int, start_hz: float, peak_hz: float, rise_s: float) -> None:
        ramp_steps = (start_hz + peak_hz) / 2 * rise_s
        half_s = rise_s + (steps / 2 - ramp_steps) / peak_hz
        self._steps = steps
        low_s, high_s = np.zeros(steps // 2), np.full(steps // 2, half_s)
        aim = np.arange(1, steps // 2 + 1)
        for _ in range(60):
            middle_s = (low_s + high_s) / 2
            u = np.minimum(middle_s / rise_s, 1.0)
            risen = np.where(u < 0.5, 2 / 3 * u**3, u - 0.5 + 2 / 3 * (1 - u) ** 3)
            at = start_hz * u * rise_s + (peak_hz - start_hz) * rise_s * risen
            at += peak_hz * np.maximum(0.0, middle_s - rise_s)
            low_s, high_s = np.where(at < aim, middle_s, low_s), np.where(at < aim, high_s, middle_s)
        # The second half mirrors the first; a step in the very middle belongs to both.
        back_s = 2 * half_s - np.concatenate(([0.0], low_s[: (steps - 1) // 2]))[::-1]
        self._intervals_s = np.diff(np.concatenate(([0.0], low_s, back_s)))

    def interval_s(self, since_rest: int, remaining: int) -> float:
        assert since_rest == self._steps - remaining, "nothing is ever late in virtual time"
        return float(self._intervals_s[since_rest])


def as_long(ramp: Ramp, steps: int) -> SCurve:
    """An S-curve as long as the trapezoid, with twice its acceleration half way up."""
    peak_hz = min(ramp.cruise_hz, math.sqrt(ramp.start_hz**2 + ramp.accel_hz_s * steps))
    return SCurve(steps, ramp.start_hz, peak_hz, (peak_hz - ramp.start_hz) / ramp.accel_hz_s)


def as_hard(ramp: Ramp, steps: int) -> SCurve:
    """An S-curve that accelerates at most as hard as the trapezoid does."""
    peak_hz = min(ramp.cruise_hz, math.sqrt(ramp.start_hz**2 + ramp.accel_hz_s * steps / 2))
    return SCurve(steps, ramp.start_hz, peak_hz, 2 * (peak_hz - ramp.start_hz) / ramp.accel_hz_s)


SHAPES: dict[str, Callable[[Ramp, int], Ramp | SCurve]] = {
    "trapezoid": lambda ramp, steps: ramp,
    "S, as long": as_long,
    "S, as hard": as_hard,
}


class Outcome(NamedTuple):
    """Of one move: s, um, s."""

    move_s: float
    swing_um: float
    settle_s: float

    @property
    def total_s(self) -> float:
        return self.move_s + self.settle_s


class Move(NamedTuple):
    """What is asked of the motor."""

    by_um: float
    microsteps: int
    start_um_s: float
    accel_um_s2: float = FULL.rail.accel_um_s2


def moved(shape: str, move: Move, hz: float) -> Outcome:
    """Drive one move from rest and watch the carriage come to rest again."""
    by_um, microsteps, start_um_s, accel_um_s2 = move
    rail = FULL.rail.model_copy(update={"microsteps": microsteps})
    sim = SIM.model_copy(
        update={
            "motor": SIM.motor.model_copy(update={"microsteps": microsteps}),
            "carriage": SIM.carriage.model_copy(update={"vibration_hz": hz, "endstop": "none"}),
        }
    )
    clock = VirtualClock()
    factory = SimFactory(clock, {rail.enable_pin: "up"})
    bench = Bench(sim, clock, factory, Lines(rail.step_pin, rail.direction_pin, rail.enable_pin))
    stepped_s: list[float] = []
    factory.watch(rail.step_pin, lambda line, level, t_s: stepped_s.append(t_s) if level else None)
    motor = Stepper(rail, factory, clock)
    motor.energise()
    per_um = 1 / float(rail.um_per_step)
    ramp = Ramp(start_um_s * per_um, rail.cruise_um_s * per_um, accel_um_s2 * per_um)
    steps = round(by_um * per_um)
    # The first move turns DIR, takes up the play and rings out.
    motor.run(round(rail.backlash_um * per_um), ramp, Halt())
    clock.sleep(10.0)
    before_um, began_s = bench.position_um(), clock.now_s()
    assert motor.run(steps, SHAPES[shape](ramp, steps), Halt()) == steps
    ended_s = stepped_s[-1]
    clock.sleep(10.0)
    assert abs(bench.position_um() - before_um - by_um) < 1e-3
    assert (bench.lost_steps, bench.violations) == (0, {})
    tau_s = sim.carriage.vibration_tau_s
    swing_um = _swing_um(bench, ended_s + 1e-6, hz, tau_s)
    return Outcome(ended_s - began_s, swing_um, _settle_s(bench, ended_s, swing_um, tau_s))


def _swing_um(bench: Bench, t_s: float, hz: float, tau_s: float) -> float:
    """Amplitude at `t_s`, from the displacement then and a quarter of a period later."""
    quarter_s = 0.25 / hz
    later_um = bench.carriage.lateral_um(t_s + quarter_s) * math.exp(quarter_s / tau_s)
    return math.hypot(bench.carriage.lateral_um(t_s), later_um)


def _settle_s(bench: Bench, ended_s: float, swing_um: float, tau_s: float) -> float:
    """Wait after which every exposure is sharp enough, to 1 ms."""
    # Backwards from where no exposure can smear so much: one taken at a turning point is sharp by chance.
    milliseconds = math.ceil(1e3 * max(0.0, tau_s * math.log(2 * swing_um / SMEAR_UM)))
    for ms in range(milliseconds, -1, -1):
        shutter_s = ended_s + 1e-6 + ms / 1e3
        if bench.motion_during(shutter_s, shutter_s + EXPOSURE_S).smear_um >= SMEAR_UM:
            return (ms + 1) / 1e3
    return 0.0


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):6.2f} ({min(values):5.2f} to {max(values):5.2f})"


def _print_way(move: Move) -> None:
    print(f"\n{move.by_um:g} um, 1/{move.microsteps} steps, start at {move.start_um_s:g} um/s")
    print(f"{'':10s} {'move s':>6s} {'swing um':>23s} {'settle s':>23s} {'total s':>23s} {'total S/T':>23s}")
    plain: list[Outcome] = []
    for shape in SHAPES:
        outcomes = [moved(shape, move, float(hz)) for hz in FREQUENCIES_HZ]
        plain = plain or outcomes
        columns = [[getattr(one, field) for one in outcomes] for field in ("swing_um", "settle_s", "total_s")]
        columns.append([one.total_s / other.total_s for one, other in zip(outcomes, plain, strict=True)])
        print(f"{shape:10s} {outcomes[0].move_s:6.3f}", *map(_spread, columns), flush=True)


def _print_best(by_um: float, microsteps: int) -> None:
    print(f"\n{by_um:g} um, 1/{microsteps} steps, start and acceleration as suits each best")
    for shape in SHAPES:
        best: tuple[float, Move, list[float]] | None = None
        for start_um_s, accel_um_s2 in itertools.product(TUNED_STARTS_UM_S, TUNED_ACCELS_UM_S2):
            move = Move(by_um, microsteps, start_um_s, accel_um_s2)
            totals_s = [moved(shape, move, float(hz)).total_s for hz in FREQUENCIES_HZ[::2]]
            if best is None or statistics.median(totals_s) < best[0]:
                best = statistics.median(totals_s), move, totals_s
        assert best is not None
        _, move, totals_s = best
        print(f"{shape:10s} {_spread(totals_s)} s at {move.start_um_s:g} um/s, {move.accel_um_s2:g} um/s^2")


def main() -> None:
    """Print tables of medians over the frequencies, least and greatest in brackets."""
    print(f"{FREQUENCIES_HZ[0]:g} to {FREQUENCIES_HZ[-1]:g} Hz, decay {SIM.carriage.vibration_tau_s:g} s")
    print(f"still enough: {SMEAR_UM:.3f} um in {EXPOSURE_S:g} s")
    for microsteps in (1, 16):
        for start_um_s in STARTS_UM_S:
            for by_um in MOVES_UM:
                _print_way(Move(by_um, microsteps, start_um_s))
    for microsteps in (1, 16):
        for by_um in MOVES_UM[:3]:
            _print_best(by_um, microsteps)


if __name__ == "__main__":
    main()
