"""JPEG planes by libturbojpeg, and what stands in for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.errors import FrameLost
from focusd.pictures import jpeg, turbojpeg
from focusd.pictures.images import decode_frame, decode_image, encode_jpeg, to_bgr, to_planes
from focusd.pictures.planes import Planes

needs_library = pytest.mark.skipif(not turbojpeg.available(), reason="libturbojpeg is not here")
# OpenCV before 4.7 writes 4:2:0 only.
FACTOR = getattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR", None)
SAMPLINGS = {"444": 0x111111, "422": 0x211111, "420": 0x221111, "440": 0x121111, "411": 0x411111}


def picture(rows=63, cols=97, seed=0):
    noise = np.random.default_rng(seed).uniform(0, 255, (rows, cols, 3)).astype(np.float32)
    return np.rint(np.clip(3 * cv2.GaussianBlur(noise, (0, 0), 2) - 255, 0, 255)).astype(np.uint8)


def encoded(image, *options, quality=92):
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality, *options])
    assert done
    return data.tobytes()


def sampled(image, sampling):
    if FACTOR is None and sampling != "420":
        pytest.skip("this OpenCV cannot write the sampling")
    return encoded(image, *(() if FACTOR is None else (FACTOR, SAMPLINGS[sampling])))


def by_opencv(data, flag=cv2.IMREAD_UNCHANGED):
    return cv2.imdecode(np.frombuffer(data, np.uint8), flag)


@pytest.fixture(params=[pytest.param(True, marks=needs_library), False], ids=["library", "opencv"])
def library(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(turbojpeg, "_library", lambda: None)
    return request.param


def test_what_is_absent_is_off(monkeypatch):
    turbojpeg._library.cache_clear()
    monkeypatch.setattr(turbojpeg, "_LIBRARY", "libthat-is-nowhere.so.0")
    try:
        assert not turbojpeg.available() and turbojpeg.version() is None
        assert turbojpeg.decode_planes(encoded(picture()), "a") is None
        assert turbojpeg.decode_pixels(encoded(picture()), "a") is None
        assert turbojpeg.encode_planes(to_planes(picture()), 90) is None
        # A library without the functions is as good as none: the C library has no tjInitCompress.
        turbojpeg._library.cache_clear()
        monkeypatch.setattr(turbojpeg, "_LIBRARY", None)
        assert not turbojpeg.available()
    finally:
        turbojpeg._library.cache_clear()


@needs_library
def test_its_version_is_named():
    assert turbojpeg.version() in ("2.x", "3.x")


@needs_library
@pytest.mark.parametrize("size", [(64, 96), (63, 97), (1, 1), (2, 1), (17, 16), (8, 241)])
@pytest.mark.parametrize("progressive", [0, 1])
def test_planes_are_the_files_own(size, progressive):
    data = encoded(picture(*size), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    planes = turbojpeg.decode_planes(data, "a")
    assert planes.shape == size
    # libjpeg's grey output is the luma plane as stored.
    np.testing.assert_array_equal(planes.luma, by_opencv(data, cv2.IMREAD_GRAYSCALE))
    difference = np.abs(to_bgr(planes).astype(int) - by_opencv(data))
    assert difference.max() <= 2


@needs_library
def test_planes_go_where_they_are_told():
    first, second = encoded(picture(seed=1)), encoded(picture(seed=2))
    reused = turbojpeg.decode_planes(first, "a")
    kept = reused.luma.copy()
    again = turbojpeg.decode_planes(second, "b", reused)
    assert again is reused and not np.array_equal(kept, reused.luma)
    fresh = turbojpeg.decode_planes(second, "b")
    for name in ("luma", "blue", "red"):
        np.testing.assert_array_equal(getattr(fresh, name), getattr(reused, name))
    # Other sizes, and planes with gaps between their rows, are left alone.
    small = turbojpeg.decode_planes(encoded(picture(20, 30)), "c", reused)
    assert small is not reused and small.shape == (20, 30)
    wide = np.zeros((63, 200), np.uint8)
    gaps = Planes(wide[:, :97], reused.blue, reused.red)
    assert turbojpeg.decode_planes(second, "b", gaps) is not gaps and not wide.any()


@needs_library
def test_threads_do_not_disturb_each_other():
    files = [encoded(picture(200, 300, seed)) for seed in range(24)]
    one_by_one = [turbojpeg.decode_planes(data, "a").luma.copy() for data in files]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda data: turbojpeg.decode_planes(data, "a").luma, files))
    for one, other in zip(one_by_one, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sampling", sorted(SAMPLINGS))
def test_only_half_resolution_colour_becomes_planes(sampling, library):
    image = picture()
    data = sampled(image, sampling)
    frame = decode_frame(data, "a")
    assert isinstance(frame, Planes) is (sampling == "420")
    assert jpeg.frame_header(data).is_420 is (sampling == "420")
    assert np.abs(to_bgr(frame).astype(int) - image).mean() < 8
    np.testing.assert_allclose(decode_image(data, "a").astype(int), by_opencv(data), atol=1)


def test_grey_and_rgb_and_cmyk_are_no_planes(library):
    grey = encoded(picture()[..., 0])
    assert decode_frame(grey, "a").shape == (63, 97)
    np.testing.assert_array_equal(decode_image(grey, "a"), by_opencv(grey))
    # Adobe's segment with transform 0 says RGB (ITU-T T.872, section 6.5.3), also of a 4:2:0 file.
    data = encoded(picture())
    adobe = data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + data[20:]
    assert turbojpeg.decode_planes(adobe, "a") is None
    np.testing.assert_allclose(decode_image(adobe, "a").astype(int), by_opencv(adobe), atol=1)


def test_the_colours_of_both_ways_agree(library):
    data = encoded(cv2.GaussianBlur(picture(120, 160), (0, 0), 3))
    frame = decode_frame(data, "a")
    exact = turbojpeg.decode_planes(data, "a") if library else None
    difference = np.abs(to_bgr(frame).astype(int) - by_opencv(data))
    assert difference.max() <= (2 if library else 6) and difference.mean() < 1
    assert exact is None or np.array_equal(exact.blue, frame.blue)


@pytest.mark.parametrize("size", [(64, 96), (63, 97), (1, 1)])
def test_planes_become_a_jpeg(size, library):
    image = cv2.GaussianBlur(picture(*size), (0, 0), 3)
    data = encode_jpeg(to_planes(image), quality=97)
    assert jpeg.frame_header(data).is_420
    assert by_opencv(data).shape == image.shape
    # Colour is at half resolution, so only brightness comes back closely.
    luma = np.abs(by_opencv(data, cv2.IMREAD_GRAYSCALE).astype(int) - cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    assert luma.max() <= 4
    assert len(encode_jpeg(to_planes(image), quality=50)) <= len(data)


def test_planes_within_a_limit(library):
    planes = to_planes(picture(300, 400))
    data = encode_jpeg(planes, quality=95, limit_bytes=3000)
    assert len(data) <= 3000
    rows, cols = by_opencv(data).shape[:2]
    assert cols / rows == pytest.approx(4 / 3, rel=0.1) and cols < 400


def test_a_huge_claim_is_refused_before_any_pixel(library, monkeypatch):
    data = bytearray(encoded(picture()))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = (60000).to_bytes(2, "big") * 2
    with pytest.raises(FrameLost, match=r"60000 x 60000 px, which \d+ bytes cannot hold"):
        decode_frame(bytes(data), "bomb.jpg")
    padded = bytes(data[:20]) + 90 * (b"\xff\xfe\xff\xff" + bytes(65533)) * 10 + bytes(data[20:])
    with pytest.raises(FrameLost, match="500000000 px"):
        decode_frame(padded, "bomb.jpg")


def test_overwritten_parts_are_found_by_their_markers(library):
    data = bytearray(encoded(picture(200, 300)))
    middle = len(data) // 2
    data[middle : middle + 2] = b"\xff\xc0"
    with pytest.raises(FrameLost, match=f"a.jpg.*marker 0xc0 at byte {middle}"):
        decode_frame(bytes(data), "a.jpg")


@needs_library
@pytest.mark.parametrize("sampling", ["420", "422"])
def test_a_cut_jpeg_with_an_end_put_on_is_found(sampling):
    data = sampled(picture(200, 300), sampling)
    for share in (0.2, 0.5, 0.9, 0.98):
        with pytest.raises(FrameLost, match=r"a\.jpg.*(premature|Premature|cannot hold|cut short)"):
            decode_frame(data[: int(share * len(data))] + b"\xff\xd9", "a.jpg")


@needs_library
@pytest.mark.parametrize("progressive", [0, 1])
def test_filling_in_front_of_the_end_is_no_damage(progressive):
    data = encoded(picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    filled = data[:-2] + bytes(100) + data[-2:]
    planes = turbojpeg.decode_planes(filled, "a")
    np.testing.assert_array_equal(planes.luma, turbojpeg.decode_planes(data, "a").luma)
    with pytest.raises(FrameLost, match="extraneous"):
        turbojpeg.decode_planes(data[:-2] + bytes(range(1, 100)) + data[-2:], "a")


def test_a_progressive_jpeg_without_its_last_scans_is_found(library):
    data = encoded(picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert isinstance(decode_frame(data, "a"), Planes)
    last = data.rindex(b"\xff\xc4")
    with pytest.raises(FrameLost, match=r"a\.jpg.*scans is missing"):
        decode_frame(data[:last] + b"\xff\xd9", "a.jpg")


BASE = encoded(picture(96, 128)), encoded(picture(96, 128), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)


@settings(max_examples=150, deadline=None)
@given(
    progressive=st.booleans(),
    hits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
    with_library=st.booleans(),
)
def test_damaged_files_are_refused_or_whole(progressive, hits, keep, with_library):
    whole = BASE[progressive]
    data = bytearray(whole)
    for share, value in hits:
        data[min(len(data) - 1, int(share * len(data)))] = value
    cut = bytes(data[: int(keep * len(data))])
    with pytest.MonkeyPatch.context() as patch:
        if not with_library:
            patch.setattr(turbojpeg, "_library", lambda: None)
        try:
            frame = decode_frame(cut, "hit.jpg")
        except FrameLost as error:
            assert "hit.jpg" in str(error)
            return
        # What comes back has the size its header says and is not the front half of a file.
        header = jpeg.frame_header(cut)
        assert frame.shape[:2] == (header.rows, header.cols)
        assert len(cut) >= len(whole) - 2 or b"\xff\xd9" in cut


@needs_library
@settings(max_examples=100, deadline=None)
@given(progressive=st.booleans(), share=st.floats(0, 0.97))
def test_a_part_never_passes_for_the_whole(progressive, share):
    whole = BASE[progressive]
    with pytest.raises(FrameLost, match=r"hit\.jpg"):
        decode_frame(whole[: int(share * len(whole))] + b"\xff\xd9", "hit.jpg")
