"""A folder that photographs arrive in: whole ones only, each once, each for its own exposure."""

from __future__ import annotations

import gc
import os
import shutil
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from focusd.drivers import arrivals
from focusd.drivers.file_end import has_end
from focusd.drivers.inbox import Inbox
from focusd.drivers.notices import Notice, Notices
from focusd.errors import CameraError, FrameLost, Stopped
from focusd.pictures import exif
from focusd.pictures.metadata import Metadata, into_jpeg
from focusd.pictures.tags import text_tag
from focusd_sim import dng
from focusd_sim.clock import VirtualClock

NOON = datetime(2026, 6, 1, 12)  # a camera knows of no zone


class Silence(Notices):
    """A kernel that tells nothing, as for what another machine writes on a network mount."""

    def read(self) -> list[Notice]:
        return []


class Tray:
    """An inbox in virtual time; files come and grow at given moments."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.clock, self.stop = VirtualClock(), threading.Event()
        self.folder = folder
        self.inbox = Inbox(folder, self.clock, self.stop, **options)

    def write(self, name: str, data: bytes, mtime_s: int | None = None) -> None:
        path = self.folder / name
        path.write_bytes(data)
        if mtime_s is not None:
            os.utime(path, (mtime_s, mtime_s))

    def later(self, at_s: float, name: str, data: bytes) -> None:
        # Real time stands still here, so give the file the time that the rig's clock shows.
        self.at(at_s, lambda: self.write(name, data, 1_700_000_000 + int(at_s * 1000)))

    def at(self, at_s: float, action: Callable[[], Any]) -> None:
        self.clock.call_at(at_s, lambda: action() and None)

    def expose(self, *, late_s: float = 5.0, seconds: float = 0.2) -> float:
        """As a camera's driver does; returns when the shutter opened."""
        self.inbox.discard_late(late_s)
        opened_s = self.clock.now_s()
        self.inbox.opened(opened_s)
        self.clock.sleep(seconds)
        return opened_s


@pytest.fixture(params=["inotify", "silent"])
def tray(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Tray:
    if request.param == "silent":
        monkeypatch.setattr(arrivals, "Notices", Silence)
    return Tray(tmp_path / "inbox")


@pytest.fixture
def told(tmp_path: Path) -> Tray:
    """Return an inbox whose kernel tells what happens."""
    tray = Tray(tmp_path / "inbox")
    if not Notices(tray.folder).works:
        pytest.skip("no inotify here")
    return tray


def noise(seed: int, rows: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (rows, 64, 3), np.uint8)


def jpeg(seed: int = 0, taken: datetime | None = None, *, rows: int = 48, fraction: bool = True) -> bytes:
    data = cv2.imencode(".jpg", noise(seed, rows))[1].tobytes()
    if taken is None:
        return data
    tags = [text_tag(36867, f"{taken:%Y:%m:%d %H:%M:%S}")]
    if fraction:
        tags.append(text_tag(37521, f"{taken.microsecond // 10000:02d}"))
    return into_jpeg(data, Metadata(exif=exif.block((), tags, "<")))


def tiff(seed: int = 0) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, noise(seed))
    return file.getvalue()


def test_the_folder_is_made(tmp_path: Path) -> None:
    tray = Tray(tmp_path / "a" / "b")
    assert tray.folder.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(CameraError, match=r"camera\.inbox"):
        Tray(tmp_path / "file" / "b")


@pytest.mark.parametrize("name", ["DSC_0001.JPG", "a.jpeg", "a.png", "a.tif", "a.TIFF", "a.CR2", "a.nef"])
def test_a_photograph_is_taken_once_and_stays_where_it_is(tray: Tray, name: str) -> None:
    tray.write(name, b"image")
    assert tray.inbox.take(1.0) == (name, b"image")
    assert (tray.folder / name).exists()
    with pytest.raises(FrameLost, match=f"no frame arrived in {tray.folder} within 1 s"):
        tray.inbox.take(1.0)


