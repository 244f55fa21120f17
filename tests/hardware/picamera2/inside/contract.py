"""The contract of every camera, asked of the driver on the genuine picamera2; run by `test_contract`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from focusd.rig import Frame

from ....contract.camera_checks import ask
from ....contract.camera_subject import Opening, Subject, places
from ....contract.test_camera import *  # noqa: F403
from ....contract.test_camera_trouble import *  # noqa: F403
from .examine import hang
from .studio import Studio, open_studio


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    ask(metafunc, {"picamera2": frozenset({"truth", "real_time", "frames", "hung"})})


class VirtualTruth:
    """What is truly the case with the virtual camera; its places are um."""

    late_s = 0.0
    # Two moves are 20 um apart; the carriage may still tremble.
    within = 5.0
    within_s = 1e-5

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._places = places()

    @property
    def place(self) -> float:
        return self._studio.sim.bench.position_um() - self._studio.sim.centre_um

    @property
    def openings(self) -> int:
        return 0  # frames run all the time

    @property
    def is_released(self) -> bool:
        return True  # it has no lines

    @property
    def is_at_rest(self) -> bool:
        return not self._studio.camera.started and not self._studio.camera.allocator.held

    def move(self) -> None:
        self._studio.sim.rig.rail.move_to(next(self._places))

    def shown(self, frame: Frame) -> float:
        return self._studio.truth_of(frame).focus_um

    def opening(self, frame: Frame | None) -> Opening:
        assert frame is not None
        truth = self._studio.truth_of(frame)
        return Opening(truth.t_open_s, truth.t_close_s, truth.focus_um)

    def trouble(self, kind: str) -> AbstractContextManager[None]:
        assert kind == "hung"
        return hang()


@pytest.fixture
def camera() -> Iterator[Subject]:
    studio = open_studio()
    config, stop = studio.config, studio.signals.stop
    truth, rail = VirtualTruth(studio), studio.sim.rig.rail
    subject = Subject(studio.driver, config, studio.clock, stop, truth, slack_s=2.0, give_back=rail.close)
    yield subject
    subject.close()
    assert truth.is_at_rest
