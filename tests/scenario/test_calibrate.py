"""Calibrations on the simulated rig in virtual time, judged by what its physics truly is."""

from __future__ import annotations

import argparse
import copy
import json
import os
import signal
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from focusd.calibrate import command
from focusd.config import Config, parse_config
from focusd.errors import (
    CalibrationFailed,
    EndstopNotFound,
    FocusdError,
    NotHomed,
    OutOfTravel,
    PlanError,
    Stopped,
)
from focusd.runner import Signals
from focusd_sim.clock import VirtualClock
from focusd_sim.config import SimConfig
from focusd_sim.rig import SimulatedRig, build

TABLE: dict[str, Any] = {
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
        "home": {"pin": 23, "go_to_um": 5000},
    },
    "camera": {"kind": "dslr", "release_pin": 24, "focus_pin": 25, "exposure_s": 0.02},
    "optics": {"magnification": 3.7, "na": 0.11, "pixel_um": 14.8},
    "stack": {"step_um": 20, "settle_s": 1.0},
    "sim": {"scene": "ruler", "centre_um": 5000},
}
PI_CAMERA = {
    "kind": "picamera2",
    "frame_size": {"width": 384, "height": 256},
    "exposure_s": 0.01,
    "colour_gains": [1.8, 1.6],
}
SCALE = ("scale", "--pitch-um", "100")
ENABLE = 22


class Simulated:
    """A simulated rig in virtual time, and the command run on it."""

    def __init__(self, folder: Path, clock: VirtualClock | None = None, **over: dict[str, Any]) -> None:
        table = copy.deepcopy(TABLE)
        table["data"] = {"dir": str(folder)}
        for section, values in over.items():
            table[section] = values if "kind" in values else {**table[section], **values}
        self.folder = folder
        self.config: Config = parse_config(table, "test")
        self.physics = SimConfig.from_table(self.config.sim)
        self.clock, self.signals = clock or VirtualClock(), Signals()
        self.made: SimulatedRig | None = None

    def build(self) -> SimulatedRig:
        self.made = build(self.config, self.physics, self.clock, self.signals)
        return self.made

    def calibrate(self, *words: str) -> dict[str, Any]:
        """Run the command and return the numbers that it left."""
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        out = self.folder / "out"
        args = parser.parse_args([*words, "--out", str(out)])
        assert command.run(args, self.config, lambda: self.build().rig, self.clock, self.signals) == 0
        numbers: dict[str, Any] = json.loads((out / "result.json").read_text())
        return numbers

    @property
    def proposed(self) -> dict[str, Any]:
        return tomllib.loads((self.folder / "out" / "proposed.toml").read_text())

    @property
    def motor_is_off(self) -> bool:
        assert self.made is not None
        return self.made.factory.level(ENABLE)


Make = Callable[..., Simulated]


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.chdir(tmp_path)
    return lambda **over: Simulated(tmp_path, **over)


def true_wait_s(rig: Simulated, step_um: float, opens_after_s: float, exposure_s: float) -> float:
    """Wait after which no exposure is smeared by 0.25 px or more, by the physics itself."""
    made = rig.build()
    rail, clock = made.rig.rail, rig.clock
    rail.home()
    rail.move_to(5000 - step_um)
    clock.sleep(10.0)
    rail.move_to(5000)
    arrived_s = clock.now_s()
    clock.sleep(8.0)
    waits_s = np.arange(0, 6, 0.002)
    opens_s = arrived_s + waits_s + opens_after_s
    smears_um = np.array([made.bench.motion_during(t_s, t_s + exposure_s).smear_um for t_s in opens_s])
    lens = made.scene.lens
    smeared = smears_um * lens.magnification / lens.pixel_um >= 0.25
    made.rig.close()
    return float(waits_s[smeared].max(initial=0.0))


