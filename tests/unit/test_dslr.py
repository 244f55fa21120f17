"""A camera on its release socket: what its two lines do, and when."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest

from focusd.camera_config import DslrConfig
from focusd.drivers.dslr import Dslr
from focusd.drivers.inbox import Inbox
from focusd.errors import FrameLost, Stopped
from focusd.job import JobSettings
from focusd_sim.clock import VirtualClock
from focusd_sim.pins import SimFactory

RELEASE, FOCUS = 24, 25
TIMES: dict[str, Any] = {
    "half_press_s": 0.3,
    "shutter_on_s": 0.2,
    "shutter_gap_s": 0.5,
    "release_lag_s": 0.1,
    "exposure_s": 1.0,
    "post_shot_s": 0.05,
}


class Stand:
    """A camera's two lines and a clock; `presses` are (line, on or off, t_s)."""

    def __init__(self, inbox: Path | None = None, **changes: Any) -> None:
        self.clock = VirtualClock()
        self.stop = threading.Event()
        self.factory = SimFactory(self.clock)
        self.presses: list[tuple[str, str, float]] = []
        config = DslrConfig(**{"release_pin": RELEASE, "focus_pin": FOCUS, **TIMES, **changes})
        pressed = config.active == "high"
        for line, name in ((RELEASE, "release"), (FOCUS, "focus")):
            self.factory.watch(line, self.note(name, pressed))
        self.inbox = None if inbox is None else Inbox(inbox, self.clock, self.stop)
        self.off = not pressed
        self.camera = Dslr(config, self.factory, self.inbox, self.clock, self.stop)
        self.presses.clear()

    def note(self, name: str, pressed: bool) -> Any:
        def observe(_line: int, level: bool, t_s: float) -> None:
            self.presses.append((name, "on" if level is pressed else "off", round(t_s, 6)))

        return observe

    def lines_off(self) -> bool:
        return self.factory.level(RELEASE) is self.off and self.factory.level(FOCUS) is self.off


@pytest.mark.parametrize("active", ["high", "low"])
def test_one_shot(active: Literal["high", "low"]) -> None:
    stand = Stand(active=active)
    assert stand.lines_off()
    stand.camera.begin(JobSettings())
    exposure = stand.camera.expose()
    assert stand.presses == [
        ("focus", "on", 0.0),
        ("release", "on", 0.3),
        ("release", "off", 0.5),
        ("focus", "off", 1.45),
    ]
    assert (exposure.index, exposure.exposure_s) == (0, 1.0)
    assert (exposure.opened_s, exposure.closed_s) == pytest.approx((0.3, 1.45))
    assert exposure.at == stand.clock.wall().replace(second=0, microsecond=300_000)
    assert stand.lines_off()


def test_the_shutter_is_closed_for_certain() -> None:
    """The slowest camera opens `release_lag_s` after the press and closes `exposure_s` later."""
    stand = Stand(exposure_s=3.0, release_lag_s=0.4, shutter_on_s=0.1)
    exposure = stand.camera.expose()
    assert exposure.closed_s - exposure.opened_s >= 0.4 + 3.0
    stand = Stand(exposure_s=0.0, release_lag_s=0.0, shutter_on_s=2.0)
    exposure = stand.camera.expose()
    assert exposure.closed_s - exposure.opened_s == pytest.approx(2.0 + 0.05)


def test_mirror_lock_up_takes_two_presses() -> None:
    stand = Stand(mirror_lockup_s=2.0)
    exposure = stand.camera.expose()
    releases = [press for press in stand.presses if press[0] == "release"]
    assert releases == [
        ("release", "on", 0.3),
        ("release", "off", 0.5),
        ("release", "on", 2.5),
        ("release", "off", 2.7),
    ]
    assert exposure.opened_s == pytest.approx(2.5), "the first press is the mirror's"
    assert [press[0] for press in stand.presses].count("focus") == 2


def test_two_shots_keep_the_gap() -> None:
    stand = Stand()
    first = stand.camera.expose()
    second = stand.camera.expose()
    presses_s = [t for name, what, t in stand.presses if (name, what) == ("focus", "on")]
    assert presses_s[1] - first.closed_s == pytest.approx(0.5)
    assert (first.index, second.index) == (0, 1)


def test_a_gap_that_has_passed_costs_nothing() -> None:
    stand = Stand()
    stand.camera.expose()
    stand.clock.sleep(10.0)
    before_s = stand.clock.now_s()
    assert stand.camera.expose().opened_s == pytest.approx(before_s + 0.3)


