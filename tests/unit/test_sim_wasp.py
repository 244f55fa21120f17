"""The demo's wasp, drawn small."""

import cv2
import numpy as np
import pytest

from focusd_sim.anatomy import FLOOR_UM, head
from focusd_sim.catalogue import scene_named
from focusd_sim.hairs import Hairs
from focusd_sim.score import oracle, psnr
from focusd_sim.sheet import Sheet
from focusd_sim.solids import View, ellipsoid, hexagons, turn
from focusd_sim.studio import developed, occlusion

SHAPE = (192, 288)


@pytest.fixture(scope="module")
def wasp():
    return scene_named("wasp", shape=SHAPE)


def test_it_fills_frame_and_stack(wasp):
    assert wasp.all_in_focus.shape == (*SHAPE, 3)
    seen = np.isfinite(wasp.height_um)
    assert 0.4 < seen.mean() < 0.7
    assert np.flatnonzero(seen.any(axis=0)).size > 0.85 * SHAPE[1]
    assert np.nanmax(wasp.height_um) > 1200 and np.nanmin(wasp.height_um) < -1000
    assert np.nanmax(np.abs(wasp.height_um)) <= wasp.reach_um == 1270


def test_pixels_grow_as_the_frame_shrinks(wasp):
    assert wasp.lens.object_pixel_um == pytest.approx(4.0 * 1024 / 192)


def test_it_is_yellow_and_black_on_green(wasp):
    blue, green, red = (wasp.all_in_focus[..., i].astype(int) for i in range(3))
    seen = np.isfinite(wasp.height_um)
    yellow = (red > 150) & (green > 110) & (blue < 100)
    assert 0.08 < yellow[seen].mean() < 0.4
    assert (wasp.all_in_focus.max(axis=2) < 80)[seen].mean() > 0.15
    assert (green >= red)[~seen].mean() > 0.8


def test_near_parts_are_sharp_near_and_far_parts_far(wasp):
    def detail(focus_um, mask):
        luma = cv2.cvtColor(wasp.render(focus_um), cv2.COLOR_BGR2GRAY).astype(np.float32)
        return np.square(cv2.Laplacian(luma, cv2.CV_32F)[mask]).mean()

    height = np.nan_to_num(wasp.height_um, nan=-9999)
    feelers, rim = height > 1000, (height > -900) & (height < -400)
    assert detail(1150.0, feelers) > 1.5 * detail(-650.0, feelers)
    assert detail(-650.0, rim) > 1.5 * detail(1150.0, rim)


def test_a_seed_is_a_wasp(wasp):
    again, other = (scene_named("wasp", seed=seed, shape=SHAPE) for seed in (1, 2))
    assert np.array_equal(wasp.all_in_focus, again.all_in_focus)
    assert np.array_equal(wasp.render(100.0), again.render(100.0))
    assert not np.array_equal(wasp.all_in_focus, other.all_in_focus)


def test_the_oracle_comes_close_to_the_truth(wasp):
    stops_um = np.arange(-1270, 1271, 60.0)
    best = oracle(lambda i: wasp.render(stops_um[i]), wasp.height_um, stops_um)
    single = max(psnr(wasp.render(z), wasp.all_in_focus) for z in stops_um[::3])
    assert psnr(best, wasp.all_in_focus) > 31 > single + 5


def test_an_ellipsoid_stands_where_it_should():
    view = View((100, 160), 10.0)
    patch = ellipsoid(view, (100.0, -50.0, 30.0), (300.0, 200.0, 100.0), turn())
    col, row = view.pixel(100.0, -50.0)
    middle = round(row) - patch.box[0].start, round(col) - patch.box[1].start
    assert patch.z_um[middle] == pytest.approx(130, abs=1)
    assert patch.normal[2][middle] == pytest.approx(1, abs=0.01)
    # Its outline encloses the area of an ellipse.
    assert patch.cover.sum() * 100 == pytest.approx(np.pi * 300 * 200, rel=0.01)
    inside = patch.cover == 1
    radius = sum(q**2 for q in patch.q)
    assert np.allclose(radius[inside], 1, atol=1e-3)