@pytest.mark.parametrize(
    ("hz", "tau_s", "step_um"), [(25, 0.3, 60), (18, 0.2, 60), (40, 0.25, 100), (12, 0.4, 20), (60, 0.5, 20)]
)
def test_settle_is_the_time_until_the_smear_is_gone(
    simulated: Make, tmp_path: Path, hz: float, tau_s: float, step_um: float
) -> None:
    physics = {
        "scene": "chart",
        "carriage": {"vibration_hz": hz, "vibration_tau_s": tau_s},
        # What the mirror shakes no wait before it can cure.
        "dslr": {"mirror_slap_um": 0.0},
    }
    # The half press and the camera's own lag: the wait is what remains.
    lag_s = 0.1 + 0.06
    truth_s = true_wait_s(Simulated(tmp_path / "truth", sim=physics), step_um, lag_s, 0.02)
    rig = simulated(sim=physics)
    found = rig.calibrate("settle", "--step-um", str(step_um), "--rest-s", str(10 * tau_s))
    assert found["settle_s"] + lag_s == pytest.approx(truth_s + lag_s, rel=0.1)
    assert found["tau_s"] == pytest.approx(tau_s, rel=0.15)
    assert min(found["smear_angle_deg"], 180 - found["smear_angle_deg"]) <= 15
    opens = found["opens_after_wait_s"]
    assert opens["earliest"] <= lag_s <= opens["latest"]
    proposed_s = rig.proposed["stack"]["settle_s"]
    assert found["settle_s"] <= proposed_s <= found["settle_s"] + found["uncertainty_s"] + 0.01
    assert rig.motor_is_off


def test_settle_measures_after_moves_like_a_stacks(simulated: Make) -> None:
    """Each measured move is the same single leg from the approach side, and its waits are what is said."""
    rig = simulated(sim={"scene": "chart", "carriage": {"vibration_tau_s": 0.3}})
    found = rig.calibrate("settle", "--step-um", "60", "--shots", "12")
    assert rig.made is not None
    taken = rig.made.truth.exposures
    assert {round(exposure.shaft_um) for exposure in taken} == {5000}
    assert sum(exposure.step_edges for exposure in taken) == 0
    # Frame for frame the smear is the physics' own, but for those at rest, which are left out of the list.
    measured = np.sqrt(np.maximum(found["smear_square_px2"], 0))
    true = np.array([exposure.smear_px for exposure in taken])
    assert len(true) > len(measured) == len(found["wait_s"]) == 9 + 12
    assert np.sort(true)[-5:] == pytest.approx(np.sort(measured)[-5:], rel=0.1)


def test_a_rig_that_does_not_ring_needs_no_wait(simulated: Make) -> None:
    still = {"vibration_lateral_um": 0.0, "vibration_axial_um": 0.0}
    rig = simulated(sim={"scene": "chart", "carriage": still})
    found = rig.calibrate("settle", "--shots", "12")
    assert found["settle_s"] == 0
    assert rig.proposed == {"stack": {"settle_s": pytest.approx(0, abs=0.02)}}


def test_settle_says_when_rest_was_none(simulated: Make) -> None:
    rig = simulated(sim={"scene": "chart", "carriage": {"vibration_tau_s": 1.5, "vibration_hz": 12}})
    with pytest.raises(CalibrationFailed, match="--rest-s 4"):
        rig.calibrate("settle", "--step-um", "100", "--rest-s", "2")
    assert rig.motor_is_off


@pytest.mark.parametrize(("hz", "tau_s", "step_um"), [(25, 0.3, 60), (15, 0.2, 60), (30, 0.4, 20)])
def test_settle_on_a_pi_camera(
    simulated: Make, tmp_path: Path, hz: float, tau_s: float, step_um: float
) -> None:
    """Its frames run free: the shutter opens up to a frame after it was asked, and at once at worst."""
    over = {
        "camera": PI_CAMERA,
        "sim": {"scene": "chart", "carriage": {"vibration_hz": hz, "vibration_tau_s": tau_s}},
    }
    truth_s = true_wait_s(Simulated(tmp_path / "truth", **over), step_um, 0.0, 0.01)
    found = simulated(**over).calibrate("settle", "--step-um", str(step_um))
    assert found["settle_s"] == pytest.approx(truth_s, rel=0.1)
    assert found["opens_after_wait_s"]["earliest"] == 0
    assert found["opens_after_wait_s"]["latest"] > 0.033


