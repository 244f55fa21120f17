"""What a camera sees from where the carriage truly was, and the record of it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from focusd_sim.bench import Bench, Lines
from focusd_sim.clock import VirtualClock
from focusd_sim.config import BenchConfig, CarriageConfig, OpticsConfig
from focusd_sim.pins import SimFactory
from focusd_sim.truth import Truth
from focusd_sim.view import View


class FakeScene:
    """Remembers how it was asked to be drawn."""

    lens = SimpleNamespace(magnification=2.0, pixel_um=10.0)
    all_in_focus: NDArray[np.uint8] = np.full((4, 6, 3), 100, np.uint8)

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def render(self, focus_um: float, **options: Any) -> NDArray[np.uint8]:
        self.asked = {"focus_um": focus_um, **options}
        return self.all_in_focus


class FakeSensor:
    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def expose(self, ideal: NDArray[np.uint8], **options: Any) -> NDArray[np.uint8]:
        self.asked = options
        return ideal


class Rig:
    """A carriage at 6000 um that rings when told."""

    def __init__(self, optics: OpticsConfig | None = None) -> None:
        self.clock = VirtualClock()
        carriage = CarriageConfig(start_um=6000, backlash_um=0, sag_um_s=0, creep=0)
        self.bench = Bench(BenchConfig(carriage=carriage), self.clock, SimFactory(self.clock), Lines(17, 27))
        self.truth = Truth(self.bench)
        self.scene, self.sensor = FakeScene(), FakeSensor()
        self.view = View(
            self.scene,
            self.sensor,
            optics or OpticsConfig(),
            self.bench,
            self.truth,
            centre_um=5000,
            seed=7,
        )

    def pulse(self, t_s: float) -> None:
        self.bench.edge(17, True, t_s)
        self.bench.edge(17, False, t_s + 1e-5)


def test_focus_is_the_position_seen_from_the_scenes_middle() -> None:
    rig = Rig()
    rig.clock.sleep(1.0)
    exposure = rig.view.expose(0.5, 0.6)
    rig.view.picture(exposure)
    assert exposure.focus_um == rig.scene.asked["focus_um"] == 1000
    assert rig.view.expose(0.7, 0.8, lens_um=50).focus_um == 1050


def test_smear_in_pixels_is_the_excursion_through_the_lens() -> None:
    rig = Rig()
    rig.clock.sleep(1.0)
    rig.bench.bump(10.0)
    rig.clock.sleep(1.0)
    exposure = rig.view.expose(1.0, 1.1)
    assert exposure.smear_px == pytest.approx(exposure.smear_um * 0.2)
    assert exposure.smear_um > 10
    rig.view.picture(exposure)
    assert rig.scene.asked["smear_px"] == exposure.smear_px


def test_breathing_and_drift_grow_along_the_rail_and_can_be_off() -> None:
    rig = Rig(OpticsConfig(breathing_per_mm=0.01, drift_px_per_mm=(3.0, -2.0)))
    rig.clock.sleep(1.0)
    rig.view.picture(rig.view.expose(0.5, 0.6))
    assert rig.scene.asked["magnification"] == pytest.approx(1.01)
    assert rig.scene.asked["shift_px"] == (3.0, -2.0)
    plain = Rig()
    plain.clock.sleep(1.0)
    plain.view.picture(plain.view.expose(0.5, 0.6))
    assert (plain.scene.asked["magnification"], plain.scene.asked["shift_px"]) == (1.0, (0.0, 0.0))


def test_the_sensor_gets_light_colours_frame_and_seed() -> None:
    rig = Rig()
    rig.clock.sleep(1.0)
    rig.view.expose(0.1, 0.2)
    rig.view.picture(rig.view.expose(0.5, 0.6), light=1.5, colour_gains=(0.9, 1.0, 1.1))
    assert rig.sensor.asked == {
        "exposure": 1.5,
        "colour_gains": (0.9, 1.0, 1.1),
        "frame": 1,
        "seed": 7,
    }


def test_a_step_during_an_exposure_is_told() -> None:
    rig = Rig()
    rig.bench.edge(27, True, 0.0)
    rig.clock.sleep(1.0)
    rig.pulse(1.0)
    rig.clock.sleep(2.0)
    before, during = rig.view.expose(0.5, 0.9), rig.view.expose(0.95, 1.05)
    assert (before.step_edges, before.speed_um_s, before.shaft_um) == (0, 0, 6000)
    assert (during.step_edges, during.shaft_um) == (1, 6005)
    assert during.speed_um_s >= 50
    assert during.peak_to_peak_um >= 5


def test_the_record_is_json_with_the_totals() -> None:
    rig = Rig()
    rig.bench.edge(27, True, 0.0)
    rig.clock.sleep(1.0)
    rig.bench.edge(17, True, 1.0)
    rig.bench.edge(17, False, 1.0)
    for _ in range(3):
        rig.view.expose(0.5, 0.6)
    rig.truth.name_file(1, "DSC_0001.JPG")
    record = json.loads(json.dumps(rig.truth.as_json(since=1)))
    assert [(e["index"], e["frame_file"]) for e in record["exposures"]] == [
        (1, "DSC_0001.JPG"),
        (2, None),
    ]
    assert record["violations"] == {"step_high": 1}
    assert (record["lost_steps"], record["crashes"], record["ignored_steps"]) == (0, 0, 0)


def test_an_exposure_out_of_order_is_refused() -> None:
    rig = Rig()
    rig.clock.sleep(1.0)
    exposure = rig.view.expose(0.5, 0.6)
    with pytest.raises(ValueError, match="out of order"):
        rig.truth.record(exposure)
