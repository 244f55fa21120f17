"""The DSLR: which presses expose, when, and what arrives in the inbox."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from gpiozero import DigitalOutputDevice
from numpy.typing import NDArray

from focusd.errors import ConfigError
from focusd.pictures.exif import taken_at
from focusd_sim.bench import Bench, Lines
from focusd_sim.clock import VirtualClock
from focusd_sim.config import BenchConfig, CarriageConfig, DslrConfig, OpticsConfig
from focusd_sim.dslr import Dslr, DslrLines
from focusd_sim.faults import Faults, Script
from focusd_sim.pins import SimFactory
from focusd_sim.truth import ExposureTruth, Truth
from focusd_sim.view import View

STILL = CarriageConfig(start_um=5123, backlash_um=0, sag_um_s=0, creep=0)


class GreyScene:
    """A flat field whose level is the focus position."""

    lens = SimpleNamespace(magnification=3.7, pixel_um=14.8)
    all_in_focus: NDArray[np.uint8] = np.zeros((16, 24, 3), np.uint8)

    def render(self, focus_um: float, **_: Any) -> NDArray[np.uint8]:
        return np.full((16, 24, 3), round(focus_um), np.uint8)


class LightMeter:
    def expose(self, ideal: NDArray[np.uint8], *, exposure: float = 1.0, **_: Any) -> NDArray[np.uint8]:
        return np.asarray(np.clip(ideal * exposure, 0, 255), np.uint8)


class Rig:
    """A DSLR on lines 23 (release) and 24 (focus) above a still carriage."""

    def __init__(self, folder: Path, focus: bool = True, **options: Any) -> None:
        self.clock = VirtualClock()
        self.factory = SimFactory(self.clock, {23: "down", 24: "down"})
        self.faults = Faults(self.clock)
        bench = Bench(BenchConfig(carriage=STILL), self.clock, self.factory, Lines(17, 27))
        truth = Truth(bench)
        view = View(GreyScene(), LightMeter(), OpticsConfig(), bench, truth, centre_um=5000, seed=1)
        self.inbox = folder / "inbox"
        self.truth = truth
        self.dslr = Dslr(
            DslrConfig(**options),
            self.clock,
            self.factory,
            DslrLines(23, 24 if focus else None),
            bench,
            view,
            self.inbox,
            self.faults,
        )
        self.release = DigitalOutputDevice(23, pin_factory=self.factory)
        self.focus = DigitalOutputDevice(24, pin_factory=self.factory)

    def press(self, hold_s: float = 0.1) -> None:
        self.release.on()
        self.clock.sleep(hold_s)
        self.release.off()

    def files(self) -> list[str]:
        return sorted(path.name for path in self.inbox.iterdir())

    @property
    def exposures(self) -> tuple[ExposureTruth, ...]:
        return self.truth.exposures

    @property
    def ignored(self) -> dict[str, int]:
        return self.dslr.presses.ignored


def picture(rig: Rig, name: str) -> NDArray[np.uint8] | None:
    data = np.frombuffer((rig.inbox / name).read_bytes(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, np.uint8)


def test_a_press_exposes_after_the_release_lag_for_the_exposure_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path, release_lag_s=0.06, exposure_s=0.5)
    rig.clock.sleep(1.0)
    rig.press()
    rig.clock.sleep(2.0)
    (exposure,) = rig.exposures
    assert (exposure.t_open_s, exposure.t_close_s) == pytest.approx((1.06, 1.56))
    assert exposure.position_um == pytest.approx(5123)


def test_a_jpeg_of_what_was_seen_appears_after_the_write_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path, release_lag_s=0.06, exposure_s=0.02, write_s=0.4, partial_s=0.0)
    rig.press(0.1)
    rig.clock.sleep(0.479 - 0.1)
    assert rig.files() == []
    rig.clock.sleep(0.002)
    assert rig.files() == ["DSC_0001.JPG"]
    image = picture(rig, "DSC_0001.JPG")
    assert image is not None
    assert image.shape == (16, 24, 3)
    assert float(image.mean()) == pytest.approx(123, abs=1)
    assert rig.exposures[0].frame_file == "DSC_0001.JPG"


def test_the_file_can_appear_in_two_pieces(tmp_path: Path) -> None:
    rig = Rig(tmp_path, release_lag_s=0.06, exposure_s=0.02, write_s=0.4, partial_s=0.1)
    rig.press(0.1)
    rig.clock.sleep(0.4 - 0.1)
    path = rig.inbox / "DSC_0001.JPG"
    part = path.read_bytes()
    assert rig.exposures[0].frame_file is None
    rig.clock.sleep(0.2)
    whole = path.read_bytes()
    assert whole.startswith(part)
    assert len(part) < len(whole)
    assert whole.endswith(b"\xff\xd9")


@pytest.mark.parametrize(("exposure_s", "level"), [(0.01, 61), (0.02, 123), (0.04, 246)])
def test_longer_exposures_are_brighter(tmp_path: Path, exposure_s: float, level: int) -> None:
    rig = Rig(tmp_path, exposure_s=exposure_s, light_s=0.02)
    rig.press()
    rig.clock.sleep(1.0)
    image = picture(rig, "DSC_0001.JPG")
    assert image is not None
    assert float(image.mean()) == pytest.approx(level, abs=2)


@pytest.mark.parametrize(("hold_s", "count"), [(0.02, 0), (0.03, 1), (0.5, 1)])
def test_a_press_must_last_and_a_long_one_is_still_one(tmp_path: Path, hold_s: float, count: int) -> None:
    rig = Rig(tmp_path, min_press_s=0.03)
    rig.press(hold_s)
    rig.clock.sleep(2.0)
    assert len(rig.exposures) == count
    assert rig.ignored == ({} if count else {"short": 1})


def test_inverted_optocouplers_press_at_low(tmp_path: Path) -> None:
    rig = Rig(tmp_path, active_high=False)
    rig.clock.sleep(1.0)  # both lines are low from the start: held down, it exposes once
    assert len(rig.exposures) == 1
    rig.release.on()
    rig.clock.sleep(1.0)
    rig.release.off()
    rig.clock.sleep(1.0)
    assert len(rig.exposures) == 2


@pytest.mark.parametrize(("half_s", "count"), [(None, 0), (0.1, 0), (0.3, 1)])
def test_a_half_press_can_be_demanded(tmp_path: Path, half_s: float | None, count: int) -> None:
    rig = Rig(tmp_path, half_press_s=0.3)
    if half_s is not None:
        rig.focus.on()
        rig.clock.sleep(half_s)
    rig.press()
    rig.clock.sleep(1.0)
    assert len(rig.exposures) == count
    assert rig.ignored == ({} if count else {"not focused": 1})


def test_a_half_press_needs_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="focus line"):
        Rig(tmp_path, focus=False, half_press_s=0.3)


def test_presses_during_an_exposure_are_ignored(tmp_path: Path) -> None:
    rig = Rig(tmp_path, exposure_s=1.0)
    rig.press()
    rig.clock.sleep(0.2)
    rig.press()
    rig.clock.sleep(3.0)
    assert (len(rig.exposures), rig.ignored) == (1, {"busy": 1})


def test_mirror_lockup_takes_two_presses_and_keeps_the_exposure_still(tmp_path: Path) -> None:
    smear = {}
    for lockup in (False, True):
        rig = Rig(tmp_path / str(lockup), mirror_lockup=lockup, mirror_slap_um=5.0, exposure_s=0.1)
        for _ in range(2 if lockup else 1):
            rig.press()
            rig.clock.sleep(1.0)
        assert len(rig.exposures) == 1
        smear[lockup] = rig.exposures[0].smear_um
    assert smear[False] > 2
    assert smear[True] < 0.01


def test_the_mirrors_slap_can_be_off(tmp_path: Path) -> None:
    rig = Rig(tmp_path, mirror_slap_um=0.0)
    rig.press()
    rig.clock.sleep(1.0)
    assert rig.exposures[0].smear_um == 0


def test_a_mirror_left_up_drops(tmp_path: Path) -> None:
    rig = Rig(tmp_path, mirror_lockup=True)
    rig.press()
    rig.clock.sleep(40.0)
    rig.press()
    rig.clock.sleep(1.0)
    assert (len(rig.exposures), rig.dslr.presses.mirror) == (0, 2)


def test_a_full_buffer_ignores_presses_until_the_card_has_caught_up(tmp_path: Path) -> None:
    rig = Rig(tmp_path, buffer_frames=2, write_s=2.0)
    for _ in range(4):
        rig.press()
        rig.clock.sleep(0.2)
    assert (len(rig.exposures), rig.ignored) == (2, {"buffer full": 2})
    rig.clock.sleep(10.0)
    rig.press()
    rig.clock.sleep(5.0)
    assert rig.files() == ["DSC_0001.JPG", "DSC_0002.JPG", "DSC_0003.JPG"]


def test_an_idle_camera_sleeps_and_the_first_press_only_wakes_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, sleep_after_s=60, wake_s=0.5)
    rig.clock.sleep(100.0)
    rig.press()
    rig.clock.sleep(0.1)
    rig.press()
    rig.clock.sleep(1.0)
    rig.press()
    rig.clock.sleep(1.0)
    assert (len(rig.exposures), rig.ignored) == (1, {"asleep": 2})
    restless = Rig(tmp_path / "restless", sleep_after_s=0)
    restless.clock.sleep(10_000.0)
    restless.press()
    restless.clock.sleep(1.0)
    assert len(restless.exposures) == 1


def test_a_half_press_wakes_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, sleep_after_s=60, wake_s=0.5)
    rig.clock.sleep(100.0)
    rig.focus.on()
    rig.clock.sleep(0.6)
    rig.press()
    rig.clock.sleep(1.0)
    assert len(rig.exposures) == 1


@pytest.mark.parametrize(
    ("kind", "exposures", "files"),
    [
        ("lose_frame", 3, 2),
        ("double_frame", 4, 4),
        ("corrupt_file", 3, 3),
        ("late_frame", 3, 2),
        ("hang_camera", 1, 1),
    ],
)
def test_faults_at_the_second_exposure(tmp_path: Path, kind: str, exposures: int, files: int) -> None:
    rig = Rig(tmp_path)
    rig.faults.script([Script(kind, at_exposure=1)])
    for _ in range(3):
        rig.press()
        rig.clock.sleep(1.0)
    assert (len(rig.exposures), len(rig.files())) == (exposures, files)
    whole = [(rig.inbox / name).read_bytes().endswith(b"\xff\xd9") for name in rig.files()]
    assert whole.count(False) == (1 if kind == "corrupt_file" else 0)
    if kind == "corrupt_file":
        assert whole == [True, False, True]


def test_a_hung_camera_can_come_back(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.faults.set("hang_camera", True)
    rig.press()
    rig.clock.sleep(1.0)
    rig.faults.set("hang_camera", False)
    rig.press()
    rig.clock.sleep(1.0)
    assert (len(rig.exposures), rig.ignored) == (1, {"hung": 1})


def test_a_late_frame_keeps_its_number_and_overtakes_nobody_s(tmp_path: Path) -> None:
    rig = Rig(tmp_path, late_s=5.0)
    rig.faults.script([Script("late_frame", at_exposure=0)])
    rig.press()
    rig.clock.sleep(1.0)
    rig.press()
    rig.clock.sleep(1.0)
    assert rig.files() == ["DSC_0002.JPG"]
    rig.clock.sleep(5.0)
    assert rig.files() == ["DSC_0001.JPG", "DSC_0002.JPG"]
    assert [exposure.frame_file for exposure in rig.exposures] == rig.files()


def test_file_numbers_begin_again_after_9999(tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    for number in (1, 9998):
        (folder / f"DSC_{number:04d}.JPG").touch()
    rig = Rig(tmp_path)
    for _ in range(3):
        rig.press()
        rig.clock.sleep(1.0)
    assert [e.frame_file for e in rig.exposures] == ["DSC_9999.JPG", "DSC_0002.JPG", "DSC_0003.JPG"]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("none", None),
        ("seconds", datetime(2026, 1, 1, 0, 1, 41)),
        ("fraction", datetime(2026, 1, 1, 0, 1, 41, 80_000)),
    ],
)
def test_files_say_when_they_were_taken_by_the_camera_s_clock(
    tmp_path: Path, time: str, expected: datetime | None
) -> None:
    rig = Rig(tmp_path, time=time, clock_ahead_s=100.0, clock_fast_ppm=20_000.0, release_lag_s=0.06)
    rig.clock.sleep(1.0)
    rig.press()
    rig.clock.sleep(1.0)
    assert taken_at((rig.inbox / "DSC_0001.JPG").read_bytes()) == expected


def test_a_raw_file_beside_each_jpeg(tmp_path: Path) -> None:
    rig = Rig(tmp_path, files="both", time="seconds")
    for _ in range(2):
        rig.press()
        rig.clock.sleep(1.0)
    assert rig.files() == ["DSC_0001.DNG", "DSC_0001.JPG", "DSC_0002.DNG", "DSC_0002.JPG"]
    times = [taken_at((rig.inbox / name).read_bytes()) for name in rig.files()]
    assert times[0] == times[1] is not None
    assert rig.exposures[0].frame_file == "DSC_0001.JPG"
