"""Which rails and cameras the contracts are asked of; ``--rig FILE`` adds those of a configuration file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from focusd.config import Config, load_config
from focusd.drivers import native
from focusd.drivers.pins import Factory, open_pins
from focusd_sim.catalogue import scene_named
from focusd_sim.scene import Scene

from . import cameras
from .camera_checks import ask
from .camera_subject import Subject as CameraSubject
from .rigs import SIMULATED, Subject, real, simulated


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rig",
        type=Path,
        metavar="FILE",
        help="ask the contracts of this configuration's rail and camera as well, on this machine: IT MOVES "
        "AND EXPOSES (the heads of tests/contract/test_rail.py and test_camera.py say how far and how often)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    file = metafunc.config.getoption("--rig")
    if "rig" in metafunc.fixturenames:
        metafunc.parametrize("rig", [*SIMULATED, *(["real"] if file else [])], indirect=True)
    abilities = {name: recipe.abilities for name, recipe in cameras.SIMULATED.items()}
    if file:
        abilities["real"] = cameras.abilities_of(load_config(file.absolute()).camera) | {"real_time"}
    ask(metafunc, abilities)


@pytest.fixture(scope="session")
def scene() -> Scene:
    return scene_named("slope", seed=1)


@pytest.fixture(scope="session")
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Config, Factory]]:
    """The file's configuration and this machine's pins, opened once."""
    config = load_config(request.config.getoption("--rig").absolute())
    # lgpio makes a pipe in the working directory.
    with contextlib.chdir(tmp_path_factory.mktemp("lgpio")):
        factory = open_pins(config.gpio)
        yield config, factory
        factory.close()


@pytest.fixture
def rig(request: pytest.FixtureRequest, tmp_path: Path, scene: Scene) -> Iterator[Subject]:
    """One rail after the other; whatever a test did to it, no step may have been lost."""
    name: str = request.param
    if name == "native" and not native.LIBRARY.is_file():
        pytest.skip("built without a compiler, so there is no C loop")
    if name == "real":
        subject = real(*request.getfixturevalue("machine"))
    else:
        subject = simulated(name, str(tmp_path), scene)
    try:
        yield subject
    finally:
        subject.close()
    if subject.truth is not None:
        assert not any(subject.truth.faults.values()), subject.truth.faults
        assert subject.truth.is_off


@pytest.fixture
def camera(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CameraSubject]:
    """One camera after the other; whatever a test did to it, it must be at rest when it was closed."""
    name: str = request.param
    if name == "real":
        subject = cameras.real(*request.getfixturevalue("machine"))
    else:
        if "raw" in name or "dng" in name:
            pytest.importorskip("rawpy")
        subject = cameras.simulated(name, str(tmp_path))
    try:
        yield subject
    finally:
        subject.close()
    if subject.truth is not None:
        assert subject.truth.is_at_rest
