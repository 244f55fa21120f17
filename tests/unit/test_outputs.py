"""Output files: whole or not at all, and readable by others."""

from __future__ import annotations

import os
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import tifffile

from focusd.atomic import replacing, write_bytes
from focusd.errors import FocusdError
from focusd.fusion import Fusion
from focusd.fusion.relief import Reason, Relief
from focusd.outputs.flat import write_jpeg, write_png
from focusd.outputs.prints import REASON_COLOURS, write_prints
from focusd.outputs.relief_picture import depth_chart, depth_picture, round_ticks
from focusd.outputs.tiff import write_depth16_tiff, write_depth_tiff, write_image_tiff, write_index_tiff
from focusd.pictures.images import read_image
from focusd.pictures.samples import to_bgr, to_planes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(70, 90), (70, 90, 3)])
def test_image_tiff_is_rgb_on_disk_and_lossless(dtype, shape, tmp_path):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    path = tmp_path / "a.tif"
    write_image_tiff(path, image, description="stack of 3 µm")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        on_disk = page.asarray()
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert "stack of 3" in page.description
    np.testing.assert_array_equal(on_disk, image[..., ::-1] if image.ndim == 3 else image)
    np.testing.assert_array_equal(read_image(path), image)


def test_depth_tiff_keeps_nan_and_says_its_unit(tmp_path):
    depth = np.linspace(-5, 2000, 60 * 80, dtype=np.float32).reshape(60, 80)
    depth[3, 4] = np.nan
    path = tmp_path / "depth.tif"
    write_depth_tiff(path, depth)
    with tifffile.TiffFile(path) as tiff:
        assert "um" in tiff.pages[0].description
        read = tiff.pages[0].asarray()
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, depth)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), depth)


def test_what_a_tiff_cannot_hold_is_refused(tmp_path):
    with pytest.raises(FocusdError, match="float64"):
        write_image_tiff(tmp_path / "a.tif", np.zeros((4, 4)))
    with pytest.raises(FocusdError, match=r"\(rows, cols\)"):
        write_depth_tiff(tmp_path / "a.tif", np.zeros((4, 4, 3), np.float32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_and_jpeg(dtype, tmp_path):
    image = np.full((40, 40, 3), (20, 90, 200), dtype) * dtype(1 if dtype == np.uint8 else 257)
    write_png(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)
    write_jpeg(tmp_path / "a.jpg", image)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg")[5, 5], (20, 90, 200), atol=3)


def test_planes_become_files_too(tmp_path):
    planes = to_planes(np.full((41, 39, 3), (20, 90, 200), np.uint8))
    for name, write in (("a.png", write_png), ("a.jpg", write_jpeg)):
        write(tmp_path / name, planes)
        read = read_image(tmp_path / name)
        assert read.shape == (41, 39, 3)
        np.testing.assert_allclose(read[5, 5], (20, 90, 200), atol=4)


def test_16_bits_of_small_values_keep_them(tmp_path):
    image = np.arange(201, dtype=np.uint16).reshape(3, 67)
    write_png(tmp_path / "a.png", image)
    write_image_tiff(tmp_path / "a.tif", image)
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), image)
    write_jpeg(tmp_path / "a.jpg", np.full((32, 32), 200, np.uint16))
    assert abs(int(read_image(tmp_path / "a.jpg")[5, 5]) - 200) <= 1


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def fail():
        with replacing(path) as file:
            file.write(b"half of the n")
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fail()
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_the_name_appears_only_when_the_content_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_the_content_is_synced_before_the_rename(tmp_path, monkeypatch):
    path, calls = tmp_path / "a.bin", []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(path.exists()), real(fd)))
    write_bytes(path, b"new")
    # The file before its name is there, the folder after.
    assert calls == [False, True]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FocusdError, match="nowhere"):
        write_bytes(tmp_path / "nowhere" / "a.bin", b"x")


def tags_of(path):
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        return page.asarray(), {tag.code: tag.value for tag in page.tags.values()}


