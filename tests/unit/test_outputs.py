"""Output files: whole or not at all, and readable by others."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
import tifffile

from focusd.atomic import replacing, write_bytes
from focusd.errors import FocusdError
from focusd.images import read_image
from focusd.outputs.flat import write_jpeg, write_png
from focusd.outputs.tiff import write_depth_tiff, write_image_tiff


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
