"""Frames decoded by several threads and used in turn; and what ``focusd fuse`` makes of them."""

from __future__ import annotations

import argparse
import signal
import threading
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from focusd import cli, sources
from focusd.errors import FrameLost
from focusd.fuse import command as fuse
from focusd.fuse import passes
from focusd.fusion import Fusion
from focusd.pictures import turbojpeg, y4m
from focusd.pictures.images import read_frame, read_image
from focusd.pictures.metadata import Metadata, into_jpeg, into_png, read
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_bgr, to_planes
from focusd.room import Room
from focusd.sources import each_in_turn, find_sources

WAIT_S = 20.0


def grey(value):
    return Planes(np.full((4, 4), value, np.uint8), *(np.full((2, 2), 128, np.uint8) for _ in range(2)))


@pytest.fixture
def decode(monkeypatch):
    """Stand in for `read_frame`; the file's name is the frame's number, and its value."""

    def install(function=lambda number: None):
        def read_frame(path, out=None, rendering=None):
            function(int(path.name))
            made = out or grey(0)
            made.luma[...] = int(path.name) % 256
            return made

        monkeypatch.setattr(sources, "read_frame", read_frame)

    return install


def names(count):
    return [Path(str(number)) for number in range(count)]


def test_natural_order_and_no_file_twice(tmp_path):
    for name in ("b2.png", "b10.PNG", "a.tif", ".hidden.png", "note.txt", "out.png"):
        (tmp_path / name).touch()
    found = find_sources([tmp_path, tmp_path / "a.tif"], [tmp_path / "out.png"])
    assert [path.name for path in found] == ["a.tif", "b2.png", "b10.PNG"]


def test_raw_files_are_taken_where_nothing_else_is(tmp_path):
    """A camera that writes both would have each frame twice."""
    for name in ("a1.NEF", "a2.NEF"):
        (tmp_path / name).touch()
    assert [path.name for path in find_sources([tmp_path])] == ["a1.NEF", "a2.NEF"]
    for name in ("a1.JPG", "a2.JPG"):
        (tmp_path / name).touch()
    assert [path.name for path in find_sources([tmp_path])] == ["a1.JPG", "a2.JPG"]
    assert [path.name for path in find_sources([tmp_path / "a1.NEF"])] == ["a1.NEF"]


def test_planes_in_files_are_fused_as_they_are(tmp_path):
    frames, folder = [to_planes(frame) for frame in scene()], tmp_path / "stack"
    folder.mkdir()
    fusion = Fusion()
    for number, planes in enumerate(frames):
        with (folder / f"{number}.y4m").open("wb") as file:
            y4m.write(file, planes)
        fusion.add(planes, float(number))
    assert call(folder, "-o", tmp_path / "out.png") == 0
    np.testing.assert_array_equal(read_image(tmp_path / "out.png"), to_bgr(fusion.image()))


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_every_frame_once_in_order_in_few_buffers(decode, jobs):
    decode()
    seen, buffers = [], {}

    def use(number, path, frame):
        seen.append((number, path.name, int(frame.luma[0, 0])))
        buffers[id(frame.luma)] = frame.luma

    each_in_turn(names(200), use, jobs=jobs)
    assert seen == [(number, str(number), number) for number in range(200)]
    assert len(buffers) <= jobs


def test_a_frame_is_decoded_while_another_is_used(decode):
    second_decoded = threading.Event()
    decode(lambda number: number == 1 and second_decoded.set())
    met = []

    def use(number, path, frame):
        if number == 0:
            met.append(second_decoded.wait(WAIT_S))

    each_in_turn(names(3), use, jobs=2)
    assert met == [True]


