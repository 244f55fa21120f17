"""The stand-in for picamera2: running frames, stale buffers, late controls, wandering automatics."""

from __future__ import annotations

import re
import threading
from concurrent.futures import CancelledError
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from focusd.camera_config import Picamera2Config
from focusd.drivers.picam import PiCamera
from focusd.drivers.picam_frames import Taken, began_s, planes_of
from focusd.errors import CameraError, ExposureTimeout, FrameLost, Stopped
from focusd.job import JobSettings
from focusd.pictures.images import decode_frame
from focusd.pictures.planes import Planes
from focusd.pictures.raw import RawRendering
from focusd.pictures.samples import to_bgr, to_planes
from focusd_sim.bench import Bench, Lines
from focusd_sim.clock import VirtualClock
from focusd_sim.config import BenchConfig, CarriageConfig, OpticsConfig, PicamConfig
from focusd_sim.faults import Faults, Script
from focusd_sim.picam import SimPicamera2
from focusd_sim.pins import SimFactory
from focusd_sim.request import Request
from focusd_sim.truth import Truth
from focusd_sim.view import View

COLOURS = np.random.default_rng(5).integers(30, 220, (20, 30, 3)).astype(np.uint8)
COLOURS = cv2.resize(COLOURS, (100, 60), interpolation=cv2.INTER_CUBIC)
LOCKED = {
    "AeEnable": False,
    "AwbEnable": False,
    "ExposureTime": 10_000,
    "AnalogueGain": 1.0,
    "ColourGains": (1.8, 1.6),
}


class Card:
    """A coloured card that is the same at every focus."""

    lens = SimpleNamespace(magnification=1.0, pixel_um=10.0)
    all_in_focus = COLOURS

    def __init__(self) -> None:
        self.focus_um: list[float] = []

    def render(self, focus_um: float, **_: Any) -> NDArray[np.uint8]:
        self.focus_um.append(focus_um)
        return COLOURS.copy()


class LightMeter:
    def expose(
        self,
        ideal: NDArray[np.uint8],
        *,
        exposure: float = 1.0,
        colour_gains: Any = (1.0, 1.0, 1.0),
        **_: Any,
    ) -> NDArray[np.uint8]:
        return np.asarray(np.clip(ideal * exposure * np.array(colour_gains), 0, 255), np.uint8)


class Rig:
    def __init__(self, seed: int = 1, **options: Any) -> None:
        self.clock = VirtualClock()
        self.faults = Faults(self.clock)
        carriage = CarriageConfig(
            start_um=5000, backlash_um=0, sag_um_s=0, creep=0, vibration_hz=0, vibration_axial_um=0
        )
        self.bench = Bench(BenchConfig(carriage=carriage), self.clock, SimFactory(self.clock), Lines(17, 27))
        self.truth, self.card = Truth(self.bench), Card()
        view = View(self.card, LightMeter(), OpticsConfig(), self.bench, self.truth, centre_um=5000, seed=1)
        self.camera = SimPicamera2(PicamConfig(**options), self.clock, view, self.faults, seed)

    def start(self, kind: str = "still", locked: bool = True, **options: Any) -> SimPicamera2:
        camera = self.camera
        make = getattr(camera, f"create_{kind}_configuration")
        camera.configure(make(**options))
        if locked:
            camera.set_controls(LOCKED)
        camera.start()
        return camera

    def move(self, steps: int) -> None:
        self.bench.edge(27, True, self.clock.now_s())
        self.clock.sleep(0.01)  # the chip wakes
        for _ in range(steps):
            self.bench.edge(17, True, self.clock.now_s())
            self.clock.sleep(0.002)
            self.bench.edge(17, False, self.clock.now_s())
            self.clock.sleep(0.002)


def metadata(camera: SimPicamera2, count: int) -> list[dict[str, Any]]:
    return [camera.capture_metadata() for _ in range(count)]


# -- formats


def test_rgb888_is_blue_green_red_and_bgr888_the_other_way() -> None:
    for pixel_format, expected in (("RGB888", COLOURS), ("BGR888", COLOURS[:, :, ::-1])):
        camera = Rig().start(main={"format": pixel_format})
        with camera.captured_request() as request:
            picture = request.make_array("main")
        assert np.array_equal(picture, expected)
        assert picture.flags.c_contiguous


