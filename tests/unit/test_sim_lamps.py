"""What lamps shed on the simulated scene: their warm-up, their side, and darkness without them."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from focusd.config import LightConfig
from focusd.drivers.lights import Lights
from focusd.errors import ConfigError
from focusd_sim.bench import Bench
from focusd_sim.bench import Lines as Wiring
from focusd_sim.clock import VirtualClock
from focusd_sim.config import BenchConfig, CarriageConfig, LampConfig, OpticsConfig, SimConfig
from focusd_sim.faults import Faults
from focusd_sim.lamps import Lamps
from focusd_sim.picam import SimPicamera2
from focusd_sim.pins import SimFactory
from focusd_sim.sensor import Sensor
from focusd_sim.truth import Truth
from focusd_sim.view import View

STILL = CarriageConfig(
    start_um=5000, backlash_um=0, sag_um_s=0, creep=0, vibration_lateral_um=0, vibration_axial_um=0
)
LIGHTS = {
    "left": LightConfig(pin=5),
    "right": LightConfig(pin=6, active="low"),
    "ring": LightConfig(pin=13, on="job"),
}
GREY = 100


class Card:
    """A grey card."""

    lens = SimpleNamespace(magnification=1.0, pixel_um=1.0)
    all_in_focus: NDArray[np.uint8] = np.full((64, 96, 3), GREY, np.uint8)

    def render(self, focus_um: float, **_: Any) -> NDArray[np.uint8]:
        return self.all_in_focus.copy()


class Stand:
    """Lamps, the driver that switches them, and a view of a grey card."""

    def __init__(self, noise: float = 0.0, **lamps: LampConfig) -> None:
        self.clock, self.stop = VirtualClock(), threading.Event()
        self.factory = SimFactory(self.clock, {5: "down", 6: "up", 13: "down"})
        self.lamps = Lamps(LIGHTS, lamps, self.factory)
        self.lights = Lights(LIGHTS, self.factory)
        self.bench = Bench(BenchConfig(carriage=STILL), self.clock, self.factory, Wiring(17, 27))
        self.view = View(
            Card(),
            Sensor(read_noise=noise),
            OpticsConfig(),
            self.bench,
            Truth(self.bench),
            centre_um=5000,
            seed=1,
            lamps=self.lamps,
        )

    def expose(self, exposure_s: float = 0.1) -> NDArray[np.uint8]:
        opens_s = self.clock.now_s()
        self.clock.sleep(exposure_s)
        return self.view.picture(self.view.expose(opens_s, self.clock.now_s()))


def test_without_a_light_there_is_noise_alone() -> None:
    assert Stand().expose().max() == 0
    noisy = Stand(noise=2.0).expose()
    assert 0 < noisy.mean() < 2
    assert noisy.max() < 20


def test_by_a_steady_light_the_card_is_what_it_is_by_day() -> None:
    stand = Stand()
    stand.lights.begin()
    assert (stand.expose() == GREY).all()
    stand.lights.end()
    assert stand.expose().max() == 0


def test_a_light_from_one_side_is_brighter_there_and_differs_from_the_other() -> None:
    stand = Stand(left=LampConfig(side="left"), right=LampConfig(side="right"))
    pictures = {}
    for name in ("left", "right"):
        stand.lights.turn_on(name)
        pictures[name] = stand.expose().astype(float)
        stand.lights.turn_off()
    left, right = pictures["left"], pictures["right"]
    assert left[:, :10].mean() > 1.3 * GREY > 0.7 * GREY > left[:, -10:].mean()
    assert np.abs(left - right[:, ::-1]).max() <= 1
    assert left.mean() == pytest.approx(GREY, rel=0.01)
    stand.lights.turn_on(None)
    assert stand.expose().astype(float) == pytest.approx(left + right, abs=2), "light adds up"


def test_a_frame_before_the_warm_up_is_over_is_darker_than_one_after_it() -> None:
    stand = Stand(left=LampConfig(warm_up_s=2.0))
    stand.lights.turn_on("left")
    cold = float(stand.expose().mean())
    stand.clock.sleep(1.9)
    warm = float(stand.expose().mean())
    assert cold < 0.3 * GREY
    assert warm == pytest.approx(GREY, abs=1)
    stand.lights.turn_off()
    stand.clock.sleep(1.0)
    stand.lights.turn_on("left")
    assert float(stand.expose().mean()) == pytest.approx(cold, abs=1), "it has cooled down"


def test_the_light_of_an_exposure_is_the_mean_over_it() -> None:
    stand = Stand()
    stand.clock.call_at(0.75, lambda: stand.lights.turn_on("left"))
    assert float(stand.expose(1.0).mean()) == pytest.approx(GREY / 4, abs=1)
    stand.clock.call_at(1.5, stand.lights.turn_off)
    assert float(stand.expose(1.0).mean()) == pytest.approx(GREY / 2, abs=1)


def test_an_exposure_may_be_drawn_long_after_it() -> None:
    stand = Stand()
    stand.lights.turn_on("left")
    exposure_s = (stand.clock.now_s(), 0.1)
    stand.clock.sleep(0.1)
    exposure = stand.view.expose(*exposure_s)
    for _ in range(20):
        stand.lights.turn_off()
        stand.clock.sleep(1.0)
        stand.lights.turn_on("right")
        stand.clock.sleep(1.0)
    assert (stand.view.picture(exposure) == GREY).all()


def test_the_pi_camera_sees_the_lamps_as_well() -> None:
    stand = Stand()
    camera = SimPicamera2(SimConfig().picam, stand.clock, stand.view, Faults(stand.clock))
    camera.configure(camera.create_still_configuration(main={"format": "RGB888"}))
    camera.set_controls({"ExposureTime": 10_000, "AnalogueGain": 1.0, "ColourGains": (1.8, 1.6)})
    camera.start()
    assert camera.capture_array().max() == 0
    stand.lights.begin()
    with camera.captured_request(flush=True) as request:
        assert float(request.make_array("main").mean()) == pytest.approx(GREY, abs=1)


def test_a_lamp_on_no_line_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sim\.lamps has top, and \[lights\] has left, right, ring"):
        Stand(top=LampConfig())


@given(
    st.floats(0.0, 5.0),
    st.lists(st.tuples(st.booleans(), st.floats(0.01, 3.0)), max_size=8),
    st.floats(0.01, 2.0),
)
def test_the_parts_of_an_exposure_make_up_the_whole(
    warm_up_s: float, switching: list[tuple[bool, float]], part_s: float
) -> None:
    stand = Stand(left=LampConfig(warm_up_s=warm_up_s, brightness=0.8))
    for on, for_s in switching:
        if on:
            stand.lights.turn_on("left")
        else:
            stand.lights.turn_off()
        stand.clock.sleep(for_s)
    stand.clock.sleep(part_s)
    end_s = stand.clock.now_s()
    cut_s = end_s / 2
    first, second, whole = (
        stand.lamps.levels(*span)["left"] for span in ((0.0, cut_s), (cut_s, end_s), (0.0, end_s))
    )
    assert whole == pytest.approx((first + second) / 2, abs=1e-9)
    assert 0 <= whole <= 0.8
