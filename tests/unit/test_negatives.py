"""Frames kept on disk: what is written, by what name, in which order; and what a full disk does."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focusd import atomic, journal, negatives
from focusd.errors import JournalError
from focusd.frame_index import FOLDER, INDEX_NAME, read_index
from focusd.negatives import Negatives
from focusd.pictures import y4m
from focusd.pictures.encoding import encode_jpeg
from focusd.pictures.exif import taken_at
from focusd.pictures.images import read_frame, read_image
from focusd.pictures.metadata import read as read_metadata
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_planes
from focusd.rig import Exposure, Frame, Shot
from focusd.room import Room

AT = datetime(2026, 11, 21, 14, 5, 6, 789_000, UTC)


def exposure(exposure_s: float | None = 0.02) -> Exposure:
    return Exposure(3, 10.0, 10.02, exposure_s, AT)


def shot(stop: int = 7, number: int = 0, light: str | None = None) -> Shot:
    return Shot(stop, number, 140.0, 140.625, light)


def picture(dtype: type[Any] = np.uint8, shape: tuple[int, ...] = (40, 60, 3)) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(4)
    return random.integers(0, np.iinfo(dtype).max, shape, dtype)


def planes() -> Planes:
    return to_planes(picture())


def index_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / FOLDER / INDEX_NAME).read_text().splitlines()]


JPEG = encode_jpeg(picture())


@pytest.fixture
def negatives_of() -> Iterator[Callable[..., Negatives]]:
    with ExitStack() as stack:

        def make(run: Path, kind: Any) -> Negatives:
            return stack.enter_context(closing(Negatives(run, kind)))

        yield make


@pytest.mark.parametrize("kind", ["source", "jpeg"])
@pytest.mark.parametrize(
    ("data", "name", "suffix"),
    [
        (JPEG, "DSC_0001.JPG", ".jpg"),
        (JPEG, "no ending", ".jpg"),
        (b"II*\0" + bytes(40), "a.tif", ".tif"),
        (b"II*\0" + bytes(40), "DSC_0001.NEF", ".nef"),
        (b"\x89PNG\r\n\x1a\n" + bytes(9), "a.png", ".png"),
        (b"", "empty.jpg", ".bin"),
        (b"torn", "a.jpg", ".bin"),
        (b"\0\0\0\x18ftypcrx ", "IMG", ".raw"),
    ],
    ids=["jpeg", "nameless", "tiff", "nef", "png", "empty", "torn", "cr3"],
)
def test_a_file_of_the_camera_s_is_kept_as_it_came(
    negatives_of: Callable[..., Negatives], tmp_path: Path, kind: Any, data: bytes, name: str, suffix: str
) -> None:
    path = negatives_of(tmp_path, kind).keep(shot(), Frame(name, exposure(), encoded=data))
    assert path == tmp_path / "frames" / f"0007-00{suffix}"
    assert path.read_bytes() == data
    assert index_of(tmp_path)[0]["name"] == name


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/cron.d/x.jpg", "a\nb.jpg", "x.jpg/../../y", "a\0.jpg"]
)
def test_the_camera_s_name_never_becomes_a_path(
    negatives_of: Callable[..., Negatives], tmp_path: Path, name: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    negatives_of(run, "source").keep(shot(), Frame(name, exposure(), encoded=b"data"))
    assert {path.name for path in tmp_path.rglob("*")} == {"run", "frames", "frames.jsonl", "0007-00.bin"}
    assert index_of(run)[0]["name"] == name


def test_planes_are_kept_without_loss(negatives_of: Callable[..., Negatives], tmp_path: Path) -> None:
    path = negatives_of(tmp_path, "source").keep(shot(), Frame("pi", exposure(), image=planes()))
    assert path is not None and path.name == "0007-00.y4m"
    kept = y4m.read(path)
    for name in ("luma", "blue", "red"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(planes(), name))


@pytest.mark.parametrize("kind", ["source", "jpeg"])
@pytest.mark.parametrize(
    ("dtype", "shape"), [(np.uint8, (40, 60)), (np.uint8, (40, 60, 3)), (np.uint16, (9, 8, 3))]
)
def test_images_are_kept_without_loss(
    negatives_of: Callable[..., Negatives], tmp_path: Path, kind: Any, dtype: Any, shape: tuple[int, ...]
) -> None:
    image = picture(dtype, shape)
    path = negatives_of(tmp_path, kind).keep(shot(), Frame("x", exposure(), image=image))
    assert path is not None and path.name == "0007-00.tif"
    np.testing.assert_array_equal(read_image(path), image)
    assert read_image(path).dtype == dtype


def test_planes_as_jpeg_say_where_when_and_how_long(
    negatives_of: Callable[..., Negatives], tmp_path: Path
) -> None:
    kept = negatives_of(tmp_path, "jpeg").keep(shot(light="left"), Frame("pi", exposure(), image=planes()))
    assert kept is not None and kept.name == "0007-00.jpg"
    data = kept.read_bytes()
    assert isinstance(read_frame(kept), Planes)
    assert taken_at(data) == AT.replace(tzinfo=None)
    exif = read_metadata(data).exif
    assert exif is not None
    assert b"stop 7, shot 0: z 140.625 um (planned 140 um), light left" in exif
    assert b"+00:00" in exif
    assert struct.pack("<II", 1, 50) in exif


def test_an_unknown_exposure_time_is_not_told(negatives_of: Callable[..., Negatives], tmp_path: Path) -> None:
    kept = negatives_of(tmp_path, "jpeg").keep(shot(), Frame("pi", exposure(None), image=planes()))
    assert kept is not None
    exif = read_metadata(kept.read_bytes()).exif
    assert exif is not None and struct.pack("<H", 33434) not in exif


def test_the_index_has_a_line_a_frame_in_the_order_of_arrival(
    negatives_of: Callable[..., Negatives], tmp_path: Path
) -> None:
    kept = negatives_of(tmp_path, "source")
    for each in (shot(0), shot(1), shot(2, 1, "left"), shot(1)):
        kept.keep(each, Frame("f.jpg", exposure(), encoded=JPEG))
    kept.close()
    lines = index_of(tmp_path)
    assert [line["file"] for line in lines] == ["0000-00.jpg", "0001-00.jpg", "0002-01.jpg", "0001-00-2.jpg"]
    assert [line["retaken"] for line in lines] == [0, 0, 0, 1]
    assert lines[2] == {
        "kind": "frame",
        "at": "2026-11-21T14:05:06.789+00:00",
        "file": "0002-01.jpg",
        "stop": 2,
        "shot": 1,
        "light": "left",
        "planned_um": 140.0,
        "position_um": 140.625,
        "opened_s": 10.0,
        "closed_s": 10.02,
        "exposure_s": 0.02,
        "name": "f.jpg",
        "retaken": 0,
    }
    # The later frame of a shot counts, at its own place in the order.
    assert [frame.file for frame in read_index(tmp_path)] == ["0000-00.jpg", "0002-01.jpg", "0001-00-2.jpg"]
    assert read_index(tmp_path)[1].shot == shot(2, 1, "left")


def test_a_frame_of_nothing_is_not_kept(negatives_of: Callable[..., Negatives], tmp_path: Path) -> None:
    assert negatives_of(tmp_path, "source").keep(shot(), Frame("x", exposure())) is None
    assert index_of(tmp_path) == []


def test_frame_and_line_are_on_the_disk_when_keep_returns(
    negatives_of: Callable[..., Negatives], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frame is synced under its last name, then its folder, and only then the line that names it."""
    told: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        lines = (tmp_path / FOLDER / INDEX_NAME).read_text().count("\n")
        told.append(f"{'part' if name.endswith('.part') else name} {lines}")
        real(descriptor)

    kept = negatives_of(tmp_path, "source")
    monkeypatch.setattr(os, "fsync", fsync)
    kept.keep(shot(), Frame("f.jpg", exposure(), encoded=JPEG))
    assert told == ["part 0", "frames 0", "frames.jsonl 1"]
    assert atomic.os is journal.os is os


