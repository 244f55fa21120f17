"""What systemd hears, on a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from focusd.notify import notify, watchdog_interval_s


@pytest.fixture
def service_manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10.0)
        yield sock


def test_lines_arrive_as_one_datagram(
    service_manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A socket's path has 107 bytes at most, which tmp_path may exceed: name it from within.
    monkeypatch.chdir(tmp_path)
    service_manager.bind("notify")
    monkeypatch.setenv("NOTIFY_SOCKET", "notify")
    assert notify("READY=1", "STATUS=rig \u00b5")
    assert service_manager.recv(1024).decode() == "READY=1\nSTATUS=rig \u00b5"
    assert notify("WATCHDOG=1")
    assert service_manager.recv(1024) == b"WATCHDOG=1"


def test_an_abstract_socket(service_manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"focusd-test-{os.getpid()}"
    service_manager.bind(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    assert notify("STOPPING=1")
    assert service_manager.recv(1024) == b"STOPPING=1"


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "interval_s"),
    [(None, None), ("", None), ("0", None), ("x", None), ("-5", None), ("30000000", 15.0), ("500000", 0.25)],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_must(
    usec: str | None, interval_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    if usec is not None:
        monkeypatch.setenv("WATCHDOG_USEC", usec)
    assert watchdog_interval_s() == interval_s
