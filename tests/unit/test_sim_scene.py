"""Scenes and how they are drawn out of focus."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd.errors import ConfigError
from focusd_sim.catalogue import scene_named
from focusd_sim.lens import Lens
from focusd_sim.scene import Scene, scene_from_files, smear_kernel
from focusd_sim.score import oracle, psnr
from focusd_sim.sheet import Sheet, extend, slabs

LENS = Lens()


def flat(shape, level, height_um, mask=None):
    """A sheet of one grey and one height."""
    colour = np.full((*shape, 3), level / 255, np.float32)
    alpha = np.ones(shape, np.float32) if mask is None else mask.astype(np.float32)
    return Sheet.of(colour, alpha, np.full(shape, height_um, np.float32))


def scene_of(*sheets, reach_um=2000.0):
    shape = sheets[0].height_um.shape
    return Scene("made", LENS, sheets, np.zeros((*shape, 3), np.uint8), reach_um)


def dot_scene(side=3, at=None, shape=(161, 201)):
    """A white square on black, all at height 0."""
    row, col = at or (shape[0] // 2, shape[1] // 2)
    colour = np.zeros((*shape, 3), np.float32)
    half = side // 2
    colour[row - half : row + half + 1, col - half : col + half + 1] = 1
    return scene_of(Sheet.of(colour, np.ones(shape, np.float32), np.zeros(shape, np.float32)))


def moments(picture):
    """Centre (row, col) and variance (rows, cols) of the light, weighted in float."""
    light = picture[..., 1].astype(float)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    total = light.sum()
    row, col = (light * y).sum() / total, (light * x).sum() / total
    return (row, col), ((light * (y - row) ** 2).sum() / total, (light * (x - col) ** 2).sum() / total)


def sharpness(picture, cols):
    return cv2.Laplacian(picture[:, cols, 1].astype(np.float32), cv2.CV_32F).var()


def test_in_focus_is_the_truth():
    scene = dot_scene()
    assert np.array_equal(scene.render(0.0), scene.all_in_focus)
    assert scene.render(0.0).dtype == np.uint8


# From under a pixel, through the change from full to quarter size at 8 px, to the largest.
@pytest.mark.parametrize("radius_px", [0.7, 1.2, 1.8, 3.4, 6.5, 7.9, 8.5, 12.0, 20.0, 30.0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_blur_has_the_discs_variance(radius_px, sign):
    # A square large enough that eight bits hold its blur.
    scene = dot_scene(side=2 * int(radius_px) + 3)
    defocus_um = sign * radius_px / LENS.disc_radius_px(1.0)
    centre, sharp = moments(scene.render(0.0))
    blurred_centre, blurred = moments(scene.render(defocus_um))
    assert blurred_centre == pytest.approx(centre, abs=0.15)
    for before, after in zip(sharp, blurred, strict=True):
        assert after - before == pytest.approx(radius_px**2 / 4, rel=0.08, abs=0.02)


def test_blur_follows_a_steep_slope():
    # Dark above, light below, and a slope that runs from sharp to a blur of 24 px within one tile.
    shape, most_px = (121, 128), 24.0
    steep_um = most_px / LENS.disc_radius_px(1.0)
    height = np.broadcast_to(np.linspace(0, steep_um, shape[1], dtype=np.float32), shape)
    colour = np.zeros((*shape, 3), np.float32)
    colour[60:] = 1
    picture = scene_of(Sheet.of(colour, np.ones(shape, np.float32), height)).render(0.0)
    for col in (2, 20, 42, 60, 80, 105, 127):
        edge = np.diff(picture[:, col, 1].astype(float))
        at = np.arange(edge.size)
        middle = (edge * at).sum() / edge.sum()
        radius_px = most_px * col / (shape[1] - 1)
        spread = (edge * (at - middle) ** 2).sum() / edge.sum()
        assert spread == pytest.approx(radius_px**2 / 4, rel=0.08, abs=0.05)


def test_blur_is_a_disc_not_a_gaussian():
    # A large white square through a disc: grey ends exactly one radius from the edge.
    scene = dot_scene(side=81, shape=(201, 241))
    for radius_px in (6.0, 16.0):
        picture = scene.render(radius_px / LENS.disc_radius_px(1.0))
        row = picture[100, :, 1].astype(float)
        edge = 120 + 40.5
        assert row[int(edge + radius_px) + 4] <= 2
        assert 4 <= row[int(edge + radius_px - 0.2 * radius_px)] < 90
        assert row[int(edge - radius_px) - 4] >= 253


def test_light_is_kept():
    scene = dot_scene(side=15)
    total = scene.render(0.0).sum(dtype=float)
    for focus_um in (60.0, 200.0, 420.0):
        assert scene.render(focus_um).sum(dtype=float) == pytest.approx(total, rel=0.03)


def test_a_blurred_foreground_covers_ground_it_leaves_free_in_focus():
    shape = (120, 200)
    bar = np.zeros(shape, bool)
    bar[:, 90:110] = True
    scene = scene_of(flat(shape, 200, 0.0), flat(shape, 40, 500.0, bar))
    radius_px = LENS.disc_radius_px(500.0)
    beside = slice(110 + 2, int(110 + radius_px * 0.6))
    far = slice(int(110 + radius_px + 6), None)
    in_front, on_ground = scene.render(500.0), scene.render(0.0)
    assert np.all(in_front[60, beside, 0] >= 198)
    assert np.all(on_ground[60, beside, 0] < 192)
    assert np.all(on_ground[60, far, 0] >= 198)
    # And what it covers in focus shines through at its edge.
    assert in_front[60, 92, 0] == pytest.approx(40, abs=1)
    assert on_ground[60, 92, 0] > 60


def test_a_blurred_ground_does_not_spill_over_a_sharp_foreground():
    shape = (120, 200)
    bar = np.zeros(shape, bool)
    bar[:, 80:120] = True
    picture = scene_of(flat(shape, 250, -600.0), flat(shape, 20, 0.0, bar)).render(0.0)
    assert np.all(picture[:, 80:120] == 20)
    assert np.all(picture[:, 125:] == 250)


def test_magnification_scales_about_the_centre():
    scene = dot_scene(at=(60, 50))
    (row, col), _ = moments(scene.render(0.0, magnification=1.2))
    assert row == pytest.approx(80 + 1.2 * (60 - 80), abs=0.1)
    assert col == pytest.approx(100 + 1.2 * (50 - 100), abs=0.1)


def test_shift_moves_rows_and_columns():
    (row, col), _ = moments(dot_scene().render(0.0, shift_px=(3.5, -7.25)))
    assert (row, col) == pytest.approx((80 + 3.5, 100 - 7.25), abs=0.1)


@pytest.mark.parametrize("length_px", [0.5, 3.0, 9.0])
def test_smear_widens_columns_only(length_px):
    scene = dot_scene(side=9)
    _, sharp = moments(scene.render(0.0))
    _, smeared = moments(scene.render(0.0, smear_px=length_px))
    assert smeared[0] == pytest.approx(sharp[0], abs=0.02)
    widened = smeared[1] - sharp[1]
    assert widened == pytest.approx(length_px**2 / 12, abs=0.1 + 0.01 * length_px)


@given(st.floats(0.01, 60))
def test_smear_kernel_is_a_box_of_its_length(length_px):
    weights = smear_kernel(length_px)[0]
    at = np.arange(weights.size) - weights.size // 2
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    assert np.allclose(weights, weights[::-1], atol=1e-6)
    # To three quarters of what pixels can carry; beyond that the end of the tail shows.
    frequency = np.linspace(0, 0.375, 200)
    share = np.cos(2 * np.pi * np.outer(frequency, at)) @ weights
    assert np.abs(share - np.sinc(frequency * length_px)).max() < 0.02


@pytest.mark.parametrize(
    "bad", [{"smear_px": -1.0}, {"smear_px": float("nan")}, {"magnification": 0.0}, {"magnification": -1.0}]
)
def test_impossible_pictures_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        dot_scene().render(0.0, **bad)


@pytest.mark.parametrize(("name", "shape"), [("slope", (120, 160)), ("spheres", (200, 300))])
def test_bench_scenes_are_what_they_say(name, shape):
    scene = scene_named(name)
    assert scene.name == name
    assert scene.all_in_focus.shape == (*shape, 3) and scene.height_um.shape == shape
    assert scene.all_in_focus.dtype == np.uint8 and scene.height_um.dtype == np.float32
    assert np.all(np.abs(scene.height_um) <= 190)
    assert np.ptp(scene.height_um) > 300
    with pytest.raises(ValueError, match="read-only"):
        scene.height_um[0, 0] = 1


@pytest.mark.parametrize("name", ["slope", "spheres"])
def test_a_seed_is_a_scene(name):
    one, same, other = (scene_named(name, seed=seed, shape=(64, 80)) for seed in (4, 4, 5))
    assert np.array_equal(one.render(33.0), same.render(33.0))
    assert np.array_equal(one.height_um, same.height_um)
    assert not np.array_equal(one.render(33.0), other.render(33.0))


def test_the_slope_is_sharp_where_the_focus_is():
    scene = scene_named("slope")
    left, right = slice(0, 40), slice(120, 160)
    low, high = scene.render(-150.0), scene.render(150.0)
    assert sharpness(low, left) > 5 * sharpness(low, right)
    assert sharpness(high, right) > 5 * sharpness(high, left)
    assert scene.height_um[0, 0] == -190 and scene.height_um[0, -1] == 190


@pytest.mark.parametrize(("name", "least_db"), [("slope", 45), ("spheres", 35)])
def test_the_oracle_comes_close_to_the_truth(name, least_db):
    scene = scene_named(name)
    stops_um = np.arange(-190, 191, 20.0)
    best = oracle(lambda i: scene.render(stops_um[i]), scene.height_um, stops_um)
    single = max(psnr(scene.render(z), scene.all_in_focus) for z in stops_um)
    assert psnr(best, scene.all_in_focus) > least_db > single + 5


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ConfigError, match=r"did you mean 'spheres'\?.*wasp, slope, spheres"):
        scene_named("sphere")
    with pytest.raises(ConfigError, match="there are wasp"):
        scene_named("zebra")
    with pytest.raises(ConfigError, match="32 x 32"):
        scene_named("slope", shape=(20, 100))


def test_sheets_must_agree_in_size():
    with pytest.raises(ConfigError, match="0 sheets"):
        Scene("none", LENS, [], np.zeros((8, 8, 3), np.uint8), 10.0)
    with pytest.raises(ConfigError, match="all of the ground's size"):
        Scene("odd", LENS, [flat((40, 40), 9, 0.0)], np.zeros((40, 41, 3), np.uint8), 10.0)


def test_only_reachable_surface_has_a_height():
    shape = (60, 80)
    left, right = np.zeros(shape, bool), np.zeros(shape, bool)
    left[:, :20], right[:, 60:] = True, True
    scene = scene_of(flat(shape, 90, 40.0, left), flat(shape, 90, 900.0, right), reach_um=100.0)
    assert np.all(scene.height_um[:, :20] == 40)
    assert np.all(np.isnan(scene.height_um[:, 20:]))


def test_extend_keeps_the_known_and_fills_smoothly():
    rng = np.random.default_rng(1)
    known = rng.uniform(size=(50, 70)) < 0.05
    ramp = np.broadcast_to(np.arange(70, dtype=np.float32) * 10, (50, 70))
    filled = extend(np.where(known, ramp, np.nan).astype(np.float32), known)
    assert np.allclose(filled[known], ramp[known], atol=1e-3)
    assert np.abs(filled - ramp).mean() < 30
    assert np.all(np.isfinite(filled))
    assert np.all(extend(ramp, np.zeros_like(known)) == 0)


def pair(tmp_path, high=200):
    """A picture of noise with a raised square, as files."""
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    height = np.full((90, 120), 20, np.uint8)
    height[30:60, 40:80] = high
    paths = tmp_path / "image.png", tmp_path / "height.png"
    cv2.imwrite(str(paths[0]), image)
    cv2.imwrite(str(paths[1]), height)
    return image, height, paths


def test_a_pair_of_files_becomes_a_scene(tmp_path):
    image, height, paths = pair(tmp_path)
    scene = scene_from_files(*paths, (0.0, 510.0))
    assert scene.name == "image"
    assert np.array_equal(scene.all_in_focus, image)
    # The middle of the range is 0.
    assert np.allclose(scene.height_um, height * 2.0 - 255, atol=0.01)
    front = scene.render(145.0)
    assert np.array_equal(front[32:58, 42:78], image[32:58, 42:78])
    assert sharpness(front, slice(85, 120)) < 0.1 * sharpness(image, slice(85, 120))


def test_a_slope_from_files_has_no_seams(tmp_path):
    image = np.full((60, 200, 3), 180, np.uint8)
    height = np.broadcast_to(np.linspace(0, 65535, 200).astype(np.uint16), (60, 200))
    cv2.imwrite(str(tmp_path / "i.png"), image)
    cv2.imwrite(str(tmp_path / "h.png"), height)
    scene = scene_from_files(tmp_path / "i.png", tmp_path / "h.png", (-400.0, 400.0))
    for focus_um in (-400.0, 0.0, 400.0):
        assert np.abs(scene.render(focus_um).astype(int) - 180).max() <= 3


def test_slabs_hide_nothing_of_the_picture():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    sheets = slabs(image, rng.uniform(-5, 5, (40, 50)).astype(np.float32), 4)
    assert len(sheets) == 4 and np.all(sheets[0].bgra[..., 3] == 255)
    assert np.array_equal(scene_of(*sheets).all_in_focus, image)


def test_bad_pairs_are_refused(tmp_path):
    _, _, paths = pair(tmp_path)
    with pytest.raises(ConfigError, match=r"missing\.png is not a picture"):
        scene_from_files(tmp_path / "missing.png", paths[1], (0, 1))
    with pytest.raises(ConfigError, match="below the second"):
        scene_from_files(*paths, (5, 5))
    with pytest.raises(ConfigError, match="a height map is grey"):
        scene_from_files(paths[0], paths[0], (0, 1))
    cv2.imwrite(str(paths[1]), np.zeros((90, 121), np.uint8))
    with pytest.raises(ConfigError, match="121 x 90"):
        scene_from_files(*paths, (0, 1))
