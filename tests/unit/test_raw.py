"""Raw files: developed alike through a stack, refused with their name when they cannot be."""

from __future__ import annotations

import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.util import find_spec
from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.camera_config import SUFFIXES
from focusd.errors import FrameLost
from focusd.pictures import raw
from focusd.pictures.exif import taken_at
from focusd.pictures.images import decode_frame, decode_image, encode_jpeg, image_size, read_frame, read_image
from focusd.pictures.kinds import RAW_SUFFIXES, is_raw
from focusd.pictures.metadata import read as read_metadata
from focusd.pictures.raw import RawRendering
from focusd.pictures.tags import byte_order, first_directory, read_directory
from focusd_sim import dng

with_rawpy = pytest.mark.skipif(find_spec("rawpy") is None, reason="rawpy is not installed")
WHITE = 65535


def soft(shape=(64, 96), seed=0, lowest=0.02, highest=0.8):
    """Light that changes slowly, so that what lies between the filters is known."""
    coarse = np.random.default_rng(seed).uniform(lowest, highest, (4, 6, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR), lowest, highest)


def encoded(light):
    """16 bits in sRGB (IEC 61966-2-1)."""
    light = light.astype(np.float64)
    return WHITE * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def inside(image):
    return image[8:-8, 8:-8].astype(np.float64)


@with_rawpy
@pytest.mark.parametrize("levels", [(4096, 65535), (256, 4095), (0, 16383)])
@pytest.mark.parametrize("gains", [(1.8, 1.6), (1.0, 1.0), (2.4, 1.3)])
def test_colours_come_back_within_a_half_percent(levels, gains):
    light = soft()
    black, white = levels
    data = dng.written(light, sensor_gains=gains, black=black, white=white)
    image = decode_image(data, "a.dng")
    assert image.dtype == np.uint16 and image.shape == (64, 96, 3) and image.flags.c_contiguous
    error = np.abs(inside(image) - inside(encoded(light))) / WHITE
    assert error.mean() < 0.003 and np.percentile(error, 99) < 0.02
    means = inside(image).mean((0, 1)) / inside(encoded(light)).mean((0, 1))
    np.testing.assert_allclose(means, 1, atol=0.005)


@with_rawpy
def test_white_is_white_and_black_black():
    light = np.zeros((40, 40, 3), np.float32)
    light[20:] = 1.0
    image = decode_image(dng.written(light), "a.dng")
    assert (image[:16] == 0).all() and (image[24:] >= WHITE - 2).all()


@with_rawpy
def test_a_darker_frame_stays_darker_and_nothing_is_stretched():
    rendering = RawRendering()
    bright, dark = (
        decode_image(dng.written(soft() * share), "a.dng", rendering)
        for share in (np.float32(1), np.float32(0.1))
    )
    np.testing.assert_allclose(inside(dark).mean(), inside(encoded(soft() * 0.1)).mean(), rtol=0.01)
    assert inside(bright).mean() > 2.5 * inside(dark).mean()


@with_rawpy
def test_the_first_frames_white_balance_holds_for_all():
    light = soft()
    first, other = dng.written(light), dng.written(light, as_shot_gains=(2.3, 1.2))
    rendering = RawRendering()
    image = decode_frame(first, "1.dng", None, rendering)
    np.testing.assert_array_equal(decode_frame(other, "2.dng", None, rendering), image)
    assert np.abs(inside(decode_frame(other, "2.dng")) - inside(image)).mean() > 1000
    # And it is the one of whichever was first.
    backwards = RawRendering()
    np.testing.assert_array_equal(decode_frame(other, "2.dng", None, backwards), decode_frame(other, "2.dng"))
    np.testing.assert_array_equal(
        decode_frame(first, "1.dng", None, backwards), decode_frame(other, "2.dng", None, backwards)
    )


@with_rawpy
def test_what_a_first_frame_states_is_what_it_is_developed_by():
    rendering = RawRendering()
    assert rendering.development is None
    rendering.learn(dng.written(soft(), black=256, white=4095), "1.dng")
    learnt = rendering.development
    assert learnt.range_levels == 4095 - 256
    assert learnt.white_balance == pytest.approx((1.8, 1.0, 1.6, 1.0), rel=1e-3)
    rendering.learn(dng.written(soft(), as_shot_gains=(3, 3)), "2.dng")
    rendering.learn(b"no raw file", "3.jpg")
    assert rendering.development is learnt