def test_a_slow_decode_does_not_change_the_order(decode):
    second_decoded = threading.Event()

    def slow(number):
        if number == 1:
            second_decoded.set()
        if number == 0:
            assert second_decoded.wait(WAIT_S)

    decode(slow)
    seen = []
    each_in_turn(names(4), lambda number, path, frame: seen.append(number), jobs=2)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_no_more_frames_are_alive_than_jobs(decode, jobs):
    lock, alive, most = threading.Lock(), 0, 0

    def decoded(number):
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)

    def use(number, path, frame):
        nonlocal alive
        with lock:
            alive -= 1

    decode(decoded)
    each_in_turn(names(300), use, jobs=jobs)
    assert alive == 0 and 1 <= most <= jobs


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_used_frame_is_gone_before_the_next_is_decoded(monkeypatch, jobs):
    lock, made = threading.Lock(), []

    def read_frame(path, out=None, rendering=None):
        with lock:
            assert sum(frame() is not None for frame in made) < jobs
            frame = np.zeros((4, 4, 3), np.uint16)
            made.append(weakref.ref(frame))
        return frame

    monkeypatch.setattr(sources, "read_frame", read_frame)
    each_in_turn(names(40), lambda number, path, frame: None, jobs=jobs)
    assert len(made) == 40


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_the_first_bad_file_in_order_is_told(decode, jobs):
    fourth_failed = threading.Event()

    def fail(number):
        if number == 4:
            fourth_failed.set()
        if number == 3 and jobs > 1:
            assert fourth_failed.wait(WAIT_S)
        if number in (3, 4):
            raise FrameLost(f"{number}: damaged")

    decode(fail)
    seen = []
    with pytest.raises(FrameLost, match="3: damaged"):
        each_in_turn(names(9), lambda number, path, frame: seen.append(number), jobs=jobs)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_bad_files_may_be_left_out_in_their_turn(decode, jobs):
    def fail(number):
        if number in (0, 3, 4):
            raise FrameLost(f"{number}: damaged")

    decode(fail)
    seen = []
    each_in_turn(
        names(6),
        lambda number, path, frame: seen.append(number),
        jobs=jobs,
        spoiled=lambda number, path, error: seen.append(f"{path.name} {error}"),
    )
    assert seen == ["0 0: damaged", 1, 2, "3 3: damaged", "4 4: damaged", 5]


@pytest.mark.parametrize("jobs", [1, 2])
def test_only_bad_files_are_left_out(decode, jobs):
    def fail(number):
        if number == 2:
            raise MemoryError

    decode(fail)
    with pytest.raises(Exception, match="2: no memory left"):
        each_in_turn(names(4), lambda *_: None, jobs=jobs, spoiled=lambda *_: None)


@pytest.mark.parametrize("jobs", [1, 2])
def test_memory_that_is_not_there_names_the_file(decode, jobs):
    def fail(number):
        if number == 2:
            raise MemoryError

    decode(fail)
    with pytest.raises(Exception, match=r"2: no memory left.*--jobs 1"):
        each_in_turn(names(4), lambda number, path, frame: None, jobs=jobs)


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_error_in_use_ends_it(decode, jobs):
    decode()
    seen = []

    def use(number, path, frame):
        seen.append(number)
        if number == 5:
            raise ValueError("five")

    with pytest.raises(ValueError, match="five"):
        each_in_turn(names(50), use, jobs=jobs)
    assert seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_it(decode, jobs):
    decode()
    seen = []

    def use(number, path, frame):
        seen.append(number)
        if number == 10:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        each_in_turn([Path("0")] * 1_000_000, use, jobs=jobs)
    assert 11 <= len(seen) < 1_000_000
    assert threading.active_count() == before


# The command line.


def call(*words):
    parser = argparse.ArgumentParser()
    fuse.add_arguments(parser)
    return fuse.run(parser.parse_args([str(word) for word in words]))


