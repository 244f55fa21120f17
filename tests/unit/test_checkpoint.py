"""A saved state comes back bit for bit or not at all; saving keeps within its share of the time."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from focusd import checkpoint
from focusd.checkpoint import FORMAT_VERSION, Saver, StateError, read_state, write_state
from focusd.errors import FocusdError, Stopped
from focusd.fusion.state import FusionState

KINDS = ["bool", "u1", "i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8", ">f4", ">u2"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)
ARRAYS = st.sampled_from(KINDS).flatmap(lambda kind: hnp.arrays(kind, SHAPES))
FACTS = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
STATES = st.builds(FusionState, FACTS, st.dictionaries(st.text(max_size=8), ARRAYS, max_size=4))


def small() -> FusionState:
    rng = np.random.default_rng(1)
    planes: dict[str, Any] = {
        "sum": rng.random((5, 7), np.float32),
        "origin": rng.integers(0, 9, (5, 7)).astype(np.int16),
    }
    return FusionState({"frames": 9, "sigma": 2.5}, planes)


def forged(path: Path, header: bytes, planes: bytes = b"", version: int = FORMAT_VERSION) -> Path:
    """Write a file that is wrong in what it says, but not in its checksum."""
    numbers = struct.pack("<II", version, len(header))
    digest = hashlib.blake2b(numbers + header, digest_size=16).digest()
    path.write_bytes(b"focusd-state" + numbers + digest + header + planes)
    return path


def table(**over: Any) -> bytes:
    digest = hashlib.blake2b(b"\0" * 4, digest_size=16).hexdigest()
    row = {"name": "a", "dtype": "<f4", "shape": [1], "bytes": 4, "blake2b": digest, **over}
    return json.dumps({"facts": {}, "about": {}, "planes": [row]}).encode()


@settings(max_examples=150, deadline=None)
@given(state=STATES, about=FACTS)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, state: FusionState, about: Any
) -> None:
    path = tmp_path_factory.mktemp("s") / "a.state"
    write_state(path, state, about)
    found = read_state(path)
    assert found.about == about
    assert found.state.facts == state.facts
    assert list(found.state.planes) == list(state.planes)
    for name, plane in state.planes.items():
        again = found.state.planes[name]
        assert again.dtype == plane.dtype.newbyteorder("<")
        assert again.shape == plane.shape
        assert again.tobytes() == plane.astype(again.dtype).tobytes()
        assert again.flags.writeable
    assert [entry.name for entry in path.parent.iterdir()] == ["a.state"]


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[1:-1, 2:-2],
        lambda a: a[:, ::2],
        lambda a: a.T,
        lambda a: a[0, ::3],
        lambda a: a[None, 1:, ::-1],
        lambda a: np.broadcast_to(a[0], (4, 40)),
    ],
)
def test_views_are_saved_as_they_look(tmp_path: Path, view: Callable[[Any], Any]) -> None:
    plane = view(np.arange(1200, dtype=np.float32).reshape(30, 40))
    write_state(tmp_path / "s", FusionState({}, {"a": plane}))
    np.testing.assert_array_equal(read_state(tmp_path / "s").state.planes["a"], plane)


def test_planes_longer_than_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_PIECE_BYTES", 100)
    monkeypatch.setattr(checkpoint, "_SYNC_BYTES", 250)
    rng = np.random.default_rng(2)
    planes: dict[str, Any] = {f"{n}": rng.random(n).astype(np.float32) for n in (24, 25, 26, 999)}
    beats: list[int] = []
    write_state(tmp_path / "s", FusionState({}, planes), beat=lambda: beats.append(1))
    assert len(beats) == 2 * sum(-(-4 * n // 100) for n in (24, 25, 26, 999))  # checked, then written
    for name, plane in read_state(tmp_path / "s").state.planes.items():
        np.testing.assert_array_equal(plane, planes[name])


# Damage.


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_one_changed_byte_anywhere_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    write_state(path, small())
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(StateError):
        read_state(path)


def test_a_file_cut_anywhere_or_with_a_tail_is_found(tmp_path: Path) -> None:
    write_state(tmp_path / "s", small())
    whole = (tmp_path / "s").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(StateError, match=r"damaged|not a saved state"):
            read_state(tmp_path / "cut")
    (tmp_path / "long").write_bytes(whole + b"\0")
    with pytest.raises(StateError, match="bytes long"):
        read_state(tmp_path / "long")


def test_the_message_says_what_to_do(tmp_path: Path) -> None:
    write_state(tmp_path / "s", small())
    content = bytearray((tmp_path / "s").read_bytes())
    content[-1] ^= 1
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(StateError, match=r"checksum of plane origin is wrong.*focusd fuse"):
        read_state(tmp_path / "s")


def test_a_newer_format_is_told_from_damage(tmp_path: Path) -> None:
    path = forged(tmp_path / "s", table(), b"\0" * 4, FORMAT_VERSION + 1)
    with pytest.raises(StateError, match="newer one"):
        read_state(path)


@pytest.mark.parametrize("name", ["not there", "."])
def test_what_is_no_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(StateError, match="check the name"):
        read_state(tmp_path / name)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"facts": 1, "about": {}, "planes": []}',
        b'{"facts": {}, "about": {}, "planes": [1]}',
        table(dtype="|O"),
        table(dtype=["<f4"]),
        table(name=1),
        table(shape=[-1]),
        table(shape=[True]),
        table(shape=[1.0]),
        table(shape=[1] * 9),
        table(shape="1"),
        table(shape=[2**40], bytes=2**42),
        table(shape=[2**40]),
        table(bytes=8),
        table(blake2b="0"),
        table().replace(b'"planes": [', b'"planes": [' + table()[36:-2] + b", "),
    ],
)
def test_a_header_that_makes_no_sense_is_refused_before_memory_is_taken(
    tmp_path: Path, header: bytes
) -> None:
    path = forged(tmp_path / "s", header, b"\0" * 4)
    tracemalloc.start()
    try:
        with pytest.raises(StateError, match="damaged"):
            read_state(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert read_state(forged(tmp_path / "good", table(), b"\0" * 4)).state.planes["a"] == 0


def test_a_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"focusd-state" + struct.pack("<II", 1, 2**32 - 1) + b"\0" * 100)
    with pytest.raises(StateError, match="4294967295 bytes in a file of 120"):
        read_state(tmp_path / "s")


@pytest.mark.parametrize("plane", [np.array(["a"]), np.zeros(2, complex), np.array([None])])
def test_a_plane_of_another_type_is_refused(tmp_path: Path, plane: Any) -> None:
    with pytest.raises(StateError, match="plane a of"):
        write_state(tmp_path / "s", FusionState({}, {"a": plane}))
    assert [*tmp_path.iterdir()] == []


def test_neither_way_takes_memory_for_a_second_state(tmp_path: Path) -> None:
    plane = np.zeros((40 << 20) // 4, np.float32).reshape(-1, 1024)
    padded = np.zeros((plane.shape[0], 1030), np.float32)[:, 3:-3]
    state = FusionState({}, {"whole": plane, "view": padded})
    tracemalloc.start()
    try:
        write_state(tmp_path / "s", state)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.reset_peak()
        kept = read_state(tmp_path / "s")
        assert tracemalloc.get_traced_memory()[1] < kept.state.nbytes + 1e6
    finally:
        tracemalloc.stop()


# When.


class Card:
    """A disk and the clock beside it: writing takes time, and so does nothing else."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self.now_s = 100.0
        self.writings: list[tuple[float, float]] = []

    def timer(self) -> float:
        return self.now_s

    def write(self, path: Path, state: FusionState, about: Any, beat: Any) -> None:
        began_s = self.now_s
        self.now_s += state.nbytes / self.bytes_per_s
        self.writings.append((began_s - 100.0, self.now_s - 100.0))


