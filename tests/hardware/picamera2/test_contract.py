"""The contract of every camera, kept on the genuine picamera2: one run, and a test here for each of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ...contract import test_camera, test_camera_trouble
from .conftest import run_inside

_LONGEST_S = 500.0
_TREE = Path(__file__).parents[3]
# That Python has no pytest; this one's is lent to it, all of it Python.
_LENT = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")
_TESTS = sorted(
    name
    for module in (test_camera, test_camera_trouble)
    for name, value in vars(module).items()
    if name.startswith("test_") and callable(value)
)
# What needs more than its driver has: it exposes all the time, and loses frames at no one's bidding.
_NOT_ASKED = {
    "test_a_stop_ends_the_wait_for_a_frame",
    "test_nothing_is_exposed_but_when_it_is_asked_for",
    "test_the_exposures_of_a_stop_take_no_longer_than_estimated",
}

pytestmark = pytest.mark.timeout(_LONGEST_S + 60)

Outcomes = dict[str, list[str]]


@pytest.fixture(scope="module")
def outcomes(virtual_camera: None, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of every test, by its name: an empty text, or what failed."""
    folder = tmp_path_factory.mktemp("contract")
    lent = folder / "lent"
    lent.mkdir()
    for name in _LENT:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None, name
        place = Path(spec.origin)
        place = place.parent if place.name == "__init__.py" else place
        (lent / place.name).symlink_to(place)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = timeout: kept out there\n")
    file = Path(__file__).parent / "inside" / "contract.py"
    arguments = ["-q", "-p", "no:cacheprovider", "-c", "pytest.ini", f"--confcutdir={file.parent}"]
    done = run_inside(
        ["pytest", *arguments, "--junitxml=found.xml", str(file)], folder, _LONGEST_S, (_TREE, lent)
    )
    report = folder / "found.xml"
    assert report.exists(), done.stdout[-4000:] + done.stderr[-4000:]
    found: Outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # just written
        name = case.get("name", "").partition("[")[0]
        found.setdefault(name, []).append(
            "".join(part.text or "" for part in case if part.tag != "system-out")
        )
    return found


@pytest.mark.parametrize("test", [name for name in _TESTS if name not in _NOT_ASKED])
def test_picamera2_keeps(outcomes: Outcomes, test: str) -> None:
    assert outcomes[test]
    assert not any(outcomes[test]), "\n".join(outcomes[test])
