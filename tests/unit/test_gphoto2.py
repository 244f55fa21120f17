"""The gphoto2 camera in virtual time, on a stand-in for python-gphoto2 that can be unplugged and filled."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from focusd.camera_config import Gphoto2Config
from focusd.camera_spec import frame_form, stop_s
from focusd.clock import BeatingClock
from focusd.drivers.gphoto2 import Gphoto2
from focusd.drivers.inbox import MAX_FRAME_BYTES
from focusd.errors import CameraError, ExposureTimeout, FrameLost, Stopped
from focusd.halt import Halt
from focusd.job import JobSettings
from focusd.needs import FrameForm
from focusd_sim.clock import VirtualClock

FILE_ADDED, TIMEOUT, UNKNOWN, COMPLETE = 2, 1, 0, 3
RADIO, RANGE, TOGGLE, TEXT, MENU = 5, 3, 4, 2, 6
LATE_S = 0.5
"""From the release to the announcement of the file, in the stand-in's rig time."""


class Refusal(Exception):
    """What python-gphoto2 raises."""

    def __init__(self, code: int) -> None:
        super().__init__(f"[{code}]")
        self.code = code
        self.string = {-7: "I/O problem", -53: "Could not claim the USB device"}.get(
            code, "Unspecified error"
        )


@dataclass
class Widget:
    """A setting; `shows` bends what it is set to, as some cameras do."""

    kind: int
    value: Any
    choices: tuple[str, ...] = ()
    readonly: bool = False
    shows: Callable[[Any], Any] = str

    def get_type(self) -> int:
        return self.kind

    def get_value(self) -> Any:
        return self.value

    def set_value(self, value: Any) -> None:
        self.value = self.shows(value) if isinstance(value, str) else value

    def get_readonly(self) -> int:
        return int(self.readonly)

    def get_range(self) -> tuple[float, float, float]:
        return 0.0, 10.0, 0.5

    def count_choices(self) -> int:
        return len(self.choices)

    def get_choice(self, index: int) -> str:
        return self.choices[index]


def numbered(shot: int) -> list[str]:
    return [f"IMG_{shot:04d}.JPG"]


