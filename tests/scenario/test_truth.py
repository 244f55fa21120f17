"""Whole stacks in virtual time, judged by the simulator's truth and never by what the daemon believes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from focusd.drivers import native
from focusd.job import Job, JobSettings, JobStatus
from focusd.journal import read_journal
from focusd.orders import AllStop, Home, Jog, Ticket
from focusd.pictures.images import read_image
from focusd_sim.catalogue import scene_named
from focusd_sim.scene import Scene
from focusd_sim.score import oracle, psnr

Make = Callable[..., Any]
STEP_UM = 5.0
CONFIGS = Path(__file__).parents[2] / "config"
PRINTS = {
    "final.tif", "final.jpg", "depth.tif", "depth16.tif", "depth.png", "origin.tif", "confidence.tif",
    "reason.tif",
}  # fmt: skip
STACK = {"range": 380, "step": 20}
PI_CAMERA = {
    "kind": "picamera2",
    "frame_size": {"width": 160, "height": 120},
    "exposure_s": 0.01,
    "colour_gains": [1.8, 1.6],
}


def errors_um(rig: Any, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Shaft and carriage less the plan, at each exposure of the job."""
    taken = rig.sim.truth.exposures[-len(job.plan) :]
    plan = np.array(job.plan.positions_um)
    shaft = np.array([exposure.shaft_um for exposure in taken]) - plan
    carriage = np.array([exposure.position_um for exposure in taken]) - plan
    return shaft, carriage


def test_a_stack_leaves_its_folder(studio: Make) -> None:
    rig = studio()
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE, job.error
    assert (job.done, job.missing) == (20, ())
    folder = rig.folder(job)
    names = {path.name for path in folder.iterdir()}
    assert names == PRINTS | {"journal.jsonl", "run.json"}
    kinds = [line["kind"] for line in read_journal(folder / "journal.jsonl")]
    assert kinds == ["accepted", "started", *["stopdone"] * 20, "captured", "finished"]
    assert tifffile.imread(folder / "depth.tif").dtype == np.float32
    assert tifffile.imread(folder / "final.tif").shape == (120, 160, 3)


def test_record_and_truth_agree_stop_by_stop(studio: Make) -> None:
    """A frame dropped, doubled or given to another stop would show here."""
    rig = studio()
    job = rig.run_job(**STACK)
    record = json.loads((rig.folder(job) / "run.json").read_text())
    exposures = record["truth"]["exposures"]
    assert len(record["stops"]) == len(exposures) == record["fused"] == 20
    for stop, exposure in zip(record["stops"], exposures, strict=True):
        (shot,) = stop["shots"]
        assert shot["frame"] == exposure["frame_file"]
        assert stop["position_um"] == pytest.approx(exposure["position_um"], abs=1.0)
        assert stop["planned_um"] == pytest.approx(stop["position_um"], abs=STEP_UM / 2)
    assert record["truth"]["lost_steps"] == record["truth"]["ignored_steps"] == 0
    assert record["truth"]["crashes"] == 0
    assert not any(record["truth"]["violations"].values())


@pytest.mark.parametrize("go_up", [True, False])
def test_shaft_is_where_the_plan_says(studio: Make, go_up: bool) -> None:
    """Half a commanded step is 10 um of 20, half a motor step 2.5 um of 5: the motor's is the one held."""
    rig = studio()
    shaft, carriage = errors_um(rig, rig.run_job(**STACK, go_up=go_up))
    assert np.abs(shaft).max() <= STEP_UM / 2
    assert np.abs(carriage).max() <= STEP_UM / 2 + 0.5


@pytest.mark.parametrize("go_up", [True, False])
def test_carriage_differs_by_the_screws_error_alone(studio: Make, go_up: bool) -> None:
    rig = studio(sim={"carriage": {"periodic_um": 8.0}})
    shaft, carriage = errors_um(rig, rig.run_job(**STACK, go_up=go_up))
    assert np.abs(shaft).max() <= STEP_UM / 2
    beyond = carriage - shaft
    phase = 2 * np.pi * np.array(rig.jobs[-1].plan.positions_um) / 1000
    basis = np.column_stack([np.sin(phase), np.cos(phase), np.ones_like(phase)])
    fit, *_ = np.linalg.lstsq(basis, beyond, rcond=None)
    assert np.hypot(fit[0], fit[1]) == pytest.approx(8.0, rel=0.1)
    assert np.abs(beyond - basis @ fit).max() < 0.5