def scene(dtype=np.uint8, count=5, shape=(70, 90, 3)):
    rng = np.random.default_rng(2)
    sharp = rng.uniform(0, 255, shape).astype(np.float32)
    soft = cv2.GaussianBlur(sharp, (0, 0), 3)
    frames = []
    for number in range(count):
        frame = soft.copy()
        part = slice(number * shape[1] // count, (number + 1) * shape[1] // count)
        frame[:, part] = sharp[:, part]
        frames.append((frame * (1 if dtype == np.uint8 else 257)).astype(dtype))
    return frames


NOTES = Metadata(
    icc=bytes(16) + b"RGB " + bytes(16) + b"acsp" + bytes(100), exif=Metadata().about("a wasp").exif
)


def write(folder, frames, suffix, notes=None):
    folder.mkdir()
    for number, frame in enumerate(frames):
        data = cv2.imencode(suffix, frame)[1].tobytes()
        if notes is not None and number == 0:
            data = (into_jpeg if suffix == ".jpg" else into_png)(data, notes)
        (folder / f"{number}{suffix}").write_bytes(data)
    return folder


@pytest.mark.parametrize(("suffix", "dtype"), [(".jpg", np.uint8), (".png", np.uint8), (".tif", np.uint16)])
def test_the_number_of_jobs_changes_nothing(tmp_path, suffix, dtype):
    stack = write(tmp_path / "stack", scene(dtype), suffix)
    made = {}
    for jobs in (1, 2, 3):
        out, depth = tmp_path / f"{jobs}.tif", tmp_path / f"{jobs}-depth.tif"
        assert call(stack, "-o", out, "--depth", depth, "--jobs", jobs) == 0
        made[jobs] = read_image(out), tifffile.imread(depth)
    for jobs in (2, 3):
        np.testing.assert_array_equal(made[jobs][0], made[1][0])
        np.testing.assert_array_equal(made[jobs][1], made[1][1])
    assert made[1][0].dtype == dtype


def test_frames_of_one_size_share_memory(tmp_path):
    if not turbojpeg.available():
        pytest.skip("libturbojpeg is not installed: frames always take fresh memory")
    stack = write(tmp_path / "stack", scene(), ".jpg")
    paths = find_sources([stack])
    where = set()

    def use(number, path, frame):
        where.add(frame.luma.ctypes.data)
        np.testing.assert_array_equal(frame.luma, read_frame(path).luma)

    each_in_turn(paths, use, jobs=1)
    assert len(where) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_profile_and_exif_of_the_first_frame_are_carried(tmp_path, suffix):
    stack = write(tmp_path / "stack", scene(), ".jpg", NOTES)
    out = tmp_path / f"out{suffix}"
    assert call(stack, "-o", out, "--step", "12.5") == 0
    found = read(out.read_bytes())
    assert found.icc == NOTES.icc
    assert b"focus stack of 5 frames, step 12.5 um, z 0 to 50 um" in found.exif


def test_distances_that_nobody_gave_are_not_told(tmp_path):
    stack = write(tmp_path / "stack", scene(), ".jpg")
    assert call(stack, "-o", tmp_path / "out.jpg") == 0
    told = read((tmp_path / "out.jpg").read_bytes()).exif
    assert b"focus stack of 5 frames" in told and b" um" not in told


def test_metadata_from_another_file(tmp_path, capsys):
    stack = write(tmp_path / "stack", scene(), ".jpg")
    other = write(tmp_path / "other", scene(count=1), ".png", NOTES) / "0.png"
    out = tmp_path / "out.jpg"
    assert call(stack, "-o", out, "--metadata-from", other) == 0
    assert read(out.read_bytes()).icc == NOTES.icc
    assert call(stack, "-o", tmp_path / "no.jpg", "--metadata-from", tmp_path / "gone.jpg") == 1
    assert "gone.jpg: cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "no.jpg").exists()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_bits_on_request(tmp_path, suffix, capsys):
    shallow = write(tmp_path / "shallow", scene(), ".png")
    deep = write(tmp_path / "deep", [frame // 16 for frame in scene(np.uint16)], ".tif")
    kept, asked = tmp_path / f"kept{suffix}", tmp_path / f"asked{suffix}"
    assert call(shallow, "-o", kept) == call(shallow, "-o", asked, "--bits", 16) == 0
    np.testing.assert_array_equal(read_image(asked), read_image(kept).astype(np.uint16) * 257)
    assert "16 bits, 255 made 65535" in capsys.readouterr().out
    assert call(deep, "-o", kept) == call(deep, "-o", asked, "--bits", 8) == 0
    want = np.rint(read_image(kept) * (255 / 4095))
    assert read_image(kept).dtype == np.uint16 and read_image(asked).dtype == np.uint8
    assert np.abs(read_image(asked) - want).max() <= 1
    assert "8 bits, 4095 made white" in capsys.readouterr().out


def test_maps_are_what_a_run_leaves(tmp_path):
    stack = write(tmp_path / "stack", scene(), ".jpg")
    maps, depth = tmp_path / "new" / "maps", tmp_path / "depth.tif"
    assert call(stack, "-o", tmp_path / "out.tif", "--maps", maps, "--depth", depth) == 0
    found = {path.name for path in maps.iterdir()}
    assert found >= {"depth.tif", "depth16.tif", "depth.png", "origin.tif", "confidence.tif", "reason.tif"}
    np.testing.assert_array_equal(tifffile.imread(maps / "depth.tif"), tifffile.imread(depth))
    assert tifffile.imread(maps / "origin.tif").shape == (70, 90)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "out.jpg", "--bits", 16], "a JPEG holds 8 bits"),
        (["-o", "out.png", "--jobs", 0], "--jobs is 0"),
        (["-o", "out.png", "--maps", "stack"], "--maps stack"),
    ],
)
def test_requests_that_make_no_sense(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "stack", scene(count=2), ".png")
    assert call("stack", *words) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["stack"]


