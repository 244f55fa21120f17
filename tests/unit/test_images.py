"""Reading and writing of images: nothing guessed, nothing silently wrong."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
import tifffile

from focusd.errors import FocusdError, FrameLost
from focusd.pictures.images import (
    decode_frame,
    decode_image,
    encode_jpeg,
    image_size,
    read_frame,
    read_image,
    to_8_bits,
)
from focusd.pictures.planes import Planes


def picture(shape=(37, 53, 3), dtype=np.uint8, seed=0):
    top = np.iinfo(dtype).max
    noise = np.random.default_rng(seed).uniform(0, top, shape).astype(np.float32)
    return np.rint(cv2.GaussianBlur(noise, (0, 0), 2)).astype(dtype)


def encoded(image, suffix, *options):
    done, data = cv2.imencode(suffix, image, list(options))
    assert done
    return data.tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(37, 53), (37, 53, 3), (1, 1), (1, 1, 3)])
def test_lossless_formats_come_back_exactly(suffix, dtype, shape, tmp_path):
    image = picture(shape, dtype)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(image, suffix))
    read = read_image(path)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, image)
    assert image_size(path) == shape[:2]


@pytest.mark.parametrize("shape", [(37, 53), (37, 53, 3)])
def test_jpeg_keeps_its_channels_and_order(shape, tmp_path):
    image = picture(shape)
    if image.ndim == 3:
        image[..., 0] = 200
        image[..., 2] = 30
    path = tmp_path / "a.JPG"
    path.write_bytes(encoded(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95))
    read = read_image(path)
    assert read.shape == shape
    assert np.abs(read.astype(int) - image).mean() < 6
    assert image_size(path) == shape[:2]


def test_tiff_of_another_program_is_bgr_in_memory():
    image = picture(dtype=np.uint16)
    buffer = _tiff(image[..., ::-1], photometric="rgb", compression="zlib")
    np.testing.assert_array_equal(decode_image(buffer, "a"), image)


def test_alpha_is_dropped_and_grey_stays_grey():
    bgra = np.dstack([picture(), np.full((37, 53), 128, np.uint8)])
    np.testing.assert_array_equal(decode_image(encoded(bgra, ".png"), "a"), bgra[..., :3])
    grey = picture((37, 53))
    grey_alpha = np.dstack([grey, np.full((37, 53), 9, np.uint8)])
    np.testing.assert_array_equal(decode_image(_png_grey_alpha(grey_alpha), "a"), grey)


def test_orientation_is_ignored(tmp_path):
    data = encoded(picture((20, 50, 3)), ".jpg")
    # One IFD entry: tag 0x0112, SHORT, count 1, value 6 (turn by 90 degrees).
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    path = tmp_path / "turned.jpg"
    path.write_bytes(turned)
    # The tag is one that OpenCV itself would obey.
    assert cv2.imread(str(path)).shape == (50, 20, 3)
    assert read_image(path).shape == (20, 50, 3)
    assert image_size(path) == (20, 50)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_a_tiffs_orientation_is_ignored_too(turn, order):
    image = picture((20, 50, 3), np.uint16)
    options = {"photometric": "rgb", "byteorder": order, "extratags": [(274, 3, 1, turn, True)]}
    np.testing.assert_array_equal(decode_image(_tiff(image[..., ::-1], **options), "a"), image)


def test_frames_are_planes_only_where_the_file_has_them(tmp_path):
    image = picture((40, 60, 3))
    for suffix in (".jpg", ".png", ".tif"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(encoded(image, suffix))
        frame = read_frame(path)
        assert isinstance(frame, Planes) is (suffix == ".jpg")
        assert frame.shape[:2] == (40, 60)
    wide = picture((40, 60), np.uint16)
    np.testing.assert_array_equal(decode_frame(encoded(wide, ".png"), "a"), wide)
    with pytest.raises(FrameLost, match=r"b\.txt.*no JPEG"):
        decode_frame(b"hello", "b.txt")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_picture_beyond_the_limit_is_refused(suffix, monkeypatch):
    data = encoded(picture((40, 60, 3)), suffix)
    monkeypatch.setattr("focusd.pictures.containers.LARGEST_PX", 2400)
    assert decode_image(data, "a").shape == (40, 60, 3)
    monkeypatch.setattr("focusd.pictures.containers.LARGEST_PX", 2399)
    with pytest.raises(FrameLost, match="a: 60 x 40 px is more than the 2399 px"):
        decode_image(data, "a")


def test_a_png_of_an_end_alone_is_an_error():
    with pytest.raises(FrameLost, match="cut short"):
        decode_image(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sI", 0, b"IEND", 0xAE426082), "a")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
def test_a_cut_file_is_an_error_that_names_it(suffix, share, capfd):
    data = encoded(picture((120, 160, 3)), suffix)
    with pytest.raises(FrameLost, match=r"frame 7.*(cut short|header)"):
        decode_image(data[: int(share * len(data))], "frame 7")


def test_a_cut_jpeg_with_a_whole_thumbnail_is_an_error():
    thumbnail = encoded(picture((8, 8, 3)), ".jpg")
    data = encoded(picture((120, 160, 3)), ".jpg")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 8) + b"Exif\0\0" + thumbnail
    whole = data[:2] + segment + data[2:]
    assert decode_image(whole, "a").shape == (120, 160, 3)
    with pytest.raises(FrameLost, match="cut short"):
        decode_image(whole[:-200], "a")


def test_a_jpeg_with_bytes_after_its_end_is_read():
    data = encoded(picture(), ".jpg") + bytes(500)
    assert decode_image(data, "a").shape == (37, 53, 3)


def test_a_progressive_jpeg_is_read():
    data = encoded(picture(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert decode_image(data, "a").shape == (37, 53, 3)


@pytest.mark.parametrize(
    ("data", "word"),
    [(b"", "empty"), (b"hello world", "no JPEG"), (b"\xff\xd8", "cut short"), (b"II*\x00", "header")],
)
def test_what_is_no_image_is_an_error(data, word):
    with pytest.raises(FrameLost, match=word):
        decode_image(data, "x.bin")


def test_a_damaged_png_is_an_error(capfd):
    data = bytearray(encoded(picture((80, 80, 3)), ".png"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(FrameLost, match=r"damaged|decoded"):
        decode_image(bytes(data), "x.png")


def test_floats_and_many_pages_are_refused():
    with pytest.raises(FrameLost, match="float32"):
        decode_image(_tiff(np.zeros((8, 8), np.float32)), "depth.tif")
    with pytest.raises(FrameLost, match="3 pages"):
        decode_image(_tiff(np.zeros((3, 8, 8), np.uint8), photometric="minisblack"), "many.tif")


def test_a_missing_file_is_an_error(tmp_path):
    for function in (read_image, image_size):
        with pytest.raises(FrameLost, match=r"gone\.jpg"):
            function(tmp_path / "gone.jpg")


def test_a_size_from_nothing_is_an_error(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("hello")
    with pytest.raises(FrameLost, match=r"note\.txt"):
        image_size(path)


def test_jpeg_within_a_limit():
    image = picture((400, 600, 3))
    free = encode_jpeg(image, quality=95)
    for limit in (len(free), len(free) // 3, len(free) // 40, 1200):
        data = encode_jpeg(image, quality=95, limit_bytes=limit)
        assert len(data) <= limit
        read = decode_image(data, "a")
        assert read.shape[1] / read.shape[0] == pytest.approx(1.5, rel=0.1)
    assert decode_image(free, "a").shape == image.shape
    # A third is reached by quality alone.
    assert decode_image(encode_jpeg(image, quality=95, limit_bytes=len(free) // 3), "a").shape == image.shape
    with pytest.raises(FocusdError, match="raise the limit"):
        encode_jpeg(image, limit_bytes=100)
    with pytest.raises(FocusdError, match="quality"):
        encode_jpeg(image, quality=0)


def test_16_bits_to_8():
    image = np.array([[0, 257, 65535, 4095, 128]], np.uint16)
    np.testing.assert_array_equal(to_8_bits(image), [[0, 1, 255, 16, 0]])
    np.testing.assert_array_equal(to_8_bits(image, 4095), [[0, 16, 255, 255, 8]])
    assert decode_image(encode_jpeg(picture(dtype=np.uint16)), "a").dtype == np.uint8


@pytest.mark.parametrize(("brightest", "shown"), [(200, 200), (255, 255), (4095, 255), (65535, 255)])
def test_dark_16_bits_make_no_black_jpeg(brightest, shown):
    image = np.full((32, 32), brightest, np.uint16)
    assert abs(int(decode_image(encode_jpeg(image), "a")[5, 5]) - shown) <= 1
    # A white that the whole stack shares overrules the picture's own.
    dark = decode_image(encode_jpeg(image, white=65535), "a")[5, 5]
    assert abs(int(dark) - brightest / 257) <= 1


def _tiff(image, **options):
    from io import BytesIO

    buffer = BytesIO()
    tifffile.imwrite(buffer, image, **options)
    return buffer.getvalue()


def _png_grey_alpha(image):
    """PNG of colour type 4, which OpenCV does not write."""
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows, cols = image.shape[:2]
    raw = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", cols, rows, 8, 4, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def test_a_tiff_cut_behind_its_header_is_an_error():
    # This writer puts the header first, so that only the pixels are missing.
    data = _tiff(picture(dtype=np.uint16)[..., ::-1], photometric="rgb")
    assert decode_image(data, "a").shape == (37, 53, 3)
    with pytest.raises(FrameLost, match=f"cut short at {len(data) - 400} of {len(data)}"):
        decode_image(data[:-400], "a")


def test_metadata_goes_through_json_and_back() -> None:
    from focusd.pictures.metadata import Metadata

    for metadata in (Metadata(), Metadata(b"icc", b"exif"), Metadata(None, b"e")):
        assert Metadata.of_json(metadata.as_json()) == metadata