def test_a_torn_last_line_is_dropped_and_written_over(
    negatives_of: Callable[..., Negatives], tmp_path: Path
) -> None:
    kept = negatives_of(tmp_path, "source")
    kept.keep(shot(0), Frame("f.jpg", exposure(), encoded=JPEG))
    kept.keep(shot(1), Frame("f.jpg", exposure(), encoded=JPEG))
    kept.close()
    index = tmp_path / FOLDER / INDEX_NAME
    index.write_bytes(index.read_bytes()[:-30])
    assert [frame.shot.stop_index for frame in read_index(tmp_path)] == [0]
    again = negatives_of(tmp_path, "source")
    again.keep(shot(0), Frame("f.jpg", exposure(), encoded=JPEG))
    assert [frame.file for frame in read_index(tmp_path)] == ["0000-00-2.jpg"]


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../run.json"},
        {"file": "/etc/passwd"},
        {"file": 7},
        {"file": "0001-00.jpg/x"},
        {"stop": -1},
        {"stop": "1"},
        {"position_um": None},
        {"position_um": float("nan")},
        {"light": 3},
    ],
)
def test_a_line_that_no_frame_has_is_refused(
    negatives_of: Callable[..., Negatives], tmp_path: Path, change: dict[str, Any]
) -> None:
    kept = negatives_of(tmp_path, "source")
    kept.keep(shot(0), Frame("f.jpg", exposure(), encoded=JPEG))
    kept.close()
    (line,) = index_of(tmp_path)
    (tmp_path / FOLDER / INDEX_NAME).write_text(json.dumps(line | change) + "\n")
    with pytest.raises(JournalError, match=r"frames\.jsonl: line 1"):
        read_index(tmp_path)


