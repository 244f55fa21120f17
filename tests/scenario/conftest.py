"""A whole rig in virtual time: real drivers on simulated pins, run on the test's own thread."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from focusd.app import rail_spec
from focusd.config import Config, PreviewConfig, parse_config
from focusd.darkroom import Darkroom
from focusd.easel import FrameOdd, FrameSpoiled, Picture
from focusd.job import Job, JobSettings
from focusd.journal import Runs
from focusd.orders import JobChanged, Order, Report, RigState, RunJob
from focusd.photographer import Photographer
from focusd.plan import ZPlan
from focusd.runner import Runner, Signals
from focusd.service import pace_of
from focusd.worker import Worker
from focusd_sim.catalogue import scene_named
from focusd_sim.clock import VirtualClock
from focusd_sim.config import SimConfig
from focusd_sim.rig import SimulatedRig, build
from focusd_sim.scene import Scene

TABLE: dict[str, Any] = {
    "rig": {"name": "test"},
    "rail": {
        "step_pin": 17,
        "direction_pin": 27,
        "enable_pin": 22,
        "lead_um": 1000,
        "low_um": 0,
        "high_um": 25000,
        "start_um_s": 500,
        "cruise_um_s": 3000,
        "accel_um_s2": 6000,
        "backlash_um": 30,
        "prerun_um": 20,
        "at_start": "home",
        "home": {"pin": 23, "position_um": 0, "go_to_um": 5000},
    },
    "camera": {"kind": "dslr", "release_pin": 24, "focus_pin": 25, "exposure_s": 0.02},
    # Exposures are counted: without the test frame, they are the stack's own.
    "stack": {"settle_s": 1.0, "preflight": False},
    "sim": {"scene": "slope", "centre_um": 5000},
}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Put one table over another; a camera or rail of another kind replaces the default's whole."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        whole = not isinstance(value, dict) or value.get("kind", "dslr") != "dslr" or "coil_pins" in value
        result[key] = value if whole else merged(result.get(key, {}), value)
    return result


@dataclass
class Studio:
    """A simulated rig with its job and fuse threads' work, driven step by step by a test."""

    config: Config
    sim: SimulatedRig
    clock: VirtualClock
    signals: Signals
    darkroom: Darkroom
    photographer: Photographer
    runs: Runs
    posted: list[Report | Picture | FrameSpoiled | FrameOdd] = field(default_factory=list)
    alive: bool = True

    def carry_out(self, order: Order) -> None:
        self.photographer._carry_out(order)

    def run_job(self, *, settings: JobSettings | None = None, **z_plan: Any) -> Job:
        """Run one job and return how it ended."""
        plan = ZPlan(**z_plan)
        spec = rail_spec(self.config.rail)
        here = self.state.position_um if self.posted else spec.home_reference_um or 0.0
        expected = plan.resolve(here)
        run_id = self.runs.new_id(self.clock.wall())
        self.carry_out(RunJob(Job(run_id, plan, expected, settings or JobSettings())))
        return self.jobs[-1]

    @property
    def jobs(self) -> list[Job]:
        return [report.job for report in self.posted if isinstance(report, JobChanged)]

    @property
    def state(self) -> RigState:
        return next(report for report in reversed(self.posted) if isinstance(report, RigState))

    def folder(self, job: Job) -> Path:
        return self.runs.folder / job.run_id


@pytest.fixture(scope="session")
def slope() -> Scene:
    return scene_named("slope", seed=1)


@pytest.fixture
def studio(tmp_path: Path, slope: Scene) -> Iterator[Callable[..., Studio]]:
    """Make a rig; keyword arguments go over the configuration's table."""
    made: list[tuple[Studio, Worker]] = []

    def make(scene: Scene | None = None, **over: Any) -> Studio:
        table = merged(TABLE, {"data": {"dir": str(tmp_path)}, **over})
        config = parse_config(table, "test")
        sim = SimConfig.from_table(config.sim)
        clock, signals = VirtualClock(), Signals()
        use_slope = scene is None and sim.scene == "slope"
        simulated = build(config, sim, clock, signals, scene=slope if use_slope else scene)
        posted: list[Any] = []
        darkroom = Darkroom(
            posted.append,
            PreviewConfig(),
            900_000,
            signals.stop,
            give_up_after=config.stack.give_up_after,
        )
        runs = Runs(tmp_path / "runs")
        photographer = Photographer(
            simulated.rig,
            Runner(simulated.rig, clock, signals, pace_of(config)),
            darkroom,
            runs,
            config,
            clock,
            signals,
            posted.append,
        )
        worker = Worker("fuse", darkroom.work, posted.append)
        worker.start()
        result = Studio(config, simulated, clock, signals, darkroom, photographer, runs, posted)
        made.append((result, worker))
        return result

    yield make
    for studio, worker in made:
        studio.darkroom.close()
        assert worker.join(10)
        if studio.alive:
            studio.sim.rig.close()
