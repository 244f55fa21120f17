"""The gphoto2 camera on the genuine libgphoto2, its USB alone virtual."""

from __future__ import annotations

import gc
import threading
import time
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from focusd.drivers.tether import Tether
from focusd.errors import CameraError, ExposureTimeout, FrameLost, Stopped
from focusd.pictures.images import decode_frame
from focusd.pictures.planes import Planes

from .conftest import SETTINGS, Stand

CARD_HOLDS = 26
NAME = "Nikon DSC D750 at usb:001,001"


def test_the_right_picture_comes_from_each_of_ten_stops(stand: Stand) -> None:
    camera = stand.camera()
    camera.begin(SETTINGS)
    for index in range(10):
        shown = stand.card.show_grey(20 + 20 * index)
        exposure = camera.expose()
        frame = camera.collect(exposure)
        assert frame is not None and frame.encoded == shown
        assert (exposure.index, frame.exposure, exposure.exposure_s) == (index, exposure, 0.01)
        assert frame.name == f"GPH_{99 + 2 * index:04d}.JPG"
        picture = cv2.imdecode(np.frombuffer(frame.encoded, np.uint8), cv2.IMREAD_COLOR)
        assert abs(float(np.mean(picture)) - (20 + 20 * index)) < 1


def test_a_padded_frame_is_decoded_as_the_daemon_does(stand: Stand) -> None:
    camera = stand.camera()
    camera.begin(SETTINGS)
    frame = camera.collect(camera.expose())
    assert frame is not None and frame.encoded is not None
    planes = decode_frame(frame.encoded, frame.name)
    assert isinstance(planes, Planes) and planes.luma.shape == (48, 64)
    assert abs(float(np.mean(planes.luma)) - 128) < 1


def test_a_full_card_costs_no_frame(stand: Stand) -> None:
    """The virtual camera declares its card full after 26 exposures, until its session is closed."""
    camera = stand.camera(release_lag_s=0.3)
    camera.begin(SETTINGS)
    names = []
    for index in range(60):
        shown = stand.card.show_grey(40 + 3 * index)
        exposure = camera.expose()
        frame = camera.collect(exposure)
        assert frame is not None and frame.encoded == shown
        assert exposure.index == index
        names.append(frame.name)
    # The numbers begin again with each session: twice, after 26 and after 52.
    assert [i for i, name in enumerate(names) if name == "GPH_0099.JPG"] == [0, CARD_HOLDS, 2 * CARD_HOLDS]


def test_a_card_found_full_too_late_costs_one_frame_and_the_next_one_comes(stand: Stand) -> None:
    """The carriage may have moved since, so that exposure cannot be made again here."""
    camera = stand.camera(release_lag_s=0.02)
    camera.begin(SETTINGS)
    lost = []
    for index in range(30):
        exposure = camera.expose()
        try:
            assert camera.collect(exposure) is not None
        except FrameLost as error:
            lost.append((index, str(error)))
    assert lost == [(CARD_HOLDS, f"frame {CARD_HOLDS}: the card of camera {NAME} is full")]


def test_without_an_exposure_time_the_shutter_has_closed_when_the_file_is_there(stand: Stand) -> None:
    camera = stand.camera(exposure_s=None)
    camera.begin(SETTINGS)
    before_s = time.monotonic()
    exposure = camera.expose()
    # The virtual camera announces its file 100 ms after the release.
    assert 0.09 < exposure.closed_s - exposure.opened_s < 0.5
    assert exposure.opened_s >= before_s
    frame = camera.collect(exposure)
    assert frame is not None and frame.exposure.exposure_s is None


def test_a_known_exposure_time_lets_the_rail_go_on_sooner(stand: Stand) -> None:
    camera = stand.camera(exposure_s=0.01, release_lag_s=0.02)
    camera.begin(SETTINGS)
    exposure = camera.expose()
    assert 0.03 <= exposure.closed_s - exposure.opened_s < 0.09
    assert camera.collect(exposure) is not None


def test_settings_are_set_and_read_back(stand: Stand) -> None:
    settings = {"shutterspeed": "0.0200s", "f-number": "f/8", "exposurecompensation": -1, "fastfs": False}
    camera = stand.camera(settings=settings)
    camera.begin(SETTINGS)
    assert camera._tether is not None
    body = camera._tether._camera
    shown = {name: body.get_single_config(name).get_value() for name in settings}
    assert shown == {"shutterspeed": "0.0200s", "f-number": "f/8", "exposurecompensation": "-1", "fastfs": 0}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"shutterspeed": "7s"}, r"camera\.settings\.shutterspeed: '7s' is not among 1\.0000s, 0\.1000s"),
        ({"shutterspeed": "0.0201s"}, "did you mean '0.0200s'"),
        ({"shutter": "1.0000s"}, "has no such setting"),
        ({"imagesize": "1024x768"}, "shows '640x480' and does not let it be set to '1024x768'"),
        ({"fastfs": "yes"}, "write true or false"),
    ],
)
def test_a_setting_that_does_not_hold_is_refused_at_begin(
    stand: Stand, settings: dict[str, Any], says: str
) -> None:
    camera = stand.camera(settings=settings)
    with pytest.raises(CameraError, match=says):
        camera.begin(SETTINGS)
    # And the camera is free for others.
    Tether(stand.library).close()


def test_a_read_only_setting_that_is_right_already_will_do(stand: Stand) -> None:
    stand.camera(settings={"imagesize": "640x480"}).begin(SETTINGS)


