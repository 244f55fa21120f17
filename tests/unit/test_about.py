"""What `focusd --version --verbose` says of this installation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from focusd import __version__, about
from focusd.drivers import native
from focusd.fusion import compiled
from focusd.pictures import turbojpeg


@pytest.fixture
def afresh(monkeypatch):
    """The choice of the path is made again, in the test and after it."""
    monkeypatch.delenv("FOCUSD_KERNEL", raising=False)
    compiled.library.cache_clear()
    yield monkeypatch
    compiled.library.cache_clear()


def test_it_names_versions_and_the_time():
    first, libraries, jpeg, steps, fusing = about.describe()
    assert first.startswith(f"focusd {__version__}, Python 3.")
    assert libraries == f"NumPy {np.__version__}, OpenCV {cv2.__version__}"
    assert jpeg == about.jpeg_path()
    assert steps == about.steps_path()
    path, time = fusing.removesuffix(" ms/MP for 4:2:0 frames here, decoding apart").rsplit("; ", 1)
    assert path == about.fusion_path()
    # A Pi 3 takes some 30, no machine a tenth.
    assert 0.1 < float(time) < 1000


def test_the_plain_path_on_request_says_so(afresh):
    afresh.setenv("FOCUSD_KERNEL", "plain")
    assert about.fusion_path() == "fusion by NumPy and OpenCV alone (FOCUSD_KERNEL=plain is set)"


def test_an_installation_without_a_compiler_says_what_to_do(afresh, tmp_path):
    afresh.setattr(compiled, "LIBRARY", tmp_path / "_kernel.so")
    assert "no C compiler" in about.fusion_path()
    assert "apt install gcc libc6-dev" in about.fusion_path()


def test_a_library_that_does_not_load_is_named(afresh, tmp_path):
    library = tmp_path / "_kernel.so"
    library.write_bytes(b"for another machine")
    afresh.setattr(compiled, "LIBRARY", library)
    assert str(library) in about.fusion_path()
    assert "another machine" in about.fusion_path()


def test_the_compiled_kernel_is_named(afresh):
    if not compiled.LIBRARY.is_file():
        pytest.skip("installed without a C compiler (apt install gcc libc6-dev; make clean install)")
    assert about.fusion_path() == "fusion by the compiled kernel"


@pytest.mark.parametrize(("version", "said"), [(None, "apt install libturbojpeg0"), ("3.x", "interface 3.x")])
def test_it_says_what_decodes(monkeypatch, version, said):
    monkeypatch.setattr(turbojpeg, "version", lambda: version)
    assert said in about.jpeg_path()


def test_it_says_what_times_the_steps(monkeypatch, tmp_path):
    if native.LIBRARY.is_file():
        assert about.steps_path().startswith("steps by a loop in C")
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "_pulses.so")
    native.library.cache_clear()
    assert about.steps_path().startswith("steps by Python alone")
    native.library.cache_clear()