@with_rawpy
def test_black_is_each_frames_own_and_white_the_firsts():
    light = soft()
    rendering = RawRendering()
    image = decode_image(dng.written(light, black=512, white=16383), "1.dng", rendering)
    # The sensor has warmed up: the same light on a higher zero.
    warmer = dng.written(light * np.float32((16383 - 512) / (16383 - 560)), black=560, white=16383)
    again = decode_image(warmer, "2.dng", rendering)
    assert np.abs(inside(again) - inside(image)).max() < 0.003 * WHITE


@with_rawpy
def test_many_threads_develop_alike_once_the_first_is_learnt():
    light = soft()
    files = [dng.written(light, as_shot_gains=(1.5 + 0.1 * n, 1.5)) for n in range(6)]
    rendering = RawRendering()
    rendering.learn(files[0], "0.dng")
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda data: decode_image(data, "a.dng", rendering), reversed(files)))
    for image in images:
        np.testing.assert_array_equal(image, decode_image(files[0], "0.dng"))


@with_rawpy
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_orientation_is_ignored(turn):
    light = soft()
    image = decode_image(dng.written(light, orientation=turn), "a.dng")
    np.testing.assert_array_equal(image, decode_image(dng.written(light), "a.dng"))


@with_rawpy
def test_a_sensor_without_colours_gives_grey():
    samples = np.rint(4000 * soft()[..., 1]).astype(np.uint16)
    tags = [(50706, 1, 4, bytes((1, 4, 0, 0)), True), (50717, 4, 1, 4095, True)]
    file = BytesIO()
    tifffile.imwrite(file, samples, photometric="minisblack", metadata=None, extratags=tags)
    image = decode_image(_with(file.getvalue(), photometric=34892), "a.dng")
    assert image.ndim == 2 and image.dtype == np.uint16
    np.testing.assert_allclose(inside(image), inside(encoded(samples / 4095.0)), rtol=0.01)


@with_rawpy
def test_a_raw_file_is_known_by_its_tags_too(tmp_path):
    data = dng.written(soft())
    for name in ("a.dng", "A.DNG", "a.tif", "frame 7"):
        assert decode_image(data, name).shape == (64, 96, 3)
    path = tmp_path / "a.dng"
    path.write_bytes(data)
    assert image_size(path) == (64, 96)
    np.testing.assert_array_equal(read_image(path), decode_image(data, "a"))
    np.testing.assert_array_equal(read_frame(path, None, RawRendering()), decode_image(data, "a"))


def test_what_is_raw_and_what_not():
    grey = BytesIO()
    tifffile.imwrite(grey, np.zeros((8, 8), np.uint16))
    jpeg = encode_jpeg(np.zeros((8, 8), np.uint8))
    data = dng.written(soft())
    # The bare picture as the first directory's sub-directory, as in a NEF.
    nested = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 330, 4, 1, 26, 0) + _directory_of(262, 32803)
    assert is_raw(data, "a") and is_raw(nested, "a.tif") and is_raw(grey.getvalue(), "a.NEF")
    assert is_raw(b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "a") is False
    assert is_raw(b"II*\0\x10\0\0\0CR\x02\0\0\0\0\0" + _directory_of(256, 8), "a")
    for start in (b"IIRO", b"IIU\0", b"FUJIFILMCCD-RAW ", b"FOVb", b"\0MRM", b"\0\0\0\x18ftypcrx "):
        assert is_raw(start + bytes(40), "a")
    assert (
        not is_raw(grey.getvalue(), "a.tif") and not is_raw(jpeg, "a.raw") and not is_raw(b"hello", "a.txt")
    )
    assert decode_image(jpeg, "a.raw").shape == (8, 8)
    assert SUFFIXES["raw"] == RAW_SUFFIXES


def _directory_of(code, value):
    return struct.pack("<HHHII", 1, code, 4, 1, value) + bytes(4)


