"""``focusd fuse``, as a user calls it."""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from focusd.flats import shading_of
from focusd.fuse import command as fuse
from focusd.fusion import Fusion
from focusd.fusion.prefer import Prefer
from focusd.job import Job, JobSettings
from focusd.journal import record_of, write_json
from focusd.negatives import Negatives
from focusd.pictures.encoding import encode_jpeg
from focusd.pictures.images import decode_frame, read_image
from focusd.pictures.metadata import read as read_metadata
from focusd.pictures.samples import to_bgr, to_planes
from focusd.plan import StackPlan, ZPlan
from focusd.rig import Exposure, Frame, Shot

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


# The frames of a run.


def run_folder(tmp_path, images, *, kind="source", retake=(), lights=(), **settings):
    """Return a run's folder as the daemon leaves it, with frames at 0, 20, ... um."""
    folder = tmp_path / "run"
    folder.mkdir()
    positions_um = tuple(20.0 * number for number in range(len(images)))
    plan = StackPlan(positions_um)
    job = Job(
        "20261121-120000-0001", ZPlan(absolute=positions_um), plan, JobSettings(lights=lights, **settings)
    )
    write_json(folder / "run.json", record_of(job, len(images)))
    with closing(Negatives(folder, kind)) as negatives:
        for stop, image in [*enumerate(images), *retake]:
            for number, light in enumerate(lights or (None,)):
                shot = Shot(stop, number, positions_um[stop], positions_um[stop], light)
                exposure = Exposure(stop, 4.0 * stop, 4.0 * stop, 0.1, datetime(2026, 11, 21, tzinfo=UTC))
                data = {"encoded": image} if isinstance(image, bytes) else {"image": image}
                negatives.keep(shot, Frame("f", exposure, **data))
    return folder


@pytest.mark.parametrize("kind", ["planes", "jpeg", "image"])
def test_a_run_is_fused_again_at_its_positions_and_by_its_settings(tmp_path, kind):
    made = {
        "planes": lambda image: to_planes(image),
        "jpeg": lambda image: encode_jpeg(to_planes(image), quality=98),
        "image": lambda image: image,
    }[kind]
    images = [made(image) for image in frames()]
    run = run_folder(tmp_path, images, prefer="front", fusion_mode="fast")
    assert call(run, "--depth", tmp_path / "depth.tif") == 0
    decoded = [decode_frame(image, "f") if isinstance(image, bytes) else image for image in images]
    prefer = Prefer("front", 0.0, 220.0)
    want = expected(decoded, step=20.0, prefer=prefer, mode="fast")
    np.testing.assert_array_equal(read_image(run / "fused.tif"), to_bgr(want.image))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "depth.tif"), want.depth_um)
    told = read_metadata((run / "fused.tif").read_bytes()).exif
    assert b"focus stack of 12 frames, step 20 um, z 0 to 220 um" in told
    # What is asked for goes over what the run did.
    assert call(run, "-o", tmp_path / "other.png", "--prefer", "none", "--mode", "default") == 0
    plain = expected(decoded, step=20.0)
    np.testing.assert_array_equal(read_image(tmp_path / "other.png"), to_bgr(plain.image))


def test_a_run_is_corrected_by_its_own_flat_field_unless_another_is_named(tmp_path):
    images = frames()
    run = run_folder(tmp_path, images)
    falloff = np.linspace(160, 240, 80, dtype=np.uint8)
    cv2.imwrite(str(run / "flat.tif"), np.broadcast_to(falloff[:, None], (60, 80, 3)))
    cv2.imwrite(str(tmp_path / "other.png"), np.broadcast_to(falloff[::-1, None], (60, 80, 3)))
    for flat, words in ((run / "flat.tif", ()), (tmp_path / "other.png", ("--flat", tmp_path / "other.png"))):
        shading = shading_of(flat, None)
        assert call(run, *words) == 0
        want = expected([shading.correct(image) for image in images], step=20.0)
        np.testing.assert_array_equal(read_image(run / "fused.tif"), want.image)
    assert call(run, "--refine", "-o", tmp_path / "finer.png") == 0


def test_a_flat_field_of_another_size_is_refused(stack, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((60, 82, 3), 200, np.uint8))
    assert call(stack, "-o", tmp_path / "out.png", "--flat", tmp_path / "flat.png") == 1
    assert "82" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_frames_that_cannot_be_used_are_left_out_and_said(tmp_path, capsys):
    images = frames()
    smaller = images[5][:-1]
    encoded = [cv2.imencode(".png", image)[1].tobytes() for image in images]
    damaged = {0: encoded[0][:99], 3: b"", 5: cv2.imencode(".png", smaller)[1].tobytes()}
    run = run_folder(tmp_path, [damaged.get(number, data) for number, data in enumerate(encoded)])
    assert call(run) == 0
    said = capsys.readouterr()
    for name in ("0000-00.png: left out", "0003-00.bin: left out", "0005-00.png: left out"):
        assert name in said.err
    assert "80x60 px from 9 frames, 3 left out, in " in said.out
    fusion = Fusion()
    for number, image in enumerate(images):
        if number not in damaged:
            fusion.add(image, 20.0 * number)
    np.testing.assert_array_equal(read_image(run / "fused.tif"), fusion.image())
    # A second way through leaves out the same.
    assert call(run, "--refine", "-o", tmp_path / "finer.png") == 0


