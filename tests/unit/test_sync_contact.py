"""The flash contact: an exposure is confirmed by it, timed by it, and missed when it is silent."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from focusd.camera_config import DslrConfig
from focusd.drivers.dslr import Dslr
from focusd.drivers.sync_contact import SyncContact
from focusd.errors import CameraError, ExposureTimeout, Stopped
from focusd.job import JobSettings
from focusd.rig import Exposure
from focusd_sim import dslr as body
from focusd_sim.bench import Bench, Lines
from focusd_sim.clock import VirtualClock
from focusd_sim.config import BenchConfig, CarriageConfig, OpticsConfig
from focusd_sim.config import DslrConfig as BodyConfig
from focusd_sim.faults import Faults
from focusd_sim.pins import SimFactory
from focusd_sim.truth import Truth
from focusd_sim.view import View

RELEASE, SYNC = 24, 25
STILL = CarriageConfig(start_um=5000, backlash_um=0, sag_um_s=0, creep=0)
CURTAIN_S, MARGIN_S = 0.02, 0.5


class Black:
    """Nothing to see."""

    lens = SimpleNamespace(magnification=1.0, pixel_um=1.0)
    all_in_focus: NDArray[np.uint8] = np.zeros((2, 2, 3), np.uint8)

    def render(self, focus_um: float, **_: Any) -> NDArray[np.uint8]:
        return self.all_in_focus

    def expose(self, ideal: NDArray[np.uint8], **_: Any) -> NDArray[np.uint8]:
        return ideal


class Stand:
    """The driver on the lines of a simulated camera whose flash contact is plugged in, or not."""

    def __init__(
        self, folder: Path, camera: dict[str, Any] | None = None, *, cable: bool = True, **options: Any
    ) -> None:
        self.clock, self.stop = VirtualClock(), threading.Event()
        self.factory = SimFactory(self.clock, {RELEASE: "down"})
        faults = self.faults = Faults(self.clock)
        bench = Bench(BenchConfig(carriage=STILL), self.clock, self.factory, Lines(17, 27))
        self.truth = Truth(bench)
        view = View(Black(), Black(), OpticsConfig(), bench, self.truth, centre_um=5000, seed=1)
        lines = body.DslrLines(RELEASE, sync=SYNC if cable else None)
        options = {"exposure_s": 1.0, **options}
        self.body = body.Dslr(
            BodyConfig(**options), self.clock, self.factory, lines, bench, view, folder, faults
        )
        settings = {"exposure_s": options["exposure_s"], "half_press_s": 0.0, **(camera or {})}
        config = DslrConfig(release_pin=RELEASE, feedback_pin=SYNC, frames="none", **settings)
        self.camera = Dslr(config, self.factory, None, self.clock, self.stop)
        self.camera.begin(JobSettings())

    def stray(self, at_s: float) -> None:
        """Let the contact make for 5 ms without a press."""
        self.clock.call_at(at_s, lambda: self.factory.drive(SYNC, False))
        self.clock.call_at(at_s + 0.005, lambda: self.factory.drive(SYNC, None))

    def holds(self, exposure: Exposure) -> bool:
        """Whether the last true exposure lies within what the driver says."""
        truth = self.truth.exposures[-1]
        return exposure.opened_s <= truth.t_open_s + 1e-9 and truth.t_close_s <= exposure.closed_s + 1e-9


@pytest.mark.parametrize("sync_s", [None, 0.002, 0.3])
@pytest.mark.parametrize("bounces", [0, 3])
@pytest.mark.parametrize("exposure_s", [0.004, 0.05, 1.0, 30.0])
def test_the_contact_tells_when_the_shutter_opened_and_had_closed(
    tmp_path: Path, exposure_s: float, bounces: int, sync_s: float | None
) -> None:
    stand = Stand(tmp_path, exposure_s=exposure_s, sync_bounces=bounces, sync_s=sync_s, release_lag_s=0.06)
    for _ in range(3):
        exposure = stand.camera.expose()
        truth = stand.truth.exposures[-1]
        assert stand.holds(exposure)
        assert truth.t_open_s - exposure.opened_s == pytest.approx(CURTAIN_S)
        assert exposure.closed_s - truth.t_close_s <= CURTAIN_S + 0.01
    assert len(stand.truth.exposures) == 3


def test_a_quick_camera_is_not_waited_for_as_for_a_slow_one(tmp_path: Path) -> None:
    times = {}
    for cable in (True, False):
        stand = Stand(tmp_path / str(cable), {"release_lag_s": 3.0}, release_lag_s=0.05, cable=cable)
        if cable:
            stand.camera.expose()
        else:
            with pytest.raises(ExposureTimeout):
                stand.camera.expose()
        times[cable] = stand.clock.now_s()
    assert times[True] == pytest.approx(0.05 + 1.0 + CURTAIN_S + 0.1, abs=0.011)
    assert times[False] == pytest.approx(4.0 + 0.1), "it might have exposed all the same"


def test_a_camera_that_opens_late_is_waited_for(tmp_path: Path) -> None:
    """By its press alone the rail would have moved on during the exposure."""
    stand = Stand(tmp_path, {"release_lag_s": 0.1}, release_lag_s=0.4)
    assert stand.holds(stand.camera.expose())


def test_an_exposure_longer_than_was_said_is_waited_for(tmp_path: Path) -> None:
    """A camera's 30 s are 32 s."""
    stand = Stand(tmp_path, {"exposure_s": 30.0}, exposure_s=32.0)
    exposure = stand.camera.expose()
    assert stand.holds(exposure)
    assert exposure.exposure_s == 30.0


