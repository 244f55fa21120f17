"""One frame, its histogram and its figures; camera and lights let go, whatever happens; no rail."""

from __future__ import annotations

import argparse
import os
import signal
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from focusd.config import parse_config
from focusd.errors import CameraError, ConfigError, ExposureTimeout, Stopped
from focusd.flat_stand import Stand
from focusd.pictures.images import encode_jpeg, read_image
from focusd.pictures.samples import to_planes
from focusd.preview import FINE, FOUND, add_arguments, run
from focusd.rig import Exposure, Frame
from focusd.signals import Signals
from focusd_sim.catalogue import scene_named
from focusd_sim.clock import VirtualClock
from focusd_sim.config import SimConfig
from focusd_sim.rig import build

TABLE = {
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
    },
    "camera": {"kind": "dslr", "release_pin": 24, "exposure_s": 0.02},
    "lights": {
        "ring": {"pin": 5, "warm_up_s": 0.5},
        "side": {"pin": 6, "warm_up_s": 2.0},
        "stage": {"pin": 13, "on": "job", "warm_up_s": 1.0},
    },
    "sim": {"scene": "slope", "centre_um": 0},
}
SLOPE = scene_named("slope").render(0.0)


class PaperCamera:
    """Gives one frame, and notes what was asked of it."""

    def __init__(self, log, image=SLOPE, encoded=None, fault=None):
        self.log, self.image, self.encoded, self.fault = log, image, encoded, fault

    def begin(self, settings):
        self.log.append("begin")

    def expose(self):
        self.log.append("expose")
        if self.fault is not None:
            self.fault()
        return Exposure(0, 0.0, 0.02, 0.02, datetime(2026, 1, 1, tzinfo=UTC))

    def collect(self, exposure):
        self.log.append("collect")
        if self.image is None and self.encoded is None:
            return None
        return Frame("frame 1", exposure, None if self.encoded else self.image, self.encoded)

    def has_frame(self):
        return True

    def end(self):
        self.log.append("end")

    def close(self):
        self.log.append("close")

    def stop_s(self, settings):
        return 0.1


class PaperLights:
    """Notes what burns."""

    def __init__(self, log):
        self.log = log

    def begin(self):
        self.log.append("stage on")
        return 1.0

    def turn_on(self, name):
        self.log.append(f"{name} on")
        return {"ring": 0.5, "side": 2.0, None: 2.0}[name]

    def turn_off(self):
        self.log.append("off")

    def end(self):
        self.log.append("all off")

    def close(self):
        self.log.append("lights closed")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def arguments(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def config_of(**over):
    return parse_config({**TABLE, **over}, "test")


def preview(*words, camera, lights=None, clock=None, config=None, signals=None):
    return run(
        arguments(*words),
        config or config_of(),
        lambda: Stand(camera, lights),
        clock or VirtualClock(),
        signals or Signals(),
    )


def test_a_good_frame_gives_picture_histogram_and_figures(tmp_path, capsys):
    log = []
    assert preview(camera=PaperCamera(log)) == FINE == 0
    assert log == ["begin", "expose", "collect", "end", "close"]
    picture = read_image(tmp_path / "preview.jpg")
    assert picture.shape == SLOPE.shape
    assert np.mean(np.abs(picture.astype(int) - SLOPE)) < 6
    assert cv2.imread(str(tmp_path / "preview-histogram.png")).shape == (640, 1000, 3)
    said = capsys.readouterr().out
    assert "frame 1: 160 x 120 px, 0.02 s, levels 0 to 255" in said
    assert f"red{np.mean(SLOPE[..., 2]):14.1f}" in said
    assert "a stack may begin with this" in said
    assert "preview-histogram.png: its histogram" in said


def test_a_frame_that_a_stack_would_be_refused_for_ends_with_3_and_is_written(tmp_path, capsys):
    assert preview(camera=PaperCamera([], np.zeros((120, 160, 3), np.uint8))) == FOUND == 3
    assert (tmp_path / "preview.jpg").exists()
    said = capsys.readouterr().out
    assert "a stack would be refused: black: its brightest thousandth is at 0.0 levels" in said
    assert "luma          0.0          0        0           0   100.00 %     0.00 %" in said


def test_a_jpeg_is_written_as_the_camera_made_it(tmp_path):
    data = encode_jpeg(SLOPE, quality=71)
    assert preview("-o", "here.jpg", camera=PaperCamera([], encoded=data)) == FINE
    assert (tmp_path / "here.jpg").read_bytes() == data
    assert (tmp_path / "here-histogram.png").exists()


def test_a_smaller_picture_comes_at_request_with_the_figures_of_the_whole(tmp_path, capsys):
    data = encode_jpeg(SLOPE)
    assert preview("--max-side", "80", camera=PaperCamera([], encoded=data)) == FINE
    assert read_image(tmp_path / "preview.jpg").shape == (60, 80, 3)
    assert "160 x 120 px" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["planes", "grey", "deep"])
