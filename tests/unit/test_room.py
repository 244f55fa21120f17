"""What the machine has left, read from files laid out as the kernel does, and the refusal of what is more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd.room import (
    DISK_RESERVE_BYTES,
    MEMORY_RESERVE_BYTES,
    NoRoom,
    Room,
    megabytes,
    read_room,
)

MB = 1_000_000
KIB = 1024


class Machine:
    """A kernel's files in a folder of our own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.proc, self.cgroups = folder, folder / "proc", folder / "cgroup"

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def has(self, available_kib: int, own_kib: int = 0) -> None:
        self.write(
            "proc/meminfo", f"MemTotal: 999999999 kB\nMemFree: 5 kB\nMemAvailable:  {available_kib} kB\n"
        )
        self.write(
            "proc/self/status",
            f"Name:\tfocusd\nVmRSS:\t 777777 kB\nRssAnon:\t {own_kib} kB\nRssFile:\t 9999 kB\n"
            "RssShmem:\t 0 kB\n",
        )

    def group(self, path: str, limit: str, used: int, dropped: int = 0, high: str = "max") -> None:
        """One group of version 2."""
        self.write(f"cgroup{path}/memory.max", f"{limit}\n")
        self.write(f"cgroup{path}/memory.high", f"{high}\n")
        self.write(f"cgroup{path}/memory.current", f"{used}\n")
        self.write(f"cgroup{path}/memory.stat", f"anon 7\nfile 8\nactive_file {dropped}\ninactive_file 0\n")

    def memory(self) -> int | None:
        return read_room(self.folder, self.proc, self.cgroups).memory_bytes


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.has(400_000)
    return made


def test_without_groups_it_is_what_the_kernel_calls_available(machine: Machine) -> None:
    assert machine.memory() == 400_000 * KIB


def test_what_the_process_holds_itself_is_its_own_to_use(machine: Machine) -> None:
    machine.has(400_000, own_kib=50_000)
    assert machine.memory() == 450_000 * KIB


def test_the_unit_s_limit_counts_where_it_is_less(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/system.slice/focusd.service\n")
    machine.group("/system.slice/focusd.service", str(300 * MB), used=120 * MB)
    assert machine.memory() == 180 * MB
    machine.group("/system.slice/focusd.service", str(3000 * MB), used=120 * MB)
    assert machine.memory() == 400_000 * KIB


def test_pages_of_files_do_not_use_a_limit_up(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/focusd\n")
    machine.group("/focusd", str(300 * MB), used=290 * MB, dropped=200 * MB)
    assert machine.memory() == 210 * MB


def test_the_tightest_of_the_groups_around_counts(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/system.slice/focusd.service\n")
    machine.group("/system.slice/focusd.service", "max", used=50 * MB)
    machine.group("/system.slice", str(200 * MB), used=90 * MB)
    assert machine.memory() == 110 * MB
    machine.group("/system.slice/focusd.service", "max", used=50 * MB, high=str(130 * MB))
    assert machine.memory() == 80 * MB


def test_a_container_s_own_root_has_a_limit(machine: Machine) -> None:
    for path in ("/", "/../../outside", "/not/shown/here"):
        machine.write("proc/self/cgroup", f"0::{path}\n")
        machine.group("", str(128 * MB), used=28 * MB)
        assert machine.memory() == 100 * MB, path


def test_nothing_outside_the_groups_folder_is_taken_for_a_limit(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/../outside\n")
    for place in ("", "outside/"):
        machine.write(f"{place}memory.max", str(90 * MB))
        machine.write(f"{place}memory.current", "0")
    machine.group("", str(128 * MB), used=28 * MB)
    assert machine.memory() == 100 * MB


def test_version_1_is_heeded(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/jobs/one\n1:name=systemd:/a\n0::/\n")
    group = "cgroup/memory/jobs/one"
    machine.write(f"{group}/memory.limit_in_bytes", str(256 * MB))
    machine.write(f"{group}/memory.usage_in_bytes", str(200 * MB))
    machine.write(f"{group}/memory.stat", f"inactive_file 1\ntotal_inactive_file {60 * MB}\n")
    machine.write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    machine.write("cgroup/memory/memory.usage_in_bytes", str(900 * MB))
    assert machine.memory() == 116 * MB


def test_a_group_over_its_limit_leaves_nothing_but_one_s_own(machine: Machine) -> None:
    machine.has(400_000, own_kib=1000)
    machine.write("proc/self/cgroup", "0::/focusd\n")
    machine.group("/focusd", str(100 * MB), used=130 * MB)
    assert machine.memory() == 1000 * KIB


def test_where_the_system_says_nothing_nothing_is_known(tmp_path: Path) -> None:
    assert read_room(tmp_path, tmp_path / "no", tmp_path / "none").memory_bytes is None


@pytest.mark.parametrize("text", ["garbage", "0:", "4:memory", "::", "\x00\xff:::"])
def test_lines_that_make_no_sense_are_passed_over(machine: Machine, text: str) -> None:
    machine.write("proc/self/cgroup", f"{text}\n")
    assert machine.memory() == 400_000 * KIB


def test_this_machine_answers(tmp_path: Path) -> None:
    room = read_room(tmp_path)
    assert room.memory_bytes is not None
    assert room.memory_bytes > 10 * MB
    stat = os.statvfs(tmp_path)
    assert room.disk_bytes is not None
    assert room.disk_bytes <= stat.f_blocks * stat.f_frsize


def test_the_disk_of_a_folder_that_is_yet_to_be_made(tmp_path: Path) -> None:
    deep = read_room(tmp_path / "not" / "there").disk_bytes
    assert deep is not None
    assert deep > 0


@given(st.integers(0, 1 << 50), st.sampled_from(["memory", "disk"]))
def test_a_job_is_refused_from_one_byte_beyond_the_limit(needed: int, what: str) -> None:
    reserve = MEMORY_RESERVE_BYTES if what == "memory" else DISK_RESERVE_BYTES
    needs = {f"{what}_bytes": needed}
    rest = {"memory_bytes": None, **needs}
    Room(**{f"{what}_bytes": needed + reserve}).require(**rest)
    with pytest.raises(NoRoom, match=f"of {what}") as raised:
        Room(**{f"{what}_bytes": needed + reserve - 1}).require(**rest)
    assert raised.value.values == {**needs, f"{what}_free_bytes": needed + reserve - 1}


def test_a_refusal_has_the_figures_and_says_what_to_do() -> None:
    with pytest.raises(NoRoom) as raised:
        Room(180 * MB, 100 * MB).require(310 * MB, 400 * MB)
    assert raised.value.code == "no_room"
    assert str(raised.value).split("; ") == [
        "the job does not fit: needs 310 MB of memory, 180 MB are free, 32 MB of them kept back: use smaller "
        "frames, end other programs, or raise the unit's MemoryMax",
        "the job does not fit: needs 400 MB of disk, 100 MB are free, 200 MB of them kept back: delete runs "
        "that are no longer needed, or choose another [data] dir",
    ]


def test_what_is_not_known_is_not_held_against_a_job() -> None:
    Room().require(10**15, 10**15)
    Room(0, 0).require(None, None)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 MB"), (310_400_000, "310 MB"), (9_999 * MB, "9999 MB"), (10**10, "10.0 GB")]
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert megabytes(count) == text
