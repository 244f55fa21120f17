"""Colour profile and EXIF, from a frame into the pictures made of it."""

from __future__ import annotations

import struct
from datetime import datetime
from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.outputs.flat import write_jpeg, write_png
from focusd.outputs.tiff import write_image_tiff
from focusd.pictures import exif, metadata
from focusd.pictures.images import decode_image, encode_jpeg
from focusd.pictures.metadata import Metadata, into_jpeg, into_png, into_tiff, read, stack_text
from focusd.pictures.tags import Tag, byte_order, detached, first_directory, read_directory, text_tag

IMAGE = np.full((30, 40, 3), (20, 90, 200), np.uint8)
MAKE, ORIENTATION, DESCRIPTION, SOFTWARE = 271, 274, 270, 305
EXPOSURE, MAKER_NOTE, COMMENT, EXIF = 33434, 37500, 37510, 34665


def profile(space=b"RGB ", size=600):
    body = bytearray(np.random.default_rng(4).integers(0, 256, size).astype(np.uint8).tobytes())
    body[16:20], body[36:40] = space, b"acsp"
    return bytes(body)


def camera_block(order="<", thumbnail=b"", orientation=6):
    """EXIF as a camera lays it out, its maker's note pointing into the block by absolute offset."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    note_at, exif_at = 200, 300

    def entry(code, kind, count, value):
        field = value if isinstance(value, bytes) else struct.pack(order + "I", value)
        return struct.pack(order + "HHI4s", code, kind, count, field.ljust(4, b"\0"))

    first = [
        entry(MAKE, 2, 6, 100),
        entry(ORIENTATION, 3, 1, struct.pack(order + "H", orientation)),
        entry(EXIF, 4, 1, exif_at),
    ]
    inner = [entry(EXPOSURE, 5, 1, 120), entry(MAKER_NOTE, 7, 40, note_at)]
    block = bytearray(400)
    block[:8] = mark + struct.pack(order + "I", 8)
    second_at = 360 if thumbnail else 0
    listed = struct.pack(order + "H", 3) + b"".join(first) + struct.pack(order + "I", second_at)
    block[8 : 8 + len(listed)] = listed
    block[100:106] = b"Maker\0"
    block[120:128] = struct.pack(order + "II", 1, 250)
    block[note_at : note_at + 40] = b"NOTE" + struct.pack(order + "I", note_at + 20) + bytes(32)
    listed = struct.pack(order + "H", 2) + b"".join(inner) + bytes(4)
    block[exif_at : exif_at + len(listed)] = listed
    if thumbnail:
        rows = [entry(513, 4, 1, 400), entry(514, 4, 1, len(thumbnail))]
        listed = struct.pack(order + "H", 2) + b"".join(rows) + bytes(4)
        block[360 : 360 + len(listed)] = listed
    return bytes(block) + thumbnail


def look(block):
    """First directory, EXIF directory and the offset of what follows the first."""
    tags, following = read_directory(block, first_directory(block))
    inner = {}
    if EXIF in tags:
        (where,) = struct.unpack(byte_order(block) + "I", tags[EXIF].field)
        inner, _ = read_directory(block, where)
    return tags, inner, following


def encoded(suffix):
    return cv2.imencode(suffix, IMAGE)[1].tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
def test_facts_are_added_and_nothing_moves(order):
    block = camera_block(order)
    about = Metadata(None, block).about(stack_text([20.0 * i for i in range(60)]))
    assert about.exif[8 : len(block)] == block[8:]
    tags, inner, following = look(about.exif)
    assert tags[DESCRIPTION].value == b"focus stack of 60 frames, step 20 um, z 0 to 1180 um\0"
    assert tags[SOFTWARE].value == b"focusd\0" and tags[MAKE].value == b"Maker\0"
    assert struct.unpack(order + "H", tags[ORIENTATION].value) == (6,)
    assert struct.unpack(order + "II", inner[EXPOSURE].value) == (1, 250)
    # The note is where its own offsets believe it to be.
    assert inner[MAKER_NOTE].value[4:8] == struct.pack(order + "I", 220)
    assert about.exif[200:240] == inner[MAKER_NOTE].value and following == 0


def test_facts_replace_those_of_before_and_need_no_block():
    once = Metadata().about("first", "a")
    assert look(once.exif)[0][DESCRIPTION].value == b"first\0"
    again = once.about("second \N{MICRO SIGN}m", "b")
    assert look(again.exif)[0][DESCRIPTION].value == b"second ?m\0"
    assert look(again.exif)[0][SOFTWARE].value == b"b\0"
    assert stack_text([-5.5, 0.0, 7.0]) == "focus stack of 3 frames, uneven steps, z -5.5 to 7 um"


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_thumbnail_is_dropped(order):
    thumbnail = encode_jpeg(IMAGE)
    block = camera_block(order, thumbnail)
    assert look(block)[2] == 360
    taken = read(into_jpeg(encoded(".jpg"), Metadata(None, block))).exif
    assert look(taken)[2] == 0 and thumbnail not in taken
    assert len(taken) < len(block)
    assert look(taken)[1][MAKER_NOTE].value == look(block)[1][MAKER_NOTE].value


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_all_three_formats_carry_both(suffix, order, tmp_path):
    path = tmp_path / f"a{suffix}"
    carried = Metadata(profile(), camera_block(order)).about("a stack")
    if suffix == ".jpg":
        write_jpeg(path, IMAGE, metadata=carried)
    elif suffix == ".png":
        write_png(path, IMAGE, metadata=carried)
    else:
        write_image_tiff(path, IMAGE, description="old")
        into_tiff(path, carried)
    data = path.read_bytes()
    back = read(data)
    assert back.icc == carried.icc
    tags, inner, _ = look(back.exif)
    there = byte_order(back.exif)
    assert tags[DESCRIPTION].value == b"a stack\0" and tags[MAKE].value == b"Maker\0"
    assert struct.unpack(there + "H", tags[ORIENTATION].value) == (6,)
    assert struct.unpack(there + "II", inner[EXPOSURE].value) == (1, 250)
    assert (MAKER_NOTE in inner) is (suffix != ".tif")
    # The picture itself is untouched and still in the sensor's coordinates.
    np.testing.assert_allclose(decode_image(data, "a").astype(int), IMAGE, atol=3)
    assert decode_image(data, "a").shape == IMAGE.shape


def test_a_tiff_stays_a_tiff_for_others(tmp_path):
    path = tmp_path / "a.tif"
    wide = IMAGE.astype(np.uint16) * 257
    write_image_tiff(path, wide)
    into_tiff(path, Metadata(profile(), camera_block(">")).about("a stack"))
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        assert len(tiff.pages) == 1
        np.testing.assert_array_equal(page.asarray(), wide[..., ::-1])
        assert page.description == "a stack" and page.tags[34675].value == profile()
        assert page.tags[EXIF].value["ExposureTime"] == (1, 250)
        assert page.tags[ORIENTATION].value == 6


def test_what_is_no_small_tiff_is_left_alone(tmp_path):
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, IMAGE, bigtiff=True, photometric="rgb")
    before = path.read_bytes()
    into_tiff(path, Metadata(profile()).about("x"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_frame_gives_a_block_of_its_own(order):
    buffer = BytesIO()
    tags = [(MAKE, 2, 6, "Maker", True), (ORIENTATION, 3, 1, 8, True), (34675, 7, 600, profile(), True)]
    tifffile.imwrite(buffer, IMAGE, photometric="rgb", byteorder=order, extratags=tags, metadata=None)
    taken = read(buffer.getvalue())
    outer, inner, _ = look(taken.exif)
    assert taken.icc == profile() and not inner
    assert outer[MAKE].value == b"Maker\0" and struct.unpack(order + "H", outer[ORIENTATION].value) == (8,)
    # How the pixels lie in that file says nothing of another.
    assert not {256, 257, 258, 259, 262, 273, 277, 278, 279} & set(outer)


def test_a_profile_in_many_segments():
    icc = profile(size=200_000)
    data = into_jpeg(encoded(".jpg"), Metadata(icc))
    assert data.count(b"ICC_PROFILE\0") == 4 and read(data).icc == icc
    assert decode_image(data, "a").shape == IMAGE.shape
    # With one of the four gone it is none.
    at = data.index(b"ICC_PROFILE\0") - 4
    length = int.from_bytes(data[at + 2 : at + 4], "big") + 2
    assert read(data[:at] + data[at + length :]).icc is None


def test_segments_are_in_the_order_readers_want():
    data = into_jpeg(encoded(".jpg"), Metadata(profile(), camera_block()))
    assert data[:4] == b"\xff\xd8\xff\xe0"
    assert data.index(b"JFIF") < data.index(b"Exif\0\0") < data.index(b"ICC_PROFILE\0")
    png = into_png(encoded(".png"), Metadata(profile(), camera_block()))
    assert png.index(b"IHDR") < png.index(b"iCCP") < png.index(b"eXIf") < png.index(b"IDAT")


@pytest.mark.parametrize("icc", [profile(b"CMYK"), profile()[:100], bytes(600)])
def test_a_profile_that_does_not_fit_is_left_out(icc):
    assert read(into_jpeg(encoded(".jpg"), Metadata(icc))).icc is None


def test_a_packed_bomb_is_left_out(monkeypatch):
    monkeypatch.setattr(metadata, "LARGEST_ICC_BYTES", 100_000)
    assert read(into_png(encoded(".png"), Metadata(profile(size=100_000)))).icc is not None
    assert read(into_png(encoded(".png"), Metadata(profile(size=100_001)))).icc is None


def test_a_block_too_long_for_a_segment_loses_the_makers_note_first():
    order = "<"
    long_note = Tag(MAKER_NOTE, 7, 65400, b"", bytes(65400))
    exposure = Tag(EXPOSURE, 5, 1, b"", struct.pack("<II", 1, 250))
    block = exif.block([text_tag(MAKE, "Maker")], [exposure, long_note], order)
    assert len(block) < exif.LARGEST_BYTES
    made = exif.described(block, "a stack of frames", "focusd")
    outer, inner, _ = look(made)
    assert outer[MAKE].value == b"Maker\0" and EXPOSURE in inner and MAKER_NOTE not in inner
    # A comment as long as that cannot stay; the facts can.
    comment = Tag(COMMENT, 7, 65450, b"", bytes(65450))
    made = exif.described(exif.block([text_tag(MAKE, "Maker")], [comment], order), "a stack", "focusd")
    assert set(look(made)[0]) == {DESCRIPTION, SOFTWARE}
    # A frame's block with slack behind it is made anew; one whose tags alone are too long is given up.
    slack = exif.block([text_tag(MAKE, "Maker")], [comment], order) + bytes(200)
    assert len(exif.without_thumbnail(slack)) < len(slack) - 190
    longer = Tag(COMMENT, 7, 65600, b"", bytes(65600))
    assert exif.without_thumbnail(exif.block([], [longer], order)) is None


def test_numbers_turn_with_the_byte_order():
    tag = Tag(EXPOSURE, 5, 1, b"", struct.pack("<II", 1, 250))
    assert detached(tag, "<", ">").value == struct.pack(">II", 1, 250)
    assert detached(Tag(1, 3, 2, b"", struct.pack("<HH", 1, 2)), "<", ">").value == struct.pack(">HH", 1, 2)
    assert detached(Tag(1, 12, 1, b"", struct.pack("<d", 0.5)), "<", ">").value == struct.pack(">d", 0.5)
    assert detached(Tag(1, 2, 3, b"", b"ab\0"), "<", ">").value == b"ab\0"


def test_a_limit_counts_the_metadata():
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    carried = Metadata(profile(size=5000))
    data = encode_jpeg(noise, limit_bytes=9000, metadata=carried)
    assert len(data) <= 9000 and read(data).icc == carried.icc


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"II*\0", b"hello", b"\x89PNG\r\n\x1a\n", encoded(".jpg")]
)
def test_none_is_none(data):
    assert read(data) == Metadata()


WHOLE = {
    "jpg": into_jpeg(encoded(".jpg"), Metadata(profile(), camera_block(">", encode_jpeg(IMAGE)))),
    "png": into_png(encoded(".png"), Metadata(profile(), camera_block("<", encode_jpeg(IMAGE)))),
    "tif": camera_block("<"),
}


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(sorted(WHOLE)),
    hits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    keep=st.floats(0.05, 1),
)
def test_damage_never_raises_and_never_grows(kind, hits, keep):
    data = bytearray(WHOLE[kind])
    for share, value in hits:
        data[min(len(data) - 1, int(share * min(len(data), 1500)))] = value
    taken = read(bytes(data[: int(keep * len(data))]))
    about = taken.about("a stack")
    assert len(about.exif) <= exif.LARGEST_BYTES
    assert look(about.exif)[0][DESCRIPTION].value == b"a stack\0"


TAKEN, FRACTION = 36867, 37521
MOMENT = datetime(2026, 3, 1, 12, 34, 56, 780_000)


def dated(order="<", text="2026:03:01 12:34:56", fraction="78"):
    tags = [text_tag(TAKEN, text), *([text_tag(FRACTION, fraction)] if fraction else [])]
    return exif.block([text_tag(MAKE, "Maker")], tags, order)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_time_is_found_in_every_kind_of_file(order):
    block = dated(order)
    jpg = into_jpeg(encoded(".jpg"), Metadata(None, block))
    raf = b"FUJIFILMCCD-RAW ".ljust(84, b"x") + struct.pack(">II", 100, len(jpg)) + bytes(8) + jpg
    inner = exif.block([text_tag(TAKEN, "2026:03:01 12:34:56"), text_tag(FRACTION, "78")], [], order)
    cr3 = b"\0\0\0\x18ftypcrx " + bytes(40) + struct.pack(">I", len(inner) + 8) + b"CMT2" + inner
    marks = (b"IIRO", b"IIRS", b"IIU\0") if order == "<" else (b"MMOR",)
    for data in (block, jpg, raf, cr3, *(mark + block[4:] for mark in marks)):
        assert exif.taken_at(data) == MOMENT, data[:16]
    for suffix in (".jpg", ".tif", ".png"):
        assert exif.taken_at(encoded(suffix)) is None


@pytest.mark.parametrize(
    ("fraction", "microsecond"),
    [("", 0), ("5", 500_000), ("05", 50_000), ("123456789", 123_456), ("7  ", 700_000), ("  ", 0), ("x", 0)],
)
def test_a_fraction_is_digits_behind_the_point(fraction, microsecond):
    assert exif.taken_at(dated(fraction=fraction)) == MOMENT.replace(microsecond=microsecond)


@pytest.mark.parametrize(
    "text",
    ["0000:00:00 00:00:00", "    :  :     :  :  ", "", "2026-03-01", "2026:13:01 00:00:00", "\xff" * 19],
)
def test_a_camera_without_a_clock_has_no_time(text):
    assert exif.taken_at(dated(text=text)) is None


@settings(max_examples=300, deadline=None)
@given(
    hits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    keep=st.floats(0, 1),
    start=st.sampled_from([b"", b"IIRO", b"FUJIFILMCCD-RAW ", b"\0\0\0\x18ftypcrx ", b"\xff\xd8"]),
    whole=st.sampled_from([dated(), dated(">"), into_jpeg(encoded(".jpg"), Metadata(None, dated(">")))]),
)
def test_no_damage_makes_the_time_raise(hits, keep, start, whole):
    data = bytearray(whole)
    for share, value in hits:
        data[min(len(data) - 1, int(share * len(data)))] = value
    moment = exif.taken_at(start + bytes(data[len(start) : int(keep * len(data))]))
    assert moment is None or isinstance(moment, datetime)