@with_rawpy
@pytest.mark.parametrize("share", [0.0005, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_a_cut_file_is_an_error_that_names_it(share, capfd):
    data = dng.written(soft((200, 300)), taken=None)
    with pytest.raises(FrameLost, match=r"IMG_7\.dng.*(cut short|cannot hold)"):
        decode_image(data[: int(share * len(data))], "IMG_7.dng")


@with_rawpy
@settings(max_examples=60, deadline=None)
@given(
    hits=st.lists(st.tuples(st.integers(0, 420), st.integers(0, 255)), min_size=1, max_size=6),
    keep=st.floats(0, 1),
)
def test_a_damaged_header_gives_a_picture_or_a_named_error(hits, keep):
    data = bytearray(dng.written(soft((32, 48))))
    for at, value in hits:
        data[at] = value
    try:
        image = raw.decode(bytes(data[: int(keep * len(data))]), "a.dng")
    except FrameLost as lost:
        assert "a.dng" in str(lost)
    else:
        assert image.dtype == np.uint16


@with_rawpy
def test_an_absurd_size_is_refused_before_memory_is_taken(monkeypatch):
    data = dng.written(soft())
    wide = _with(data, cols=40_000, rows=12_500)
    # An older rawpy has begun to read by then, within LibRaw's own limit, and met the end.
    with pytest.raises(FrameLost, match=r"a\.dng.*(40000 x 12500 px, which \d+ bytes cannot hold|cut short)"):
        decode_image(wide, "a.dng")
    monkeypatch.setattr("focusd.pictures.containers.LARGEST_PX", 64 * 96 - 1)
    with pytest.raises(FrameLost, match=r"a\.dng: 96 x 64 px is more than the 6143 px"):
        decode_image(data, "a.dng")


def _with(data, **values):
    """Change numbers in the first directory."""
    codes = {"cols": 256, "rows": 257, "photometric": 262}
    wanted = {codes[name]: value for name, value in values.items()}
    changed = bytearray(data)
    order, at = byte_order(data), first_directory(data)
    (count,) = struct.unpack_from(order + "H", data, at)
    for n in range(count):
        entry = at + 2 + 12 * n
        code, kind = struct.unpack_from(order + "HH", data, entry)
        if code in wanted:
            struct.pack_into(order + ("H" if kind == 3 else "I"), changed, entry + 8, wanted[code])
    return bytes(changed)


@with_rawpy
def test_what_libraw_does_not_know_is_said():
    with pytest.raises(FrameLost, match=r"a\.nef: cannot be developed .*LibRaw 0\.\d+\.\d+ does not know"):
        decode_image(bytes(5000), "a.nef")
    with pytest.raises(FrameLost, match="empty"):
        decode_image(b"", "a.nef")


def test_without_rawpy_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(FrameLost, match=r"a\.cr2: a raw file, and rawpy is not installed.*focusd\[raw\]"):
        decode_frame(dng.written(soft()), "a.cr2")
    with pytest.raises(FrameLost, match=r"focusd\[raw\]"):
        RawRendering().learn(dng.written(soft()), "a.cr2")


def test_the_cameras_notes_are_carried_and_the_sensors_profile_is_not():
    moment = datetime(2026, 3, 1, 12, 34, 56, 789_000)
    data = dng.written(soft(), taken=moment, make="Maker", orientation=8)
    taken = read_metadata(data)
    tags, _ = read_directory(taken.exif, first_directory(taken.exif))
    assert tags[271].value == b"Maker\0" and struct.unpack("<H", tags[274].value) == (8,)
    assert taken_at(data) == moment and taken_at(taken.exif) == moment
    assert taken_at(dng.written(soft())) is None
    icc = bytes(16) + b"RGB " + bytes(16) + b"acsp" + bytes(200)
    file = BytesIO()
    profile = [(34675, 7, len(icc), icc, True)]
    for photometric, expected in (("minisblack", icc), ("cfa", None)):
        file = BytesIO()
        tifffile.imwrite(file, np.zeros((8, 8), np.uint16), photometric=photometric, extratags=profile)
        assert read_metadata(file.getvalue()).icc == expected
