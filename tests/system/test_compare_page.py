"""The page of ``focusd compare`` as a browser shows it: crops pixel by pixel, nothing from elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from focusd.compare.crops import choose
from focusd.compare.page import crop_px
from focusd.pictures.images import read_image

ROWS, COLS, FRAMES = 480, 640, 5
WIDTH_PX, HEIGHT_PX = 1600, 2600
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Frames of which each is sharp in columns of its own."""
    folder = tmp_path_factory.mktemp("compare") / "stack"
    folder.mkdir()
    noise = np.random.default_rng(7).normal(0, 1, (ROWS, COLS, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    truth = np.clip(128 + 45 * smooth / smooth.std(), 0, 255).astype(np.uint8)
    for number in range(FRAMES):
        frame = cv2.GaussianBlur(truth, (0, 0), 2.5)
        columns = slice(number * COLS // FRAMES, (number + 1) * COLS // FRAMES)
        frame[:, columns] = truth[:, columns]
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    cv2.imwrite(str(folder.parent / "truth.png"), truth)
    return folder


@pytest.fixture(scope="module")
def out(stack):
    """What the command leaves."""
    out = stack.parent / "out"
    command = [sys.executable, "-m", "focusd", "compare", stack, "-o", out, "--no-cache", "--crops", "3"]
    command += ["--method", "average", "--method", "laplacian", "--truth", stack.parent / "truth.png"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def screenshot(out, tmp_path):
    """The page as a browser paints it, without a network."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no browser is installed here (apt install chromium)")
    picture = tmp_path / "page.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--incognito"]
    command += ["--force-device-scale-factor=1", "--force-color-profile=srgb", "--proxy-server=127.0.0.1:9"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={WIDTH_PX},{HEIGHT_PX}"]
    command += [f"--screenshot={picture}", f"file://{out / 'index.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert picture.exists(), done.stderr
    return cv2.imread(str(picture))


@pytest.mark.timeout(240)
def test_a_browser_shows_the_crops_of_the_truth_pixel_by_pixel_and_in_one_line(stack, screenshot):
    truth = read_image(stack.parent / "truth.png")
    side = crop_px(4)
    (middle,) = choose([truth], 1, (side, side))
    # The sharpest frame, the truth and two pictures, with gaps, fill the page from left to right.
    found = cv2.matchTemplate(screenshot, np.ascontiguousarray(middle.of(truth)), cv2.TM_SQDIFF)
    _, _, (left, top), _ = cv2.minMaxLoc(found)
    shown = screenshot[top : top + side, left : left + side]
    assert np.array_equal(shown, middle.of(truth))
    row = screenshot[top : top + side]
    is_picture = (row.std(axis=(0, 2)) > 5).astype(np.int8)
    edges = np.flatnonzero(np.diff(is_picture, prepend=0, append=0))
    assert list(np.diff(edges)[::2]) == [side] * 4 and len(set(np.diff(edges)[1::2])) == 1


@pytest.mark.timeout(240)
def test_nothing_is_wider_than_the_window_and_the_page_is_no_blank(screenshot):
    assert screenshot.shape == (HEIGHT_PX, WIDTH_PX, 3)
    ink = (screenshot < 200).any(axis=2)
    assert ink[:, :20].sum() == 0 and ink[:, -20:].sum() == 0
    assert ink.any(axis=1)[:1200].mean() > 0.4


def test_the_figures_beside_the_page_say_which_method_is_nearer_to_the_truth(out):
    recipes = json.loads((out / "figures.json").read_text())["stacks"][0]["recipes"]
    by_method = {recipe["method"]: recipe["figures"] for recipe in recipes}
    assert by_method["laplacian"]["psnr_db"] > by_method["average"]["psnr_db"]
    assert by_method["laplacian"]["edges"] > 0.3 and by_method["laplacian"]["overshoot_percent"] < 1