def test_backlash_matters_when_it_is_not_compensated(studio: Make) -> None:
    """The play is real: without the one-sided approach the carriage is off by it on the way down."""
    rig = studio()
    settings = JobSettings(backlash_um=0.0, prerun_um=0.0)
    _, carriage = errors_um(rig, rig.run_job(settings=settings, **STACK, go_up=False))
    assert np.abs(carriage).max() == pytest.approx(30.0, abs=5.0)


@pytest.mark.parametrize("camera", ["dslr", "picamera2"])
def test_nothing_is_exposed_while_it_moves(studio: Make, camera: str) -> None:
    rig = studio(camera=PI_CAMERA) if camera == "picamera2" else studio()
    job = rig.run_job(**STACK)
    assert job.status is JobStatus.DONE, job.error
    taken = rig.sim.truth.exposures[-20:]
    assert [exposure.step_edges for exposure in taken] == [0] * 20
    assert max(exposure.smear_px for exposure in taken) < 0.25


@pytest.mark.parametrize("camera", ["dslr", "picamera2"])
def test_without_settling_the_same_stack_smears(studio: Make, camera: str) -> None:
    rig = studio(camera=PI_CAMERA) if camera == "picamera2" else studio(camera={"half_press_s": 0.0})
    rig.run_job(settings=JobSettings(settle_s=0.0), **STACK)
    assert max(exposure.smear_px for exposure in rig.sim.truth.exposures[-20:]) > 0.25


@pytest.mark.parametrize("name", ["slope", "spheres"])
def test_picture_reaches_the_oracle(studio: Make, name: str) -> None:
    scene: Scene = scene_named(name, seed=3)
    quiet = {"vignetting": 0.0, "flicker": 0.0}
    rig = studio(scene=scene, sim={"scene": name, "sensor": quiet})
    job = rig.run_job(**STACK)
    fused = read_image(rig.folder(job) / "final.tif")
    inbox = rig.config.data.dir / "inbox"
    record = json.loads((rig.folder(job) / "run.json").read_text())
    files = [stop["shots"][0]["frame"] for stop in record["stops"]]
    focus_um = [exposure["focus_um"] for exposure in record["truth"]["exposures"]]

    def frame_at(position_um: float) -> Any:
        return read_image(inbox / files[int(np.argmin(np.abs(np.array(focus_um) - position_um)))])

    best = oracle(frame_at, scene.height_um, focus_um)
    assert psnr(fused, scene.all_in_focus) >= psnr(best, scene.all_in_focus) - 1.0
    assert psnr(fused, scene.all_in_focus) > 30


def test_depth_is_in_rail_micrometres(studio: Make) -> None:
    rig = studio()
    job = rig.run_job(**STACK)
    depth_um = tifffile.imread(rig.folder(job) / "depth.tif")
    error_um = depth_um - (rig.sim.scene.height_um + 5000)
    assert abs(np.nanmedian(error_um)) < 2.0
    assert np.nanmedian(np.abs(error_um)) < 0.25 * 20


def test_depth_is_right_around_every_stop(studio: Make) -> None:
    """Two frames that changed places would show here, and nowhere else."""
    rig = studio()
    job = rig.run_job(**STACK)
    depth_um = tifffile.imread(rig.folder(job) / "depth.tif")
    true_um = rig.sim.scene.height_um + 5000
    for position_um in job.plan.positions_um[1:-1]:
        around = np.abs(true_um - position_um) < 5
        assert np.nanmedian(np.abs(depth_um[around] - true_um[around])) < 0.4 * 20, position_um


def test_motor_is_off_before_and_after(studio: Make) -> None:
    rig = studio()
    enable = rig.config.rail.enable_pin
    assert rig.sim.factory.level(enable) is True
    levels: list[bool] = []
    rig.sim.factory.watch(enable, lambda _line, level, _t: levels.append(level))
    rig.run_job(**STACK)
    assert levels[0] is False
    assert rig.sim.factory.level(enable) is True
    assert rig.sim.bench.ignored_steps == 0


def test_a_killed_process_leaves_the_motor_off(studio: Make) -> None:
    rig = studio(rail={"hold": "always"})
    rig.run_job(**STACK)
    enable = rig.config.rail.enable_pin
    assert rig.sim.factory.level(enable) is False
    rig.sim.factory.close()  # what the kernel does for a process that is gone
    rig.alive = False
    assert rig.sim.factory.level(enable) is True


def test_homing_finds_the_same_place_again(studio: Make) -> None:
    rig = studio()
    found = []
    for _ in range(3):
        rig.carry_out(Home(Ticket("home")))
        assert rig.state.position_um == 5000
        found.append(rig.sim.bench.position_um())
    assert np.ptp(found) < 1.0
    assert found[0] == pytest.approx(5000, abs=STEP_UM)


