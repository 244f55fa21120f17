"""Planes in a YUV4MPEG2 file and out again; and files that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd.errors import FrameLost
from focusd.pictures import y4m
from focusd.pictures.planes import Planes


def noise(rows: int, cols: int, seed: int = 1) -> Planes:
    random = np.random.default_rng(seed)
    half = ((rows + 1) // 2, (cols + 1) // 2)
    return Planes(*(random.integers(0, 256, shape, np.uint8) for shape in ((rows, cols), half, half)))


def written(path: Path, planes: Planes) -> Path:
    with path.open("wb") as file:
        y4m.write(file, planes)
    return path


def same(one: Planes, other: Planes) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("luma", "blue", "red"))


@given(rows=st.integers(1, 40), cols=st.integers(1, 40), seed=st.integers(0, 9))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: int, cols: int, seed: int
) -> None:
    planes = noise(rows, cols, seed)
    assert same(y4m.read(written(tmp_path_factory.mktemp("y4m") / "a.y4m", planes)), planes)


def test_planes_with_gaps_between_their_rows_are_written_without(tmp_path: Path) -> None:
    padded = noise(32, 64)
    planes = Planes(padded.luma[:, :48], padded.blue[:, :24], padded.red[:, :24])
    assert same(y4m.read(written(tmp_path / "a.y4m", planes)), planes)


def test_memory_of_the_right_size_is_used_again(tmp_path: Path) -> None:
    path = written(tmp_path / "a.y4m", noise(10, 16))
    memory, other = noise(10, 16, 2), noise(8, 16)
    assert y4m.read(path, memory) is memory
    assert same(memory, noise(10, 16))
    assert y4m.read(path, other) is not other
    frozen = noise(10, 16, 3)
    frozen.luma.flags.writeable = False
    assert same(y4m.read(path, frozen), noise(10, 16))


def test_a_header_that_others_wrote_is_read_in_any_order(tmp_path: Path) -> None:
    planes = noise(4, 6)
    path = written(tmp_path / "a.y4m", planes)
    data = path.read_bytes()
    _, samples = data.split(b"FRAME\n", 1)
    path.write_bytes(b"YUV4MPEG2 C420jpeg H4 W6 F25:1 XCOLORRANGE=FULL XNOTE=mine\nFRAME\n" + samples)
    assert same(y4m.read(path), planes)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no YUV4MPEG2 file"),
        (b"\xff\xd8\xff\xe0 a JPEG", "no YUV4MPEG2 file"),
        (b"YUV4MPEG2 W4 H4" + b" " * 300 + b"\nFRAME\n", "no YUV4MPEG2 file"),
        (b"YUV4MPEG2 W4 C420jpeg XCOLORRANGE=FULL\nFRAME\n", "no size"),
        (b"YUV4MPEG2 W0 H4 C420jpeg XCOLORRANGE=FULL\nFRAME\n", "no size"),
        (b"YUV4MPEG2 W-4 H4 C420jpeg XCOLORRANGE=FULL\nFRAME\n", "no size"),
        (b"YUV4MPEG2 W4 H4 C444 XCOLORRANGE=FULL\nFRAME\n", "C444"),
        (b"YUV4MPEG2 W4 H4 C420jpeg XCOLORRANGE=LIMITED\nFRAME\n", "LIMITED"),
        (b"YUV4MPEG2 W4 H4 C420jpeg\nFRAME\n", "no XCOLORRANGE=FULL"),
        (b"YUV4MPEG2 W4 H4 It C420jpeg XCOLORRANGE=FULL\nFRAME\n", "It"),
        (b"YUV4MPEG2 W4 H4 C420jpeg XCOLORRANGE=FULL\nFRAMES\n", "no frame"),
        (b"YUV4MPEG2 W4 H4 C420jpeg XCOLORRANGE=FULL\nFRAME\n" + bytes(23), "takes"),
        (b"YUV4MPEG2 W4 H4 C420jpeg XCOLORRANGE=FULL\nFRAME\n" + bytes(25), "takes"),
        (b"YUV4MPEG2 W99999 H99999 C420jpeg XCOLORRANGE=FULL\nFRAME\n", "more than the"),
        (b"YUV4MPEG2 W20000 H20000 C420jpeg XCOLORRANGE=FULL\nFRAME\n", "takes"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(data)
    with pytest.raises(FrameLost, match=said) as caught:
        y4m.read(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FrameLost, match=r"gone\.y4m.*No such file"):
        y4m.read(tmp_path / "gone.y4m")


@given(place=st.integers(0, 80), value=st.integers(0, 255))
def test_no_damage_to_the_header_brings_it_down(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    path = written(tmp_path_factory.mktemp("y4m") / "a.y4m", noise(6, 6))
    data = bytearray(path.read_bytes())
    data[place % len(data)] = value
    path.write_bytes(bytes(data))
    try:
        assert y4m.read(path).luma.size > 0
    except FrameLost as error:
        assert str(path) in str(error)


def test_ffmpeg_reads_it(tmp_path: Path) -> None:
    """OpenCV brings ffmpeg along, for video; grey levels need no colour matrix."""
    if not any("FFMPEG" in line and "YES" in line for line in cv2.getBuildInformation().splitlines()):
        pytest.skip("this OpenCV has no ffmpeg in it")
    if tuple(map(int, cv2.__version__.split(".")[:2])) < (4, 8):
        pytest.skip("this OpenCV's ffmpeg does not read a Y4M's range")
    luma = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    grey = np.full((24, 32), 128, np.uint8)
    path = written(tmp_path / "a.y4m", Planes(luma, grey, grey.copy()))
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    there, image = video.read()
    video.release()
    assert there and image.shape == (48, 64, 3)
    # Full range: black stays 0 and 252 stays 252; limited range would stretch both.
    assert np.abs(image.astype(int) - luma[..., None]).max() <= 2