@pytest.mark.parametrize(("pixel_format", "order"), [("XRGB8888", (0, 1, 2)), ("XBGR8888", (2, 1, 0))])
def test_four_byte_formats_carry_an_opaque_fourth(pixel_format: str, order: tuple[int, ...]) -> None:
    camera = Rig().start(main={"format": pixel_format})
    picture = camera.capture_array()
    assert np.array_equal(picture[:, :, :3], COLOURS[:, :, list(order)])
    assert (picture[:, :, 3] == 255).all()


@pytest.mark.parametrize("align", [1, 64])
def test_yuv420_is_i420_with_its_padding(align: int) -> None:
    camera = Rig(stride_align=align).start("preview", main={"format": "YUV420", "size": (100, 60)})
    stride = camera.camera_configuration()["main"]["stride"]
    assert stride == (128 if align == 64 else 100)
    array = camera.capture_array()
    assert array.shape == (90, stride)
    ycrcb = cv2.cvtColor(COLOURS, cv2.COLOR_BGR2YCrCb)
    assert np.abs(array[:60, :100].astype(int) - ycrcb[:, :, 0]).max() <= 1
    chroma = array[60:].reshape(2, 30, stride // 2)[:, :, :50].astype(int)
    for plane, channel in enumerate((2, 1)):
        half = cv2.resize(ycrcb[:, :, channel], (50, 30), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(chroma[plane] - half).max() <= 2


def test_video_yuv_is_limited_range() -> None:
    camera = Rig(stride_align=1).start("video", main={"format": "YUV420", "size": (100, 60)})
    array = camera.capture_array()
    reference = cv2.cvtColor(COLOURS, cv2.COLOR_BGR2YUV_I420)
    assert np.abs(array[:60].astype(int) - reference[:60]).max() <= 2


def test_another_size_is_scaled_and_defaults_are_picamera2s() -> None:
    rig = Rig()
    camera = rig.start(main={"size": (50, 30), "format": "RGB888"})
    assert camera.capture_array().shape == (30, 50, 3)
    still = rig.camera.create_still_configuration()
    video = rig.camera.create_video_configuration()
    assert (still["main"]["format"], still["main"]["size"], still["buffer_count"]) == ("BGR888", (100, 60), 1)
    assert (video["main"]["format"], video["main"]["size"], video["buffer_count"]) == (
        "XBGR8888",
        (1280, 720),
        6,
    )


def test_wrong_use_raises_what_picamera2_raises() -> None:
    camera = Rig().camera
    with pytest.raises(ValueError, match="Bad key"):
        camera.create_still_configuration(main={"sise": (2, 2)})
    with pytest.raises(RuntimeError, match="Bad format"):
        camera.configure(camera.create_still_configuration(main={"format": "MJPG"}))
    with pytest.raises(RuntimeError, match="even"):
        camera.configure(camera.create_still_configuration() | {"main": {"size": (3, 3), "format": "RGB888"}})
    with pytest.raises(RuntimeError, match="LensPosition is not advertised"):
        camera.set_controls({"LensPosition": 2.0})
    camera.start("still")
    with pytest.raises(RuntimeError, match="stopped before configuring"):
        camera.configure("still")
    request = camera.capture_request()
    request.release()
    with pytest.raises(RuntimeError, match="negative"):
        request.release()
    with pytest.raises(RuntimeError, match="released"):
        request.make_array("main")
    camera.close()
    with pytest.raises(RuntimeError, match="not opened"):
        camera.capture_request()


# -- time


def test_frames_run_at_the_frame_duration() -> None:
    stamps = [m["SensorTimestamp"] for m in metadata(Rig(frame_us=40_000).start(buffer_count=4), 5)]
    assert np.diff(stamps) == pytest.approx(40e6, abs=2)


def test_a_long_exposure_stretches_the_frame() -> None:
    rig = Rig()
    camera = rig.start(buffer_count=4)
    camera.set_controls({"ExposureTime": 200_000})
    frames = metadata(camera, 9)
    assert [f["ExposureTime"] for f in frames[-2:]] == [200_000, 200_000]
    assert frames[-1]["SensorTimestamp"] - frames[-2]["SensorTimestamp"] == pytest.approx(200.5e6, abs=2)


def test_the_longest_frame_bounds_the_exposure() -> None:
    camera = Rig().start("video", buffer_count=4)
    camera.set_controls({"ExposureTime": 200_000})
    assert metadata(camera, 9)[-1]["ExposureTime"] == 33_333 - 500


@pytest.mark.parametrize(("flush", "stale"), [(None, True), (True, False)])
def test_the_next_buffer_may_have_begun_before_the_call(flush: bool | None, stale: bool) -> None:
    rig = Rig()
    camera = rig.start(buffer_count=4)
    rig.move(50)
    called_ns = rig.clock.now_s() * 1e9
    request = camera.capture_request(flush=flush)
    frame = request.get_metadata()
    began_ns = frame["SensorTimestamp"] - 1000 * frame["ExposureTime"]
    assert (began_ns < called_ns - 1) is stale
    request.make_array("main")
    assert (rig.truth.exposures[0].step_edges > 0) is stale
    assert (rig.card.focus_um[0] < 249) is stale


def test_an_exposure_is_recorded_once_and_only_if_looked_at() -> None:
    rig = Rig()
    camera = rig.start(buffer_count=4)
    camera.capture_metadata()
    with camera.captured_request() as request:
        first = request.make_array("main")
        again = request.make_array("main")
    assert np.array_equal(first, again)
    assert len(rig.truth.exposures) == 1
    exposure = rig.truth.exposures[0]
    assert exposure.t_close_s - exposure.t_open_s == pytest.approx(0.010)


# -- controls


def test_controls_take_hold_four_frames_later() -> None:
    camera = Rig(latency_us=0).start(buffer_count=6)
    camera.capture_metadata()
    camera.set_controls({"ExposureTime": 5_000})
    times = [m["ExposureTime"] for m in metadata(camera, 6)]
    assert times == [10_000] * 4 + [5_000] * 2


def test_controls_set_before_the_start_hold_from_the_first_frame() -> None:
    rig = Rig()
    rig.camera.configure(rig.camera.create_still_configuration(controls={"ExposureTime": 7_000}))
    rig.camera.set_controls({"AnalogueGain": 2.0})
    rig.camera.start()
    frame = rig.camera.capture_metadata()
    assert (frame["ExposureTime"], frame["AnalogueGain"]) == (7_000, 2.0)


def spread(frames: list[dict[str, Any]]) -> tuple[float, float]:
    exposures = [m["ExposureTime"] for m in frames]
    reds = [m["ColourGains"][0] for m in frames]
    return float(np.ptp(exposures)), float(np.ptp(reds))


def test_automatics_wander_until_locked() -> None:
    free = spread(metadata(Rig().start(locked=False, buffer_count=4), 30))
    assert free[0] > 200
    assert free[1] > 0.02
    assert spread(metadata(Rig().start(buffer_count=4), 30)) == (0, 0)
    assert spread(metadata(Rig(ae_wander=0, awb_wander=0).start(locked=False, buffer_count=4), 30)) == (0, 0)


def test_switching_the_automatics_off_keeps_what_they_had() -> None:
    camera = Rig().start(locked=False, buffer_count=4)
    metadata(camera, 10)
    camera.set_controls({"AeEnable": False, "AwbEnable": False})
    frames = metadata(camera, 20)
    assert spread(frames[6:]) == (0, 0)
    assert frames[-1]["ExposureTime"] != 10_000
    camera.set_controls({"AeEnable": True, "AwbEnable": True})
    assert min(spread(metadata(camera, 20)[6:])) > 0


def test_the_wander_comes_from_the_seed() -> None:
    runs = [metadata(Rig(seed=seed).start(locked=False, buffer_count=4), 5) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_exposure_gain_and_colour_change_the_picture() -> None:
    def mean(controls: dict[str, Any]) -> NDArray[np.float64]:
        rig = Rig()
        camera = rig.camera
        camera.configure(camera.create_still_configuration(main={"format": "RGB888"}))
        camera.set_controls(LOCKED | controls)
        camera.start()
        return np.asarray(camera.capture_array().mean(axis=(0, 1)), np.float64)

    plain = mean({})
    assert mean({"ExposureTime": 5_000}) / plain == pytest.approx([0.5] * 3, rel=0.02)
    assert mean({"ExposureTime": 5_000, "AnalogueGain": 2.0}) / plain == pytest.approx([1] * 3, rel=0.02)
    assert mean({"ColourGains": (0.9, 1.6)}) / plain == pytest.approx([1, 1, 0.5], rel=0.02)


def test_values_out_of_range_are_clamped() -> None:
    camera = Rig().start()
    camera.set_controls({"ExposureTime": 1, "AnalogueGain": 99.0})
    frame = metadata(camera, 8)[-1]
    assert (frame["ExposureTime"], frame["AnalogueGain"]) == (13, 16.0)


def test_a_lens_with_a_drive_moves_the_focal_plane() -> None:
    rig = Rig(lens_um_per_dioptre=40.0)
    camera = rig.start()
    camera.set_controls({"LensPosition": 3.0})
    metadata(camera, 8)
    camera.capture_array()
    assert rig.card.focus_um == [80.0]
    assert "LensPosition" not in Rig().camera.camera_controls


# -- buffers and jobs


@pytest.mark.parametrize("buffers", [1, 2, 4])
def test_requests_never_released_starve_the_camera(buffers: int) -> None:
    rig = Rig()
    camera = rig.start(buffer_count=buffers)
    held = [camera.capture_request() for _ in range(buffers)]
    with pytest.raises(TimeoutError):
        camera.capture_request(wait=2.0)
    assert camera.dropped_frames > 10
    camera.cancel_all_and_flush()
    held.pop().release()
    camera.capture_request(wait=2.0).release()


def test_a_job_given_up_swallows_the_next_frame_until_cancelled() -> None:
    for cancel in (False, True):
        rig = Rig()
        camera = rig.start(buffer_count=1)
        rig.faults.set("hang_camera", True)
        with pytest.raises(TimeoutError):
            camera.capture_request(wait=1.0)
        rig.faults.set("hang_camera", False)
        if cancel:
            camera.cancel_all_and_flush()
            camera.capture_request(wait=1.0).release()
        else:
            with pytest.raises(TimeoutError):
                camera.capture_request(wait=1.0)


def test_a_hung_camera_times_out_after_the_deadline_in_rig_time() -> None:
    rig = Rig()
    camera = rig.start(buffer_count=4)
    rig.clock.sleep(0.1)
    rig.faults.set("hang_camera", True)
    rig.clock.sleep(1.0)
    camera.capture_request().release()  # one finished frame was waiting
    before_s = rig.clock.now_s()
    with pytest.raises(TimeoutError):
        camera.capture_request(wait=3.0)
    assert rig.clock.now_s() - before_s == pytest.approx(3.0)
    with pytest.raises(RuntimeError, match="hung"):
        camera.capture_request()
    with pytest.raises(RuntimeError, match="hung"):
        camera.stop()  # waits behind the captures that were given up
    assert camera.started
    camera.cancel_all_and_flush()
    camera.stop()
    assert not camera.started


def test_a_stop_that_hangs_comes_through_when_the_hang_is_over() -> None:
    rig = Rig()
    camera = rig.start(buffer_count=2)
    camera.stop_hangs = True
    rig.faults.set("hang_camera", True)
    job = camera.dispatch_functions([camera.stop_], wait=False, immediate=True)
    with pytest.raises(TimeoutError):
        camera.wait(job, timeout=60.0)
    assert camera.started
    rig.faults.set("hang_camera", False)
    camera.wait(job, timeout=0.001)
    assert not camera.started


def test_a_job_can_be_waited_for_later_signalled_or_cancelled() -> None:
    rig = Rig()
    camera = rig.start(buffer_count=4)
    job = camera.capture_request(wait=False)
    with pytest.raises(TimeoutError):
        camera.wait(job, timeout=0.0001)
    camera.wait(job, timeout=1.0).release()
    seen: list[Any] = []
    camera.capture_request(signal_function=seen.append)
    rig.clock.sleep(1.0)
    assert seen[0].get_result().get_metadata()["ExposureTime"] == 10_000
    job = camera.capture_request(wait=False, flush=True)
    camera.cancel_all_and_flush()
    with pytest.raises(CancelledError):
        camera.wait(job)


def test_a_lost_frame_never_arrives() -> None:
    def stamp(lose: bool) -> int:
        rig = Rig()
        if lose:
            rig.faults.script([Script("lose_frame", at_exposure=0)])
        return int(rig.start(buffer_count=4).capture_request().get_metadata()["SensorTimestamp"])

    assert stamp(True) - stamp(False) == pytest.approx(33.333e6, abs=2)


def test_stopping_ends_the_frames_and_starting_begins_new_ones() -> None:
    rig = Rig()
    camera = rig.start(buffer_count=2)
    held = camera.capture_request()
    camera.stop()
    with pytest.raises(TimeoutError):
        camera.capture_request(wait=1.0)
    camera.cancel_all_and_flush()
    restarted_ns = rig.clock.now_s() * 1e9
    camera.start()
    held.release()
    fresh = [camera.capture_request() for _ in range(2)]
    assert fresh[0].get_metadata()["SensorTimestamp"] > restarted_ns
    with pytest.raises(TimeoutError):
        camera.capture_request(wait=1.0)


# -- the driver, on the stand-in


CONFIG = {"frame_size": {"width": 100, "height": 60}, "exposure_s": 0.01, "colour_gains": [1.8, 1.6]}


class Station:
    """The driver on a simulated rig."""

    def __init__(self, config: dict[str, Any] | None = None, **options: Any) -> None:
        self.rig, self.stop = Rig(**options), threading.Event()
        settings = Picamera2Config.model_validate({**CONFIG, **(config or {})})
        self.driver = PiCamera(settings, self.rig.camera, self.rig.clock, self.stop)

    def begin(self) -> None:
        self.driver.begin(JobSettings())

    def photograph(self) -> Planes:
        frame = self.driver.collect(self.driver.expose())
        assert frame is not None
        assert isinstance(frame.image, Planes)
        return frame.image

    def hang(self, on: bool = True, *, stop_hangs: bool = False) -> None:
        self.rig.camera.stop_hangs = stop_hangs
        self.rig.faults.set("hang_camera", on)


@pytest.mark.parametrize("align", [1, 64])
def test_frames_are_planes_without_padding_in_full_range(align: int) -> None:
    station = Station(stride_align=align)
    station.begin()
    planes, expected = station.photograph(), to_planes(COLOURS)
    assert planes.shape == (60, 100)
    for name in ("luma", "blue", "red"):
        plane, wanted = getattr(planes, name), getattr(expected, name)
        assert plane.flags.c_contiguous
        assert np.abs(plane.astype(int) - wanted.astype(int)).max() <= 2, name
    assert np.abs(to_bgr(planes).astype(int) - to_bgr(expected).astype(int)).max() <= 5


def test_a_buffer_of_another_size_is_refused() -> None:
    for shape in ((90, 98), (91, 100), (90, 101)):
        with pytest.raises(FrameLost, match="100 x 60 px in YUV420 take 90 rows of at least 100 bytes"):
            planes_of(np.zeros(shape, np.uint8), 100, 60)


def test_a_frame_given_up_costs_a_restart_and_nothing_else() -> None:
    station = Station()
    station.begin()
    station.photograph()
    run = station.rig.camera.run
    station.hang()
    before_s = station.rig.clock.now_s()
    with pytest.raises(ExposureTimeout) as caught:
        station.photograph()
    assert caught.value.values == {"timeout_s": 10.0}
    assert station.rig.clock.now_s() - before_s == pytest.approx(10.0, abs=0.1)
    station.hang(False)
    for _ in range(5):
        station.photograph()
    assert station.rig.camera.run == run + 1


def test_a_camera_that_does_not_stop_is_let_alone_until_it_does() -> None:
    station = Station()
    station.begin()
    station.hang(stop_hangs=True)
    with pytest.raises(ExposureTimeout, match="gave no frame within 10 s"):
        station.photograph()
    before_s = station.rig.clock.now_s()
    with pytest.raises(ExposureTimeout, match="does not stop within 5 s"):
        station.photograph()
    station.driver.end()
    assert station.rig.clock.now_s() - before_s == pytest.approx(10.0, abs=0.2)
    with pytest.raises(CameraError, match="does not stop"):
        station.begin()
    station.driver.close()
    assert station.rig.camera.is_open, "closing it would wait for ever"
    station.hang(False)
    station.begin()
    station.photograph()
    station.driver.close()
    assert not station.rig.camera.is_open


def test_the_emergency_stop_wakes_it_and_the_next_stack_begins_anew() -> None:
    station = Station()
    station.begin()
    station.hang()
    station.rig.clock.call_at(station.rig.clock.now_s() + 1.0, station.stop.set)
    before_s = station.rig.clock.now_s()
    with pytest.raises(Stopped):
        station.photograph()
    assert station.rig.clock.now_s() - before_s == pytest.approx(1.0, abs=0.1)
    station.driver.end()
    station.stop.clear()
    station.hang(False)
    station.begin()
    station.photograph()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ExposureTime": 10_100}, "exposure 0.0101 s where the stack began with 0.01 s"),
        ({"ExposureTime": 20_000}, "exposure 0.02 s where what was set is 0.01 s"),
        ({"AnalogueGain": 1.01}, "gain 1.01 where the stack began with 1"),
        ({"ColourGains": (1.8, 1.61)}, "colour gains 1.8 and 1.61 where the stack began with 1.8 and 1.6"),
    ],
)
def test_a_frame_taken_otherwise_is_refused(change: dict[str, Any], message: str) -> None:
    station = Station()
    station.begin()
    station.photograph()
    station.rig.camera.set_controls(change)
    with pytest.raises(FrameLost, match=re.escape(message)):
        for _ in range(6):
            station.photograph()
    station.rig.camera.set_controls(LOCKED)
    station.rig.clock.sleep(0.3)
    station.photograph()


def test_a_lens_that_was_moved_is_noticed() -> None:
    station = Station({"lens_position": 2.0}, lens_um_per_dioptre=40.0)
    station.begin()
    station.photograph()
    station.rig.camera.set_controls({"LensPosition": 2.1})
    with pytest.raises(FrameLost, match=r"lens position 2\.1 dioptres where what was set is 2 dioptres"):
        for _ in range(6):
            station.photograph()


def test_what_the_camera_cannot_do_is_said_beforehand() -> None:
    with pytest.raises(CameraError, match="the camera has no AfMode, LensPosition") as caught:
        Station({"lens_position": 2.0}).begin()
    assert caught.value.values == {"absent": ["AfMode", "LensPosition"]}
    for side in ("width", "height"):
        size = {**CONFIG["frame_size"], side: 61}
        with pytest.raises(ValueError, match="both sides must be even"):
            Picamera2Config.model_validate({**CONFIG, "frame_size": size})


@pytest.mark.parametrize("absent", ["ExposureTime", "AnalogueGain"])
def test_a_frame_that_does_not_say_how_it_was_taken_is_refused(absent: str) -> None:
    said = {"ExposureTime": 10_000, "AnalogueGain": 1.0}
    assert Taken.of(said) == Taken(0.01, 1.0)
    del said[absent]
    with pytest.raises(FrameLost, match=f"without {absent}"):
        Taken.of(said)


def test_an_exposure_began_its_own_length_before_its_time_stamp() -> None:
    assert began_s({"SensorTimestamp": 7_000_000_000}, 0.25) == pytest.approx(6.75)
    with pytest.raises(FrameLost, match="without SensorTimestamp"):
        began_s({}, 0.25)


@pytest.mark.parametrize("shift_s", [-3600.0, 3600.0])
def test_a_time_stamp_of_another_clock_is_noticed(shift_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that seem old are never taken; frames that seem to come from the future are refused."""
    station = Station({"frame_timeout_s": 1.1})
    station.begin()
    honest, shift_ns = Request.get_metadata, round(shift_s * 1e9)

    def shifted(request: Request) -> dict[str, Any]:
        said = honest(request)
        return {**said, "SensorTimestamp": said["SensorTimestamp"] + shift_ns}

    def began_ns(request: Request) -> int:
        return round(request.closed_s * 1e9) - 1000 * request.shot.exposure_us + shift_ns

    monkeypatch.setattr(Request, "get_metadata", shifted)
    monkeypatch.setattr(Request, "began_ns", property(began_ns))
    with pytest.raises(ExposureTimeout if shift_s < 0 else FrameLost):
        station.photograph()


@pytest.mark.parametrize("buffers", [1, 2, 4])
def test_every_buffer_goes_back(buffers: int) -> None:
    station = Station({"buffer_count": buffers})
    station.begin()
    frames = [station.photograph() for _ in range(3 * buffers)]
    assert len({id(frame.luma) for frame in frames}) == len(frames)
    station.rig.clock.sleep(1.0)
    assert station.rig.camera.capture_request(wait=1.0) is not None


# -- raw


RAW = {"files": "dng"}
with_rawpy = pytest.mark.skipif(find_spec("rawpy") is None, reason="rawpy is not installed")


def test_a_raw_stream_has_the_sensors_size_and_is_saved_as_dng(tmp_path: Path) -> None:
    rig = Rig()
    camera = rig.start(main={"size": (50, 30)}, raw={"size": (40, 30)})
    stream = camera.stream_configuration("raw")
    assert (stream["size"], stream["format"], stream["stride"]) == ((100, 60), "SRGGB16", 256)
    with camera.captured_request() as request:
        file = BytesIO()
        request.save_dng(file)
        request.save_dng(tmp_path / "a.dng")
    assert file.getvalue() == (tmp_path / "a.dng").read_bytes()
    with pytest.raises(RuntimeError, match="released"):
        request.save_dng(BytesIO())
    with pytest.raises(ValueError, match="Bad key"):
        camera.create_still_configuration(raw={"bits": 12})
    with (
        Rig().start().captured_request() as request,
        pytest.raises(RuntimeError, match="'raw' is not defined"),
    ):
        request.save_dng(BytesIO())


@with_rawpy
def test_a_raw_frame_shows_what_the_sensor_saw() -> None:
    station = Station(RAW)
    station.begin()
    frame = station.driver.collect(station.driver.expose())
    assert frame is not None and frame.image is None and frame.encoded is not None
    assert frame.name == "frame 0.dng"
    image = decode_frame(frame.encoded, frame.name, None, RawRendering())
    assert isinstance(image, np.ndarray) and image.dtype == np.uint16
    # Colours between the filters are made up: what is compared is soft.
    seen, shown = (cv2.GaussianBlur(each.astype(np.float32), (0, 0), 4) for each in (COLOURS, image / 257))
    error = (seen - shown)[8:-8, 8:-8]
    assert np.abs(error).mean() < 2 and np.abs(error.mean((0, 1))).max() < 2


def test_raw_frames_hold_the_same_locks_and_give_their_buffers_back() -> None:
    station = Station({**RAW, "buffer_count": 1})
    station.begin()
    names = []
    for _ in range(4):
        frame = station.driver.collect(station.driver.expose())
        assert frame is not None
        names.append(frame.name)
    assert names == [f"frame {index}.dng" for index in range(4)]
    station.rig.camera.set_controls({"ColourGains": (1.8, 1.7)})
    with pytest.raises(FrameLost, match=r"frame \d\.dng: colour gains 1\.8 and 1\.7 where"):
        for _ in range(6):
            station.driver.collect(station.driver.expose())
    station.rig.camera.set_controls(LOCKED)
    station.rig.clock.sleep(0.5)
    station.driver.expose()


def test_a_raw_stream_that_is_not_as_configured_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        CameraError, match=r"raw frames of 100 x 60 px instead of 50 x 30.*frame_size"
    ) as caught:
        Station({**RAW, "frame_size": {"width": 50, "height": 30}}).begin()
    assert caught.value.values == {"size_px": (100, 60)}
    station = Station(RAW)
    got = SimPicamera2.camera_configuration
    monkeypatch.setattr(SimPicamera2, "camera_configuration", lambda camera: {**got(camera), "raw": None})
    with pytest.raises(CameraError, match="no raw stream"):
        station.begin()


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyError("ColourCorrectionMatrix"), TypeError("file")])
def test_a_dng_that_cannot_be_made_is_told_and_its_buffer_goes_back(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = Station({**RAW, "buffer_count": 1})
    station.begin()

    def broken(request: Request, file: BytesIO) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Request, "save_dng", broken)
        for _ in range(2):
            with pytest.raises(CameraError, match="picamera2 made no DNG"):
                station.driver.expose()
    station.driver.expose()