def test_settle_refuses_clipped_light(simulated: Make) -> None:
    over = {"camera": {**PI_CAMERA, "exposure_s": 0.04}, "sim": {"scene": "chart"}}
    with pytest.raises(CalibrationFailed, match="overexposed"):
        simulated(**over).calibrate("settle")


def test_settle_refuses_a_subject_without_detail(simulated: Make) -> None:
    """Far out of focus there is nothing that smear could take away."""
    rig = simulated(sim={"scene": "chart", "centre_um": 9000.0})
    with pytest.raises(CalibrationFailed, match=r"detail|finer"):
        rig.calibrate("settle", "--shots", "8")


@pytest.mark.parametrize(("play_um", "approach"), [(10.0, "up"), (30.0, "up"), (80.0, "up"), (30.0, "down")])
def test_backlash_is_the_screws(simulated: Make, play_um: float, approach: str) -> None:
    rail = {**TABLE["rail"], "approach": approach}
    rig = simulated(rail=rail, sim={"carriage": {"backlash_um": play_um}})
    found = rig.calibrate("backlash")
    assert found["backlash_um"] == pytest.approx(play_um, rel=0.02)
    assert rig.proposed == {"rail": {"backlash_um": pytest.approx(play_um, rel=0.02)}}
    assert rig.motor_is_off


def test_backlash_in_spite_of_the_screws_error_and_of_flicker(simulated: Make) -> None:
    """The error of the thread is the same both ways at the same steps; a lamp's is nobody's."""
    physics = {"carriage": {"backlash_um": 30.0, "periodic_um": 6.0}, "sensor": {"flicker": 0.05}}
    found = simulated(sim=physics).calibrate("backlash")
    assert found["backlash_um"] == pytest.approx(30, rel=0.1)


def test_a_screw_without_play(simulated: Make) -> None:
    rig = simulated(sim={"carriage": {"backlash_um": 0.0}})
    assert abs(rig.calibrate("backlash")["backlash_um"]) < 0.5
    assert 0 <= rig.proposed["rail"]["backlash_um"] < 0.5


def test_a_run_in_shorter_than_the_play_is_noticed(simulated: Make) -> None:
    rig = simulated(sim={"carriage": {"backlash_um": 150.0}})
    with pytest.raises(CalibrationFailed, match="--run-in-um"):
        rig.calibrate("backlash", "--run-in-um", "120", "--range-um", "800")


@pytest.mark.parametrize("lead_um", [930.0, 1000.0, 1070.0])
def test_scale_is_the_screws_lead(simulated: Make, lead_um: float) -> None:
    rig = simulated(sim={"carriage": {"lead_um": lead_um}})
    found = rig.calibrate(*SCALE)
    assert found["lead_um"] == pytest.approx(lead_um, rel=0.01)
    assert found["steps_per_mm"] == pytest.approx(200_000 / lead_um, rel=0.01)
    assert rig.proposed == {"rail": {"lead_um": pytest.approx(lead_um, rel=0.01)}}


def test_scale_without_optics(simulated: Make) -> None:
    """The magnification is not needed: the ruler gives the scale of the picture."""
    rig = simulated(sim={"carriage": {"lead_um": 1040.0}})
    rig.config = rig.config.model_copy(update={"optics": None})
    found = rig.calibrate(*SCALE, "--range-um", "600", "--spacing-um", "15")
    assert found["lead_um"] == pytest.approx(1040, rel=0.01)


def test_scale_of_a_flat_subject_is_refused(simulated: Make) -> None:
    with pytest.raises(CalibrationFailed, match="slope"):
        simulated(sim={"scene": "chart"}).calibrate(*SCALE)


@pytest.mark.parametrize("what", [("settle", "--shots", "4"), ("backlash", "--passes", "1"), SCALE])
def test_a_plot_is_left(simulated: Make, what: tuple[str, ...]) -> None:
    rig = simulated(sim={"scene": "chart" if what[0] == "settle" else "ruler"})
    rig.calibrate(*what)
    picture = cv2.imread(str(rig.folder / "out" / "plot.png"))
    assert picture is not None
    assert picture.shape[1] == 960
    # Axes, letters and points, not an empty sheet.
    assert picture.std() > 20


