"""``focusd fuse`` of frames that drift, flicker, or do not belong there."""

import argparse
import json
from functools import cache

import cv2
import numpy as np
import pytest
import tifffile

from focusd.fuse import command as fuse
from focusd_sim.suite import stack_named
from focusd_sim.suite_flaws import Flaws

FRAMES = 12


def call(*words):
    parser = argparse.ArgumentParser()
    fuse.add_arguments(parser)
    return fuse.run(parser.parse_args([str(word) for word in words]))


@cache
def drifting():
    made = stack_named(
        "general", seed=3, noise=2.0, frames=FRAMES, megapixels=0.15, flaws=Flaws(drift_px=9.0)
    )
    return made, [made.frame(index) for index in range(FRAMES)]


def written(folder, frames):
    folder.mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:02d}.png"), frame)
    return folder


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path / "in", drifting()[1])


def psnr(image, truth):
    return 10 * np.log10(255**2 / np.mean((image.astype(float) - truth) ** 2))


def test_a_drifting_stack_is_aligned_and_cropped(folder, tmp_path, capsys):
    truth = drifting()[0].truth
    out, plain = tmp_path / "out.png", tmp_path / "plain.png"
    assert call(folder, "-o", out, "--align", "auto", "--depth", tmp_path / "depth.tif") == 0
    said = capsys.readouterr().out
    assert "corrected" in said
    assert "cropped to" in said
    assert call(folder, "-o", plain, "--align", "off") == 0
    image = cv2.imread(str(out))
    rows, cols = image.shape[:2]
    assert rows < truth.shape[0] or cols < truth.shape[1]
    assert tifffile.imread(tmp_path / "depth.tif").shape == (rows, cols)
    # Where it was cut: the place that fits the truth best.
    match = cv2.matchTemplate(truth, image, cv2.TM_SQDIFF)
    left, top = cv2.minMaxLoc(match)[2]
    aligned = psnr(image, truth[top : top + rows, left : left + cols])
    assert aligned > psnr(cv2.imread(str(plain)), truth) + 2


def test_borders_may_be_marked_in_place_of_cut_off(folder, tmp_path):
    out = tmp_path / "out.png"
    assert call(folder, "-o", out, "--align", "translation", "--border", "mark") == 0
    image, mask = cv2.imread(str(out)), cv2.imread(str(tmp_path / "out-covered.png"), -1)
    assert image.shape == drifting()[0].truth.shape
    assert mask.shape == image.shape[:2]
    assert set(np.unique(mask)) == {0, 255}
    assert 0.8 < (mask == 255).mean() < 1


def test_transforms_are_saved_and_used_for_another_stack(folder, tmp_path):
    first, second, file = tmp_path / "first.png", tmp_path / "second.png", tmp_path / "lie.json"
    assert call(folder, "-o", first, "--align", "auto", "--save-transforms", file) == 0
    assert len(json.loads(file.read_text())["frames"]) == FRAMES
    assert call(folder, "-o", second, "--transforms", file) == 0
    np.testing.assert_array_equal(cv2.imread(str(first)), cv2.imread(str(second)))


def test_a_second_pass_refines_what_was_aligned(folder, tmp_path):
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    assert call(folder, "-o", first, "--align", "translation") == 0
    assert call(folder, "-o", second, "--align", "translation", "--refine") == 0
    one, two = cv2.imread(str(first)), cv2.imread(str(second))
    assert one.shape == two.shape
    assert 25 < psnr(one, two) < 60


def test_odd_frames_are_left_out_or_end_the_stack(tmp_path, capsys):
    made = stack_named("general", seed=3, noise=2.0, frames=FRAMES, megapixels=0.15)
    frames = [made.frame(index) for index in range(FRAMES)]
    frames[5] = np.zeros_like(frames[5])
    folder, out = written(tmp_path / "in", frames), tmp_path / "out.png"
    assert call(folder, "-o", out, "--odd", "stop") == 1
    said = capsys.readouterr().err
    assert "05.png" in said
    assert "black" in said
    assert not out.exists()
    assert call(folder, "-o", out, "--odd", "skip") == 0
    said = capsys.readouterr()
    assert "05.png: left out: black" in said.err
    assert f"from {FRAMES - 1} frames" in said.out
    assert call(folder, "-o", out, "--odd", "fuse") == 0
    said = capsys.readouterr()
    assert "05.png: fused all the same: black" in said.err
    assert f"from {FRAMES} frames" in said.out