def test_an_exposure_much_longer_than_was_said_is_refused(tmp_path: Path) -> None:
    stand = Stand(tmp_path, {"exposure_s": 0.1}, exposure_s=4.0)
    with pytest.raises(ExposureTimeout, match=r"made for 0\.6\d* s .* should take 0\.1 s; set camera\.exp"):
        stand.camera.expose()


def test_a_silent_contact_is_a_missed_exposure_with_a_list_of_what_to_check(tmp_path: Path) -> None:
    stand = Stand(tmp_path, {"release_lag_s": 0.1})
    stand.faults.set("hang_camera", True)
    with pytest.raises(ExposureTimeout, match=r"did not make within 0\.6 s .*awake.*cable") as caught:
        stand.camera.expose()
    assert caught.value.values == {"feedback_pin": SYNC, "listened_s": 0.6, "strays": 0}
    assert not stand.factory.level(RELEASE)
    stand.faults.set("hang_camera", False)
    assert stand.camera.expose().index == 0, "one that did not happen is not counted"


def test_a_bouncing_contact_counts_once_and_one_that_fires_twice_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stand = Stand(tmp_path, sync_bounces=5)
    stand.camera.expose()
    stand.camera.expose()
    assert not caplog.messages
    stand.faults.set("double_frame", True)
    stand.camera.expose()
    stand.clock.sleep(5.0)
    stand.camera.expose()
    (message,) = caplog.messages
    assert "made 1 x when nothing was pressed" in message


def test_a_closing_when_nothing_was_pressed_confirms_nothing_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stand = Stand(tmp_path)
    stand.stray(0.5)
    stand.clock.sleep(1.0)
    stand.faults.set("hang_camera", True)
    with pytest.raises(ExposureTimeout, match="made 1 x when nothing was pressed"):
        stand.camera.expose()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    # One is told once; and a new stack begins anew.
    with pytest.raises(ExposureTimeout):
        stand.camera.expose()
    assert len(caplog.records) == 1
    stand.camera.begin(JobSettings())
    with pytest.raises(ExposureTimeout) as caught:
        stand.camera.expose()
    assert caught.value.values["strays"] == 0


def test_mirror_lock_up_is_confirmed_by_the_second_press(tmp_path: Path) -> None:
    stand = Stand(tmp_path, {"mirror_lockup_s": 1.0}, mirror_lockup=True)
    for _ in range(3):
        assert stand.holds(stand.camera.expose())
    assert (stand.body.presses.mirror, stand.body.presses.exposed) == (3, 3)


def test_mirror_lock_up_that_is_a_press_behind_falls_in_step_again(tmp_path: Path) -> None:
    stand = Stand(tmp_path, {"mirror_lockup_s": 1.0}, mirror_lockup=True)
    # Somebody has lifted the mirror by hand: the next press exposes.
    stand.factory.track(RELEASE).change(True, 0.0)
    stand.clock.sleep(0.2)
    stand.factory.track(RELEASE).change(False, 0.2)
    stand.clock.sleep(1.0)
    with pytest.raises(ExposureTimeout, match="lift its mirror"):
        stand.camera.expose()
    assert stand.clock.now_s() >= stand.truth.exposures[-1].t_close_s, "nothing moves before it is over"
    assert stand.holds(stand.camera.expose())
    assert len(stand.truth.exposures) == 2


def test_without_lock_up_in_the_camera_every_exposure_is_refused(tmp_path: Path) -> None:
    stand = Stand(tmp_path, {"mirror_lockup_s": 1.0})
    for _ in range(3):
        with pytest.raises(ExposureTimeout, match=r"set camera\.mirror_lockup_s to 0"):
            stand.camera.expose()