@pytest.mark.parametrize(("low", "high"), [(-5.0, 2000.0), (1e5, 1e5 + 3), (7.25, 7.25)])
def test_16_bit_depth_comes_back_through_its_tags(low, high, tmp_path):
    depth = np.linspace(low, high, 60 * 80).astype(np.float32).reshape(60, 80)
    depth[3, 4] = np.nan
    path = tmp_path / "depth16.tif"
    scale, offset = write_depth16_tiff(path, depth)
    values, tags = tags_of(path)
    assert values.dtype == np.uint16 and values[3, 4] == 0
    assert (values == 0).sum() == 1
    # As GDAL reads it.
    items = {item.get("role"): item.text for item in ElementTree.fromstring(tags[42112]).iter("Item")}  # noqa: S314
    assert (float(items["scale"]), float(items["offset"]), items["unittype"]) == (scale, offset, "um")
    assert tags[42113].strip() == "0"
    # As ImageJ reads it.
    lines = dict(line.split("=", 1) for line in tags[270].strip().splitlines())
    assert lines["ImageJ"] and lines["cf"] == "0" and lines["vunit"] == "um"
    assert (float(lines["c1"]), float(lines["c0"])) == (scale, offset)
    back = values * scale + offset
    known = np.isfinite(depth)
    assert np.abs(back[known] - depth[known]).max() <= 0.5 * (high - low) / 65534 * 1.01 + 1e-9


def test_16_bit_depth_of_nothing(tmp_path):
    write_depth16_tiff(tmp_path / "a.tif", np.full((4, 5), np.nan, np.float32))
    assert not tags_of(tmp_path / "a.tif")[0].any()
    with pytest.raises(FocusdError, match=r"\(rows, cols\)"):
        write_depth16_tiff(tmp_path / "b.tif", np.zeros((4, 4, 3), np.float32))


def test_an_index_map_keeps_its_numbers_under_its_colours(tmp_path):
    codes = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    path = tmp_path / "codes.tif"
    write_index_tiff(path, codes, description="0 a, 1 b, 2 c", colours=[(255, 0, 0), (0, 255, 0), (0, 0, 9)])
    values, tags = tags_of(path)
    np.testing.assert_array_equal(values, codes)
    assert "1 b" in tags[270]
    np.testing.assert_array_equal(cv2.imread(str(path))[0, :3], [(0, 0, 255), (0, 255, 0), (9, 0, 0)])
    with pytest.raises(FocusdError, match="uint16"):
        write_index_tiff(path, codes.astype(np.uint16), description="", colours=[(0, 0, 0)])
    with pytest.raises(FocusdError, match="float64"):
        write_index_tiff(path, np.zeros((2, 2)), description="")


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(-975, 1260, [-500, 0, 500, 1000]), (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (3, 3, [3])],
)
def test_ticks_are_round(low, high, wanted):
    assert round_ticks(low, high, 6) == pytest.approx(wanted)


@pytest.mark.parametrize("span", [(-975, 1260), (1e-3, 2e-3), (99990, 100010), (5, 1e6)])
@pytest.mark.parametrize("most", [2, 5, 8])
def test_ticks_lie_within_and_are_few(span, most):
    ticks = round_ticks(*span, most)
    assert 1 <= len(ticks) <= most
    assert all(span[0] - 1e-9 * abs(span[0]) <= tick <= span[1] * (1 + 1e-9) for tick in ticks)


def test_the_chart_shows_depth_its_scale_and_what_is_unknown():
    depth = np.tile(np.linspace(0, 100, 300, dtype=np.float32), (200, 1))
    depth[:40] = np.nan
    chart = depth_chart(depth)
    assert chart.shape[0] == 200 and chart.shape[1] > 300
    assert (chart[:40, :300] == 96).all()
    low, high = chart[100, 10].astype(int), chart[100, 290].astype(int)
    assert low[0] > low[2] and high[2] > high[0]
    bar = chart[:, 300:]
    # The bar runs through the map's own colours, high on top.
    column = bar[:, 20].astype(int)
    assert np.abs(column - high).sum(axis=1).argmin() < np.abs(column - low).sum(axis=1).argmin()
    assert (bar == 96).all(axis=2).any() and (bar < 60).all(axis=2).sum() > 100


