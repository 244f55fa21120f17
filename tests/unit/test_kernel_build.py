"""The build hook, with a compiler and without one."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hatchling.bridge.app import Application

import build_kernel
from build_kernel import (
    LIBRARY,
    PULSES,
    PULSES_LIBRARY,
    SOURCE,
    KernelHook,
    NoKernel,
    compile_kernel,
)
from focusd.fusion import Fusion, compiled
from focusd.pictures.planes import Planes

INSTALLED = {"focusd/fusion/_kernel.so", "focusd/drivers/_pulses.so"}
ROOT = Path(__file__).parents[2]
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="no C compiler here (apt install gcc libc6-dev)",
)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.delenv("FOCUSD_KERNEL", raising=False)
    monkeypatch.delenv("CC", raising=False)


@pytest.fixture
def tree(tmp_path):
    """A source tree with libraries that are compiled in no time."""
    for source, name in ((SOURCE, "kernel"), (PULSES, "pulses")):
        (tmp_path / source).parent.mkdir(parents=True)
        (tmp_path / source).write_text(f"int focusd_{name}_version(void) {{ return 7; }}\n")
    return tmp_path


def build(tree, version="standard"):
    """Run the hook; return what it told hatchling, and the library it would pack."""
    data = {"force_include": {}, "pure_python": True, "tag": None}
    hook = KernelHook(str(tree), {}, None, None, str(tree / "dist"), "wheel", Application())
    hook.initialize(version, data)
    packed = {inside: Path(path).read_bytes() for path, inside in data["force_include"].items()}
    hook.finalize(version, data, "")
    assert not any(Path(path).exists() for path in data["force_include"])
    return data, packed


def leftovers(tree):
    folders = {(tree / source).parent for source in (SOURCE, PULSES)}
    return {path.name for folder in folders for path in folder.iterdir()} - {SOURCE.name, PULSES.name}


@needs_compiler
def test_a_wheel_with_the_kernel_is_for_this_platform_and_every_python(tree):
    data, packed = build(tree)
    assert (set(packed), data["pure_python"]) == (INSTALLED, False)
    assert all(code.startswith(b"\x7fELF" if sys.platform == "linux" else b"") for code in packed.values())
    python, abi, machine = data["tag"].split("-")
    assert (python, abi) == ("py3", "none")
    assert machine.startswith(f"{platform.system().lower().replace('darwin', 'macosx')}_")
    assert leftovers(tree) == set()


@needs_compiler
def test_an_editable_install_has_the_kernel_beside_its_source(tree):
    data, packed = build(tree, "editable")
    assert (packed, data["pure_python"], data["tag"]) == ({}, True, None)
    assert leftovers(tree) == {LIBRARY.name, PULSES_LIBRARY.name}
    assert ctypes.CDLL(str(tree / LIBRARY)).focusd_kernel_version() == 7
    assert ctypes.CDLL(str(tree / PULSES_LIBRARY)).focusd_pulses_version() == 7


@needs_compiler
def test_the_same_source_gives_the_same_bytes(tree):
    assert build(tree)[1] == build(tree)[1]


@pytest.mark.parametrize("version", ["standard", "editable"])
def test_without_a_compiler_the_package_is_plain(tree, version, monkeypatch, capfd):
    monkeypatch.setenv("PATH", str(tree))
    data, packed = build(tree, version)
    assert (packed, data["pure_python"], data["tag"]) == ({}, True, None)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2
    for line, source in zip(said, (SOURCE, PULSES), strict=True):
        assert source.name in line
        assert "no C compiler; apt install gcc" in line


def test_an_old_kernel_does_not_outlive_its_source(tree, monkeypatch):
    monkeypatch.setenv("PATH", str(tree))
    for library in (LIBRARY, PULSES_LIBRARY):
        (tree / library).write_bytes(b"of an older source")
    build(tree, "editable")
    assert leftovers(tree) == set()


def test_plain_can_be_asked_for(tree, monkeypatch, capfd):
    monkeypatch.setenv("FOCUSD_KERNEL", "plain")
    assert build(tree)[1] == {}
    assert "FOCUSD_KERNEL=plain" in capfd.readouterr().err


def test_a_release_fails_without_its_kernel(tree, monkeypatch):
    monkeypatch.setenv("FOCUSD_KERNEL", "compiled")
    monkeypatch.setenv("PATH", str(tree))
    with pytest.raises(NoKernel, match="no C compiler"):
        build(tree)


@needs_compiler
def test_a_source_that_does_not_compile_is_reported_and_left_out(tree, capfd):
    (tree / SOURCE).write_text("int focusd_kernel_version(void) { return not_declared; }\n")
    _, packed = build(tree)
    assert set(packed) == {"focusd/drivers/_pulses.so"}, "each by itself"
    assert "not_declared" in capfd.readouterr().err


@needs_compiler
def test_a_library_that_does_not_load_is_left_out(tree, capfd):
    (tree / SOURCE).write_text("int something_else(void) { return 1; }\n")
    assert set(build(tree)[1]) == {"focusd/drivers/_pulses.so"}
    assert "does not load" in capfd.readouterr().err


def test_an_unknown_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler -m32")
    with pytest.raises(NoKernel, match="no-such-compiler, which CC names"):
        build_kernel.compiler()


def test_the_chosen_compiler_keeps_its_arguments(tmp_path, monkeypatch):
    program = tmp_path / "mycc"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("CC", f"{program} -m32 '-DNAME=a b'")
    assert build_kernel.compiler() == [str(program), "-m32", "-DNAME=a b"]


def test_a_failed_build_leaves_the_old_library(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "kernel.so").write_bytes(b"old")
    with pytest.raises(NoKernel):
        compile_kernel(tmp_path / "kernel.c", tmp_path / "kernel.so")
    assert (tmp_path / "kernel.so").read_bytes() == b"old"


def frames():
    """Three noisy frames of odd sizes in each form the kernel reads."""
    random = np.random.default_rng(5)
    for make in (
        lambda: Planes(*(random.integers(0, 256, s, np.uint8) for s in ((75, 131), (38, 66), (38, 66)))),
        lambda: random.integers(0, 256, (75, 131, 3), np.uint8),
        lambda: random.integers(0, 65536, (75, 131), np.uint16),
    ):
        yield [make() for _ in range(3)]


def state_of(library, stack, monkeypatch):
    """Planes of a stack fused by this library."""
    monkeypatch.setattr(compiled, "LIBRARY", library)
    compiled.library.cache_clear()
    assert compiled.library() is not None
    fusion = Fusion(sigma=2.0)
    for number, frame in enumerate(stack):
        fusion.add(frame, float(number))
    return fusion.state().planes


@needs_compiler
@pytest.mark.timeout(240)
def test_wide_vectors_give_the_bits_of_narrow_ones(tmp_path, monkeypatch):
    wide, narrow = tmp_path / "wide.so", tmp_path / "narrow.so"
    compile_kernel(ROOT / SOURCE, wide)
    compile_kernel(ROOT / SOURCE, narrow, ["-DKERNEL_PORTABLE", "-fno-tree-vectorize"])
    try:
        for stack in frames():
            one, other = (state_of(library, stack, monkeypatch) for library in (wide, narrow))
            assert one.keys() == other.keys()
            for name, plane in one.items():
                assert plane.tobytes() == other[name].tobytes(), name
    finally:
        compiled.library.cache_clear()


@pytest.mark.skipif(os.environ.get("FOCUSD_KERNEL") == "plain", reason="the plain path was asked for")
@needs_compiler
def test_this_installation_has_its_kernel():
    compiled.library.cache_clear()
    assert compiled.library() is not None, "install focusd again: make clean install"
    source = compiled.LIBRARY.with_name(SOURCE.name)
    if source.exists():
        assert compiled.LIBRARY.stat().st_mtime >= source.stat().st_mtime, (
            "older than its source: make install"
        )