@pytest.mark.parametrize("sync_s", [None, 0.002])
def test_bulb(tmp_path: Path, sync_s: float | None) -> None:
    stand = Stand(
        tmp_path,
        {"bulb": True, "exposure_s": 6.0},
        bulb=True,
        exposure_s=0.02,
        sync_s=sync_s,
        release_lag_s=0.09,
    )
    exposure = stand.camera.expose()
    assert stand.holds(exposure)
    truth = stand.truth.exposures[-1]
    assert truth.t_close_s - truth.t_open_s == pytest.approx(6.0 - 0.09)
    if sync_s is None:
        assert exposure.closed_s - truth.t_close_s == pytest.approx(CURTAIN_S)


def test_a_contact_that_is_made_before_a_stack_stops_it(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.factory.drive(SYNC, False)
    with pytest.raises(CameraError, match=r"nothing is exposed; .*feedback_active") as caught:
        stand.camera.begin(JobSettings())
    assert not isinstance(caught.value, ExposureTimeout)


def test_a_contact_that_sticks_during_a_stack_is_named(tmp_path: Path) -> None:
    stand = Stand(tmp_path, cable=False)
    stand.factory.drive(SYNC, False)
    stand.clock.sleep(0.1)
    with pytest.raises(ExposureTimeout, match="is made all the time; it made 1 x when nothing was pressed"):
        stand.camera.expose()


@pytest.mark.parametrize("at_s", [0.1, 0.4, 0.55, 0.9])
@pytest.mark.parametrize("hung", [True, False])
def test_a_stop_wakes_every_wait_for_the_contact(tmp_path: Path, at_s: float, hung: bool) -> None:
    stand = Stand(tmp_path, {"release_lag_s": 0.5})
    stand.faults.set("hang_camera", hung)
    stand.clock.call_at(at_s, stand.stop.set)
    with pytest.raises(Stopped):
        stand.camera.expose()
    assert not stand.factory.level(RELEASE)
    assert stand.clock.now_s() == pytest.approx(at_s)


@pytest.mark.parametrize("pull", ["up", "down", "none"])
@pytest.mark.parametrize("active", ["low", "high"])
def test_a_contact_may_be_wired_either_way(
    active: Literal["low", "high"], pull: Literal["up", "down", "none"]
) -> None:
    clock = VirtualClock()
    factory = SimFactory(clock)
    factory.drive(SYNC, active == "low")
    contact = SyncContact(SYNC, active, pull, factory, clock)
    assert not contact.is_made
    clock.sleep(1.0)
    factory.drive(SYNC, active == "high")
    assert contact.is_made
    clock.sleep(0.25)
    factory.drive(SYNC, active == "low")
    closure = contact.take(1.0)
    assert closure is not None
    assert (closure.made_s, closure.broken_s) == (1.0, 1.25)
    contact.close()
    SyncContact(SYNC, active, pull, factory, clock).close()


def test_a_contact_too_short_for_a_slow_reader_counts_all_the_same() -> None:
    """RPi.GPIO reads the level when it calls: of a pulse of a millisecond both calls find it over."""
    clock = VirtualClock()
    contact = SyncContact(SYNC, "low", "up", SimFactory(clock), clock)
    for t_s in (1.0, 1.001):
        clock.sleep(t_s - clock.now_s())
        contact._on_edge(t_s, True)
    assert contact.strays == 1
    closure = contact.take(0.9)
    assert closure is not None
    assert (closure.made_s, closure.broken_s) == (1.0, 1.001)
    assert contact.take(0.0) is None


def test_a_time_stamp_of_another_clock_is_not_believed() -> None:
    clock = VirtualClock()
    contact = SyncContact(SYNC, "low", "up", SimFactory(clock), clock)
    clock.sleep(3.0)
    contact._on_edge(1.7e9, False)
    closure = contact.take(0.0)
    assert closure is not None
    assert closure.made_s == 3.0


@given(st.lists(st.tuples(st.floats(0.001, 2.0), st.floats(0.021, 2.0)), max_size=12))
def test_every_closing_is_taken_or_stray_and_none_is_both(spans: list[tuple[float, float]]) -> None:
    clock = VirtualClock()
    factory = SimFactory(clock)
    contact = SyncContact(SYNC, "low", "up", factory, clock)
    made_s = []
    for made_for_s, apart_s in spans:
        clock.sleep(apart_s)
        made_s.append(clock.now_s())
        factory.drive(SYNC, False)
        clock.sleep(made_for_s)
        factory.drive(SYNC, None)
    since_s = made_s[len(made_s) // 2] if made_s else 0.0
    taken = []
    while (closure := contact.take(since_s)) is not None:
        taken.append(closure.made_s)
    assert taken == [t_s for t_s in made_s if t_s >= since_s]
    assert contact.strays == len(made_s) - len(taken)
    contact.forget()
    assert contact.strays == 0