def test_a_job_s_own_times_win() -> None:
    stand = Stand(mirror_lockup_s=9.0)
    stand.camera.begin(JobSettings(shutter_on_s=0.4, shutter_gap_s=2.0, post_shot_s=0.7, mirror_lockup_s=0.0))
    exposure = stand.camera.expose()
    assert stand.presses[1:3] == [("release", "on", 0.3), ("release", "off", 0.7)]
    assert exposure.closed_s == pytest.approx(0.3 + 1.1 + 0.7)
    assert stand.camera.expose().opened_s == pytest.approx(exposure.closed_s + 2.0 + 0.3)
    # The next job's silence brings the configuration's back.
    stand.camera.begin(JobSettings())
    stand.presses.clear()
    assert stand.camera.expose().index == 0
    assert len([press for press in stand.presses if press[:2] == ("release", "on")]) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"focus_pin": None},
        {"mirror_lockup_s": 1.5},
        {"shutter_on_s": 3.0},
        {"half_press_s": 0.0, "exposure_s": 0.0},
    ],
)
@pytest.mark.parametrize("settings", [JobSettings(), JobSettings(shutter_on_s=0.05, post_shot_s=1.0)])
def test_a_shot_takes_as_long_as_was_foreseen(changes: dict[str, Any], settings: JobSettings) -> None:
    stand = Stand(**changes)
    stand.camera.begin(settings)
    stand.camera.expose()
    assert stand.clock.now_s() == pytest.approx(stand.camera.stop_s(settings))


@pytest.mark.parametrize("mirror_lockup_s", [0.0, 2.0])
@pytest.mark.parametrize("interval_s", [0.0, 1.0, 7.5])
def test_from_one_release_to_the_next_passes_the_least_interval(
    interval_s: float, mirror_lockup_s: float
) -> None:
    stand = Stand(min_interval_s=interval_s, mirror_lockup_s=mirror_lockup_s)
    stand.camera.begin(JobSettings())
    opened_s = [stand.camera.expose().opened_s for _ in range(3)]
    one_s = 0.3 + (0.2 + mirror_lockup_s if mirror_lockup_s else 0.0) + 1.1 + 0.05 + 0.5
    assert [b - a for a, b in pairwise(opened_s)] == pytest.approx([max(one_s, interval_s)] * 2)


def test_the_interval_holds_from_stack_to_stack_and_costs_nothing_once_it_has_passed() -> None:
    stand = Stand(min_interval_s=10.0)
    first = stand.camera.expose()
    stand.camera.end()
    stand.camera.begin(JobSettings())
    assert stand.camera.expose().opened_s - first.opened_s == pytest.approx(10.0)
    stand.clock.sleep(60.0)
    before_s = stand.clock.now_s()
    assert stand.camera.expose().opened_s == pytest.approx(before_s + 0.3)


@pytest.mark.parametrize("settings", [JobSettings(), JobSettings(shutter_on_s=8.0)])
def test_on_bulb_the_release_is_pressed_for_the_exposure(settings: JobSettings) -> None:
    stand = Stand(bulb=True, exposure_s=4.0, mirror_lockup_s=1.0)
    stand.camera.begin(settings)
    exposure = stand.camera.expose()
    asked_s = settings.shutter_on_s or 4.0
    edges_s = [t for name, _, t in stand.presses if name == "release"]
    assert edges_s == pytest.approx([0.3, 0.5, 1.5, 1.5 + asked_s]), "the mirror's press stays short"
    assert exposure.exposure_s == asked_s
    assert exposure.closed_s == pytest.approx(1.5 + asked_s + 0.1 + 0.05), "it may close a lag later"
    assert stand.clock.now_s() == pytest.approx(stand.camera.stop_s(settings))


def test_a_whole_press_closes_both_contacts_even_without_a_half_one() -> None:
    """Some cameras do not release on the second contact alone."""
    stand = Stand(half_press_s=0.0)
    stand.camera.expose()
    assert stand.presses[:2] == [("focus", "on", 0.0), ("release", "on", 0.0)]


def test_without_a_focus_line_only_release_moves() -> None:
    stand = Stand(focus_pin=None)
    stand.camera.begin(JobSettings())
    stand.camera.expose()
    assert {press[0] for press in stand.presses} == {"release"}
    stand.camera.end()
    stand.camera.close()