def test_the_camera_is_chosen_by_model_and_port(stand: Stand) -> None:
    stand.camera(model="Nikon DSC D750", port="usb:001,001").begin(SETTINGS)
    stand.made[-1].end()
    with pytest.raises(CameraError, match=f"0 of the cameras .*Canon EOS 5D.* there are {NAME}"):
        stand.camera(model="Canon EOS 5D").begin(SETTINGS)
    with pytest.raises(CameraError, match="usb:009,009"):
        stand.camera(port="usb:009,009").begin(SETTINGS)


def test_frames_of_another_kind_are_not_waited_for_beyond_the_deadline(stand: Stand) -> None:
    camera = stand.camera(files="raw", frame_timeout_s=1.2)
    camera.begin(SETTINGS)
    exposure = camera.expose()
    before_s = time.monotonic()
    with pytest.raises(FrameLost, match=r"announced no raw file within 1\.2 s"):
        camera.collect(exposure)
    assert 1.1 < time.monotonic() - before_s < 2.0


class Mute:
    """The genuine library with a camera that releases and never says that there is a file."""

    def __init__(self, library: Any, exposures: set[int]) -> None:
        self._library = library
        self._at = exposures
        self.released = 0
        self.open = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def Camera(self) -> Any:
        camera, outer = self._library.Camera(), self

        def trigger_capture() -> None:
            outer.released += 1
            if outer.released - 1 not in outer._at:
                camera.trigger_capture()

        def end() -> None:
            outer.open -= 1
            camera.exit()

        def begin() -> None:
            camera.init()
            outer.open += 1

        names = (
            "set_abilities", "set_port_info", "wait_for_event", "file_get", "file_get_info", "file_delete",
            "get_single_config", "set_single_config",
        )  # fmt: skip
        genuine = {name: getattr(camera, name) for name in names}
        return SimpleNamespace(**genuine, trigger_capture=trigger_capture, exit=end, init=begin)


def test_a_missing_frame_is_lost_within_its_deadline_and_the_next_one_comes(stand: Stand) -> None:
    library = Mute(stand.library, {1})
    camera = stand.camera(library, frame_timeout_s=1.1)
    camera.begin(SETTINGS)
    assert camera.collect(camera.expose()) is not None
    exposure = camera.expose()
    before_s = time.monotonic()
    with pytest.raises(FrameLost, match="frame 1: camera Nikon DSC D750 at usb:001,001 announced no jpeg"):
        camera.collect(exposure)
    assert 1.0 < time.monotonic() - before_s < 1.6
    shown = stand.card.show_grey(77)
    frame = camera.collect(camera.expose())
    assert frame is not None and frame.encoded == shown
    camera.end()
    assert library.open == 0


def test_a_missing_frame_is_lost_in_the_exposure_where_that_waits_for_it(stand: Stand) -> None:
    camera = stand.camera(Mute(stand.library, {0}), exposure_s=None, frame_timeout_s=1.0)
    camera.begin(SETTINGS)
    before_s = time.monotonic()
    with pytest.raises((FrameLost, ExposureTimeout)):
        camera.expose()
    assert 0.9 < time.monotonic() - before_s < 1.5
    assert camera.expose().index == 0


def test_the_emergency_stop_wakes_a_wait_for_a_frame(stand: Stand) -> None:
    camera = stand.camera(Mute(stand.library, {0}), frame_timeout_s=30.0)
    camera.begin(SETTINGS)
    exposure = camera.expose()
    timer = threading.Timer(0.3, stand.stop.set)
    timer.start()
    before_s = time.monotonic()
    with pytest.raises(Stopped):
        camera.collect(exposure)
    assert time.monotonic() - before_s < 0.6
    timer.join()
    with pytest.raises(Stopped):
        camera.expose()


def test_a_frame_that_cannot_be_read_is_lost_and_the_next_one_comes(stand: Stand) -> None:
    camera = stand.camera(exposure_s=None)
    camera.begin(SETTINGS)
    exposure = camera.expose()
    stand.card.take_away()
    with pytest.raises(FrameLost, match=r"frame 0: camera .* does not hand over 'GPH_0099\.JPG'"):
        camera.collect(exposure)
    shown = stand.card.show_grey(99)
    frame = camera.collect(camera.expose())
    assert frame is not None and frame.encoded == shown


def test_a_camera_with_nothing_to_photograph_is_named(stand: Stand) -> None:
    stand.card.take_away()
    camera = stand.camera()
    camera.begin(SETTINGS)
    with pytest.raises(CameraError, match=f"camera {NAME} does not release") as caught:
        camera.expose()
    assert not isinstance(caught.value, FrameLost)
    assert caught.value.values["camera"] == NAME


def test_frames_are_deleted_from_the_card_where_asked(stand: Stand) -> None:
    library = stand.library
    for delete in (False, True):
        camera = stand.camera(delete_after_download=delete)
        camera.begin(SETTINGS)
        frame = camera.collect(camera.expose())
        assert frame is not None
        tether = camera._tether
        assert tether is not None
        folder = "/store_00010001/DCIM/100GPHOT"
        listed = tether._camera.folder_list_files(folder)
        names = [listed.get_name(i) for i in range(len(listed))]
        assert (frame.name in names) is not delete
        camera.end()
    assert library.GP_OK == 0


def test_no_object_of_the_library_outlives_the_session(stand: Stand) -> None:
    def alive() -> int:
        gc.collect()
        return sum(type(thing).__module__.startswith("gphoto2.") for thing in gc.get_objects())

    camera = stand.camera()
    before = alive()
    camera.begin(SETTINGS)
    assert camera.collect(camera.expose()) is not None
    camera.close()
    camera.close()
    assert alive() <= before