@pytest.mark.parametrize("words", [["--method", "log-nms"], ["--align", "homography"]])
def test_other_programs_methods_run(folder, tmp_path, words):
    out = tmp_path / "out.png"
    assert call(folder, "-o", out, "--maps", tmp_path / "maps", *words) == 0
    image = cv2.imread(str(out))
    assert image.shape[:2] == tifffile.imread(tmp_path / "maps" / "depth.tif").shape
    assert image.std() > 20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dust", "auto"], "--dust auto"),
        (["--align", "auto", "--transforms", "x.json"], "one of the two"),
        (["--save-transforms", "x.json"], "needs --align"),
        (["--align", "auto", "--save-transforms", "x.txt"], "must end in .json"),
        (["--method", "log-nms", "--refine"], "use pyramid"),
        (["--method", "log-nms", "--slabs", "s"], "use pyramid"),
    ],
)
def test_what_does_not_go_together_is_refused(folder, tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert call(folder, "-o", tmp_path / "out.png", *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"rows": 5}', "nan"])
def test_a_file_of_transforms_that_is_none_is_refused(folder, tmp_path, capsys, text):
    file = tmp_path / "lie.json"
    file.write_text(text)
    assert call(folder, "-o", tmp_path / "out.png", "--transforms", file) == 1
    assert "lie.json" in capsys.readouterr().err
    assert call(folder, "-o", tmp_path / "out.png", "--transforms", tmp_path / "none.json") == 1
    assert "none.json" in capsys.readouterr().err


def test_what_a_stack_went_through_is_told_after_a_second_way_without_dust(tmp_path, capsys):
    flaws = Flaws(drift_px=14.0, dust_spots=40)
    made = stack_named("scene-b", seed=3, noise=2.0, frames=16, megapixels=0.2, flaws=flaws)
    frames = [made.frame(index) for index in range(16)]
    frames[5] = np.zeros_like(frames[5])
    folder, lie, debug = written(tmp_path / "in", frames), tmp_path / "lie.json", tmp_path / "debug"
    words = [folder, "-o", tmp_path / "out.png", "--align", "translation", "--dust", "auto", "--odd", "skip"]
    assert call(*words, "--save-transforms", lie, "--debug", debug) == 0
    said = capsys.readouterr()
    assert "spots of dust" in said.err
    assert "translation is corrected" in said.out
    assert json.loads(lie.read_text())["model"] == "translation"
    # A map for each frame that was fused, none of the first way.
    assert len(list(debug.glob("sharpness-*.png"))) == 15


def test_the_mask_of_a_marked_border_is_no_frame_the_next_time(folder, capsys):
    words = [folder, "-o", folder / "out.png", "--align", "translation", "--border", "mark"]
    assert call(*words) == 0
    assert (folder / "out-covered.png").is_file()
    first = cv2.imread(str(folder / "out.png"))
    capsys.readouterr()
    assert call(*words) == 0
    assert "left out" not in capsys.readouterr().err
    np.testing.assert_array_equal(cv2.imread(str(folder / "out.png")), first)


def test_a_stack_that_ends_at_an_odd_frame_leaves_nothing_behind(tmp_path):
    made = stack_named("general", seed=3, noise=2.0, frames=FRAMES, megapixels=0.15)
    frames = [made.frame(index) for index in range(FRAMES)]
    frames[9] = np.zeros_like(frames[9])
    folder, out = written(tmp_path / "in", frames), tmp_path / "out"
    out.mkdir()
    words = ["--slabs", out / "slabs", "--slab", "4", "--debug", out / "debug", "--maps", out / "maps"]
    assert call(folder, "-o", out / "a.png", "--odd", "stop", *words) == 1
    assert [*out.rglob("*.png"), *out.rglob("*.tif")] == []
