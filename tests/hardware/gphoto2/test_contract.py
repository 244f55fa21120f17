"""The contract of every camera, asked of the genuine libgphoto2 and its virtual camera, in real time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from focusd.camera_config import Gphoto2Config
from focusd.clock import SystemClock
from focusd.drivers.gphoto2 import Gphoto2
from focusd.rig import Frame

from ...contract.camera_checks import ask
from ...contract.camera_subject import Opening, Subject, grey_of, places
from ...contract.cameras import abilities_of
from ...contract.test_camera import *  # noqa: F403
from ...contract.test_camera_trouble import *  # noqa: F403
from .conftest import Card, Stand

EXPOSURE_S = 0.1
# A file says that the exposure is over; until then an unknown one may last as long as it likes.
CONFIGS = {
    name: Gphoto2Config(exposure_s=exposure_s, release_lag_s=0.05, post_shot_s=0.02, frame_timeout_s=1.2)
    for name, exposure_s in (("known exposure", EXPOSURE_S), ("waits for the file", None))
}
TROUBLES = {"hung", "lost", "late"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    abilities = {
        name: abilities_of(config) | TROUBLES | {"truth", "real_time"} for name, config in CONFIGS.items()
    }
    ask(metafunc, abilities)


class Body:
    """The genuine library, whose camera photographs a grey and can be told what to do wrong.

    The virtual camera writes a file at once, and has one picture, which it hands over for every file. So it
    is released only when an exposure would be over; and that each file shows what lay before the lens when
    it was exposed, that is put back before it is fetched.
    """

    def __init__(self, library: Any, card: Card, clock: SystemClock) -> None:
        self._library, self._card, self._clock = library, card, clock
        self._written: deque[Opening] = deque()
        self._coming: list[tuple[float, Opening]] = []
        self._by_name: dict[str, Opening] = {}
        self._last: Opening | None = None
        self.grey = 128
        self.trouble: str | None = None
        self.openings = 0
        self.sessions = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def Camera(self) -> Any:
        camera = self._library.Camera()
        names = (
            "set_abilities", "set_port_info", "file_get_info", "file_delete", "get_single_config",
            "set_single_config",
        )  # fmt: skip
        genuine = {name: getattr(camera, name) for name in names}

        def begin() -> None:
            camera.init()
            self._written.clear()  # what was written in an earlier session is not announced in this one
            self.sessions += 1

        def end() -> None:
            self.sessions -= 1
            camera.exit()

        def trigger_capture() -> None:
            now_s = self._clock.now_s()
            if self.trouble == "hung" or (self._last is not None and now_s < self._last.closed_s):
                raise self._library.GPhoto2Error(self._library.GP_ERROR_CAMERA_BUSY)
            opening = self._last = Opening(now_s, now_s + EXPOSURE_S, self.grey)
            self.openings += 1
            if self.trouble != "lost":
                late_s = VirtualTruth.late_s if self.trouble == "late" else 0.0
                self._coming.append((opening.closed_s + late_s, opening))

        def wait_for_event(timeout_ms: int) -> Any:
            for due_s, opening in list(self._coming):
                if due_s <= self._clock.now_s():
                    self._coming.remove((due_s, opening))
                    camera.trigger_capture()
                    self._written.append(opening)
            kind, data = camera.wait_for_event(timeout_ms)
            if kind == self._library.GP_EVENT_FILE_ADDED:
                self._by_name[str(data.name)] = self._written.popleft()
            return kind, data

        def file_get(folder: str, name: str, kind: int) -> Any:
            self._card.show_grey(int(self._by_name[name].place))
            return camera.file_get(folder, name, kind)

        return SimpleNamespace(
            **genuine,
            init=begin,
            exit=end,
            trigger_capture=trigger_capture,
            wait_for_event=wait_for_event,
            file_get=file_get,
        )

    def opening(self, frame: Frame | None) -> Opening:
        """Return the exposure of a frame; the last one for none."""
        opening = self._last if frame is None else self._by_name[frame.name]
        assert opening is not None
        return opening


class VirtualTruth:
    """What is truly the case with the virtual camera; its places are levels of grey."""

    late_s = 1.8
    within = 2.0
    within_s = 1e-3

    def __init__(self, body: Body) -> None:
        self._body = body
        self._places = places()

    @property
    def place(self) -> float:
        return self._body.grey

    @property
    def openings(self) -> int:
        return self._body.openings

    @property
    def is_released(self) -> bool:
        return True  # it has no lines

    @property
    def is_at_rest(self) -> bool:
        return self._body.sessions == 0

    def move(self) -> None:
        self._body.grey = 128 + int(next(self._places))

    def shown(self, frame: Frame) -> float:
        return grey_of(frame)

    def opening(self, frame: Frame | None) -> Opening:
        return self._body.opening(frame)

    @contextmanager
    def trouble(self, kind: str) -> Iterator[None]:
        self._body.trouble = kind
        try:
            yield
        finally:
            self._body.trouble = None


@pytest.fixture
def camera(request: pytest.FixtureRequest, stand: Stand) -> Iterator[Subject]:
    clock = SystemClock()
    body = Body(stand.library, stand.card, clock)
    config = CONFIGS[request.param]
    device = Gphoto2(config, body, clock, stand.stop)
    subject = Subject(device, config, clock, stand.stop, VirtualTruth(body), slack_s=1.0)
    yield subject
    subject.close()
    assert body.sessions == 0
