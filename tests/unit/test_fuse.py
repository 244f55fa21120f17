"""``focusd fuse``, as a user calls it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from focusd import fuse
from focusd.fusion import Fusion
from focusd.pictures.images import read_image

STACKS = Path(os.environ.get("FOCUSD_STACKS", "../shared/stacks"))


def call(*words):
    parser = argparse.ArgumentParser()
    fuse.add_arguments(parser)
    return fuse.run(parser.parse_args([str(word) for word in words]))


def frames(count=12, dtype=np.uint8, shape=(60, 80, 3)):
    """Noise, sharp in a band that moves to the right with each frame."""
    scene = np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)
    soft = cv2.GaussianBlur(scene, (0, 0), 3)
    made = []
    for number in range(count):
        frame = soft.copy()
        left, right = number * shape[1] // count, (number + 1) * shape[1] // count
        frame[:, left:right] = scene[:, left:right]
        made.append((frame * (1 if dtype == np.uint8 else 257)).astype(dtype))
    return made


def write(folder, images, suffix=".png"):
    folder.mkdir()
    for number, image in enumerate(images):
        # Without leading zeros: 10 must come after 9.
        cv2.imwrite(str(folder / f"Img{number}{suffix}"), image)
    return folder


def expected(images, step=1.0, **options):
    fusion = Fusion(**options)
    for number, image in enumerate(images):
        fusion.add(image, number * step)
    return fusion.result()


@pytest.fixture
def stack(tmp_path):
    return write(tmp_path / "stack", frames())


@pytest.mark.parametrize("method", ["pyramid", "laplacian", "average"])
def test_a_folder_becomes_one_image_and_its_depth(stack, tmp_path, method, capsys):
    out, depth = tmp_path / "out.png", tmp_path / "depth.tif"
    assert call(stack, "-o", out, "--depth", depth, "--method", method, "--step", 20, "--align", "off") == 0
    want = expected(frames(), step=20.0, method=method)
    np.testing.assert_array_equal(read_image(out), want.image)
    np.testing.assert_array_equal(tifffile.imread(depth), want.depth_um)
    said = capsys.readouterr()
    assert "80x60 px from 12 frames" in said.out and str(out) in said.out and str(depth) in said.out
    assert "12/12" in said.err


def test_the_options_of_focusstack(stack, tmp_path):
    out = tmp_path / "out.png"
    words = ("-i", stack, "-o", out, "--method", "average", "-g", 3, "-l", 7, "-d")
    assert call(*words) == 0
    for kernels_px, same in (((3, 7), True), ((7, 3), False), ((3, 5), False)):
        options = {"gaussian_px": kernels_px[0], "laplacian_px": kernels_px[1]}
        want = expected(frames(), method="average", **options).image
        assert np.array_equal(read_image(out), want) is same
    assert (tmp_path / "out-debug" / "selection.png").exists()


def test_debug_maps(stack, tmp_path):
    debug = tmp_path / "maps"
    assert call(stack, "-o", tmp_path / "out.png", "--debug", debug) == 0
    names = sorted(path.name for path in debug.iterdir())
    assert len(names) == 13 and names[0] == "selection.png"
    assert names[1] == "sharpness-0000-Img0.png"
    first, last = read_image(debug / names[1]), read_image(debug / names[-1])
    assert first.shape == (60, 80)
    assert first[:, :6].mean() > 2 * first[:, 40:].mean()
    assert last[:, 74:].mean() > 2 * last[:, :40].mean()
    selection = read_image(debug / "selection.png").astype(int)
    assert selection.shape == (60, 80, 3)
    # Turbo: blue at the near end of the order, red at the far one.
    assert np.median(selection[:, 2:4, 0] - selection[:, 2:4, 2]) > 0
    assert np.median(selection[:, 76:78, 2] - selection[:, 76:78, 0]) > 0
    assert not list(tmp_path.glob(".focusd*"))


def test_files_are_taken_in_natural_order(stack, tmp_path):
    files = sorted(stack.iterdir(), reverse=True)
    assert call(*files, "-o", tmp_path / "out.png", "--depth", tmp_path / "depth.tif") == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "depth.tif"), expected(frames()).depth_um)


def test_natural_order_and_no_file_twice(tmp_path):
    for name in ("b2.png", "b10.PNG", "a.tif", ".hidden.png", "note.txt", "out.png"):
        (tmp_path / name).touch()
    found = fuse.find_sources([tmp_path, tmp_path / "a.tif"], [tmp_path / "out.png"])
    assert [path.name for path in found] == ["a.tif", "b2.png", "b10.PNG"]


def test_the_output_may_lie_among_the_sources(stack):
    for _ in range(2):
        assert call(stack, "-o", stack / "fused.png") == 0
    np.testing.assert_array_equal(read_image(stack / "fused.png"), expected(frames()).image)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_kept(tmp_path, suffix):
    deep = frames(dtype=np.uint16)
    folder = write(tmp_path / "stack", deep, ".tif")
    out = tmp_path / f"out{suffix}"
    assert call(folder, "-o", out) == 0
    np.testing.assert_array_equal(read_image(out), expected(deep).image)


def test_12_bits_are_not_black_as_jpeg(tmp_path, capsys):
    deep = [frame // 16 for frame in frames(count=3, dtype=np.uint16)]
    assert call(write(tmp_path / "stack", deep), "-o", tmp_path / "out.jpg") == 0
    assert 90 < read_image(tmp_path / "out.jpg").mean() < 165
    assert "4095" in capsys.readouterr().out


def test_grey_stays_grey(tmp_path):
    folder = write(tmp_path / "stack", frames(shape=(60, 80)))
    assert call(folder, "-o", tmp_path / "out.png") == 0
    assert read_image(tmp_path / "out.png").shape == (60, 80)


def test_depth_as_png_with_its_scale(stack, tmp_path, capsys):
    assert call(stack, "-o", tmp_path / "out.png", "--depth", tmp_path / "depth.png") == 0
    want, stored = expected(frames()).depth_um, read_image(tmp_path / "depth.png")
    known = np.isfinite(want)
    assert (stored[~known] == 0).all() and (stored[known] > 0).all()
    low, high = want[known].min(), want[known].max()
    np.testing.assert_allclose(low + (stored[known] - 1.0) * (high - low) / 65534, want[known], atol=1e-3)
    assert "0 where unknown" in capsys.readouterr().out


def left_over(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir() if path.name != "stack")


@pytest.mark.parametrize("words", [[], ["empty"]])
def test_no_sources(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert call(*words, "-o", "out.png") == 2
    assert "focusd: no sources" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def damage(stack, how):
    victim = stack / "Img7.png"
    if how == "cut":
        victim.write_bytes(victim.read_bytes()[:-100])
    elif how == "size":
        cv2.imwrite(str(victim), np.zeros((60, 81, 3), np.uint8))
    elif how == "depth":
        cv2.imwrite(str(victim), np.zeros((60, 80, 3), np.uint16))
    else:
        victim.write_bytes(b"")


@pytest.mark.parametrize("how", ["cut", "size", "depth", "empty"])
def test_a_bad_frame_is_named_and_nothing_is_written(stack, tmp_path, capsys, how):
    damage(stack, how)
    words = ("-o", tmp_path / "out.png", "--depth", tmp_path / "depth.tif", "--debug", tmp_path / "maps")
    assert call(stack, *words) == 1
    said = capsys.readouterr().err
    assert "focusd: " in said and "Img7.png" in said
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-o", "out.bmp"], 2, "out.bmp"),
        (["-o", "out.png", "--depth", "d.jpg"], 2, "d.jpg"),
        (["-o", "nowhere/out.png"], 2, "nowhere"),
        (["-o", "out.png", "-g", "4"], 2, "gaussian"),
        (["-o", "out.png", "--step", "0"], 2, "--step"),
        (["stack/Img3.png", "-o", "stack/Img3.png"], 2, "sources"),
        (["gone.png", "-o", "out.png"], 1, "gone.png"),
    ],
)
def test_requests_that_make_no_sense(stack, tmp_path, monkeypatch, capsys, words, code, said):
    monkeypatch.chdir(tmp_path)
    before = (stack / "Img3.png").read_bytes()
    assert call("stack", *words) == code
    assert said in capsys.readouterr().err
    assert left_over(tmp_path) == []
    assert (stack / "Img3.png").read_bytes() == before


@pytest.mark.skipif(not STACKS.is_dir(), reason=f"no real stacks in {STACKS} (set FOCUSD_STACKS)")
def test_a_real_stack(tmp_path):
    out = tmp_path / "out.jpg"
    assert call(STACKS / "ring", "-o", out, "--depth", tmp_path / "depth.tif") == 0
    fused = cv2.cvtColor(read_image(out), cv2.COLOR_BGR2GRAY).astype(np.float32)
    sharpest = max(
        cv2.Laplacian(cv2.cvtColor(read_image(path), cv2.COLOR_BGR2GRAY), cv2.CV_32F)[300:900, 300:1200].var()
        for path in fuse.find_sources([STACKS / "ring"])
    )
    assert cv2.Laplacian(fused, cv2.CV_32F)[300:900, 300:1200].var() > sharpest