@pytest.mark.parametrize(("free_bytes", "remedy"), [(50_000_000, "smaller frames"), (None, "--jobs 1 needs")])
def test_a_stack_that_does_not_fit_is_refused(tmp_path, monkeypatch, capsys, free_bytes, remedy):
    stack = write(tmp_path / "stack", scene(shape=(1200, 1600, 3)), ".jpg")
    out = tmp_path / "out.jpg"
    if free_bytes is None:
        # What one job needs, said at its start, and no more.
        assert call(stack, "-o", out, "--jobs", 1) == 0
        needed = capsys.readouterr().err.split("at most ")[1].split(" MB")[0]
        out.unlink()
        free_bytes = (int(needed) + 1) * 1_000_000 + 32_000_000
    monkeypatch.setattr(passes, "read_room", lambda folder: Room(memory_bytes=free_bytes))
    assert call(stack, "-o", out, "--jobs", 5) == 1
    said = capsys.readouterr().err
    assert "1600x1200 px with --jobs 5 does not fit: needs " in said and remedy in said
    assert not out.exists() and not list(tmp_path.glob(".focusd*"))


def test_an_original_is_never_written_over(tmp_path: Path) -> None:
    """A frame that bears the output's name is left out of the stack: so none may."""
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8), 40 * number, np.uint8))
    before = (tmp_path / "0.png").read_bytes()
    assert cli.main(["fuse", str(tmp_path), "-o", str(tmp_path / "0.png")]) == 2
    assert (tmp_path / "0.png").read_bytes() == before
    for _ in range(2):  # its own picture may be made again
        assert cli.main(["fuse", str(tmp_path), "-o", str(tmp_path / "sharp.png")]) == 0


@pytest.mark.parametrize("name", ["maps", "slabs", "debug"])
def test_nothing_is_written_among_the_sources(tmp_path: Path, name: str) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.full((8, 8), 40, np.uint8))
    output = tmp_path.parent / f"{tmp_path.name}.png"
    assert cli.main(["fuse", str(tmp_path), "-o", str(output), f"--{name}", str(tmp_path)]) == 2
    assert not output.exists()