@pytest.mark.parametrize(
    "name", ["a.jpg.part", "a", ".a.jpg.x7", "notes.txt", "tiff", "._DSC_0001.JPG", ".in.a.jpg"]
)
def test_other_files_are_not_photographs(tray: Tray, name: str) -> None:
    tray.write(name, b"image")
    with pytest.raises(FrameLost):
        tray.inbox.take(1.0)


def test_folders_and_pipes_are_not_photographs(tray: Tray) -> None:
    (tray.folder / "a.jpg").mkdir()
    os.mkfifo(tray.folder / "b.jpg")
    (tray.folder / "c.jpg").symlink_to("nowhere")
    with pytest.raises(FrameLost):
        tray.inbox.take(1.0)


# Complete files only.


def test_a_file_that_still_grows_is_waited_for(tray: Tray) -> None:
    for tenth in range(1, 9):
        tray.later(0.1 * tenth, "a.jpg", b"x" * tenth)
    assert tray.inbox.take(5.0) == ("a.jpg", b"x" * 8)
    assert 1.0 <= tray.clock.now_s() <= 1.1


def test_a_file_rewritten_at_the_same_size_is_waited_for(tray: Tray) -> None:
    tray.later(0.0, "a.jpg", b"torn")
    tray.later(0.15, "a.jpg", b"done")
    assert tray.inbox.take(5.0) == ("a.jpg", b"done")
    assert tray.clock.now_s() >= 0.35


def test_an_empty_file_is_none_yet(tray: Tray) -> None:
    tray.write("a.jpg", b"")
    tray.later(2.0, "a.jpg", b"image")
    assert tray.inbox.take(5.0) == ("a.jpg", b"image")


def test_a_file_that_stays_empty_is_told_of(tray: Tray) -> None:
    tray.write("a.jpg", b"")
    with pytest.raises(FrameLost, match=r"no frame arrived .*a\.jpg is empty"):
        tray.inbox.take(1.0)


def test_a_renamed_file_is_taken_by_its_last_name(tray: Tray) -> None:
    tray.write("tmp.jpg", b"image")
    tray.at(0.12, lambda: (tray.folder / "tmp.jpg").rename(tray.folder / "a.jpg"))
    assert tray.inbox.take(5.0)[0] == "a.jpg"


def test_an_upload_that_is_renamed_at_its_end(tray: Tray) -> None:
    data = jpeg()
    tray.write("a.jpg.part", data[:100])
    tray.at(1.0, lambda: tray.write("a.jpg.part", data))
    tray.at(2.0, lambda: (tray.folder / "a.jpg.part").rename(tray.folder / "a.jpg"))
    assert tray.inbox.take(5.0) == ("a.jpg", data)
    assert tray.clock.now_s() >= 2.0


def test_a_closed_file_whose_end_is_there_is_taken_at_once(told: Tray) -> None:
    told.later(1.0, "a.jpg", jpeg())
    told.inbox.take(5.0)
    assert told.clock.now_s() <= 1.06


@pytest.mark.parametrize("make", [jpeg, tiff, lambda: cv2.imencode(".png", noise(0))[1].tobytes()])
def test_an_upload_that_stalls_and_is_resumed_is_waited_for(tray: Tray, make: Callable[[], bytes]) -> None:
    """An FTP server closes what it has when the link breaks, and appends when the camera comes again."""
    data = make()
    for at_s, part in ((0.5, 0.4), (4.0, 0.8), (8.0, 1.0)):
        tray.later(at_s, "a.jpg", data[: int(part * len(data))])
    assert tray.inbox.take(10.0) == ("a.jpg", data)
    assert tray.clock.now_s() >= 8.0


def test_an_upload_that_stays_cut_short_is_told_of(tray: Tray) -> None:
    tray.write("a.jpg", jpeg()[:1000])
    with pytest.raises(FrameLost, match=r"a\.jpg is cut short at 1000 bytes"):
        tray.inbox.take(3.0)