@pytest.mark.parametrize("pulses", ["pins", "native"])
@pytest.mark.parametrize("by", ["request", "button"])
def test_emergency_stop_anywhere_in_a_stack(studio: Make, by: str, pulses: str) -> None:
    """From the signal to the last STEP edge and EN: within 20 ms, whatever the rig is doing."""
    if pulses == "native" and not native.LIBRARY.is_file():
        pytest.skip("built without a compiler, so there is no C loop")
    rig = studio(rail={"pulses": pulses, "stop_button": {"pin": 5}})
    rig.sim.rig.rail.watch_button(rig.signals.stop.set)

    def press() -> None:
        if by == "button":
            rig.sim.faults.set("press_button", True)
            rig.sim.faults.set("press_button", False)
        else:
            rig.signals.stop.set()

    steps: list[float] = []
    enables: list[tuple[bool, float]] = []
    rig.sim.factory.watch(17, lambda _line, level, t: steps.append(t) if level else None)
    rig.sim.factory.watch(22, lambda _line, level, t: enables.append((level, t)))
    rng = np.random.default_rng(5)
    for delay_s in rng.uniform(0.01, 14.0, 25):
        pressed_s = rig.clock.now_s() + delay_s
        rig.clock.call_at(pressed_s, press)
        job = rig.run_job(range=100, step=20)
        if rig.signals.stop.is_set():
            assert job.status is JobStatus.CANCELLED
            assert job.code == "stopped"
            assert steps[-1] <= pressed_s + 0.020
            assert enables[-1][0] is True
            assert enables[-1][1] <= pressed_s + 0.020
        else:  # the stack was over before
            assert job.status is JobStatus.DONE
            rig.clock.sleep(delay_s)
        rig.carry_out(AllStop(Ticket("stop")))
        assert not rig.state.position_valid
        assert not rig.signals.stop.is_set()


def test_a_stack_on_four_coils(studio: Make) -> None:
    """28BYJ-48 on a ULN2003: the same Rail, runner and truth; a gear whose ratio is no whole number."""
    table = tomllib.loads((CONFIGS / "printed-microscope.toml").read_text())
    rig = studio(rail=table["rail"], camera=PI_CAMERA, sim={**table["sim"], "scene": "slope"})
    job = rig.run_job(range=50, step=2)
    assert job.status is JobStatus.DONE, job.error
    taken = rig.sim.truth.exposures
    assert len(taken) == 26
    off_um = np.array([exposure.shaft_um for exposure in taken]) - np.array(job.plan.positions_um)
    step_um = 500 / (2 * 32 * 25792 / 405)
    assert np.ptp(off_um) <= step_um + 0.01, "but for a constant, and half a step either way"
    assert rig.sim.bench.lost_steps == 0
    assert rig.sim.bench.violations == {}
    assert [exposure.step_edges for exposure in taken] == [0] * 26
    assert not any(rig.sim.factory.level(pin) for pin in table["rail"]["coil_pins"]), "off"


def test_nothing_moves_while_the_button_is_held(studio: Make) -> None:
    rig = studio(rail={"stop_button": {"pin": 5, "active": "low"}})
    rig.sim.faults.set("press_button", True)
    steps: list[float] = []
    rig.sim.factory.watch(17, lambda _line, _level, t: steps.append(t))
    for order in (Home(Ticket("home")), Jog(Ticket("move"), 10.0)):
        rig.carry_out(order)
        assert rig.posted[-2].error.code == "stopped"
        assert "release the button" in str(rig.posted[-2].error)
    assert steps == []
    assert rig.sim.factory.level(22), "off"
    rig.sim.faults.set("press_button", False)
    rig.carry_out(Home(Ticket("home")))
    assert rig.state.position_valid


def test_random_stacks_keep_the_position_true(studio: Make) -> None:
    """Whatever is asked in whatever order, a trusted position is the true one."""
    rig = studio()
    rng = np.random.default_rng(11)
    for _ in range(12):
        low = float(rng.integers(200, 9000))
        span = float(rng.integers(20, 400))
        settings = JobSettings(
            settle_s=float(rng.uniform(0.5, 1.0)),
            return_to=str(rng.choice(["none", "start", "end", "centre"])),  # type: ignore[arg-type]
            hold=str(rng.choice(["always", "job", "off"])),  # type: ignore[arg-type]
        )
        job = rig.run_job(
            settings=settings, bottom=low, top=low + span, step=span / 3, go_up=bool(rng.integers(2))
        )
        assert job.status is JobStatus.DONE, job.error
        shaft, _ = errors_um(rig, job)
        assert np.abs(shaft).max() <= STEP_UM / 2
        assert rig.sim.bench.shaft_um() == pytest.approx(rig.state.position_um, abs=0.01)