@pytest.mark.parametrize("shape", [(1, 1), (9, 400), (3000, 30)])
def test_a_chart_of_any_shape(shape):
    for depth in (np.full(shape, np.nan, np.float32), np.full(shape, 4.0, np.float32)):
        chart = depth_chart(depth)
        assert chart.dtype == np.uint8 and chart.shape[0] <= 2048 and chart.shape[1] > shape[1]
        assert depth_picture(depth).shape == (*shape, 3)


def relief_of(rows=61, cols=80):
    half = ((rows + 1) // 2, (cols + 1) // 2)
    raw = np.tile(np.linspace(10, 50, half[1], dtype=np.float32), (half[0], 1))
    reason = np.zeros(half, np.uint8)
    reason[:10] = Reason.FLAT
    origin = np.rint(raw / 10).astype(np.int16)
    return Relief(raw, np.full(half, 0.953, np.float32), reason, origin, rows, cols, step_um=10.0)


def test_prints_of_a_relief(tmp_path):
    relief, image = relief_of(), np.full((61, 80, 3), 77, np.uint8)
    facts = write_prints(tmp_path, image, relief)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confidence.tif", "depth.png", "depth.tif", "depth16.tif", "final.jpg", "final.tif", "origin.tif",
        "reason.tif",
    ]  # fmt: skip
    assert (facts["width"], facts["height"], facts["url"]) == (80, 61, None)
    assert facts["bytes"] == (tmp_path / "final.tif").stat().st_size
    depth = tags_of(tmp_path / "depth.tif")[0]
    np.testing.assert_array_equal(depth, relief.full_depth_um())
    assert np.isnan(depth[:20]).all() and facts["depth"] == {
        "min_um": pytest.approx(10), "max_um": pytest.approx(50), "known_percent": round(100 * 41 / 61, 2),
    }  # fmt: skip
    np.testing.assert_array_equal(tags_of(tmp_path / "origin.tif")[0], relief.full_size(relief.origin))
    assert (tags_of(tmp_path / "confidence.tif")[0] == 95).all()
    codes, tags = tags_of(tmp_path / "reason.tif")
    np.testing.assert_array_equal(codes, relief.full_size(relief.reason))
    assert f"{Reason.FLAT.value} flat" in tags[270] and len(REASON_COLOURS) == len(Reason)
    assert cv2.imread(str(tmp_path / "depth.png")).shape[1] > 40


@pytest.mark.parametrize("kind", ["grey", "BGR", "4:2:0"])
def test_prints_of_a_fusion(kind, tmp_path):
    rng = np.random.default_rng(4)
    fusion = Fusion()
    for number in range(4):
        frame = rng.integers(0, 256, (61, 80) if kind == "grey" else (61, 80, 3)).astype(np.uint8)
        fusion.add(to_planes(frame) if kind == "4:2:0" else frame, 20.0 * number)
    result = fusion.result()
    facts = write_prints(tmp_path, fusion.image(), fusion.relief(), white=fusion.white)
    np.testing.assert_array_equal(read_image(tmp_path / "final.tif"), to_bgr(result.image))
    known = np.isfinite(result.depth_um)
    assert facts["depth"]["known_percent"] == round(100 * float(known.mean()), 2)
    for name, wanted in (("depth", result.depth_um), ("origin", result.origin), ("reason", result.reason)):
        np.testing.assert_array_equal(tags_of(tmp_path / f"{name}.tif")[0], wanted, err_msg=name)
    percent = tags_of(tmp_path / "confidence.tif")[0]
    assert np.abs(percent - 100 * result.confidence).max() <= 0.5 + 1e-4
    assert (result.origin.min(), result.origin.max()) == (0, 3)


def test_prints_are_as_bright_as_the_stack_s_white_says(tmp_path):
    image = np.full((61, 80, 3), 2000, np.uint16)
    for white, shown in ((4095, 125), (65535, 8), (None, 249)):
        write_prints(tmp_path, image, relief_of(), white=white)
        assert abs(int(read_image(tmp_path / "final.jpg")[5, 5, 1]) - shown) <= 1
        np.testing.assert_array_equal(read_image(tmp_path / "final.tif"), image)