def test_every_kind_of_frame_is_shown(kind, tmp_path, capsys):
    grey = cv2.cvtColor(SLOPE, cv2.COLOR_BGR2GRAY)
    image = {"planes": to_planes(SLOPE), "grey": grey, "deep": grey.astype(np.uint16) * 16}[kind]
    assert preview(camera=PaperCamera([], image)) == FINE
    picture = read_image(tmp_path / "preview.jpg")
    assert np.mean(picture) == pytest.approx(np.mean(grey), abs=4)
    said = capsys.readouterr().out
    assert ("levels 0 to 4095" in said) == (kind == "deep")
    assert ("\nred" in said) == (kind == "planes")


@pytest.mark.parametrize(
    ("words", "turns", "lit", "warm_s"),
    [
        ([], (), None, 2.0),
        ([], ("side", "ring"), "side", 2.0),
        (["--light", "ring"], ("side", "ring"), "ring", 1.0),
    ],
)
def test_lights_burn_from_their_warm_up_to_the_end_of_the_exposure(words, turns, lit, warm_s):
    log, clock = [], VirtualClock()
    began_s = clock.now_s()
    config = config_of(stack={"lights": list(turns), "keep_frames": "source"})
    preview(*words, camera=PaperCamera(log), lights=PaperLights(log), clock=clock, config=config)
    assert log == [
        *("begin", "stage on", f"{lit} on", "expose", "off", "collect"),
        *("end", "close", "lights closed"),
    ]
    assert clock.now_s() - began_s == pytest.approx(warm_s)


@pytest.mark.parametrize("name", ["moon", "stage"])
def test_a_light_that_cannot_be_chosen_is_refused_before_anything_is_opened(name):
    def open_stand():
        raise AssertionError

    with pytest.raises(ConfigError, match=rf"--light {name}: .*{name}"):
        run(arguments("--light", name), config_of(), open_stand, VirtualClock(), Signals())


def test_wrong_files_are_refused_before_anything_is_opened(tmp_path):
    def open_stand():
        raise AssertionError

    for output, said in ((tmp_path / "a.png", "JPEG"), (tmp_path / "none" / "a.jpg", "none.*-o")):
        with pytest.raises(ConfigError, match=said):
            run(arguments("-o", str(output)), config_of(), open_stand, VirtualClock(), Signals())


def test_a_camera_that_keeps_its_frames_is_said_before_it_is_released():
    camera = {**TABLE["camera"], "frames": "none"}
    with pytest.raises(ConfigError, match="frames"):
        preview(camera=PaperCamera([]), config=config_of(camera=camera))


def test_a_frame_that_does_not_come_is_an_error():
    log = []
    with pytest.raises(CameraError, match="keeps its frames"):
        preview(camera=PaperCamera(log, None))
    assert log[-2:] == ["end", "close"]


def test_a_camera_that_fails_is_let_go_with_its_lights(tmp_path):
    log = []

    def fault():
        raise ExposureTimeout("no exposure within 3 s")

    with pytest.raises(ExposureTimeout):
        preview(camera=PaperCamera(log, fault=fault), lights=PaperLights(log))
    assert log[-3:] == ["end", "close", "lights closed"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_wakes_the_camera_and_everything_is_let_go(number):
    log, signals = [], Signals()

    def fault():
        os.kill(os.getpid(), number)
        assert signals.stop.wait(5)
        raise Stopped("stopped while exposing")

    before = signal.getsignal(number)
    with pytest.raises(Stopped):
        preview(camera=PaperCamera(log, fault=fault), lights=PaperLights(log), signals=signals)
    assert log[-3:] == ["end", "close", "lights closed"]
    assert signal.getsignal(number) is before


def test_a_stop_before_the_lights_are_warm_takes_no_picture():
    log, signals = [], Signals()
    signals.stop.set()
    with pytest.raises(Stopped):
        preview(camera=PaperCamera(log), lights=PaperLights(log), signals=signals)
    assert "expose" not in log


def test_the_simulated_rig_gives_a_frame_and_its_motor_stays_off(tmp_path):
    config = config_of(data={"dir": str(tmp_path / "data")}, lights={})
    clock, signals = VirtualClock(), Signals()
    simulated = build(config, SimConfig.from_table(config.sim), clock, signals)
    began_um = simulated.bench.carriage.position_um(clock.now_s())
    code = run(arguments(), config, lambda: Stand(simulated.rig.camera, simulated.rig.lights), clock, signals)
    assert code == FINE
    assert read_image(tmp_path / "preview.jpg").shape == (120, 160, 3)
    assert [exposure.step_edges for exposure in simulated.truth.exposures] == [0]
    assert simulated.bench.carriage.position_um(clock.now_s()) == began_um