def test_a_stall_of_a_file_that_is_held_open_is_waited_out(told: Tray) -> None:
    """Bytes that do not tell whether they are all: the kernel knows that somebody is still at it."""
    file = (told.folder / "a.cr3").open("wb")
    file.write(b"first half, ")
    file.flush()

    def end() -> None:
        with file:
            file.write(b"second half")

    told.at(5.0, end)
    assert told.inbox.take(20.0) == ("a.cr3", b"first half, second half")
    assert told.clock.now_s() < 5.3


def test_a_writer_that_never_closes_is_not_waited_for_for_ever(told: Tray) -> None:
    with (told.folder / "a.cr3").open("wb") as file:
        file.write(b"all there is")
        file.flush()
        assert told.inbox.take(20.0) == ("a.cr3", b"all there is")


def test_a_file_that_is_deleted_meanwhile_is_none(tray: Tray) -> None:
    tray.write("a.jpg", jpeg()[:1000])
    tray.at(0.3, (tray.folder / "a.jpg").unlink)
    tray.later(1.0, "b.jpg", b"image")
    assert tray.inbox.take(5.0)[0] == "b.jpg"


def test_a_file_that_may_not_be_read_yet(tray: Tray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An FTP server's umask. Root may read everything, so the refusal is made here."""
    genuine, allowed = Path.open, False

    def strict(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == "a.jpg" and not allowed:
            raise PermissionError(13, "Permission denied")
        return genuine(path, *args, **options)

    tray.write("a.jpg", b"image")
    monkeypatch.setattr(Path, "open", strict)
    with pytest.raises(FrameLost, match=r"a\.jpg cannot be read: Permission denied"):
        tray.inbox.take(1.0)
    allowed = True
    assert tray.inbox.take(1.0) == ("a.jpg", b"image")


def test_too_large_a_file_is_no_photograph(tray: Tray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "MAX_FRAME_BYTES", 10)
    tray.write("a.jpg", b"x" * 11, 100)
    with pytest.raises(FrameLost, match=r"a\.jpg is larger than 10 bytes"):
        tray.inbox.take(1.0)
    tray.write("b.jpg", b"x" * 10, 200)
    assert tray.inbox.take(1.0)[0] == "b.jpg"


def test_whether_a_file_has_its_end() -> None:
    dated = jpeg(taken=NOON)
    raw = dng.written(dng.linear(noise(0)), taken=NOON)
    for data in (
        jpeg(),
        dated,
        dated + bytes(1000),
        tiff(),
        raw,
        cv2.imencode(".png", noise(0))[1].tobytes(),
    ):
        assert has_end(data) is True
    for data in (jpeg(), dated, tiff(), raw, cv2.imencode(".png", noise(0))[1].tobytes()):
        for part in np.linspace(2, len(data) - 3, 40).astype(int):
            assert has_end(data[:part]) is not True, (data[:4], part, len(data))
    assert has_end(b"FUJIFILMCCD-RAW") is None


def test_a_thumbnail_s_end_is_not_the_picture_s() -> None:
    thumbnail = jpeg(1, rows=16)
    whole = into_jpeg(jpeg(), Metadata(exif=exif.block([text_tag(270, "x")], (), "<") + thumbnail))
    assert has_end(whole) is True
    assert has_end(whole[: len(thumbnail) + 500]) is False


# Which files.


def test_the_oldest_comes_first_then_by_name(tray: Tray) -> None:
    for name, mtime_s in (("a.jpg", 300), ("b.jpg", 100), ("d.jpg", 200), ("c.jpg", 200)):
        tray.write(name, name.encode(), mtime_s)
    assert [tray.inbox.take(1.0)[0] for _ in range(4)] == ["b.jpg", "c.jpg", "d.jpg", "a.jpg"]


def test_what_was_there_is_forgotten(tray: Tray) -> None:
    tray.write("a.jpg", b"a")
    tray.write("b.jpg", b"b")
    assert tray.inbox.forget_present() == 2
    tray.later(0.5, "c.jpg", b"c")
    assert tray.inbox.take(5.0)[0] == "c.jpg"


def test_what_is_still_written_when_a_stack_begins_is_an_earlier_one_s(told: Tray) -> None:
    file = (told.folder / "a.jpg").open("wb")
    file.write(b"first half")
    file.flush()
    told.inbox.is_ready()
    told.inbox.forget_present()
    told.expose()
    told.at(0.5, file.close)
    told.later(1.0, "b.jpg", b"image")
    assert told.inbox.take(5.0)[0] == "b.jpg"


def test_a_tool_that_reuses_one_name_is_understood(tray: Tray) -> None:
    """gphoto2 writes every tethered frame to capt0000.jpg unless told otherwise."""
    tray.write("capt0000.jpg", b"before", 100)
    tray.inbox.forget_present()
    for shot in range(3):
        tray.write("capt0000.jpg", b"shot%d" % shot, 200 + shot)
        assert tray.inbox.take(1.0) == ("capt0000.jpg", b"shot%d" % shot)


def test_a_late_frame_does_not_spoil_its_name(tray: Tray) -> None:
    tray.expose()
    with pytest.raises(FrameLost):
        tray.inbox.take(1.0)
    tray.write("capt0000.jpg", b"late", 100)
    tray.expose()
    tray.write("capt0000.jpg", b"next", 200)
    assert tray.inbox.take(1.0) == ("capt0000.jpg", b"next")


def test_a_file_among_thousands_of_old_ones_is_found(tray: Tray) -> None:
    for number in range(2000):
        tray.write(f"old{number:04d}.jpg", b"old")
    tray.inbox.forget_present()
    tray.later(0.5, "new.jpg", b"new")
    assert tray.inbox.take(5.0)[0] == "new.jpg"
    # Written anew in place: told by the kernel, else found by and by.
    tray.later(3.0, "old0700.jpg", b"newer")
    assert tray.inbox.take(10.0)[0] == "old0700.jpg"


def test_old_files_are_not_looked_at_one_by_one(tray: Tray, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1000):
        tray.write(f"old{number:04d}.jpg", b"old")
    tray.inbox.forget_present()
    looked = 0
    genuine = Path.stat

    def counting(path: Path, **options: Any) -> os.stat_result:
        nonlocal looked
        looked += 1
        return genuine(path, **options)

    monkeypatch.setattr(Path, "stat", counting)
    with pytest.raises(FrameLost):
        tray.inbox.take(5.0)
    assert looked <= 100 * 66, "a hundred listings, with some files each"


def test_a_slow_listing_is_made_seldom(tray: Tray, monkeypatch: pytest.MonkeyPatch) -> None:
    listings = 0
    genuine = os.scandir

    def slow(folder: Path) -> Any:
        nonlocal listings
        listings += 1
        tray.clock.sleep(0.1)
        return genuine(folder)

    monkeypatch.setattr(arrivals.os, "scandir", slow)
    with pytest.raises(FrameLost):
        tray.inbox.take(20.0)
    assert 8 <= listings <= 12, "a twentieth of the time"


# Pairs.


@pytest.mark.parametrize(("kind", "name"), [("raw", "a.nef"), ("jpeg", "a.JPG"), (None, "a.JPG")])
@pytest.mark.parametrize("raw_first", [True, False])
def test_a_pair_is_one_frame(tmp_path: Path, kind: str | None, name: str, raw_first: bool) -> None:
    tray = Tray(tmp_path, kind=kind)
    for shot in range(3):
        tray.expose()
        now_s = tray.clock.now_s()
        names = ["a.nef", "a.JPG"] if raw_first else ["a.JPG", "a.nef"]
        for delay_s, file in zip((0.1, 0.12), names, strict=True):
            shot_name = file.replace("a", f"a{shot}")
            tray.later(now_s + delay_s, shot_name, f"{shot_name} image".encode())
        assert tray.inbox.take(5.0)[0] == name.replace("a", f"a{shot}")
        assert not tray.inbox.is_ready()


def test_a_tool_that_counts_from_the_beginning_again_may_bring_raw_files_then(tray: Tray) -> None:
    """As `gphoto2 --capture-tethered` does, started anew for a camera that was set to raw meanwhile."""
    tray.write("capt0000.jpg", b"image")
    tray.inbox.take(5.0)
    (tray.folder / "capt0000.jpg").unlink()
    tray.inbox.forget_present()
    tray.write("capt0000.nef", b"raw")
    assert tray.inbox.take(5.0) == ("capt0000.nef", b"raw")


def test_the_first_kind_decides_for_a_stack(tray: Tray) -> None:
    tray.write("a.nef", b"raw")
    assert tray.inbox.take(1.0)[0] == "a.nef"
    tray.write("b.jpg", b"image")
    with pytest.raises(FrameLost, match=r"b\.jpg is not of the kind that counts; see camera\.files"):
        tray.inbox.take(1.0)
    tray.inbox.forget_present()
    tray.write("c.jpg", b"another image")
    assert tray.inbox.take(1.0)[0] == "c.jpg"


# Whose a file is.


def test_a_doubled_file_is_not_the_next_one(tray: Tray) -> None:
    tray.expose()
    tray.write("a.jpg", b"image")
    tray.inbox.take(1.0)
    tray.expose()
    tray.later(tray.clock.now_s() + 0.5, "a (1).jpg", b"image")
    tray.later(tray.clock.now_s() + 1.0, "b.jpg", b"next")
    assert tray.inbox.take(3.0) == ("b.jpg", b"next")


def test_a_doubled_file_alone_is_told_of(tray: Tray) -> None:
    tray.expose()
    tray.write("a.jpg", b"image")
    tray.inbox.take(1.0)
    tray.expose()
    tray.later(tray.clock.now_s() + 0.5, "b.jpg", b"image")
    with pytest.raises(FrameLost, match=r"b\.jpg is the same as a frame before"):
        tray.inbox.take(3.0)


def test_a_late_file_that_is_still_written_is_not_the_next_one(tray: Tray) -> None:
    tray.expose()
    with pytest.raises(FrameLost):
        tray.inbox.take(1.0)
    late, own = jpeg(0), jpeg(1)
    tray.write("a.jpg", late[:500])
    tray.clock.sleep(0.1)
    tray.expose(late_s=0.0)
    tray.later(tray.clock.now_s() + 0.5, "a.jpg", late)
    tray.later(tray.clock.now_s() + 1.0, "b.jpg", own)
    assert tray.inbox.take(3.0) == ("b.jpg", own)


def test_files_without_a_time_are_owed_for_a_while(tray: Tray) -> None:
    """Nothing is exposed while a file of the exposure before could pass for the next one's."""
    opened_s = tray.expose()
    with pytest.raises(FrameLost):
        tray.inbox.take(5.0)
    assert tray.expose(late_s=5.0) >= opened_s + 10.0
    tray.write("a.jpg", b"image")
    tray.inbox.take(5.0)
    opened_s = tray.expose()
    with pytest.raises(FrameLost):
        tray.inbox.take(5.0)
    came_s = tray.clock.now_s() + 2.0
    tray.later(came_s, "late.jpg", b"late")
    assert came_s <= tray.expose(late_s=5.0) <= came_s + 0.5, "the late one came, so none is owed"


@pytest.mark.parametrize("fraction", [True, False])
def test_a_late_file_is_told_by_its_time(tray: Tray, fraction: bool) -> None:
    def file(opened_s: float) -> bytes:
        return jpeg(int(opened_s * 100), NOON + timedelta(seconds=opened_s), fraction=fraction)

    for shot in range(3):
        data = file(tray.expose())
        tray.write(f"a{shot}.jpg", data)
        assert tray.inbox.take(5.0)[1] == data
        tray.clock.sleep(1.0)
    late = file(tray.expose())
    with pytest.raises(FrameLost):
        tray.inbox.take(3.0)
    given_up_s = tray.clock.now_s()
    opened_s = tray.expose()
    assert opened_s == given_up_s, "nothing to wait for"
    tray.later(opened_s + 0.5, "late.jpg", late)
    tray.later(opened_s + 1.0, "own.jpg", file(opened_s))
    assert tray.inbox.take(5.0)[0] == "own.jpg"
    tray.expose()
    tray.later(tray.clock.now_s() + 0.5, "again.jpg", late + b"another byte")
    with pytest.raises(FrameLost, match=r"again\.jpg is a second file of an exposure \d"):
        tray.inbox.take(3.0)


def test_the_emergency_stop_wakes_the_wait_for_what_is_owed(tray: Tray) -> None:
    tray.expose()
    with pytest.raises(FrameLost):
        tray.inbox.take(5.0)
    tray.at(tray.clock.now_s() + 1.0, lambda: tray.stop.set())
    with pytest.raises(Stopped):
        tray.inbox.discard_late(5.0)


@pytest.mark.parametrize("pause_s", [0.0, 100.0])
def test_an_exposure_that_nobody_waits_for_costs_the_next_one_nothing(tray: Tray, pause_s: float) -> None:
    """An emergency stop, or a press that the flash contact knew nothing of; a new stack, or the same one."""
    opened_s = tray.expose()
    if pause_s:
        tray.later(opened_s + 1.0, "stray.jpg", b"stray")
        tray.clock.sleep(pause_s)
        tray.inbox.forget_present()
    again_s = tray.expose(late_s=5.0)
    # Only while its file could pass for the next one's.
    assert again_s == pytest.approx(opened_s + max(10.0, pause_s + 0.2), abs=0.1)
    tray.write("own.jpg", b"own")
    assert tray.inbox.take(5.0) == ("own.jpg", b"own")


# Waiting.


def test_ready_means_that_take_returns_at_once(tray: Tray) -> None:
    assert not tray.inbox.is_ready()
    tray.write("a.jpg", b"image")
    assert not tray.inbox.is_ready()
    tray.clock.sleep(0.25)
    tray.inbox.is_ready()
    tray.clock.sleep(0.25)
    assert tray.inbox.is_ready()
    before_s = tray.clock.now_s()
    assert tray.inbox.take(0.0) == ("a.jpg", b"image")
    assert tray.clock.now_s() == before_s
    assert not tray.inbox.is_ready()


def test_the_wait_ends_when_it_was_said_to(tray: Tray) -> None:
    with pytest.raises(FrameLost) as raised:
        tray.inbox.take(3.0)
    assert raised.value.values == {"timeout_s": 3.0}
    assert 3.0 <= tray.clock.now_s() <= 3.1


def test_a_stop_wakes_the_wait(tray: Tray) -> None:
    tray.at(1.0, lambda: tray.stop.set())
    with pytest.raises(Stopped):
        tray.inbox.take(100.0)
    assert tray.clock.now_s() < 1.1


def test_a_folder_that_vanishes_is_a_lost_camera_not_a_crash(tray: Tray) -> None:
    """A memory stick pulled out must end the job, not the daemon."""
    shutil.rmtree(tray.folder)
    with pytest.raises(CameraError):
        tray.inbox.take(1.0)
    with pytest.raises(CameraError):
        tray.inbox.forget_present()


def test_a_folder_that_comes_again_is_watched_again(told: Tray) -> None:
    shutil.rmtree(told.folder)
    with pytest.raises(CameraError):
        told.inbox.is_ready()
        told.clock.sleep(0.1)
        told.inbox.is_ready()
    told.folder.mkdir()
    told.inbox.forget_present()
    told.later(told.clock.now_s() + 1.0, "a.jpg", jpeg())
    began_s = told.clock.now_s()
    assert told.inbox.take(5.0)[0] == "a.jpg"
    assert told.clock.now_s() - began_s <= 1.06, "at once, so it was the kernel that told"


def test_the_watch_is_given_back(tmp_path: Path) -> None:
    if not Notices(tmp_path).works:
        pytest.skip("no inotify here")
    gc.collect()  # other tests' inboxes
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        tray = Tray(tmp_path)
        tray.inbox.close()
        tray.inbox.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