def test_turning_an_ellipsoid_turns_its_outline():
    view = View((200, 200), 10.0)
    upright = ellipsoid(view, (0, 0, 0), (500.0, 100.0, 100.0), turn(roll_deg=90))
    seen = np.argwhere(upright.cover > 0.5)
    assert np.ptp(seen[:, 0]) == pytest.approx(100, abs=2)
    assert np.ptp(seen[:, 1]) == pytest.approx(20, abs=2)


def test_hexagons_tile_the_plane():
    y, x = np.mgrid[:300, :300].astype(np.float32)
    ds, dt, seam = hexagons(x, y, 20.0)
    away = np.hypot(ds, dt)
    # A regular hexagon reaches 2/sqrt(3) of its inner radius, and no farther.
    assert 1.1 < away.max() <= 2 / 3**0.5 + 1e-3
    assert seam[away < 0.5].max() == 0 and seam[away > 1.05].min() > 0.8
    centres = (away < 0.06).sum()
    assert centres * (20 * 20 * 3**0.5 / 2) / 300**2 == pytest.approx(np.pi * 0.6**2, rel=0.4)


def test_light_reaches_ridges_more_than_pits():
    height = np.zeros((80, 80), np.float32)
    height[38:43, 38:43] = -60
    open_ = occlusion(height, 4.0)
    assert open_[40, 40] < 0.7 < 0.95 < open_[5, 5]


def test_developing_is_monotonic_and_bounded():
    light = np.linspace(0, 20, 200, dtype=np.float32)
    shown = developed(light)
    assert shown.min() >= 0 and shown.max() <= 1
    assert np.all(np.diff(shown) >= 0)


def test_the_head_is_bare_outside_its_outline():
    surface = head(View(SHAPE, 4096 / 192), np.random.default_rng(1))
    assert np.all(surface.z_um[surface.cover == 0] == FLOOR_UM)
    assert surface.cover[96, 144] == 1 and surface.cover[0, 0] == 0


def one_hair(width_um=24.0):
    """From the left at -300 um to the right at +500 um, blue."""
    root, tip = np.array([[-500.0, 0, -300]]), np.array([[500.0, 0, 500]])
    return Hairs(root, (root + tip) / 2, tip, np.array([width_um]), np.array([[0.8, 0.1, 0.1]]))


def test_a_hair_rises_and_tapers():
    view = View((60, 140), 10.0)
    sheet = one_hair().sheet(view)
    seen = sheet.bgra[..., 3].astype(float).sum(axis=0) / 255
    left, right = round(view.pixel(-450, 0)[0]), round(view.pixel(450, 0)[0])
    assert seen[left] > 2 * seen[right] > 0
    assert seen[:15].sum() == 0 and seen[-15:].sum() == 0
    row = round(view.pixel(0, 0)[1])
    assert sheet.height_um[row, left] == pytest.approx(-260, abs=80)
    assert sheet.height_um[row, right] == pytest.approx(460, abs=80)
    blue, green, red, alpha = sheet.bgra[row, left].astype(int)
    assert blue > green + 30 and blue > red + 30 and max(blue, green, red) <= alpha


def test_a_hair_on_a_sheet_keeps_both_heights():
    view = View((60, 140), 10.0)
    under = Sheet(np.full((60, 140, 4), 255, np.uint8), np.full((60, 140), -700, np.float32))
    sheet = one_hair(60.0).sheet(view, under)
    row, col = (round(v) for v in view.pixel(-400, 0)[::-1])
    assert sheet.height_um[row, col] > -400
    assert sheet.height_um[5, col] == -700
    assert sheet.bgra[5, col].tolist() == [255] * 4
    assert sheet.bgra[row, col, 2] < 200 and sheet.bgra[row, col, 3] == 255