def test_a_frame_taken_again_replaces_the_first_in_the_order_it_came(tmp_path, capsys):
    images = frames()
    encoded = [cv2.imencode(".png", image)[1].tobytes() for image in images]
    spoiled = [encoded[0], encoded[1][:80], *encoded[2:]]
    run = run_folder(tmp_path, spoiled, retake=[(1, encoded[1])])
    assert call(run) == 0
    assert "left out" not in capsys.readouterr().err
    fusion = Fusion()
    for number in (0, *range(2, 12), 1):
        fusion.add(images[number], 20.0 * number)
    np.testing.assert_array_equal(read_image(run / "fused.tif"), fusion.image())


def test_a_run_of_nothing_but_spoiled_frames(tmp_path, capsys):
    run = run_folder(tmp_path, [b"", b"torn"])
    assert call(run) == 1
    assert "none of 2 frames can be used" in capsys.readouterr().err
    assert not (run / "fused.tif").exists()


def test_a_light_has_a_picture_of_its_own(tmp_path):
    run = run_folder(tmp_path, frames(), lights=("left", "right"))
    assert call(run) == call(run, "--light", "right") == 0
    assert (run / "fused.tif").exists()
    assert (run / "fused-right.tif").exists()


def test_the_card_s_files_for_a_run_that_kept_none(tmp_path, capsys):
    images = frames()
    card = write(tmp_path / "card", images)
    folder = tmp_path / "run"
    folder.mkdir()
    plan = StackPlan(tuple(20.0 * number for number in range(12)))
    shots = [{"opened_s": 3.0 * n, "error": None} for n in range(12)]
    stops = [{"index": n, "position_um": 20.0 * n, "shots": [shot]} for n, shot in enumerate(shots)]
    job = Job("20261121-120000-0001", ZPlan(absolute=plan.positions_um), plan, JobSettings())
    write_json(folder / "run.json", record_of(job, 0) | {"stops": stops})
    assert call(folder, card) == 0
    np.testing.assert_array_equal(read_image(folder / "fused.tif"), expected(images, 20.0).image)
    (card / "Img3.png").unlink()
    assert call(folder, card) == 1
    assert "11 files for 12 shots" in capsys.readouterr().err


def test_slabs_of_a_run_go_by_its_stops(tmp_path):
    """A lost frame does not shift the slabs after it."""
    images = frames()
    run = run_folder(tmp_path, images)
    lines = (run / "frames" / "frames.jsonl").read_text().splitlines()
    (run / "frames" / "frames.jsonl").write_text("\n".join(lines[:2] + lines[3:]) + "\n")
    assert call(run, "--slabs", tmp_path / "slabs", "--slab", 4, "--slab-overlap", 0) == 0
    second = Fusion(sigma=expected_sigma(images[0]))
    for number in range(4, 8):
        second.add(images[number], 20.0 * number)
    np.testing.assert_array_equal(read_image(tmp_path / "slabs" / "slab-0002.tif"), second.image())


def expected_sigma(image):
    fusion = Fusion()
    fusion.add(image, 0.0)
    return fusion.sigma


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--step", "20"], 2, "the run knows where"),
        (["-o", "run/final.tif"], 2, "the run's own"),
        (["-o", "run/final.png"], 2, "the run's own"),
        (["--depth", "run/depth.tif"], 2, "the run's own"),
        (["--maps", "run"], 2, "the run's own files"),
        (["--slabs", "run/slabs"], 2, "the run's own files"),
        (["--maps", "run/frames"], 2, "the sources are there"),
        (["--light", "left"], 1, "no such light"),
        (["other"], 1, "is a run beside run"),
        (["empty"], 1, "empty: no image in it"),
        (["gone"], 1, "gone: no such file"),
    ],
)
def test_requests_of_a_run_that_make_no_sense(tmp_path, monkeypatch, capsys, words, code, said):
    run = run_folder(tmp_path, frames(3))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in run.iterdir())
    assert call("run", *words) == code
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in run.iterdir()) == before


def test_files_alone_need_an_output_and_have_no_light(stack, capsys):
    assert call(stack) == 2
    assert "-o FILE" in capsys.readouterr().err
    assert call(stack, "-o", stack / "out.png", "--light", "left") == 2
    assert "--light left: only a run's frames" in capsys.readouterr().err


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