@settings(max_examples=60, deadline=None)
@given(
    bytes_per_s=st.floats(1e6, 500e6),
    nbytes=st.integers(1_000_000, 400_000_000),
    interval_s=st.floats(0.5, 600),
    stop_s=st.floats(0.5, 60),
)
def test_saving_keeps_within_its_share(
    tmp_path_factory: pytest.TempPathFactory,
    bytes_per_s: float,
    nbytes: int,
    interval_s: float,
    stop_s: float,
) -> None:
    card = Card(bytes_per_s)
    state = FusionState({}, {"a": np.broadcast_to(np.uint8(0), nbytes)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "write_state", card.write)
        patch.setattr(Saver, "_check_room", lambda *_: None)
        saver = Saver(tmp_path_factory.getbasetemp() / "s", interval_s, card.timer)
        for _ in range(300):
            card.now_s += stop_s
            if saver.is_due(state.nbytes):
                saver.save(state, {}, lambda: None)
    spent_s = 0.0
    rested_s = 0.0
    for count, (began_s, ended_s) in enumerate(card.writings):
        assert began_s - rested_s >= interval_s - 1e-6
        spent_s += ended_s - began_s
        if count or bytes_per_s >= 20e6:  # a slower card is known only by the first writing
            assert ended_s - began_s <= (ended_s - rested_s) / 21 + 1e-6
        if bytes_per_s >= 20e6:
            assert spent_s <= ended_s / 20
        rested_s = ended_s
    longest_rest_s = max(interval_s, 20 * nbytes / min(bytes_per_s, 20e6)) + nbytes / bytes_per_s + stop_s
    assert len(card.writings) >= int((card.now_s - 100) / longest_rest_s)  # and does not shirk


def test_a_disk_that_refuses_is_asked_once(tmp_path: Path) -> None:
    now = iter(range(0, 10_000, 1000))
    saver = Saver(tmp_path / "nowhere" / "s", 1.0, lambda: float(next(now)))
    assert saver.is_due(10)
    with pytest.raises(FocusdError, match="nowhere"):
        saver.save(small(), {}, lambda: None)
    assert not saver.is_due(10)


def test_room_is_left_for_what_matters_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [2 * small().nbytes]
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free[0]}))
    saver = Saver(tmp_path / "s", 1.0)
    saver.save(small(), {}, lambda: None)
    free[0] -= 1
    with pytest.raises(StateError, match="checkpoint_s"):
        saver.save(small(), {}, lambda: None)


def test_an_abandoned_writing_leaves_the_last_file_and_may_be_tried_again(tmp_path: Path) -> None:
    now = [0.0]
    saver = Saver(tmp_path / "s", 1.0, lambda: now[0])
    saver.save(small(), {"stops": [1]}, lambda: None)

    def pressed() -> None:
        raise Stopped("now")

    with pytest.raises(Stopped):
        saver.save(small(), {"stops": [1, 2]}, pressed)
    assert read_state(tmp_path / "s").about == {"stops": [1]}
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    now[0] = 1.0
    assert saver.is_due(10)
