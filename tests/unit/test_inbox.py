"""A folder that photographs arrive in: whole ones only, each once, in order."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from focusd.drivers import inbox as inbox_module
from focusd.drivers.inbox import Inbox
from focusd.errors import CameraError, FrameLost, Stopped
from focusd_sim.clock import VirtualClock


class Tray:
    """An inbox in virtual time; files come and grow at given moments."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.stop = VirtualClock(), threading.Event()
        self.folder = folder
        self.inbox = Inbox(folder, self.clock, self.stop)

    def write(self, name: str, data: bytes, mtime_s: int | None = None) -> None:
        path = self.folder / name
        path.write_bytes(data)
        if mtime_s is not None:
            os.utime(path, (mtime_s, mtime_s))

    def later(self, at_s: float, name: str, data: bytes) -> None:
        # Real time stands still here, so give the file the time that the rig's clock shows.
        self.clock.call_at(at_s, lambda: self.write(name, data, 1_700_000_000 + int(at_s * 1000)))


@pytest.fixture
def tray(tmp_path: Path) -> Tray:
    return Tray(tmp_path / "inbox")


def test_the_folder_is_made(tmp_path: Path) -> None:
    tray = Tray(tmp_path / "a" / "b")
    assert tray.folder.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(CameraError, match=r"camera\.inbox"):
        Tray(tmp_path / "file" / "b")


@pytest.mark.parametrize("name", ["DSC_0001.JPG", "a.jpeg", "a.png", "a.tif", "a.TIFF"])
def test_a_photograph_is_taken_once_and_stays_where_it_is(tray: Tray, name: str) -> None:
    tray.write(name, b"image")
    assert tray.inbox.take(1.0) == (name, b"image")
    assert (tray.folder / name).exists()
    with pytest.raises(FrameLost, match=f"no frame arrived in {tray.folder} within 1 s"):
        tray.inbox.take(1.0)


@pytest.mark.parametrize("name", ["a.jpg.part", "a.cr2", "a", ".a.jpg.x7", "notes.txt", "tiff"])
def test_other_files_are_not_photographs(tray: Tray, name: str) -> None:
    tray.write(name, b"image")
    with pytest.raises(FrameLost):
        tray.inbox.take(1.0)


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


def test_a_renamed_file_is_taken_by_its_last_name(tray: Tray) -> None:
    tray.write("tmp.jpg", b"image")
    tray.clock.call_at(0.12, lambda: (tray.folder / "tmp.jpg").rename(tray.folder / "a.jpg") and None)
    assert tray.inbox.take(5.0)[0] == "a.jpg"


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


def test_a_tool_that_reuses_one_name_is_understood(tray: Tray) -> None:
    """gphoto2 writes every tethered frame to capt0000.jpg unless told otherwise."""
    tray.write("capt0000.jpg", b"before", 100)
    tray.inbox.forget_present()
    for shot in range(3):
        tray.write("capt0000.jpg", b"shot%d" % shot, 200 + shot)
        assert tray.inbox.take(1.0) == ("capt0000.jpg", b"shot%d" % shot)


def test_ready_means_that_take_returns_at_once(tray: Tray) -> None:
    assert not tray.inbox.is_ready()
    tray.write("a.jpg", b"image")
    assert not tray.inbox.is_ready()
    tray.clock.sleep(0.25)
    assert tray.inbox.is_ready()
    before_s = tray.clock.now_s()
    tray.inbox.take(0.0)
    assert tray.clock.now_s() == before_s
    assert not tray.inbox.is_ready()


def test_the_wait_ends_when_it_was_said_to(tray: Tray) -> None:
    with pytest.raises(FrameLost) as raised:
        tray.inbox.take(3.0)
    assert raised.value.values == {"timeout_s": 3.0}
    assert 3.0 <= tray.clock.now_s() <= 3.1


def test_a_stop_wakes_the_wait(tray: Tray) -> None:
    tray.clock.call_at(1.0, tray.stop.set)
    with pytest.raises(Stopped):
        tray.inbox.take(100.0)
    assert tray.clock.now_s() < 1.1


def test_too_large_a_file_is_refused_once(tray: Tray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "MAX_FRAME_BYTES", 10)
    tray.write("a.jpg", b"x" * 11, 100)
    tray.write("b.jpg", b"x" * 10, 200)
    with pytest.raises(FrameLost, match=r"a\.jpg is larger than 10 bytes"):
        tray.inbox.take(1.0)
    assert tray.inbox.take(1.0)[0] == "b.jpg"


def test_a_folder_that_vanishes_is_a_lost_frame_not_a_crash(tray: Tray) -> None:
    """A memory stick pulled out must end the job, not the daemon."""
    shutil.rmtree(tray.folder)
    with pytest.raises(CameraError):
        tray.inbox.take(1.0)
    with pytest.raises(CameraError):
        tray.inbox.forget_present()