def test_without_matplotlib_it_says_so(
    simulated: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    rig = simulated()
    rig.calibrate(*SCALE)
    assert not (rig.folder / "out" / "plot.png").exists()
    assert rig.proposed
    assert "pip install 'focusd[plots]'" in capsys.readouterr().out


def test_a_subject_that_is_not_in_focus_gives_no_play(simulated: Make) -> None:
    with pytest.raises(CalibrationFailed, match="--at-um"):
        simulated().calibrate("backlash", "--at-um", "300")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("backlash", "--at-um", "100"), OutOfTravel),
        (("backlash", "--here-um", "0"), OutOfTravel),
        (("settle", "--at-um", "30"), OutOfTravel),
        ((*SCALE, "--at-um", "24900"), OutOfTravel),
        (("scale",), PlanError),
        (("backlash", "--spacing-um", "300"), PlanError),
        ((*SCALE, "--angle-deg", "90"), PlanError),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_pulse(
    simulated: Make, words: tuple[str, ...], error: type[FocusdError]
) -> None:
    rig = simulated()
    with pytest.raises(error):
        rig.calibrate(*words)
    if rig.made is not None:
        assert rig.made.bench.shaft_um() == rig.physics.carriage.start_um
        assert rig.motor_is_off


def test_a_rail_of_unknown_position_does_not_move(simulated: Make) -> None:
    rail = {key: value for key, value in TABLE["rail"].items() if key != "home"}
    rig = simulated(rail={**rail, "low_um": -2000}, sim={"carriage": {"endstop": "none"}})
    rig.config = rig.config.model_copy(
        update={"rail": rig.config.rail.model_copy(update={"home": None, "low_um": -2000.0})}
    )
    with pytest.raises(NotHomed, match="--here-um"):
        rig.calibrate("settle")
    assert rig.made is not None
    assert rig.made.bench.shaft_um() == rig.physics.carriage.start_um


def test_the_operators_word_will_do(simulated: Make) -> None:
    """The bench stands at 3000 um, where the ruler is put; the operator calls that 7000."""
    rig = simulated(sim={"centre_um": 3000.0}, rail={"at_start": "require", "home": None})
    found = rig.calibrate(*SCALE, "--here-um", "7000")
    assert found["lead_um"] == pytest.approx(1000, rel=0.01)


def test_a_lost_frame_is_taken_again(simulated: Make) -> None:
    fault = {"kind": "lose_frame", "at_exposure": 5}
    rig = simulated(sim={"faults": [fault]}, camera={"frame_timeout_s": 3.0})
    assert rig.calibrate(*SCALE)["lead_um"] == pytest.approx(1000, rel=0.01)


def test_a_failure_leaves_the_motor_off(simulated: Make) -> None:
    rig = simulated(sim={"faults": [{"kind": "stick_endstop", "at_s": 0.0}]})
    with pytest.raises(EndstopNotFound):
        rig.calibrate("backlash")
    assert rig.motor_is_off
    assert not (rig.folder / "out" / "proposed.toml").exists()


class InterruptingClock(VirtualClock):
    """Interrupts the process at a rig time, and holds the rig's thread until that was heard."""

    def __init__(self, at_s: float, number: int) -> None:
        super().__init__()
        self.at_s, self.number = at_s, number
        self.sent = False

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        if self.now_s() >= self.at_s and not self.sent and stop is not None:
            self.sent = True
            os.kill(os.getpid(), self.number)
            assert stop.wait(20)
        return super().sleep(seconds, stop)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("at_s", [0.5, 20.0])
def test_an_interrupt_stops_the_rig(simulated: Make, tmp_path: Path, number: int, at_s: float) -> None:
    rig = simulated(clock=InterruptingClock(at_s, number))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="the motor is off"):
        rig.calibrate("backlash")
    assert rig.motor_is_off
    assert rig.clock.now_s() < at_s + 1
    assert not (tmp_path / "out" / "proposed.toml").exists()
    assert signal.getsignal(signal.SIGTERM) is before