@dataclass
class Body:
    """What lies at the other end of the cable."""

    clock: VirtualClock
    cameras: list[tuple[str, str]] = field(default_factory=lambda: [("Canon EOS 6D", "usb:001,004")])
    operations: int = 33
    names: Callable[[int], list[str]] = field(default=numbered)
    settings: dict[str, Widget] = field(default_factory=dict)
    events: list[tuple[float, int, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    room: int = 10**6
    busy: int = 0
    silent: set[int] = field(default_factory=set)
    fails: dict[str, int] = field(default_factory=dict)
    size_told: int | None = None
    shots: int = 0
    opened: int = 0
    open: int = 0

    def ask(self, what: str) -> None:
        """Fail as scripted."""
        code = self.fails.get(what) or self.fails.get("everything")
        if code:
            raise Refusal(code)

    def release(self) -> None:
        self.ask("trigger")
        if self.busy:
            self.busy -= 1
            raise Refusal(-110)
        shot, now_s = self.shots, self.clock.now_s()
        self.shots += 1
        if self.room == 0:
            self.events.append((now_s + 0.1, UNKNOWN, "PTP Event 400a, Param1 0000001f"))
            return
        self.room -= 1
        self.events.append((now_s, UNKNOWN, "PTP Property 5001 changed"))
        if shot in self.silent:
            return
        for name in self.names(shot):
            self.files[name] = f"{name} of shot {shot}".encode()
            path = SimpleNamespace(folder="/store/DCIM", name=name)
            self.events.append((now_s + LATE_S, FILE_ADDED, path))
        self.events.append((now_s + LATE_S, COMPLETE, None))

    def report(self) -> tuple[int, Any]:
        self.ask("wait")
        self.events.sort(key=lambda event: event[0])
        if self.events and self.events[0][0] <= self.clock.now_s():
            _, kind, data = self.events.pop(0)
            return kind, data
        return TIMEOUT, None


class Names:
    """A list of the library's."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def get_name(self, index: int) -> str:
        return self._pairs[index][0]

    def get_value(self, index: int) -> str:
        return self._pairs[index][1]


class Answer:
    """A structure of the library's: its part is of no use once the whole is gone."""

    def __init__(self, **values: int) -> None:
        self.values = values

    @property
    def file(self) -> Any:
        return Part(weakref.ref(self))


@dataclass
class Part:
    """What SWIG gives for a structure within another."""

    whole: weakref.ref[Answer]

    def __getattr__(self, name: str) -> int:
        whole = self.whole()
        assert whole is not None, "used after it was freed"
        return whole.values[name]


class Session:
    """One `gphoto2.Camera`; dead once it was closed."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._alive = False

    def set_abilities(self, abilities: Any) -> None:
        assert abilities.model in dict(self._body.cameras)

    def set_port_info(self, port: str) -> None:
        assert port in [at for _, at in self._body.cameras]

    def init(self) -> None:
        self._body.ask("init")
        self._alive = True
        self._body.opened += 1
        self._body.open += 1

    def exit(self) -> None:
        assert self._alive, "closed twice"
        self._alive = False
        self._body.open -= 1
        self._body.ask("exit")

    def trigger_capture(self) -> None:
        self._live().release()

    def wait_for_event(self, timeout_ms: int) -> tuple[int, Any]:
        assert 0 < timeout_ms <= 50, "the emergency stop is not heard in there"
        return self._live().report()

    def file_get_info(self, folder: str, name: str) -> Any:
        told = self._live().size_told
        return Answer(fields=0 if told is None else 2, size=told or 0)

    def file_get(self, folder: str, name: str, kind: int) -> Any:
        assert (folder, kind) == ("/store/DCIM", 1)
        body = self._live()
        body.ask("get")
        return SimpleNamespace(get_data_and_size=lambda: body.files[name])

    def file_delete(self, folder: str, name: str) -> None:
        self._live().ask("delete")
        self._body.deleted.append(name)

    def get_single_config(self, name: str) -> Widget:
        if name not in self._live().settings:
            raise Refusal(-2)
        return self._body.settings[name]

    def set_single_config(self, name: str, widget: Widget) -> None:
        assert self._live().settings[name] is widget

    def _live(self) -> Body:
        assert self._alive, "used after it was closed"
        return self._body


class Library:
    """python-gphoto2, as far as focusd uses it."""

    GPhoto2Error = Refusal
    GP_ERROR_CAMERA_BUSY, GP_ERROR_BAD_PARAMETERS = -110, -2
    GP_ERROR_IO_USB_CLAIM, GP_ERROR_IO_LOCK, GP_ERROR_NO_MEMORY, GP_ERROR_NO_SPACE = -53, -60, -3, -115
    GP_EVENT_TIMEOUT, GP_EVENT_FILE_ADDED, GP_EVENT_UNKNOWN = TIMEOUT, FILE_ADDED, UNKNOWN
    GP_OPERATION_TRIGGER_CAPTURE, GP_FILE_INFO_SIZE, GP_FILE_TYPE_NORMAL = 32, 2, 1
    GP_WIDGET_RADIO, GP_WIDGET_RANGE, GP_WIDGET_TOGGLE, GP_WIDGET_MENU = RADIO, RANGE, TOGGLE, MENU

    def __init__(self, body: Body) -> None:
        self.body = body

    def Camera(self) -> Session:
        return Session(self.body)

    def PortInfoList(self) -> Any:
        class Ports(list[str]):
            def load(self) -> None: ...

            def lookup_path(self, path: str) -> int:
                return self.index(path)

        return Ports(port for _, port in self.body.cameras)

    def CameraAbilitiesList(self) -> Any:
        body = self.body

        class Known(list[Any]):
            def load(self) -> None: ...

            def detect(self, ports: Any) -> Names:
                body.ask("detect")
                return Names(body.cameras)

            def lookup_model(self, model: str) -> int:
                return [known.model for known in self].index(model)

        return Known(SimpleNamespace(model=m, operations=body.operations) for m, _ in body.cameras)


class Stand:
    """A camera under test."""

    def __init__(self, **table: Any) -> None:
        self.rig_clock = VirtualClock()
        self.clock = BeatingClock(self.rig_clock)
        self.stop = Halt()
        self.body = Body(self.rig_clock)
        table = {"exposure_s": 0.2, "release_lag_s": 0.1, "post_shot_s": 0.05, **table}
        config = Gphoto2Config.model_validate(table)
        self.camera = Gphoto2(config, Library(self.body), self.clock, self.stop)

    def begin(self, settings: JobSettings | None = None) -> Gphoto2:
        self.camera.begin(settings or JobSettings())
        return self.camera

    def shoot(self) -> bytes:
        frame = self.camera.collect(self.camera.expose())
        assert frame is not None and frame.encoded is not None
        return frame.encoded


# Exposures.


def test_the_rail_may_move_when_the_shutter_has_closed_and_the_frame_comes_later() -> None:
    stand = Stand()
    camera = stand.begin()
    exposure = camera.expose()
    assert exposure.opened_s == pytest.approx(0.0)
    assert exposure.closed_s == pytest.approx(0.1 + 0.2 + 0.05)
    assert not camera.has_frame()
    frame = camera.collect(exposure)
    assert frame is not None and frame.encoded == b"IMG_0000.JPG of shot 0"
    assert LATE_S <= stand.clock.now_s() < LATE_S + 0.05
    assert camera.expose().index == 1


def test_without_an_exposure_time_the_file_says_that_the_shutter_has_closed() -> None:
    stand = Stand(exposure_s=None)
    exposure = stand.begin().expose()
    assert LATE_S + 0.05 <= exposure.closed_s < LATE_S + 0.1
    assert exposure.exposure_s is None


def test_the_requests_waits_go_before_the_configurations() -> None:
    stand = Stand(shutter_gap_s=0.1)
    camera = stand.begin(JobSettings(post_shot_s=1.0, shutter_gap_s=2.0))
    assert camera.expose().closed_s == pytest.approx(1.3, abs=0.3)
    closed_s = stand.clock.now_s()
    assert camera.expose().opened_s == pytest.approx(closed_s + 2.0)


def test_a_busy_camera_is_asked_again_but_not_for_ever() -> None:
    stand = Stand(frame_timeout_s=5.0)
    camera = stand.begin()
    stand.body.busy = 10
    assert camera.expose().closed_s > 0.35
    stand.body.busy = 10**6
    began_s = stand.clock.now_s()
    with pytest.raises(ExposureTimeout, match="Canon EOS 6D at usb:001,004 was busy for 5 s"):
        camera.expose()
    assert stand.clock.now_s() - began_s == pytest.approx(5.0, abs=0.5)


def test_a_missing_frame_is_lost_at_its_deadline_and_cannot_pass_for_the_next() -> None:
    stand = Stand(frame_timeout_s=4.0)
    camera = stand.begin()
    stand.body.silent = {0}
    exposure = camera.expose()
    began_s = stand.clock.now_s()
    with pytest.raises(FrameLost, match=r"frame 0: .* announced no jpeg file within 4 s"):
        camera.collect(exposure)
    assert stand.clock.now_s() - began_s == pytest.approx(4.0, abs=0.1)
    # It comes at last, before the next exposure.
    late = SimpleNamespace(folder="/store/DCIM", name="LATE.JPG")
    stand.body.events.append((0.0, FILE_ADDED, late))
    assert stand.shoot() == b"IMG_0001.JPG of shot 1"
    assert stand.body.opened == 2


@pytest.mark.parametrize("late_s", [0.5, 3.5])
def test_a_frame_that_is_later_than_its_deadline_cannot_pass_for_the_next(late_s: float) -> None:
    stand = Stand(frame_timeout_s=4.0)
    camera = stand.begin()
    stand.body.silent = {0}
    exposure = camera.expose()
    with pytest.raises(FrameLost):
        camera.collect(exposure)
    late = SimpleNamespace(folder="/store/DCIM", name="LATE.JPG")
    stand.body.events.append((stand.clock.now_s() + late_s, FILE_ADDED, late))
    assert stand.shoot() == b"IMG_0001.JPG of shot 1"


def test_a_file_that_comes_after_its_exposure_was_given_up_is_not_taken_for_the_next() -> None:
    """The cable is out while the camera writes; what it announces afterwards is of that exposure."""
    stand = Stand(frame_timeout_s=4.0)
    camera = stand.begin()
    exposure = camera.expose()
    stand.body.fails = {"wait": -7}
    with pytest.raises(FrameLost):
        camera.collect(exposure)
    stand.body.fails = {}
    stand.body.events = [(stand.clock.now_s() + 0.1, *event[1:]) for event in stand.body.events]
    assert stand.shoot() == b"IMG_0001.JPG of shot 1"


def test_the_next_exposure_waits_for_a_file_that_is_owed_no_longer_than_its_deadline() -> None:
    stand = Stand(frame_timeout_s=4.0)
    camera = stand.begin()
    stand.body.silent = {0}
    exposure = camera.expose()
    stand.body.fails = {"wait": -7}
    with pytest.raises(FrameLost):
        camera.collect(exposure)
    stand.body.fails = {}
    assert camera.expose().opened_s == pytest.approx(4.2, abs=0.05)


def test_a_doubled_frame_is_taken_once() -> None:
    stand = Stand()
    stand.body.names = lambda shot: [f"IMG_{shot}.JPG", f"AGAIN_{shot}.JPG"]
    stand.begin()
    assert [stand.shoot() for _ in range(3)] == [f"IMG_{i}.JPG of shot {i}".encode() for i in range(3)]


@pytest.mark.parametrize(("files", "wanted"), [("raw", b"A.NEF of shot 0"), ("jpeg", b"A.jpg of shot 0")])
def test_of_raw_and_jpeg_the_one_that_is_asked_for_is_fetched(files: str, wanted: bytes) -> None:
    stand = Stand(files=files)
    stand.body.names = lambda shot: ["A.NEF", "A.xmp", "A.jpg"]
    stand.begin()
    assert stand.shoot() == wanted


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/cron.d/x.jpg", "_.._etc_cron.d_x.jpg"),
        ("DSC 1\n\x1b[31m.JPG", "DSC_1___31m.JPG"),
        ("/" + "a" * 300 + ".jpg", "a" * 60 + ".jpg"),
    ],
)
def test_the_cameras_names_are_data(name: str, shown: str) -> None:
    stand = Stand()
    stand.body.names = lambda shot: [name]
    stand.begin()
    frame = stand.camera.collect(stand.camera.expose())
    assert frame is not None and frame.name == shown


@pytest.mark.parametrize("told", [MAX_FRAME_BYTES + 1, 0])
def test_what_is_no_photograph_by_its_size_is_not_fetched(told: int) -> None:
    stand = Stand()
    stand.body.size_told = told
    stand.begin()
    stand.body.fails = {"get": -7}
    with pytest.raises(FrameLost, match=f"has {told} bytes: not taken for a photograph"):
        stand.shoot()


def test_the_emergency_stop_wakes_every_wait() -> None:
    for silent, busy in ((True, 0), (False, 10**6)):
        stand = Stand()
        camera = stand.begin()
        stand.body.silent, stand.body.busy = {0} if silent else set(), busy
        stand.rig_clock.call_at(3.0, stand.stop.set)
        with pytest.raises(Stopped):
            camera.collect(camera.expose())
        assert stand.clock.now_s() == pytest.approx(3.0, abs=0.05)
        camera.end()
        assert stand.body.open == 0


def test_a_camera_that_never_stops_talking_outlasts_neither_the_deadline_nor_the_stop() -> None:
    stand = Stand(frame_timeout_s=2.0)
    camera = stand.begin()

    def chatter() -> tuple[int, Any]:
        stand.rig_clock.sleep(0.005)
        return COMPLETE, None

    stand.body.report = chatter  # type: ignore[method-assign]  # the stand-in's own
    exposure = camera.expose()
    began_s = stand.clock.now_s()
    with pytest.raises(FrameLost):
        camera.collect(exposure)
    assert stand.clock.now_s() - began_s == pytest.approx(2.0, abs=0.02)
    exposure = camera.expose()
    stand.rig_clock.call_at(stand.clock.now_s() + 0.5, stand.stop.set)
    began_s = stand.clock.now_s()
    with pytest.raises(Stopped):
        camera.collect(exposure)
    assert stand.clock.now_s() - began_s == pytest.approx(0.5, abs=0.02)


def test_every_wait_gives_signs_of_life() -> None:
    stand = Stand(frame_timeout_s=30.0)
    camera = stand.begin()
    stand.body.silent = {0}
    exposure = camera.expose()
    beats: list[float] = []
    stand.clock.beat = lambda: beats.append(stand.clock.now_s())
    with pytest.raises(FrameLost):
        camera.collect(exposure)
    assert max(b - a for a, b in pairwise(beats)) <= 1.0
    assert beats[-1] - beats[0] > 29


# The card.


def test_a_card_that_is_full_until_a_new_session_costs_no_frame() -> None:
    stand = Stand(release_lag_s=0.3)
    stand.begin()
    stand.body.room = 1
    assert stand.shoot() == b"IMG_0000.JPG of shot 0"
    body, renew = stand.body, stand.body.ask

    def ask(what: str) -> None:
        body.room = 10 if what == "init" else body.room
        renew(what)

    body.ask = ask  # type: ignore[method-assign]  # the stand-in's own
    assert stand.shoot() == b"IMG_0002.JPG of shot 2"
    assert body.opened == 2


def test_a_card_that_stays_full_is_named() -> None:
    stand = Stand(release_lag_s=0.3)
    camera = stand.begin()
    stand.body.room = 0
    with pytest.raises(CameraError, match="the card of camera Canon EOS 6D at usb:001,004 is full") as caught:
        camera.expose()
    assert not isinstance(caught.value, FrameLost | ExposureTimeout)
    assert (stand.body.shots, stand.body.opened) == (2, 2)
    stand.body.fails = {"trigger": -3}
    with pytest.raises(CameraError, match=r"does not release: .*\(-3\); its card is full"):
        camera.expose()


@pytest.mark.parametrize("delete", [True, False])
def test_files_stay_on_the_card_unless_asked(delete: bool) -> None:
    stand = Stand(delete_after_download=delete)
    stand.begin()
    stand.shoot()
    assert stand.body.deleted == (["IMG_0000.JPG"] if delete else [])


def test_a_file_that_cannot_be_deleted_costs_no_frame() -> None:
    stand = Stand(delete_after_download=True)
    stand.begin()
    stand.body.fails = {"delete": -7}
    assert [stand.shoot(), stand.shoot()] == [b"IMG_0000.JPG of shot 0", b"IMG_0001.JPG of shot 1"]


# The cable.


def test_a_cable_pulled_and_put_back_costs_one_frame() -> None:
    stand = Stand()
    camera = stand.begin()
    stand.shoot()
    exposure = camera.expose()
    stand.body.fails = {"everything": -7}
    with pytest.raises(FrameLost, match=r"frame 1: camera Canon EOS 6D at usb:001,004 .*I/O problem \(-7\)"):
        camera.collect(exposure)
    stand.body.fails = {}
    assert stand.shoot() == b"IMG_0002.JPG of shot 2"
    assert stand.body.open == 1


def test_a_cable_that_stays_out_ends_the_stack_and_the_next_begin_is_well_again() -> None:
    stand = Stand()
    camera = stand.begin()
    there, stand.body.cameras = stand.body.cameras, []
    stand.body.fails = {"trigger": -7}
    with pytest.raises(CameraError, match="camera Canon EOS 6D at usb:001,004 has gone: no camera") as caught:
        camera.expose()
    assert caught.value.values["camera"] == "Canon EOS 6D at usb:001,004"
    assert not isinstance(caught.value, FrameLost)
    camera.end()
    with pytest.raises(CameraError, match="no camera found on USB"):
        stand.begin()
    stand.body.cameras, stand.body.fails = there, {}
    stand.begin()
    assert stand.shoot() == b"IMG_0000.JPG of shot 0"


def test_a_cable_pulled_during_an_exposure_loses_that_frame() -> None:
    stand = Stand()
    camera = stand.begin()
    stand.rig_clock.call_at(0.2, lambda: stand.body.fails.update(everything=-7))
    with pytest.raises(
        FrameLost, match="frame 0: camera Canon EOS 6D at usb:001,004 reports nothing any more"
    ):
        camera.expose()
    stand.body.fails = {}
    assert stand.shoot() == b"IMG_0001.JPG of shot 1"


def test_another_program_that_holds_the_camera_is_named() -> None:
    stand = Stand()
    stand.body.fails = {"init": -53}
    with pytest.raises(CameraError, match=r"another program holds it: end gvfs-gphoto2-volume-monitor"):
        stand.begin()


def test_a_camera_that_cannot_be_released_over_usb_is_refused() -> None:
    stand = Stand()
    stand.body.operations = 1
    with pytest.raises(CameraError, match=r'cannot be released over USB .* kind = "dslr"'):
        stand.begin()
    assert stand.body.opened == 0


def test_of_several_cameras_one_must_be_chosen() -> None:
    several = [("Canon EOS 6D", "usb:001,004"), ("Canon EOS 6D", "usb:001,005"), ("Nikon Z6", "usb:001,006")]
    chosen = [({}, 3), ({"model": "Canon EOS 6D"}, 2), ({"model": "Nikon Z5"}, 0)]
    for table, number in chosen:
        stand = Stand(**table)
        stand.body.cameras = several
        with pytest.raises(CameraError, match=f"{number} of the cameras on USB .*Nikon Z6 at usb:001,006"):
            stand.begin()
    for table in ({"model": "Nikon Z6"}, {"port": "usb:001,005"}):
        stand = Stand(**table)
        stand.body.cameras = several
        stand.begin()
        assert stand.body.open == 1


def test_the_session_is_closed_once_and_the_camera_free_between_stacks() -> None:
    stand = Stand()
    stand.begin()
    stand.shoot()
    stand.begin()
    assert (stand.body.opened, stand.body.open) == (2, 1)
    stand.camera.end()
    stand.camera.end()
    stand.camera.close()
    assert stand.body.open == 0


# Settings.


def widgets() -> dict[str, Widget]:
    return {
        "iso": Widget(RADIO, "Auto", ("Auto", "100", "200")),
        "aperture": Widget(MENU, "5.6", ("5.6", "8")),
        "flash": Widget(TOGGLE, 1),
        "zoom": Widget(RANGE, 2.0),
        "owner": Widget(TEXT, ""),
    }


def test_settings_hold_before_the_first_exposure_and_in_every_new_session() -> None:
    wanted = {"iso": 100, "aperture": "8", "flash": False, "zoom": 3.5, "owner": "me"}
    stand = Stand(settings=wanted)
    stand.body.settings = widgets()
    stand.begin()
    expected = {"iso": "100", "aperture": "8", "flash": 0, "zoom": 3.5, "owner": "me"}
    assert {name: widget.value for name, widget in stand.body.settings.items()} == expected
    # The camera is switched off and on, and has forgotten them.
    stand.body.settings = widgets()
    exposure = stand.camera.expose()
    stand.body.fails = {"get": -7}
    with pytest.raises(FrameLost):
        stand.camera.collect(exposure)
    stand.body.fails = {}
    stand.shoot()
    assert {name: widget.value for name, widget in stand.body.settings.items()} == expected


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"iso": "150"}, r"camera\.settings\.iso: '150' is not among Auto, 100, 200"),
        ({"iso": "Aut"}, "did you mean 'Auto'"),
        ({"isso": "100"}, "has no such setting"),
        ({"zoom": 11}, "write a number from 0 to 10"),
        ({"zoom": "wide"}, "write a number from 0 to 10"),
        ({"flash": "off"}, "write true or false"),
        ({"flash": 2}, "write true or false"),
    ],
)
def test_a_value_that_a_setting_does_not_take_is_refused(settings: dict[str, Any], says: str) -> None:
    stand = Stand(settings=settings)
    stand.body.settings = widgets()
    with pytest.raises(CameraError, match=says):
        stand.begin()
    assert stand.body.open == 0


def test_a_setting_that_does_not_hold_is_refused() -> None:
    stand = Stand(settings={"iso": "100"})
    stand.body.settings = {"iso": Widget(RADIO, "Auto", ("Auto", "100"), shows=lambda value: "Auto")}
    with pytest.raises(CameraError, match="shows 'Auto' after it was set to '100'"):
        stand.begin()
    stand.body.settings = {"iso": Widget(RADIO, "Auto", ("Auto", "100"), readonly=True)}
    with pytest.raises(CameraError, match="shows 'Auto' and does not let it be set to '100'"):
        stand.begin()
    stand.body.settings["iso"].value = "100"
    stand.begin()


# The configuration.


@pytest.mark.parametrize(
    "table",
    [
        {"port": "001,004"},
        {"model": ""},
        {"settings": {f"s{i}": 1 for i in range(33)}},
        {"settings": {"a/b": 1}},
        {"settings": {"iso": "1" * 101}},
        {"settings": {"iso": [1]}},
        {"files": "bmp"},
        {"exposure_s": 30.0, "frame_timeout_s": 31.0},
        {"frame_timeout_s": 0.5},
        {"aperture": 8},
    ],
)
def test_the_configuration_is_bounded(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Gphoto2Config.model_validate(table)


def test_toml_values_of_settings_keep_their_kind() -> None:
    settings = {"a": True, "b": 1, "c": 1.5, "d": "1"}
    kept = Gphoto2Config.model_validate({"settings": settings}).settings
    assert [(kept[name], type(kept[name])) for name in settings] == [
        (value, type(value)) for value in settings.values()
    ]


def test_the_time_of_a_stop_is_what_the_driver_takes() -> None:
    stand = Stand()
    camera = stand.begin()
    camera.expose()
    assert camera.stop_s(JobSettings()) == pytest.approx(stand.clock.now_s())
    three = JobSettings(shots_per_step=3, shutter_gap_s=0.5, post_shot_s=0.0)
    assert camera.stop_s(three) == pytest.approx(3 * (0.1 + 0.2) + 2 * 0.5)
    assert stop_s(Gphoto2Config(), JobSettings()) == pytest.approx(0.3 + 0.1)


def test_the_form_of_frames() -> None:
    size = {"width": 640, "height": 480}
    assert frame_form(Gphoto2Config()) is None
    assert frame_form(Gphoto2Config.model_validate({"frame_size": size})) == FrameForm(
        480, 640, "4:2:0", 8, encoded=True
    )
