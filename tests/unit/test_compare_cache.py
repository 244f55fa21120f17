"""What was computed before is used again, and never when it is not as it was written."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.compare.alignments import ALIGNMENTS
from focusd.compare.cache import Cache, code_mark, key_of, mark_of
from focusd.compare.kitchen import CODE
from focusd.compare.methods import METHODS
from focusd.errors import FocusdError

KEY = key_of("stage", (), 1)
ARRAYS = {"image": np.arange(24, dtype=np.uint16).reshape(2, 4, 3), "tiles": np.array([[1.5, np.nan]])}


def test_what_is_kept_comes_back_as_it_was(tmp_path):
    Cache(tmp_path).save(KEY, {"white": 4095, "cost": {"wall_s": 0.1}, "share": float("nan")}, ARRAYS)
    entry = Cache(tmp_path).load(KEY)
    assert entry.facts["white"] == 4095 and entry.facts["cost"] == {"wall_s": 0.1}
    for name, array in ARRAYS.items():
        assert entry.arrays[name].dtype == array.dtype
        assert np.array_equal(entry.arrays[name], array, equal_nan=name == "tiles")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_entry_with_a_wrong_byte_or_a_torn_end_is_dropped_and_not_believed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cache")
    cache = Cache(folder)
    cache.save(KEY, {"white": 255}, ARRAYS)
    (path,) = folder.iterdir()
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del whole[at:]
    path.write_bytes(whole)
    assert cache.load(KEY) is None and not path.exists()
    cache.save(KEY, {"white": 255}, ARRAYS)
    assert cache.load(KEY) is not None


def test_the_entry_used_longest_ago_goes_when_room_is_needed(tmp_path):
    keys = [key_of("stage", (), number) for number in range(4)]
    cache = Cache(tmp_path, limit_bytes=25_000)
    for number, key in enumerate(keys[:3]):
        cache.save(key, {}, {"image": np.zeros(6000, np.uint8)})
        os.utime(tmp_path / f"{key}.entry", ns=(number, number))
    assert cache.load(keys[0]) is not None
    cache.save(keys[3], {}, {"image": np.zeros(12_000, np.uint8)})
    assert [key for key in keys if cache.load(key) is not None] == [keys[0], keys[3]]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 25_000


def test_what_is_larger_than_the_cache_is_not_kept_and_takes_nothing_with_it(tmp_path):
    cache = Cache(tmp_path, limit_bytes=5000)
    cache.save(KEY, {}, {})
    cache.save(key_of("stage", (), 2), {}, {"image": np.zeros(6000, np.uint8)})
    assert cache.load(KEY) is not None and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_stops_no_work(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    cache = Cache(blocked / "cache")
    cache.save(KEY, {}, {})
    assert cache.load(KEY) is None
    assert "all goes on without" in cache.fault


def test_without_a_folder_nothing_is_kept():
    cache = Cache(None)
    cache.save(KEY, {}, {})
    assert cache.load(KEY) is None and cache.fault is None


def test_a_key_names_the_step_its_code_and_all_that_goes_in():
    keys = {
        key_of("fuse", ("fusion",), "a", 1),
        key_of("judge", ("fusion",), "a", 1),
        key_of("fuse", ("pictures",), "a", 1),
        key_of("fuse", ("fusion",), "a", 2),
        key_of("fuse", ("fusion",), "b", 1),
    }
    assert len(keys) == 5
    assert key_of("fuse", ("fusion",), "a", (1, 2)) == key_of("fuse", ("fusion",), "a", [1, 2])


def test_a_file_is_known_by_its_bytes_not_by_its_name(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"frame")
    two.write_bytes(b"frame")
    assert mark_of(one) == mark_of(two)
    two.write_bytes(b"Frame")
    assert mark_of(one) != mark_of(two)
    with pytest.raises(FocusdError, match="cannot be read"):
        mark_of(tmp_path / "three")


def test_all_code_that_a_step_names_is_there():
    stages = [*CODE.values(), *(each.code for each in (*METHODS.values(), *ALIGNMENTS.values()))]
    nothing = code_mark(())
    for name in {name for stage in stages for name in stage}:
        assert code_mark((name,)) != nothing, name