def test_a_sleeping_camera_is_woken_by_half_a_press() -> None:
    stand = Stand(wake_s=0.8)
    stand.camera.begin(JobSettings())
    assert stand.presses == [("focus", "on", 0.0), ("focus", "off", 0.8)]


def test_a_camera_left_alone_for_long_is_woken_again() -> None:
    stand = Stand(wake_s=0.8, wake_after_s=20.0)
    stand.camera.begin(JobSettings())
    stand.camera.expose()
    stand.clock.sleep(19.0)
    stand.presses.clear()
    stand.camera.expose()
    assert [press[:2] for press in stand.presses][:2] == [("focus", "on"), ("release", "on")]
    stand.clock.sleep(20.0)
    stand.presses.clear()
    began_s = stand.clock.now_s()
    stand.camera.expose()
    assert [press[:2] for press in stand.presses][:4] == [
        ("focus", "on"),
        ("focus", "off"),
        ("focus", "on"),
        ("release", "on"),
    ]
    assert stand.presses[1][2] == pytest.approx(began_s + 0.8)


@pytest.mark.parametrize(
    "at_s",
    [6.7, 10.0, 12.1, 12.4, 13.0, 16.0, 18.62],
    ids=["gap", "interval", "half press", "mirror's press", "mirror's pause", "bulb", "post-delay"],
)
def test_a_stop_in_any_wait_of_the_second_shot_lets_the_lines_go(at_s: float) -> None:
    stand = Stand(min_interval_s=12.0, mirror_lockup_s=2.0, bulb=True, exposure_s=4.0)
    assert stand.camera.expose().closed_s == pytest.approx(6.65)
    stand.clock.call_at(at_s, stand.stop.set)
    with pytest.raises(Stopped, match="released"):
        stand.camera.expose()
    assert stand.lines_off()
    assert stand.clock.now_s() == pytest.approx(at_s)


@pytest.mark.parametrize("at_s", [0.0, 0.1, 0.31, 0.45, 0.9, 1.44])
def test_a_stop_at_any_time_lets_the_lines_go(at_s: float) -> None:
    stand = Stand()
    stand.clock.call_at(at_s, stand.stop.set)
    with pytest.raises(Stopped, match="released"):
        stand.camera.expose()
    assert stand.lines_off()
    assert stand.clock.now_s() == pytest.approx(at_s)


def test_a_stop_while_waking_lets_the_line_go() -> None:
    stand = Stand(wake_s=5.0)
    stand.clock.call_at(2.0, stand.stop.set)
    with pytest.raises(Stopped):
        stand.camera.begin(JobSettings())
    assert stand.lines_off()


def test_end_is_safe_at_any_time_and_close_gives_the_pins_back() -> None:
    stand = Stand()
    stand.camera.end()
    stand.camera.end()
    stand.camera.close()
    assert stand.lines_off()
    Dslr(
        DslrConfig(release_pin=RELEASE, focus_pin=FOCUS), stand.factory, None, stand.clock, stand.stop
    ).close()


def test_frames_that_stay_in_the_camera_are_not_waited_for() -> None:
    stand = Stand()
    exposure = stand.camera.expose()
    assert stand.camera.has_frame()
    assert stand.camera.collect(exposure) is None


def test_the_frame_of_an_exposure_comes_through_the_inbox(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    (tmp_path / "old.jpg").write_bytes(b"yesterday's")
    stand.camera.begin(JobSettings())
    exposure = stand.camera.expose()
    assert not stand.camera.has_frame()
    (tmp_path / "new.jpg").write_bytes(b"today's")
    frame = stand.camera.collect(exposure)
    assert frame is not None
    assert (frame.name, frame.encoded, frame.image, frame.exposure) == ("new.jpg", b"today's", None, exposure)


def test_a_late_frame_is_not_the_next_exposure_s(tmp_path: Path) -> None:
    stand = Stand(tmp_path, frame_timeout_s=2.0)
    stand.camera.begin(JobSettings())
    first = stand.camera.expose()
    with pytest.raises(FrameLost, match="within 2 s"):
        stand.camera.collect(first)
    (tmp_path / "first.jpg").write_bytes(b"first")
    second = stand.camera.expose()
    (tmp_path / "second.jpg").write_bytes(b"second")
    frame = stand.camera.collect(second)
    assert frame is not None
    assert frame.name == "second.jpg"