@pytest.mark.parametrize("line", ["[]", "3", '{"kind": "frame"}', "null"])
def test_a_line_of_another_kind_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / INDEX_NAME).write_text(line + "\n")
    with pytest.raises(JournalError, match="line 1"):
        read_index(tmp_path)


def frame_of(kind: str) -> Frame:
    match kind:
        case "file":
            return Frame("f.jpg", exposure(), encoded=JPEG)
        case "planes":
            return Frame("pi", exposure(), image=planes())
    return Frame("x", exposure(), image=picture())


@pytest.mark.parametrize("what", ["file", "planes", "image"])
def test_a_frame_that_leaves_no_room_for_the_picture_is_refused(
    negatives_of: Callable[..., Negatives], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    kept = negatives_of(tmp_path, "source")
    monkeypatch.setattr(negatives, "read_room", lambda folder: Room(disk_bytes=200_001_000))
    with pytest.raises(
        JournalError, match=r"0007-00\..* needs 0 MB, 200 MB are free, 200 MB .*keep_frames"
    ) as caught:
        kept.keep(shot(), frame_of(what))
    assert caught.value.values["disk_free_bytes"] == 200_001_000
    assert caught.value.values["disk_bytes"] > 1000
    assert index_of(tmp_path) == []
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == [INDEX_NAME]


@pytest.mark.parametrize("what", ["file", "planes", "image"])
def test_a_disk_that_is_full_all_the_same_is_told(
    negatives_of: Callable[..., Negatives], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    kept = negatives_of(tmp_path, "source")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JournalError, match=r"0007-00\..*No space left on device.*are free.*keep_frames"):
        kept.keep(shot(), frame_of(what))
    monkeypatch.undo()
    assert index_of(tmp_path) == []
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == [INDEX_NAME]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / FOLDER).touch()
    with pytest.raises(JournalError, match=r"frames: cannot be made .*exists"):
        Negatives(tmp_path, "source")
