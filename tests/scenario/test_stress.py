"""A thousand random jobs, with everything that may come between them, judged by the truth.

Real photographer, runner, rail and drivers on the simulated bench, in virtual time. Between the jobs:
moves, jogs, homing, zeroing. Into them: emergency stops, cancels and pauses at any moment, end stops that
jam or trip. Watchers on the lines see every step as it is made; all randomness comes from the seed in a
test's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from focusd.drivers import native
from focusd.job import Job, JobSettings, JobStatus
from focusd.orders import AllStop, Answered, Home, Jog, MoveTo, Order, RigState, Ticket, Zero

JOBS = 100  # for each seed and way of stepping
SEEDS = range(5)
STEP_UM = 5.0
STEP, EN, ENDSTOP = 17, 22, 23
LOW_UM, HIGH_UM, FAR_UM = 0.0, 3998.0, 12_000.0
EMERGENCY_S = 0.020
REFUSALS = {"not_homed", "out_of_travel", "bad_plan"}
TICKET = Ticket("stress")
TROUBLES = {
    "none": 0.4,
    "stop": 0.12,
    "stop at a step": 0.15,
    "jam": 0.06,
    "pull": 0.07,
    "cancel": 0.15,
    "pause": 0.05,
}
RAIL = {
    "high_um": HIGH_UM,  # not a whole number of steps
    "cruise_um_s": 6000,  # 1200 full steps/s, of which the motor starts 800: a ramp that breaks loses steps
    "accel_um_s2": 20_000,
    "jog_max_um": 1500,
    "home": {"go_to_um": 500, "back_off_um": 200, "agree_um": 10, "max_travel_um": 5000},
}
SIM = {"carriage": {"start_um": 2000, "near_um": -300, "far_um": FAR_UM}}


class Stress:
    """Random orders, and what must be true of them."""

    def __init__(self, rig: Any, seed: int) -> None:
        self.rig, self.rng = rig, np.random.default_rng(seed)
        self.rail, self.bench = rig.sim.rig.rail, rig.sim.bench
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.frame_um = 0.0  # true angle of the shaft where the rail says 0
        self.in_hand = ""
        self.homing = False
        self.steps = self.stop_at = 0
        self.last_step_s = self.off_s = 0.0
        self.stopped_s: float | None = None
        self._turn = 0
        self._post = rig.photographer._post
        rig.photographer._post = self._heard
        rig.sim.factory.watch(STEP, self._step)
        rig.sim.factory.watch(EN, self._enable)

    # Watchers.

    def _heard(self, report: Any) -> None:
        self._post(report)
        if isinstance(report, RigState):
            self.homing = report.state == "homing"
            if self.homing:
                self.frame_um = 0.0  # that of the end stop, whether or not it will be found

    def _step(self, _line: int, level: bool, t_s: float) -> None:
        if level:  # the motor follows at the end of the pulse
            self.steps += 1
            self.last_step_s = t_s
            if self.steps == self.stop_at:
                self._stop()
            return
        if not self.rail.trusted:
            if not (self.homing or self.in_hand == "jog"):
                self.wrong.append(f"a step at {t_s:.4f} s with an untrusted position")
            return
        seat_um = self.bench.carriage.seat_um(t_s) - self.frame_um
        if not LOW_UM - 0.01 <= seat_um <= HIGH_UM + 0.01:
            self.wrong.append(f"the carriage is at {seat_um:g} um at {t_s:.4f} s: outside the limits")

    def _enable(self, _line: int, level: bool, t_s: float) -> None:
        if level:
            self.off_s = t_s

    # What may happen to an order.

    def _upon(self, action: Callable[[], None], longest_s: float) -> None:
        """Have something happen at a random moment of the present order, if it lasts so long."""
        turn = self._turn
        now_s = self.rig.clock.now_s()
        self.rig.clock.call_at(
            now_s + self.rng.uniform(0, longest_s), lambda: action() if turn == self._turn else None
        )

    def _stop(self) -> None:
        self.stopped_s = self.rig.clock.now_s()
        self.rig.signals.stop.set()

    def _pull_endstop(self) -> None:
        self.bench.endstop.stick(True)
        self.rig.sim.factory.drive(ENDSTOP, False)

    def _trouble(self, order: str) -> None:
        signals, now_s, upon = self.rig.signals, self.rig.clock.now_s, self._upon
        longest_s = {"job": 4.0, "home": 4.0}.get(order, 0.7)
        match self.rng.choice(list(TROUBLES), p=list(TROUBLES.values())):
            case "stop":
                upon(self._stop, longest_s)
            case "stop at a step":
                self.stop_at = self.steps + int(self.rng.integers(1, 500))
            case "jam":
                upon(lambda: self.bench.endstop.stick(True), longest_s)
                upon(lambda: self.bench.endstop.stick(False), 2 * longest_s)
            case "pull":
                upon(self._pull_endstop, longest_s)
            case "cancel" if order == "job":
                upon(signals.cancel.set, longest_s)
            case "pause" if order == "job":
                upon(signals.pause.set, longest_s)
                self.rig.clock.call_at(now_s() + longest_s + 1.0, signals.pause.clear)

    def _repair(self) -> None:
        """After each order somebody sees to the end stop, and the main thread to its signals."""
        self.stop_at = 0
        self.bench.endstop.stick(False)
        self.rig.sim.factory.drive(ENDSTOP, not self.bench.endstop.pressed)
        self.rig.signals.cancel.clear()
        self.rig.signals.pause.clear()

    # Orders.

    def between(self) -> None:
        """Do anything but a job."""
        often = [0.5, 0.4, 0.05, 0.05] if self.rail.trusted else [0.1, 0.2, 0.65, 0.05]
        kind = self.rng.choice(["move", "jog", "home", "zero"], p=often)
        match kind:
            case "move":
                self._carry_out("move", MoveTo(TICKET, self._somewhere_um()))
            case "jog":
                by_um = float(self.rng.uniform(-1600, 1600))
                if self.rng.random() < 0.2:
                    by_um = float(self.rng.choice([LOW_UM, HIGH_UM])) - self.rail.position_um
                self._carry_out("jog", Jog(TICKET, by_um))
            case "home":
                self._carry_out("home", Home(TICKET))
            case "zero" if self.bench.shaft_um() + HIGH_UM < FAR_UM:  # there the operator sees room enough
                self._carry_out("zero", Zero(TICKET))

    def job(self) -> None:
        """Run a stack of two to six stops."""
        stops = int(self.rng.integers(2, 7))
        span_um = float(self.rng.uniform(10, 400))
        bottom_um = float(self.rng.uniform(LOW_UM - 50, HIGH_UM - span_um + 50))
        if self.rng.random() < 0.1:
            bottom_um = float(self.rng.choice([LOW_UM, HIGH_UM - span_um]))
        settings = JobSettings(
            settle_s=float(self.rng.uniform(0, 0.3)),
            approach=self._one_of(None, "up", "down"),
            return_to=self._one_of("none", "start", "end", "centre"),
            hold=self._one_of(None, "always", "job", "off"),
            shots_per_step=int(self.rng.integers(1, 3)),
        )
        z_plan = {
            "bottom": bottom_um,
            "top": bottom_um + span_um,
            "step": span_um / (stops - 1),
            "go_up": bool(self.rng.integers(2)),
        }
        first = self.rig.sim.truth.next_index
        job = self._carry_out("job", lambda: self.rig.run_job(settings=settings, **z_plan))
        self._check_exposures(job, first)

    def _somewhere_um(self) -> float:
        at_random = self.rng.uniform(LOW_UM - 200, HIGH_UM + 200)
        return float(self.rng.choice([at_random, LOW_UM, HIGH_UM], p=[0.9, 0.05, 0.05]))

    def _one_of(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def _carry_out(self, kind: str, what: Order | Callable[[], Job]) -> Any:
        """Carry out an order with whatever happens to it, and compare with the truth."""
        self._turn += 1
        self.rig.posted.clear()
        self.stopped_s, steps, was_trusted = None, self.steps, self.rail.trusted
        self._trouble(kind)
        self.in_hand = kind
        if callable(what):
            result = what()
            code = result.code
        else:
            result = self.rig.carry_out(what)
            error = next(post.error for post in self.rig.posted if isinstance(post, Answered))
            code = None if error is None else error.code
        self.in_hand, self.homing = "", False
        if kind == "zero" and code is None:
            self.frame_um = self.bench.shaft_um()
        self.seen[f"{kind}: {code or 'done'}"] += 1
        self._check(kind, code, was_trusted, self.steps - steps)
        self._repair()
        return result

    # What must be true.

    def _check(self, kind: str, code: str | None, was_trusted: bool, steps: int) -> None:
        told = f"order {self._turn}, {kind} that ended with {code or 'success'}"
        assert not self.wrong, f"{told}: {self.wrong[:3]}"
        self._check_position(told)
        if code in REFUSALS:
            assert self.rail.trusted or not was_trusted, f"{told}: a refusal is no doubt"
            if was_trusted or kind != "job":  # which may have homed first
                assert steps == 0, f"{told}: a refusal comes before the first pulse"
        if code in ("endstop_hit", "endstop_not_found", "rail", "stopped"):
            assert not self.rail.trusted, told
            assert self.rig.sim.factory.level(EN), f"{told}: the motor is off"
        if self.stopped_s is not None:
            self._check_stop(told, steps)

    def _check_position(self, told: str) -> None:
        if self.rail.trusted:
            true_um = self.bench.shaft_um() - self.frame_um
            off_um = true_um - self.rail.position_um
            assert abs(off_um) <= STEP_UM / 2, (
                f"{told}: trusted at {self.rail.position_um} um, truly {true_um} um"
            )

    def _check_stop(self, told: str, steps: int) -> None:
        """After an emergency stop, an order that waited behind it, and the stop's own."""
        assert self.stopped_s is not None
        self.seen["stop in motion"] += bool(steps and self.stopped_s - self.last_step_s < 0.005)
        made = self.steps
        self.rig.carry_out(Home(TICKET))
        assert self.rig.signals.stop.is_set(), f"{told}: only AllStop clears it"
        self.rig.carry_out(AllStop(TICKET))
        assert self.steps == made, f"{told}: a step after the stop"
        assert self.last_step_s <= self.stopped_s + EMERGENCY_S, told
        assert self.rig.sim.factory.level(EN), told
        assert self.off_s <= self.stopped_s + EMERGENCY_S, told
        assert not self.rail.trusted, told
        assert not self.rig.signals.stop.is_set(), told
        self.rig.clock.sleep(1.0)
        assert self.steps == made, f"{told}: a step after the stop"

    def _check_exposures(self, job: Job, first: int) -> None:
        """Each was made where the plan says, and with the carriage at rest."""
        exposures = self.rig.sim.truth.exposures[first:]
        shots = job.settings.shots_per_step
        if job.status is JobStatus.DONE:
            assert len(exposures) == shots * len(job.plan)
        for index, exposure in enumerate(exposures):
            if self.stopped_s is None or exposure.t_close_s < self.stopped_s:
                planned_um = job.plan.positions_um[index // shots]
                off_um = exposure.shaft_um - self.frame_um - planned_um
                beyond_um = max(0.0, planned_um - HIGH_UM // STEP_UM * STEP_UM)
                assert abs(off_um + beyond_um) <= STEP_UM / 2 + 0.01, f"stop {index // shots} of {job.plan}"
                assert exposure.step_edges == 0


@pytest.mark.parametrize("pulses", ["pins", "native"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_trusted_position_is_the_true_one_whatever_happens(
    studio: Callable[..., Any], pulses: str, seed: int
) -> None:
    if pulses == "native" and not native.LIBRARY.is_file():
        pytest.skip("built without a compiler, so there is no C loop")
    at_start = "require" if seed % 2 else "home"
    camera = {"frames": "none", "half_press_s": 0.0, "shutter_on_s": 0.05, "shutter_gap_s": 0.05}
    rig = studio(rail={**RAIL, "at_start": at_start, "pulses": pulses}, camera=camera, sim=SIM)
    stress = Stress(rig, seed)
    for _ in range(JOBS):
        # Where jobs do not home by themselves, somebody does, as a rule.
        waits = at_start == "require" and not stress.rail.trusted
        for _ in range(int(stress.rng.integers(waits, 3))):
            stress.between()
        stress.job()
    assert rig.sim.bench.ignored_steps == 0
    assert rig.sim.bench.violations == {}
    # That it was put under stress at all.
    assert stress.seen["job: done"] >= JOBS // 4
    assert stress.seen["stop in motion"] >= JOBS // 20
    for what in ("cancelled", "out_of_travel", "stopped", "endstop_hit"):
        assert stress.seen[f"job: {what}"], f"no job ended like that: {what}"
